/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The thread rule of all kernels: a const call may come from any number of threads at
 * once. A kernel that needs memory beyond the call's stack either makes it in the call or
 * takes it from a pool.
 */
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace gr::neuralfec {

/*!
 * Workspaces that are kept between calls, one for each of the calls that ever ran at the
 * same time. A call holds a workspace alone for as long as its lease lives.
 */
template <typename T>
class workspace_pool
{
public:
    //! Gives its workspace back at the end of its life.
    class lease
    {
    public:
        lease(workspace_pool& pool, std::unique_ptr<T> workspace)
            : d_pool(pool), d_workspace(std::move(workspace))
        {
        }
        lease(const lease&) = delete;
        lease& operator=(const lease&) = delete;
        ~lease()
        {
            const std::lock_guard<std::mutex> lock(d_pool.d_mutex);
            d_pool.d_idle.push_back(std::move(d_workspace));
        }

        T& operator*() const { return *d_workspace; }
        T* operator->() const { return d_workspace.get(); }

    private:
        workspace_pool& d_pool;
        std::unique_ptr<T> d_workspace;
    };

    /*!
     * Makes the first workspace at once, so that what cannot be had is told early.
     *
     * \param make returns a new workspace; called by several threads at once
     */
    explicit workspace_pool(std::function<T()> make) : d_make(std::move(make)) { take(); }

    //! Returns an idle workspace, the one used last, or a new one.
    lease take()
    {
        {
            const std::lock_guard<std::mutex> lock(d_mutex);
            if (!d_idle.empty()) {
                auto workspace = std::move(d_idle.back());
                d_idle.pop_back();
                return {*this, std::move(workspace)};
            }
            // Room for all of them, so that giving one back cannot fail.
            d_idle.reserve(d_made + 1);
            d_made++;
        }
        return {*this, std::make_unique<T>(d_make())};
    }

private:
    const std::function<T()> d_make;
    std::mutex d_mutex;
    std::size_t d_made = 0;
    std::vector<std::unique_ptr<T>> d_idle;
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Decoder kernels of mother codes, for the bits that are sent.
 */
#pragma once

#include "kernels/rate_matching.h"
#include "kernels/span.h"

#include <memory>
#include <utility>
#include <vector>

namespace gr::neuralfec {

//! A kernel, see frame_decoder.h, that takes LLRs of the sent bits of its code.
template <typename Kernel>
class rate_matched
{
public:
    //! \param sent the bit of the code that each sent bit is; empty: all, in their order
    //! \param shortened bits of the code that are 0 and not sent
    rate_matched(Kernel kernel,
                 const std::vector<uint32_t>& sent,
                 const std::vector<uint32_t>& shortened = {})
        : d_kernel(std::move(kernel))
    {
        if (!sent.empty())
            d_matching =
                std::make_shared<const rate_matching>(d_kernel.n(), sent, shortened);
    }

    std::size_t n() const { return d_matching ? d_matching->sent() : d_kernel.n(); }
    std::size_t k() const { return d_kernel.k(); }
    Kernel& kernel() { return d_kernel; }

    //! out: what the kernel's own decode() takes behind the LLRs
    template <typename... Out>
    std::size_t decode(span<const float> llrs, const Out&... out) const
    {
        if (!d_matching)
            return d_kernel.decode(llrs, out...);
        std::vector<float> whole(llrs.size() / n() * d_matching->whole());
        const std::size_t bad = d_matching->expand(llrs, whole);
        return d_kernel.decode(whole, out...) + bad;
    }

private:
    Kernel d_kernel;
    std::shared_ptr<const rate_matching> d_matching;
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A view of contiguous elements: the argument type of every kernel. C++17 has no
 * std::span; this one has its constructors and names, so that the standard one can
 * take its place.
 */
#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>

namespace gr::neuralfec {

template <typename T>
class span
{
public:
    constexpr span() = default;
    constexpr span(T* data, std::size_t size) : d_data(data), d_size(size) {}
    template <typename U>
    span(std::vector<U>& v) : d_data(v.data()), d_size(v.size())
    {
    }
    template <typename U, typename = std::enable_if_t<std::is_const_v<T>, U>>
    span(const std::vector<U>& v) : d_data(v.data()), d_size(v.size())
    {
    }
    /*! span<T> to span<const T> */
    template <typename U, typename = std::enable_if_t<std::is_same_v<const U, T>>>
    constexpr span(span<U> other) : d_data(other.data()), d_size(other.size())
    {
    }

    constexpr T* data() const { return d_data; }
    constexpr std::size_t size() const { return d_size; }
    constexpr bool empty() const { return d_size == 0; }
    constexpr T& operator[](std::size_t i) const { return d_data[i]; }
    constexpr T* begin() const { return d_data; }
    constexpr T* end() const { return d_data + d_size; }
    constexpr span subspan(std::size_t offset, std::size_t count) const
    {
        return {d_data + offset, count};
    }

private:
    T* d_data = nullptr;
    std::size_t d_size = 0;
};

} // namespace gr::neuralfec

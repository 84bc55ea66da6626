/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/permutation.h"

#include <limits>
#include <numeric>
#include <utility>

namespace gr::neuralfec {

permutation::permutation(span<const uint32_t> order)
    : d_order(order.begin(), order.end()),
      d_inverse(order.size(), std::numeric_limits<uint32_t>::max())
{
    if (order.empty())
        throw std::invalid_argument("permutation: expected at least 1 element, got 0");
    for (std::size_t i = 0; i < order.size(); i++) {
        if (order[i] >= order.size() ||
            d_inverse[order[i]] != std::numeric_limits<uint32_t>::max())
            throw std::invalid_argument("permutation: expected each of 0 .. " +
                                        std::to_string(order.size() - 1) + " once, got " +
                                        std::to_string(order[i]) + " at position " +
                                        std::to_string(i));
        d_inverse[order[i]] = static_cast<uint32_t>(i);
    }
}

permutation permutation::random(std::size_t size, uint64_t seed)
{
    std::vector<uint32_t> order(size);
    std::iota(order.begin(), order.end(), 0u);
    // splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators").
    auto next = [&seed] {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    };
    for (std::size_t i = size; i > 1; i--) {
        // The remainder's bias is below i / 2^64.
        std::swap(order[i - 1], order[next() % i]);
    }
    return permutation(order);
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Fixed permutations: the interleaver of bit-interleaved coded modulation.
 */
#pragma once

#include "kernels/span.h"

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace gr::neuralfec {

/*!
 * A permutation of frames: out[i] = in[order[i]] (apply), and its inverse
 * out[order[i]] = in[i] (invert).
 */
class permutation
{
public:
    /*!
     * \param order each of 0 .. order.size() - 1 once
     * \throws std::invalid_argument if it is not
     */
    explicit permutation(span<const uint32_t> order);

    /*!
     * A uniformly random permutation: Fisher-Yates driven by splitmix64, so that a size
     * and a seed give the same order on every machine and in every later version.
     * \throws std::invalid_argument if size is 0
     */
    static permutation random(std::size_t size, uint64_t seed);

    std::size_t size() const { return d_order.size(); }
    const std::vector<uint32_t>& order() const { return d_order; }

    //! out and in hold any number of whole frames and do not overlap.
    template <typename T>
    void apply(span<const T> in, span<T> out) const
    {
        gather(d_order, in, out);
    }
    template <typename T>
    void invert(span<const T> in, span<T> out) const
    {
        gather(d_inverse, in, out);
    }

private:
    std::vector<uint32_t> d_order;
    std::vector<uint32_t> d_inverse;

    template <typename T>
    static void gather(const std::vector<uint32_t>& order, span<const T> in, span<T> out)
    {
        const std::size_t n = order.size();
        if (in.size() != out.size() || in.size() % n != 0)
            throw std::invalid_argument(
                "permutation: expected two arrays of whole frames of " +
                std::to_string(n) + ", got " + std::to_string(in.size()) + " and " +
                std::to_string(out.size()) + " elements");
        for (std::size_t f = 0; f < in.size(); f += n)
            for (std::size_t i = 0; i < n; i++)
                out[f + i] = in[f + order[i]];
    }
};

} // namespace gr::neuralfec

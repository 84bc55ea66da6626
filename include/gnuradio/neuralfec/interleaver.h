/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/sync_block.h>

#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*!
 * \brief Fixed-permutation interleaver or deinterleaver of frames.
 * \ingroup neuralfec
 *
 * Each vector item is one frame of n elements. Interleaving gives
 * out[i] = in[order[i]], deinterleaving out[order[i]] = in[i], so that one with the
 * same order undoes the other.
 */
class NEURALFEC_API interleaver : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<interleaver>;

    /*!
     * \param item_size bytes of one element: 1 (byte), 4 (float) or 8 (complex)
     * \param order each of 0 .. n - 1 once; n is the vector length of both ports
     * \param deinterleave apply the inverse
     * \throws std::invalid_argument for another size or an order that is no permutation
     */
    static sptr make(std::size_t item_size,
                     const std::vector<uint32_t>& order,
                     bool deinterleave = false);
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/neuralfec/counted_definition.h>
#include <gnuradio/sync_block.h>

#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*!
 * \brief Encoder of binary linear block codes.
 * \ingroup neuralfec
 *
 * One input vector item is a message of k bits, the lowest bit of each byte; one output
 * item its codeword of n bits, message times generator matrix.
 */
class NEURALFEC_API linear_encoder : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<linear_encoder>;

    /*!
     * \param n bits of a codeword
     * \param generator the generator matrix row by row, k * n of 0 and 1
     * \throws std::invalid_argument
     */
    static sptr make(unsigned n, const std::vector<uint8_t>& generator);
};

/*!
 * The same encoder for gr-fec's deployments. A frame of theirs may be several messages,
 * frame_size = codewords * k.
 */
NEURALFEC_API counted_encoder::sptr
make_generic_linear_encoder(unsigned n,
                            const std::vector<uint8_t>& generator,
                            unsigned codewords = 1);

} // namespace gr::neuralfec

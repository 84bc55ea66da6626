/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/neuralfec/codes.h>
#include <gnuradio/neuralfec/counted_definition.h>
#include <gnuradio/sync_block.h>

namespace gr::neuralfec {

/*!
 * \brief Encoder of binary linear block codes.
 * \ingroup neuralfec
 *
 * One input vector item is a message of k bits, the lowest bit of each byte; one output
 * item its codeword, the n bits that are sent.
 */
class NEURALFEC_API linear_encoder : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<linear_encoder>;

    /*!
     * \param code how the code encodes
     * \throws std::invalid_argument
     */
    static sptr make(const encoding_program& code);
};

/*!
 * The same encoder for gr-fec's deployments. A frame of theirs may be several messages,
 * frame_size = codewords * k.
 */
NEURALFEC_API counted_encoder::sptr
make_generic_linear_encoder(const encoding_program& code, unsigned codewords = 1);

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/neuralfec/codes.h>
#include <gnuradio/neuralfec/counted_definition.h>
#include <gnuradio/sync_block.h>

#include <cstdint>
#include <map>
#include <string>

namespace gr::neuralfec {

/*!
 * \brief Successive-cancellation (list) decoder of polar codes, frame by frame.
 * \ingroup neuralfec
 *
 * One input vector item is the n LLRs, log P(b=1) - log P(b=0), of a codeword, or of
 * what is sent of it if the code has rate matching; one output item its message, the
 * unfrozen bits but the check bits in ascending order. A second output, where it is
 * connected, has a byte a frame: 1 where the check bits of a CRC hold (and without a
 * CRC), else 0.
 */
class NEURALFEC_API polar_decoder : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<polar_decoder>;

    /*!
     * \param code the code
     * \param list_size paths kept: 1 (successive cancellation), 2, 4, ... 256
     * \param exact exact instead of min-sum check nodes; asks for true LLRs
     * \throws std::invalid_argument
     */
    static sptr make(const polar_code& code, unsigned list_size = 8, bool exact = false);

    //! frames decoded; bad_samples: LLRs that were NaN and counted as 0; with a CRC,
    //! crc_holds: frames whose check bits hold.
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

/*!
 * The same decoder for gr-fec's deployments (fec.extended_decoder and the others).
 * \param codewords how many make a frame of gr-fec's
 */
NEURALFEC_API counted_decoder::sptr make_generic_polar_decoder(const polar_code& code,
                                                               unsigned list_size,
                                                               bool exact,
                                                               unsigned codewords);

} // namespace gr::neuralfec

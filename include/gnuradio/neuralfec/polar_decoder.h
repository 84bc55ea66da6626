/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/neuralfec/counted_definition.h>
#include <gnuradio/sync_block.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace gr::neuralfec {

/*!
 * \brief Successive-cancellation (list) decoder of polar codes, frame by frame.
 * \ingroup neuralfec
 *
 * One input vector item is a codeword's n LLRs, log P(b=1) - log P(b=0); one output item
 * its message, the bits of the information set in ascending order. Codewords are
 * u F^(x)m without bit reversal.
 */
class NEURALFEC_API polar_decoder : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<polar_decoder>;

    /*!
     * \param n code length, a power of two
     * \param information_set rising positions of the unfrozen bits, check bits last
     * \param list_size paths kept: 1 (successive cancellation), 2, 4, 8, 16 or 32
     * \param exact exact instead of min-sum check nodes; asks for true LLRs
     * \param crc_degree check bits that choose among the list's words; 0: none
     * \param crc_polynomial their polynomial without the leading term, bit i for x^i
     * \throws std::invalid_argument
     */
    static sptr make(unsigned n,
                     const std::vector<uint32_t>& information_set,
                     unsigned list_size = 8,
                     bool exact = false,
                     unsigned crc_degree = 0,
                     uint32_t crc_polynomial = 0);

    //! frames decoded; bad_samples: LLRs that were NaN or infinite and counted as 0.
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

/*! The same decoder for gr-fec's deployments (fec.extended_decoder and the others). */
NEURALFEC_API counted_decoder::sptr
make_generic_polar_decoder(unsigned n,
                           const std::vector<uint32_t>& information_set,
                           unsigned list_size = 8,
                           bool exact = false,
                           unsigned crc_degree = 0,
                           uint32_t crc_polynomial = 0);

} // namespace gr::neuralfec

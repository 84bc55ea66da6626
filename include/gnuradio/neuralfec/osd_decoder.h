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
 * \brief Ordered-statistics decoder of linear block codes, frame by frame.
 * \ingroup neuralfec
 *
 * One input vector item is a codeword's n LLRs, log P(b=1) - log P(b=0); one output item
 * its k message bits.
 */
class NEURALFEC_API osd_decoder : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<osd_decoder>;

    /*!
     * \param code the code
     * \param order how many of the most reliable positions are changed at most: 0 to 4
     * \param early leave patterns out that are improbable to give the nearest word; asks
     *        for true LLRs
     * \throws std::invalid_argument
     */
    static sptr make(const linear_code& code, unsigned order = 2, bool early = false);

    //! frames decoded; bad_samples: LLRs that were NaN and counted as 0.
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

/*!
 * The same decoder for gr-fec's deployments (fec.extended_decoder and the others).
 * \param codewords how many make a frame of gr-fec's
 */
NEURALFEC_API counted_decoder::sptr make_generic_osd_decoder(const linear_code& code,
                                                             unsigned order,
                                                             bool early,
                                                             unsigned codewords);

} // namespace gr::neuralfec

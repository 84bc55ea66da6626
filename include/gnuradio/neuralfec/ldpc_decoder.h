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
 * \brief Belief propagation decoder of LDPC and other systematic linear codes.
 * \ingroup neuralfec
 *
 * One input vector item is a codeword's n LLRs, log P(b=1) - log P(b=0); one output item
 * its k message bits. A second output, which may be left open, tells with 1 or 0 for each
 * frame whether all checks hold. Frames that wait together are decoded together, a SIMD
 * lane each.
 */
class NEURALFEC_API ldpc_decoder : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<ldpc_decoder>;

    /*!
     * \param code the code
     * \param iterations the most iterations of a frame, at least 1
     * \param rule "sum-product" (exact), "min-sum" (normalised) or "min-sum-int8", the
     *        same in bytes and several times as fast
     * \param scale normalisation of min-sum, above 0 and at most 1
     * \param parity_stop end a frame once all checks hold
     * \param schedule "flooding", all checks and then all bits; "layered", the bits of
     * each check at once, in about half as many iterations; or "auto": flooding, but
     *        layered for min-sum-int8, which has no other
     * \throws std::invalid_argument
     */
    static sptr make(const parity_check_code& code,
                     unsigned iterations = 50,
                     const std::string& rule = "sum-product",
                     float scale = 0.75f,
                     bool parity_stop = true,
                     const std::string& schedule = "auto");

    virtual void set_iterations(unsigned iterations) = 0;

    //! Totals: frames, converged (all checks hold), iterations, and bad_samples, LLRs
    //! that were NaN and counted as 0.
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

/*!
 * The same decoder for gr-fec's deployments (fec.extended_decoder and the others). A
 * frame of theirs may be several codewords, frame_size = codewords * k, which then are
 * decoded together.
 */
NEURALFEC_API counted_decoder::sptr
make_generic_ldpc_decoder(const parity_check_code& code,
                          unsigned iterations = 50,
                          const std::string& rule = "sum-product",
                          float scale = 0.75f,
                          bool parity_stop = true,
                          const std::string& schedule = "auto",
                          unsigned codewords = 1);

} // namespace gr::neuralfec

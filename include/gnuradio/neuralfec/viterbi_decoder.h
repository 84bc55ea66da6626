/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/block.h>
#include <gnuradio/neuralfec/api.h>
#include <gnuradio/neuralfec/codes.h>
#include <gnuradio/neuralfec/counted_definition.h>
#include <gnuradio/sync_block.h>

#include <cstdint>
#include <map>
#include <string>

namespace gr::neuralfec {

/*!
 * \brief Maximum-likelihood decoder of frames of a convolutional code.
 * \ingroup neuralfec
 *
 * Each vector item is a frame: n LLRs, log P(b=1) - log P(b=0), in, k message bits out.
 * NaN counts as 0, an infinite LLR as certain. The LLRs' scale does not matter.
 */
class NEURALFEC_API viterbi_decoder : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<viterbi_decoder>;

    /*!
     * \param code the code and its frames
     * \param metric "int16" or "int8" (coarser, faster)
     * \throws std::invalid_argument for anything else
     */
    static sptr make(const convolutional_code& code, const std::string& metric = "int16");

    //! frames; bad_samples: LLRs that were NaN
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

/*!
 * The same decoder for gr-fec's deployments (fec.extended_decoder and the others).
 * \param codewords how many of the code's frames make a frame of gr-fec's
 */
NEURALFEC_API counted_decoder::sptr
make_generic_viterbi_decoder(const convolutional_code& code,
                             const std::string& metric,
                             unsigned codewords);

/*!
 * \brief Viterbi decoder of an endless stream: LLRs in, message bits out.
 * \ingroup neuralfec
 *
 * Bits come in blocks; each is decided with at least `depth` steps on both sides. The
 * bits do not depend on how the scheduler cuts the stream. A bit comes out at the latest
 * when `block + depth` more are in, or when the stream ends: then all whole steps that
 * are left are decided at once. A message on the port "flush", whatever it says, does the
 * same for what has come so far, and the next LLR begins a new stream. Coded bits begin
 * with the first of a step (and of the puncturing pattern). Stream tags are not passed
 * on.
 */
class NEURALFEC_API viterbi_stream_decoder : virtual public gr::block
{
public:
    using sptr = std::shared_ptr<viterbi_stream_decoder>;

    /*!
     * \param code the code, of which k and termination do not matter
     * \param depth traceback depth in steps; 0: 12 per bit of memory
     * \param block message bits that come out together
     * \param metric "int16" or "int8"
     * \throws std::invalid_argument for anything else
     */
    static sptr make(const convolutional_code& code,
                     std::size_t depth = 0,
                     std::size_t block = 2048,
                     const std::string& metric = "int16");

    //! bits; bad_samples: LLRs that were NaN
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

/*!
 * \brief BCJR decoder of frames of a convolutional code.
 * \ingroup neuralfec
 *
 * Each vector item is a frame: n LLRs in, k LLRs of the message bits out.
 */
class NEURALFEC_API bcjr_decoder : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<bcjr_decoder>;

    /*!
     * \param code the code and its frames
     * \param method "log-map", which asks for true LLRs, or "max-log"
     * \throws std::invalid_argument for anything else
     */
    static sptr make(const convolutional_code& code,
                     const std::string& method = "log-map");

    //! frames; bad_samples: LLRs that were NaN
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

} // namespace gr::neuralfec

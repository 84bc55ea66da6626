/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The Viterbi algorithm for convolutional codes.
 *
 * Frames lie across SIMD lanes, 64 of them in a group, so one instruction advances a
 * state of many frames. Decisions are 64-bit words, a bit for each frame, and traceback
 * follows all frames at once by selecting among these words. A few frames are decoded one
 * by one, with their states across lanes, to the same bits.
 */
#pragma once

#include "kernels/convolutional.h"
#include "kernels/span.h"

#include <cstdint>
#include <memory>
#include <string>

namespace gr::neuralfec {

//! How path metrics are held. LLRs become integers that cannot overflow the metrics.
enum class viterbi_metric { int8, int16 };

//! "int8" or "int16". \throws std::invalid_argument for another name
viterbi_metric viterbi_metric_from_name(const std::string& name);

/*!
 * Maximum-likelihood decoder of frames: the message whose codeword c has the largest
 * sum of c_i L_i, where L = log P(1) - log P(0). Among equals, the one whose oldest
 * deciding bit is 0.
 *
 * Integer metrics are kept modulo 2^8 or 2^16. Differences of path metrics are bounded by
 * the code, so comparisons modulo 2^b are exact (Hekstra, "An alternative to metric
 * rescaling in Viterbi decoders", 1989); there is no renormalisation, and a decoder is as
 * good after any number of bits. An LLR L becomes the nearest integer to L * scale, held
 * to +-limit(), which an infinite one becomes. The decision is exact wherever these
 * integers are the LLRs times a constant.
 */
class viterbi_frame_kernel
{
public:
    /*!
     * \param scale integers per LLR; 0: for each frame from its LLRs, outliers apart
     * \throws std::invalid_argument for a negative or not finite scale
     */
    viterbi_frame_kernel(const convolutional_trellis& trellis,
                         const convolutional_frame& frame,
                         viterbi_metric metric = viterbi_metric::int16,
                         float scale = 0);
    viterbi_frame_kernel(viterbi_frame_kernel&&) noexcept;
    ~viterbi_frame_kernel();

    const convolutional_frame& frame() const;
    std::size_t n() const { return frame().received; }
    std::size_t k() const { return frame().message_bits; }
    //! The largest magnitude that an LLR has as an integer.
    int limit() const;

    /*!
     * \param llrs whole frames of frame().received LLRs; NaN counts as 0
     * \param bits as many frames of frame().message_bits bits, 0 or 1
     * \returns how many LLRs were NaN
     * \throws std::invalid_argument for sizes that do not fit
     */
    uint64_t decode(span<const float> llrs, span<uint8_t> bits) const;

private:
    struct impl;
    std::unique_ptr<impl> d_impl;
};

/*!
 * The same for an endless stream that starts and ends in unknown states.
 *
 * Windows of depth + block + depth steps are decoded and their middle is kept, so each
 * decision has seen depth steps before and at least depth steps after it. Windows lie at
 * fixed places: the bits do not depend on how the stream is cut into calls.
 *
 * An object has no memory of the stream: what a call has not consumed comes again, in
 * front of what follows. The stream begins with history() LLRs 0.
 */
class viterbi_stream_kernel
{
public:
    /*!
     * \param puncture as in convolutional_frame
     * \param depth 0: 12 m steps
     * \param block message bits of a window's middle; rounded up, as depth is, to
     *        whole puncturing patterns
     */
    viterbi_stream_kernel(const convolutional_trellis& trellis,
                          const std::vector<uint8_t>& puncture = {},
                          std::size_t depth = 0,
                          std::size_t block = 2048,
                          viterbi_metric metric = viterbi_metric::int16);
    viterbi_stream_kernel(viterbi_stream_kernel&&) noexcept;
    ~viterbi_stream_kernel();

    //! message bits that come at once
    std::size_t block() const;
    //! coded bits that make one block
    std::size_t received() const;
    //! message bits, beyond its own block, that must be received before a bit comes out
    std::size_t depth() const;
    //! coded bits of a whole window: what a call needs to give anything
    std::size_t window() const;
    //! coded bits of a window before its block
    std::size_t history() const;

    struct progress {
        std::size_t consumed;  //!< LLRs
        std::size_t produced;  //!< bits
        uint64_t not_a_number; //!< LLRs of the blocks that were NaN
    };
    //! Decodes the windows that are whole and have room for their blocks.
    progress decode(span<const float> llrs, span<uint8_t> bits) const;

private:
    struct impl;
    std::unique_ptr<impl> d_impl;
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The BCJR algorithm for convolutional codes.
 */
#pragma once

#include "kernels/convolutional.h"
#include "kernels/span.h"

#include <cstdint>
#include <memory>
#include <string>

namespace gr::neuralfec {

//! log_map: max*(a, b) = log(e^a + e^b). max_log: max(a, b), indifferent to the LLRs'
//! scale.
enum class bcjr_method { log_map, max_log };

//! "log-map" or "max-log". \throws std::invalid_argument for another name
bcjr_method bcjr_method_from_name(const std::string& name);

/*!
 * Symbol-by-symbol a-posteriori decoder of frames: for each message bit
 * L = max*_{paths, u=1} M - max*_{paths, u=0} M, where a path's metric M is the sum of
 * c_i L_i, L_i = log P(1) - log P(0) (Bahl, Cocke, Jelinek, Raviv, 1974; Robertson,
 * Villebrun, Hoeher, 1995). Tail-biting frames are decoded exactly, with one pass for
 * each start state; short ones with moderate LLRs by sums of probabilities in double
 * precision, several times as fast.
 *
 * Frames lie across SIMD lanes.
 */
class bcjr_kernel
{
public:
    bcjr_kernel(const convolutional_trellis& trellis,
                const convolutional_frame& frame,
                bcjr_method method = bcjr_method::log_map);
    bcjr_kernel(bcjr_kernel&&) noexcept;
    ~bcjr_kernel();

    const convolutional_frame& frame() const;
    std::size_t n() const { return frame().received; }
    std::size_t k() const { return frame().message_bits; }

    /*!
     * \param llrs whole frames of frame().received LLRs; NaN counts as 0
     * \param posteriors as many frames of frame().message_bits LLRs
     * \returns how many LLRs were NaN
     * \throws std::invalid_argument for sizes that do not fit
     */
    uint64_t decode(span<const float> llrs, span<float> posteriors) const;

private:
    struct impl;
    std::unique_ptr<impl> d_impl;
};

} // namespace gr::neuralfec

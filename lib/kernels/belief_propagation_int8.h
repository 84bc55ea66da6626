/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Min-sum belief propagation in bytes: see belief_propagation.h, whose rule
 * min_sum_int8 this is.
 */
#pragma once

#include "kernels/belief_propagation.h"

#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*!
 * Decodes as belief_propagation::decode does, with messages and posteriors of 8 bits that
 * saturate, several times as many codewords a vector as in single precision. The schedule
 * is layered.
 *
 * Each frame has its own step: 1 / min(max(32 R, 6), 24) of the median of its |LLR|,
 * zeros and certain LLRs left out, where R is the rate of what is left; the median is
 * known to an eighth. So neither the scale of LLRs nor a few large ones matter. Bits
 * whose LLR is certain (infinite, or beyond 1e20) are put back after each iteration.
 *
 * All arithmetic is exact or rounded alike everywhere: the same results, bit for bit, on
 * every SIMD target and for every size of batch.
 */
std::size_t decode_int8(const belief_propagation::graph& g,
                        std::size_t n,
                        const belief_propagation::settings& s,
                        const std::vector<uint32_t>& positions,
                        span<const float> llrs,
                        const belief_propagation::results& out);

} // namespace gr::neuralfec

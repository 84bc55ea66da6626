/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What every decoder makes of LLRs that are no ordinary numbers.
 */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace gr::neuralfec {

/*!
 * The magnitude that stands for certainty: sums of as many as a frame can have stay
 * finite in single precision.
 */
constexpr float certain_llr = 1e20f;

//! An LLR to reckon with: 0 for NaN (nothing known), infinity as +-certain_llr.
inline float known_llr(float llr)
{
    return std::isnan(llr) ? 0.0f : std::clamp(llr, -certain_llr, certain_llr);
}

//! Counts the LLRs that are NaN.
inline std::size_t count_nan(const float* begin, const float* end)
{
    return std::count_if(begin, end, [](float llr) { return std::isnan(llr); });
}

} // namespace gr::neuralfec

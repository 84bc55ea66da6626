/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/rate_matching.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace gr::neuralfec {

rate_matching::rate_matching(std::size_t whole,
                             std::vector<uint32_t> sent,
                             std::vector<uint32_t> shortened)
    : d_whole(whole), d_sent(std::move(sent)), d_shortened(std::move(shortened))
{
    if (d_sent.empty())
        throw std::invalid_argument("rate_matching: expected at least 1 bit to be sent");
    for (const auto* bits : {&d_sent, &d_shortened})
        for (uint32_t bit : *bits)
            if (bit >= whole)
                throw std::invalid_argument("rate_matching: expected bits below " +
                                            std::to_string(whole) + ", got " +
                                            std::to_string(bit));
}

std::size_t rate_matching::expand(span<const float> llrs, span<float> out) const
{
    const std::size_t frames = llrs.size() / sent();
    if (llrs.size() % sent() != 0 || out.size() != frames * d_whole)
        throw std::invalid_argument(
            "rate_matching: expected frames of " + std::to_string(sent()) +
            " LLRs and as many of " + std::to_string(d_whole) + ", got " +
            std::to_string(llrs.size()) + " and " + std::to_string(out.size()));
    std::size_t not_a_number = 0;
    std::fill(out.begin(), out.end(), 0.0f);
    for (std::size_t f = 0; f < frames; f++) {
        const float* in = llrs.data() + f * sent();
        float* mother = out.data() + f * d_whole;
        for (std::size_t i = 0; i < sent(); i++) {
            if (std::isnan(in[i])) {
                not_a_number++;
                continue;
            }
            float& sum = mother[d_sent[i]];
            sum += in[i];
            // Certain of both: nothing is known.
            if (std::isnan(sum))
                sum = 0.0f;
        }
        for (uint32_t bit : d_shortened)
            mother[bit] = std::numeric_limits<float>::lowest();
    }
    return not_a_number;
}

} // namespace gr::neuralfec

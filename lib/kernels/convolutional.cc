/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/convolutional.h"

#include <algorithm>
#include <stdexcept>

namespace gr::neuralfec {

namespace {

unsigned bit_length(unsigned x)
{
    unsigned length = 0;
    for (; x; x >>= 1)
        length++;
    return length;
}

unsigned reversed(unsigned x, unsigned length)
{
    unsigned y = 0;
    for (unsigned i = 0; i < length; i++)
        y |= ((x >> i) & 1) << (length - 1 - i);
    return y;
}

unsigned magnitude(int x)
{
    return x < 0 ? 0u - static_cast<unsigned>(x) : x;
}

unsigned parity(unsigned x)
{
    return __builtin_parity(x);
}

} // namespace

convolutional_trellis::convolutional_trellis(const std::vector<int>& generators,
                                             unsigned feedback)
{
    if (generators.empty() || generators.size() > max_outputs)
        throw std::invalid_argument("convolutional code: expected 1 to " +
                                    std::to_string(max_outputs) + " generators, got " +
                                    std::to_string(generators.size()));
    unsigned length = bit_length(feedback);
    for (int g : generators) {
        if (g == 0)
            throw std::invalid_argument(
                "convolutional code: expected generators other than 0, got 0");
        length = std::max(length, bit_length(magnitude(g)));
    }
    if (length < 2 || length > max_length)
        throw std::invalid_argument(
            "convolutional code: expected a constraint length of 2 to " +
            std::to_string(max_length) + ", got " + std::to_string(length));
    if (feedback && bit_length(feedback) != length)
        throw std::invalid_argument("convolutional code: expected a feedback of " +
                                    std::to_string(length) +
                                    " bits, as long as the generators, got " +
                                    std::to_string(bit_length(feedback)));
    d_memory = length - 1;
    for (int g : generators) {
        d_inverted |= (g < 0) << d_taps.size();
        d_taps.push_back(reversed(magnitude(g), length));
    }
    if (feedback)
        d_feedback = reversed(feedback, length);

    // Two paths differ like the path of their sum differs from the all-zero one: in the
    // outputs without their complements.
    for (unsigned path = 0; path < (1u << (2 * d_memory)); path++) {
        const unsigned start = path >> d_memory;
        const unsigned input = path & (states() - 1);
        unsigned weight = 0, last = 0;
        for (unsigned t = 1; t <= d_memory; t++) {
            last = weight;
            weight += __builtin_popcount(
                output((path >> (d_memory - t)) & (2 * states() - 1)) ^ d_inverted);
        }
        d_max_weight = std::max(d_max_weight, start == 0 ? weight : last);
        if (input == 0)
            d_tail_weight = std::max(d_tail_weight, weight);
    }
}

unsigned convolutional_trellis::output(unsigned edge) const
{
    unsigned c = d_inverted;
    for (std::size_t j = 0; j < d_taps.size(); j++)
        c ^= parity(edge & d_taps[j]) << j;
    return c;
}

unsigned convolutional_trellis::message(unsigned edge) const
{
    return parity(edge & d_feedback);
}

termination termination_from_name(const std::string& name)
{
    if (name == "none")
        return termination::none;
    if (name == "zero")
        return termination::zero;
    if (name == "tail-biting")
        return termination::tail_biting;
    throw std::invalid_argument(
        "termination: expected \"none\", \"zero\" or \"tail-biting\", got \"" + name +
        "\"");
}

convolutional_frame::convolutional_frame(const convolutional_trellis& trellis,
                                         std::size_t k,
                                         termination end,
                                         const std::vector<uint8_t>& puncture)
    : message_bits(k),
      end(end),
      steps(k + (end == termination::zero ? trellis.memory() : 0)),
      punctured(std::count(puncture.begin(), puncture.end(), 0) != 0)
{
    const std::size_t n = trellis.outputs();
    if (k == 0)
        throw std::invalid_argument(
            "convolutional frame: expected at least 1 message bit, got 0");
    if (end == termination::tail_biting && k < trellis.memory())
        throw std::invalid_argument("convolutional frame: expected at least " +
                                    std::to_string(trellis.memory()) +
                                    " bits for tail-biting, got " + std::to_string(k));
    if (puncture.size() % n != 0)
        throw std::invalid_argument(
            "convolutional frame: expected a puncturing pattern of a multiple of " +
            std::to_string(n) + " bits, got " + std::to_string(puncture.size()));
    received = 0;
    for (std::size_t c = 0; c < steps * n; c++) {
        rank.push_back(static_cast<uint32_t>(received));
        kept.push_back(puncture.empty() || puncture[c % puncture.size()]);
        received += kept.back();
    }
    if (received == 0)
        throw std::invalid_argument(
            "convolutional frame: expected a puncturing pattern that sends a bit of " +
            std::to_string(steps * n));
}

} // namespace gr::neuralfec

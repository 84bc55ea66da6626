/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/xor_encoder.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace gr::neuralfec {

namespace {

constexpr std::size_t word_frames = 64;

void check_below(const std::vector<uint32_t>& indices, std::size_t end, const char* what)
{
    for (uint32_t index : indices)
        if (index >= end)
            throw std::invalid_argument("xor_encoder: expected " + std::string(what) +
                                        " below " + std::to_string(end) + ", got " +
                                        std::to_string(index));
}

} // namespace

xor_encoder::xor_encoder(program p) : d_program(std::move(p))
{
    const auto& begins = d_program.begins;
    if (d_program.message.empty() || d_program.sent.empty())
        throw std::invalid_argument(
            "xor_encoder: expected at least 1 message bit and 1 code bit");
    if (begins.size() != d_program.targets.size() + 1 || begins.front() != 0 ||
        begins.back() != d_program.sources.size() ||
        !std::is_sorted(begins.begin(), begins.end()))
        throw std::invalid_argument(
            "xor_encoder: expected the sources of each step to begin where those of the "
            "step before end");
    check_below(d_program.message, d_program.places, "places of message bits");
    check_below(d_program.targets, d_program.places, "targets");
    check_below(d_program.sources, d_program.places, "sources");
    check_below(d_program.sent, d_program.places, "places of code bits");
}

void xor_encoder::encode(span<const uint8_t> messages, span<uint8_t> codewords) const
{
    const std::size_t frames = messages.size() / k();
    if (messages.size() % k() != 0 || codewords.size() != frames * n())
        throw std::invalid_argument(
            "xor_encoder: expected frames of " + std::to_string(k()) +
            " bits and as many of " + std::to_string(n()) + ", got " +
            std::to_string(messages.size()) + " and " + std::to_string(codewords.size()));
    const program& p = d_program;
    std::vector<uint64_t> memory(p.places);
    for (std::size_t first = 0; first < frames; first += word_frames) {
        const std::size_t count = std::min(word_frames, frames - first);
        std::fill(memory.begin(), memory.end(), 0);
        for (std::size_t f = 0; f < count; f++) {
            const uint8_t* in = messages.data() + (first + f) * k();
            for (std::size_t i = 0; i < k(); i++)
                memory[p.message[i]] |= uint64_t(in[i] & 1) << f;
        }
        for (std::size_t s = 0; s < p.targets.size(); s++) {
            uint64_t sum = 0;
            for (uint32_t i = p.begins[s]; i < p.begins[s + 1]; i++)
                sum ^= memory[p.sources[i]];
            memory[p.targets[s]] = sum;
        }
        for (std::size_t f = 0; f < count; f++) {
            uint8_t* out = codewords.data() + (first + f) * n();
            for (std::size_t i = 0; i < n(); i++)
                out[i] = memory[p.sent[i]] >> f & 1;
        }
    }
}

} // namespace gr::neuralfec

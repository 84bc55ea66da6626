/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/matrix_encoder.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace gr::neuralfec {

matrix_encoder::matrix_encoder(std::size_t n, span<const uint8_t> generator)
    : d_n(n), d_k(n ? generator.size() / n : 0), d_words((n + 63) / 64)
{
    if (generator.empty() || n == 0 || generator.size() % n != 0)
        throw std::invalid_argument(
            "matrix_encoder: expected whole rows of n bits, got " +
            std::to_string(generator.size()) + " bits for n = " + std::to_string(n));
    d_rows.assign(d_k * d_words, 0);
    for (std::size_t i = 0; i < generator.size(); i++) {
        if (generator[i] > 1)
            throw std::invalid_argument("matrix_encoder: expected 0 and 1, got " +
                                        std::to_string(generator[i]));
        d_rows[i / n * d_words + i % n / 64] |= uint64_t(generator[i]) << (i % n % 64);
    }
}

void matrix_encoder::encode(span<const uint8_t> messages, span<uint8_t> codewords) const
{
    const std::size_t frames = messages.size() / d_k;
    if (messages.size() % d_k != 0 || codewords.size() != frames * d_n)
        throw std::invalid_argument("matrix_encoder: expected frames of " +
                                    std::to_string(d_k) + " and " + std::to_string(d_n) +
                                    " bits, got " + std::to_string(messages.size()) +
                                    " and " + std::to_string(codewords.size()));
    std::vector<uint64_t> codeword(d_words);
    for (std::size_t f = 0; f < frames; f++) {
        std::fill(codeword.begin(), codeword.end(), 0);
        for (std::size_t i = 0; i < d_k; i++) {
            // A mask, not a branch: message bits cannot be predicted.
            const uint64_t chosen = -uint64_t(messages[f * d_k + i] & 1);
            for (std::size_t w = 0; w < d_words; w++)
                codeword[w] ^= d_rows[i * d_words + w] & chosen;
        }
        for (std::size_t i = 0; i < d_n; i++)
            codewords[f * d_n + i] = codeword[i / 64] >> (i % 64) & 1;
    }
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Encoder of binary linear block codes.
 */
#pragma once

#include "kernels/span.h"

#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*! Codewords u G over GF(2), 64 bits at a time. */
class matrix_encoder
{
public:
    /*!
     * \param n bits of a codeword
     * \param generator G row by row, k * n of 0 and 1
     * \throws std::invalid_argument if it is empty, no whole rows, or holds other values
     */
    matrix_encoder(std::size_t n, span<const uint8_t> generator);

    std::size_t n() const { return d_n; }
    std::size_t k() const { return d_k; }

    /*!
     * \param messages F * k; the lowest bit of each byte counts
     * \param codewords F * n
     * \throws std::invalid_argument if a size does not fit
     */
    void encode(span<const uint8_t> messages, span<uint8_t> codewords) const;

private:
    std::size_t d_n;
    std::size_t d_k;
    std::size_t d_words;
    //! Bit i of word w of a row stands for its column 64 w + i.
    std::vector<uint64_t> d_rows;
};

} // namespace gr::neuralfec

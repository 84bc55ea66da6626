/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/gf2.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace gr::neuralfec {

gf2_map::gf2_map(span<const uint8_t> matrix, std::size_t rows)
    : d_rows(rows),
      d_columns(rows == 0 ? 0 : matrix.size() / rows),
      d_words((d_columns + 63) / 64),
      d_packed(d_rows * d_words, 0)
{
    if (d_columns == 0 || matrix.size() != rows * d_columns)
        throw std::invalid_argument("gf2_map: expected a matrix of whole rows, got " +
                                    std::to_string(matrix.size()) + " elements in " +
                                    std::to_string(rows) + " rows");
    for (std::size_t r = 0; r < d_rows; r++)
        for (std::size_t c = 0; c < d_columns; c++) {
            const uint8_t bit = matrix[r * d_columns + c];
            if (bit > 1)
                throw std::invalid_argument("gf2_map: expected bits 0 and 1, got " +
                                            std::to_string(bit));
            d_packed[r * d_words + c / 64] |= uint64_t(bit) << c % 64;
        }
}

void gf2_map::apply(span<const uint8_t> x, span<uint8_t> y) const
{
    const std::size_t frames = x.size() / d_rows;
    if (x.size() % d_rows != 0 || y.size() != frames * d_columns)
        throw std::invalid_argument(
            "gf2_map: expected frames of " + std::to_string(d_rows) +
            " bits and as many of " + std::to_string(d_columns) + ", got " +
            std::to_string(x.size()) + " and " + std::to_string(y.size()));
    std::vector<uint64_t> sum(d_words);
    for (std::size_t f = 0; f < frames; f++) {
        std::fill(sum.begin(), sum.end(), 0);
        for (std::size_t r = 0; r < d_rows; r++) {
            // A mask, not a branch: bits cannot be predicted.
            const uint64_t mask = -uint64_t(x[f * d_rows + r] & 1);
            for (std::size_t w = 0; w < d_words; w++)
                sum[w] ^= row(r)[w] & mask;
        }
        for (std::size_t c = 0; c < d_columns; c++)
            y[f * d_columns + c] = sum[c / 64] >> c % 64 & 1;
    }
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Linear maps of bits: syndromes, messages of codewords, encoding.
 */
#pragma once

#include "kernels/span.h"

#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*!
 * y = x A over GF(2), with 64 columns of A in a word: a one of x costs columns / 64
 * exclusive ors. The syndrome is the map of H^T, encoding that of G.
 */
class gf2_map
{
public:
    /*!
     * \param matrix rows of A one after the other, bytes 0 or 1
     * \param rows at least 1
     * \throws std::invalid_argument for another size or other values
     */
    gf2_map(span<const uint8_t> matrix, std::size_t rows);

    std::size_t rows() const { return d_rows; }
    std::size_t columns() const { return d_columns; }
    //! 64-bit words of a row.
    std::size_t words() const { return d_words; }
    //! Column c of row r is bit c % 64 of word c / 64.
    const uint64_t* row(std::size_t r) const { return d_packed.data() + r * d_words; }

    /*!
     * \param x F frames of rows() bits; the lowest bit of each byte counts
     * \param y out, F frames of columns() bits
     * \throws std::invalid_argument if a size does not fit
     */
    void apply(span<const uint8_t> x, span<uint8_t> y) const;

private:
    std::size_t d_rows, d_columns, d_words;
    std::vector<uint64_t> d_packed;
};

} // namespace gr::neuralfec

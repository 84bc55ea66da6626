/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Adaptive arithmetic coding of a quantizer's levels.
 */
#pragma once

#include "kernels/span.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*!
 * Codes numbers below 2^bits with as many bits as their own distribution needs: each
 * costs -log2 of the estimate (n_s + 1/2) / (n + M/2) of Krichevsky and Trofimov (IEEE
 * Trans. Inf. Theory 27 (2), 1981) from the numbers before it, n_s of n, where M =
 * 2^bits; above 4 bits the upper ones come first and the lower four know them. Witten,
 * Neal, Cleary, CACM 30 (6), 1987, with carries as in Martin's range coder (1979).
 * Integers alone: every machine makes and reads the same bytes.
 *
 * \param bits 1 to 8
 * \param contexts what is known of each number beforehand: those of each context are
 * counted apart; none where nothing is known
 * \throws std::invalid_argument for other bits, for numbers of 2^bits and above and for
 * another number of contexts
 */
std::vector<uint8_t> arithmetic_encode(span<const uint8_t> numbers,
                                       std::size_t bits,
                                       span<const uint8_t> contexts = {});

/*!
 * Reads as many numbers as `numbers` has room for. What is behind the end of `code`
 * counts as zeros, which arithmetic_encode leaves out at its end; bytes that are no code
 * give some numbers below 2^bits.
 */
void arithmetic_decode(span<const uint8_t> code,
                       std::size_t bits,
                       span<uint8_t> numbers,
                       span<const uint8_t> contexts = {});

} // namespace gr::neuralfec

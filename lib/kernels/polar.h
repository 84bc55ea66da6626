/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Successive-cancellation decoding of polar codes: with and without a list, and as an
 * ensemble.
 */
#pragma once

#include "kernels/span.h"

#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*!
 * In place, the polar transform x = u F^(x)m over GF(2) with F = [[1, 0], [1, 1]], no bit
 * reversal; x holds whole frames of n = 2^m bits. It is its own inverse.
 */
void polar_transform(span<uint8_t> x, std::size_t n);

/*!
 * Successive-cancellation (Arikan 2009) and successive-cancellation list decoder
 * (Tal and Vardy 2015, with the metric of Balatsoukas-Stimming, Parizi and Burg 2015).
 *
 * LLRs are log P(b=1) - log P(b=0). Check nodes are min-sum,
 * f(a, b) = sign(a) sign(b) min(|a|, |b|), or exact, with the path metric to match
 * (penalty of a contradicted LLR a: |a|, or log(1 + e^|a|) and its complement).
 * Frozen and repetition subcodes are decoded at once, which changes no decision; so are
 * subcodes without frozen bits when the list has one path.
 *
 * With a cyclic redundancy check the last bits of the information set hold the check bits
 * of those before (most significant first, register starting at 0), and the best path
 * that satisfies it wins, or the best of all where none does.
 *
 * Frames and paths lie in the lanes of vectors; paths are copied by composing lane
 * permutations, not by moving LLRs.
 */
class successive_cancellation
{
public:
    static constexpr std::size_t max_list_size = 256;

    /*!
     * \param n code length, a power of two from 2 to 65536
     * \param information_set rising positions of the unfrozen bits
     * \param list_size paths kept: 1 (successive cancellation), 2, 4, ... 256
     * \param exact exact instead of min-sum check nodes
     * \param crc_degree check bits within the information set; 0: none
     * \param crc_polynomial its polynomial without the leading term, bit i for x^i
     * \param order which of the information set holds each message bit, then each check
     *        bit; empty: in its order
     * \throws std::invalid_argument
     */
    successive_cancellation(std::size_t n,
                            const std::vector<uint32_t>& information_set,
                            std::size_t list_size = 1,
                            bool exact = false,
                            unsigned crc_degree = 0,
                            uint32_t crc_polynomial = 0,
                            const std::vector<uint32_t>& order = {});

    std::size_t n() const { return d_n; }
    //! Message bits: the information set less the check bits.
    std::size_t k() const { return d_information.size() - d_crc_degree; }

    /*!
     * Decodes frames of n LLRs into messages of k bits, in the order of the information
     * set or the one given. Infinite LLRs are certain; NaN counts as 0, and how many
     * there were is returned.
     * \param verdicts 1 for each frame whose check bits hold, else 0; empty: not wanted
     * \throws std::invalid_argument for arrays that are not as many whole frames
     */
    std::size_t decode(span<const float> llrs,
                       span<uint8_t> messages,
                       span<uint8_t> verdicts = {}) const;

    enum class node : uint8_t { frozen, repetition, free, mixed };
    //! What is below each node of the binary tree: the root is 1, the children 2i, 2i
    //! + 1.
    const std::vector<node>& tree() const { return d_tree; }
    const std::vector<uint32_t>& information_set() const { return d_information; }
    std::size_t list_size() const { return d_list_size; }
    bool exact() const { return d_exact; }
    //! Positions of the message bits, then the check bits.
    const std::vector<uint32_t>& places() const { return d_places; }
    //! True without a check, too. bits: those of places().
    bool crc_holds(const uint8_t* bits) const;

private:
    const std::size_t d_n;
    const std::vector<uint32_t> d_information;
    const std::size_t d_list_size;
    const bool d_exact;
    const unsigned d_crc_degree;
    const uint32_t d_crc_polynomial;
    std::vector<uint32_t> d_places;
    std::vector<node> d_tree;
};

/*!
 * Automorphism ensemble of successive-cancellation decoders (Geiselhart, Elkelesh,
 * Ebada, Cammerer, ten Brink 2021): a frame is decoded under one permutation after the
 * other that maps the code to itself, and the word nearest to the LLRs, with the least
 * sum of |L| over the positions where it contradicts their signs, is the decision. It
 * is final as soon as so many of the decodings agree on it.
 *
 * Lanes of vectors hold frames, or several permutations of one where frames are few.
 */
class automorphism_ensemble
{
public:
    /*!
     * \param n, information_set as of successive_cancellation
     * \param permutations of positions, one after the other: entry j of one is the
     *        position of the codeword that the decoder takes for its position j
     * \param agreement decodings that find the nearest word before it is final
     * \throws std::invalid_argument
     */
    automorphism_ensemble(std::size_t n,
                          const std::vector<uint32_t>& information_set,
                          const std::vector<uint32_t>& permutations,
                          std::size_t agreement);

    std::size_t n() const { return d_decoder.n(); }
    std::size_t k() const { return d_decoder.k(); }

    /*!
     * Decodes frames of n LLRs into messages of k bits, as successive_cancellation does.
     * \param decodings how many each frame took; empty: not wanted
     * \throws std::invalid_argument for arrays that are not as many whole frames
     */
    std::size_t decode(span<const float> llrs,
                       span<uint8_t> messages,
                       span<uint32_t> decodings = {}) const;

    const successive_cancellation& decoder() const { return d_decoder; }
    const std::vector<uint32_t>& permutations() const { return d_permutations; }
    std::size_t agreement() const { return d_agreement; }

private:
    const successive_cancellation d_decoder;
    const std::vector<uint32_t> d_permutations;
    const std::size_t d_agreement;
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Flooding belief propagation over the Tanner graph of a binary linear code.
 */
#pragma once

#include "kernels/span.h"

#include <cstdint>
#include <string>
#include <vector>

namespace gr::neuralfec {

/*!
 * Decodes batches of codewords, one codeword a SIMD lane. A codeword that is done makes
 * room for the next one at once, so that stopping early pays in full.
 *
 * LLRs are L = log P(b=1) - log P(b=0). NaN counts as 0, "nothing known", infinity as
 * certainty with its sign. Each iteration updates all checks, then all bits
 * (flooding):
 *
 *   L(c->b) = -2 atanh prod_{b' != b} tanh(-L(b'->c) / 2)             (sum_product)
 *   L(c->b) = -scale prod_{b' != b} sign(-L(b'->c)) min |L(b'->c)|    (min_sum)
 *   L(b->c) = L(b) + sum_{c' != c} L(c'->b)
 *
 * Sum-product messages into a check are limited to +-41.6 (a probability of 2^-60), but
 * not in a frame of which most LLRs are beyond +-20.8: there, where LLRs are likely to be
 * multiples of true ones, the same rule is evaluated by logarithms, which takes longer.
 *
 * The layered schedule updates the bits of each check at once, in the order of checks, so
 * that the next check has the news (M. M. Mansour, N. R. Shanbhag, "High-throughput LDPC
 * decoders", IEEE Trans. VLSI Syst. 11(6), 2003).
 *
 * exp and log are polynomials, and no operation is fused: results are the same, bit for
 * bit, on every SIMD target and for every size of batch.
 *
 * R. G. Gallager, "Low-Density Parity-Check Codes", 1963; F. R. Kschischang, B. J. Frey,
 * H.-A. Loeliger, "Factor graphs and the sum-product algorithm", IEEE Trans. Inf. Theory
 * 47(2), 2001; J. Chen, M. P. C. Fossorier, "Near optimum universal belief propagation
 * based decoding of LDPC codes", IEEE Trans. Commun. 50(3), 2002 (normalised min-sum).
 */
class belief_propagation
{
public:
    //! min_sum_int8 is min_sum in bytes, which are many more codewords a vector; each
    //! frame chooses its own step, and the schedule is always layered.
    enum class check_rule { sum_product, min_sum, min_sum_int8 };

    struct settings {
        check_rule rule = check_rule::sum_product;
        uint32_t iterations = 50;
        //! Normalisation of min_sum, 0 < scale <= 1; min_sum_int8 rounds it to 128ths.
        float scale = 0.75f;
        //! Updates bits after each check, not after all: about half as many iterations.
        bool layered = false;
        //! Ends a codeword once all checks hold, before the first iteration too.
        bool parity_stop = true;

        /*!
         * Sets the rule and the schedule by their names.
         *
         * \param rule_name "sum-product", "min-sum" or "min-sum-int8"
         * \param schedule "flooding", "layered", or "auto": flooding, but layered for
         *        min-sum-int8, which has no other
         * \throws std::invalid_argument for another name
         */
        void set(const std::string& rule_name, const std::string& schedule);
    };

    //! Where the results of F codewords go; what is empty is not wanted.
    struct results {
        //! Decisions at the positions asked for: F * k
        span<uint8_t> bits;
        //! Iterations done: F
        span<uint32_t> iterations;
        //! 1 where all checks hold and no bit is left at LLR 0, else 0: F
        span<uint8_t> converged;
        //! LLRs of all bits after the last iteration: F * n
        span<float> posteriors;
    };

    /*!
     * \param n bits of a codeword
     * \param checks the check of each one in the parity-check matrix, ascending
     * \param bits the bit of each, ascending within a check
     * \param positions bits to decide: the information set, or all
     * \throws std::invalid_argument for indices or settings out of range or order, and
     *         for min_sum_int8 that is not layered
     */
    belief_propagation(std::size_t n,
                       span<const uint32_t> checks,
                       span<const uint32_t> bits,
                       span<const uint32_t> positions,
                       const settings& s);

    std::size_t n() const { return d_n; }
    //! Bits decided of each codeword.
    std::size_t k() const { return d_positions.size(); }

    //! \throws std::invalid_argument for 0
    void set_iterations(uint32_t iterations);

    /*!
     * \param llrs F * n
     * \returns how many LLRs were NaN
     * \throws std::invalid_argument if a size does not fit
     */
    std::size_t decode(span<const float> llrs, const results& out) const;
    std::size_t decode(span<const float> llrs, span<uint8_t> bits) const
    {
        results out;
        out.bits = bits;
        return decode(llrs, out);
    }

    /*! The Tanner graph as the kernel walks it. */
    struct graph {
        //! Edges of check c: check_begin[c] .. check_begin[c + 1] - 1, in order of bits.
        std::vector<uint32_t> check_begin{0};
        std::vector<uint32_t> edge_bit;
        //! Edges of bit b: bit_edges[bit_begin[b]] .. bit_edges[bit_begin[b + 1] - 1]
        std::vector<uint32_t> bit_begin;
        std::vector<uint32_t> bit_edges;
        std::size_t max_degree = 0;
    };

private:
    std::size_t d_n;
    std::vector<uint32_t> d_positions;
    settings d_settings;
    graph d_graph;
};

} // namespace gr::neuralfec

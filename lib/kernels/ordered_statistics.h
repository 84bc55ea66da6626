/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Ordered-statistics decoding of binary linear block codes.
 */
#pragma once

#include "kernels/gf2.h"
#include "kernels/span.h"

#include <cstdint>

namespace gr::neuralfec {

/*!
 * Ordered-statistics decoding (Fossorier and Lin 1995): the k most reliable independent
 * positions are taken as they are and with up to `order` of them changed; of the
 * codewords that follow the one nearest to the LLRs, with the least sum of |L| over the
 * positions where it contradicts their signs, is the decision. Patterns whose changed
 * positions alone cost more than the best word so far are left out, which changes no
 * decision.
 *
 * An early end leaves out those, too, that are improbable to be nearer than the best so
 * far: whose changed positions cost more than the best word less what the check bits of
 * the word sent are expected to cost, less a standard deviation of that (after the
 * discarding rules of Yue et al., "Probability-based ordered-statistics decoding for
 * short block codes", IEEE Commun. Lett., 2021). It asks for true LLRs.
 */
class ordered_statistics
{
public:
    static constexpr unsigned max_order = 4;

    /*!
     * \param generator G, k rows of n bits
     * \param pseudo_inverse n rows of k bits, G pseudo_inverse = I
     * \param k rows of G; k and n - k at most 1024
     * \param order 0 to 4
     * \param early leave improbable patterns out
     * \throws std::invalid_argument
     */
    ordered_statistics(span<const uint8_t> generator,
                       span<const uint8_t> pseudo_inverse,
                       std::size_t k,
                       unsigned order,
                       bool early = false);

    std::size_t n() const { return d_generator.columns(); }
    std::size_t k() const { return d_generator.rows(); }

    /*!
     * Decodes frames of n LLRs, log P(b=1) - log P(b=0), into messages of k bits.
     * Infinite LLRs are certain; NaN counts as 0, and how many there were is returned.
     * \throws std::invalid_argument for arrays that are not as many whole frames
     */
    std::size_t decode(span<const float> llrs, span<uint8_t> messages) const;

    /*!
     * The same with positions ordered, and taken, by other LLRs: those that another
     * decoder has improved. Distances are still to the LLRs of the channel; there is no
     * early end but by the reach.
     *
     * \param reach changed positions' improved |L| sum up to at most this: if they are
     * true a-posteriori LLRs, patterns less probable than e^-reach times no change are
     * left out
     */
    std::size_t decode_reordered(span<const float> llrs,
                                 span<const float> improved,
                                 float reach,
                                 span<uint8_t> messages) const;

private:
    gf2_map d_generator;
    gf2_map d_pseudo_inverse;
    unsigned d_order;
    bool d_early;

    std::size_t decode_frames(span<const float> llrs,
                              const float* improved,
                              float reach,
                              span<uint8_t> messages) const;
};

} // namespace gr::neuralfec

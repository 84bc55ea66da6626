/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A syndrome-based neural decoder of polar codes, laid out on the schedule of successive
 * cancellation: forward pass and gradient.
 */
#pragma once

#include "kernels/span.h"
#include "kernels/workspace.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace gr::neuralfec {

/*!
 * Estimates which bits of a hard decision are wrong from the reliabilities |L| and the
 * syndrome. The flips e of a word have u = e F^(x)m, whose frozen bits are the syndrome
 * and whose other bits are the flips of the message.
 *
 * Each node of the code's binary tree, down to subcodes of 8 bits, takes for each of its
 * positions an LLR and a vector of features from its parent and gives as much back. Three
 * small networks a level (weights shared by its nodes, biases of their own; one hidden
 * layer of rectifiers) add to the rules of belief propagation,
 *
 *     to the left child   l = a [+] (b + r)
 *     to the right child  l = b + (a [+] s)
 *     to the parent       s [+] (r + b),  r + (a [+] s)
 *
 * with a, b the LLRs of the two halves and s, r what the left and the right child gave
 * back, r in the first formula from the pass before. [+] is sign(a) sign(b) min(|a|, |b|)
 * + c(|a + b|) - c(|a - b|), c(x) = max(0, 0.65 - 0.29 x). A subcode of 8 bits adds what
 * a network of its own says to the LLRs and takes the exact a-posteriori probabilities of
 * its words. All signs are taken relative to those of the LLRs, so that the network knows
 * the symmetry of the code rather than learning it.
 *
 * Passes share their weights. LLRs are true ones: the decoder depends on their scale.
 */
class cancellation_network
{
public:
    static constexpr std::size_t leaf = 8;

    /*!
     * \param n code length, a power of two from 16 to 1024
     * \param unfrozen rising positions of the message bits in u
     * \param features of a position beside its LLR, at least 1
     * \param hidden, leaf_hidden width of the hidden layers, multiples of 4
     * \throws std::invalid_argument
     */
    cancellation_network(std::size_t n,
                         const std::vector<uint32_t>& unfrozen,
                         std::size_t features,
                         std::size_t hidden,
                         std::size_t leaf_hidden);

    //! One layer's place in the parameters: weights[out][in], then a bias (rows of them).
    struct layer {
        std::size_t in, out, biases, weight, bias;
    };
    enum operation { to_left, to_right, to_parent };

    std::size_t n() const { return d_n; }
    std::size_t k() const { return d_unfrozen.size(); }
    std::size_t levels() const { return d_levels; }
    std::size_t features() const { return d_features; }
    std::size_t parameters() const { return d_parameters; }
    //! Memory that is kept from one call to the next.
    struct workspace {
        virtual ~workspace() = default;
    };

    //! First (0) and second (1) layer of the network of an operation at a level.
    const layer& node_layer(std::size_t level, operation o, std::size_t which) const
    {
        return d_layers[(level * 3 + o) * 2 + which];
    }
    const layer& leaf_layer(std::size_t block, std::size_t which) const
    {
        return d_layers[d_levels * 6 + block * 2 + which];
    }
    //! All layers, in the order of the parameters; those of frozen subcodes are empty.
    const std::vector<layer>& layers() const { return d_layers; }
    //! Bit i: position i of the subcode is unfrozen.
    uint8_t unfrozen_mask(std::size_t block) const { return d_masks[block]; }
    const std::vector<uint32_t>& unfrozen() const { return d_unfrozen; }

    /*!
     * Flips of F frames after some passes, as log P(flip) - log P(no flip).
     *
     * \param parameters as layers() places them
     * \param reliabilities |L|, F frames of n
     * \param u F frames of n bits, of which the frozen ones are read: the syndrome
     * \param message out, F frames of k: flips of the message
     * \param codeword out, F frames of n: flips of the codeword
     */
    void estimate(span<const float> parameters,
                  span<const float> reliabilities,
                  span<const uint8_t> u,
                  std::size_t passes,
                  span<float> message,
                  span<float> codeword) const;

    /*!
     * Mean over frames of the loss, and its gradient: after each pass the binary
     * cross-entropy of the message's flips (mean over k), plus codeword_weight times that
     * of the codeword's (mean over n); all passes but the last count early_weight.
     *
     * \param u, flips F frames of n bits: u = flips F^(x)m and the flips themselves
     * \param gradient out, parameters() numbers
     */
    double gradient(span<const float> parameters,
                    span<const float> reliabilities,
                    span<const uint8_t> u,
                    span<const uint8_t> flips,
                    std::size_t passes,
                    float codeword_weight,
                    float early_weight,
                    span<float> gradient) const;

private:
    const std::size_t d_n;
    const std::vector<uint32_t> d_unfrozen;
    const std::size_t d_features;
    std::size_t d_levels = 0;
    std::size_t d_parameters = 0;
    std::vector<layer> d_layers;
    std::vector<uint8_t> d_masks;
    // Empty until the first call, which knows what it needs.
    mutable workspace_pool<std::unique_ptr<workspace>> d_workspaces{
        [] { return nullptr; }};
};

} // namespace gr::neuralfec

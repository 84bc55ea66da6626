/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The belief-driven feedback code (feedback/belief/): what transmitter and receiver
 * both compute. Their beliefs must agree to the last bit, in two processes, on two
 * machines, on any SIMD target. So each group has a lane of its own and nothing is summed
 * across lanes; there is no fused multiply-add, no library's exponential, and nothing
 * so small that flushing it to zero would show.
 */
#pragma once

#include "kernels/dense.h"
#include "kernels/span.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace gr::neuralfec {

/*! Beliefs of blocks of groups. A row each group: M log-ratios to the likeliest class,
 * sorted, the classes they belong to, and the candidate symbols of those classes, first
 * symbols before second ones; and what the last update said of it. */
struct belief_table {
    belief_table(std::size_t patterns,
                 std::size_t groups,
                 std::size_t blocks,
                 std::size_t symbols = 1);

    std::size_t patterns;
    std::size_t groups;
    std::size_t blocks;
    std::size_t symbols;
    std::vector<float> log_ratios;
    // As float, which the kernel moves like the rest.
    std::vector<float> classes;
    std::vector<float> candidates;
    // Sum over i >= 1 of exp(l_i) = (1 - p_0) / p_0.
    std::vector<float> odds;
    // 1 where the log-odds have exceeded the threshold.
    std::vector<uint8_t> decided;
};

class belief_code
{
public:
    /*!
     * \param group_bits m, 1 to 8; M = 2^m
     * \param hidden1, hidden2 widths of the network's layers
     * \param peak limit of |x|
     * \param feedback_bits 2 to 8
     * \param feedback_step distance of the quantizer's levels
     * \param symbols of a group in a round at most, 1 or 2
     */
    struct settings {
        std::size_t group_bits;
        std::size_t hidden1;
        std::size_t hidden2;
        float peak;
        std::size_t feedback_bits;
        float feedback_step;
        std::size_t symbols = 1;
    };

    //! How many parameters the constructor expects.
    static std::size_t parameter_count(const settings& s);

    /*!
     * \param parameters layer1.weight (hidden1, M + 3), layer1.bias, layer2.weight, ...,
     * rows first; inputs are l_1 .. l_(M-1), rounds left, threshold, peak,
     * SNR
     * \throws std::invalid_argument on sizes that do not fit or values that make no sense
     */
    belief_code(const settings& s, span<const float> parameters);

    std::size_t patterns() const { return d_patterns; }
    const settings& parameters() const { return d_settings; }

    /*! The uniform belief. All calls take blocks of the table, each at most once, and
     * leave groups alone that are decided. */
    void start(belief_table& table, span<const uint32_t> blocks) const;

    /*!
     * Candidates x of the next round.
     * \param left rounds left of each block, the next one included
     * \param gain factor on the network's points that makes unit power
     * \param snr_db what the network is told of the channel
     */
    void propose(belief_table& table,
                 span<const uint32_t> blocks,
                 span<const uint8_t> left,
                 float threshold,
                 float gain,
                 float snr_db) const;

    /*! What the transmitter sends: the candidates of each group's true class, 0 for one
     * that is decided. Classes: blocks by groups; symbols: blocks by symbols by groups.
     */
    void symbols(const belief_table& table,
                 span<const uint32_t> blocks,
                 span<const uint8_t> classes,
                 span<float> out) const;

    /*! Levels of received symbols: round(y / step), clipped, plus 2^(feedback_bits - 1);
     * 0 for NaN, which tells of a symbol that did not arrive. */
    void quantize(span<const float> received, span<uint8_t> levels) const;

    /*!
     * Bayes' rule; groups whose log-odds exceed the threshold are decided.
     * \param received blocks by symbols by groups; of NaN a group learns nothing
     * \param variances sigma^2 of each of them, as both ends know it
     */
    void update(belief_table& table,
                span<const uint32_t> blocks,
                span<const float> received,
                span<const float> variances,
                float threshold) const;

    /*!
     * What a receiver whose beliefs the transmitter tracks by numbers alone makes of a
     * round: of the groups not decided its own posterior by Bayes' rule, and the number
     * that takes the table's belief c nearest to it. With D the feedback step, v the
     * variance by which both ends track and H the cross-entropy,
     *
     *     c_j(i) = c_j + (i D x_j - x_j^2 / 2) / v
     *     i = argmin H(softmax(l), softmax(c(i))) + price i^2,  |i| < 2^(feedback_bits -
     * 1)
     *
     * Other targets may give other bits: both ends need not find it, only one. The table
     * stays as it is; `update` by i D is what both ends do.
     *
     * \param posterior l, log-ratios to the likeliest class by class, of all rows of the
     * table
     * \param received blocks by groups; of NaN a group learns nothing
     * \param noise, tracking sigma^2 and v of each of them
     * \param numbers, odds blocks by groups; sum over i >= 1 of exp(l_i) of the sorted
     * posterior; those of groups that are decided stay as they are
     */
    void choose(const belief_table& table,
                span<const uint32_t> blocks,
                span<float> posterior,
                span<const float> received,
                span<const float> noise,
                span<const float> tracking,
                float price,
                span<int8_t> numbers,
                span<float> odds) const;

    // For the kernel.
    tiled_layer layer1, layer2, layer3;
    // Weights of the inputs that a call has in common.
    std::vector<float> threshold_weights, peak_weights, snr_weights;
    // Pairs (low, high) of ranks of a sorting network; the larger ends in the low rank.
    std::vector<std::pair<uint8_t, uint8_t>> comparators;

private:
    settings d_settings;
    std::size_t d_patterns;

    void check(const belief_table& table,
               span<const uint32_t> blocks,
               std::size_t size,
               std::size_t expected,
               const char* what) const;
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Bidirectional gated recurrent units, for inference.
 */
#pragma once

#include "kernels/span.h"

#include <memory>
#include <vector>

namespace gr::neuralfec {

/*!
 * One direction of a layer of gated recurrent units (Cho et al., 2014, as in
 * torch.nn.GRU):
 *
 *     r = sigmoid(A_r x + B_r h + a_r + b_r)
 *     z = sigmoid(A_z x + B_z h + a_z + b_z)
 *     n = tanh(A_n x + a_n + r (B_n h + b_n))
 *     h <- (1 - z) n + z h
 *
 * Row-major arrays with r's rows first, then z's and n's.
 */
struct recurrent_weights {
    std::vector<float> input;       //!< A, (3 hidden, inputs)
    std::vector<float> hidden;      //!< B, (3 hidden, hidden)
    std::vector<float> input_bias;  //!< a, (3 hidden)
    std::vector<float> hidden_bias; //!< b, (3 hidden)
};

/*!
 * Layers of two directions each, whose outputs (forward's, then backward's) are the next
 * layer's input, and one linear output for each step. Sequences lie across SIMD lanes.
 *
 * Results are those of single precision with fused multiply-adds where the SIMD target
 * has them: targets differ by rounding.
 */
class recurrent_network
{
public:
    /*!
     * \param inputs values of a step
     * \param hidden units of a direction, a multiple of 10
     * \param directions forward and backward of the first layer, then of the next
     * \param output_weight (2 hidden) of the last layer's outputs
     * \throws std::invalid_argument for sizes that do not fit
     */
    recurrent_network(std::size_t inputs,
                      std::size_t hidden,
                      std::vector<recurrent_weights> directions,
                      std::vector<float> output_weight,
                      float output_bias);
    recurrent_network(recurrent_network&&) noexcept;
    ~recurrent_network();

    std::size_t inputs() const;

    /*!
     * \param x sequences of `steps` steps, (sequences, steps, inputs())
     * \param y (sequences, steps)
     * \throws std::invalid_argument for sizes that do not fit
     */
    void run(span<const float> x, std::size_t steps, span<float> y) const;

private:
    struct impl;
    std::unique_ptr<impl> d_impl;
};

} // namespace gr::neuralfec

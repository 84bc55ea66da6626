/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Stacked gated recurrent units that see the same input at each time step.
 */
#pragma once

#include "kernels/dense.h"
#include "kernels/span.h"

#include <memory>
#include <vector>

namespace gr::neuralfec {

/*!
 * A network of gated recurrent units as torch.nn.GRU has them,
 *
 *     r = sigmoid(Wr x + br + Ur h + cr),  z = sigmoid(Wz x + bz + Uz h + cz)
 *     h = (1 - z) tanh(Wn x + bn + r (Un h + cn)) + z h
 *
 * with states of 0 before the first step. The first layer's input is the same at all
 * steps, so that its product is computed once; the others' is the state of the layer
 * below. A linear layer reads the last state of the last one.
 */
class gated_recurrent_network
{
public:
    //! Weights of a layer in torch's order: r, z and n one below the other.
    struct cell {
        span<const float> input, hidden;           // (3 width, in), (3 width, width)
        span<const float> input_bias, hidden_bias; // 3 width
    };

    /*!
     * \param inputs, width numbers of an input and of a state
     * \param cells of the layers, the first one first
     * \param output weights (outputs, width), row by row
     * \param output_bias outputs
     * \param steps time steps
     * \throws std::invalid_argument for sizes that do not fit
     */
    gated_recurrent_network(std::size_t inputs,
                            std::size_t width,
                            const std::vector<cell>& cells,
                            span<const float> output,
                            span<const float> output_bias,
                            std::size_t steps);
    gated_recurrent_network(gated_recurrent_network&&) noexcept;
    ~gated_recurrent_network();

    std::size_t inputs() const;
    std::size_t outputs() const;

    /*!
     * \param x F inputs of inputs() numbers
     * \param y out, F of outputs() numbers
     * \throws std::invalid_argument for sizes that do not fit
     */
    void run(span<const float> x, span<float> y) const;

private:
    struct impl;
    std::unique_ptr<impl> d_impl;
};

} // namespace gr::neuralfec

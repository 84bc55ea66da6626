/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The small transformers of DeepVLF (arXiv:2602.07881), fused: one call runs a whole
 * network, or its gradient, over a batch of blocks.
 */
#pragma once

#include "kernels/dense.h"
#include "kernels/span.h"

#include <cstddef>
#include <vector>

namespace gr::neuralfec {

enum class activation { identity, relu, gelu };

/*!
 * A network that reads `inputs` numbers of each of `groups` tokens and writes head.back()
 * numbers of each:
 *
 *     e = relu(extract2 relu(extract1 inputs));  deep networks: e = relu(extract3 e)
 *     h = sqrt(width) embed e + positions
 *     each layer: h += merge softmax(q k^T / sqrt(width)) v, with q, k, v of LN1 h;
 *                 h += contract act(expand LN2 h)
 *     head of LN h, head_act between its layers
 *
 * Float32 throughout; matrices that follow one another without a nonlinearity are
 * multiplied beforehand. Results agree with the layer-by-layer computation to rounding,
 * and may differ in the last bits from one SIMD target to the next.
 */
class group_transformer
{
public:
    struct shape {
        std::size_t inputs = 0;
        std::size_t groups = 0;
        std::size_t features = 0;
        std::size_t width = 0;
        std::size_t hidden = 0;
        std::size_t layers = 0;
        std::vector<std::size_t> head;
        activation act = activation::gelu;
        activation head_act = activation::gelu;
        //! There is an extract3.
        bool variable_depth = false;
    };

    using linear = tiled_layer;

    struct layer {
        linear score;
        linear merge;
        linear expand;
        linear contract;
    };

    /*!
     * \param parameters row-major matrices (out, in) and vectors, one after the other:
     *     extract1, extract2, [extract3,] embed (each weight, bias), positions
     *     (groups, width); for each layer norm1, norm2 (weight, bias), query, key, value
     *     (weight only), merge, expand, contract; norm; the head's layers.
     * \throws std::invalid_argument if a size is 0 or the number of parameters is not
     * that of the shape
     */
    group_transformer(const shape& s, span<const float> parameters);

    static std::size_t parameter_count(const shape& s);

    /*!
     * \param inputs (blocks, groups, inputs)
     * \param deep whether extract3 works
     * \param outputs (blocks, groups, head.back()), does not overlap the inputs
     * \throws std::invalid_argument for sizes that are not those of whole blocks
     */
    void run(span<const float> inputs, bool deep, span<float> outputs) const;

    /*!
     * The gradient of a sum over the outputs, each times a number of its own.
     *
     * \param inputs, deep as of run, of which the values on the way are computed again
     * \param weights (blocks, groups, head.back()), what each output counts
     * \param input_gradient out, (blocks, groups, inputs)
     * \param product_gradient out, product_count() numbers: by the matrices that are
     *     multiplied, weights (out, in) and bias of each of products()
     * \throws std::invalid_argument for sizes that are not those of whole blocks
     */
    void gradient(span<const float> inputs,
                  bool deep,
                  span<const float> weights,
                  span<float> input_gradient,
                  span<float> product_gradient) const;

    /*!
     * From the gradient by the matrices that are multiplied to that by the parameters.
     *
     * \param product_gradient of gradient, or a sum of such
     * \param out parameter_count() numbers in the order of the constructor; 0 for the
     *     positions, which are a table
     * \throws std::invalid_argument for other sizes
     */
    void parameter_gradient(span<const float> product_gradient, span<float> out) const;

    //! How many numbers the gradient by products() has.
    std::size_t product_count() const;

    const shape& sizes() const { return d_shape; }

    //! All that is multiplied, from the inputs on; without extract3 where there is none.
    std::vector<const linear*> products() const;

    // Read by the SIMD code.
    linear extract1, extract2, extract3, embed;
    std::vector<float> positions;
    std::vector<layer> layers;
    std::vector<linear> head;
    //! Of products(), transposed and without bias.
    std::vector<linear> turned;

private:
    shape d_shape;
    std::vector<float> d_parameters;
};

} // namespace gr::neuralfec

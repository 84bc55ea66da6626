/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/group_transformer.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/group_transformer_gradient-inl.h"

#if HWY_ONCE

#include <stdexcept>
#include <string>

namespace gr::neuralfec {

HWY_EXPORT(run);
HWY_EXPORT(gradient);

void group_transformer::run(span<const float> inputs,
                            bool deep,
                            span<float> outputs) const
{
    const std::size_t block = d_shape.groups * d_shape.inputs;
    const std::size_t blocks = inputs.size() / block;
    if (inputs.size() != blocks * block ||
        outputs.size() != blocks * d_shape.groups * d_shape.head.back())
        throw std::invalid_argument("group_transformer: expected whole blocks of " +
                                    std::to_string(block) + " inputs, got " +
                                    std::to_string(inputs.size()) + " inputs and " +
                                    std::to_string(outputs.size()) + " outputs");
    HWY_DYNAMIC_DISPATCH(run)(*this, inputs.data(), blocks, deep, outputs.data());
}

void group_transformer::gradient(span<const float> inputs,
                                 bool deep,
                                 span<const float> weights,
                                 span<float> input_gradient,
                                 span<float> product_gradient) const
{
    const auto& s = d_shape;
    const std::size_t block = s.groups * s.inputs;
    const std::size_t blocks = inputs.size() / block;
    if (inputs.size() != blocks * block || input_gradient.size() != inputs.size() ||
        weights.size() != blocks * s.groups * s.head.back() ||
        product_gradient.size() != product_count())
        throw std::invalid_argument(
            "group_transformer: expected whole blocks of " + std::to_string(block) +
            " inputs, as many numbers of their gradient, a weight for each output and " +
            std::to_string(product_count()) + " numbers for the products, got " +
            std::to_string(inputs.size()) + ", " + std::to_string(input_gradient.size()) +
            ", " + std::to_string(weights.size()) + " and " +
            std::to_string(product_gradient.size()));
    HWY_DYNAMIC_DISPATCH(gradient)
    (*this,
     inputs.data(),
     weights.data(),
     blocks,
     deep,
     input_gradient.data(),
     product_gradient.data());
}

} // namespace gr::neuralfec
#endif

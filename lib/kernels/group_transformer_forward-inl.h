/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The group transformer's outputs. Included once for each SIMD target.
 */
#include "kernels/group_transformer.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include "kernels/dense-inl.h"

#if defined(NEURALFEC_GROUP_TRANSFORMER_FORWARD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_GROUP_TRANSFORMER_FORWARD_INL_H
#undef NEURALFEC_GROUP_TRANSFORMER_FORWARD_INL_H
#else
#define NEURALFEC_GROUP_TRANSFORMER_FORWARD_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

/*!
 * erfc(z) exp(z^2) / 2 of z = magnitude / sqrt 2 by Abramowitz and Stegun 7.1.26,
 * absolute error of erf below 1.5e-7: Phi(-magnitude) is that times exp(-magnitude^2 /
 * 2).
 */
HWY_INLINE V gelu_tail(D d, V magnitude)
{
    const V z = hn::Mul(magnitude, hn::Set(d, 0.70710678f));
    const V t = hn::Div(hn::Set(d, 1.0f),
                        hn::MulAdd(z, hn::Set(d, 0.3275911f), hn::Set(d, 1.0f)));
    V p = hn::MulAdd(t, hn::Set(d, 1.061405429f), hn::Set(d, -1.453152027f));
    p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
    p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
    p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
    return hn::Mul(hn::Mul(p, t), hn::Set(d, 0.5f));
}

//! gelu(x) = x Phi(x) = max(x, 0) - |x| Phi(-|x|).
HWY_INLINE V gelu(D d, V x)
{
    const V magnitude = hn::Abs(x);
    const V z = hn::Mul(magnitude, hn::Set(d, 0.70710678f));
    const V tail = hn::Mul(hn::Mul(magnitude, gelu_tail(d, magnitude)),
                           hn::Exp(d, hn::Neg(hn::Mul(z, z))));
    return hn::Sub(hn::Max(x, hn::Zero(d)), tail);
}

template <activation Act>
HWY_INLINE V activate(D d, V x)
{
    if constexpr (Act == activation::relu)
        return hn::Max(x, hn::Zero(d));
    else if constexpr (Act == activation::gelu)
        return gelu(d, x);
    else
        return x;
}

/*!
 * Features are rows of `stride` tokens: y[r][0 .. Vectors) = act(W x + b), or added to y.
 */
template <activation Act, bool Add, std::size_t Vectors>
HWY_INLINE void apply_tile(const float* HWY_RESTRICT weights,
                           const float* HWY_RESTRICT bias,
                           std::size_t in,
                           const float* HWY_RESTRICT x,
                           float* HWY_RESTRICT y,
                           std::size_t stride)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d);
    multiply_dense<dense_rows, Vectors>(
        d,
        weights,
        1,
        dense_tile_rows,
        x,
        stride,
        lanes,
        in,
        [&](std::size_t r, std::size_t) NEURALFEC_LAMBDA { return hn::Set(d, bias[r]); },
        [&](std::size_t r, std::size_t v, V sum) NEURALFEC_LAMBDA {
            float* out = y + r * stride + v * lanes;
            V result = activate<Act>(d, sum);
            if constexpr (Add)
                result = hn::Add(result, hn::Load(d, out));
            hn::Store(result, d, out);
        });
}

template <activation Act, bool Add = false>
HWY_NOINLINE void apply(const group_transformer::linear& m,
                        const float* HWY_RESTRICT x,
                        float* HWY_RESTRICT y,
                        std::size_t stride)
{
    const std::size_t lanes = hn::Lanes(D());
    const std::size_t vectors = stride / lanes;
    for (std::size_t row = 0; row < m.out; row += dense_rows) {
        const float* w = m.weights.data() +
                         row / dense_tile_rows * dense_tile_rows * m.in +
                         row % dense_tile_rows;
        const float* b = m.bias.data() + row;
        float* out = y + row * stride;
        std::size_t v = 0;
        for (; v + 3 <= vectors; v += 3)
            apply_tile<Act, Add, 3>(w, b, m.in, x + v * lanes, out + v * lanes, stride);
        if (vectors - v == 2)
            apply_tile<Act, Add, 2>(w, b, m.in, x + v * lanes, out + v * lanes, stride);
        else if (vectors - v == 1)
            apply_tile<Act, Add, 1>(w, b, m.in, x + v * lanes, out + v * lanes, stride);
    }
}

//! Calls call() with act as a constant.
template <class Call>
HWY_INLINE void with_activation(activation act, Call call)
{
    switch (act) {
    case activation::identity:
        return call(std::integral_constant<activation, activation::identity>());
    case activation::relu:
        return call(std::integral_constant<activation, activation::relu>());
    case activation::gelu:
        return call(std::integral_constant<activation, activation::gelu>());
    }
}

void apply(activation act,
           const group_transformer::linear& m,
           const float* x,
           float* y,
           std::size_t stride)
{
    with_activation(act, [&](auto fixed) { apply<fixed.value>(m, x, y, stride); });
}

/*!
 * y = (x - mean) / sqrt(variance + 1e-5) of each token over its features. \param scales
 * room for the factor of each token, or null
 */
HWY_NOINLINE void normalise(const float* HWY_RESTRICT x,
                            float* HWY_RESTRICT y,
                            std::size_t width,
                            std::size_t stride,
                            float* HWY_RESTRICT scales = nullptr)
{
    const D d;
    for (std::size_t t = 0; t < stride; t += hn::Lanes(d)) {
        V sum = hn::Zero(d);
        for (std::size_t i = 0; i < width; i++)
            sum = hn::Add(sum, hn::Load(d, x + i * stride + t));
        const V share = hn::Set(d, 1.0f / width);
        const V mean = hn::Mul(sum, share);
        V squares = hn::Zero(d);
        for (std::size_t i = 0; i < width; i++) {
            const V c = hn::Sub(hn::Load(d, x + i * stride + t), mean);
            squares = hn::MulAdd(c, c, squares);
        }
        const V variance = hn::MulAdd(squares, share, hn::Set(d, 1e-5f));
        const V scale = hn::Div(hn::Set(d, 1.0f), hn::Sqrt(variance));
        if (scales)
            hn::Store(scale, d, scales + t);
        for (std::size_t i = 0; i < width; i++)
            hn::Store(hn::Mul(hn::Sub(hn::Load(d, x + i * stride + t), mean), scale),
                      d,
                      y + i * stride + t);
    }
}

/*!
 * For one block's queries, a vector of them at a time: y = sum_k softmax_k(s . n_k) n_k,
 * where the tokens' normalised features n are keys and values alike. \param rho room for
 * a vector for each group
 */
HWY_NOINLINE void attend(const float* HWY_RESTRICT s,
                         const float* HWY_RESTRICT n,
                         float* HWY_RESTRICT y,
                         float* HWY_RESTRICT rho,
                         std::size_t groups,
                         std::size_t block_stride,
                         std::size_t width,
                         std::size_t stride)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d);
    for (std::size_t q = 0; q < block_stride; q += lanes) {
        V largest = hn::Set(d, -INFINITY);
        for (std::size_t k = 0; k < groups; k += dense_rows) {
            // Beyond the last group the room is padding: computed, not used.
            V sum[dense_rows];
            for (std::size_t r = 0; r < dense_rows; r++)
                sum[r] = hn::Zero(d);
            for (std::size_t i = 0; i < width; i++) {
                const V query = hn::Load(d, s + i * stride + q);
                for (std::size_t r = 0; r < dense_rows; r++)
                    sum[r] = hn::MulAdd(
                        query,
                        hn::Set(d, n[i * stride + std::min(k + r, groups - 1)]),
                        sum[r]);
            }
            for (std::size_t r = 0; r < dense_rows; r++) {
                largest = hn::Max(largest, sum[r]);
                hn::Store(sum[r], d, rho + (k + r) * lanes);
            }
        }
        V total = hn::Zero(d);
        for (std::size_t k = 0; k < groups; k++) {
            const V e = hn::Exp(d, hn::Sub(hn::Load(d, rho + k * lanes), largest));
            total = hn::Add(total, e);
            hn::Store(e, d, rho + k * lanes);
        }
        const V share = hn::Div(hn::Set(d, 1.0f), total);
        for (std::size_t i = 0; i < width; i += dense_rows) {
            V sum[dense_rows];
            for (std::size_t r = 0; r < dense_rows; r++)
                sum[r] = hn::Zero(d);
            for (std::size_t k = 0; k < groups; k++) {
                const V weight = hn::Load(d, rho + k * lanes);
                for (std::size_t r = 0; r < dense_rows; r++)
                    sum[r] =
                        hn::MulAdd(weight, hn::Set(d, n[(i + r) * stride + k]), sum[r]);
            }
            for (std::size_t r = 0; r < dense_rows; r++)
                hn::Store(hn::Mul(sum[r], share), d, y + (i + r) * stride + q);
        }
    }
}

void run(const group_transformer& net,
         const float* inputs,
         std::size_t blocks,
         bool deep,
         float* outputs)
{
    const auto& s = net.sizes();
    const std::size_t lanes = hn::Lanes(D());
    const std::size_t block_stride = (s.groups + lanes - 1) / lanes * lanes;
    // As many blocks at once as fill the accumulators and stay in the first-level cache.
    const std::size_t at_once = std::max<std::size_t>(1, 48 / block_stride);
    const std::size_t most = at_once * block_stride;
    std::size_t rows = std::max({s.inputs, s.features, s.hidden, 4 * s.width});
    for (const auto h : s.head)
        rows = std::max(rows, h);
    rows = whole_tiles(rows);
    const std::size_t width_rows = whole_tiles(s.width);
    auto memory = hwy::AllocateAligned<float>((2 * rows + 3 * width_rows) * most +
                                              whole_tiles(s.groups) * lanes);
    float* a = memory.get();
    float* b = a + rows * most;
    float* h = b + rows * most;
    float* n = h + width_rows * most;
    float* score = n + width_rows * most;
    float* rho = score + width_rows * most;
    // Padded rows and lanes take part in the arithmetic.
    std::fill_n(a, (2 * rows + 3 * width_rows) * most, 0.0f);

    for (std::size_t first = 0; first < blocks; first += at_once) {
        const std::size_t count = std::min(at_once, blocks - first);
        const std::size_t stride = count * block_stride;
        for (std::size_t c = 0; c < count; c++) {
            const float* in = inputs + (first + c) * s.groups * s.inputs;
            for (std::size_t i = 0; i < s.inputs; i++) {
                float* row = a + i * stride + c * block_stride;
                for (std::size_t q = 0; q < s.groups; q++)
                    row[q] = in[q * s.inputs + i];
                std::fill(row + s.groups, row + block_stride, 0.0f);
            }
        }
        apply<activation::relu>(net.extract1, a, b, stride);
        apply<activation::relu>(net.extract2, b, a, stride);
        if (deep && s.variable_depth) {
            apply<activation::relu>(net.extract3, a, b, stride);
            std::swap(a, b);
        }
        for (std::size_t i = 0; i < s.width; i++)
            for (std::size_t c = 0; c < count; c++) {
                float* row = h + i * stride + c * block_stride;
                std::copy_n(net.positions.data() + i * s.groups, s.groups, row);
                std::fill(row + s.groups, row + block_stride, 0.0f);
            }
        apply<activation::identity, true>(net.embed, a, h, stride);
        for (const auto& layer : net.layers) {
            normalise(h, n, s.width, stride);
            apply<activation::identity>(layer.score, n, score, stride);
            for (std::size_t c = 0; c < count; c++)
                attend(score + c * block_stride,
                       n + c * block_stride,
                       a + c * block_stride,
                       rho,
                       s.groups,
                       block_stride,
                       s.width,
                       stride);
            apply<activation::identity, true>(layer.merge, a, h, stride);
            normalise(h, n, s.width, stride);
            apply(s.act, layer.expand, n, a, stride);
            apply<activation::identity, true>(layer.contract, a, h, stride);
        }
        normalise(h, a, s.width, stride);
        for (const auto& m : net.head) {
            apply(&m == &net.head.back() ? activation::identity : s.head_act,
                  m,
                  a,
                  b,
                  stride);
            std::swap(a, b);
        }
        const std::size_t out = s.head.back();
        for (std::size_t c = 0; c < count; c++)
            for (std::size_t q = 0; q < s.groups; q++)
                for (std::size_t i = 0; i < out; i++)
                    outputs[((first + c) * s.groups + q) * out + i] =
                        a[i * stride + c * block_stride + q];
    }
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/group_transformer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/group_transformer.cc"
#include <hwy/aligned_allocator.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include "kernels/dense-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec {
namespace HWY_NAMESPACE {
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

void apply(activation act,
           const group_transformer::linear& m,
           const float* x,
           float* y,
           std::size_t stride)
{
    switch (act) {
    case activation::identity:
        return apply<activation::identity>(m, x, y, stride);
    case activation::relu:
        return apply<activation::relu>(m, x, y, stride);
    case activation::gelu:
        return apply<activation::gelu>(m, x, y, stride);
    }
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

/*!
 * The way back. `dx` is the gradient by x; tokens of the padding have 0 in it.
 */

//! dh += the gradient by x of normalise, which gave n.
HWY_NOINLINE void normalise_back(const float* HWY_RESTRICT n,
                                 const float* HWY_RESTRICT scales,
                                 const float* HWY_RESTRICT dn,
                                 float* HWY_RESTRICT dh,
                                 std::size_t width,
                                 std::size_t stride)
{
    const D d;
    const V share = hn::Set(d, 1.0f / width);
    for (std::size_t t = 0; t < stride; t += hn::Lanes(d)) {
        V sum = hn::Zero(d), along = hn::Zero(d);
        for (std::size_t i = 0; i < width; i++) {
            const V g = hn::Load(d, dn + i * stride + t);
            sum = hn::Add(sum, g);
            along = hn::MulAdd(g, hn::Load(d, n + i * stride + t), along);
        }
        sum = hn::Mul(sum, share);
        along = hn::Mul(along, share);
        const V scale = hn::Load(d, scales + t);
        for (std::size_t i = 0; i < width; i++) {
            float* out = dh + i * stride + t;
            V g = hn::Sub(hn::Load(d, dn + i * stride + t), sum);
            g = hn::NegMulAdd(hn::Load(d, n + i * stride + t), along, g);
            hn::Store(hn::MulAdd(g, scale, hn::Load(d, out)), d, out);
        }
    }
}

/*!
 * y = act(x), and the slope of act there. As gelu(x) = x Phi(x), its slope is
 * Phi(x) + x phi(x), which shares the exponential.
 */
template <activation Act>
HWY_NOINLINE void activate(const float* HWY_RESTRICT x,
                           float* HWY_RESTRICT y,
                           float* HWY_RESTRICT slope,
                           std::size_t size)
{
    const D d;
    const V one = hn::Set(d, 1.0f);
    for (std::size_t j = 0; j < size; j += hn::Lanes(d)) {
        const V v = hn::Load(d, x + j);
        V result = v, steep = one;
        if constexpr (Act == activation::relu) {
            result = hn::Max(v, hn::Zero(d));
            steep = hn::IfThenElseZero(hn::Gt(v, hn::Zero(d)), one);
        } else if constexpr (Act == activation::gelu) {
            const V bell = hn::Exp(d, hn::Mul(hn::Mul(v, v), hn::Set(d, -0.5f)));
            const V tail = hn::Mul(gelu_tail(d, hn::Abs(v)), bell);
            const V below =
                hn::IfThenElse(hn::Gt(v, hn::Zero(d)), hn::Sub(one, tail), tail);
            result = hn::Mul(v, below);
            steep = hn::MulAdd(hn::Mul(v, hn::Set(d, 0.39894228f)), bell, below);
        }
        hn::Store(result, d, y + j);
        hn::Store(steep, d, slope + j);
    }
}

void activate(activation act, const float* x, float* y, float* slope, std::size_t size)
{
    switch (act) {
    case activation::identity:
        return activate<activation::identity>(x, y, slope, size);
    case activation::relu:
        return activate<activation::relu>(x, y, slope, size);
    case activation::gelu:
        return activate<activation::gelu>(x, y, slope, size);
    }
}

//! dx *= slope.
HWY_NOINLINE void
scale(const float* HWY_RESTRICT slope, float* HWY_RESTRICT dx, std::size_t size)
{
    const D d;
    for (std::size_t j = 0; j < size; j += hn::Lanes(d))
        hn::Store(hn::Mul(hn::Load(d, dx + j), hn::Load(d, slope + j)), d, dx + j);
}

//! dx = 0 where the rectifier gave y = 0.
HWY_NOINLINE void
rectify_back(const float* HWY_RESTRICT y, float* HWY_RESTRICT dx, std::size_t size)
{
    const D d;
    for (std::size_t j = 0; j < size; j += hn::Lanes(d)) {
        const auto on = hn::Gt(hn::Load(d, y + j), hn::Zero(d));
        hn::Store(hn::IfThenElseZero(on, hn::Load(d, dx + j)), d, dx + j);
    }
}

/*!
 * Of attend: the gradient by s, and dn += that by n. \param room for four squares of
 * block_stride
 */
HWY_NOINLINE void attend_back(const float* HWY_RESTRICT s,
                              const float* HWY_RESTRICT n,
                              const float* HWY_RESTRICT dy,
                              float* HWY_RESTRICT ds,
                              float* HWY_RESTRICT dn,
                              float* HWY_RESTRICT room,
                              std::size_t groups,
                              std::size_t block_stride,
                              std::size_t width,
                              std::size_t stride)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), square = block_stride * block_stride;
    // A row each key, a lane each query; then the other way round.
    float *rho = room, *slope = rho + square;
    float *rho_turned = slope + square, *slope_turned = rho_turned + square;
    for (std::size_t q = 0; q < block_stride; q += lanes) {
        V largest = hn::Set(d, -INFINITY);
        constexpr std::size_t keys = 4;
        for (std::size_t k = 0; k < groups; k += keys) {
            V logit[keys], gain[keys];
            for (std::size_t r = 0; r < keys; r++)
                logit[r] = gain[r] = hn::Zero(d);
            for (std::size_t i = 0; i < width; i++) {
                const V query = hn::Load(d, s + i * stride + q);
                const V weight = hn::Load(d, dy + i * stride + q);
                for (std::size_t r = 0; r < keys; r++) {
                    const V key = hn::Set(d, n[i * stride + std::min(k + r, groups - 1)]);
                    logit[r] = hn::MulAdd(query, key, logit[r]);
                    gain[r] = hn::MulAdd(weight, key, gain[r]);
                }
            }
            // Behind the last key it stands once more, and is written over itself.
            for (std::size_t r = keys; r-- > 0;) {
                const std::size_t row = std::min(k + r, groups - 1) * block_stride + q;
                largest = hn::Max(largest, logit[r]);
                hn::Store(logit[r], d, rho + row);
                hn::Store(gain[r], d, slope + row);
            }
        }
        V total = hn::Zero(d), mean = hn::Zero(d);
        for (std::size_t k = 0; k < groups; k++) {
            float* place = rho + k * block_stride + q;
            const V e = hn::Exp(d, hn::Sub(hn::Load(d, place), largest));
            total = hn::Add(total, e);
            mean = hn::MulAdd(e, hn::Load(d, slope + k * block_stride + q), mean);
            hn::Store(e, d, place);
        }
        const V share = hn::Div(hn::Set(d, 1.0f), total);
        mean = hn::Mul(mean, share);
        for (std::size_t k = 0; k < groups; k++) {
            float *place = rho + k * block_stride + q,
                  *other = slope + k * block_stride + q;
            const V p = hn::Mul(hn::Load(d, place), share);
            hn::Store(p, d, place);
            hn::Store(hn::Mul(p, hn::Sub(hn::Load(d, other), mean)), d, other);
        }
        for (std::size_t i = 0; i < width; i += dense_rows) {
            V sum[dense_rows];
            for (std::size_t r = 0; r < dense_rows; r++)
                sum[r] = hn::Zero(d);
            for (std::size_t k = 0; k < groups; k++) {
                const V weight = hn::Load(d, slope + k * block_stride + q);
                for (std::size_t r = 0; r < dense_rows; r++)
                    sum[r] =
                        hn::MulAdd(weight, hn::Set(d, n[(i + r) * stride + k]), sum[r]);
            }
            for (std::size_t r = 0; r < dense_rows; r++)
                hn::Store(sum[r], d, ds + (i + r) * stride + q);
        }
    }
    for (std::size_t q = 0; q < groups; q++)
        for (std::size_t k = 0; k < block_stride; k++) {
            const bool there = k < groups;
            rho_turned[q * block_stride + k] = there ? rho[k * block_stride + q] : 0.0f;
            slope_turned[q * block_stride + k] =
                there ? slope[k * block_stride + q] : 0.0f;
        }
    for (std::size_t k = 0; k < block_stride; k += lanes)
        for (std::size_t i = 0; i < width; i += dense_rows) {
            V sum[dense_rows];
            for (std::size_t r = 0; r < dense_rows; r++)
                sum[r] = hn::Load(d, dn + (i + r) * stride + k);
            for (std::size_t q = 0; q < groups; q++) {
                const V p = hn::Load(d, rho_turned + q * block_stride + k);
                const V g = hn::Load(d, slope_turned + q * block_stride + k);
                for (std::size_t r = 0; r < dense_rows; r++) {
                    const std::size_t place = (i + r) * stride + q;
                    sum[r] = hn::MulAdd(hn::Set(d, dy[place]), p, sum[r]);
                    sum[r] = hn::MulAdd(hn::Set(d, s[place]), g, sum[r]);
                }
            }
            for (std::size_t r = 0; r < dense_rows; r++)
                hn::Store(sum[r], d, dn + (i + r) * stride + k);
        }
}

/*!
 * One layer W x + b on the way back.
 */
class layer_back
{
public:
    layer_back(const group_transformer::linear& m,
               const group_transformer::linear& turned)
        : d_in(m.in),
          d_out(m.out),
          d_columns((m.in + 1 + hn::Lanes(D()) - 1) / hn::Lanes(D()) * hn::Lanes(D())),
          d_sums(hwy::AllocateAligned<float>(whole_tiles(m.out) * d_columns)),
          d_turned(&turned)
    {
        std::fill_n(d_sums.get(), whole_tiles(m.out) * d_columns, 0.0f);
    }

    std::size_t columns() const { return d_columns; }

    //! Adds dy x^T to the gradient by W, and dy to that by b. \param room columns by
    //! stride
    HWY_NOINLINE void learn(const float* HWY_RESTRICT dy,
                            const float* HWY_RESTRICT x,
                            std::size_t stride,
                            float* HWY_RESTRICT room) const
    {
        const std::size_t lanes = hn::Lanes(D());
        // Tokens by features, a 1 behind them for the bias.
        for (std::size_t t = 0; t < stride; t++) {
            float* row = room + t * d_columns;
            for (std::size_t i = 0; i < d_in; i++)
                row[i] = x[i * stride + t];
            row[d_in] = 1.0f;
            std::fill(row + d_in + 1, row + d_columns, 0.0f);
        }
        for (std::size_t r = 0; r < d_out; r += dense_rows) {
            std::size_t c = 0;
            for (; c + 3 * lanes <= d_columns; c += 3 * lanes)
                tile<3>(dy, stride, room, r, c);
            if (c + 2 * lanes <= d_columns) {
                tile<2>(dy, stride, room, r, c);
                c += 2 * lanes;
            }
            if (c < d_columns)
                tile<1>(dy, stride, room, r, c);
        }
    }

    //! dx = W^T dy, or dx += that.
    template <bool Add = false>
    void pass(const float* dy, float* dx, std::size_t stride) const
    {
        apply<activation::identity, Add>(*d_turned, dy, dx, stride);
    }

    //! Writes the gradient by W, then that by b.
    float* write(float* out) const
    {
        for (std::size_t r = 0; r < d_out; r++)
            out = std::copy_n(d_sums.get() + r * d_columns, d_in, out);
        for (std::size_t r = 0; r < d_out; r++)
            *out++ = d_sums[r * d_columns + d_in];
        return out;
    }

private:
    std::size_t d_in, d_out, d_columns;
    hwy::AlignedFreeUniquePtr<float[]> d_sums;
    const tiled_layer* d_turned;

    template <std::size_t Vectors>
    HWY_INLINE void tile(const float* HWY_RESTRICT dy,
                         std::size_t stride,
                         const float* HWY_RESTRICT turned,
                         std::size_t r,
                         std::size_t c) const
    {
        const D d;
        const std::size_t lanes = hn::Lanes(d);
        float* sums = d_sums.get() + r * d_columns + c;
        multiply_dense<dense_rows, Vectors>(
            d,
            dy + r * stride,
            stride,
            1,
            turned + c,
            d_columns,
            lanes,
            stride,
            [&](std::size_t i, std::size_t v) NEURALFEC_LAMBDA {
                return hn::Load(d, sums + i * d_columns + v * lanes);
            },
            [&](std::size_t i, std::size_t v, V sum) NEURALFEC_LAMBDA {
                hn::Store(sum, d, sums + i * d_columns + v * lanes);
            });
    }
};

void gradient(const group_transformer& net,
              const float* inputs,
              const float* weights,
              std::size_t blocks,
              bool deep,
              float* input_gradient,
              float* product_gradient)
{
    const auto& s = net.sizes();
    deep = deep && s.variable_depth;
    const std::size_t lanes = hn::Lanes(D());
    const std::size_t block_stride = (s.groups + lanes - 1) / lanes * lanes;
    const std::size_t at_once = std::max<std::size_t>(1, 48 / block_stride);
    const std::size_t most = at_once * block_stride;
    std::vector<layer_back> back;
    std::size_t columns = 0, widest = s.width;
    for (const auto* m : net.products()) {
        back.emplace_back(*m, net.turned[back.size()]);
        columns = std::max(columns, back.back().columns());
        widest = std::max({widest, m->in, m->out});
    }

    // A place for every value on the way, then for gradients.
    std::vector<std::size_t> sizes;
    const auto place = [&](std::size_t rows) {
        sizes.push_back(whole_tiles(rows) * most);
        return sizes.size() - 1;
    };
    struct layer_places {
        std::size_t n1, scale1, score, mixed, n2, scale2, raw, active, slope;
    };
    const std::size_t in = place(s.inputs), e1 = place(s.features),
                      e2 = place(s.features), e3 = place(s.features);
    const std::size_t h = place(s.width);
    std::vector<layer_places> layers(s.layers);
    for (auto& l : layers)
        l = {place(s.width),
             place(1),
             place(s.width),
             place(s.width),
             place(s.width),
             place(1),
             place(s.hidden),
             place(s.hidden),
             place(s.hidden)};
    const std::size_t last_scale = place(1);
    // What each layer of the head reads, and gives before its activation.
    std::vector<std::size_t> head_in{place(s.width)}, head_raw, head_slope;
    for (const std::size_t size : s.head) {
        head_raw.push_back(place(size));
        head_slope.push_back(place(size));
        head_in.push_back(place(size));
    }
    const std::size_t first = place(widest), second = place(widest), dh = place(s.width),
                      ds = place(s.width);
    std::size_t total = 0;
    std::vector<std::size_t> starts;
    for (const std::size_t size : sizes) {
        starts.push_back(total);
        total += size;
    }
    const std::size_t squares =
        std::max(4 * block_stride * block_stride, whole_tiles(s.groups) * lanes);
    const auto memory = hwy::AllocateAligned<float>(total + most * columns + squares);
    // Padded rows and lanes take part in the arithmetic.
    std::fill_n(memory.get(), total + most * columns + squares, 0.0f);
    const auto at = [&](std::size_t number) { return memory.get() + starts[number]; };
    float* const turned = memory.get() + total;
    float* const square = turned + most * columns;

    const std::size_t out = s.head.back();
    for (std::size_t begin = 0; begin < blocks; begin += at_once) {
        const std::size_t count = std::min(at_once, blocks - begin);
        const std::size_t stride = count * block_stride;
        const auto load = [&](const float* from, std::size_t size, float* to) {
            for (std::size_t c = 0; c < count; c++)
                for (std::size_t i = 0; i < size; i++) {
                    float* row = to + i * stride + c * block_stride;
                    for (std::size_t q = 0; q < s.groups; q++)
                        row[q] = from[((begin + c) * s.groups + q) * size + i];
                    std::fill(row + s.groups, row + block_stride, 0.0f);
                }
        };
        load(inputs, s.inputs, at(in));
        apply<activation::relu>(net.extract1, at(in), at(e1), stride);
        apply<activation::relu>(net.extract2, at(e1), at(e2), stride);
        if (deep)
            apply<activation::relu>(net.extract3, at(e2), at(e3), stride);
        const float* const embedded = at(deep ? e3 : e2);
        for (std::size_t i = 0; i < s.width; i++)
            for (std::size_t c = 0; c < count; c++) {
                float* row = at(h) + i * stride + c * block_stride;
                std::copy_n(net.positions.data() + i * s.groups, s.groups, row);
                std::fill(row + s.groups, row + block_stride, 0.0f);
            }
        apply<activation::identity, true>(net.embed, embedded, at(h), stride);
        for (std::size_t number = 0; number < s.layers; number++) {
            const auto& layer = net.layers[number];
            const auto& l = layers[number];
            normalise(at(h), at(l.n1), s.width, stride, at(l.scale1));
            apply<activation::identity>(layer.score, at(l.n1), at(l.score), stride);
            for (std::size_t c = 0; c < stride; c += block_stride)
                attend(at(l.score) + c,
                       at(l.n1) + c,
                       at(l.mixed) + c,
                       square,
                       s.groups,
                       block_stride,
                       s.width,
                       stride);
            apply<activation::identity, true>(layer.merge, at(l.mixed), at(h), stride);
            normalise(at(h), at(l.n2), s.width, stride, at(l.scale2));
            apply<activation::identity>(layer.expand, at(l.n2), at(l.raw), stride);
            activate(s.act, at(l.raw), at(l.active), at(l.slope), s.hidden * stride);
            apply<activation::identity, true>(
                layer.contract, at(l.active), at(h), stride);
        }
        normalise(at(h), at(head_in[0]), s.width, stride, at(last_scale));
        for (std::size_t j = 0; j + 1 < s.head.size(); j++) {
            apply<activation::identity>(
                net.head[j], at(head_in[j]), at(head_raw[j]), stride);
            activate(s.head_act,
                     at(head_raw[j]),
                     at(head_in[j + 1]),
                     at(head_slope[j]),
                     s.head[j] * stride);
        }

        // The layers from the last to the first.
        auto m = back.rbegin();
        float *dy = at(first), *dx = at(second);
        load(weights, out, dy);
        for (std::size_t j = s.head.size(); j-- > 0; m++) {
            m->learn(dy, at(head_in[j]), stride, turned);
            m->pass(dy, dx, stride);
            std::swap(dy, dx);
            if (j > 0)
                scale(at(head_slope[j - 1]), dy, s.head[j - 1] * stride);
        }
        std::fill_n(at(dh), s.width * stride, 0.0f);
        normalise_back(at(head_in[0]), at(last_scale), dy, at(dh), s.width, stride);
        for (std::size_t number = s.layers; number-- > 0;) {
            const auto& l = layers[number];
            m->learn(at(dh), at(l.active), stride, turned);
            m->pass(at(dh), dx, stride);
            m++;
            scale(at(l.slope), dx, s.hidden * stride);
            m->learn(dx, at(l.n2), stride, turned);
            m->pass(dx, dy, stride);
            m++;
            normalise_back(at(l.n2), at(l.scale2), dy, at(dh), s.width, stride);
            m->learn(at(dh), at(l.mixed), stride, turned);
            m->pass(at(dh), dx, stride);
            m++;
            std::fill_n(dy, s.width * stride, 0.0f);
            for (std::size_t c = 0; c < stride; c += block_stride)
                attend_back(at(l.score) + c,
                            at(l.n1) + c,
                            dx + c,
                            at(ds) + c,
                            dy + c,
                            square,
                            s.groups,
                            block_stride,
                            s.width,
                            stride);
            m->learn(at(ds), at(l.n1), stride, turned);
            m->pass<true>(at(ds), dy, stride);
            m++;
            normalise_back(at(l.n1), at(l.scale1), dy, at(dh), s.width, stride);
        }
        m->learn(at(dh), embedded, stride, turned);
        m->pass(at(dh), dy, stride);
        m++;
        const auto relu_back = [&](std::size_t e) {
            rectify_back(at(e), dy, s.features * stride);
        };
        const auto through = [&](std::size_t e) {
            m->learn(dy, at(e), stride, turned);
            m->pass(dy, dx, stride);
            m++;
            std::swap(dy, dx);
        };
        if (deep) {
            relu_back(e3);
            through(e2);
        } else if (s.variable_depth)
            m++;
        relu_back(e2);
        through(e1);
        relu_back(e1);
        through(in);
        for (std::size_t c = 0; c < count; c++)
            for (std::size_t q = 0; q < s.groups; q++)
                for (std::size_t i = 0; i < s.inputs; i++)
                    input_gradient[((begin + c) * s.groups + q) * s.inputs + i] =
                        dy[i * stride + c * block_stride + q];
    }
    for (const auto& m : back)
        product_gradient = m.write(product_gradient);
}

} // namespace HWY_NAMESPACE
} // namespace gr::neuralfec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {
HWY_EXPORT(run);
HWY_EXPORT(gradient);

namespace {

// Row-major, in double: what is multiplied beforehand is rounded once.
struct matrix {
    std::size_t rows, columns;
    std::vector<double> values;
    matrix(std::size_t r, std::size_t c) : rows(r), columns(c), values(r * c) {}
    double& operator()(std::size_t r, std::size_t c) { return values[r * columns + c]; }
    double operator()(std::size_t r, std::size_t c) const
    {
        return values[r * columns + c];
    }
};

matrix product(const matrix& a, const matrix& b)
{
    matrix c(a.rows, b.columns);
    for (std::size_t i = 0; i < a.rows; i++)
        for (std::size_t k = 0; k < a.columns; k++)
            for (std::size_t j = 0; j < b.columns; j++)
                c(i, j) += a(i, k) * b(k, j);
    return c;
}

matrix transposed(const matrix& a)
{
    matrix t(a.columns, a.rows);
    for (std::size_t i = 0; i < a.rows; i++)
        for (std::size_t j = 0; j < a.columns; j++)
            t(j, i) = a(i, j);
    return t;
}

matrix scaled(matrix a, double factor)
{
    for (double& value : a.values)
        value *= factor;
    return a;
}

//! a diag(v)
matrix columns_scaled(matrix a, const matrix& v)
{
    for (std::size_t i = 0; i < a.rows; i++)
        for (std::size_t j = 0; j < a.columns; j++)
            a(i, j) *= v.values[j];
    return a;
}

matrix sum(matrix a, const matrix& b)
{
    for (std::size_t i = 0; i < a.values.size(); i++)
        a.values[i] += b.values[i];
    return a;
}

tiled_layer packed(const matrix& w, const matrix& bias)
{
    return make_tiled_layer(
        w.columns, w.rows, w, [&](std::size_t r) { return bias.values[r]; });
}

class reader
{
public:
    explicit reader(span<const float> parameters) : d_next(parameters.begin()) {}
    matrix operator()(std::size_t rows, std::size_t columns)
    {
        matrix m(rows, columns);
        std::copy_n(d_next, m.values.size(), m.values.begin());
        d_next += m.values.size();
        return m;
    }

private:
    const float* d_next;
};

} // namespace

std::size_t group_transformer::parameter_count(const shape& s)
{
    const auto affine = [](std::size_t in, std::size_t out) { return (in + 1) * out; };
    std::size_t count = affine(s.inputs, s.features) + affine(s.features, s.features) +
                        s.variable_depth * affine(s.features, s.features) +
                        affine(s.features, s.width) + s.groups * s.width;
    count += s.layers * (4 * s.width + 3 * s.width * s.width + affine(s.width, s.width) +
                         affine(s.width, s.hidden) + affine(s.hidden, s.width));
    count += 2 * s.width;
    std::size_t in = s.width;
    for (const std::size_t out : s.head) {
        count += affine(in, out);
        in = out;
    }
    return count;
}

group_transformer::group_transformer(const shape& s, span<const float> parameters)
    : d_shape(s), d_parameters(parameters.begin(), parameters.end())
{
    for (const std::size_t size :
         {s.inputs, s.groups, s.features, s.width, s.hidden, s.layers, s.head.size()})
        if (size == 0)
            throw std::invalid_argument(
                "group_transformer: expected sizes of at least 1");
    if (parameters.size() != parameter_count(s))
        throw std::invalid_argument(
            "group_transformer: expected " + std::to_string(parameter_count(s)) +
            " parameters, got " + std::to_string(parameters.size()));
    reader read(parameters);
    const auto affine = [&read](std::size_t in, std::size_t out) {
        const matrix w = read(out, in);
        return packed(w, read(out, 1));
    };
    // Of an affine map behind a layer norm of weight g and bias b: W (g n + b) + c.
    const auto after_norm =
        [](const matrix& w, const matrix& c, const matrix& g, const matrix& b) {
            return packed(columns_scaled(w, g), sum(product(w, b), c));
        };
    extract1 = affine(s.inputs, s.features);
    extract2 = affine(s.features, s.features);
    if (s.variable_depth)
        extract3 = affine(s.features, s.features);
    const double embed_scale = std::sqrt(static_cast<double>(s.width));
    const matrix embed_weight = scaled(read(s.width, s.features), embed_scale);
    embed = packed(embed_weight, scaled(read(s.width, 1), embed_scale));
    const matrix table = transposed(read(s.groups, s.width));
    positions.assign(table.values.begin(), table.values.end());
    for (std::size_t l = 0; l < s.layers; l++) {
        const matrix g1 = read(s.width, 1), b1 = read(s.width, 1);
        const matrix g2 = read(s.width, 1), b2 = read(s.width, 1);
        const matrix query = read(s.width, s.width), key = read(s.width, s.width);
        const matrix value = read(s.width, s.width);
        const matrix merge = read(s.width, s.width), merge_bias = read(s.width, 1);
        const matrix expand = read(s.hidden, s.width), expand_bias = read(s.hidden, 1);
        // With tokens g1 n + b1, query . key of tokens t and k is
        //     (Wq (g1 n_t + b1)) . (Wk (g1 n_k + b1)) = (B n_t + c) . n_k + terms of t
        //     alone,
        // B = diag(g1) Wk^T Wq diag(g1), c = diag(g1) Wk^T Wq b1, and softmax over k does
        // not see what all k have in common. So n itself serves as the keys; and as the
        // values, since merge(sum_k rho_k Wv token_k) = Wm Wv (g1 sum_k rho_k n_k + b1).
        const matrix both = scaled(product(transposed(key), query), 1 / embed_scale);
        const matrix keyed = transposed(columns_scaled(transposed(both), g1));
        const matrix carried = product(merge, value);
        const matrix contract = read(s.width, s.hidden);
        layers.push_back({packed(columns_scaled(keyed, g1), product(keyed, b1)),
                          after_norm(carried, merge_bias, g1, b1),
                          after_norm(expand, expand_bias, g2, b2),
                          packed(contract, read(s.width, 1))});
    }
    const matrix g = read(s.width, 1), b = read(s.width, 1);
    std::size_t in = s.width;
    for (const std::size_t out : s.head) {
        const matrix w = read(out, in), bias = read(out, 1);
        head.push_back(head.empty() ? after_norm(w, bias, g, b) : packed(w, bias));
        in = out;
    }
    for (const auto* m : products())
        turned.push_back(make_tiled_layer(
            m->out,
            m->in,
            [m](std::size_t r, std::size_t i) {
                return m->weights[(i / dense_tile_rows * m->in + r) * dense_tile_rows +
                                  i % dense_tile_rows];
            },
            [](std::size_t) { return 0.0f; }));
}

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

std::vector<const group_transformer::linear*> group_transformer::products() const
{
    std::vector<const linear*> all{&extract1, &extract2};
    if (d_shape.variable_depth)
        all.push_back(&extract3);
    all.push_back(&embed);
    for (const auto& l : layers)
        all.insert(all.end(), {&l.score, &l.merge, &l.expand, &l.contract});
    for (const auto& m : head)
        all.push_back(&m);
    return all;
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

std::size_t group_transformer::product_count() const
{
    std::size_t count = 0;
    for (const auto* m : products())
        count += (m->in + 1) * m->out;
    return count;
}

void group_transformer::parameter_gradient(span<const float> product_gradient,
                                           span<float> result) const
{
    const auto& s = d_shape;
    if (product_gradient.size() != product_count() ||
        result.size() != d_parameters.size())
        throw std::invalid_argument("group_transformer: expected a gradient of " +
                                    std::to_string(product_count()) + " numbers for " +
                                    std::to_string(d_parameters.size()) + ", got " +
                                    std::to_string(product_gradient.size()) + " and " +
                                    std::to_string(result.size()));
    // From the products' gradient to that of their factors, in the constructor's order.
    reader next(product_gradient), read{span<const float>(d_parameters)};
    float* out = result.data();
    const auto write = [&out](const matrix& m) {
        out = std::copy(m.values.begin(), m.values.end(), out);
    };
    const auto taken = [&next](std::size_t columns, std::size_t rows) {
        matrix w = next(rows, columns);
        return std::pair{std::move(w), next(rows, 1)};
    };
    const auto affine = [&](std::size_t columns, std::size_t rows, double scale) {
        read(rows, columns);
        read(rows, 1);
        const auto [w, b] = taken(columns, rows);
        write(scaled(w, scale));
        write(scaled(b, scale));
    };
    // W diag(g) and W b of the gradients dw and db: by W, by g and by b.
    struct behind_norm {
        matrix w, g, b;
    };
    const auto unscaled = [](const matrix& w,
                             const matrix& g,
                             const matrix& b,
                             const matrix& dw,
                             const matrix& db) {
        behind_norm by{sum(columns_scaled(dw, g), product(db, transposed(b))),
                       matrix(g.rows, 1),
                       product(transposed(w), db)};
        for (std::size_t i = 0; i < w.rows; i++)
            for (std::size_t j = 0; j < w.columns; j++)
                by.g.values[j] += dw(i, j) * w(i, j);
        return by;
    };
    const double embed_scale = std::sqrt(static_cast<double>(s.width));
    affine(s.inputs, s.features, 1);
    affine(s.features, s.features, 1);
    if (s.variable_depth)
        affine(s.features, s.features, 1);
    affine(s.features, s.width, embed_scale);
    read(s.groups, s.width);
    write(matrix(s.groups, s.width));
    for (std::size_t l = 0; l < s.layers; l++) {
        const matrix g1 = read(s.width, 1), b1 = read(s.width, 1);
        const matrix g2 = read(s.width, 1), b2 = read(s.width, 1);
        const matrix query = read(s.width, s.width), key = read(s.width, s.width);
        const matrix value = read(s.width, s.width);
        const matrix merge = read(s.width, s.width);
        read(s.width, 1);
        const matrix expand = read(s.hidden, s.width);
        read(s.hidden, 1);
        read(s.width, s.hidden);
        read(s.width, 1);
        const matrix both = scaled(product(transposed(key), query), 1 / embed_scale);
        const matrix keyed = transposed(columns_scaled(transposed(both), g1));
        const matrix carried = product(merge, value);
        const auto [score_w, score_b] = taken(s.width, s.width);
        const auto [merge_w, merge_b] = taken(s.width, s.width);
        const auto [expand_w, expand_b] = taken(s.width, s.hidden);
        const auto [contract_w, contract_b] = taken(s.hidden, s.width);
        const auto by_keyed = unscaled(keyed, g1, b1, score_w, score_b);
        const auto by_carried = unscaled(carried, g1, b1, merge_w, merge_b);
        const auto by_expand = unscaled(expand, g2, b2, expand_w, expand_b);
        const matrix by_both = transposed(columns_scaled(transposed(by_keyed.w), g1));
        matrix by_g1 = sum(by_keyed.g, by_carried.g);
        for (std::size_t i = 0; i < s.width; i++)
            for (std::size_t j = 0; j < s.width; j++)
                by_g1.values[i] += by_keyed.w(i, j) * both(i, j);
        write(by_g1);
        write(sum(by_keyed.b, by_carried.b));
        write(by_expand.g);
        write(by_expand.b);
        write(scaled(product(key, by_both), 1 / embed_scale));
        write(scaled(product(query, transposed(by_both)), 1 / embed_scale));
        write(product(transposed(merge), by_carried.w));
        write(product(by_carried.w, transposed(value)));
        write(merge_b);
        write(by_expand.w);
        write(expand_b);
        write(contract_w);
        write(contract_b);
    }
    const matrix g = read(s.width, 1), b = read(s.width, 1);
    const matrix last = read(s.head[0], s.width);
    read(s.head[0], 1);
    const auto [head_w, head_b] = taken(s.width, s.head[0]);
    const auto by_head = unscaled(last, g, b, head_w, head_b);
    write(by_head.g);
    write(by_head.b);
    write(by_head.w);
    write(head_b);
    for (std::size_t j = 1; j < s.head.size(); j++)
        affine(s.head[j - 1], s.head[j], 1);
}

} // namespace gr::neuralfec
#endif

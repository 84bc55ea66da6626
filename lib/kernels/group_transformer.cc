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
 * gelu(x) = x Phi(x) = max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, erfc by Abramowitz and
 * Stegun 7.1.26, absolute error of erf below 1.5e-7.
 */
HWY_INLINE V gelu(D d, V x)
{
    const V magnitude = hn::Abs(x);
    const V z = hn::Mul(magnitude, hn::Set(d, 0.70710678f));
    const V t = hn::Div(hn::Set(d, 1.0f),
                        hn::MulAdd(z, hn::Set(d, 0.3275911f), hn::Set(d, 1.0f)));
    V p = hn::MulAdd(t, hn::Set(d, 1.061405429f), hn::Set(d, -1.453152027f));
    p = hn::MulAdd(p, t, hn::Set(d, 1.421413741f));
    p = hn::MulAdd(p, t, hn::Set(d, -0.284496736f));
    p = hn::MulAdd(p, t, hn::Set(d, 0.254829592f));
    p = hn::Mul(p, t);
    const V half = hn::Mul(magnitude, hn::Set(d, 0.5f));
    const V tail = hn::Mul(hn::Mul(half, p), hn::Exp(d, hn::Neg(hn::Mul(z, z))));
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

//! y = (x - mean) / sqrt(variance + 1e-5) of each token over its features.
HWY_NOINLINE void normalise(const float* HWY_RESTRICT x,
                            float* HWY_RESTRICT y,
                            std::size_t width,
                            std::size_t stride)
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

} // namespace HWY_NAMESPACE
} // namespace gr::neuralfec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {
HWY_EXPORT(run);

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
    : d_shape(s)
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

} // namespace gr::neuralfec
#endif

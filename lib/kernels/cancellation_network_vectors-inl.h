/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the cancellation network does to vectors of LLRs and to matrices of its lanes, and
 * the gradients of that. Included once for each SIMD target.
 */
#include "kernels/cancellation_network.h"
#include "kernels/dense-inl.h"

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>
#include <algorithm>
#include <type_traits>

#if defined(NEURALFEC_CANCELLATION_NETWORK_VECTORS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_CANCELLATION_NETWORK_VECTORS_INL_H
#undef NEURALFEC_CANCELLATION_NETWORK_VECTORS_INL_H
#else
#define NEURALFEC_CANCELLATION_NETWORK_VECTORS_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr D d{};
using shape = cancellation_network;
using layer = cancellation_network::layer;
constexpr std::size_t leaf = cancellation_network::leaf;

// What a frozen subcode says of its bits.
constexpr float certain = 15.0f;
// Beyond it a subcode's probabilities would underflow: 8 of them still multiply.
constexpr float most_certain = 10.0f;

V load(const float* p)
{
    return hn::Load(d, p);
}
void store(V v, float* p)
{
    hn::Store(v, d, p);
}
void add_to(float* p, V v)
{
    store(hn::Add(load(p), v), p);
}
V constant(float x)
{
    return hn::Set(d, x);
}
V sign_of(V v)
{
    return hn::CopySign(constant(1.0f), v);
}

V box_correction(V sum_or_difference)
{
    return hn::Max(
        hn::Zero(d),
        hn::NegMulAdd(constant(0.29f), hn::Abs(sum_or_difference), constant(0.65f)));
}

V box(V a, V b)
{
    const V least = hn::CopySign(hn::Min(hn::Abs(a), hn::Abs(b)), hn::Xor(a, b));
    return hn::Add(least,
                   hn::Sub(box_correction(hn::Add(a, b)), box_correction(hn::Sub(a, b))));
}

//! Adds to da and db what the gradient g of box(a, b) makes there.
void box_gradient(V a, V b, V g, V& da, V& db)
{
    auto slope = [](V x) {
        const auto active = hn::Lt(hn::Abs(x), constant(0.65f / 0.29f));
        return hn::IfThenElseZero(active, hn::CopySign(constant(-0.29f), hn::Neg(x)));
    };
    // d/dx c(|x|) = -0.29 sign(x) where c is not yet 0; CopySign above takes -x's sign.
    const V of_sum = slope(hn::Add(a, b)), of_difference = slope(hn::Sub(a, b));
    const auto a_is_least = hn::Lt(hn::Abs(a), hn::Abs(b));
    const V by_a = hn::IfThenElseZero(a_is_least, sign_of(b));
    const V by_b = hn::IfThenZeroElse(a_is_least, sign_of(a));
    da = hn::MulAdd(g, hn::Add(by_a, hn::Sub(of_sum, of_difference)), da);
    db = hn::MulAdd(g, hn::Add(by_b, hn::Add(of_sum, of_difference)), db);
}

//! An LLR as two inputs of a network: linear up to 12, and a tent around 0.
V linear_feature(V llr)
{
    return hn::Clamp(hn::Mul(llr, constant(0.25f)), constant(-3.0f), constant(3.0f));
}
V tent_feature(V llr)
{
    return hn::Max(hn::Zero(d),
                   hn::NegMulAdd(constant(0.5f), hn::Abs(llr), constant(1.0f)));
}
V feature_gradient(V llr, V of_linear, V of_tent)
{
    const V size = hn::Abs(llr);
    const V linear = hn::IfThenElseZero(hn::Lt(size, constant(12.0f)),
                                        hn::Mul(of_linear, constant(0.25f)));
    const V tent =
        hn::IfThenElseZero(hn::Lt(size, constant(2.0f)),
                           hn::Mul(of_tent, hn::CopySign(constant(0.5f), llr)));
    return hn::Sub(linear, tent);
}

/*
 * Matrices are applied to columns of lanes: x is [columns][in] rows of one vector.
 */

/*!
 * y = f(W x + b) for all columns. No bias: b = nullptr. f(sum, at) is what is stored at
 * y + at.
 */
template <typename F>
HWY_NOINLINE void apply(const float* w,
                        const float* b,
                        const float* x,
                        float* y,
                        std::size_t columns,
                        std::size_t in,
                        std::size_t out,
                        const F& f)
{
    const std::size_t lanes = hn::Lanes(d);
    // Rows o, ... of columns c, ...; one column alone is bound by the time that a sum
    // takes, and has more rows at once.
    auto tile =
        [&](auto rows, auto vectors, std::size_t o, std::size_t c) NEURALFEC_LAMBDA {
            multiply_dense<decltype(rows)::value, decltype(vectors)::value>(
                d,
                w + o * in,
                in,
                1,
                x + c * in * lanes,
                lanes,
                in * lanes,
                in,
                [&](std::size_t r, std::size_t)
                    NEURALFEC_LAMBDA { return b ? constant(b[o + r]) : hn::Zero(d); },
                [&](std::size_t r, std::size_t v, V sum) NEURALFEC_LAMBDA {
                    const std::size_t at = ((c + v) * out + o + r) * lanes;
                    store(f(sum, at), y + at);
                });
        };
    constexpr std::integral_constant<std::size_t, 1> one{};
    constexpr std::integral_constant<std::size_t, 4> four{};
    constexpr std::integral_constant<std::size_t, 8> eight{};
    std::size_t c = 0;
    for (; c + 4 <= columns; c += 4)
        for (std::size_t o = 0; o < out; o += 4)
            tile(four, four, o, c);
    for (; c < columns; c++) {
        std::size_t o = 0;
        for (; o + 8 <= out; o += 8)
            tile(eight, one, o, c);
        for (; o < out; o += 4)
            tile(four, one, o, c);
    }
}

//! dw += dy x^T and db += dy, summed over columns and lanes.
HWY_NOINLINE void weight_gradient(const float* dy,
                                  const float* x,
                                  std::size_t columns,
                                  std::size_t in,
                                  std::size_t out,
                                  float* dw,
                                  float* db)
{
    const std::size_t lanes = hn::Lanes(d);
    auto sum = [](V v) { return hn::GetLane(hn::SumOfLanes(d, v)); };
    for (std::size_t o = 0; o < out; o += 4) {
        for (std::size_t i = 0; i < in; i += 4) {
            V s[4][4];
            for (auto& row : s)
                for (V& v : row)
                    v = hn::Zero(d);
            for (std::size_t c = 0; c < columns; c++) {
                const float* p = x + (c * in + i) * lanes;
                const float* q = dy + (c * out + o) * lanes;
                const V x0 = load(p), x1 = load(p + lanes), x2 = load(p + 2 * lanes),
                        x3 = load(p + 3 * lanes);
                for (std::size_t r = 0; r < 4; r++) {
                    const V g = load(q + r * lanes);
                    s[r][0] = hn::MulAdd(g, x0, s[r][0]);
                    s[r][1] = hn::MulAdd(g, x1, s[r][1]);
                    s[r][2] = hn::MulAdd(g, x2, s[r][2]);
                    s[r][3] = hn::MulAdd(g, x3, s[r][3]);
                }
            }
            for (std::size_t r = 0; r < 4; r++)
                for (std::size_t t = 0; t < 4; t++)
                    dw[(o + r) * in + i + t] += sum(s[r][t]);
        }
        for (std::size_t q = o; q < o + 4; q++) {
            V s = hn::Zero(d);
            for (std::size_t c = 0; c < columns; c++)
                s = hn::Add(s, load(dy + (c * out + q) * lanes));
            db[q] += sum(s);
        }
    }
}

using buffer = hwy::AlignedFreeUniquePtr<float[]>;

buffer rows(std::size_t count)
{
    const std::size_t size = std::max<std::size_t>(count, 1) * hn::Lanes(d);
    buffer memory = hwy::AllocateAligned<float>(size);
    std::fill_n(memory.get(), size, 0.0f);
    return memory;
}

} // namespace
} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

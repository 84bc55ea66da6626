/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The product behind every dense layer: y = f(W x + b) for many x at once, which lie
 * across SIMD lanes. Included once for each SIMD target.
 */
#include "kernels/dense.h"

#include <hwy/highway.h>
#include <utility>

#if defined(NEURALFEC_DENSE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_DENSE_INL_H
#undef NEURALFEC_DENSE_INL_H
#else
#define NEURALFEC_DENSE_INL_H
#endif

// A lambda that is called for each sum of a tile, and must not become a function for
// that.
#undef NEURALFEC_LAMBDA
#define NEURALFEC_LAMBDA HWY_ATTR __attribute__((always_inline))

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {

// Rows of a tile whose sums over three vectors leave registers for operands.
#if HWY_TARGET == HWY_NEON || (HWY_TARGET <= HWY_AVX3)
constexpr std::size_t dense_rows = 8;
#else
constexpr std::size_t dense_rows = 4;
#endif
static_assert(dense_tile_rows % dense_rows == 0);

/*!
 * f(r, v) for all rows and vectors of a tile. Where a loop sets the sums of a tile,
 * compilers put them in memory first.
 */
template <std::size_t Rows, std::size_t Vectors, typename F, std::size_t... I>
HWY_INLINE void each_sum(const F& f, std::index_sequence<I...>)
{
    (f(I / Vectors, I % Vectors), ...);
}

/*!
 * sum[r][v] = begin(r, v) + sum_i W[r][i] x[i][v], handed to finish(r, v, sum). Sums stay
 * in registers and go over i in order, so results do not depend on Rows and Vectors.
 *
 * \tparam Fused fused multiply-add; without it a product is rounded by itself, and every
 *         target gives the same bits
 * \param w W[r][i] is at w[r * w_row + i * w_column]
 * \param x the vector x[i][v] is at x + i * x_row + v * x_vector
 */
template <std::size_t Rows,
          std::size_t Vectors,
          bool Fused = true,
          class D,
          typename Begin,
          typename Finish>
HWY_INLINE void multiply_dense(D d,
                               const float* HWY_RESTRICT w,
                               std::size_t w_row,
                               std::size_t w_column,
                               const float* HWY_RESTRICT x,
                               std::size_t x_row,
                               std::size_t x_vector,
                               std::size_t in,
                               const Begin& begin,
                               const Finish& finish)
{
    namespace hn = hwy::HWY_NAMESPACE;
    hn::Vec<D> sum[Rows][Vectors];
    each_sum<Rows, Vectors>([&](std::size_t r, std::size_t v)
                                NEURALFEC_LAMBDA { sum[r][v] = begin(r, v); },
                            std::make_index_sequence<Rows * Vectors>());
    for (std::size_t i = 0; i < in; i++) {
        hn::Vec<D> operand[Vectors];
        for (std::size_t v = 0; v < Vectors; v++)
            operand[v] = hn::Load(d, x + i * x_row + v * x_vector);
        for (std::size_t r = 0; r < Rows; r++) {
            const auto weight = hn::Set(d, w[r * w_row + i * w_column]);
            for (std::size_t v = 0; v < Vectors; v++)
                sum[r][v] = Fused ? hn::MulAdd(weight, operand[v], sum[r][v])
                                  : hn::Add(sum[r][v], hn::Mul(weight, operand[v]));
        }
    }
    each_sum<Rows, Vectors>([&](std::size_t r, std::size_t v)
                                NEURALFEC_LAMBDA { finish(r, v, sum[r][v]); },
                            std::make_index_sequence<Rows * Vectors>());
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

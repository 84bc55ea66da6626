/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Exponentials and logarithms that are faster than those of a library, each with the
 * bound of its error. Included once for each SIMD target.
 */
#include <hwy/highway.h>

#if defined(NEURALFEC_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_MATH_INL_H
#undef NEURALFEC_MATH_INL_H
#else
#define NEURALFEC_MATH_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {

/*!
 * The polynomial with these coefficients, the highest first, at x.
 *
 * \tparam Fused fused multiply-adds; without them every step is rounded twice, and every
 *         target gives the same bits
 */
template <bool Fused, class D, class V, std::size_t N>
HWY_INLINE V polynomial(D d, V x, const float (&coefficients)[N])
{
    namespace hn = hwy::HWY_NAMESPACE;
    V p = hn::Set(d, coefficients[0]);
    for (std::size_t i = 1; i < N; i++) {
        const V c = hn::Set(d, coefficients[i]);
        p = Fused ? hn::MulAdd(p, x, c) : hn::Add(hn::Mul(p, x), c);
    }
    return p;
}

//! 2^x for -126 < x < 127 by a polynomial for 2^f, |f| <= 1/2.
template <bool Fused, class D, class V, std::size_t N>
HWY_INLINE V exp2_by(D d, V x, const float (&coefficients)[N])
{
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::RebindToSigned<D> di;
    // Adding 1.5 * 2^23 rounds to an integer, which the low bits of the sum then hold.
    const V magic = hn::Set(d, 12582912.0f);
    const V shifted = hn::Add(x, magic);
    const V f = hn::Sub(x, hn::Sub(shifted, magic));
    const V p = polynomial<Fused>(d, f, coefficients);
    const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
    return hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
}

//! 2^x for -126 < x < 127, relative error below 4e-6.
template <class D, class V>
HWY_INLINE V exp2_coarse(D d, V x)
{
    return exp2_by<true>(
        d, x, {0.00968175635f, 0.0559197502f, 0.240220243f, 0.693121516f, 1.0f});
}

//! 2^x for -126 < x < 127, relative error below 3e-7.
template <class D, class V>
HWY_INLINE V exp2_fine(D d, V x)
{
    return exp2_by<true>(
        d,
        x,
        {0.00134072555f, 0.0096718753f, 0.0555030837f, 0.240222346f, 0.693147215f, 1.0f});
}

//! 2^x for -126 < x < 127, relative error below 2e-7, the same bits on every target: the
//! polynomial is the minimax one of degree 5 with p(0) = 1.
template <class D, class V>
HWY_INLINE V exp2_reproducible(D d, V x)
{
    return exp2_by<false>(d,
                          x,
                          {1.32647273e-3f,
                           9.67151305e-3f,
                           5.55073374e-2f,
                           2.40222421e-1f,
                           6.93146978e-1f,
                           1.0f});
}

/*!
 * exp(x) for -64 <= x <= 0, below that exp(-64): 2^n e^r with |r| <= ln(2) / 2, the
 * polynomial of Cephes' expf, relative error below 1e-7. Only additions, multiplications
 * and exact conversions, each rounded once, so that every target gives the same bits.
 */
template <class D, class V>
HWY_INLINE V exp_reproducible(D d, V x)
{
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::RebindToSigned<D> di;
    x = hn::Max(x, hn::Set(d, -64.0f));
    const V magic = hn::Set(d, 12582912.0f);
    const V n = hn::Sub(hn::Add(hn::Mul(x, hn::Set(d, 1.44269504f)), magic), magic);
    V r = hn::Sub(x, hn::Mul(n, hn::Set(d, 0.693359375f)));
    r = hn::Sub(r, hn::Mul(n, hn::Set(d, -2.12194440e-4f)));
    V p = polynomial<false>(d,
                            r,
                            {1.9875691500e-4f,
                             1.3981999507e-3f,
                             8.3334519073e-3f,
                             4.1665795894e-2f,
                             1.6666665459e-1f,
                             5.0000001201e-1f});
    p = hn::Add(hn::Add(hn::Mul(hn::Mul(r, r), p), r), hn::Set(d, 1.0f));
    const auto power = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
    return hn::Mul(p, hn::BitCast(d, power));
}

//! log(1 + e^x) for x <= 0, absolute error below 5e-7: z = e^x, and a minimax polynomial
//! of degree 8 for log(1 + z).
template <class D, class V>
HWY_INLINE V log1p_exp(D d, V x)
{
    namespace hn = hwy::HWY_NAMESPACE;
    const V z =
        exp2_fine(d, hn::Max(hn::Mul(x, hn::Set(d, 1.44269504f)), hn::Set(d, -125.0f)));
    return hn::Mul(z,
                   polynomial<true>(d,
                                    z,
                                    {-0.00667944737f,
                                     0.0369752198f,
                                     -0.0967310444f,
                                     0.168795526f,
                                     -0.241242006f,
                                     0.331919819f,
                                     -0.499887884f,
                                     0.99999696f}));
}

//! Natural logarithm of normal x > 0, absolute error below 2e-6 + 1.2e-7 times its size.
template <class D, class V>
HWY_INLINE V log_coarse(D d, V x)
{
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::RebindToSigned<D> di;
    const auto bits = hn::BitCast(di, x);
    // The exponent that leaves a mantissa in [sqrt(1/2), sqrt(2)).
    const auto e = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(di, 0x3f3504f3)));
    const V f =
        hn::Sub(hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(e))), hn::Set(d, 1.0f));
    const V p = polynomial<true>(d,
                                 f,
                                 {-0.143197199f,
                                  0.223300358f,
                                  -0.254724833f,
                                  0.332258759f,
                                  -0.499850507f,
                                  1.00001278f});
    return hn::MulAdd(hn::ConvertTo(d, e), hn::Set(d, 0.693147181f), hn::Mul(p, f));
}

/*!
 * log2(x / y) of normal positive numbers, absolute error below 3e-7 + 1e-7 times the
 * result, the same bits on every target. With x' = x 2^-e, such that x' / y is between
 * 2/3 and 3/2, log2(x / y) = e + (2 / ln 2) atanh((x' - y) / (x' + y)).
 */
template <class D, class V>
HWY_INLINE V log2_of_ratio(D d, V x, V y)
{
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::RebindToSigned<D> di;
    const auto xi = hn::BitCast(di, x);
    const auto half = hn::Set(di, 1 << 22);
    const auto e = hn::ShiftRight<23>(hn::Add(hn::Sub(xi, hn::BitCast(di, y)), half));
    const auto scaled = hn::BitCast(d, hn::Sub(xi, hn::ShiftLeft<23>(e)));
    const auto s = hn::Div(hn::Sub(scaled, y), hn::Add(scaled, y));
    const auto p =
        polynomial<false>(d, hn::Mul(s, s), {0.602743582f, 0.961406911f, 2.88539095f});
    return hn::Add(hn::ConvertTo(d, e), hn::Mul(p, s));
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

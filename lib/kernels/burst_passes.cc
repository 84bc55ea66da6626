/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/burst_passes.cc"
#include <hwy/foreach_target.h>

#include "kernels/burst_passes.h"

#include <hwy/highway.h>
#include <algorithm>
#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

namespace {

template <class V>
struct complex_of {
    V re, im;
};

//! exp(-2 pi j x), of any x that a float holds to the precision wanted.
template <class D, class V = hn::Vec<D>>
complex_of<V> phasors(D d, V x)
{
    // Half the angle is within a quarter turn, where Taylor's series of 6 terms has an
    // error below a float's.
    const auto half = hn::Mul(hn::Sub(x, hn::Round(x)), hn::Set(d, float(-M_PI)));
    const auto q = hn::Mul(half, half);
    auto s = hn::Set(d, -1.0f / 39916800);
    s = hn::MulAdd(s, q, hn::Set(d, 1.0f / 362880));
    s = hn::MulAdd(s, q, hn::Set(d, -1.0f / 5040));
    s = hn::MulAdd(s, q, hn::Set(d, 1.0f / 120));
    s = hn::MulAdd(s, q, hn::Set(d, -1.0f / 6));
    s = hn::Mul(half, hn::MulAdd(s, q, hn::Set(d, 1.0f)));
    auto c = hn::Set(d, 1.0f / 479001600);
    c = hn::MulAdd(c, q, hn::Set(d, -1.0f / 3628800));
    c = hn::MulAdd(c, q, hn::Set(d, 1.0f / 40320));
    c = hn::MulAdd(c, q, hn::Set(d, -1.0f / 720));
    c = hn::MulAdd(c, q, hn::Set(d, 1.0f / 24));
    c = hn::MulAdd(c, q, hn::Set(d, -0.5f));
    c = hn::MulAdd(c, q, hn::Set(d, 1.0f));
    const auto two = hn::Add(s, s);
    return {hn::NegMulAdd(two, s, hn::Set(d, 1.0f)), hn::Mul(two, c)};
}

} // namespace

void turn_samples(const float* HWY_RESTRICT r,
                  const float* HWY_RESTRICT turn_re,
                  const float* HWY_RESTRICT turn_im,
                  const float* HWY_RESTRICT numbers,
                  std::size_t size,
                  float* HWY_RESTRICT out)
{
    const hn::CappedTag<float, 16> d;
    const auto dc_re = hn::Set(d, numbers[0]), dc_im = hn::Set(d, numbers[1]);
    const auto image_re = hn::Set(d, numbers[2]), image_im = hn::Set(d, numbers[3]);
    for (std::size_t i = 0; i < size; i += hn::Lanes(d)) {
        hn::Vec<decltype(d)> x, y;
        hn::LoadInterleaved2(d, r + 2 * i, x, y);
        x = hn::Sub(x, dc_re);
        y = hn::Sub(y, dc_im);
        // z = (x + j y) - image (x - j y)
        const auto u = hn::Sub(x, hn::MulAdd(image_re, x, hn::Mul(image_im, y)));
        const auto v = hn::Sub(y, hn::MulSub(image_im, x, hn::Mul(image_re, y)));
        const auto p = hn::LoadU(d, turn_re + i), q = hn::LoadU(d, turn_im + i);
        hn::StoreInterleaved2(hn::MulSub(u, p, hn::Mul(v, q)),
                              hn::MulAdd(u, q, hn::Mul(v, p)),
                              d,
                              out + 2 * i);
    }
}

void take_bins(const float* HWY_RESTRICT bins,
               float factor_re,
               float factor_im,
               std::size_t size,
               float* HWY_RESTRICT re,
               float* HWY_RESTRICT im)
{
    const hn::CappedTag<float, 16> d;
    const auto p = hn::Set(d, factor_re), q = hn::Set(d, factor_im);
    std::size_t i = 0;
    for (; i + hn::Lanes(d) <= size; i += hn::Lanes(d)) {
        hn::Vec<decltype(d)> x, y;
        hn::LoadInterleaved2(d, bins + 2 * i, x, y);
        hn::StoreU(hn::MulSub(x, p, hn::Mul(y, q)), d, re + i);
        hn::StoreU(hn::MulAdd(x, q, hn::Mul(y, p)), d, im + i);
    }
    for (; i < size; i++) {
        const float x = bins[2 * i], y = bins[2 * i + 1];
        re[i] = x * factor_re - y * factor_im;
        im[i] = x * factor_im + y * factor_re;
    }
}

void turn_values(const float* HWY_RESTRICT v_re,
                 const float* HWY_RESTRICT v_im,
                 const float* HWY_RESTRICT turn,
                 std::size_t size,
                 float* HWY_RESTRICT u_re,
                 float* HWY_RESTRICT u_im)
{
    const hn::CappedTag<float, 16> d;
    for (std::size_t i = 0; i < size; i += hn::Lanes(d)) {
        const auto p = phasors(d, hn::LoadU(d, turn + i));
        const auto x = hn::LoadU(d, v_re + i), y = hn::LoadU(d, v_im + i);
        hn::StoreU(hn::MulSub(x, p.re, hn::Mul(y, p.im)), d, u_re + i);
        hn::StoreU(hn::MulAdd(x, p.im, hn::Mul(y, p.re)), d, u_im + i);
    }
}

void step_sums(const float* HWY_RESTRICT u_re,
               const float* HWY_RESTRICT u_im,
               const float* HWY_RESTRICT h_re,
               const float* HWY_RESTRICT h_im,
               const float* HWY_RESTRICT w,
               const float* HWY_RESTRICT k,
               const float* HWY_RESTRICT t,
               std::size_t size,
               float* HWY_RESTRICT sums)
{
    const hn::CappedTag<float, 16> d;
    const auto zero = hn::Zero(d);
    auto g0 = zero, g1 = zero, g2 = zero, k1 = zero, k2 = zero, kk = zero;
    auto e0 = zero, e1 = zero, ek = zero;
    for (std::size_t i = 0; i < size; i += hn::Lanes(d)) {
        const auto x = hn::LoadU(d, h_re + i), y = hn::LoadU(d, h_im + i);
        const auto at = hn::LoadU(d, t + i);
        const auto kt = hn::Mul(hn::LoadU(d, k + i), at);
        const auto there = hn::FirstN(d, size - i);
        const auto g = hn::IfThenElseZero(
            there, hn::Mul(hn::LoadU(d, w + i), hn::MulAdd(x, x, hn::Mul(y, y))));
        const auto e = hn::IfThenElseZero(
            there,
            hn::MulSub(hn::LoadU(d, u_im + i), x, hn::Mul(hn::LoadU(d, u_re + i), y)));
        const auto gt = hn::Mul(g, at), gkt = hn::Mul(g, kt);
        g0 = hn::Add(g0, g);
        g1 = hn::Add(g1, gt);
        g2 = hn::MulAdd(gt, at, g2);
        k1 = hn::Add(k1, gkt);
        k2 = hn::MulAdd(gkt, at, k2);
        kk = hn::MulAdd(gkt, kt, kk);
        e0 = hn::Add(e0, e);
        e1 = hn::MulAdd(e, at, e1);
        ek = hn::MulAdd(e, kt, ek);
    }
    const auto sum = [&](auto v) { return hn::GetLane(hn::SumOfLanes(d, v)); };
    sums[0] = sum(g0);
    sums[1] = sum(g1);
    sums[2] = sum(g2);
    sums[3] = sum(k1);
    sums[4] = sum(k2);
    sums[5] = sum(kk);
    sums[6] = sum(e0);
    sums[7] = sum(e1);
    sums[8] = sum(ek);
}

float residuals(const float* HWY_RESTRICT u_re,
                const float* HWY_RESTRICT u_im,
                const float* HWY_RESTRICT h_re,
                const float* HWY_RESTRICT h_im,
                const float* HWY_RESTRICT w,
                std::size_t size,
                float* HWY_RESTRICT out)
{
    const hn::CappedTag<float, 16> d;
    auto all = hn::Zero(d);
    for (std::size_t i = 0; i < size; i += hn::Lanes(d)) {
        const auto g = hn::LoadU(d, w + i);
        const auto x = hn::NegMulAdd(g, hn::LoadU(d, h_re + i), hn::LoadU(d, u_re + i));
        const auto y = hn::NegMulAdd(g, hn::LoadU(d, h_im + i), hn::LoadU(d, u_im + i));
        const auto energy = hn::Div(hn::MulAdd(x, x, hn::Mul(y, y)), g);
        hn::StoreU(energy, d, out + i);
        all = hn::Add(all, energy);
    }
    return hn::GetLane(hn::SumOfLanes(d, all));
}

void correlate(const float* HWY_RESTRICT turn_re,
               const float* HWY_RESTRICT turn_im,
               const float* HWY_RESTRICT re,
               const float* HWY_RESTRICT im,
               std::size_t taps,
               std::size_t size,
               std::complex<double>* HWY_RESTRICT out)
{
    const hn::CappedTag<float, 16> d;
    for (std::size_t l = 0; l < taps; l++) {
        const float *t = turn_re + l * size, *u = turn_im + l * size;
        auto x = hn::Zero(d), y = hn::Zero(d);
        std::size_t i = 0;
        for (; i + hn::Lanes(d) <= size; i += hn::Lanes(d)) {
            const auto p = hn::LoadU(d, t + i), q = hn::LoadU(d, u + i);
            const auto a = hn::LoadU(d, re + i), b = hn::LoadU(d, im + i);
            x = hn::MulAdd(p, a, hn::MulAdd(q, b, x));
            y = hn::MulAdd(p, b, hn::NegMulAdd(q, a, y));
        }
        float p = hn::GetLane(hn::SumOfLanes(d, x)),
              q = hn::GetLane(hn::SumOfLanes(d, y));
        for (; i < size; i++) {
            p += t[i] * re[i] + u[i] * im[i];
            q += t[i] * im[i] - u[i] * re[i];
        }
        out[l] = {p, q};
    }
}

void combine(const float* HWY_RESTRICT turn_re,
             const float* HWY_RESTRICT turn_im,
             const float* HWY_RESTRICT h_re,
             const float* HWY_RESTRICT h_im,
             std::size_t taps,
             std::size_t size,
             float* HWY_RESTRICT re,
             float* HWY_RESTRICT im)
{
    std::fill_n(re, size, 0.0f);
    std::fill_n(im, size, 0.0f);
    for (std::size_t l = 0; l < taps; l++) {
        const float a = h_re[l], b = h_im[l];
        const float *t = turn_re + l * size, *u = turn_im + l * size;
        for (std::size_t i = 0; i < size; i++) {
            re[i] += a * t[i] - b * u[i];
            im[i] += a * u[i] + b * t[i];
        }
    }
}

void moments(const float* HWY_RESTRICT r, std::size_t size, float* HWY_RESTRICT sums)
{
    const hn::CappedTag<float, 16> d;
    auto x1 = hn::Zero(d), y1 = hn::Zero(d), xx = hn::Zero(d), yy = hn::Zero(d),
         xy = hn::Zero(d);
    std::size_t i = 0;
    for (; i + hn::Lanes(d) <= size; i += hn::Lanes(d)) {
        hn::Vec<decltype(d)> x, y;
        hn::LoadInterleaved2(d, r + 2 * i, x, y);
        x1 = hn::Add(x1, x);
        y1 = hn::Add(y1, y);
        xx = hn::MulAdd(x, x, xx);
        yy = hn::MulAdd(y, y, yy);
        xy = hn::MulAdd(x, y, xy);
    }
    const auto sum = [&](auto v) { return hn::GetLane(hn::SumOfLanes(d, v)); };
    sums[0] = sum(x1);
    sums[1] = sum(y1);
    sums[2] = sum(xx);
    sums[3] = sum(yy);
    sums[4] = sum(xy);
    for (; i < size; i++) {
        const float x = r[2 * i], y = r[2 * i + 1];
        sums[0] += x;
        sums[1] += y;
        sums[2] += x * x;
        sums[3] += y * y;
        sums[4] += x * y;
    }
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(turn_samples);
HWY_EXPORT(take_bins);
HWY_EXPORT(turn_values);
HWY_EXPORT(step_sums);
HWY_EXPORT(residuals);
HWY_EXPORT(correlate);
HWY_EXPORT(combine);
HWY_EXPORT(moments);

namespace burst_passes {

void turn_samples(const float* r,
                  const float* turn_re,
                  const float* turn_im,
                  const float* numbers,
                  std::size_t size,
                  float* out)
{
    HWY_DYNAMIC_DISPATCH(turn_samples)(r, turn_re, turn_im, numbers, size, out);
}

void take_bins(const float* bins,
               float factor_re,
               float factor_im,
               std::size_t size,
               float* re,
               float* im)
{
    HWY_DYNAMIC_DISPATCH(take_bins)(bins, factor_re, factor_im, size, re, im);
}

void turn_values(const float* v_re,
                 const float* v_im,
                 const float* turn,
                 std::size_t size,
                 float* u_re,
                 float* u_im)
{
    HWY_DYNAMIC_DISPATCH(turn_values)(v_re, v_im, turn, size, u_re, u_im);
}

void step_sums(const float* u_re,
               const float* u_im,
               const float* h_re,
               const float* h_im,
               const float* w,
               const float* k,
               const float* t,
               std::size_t size,
               float* sums)
{
    HWY_DYNAMIC_DISPATCH(step_sums)(u_re, u_im, h_re, h_im, w, k, t, size, sums);
}

float residuals(const float* u_re,
                const float* u_im,
                const float* h_re,
                const float* h_im,
                const float* w,
                std::size_t size,
                float* out)
{
    return HWY_DYNAMIC_DISPATCH(residuals)(u_re, u_im, h_re, h_im, w, size, out);
}

void correlate(const float* turn_re,
               const float* turn_im,
               const float* re,
               const float* im,
               std::size_t taps,
               std::size_t size,
               std::complex<double>* out)
{
    HWY_DYNAMIC_DISPATCH(correlate)(turn_re, turn_im, re, im, taps, size, out);
}

void combine(const float* turn_re,
             const float* turn_im,
             const float* h_re,
             const float* h_im,
             std::size_t taps,
             std::size_t size,
             float* re,
             float* im)
{
    HWY_DYNAMIC_DISPATCH(combine)(turn_re, turn_im, h_re, h_im, taps, size, re, im);
}

void moments(const float* r, std::size_t size, float* sums)
{
    HWY_DYNAMIC_DISPATCH(moments)(r, size, sums);
}

} // namespace burst_passes

} // namespace gr::neuralfec
#endif

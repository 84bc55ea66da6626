/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/burst_demodulate.cc"
#include <hwy/foreach_target.h>

#include "kernels/burst_demodulate.h"

#include <hwy/highway.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

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

/*!
 * One FFT's samples: DC and image taken off, turned by the carrier offset; interleaved
 * floats. numbers: DC, image, real and imaginary each.
 */
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

//! Consecutive bins, interleaved, times a number, to real and imaginary ones; what is
//! behind `size` may change, up to a vector's lanes.
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

//! u = v exp(-2 pi j turn); arrays are whole vectors of 16 long.
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

/*!
 * Sums of a Gauss-Newton step: of g, g t, g t^2, g k t, g k t^2, g k^2 t^2 with
 * g = w |h|^2, and of e, e t, e k t with e = Im(u conj h). At most some thousand values.
 */
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

//! Energies |u - w h|^2 / w of residuals, to out; their sum. At most some thousand.
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

//! out_l = sum_i conj(t_li) v_i, with t in rows of l.
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

//! out_i = sum_l t_li h_l, with t in rows of l.
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

//! Sums of r, r^2 and |r|^2: 5 floats, over at most some thousand samples.
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

namespace {

using complex = std::complex<float>;
using wide = std::complex<double>;

constexpr std::size_t training_rows = 2;
constexpr std::size_t margin = 4;
constexpr std::size_t header_bits = 256;
constexpr uint32_t crc_polynomial = 0x1021;
constexpr std::size_t header_list = 8;
// Standard deviations before the pilots are looked at: of the search's carrier offset, in
// spacings, and of clocks.
constexpr double usual_cfo_error = 0.04;
constexpr double usual_clock_offset = 40e-6;
constexpr double largest_clock_offset = 100e-6;
// Below this, -8 dB, what looks like a burst is noise whose header's CRC holds by chance.
constexpr double least_snr = 0.16;
// Vectors' lanes at most, and values that a float may sum.
constexpr std::size_t lanes = 16;
constexpr std::size_t summed = 4096;
// What front ends and channels do themselves, 24 dB below, tears nothing; nor does what
// takes less than a tenth of the pilots' agreement, moves by a fifth of a sample, turns
// by half a radian, adds half of the noise or changes the energy by 3 dB.
constexpr double own_errors = 0.004;
constexpr double least_loss = 0.1;
constexpr double least_step = 0.2;
constexpr double least_excess = 1.5;
constexpr double least_turn = 0.45;
constexpr double least_change = 2;
// Of a pulse of interference, by the signal: residuals of phase noise go up to that.
constexpr double least_pulse = 0.03;
constexpr double tests_of_wholeness = 5;
// Pilots whose residuals are looked at together.
constexpr std::size_t residual_pilots = 32;

complex times(complex a, complex b)
{
    return {a.real() * b.real() - a.imag() * b.imag(),
            a.real() * b.imag() + a.imag() * b.real()};
}

complex times_conjugate(complex a, complex b)
{
    return {a.real() * b.real() + a.imag() * b.imag(),
            a.imag() * b.real() - a.real() * b.imag()};
}

wide product(wide a, wide b)
{
    return {a.real() * b.real() - a.imag() * b.imag(),
            a.real() * b.imag() + a.imag() * b.real()};
}

float norm(complex a)
{
    return a.real() * a.real() + a.imag() * a.imag();
}

complex phasor(double angle)
{
    return {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
}

} // namespace

/*!
 * The FFTs of a burst, what is known of them, and the estimates. A known value X at
 * (m, k) is kept as v = Y conj X and w = |X|^2.
 */
struct burst_demodulator::rows {
    std::size_t used = 0, count = 0;
    //! Y, row by row, real and imaginary.
    std::vector<float> re, im;
    //! T_m in samples.
    std::vector<double> time;
    //! Where a row's known values begin; one more than rows.
    std::vector<std::size_t> begin;
    //! Of the known values: used subcarrier, its number, T by the last row's, X.
    std::vector<uint16_t> index;
    std::vector<float> k, t, v_re, v_im, w;
    std::vector<complex> x;
    //! exp(-j phase) v, the phase in turns, the channel there, residual energies.
    std::vector<float> u_re, u_im, turn, g_re, g_im, residual;
    double a = 0;               // radians a sample
    double b = 0;               // radians a sample and subcarrier
    std::vector<double> common; // c_m
    std::vector<float> shrink;  // how much of its own pilots' noise a common phase has
    std::vector<float> h_re, h_im, var;
    double noise = 0, freedom = 0;
    //! Levinson's predictors of the normal equations, all orders, and their errors.
    std::vector<wide> predictors, lags;
    std::vector<double> errors;
    double prior = 0;

    //! Whole vectors of values up to a row.
    std::size_t upto(std::size_t row) const
    {
        return (begin[row] + lanes - 1) / lanes * lanes;
    }
};

burst_demodulator::burst_demodulator(const burst_format& format)
    : d_format((format.check(), format)),
      d_forward(format.fft_length, fft::direction::forward),
      d_header_decoder(header_bits,
                       std::vector<uint32_t>(format.header_information_set.begin() + 16,
                                             format.header_information_set.end()),
                       header_list),
      d_identity_word(header_bits),
      d_taps(std::min(format.cyclic_prefix + 2 * margin, format.used()))
{
    for (std::size_t i = 0; i < 16; i++)
        d_identity_word[d_format.header_information_set[i]] =
            d_format.identity >> (15 - i) & 1;
    polar_transform(span<uint8_t>(d_identity_word), header_bits);
    const auto table = [&](double first, std::vector<float>& re, std::vector<float>& im) {
        for (std::size_t l = 0; l < d_taps; l++)
            for (std::size_t i = 0; i < d_format.used(); i++) {
                const complex p =
                    phasor(-2 * M_PI * d_format.subcarriers[i] * (double(l) - first) /
                           double(d_format.fft_length));
                re.push_back(p.real());
                im.push_back(p.imag());
            }
    };
    table(double(margin), d_turn_re, d_turn_im);
    table(0, d_lag_re, d_lag_im);
}

std::size_t burst_demodulator::reach(std::size_t symbols) const
{
    // A sample clock off by 100 parts per million moves the last windows.
    const std::size_t rows =
        d_format.header_symbols + (symbols ? symbols + d_format.tail_symbols : 0);
    const std::size_t nominal = 2 * d_format.fft_length + rows * d_format.symbol_length();
    return nominal + nominal / 10000 + 1;
}

void burst_demodulator::channel(rows& w,
                                const float* re,
                                const float* im,
                                const float* n,
                                bool factorize,
                                bool last) const
{
    // (F^H diag(n) F + N0 / p) h = F^H v: normal equations of the taps, whose matrix is
    // Hermitian and Toeplitz.
    const std::size_t used = w.used, taps = d_taps;
    std::vector<wide> right(taps), h(taps);
    HWY_DYNAMIC_DISPATCH(correlate)
    (d_turn_re.data(), d_turn_im.data(), re, im, taps, used, right.data());
    auto& lags = w.lags;
    if (factorize) {
        // G(d) = sum_i n_i exp(2 pi j k_i d / N)
        const std::vector<float> none(used, 0.0f);
        HWY_DYNAMIC_DISPATCH(correlate)
        (d_lag_re.data(), d_lag_im.data(), n, none.data(), taps, used, lags.data());
        double power = 0;
        for (std::size_t i = 0; i < used; i++)
            if (n[i] > 0)
                power += (double(re[i]) * re[i] + double(im[i]) * im[i]) /
                         (double(n[i]) * n[i]);
        power = std::max(power / double(used) - w.noise * 0.3, 1e-12 * power);
        w.prior = w.noise * double(taps) / std::max(power, 1e-30);
        lags[0] = lags[0].real() * (1 + 1e-7) + w.prior;
        // Levinson's recursion: M a_m = (E_m, 0 .. 0) of each order m.
        wide* a = w.predictors.data();
        double error = std::max(lags[0].real(), 1e-30);
        a[0] = 1;
        w.errors[0] = error;
        for (std::size_t m = 1; m < taps; m++) {
            wide* next = a + m;
            wide sum = 0;
            for (std::size_t j = 0; j < m; j++)
                sum += product(a[j], lags[m - j]);
            const wide reflection = -sum / error;
            for (std::size_t j = 0; j <= m; j++)
                next[j] = (j < m ? a[j] : 0.0) +
                          (j > 0 ? product(reflection, std::conj(a[m - j])) : 0.0);
            error = std::max(error * (1 - std::norm(reflection)), 1e-30);
            w.errors[m] = error;
            a = next;
        }
    }
    const wide* a = w.predictors.data();
    for (std::size_t m = 0; m < taps; m++) {
        a += m;
        wide rest = right[m];
        for (std::size_t j = 0; j < m; j++)
            rest -= product(lags[m - j], h[j]);
        rest /= w.errors[m];
        for (std::size_t j = 0; j <= m; j++)
            h[j] += product(rest, std::conj(a[m - j]));
    }
    std::vector<float> tap_re(taps), tap_im(taps);
    for (std::size_t l = 0; l < taps; l++) {
        tap_re[l] = static_cast<float>(h[l].real());
        tap_im[l] = static_cast<float>(h[l].imag());
    }
    HWY_DYNAMIC_DISPATCH(combine)
    (d_turn_re.data(),
     d_turn_im.data(),
     tap_re.data(),
     tap_im.data(),
     taps,
     used,
     w.h_re.data(),
     w.h_im.data());
    if (!last)
        return;

    // Sums along the diagonals of M^-1 by the last predictor (Musicus 1985):
    // f_k^H M^-1 f_k = D(0) + 2 Re sum_d D(d) exp(2 pi j k d / N).
    for (std::size_t d = 0; d < taps; d++) {
        wide sum = 0;
        for (std::size_t q = 0; q + d < taps; q++)
            sum += (double(taps) - double(d) - 2 * double(q)) *
                   product(a[q], std::conj(a[q + d]));
        sum *= (d ? 2 : 1) / w.errors[taps - 1];
        tap_re[d] = static_cast<float>(sum.real());
        // Of the table's exp(-j ..) the conjugate's real part is the same.
        tap_im[d] = static_cast<float>(-sum.imag());
    }
    // Effective parameters: trace of G M^-1 = taps - prior trace M^-1.
    w.freedom = double(taps) - w.prior * tap_re[0];
    std::vector<float> rest(used);
    HWY_DYNAMIC_DISPATCH(combine)
    (d_lag_re.data(),
     d_lag_im.data(),
     tap_re.data(),
     tap_im.data(),
     taps,
     used,
     w.var.data(),
     rest.data());
    for (float& v : w.var)
        v = std::max(0.0f, v);
}

void burst_demodulator::estimate(rows& w,
                                 span<const complex> samples,
                                 double cfo,
                                 const std::vector<const complex*>& known,
                                 const front_end_offsets& offsets) const
{
    const auto& f = d_format;
    const std::size_t n = f.fft_length, used = f.used(), count = known.size();
    w.used = used;
    w.count = count;
    w.re.resize(count * used);
    w.im.resize(count * used);
    w.time.resize(count);
    w.common.assign(count, 0);
    w.shrink.assign(count, 0);
    w.h_re.resize(used);
    w.h_im.resize(used);
    w.var.resize(used);
    w.predictors.resize(d_taps * (d_taps + 1) / 2);
    w.lags.resize(d_taps);
    w.errors.resize(d_taps);
    w.freedom = double(d_taps);
    for (std::size_t m = 0; m < count; m++)
        w.time[m] = m < training_rows ? double(m * n)
                                      : double(2 * n + f.cyclic_prefix +
                                               (m - training_rows) * f.symbol_length());
    // What is known: all of a row, but for zeros, or its pilots.
    w.begin.assign(1, 0);
    for (std::size_t m = 0; m < count; m++) {
        const auto add = [&](std::size_t i, complex x) {
            w.index.push_back(static_cast<uint16_t>(i));
            w.x.push_back(x);
        };
        if (known[m]) {
            for (std::size_t i = 0; i < used; i++)
                if (known[m][i] != complex(0))
                    add(i, known[m][i]);
        } else {
            const std::size_t s = m - training_rows;
            std::size_t value = s * f.pilots % f.pilot_values.size();
            for (std::size_t p = 0; p < f.pilots; p++) {
                add(pilot(s, p), f.pilot_values[value]);
                if (++value == f.pilot_values.size())
                    value = 0;
            }
        }
        w.begin.push_back(w.index.size());
    }
    const std::size_t values = w.begin[count], padded = w.upto(count);
    for (auto* all : {&w.k,
                      &w.t,
                      &w.v_re,
                      &w.v_im,
                      &w.u_re,
                      &w.u_im,
                      &w.turn,
                      &w.g_re,
                      &w.g_im,
                      &w.residual})
        all->assign(padded, 0.0f);
    w.w.assign(padded, 1.0f);
    for (std::size_t m = 0; m < count; m++) {
        const auto t = static_cast<float>(w.time[m] / w.time[count - 1]);
        for (std::size_t o = w.begin[m]; o < w.begin[m + 1]; o++) {
            w.k[o] = static_cast<float>(f.subcarriers[w.index[o]]);
            w.t[o] = t;
        }
    }
    for (std::size_t o = 0; o < values; o++)
        w.w[o] = norm(w.x[o]);

    // exp(-j 2 pi cfo i / N) for a window's samples.
    std::vector<float> turn_re(n), turn_im(n);
    for (std::size_t i = 0; i < n; i++) {
        const complex p = phasor(-2 * M_PI * cfo * double(i) / double(n));
        turn_re[i] = p.real();
        turn_im[i] = p.imag();
    }
    const float numbers[4] = {static_cast<float>(offsets.dc.real()),
                              static_cast<float>(offsets.dc.imag()),
                              static_cast<float>(offsets.image.real()),
                              static_cast<float>(offsets.image.imag())};
    const fft_buffer in(n), out(n);
    const float scale = 1 / std::sqrt(static_cast<float>(n));
    const std::size_t below = static_cast<std::size_t>(
        std::lower_bound(f.subcarriers.begin(), f.subcarriers.end(), 0) -
        f.subcarriers.begin());
    const auto transform = [&](std::size_t m) {
        const double stretched = w.b * double(n) / (-2 * M_PI) * w.time[m];
        const long moved = std::lround(stretched);
        const std::size_t first =
            static_cast<std::size_t>(std::max(0.0, w.time[m] + double(moved)));
        HWY_DYNAMIC_DISPATCH(turn_samples)
        (reinterpret_cast<const float*>(samples.data() +
                                        std::min(first, samples.size() - n)),
         turn_re.data(),
         turn_im.data(),
         numbers,
         n,
         reinterpret_cast<float*>(in.data()));
        d_forward.execute(in, out);
        const complex base = phasor(-2 * M_PI * cfo * double(first) / double(n)) * scale;
        float *re = w.re.data() + m * used, *im = w.im.data() + m * used;
        const auto take = [&](std::size_t from, std::size_t to) {
            if (from < to)
                HWY_DYNAMIC_DISPATCH(take_bins)
            (reinterpret_cast<const float*>(
                 out.data() + ((f.subcarriers[from] + int(n)) & int(n - 1))),
             base.real(),
             base.imag(),
             to - from,
             re + from,
             im + from);
        };
        take(0, below);
        take(below, used);
        if (moved != 0) {
            // A window that is late by `moved` turns subcarrier k by + 2 pi k moved / N.
            for (std::size_t i = 0; i < used; i++) {
                const complex p =
                    phasor(-2 * M_PI * f.subcarriers[i] * double(moved) / double(n));
                const complex value = times({re[i], im[i]}, p);
                re[i] = value.real();
                im[i] = value.imag();
            }
        }
        for (std::size_t o = w.begin[m]; o < w.begin[m + 1]; o++) {
            const complex v = times_conjugate({re[w.index[o]], im[w.index[o]]}, w.x[o]);
            w.v_re[o] = v.real();
            w.v_im[o] = v.imag();
        }
    };

    // Known values of the first rows by what is known of the phases, and the channel
    // there.
    const auto turn = [&](std::size_t to) {
        for (std::size_t m = 0; m < to; m++) {
            double base = (w.a * w.time[m] + w.common[m]) / (2 * M_PI);
            base -= std::nearbyint(base);
            const auto start = static_cast<float>(base);
            const auto slope = static_cast<float>(w.b * w.time[m] / (2 * M_PI));
            for (std::size_t o = w.begin[m]; o < w.begin[m + 1]; o++)
                w.turn[o] = start + slope * w.k[o];
        }
        HWY_DYNAMIC_DISPATCH(turn_values)
        (w.v_re.data(),
         w.v_im.data(),
         w.turn.data(),
         w.upto(to),
         w.u_re.data(),
         w.u_im.data());
    };
    const auto gather = [&] {
        for (std::size_t o = 0; o < values; o++) {
            w.g_re[o] = w.h_re[w.index[o]];
            w.g_im[o] = w.h_im[w.index[o]];
        }
    };
    std::vector<float> sum_re(used), sum_im(used), weight(used);
    const auto solve = [&](std::size_t to, bool factorize, bool last) {
        turn(to);
        std::fill(sum_re.begin(), sum_re.end(), 0.0f);
        std::fill(sum_im.begin(), sum_im.end(), 0.0f);
        std::fill(weight.begin(), weight.end(), 0.0f);
        for (std::size_t o = 0; o < w.begin[to]; o++) {
            const std::size_t i = w.index[o];
            sum_re[i] += w.u_re[o];
            sum_im[i] += w.u_im[o];
            weight[i] += w.w[o];
        }
        channel(w, sum_re.data(), sum_im.data(), weight.data(), factorize, last);
        gather();
    };

    // Gauss-Newton for (theta, a, b) of Y = H X exp(j (theta + a T + b k T)); theta is
    // the channel's own phase and not kept.
    const double usual_a = 2 * M_PI * usual_cfo_error / double(n);
    const double usual_b = 2 * M_PI * usual_clock_offset / double(n);
    const double unit = 1 / w.time[count - 1];
    const auto refine = [&](std::size_t to) {
        turn(to);
        double sums[9] = {};
        for (std::size_t o = 0, end = w.begin[to]; o < end; o += summed) {
            float part[9];
            HWY_DYNAMIC_DISPATCH(step_sums)
            (w.u_re.data() + o,
             w.u_im.data() + o,
             w.g_re.data() + o,
             w.g_im.data() + o,
             w.w.data() + o,
             w.k.data() + o,
             w.t.data() + o,
             std::min(summed, end - o),
             part);
            for (std::size_t i = 0; i < 9; i++)
                sums[i] += part[i];
        }
        // What is known before: of so few pilots as a header's the slopes are worse.
        const double half_noise = w.noise / 2;
        const double of_a = half_noise / (usual_a * usual_a);
        const double of_b = half_noise / (usual_b * usual_b);
        const double m00 = sums[0], m01 = sums[1], m02 = sums[3], m12 = sums[4];
        const double m11 = sums[2] + of_a * unit * unit;
        const double m22 = sums[5] + of_b * unit * unit;
        const double r1 = sums[7] - of_a * unit * w.a, r2 = sums[8] - of_b * unit * w.b;
        const double l1 = m01 / m00, l2 = m02 / m00;
        const double a11 = m11 - l1 * m01, a12 = m12 - l1 * m02, a22 = m22 - l2 * m02;
        const double b1 = r1 - l1 * sums[6], b2 = r2 - l2 * sums[6];
        const double determinant = a11 * a22 - a12 * a12;
        if (!(determinant > 0))
            return;
        w.a += (b1 * a22 - b2 * a12) / determinant * unit;
        w.b += (b2 * a11 - b1 * a12) / determinant * unit;
    };

    // Training first: channel, and noise by the two symbols' difference.
    for (std::size_t m = 0; m < training_rows; m++)
        transform(m);
    double difference = 0;
    for (std::size_t i = 0; i < used; i++)
        difference += norm(complex(w.re[i] - w.re[used + i], w.im[i] - w.im[used + i]));
    w.noise = difference / (2 * double(used));
    solve(training_rows, true, false);
    std::size_t done = training_rows;
    for (std::size_t to = std::min<std::size_t>(count, 4);;
         to = std::min<std::size_t>(count, to * 2)) {
        for (; done < to; done++)
            transform(done);
        refine(to);
        refine(to);
        if (to == count)
            break;
    }

    // Channel and phases from all that is known, in turn.
    const auto common = [&] {
        turn(count);
        std::vector<double> angle(count), var(count);
        double measured = 0, expected = 0, weights = 0;
        for (std::size_t m = training_rows; m < count; m++) {
            complex sum = 0;
            double g = 0;
            for (std::size_t o = w.begin[m]; o < w.begin[m + 1]; o++) {
                const complex h = {w.g_re[o], w.g_im[o]};
                sum += times_conjugate({w.u_re[o], w.u_im[o]}, h);
                g += w.w[o] * norm(h);
            }
            if (!(g > 0))
                continue;
            angle[m] = std::atan2(double(sum.imag()), double(sum.real())) + w.common[m];
            var[m] = w.noise / (2 * g);
            measured += g * angle[m] * angle[m];
            expected += g * var[m];
            weights += g;
        }
        // Beyond its own standard error; few symbols, a header's, cannot tell.
        const std::size_t symbols = count - training_rows;
        const double chance = 1 + std::sqrt(2.0 / double(symbols));
        const double phase_var =
            weights > 0 && symbols >= 8
                ? std::max(0.0, (measured - chance * expected) / weights)
                : 0;
        for (std::size_t m = training_rows; m < count; m++) {
            const double all = phase_var + var[m];
            const double keep = all > 0 ? phase_var / all : 0;
            w.common[m] = keep * angle[m];
            w.shrink[m] = static_cast<float>(keep);
        }
    };
    const auto noise = [&] {
        double energy = 0, phases = 2;
        for (std::size_t o = 0; o < padded; o += summed)
            energy += HWY_DYNAMIC_DISPATCH(residuals)(w.u_re.data() + o,
                                                      w.u_im.data() + o,
                                                      w.g_re.data() + o,
                                                      w.g_im.data() + o,
                                                      w.w.data() + o,
                                                      std::min(summed, padded - o),
                                                      w.residual.data() + o);
        for (std::size_t m = 0; m < count; m++)
            phases += w.shrink[m];
        // Two phases, real numbers, take as much as one complex parameter.
        const double freedom = double(values) - w.freedom - phases / 2;
        w.noise = energy / std::max(freedom, 1.0);
    };
    // The weights stay the same, and with them the equations' factor.
    solve(count, true, false);
    noise();
    refine(count);
    common();
    solve(count, false, true);
    turn(count);
    noise();
}

double burst_demodulator::whole_chance(rows& w, std::size_t first) const
{
    const std::size_t count = w.count;
    const double last = w.time[count - 1];
    double power = 0;
    for (std::size_t i = 0; i < w.used; i++)
        power += norm({w.h_re[i], w.h_im[i]});
    power /= double(w.used);
    const double noise = w.noise + own_errors * power;

    // Sums over the rows before each one: score k e with e = Im(z conj(H X)), g k with
    // g = |H X|^2, g k t, g k^2, g k^2 t, residuals, values.
    enum { score, k1, k1t, k2, k2t, residual, values, kinds };
    std::vector<std::array<double, kinds>> before(count + 1);
    // What the fit has already, phase, delay, carrier and clock: information and scores.
    double info[4][4] = {}, rest[4] = {};
    for (std::size_t m = 0; m < count; m++) {
        const double t = w.time[m] / last;
        double g0 = 0, g1 = 0, g2 = 0, e0 = 0, e1 = 0, r = 0;
        for (std::size_t o = w.begin[m]; o < w.begin[m + 1]; o++) {
            const complex h = {w.g_re[o], w.g_im[o]};
            const complex z = times_conjugate({w.u_re[o], w.u_im[o]}, h);
            const double g = w.w[o] * norm(h), k = w.k[o];
            g0 += g;
            g1 += g * k;
            g2 += g * k * k;
            e0 += z.imag();
            e1 += k * z.imag();
            r += w.residual[o];
        }
        const double row[4] = {1, 0, t, 0}, slope[4] = {0, 1, 0, t};
        for (std::size_t i = 0; i < 4; i++) {
            for (std::size_t j = 0; j < 4; j++)
                info[i][j] += g0 * row[i] * row[j] + g2 * slope[i] * slope[j] +
                              g1 * (row[i] * slope[j] + slope[i] * row[j]);
            rest[i] += e0 * row[i] + e1 * slope[i];
        }
        const double all[kinds] = {
            e1, g1, g1 * t, g2, g2 * t, r, double(w.begin[m + 1] - w.begin[m])};
        for (std::size_t i = 0; i < kinds; i++)
            before[m + 1][i] = before[m][i] + all[i];
    }
    const auto within = [&](std::size_t from, std::size_t to, int what) {
        return before[to][what] - before[from][what];
    };
    double least = 0; // the logarithm

    // A step of the delay: a score test for each cut, with what the fit has projected
    // off.
    const double usual_b = 2 * M_PI * usual_clock_offset / double(d_format.fft_length);
    const double of_b = w.noise / 2 / (usual_b * usual_b) / last / last;
    info[3][3] += of_b;
    rest[3] -= of_b * w.b * last;
    for (std::size_t j = 0; j < 4; j++) { // Cholesky, the lower triangle
        for (std::size_t k = 0; k < j; k++)
            info[j][j] -= info[j][k] * info[j][k];
        info[j][j] = std::sqrt(std::max(info[j][j], 1e-30));
        for (std::size_t i = j + 1; i < 4; i++) {
            for (std::size_t k = 0; k < j; k++)
                info[i][j] -= info[i][k] * info[j][k];
            info[i][j] /= info[j][j];
        }
    }
    const auto solve = [&](double* x) {
        for (std::size_t i = 0; i < 4; i++) {
            for (std::size_t k = 0; k < i; k++)
                x[i] -= info[i][k] * x[k];
            x[i] /= info[i][i];
        }
    };
    solve(rest);
    const double cuts = double(count - 1);
    for (std::size_t s = 1; s < count; s++) {
        double cross[4] = {within(s, count, k1),
                           within(s, count, k2),
                           within(s, count, k1t),
                           within(s, count, k2t)};
        solve(cross);
        double j = within(s, count, k2), e = within(s, count, score);
        const double all = j;
        for (std::size_t i = 0; i < 4; i++) {
            j -= cross[i] * cross[i];
            e -= cross[i] * rest[i];
        }
        if (!(j > 1e-6 * all))
            continue;
        const double samples =
            std::fabs(e / j) * double(d_format.fft_length) / (2 * M_PI);
        if (samples > least_step)
            least = std::min(least, std::log(cuts) - e * e / (j * noise));
    }

    // Rows that agree less with the channel of the rows before the payload, which all
    // held when the header did: of all beginnings 1, 2, 4 .. rows and the rest. The
    // channel of all rows would be a mixture of those before and behind a tear, with
    // which both agree.
    std::vector<float> sum_re(w.used), sum_im(w.used), weight(w.used);
    for (std::size_t o = 0; o < w.begin[first]; o++) {
        const std::size_t i = w.index[o];
        sum_re[i] += w.u_re[o];
        sum_im[i] += w.u_im[o];
        weight[i] += w.w[o];
    }
    channel(w, sum_re.data(), sum_im.data(), weight.data(), true, true);
    std::vector<double> agreed(count + 1), meant(count + 1);
    // The agreement with phase, before a common one is taken off, which follows jumps.
    std::vector<wide> phased(count + 1);
    double reference = 0;
    for (std::size_t m = 0; m < count; m++) {
        wide sum = 0;
        double energy = 0;
        for (std::size_t o = w.begin[m]; o < w.begin[m + 1]; o++) {
            const std::size_t i = w.index[o];
            const complex h = {w.h_re[i], w.h_im[i]};
            // Its error has energy, too.
            energy += w.w[o] * (norm(h) - w.noise * w.var[i]);
            sum += wide(times_conjugate({w.u_re[o], w.u_im[o]}, h));
        }
        phased[m + 1] = phased[m] + product(sum, std::polar(1.0, w.common[m]));
        agreed[m + 1] = m < first ? 0 : agreed[m] + sum.real();
        meant[m + 1] = m < first ? 0 : meant[m] + energy;
        if (m < first)
            reference += energy;
    }
    const std::size_t tested = count - first;
    double windows = double(tested);
    for (std::size_t length = 1; length < tested; length *= 2)
        windows += double(tested - length);
    const auto disagreement = [&](std::size_t from, std::size_t to) {
        const double e = meant[to] - meant[from];
        const double loss = e - (agreed[to] - agreed[from]);
        if (e > 0 && reference > 0 && loss > least_loss * e)
            least = std::min(least,
                             std::log(windows) -
                                 loss * loss / (e * noise * (1 + e / reference)));
    };
    for (std::size_t s = first; s < count; s++) {
        for (std::size_t length = 1; s + length < count; length *= 2)
            disagreement(s, s + length);
        disagreement(s, count);
    }

    // A step of the phase: of 1, 2 and 4 rows before and behind each cut.
    for (std::size_t s = first; s < count; s++)
        for (std::size_t length : {1, 2, 4}) {
            const std::size_t from = std::max(s - length, training_rows),
                              to = std::min(s + length, count);
            const wide x = phased[s] - phased[from], y = phased[to] - phased[s];
            if (std::fabs(std::arg(product(y, std::conj(x)))) > least_turn)
                least = std::min(least,
                                 std::log(3 * double(tested)) -
                                     2 * (std::abs(x) + std::abs(y) - std::abs(x + y)) /
                                         noise);
        }

    // Rows with less energy than the payload's median, which zeros in a gap have, or with
    // more: values of Gaussian payload, the most spread.
    double squares = 0;
    for (std::size_t i = 0; i < w.used; i++) {
        const double level = norm({w.h_re[i], w.h_im[i]}) + w.noise;
        squares += level * level;
    }
    const double freedom =
        double(w.used) * double(w.used) * (power + w.noise) * (power + w.noise) / squares;
    std::vector<double> energies;
    for (std::size_t m = first; m + d_format.tail_symbols < count; m++) {
        double sum = 0;
        for (const auto* part : {&w.re, &w.im}) {
            float sums[5];
            HWY_DYNAMIC_DISPATCH(moments)(part->data() + m * w.used, w.used / 2, sums);
            sum += double(sums[2]) + sums[3];
        }
        energies.push_back(sum);
    }
    std::vector<double> ordered(energies);
    const auto middle = ordered.begin() + static_cast<long>(ordered.size() / 2);
    std::nth_element(ordered.begin(), middle, ordered.end());
    const double median = std::max(*middle, 1e-30);
    for (const double sum : energies) {
        const double x = sum / median;
        if (x < 1 / least_change || x > least_change)
            least = std::min(least,
                             std::log(double(energies.size())) -
                                 freedom * (x - 1 - std::log(std::max(x, 1e-9))));
    }

    // Rows whose residuals are larger than the quieter ones', interference.
    std::vector<std::pair<double, double>> levels; // mean residual, values
    for (std::size_t from = 0, to = 0; from < count; from++) {
        while (to < count && within(from, to, values) < double(residual_pilots))
            to++;
        const double n = within(from, to, values);
        if (n < double(residual_pilots))
            break;
        levels.emplace_back(within(from, to, residual) / n, n);
    }
    if (levels.empty())
        return std::exp(least);
    std::vector<double> sorted;
    for (const auto& [level, n] : levels)
        sorted.push_back(level);
    const auto quarter = sorted.begin() + static_cast<long>(sorted.size() / 4);
    std::nth_element(sorted.begin(), quarter, sorted.end());
    // The quartile of means of 32 exponential values is 0.88 of their mean.
    const double quiet = *quarter / 0.88 + least_pulse * power;
    for (const auto& [level, n] : levels) {
        const double x = (level + least_pulse * power) / quiet;
        if (x > least_excess)
            least = std::min(least,
                             std::log(double(levels.size())) - n * (x - 1 - std::log(x)));
    }
    return std::exp(least);
}

burst_estimate burst_demodulator::values(rows& w, std::size_t from, std::size_t to) const
{
    const auto& f = d_format;
    const std::size_t used = w.used, data = f.data(), n = f.fft_length;
    burst_estimate e;
    e.channel.resize(used);
    double power = 0;
    for (std::size_t i = 0; i < used; i++) {
        e.channel[i] = {w.h_re[i], w.h_im[i]};
        power += norm(e.channel[i]);
    }
    power = std::max(power / double(used), 1e-30);
    w.noise = std::max(w.noise, 1e-30);
    e.power = power;
    e.snr = power / w.noise;
    e.evm = std::sqrt(w.noise / power);
    e.clock_offset = -w.b * double(n) / (2 * M_PI);

    // One noise variance for all: each subcarrier scaled to it.
    std::vector<float> gain(used);
    std::vector<complex> h(used);
    double mean = 0;
    for (std::size_t i = 0; i < used; i++) {
        const double own = w.noise * (1 + w.var[i]);
        gain[i] = static_cast<float>(own);
        mean += own;
    }
    mean /= double(used);
    e.noise_var = static_cast<float>(mean / power);
    const double level = 1 / std::sqrt(power);
    for (std::size_t i = 0; i < used; i++) {
        gain[i] = static_cast<float>(level * std::sqrt(mean / gain[i]));
        h[i] = e.channel[i] * gain[i];
    }
    e.y.resize((to - from) * data);
    e.h.resize(e.y.size());
    const std::size_t padded = (used + lanes - 1) / lanes * lanes;
    std::vector<float> turn(padded), re(padded), im(padded), u_re(padded), u_im(padded);
    complex *y = e.y.data(), *g = e.h.data();
    for (std::size_t s = from; s < to; s++) {
        const std::size_t m = s + training_rows;
        double base = (w.a * w.time[m] + w.common[m]) / (2 * M_PI);
        base -= std::nearbyint(base);
        const auto start = static_cast<float>(base);
        const auto slope = static_cast<float>(w.b * w.time[m] / (2 * M_PI));
        for (std::size_t i = 0; i < used; i++)
            turn[i] = start + slope * static_cast<float>(f.subcarriers[i]);
        std::copy_n(w.re.data() + m * used, used, re.data());
        std::copy_n(w.im.data() + m * used, used, im.data());
        HWY_DYNAMIC_DISPATCH(turn_values)
        (re.data(), im.data(), turn.data(), padded, u_re.data(), u_im.data());
        const std::size_t distance = f.pilot_distance();
        std::size_t scramble = s * data % f.scrambling.size(),
                    next = s * f.pilot_step % distance;
        for (std::size_t i = 0; i < used; i++) {
            if (i == next) {
                next += distance;
                continue;
            }
            *y++ = times_conjugate({u_re[i], u_im[i]}, f.scrambling[scramble]) * gain[i];
            *g++ = h[i];
            if (++scramble == f.scrambling.size())
                scramble = 0;
        }
    }
    return e;
}

std::vector<std::complex<float>>
burst_demodulator::whole_row(std::size_t symbol, const complex* payload) const
{
    const auto& f = d_format;
    const std::size_t distance = f.pilot_distance(),
                      offset = symbol * f.pilot_step % distance;
    std::vector<complex> row(f.used());
    std::size_t scramble = symbol * f.data() % f.scrambling.size();
    for (std::size_t i = 0; i < row.size(); i++) {
        if (i % distance == offset)
            continue;
        row[i] = times(*payload++, f.scrambling[scramble]);
        if (++scramble == f.scrambling.size())
            scramble = 0;
    }
    for (std::size_t p = 0; p < f.pilots; p++)
        row[pilot(symbol, p)] =
            f.pilot_values[(symbol * f.pilots + p) % f.pilot_values.size()];
    return row;
}

std::vector<std::complex<float>>
burst_demodulator::header_values(const burst_header& header) const
{
    std::vector<uint8_t> word(header_bits);
    uint32_t remainder = 0;
    std::size_t at = 0;
    const auto add = [&](uint64_t value, unsigned bits) {
        while (bits-- > 0) {
            const bool bit = value >> bits & 1;
            word[d_format.header_information_set[at++]] = bit;
            const bool out = (remainder >> 15 ^ unsigned(bit)) & 1;
            remainder = (remainder << 1 & 0xffff) ^ (out ? crc_polynomial : 0);
        }
    };
    add(d_format.identity, 16);
    add(header.symbols, 12);
    add(header.user, 36);
    for (unsigned i = 0; i < 16; i++)
        word[d_format.header_information_set[at++]] = remainder >> (15 - i) & 1;
    polar_transform(span<uint8_t>(word), header_bits);
    std::vector<complex> values(d_format.header_order.size() / 2);
    const float rail = 1 / std::sqrt(2.0f);
    const auto sign = [&](std::size_t j) {
        return word[d_format.header_order[j]] ? -rail : rail;
    };
    for (std::size_t j = 0; j < values.size(); j++)
        values[j] = {sign(2 * j), sign(2 * j + 1)};
    return values;
}

std::optional<burst_header>
burst_demodulator::header(span<const complex> samples,
                          double& cfo,
                          const front_end_offsets& offsets) const
{
    if (samples.size() < reach(0))
        throw std::invalid_argument("burst_demodulate: expected " +
                                    std::to_string(reach(0)) + " samples, got " +
                                    std::to_string(samples.size()));
    rows w;
    std::vector<const complex*> known(training_rows + d_format.header_symbols);
    std::fill_n(known.begin(), training_rows, d_format.training.data());
    estimate(w, samples, cfo, known, offsets);
    const auto e = values(w, 0, d_format.header_symbols);
    if (e.snr < least_snr)
        return std::nullopt;
    std::vector<float> llrs(header_bits, 0.0f);
    const float scale = 2 * std::sqrt(2.0f) / e.noise_var;
    for (std::size_t j = 0; j < 2 * e.y.size(); j++) {
        const complex matched = times_conjugate(e.y[j / 2], e.h[j / 2]);
        // Bit 0 is the positive half; the LLR is that of bit 1.
        llrs[d_format.header_order[j]] -=
            scale * (j % 2 ? matched.imag() : matched.real());
    }
    // The identity is the receiver's own: its bits are known, as good as frozen ones.
    for (std::size_t i = 0; i < header_bits; i++)
        if (d_identity_word[i])
            llrs[i] = -llrs[i];
    std::vector<uint8_t> message(d_header_decoder.k());
    d_header_decoder.decode(span<const float>(llrs), span<uint8_t>(message));
    uint32_t remainder = 0;
    const auto shift = [&](unsigned bit) {
        const bool out = (remainder >> 15 ^ bit) & 1;
        remainder = (remainder << 1 & 0xffff) ^ (out ? crc_polynomial : 0);
    };
    for (unsigned i = 0; i < 16; i++)
        shift(d_format.identity >> (15 - i) & 1);
    for (const uint8_t bit : message)
        shift(bit);
    const auto number = [&](std::size_t first, std::size_t count) {
        uint64_t value = 0;
        for (std::size_t i = first; i < first + count; i++)
            value = value << 1 | message[i];
        return value;
    };
    burst_header h;
    h.symbols = static_cast<std::size_t>(number(0, 12));
    h.user = number(12, 36);
    if (remainder != 0 || h.symbols == 0 || h.symbols > d_format.max_symbols)
        return std::nullopt;
    cfo += w.a * double(d_format.fft_length) / (2 * M_PI);
    return h;
}

burst_estimate burst_demodulator::demodulate(span<const complex> samples,
                                             double cfo,
                                             const burst_header& header,
                                             const front_end_offsets& offsets,
                                             span<const complex> payload) const
{
    const auto& f = d_format;
    const std::size_t symbols = header.symbols, data = f.data(),
                      first = training_rows + f.header_symbols;
    if (symbols == 0 || symbols > f.max_symbols)
        throw std::invalid_argument("burst_demodulate: expected 1 to " +
                                    std::to_string(f.max_symbols) + " symbols, got " +
                                    std::to_string(symbols));
    if (!payload.empty() && payload.size() != symbols * data)
        throw std::invalid_argument(
            "burst_demodulate: expected " + std::to_string(symbols * data) +
            " known values, got " + std::to_string(payload.size()));
    if (samples.size() < reach(symbols))
        throw std::invalid_argument("burst_demodulate: expected " +
                                    std::to_string(reach(symbols)) + " samples, got " +
                                    std::to_string(samples.size()));
    // The header is known now: as good as training.
    const auto words = header_values(header);
    std::vector<std::vector<complex>> whole;
    for (std::size_t s = 0; s < f.header_symbols; s++)
        whole.push_back(whole_row(s, words.data() + s * data));
    if (!payload.empty())
        for (std::size_t s = 0; s < symbols; s++)
            whole.push_back(whole_row(f.header_symbols + s, payload.data() + s * data));
    std::vector<const complex*> known(first + symbols + f.tail_symbols);
    std::fill_n(known.begin(), training_rows, f.training.data());
    for (std::size_t s = 0; s < whole.size(); s++)
        known[training_rows + s] = whole[s].data();
    std::fill(known.end() - long(f.tail_symbols), known.end(), f.training.data());
    rows w;
    estimate(w, samples, cfo, known, offsets);
    auto e = values(w, f.header_symbols, f.header_symbols + symbols);
    e.cfo = cfo + w.a * double(f.fft_length) / (2 * M_PI);
    e.whole = whole_chance(w, first);
    e.residual.resize(symbols);
    for (std::size_t m = first; m < first + symbols; m++) {
        double energy = 0;
        for (std::size_t o = w.begin[m]; o < w.begin[m + 1]; o++)
            energy += w.residual[o];
        e.residual[m - first] =
            static_cast<float>(energy / (double(w.begin[m + 1] - w.begin[m]) * w.noise));
    }
    return e;
}

burst_receiver::burst_receiver(const burst_format& format,
                               double threshold,
                               double false_refusals)
    : d_search(format, threshold), d_demodulator(format), d_false_refusals(false_refusals)
{
    if (!(false_refusals > 0 && false_refusals < 1))
        throw std::invalid_argument(
            "burst_receiver: expected a rate of false refusals within 0 and 1, got " +
            std::to_string(false_refusals));
}

void burst_receiver::push(span<const complex> samples,
                          std::vector<received_burst>& bursts)
{
    d_total += samples.size();
    d_samples.insert(d_samples.end(), samples.begin(), samples.end());
    while (step(bursts)) {
    }
    // What is done with goes, once it is much.
    const std::size_t keep = d_pending ? d_pending->candidate.preamble : d_searched;
    if (keep > 0 && (keep >= d_samples.size() / 2 || keep > 65536)) {
        d_samples.erase(d_samples.begin(), d_samples.begin() + static_cast<long>(keep));
        d_position += keep;
        d_searched -= std::min(keep, d_searched);
        if (d_pending) {
            d_pending->candidate.preamble -= keep;
            d_pending->candidate.window -= keep;
        }
    }
}

bool burst_receiver::step(std::vector<received_burst>& bursts)
{
    const auto all = span<const complex>(d_samples);
    const auto& f = d_demodulator.format();
    if (!d_pending) {
        const auto outcome =
            d_search.search(all.subspan(d_searched, all.size() - d_searched));
        if (!outcome.found) {
            d_searched += outcome.searched;
            return false;
        }
        d_pending.emplace();
        d_pending->candidate = *outcome.found;
        d_pending->candidate.preamble += d_searched;
        d_pending->candidate.window += d_searched;
        d_pending->cfo = outcome.found->cfo;
        d_searched += outcome.searched;
        d_candidates++;
    }
    auto& p = *d_pending;
    const std::size_t available = all.size() - p.candidate.window;
    const auto rest = all.subspan(p.candidate.window, available);
    if (!p.header) {
        if (available < d_demodulator.reach(0))
            return false;
        p.header = d_demodulator.header(rest, p.cfo, offsets());
        if (!p.header) {
            d_pending.reset();
            return true;
        }
        d_headers++;
    }
    const std::size_t reach = d_demodulator.reach(p.header->symbols);
    if (available < reach)
        return false;
    const std::size_t length = f.length(p.header->symbols);
    const std::size_t end = std::min(p.candidate.preamble + length, all.size());
    learn(all.subspan(p.candidate.preamble, end - p.candidate.preamble));
    received_burst burst;
    static_cast<burst_estimate&>(burst) =
        d_demodulator.demodulate(rest, p.cfo, *p.header, offsets());
    burst.header = *p.header;
    burst.start = d_position + p.candidate.preamble;
    burst.length = length;
    burst.window = d_position + p.candidate.window;
    burst.metric = p.candidate.metric;
    // In a torn one, and in one that is none, the next may begin before its end.
    d_searched = std::max(d_searched, p.candidate.preamble + f.preamble_length());
    d_pending.reset();
    if (burst.snr < least_snr) {
        d_headers--;
        return true;
    }
    // A sample that is lost looks like a clock's drift, but for one that no radio has.
    const double drift = std::fabs(burst.clock_offset);
    if (burst.whole < d_false_refusals / tests_of_wholeness ||
        (drift > largest_clock_offset && drift * double(length) > 0.5)) {
        d_torn_by_residual++;
        return true;
    }
    // The next one may follow at once.
    d_searched = std::max(d_searched, end - std::min(end, f.cyclic_prefix));
    d_bursts++;
    bursts.push_back(std::move(burst));
    return true;
}

void burst_receiver::gap(uint64_t missing)
{
    d_gaps++;
    if (d_pending && d_pending->header)
        d_torn_by_gap++;
    d_pending.reset();
    d_position += d_samples.size() + missing;
    d_samples.clear();
    d_searched = 0;
}

void burst_receiver::learn(span<const complex> samples)
{
    // Some millions of samples back, so that a slow drift is followed.
    constexpr double memory = 4e6;
    if (d_count > memory) {
        const double keep = memory / d_count;
        d_count *= keep;
        d_energy *= keep;
        d_sum *= keep;
        d_square *= keep;
    }
    for (std::size_t i = 0; i < samples.size(); i += 4096) {
        float sums[5];
        const std::size_t size = std::min<std::size_t>(4096, samples.size() - i);
        HWY_DYNAMIC_DISPATCH(moments)
        (reinterpret_cast<const float*>(samples.data() + i), size, sums);
        d_sum += wide(sums[0], sums[1]);
        d_square += wide(double(sums[2]) - sums[3], 2.0 * sums[4]);
        d_energy += double(sums[2]) + sums[3];
    }
    d_count += double(samples.size());
}

front_end_offsets burst_receiver::offsets() const
{
    front_end_offsets o;
    if (!(d_count > 0 && d_energy > 0))
        return o;
    // Shrunk by their own variance: of nothing they stay nothing.
    const double power = d_energy / d_count;
    const wide dc = d_sum / d_count;
    const auto shrunk = [](wide value, double var) {
        return value * std::max(0.0, 1 - var / std::max(std::norm(value), 1e-300));
    };
    o.dc = shrunk(dc, power / d_count);
    const double proper = power - std::norm(dc);
    // E r^2 = 2 image E |s|^2 for a proper s.
    const wide square = (d_square / d_count - dc * dc) / (2 * std::max(proper, 1e-300));
    o.image = shrunk(square, 0.5 / d_count);
    return o;
}

std::map<std::string, uint64_t> burst_receiver::stats() const
{
    return {{"samples", d_total},
            {"candidates", d_candidates},
            {"headers", d_headers},
            {"bursts", d_bursts},
            {"gaps", d_gaps},
            {"torn_by_gap", d_torn_by_gap},
            {"torn_by_residual", d_torn_by_residual}};
}

} // namespace gr::neuralfec
#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/burst_demodulate.cc"
#include <hwy/foreach_target.h>

#include "kernels/burst_demodulate.h"

#include <hwy/highway.h>
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

// The loops are plain: the compiler makes vectors of them, for each target its own.
HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {

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
    namespace hn = hwy::HWY_NAMESPACE;
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

//! x_i becomes x_i exp(j (base + slope k_i)) by phasors; k rises by 1 but for the gap at
//! 0.
void turn_row(float* HWY_RESTRICT re,
              float* HWY_RESTRICT im,
              const float* HWY_RESTRICT phasor_re,
              const float* HWY_RESTRICT phasor_im,
              std::size_t size)
{
    for (std::size_t i = 0; i < size; i++) {
        const float x = re[i], y = im[i];
        re[i] = x * phasor_re[i] - y * phasor_im[i];
        im[i] = x * phasor_im[i] + y * phasor_re[i];
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
    namespace hn = hwy::HWY_NAMESPACE;
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
HWY_EXPORT(turn_row);
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
constexpr double usual_cfo_error = 0.025;
constexpr double usual_clock_offset = 40e-6;
constexpr double largest_clock_offset = 100e-6;
// Below this, -8 dB, what looks like a burst is noise whose header's CRC holds by chance.
constexpr double least_snr = 0.16;
// Pilots whose residuals, and whose agreement with the training, are looked at together.
constexpr std::size_t residual_pilots = 32;
constexpr std::size_t coherence_pilots = 64;
constexpr double least_coherence = 0.45;

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

float norm(complex a)
{
    return a.real() * a.real() + a.imag() * a.imag();
}

complex phasor(double angle)
{
    return {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
}

} // namespace

//! The FFTs of a burst and the estimates of it.
struct burst_demodulator::rows {
    std::size_t used = 0, count = 0;
    //! Y, row by row, real and imaginary.
    std::vector<float> re, im;
    //! T_m in samples, whole samples that a row's window was moved by.
    std::vector<double> time;
    std::vector<long> moved;
    double cfo = 0;             // by which samples are turned, spacings
    double a = 0;               // radians a sample
    double b = 0;               // radians a sample and subcarrier
    std::vector<double> common; // c_m
    std::vector<float> shrink;  // how much of its own pilots' noise a common phase has
    std::vector<float> h_re, h_im, var;
    double noise = 0, freedom = 0, phase_var = 0;
    //! Cholesky factor of the normal equations with `prior` on their diagonal.
    std::vector<wide> factor;
    double prior = 0;
    std::vector<float> residual;
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
    const std::size_t used = d_format.used();
    for (std::size_t l = 0; l < d_taps; l++)
        for (std::size_t i = 0; i < used; i++) {
            const double turn = -2 * M_PI * d_format.subcarriers[i] *
                                (double(l) - double(margin)) /
                                double(d_format.fft_length);
            d_turn_re.push_back(static_cast<float>(std::cos(turn)));
            d_turn_im.push_back(static_cast<float>(std::sin(turn)));
        }
}

std::size_t burst_demodulator::reach(std::size_t symbols) const
{
    // A sample clock off by 100 parts per million moves the last windows.
    const std::size_t nominal =
        2 * d_format.fft_length +
        (d_format.header_symbols + symbols) * d_format.symbol_length();
    return nominal + nominal / 10000 + 1;
}

void burst_demodulator::channel(rows& w,
                                const float* re,
                                const float* im,
                                const float* n,
                                bool factorize,
                                bool last) const
{
    // (F^H diag(n) F + N0 / p) h = F^H A: normal equations of the taps, whose matrix is
    // Hermitian and Toeplitz.
    const std::size_t used = w.used, taps = d_taps;
    std::vector<wide> right(taps);
    for (std::size_t l = 0; l < taps; l++) {
        const float* t = d_turn_re.data() + l * used;
        const float* u = d_turn_im.data() + l * used;
        float x = 0, y = 0;
        for (std::size_t i = 0; i < used; i++) {
            x += t[i] * re[i] + u[i] * im[i];
            y += t[i] * im[i] - u[i] * re[i];
        }
        right[l] = wide(x, y);
    }
    auto& factor = w.factor;
    if (factorize) {
        std::vector<wide> difference(taps);
        // G(d) = sum_i n_i exp(2 pi j k_i d / N); row `margin` of the table turns by 0.
        for (std::size_t d = 0; d < taps; d++) {
            double x = 0, y = 0;
            for (std::size_t i = 0; i < used; i++) {
                // exp(-j k (d - margin)) exp(-j k margin) = exp(-j k d)
                const std::size_t at = d * used + i, shift = (2 * margin) * used + i;
                const float c = d_turn_re[at], s = d_turn_im[at];
                const float e = d_turn_re[shift], g = d_turn_im[shift];
                x += n[i] * (c * e - s * g);
                y -= n[i] * (c * g + s * e);
            }
            difference[d] = wide(x, y);
        }
        double power = 0;
        for (std::size_t i = 0; i < used; i++)
            power +=
                (double(re[i]) * re[i] + double(im[i]) * im[i]) / (double(n[i]) * n[i]);
        power = std::max(power / double(used) - w.noise * 0.3, 1e-12 * power);
        w.prior = w.noise * double(taps) / std::max(power, 1e-30);
        for (std::size_t j = 0; j < taps; j++) {
            double pivot = difference[0].real() * (1 + 1e-7) + w.prior;
            for (std::size_t k = 0; k < j; k++)
                pivot -= std::norm(factor[j * taps + k]);
            const double root = std::sqrt(std::max(pivot, 1e-30));
            factor[j * taps + j] = root;
            for (std::size_t i = j + 1; i < taps; i++) {
                // M_ij = G(i - j)
                double x = difference[i - j].real(), y = difference[i - j].imag();
                for (std::size_t k = 0; k < j; k++) {
                    const wide p = factor[i * taps + k], q = factor[j * taps + k];
                    x -= p.real() * q.real() + p.imag() * q.imag();
                    y -= p.imag() * q.real() - p.real() * q.imag();
                }
                factor[i * taps + j] = wide(x, y) / root;
            }
        }
    }
    std::vector<wide> h(right);
    for (std::size_t i = 0; i < taps; i++) {
        for (std::size_t k = 0; k < i; k++)
            h[i] -= factor[i * taps + k] * h[k];
        h[i] /= factor[i * taps + i];
    }
    for (std::size_t i = taps; i-- > 0;) {
        for (std::size_t k = i + 1; k < taps; k++)
            h[i] -= std::conj(factor[k * taps + i]) * h[k];
        h[i] /= factor[i * taps + i];
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

    // L^-1 column by column; (L L^H)^-1 = L^-H L^-1, of which sums along diagonals do:
    // f_k^H M^-1 f_k = sum_d exp(..d..) sum_l (M^-1)_{l, l + d}.
    std::vector<wide> inverse(taps * taps);
    for (std::size_t j = 0; j < taps; j++) {
        inverse[j * taps + j] = 1.0 / factor[j * taps + j].real();
        for (std::size_t i = j + 1; i < taps; i++) {
            double x = 0, y = 0;
            for (std::size_t k = j; k < i; k++) {
                const wide p = factor[i * taps + k], q = inverse[k * taps + j];
                x += p.real() * q.real() - p.imag() * q.imag();
                y += p.real() * q.imag() + p.imag() * q.real();
            }
            inverse[i * taps + j] = -wide(x, y) / factor[i * taps + i].real();
        }
    }
    std::vector<float> diagonal_re(taps), diagonal_im(taps);
    for (std::size_t d = 0; d < taps; d++) {
        double x = 0, y = 0;
        for (std::size_t l = 0; l + d < taps; l++)
            for (std::size_t k = l + d; k < taps; k++) {
                // (M^-1)_{l, l + d} = sum_k conj(L^-1_kl) L^-1_{k, l+d}
                const wide p = inverse[k * taps + l], q = inverse[k * taps + l + d];
                x += p.real() * q.real() + p.imag() * q.imag();
                y += p.real() * q.imag() - p.imag() * q.real();
            }
        diagonal_re[d] = static_cast<float>(d ? 2 * x : x);
        diagonal_im[d] = static_cast<float>(d ? 2 * y : 0);
    }
    // Effective parameters: trace of G M^-1 = taps - prior trace M^-1.
    w.freedom = double(taps) - w.prior * diagonal_re[0];
    // Var(H_k) / N0 = Re sum_d D(d) conj(exp(-j k (l + d))) exp(-j k l): turns by + d.
    std::vector<float> x(used), y(used);
    HWY_DYNAMIC_DISPATCH(combine)
    (d_turn_re.data(),
     d_turn_im.data(),
     diagonal_re.data(),
     diagonal_im.data(),
     taps,
     used,
     x.data(),
     y.data());
    for (std::size_t i = 0; i < used; i++) {
        // The table's delays start at -margin, the diagonals' at 0.
        const float c = d_turn_re[2 * margin * used + i],
                    s = d_turn_im[2 * margin * used + i];
        w.var[i] = std::max(0.0f, x[i] * c - y[i] * s);
    }
}

burst_estimate burst_demodulator::run(span<const complex> samples,
                                      double cfo,
                                      std::size_t first_symbol,
                                      std::size_t all_symbols,
                                      const front_end_offsets& offsets,
                                      span<const complex> known) const
{
    const auto& f = d_format;
    const std::size_t n = f.fft_length, used = f.used(), data = f.data();
    const std::size_t count = training_rows + all_symbols;
    const std::size_t wanted = reach(all_symbols - f.header_symbols);
    if (samples.size() < wanted)
        throw std::invalid_argument("burst_demodulate: expected " +
                                    std::to_string(wanted) + " samples, got " +
                                    std::to_string(samples.size()));
    rows w;
    w.used = used;
    w.count = count;
    w.cfo = cfo;
    w.re.resize(count * used);
    w.im.resize(count * used);
    w.time.resize(count);
    w.common.assign(count, 0);
    w.shrink.assign(count, 0);
    w.h_re.resize(used);
    w.h_im.resize(used);
    w.var.resize(used);
    w.factor.resize(d_taps * d_taps);
    w.freedom = double(d_taps);
    for (std::size_t m = 0; m < count; m++)
        w.time[m] = m < training_rows ? double(m * n)
                                      : double(2 * n + f.cyclic_prefix +
                                               (m - training_rows) * f.symbol_length());

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
        for (std::size_t i = 0; i < used; i++) {
            const std::size_t bin = (f.subcarriers[i] + int(n)) & int(n - 1);
            const complex value = times(out.data()[bin], base);
            re[i] = value.real();
            im[i] = value.imag();
        }
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
    };

    // Reference values of a row: all of a training row, pilots, known payload.
    const auto each = [&](std::size_t m, auto&& use) {
        // use(i, x): used subcarrier i carries x
        if (m < training_rows) {
            for (std::size_t i = 0; i < used; i++)
                use(i, f.training[i]);
            return;
        }
        const std::size_t s = m - training_rows;
        for (std::size_t p = 0; p < f.pilots; p++)
            use(pilot(s, p),
                complex(f.pilot_values[(s * f.pilots + p) % f.pilot_values.size()]));
        if (known.empty() || s < f.header_symbols)
            return;
        const std::size_t offset = s * f.pilot_step % f.pilot_distance();
        std::size_t j = 0;
        for (std::size_t i = 0; i < used; i++) {
            if (i % f.pilot_distance() == offset)
                continue;
            const complex x = known[(s - f.header_symbols) * data + j];
            if (x != complex(0))
                use(i, times(x, f.scrambling[(s * data + j) % f.scrambling.size()]));
            j++;
        }
    };
    // exp(-j (a T + b k T + c)) of a row, as a start and the steps of k by 1 and by a
    // pilot's distance.
    std::vector<float> phasor_re(used), phasor_im(used);
    const auto phasors = [&](std::size_t m) {
        const double base = w.a * w.time[m] + w.common[m], slope = w.b * w.time[m];
        const complex one = phasor(-slope), two = times(one, one), four = times(two, two);
        complex p[4];
        // Four chains; the gap at subcarrier 0 is one more step.
        const auto run = [&](std::size_t from, std::size_t to) {
            if (from >= to)
                return;
            p[0] = phasor(-base - slope * f.subcarriers[from]);
            p[1] = times(p[0], one);
            p[2] = times(p[0], two);
            p[3] = times(p[1], two);
            for (std::size_t i = from; i < to; i += 4)
                for (std::size_t q = 0; q < 4; q++) {
                    if (i + q < to) {
                        phasor_re[i + q] = p[q].real();
                        phasor_im[i + q] = p[q].imag();
                    }
                    p[q] = times(p[q], four);
                }
        };
        run(0, below);
        run(below, used);
    };
    // At one subcarrier only, for pilots.
    const auto at_pilots = [&](std::size_t m, auto&& use) {
        // use(i, z, x): z = Y exp(-j phase)
        if (m < training_rows || !known.empty()) {
            phasors(m);
            each(m, [&](std::size_t i, complex x) {
                use(i,
                    times({w.re[m * used + i], w.im[m * used + i]},
                          {phasor_re[i], phasor_im[i]}),
                    x);
            });
            return;
        }
        const double base = w.a * w.time[m] + w.common[m], slope = w.b * w.time[m];
        const std::size_t s = m - training_rows, first = pilot(s, 0);
        complex p = phasor(-base - slope * f.subcarriers[first]);
        const complex step = phasor(-slope * double(f.pilot_distance()));
        const complex over_gap = phasor(-slope);
        bool past = first >= below;
        for (std::size_t q = 0; q < f.pilots; q++) {
            const std::size_t i = first + q * f.pilot_distance();
            if (!past && i >= below) {
                p = times(p, over_gap);
                past = true;
            }
            use(i,
                times({w.re[m * used + i], w.im[m * used + i]}, p),
                complex(f.pilot_values[(s * f.pilots + q) % f.pilot_values.size()]));
            p = times(p, step);
        }
    };

    std::vector<float> sum_re(used), sum_im(used), weight(used);
    const auto solve = [&](std::size_t to, bool factorize, bool last) {
        std::fill(sum_re.begin(), sum_re.end(), 0.0f);
        std::fill(sum_im.begin(), sum_im.end(), 0.0f);
        std::fill(weight.begin(), weight.end(), 0.0f);
        for (std::size_t m = 0; m < to; m++)
            at_pilots(m, [&](std::size_t i, complex z, complex x) {
                const complex v = times_conjugate(z, x);
                sum_re[i] += v.real();
                sum_im[i] += v.imag();
                weight[i] += norm(x);
            });
        channel(w, sum_re.data(), sum_im.data(), weight.data(), factorize, last);
    };

    // Gauss-Newton for (theta, a, b) of Y = H X exp(j (theta + a T + b k T)); theta is
    // the channel's own phase and not kept.
    const double usual_a = 2 * M_PI * usual_cfo_error / double(n);
    const double usual_b = 2 * M_PI * usual_clock_offset / double(n);
    const auto refine = [&](std::size_t to) {
        const double unit = 1 / w.time[to - 1];
        double m00 = 0, m01 = 0, m11 = 0, m02 = 0, m12 = 0, m22 = 0, r0 = 0, r1 = 0,
               r2 = 0;
        for (std::size_t m = 0; m < to; m++) {
            const double t = w.time[m] * unit;
            double s0 = 0, s1 = 0, s2 = 0, e0 = 0, e1 = 0;
            at_pilots(m, [&](std::size_t i, complex z, complex x) {
                const complex hx = times({w.h_re[i], w.h_im[i]}, x);
                const double g = norm(hx), k = f.subcarriers[i];
                const double e = times_conjugate(z, hx).imag();
                s0 += g;
                s1 += g * k;
                s2 += g * k * k;
                e0 += e;
                e1 += e * k;
            });
            m00 += s0;
            m01 += s0 * t;
            m11 += s0 * t * t;
            m02 += s1 * t;
            m12 += s1 * t * t;
            m22 += s2 * t * t;
            r0 += e0;
            r1 += e0 * t;
            r2 += e1 * t;
        }
        // What is known before: of so few pilots as a header's the slopes are worse.
        const double half_noise = w.noise / 2;
        const double of_a = half_noise / (usual_a * usual_a);
        const double of_b = half_noise / (usual_b * usual_b);
        m11 += of_a * unit * unit;
        r1 -= of_a * unit * w.a;
        m22 += of_b * unit * unit;
        r2 -= of_b * unit * w.b;
        const double l1 = m01 / m00, l2 = m02 / m00;
        const double a11 = m11 - l1 * m01, a12 = m12 - l1 * m02, a22 = m22 - l2 * m02;
        const double b1 = r1 - l1 * r0, b2 = r2 - l2 * r0;
        const double determinant = a11 * a22 - a12 * a12;
        if (!(determinant > 0))
            return;
        w.a += (b1 * a22 - b2 * a12) / determinant * unit;
        w.b += (b2 * a11 - b1 * a12) / determinant * unit;
    };

    // Training first: channel, and noise by the two symbols' difference.
    for (std::size_t m = 0; m < training_rows; m++)
        transform(m);
    {
        double difference = 0;
        for (std::size_t i = 0; i < used; i++)
            difference +=
                norm(complex(w.re[i] - w.re[used + i], w.im[i] - w.im[used + i]));
        w.noise = difference / (2 * double(used));
    }
    solve(training_rows, true, false);
    const std::vector<float> training_re(w.h_re), training_im(w.h_im);
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

    // Channel and phases from all pilots, in turn.
    const auto common = [&] {
        std::vector<double> angle(count), var(count);
        double measured = 0, expected = 0, weights = 0;
        for (std::size_t m = training_rows; m < count; m++) {
            complex sum = 0;
            double g = 0;
            at_pilots(m, [&](std::size_t i, complex z, complex x) {
                const complex hx = times({w.h_re[i], w.h_im[i]}, x);
                sum += times_conjugate(z, hx);
                g += norm(hx);
            });
            if (!(g > 0))
                continue;
            angle[m] = std::atan2(double(sum.imag()), double(sum.real())) + w.common[m];
            var[m] = w.noise / (2 * g);
            measured += g * angle[m] * angle[m];
            expected += g * var[m];
            weights += g;
        }
        // Beyond its own standard error; few symbols, a header's, cannot tell.
        const double chance = 1 + std::sqrt(2.0 / double(all_symbols));
        w.phase_var = weights > 0 && all_symbols >= 8
                          ? std::max(0.0, (measured - chance * expected) / weights)
                          : 0;
        for (std::size_t m = training_rows; m < count; m++) {
            const double all = w.phase_var + var[m];
            const double keep = all > 0 ? w.phase_var / all : 0;
            w.common[m] = keep * angle[m];
            w.shrink[m] = static_cast<float>(keep);
        }
    };
    const auto noise = [&] {
        double energy = 0, observations = 0, phases = 2;
        for (std::size_t m = 0; m < count; m++) {
            at_pilots(m, [&](std::size_t i, complex z, complex x) {
                energy += norm(z - times({w.h_re[i], w.h_im[i]}, x));
                observations++;
            });
            phases += w.shrink[m];
        }
        // Two phases, real numbers, take as much as one complex parameter.
        const double freedom = observations - w.freedom - phases / 2;
        w.noise = energy / std::max(freedom, 1.0);
    };
    // The weights stay the same, and with them the equations' factor.
    solve(count, true, false);
    noise();
    refine(count);
    common();
    solve(count, false, true);
    noise();

    burst_estimate e;
    e.channel.resize(used);
    double power = 0;
    for (std::size_t i = 0; i < used; i++) {
        e.channel[i] = {w.h_re[i], w.h_im[i]};
        power += norm(e.channel[i]);
    }
    power /= double(used);
    e.power = power;
    e.snr = power / w.noise;
    e.evm = std::sqrt(w.noise / power);
    e.cfo = cfo + w.a * double(n) / (2 * M_PI);
    e.clock_offset = -w.b * double(n) / (2 * M_PI);

    // Residuals of the symbols' pilots, and the largest of a few symbols by the quieter.
    e.residual.resize(all_symbols);
    std::vector<double> agreement(all_symbols), strength(all_symbols);
    for (std::size_t s = 0; s < all_symbols; s++) {
        double energy = 0, values = 0;
        at_pilots(s + training_rows, [&](std::size_t i, complex z, complex x) {
            energy += norm(z - times({w.h_re[i], w.h_im[i]}, x));
            values++;
            const complex hx = times({training_re[i], training_im[i]}, x);
            agreement[s] += times_conjugate(z, hx).real();
            strength[s] += norm(hx);
        });
        e.residual[s] = static_cast<float>(energy / (values * w.noise));
    }
    const std::size_t span_of =
        std::min(std::max<std::size_t>(coherence_pilots / f.pilots, 1), all_symbols);
    e.coherence = 1;
    for (std::size_t s = 0; s + span_of <= all_symbols; s++) {
        double x = 0, y = 0;
        for (std::size_t i = s; i < s + span_of; i++) {
            x += agreement[i];
            y += strength[i];
        }
        e.coherence = std::min(e.coherence, x / std::max(y, 1e-30));
    }
    const std::size_t width =
        std::min(std::max<std::size_t>(residual_pilots / f.pilots, 1), all_symbols);
    std::vector<float> together(all_symbols - width + 1);
    for (std::size_t s = 0; s < together.size(); s++)
        for (std::size_t i = 0; i < width; i++)
            together[s] += e.residual[s + i] / static_cast<float>(width);
    // Against the quieter symbols, and all against what the training symbols differ by,
    // which no tear behind them changes. Front ends' own errors, 24 dB below, tear
    // nothing.
    const double floor = 0.004 * power / w.noise;
    const double largest = *std::max_element(together.begin(), together.end());
    const auto quarter = together.begin() + static_cast<long>(together.size() / 4);
    std::nth_element(together.begin(), quarter, together.end());
    const complex turned = phasor(-w.a * double(n));
    double difference = 0;
    for (std::size_t i = 0; i < used; i++) {
        const complex later = times({w.re[used + i], w.im[used + i]}, turned);
        difference += norm(complex(w.re[i], w.im[i]) - later);
    }
    difference /= 2 * double(used) * w.noise;
    e.residual_ratio = std::max((largest + floor) / (double(*quarter) + floor),
                                1.4 * (1 + floor) / (difference + floor));

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
    e.y.resize((all_symbols - first_symbol) * data);
    e.h.resize(e.y.size());
    for (std::size_t s = first_symbol; s < all_symbols; s++) {
        const std::size_t m = s + training_rows;
        phasors(m);
        float *re = w.re.data() + m * used, *im = w.im.data() + m * used;
        HWY_DYNAMIC_DISPATCH(turn_row)
        (re, im, phasor_re.data(), phasor_im.data(), used);
        const std::size_t distance = f.pilot_distance(),
                          offset = s * f.pilot_step % distance;
        complex* y = e.y.data() + (s - first_symbol) * data;
        complex* g = e.h.data() + (s - first_symbol) * data;
        std::size_t scramble = s * data % f.scrambling.size(), next = offset;
        for (std::size_t i = 0; i < used; i++) {
            if (i == next) {
                next += distance;
                continue;
            }
            *y++ = times_conjugate({re[i], im[i]}, f.scrambling[scramble]) * gain[i];
            *g++ = h[i];
            if (++scramble == f.scrambling.size())
                scramble = 0;
        }
    }
    return e;
}

std::optional<burst_header>
burst_demodulator::header(span<const complex> samples,
                          double& cfo,
                          const front_end_offsets& offsets) const
{
    const auto e = run(samples, cfo, 0, d_format.header_symbols, offsets, {});
    const std::size_t bits = 2 * e.y.size();
    std::vector<float> llrs(header_bits, 0.0f);
    const float scale = 2 * std::sqrt(2.0f) / e.noise_var;
    for (std::size_t j = 0; j < bits; j++) {
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
    cfo = e.cfo;
    return h;
}

burst_estimate burst_demodulator::demodulate(span<const complex> samples,
                                             double cfo,
                                             std::size_t symbols,
                                             const front_end_offsets& offsets,
                                             span<const complex> known) const
{
    if (symbols == 0 || symbols > d_format.max_symbols)
        throw std::invalid_argument("burst_demodulate: expected 1 to " +
                                    std::to_string(d_format.max_symbols) +
                                    " symbols, got " + std::to_string(symbols));
    if (!known.empty() && known.size() != symbols * d_format.data())
        throw std::invalid_argument("burst_demodulate: expected " +
                                    std::to_string(symbols * d_format.data()) +
                                    " known values, got " + std::to_string(known.size()));
    return run(samples,
               cfo,
               d_format.header_symbols,
               d_format.header_symbols + symbols,
               offsets,
               known);
}

burst_receiver::burst_receiver(const burst_format& format,
                               double threshold,
                               double residual_limit)
    : d_search(format, threshold), d_demodulator(format), d_residual_limit(residual_limit)
{
    if (!(residual_limit > 1))
        throw std::invalid_argument(
            "burst_receiver: expected a residual limit above 1, got " +
            std::to_string(residual_limit));
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
        d_demodulator.demodulate(rest, p.cfo, p.header->symbols, offsets());
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
    if (burst.residual_ratio > d_residual_limit || burst.coherence < least_coherence ||
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

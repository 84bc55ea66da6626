/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/burst_passes.h"
#include "kernels/burst_rows.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace gr::neuralfec {

using namespace burst_parts;

namespace {

constexpr std::size_t margin = 4;
constexpr std::size_t header_list = 8;
// Standard deviation of the search's carrier offset, in spacings.
constexpr double usual_cfo_error = 0.04;
// Values that a float may sum.
constexpr std::size_t summed = 4096;

} // namespace

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
    burst_passes::correlate(
        d_turn_re.data(), d_turn_im.data(), re, im, taps, used, right.data());
    auto& lags = w.lags;
    if (factorize) {
        // G(d) = sum_i n_i exp(2 pi j k_i d / N)
        const std::vector<float> none(used, 0.0f);
        burst_passes::correlate(
            d_lag_re.data(), d_lag_im.data(), n, none.data(), taps, used, lags.data());
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
    burst_passes::combine(d_turn_re.data(),
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
    burst_passes::combine(d_lag_re.data(),
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
        burst_passes::turn_samples(
            reinterpret_cast<const float*>(samples.data() +
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
                burst_passes::take_bins(
                    reinterpret_cast<const float*>(
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
        burst_passes::turn_values(w.v_re.data(),
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
    std::vector<float> sum_re, sum_im, weight;
    const auto solve = [&](std::size_t to, bool factorize, bool last) {
        turn(to);
        w.sum_known(to, sum_re, sum_im, weight);
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
            burst_passes::step_sums(w.u_re.data() + o,
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
            energy += burst_passes::residuals(w.u_re.data() + o,
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
        burst_passes::turn_values(
            re.data(), im.data(), turn.data(), padded, u_re.data(), u_im.data());
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

} // namespace gr::neuralfec

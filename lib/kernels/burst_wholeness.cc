/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/burst_passes.h"
#include "kernels/burst_rows.h"

#include <algorithm>
#include <array>

namespace gr::neuralfec {

using namespace burst_parts;

namespace {

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
// Pilots whose residuals are looked at together.
constexpr std::size_t residual_pilots = 32;

} // namespace

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
    std::vector<float> sum_re, sum_im, weight;
    w.sum_known(first, sum_re, sum_im, weight);
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
            burst_passes::moments(part->data() + m * w.used, w.used / 2, sums);
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

} // namespace gr::neuralfec

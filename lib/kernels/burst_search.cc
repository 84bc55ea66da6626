/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/burst_search.cc"
#include <hwy/foreach_target.h>

#include "kernels/burst_search.h"

#include <hwy/highway.h>
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

namespace {

//! In place, x(n) becomes x(n) + ... + x(n + length - 1); length is a power of two. The
//! last length - 1 values are not whole.
void sum_windows(float* HWY_RESTRICT x, std::size_t size, std::size_t length)
{
    const hn::ScalableTag<float> d;
    for (std::size_t step = 1; step < length; step *= 2)
        for (std::size_t i = 0; i < size; i += hn::Lanes(d))
            hn::StoreU(
                hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, x + i + step)), d, x + i);
}

//! r(n + lag) conj r(n), n < size
void products(const float* HWY_RESTRICT r,
              std::size_t lag,
              std::size_t size,
              float* HWY_RESTRICT re,
              float* HWY_RESTRICT im)
{
    const hn::ScalableTag<float> d;
    for (std::size_t i = 0; i < size; i += hn::Lanes(d)) {
        hn::Vec<decltype(d)> a, b, x, y;
        hn::LoadInterleaved2(d, r + 2 * i, a, b);
        hn::LoadInterleaved2(d, r + 2 * (i + lag), x, y);
        hn::StoreU(hn::MulAdd(x, a, hn::Mul(y, b)), d, re + i);
        hn::StoreU(hn::MulSub(y, a, hn::Mul(x, b)), d, im + i);
    }
}

void energies(const float* HWY_RESTRICT r, std::size_t size, float* HWY_RESTRICT e)
{
    const hn::ScalableTag<float> d;
    for (std::size_t i = 0; i < size; i += hn::Lanes(d)) {
        hn::Vec<decltype(d)> a, b;
        hn::LoadInterleaved2(d, r + 2 * i, a, b);
        hn::StoreU(hn::MulAdd(a, a, hn::Mul(b, b)), d, e + i);
    }
}

} // namespace

/*!
 * The metric at n < size, where it passes, else 0. The samples go on to size + the
 * preamble's length + 64.
 */
void block_metric(const burst_format& f,
                  const std::vector<float>& products_of_signs,
                  const float* HWY_RESTRICT r,
                  std::size_t size,
                  float threshold,
                  std::vector<float>& memory,
                  float* HWY_RESTRICT metric)
{
    const hn::ScalableTag<float> d;
    const std::size_t period = f.short_period, n = f.fft_length;
    const std::size_t short_part = size + f.short_length() - period;
    const std::size_t training_part = size + n + f.training_prefix;
    const std::size_t whole = size + f.preamble_length();
    const std::size_t row = whole + 128;
    float *a = memory.data(), *b = a + row, *c = b + row, *e = c + row, *g = e + row;
    products(r, period, short_part, a, b);
    sum_windows(a, short_part, period);
    sum_windows(b, short_part, period);
    products(r + 2 * f.short_length(), n, training_part, c, g);
    sum_windows(c, training_part, 32);
    sum_windows(g, training_part, 32);
    energies(r, whole, e);
    sum_windows(e, whole, 32);

    const std::size_t pieces = (n + f.training_prefix) / 32,
                      of_energy = f.preamble_length() / 32;
    const float short_products = static_cast<float>(products_of_signs.size() * period);
    const float all_products = short_products + static_cast<float>(n + f.training_prefix);
    const auto share = hn::Set(d, 1.0f / static_cast<float>(of_energy * 32));
    const auto all = hn::Set(d, all_products);
    const auto half = hn::Set(d, 0.5f * threshold * short_products);
    const auto least = hn::Set(d, threshold);
    const auto zero = hn::Zero(d);
    for (std::size_t i = 0; i < size; i += hn::Lanes(d)) {
        auto x = zero, y = zero, u = zero, v = zero, w = zero;
        for (std::size_t k = 0; k < products_of_signs.size(); k++) {
            const auto s = hn::Set(d, products_of_signs[k]);
            x = hn::MulAdd(s, hn::LoadU(d, a + i + k * period), x);
            y = hn::MulAdd(s, hn::LoadU(d, b + i + k * period), y);
        }
        for (std::size_t k = 0; k < pieces; k++) {
            u = hn::Add(u, hn::LoadU(d, c + i + 32 * k));
            v = hn::Add(v, hn::LoadU(d, g + i + 32 * k));
        }
        for (std::size_t k = 0; k < of_energy; k++)
            w = hn::Add(w, hn::LoadU(d, e + i + 32 * k));
        w = hn::Mul(w, share);
        const auto p = hn::Sqrt(hn::MulAdd(x, x, hn::Mul(y, y)));
        const auto q = hn::Sqrt(hn::MulAdd(u, u, hn::Mul(v, v)));
        const auto m = hn::Div(hn::Add(p, q), hn::Mul(w, all));
        // Of silence and of what is not finite the comparisons are false.
        const auto pass = hn::And(hn::Ge(p, hn::Mul(half, w)),
                                  hn::And(hn::Ge(m, least), hn::Gt(w, zero)));
        hn::StoreU(hn::IfThenElseZero(pass, m), d, metric + i);
    }
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(block_metric);

namespace {

constexpr std::size_t block = 2048;
// Lanes beyond the last sample.
constexpr std::size_t slack = 160;
// Of ten candidates in noise one passes, of bursts all.
constexpr double noise_deviations = 4;

std::vector<float> sign_products(const burst_format& f)
{
    std::vector<float> c;
    for (std::size_t k = 0; k + 1 < f.short_signs.size(); k++)
        c.push_back(f.short_signs[k] * f.short_signs[k + 1]);
    return c;
}

[[noreturn]] void refuse(const std::string& what)
{
    throw std::invalid_argument("burst_format: expected " + what);
}

//! Metrics of consecutive samples, block by block.
class metrics
{
public:
    metrics(const burst_format& f, float threshold)
        : d_format(f),
          d_threshold(threshold),
          d_signs(sign_products(f)),
          d_memory(5 * (block + f.preamble_length() + slack)),
          d_values(block + slack)
    {
    }

    //! Values at first .. first + count - 1, count at most `block`.
    const float*
    at(span<const std::complex<float>> samples, std::size_t first, std::size_t count)
    {
        const std::size_t reach = count + d_format.preamble_length() + slack;
        const float* r = reinterpret_cast<const float*>(samples.data() + first);
        if (first + reach > samples.size()) {
            // The end of the samples, made up with zeros for the last lanes.
            d_end.assign(reach, 0);
            std::copy(samples.begin() + first, samples.end(), d_end.begin());
            r = reinterpret_cast<const float*>(d_end.data());
        }
        HWY_DYNAMIC_DISPATCH(block_metric)
        (d_format, d_signs, r, count, d_threshold, d_memory, d_values.data());
        return d_values.data();
    }

private:
    const burst_format& d_format;
    const float d_threshold;
    const std::vector<float> d_signs;
    std::vector<float> d_memory, d_values;
    std::vector<std::complex<float>> d_end;
};

} // namespace

void burst_format::check() const
{
    if (fft_length < 32 || fft_length > 4096 || (fft_length & (fft_length - 1)))
        refuse("an FFT length that is a power of two from 32 to 4096, got " +
               std::to_string(fft_length));
    if (cyclic_prefix < 4 || cyclic_prefix > fft_length / 4)
        refuse("a cyclic prefix from 4 to a quarter of the FFT length, got " +
               std::to_string(cyclic_prefix));
    if (pilots == 0 || used() == 0 || used() % pilots || used() == pilots)
        refuse("a number of used subcarriers that is a multiple of the pilots', got " +
               std::to_string(used()) + " and " + std::to_string(pilots));
    const int half = static_cast<int>(fft_length / 2);
    for (std::size_t i = 0; i < used(); i++)
        if (subcarriers[i] == 0 || subcarriers[i] < -half || subcarriers[i] >= half ||
            (i &&
             subcarriers[i] != subcarriers[i - 1] + (subcarriers[i - 1] == -1 ? 2 : 1)))
            refuse("consecutive subcarriers within half of the FFT length, without 0");
    if (pilot_values.empty() || scrambling.empty() || training.size() != used())
        refuse("pilot values, scrambling and a training value a used subcarrier");
    if (short_period == 0 || (short_period & (short_period - 1)) ||
        fft_length % short_period || short_signs.size() < 4)
        refuse("at least 4 short periods whose length is a power of two");
    if (training_prefix % 32 || training_prefix < cyclic_prefix + 16 ||
        short_length() % 32)
        refuse("a short part and a training prefix of whole 32 samples, the prefix at "
               "least 16 above the cyclic prefix");
    if (header_order.size() < 256 || header_order.size() != 2 * header_symbols * data() ||
        *std::max_element(header_order.begin(), header_order.end()) > 255)
        refuse("a header of at least 256 bits whose order fills its symbols");
    if (header_information_set.size() != 80)
        refuse("80 positions of the header's information set");
    if (max_symbols == 0 || max_symbols > 4095)
        refuse("at most 1 to 4095 payload symbols, got " + std::to_string(max_symbols));
    if (!(max_cfo >= 0 && max_cfo <= double(fft_length) / 4))
        refuse("a largest carrier offset from 0 to a quarter of the FFT length");
}

burst_search::burst_search(const burst_format& format, double threshold)
    : d_format((format.check(), format)),
      d_threshold(static_cast<float>(threshold)),
      d_forward(format.fft_length, fft::direction::forward),
      d_backward(format.fft_length, fft::direction::backward)
{
    if (!(threshold > 0 && threshold < 1))
        throw std::invalid_argument(
            "burst_search: expected a threshold within 0 and 1, got " +
            std::to_string(threshold));
    // Of noise in N samples: mean and standard deviation of the energy's share in a
    // window of a prefix, of which the largest of some hundreds is looked at.
    const double share = double(format.cyclic_prefix) / double(format.fft_length);
    const double deviation =
        std::sqrt(share * (1 - share) / double(format.fft_length + 1));
    d_least_concentration = share + noise_deviations * deviation;
}

std::vector<float> burst_search::metric(span<const complex> samples) const
{
    const std::size_t reach = d_format.preamble_length();
    if (samples.size() < reach)
        return {};
    std::vector<float> values(samples.size() - reach + 1);
    metrics of(d_format, 1e-9f);
    for (std::size_t i = 0; i < values.size(); i += block) {
        const std::size_t count = std::min(block, values.size() - i);
        std::copy_n(of.at(samples, i, count), count, values.begin() + i);
    }
    return values;
}

burst_search::outcome burst_search::search(span<const complex> samples) const
{
    const std::size_t reach = d_format.preamble_length();
    outcome result;
    if (samples.size() < reach)
        return result;
    const std::size_t positions = samples.size() - reach + 1;
    metrics of(d_format, d_threshold);
    candidate best;
    std::size_t i = 0;
    while (i < positions) {
        const std::size_t count = std::min(block, positions - i);
        const float* values = of.at(samples, i, count);
        std::size_t n = 0, next = i + count;
        while (n < count) {
            if (best.metric == 0) {
                // Nothing passes most of the time: eight at once.
                while (n + 8 <= count && values[n] + values[n + 1] + values[n + 2] +
                                                 values[n + 3] + values[n + 4] +
                                                 values[n + 5] + values[n + 6] +
                                                 values[n + 7] ==
                                             0)
                    n += 8;
                if (n == count)
                    break;
            }
            if (values[n] > best.metric) {
                best.metric = values[n];
                best.preamble = i + n;
            } else if (best.metric > 0 && i + n >= best.preamble + reach) {
                acquire(samples.data(), samples.size(), best);
                const std::size_t behind = best.preamble + d_format.short_period;
                if (best.concentration >= d_least_concentration) {
                    result.found = best;
                    result.searched = behind;
                    return result;
                }
                // Noise has no impulse response; it may hide a preamble.
                best = {};
                if (behind < i) {
                    next = behind;
                    break;
                }
                n = behind - i;
                continue;
            }
            n++;
        }
        i = next;
    }
    result.searched = best.metric > 0 ? best.preamble : positions;
    return result;
}

void burst_search::acquire(const complex* samples, std::size_t size, candidate& c) const
{
    using wide = std::complex<double>;
    const auto& f = d_format;
    const std::size_t n = f.fft_length, period = f.short_period;
    const auto signs = sign_products(f);
    const complex* r = samples + c.preamble;
    wide of_short = 0, of_training = 0;
    for (std::size_t k = 0; k < signs.size(); k++)
        for (std::size_t i = k * period; i < (k + 1) * period; i++)
            of_short += wide(signs[k] * r[i + period] * std::conj(r[i]));
    for (std::size_t i = 0; i < n + f.training_prefix; i++)
        of_training +=
            wide(r[f.short_length() + n + i] * std::conj(r[f.short_length() + i]));
    const double range = double(n) / double(period);
    const double coarse = std::arg(of_short) / (2 * M_PI) * range;
    const double fraction = std::arg(of_training) / (2 * M_PI);

    // Both training symbols, from a cyclic prefix early on, turned by the fraction.
    const std::size_t first =
        c.preamble + f.short_length() + f.training_prefix - f.cyclic_prefix;
    fft_buffer in(n), out(n), spread(n), response(n);
    for (std::size_t i = 0; i < n; i++) {
        const double turn = -2 * M_PI * fraction * double(i) / double(n);
        const complex second =
            first + n + i < size
                ? samples[first + n + i] * complex(std::polar(1.0, -2 * M_PI * fraction))
                : complex(0);
        in.data()[i] = (samples[first + i] + second) * complex(std::polar(1.0, turn));
    }
    d_forward.execute(in, out);

    const int limit = static_cast<int>(std::ceil(f.max_cfo + 0.5));
    // Windows start up to this much from where the metric puts them.
    const int reach =
        static_cast<int>(std::min(n / 2 - f.cyclic_prefix, 3 * f.cyclic_prefix / 2));
    std::vector<double> energy(n), window(2 * reach + 1);
    c.concentration = -1;
    for (int k = -limit; k <= limit; k++) {
        const double cfo = k + fraction;
        if (std::fabs(cfo) > f.max_cfo + 0.5)
            continue;
        const double apart = std::remainder(cfo - coarse, range);
        if (std::fabs(apart) > 1.6)
            continue;
        std::fill_n(spread.data(), n, complex(0));
        double total = 0;
        for (std::size_t i = 0; i < f.used(); i++) {
            const complex value =
                out.data()[(f.subcarriers[i] + k + 2 * int(n)) % int(n)] *
                std::conj(f.training[i]);
            spread.data()[(f.subcarriers[i] + int(n)) % int(n)] = value;
            total += std::norm(value);
        }
        total *= double(n);
        d_backward.execute(spread, response);
        for (std::size_t i = 0; i < n; i++)
            energy[i] = std::norm(response.data()[i]);
        const auto tap = [&](int i) { return energy[(i + 2 * int(n)) % int(n)]; };
        const int prefix = static_cast<int>(f.cyclic_prefix);
        double sum = 0;
        for (int i = 0; i < prefix; i++)
            sum += tap(prefix - reach + i);
        for (int s = 0; s <= 2 * reach; s++) {
            window[s] = sum;
            sum += tap(prefix - reach + s + prefix) - tap(prefix - reach + s);
        }
        const auto top = std::max_element(window.begin(), window.end());
        if (*top / total <= c.concentration)
            continue;
        c.concentration = *top / total;
        // The middle of those that hold as much, as far as noise can tell.
        const double noise = std::max(0.0, total - *top) / double(n - f.cyclic_prefix);
        const double enough = *top - 0.005 * *top - 2 * noise;
        auto left = top, right = top;
        while (left != window.begin() && *(left - 1) >= enough)
            left--;
        while (right + 1 != window.end() && *(right + 1) >= enough)
            right++;
        const int middle =
            static_cast<int>((left - window.begin()) + (right - window.begin())) / 2;
        const long start = long(first) + prefix - reach + middle;
        c.window = static_cast<std::size_t>(std::max(0l, start));
        c.cfo = cfo;
    }
}

} // namespace gr::neuralfec
#endif

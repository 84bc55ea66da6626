/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "soapy/loop_channel.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace gr::neuralfec::loop {

namespace {

// Windowed sinc of 32 samples at 1024 fractions: errors below -60 dB up to 0.8 of the
// band.
constexpr int half = 16;
constexpr int fractions = 1024;

using filter_bank = std::vector<std::array<float, 2 * half>>;

const filter_bank& interpolator()
{
    static const filter_bank bank = [] {
        filter_bank made(fractions + 1);
        const auto bessel = [](double x) {
            double sum = 1, term = 1;
            for (int k = 1; k < 40; k++) {
                term *= (x / 2 / k) * (x / 2 / k);
                sum += term;
            }
            return sum;
        };
        for (int f = 0; f <= fractions; f++)
            for (int t = 0; t < 2 * half; t++) {
                const double d = double(f) / fractions - (t - half + 1);
                const double edge = std::max(0.0, 1 - d * d / half / half);
                const double sinc = d == 0 ? 1 : std::sin(M_PI * d) / (M_PI * d);
                made[f][t] = float(sinc * bessel(8 * std::sqrt(edge)) / bessel(8));
            }
        return made;
    }();
    return bank;
}

// Marsaglia and Tsang, "The ziggurat method for generating random variables", 2000: 256
// layers.
struct ziggurat {
    std::array<double, 257> x;
    std::array<double, 256> ratio;

    ziggurat()
    {
        constexpr double r = 3.6541528853610088, area = 0.00492867323399;
        x[0] = area / std::exp(-0.5 * r * r);
        x[1] = r;
        for (int i = 2; i < 256; i++)
            x[i] = std::sqrt(
                -2 * std::log(area / x[i - 1] + std::exp(-0.5 * x[i - 1] * x[i - 1])));
        x[256] = 0;
        for (int i = 0; i < 256; i++)
            ratio[i] = x[i + 1] / x[i];
    }
};

const ziggurat layers;

uint64_t split_mix(uint64_t& state)
{
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

} // namespace

gaussian::gaussian(uint64_t seed)
{
    for (auto& word : d_state)
        word = split_mix(seed);
}

uint64_t gaussian::next()
{
    // Blackman and Vigna, xoshiro256+.
    const uint64_t result = d_state[0] + d_state[3], t = d_state[1] << 17;
    d_state[2] ^= d_state[0];
    d_state[3] ^= d_state[1];
    d_state[1] ^= d_state[2];
    d_state[0] ^= d_state[3];
    d_state[2] ^= t;
    d_state[3] = (d_state[3] << 45) | (d_state[3] >> 19);
    return result;
}

double gaussian::uniform()
{
    return double(next() >> 11) * 0x1p-53;
}

float gaussian::operator()()
{
    for (;;) {
        const uint64_t bits = next();
        // The lowest bits of xoshiro256+ are its weak ones: layer from the middle.
        const auto layer = unsigned((bits >> 11) & 255);
        const double u = double(int64_t(bits) >> 19) * 0x1p-44;
        if (std::abs(u) < layers.ratio[layer])
            return float(u * layers.x[layer]);
        if (layer == 0) {
            // The tail beyond r.
            const double r = layers.x[1];
            double x, y;
            do {
                x = -std::log(1 - uniform()) / r;
                y = -std::log(1 - uniform());
            } while (2 * y < x * x);
            return float(u < 0 ? -(r + x) : r + x);
        }
        const double x = u * layers.x[layer];
        const double low = std::exp(-0.5 * layers.x[layer] * layers.x[layer]);
        const double high = std::exp(-0.5 * layers.x[layer + 1] * layers.x[layer + 1]);
        if (low + uniform() * (high - low) < std::exp(-0.5 * x * x))
            return float(x);
    }
}

channel::channel(const channel_settings& settings)
    : d_settings(settings), d_random(settings.seed)
{
}

int64_t channel::reach()
{
    return half + 1;
}

double channel::position(int64_t sample, double rate) const
{
    return double(sample) / (1 + d_settings.clock_offset) - d_settings.delay * rate;
}

std::vector<std::complex<float>> channel::taps_of(uint64_t burst) const
{
    if (d_settings.fading == 0)
        return d_settings.taps;
    gaussian random(d_settings.seed * 0x9e3779b97f4a7c15 + burst);
    std::vector<std::complex<float>> taps(d_settings.fading);
    double energy = 0;
    for (int i = 0; i < d_settings.fading; i++) {
        const auto amplitude = float(std::pow(10, -0.05 * i));
        taps[i] = amplitude * std::complex<float>(random(), random());
        energy += std::norm(taps[i]);
    }
    for (auto& tap : taps)
        tap *= float(1 / std::sqrt(energy));
    return taps;
}

bool channel::comes(uint64_t burst, bool lagging) const
{
    const auto& s = d_settings;
    if (s.lost + s.late + s.doubled == 0)
        return !lagging;
    gaussian random(s.seed * 0xd1342543de82ef95 + burst);
    const double drawn = random.uniform();
    if (drawn < s.lost)
        return false;
    if (drawn < s.lost + s.late)
        return lagging;
    return !lagging || drawn < s.lost + s.late + s.doubled;
}

void channel::receive(const medium& air,
                      int64_t first,
                      std::complex<float>* out,
                      std::size_t size,
                      double frequency,
                      float gain,
                      bool own)
{
    const double rate = air.rate();
    const double begin = position(first, rate),
                 end = position(first + int64_t(size) - 1, rate);
    const int64_t from = int64_t(std::floor(begin)) - half + 1;
    const int64_t to = int64_t(std::floor(end)) + half + 1;
    d_air.assign(to - from, 0);
    const int64_t echo =
        (d_settings.fading ? d_settings.fading : int64_t(d_settings.taps.size())) - 1;
    std::vector<medium::piece> pieces;
    const auto hear = [&](int64_t lag, bool lagging) {
        for (auto& piece : air.read(from - echo - lag, to - lag, own)) {
            if (!comes(piece.burst, lagging))
                continue;
            piece.from += lag;
            pieces.push_back(std::move(piece));
        }
    };
    hear(0, false);
    if (d_settings.doubled + d_settings.late > 0)
        hear(std::llround(d_settings.lag * rate), true);
    for (const auto& piece : pieces) {
        const double offset = piece.frequency - frequency + d_settings.cfo;
        if (std::abs(offset) >= rate / 2)
            continue;
        const auto taps = taps_of(piece.burst);
        d_filtered.assign(piece.samples.size() + taps.size() - 1, 0);
        for (std::size_t t = 0; t < taps.size(); t++) {
            if (taps[t] == std::complex<float>(0))
                continue;
            const float re = taps[t].real(), im = taps[t].imag();
            const auto* x = reinterpret_cast<const float*>(piece.samples.data());
            auto* y = reinterpret_cast<float*>(d_filtered.data() + t);
            for (std::size_t i = 0; i < 2 * piece.samples.size(); i += 2) {
                y[i] += re * x[i] - im * x[i + 1];
                y[i + 1] += re * x[i + 1] + im * x[i];
            }
        }
        // Echoes of samples before this window are its own only from its first sample on.
        const int64_t begins = std::max(from, piece.from);
        const int64_t ends = std::min(to, piece.from + int64_t(d_filtered.size()));
        if (begins >= ends)
            continue;
        const double cycles = offset / rate;
        std::complex<double> turn =
            std::polar(1.0, 2 * M_PI * std::fmod(cycles * double(begins), 1));
        const std::complex<double> step = std::polar(1.0, 2 * M_PI * cycles);
        for (int64_t p = begins; p < ends; p++) {
            const auto x = d_filtered[p - piece.from];
            const float re = float(turn.real()), im = float(turn.imag());
            d_air[p - from] += std::complex<float>(x.real() * re - x.imag() * im,
                                                   x.real() * im + x.imag() * re);
            turn = {turn.real() * step.real() - turn.imag() * step.imag(),
                    turn.real() * step.imag() + turn.imag() * step.real()};
        }
    }
    const float amplitude = float(std::sqrt(d_settings.noise_var / 2));
    const bool whole = d_settings.clock_offset == 0 && begin == std::floor(begin);
    const auto& bank = interpolator();
    // A phase whose spectrum is flat to the corner.
    const double pole = std::exp(-2 * M_PI * 50e3 / rate);
    const double drive = std::sqrt(d_settings.phase_noise * (1 - pole * pole));
    for (std::size_t n = 0; n < size; n++) {
        float re, im;
        if (whole) {
            re = d_air[n + half - 1].real();
            im = d_air[n + half - 1].imag();
        } else {
            const double at = position(first + int64_t(n), rate);
            const double floor = std::floor(at);
            const auto& taps = bank[std::lround((at - floor) * fractions)];
            const auto* x = reinterpret_cast<const float*>(
                d_air.data() + (int64_t(floor) - half + 1 - from));
            re = im = 0;
            for (int t = 0; t < 2 * half; t++) {
                re += taps[t] * x[2 * t];
                im += taps[t] * x[2 * t + 1];
            }
        }
        if (drive > 0) {
            d_phase = pole * d_phase + drive * d_random();
            const auto turned = std::complex<float>(re, im) *
                                std::complex<float>(std::polar(1.0, d_phase));
            re = turned.real();
            im = turned.imag();
        }
        if (amplitude > 0) {
            re += amplitude * d_random();
            im += amplitude * d_random();
        }
        out[n] = gain * std::complex<float>(re, im);
    }
    for (std::size_t n = 0; n < size; n++) {
        auto y = out[n];
        if (d_settings.image != std::complex<float>(0))
            y += d_settings.image * std::conj(y);
        y += d_settings.dc;
        // A converter's full scale.
        out[n] = {std::clamp(y.real(), -1.0f, 1.0f), std::clamp(y.imag(), -1.0f, 1.0f)};
    }
}

} // namespace gr::neuralfec::loop

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Bursts made here by sums as the format's definition reads, found and demodulated by the
 * kernels.
 */
#include "kernels/burst_receiver.h"
#include "kernels/burst_search.h"
#include "kernels/tests/check.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace gr::neuralfec;
using complex = std::complex<float>;

namespace {

burst_format small_format()
{
    burst_format f;
    f.fft_length = 64;
    f.cyclic_prefix = 16;
    for (int k = -26; k <= 26; k++)
        if (k != 0)
            f.subcarriers.push_back(k);
    f.pilots = 4;
    f.pilot_step = 5;
    std::mt19937 rng(1);
    const auto sign = [&] { return rng() & 1 ? 1.0f : -1.0f; };
    for (int i = 0; i < 101; i++)
        f.pilot_values.push_back(sign());
    for (int i = 0; i < 499; i++)
        f.scrambling.push_back(complex(sign(), sign()) / std::sqrt(2.0f));
    f.short_period = 16;
    const int barker[] = {1, 1, 1, -1, -1, -1, 1, -1, -1, 1, -1};
    f.short_signs = {1};
    for (int c : barker)
        f.short_signs.push_back(f.short_signs.back() * c);
    f.training_prefix = 32;
    for (std::size_t i = 0; i < 52; i++)
        f.training.push_back(sign());
    f.header_symbols = 6;
    for (uint32_t j = 0; j < 576; j++)
        f.header_order.push_back(j % 256);
    std::shuffle(f.header_order.begin(), f.header_order.end(), rng);
    // Any set of 80 serves; the upper half of the positions is among the reliable ones.
    for (uint32_t i = 176; i < 256; i++)
        f.header_information_set.push_back(i);
    f.identity = 0xbeef;
    f.max_symbols = 100;
    f.max_cfo = 10;
    return f;
}

//! x(n) = sum_k X_k exp(2 pi j k n / N) / sqrt(used)
std::vector<complex> waveform(const burst_format& f, const std::vector<complex>& values)
{
    std::vector<complex> x(f.fft_length);
    for (std::size_t n = 0; n < x.size(); n++) {
        std::complex<double> sum = 0;
        for (std::size_t i = 0; i < f.used(); i++)
            sum += std::complex<double>(values[i]) *
                   std::polar(1.0,
                              2 * M_PI * f.subcarriers[i] * double(n) / double(x.size()));
        x[n] = complex(sum / std::sqrt(double(f.used())));
    }
    return x;
}

std::vector<complex>
build(const burst_format& f, const std::vector<complex>& payload, uint64_t user)
{
    const std::size_t symbols = payload.size() / f.data();
    std::vector<uint8_t> message;
    const auto append = [&](uint64_t value, unsigned bits) {
        while (bits--)
            message.push_back(value >> bits & 1);
    };
    append(f.identity, 16);
    append(symbols, 12);
    append(user, 36);
    // The remainder of message(x) x^16 by x^16 + x^12 + x^5 + 1, by long division.
    std::vector<uint8_t> rest(message);
    rest.resize(80, 0);
    for (std::size_t i = 0; i < 64; i++)
        if (rest[i])
            for (std::size_t j : {0, 4, 11, 16})
                rest[i + j] ^= 1;
    message.insert(message.end(), rest.begin() + 64, rest.end());
    std::vector<uint8_t> word(256, 0);
    for (std::size_t i = 0; i < 80; i++)
        word[f.header_information_set[i]] = message[i];
    polar_transform(span<uint8_t>(word), 256);
    std::vector<complex> values;
    for (std::size_t j = 0; j < f.header_order.size(); j += 2)
        values.push_back(complex(1 - 2.0f * word[f.header_order[j]],
                                 1 - 2.0f * word[f.header_order[j + 1]]) /
                         std::sqrt(2.0f));
    values.insert(values.end(), payload.begin(), payload.end());

    std::vector<complex> x;
    for (float s : f.short_signs)
        for (std::size_t n = 0; n < f.short_period; n++)
            x.push_back(s * complex(std::polar(1.0, M_PI * double(n * n) / 16)));
    const auto training = waveform(f, f.training);
    x.insert(x.end(), training.end() - f.training_prefix, training.end());
    x.insert(x.end(), training.begin(), training.end());
    x.insert(x.end(), training.begin(), training.end());
    const std::size_t distance = f.pilot_distance();
    for (std::size_t s = 0, v = 0; s < f.header_symbols + symbols; s++) {
        std::vector<complex> row;
        std::size_t p = 0;
        for (std::size_t i = 0; i < f.used(); i++)
            if (i % distance == s * f.pilot_step % distance)
                row.push_back(
                    f.pilot_values[(s * f.pilots + p++) % f.pilot_values.size()]);
            else {
                row.push_back(values[v] * f.scrambling[v % f.scrambling.size()]);
                v++;
            }
        const auto body = waveform(f, row);
        x.insert(x.end(), body.end() - f.cyclic_prefix, body.end());
        x.insert(x.end(), body.begin(), body.end());
    }
    x.insert(x.end(), training.end() - f.cyclic_prefix, training.end());
    x.insert(x.end(), training.begin(), training.end());
    return x;
}

struct stream {
    std::mt19937 rng{2};
    std::normal_distribution<float> normal{0, 1};
    std::vector<complex> samples;

    void noise(std::size_t count, float deviation)
    {
        for (std::size_t i = 0; i < count; i++)
            samples.emplace_back(deviation * normal(rng), deviation * normal(rng));
    }
    //! Two taps, a carrier offset in cycles a sample, noise of a deviation a rail.
    void send(const std::vector<complex>& x, double cfo, float deviation)
    {
        for (std::size_t n = 0; n < x.size(); n++) {
            const complex echo = n >= 5 ? x[n - 5] * complex(0.3f, -0.4f) : complex(0);
            samples.push_back((x[n] + echo) *
                                  complex(std::polar(1.0, 2 * M_PI * cfo * double(n))) +
                              deviation * complex(normal(rng), normal(rng)));
        }
    }
};

std::vector<complex>
payload(const burst_format& f, std::size_t symbols, std::mt19937& rng)
{
    std::vector<complex> x(symbols * f.data());
    for (auto& v : x)
        v = complex(rng() & 1 ? 1 : -1, rng() & 1 ? 1 : -1) / std::sqrt(2.0f);
    return x;
}

std::vector<received_burst>
receive(burst_receiver& r, const std::vector<complex>& x, std::size_t piece)
{
    std::vector<received_burst> bursts;
    for (std::size_t i = 0; i < x.size(); i += piece)
        r.push(span<const complex>(x.data() + i, std::min(piece, x.size() - i)), bursts);
    return bursts;
}

} // namespace

int main()
{
    const auto f = small_format();
    f.check();
    auto wrong = f;
    wrong.pilots = 5;
    CHECK_THROWS(wrong.check());
    CHECK_THROWS(burst_search(f, 1.5));
    CHECK_THROWS(burst_receiver(f, 0.3, 0));

    stream s;
    const auto first = payload(f, 12, s.rng), second = payload(f, 30, s.rng);
    s.noise(1000, 0.05f);
    const double cfo = 7.3 / 64;
    s.send(build(f, first, 0x123456789), cfo, 0.05f);
    const std::size_t at = s.samples.size();
    s.send(build(f, second, 7), -cfo, 0.05f);
    s.noise(2000, 0.05f);

    // One call, and pieces of any size, give the same.
    burst_receiver whole(f, 0.3, 1e-3);
    const auto bursts = receive(whole, s.samples, s.samples.size());
    CHECK(bursts.size() == 2);
    CHECK(bursts[0].header.user == 0x123456789 && bursts[0].header.symbols == 12);
    CHECK(bursts[1].header.user == 7 && bursts[1].header.symbols == 30);
    CHECK(std::labs(long(bursts[0].start) - 1000) < 8);
    CHECK(std::labs(long(bursts[1].start) - long(at)) < 8);
    CHECK(std::fabs(bursts[0].cfo - 7.3) < 0.005 &&
          std::fabs(bursts[1].cfo + 7.3) < 0.005);
    CHECK(std::fabs(bursts[0].clock_offset) < 3e-5);
    for (std::size_t piece : {1000ul, 333ul, 4097ul}) {
        burst_receiver r(f, 0.3, 1e-3);
        const auto again = receive(r, s.samples, piece);
        CHECK(again.size() == 2);
        for (std::size_t b = 0; b < 2; b++)
            CHECK(again[b].y == bursts[b].y && again[b].start == bursts[b].start);
    }
    // y = h x + n with the variance that it says.
    double energy = 0;
    for (std::size_t i = 0; i < second.size(); i++)
        energy += std::norm(bursts[1].y[i] - bursts[1].h[i] * second[i]);
    energy /= double(second.size());
    CHECK(std::fabs(10 * std::log10(energy / bursts[1].noise_var)) < 0.6);
    // (1 + 0.25) used energy, 0.005 a sample: 26 dB and the energy's N / used
    CHECK(std::fabs(10 * std::log10(bursts[1].snr) - 24.9) < 0.7);

    // A burst that lost a sample in the middle is torn, one with a gap as well.
    auto torn = s.samples;
    torn.erase(torn.begin() + long(at) + 2000);
    burst_receiver r(f, 0.3, 1e-3);
    CHECK(receive(r, torn, 1000).size() == 1);
    CHECK(r.stats().at("torn_by_residual") == 1);
    burst_receiver g(f, 0.3, 1e-3);
    std::vector<received_burst> out;
    g.push(span<const complex>(s.samples.data(), at + 2000), out);
    g.gap(10);
    g.push(
        span<const complex>(s.samples.data() + at + 2010, s.samples.size() - at - 2010),
        out);
    CHECK(out.size() == 1 && g.stats().at("torn_by_gap") == 1);

    // Of a tone, DC, noise, silence and what is not finite there is no burst.
    stream nothing;
    nothing.noise(100000, 1.0f);
    for (std::size_t i = 0; i < 50000; i++)
        nothing.samples.push_back(complex(std::polar(1.0, 0.3 * double(i))));
    nothing.samples.resize(nothing.samples.size() + 20000, complex(0.5f, 0.5f));
    nothing.samples.resize(nothing.samples.size() + 20000, complex(0));
    nothing.samples.resize(nothing.samples.size() + 5000, complex(std::nanf(""), 0));
    burst_receiver n(f, 0.3, 1e-3);
    CHECK(receive(n, nothing.samples, 5000).empty());
    CHECK(n.stats().at("candidates") < 20);

    // Another identity is not ours.
    auto other = f;
    other.identity = 0x1234;
    burst_receiver foreign(other, 0.3, 1e-3);
    CHECK(receive(foreign, s.samples, 5000).empty());

    // Known payload, a second pass: less error of the channel.
    const burst_demodulator d(f);
    const auto rest = span<const complex>(s.samples.data() + bursts[0].window,
                                          s.samples.size() - bursts[0].window);
    const auto& header = bursts[0].header;
    const auto once = d.demodulate(rest, 7.3, header);
    const auto twice = d.demodulate(rest, 7.3, header, {}, span<const complex>(first));
    CHECK(twice.noise_var < once.noise_var * 1.3 &&
          twice.noise_var > 0.5f * once.noise_var);
    CHECK_THROWS(d.demodulate(rest, 7.3, header, {}, span<const complex>(second)));
    CHECK_THROWS(d.demodulate(span<const complex>(s.samples.data(), 100), 0, header));
    return 0;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/burst_rows.h"

#include <stdexcept>
#include <string>

namespace gr::neuralfec {

using namespace burst_parts;

namespace {

constexpr uint32_t crc_polynomial = 0x1021;

} // namespace

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

} // namespace gr::neuralfec

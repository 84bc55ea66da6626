/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What a burst looks like: all that sender and receiver share.
 */
#pragma once

#include <complex>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*!
 * The layout of an OFDM burst, in samples of its own rate:
 *
 *     short part | training prefix, training symbol twice | header | payload | tail
 *
 * The tail is the training symbol again, as header and payload with a cyclic prefix: what
 * is missing anywhere before it shows there. The short part repeats short_period samples
 * with signs, whose neighbours' products sum to about 0, so that a tone is no preamble.
 * Header and payload are symbols of cyclic_prefix + fft_length samples. In symbol s (the
 * first of the header is 0) the used subcarriers i = (s pilot_step mod D) + p D, with D =
 * used / pilots, carry pilots pilot_values[(s pilots + p) mod size]; the others carry
 * data, each times scrambling[(s (used - pilots) + j) mod size]. In D symbols the pilots
 * visit every used subcarrier.
 *
 * The header is a polar code of 256 bits, QPSK, whose 80 message bits are identity (16),
 * payload symbols (12), the user's (36) and a CRC-16 of these; code
 * bit header_order[j] at place j.
 */
struct burst_format {
    using complex = std::complex<float>;

    std::size_t fft_length = 0;
    std::size_t cyclic_prefix = 0;
    //! Signed numbers of the used subcarriers, each one up but for 0,
    //! which is left out.
    std::vector<int> subcarriers;
    std::size_t pilots = 0;
    std::size_t pilot_step = 0;
    std::vector<float> pilot_values;
    std::vector<complex> scrambling;
    std::size_t short_period = 0;
    //! +1 or -1 a period of the short part.
    std::vector<float> short_signs;
    std::size_t training_prefix = 0;
    //! A value of unit magnitude for each used subcarrier.
    std::vector<complex> training;
    std::size_t header_symbols = 0;
    static constexpr std::size_t tail_symbols = 1;
    //! Which of the header's 256 code bits each place carries, two a data symbol.
    std::vector<uint32_t> header_order;
    //! Information set of the header's polar code: 64 bits and 16 of the CRC.
    std::vector<uint32_t> header_information_set;
    uint16_t identity = 0;
    std::size_t max_symbols = 0;
    //! Largest carrier offset to look for, in subcarrier spacings.
    double max_cfo = 0;

    std::size_t used() const { return subcarriers.size(); }
    std::size_t data() const { return subcarriers.size() - pilots; }
    std::size_t pilot_distance() const { return subcarriers.size() / pilots; }
    std::size_t symbol_length() const { return fft_length + cyclic_prefix; }
    std::size_t short_length() const { return short_period * short_signs.size(); }
    std::size_t preamble_length() const
    {
        return short_length() + training_prefix + 2 * fft_length;
    }
    //! Samples of a burst with so many payload symbols.
    std::size_t length(std::size_t symbols) const
    {
        return preamble_length() +
               (header_symbols + symbols + tail_symbols) * symbol_length();
    }

    //! \throws std::invalid_argument if the numbers do not fit each other
    void check() const;
};

} // namespace gr::neuralfec

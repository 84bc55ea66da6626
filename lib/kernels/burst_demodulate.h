/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Demodulates bursts as a whole.
 */
#pragma once

#include "kernels/burst_format.h"
#include "kernels/fft.h"
#include "kernels/polar.h"
#include "kernels/span.h"

#include <optional>

namespace gr::neuralfec {

//! What the header of a burst says.
struct burst_header {
    //! Payload symbols.
    std::size_t symbols = 0;
    //! 36 bits of the user's.
    uint64_t user = 0;
};

//! Offsets of the receiver's front end: r = s + image conj s + dc.
struct front_end_offsets {
    std::complex<double> dc = 0, image = 0;
};

//! A burst's symbols and what its estimates are.
struct burst_estimate {
    //! The payload: y = h x + n with one noise variance for all, mean |h|^2 = 1.
    std::vector<std::complex<float>> y, h;
    float noise_var = 0;
    //! Carrier offset in subcarrier spacings; positive: received above.
    double cfo = 0;
    //! Of the sample clocks; positive: the burst arrives stretched.
    double clock_offset = 0;
    //! Mean energy a used subcarrier by the noise variance, without its estimate's error.
    double snr = 0;
    //! rms of pilots' and training's residual by that of the channel.
    double evm = 0;
    //! Mean energy a used subcarrier.
    double power = 0;
    //! Bound on the chance that a burst without a gap looks as torn as this one in the
    //! one of five tests where it does most, at most 1.
    double whole = 1;
    //! Mean residual energy of each payload symbol's pilots by the noise variance.
    std::vector<float> residual;
    //! The channel of each used subcarrier, at the samples' scale.
    std::vector<std::complex<float>> channel;
};

/*!
 * Estimates of carrier offset, clock offset, common phases, channel and noise of a burst
 * from its training symbols, its header, its tail and all of its pilots together, and its
 * payload with them.
 *
 * With symbol m's window at T_m samples behind the first, used subcarrier k and its value
 * X, all in the FFT's scale 1 / sqrt N,
 *
 *     Y_mk = H_k X_mk exp(j (a T_m + b k T_m + c_m)) + W_mk .
 *
 * a and b are the maximum-likelihood ones by Gauss-Newton steps over twice as many
 * symbols each time, c_m is a row's common phase, shrunk to what exceeds its noise, H
 * the minimum mean square error estimate of an impulse response as long as the cyclic
 * prefix and 8 samples, W's variance N0 that of all residuals by their degrees of
 * freedom. The noise of the payload is N0 + var(H_k); y and h are scaled so that it is
 * one number.
 */
class burst_demodulator
{
public:
    using complex = std::complex<float>;

    //! Below this, -8 dB, what looks like a burst is noise whose header's CRC holds by
    //! chance.
    static constexpr double least_snr = 0.16;

    //! \throws std::invalid_argument if the format is not one
    explicit burst_demodulator(const burst_format& format);

    const burst_format& format() const { return d_format; }

    //! Samples from the first training window on that a burst of so many symbols takes.
    std::size_t reach(std::size_t symbols) const;

    /*!
     * The header, if its CRC holds for the format's identity and its length is possible.
     *
     * \param samples from the candidate's window on, at least reach(0)
     * \param cfo carrier offset in spacings; refined
     */
    std::optional<burst_header> header(span<const complex> samples,
                                       double& cfo,
                                       const front_end_offsets& offsets = {}) const;

    /*!
     * Demodulates a burst.
     *
     * \param samples from the candidate's window on, at least reach(header.symbols)
     * \param cfo carrier offset in spacings to within 0.1
     * \param header the burst's, whose symbols are pilots, too
     * \param offsets what is taken off before all else
     * \param payload empty, or a payload value each, 0 where it is not known: decoded
     * codewords as further pilots
     * \throws std::invalid_argument if sizes are not so
     */
    burst_estimate demodulate(span<const complex> samples,
                              double cfo,
                              const burst_header& header,
                              const front_end_offsets& offsets = {},
                              span<const complex> payload = {}) const;

private:
    struct rows;
    const burst_format d_format;
    const fft d_forward;
    const successive_cancellation d_header_decoder;
    std::vector<uint8_t> d_identity_word;
    std::size_t d_taps;
    //! exp(-2 pi j k (l - margin) / N) of used subcarrier k and tap l, real and
    //! imaginary, and exp(-2 pi j k l / N).
    std::vector<float> d_turn_re, d_turn_im, d_lag_re, d_lag_im;

    //! Fills w of a burst whose rows are known as a whole but for zeros, or by their
    //! pilots where a pointer is null.
    void estimate(rows& w,
                  span<const complex> samples,
                  double cfo,
                  const std::vector<const complex*>& known,
                  const front_end_offsets& offsets) const;
    void channel(rows& w,
                 const float* re,
                 const float* im,
                 const float* n,
                 bool factorize,
                 bool last) const;
    //! `first` is the payload's first row; changes the channel of w.
    double whole_chance(rows& w, std::size_t first) const;
    //! Data values of symbols from .. to - 1, and the figures of all.
    burst_estimate values(rows& w, std::size_t from, std::size_t to) const;
    //! A symbol's used subcarriers by its data values.
    std::vector<complex> whole_row(std::size_t symbol, const complex* payload) const;
    std::vector<complex> header_values(const burst_header& header) const;
    std::size_t pilot(std::size_t symbol, std::size_t p) const
    {
        return symbol * d_format.pilot_step % d_format.pilot_distance() +
               p * d_format.pilot_distance();
    }
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Demodulates bursts as a whole, and receives them from a stream of samples.
 */
#pragma once

#include "kernels/burst_format.h"
#include "kernels/burst_search.h"
#include "kernels/fft.h"
#include "kernels/polar.h"
#include "kernels/span.h"

#include <map>
#include <optional>
#include <string>

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

//! A burst as it comes from a stream.
struct received_burst : burst_estimate {
    burst_header header;
    //! Stream position of the preamble's first sample.
    uint64_t start = 0;
    //! Samples from there to the end.
    std::size_t length = 0;
    //! Stream position of the first training symbol's FFT window.
    uint64_t window = 0;
    double metric = 0;
};

/*!
 * Receives bursts from a stream of samples in pieces of any size; the result does not
 * depend on the pieces. DC and IQ image are averaged over bursts and taken off as far as
 * the average is significant. Bursts with a gap inside are torn, and so are those whose
 * delay or phase jumps, of which some symbols disagree with the channel or have other
 * energies or larger residuals than whole ones would have by chance once in 1 /
 * false_refusals bursts: they are counted and not handed on.
 */
class burst_receiver
{
public:
    using complex = std::complex<float>;

    /*!
     * \param format the burst's layout
     * \param threshold of the search's metric
     * \param false_refusals at most this share of whole bursts is refused as torn
     * \throws std::invalid_argument if they are not so
     */
    burst_receiver(const burst_format& format, double threshold, double false_refusals);

    const burst_format& format() const { return d_demodulator.format(); }

    //! Takes the next samples and adds the bursts that are complete to `bursts`.
    void push(span<const complex> samples, std::vector<received_burst>& bursts);

    //! Samples are missing here, `missing` of them where that is known.
    void gap(uint64_t missing = 0);

    //! What is known of the front end now.
    front_end_offsets offsets() const;

    //! samples, candidates, headers, bursts, torn_by_gap, torn_by_residual, gaps
    std::map<std::string, uint64_t> stats() const;

private:
    struct pending {
        burst_search::candidate candidate;
        std::optional<burst_header> header;
        double cfo = 0;
    };

    const burst_search d_search;
    const burst_demodulator d_demodulator;
    const double d_false_refusals;
    std::vector<complex> d_samples;
    //! Stream position of d_samples[0], and what of d_samples is searched.
    uint64_t d_position = 0;
    std::size_t d_searched = 0;
    std::optional<pending> d_pending;
    // Sums over bursts' samples, for DC and image.
    double d_count = 0, d_energy = 0;
    std::complex<double> d_sum = 0, d_square = 0;
    uint64_t d_total = 0, d_candidates = 0, d_headers = 0, d_bursts = 0,
             d_torn_by_gap = 0, d_torn_by_residual = 0, d_gaps = 0;

    bool step(std::vector<received_burst>& bursts);
    void learn(span<const complex> samples);
};

} // namespace gr::neuralfec

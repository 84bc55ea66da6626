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
    //! Largest residual of a few symbols together, by the quieter ones'.
    double residual_ratio = 0;
    //! Least agreement of a few symbols' pilots together with the training symbols'
    //! channel, 1 where that has not changed.
    double coherence = 0;
    //! Mean residual energy of each symbol's pilots (header, payload) by the noise
    //! variance.
    std::vector<float> residual;
    //! The channel of each used subcarrier, at the samples' scale.
    std::vector<std::complex<float>> channel;
};

/*!
 * Estimates of carrier offset, clock offset, common phases, channel and noise of a burst
 * from its training symbols and all of its pilots together, and its payload with them.
 *
 * With symbol m's window at T_m samples behind the first, used subcarrier k and its value
 * X, all in the FFT's scale 1 / sqrt N,
 *
 *     Y_mk = H_k X_mk exp(j (a T_m + b k T_m + c_m)) + W_mk .
 *
 * a and b are the maximum-likelihood ones by Gauss-Newton steps over twice as many
 * symbols each time, c_m is the pilots' common phase, shrunk to what exceeds its noise, H
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
     * \param samples from the candidate's window on, at least reach(symbols)
     * \param cfo carrier offset in spacings to within 0.1
     * \param symbols payload symbols
     * \param offsets what is taken off before all else
     * \param known empty, or a payload value each, 0 where it is not known: decoded
     * codewords as further pilots
     * \throws std::invalid_argument if sizes are not so
     */
    burst_estimate demodulate(span<const complex> samples,
                              double cfo,
                              std::size_t symbols,
                              const front_end_offsets& offsets = {},
                              span<const complex> known = {}) const;

private:
    struct rows;
    const burst_format d_format;
    const fft d_forward;
    const successive_cancellation d_header_decoder;
    std::vector<uint8_t> d_identity_word;
    std::size_t d_taps;
    //! exp(-2 pi j k (l - margin) / N) of used subcarrier k and tap l, real and
    //! imaginary.
    std::vector<float> d_turn_re, d_turn_im;

    burst_estimate run(span<const complex> samples,
                       double cfo,
                       std::size_t first_symbol,
                       std::size_t all_symbols,
                       const front_end_offsets& offsets,
                       span<const complex> known) const;
    void channel(rows& w,
                 const float* re,
                 const float* im,
                 const float* n,
                 bool factorize,
                 bool last) const;
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
 * the average is significant. Bursts with a gap inside are torn, and so are those of
 * which a few symbols' residuals exceed the others' by residual_limit, or whose channel
 * does not stay: they are counted and not handed on.
 */
class burst_receiver
{
public:
    using complex = std::complex<float>;

    /*!
     * \param format the burst's layout
     * \param threshold of the search's metric
     * \param residual_limit above 1
     * \throws std::invalid_argument if they are not so
     */
    burst_receiver(const burst_format& format, double threshold, double residual_limit);

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
    const double d_residual_limit;
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

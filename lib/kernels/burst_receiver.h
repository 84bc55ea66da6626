/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Receives bursts from a stream of samples.
 */
#pragma once

#include "kernels/burst_demodulate.h"
#include "kernels/burst_search.h"

#include <map>
#include <string>

namespace gr::neuralfec {

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

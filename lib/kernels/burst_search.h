/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Finds the bursts in a stream of samples.
 */
#pragma once

#include "kernels/burst_format.h"
#include "kernels/fft.h"
#include "kernels/span.h"

#include <optional>

namespace gr::neuralfec {

/*!
 * Search for preambles by two delayed correlations,
 *
 *     P_s(n) = sum_k c_k sum_{i < T} r(n + (k+1) T + i) conj r(n + k T + i),
 *     P_t(n) = sum_{i < N + G} r(n + S + N + i) conj r(n + S + i),
 *
 * over the short part (period T, length S, c_k = s_k s_{k+1} its signs' products) and the
 * training part (two symbols of N, prefix G). The metric is (|P_s| + |P_t|) / E, with E
 * the energy under both, and a candidate is its highest point within a preamble's length,
 * where it exceeds the threshold and |P_s| half of its share: plain repetitions, tones
 * and DC among them, have a large P_t only.
 *
 * The carrier offset's fraction is the angle of P_t, its integer the one of those that
 * P_s allows whose training symbols give the impulse response with most energy within a
 * cyclic prefix; the window of the FFT is laid so that this energy is inside.
 */
class burst_search
{
public:
    using complex = std::complex<float>;

    struct candidate {
        //! First sample of the preamble, as the metric tells.
        std::size_t preamble = 0;
        //! First sample of the first training symbol's FFT window.
        std::size_t window = 0;
        //! Carrier offset in subcarrier spacings.
        double cfo = 0;
        double metric = 0;
        //! Share of the training symbols' energy within a cyclic prefix.
        double concentration = 0;
    };

    struct outcome {
        //! Samples before this one need not be looked at again.
        std::size_t searched = 0;
        std::optional<candidate> found;
    };

    /*!
     * \param format the burst's layout
     * \param threshold of the metric, above 0 and below 1
     * \throws std::invalid_argument if they are not so
     */
    burst_search(const burst_format& format, double threshold);

    //! The first candidate in the samples that is complete and has an impulse response,
    //! or how far there is none.
    outcome search(span<const complex> samples) const;

    //! The metric at each of size - preamble_length + 1 samples; for figures and tests.
    std::vector<float> metric(span<const complex> samples) const;

private:
    const burst_format d_format;
    const float d_threshold;
    double d_least_concentration = 0;
    const fft d_forward, d_backward;

    void acquire(const complex* samples, std::size_t size, candidate& c) const;
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The BCJR algorithm over a convolutional code and a chain of noise states together.
 */
#pragma once

#include "kernels/convolutional.h"
#include "kernels/span.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace gr::neuralfec {

//! Noise whose variance follows a Markov chain from one received symbol to the next.
struct noise_chain {
    //! a: a symbol is received as y = +a (bit 1) or -a (bit 0) and Gaussian noise.
    double amplitude;
    //! Of each state's noise.
    std::vector<double> variance;
    //! Probabilities of the states before a frame's first symbol.
    std::vector<double> start;
    //! P(s' | s) at [s * states + s'].
    std::vector<double> step;

    std::size_t states() const { return variance.size(); }
};

/*!
 * Symbol-by-symbol a-posteriori decoder of frames over noise that changes: the states of
 * the trellis are pairs of a state of the code and one of the noise. The parameters of
 * the noise are the most likely ones of the frames themselves, found by expectation
 * maximisation (Baum, Petrie, Soules, Weiss, 1970); nothing else is known of it.
 *
 * Values may have any common scale, for the amplitude is one of the parameters: received
 * symbols, or LLRs 2 a y / v of an assumed variance v. Frames lie across SIMD lanes.
 */
class burst_bcjr_kernel
{
public:
    static constexpr std::size_t most_noise_states = 4;
    //! Parameters are found from this many of the frames of a call at most.
    static constexpr std::size_t most_learned_frames = 256;
    static constexpr unsigned most_iterations = 30;

    /*!
     * \param noise_states 2 to most_noise_states
     * \throws std::invalid_argument for another number, or a tail-biting frame
     */
    burst_bcjr_kernel(const convolutional_trellis& trellis,
                      const convolutional_frame& frame,
                      std::size_t noise_states = 2);
    burst_bcjr_kernel(burst_bcjr_kernel&&) noexcept;
    ~burst_bcjr_kernel();

    const convolutional_frame& frame() const;
    std::size_t n() const { return frame().received; }
    std::size_t k() const { return frame().message_bits; }
    std::size_t noise_states() const;

    /*!
     * Where the search for parameters begins: the amplitude and the smallest variance
     * from medians, each state's variance ten times that of the state before.
     */
    noise_chain guess(span<const float> values) const;

    /*!
     * One step of expectation maximisation over whole frames. The guess counts as
     * weakly as a few symbols seen before, for calls of few frames.
     */
    noise_chain improve(span<const float> values,
                        const noise_chain& chain,
                        const noise_chain& guess) const;

    /*!
     * The parameters of whole frames.
     * \param iterations out, how many steps it took
     */
    noise_chain learn(span<const float> values, unsigned& iterations) const;

    /*!
     * \param values whole frames of n() values, positive where a one is the likelier;
     *        NaN and infinite ones count as 0, and nothing is known where 0 is
     * \param posteriors as many frames of k() LLRs
     * \returns how many values were NaN or infinite
     * \throws std::invalid_argument for sizes or a chain that do not fit
     */
    uint64_t decode(span<const float> values,
                    const noise_chain& chain,
                    span<float> posteriors) const;

private:
    struct impl;
    std::unique_ptr<impl> d_impl;
};

} // namespace gr::neuralfec

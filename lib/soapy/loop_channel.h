/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "soapy/loop_medium.h"

#include <complex>
#include <cstdint>
#include <vector>

namespace gr::neuralfec::loop {

//! Gaussian numbers by the ziggurat of Marsaglia and Tsang over xoshiro256+.
class gaussian
{
public:
    explicit gaussian(uint64_t seed);
    //! Of variance 1.
    float operator()();
    //! Even within 0 and 1.
    double uniform();

private:
    uint64_t d_state[4];
    uint64_t next();
};

//! What the way to a receiver, and the receiver itself, do to samples.
struct channel_settings {
    double noise_var = 0;    // both rails together
    double cfo = 0;          // Hz, beside what the tuning makes
    double clock_offset = 0; // of the receiver's clock, 2e-5 for 20 ppm
    double delay = 0;        // seconds
    std::vector<std::complex<float>> taps{1.0f}; // a sample apart
    int fading =
        0; // Rayleigh taps, 1 dB apart, energy 1, drawn for each burst; 0 for none
    double phase_noise = 0; // rad^2 of the oscillators, with a corner at 50 kHz
    // Shares of bursts that do not come, come twice, and come later, by `lag` seconds.
    double lost = 0, doubled = 0, late = 0, lag = 0.05;
    std::complex<float> image = 0, dc = 0;
    uint64_t seed = 1;
};

//! Makes samples of a receiver out of what is on the air.
class channel
{
public:
    explicit channel(const channel_settings& settings);

    //! How many samples beyond its own position a receiver's sample needs.
    static int64_t reach();
    //! Where on the air a receiver's sample is.
    double position(int64_t sample, double rate) const;

    /*!
     * \param air to read
     * \param first the receiver's count of the first sample
     * \param out samples to write
     * \param frequency that the receiver is tuned to; transmitters more than half the
     * rate away are not heard \param gain amplitude \param own whether the own
     * transmitter is heard
     */
    void receive(const medium& air,
                 int64_t first,
                 std::complex<float>* out,
                 std::size_t size,
                 double frequency,
                 float gain,
                 bool own);

private:
    const channel_settings d_settings;
    gaussian d_random;
    double d_phase = 0;
    std::vector<std::complex<float>> d_air, d_filtered;

    std::vector<std::complex<float>> taps_of(uint64_t burst) const;
    //! Whether a burst comes at its time, or with a lag.
    bool comes(uint64_t burst, bool lagging) const;
};

} // namespace gr::neuralfec::loop

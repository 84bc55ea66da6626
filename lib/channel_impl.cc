/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/channel.h>
#include <gnuradio/random.h>

#include <array>
#include <atomic>
#include <cmath>
#include <complex>
#include <stdexcept>
#include <string>
#include <vector>

namespace gr::neuralfec {

namespace {

// 3GPP TS 36.101, table B.2.1-4.
constexpr std::size_t etu_taps = 9;
constexpr double etu_delays_ns[etu_taps] = {0, 50, 120, 200, 230, 500, 1600, 2300, 5000};
constexpr double etu_powers_db[etu_taps] = {-1, -1, -1, 0, 0, 0, -3, -5, -7};

class channel_impl : public channel
{
public:
    channel_impl(model m,
                 float noise_var,
                 uint64_t seed,
                 unsigned subcarriers,
                 double bandwidth)
        : gr::sync_block("channel",
                         gr::io_signature::make(1, 1, sizeof(gr_complex)),
                         gr::io_signature::make(1, 2, sizeof(gr_complex))),
          d_model(m),
          d_random(seed),
          d_subcarriers(subcarriers)
    {
        set_noise_var(noise_var);
        if (subcarriers == 0)
            throw std::invalid_argument("channel: expected at least 1 subcarrier, got 0");
        if (!(std::isfinite(bandwidth) && bandwidth > 0))
            throw std::invalid_argument("channel: expected a bandwidth > 0 Hz, got " +
                                        std::to_string(bandwidth));
        if (m != model::etu)
            return;
        double total = 0;
        for (double power : etu_powers_db)
            total += std::pow(10, power / 10);
        // tap amplitude times its turn at each subcarrier
        for (unsigned s = 0; s < subcarriers; s++)
            for (std::size_t t = 0; t < etu_taps; t++)
                d_turns.push_back(std::polar(
                    std::sqrt(std::pow(10, etu_powers_db[t] / 10) / total),
                    -2 * M_PI * s * bandwidth / subcarriers * etu_delays_ns[t] * 1e-9));
    }

    bool start() override
    {
        // The first symbol of a run is the first of a frame.
        d_subcarrier = 0;
        return true;
    }

    void set_noise_var(float noise_var) override
    {
        if (!(std::isfinite(noise_var) && noise_var >= 0))
            throw std::invalid_argument(
                "channel: expected a finite noise variance >= 0, got " +
                std::to_string(noise_var));
        d_noise_var = noise_var;
    }

    float noise_var() const override { return d_noise_var; }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const auto* x = static_cast<const gr_complex*>(input_items[0]);
        auto* y = static_cast<gr_complex*>(output_items[0]);
        auto* gains =
            output_items.size() > 1 ? static_cast<gr_complex*>(output_items[1]) : nullptr;
        const float amplitude = std::sqrt(d_noise_var);
        for (int i = 0; i < noutput_items; i++) {
            const gr_complex h = gain();
            y[i] = h * x[i] + amplitude * normal();
            if (gains)
                gains[i] = h;
        }
        return noutput_items;
    }

private:
    const model d_model;
    std::atomic<float> d_noise_var;
    gr::random d_random;
    const unsigned d_subcarriers;
    std::vector<std::complex<double>> d_turns;
    std::array<gr_complex, etu_taps> d_taps{};
    unsigned d_subcarrier = 0;

    // CN(0, 1); gr::random gives each rail a variance of 1.
    gr_complex normal()
    {
        constexpr float half = 0.70710678f;
        const float re = d_random.gasdev();
        return {half * re, half * d_random.gasdev()};
    }

    gr_complex gain()
    {
        if (d_model == model::awgn)
            return 1;
        if (d_model == model::rayleigh)
            return normal();
        if (d_subcarrier == 0)
            for (auto& tap : d_taps)
                tap = normal();
        std::complex<double> sum = 0;
        for (std::size_t t = 0; t < etu_taps; t++)
            sum += std::complex<double>(d_taps[t]) * d_turns[d_subcarrier * etu_taps + t];
        d_subcarrier = (d_subcarrier + 1) % d_subcarriers;
        return gr_complex(sum);
    }
};

} // namespace

channel::sptr channel::make(model m,
                            float noise_var,
                            uint64_t seed,
                            unsigned subcarriers,
                            double bandwidth)
{
    return gnuradio::make_block_sptr<channel_impl>(
        m, noise_var, seed, subcarriers, bandwidth);
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/sync_block.h>

#include <cstdint>

namespace gr::neuralfec {

/*!
 * \brief Simulated channel: x in, y = h x + n and h out.
 * \ingroup neuralfec
 *
 * n is complex Gaussian of variance N0, both rails together, and E|h|^2 = 1:
 * - awgn: h = 1;
 * - rayleigh: h ~ CN(0, 1), independent from symbol to symbol;
 * - etu: extended typical urban, 3GPP TS 36.101 table B.2.1-4, as flat subcarriers. Each
 *   frame of so many symbols sees a new realisation, symbol s of n at frequency
 *   s bandwidth / n.
 *
 * Every sample is drawn anew (xoroshiro128+, Marsaglia's polar method), in the order of
 * the symbols: a seed gives the same channel however the stream is cut.
 */
class NEURALFEC_API channel : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<channel>;

    enum class model { awgn, rayleigh, etu };

    /*!
     * \param m the model
     * \param noise_var N0 >= 0
     * \param seed of the random numbers
     * \param subcarriers symbols of one realisation (etu), at least 1
     * \param bandwidth of all subcarriers in Hz (etu), finite and positive
     * \throws std::invalid_argument where the arguments are not so
     */
    static sptr make(model m,
                     float noise_var = 0.1f,
                     uint64_t seed = 1,
                     unsigned subcarriers = 81,
                     double bandwidth = 10e6);

    //! \throws std::invalid_argument where N0 is not finite and >= 0
    virtual void set_noise_var(float noise_var) = 0;
    virtual float noise_var() const = 0;
};

} // namespace gr::neuralfec

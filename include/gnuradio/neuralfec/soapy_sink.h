/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/neuralfec/soapy_settings.h>
#include <gnuradio/sync_block.h>

#include <cstdint>
#include <map>

namespace gr::neuralfec {

/*!
 * \brief Samples to a SoapySDR device, in bursts where they are tagged so.
 * \ingroup neuralfec
 *
 * A tag "packet_len" begins a burst, which is handed to the device as a whole, with
 * END_BURST, and at the time of a tag "tx_time" (a tuple of whole seconds and fraction)
 * on its first sample, where there is one and the device keeps time. What is in no burst
 * streams. A burst that the next one's tag cuts off is counted and not sent. A device
 * that fails, or takes no samples for two seconds, ends the block, and error() tells why.
 */
class NEURALFEC_API soapy_sink : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<soapy_sink>;

    /*!
     * \param device SoapySDR's arguments, such as "driver=lime"
     * \param max_burst most samples of a burst
     * \throws std::runtime_error where it cannot be opened or set so
     */
    static sptr make(const std::string& device,
                     const soapy_settings& settings,
                     std::size_t max_burst);

    //! samples, bursts, cut_bursts, late, underflows
    virtual std::map<std::string, uint64_t> stats() const = 0;
    //! Why the block has ended by itself, empty where it has not.
    virtual std::string error() const = 0;
    //! Whether the device sends at given times.
    virtual bool timed() const = 0;
    //! The device's time now in seconds, 0 where it has none.
    virtual double time() const = 0;
};

} // namespace gr::neuralfec

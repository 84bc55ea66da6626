/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/neuralfec/soapy_settings.h>
#include <gnuradio/sync_block.h>

#include <cstdint>
#include <map>

namespace gr::neuralfec {

/*!
 * \brief Samples of a SoapySDR device.
 * \ingroup neuralfec
 *
 * The first sample has the tag "rx_time" (a tuple of whole seconds and fraction), and so
 * has each behind a gap: after an overflow, or where the device's times jump. A device
 * that fails or gives no samples for two seconds ends the block, and error() tells why.
 */
class NEURALFEC_API soapy_source : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<soapy_source>;

    /*!
     * \param device SoapySDR's arguments, such as "driver=rtlsdr"
     * \throws std::runtime_error where it cannot be opened or set so
     */
    static sptr make(const std::string& device, const soapy_settings& settings);

    //! samples, overflows, gaps
    virtual std::map<std::string, uint64_t> stats() const = 0;
    //! Why the block has ended by itself, empty where it has not.
    virtual std::string error() const = 0;
    //! Whether the device tells the times of its samples.
    virtual bool timed() const = 0;
    //! The device's time now in seconds, 0 where it has none.
    virtual double time() const = 0;
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/soapy_settings.h>

#include <SoapySDR/Device.hpp>

#include <memory>

namespace gr::neuralfec {

//! How long one call waits for a device, and how many such waits are too many.
constexpr long wait_us = 100000;
constexpr int patience = 20;

//! A device with one stream of complex floats, opened and set.
class soapy_device
{
public:
    //! \throws std::runtime_error with the device's reason where it cannot be
    soapy_device(const std::string& arguments,
                 const soapy_settings& settings,
                 int direction);
    ~soapy_device();
    soapy_device(const soapy_device&) = delete;
    soapy_device& operator=(const soapy_device&) = delete;

    SoapySDR::Device& device() const { return *d_device; }
    SoapySDR::Stream* stream() const { return d_stream; }
    double rate() const { return d_rate; }
    bool timed() const { return d_timed; }
    double time() const;
    void activate();
    void deactivate();

private:
    struct unmake {
        void operator()(SoapySDR::Device* device) const;
    };
    std::unique_ptr<SoapySDR::Device, unmake> d_device;
    SoapySDR::Stream* d_stream = nullptr;
    double d_rate = 0;
    bool d_timed = false, d_active = false;
};

} // namespace gr::neuralfec

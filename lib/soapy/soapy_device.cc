/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "soapy/soapy_device.h"

#include <SoapySDR/Errors.hpp>
#include <SoapySDR/Formats.hpp>
#include <SoapySDR/Logger.hpp>
#include <SoapySDR/Modules.hpp>
#include <SoapySDR/Registry.hpp>
#include <SoapySDR/Version.hpp>

#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <stdexcept>

namespace gr::neuralfec {

namespace {

// The loop device is installed beside this library, where SoapySDR may not look by
// itself.
void load_loop_device()
{
    SoapySDR::loadModules();
    Dl_info here;
    if (SoapySDR::Registry::listFindFunctions().count("neuralfec-loop") ||
        !dladdr(reinterpret_cast<const void*>(&load_loop_device), &here))
        return;
    const std::string library = here.dli_fname;
    SoapySDR::loadModule(library.substr(0, library.rfind('/')) + "/SoapySDR/modules" +
                         SoapySDR::getABIVersion() + "/libneuralfecLoop.so");
}

} // namespace

void soapy_device::unmake::operator()(SoapySDR::Device* device) const
{
    try {
        SoapySDR::Device::unmake(device);
    } catch (const std::exception&) {
        // It has gone by itself.
    }
}

soapy_device::soapy_device(const std::string& arguments,
                           const soapy_settings& settings,
                           int direction)
{
    // What goes wrong is thrown, and told once.
    if (!std::getenv("SOAPY_SDR_LOG_LEVEL"))
        SoapySDR::setLogLevel(SOAPY_SDR_FATAL);
    load_loop_device();
    const auto doing = [&](const char* what, const auto& action) {
        try {
            action();
        } catch (const std::exception& error) {
            throw std::runtime_error("SoapySDR device '" + arguments + "': " + what +
                                     ": " + error.what());
        }
    };
    doing("cannot be opened", [&] { d_device.reset(SoapySDR::Device::make(arguments)); });
    auto& device = *d_device;
    const std::string way = direction == SOAPY_SDR_RX ? "receive" : "transmit";
    if (device.getNumChannels(direction) == 0)
        throw std::runtime_error("SoapySDR device '" + arguments + "': does not " + way);
    doing("clock source", [&] {
        if (!settings.clock_source.empty())
            device.setClockSource(settings.clock_source);
    });
    doing("time source", [&] {
        if (!settings.time_source.empty())
            device.setTimeSource(settings.time_source);
    });
    doing("sample rate",
          [&] { device.setSampleRate(direction, 0, settings.sample_rate); });
    d_rate = device.getSampleRate(direction, 0);
    if (!(std::abs(d_rate / settings.sample_rate - 1) < 1e-3))
        throw std::runtime_error(
            "SoapySDR device '" + arguments + "': wrong rate: it runs at " +
            std::to_string(std::llround(d_rate)) + " samples/s where " +
            std::to_string(std::llround(settings.sample_rate)) + " were asked for");
    doing("antenna", [&] {
        if (!settings.antenna.empty())
            device.setAntenna(direction, 0, settings.antenna);
    });
    doing("bandwidth", [&] {
        if (settings.bandwidth > 0)
            device.setBandwidth(direction, 0, settings.bandwidth);
    });
    doing("frequency correction", [&] {
        if (settings.ppm == 0)
            return;
        if (!device.hasFrequencyCorrection(direction, 0))
            throw std::runtime_error("it has none");
        device.setFrequencyCorrection(direction, 0, settings.ppm);
    });
    doing("frequency", [&] {
        if (settings.frequency > 0) {
            SoapySDR::Kwargs tuning;
            if (settings.lo_offset != 0)
                tuning["OFFSET"] = std::to_string(settings.lo_offset);
            device.setFrequency(direction, 0, settings.frequency, tuning);
        }
    });
    doing("gain", [&] {
        if (settings.gain) {
            if (device.hasGainMode(direction, 0))
                device.setGainMode(direction, 0, false);
            device.setGain(direction, 0, *settings.gain);
        }
    });
    doing("stream",
          [&] { d_stream = device.setupStream(direction, SOAPY_SDR_CF32, {0}); });
    d_timed = device.hasHardwareTime();
}

soapy_device::~soapy_device()
{
    if (!d_stream)
        return;
    deactivate();
    try {
        d_device->closeStream(d_stream);
    } catch (const std::exception&) {
        // As above.
    }
}

double soapy_device::time() const
{
    return d_timed ? double(d_device->getHardwareTime()) * 1e-9 : 0;
}

void soapy_device::activate()
{
    const int error = d_device->activateStream(d_stream);
    if (error != 0)
        throw std::runtime_error(std::string("the stream does not start: ") +
                                 SoapySDR::errToStr(error));
    d_active = true;
}

void soapy_device::deactivate()
{
    if (!d_active)
        return;
    d_active = false;
    try {
        d_device->deactivateStream(d_stream);
    } catch (const std::exception&) {
        // As above.
    }
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <optional>
#include <string>

namespace gr::neuralfec {

//! How a radio is set. What is 0, empty or not there stays as the device has it.
struct soapy_settings {
    double sample_rate = 1e6;
    double frequency = 0;
    std::optional<double> gain; // dB
    std::string antenna;
    double bandwidth = 0;
    double lo_offset = 0;
    std::string clock_source, time_source;
    double ppm = 0;
};

} // namespace gr::neuralfec

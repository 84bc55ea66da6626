/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What phy.constellation.constellation() takes, as the points and labels of C++ blocks.
 */
#pragma once

#include <gnuradio/gr_complex.h>
#include <pybind11/complex.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <vector>

namespace gr::neuralfec {

namespace py = pybind11;

struct modulation {
    std::vector<gr_complex> points;
    std::vector<uint32_t> labels;

    explicit modulation(const py::object& spec)
    {
        const auto found = py::module::import("gnuradio.neuralfec.phy.constellation")
                               .attr("constellation")(spec);
        points = found.attr("points").attr("tolist")().cast<std::vector<gr_complex>>();
        labels = found.attr("labels").attr("tolist")().cast<std::vector<uint32_t>>();
    }
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/burst_format.h"

#include <gnuradio/neuralfec/burst_receiver.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace gr::neuralfec {

void bind_burst_receiver(py::module& m)
{
    py::class_<burst_receiver_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<burst_receiver_block>>(m, "burst_receiver")
        .def(
            py::init(
                [](const py::object& format, double threshold, double residual_limit) {
                    const auto numbers =
                        py::module::import("gnuradio.neuralfec.phy.burst")
                            .attr("burst_format")(format)
                            .attr("kernel");
                    return burst_receiver_block::make(
                        numbers.cast<const burst_format&>(), threshold, residual_limit);
                }),
            py::arg("format") = "burst-128",
            py::arg("threshold") = 0.21,
            py::arg("residual_limit") = 2.8,
            "Burst receiver: samples in, y and h of the bursts' payload out, y = h x + n "
            "with\n"
            "mean |h|^2 = 1; tags noise_var and packet_len on each burst's first symbol, "
            "and a\n"
            "PDU of y with start, snr_db, cfo, clock_offset, evm_db, user, h on the port "
            "pdus.\n\n"
            "format: a preset's name or a phy.burst.BurstFormat.\n"
            "threshold: of the search, within 0 and 1; lower finds weaker bursts.\n"
            "residual_limit: of the symbols of a burst by its quieter ones, above 1; "
            "bursts above\n"
            "it are torn and not handed on, nor are those with a tag rx_time inside.\n"
            "ValueError for anything else.")
        .def(
            "stats",
            &burst_receiver_block::stats,
            "samples, candidates, headers, bursts, gaps, torn_by_gap, torn_by_residual.");
}

} // namespace gr::neuralfec

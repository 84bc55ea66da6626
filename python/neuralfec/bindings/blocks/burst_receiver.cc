/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/burst_format.h"

#include <gnuradio/neuralfec/burst_receiver.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

namespace py = pybind11;

namespace gr::neuralfec {

void bind_burst_receiver(py::module& m)
{
    py::class_<burst_receiver_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<burst_receiver_block>>(m, "burst_receiver")
        .def(
            py::init([](const py::object& format,
                        std::optional<double> threshold,
                        double false_refusals) {
                const auto numbers = py::module::import("gnuradio.neuralfec.phy.burst")
                                         .attr("burst_format")(format);
                return burst_receiver_block::make(
                    numbers.attr("kernel").cast<const burst_format&>(),
                    threshold ? *threshold : numbers.attr("threshold").cast<double>(),
                    false_refusals);
            }),
            py::arg("format") = "burst-128",
            py::arg("threshold") = py::none(),
            py::arg("false_refusals") = 1e-3,
            "Burst receiver: samples in, y and h of the bursts' payload out, y = h x + n "
            "with\n"
            "mean |h|^2 = 1; tags noise_var and packet_len on each burst's first symbol, "
            "and a\n"
            "PDU of y with start, snr_db, cfo, clock_offset, evm_db, user, h on the port "
            "pdus.\n\n"
            "format: a preset's name or a phy.burst.BurstFormat.\n"
            "threshold: of the search, within 0 and 1, None for the format's own; lower "
            "finds\n"
            "weaker bursts at the cost of time.\n"
            "false_refusals: share of whole bursts, within 0 and 1, that may be taken "
            "for "
            "torn\n"
            "ones, which are not handed on, nor are those with a tag rx_time inside.\n"
            "ValueError for anything else.")
        .def(
            "stats",
            &burst_receiver_block::stats,
            "samples, candidates, headers, bursts, gaps, torn_by_gap, torn_by_residual.");
}

} // namespace gr::neuralfec

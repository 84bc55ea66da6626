/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"

#include <gnuradio/neuralfec/ldpc_decoder.h>

namespace gr::neuralfec {

void bind_ldpc_decoder(py::module& m)
{
    bind_frame_decoder(
        m,
        "ldpc_decoder",
        &ldpc_decoder::make,
        &make_generic_ldpc_decoder,
        "Belief propagation decoder of LDPC and other systematic linear codes.\n\n"
        "n LLRs, log P(b=1) - log P(b=0), a vector item in; k message bits out, and on "
        "a\n"
        "second output, which may be left open, 1 for each frame whose checks all "
        "hold.\n"
        "stats() also has converged, such frames, and iterations.\n\n"
        "code: a systematic codes.LinearCode, or its spec, for example 'wifi-648'.\n"
        "iterations: the most of a frame, at least 1.\n"
        "rule: 'sum-product' (exact), 'min-sum' (normalised) or 'min-sum-int8', the same "
        "in\n"
        "bytes and several times as fast.\n"
        "scale: normalisation of min-sum, above 0 and at most 1.\n"
        "parity_stop: end a frame once all checks hold.\n"
        "schedule: 'flooding', 'layered', with about half as many iterations, or "
        "'auto':\n"
        "flooding, but layered for min-sum-int8, which has no other.\n"
        "ValueError for anything else.",
        py::arg("iterations") = 50,
        py::arg("rule") = "sum-product",
        py::arg("scale") = 0.75f,
        py::arg("parity_stop") = true,
        py::arg("schedule") = "auto")
        .def("set_iterations", &ldpc_decoder::set_iterations, py::arg("iterations"));
}

} // namespace gr::neuralfec

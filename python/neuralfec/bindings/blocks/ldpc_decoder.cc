/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <gnuradio/neuralfec/ldpc_decoder.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace gr::neuralfec {

static parity_check_code from_python(const py::object& code)
{
    if (!py::hasattr(code, "edges") || !code.attr("systematic").cast<bool>())
        throw std::invalid_argument("expected a systematic codes.LinearCode, got " +
                                    py::repr(code).cast<std::string>());
    const auto edges = code.attr("edges").cast<std::pair<py::object, py::object>>();
    return {code.attr("n").cast<uint32_t>(),
            edges.first.cast<std::vector<uint32_t>>(),
            edges.second.cast<std::vector<uint32_t>>(),
            code.attr("information_set").cast<std::vector<uint32_t>>()};
}

void bind_ldpc_decoder(py::module& m)
{
    const char* doc =
        "Belief propagation decoder of LDPC and other systematic linear codes.\n\n"
        "n LLRs, log P(b=1) - log P(b=0), a vector item in; k message bits out, and on "
        "a\n"
        "second output, which may be left open, 1 for each frame whose checks all "
        "hold.\n\n"
        "code: a systematic codes.LinearCode, for example codes.code('wifi-648').\n"
        "iterations: the most of a frame, at least 1.\n"
        "rule: 'sum-product' (exact) or 'min-sum' (normalised).\n"
        "scale: normalisation of min-sum, above 0 and at most 1.\n"
        "parity_stop: end a frame once all checks hold.\n"
        "ValueError for anything else.";
    py::class_<ldpc_decoder,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<ldpc_decoder>>(m, "ldpc_decoder")
        .def(py::init([](const py::object& code,
                         unsigned iterations,
                         const std::string& rule,
                         float scale,
                         bool parity_stop) {
                 return ldpc_decoder::make(
                     from_python(code), iterations, rule, scale, parity_stop);
             }),
             py::arg("code"),
             py::arg("iterations") = 50,
             py::arg("rule") = "sum-product",
             py::arg("scale") = 0.75f,
             py::arg("parity_stop") = true,
             doc)
        .def("set_iterations", &ldpc_decoder::set_iterations, py::arg("iterations"))
        .def("stats",
             &ldpc_decoder::stats,
             "Totals: frames, converged (all checks hold), iterations, and bad_samples,\n"
             "LLRs that were NaN or infinite and counted as 0.");
    m.def(
        "generic_ldpc_decoder",
        [](const py::object& code,
           unsigned iterations,
           const std::string& rule,
           float scale,
           bool parity_stop,
           unsigned codewords) {
            return make_generic_ldpc_decoder(
                from_python(code), iterations, rule, scale, parity_stop, codewords);
        },
        py::arg("code"),
        py::arg("iterations") = 50,
        py::arg("rule") = "sum-product",
        py::arg("scale") = 0.75f,
        py::arg("parity_stop") = true,
        py::arg("codewords") = 1,
        "ldpc_decoder as a fec.generic_decoder, for fec.extended_decoder and the "
        "others.\n\n"
        "codewords: how many make a frame of gr-fec's. Those of a frame are decoded\n"
        "together, a SIMD lane each: 16 take little longer than 1.");
}

} // namespace gr::neuralfec

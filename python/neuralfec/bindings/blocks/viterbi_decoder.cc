/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"

#include <gnuradio/neuralfec/viterbi_decoder.h>

namespace gr::neuralfec {

namespace {

constexpr const char* by_numbers =
    "The same by the code's numbers: generators (octal as integers, negative for the "
    "complement), feedback (0: none), k, termination and puncture in place of code.";

convolutional_code frames(const std::vector<int>& generators,
                          unsigned feedback,
                          std::size_t k,
                          const std::string& termination,
                          const std::vector<uint8_t>& puncture)
{
    return {generators, feedback, puncture, k, termination};
}

} // namespace

void bind_viterbi_decoder(py::module& m)
{
    const std::vector<uint8_t> all;
    auto viterbi = bind_frame_decoder(
        m,
        "viterbi_decoder",
        &viterbi_decoder::make,
        &make_generic_viterbi_decoder,
        "Maximum-likelihood decoder of frames of a convolutional code.\n\n"
        "n LLRs, log P(b=1) - log P(b=0), of any scale in; k message bits out.\n\n"
        "code: a codes.convolutional.ConvolutionalCode, or its spec, for example\n"
        "'conv:7,5:100:zero'.\n"
        "metric: 'int16' or 'int8' (coarser, faster).\n"
        "ValueError for anything else.",
        py::arg("metric") = "int16");
    viterbi.def(py::init([](const std::vector<int>& generators,
                            unsigned feedback,
                            std::size_t k,
                            const std::string& termination,
                            const std::vector<uint8_t>& puncture,
                            const std::string& metric) {
                    return viterbi_decoder::make(
                        frames(generators, feedback, k, termination, puncture), metric);
                }),
                py::prepend(),
                py::arg("generators"),
                py::arg("feedback"),
                py::arg("k"),
                py::arg("termination") = "none",
                py::arg("puncture") = all,
                py::arg("metric") = "int16",
                by_numbers);
    m.def(
        "generic_viterbi_decoder",
        [](const std::vector<int>& generators,
           unsigned feedback,
           std::size_t k,
           const std::string& termination,
           const std::vector<uint8_t>& puncture,
           const std::string& metric,
           unsigned codewords) {
            return make_generic_viterbi_decoder(
                frames(generators, feedback, k, termination, puncture),
                metric,
                codewords);
        },
        py::prepend(),
        py::arg("generators"),
        py::arg("feedback"),
        py::arg("k"),
        py::arg("termination") = "none",
        py::arg("puncture") = all,
        py::arg("metric") = "int16",
        py::arg("codewords") = 1,
        by_numbers);
    auto bcjr = bind_decoder(
        m,
        "bcjr_decoder",
        &bcjr_decoder::make,
        "BCJR decoder of frames of a convolutional code: n LLRs in, k LLRs out.\n\n"
        "code: as of viterbi_decoder.\n"
        "method: 'log-map', which asks for true LLRs, or 'max-log'.\n"
        "ValueError for anything else.",
        py::arg("method") = "log-map");
    bcjr.def(py::init([](const std::vector<int>& generators,
                         unsigned feedback,
                         std::size_t k,
                         const std::string& termination,
                         const std::vector<uint8_t>& puncture,
                         const std::string& method) {
                 return bcjr_decoder::make(
                     frames(generators, feedback, k, termination, puncture), method);
             }),
             py::prepend(),
             py::arg("generators"),
             py::arg("feedback"),
             py::arg("k"),
             py::arg("termination") = "none",
             py::arg("puncture") = all,
             py::arg("method") = "log-map",
             by_numbers);
    py::class_<viterbi_stream_decoder,
               gr::block,
               gr::basic_block,
               std::shared_ptr<viterbi_stream_decoder>>(m, "viterbi_stream_decoder")
        .def(py::init([](const std::vector<int>& generators,
                         unsigned feedback,
                         const std::vector<uint8_t>& puncture,
                         std::size_t depth,
                         std::size_t block,
                         const std::string& metric) {
                 return viterbi_stream_decoder::make(
                     frames(generators, feedback, 1, "none", puncture),
                     depth,
                     block,
                     metric);
             }),
             py::arg("generators"),
             py::arg("feedback"),
             py::arg("puncture") = all,
             py::arg("depth") = 0,
             py::arg("block") = 2048,
             py::arg("metric") = "int16",
             by_numbers)
        .def(py::init([](const py::object& code,
                         std::size_t depth,
                         std::size_t block,
                         const std::string& metric) {
                 return viterbi_stream_decoder::make(
                     code_from_python<convolutional_code>(code), depth, block, metric);
             }),
             py::arg("code"),
             py::arg("depth") = 0,
             py::arg("block") = 2048,
             py::arg("metric") = "int16",
             "Viterbi decoder of an endless stream of LLRs.\n\n"
             "code: as of viterbi_decoder; its frames do not matter.\n"
             "depth: traceback depth in steps; 0: 12 per bit of memory.\n"
             "block: message bits that come out together; the delay is block + depth.\n"
             "At the end of the stream, and at a message on the port flush, all whole "
             "steps\n"
             "that are left are decided at once; after a flush a new stream begins.\n"
             "metric: 'int16' or 'int8'. ValueError for anything else.")
        .def("stats",
             &viterbi_stream_decoder::stats,
             "bits; bad_samples: LLRs that were NaN, counted as 0.");
}

} // namespace gr::neuralfec

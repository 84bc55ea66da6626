/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <gnuradio/neuralfec/viterbi_decoder.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace gr::neuralfec {

void bind_viterbi_decoder(py::module& m)
{
    const std::vector<uint8_t> all;
    py::class_<viterbi_decoder,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<viterbi_decoder>>(m, "viterbi_decoder")
        .def(py::init(&viterbi_decoder::make),
             py::arg("generators"),
             py::arg("feedback"),
             py::arg("k"),
             py::arg("termination") = "none",
             py::arg("puncture") = all,
             py::arg("metric") = "int16",
             "Maximum-likelihood decoder of frames of a convolutional code.\n\n"
             "n LLRs, log P(b=1) - log P(b=0), of any scale in; k message bits out.\n\n"
             "generators: octal numbers as integers (0o7, 0o5), newest bit most "
             "significant; negative: the complement of that output is sent.\n"
             "feedback: likewise, of a recursive code; 0: none.\n"
             "k: message bits of a frame.\n"
             "termination: 'none', 'zero' or 'tail-biting'.\n"
             "puncture: 1 sent, 0 not, repeating over the coded bits; empty: all are "
             "sent.\n"
             "metric: 'int16', 'int8' (coarser, faster) or 'float' (slow reference).\n"
             "ValueError for anything else.")
        .def("stats",
             &viterbi_decoder::stats,
             "frames; bad_samples: LLRs that were NaN or infinite, counted as 0.");
    m.def("generic_viterbi_decoder",
          &make_generic_viterbi_decoder,
          py::arg("generators"),
          py::arg("feedback"),
          py::arg("k"),
          py::arg("termination") = "none",
          py::arg("puncture") = all,
          py::arg("metric") = "int16",
          "viterbi_decoder as a fec.generic_decoder, for fec.extended_decoder and the "
          "others.");
    py::class_<viterbi_stream_decoder,
               gr::block,
               gr::basic_block,
               std::shared_ptr<viterbi_stream_decoder>>(m, "viterbi_stream_decoder")
        .def(py::init(&viterbi_stream_decoder::make),
             py::arg("generators"),
             py::arg("feedback"),
             py::arg("puncture") = all,
             py::arg("depth") = 0,
             py::arg("block") = 2048,
             py::arg("metric") = "int16",
             "Viterbi decoder of an endless stream of LLRs.\n\n"
             "depth: traceback depth in steps; 0: 12 per bit of memory.\n"
             "block: message bits that come out together; the delay is block + depth.\n"
             "At the end of the stream, and at a message on the port flush, all whole "
             "steps\n"
             "that are left are decided at once; after a flush a new stream begins.\n"
             "The other arguments as of viterbi_decoder; ValueError for anything else.")
        .def("stats",
             &viterbi_stream_decoder::stats,
             "bits; bad_samples: LLRs that were NaN or infinite, counted as 0.");
    py::class_<bcjr_decoder,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<bcjr_decoder>>(m, "bcjr_decoder")
        .def(py::init(&bcjr_decoder::make),
             py::arg("generators"),
             py::arg("feedback"),
             py::arg("k"),
             py::arg("termination") = "none",
             py::arg("puncture") = all,
             py::arg("method") = "log-map",
             "BCJR decoder of frames of a convolutional code: n LLRs in, k LLRs out.\n\n"
             "method: 'log-map', which asks for true LLRs, or 'max-log'.\n"
             "The other arguments as of viterbi_decoder; ValueError for anything else.")
        .def("stats",
             &bcjr_decoder::stats,
             "frames; bad_samples: LLRs that were NaN or infinite, counted as 0.");
}

} // namespace gr::neuralfec

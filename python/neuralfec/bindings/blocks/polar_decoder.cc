/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <gnuradio/neuralfec/polar_decoder.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace gr::neuralfec {

void bind_polar_decoder(py::module& m)
{
    const char* doc =
        "Successive-cancellation (list) decoder of polar codes, frame by frame.\n\n"
        "n LLRs, log P(b=1) - log P(b=0), in; the k message bits out.\n\n"
        "n: code length, a power of two.\n"
        "information_set: rising positions of the unfrozen bits, check bits last.\n"
        "list_size: paths kept: 1 (successive cancellation), 2, 4, 8, 16 or 32.\n"
        "exact: exact instead of min-sum check nodes; asks for true LLRs.\n"
        "crc_degree, crc_polynomial: check bits that choose among the list's words; the\n"
        "polynomial without its leading term, bit i for x^i. Degree 0: none.\n"
        "ValueError for anything else.";
    py::class_<polar_decoder,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<polar_decoder>>(m, "polar_decoder")
        .def(py::init(&polar_decoder::make),
             py::arg("n"),
             py::arg("information_set"),
             py::arg("list_size") = 8,
             py::arg("exact") = false,
             py::arg("crc_degree") = 0,
             py::arg("crc_polynomial") = 0,
             doc)
        .def(
            "stats",
            &polar_decoder::stats,
            "frames decoded; bad_samples: LLRs that were NaN or infinite, counted as 0.");
    m.def("generic_polar_decoder",
          &make_generic_polar_decoder,
          py::arg("n"),
          py::arg("information_set"),
          py::arg("list_size") = 8,
          py::arg("exact") = false,
          py::arg("crc_degree") = 0,
          py::arg("crc_polynomial") = 0,
          "polar_decoder as a fec.generic_decoder, for fec.extended_decoder and the "
          "others.");
}

} // namespace gr::neuralfec

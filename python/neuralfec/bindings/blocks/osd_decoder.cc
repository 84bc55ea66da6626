/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <gnuradio/neuralfec/osd_decoder.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace gr::neuralfec {

void bind_osd_decoder(py::module& m)
{
    py::class_<osd_decoder,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<osd_decoder>>(m, "osd_decoder")
        .def(py::init(&osd_decoder::make),
             py::arg("generator"),
             py::arg("pseudo_inverse"),
             py::arg("k"),
             py::arg("order") = 2,
             "Ordered-statistics decoder of linear block codes, frame by frame.\n\n"
             "n LLRs, log P(b=1) - log P(b=0), in; the k message bits out.\n\n"
             "generator: G, k rows of n bits, one after the other.\n"
             "pseudo_inverse: n rows of k bits, G pseudo_inverse = I.\n"
             "k: message bits.\n"
             "order: how many of the most reliable positions are changed at most, 0 to "
             "4.\n"
             "ValueError for anything else.")
        .def(
            "stats",
            &osd_decoder::stats,
            "frames decoded; bad_samples: LLRs that were NaN or infinite, counted as 0.");
    m.def(
        "generic_osd_decoder",
        &make_generic_osd_decoder,
        py::arg("generator"),
        py::arg("pseudo_inverse"),
        py::arg("k"),
        py::arg("order") = 2,
        "osd_decoder as a fec.generic_decoder, for fec.extended_decoder and the others.");
}

} // namespace gr::neuralfec

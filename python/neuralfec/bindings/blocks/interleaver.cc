/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <gnuradio/neuralfec/interleaver.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace gr::neuralfec {

void bind_interleaver(py::module& m)
{
    py::class_<interleaver,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<interleaver>>(m, "interleaver")
        .def(py::init(&interleaver::make),
             py::arg("item_size"),
             py::arg("order"),
             py::arg("deinterleave") = false,
             "Fixed-permutation interleaver of frames: each vector item is one frame.\n\n"
             "out[i] = in[order[i]]; with deinterleave, out[order[i]] = in[i].\n\n"
             "item_size: bytes of one element, 1 (byte), 4 (float) or 8 (complex).\n"
             "order: each of 0 .. n - 1 once; n is the vector length of both ports.\n"
             "ValueError for another size or an order that is no permutation.");
}

} // namespace gr::neuralfec

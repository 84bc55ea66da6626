/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/llr_quantizer.h"

#include <gnuradio/neuralfec/llr_dequantizer.h>
#include <gnuradio/neuralfec/llr_quantizer.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace gr::neuralfec {

// The kernels come from the module _kernels as they are; quantization.blocks makes them
// from a model.
void bind_llr_quantizer(py::module& m)
{
    py::class_<llr_quantizer,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<llr_quantizer>>(m, "llr_quantizer")
        .def(py::init([](std::shared_ptr<symbol_quantizer> quantizer,
                         std::size_t frame_symbols,
                         bool packed) {
                 return llr_quantizer::make(std::move(quantizer), frame_symbols, packed);
             }),
             py::arg("quantizer"),
             py::arg("frame_symbols"),
             py::arg("packed") = true)
        .def("bad_samples", &llr_quantizer::bad_samples, "LLRs so far that were NaN.");
    py::class_<llr_dequantizer,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<llr_dequantizer>>(m, "llr_dequantizer")
        .def(py::init([](std::shared_ptr<symbol_dequantizer> dequantizer,
                         std::size_t frame_symbols,
                         bool packed) {
                 return llr_dequantizer::make(
                     std::move(dequantizer), frame_symbols, packed);
             }),
             py::arg("dequantizer"),
             py::arg("frame_symbols"),
             py::arg("packed") = true);
}

} // namespace gr::neuralfec

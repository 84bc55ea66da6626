/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/polar.h"

#include "arrays.h"

namespace gr::neuralfec {

void bind_polar(py::module& m)
{
    py::class_<successive_cancellation>(m, "SuccessiveCancellation")
        .def(py::init<std::size_t,
                      const std::vector<uint32_t>&,
                      std::size_t,
                      bool,
                      unsigned,
                      uint32_t,
                      const std::vector<uint32_t>&>(),
             py::arg("n"),
             py::arg("information_set"),
             py::arg("list_size") = 1,
             py::arg("exact") = false,
             py::arg("crc_degree") = 0,
             py::arg("crc_polynomial") = 0,
             py::arg("order") = std::vector<uint32_t>())
        .def_property_readonly("n", &successive_cancellation::n)
        .def_property_readonly("k", &successive_cancellation::k)
        .def("decode",
             &decode_frames<successive_cancellation, uint8_t>,
             py::arg("llrs"),
             "Messages uint8 (F, k) of LLRs float32 (F, n), and the number of NaN and "
             "infinite "
             "LLRs, which count as 0.");
}

} // namespace gr::neuralfec

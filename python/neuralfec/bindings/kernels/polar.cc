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
                      uint32_t>(),
             py::arg("n"),
             py::arg("information_set"),
             py::arg("list_size") = 1,
             py::arg("exact") = false,
             py::arg("crc_degree") = 0,
             py::arg("crc_polynomial") = 0)
        .def_property_readonly("n", &successive_cancellation::n)
        .def_property_readonly("k", &successive_cancellation::k)
        .def(
            "decode",
            [](const successive_cancellation& decoder, const array<float>& llrs) {
                if (llrs.ndim() != 2 || llrs.shape(1) != py::ssize_t(decoder.n()))
                    throw std::invalid_argument("expected LLRs of shape (frames, " +
                                                std::to_string(decoder.n()) + ")");
                array<uint8_t> messages({std::size_t(llrs.shape(0)), decoder.k()});
                const auto in = view(llrs);
                const auto out = mutable_view(messages);
                std::size_t not_finite;
                {
                    py::gil_scoped_release release;
                    not_finite = decoder.decode(in, out);
                }
                return py::make_tuple(messages, not_finite);
            },
            py::arg("llrs"),
            "Messages uint8 (F, k) of LLRs float32 (F, n), and the number of NaN and "
            "infinite "
            "LLRs, which count as 0.");
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/ordered_statistics.h"

#include "arrays.h"

#include <limits>

namespace gr::neuralfec {

void bind_ordered_statistics(py::module& m)
{
    py::class_<gf2_map>(m, "Gf2Map")
        .def(py::init([](const array<uint8_t>& matrix) {
                 if (matrix.ndim() != 2)
                     throw std::invalid_argument("expected a matrix of two dimensions");
                 return gf2_map(view(matrix), matrix.shape(0));
             }),
             py::arg("matrix"))
        .def(
            "apply",
            [](const gf2_map& self, const array<uint8_t>& x) {
                array<uint8_t> y({frames_of(x, self.rows(), "bits"), self.columns()});
                const auto in = view(x);
                const auto out = mutable_view(y);
                {
                    py::gil_scoped_release release;
                    self.apply(in, out);
                }
                return y;
            },
            py::arg("x"),
            "x A over GF(2), uint8 (F, columns) of uint8 (F, rows).");

    py::class_<ordered_statistics>(m, "OrderedStatistics")
        .def(py::init([](const array<uint8_t>& generator,
                         const array<uint8_t>& pseudo_inverse,
                         unsigned order,
                         bool early) {
                 if (generator.ndim() != 2)
                     throw std::invalid_argument(
                         "expected a generator of two dimensions");
                 return ordered_statistics(view(generator),
                                           view(pseudo_inverse),
                                           generator.shape(0),
                                           order,
                                           early);
             }),
             py::arg("generator"),
             py::arg("pseudo_inverse"),
             py::arg("order"),
             py::arg("early") = false)
        .def(
            "decode",
            [](const ordered_statistics& self,
               const array<float>& llrs,
               const std::optional<array<float>>& improved,
               float reach) {
                if (improved)
                    frames_of(*improved, self.n(), "improved LLRs");
                if (improved && improved->shape(0) != llrs.shape(0))
                    throw std::invalid_argument("expected as many improved LLRs");
                return decode_frames<uint8_t>(
                    self, llrs, [&](span<const float> in, span<uint8_t> out) {
                        return improved ? self.decode_reordered(
                                              in, view(*improved), reach, out)
                                        : self.decode(in, out);
                    });
            },
            py::arg("llrs"),
            py::arg("improved") = py::none(),
            py::arg("reach") = std::numeric_limits<float>::infinity(),
            "Messages uint8 (F, k) of LLRs float32 (F, n), and the number of NaN, "
            "which count as 0. Positions are ordered by the improved LLRs, if "
            "given, and "
            "only those are changed together whose improved |L| sum up to at most "
            "reach.");
}

} // namespace gr::neuralfec

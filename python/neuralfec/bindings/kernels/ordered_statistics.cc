/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/ordered_statistics.h"

#include "arrays.h"

#include <limits>

namespace gr::neuralfec {

namespace {

template <typename T>
std::size_t frames_of(const array<T>& a, std::size_t length, const char* what)
{
    if (a.ndim() != 2 || a.shape(1) != py::ssize_t(length))
        throw std::invalid_argument(std::string("expected ") + what +
                                    " of shape (frames, " + std::to_string(length) + ")");
    return a.shape(0);
}

} // namespace

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
                         unsigned order) {
                 if (generator.ndim() != 2)
                     throw std::invalid_argument(
                         "expected a generator of two dimensions");
                 return ordered_statistics(
                     view(generator), view(pseudo_inverse), generator.shape(0), order);
             }),
             py::arg("generator"),
             py::arg("pseudo_inverse"),
             py::arg("order"))
        .def(
            "decode",
            [](const ordered_statistics& self,
               const array<float>& llrs,
               const std::optional<array<float>>& improved,
               float reach) {
                const std::size_t frames = frames_of(llrs, self.n(), "LLRs");
                if (improved)
                    frames_of(*improved, self.n(), "improved LLRs");
                array<uint8_t> messages({frames, self.k()});
                const auto in = view(llrs);
                const auto order = improved ? view(*improved) : in;
                const auto out = mutable_view(messages);
                std::size_t not_finite;
                {
                    py::gil_scoped_release release;
                    not_finite = improved ? self.decode_reordered(in, order, reach, out)
                                          : self.decode(in, out);
                }
                return py::make_tuple(messages, not_finite);
            },
            py::arg("llrs"),
            py::arg("improved") = py::none(),
            py::arg("reach") = std::numeric_limits<float>::infinity(),
            "Messages uint8 (F, k) of LLRs float32 (F, n), and the number of NaN and "
            "infinite "
            "LLRs, which count as 0. Positions are ordered by the improved LLRs, if "
            "given, and "
            "only those are changed together whose improved |L| sum up to at most "
            "reach.");
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/demapper.h"

#include "arrays.h"

namespace gr::neuralfec {

void bind_demapper(py::module& m)
{
    using complex = demapper::complex;
    py::class_<demapper>(m, "Demapper")
        .def(py::init([](const array<complex>& points,
                         const array<uint32_t>& labels,
                         bool exact,
                         std::size_t interferers,
                         const array<complex>& interferer_points) {
                 return demapper(view(points),
                                 view(labels),
                                 exact ? demapper::method::exact
                                       : demapper::method::max_log,
                                 interferers,
                                 view(interferer_points));
             }),
             py::arg("points"),
             py::arg("labels"),
             py::arg("exact"),
             py::arg("interferers") = 0,
             py::arg("interferer_points") = array<complex>(0))
        .def_property_readonly("bits_per_symbol", &demapper::bits_per_symbol)
        .def_property_readonly(
            "folds",
            &demapper::folds,
            "Whether the constellation is demapped by folding Gray rails.")
        .def(
            "demap",
            [](const demapper& self,
               const array<complex>& symbols,
               const array<float>& noise_var,
               const array<complex>& csi,
               const array<complex>& interferer_csi) {
                const std::size_t n = symbols.size();
                if (interferer_csi.size() !=
                    static_cast<py::ssize_t>(n * self.interferers()))
                    throw std::invalid_argument(
                        "demapper: expected " + std::to_string(self.interferers()) +
                        " rows of " + std::to_string(n) + " interferer gains, got " +
                        std::to_string(interferer_csi.size()) + " values");
                std::vector<const complex*> gains(self.interferers());
                for (std::size_t i = 0; i < gains.size(); i++)
                    gains[i] = interferer_csi.data() + i * n;
                array<float> llrs({static_cast<py::ssize_t>(n),
                                   static_cast<py::ssize_t>(self.bits_per_symbol())});
                const auto out = mutable_view(llrs);
                const auto y = view(symbols);
                const auto v = view(noise_var);
                const auto h = view(csi);
                std::size_t bad;
                {
                    py::gil_scoped_release release;
                    bad = self.demap(y, v, h, gains, out);
                }
                return py::make_tuple(llrs, bad);
            },
            py::arg("symbols"),
            py::arg("noise_var"),
            py::arg("csi") = array<complex>(0),
            py::arg("interferer_csi") = array<complex>(0),
            "LLRs float32 (n, K) and the number of symbols with a NaN or Inf.");
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/rate_matching.h"

#include "arrays.h"

#include <stdexcept>
#include <string>

namespace gr::neuralfec {

void bind_rate_matching(py::module& m)
{
    py::class_<rate_matching>(m, "RateMatching")
        .def(py::init<std::size_t, std::vector<uint32_t>, std::vector<uint32_t>>(),
             py::arg("whole"),
             py::arg("sent"),
             py::arg("shortened") = std::vector<uint32_t>())
        .def(
            "expand",
            [](const rate_matching& self, const array<float>& llrs) {
                if (llrs.ndim() != 2 || std::size_t(llrs.shape(1)) != self.sent())
                    throw std::invalid_argument("expected LLRs of shape (frames, " +
                                                std::to_string(self.sent()) + ")");
                array<float> whole({std::size_t(llrs.shape(0)), self.whole()});
                const auto in = view(llrs);
                const auto out = mutable_view(whole);
                uint64_t not_a_number;
                {
                    py::gil_scoped_release release;
                    not_a_number = self.expand(in, out);
                }
                return py::make_tuple(whole, not_a_number);
            },
            py::arg("llrs"),
            "LLRs float32 (F, whole) of LLRs float32 (F, sent), and the number of NaN, "
            "which count as 0.");
}

} // namespace gr::neuralfec

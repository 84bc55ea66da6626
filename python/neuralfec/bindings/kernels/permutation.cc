/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/permutation.h"

#include "arrays.h"

namespace gr::neuralfec {

void bind_permutation(py::module& m)
{
    m.def(
        "random_permutation",
        [](std::size_t size, uint64_t seed) {
            const auto order = permutation::random(size, seed).order();
            return py::array_t<uint32_t>(order.size(), order.data());
        },
        py::arg("size"),
        py::arg("seed"));
}

} // namespace gr::neuralfec

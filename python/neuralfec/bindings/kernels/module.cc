/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/simd.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace gr::neuralfec {
void bind_arithmetic_code(pybind11::module& m);
void bind_belief_code(pybind11::module& m);
void bind_burst(pybind11::module& m);
void bind_demapper(pybind11::module& m);
void bind_group_transformer(pybind11::module& m);
void bind_belief_propagation(pybind11::module& m);
void bind_llr_quantizer(pybind11::module& m);
void bind_permutation(pybind11::module& m);
void bind_polar(pybind11::module& m);
void bind_ordered_statistics(pybind11::module& m);
void bind_cancellation_network(pybind11::module& m);
void bind_convolutional(pybind11::module& m);
void bind_burst_bcjr(pybind11::module& m);
void bind_recurrent(pybind11::module& m);
void bind_gated_recurrent(pybind11::module& m);
void bind_rate_matching(pybind11::module& m);
void bind_xor_encoder(pybind11::module& m);
} // namespace gr::neuralfec

PYBIND11_MODULE(_kernels, m)
{
    using namespace gr::neuralfec;
    namespace py = pybind11;
    m.doc() = "C++ kernels of gr-neuralfec: NumPy in, NumPy out.";
    m.def("simd_targets",
          &simd_targets,
          "Names of the SIMD targets that this processor runs, best first.");
    m.def("simd_target", &simd_target, "The SIMD target that the kernels use now.");
    m.def("set_simd_target",
          &set_simd_target,
          py::arg("name"),
          "Holds the kernels of this process to one SIMD target; '' gives the choice "
          "back.");
    bind_arithmetic_code(m);
    bind_belief_code(m);
    bind_burst(m);
    bind_demapper(m);
    bind_group_transformer(m);
    bind_belief_propagation(m);
    bind_llr_quantizer(m);
    bind_permutation(m);
    bind_polar(m);
    bind_ordered_statistics(m);
    bind_cancellation_network(m);
    bind_convolutional(m);
    bind_burst_bcjr(m);
    bind_recurrent(m);
    bind_gated_recurrent(m);
    bind_rate_matching(m);
    bind_xor_encoder(m);
}

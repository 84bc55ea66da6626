/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/belief_propagation.h"

#include "arrays.h"

#include <memory>
#include <string>

namespace gr::neuralfec {

void bind_belief_propagation(py::module& m)
{
    using bp = belief_propagation;
    py::class_<bp>(m, "BeliefPropagation")
        .def(py::init([](std::size_t n,
                         const array<uint32_t>& checks,
                         const array<uint32_t>& bits,
                         const array<uint32_t>& positions,
                         const std::string& rule,
                         uint32_t iterations,
                         float scale,
                         bool parity_stop,
                         const std::string& schedule) {
                 bp::settings s;
                 s.set(rule, schedule);
                 s.iterations = iterations;
                 s.scale = scale;
                 s.parity_stop = parity_stop;
                 return std::make_unique<bp>(
                     n, view(checks), view(bits), view(positions), s);
             }),
             py::arg("n"),
             py::arg("checks"),
             py::arg("bits"),
             py::arg("positions"),
             py::arg("rule"),
             py::arg("iterations"),
             py::arg("scale"),
             py::arg("parity_stop"),
             py::arg("schedule") = "auto")
        .def(
            "decode",
            [](const bp& self, const array<float>& llrs, bool want_posteriors) {
                const py::ssize_t frames = frames_of(llrs, self.n(), "LLRs");
                array<uint8_t> bits({frames, py::ssize_t(self.k())});
                array<uint32_t> iterations(frames);
                array<uint8_t> converged(frames);
                array<float> posteriors(
                    {want_posteriors ? frames : 0, py::ssize_t(self.n())});
                const bp::results out{mutable_view(bits),
                                      mutable_view(iterations),
                                      mutable_view(converged),
                                      mutable_view(posteriors)};
                const auto in = view(llrs);
                std::size_t unknown;
                {
                    py::gil_scoped_release release;
                    unknown = self.decode(in, out);
                }
                return py::make_tuple(bits, iterations, converged, posteriors, unknown);
            },
            py::arg("llrs"),
            py::arg("want_posteriors") = false);
}

} // namespace gr::neuralfec

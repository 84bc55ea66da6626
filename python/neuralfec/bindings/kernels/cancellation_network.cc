/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/cancellation_network.h"

#include "arrays.h"

namespace gr::neuralfec {

void bind_cancellation_network(py::module& m)
{
    using net = cancellation_network;
    py::class_<net>(m, "CancellationNetwork")
        .def(py::init<std::size_t,
                      const std::vector<uint32_t>&,
                      std::size_t,
                      std::size_t,
                      std::size_t>(),
             py::arg("n"),
             py::arg("unfrozen"),
             py::arg("features"),
             py::arg("hidden"),
             py::arg("leaf_hidden"))
        .def_property_readonly("n", &net::n)
        .def_property_readonly("k", &net::k)
        .def_property_readonly("parameters", &net::parameters)
        .def_property_readonly(
            "layers",
            [](const net& self) {
                py::list layers;
                for (const auto& l : self.layers())
                    layers.append(
                        py::make_tuple(l.in, l.out, l.biases, l.weight, l.bias));
                return layers;
            },
            "(in, out, biases, where the weights, the biases start) each.")
        .def(
            "estimate",
            [](const net& self,
               const array<float>& parameters,
               const array<float>& reliabilities,
               const array<uint8_t>& u,
               std::size_t passes) {
                const std::size_t frames = reliabilities.size() / self.n();
                array<float> message({frames, self.k()}), codeword({frames, self.n()});
                const auto p = view(parameters);
                const auto r = view(reliabilities);
                const auto bits = view(u);
                const auto m = mutable_view(message);
                const auto c = mutable_view(codeword);
                {
                    py::gil_scoped_release release;
                    self.estimate(p, r, bits, passes, m, c);
                }
                return py::make_tuple(message, codeword);
            },
            py::arg("parameters"),
            py::arg("reliabilities"),
            py::arg("u"),
            py::arg("passes"),
            "Flips of messages (F, k) and codewords (F, n) as log P(flip) - log P(no "
            "flip), of "
            "reliabilities (F, n) and bits u (F, n) of which the frozen are read.")
        .def(
            "gradient",
            [](const net& self,
               const array<float>& parameters,
               const array<float>& reliabilities,
               const array<uint8_t>& u,
               const array<uint8_t>& flips,
               std::size_t passes,
               float codeword_weight,
               float early_weight) {
                array<float> gradient(self.parameters());
                const auto p = view(parameters);
                const auto r = view(reliabilities);
                const auto bits = view(u);
                const auto e = view(flips);
                const auto g = mutable_view(gradient);
                double loss;
                {
                    py::gil_scoped_release release;
                    loss = self.gradient(
                        p, r, bits, e, passes, codeword_weight, early_weight, g);
                }
                return py::make_tuple(loss, gradient);
            },
            py::arg("parameters"),
            py::arg("reliabilities"),
            py::arg("u"),
            py::arg("flips"),
            py::arg("passes"),
            py::arg("codeword_weight"),
            py::arg("early_weight"),
            "The loss and its gradient, float32 (parameters,).");
}

} // namespace gr::neuralfec

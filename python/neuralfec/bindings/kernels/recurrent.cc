/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/recurrent.h"

#include "arrays.h"

#include <array>

namespace gr::neuralfec {

void bind_recurrent(py::module& m)
{
    py::class_<recurrent_network>(m, "RecurrentNetwork")
        .def(py::init([](std::size_t inputs,
                         std::size_t hidden,
                         const std::vector<std::array<std::vector<float>, 4>>& directions,
                         const std::vector<float>& output_weight,
                         float output_bias) {
                 std::vector<recurrent_weights> weights;
                 for (const auto& [input, recurrent, input_bias, hidden_bias] :
                      directions)
                     weights.push_back({input, recurrent, input_bias, hidden_bias});
                 return recurrent_network(
                     inputs, hidden, std::move(weights), output_weight, output_bias);
             }),
             py::arg("inputs"),
             py::arg("hidden"),
             py::arg("directions"),
             py::arg("output_weight"),
             py::arg("output_bias"),
             "Bidirectional layers of gated recurrent units with one linear output.\n\n"
             "directions: for each layer forward, then backward: input weights, hidden "
             "weights, "
             "input biases, hidden biases, flattened, of torch.nn.GRU.")
        .def(
            "run",
            [](const recurrent_network& network, const array<float>& x) {
                if (x.ndim() != 3 || x.shape(2) != py::ssize_t(network.inputs()))
                    throw std::invalid_argument("expected sequences of shape (F, T, " +
                                                std::to_string(network.inputs()) + ")");
                array<float> y({x.shape(0), x.shape(1)});
                const auto in = view(x);
                const auto out = mutable_view(y);
                const std::size_t steps = x.shape(1);
                {
                    py::gil_scoped_release release;
                    network.run(in, steps, out);
                }
                return y;
            },
            py::arg("x"),
            "float32 (F, T, inputs) -> float32 (F, T).");
}

} // namespace gr::neuralfec

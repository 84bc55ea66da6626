/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/gated_recurrent.h"

#include "arrays.h"

#include <array>

namespace gr::neuralfec {

void bind_gated_recurrent(py::module& m)
{
    using network = gated_recurrent_network;
    py::class_<network>(m, "GatedRecurrentNetwork")
        .def(
            py::init([](const std::vector<std::array<array<float>, 4>>& cells,
                        const array<float>& output,
                        const array<float>& output_bias,
                        std::size_t steps) {
                if (cells.empty() || cells[0][0].ndim() != 2 || output.ndim() != 2)
                    throw std::invalid_argument(
                        "expected matrices of at least one layer and of the output");
                std::vector<network::cell> views;
                for (const auto& [input, hidden, input_bias, hidden_bias] : cells)
                    views.push_back(
                        {view(input), view(hidden), view(input_bias), view(hidden_bias)});
                return network(cells[0][0].shape(1),
                               output.shape(1),
                               views,
                               view(output),
                               view(output_bias),
                               steps);
            }),
            py::arg("cells"),
            py::arg("output"),
            py::arg("output_bias"),
            py::arg("steps"),
            "Stacked gated recurrent units that see the same input at each of "
            "`steps`.\n\n"
            "cells: (weight_ih, weight_hh, bias_ih, bias_hh) of each layer of a "
            "torch.nn.GRU.\n"
            "output, output_bias: (outputs, width) and (outputs), of the last state.")
        .def_property_readonly("inputs", &network::inputs)
        .def_property_readonly("outputs", &network::outputs)
        .def(
            "run",
            [](const network& self, const array<float>& x) {
                array<float> y({frames_of(x, self.inputs(), "inputs"), self.outputs()});
                const auto in = view(x);
                const auto out = mutable_view(y);
                {
                    py::gil_scoped_release release;
                    self.run(in, out);
                }
                return y;
            },
            py::arg("x"),
            "float32 (F, outputs) from float32 (F, inputs).");
}

} // namespace gr::neuralfec

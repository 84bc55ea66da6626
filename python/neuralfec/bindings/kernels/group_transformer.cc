/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/group_transformer.h"

#include "arrays.h"

namespace gr::neuralfec {

namespace {

activation activation_of(const std::string& name)
{
    if (name == "identity")
        return activation::identity;
    if (name == "relu")
        return activation::relu;
    if (name == "gelu")
        return activation::gelu;
    throw std::invalid_argument("expected an activation identity, relu or gelu, got " +
                                name);
}

} // namespace

void bind_group_transformer(py::module& m)
{
    py::class_<group_transformer>(
        m,
        "group_transformer",
        "A small transformer over the groups of a block, fused; the sizes are those of\n"
        "feedback.network.GroupTransformer, the parameters one float32 array: extract1,\n"
        "extract2, [extract3,] embed (weight, bias), positions; for each layer norm1, "
        "norm2,\n"
        "query, key, value, merge, expand, contract; norm; head. ValueError if the sizes "
        "and\n"
        "the number of parameters disagree.")
        .def(py::init([](std::size_t inputs,
                         std::size_t groups,
                         std::size_t features,
                         std::size_t width,
                         std::size_t hidden,
                         std::size_t layers,
                         const std::vector<std::size_t>& head,
                         const std::string& act,
                         const std::string& head_act,
                         bool variable_depth,
                         const array<float>& parameters) {
                 const group_transformer::shape shape{inputs,
                                                      groups,
                                                      features,
                                                      width,
                                                      hidden,
                                                      layers,
                                                      head,
                                                      activation_of(act),
                                                      activation_of(head_act),
                                                      variable_depth};
                 return group_transformer(shape, view(parameters));
             }),
             py::kw_only(),
             py::arg("inputs"),
             py::arg("groups"),
             py::arg("features"),
             py::arg("width"),
             py::arg("hidden"),
             py::arg("layers"),
             py::arg("head"),
             py::arg("activation"),
             py::arg("head_activation"),
             py::arg("variable_depth"),
             py::arg("parameters"))
        .def(
            "run",
            [](const group_transformer& net, const array<float>& inputs, bool deep) {
                const auto& s = net.sizes();
                if (inputs.ndim() != 3 ||
                    inputs.shape(1) != static_cast<py::ssize_t>(s.groups) ||
                    inputs.shape(2) != static_cast<py::ssize_t>(s.inputs))
                    throw std::invalid_argument(
                        "group_transformer: expected inputs of shape (blocks, " +
                        std::to_string(s.groups) + ", " + std::to_string(s.inputs) + ")");
                array<float> outputs({inputs.shape(0),
                                      inputs.shape(1),
                                      static_cast<py::ssize_t>(s.head.back())});
                const auto in = view(inputs);
                const auto out = mutable_view(outputs);
                {
                    py::gil_scoped_release release;
                    net.run(in, deep, out);
                }
                return outputs;
            },
            py::arg("inputs"),
            py::arg("deep"),
            "Outputs (blocks, groups, head[-1]) float32 of inputs (blocks, groups, "
            "inputs).")
        .def(
            "gradient",
            [](const group_transformer& net,
               const array<float>& inputs,
               bool deep,
               const array<float>& weights) {
                if (inputs.ndim() != 3)
                    throw std::invalid_argument(
                        "group_transformer: expected inputs (blocks, groups, inputs)");
                array<float> by_inputs(
                    {inputs.shape(0), inputs.shape(1), inputs.shape(2)});
                array<float> by_products(net.product_count());
                const auto in = view(inputs);
                const auto w = view(weights);
                const auto to_inputs = mutable_view(by_inputs);
                const auto to_products = mutable_view(by_products);
                {
                    py::gil_scoped_release release;
                    net.gradient(in, deep, w, to_inputs, to_products);
                }
                return py::make_tuple(by_inputs, by_products);
            },
            py::arg("inputs"),
            py::arg("deep"),
            py::arg("weights"),
            "Of the sum of weights times outputs: the gradient by the inputs, and that "
            "by\n"
            "the matrices multiplied, for parameter_gradient.")
        .def_property_readonly("product_count", &group_transformer::product_count)
        .def(
            "parameter_gradient",
            [](const group_transformer& net, const array<float>& product_gradient) {
                array<float> out(group_transformer::parameter_count(net.sizes()));
                net.parameter_gradient(view(product_gradient), mutable_view(out));
                return out;
            },
            py::arg("product_gradient"),
            "The gradient by the parameters, 0 for the positions, of one by the "
            "matrices\n"
            "multiplied.");
}

} // namespace gr::neuralfec

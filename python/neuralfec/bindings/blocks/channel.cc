/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <gnuradio/neuralfec/channel.h>
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace gr::neuralfec {

void bind_channel(py::module& m)
{
    py::class_<channel,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<channel>>(m, "channel")
        .def(py::init([](const std::string& model,
                         double noise_var,
                         uint64_t seed,
                         unsigned subcarriers,
                         double bandwidth) {
                 const auto known = model == "awgn"       ? channel::model::awgn
                                    : model == "rayleigh" ? channel::model::rayleigh
                                                          : channel::model::etu;
                 if (known == channel::model::etu && model != "etu")
                     throw std::invalid_argument(
                         "channel: expected model 'awgn', 'rayleigh' or 'etu', got '" +
                         model + "'");
                 return channel::make(
                     known, static_cast<float>(noise_var), seed, subcarriers, bandwidth);
             }),
             py::arg("model"),
             py::arg("noise_var") = 0.1,
             py::arg("seed") = 1,
             py::arg("subcarriers") = 81,
             py::arg("bandwidth") = 10e6,
             "Simulated channel: x in, y = h x + n and h out, E|h|^2 = 1.\n\n"
             "model: 'awgn' (h = 1), 'rayleigh' (independent from symbol to symbol) or "
             "'etu'\n"
             "(3GPP TS 36.101 B.2 as flat subcarriers, a realisation a frame).\n"
             "noise_var: N0, the variance of the complex noise n, both rails together.\n"
             "seed: the same seed gives the same channel.\n"
             "subcarriers, bandwidth: symbols of one realisation and their width in Hz "
             "(etu).\n"
             "ValueError for anything else.")
        .def("set_noise_var", &channel::set_noise_var, py::arg("noise_var"))
        .def("noise_var", &channel::noise_var);
}

} // namespace gr::neuralfec

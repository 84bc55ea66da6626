/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/burst_bcjr.h"

#include "arrays.h"

namespace gr::neuralfec {

namespace {

py::dict to_python(const noise_chain& chain)
{
    const auto states = py::ssize_t(chain.states());
    py::dict d;
    d["amplitude"] = chain.amplitude;
    d["variance"] = py::array_t<double>(states, chain.variance.data());
    d["start"] = py::array_t<double>(states, chain.start.data());
    d["step"] = py::array_t<double>({states, states}, chain.step.data());
    return d;
}

noise_chain from_python(const py::dict& d)
{
    const auto values = [&](const char* name) {
        const auto a = d[name].cast<array<double>>();
        return std::vector<double>(a.data(), a.data() + a.size());
    };
    return {d["amplitude"].cast<double>(),
            values("variance"),
            values("start"),
            values("step")};
}

} // namespace

void bind_burst_bcjr(py::module& m)
{
    using kernel = burst_bcjr_kernel;
    py::class_<kernel>(m, "BurstBcjr")
        .def(py::init([](const std::vector<int>& generators,
                         unsigned feedback,
                         std::size_t k,
                         const std::string& termination,
                         const std::vector<uint8_t>& puncture,
                         std::size_t noise_states) {
                 const convolutional_trellis trellis(generators, feedback);
                 return kernel(trellis,
                               {trellis, k, termination_from_name(termination), puncture},
                               noise_states);
             }),
             py::arg("generators"),
             py::arg("feedback"),
             py::arg("k"),
             py::arg("termination"),
             py::arg("puncture") = std::vector<uint8_t>{},
             py::arg("noise_states") = 2,
             "BCJR over the states of a convolutional code and of a chain of noise.\n\n"
             "A chain is a dict: amplitude; variance (S) of each state; start (S), "
             "probabilities before the first symbol; step (S, S), P(next | state).")
        .def_property_readonly("n", &kernel::n)
        .def_property_readonly("k", &kernel::k)
        .def(
            "guess",
            [](const kernel& self, const array<float>& values) {
                return to_python(self.guess(view(values)));
            },
            py::arg("values"),
            "The chain that learn() begins with.")
        .def(
            "improve",
            [](const kernel& self,
               const array<float>& values,
               const py::dict& chain,
               const py::dict& guess) {
                frames_of(values, self.n(), "values");
                return to_python(
                    self.improve(view(values), from_python(chain), from_python(guess)));
            },
            py::arg("values"),
            py::arg("chain"),
            py::arg("guess"),
            "The chain after one step of expectation maximisation.")
        .def(
            "learn",
            [](const kernel& self, const array<float>& values) {
                frames_of(values, self.n(), "values");
                const auto in = view(values);
                unsigned iterations = 0;
                noise_chain chain;
                {
                    py::gil_scoped_release release;
                    chain = self.learn(in, iterations);
                }
                return py::make_tuple(to_python(chain), iterations);
            },
            py::arg("values"),
            "The chain of frames (F, n), and the steps that it took to find it.")
        .def(
            "decode",
            [](const kernel& self, const array<float>& values, const py::dict& chain) {
                const auto noise = from_python(chain);
                return decode_frames<float>(
                    self, values, [&](span<const float> in, span<float> out) {
                        return self.decode(in, noise, out);
                    });
            },
            py::arg("values"),
            py::arg("chain"),
            "LLRs float32 (F, k) of the messages from values (F, n) over this chain, and "
            "the number of NaN and infinite values, which count as 0.");
}

} // namespace gr::neuralfec

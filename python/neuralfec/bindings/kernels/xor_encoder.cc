/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/xor_encoder.h"

#include "arrays.h"

#include <stdexcept>
#include <string>

namespace gr::neuralfec {

namespace {

std::vector<uint32_t> indices(const array<uint32_t>& a)
{
    return {a.data(), a.data() + a.size()};
}

} // namespace

void bind_xor_encoder(py::module& m)
{
    py::class_<xor_encoder>(m, "XorEncoder")
        .def(py::init([](std::size_t places,
                         const array<uint32_t>& message,
                         const array<uint32_t>& targets,
                         const array<uint32_t>& begins,
                         const array<uint32_t>& sources,
                         const array<uint32_t>& sent) {
                 return xor_encoder({places,
                                     indices(message),
                                     indices(targets),
                                     indices(begins),
                                     indices(sources),
                                     indices(sent)});
             }),
             py::arg("places"),
             py::arg("message"),
             py::arg("targets"),
             py::arg("begins"),
             py::arg("sources"),
             py::arg("sent"))
        .def(
            "encode",
            [](const xor_encoder& self, const array<uint8_t>& messages) {
                if (messages.ndim() != 2 || std::size_t(messages.shape(1)) != self.k())
                    throw std::invalid_argument("expected messages of shape (F, " +
                                                std::to_string(self.k()) + ")");
                array<uint8_t> codewords({std::size_t(messages.shape(0)), self.n()});
                const auto in = view(messages);
                const auto out = mutable_view(codewords);
                {
                    py::gil_scoped_release release;
                    self.encode(in, out);
                }
                return codewords;
            },
            py::arg("messages"),
            "Codewords uint8 (F, n) of messages uint8 (F, k); the lowest bit counts.");
}

} // namespace gr::neuralfec

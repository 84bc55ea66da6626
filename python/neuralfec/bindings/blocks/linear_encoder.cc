/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"

#include <gnuradio/neuralfec/linear_encoder.h>

namespace gr::neuralfec {

static std::vector<uint8_t> generator(const py::object& code)
{
    if (!py::hasattr(code, "generator"))
        throw not_a("a codes.LinearCode", code);
    return code.attr("generator").attr("ravel")().cast<std::vector<uint8_t>>();
}

void bind_linear_encoder(py::module& m)
{
    py::class_<linear_encoder,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<linear_encoder>>(m, "linear_encoder")
        .def(py::init([](const py::object& object) {
                 const py::object code = code_object(object);
                 const auto rows = generator(code);
                 return linear_encoder::make(code.attr("n").cast<unsigned>(), rows);
             }),
             py::arg("code"),
             "Encoder of binary linear block codes.\n\n"
             "k message bits, the lowest of each byte, a vector item in; n bits out.\n\n"
             "code: a codes.LinearCode, or its spec, for example 'wifi-648'.");
    m.def(
        "generic_linear_encoder",
        [](const py::object& object, unsigned codewords) {
            const py::object code = code_object(object);
            const auto rows = generator(code);
            return make_generic_linear_encoder(
                code.attr("n").cast<unsigned>(), rows, codewords);
        },
        py::arg("code"),
        py::arg("codewords") = 1,
        "linear_encoder as a fec.generic_encoder, for fec.extended_encoder and the "
        "others.\n\n"
        "codewords: how many make a frame of gr-fec's.");
}

} // namespace gr::neuralfec

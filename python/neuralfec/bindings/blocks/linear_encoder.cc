/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"

#include <gnuradio/neuralfec/linear_encoder.h>

namespace gr::neuralfec {

void bind_linear_encoder(py::module& m)
{
    py::class_<linear_encoder,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<linear_encoder>>(m, "linear_encoder")
        .def(py::init([](const py::object& code) {
                 return linear_encoder::make(code_from_python<encoding_program>(code));
             }),
             py::arg("code"),
             "Encoder of binary linear block codes.\n\n"
             "k message bits, the lowest of each byte, a vector item in; n bits out.\n\n"
             "code: a codes.LinearCode or one with rate matching, or its spec, for "
             "example\n'wifi-648' or 'nr-ldpc:64,128'.");
    m.def(
        "generic_linear_encoder",
        [](const py::object& code, unsigned codewords) {
            return make_generic_linear_encoder(code_from_python<encoding_program>(code),
                                               codewords);
        },
        py::arg("code"),
        py::arg("codewords") = 1,
        "linear_encoder as a fec.generic_encoder, for fec.extended_encoder and the "
        "others.\n\n"
        "codewords: how many make a frame of gr-fec's.");
}

} // namespace gr::neuralfec

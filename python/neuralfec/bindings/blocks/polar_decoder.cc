/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"

#include <gnuradio/neuralfec/polar_decoder.h>

namespace gr::neuralfec {

void bind_polar_decoder(py::module& m)
{
    bind_frame_decoder(
        m,
        "polar_decoder",
        &polar_decoder::make,
        &make_generic_polar_decoder,
        "Successive-cancellation (list) decoder of polar codes, frame by frame.\n\n"
        "n LLRs, log P(b=1) - log P(b=0), in; the k message bits out, and on a second\n"
        "output, where it is connected, 1 for a frame whose check bits hold, else 0.\n\n"
        "code: a polar code of the package codes, with rate matching or without, or its\n"
        "spec, for example 'polar-nr:64,32' or 'nr-polar:64,128'. The check bits of a "
        "CRC\n"
        "choose among the list's words.\n"
        "list_size: paths kept: 1 (successive cancellation), 2, 4, ... 256.\n"
        "exact: exact instead of min-sum check nodes; asks for true LLRs.\n"
        "ValueError for anything else.",
        py::arg("list_size") = 8,
        py::arg("exact") = false);
}

} // namespace gr::neuralfec

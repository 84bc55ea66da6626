/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"

#include <gnuradio/neuralfec/osd_decoder.h>

namespace gr::neuralfec {

void bind_osd_decoder(py::module& m)
{
    bind_frame_decoder(
        m,
        "osd_decoder",
        &osd_decoder::make,
        &make_generic_osd_decoder,
        "Ordered-statistics decoder of linear block codes, frame by frame.\n\n"
        "n LLRs, log P(b=1) - log P(b=0), in; the k message bits out.\n\n"
        "code: a codes.LinearCode, or its spec, for example 'bch:63,36'.\n"
        "order: how many of the most reliable positions are changed at most, 0 to 4.\n"
        "early: leave patterns out that are improbable to give the nearest word, for\n"
        "several times the speed; asks for true LLRs.\n"
        "ValueError for anything else.",
        py::arg("order") = 2,
        py::arg("early") = false);
}

} // namespace gr::neuralfec

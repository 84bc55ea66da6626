/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "constellation.h"

#include <gnuradio/neuralfec/mapper.h>

namespace gr::neuralfec {

void bind_mapper(py::module& m)
{
    py::class_<mapper,
               gr::sync_decimator,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<mapper>>(m, "mapper")
        .def(py::init([](const py::object& constellation) {
                 const modulation x(constellation);
                 return mapper::make(x.points, x.labels);
             }),
             py::arg("constellation"),
             "Mapper: K = log2(M) bits in, most significant first, one symbol out.\n\n"
             "Of each byte the lowest bit counts.\n"
             "constellation: a name ('qam256'), a Constellation or a "
             "digital.constellation.\n"
             "Stream tag packet_len, in bits, becomes the number of symbols.\n"
             "ValueError for anything else.")
        .def("stats",
             &mapper::stats,
             "symbols; bad_packets: packet_len tags that were no whole number of "
             "symbols.");
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What several blocks have in common.
 */
#include <gnuradio/block.h>
#include <gnuradio/block_detail.h>
#include <gnuradio/buffer_reader.h>
#include <gnuradio/neuralfec/counted_definition.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace gr::neuralfec {

void bind_common(py::module& m)
{
    const char* stats = "Counts: frames; bad_packets: packets of another length than the "
                        "code's, which gave no bits.";
    py::class_<counted_decoder, gr::fec::generic_decoder, counted_decoder::sptr>(
        m, "counted_decoder", "Decoder definition for gr-fec's deployments that counts.")
        .def("stats", &counted_decoder::stats, stats);
    py::class_<counted_encoder, gr::fec::generic_encoder, counted_encoder::sptr>(
        m, "counted_encoder", "Encoder definition for gr-fec's deployments that counts.")
        .def("stats", &counted_encoder::stats, stats);
    // GNU Radio binds a block's readers without their methods.
    m.def(
        "input_ended",
        [](gr::block& block, int port) {
            return block.detail() && block.detail()->input(port)->done();
        },
        py::arg("block"),
        py::arg("port") = 0,
        "Tell whether nothing more will be written to the input port of a running "
        "block.");
    m.def(
        "input_available",
        [](gr::block& block, int port) {
            return block.detail() ? block.detail()->input(port)->items_available() : 0;
        },
        py::arg("block"),
        py::arg("port") = 0,
        "Return the number of items that wait at the input port of a running block.");
}

} // namespace gr::neuralfec

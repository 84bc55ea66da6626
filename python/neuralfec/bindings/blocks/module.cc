/* SPDX-License-Identifier: GPL-3.0-or-later */
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <numpy/arrayobject.h>
#include <pybind11/pybind11.h>

#include <string>

namespace py = pybind11;

namespace gr::neuralfec {
void bind_common(py::module& m);
void bind_burst_receiver(py::module& m);
void bind_channel(py::module& m);
void bind_interleaver(py::module& m);
void bind_ldpc_decoder(py::module& m);
void bind_linear_encoder(py::module& m);
void bind_mapper(py::module& m);
void bind_soapy(py::module& m);
void bind_soft_demapper(py::module& m);
void bind_llr_quantizer(py::module& m);
void bind_polar_decoder(py::module& m);
void bind_osd_decoder(py::module& m);
void bind_viterbi_decoder(py::module& m);
} // namespace gr::neuralfec

// import_array() is a macro that returns from the function it stands in.
static void* init_numpy()
{
    import_array();
    return nullptr;
}

// The text of a class stands on what makes it; help() and documentation look at the
// class.
static void document_classes(py::module& m)
{
    for (auto [name, made] : m.attr("__dict__").cast<py::dict>()) {
        if (!PyType_Check(made.ptr()) || !made.attr("__doc__").is_none())
            continue;
        const auto text =
            py::str(made.attr("__init__").attr("__doc__")).cast<std::string>();
        // Behind the line with the signature.
        const auto begin = text.find(" -> None\n\n");
        if (begin != std::string::npos)
            made.attr("__doc__") = text.substr(begin + 10);
    }
}

PYBIND11_MODULE(neuralfec_python, m)
{
    using namespace gr::neuralfec;
    init_numpy();
    // The base classes of the blocks are registered there.
    py::module::import("gnuradio.gr");
    py::module::import("gnuradio.fec");
    m.doc() = "C++ blocks of gr-neuralfec.";
    bind_common(m);
    bind_burst_receiver(m);
    bind_channel(m);
    bind_interleaver(m);
    bind_ldpc_decoder(m);
    bind_linear_encoder(m);
    bind_mapper(m);
    bind_llr_quantizer(m);
    bind_polar_decoder(m);
    bind_soapy(m);
    bind_soft_demapper(m);
    bind_osd_decoder(m);
    bind_viterbi_decoder(m);
    document_classes(m);
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Blocks that decode a code's frames: what Python hands over as a code, and what all of
 * them have.
 */
#pragma once

#include <gnuradio/neuralfec/codes.h>
#include <gnuradio/neuralfec/counted_definition.h>
#include <gnuradio/sync_block.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace gr::neuralfec {

namespace py = pybind11;

//! A code of Python's package codes, or what its code() makes of a string.
inline py::object code_object(const py::object& code)
{
    if (!py::isinstance<py::str>(code))
        return code;
    return py::module::import("gnuradio.neuralfec.codes").attr("code")(code);
}

template <typename T>
T attribute(const py::object& code, const char* name)
{
    return code.attr(name).cast<T>();
}

inline std::invalid_argument not_a(const char* expected, const py::object& code)
{
    return std::invalid_argument(std::string("expected ") + expected + ", got " +
                                 py::repr(code).cast<std::string>());
}

inline void from_python(const py::object& code, parity_check_code& out)
{
    if (py::hasattr(code, "mother")) {
        if (attribute<std::vector<uint32_t>>(code, "shortened").size() != 0)
            throw not_a("a code without known bits", code);
        from_python(py::object(code.attr("mother")), out);
        out.sent = attribute<std::vector<uint32_t>>(code, "sent");
        return;
    }
    if (!py::hasattr(code, "edges") || !attribute<bool>(code, "systematic"))
        throw not_a("a systematic codes.LinearCode", code);
    auto edges = attribute<std::pair<py::object, py::object>>(code, "edges");
    out = {attribute<uint32_t>(code, "n"),
           edges.first.cast<std::vector<uint32_t>>(),
           edges.second.cast<std::vector<uint32_t>>(),
           attribute<std::vector<uint32_t>>(code, "information_set")};
}

inline void from_python(const py::object& code, linear_code& out)
{
    // The matrices of a long code are not made only to be refused.
    if (!py::hasattr(code, "information_set") || attribute<std::size_t>(code, "k") > 1024)
        throw not_a("a codes.LinearCode of at most 1024 message bits", code);
    auto flat = [&](const char* matrix) {
        return code.attr(matrix).attr("ravel")().cast<std::vector<uint8_t>>();
    };
    out = {attribute<std::size_t>(code, "k"), flat("generator"), flat("pseudo_inverse")};
}

inline void from_python(const py::object& code, encoding_program& out)
{
    if (!py::hasattr(code, "encoding_program"))
        throw not_a("a codes.LinearCode", code);
    const py::object program = code.attr("encoding_program")();
    auto numbers = [&](const char* name) {
        return attribute<std::vector<uint32_t>>(program, name);
    };
    out = {attribute<std::size_t>(program, "places"),
           numbers("message"),
           numbers("targets"),
           numbers("begins"),
           numbers("sources"),
           numbers("sent")};
}

inline void from_python(const py::object& code, polar_code& out)
{
    if (py::hasattr(code, "mother")) {
        from_python(py::object(code.attr("mother")), out);
        out.sent = attribute<std::vector<uint32_t>>(code, "sent");
        out.shortened = attribute<std::vector<uint32_t>>(code, "shortened");
        return;
    }
    if (!py::hasattr(code, "unfrozen"))
        throw not_a("a polar code", code);
    out = {attribute<std::size_t>(code, "n"),
           attribute<std::vector<uint32_t>>(code, "unfrozen"),
           attribute<unsigned>(code, "crc_degree"),
           attribute<uint32_t>(code, "crc_polynomial"),
           attribute<std::vector<uint32_t>>(code, "order")};
}

inline void from_python(const py::object& code, convolutional_code& out)
{
    if (!py::hasattr(code, "generators"))
        throw not_a("a convolutional code", code);
    const py::object feedback = code.attr("feedback");
    out = {attribute<std::vector<int>>(code, "generators"),
           feedback.is_none() ? 0 : feedback.cast<unsigned>(),
           attribute<std::vector<uint8_t>>(code, "puncture"),
           attribute<std::size_t>(code, "k"),
           attribute<std::string>(code, "termination")};
}

template <typename Code>
Code code_from_python(const py::object& code)
{
    Code out;
    from_python(code_object(code), out);
    return out;
}

//! The block, made of a code and of options, with its stats().
template <typename Block, typename Code, typename... Options, typename... Arguments>
auto bind_decoder(py::module& m,
                  const char* name,
                  std::shared_ptr<Block> (*make)(const Code&, Options...),
                  const char* doc,
                  const Arguments&... arguments)
{
    py::class_<Block, gr::sync_block, gr::block, gr::basic_block, std::shared_ptr<Block>>
        block(m, name);
    block
        .def(py::init([make](const py::object& code, Options... options) {
                 return make(code_from_python<Code>(code),
                             std::forward<Options>(options)...);
             }),
             py::arg("code"),
             arguments...,
             doc)
        .def("stats",
             &Block::stats,
             "Totals: frames, and bad_samples, LLRs that were NaN and "
             "counted as 0.");
    return block;
}

//! The block, and generic_NAME, its decoder for gr-fec's deployments.
template <typename Block,
          typename Code,
          typename... Options,
          typename... AllOptions,
          typename... Arguments>
auto bind_frame_decoder(py::module& m,
                        const std::string& name,
                        std::shared_ptr<Block> (*make)(const Code&, Options...),
                        counted_decoder::sptr (*make_generic)(const Code&, AllOptions...),
                        const char* doc,
                        const Arguments&... arguments)
{
    m.def(("generic_" + name).c_str(),
          [make_generic](const py::object& code, AllOptions... options) {
              return make_generic(code_from_python<Code>(code),
                                  std::forward<AllOptions>(options)...);
          },
          py::arg("code"),
          arguments...,
          py::arg("codewords") = 1,
          (name +
           " as a fec.generic_decoder, for fec.extended_decoder and the others.\n\n"
           "codewords: how many make a frame of gr-fec's. Those of a frame are decoded\n"
           "together, which is faster where they share SIMD lanes.")
              .c_str());
    return bind_decoder(m, name.c_str(), make, doc, arguments...);
}

} // namespace gr::neuralfec

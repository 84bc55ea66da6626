/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/polar.h"

#include "arrays.h"

namespace gr::neuralfec {

namespace {

//! Messages of LLRs, one number more of each frame, and how many LLRs were NaN.
template <typename Told, typename Decoder>
py::tuple decode_and_tell(const Decoder& decoder, const array<float>& llrs)
{
    array<Told> told(frames_of(llrs, decoder.n(), "LLRs"));
    const auto out_told = mutable_view(told);
    auto [messages, not_a_number] = decode_frames<uint8_t>(
        decoder, llrs, [&](span<const float> in, span<uint8_t> out) {
            return decoder.decode(in, out, out_told);
        });
    return py::make_tuple(std::move(messages), std::move(told), not_a_number);
}

} // namespace

void bind_polar(py::module& m)
{
    py::class_<successive_cancellation>(m, "SuccessiveCancellation")
        .def(py::init<std::size_t,
                      const std::vector<uint32_t>&,
                      std::size_t,
                      bool,
                      unsigned,
                      uint32_t,
                      const std::vector<uint32_t>&>(),
             py::arg("n"),
             py::arg("information_set"),
             py::arg("list_size") = 1,
             py::arg("exact") = false,
             py::arg("crc_degree") = 0,
             py::arg("crc_polynomial") = 0,
             py::arg("order") = std::vector<uint32_t>())
        .def_property_readonly("n", &successive_cancellation::n)
        .def_property_readonly("k", &successive_cancellation::k)
        .def(
            "decode",
            [](const successive_cancellation& decoder, const array<float>& llrs) {
                return decode_and_tell<uint8_t>(decoder, llrs);
            },
            py::arg("llrs"),
            "Messages uint8 (F, k) of LLRs float32 (F, n); uint8 (F,), 1 where the check "
            "bits hold; and the number of NaN, which count as 0.");

    py::class_<automorphism_ensemble>(m, "AutomorphismEnsemble")
        .def(py::init<std::size_t,
                      const std::vector<uint32_t>&,
                      const std::vector<uint32_t>&,
                      std::size_t>(),
             py::arg("n"),
             py::arg("information_set"),
             py::arg("permutations"),
             py::arg("agreement"))
        .def_property_readonly("n", &automorphism_ensemble::n)
        .def_property_readonly("k", &automorphism_ensemble::k)
        .def(
            "decode",
            [](const automorphism_ensemble& ensemble, const array<float>& llrs) {
                return decode_and_tell<uint32_t>(ensemble, llrs);
            },
            py::arg("llrs"),
            "Messages uint8 (F, k) of LLRs float32 (F, n); uint32 (F,), how many "
            "decodings "
            "each took; and the number of NaN, which count as 0.");
}

} // namespace gr::neuralfec

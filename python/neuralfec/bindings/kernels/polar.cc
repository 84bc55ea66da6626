/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/polar.h"

#include "arrays.h"

namespace gr::neuralfec {

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
                array<uint8_t> verdicts(frames_of(llrs, decoder.n(), "LLRs"));
                const auto holds = mutable_view(verdicts);
                auto [messages, not_a_number] = decode_frames<uint8_t>(
                    decoder, llrs, [&](span<const float> in, span<uint8_t> out) {
                        return decoder.decode(in, out, holds);
                    });
                return py::make_tuple(
                    std::move(messages), std::move(verdicts), not_a_number);
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
                array<uint32_t> decodings(frames_of(llrs, ensemble.n(), "LLRs"));
                const auto taken = mutable_view(decodings);
                auto [messages, not_a_number] = decode_frames<uint8_t>(
                    ensemble, llrs, [&](span<const float> in, span<uint8_t> out) {
                        return ensemble.decode(in, out, taken);
                    });
                return py::make_tuple(
                    std::move(messages), std::move(decodings), not_a_number);
            },
            py::arg("llrs"),
            "Messages uint8 (F, k) of LLRs float32 (F, n); uint32 (F,), how many "
            "decodings "
            "each took; and the number of NaN, which count as 0.");
}

} // namespace gr::neuralfec

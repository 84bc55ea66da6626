/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/arithmetic_code.h"

#include "arrays.h"

namespace gr::neuralfec {

void bind_arithmetic_code(py::module& m)
{
    m.def(
        "arithmetic_encode",
        [](const array<uint8_t>& numbers,
           std::size_t bits,
           const array<uint8_t>& contexts) {
            const auto in = view(numbers);
            const auto known = view(contexts);
            std::vector<uint8_t> code;
            {
                py::gil_scoped_release release;
                code = arithmetic_encode(in, bits, known);
            }
            return py::bytes(reinterpret_cast<const char*>(code.data()), code.size());
        },
        py::arg("numbers"),
        py::arg("bits"),
        py::arg("contexts"),
        "Bytes of numbers uint8 below 2^bits; contexts uint8, one a number or none.");
    m.def(
        "arithmetic_decode",
        [](const array<uint8_t>& code,
           std::size_t bits,
           std::size_t count,
           const array<uint8_t>& contexts) {
            array<uint8_t> numbers(count);
            const auto in = view(code);
            const auto out = mutable_view(numbers);
            const auto known = view(contexts);
            {
                py::gil_scoped_release release;
                arithmetic_decode(in, bits, out, known);
            }
            return numbers;
        },
        py::arg("code"),
        py::arg("bits"),
        py::arg("count"),
        py::arg("contexts"),
        "So many numbers, uint8, of bytes that arithmetic_encode made.");
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * NumPy arrays in and out of kernels.
 */
#pragma once

#include "kernels/span.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace gr::neuralfec {

namespace py = pybind11;

//! A C-contiguous array of T; other layouts and types are converted on the way in.
template <typename T>
using array = py::array_t<T, py::array::c_style | py::array::forcecast>;

template <typename T>
span<const T> view(const array<T>& a)
{
    return {a.data(), static_cast<std::size_t>(a.size())};
}

template <typename T>
span<T> mutable_view(array<T>& a)
{
    return {a.mutable_data(), static_cast<std::size_t>(a.size())};
}

//! The number of frames of `length` values; std::invalid_argument for another shape.
template <typename T>
std::size_t frames_of(const array<T>& a, std::size_t length, const char* what)
{
    if (a.ndim() != 2 || a.shape(1) != py::ssize_t(length))
        throw std::invalid_argument(
            std::string("expected ") + what + " of shape (F, " + std::to_string(length) +
            "), got " + py::str(a.attr("shape")).template cast<std::string>());
    return a.shape(0);
}

/*!
 * Results (F, k) of decode(llrs, results) for LLRs (F, n), and what it returns: how many
 * LLRs were NaN.
 */
template <typename Out, typename Kernel, typename Decode>
std::pair<array<Out>, std::size_t>
decode_frames(const Kernel& kernel, const array<float>& llrs, Decode decode)
{
    array<Out> decided({frames_of(llrs, kernel.n(), "LLRs"), kernel.k()});
    const auto in = view(llrs);
    const auto out = mutable_view(decided);
    std::size_t not_a_number;
    {
        py::gil_scoped_release release;
        not_a_number = decode(in, out);
    }
    return {decided, not_a_number};
}

template <typename Kernel, typename Out>
std::pair<array<Out>, std::size_t> decode_frames(const Kernel& kernel,
                                                 const array<float>& llrs)
{
    return decode_frames<Out>(kernel, llrs, [&](span<const float> in, span<Out> out) {
        return kernel.decode(in, out);
    });
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * NumPy arrays in and out of kernels.
 */
#pragma once

#include "kernels/span.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

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

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Which SIMD instructions the kernels use. Every kernel is compiled for all targets of
 * Google Highway and chooses at run time; tests and comparisons across machines can
 * hold it to one of them, here or by the environment variable NEURALFEC_SIMD.
 */
#pragma once

#include <string>
#include <vector>

namespace gr::neuralfec {

/*! Names of the targets that this processor runs, best first ("AVX3", "AVX2", ...). */
std::vector<std::string> simd_targets();

/*! The target that kernels use now. */
std::string simd_target();

/*!
 * Holds all kernels of this process to one target; an empty name gives the choice back.
 * \throws std::invalid_argument if this processor does not have it.
 */
void set_simd_target(const std::string& name);

} // namespace gr::neuralfec

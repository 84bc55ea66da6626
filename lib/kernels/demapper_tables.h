/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "kernels/demapper.h"

#include <array>
#include <cmath>
#include <complex>
#include <vector>

namespace gr::neuralfec {

// Received values beyond it are taken one by one, in double precision.
constexpr float most_outside = 1e6f;

// Points (re, im) or the levels of one rail (re only), in the order of their labels,
// which are made of the bits that stand at these positions of the symbol's label.
struct label_set {
    std::vector<float> re, im;
    std::vector<std::size_t> positions;
};

// m = 2^k levels, center + spacing (l - (m-1)/2), whose bit r is bit r of the Gray label
// l xor (l >> 1), inverted or not.
struct gray_rail {
    double center = 0, inverse_spacing = 1;
    float square_spacing = 1;
    std::size_t bits = 0;
    std::array<std::size_t, 6> positions{};
    std::array<bool, 6> inverted{};
};

struct demapper_tables {
    std::size_t bits_per_symbol = 0;
    bool exact = true;
    std::size_t interferers = 0;
    std::vector<std::complex<float>> points; // by label
    std::vector<std::complex<float>> interferer_points;
    std::vector<label_set> sets; // one of points, or two of rails
    bool folds = false, fine = false;
    gray_rail rails[2];
    // Received values above it lose what the metrics are made of, or are far outside,
    // where metrics are linear.
    float limit = most_outside;
    bool linear_outside = false;
};

struct demapper_input {
    const std::complex<float>* y;
    const float* noise_var;
    bool noise_var_per_symbol;
    const std::complex<float>* h; // or nullptr
    const std::complex<float>* const* interferers;
    std::size_t size;
};

// One symbol by the definition in double precision, which holds the square of any float.
// Returns whether y, h and all h_i are finite.
bool demap_one(const demapper_tables& t,
               const demapper_input& in,
               std::size_t i,
               float* llrs);

inline bool finite(std::complex<float> x)
{
    return std::isfinite(x.real()) && std::isfinite(x.imag());
}

} // namespace gr::neuralfec

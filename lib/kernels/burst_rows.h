/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the parts of the burst demodulator work on.
 */
#pragma once

#include "kernels/burst_demodulate.h"

#include <cmath>
#include <complex>
#include <vector>

namespace gr::neuralfec::burst_parts {

using complex = std::complex<float>;
using wide = std::complex<double>;

constexpr std::size_t training_rows = 2;
constexpr std::size_t header_bits = 256;
// Standard deviation of clocks, before the pilots are looked at.
constexpr double usual_clock_offset = 40e-6;
// Of a vector, at most.
constexpr std::size_t lanes = 16;

inline complex times(complex a, complex b)
{
    return {a.real() * b.real() - a.imag() * b.imag(),
            a.real() * b.imag() + a.imag() * b.real()};
}

inline complex times_conjugate(complex a, complex b)
{
    return {a.real() * b.real() + a.imag() * b.imag(),
            a.imag() * b.real() - a.real() * b.imag()};
}

inline wide product(wide a, wide b)
{
    return {a.real() * b.real() - a.imag() * b.imag(),
            a.real() * b.imag() + a.imag() * b.real()};
}

inline float norm(complex a)
{
    return a.real() * a.real() + a.imag() * a.imag();
}

inline complex phasor(double angle)
{
    return {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
}

} // namespace gr::neuralfec::burst_parts

namespace gr::neuralfec {

/*!
 * The FFTs of a burst, what is known of them, and the estimates. A known value X at
 * (m, k) is kept as v = Y conj X and w = |X|^2.
 */
struct burst_demodulator::rows {
    std::size_t used = 0, count = 0;
    //! Y, row by row, real and imaginary.
    std::vector<float> re, im;
    //! T_m in samples.
    std::vector<double> time;
    //! Where a row's known values begin; one more than rows.
    std::vector<std::size_t> begin;
    //! Of the known values: used subcarrier, its number, T by the last row's, X.
    std::vector<uint16_t> index;
    std::vector<float> k, t, v_re, v_im, w;
    std::vector<std::complex<float>> x;
    //! exp(-j phase) v, the phase in turns, the channel there, residual energies.
    std::vector<float> u_re, u_im, turn, g_re, g_im, residual;
    double a = 0;               // radians a sample
    double b = 0;               // radians a sample and subcarrier
    std::vector<double> common; // c_m
    std::vector<float> shrink;  // how much of its own pilots' noise a common phase has
    std::vector<float> h_re, h_im, var;
    double noise = 0, freedom = 0;
    //! Levinson's predictors of the normal equations, all orders, and their errors.
    std::vector<std::complex<double>> predictors, lags;
    std::vector<double> errors;
    double prior = 0;

    //! Sums of u and w over the values of the first rows, by used subcarrier.
    void sum_known(std::size_t to,
                   std::vector<float>& sum_re,
                   std::vector<float>& sum_im,
                   std::vector<float>& weight) const
    {
        for (auto* all : {&sum_re, &sum_im, &weight})
            all->assign(used, 0.0f);
        for (std::size_t o = 0; o < begin[to]; o++) {
            const std::size_t i = index[o];
            sum_re[i] += u_re[o];
            sum_im[i] += u_im[o];
            weight[i] += w[o];
        }
    }

    //! Whole vectors of values up to a row.
    std::size_t upto(std::size_t row) const
    {
        return (begin[row] + burst_parts::lanes - 1) / burst_parts::lanes *
               burst_parts::lanes;
    }
};

} // namespace gr::neuralfec

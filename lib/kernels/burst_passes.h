/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Passes over a burst's samples and values, by the widest vectors of the machine.
 */
#pragma once

#include <complex>
#include <cstddef>

namespace gr::neuralfec::burst_passes {

/*!
 * One FFT's samples: DC and image taken off, turned by the carrier offset; interleaved
 * floats. numbers: DC, image, real and imaginary each.
 */
void turn_samples(const float* r,
                  const float* turn_re,
                  const float* turn_im,
                  const float* numbers,
                  std::size_t size,
                  float* out);

//! Consecutive bins, interleaved, times a number, to real and imaginary ones; what is
//! behind `size` may change, up to a vector's lanes.
void take_bins(const float* bins,
               float factor_re,
               float factor_im,
               std::size_t size,
               float* re,
               float* im);

//! u = v exp(-2 pi j turn); arrays are whole vectors of 16 long.
void turn_values(const float* v_re,
                 const float* v_im,
                 const float* turn,
                 std::size_t size,
                 float* u_re,
                 float* u_im);

/*!
 * Sums of a Gauss-Newton step: of g, g t, g t^2, g k t, g k t^2, g k^2 t^2 with
 * g = w |h|^2, and of e, e t, e k t with e = Im(u conj h). At most some thousand values.
 */
void step_sums(const float* u_re,
               const float* u_im,
               const float* h_re,
               const float* h_im,
               const float* w,
               const float* k,
               const float* t,
               std::size_t size,
               float* sums);

//! Energies |u - w h|^2 / w of residuals, to out; their sum. At most some thousand.
float residuals(const float* u_re,
                const float* u_im,
                const float* h_re,
                const float* h_im,
                const float* w,
                std::size_t size,
                float* out);

//! out_l = sum_i conj(t_li) v_i, with t in rows of l.
void correlate(const float* turn_re,
               const float* turn_im,
               const float* re,
               const float* im,
               std::size_t taps,
               std::size_t size,
               std::complex<double>* out);

//! out_i = sum_l t_li h_l, with t in rows of l.
void combine(const float* turn_re,
             const float* turn_im,
             const float* h_re,
             const float* h_im,
             std::size_t taps,
             std::size_t size,
             float* re,
             float* im);

//! Sums of r, r^2 and |r|^2: 5 floats, over at most some thousand samples.
void moments(const float* r, std::size_t size, float* sums);

} // namespace gr::neuralfec::burst_passes

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Soft demapper: log-likelihood ratios of the bits of received symbols.
 */
#pragma once

#include "kernels/span.h"

#include <complex>
#include <cstdint>
#include <memory>
#include <vector>

namespace gr::neuralfec {

struct demapper_tables;

/*!
 * LLRs of y = h x + sum_i h_i z_i + n, with x from a constellation of M = 2^K points, n
 * complex Gaussian of variance N0 (both rails together), and I = 0, 1 or 2 interferers
 * z_i that are uniform over a constellation of their own; h and all h_i are known:
 *
 *     L_k = log  sum_{x: b_k=1} sum_z exp(-|y - h x - sum_i h_i z_i|^2 / N0)
 *         - log  sum_{x: b_k=0} sum_z exp(-|y - h x - sum_i h_i z_i|^2 / N0)
 *
 * (Arvinte, Vishwanath, Tewfik, "Deep log-likelihood ratio quantization", equation 3);
 * max_log replaces both sums of exponentials by their largest term. L > 0 means bit 1.
 *
 * LLRs are within 1e-4 relative + 1e-4 absolute (and, for symbols y far outside the
 * constellation, 4e-6 |y| / N0) of the definition and finite for all
 * finite input. Where each bit depends on one rail, rails are demapped on their own, and
 * evenly spaced rails with a Gray label (any bits inverted or in another order: the
 * common square QAM) by folding, without a search.
 */
class demapper
{
public:
    using complex = std::complex<float>;
    enum class method { exact, max_log };

    /*!
     * \param points M = 2^K finite, distinct points, 2 to 4096
     * \param labels each of 0 .. M - 1 once; labels[i] belongs to points[i], the most
     *        significant of its K bits is the first LLR
     * \param m exact or max_log
     * \param interferers I, 0 to 2
     * \param interferer_points the constellation of all z_i, 1 to 4096 finite points;
     * empty exactly if I = 0 \throws std::invalid_argument if the arguments are not so
     */
    demapper(span<const complex> points,
             span<const uint32_t> labels,
             method m,
             std::size_t interferers = 0,
             span<const complex> interferer_points = {});

    //! K
    std::size_t bits_per_symbol() const;
    //! I
    std::size_t interferers() const;
    //! Whether the constellation is demapped by folding its Gray rails.
    bool folds() const;

    /*!
     * \param symbols y, n of them
     * \param noise_var N0, 1 or n values, finite and positive
     * \param csi h, none (h = 1) or n values
     * \param interferer_csi I pointers to n values of h_i each
     * \param llrs out: n K values, symbol by symbol
     * \returns how many symbols had a NaN or Inf in y, h or h_i; their LLRs are 0
     * ("nothing known"), as they are where h = 0 \throws std::invalid_argument if a size
     * or a noise variance is not so
     */
    std::size_t demap(span<const complex> symbols,
                      span<const float> noise_var,
                      span<const complex> csi,
                      span<const complex* const> interferer_csi,
                      span<float> llrs) const;

    std::size_t demap(span<const complex> symbols,
                      span<const float> noise_var,
                      span<const complex> csi,
                      span<float> llrs) const
    {
        return demap(symbols, noise_var, csi, {}, llrs);
    }

private:
    std::shared_ptr<const demapper_tables> d_tables;
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/sync_interpolator.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace gr::neuralfec {

/*!
 * \brief Soft demapper: complex symbols in, K = log2(M) LLRs a symbol out.
 * \ingroup neuralfec
 *
 * y = h x + sum_i h_i z_i + n, with x one of M points, n complex Gaussian of variance N0
 * (both rails together) and z_i known interferers' symbols, uniform over their points:
 *
 *     L_k = log  sum_{x: b_k=1} sum_z exp(-|y - h x - sum_i h_i z_i|^2 / N0)
 *         - log  sum_{x: b_k=0} sum_z exp(-|y - h x - sum_i h_i z_i|^2 / N0)
 *
 * or, with max-log, the largest terms in place of the sums. Positive means bit 1; the
 * most significant bit of a label comes first. Inputs: y; with csi, h; then h_1, h_2 of
 * the interferers.
 *
 * N0 is set by set_noise_var(), by a number on the message port "noise_var" (alone, as
 * the cdr of a pair or under "noise_var" in a dictionary), and by stream tags "noise_var"
 * on y, which hold from their very symbol on. One that is not finite and positive is
 * counted and leaves N0 as it is.
 *
 * Stream tags go to the first LLR of their symbol; packet_len becomes the number of LLRs,
 * and is an error, counted, where it is no number of symbols.
 *
 * Symbols with a NaN or Inf, or with h = 0, give LLRs of 0; the former are counted.
 */
class NEURALFEC_API soft_demapper : virtual public gr::sync_interpolator
{
public:
    using sptr = std::shared_ptr<soft_demapper>;

    /*!
     * \param points M = 2, 4, 8, ... 4096 finite, distinct points
     * \param labels each of 0 .. M - 1 once; labels[i] belongs to points[i]
     * \param noise_var N0 > 0
     * \param exact log-sum-exp; else max-log
     * \param csi whether h comes on the second input; else h = 1
     * \param interferers I = 0, 1 or 2, whose gains h_i come on I more inputs
     * \param interferer_points the points of all z_i
     * \throws std::invalid_argument where the arguments are not so
     */
    static sptr make(const std::vector<gr_complex>& points,
                     const std::vector<uint32_t>& labels,
                     float noise_var = 1.0f,
                     bool exact = true,
                     bool csi = false,
                     unsigned interferers = 0,
                     const std::vector<gr_complex>& interferer_points = {});

    //! \throws std::invalid_argument where N0 is not finite and positive
    virtual void set_noise_var(float noise_var) = 0;
    virtual float noise_var() const = 0;

    //! symbols; bad_symbols: those with a NaN or Inf; bad_noise_vars: refused tags,
    //! messages; bad_packets: packet_len tags that were no number of symbols
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

} // namespace gr::neuralfec

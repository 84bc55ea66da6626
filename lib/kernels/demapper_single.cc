/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * One symbol by the definition, in double precision.
 */
#include "kernels/demapper_tables.h"

#include <algorithm>
#include <limits>

namespace gr::neuralfec {

bool demap_one(const demapper_tables& t,
               const demapper_input& in,
               std::size_t i,
               float* llrs)
{
    using complex = std::complex<double>;
    const std::size_t k = t.bits_per_symbol;
    std::fill_n(llrs, k, 0.0f);
    bool known = finite(in.y[i]) && (!in.h || finite(in.h[i]));
    for (std::size_t n = 0; n < t.interferers; n++)
        known = known && finite(in.interferers[n][i]);
    if (!known)
        return false;
    const complex y = in.y[i];
    const complex h = in.h ? complex(in.h[i]) : complex(1);
    if (h == 0.0)
        return true;
    const double noise_var = in.noise_var[in.noise_var_per_symbol ? i : 0];
    const std::size_t order = t.interferer_points.size();
    const std::size_t hypotheses = t.interferers == 0   ? 1
                                   : t.interferers == 1 ? order
                                                        : order * order;

    const double none = -std::numeric_limits<double>::infinity();
    std::vector<double> peak(2 * k, none), sum(2 * k, 0.0);
    for (std::size_t z = 0; z < hypotheses; z++) {
        complex interference = 0;
        for (std::size_t n = 0, rest = z; n < t.interferers; n++, rest /= order)
            interference += complex(in.interferers[n][i]) *
                            complex(t.interferer_points[rest % order]);
        for (std::size_t l = 0; l < t.points.size(); l++) {
            // |y|^2 is left out: of a far outlier it would bury the rest.
            const complex s = h * complex(t.points[l]) + interference;
            const double metric =
                (2 * (std::conj(s) * y).real() - std::norm(s)) / noise_var;
            for (std::size_t b = 0; b < k; b++) {
                const std::size_t c = 2 * b + (l >> (k - 1 - b) & 1);
                if (metric > peak[c]) {
                    sum[c] = sum[c] * std::exp(peak[c] - metric) + 1;
                    peak[c] = metric;
                } else {
                    sum[c] += std::exp(metric - peak[c]);
                }
            }
        }
    }
    constexpr double most = std::numeric_limits<float>::max();
    for (std::size_t b = 0; b < k; b++) {
        double llr = peak[2 * b + 1] - peak[2 * b];
        if (t.exact)
            llr += std::log(sum[2 * b + 1] / sum[2 * b]);
        llrs[b] = static_cast<float>(std::clamp(llr, -most, most));
    }
    return true;
}

} // namespace gr::neuralfec

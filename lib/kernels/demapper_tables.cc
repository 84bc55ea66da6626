/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Finds out of a constellation how it can be demapped: as two rails, by folding, or as it
 * is.
 */
#include "kernels/demapper_tables.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace gr::neuralfec {

namespace {

std::string text(std::size_t n)
{
    return std::to_string(n);
}

std::vector<float> levels(const std::vector<std::complex<float>>& points,
                          float (*part)(const std::complex<float>&))
{
    std::vector<float> values;
    for (const auto& p : points)
        values.push_back(part(p));
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values;
}

float real(const std::complex<float>& x)
{
    return x.real();
}
float imag(const std::complex<float>& x)
{
    return x.imag();
}

// Two sets of levels, if the points are all pairs of them and each bit depends on one.
std::vector<label_set> find_rails(const std::vector<std::complex<float>>& by_label,
                                  std::size_t k)
{
    const std::vector<float> values[2] = {levels(by_label, real), levels(by_label, imag)};
    if (values[0].size() * values[1].size() != by_label.size())
        return {};
    // Which bits of the label change along each rail, and the level of each value of
    // them.
    std::vector<label_set> rails(2);
    for (int r : {0, 1}) {
        const auto part = r ? imag : real;
        const auto other = r ? real : imag;
        std::size_t varying = 0;
        for (std::size_t l = 0; l < by_label.size(); l++)
            if (other(by_label[l]) == other(by_label[0]))
                varying |= l;
        std::vector<std::size_t> positions;
        for (std::size_t b = 0; b < k; b++)
            if (varying >> (k - 1 - b) & 1)
                positions.push_back(b);
        if (std::size_t{1} << positions.size() != values[r].size())
            return {};
        rails[r].positions = positions;
        rails[r].re.assign(values[r].size(), std::numeric_limits<float>::quiet_NaN());
        for (std::size_t l = 0; l < by_label.size(); l++) {
            std::size_t label = 0;
            for (std::size_t b : positions)
                label = label << 1 | (l >> (k - 1 - b) & 1);
            auto& level = rails[r].re[label];
            if (std::isnan(level))
                level = part(by_label[l]);
            else if (level != part(by_label[l]))
                return {};
        }
    }
    return rails;
}

bool find_gray(const label_set& set, gray_rail& rail)
{
    const std::size_t m = set.re.size(), k = set.positions.size();
    if (k > rail.positions.size())
        return false;
    std::vector<std::size_t> by_level(m); // labels from the lowest level up
    std::iota(by_level.begin(), by_level.end(), 0);
    std::sort(by_level.begin(), by_level.end(), [&](std::size_t a, std::size_t b) {
        return set.re[a] < set.re[b];
    });
    const double low = set.re[by_level.front()], high = set.re[by_level.back()];
    const double spacing = m > 1 ? (high - low) / (m - 1) : 1.0;
    for (std::size_t l = 0; l < m; l++)
        if (std::abs(set.re[by_level[l]] - (low + spacing * l)) > 1e-6 * spacing * m)
            return false;
    rail.bits = k;
    rail.inverse_spacing = 1 / spacing;
    rail.square_spacing = static_cast<float>(spacing * spacing);
    rail.center = (low + high) / 2;
    for (std::size_t r = 0; r < k; r++) {
        bool found = false;
        for (std::size_t b = 0; b < k && !found; b++) {
            std::size_t differing = 0;
            for (std::size_t l = 0; l < m; l++)
                differing +=
                    ((l ^ l >> 1) >> (k - 1 - r) & 1) != (by_level[l] >> (k - 1 - b) & 1);
            if (differing == 0 || differing == m) {
                found = true;
                rail.positions[r] = set.positions[b];
                rail.inverted[r] = differing == m;
            }
        }
        if (!found)
            return false;
    }
    return true;
}

} // namespace

demapper::demapper(span<const complex> points,
                   span<const uint32_t> labels,
                   method m,
                   std::size_t interferers,
                   span<const complex> interferer_points)
{
    const std::size_t order = points.size();
    if (order < 2 || order > 4096 || (order & (order - 1)) != 0)
        throw std::invalid_argument("demapper: expected 2, 4, 8, ... 4096 points, got " +
                                    text(order));
    if (labels.size() != order)
        throw std::invalid_argument("demapper: expected " + text(order) +
                                    " labels, got " + text(labels.size()));
    if (interferers > 2)
        throw std::invalid_argument("demapper: expected 0, 1 or 2 interferers, got " +
                                    text(interferers));
    if ((interferers == 0) != interferer_points.empty() ||
        interferer_points.size() > 4096)
        throw std::invalid_argument(
            "demapper: expected interferers and 1 to 4096 points of them together, got " +
            text(interferers) + " and " + text(interferer_points.size()) + " points");
    if (!std::all_of(points.begin(), points.end(), finite) ||
        !std::all_of(interferer_points.begin(), interferer_points.end(), finite))
        throw std::invalid_argument("demapper: expected finite points");

    auto t = std::make_shared<demapper_tables>();
    while (std::size_t{1} << t->bits_per_symbol < order)
        t->bits_per_symbol++;
    t->exact = m == method::exact;
    t->interferers = interferers;
    t->interferer_points.assign(interferer_points.begin(), interferer_points.end());
    t->points.resize(order);
    std::vector<bool> seen(order);
    float largest = 0;
    for (std::size_t i = 0; i < order; i++) {
        if (labels[i] >= order || seen[labels[i]])
            throw std::invalid_argument("demapper: expected each of the labels 0 .. " +
                                        text(order - 1) + " once, got " +
                                        text(labels[i]) + " for point " + text(i));
        seen[labels[i]] = true;
        t->points[labels[i]] = points[i];
        largest =
            std::max({largest, std::fabs(points[i].real()), std::fabs(points[i].imag())});
    }
    t->sets = find_rails(t->points, t->bits_per_symbol);
    if (!t->sets.empty()) {
        t->folds = interferers == 0 && find_gray(t->sets[0], t->rails[0]) &&
                   find_gray(t->sets[1], t->rails[1]);
        t->fine = t->folds && std::max(t->rails[0].bits, t->rails[1].bits) >= 5;
    } else {
        label_set all;
        for (const auto& p : t->points) {
            all.re.push_back(p.real());
            all.im.push_back(p.imag());
        }
        all.positions.resize(t->bits_per_symbol);
        std::iota(all.positions.begin(), all.positions.end(), 0);
        t->sets.push_back(std::move(all));
    }
    t->linear_outside = interferers == 0 && t->sets.size() == 1;
    // Elsewhere distances have to keep their squares, to other hypotheses or another
    // rail.
    if (!t->folds)
        t->limit = (t->linear_outside ? 16 : 64) * largest;
    d_tables = std::move(t);
}

} // namespace gr::neuralfec

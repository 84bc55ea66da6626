/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/belief_code.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <tuple>

using namespace gr::neuralfec;

namespace {

std::vector<float> random_floats(std::size_t n, float scale, unsigned seed)
{
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(n);
    for (float& v : values)
        v = normal(generator);
    return values;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b)
{
    return a.size() == b.size() &&
           std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

constexpr float threshold = 12, variance = 0.794328f;

// What levels of 8 bits stand for; level 0 did not arrive.
std::vector<float> values_of(const std::vector<uint8_t>& levels)
{
    std::vector<float> values;
    for (const int level : levels)
        values.push_back(level ? static_cast<float>(level - 128) / 16 : NAN);
    return values;
}

// The rounds of `groups` groups over a channel, whatever they come to.
belief_table played(const belief_code& code, std::size_t groups, unsigned seed)
{
    // A group a block, so that blocks are at different rounds.
    belief_table table(code.patterns(), 1, groups);
    std::vector<uint32_t> rows(groups);
    std::iota(rows.begin(), rows.end(), 0u);
    std::vector<uint8_t> truth(groups), levels(groups);
    for (std::size_t g = 0; g < groups; g++)
        truth[g] = static_cast<uint8_t>(g * 7 % code.patterns());
    std::vector<float> symbols(groups);
    code.start(table, rows);
    for (unsigned round = 0; round < 8; round++) {
        std::vector<uint8_t> left(groups, static_cast<uint8_t>(12 - round));
        left[groups / 2]++;
        code.propose(table, rows, left, threshold, 1.05f, 1);
        code.symbols(table, rows, truth, symbols);
        const auto noise = random_floats(groups, 0.89f, seed + round);
        for (std::size_t g = 0; g < groups; g++)
            symbols[g] += noise[g];
        code.quantize(symbols, levels);
        levels[round] = 0;
        code.update(table,
                    rows,
                    values_of(levels),
                    std::vector<float>(groups, variance),
                    threshold);
    }
    return table;
}

/*! What `choose` finds, on each target, is what the formulas in double precision say of
 * the posterior, the odds and the cost of its number. */
void choices()
{
    constexpr float price = 0.04f;
    // One bit a group, few and many numbers, and signals so strong that exponents are
    // large.
    for (const auto& [bits, feedback_bits, step, noise] :
         {std::make_tuple(1, 3, 1.25f, 0.8f),
          std::make_tuple(4, 3, 1.25f, 0.8f),
          std::make_tuple(4, 8, 0.0625f, 0.8f),
          std::make_tuple(5, 3, 1.25f, 0.01f)}) {
        const belief_code::settings settings{static_cast<std::size_t>(bits),
                                             24,
                                             20,
                                             4,
                                             static_cast<std::size_t>(feedback_bits),
                                             step};
        const belief_code code(
            settings, random_floats(belief_code::parameter_count(settings), 0.3f, 1));
        const std::size_t m = code.patterns(), groups = 101;
        const int most = (1 << (feedback_bits - 1)) - 1;
        belief_table table = played(code, groups, 5);
        std::fill(table.decided.begin(), table.decided.end(), uint8_t(0));
        table.decided[7] = 1;
        std::vector<uint32_t> rows(groups);
        std::iota(rows.begin(), rows.end(), 0u);
        std::vector<float> before = random_floats(groups * m, 2, 9),
                           y = random_floats(groups, 1.5f, 3), of_noise(groups, noise),
                           tracking(groups, 1.15f * noise);
        // The first group is at its beginning, the last hears nothing.
        std::fill_n(before.begin(), m, 0.0f);
        y.back() = NAN;
        of_noise[5] = noise / 2;
        tracking[5] = noise;
        for (const auto& name : simd_targets()) {
            set_simd_target(name);
            std::vector<float> l = before, odds(groups, -1);
            std::vector<int8_t> numbers(groups, 100);
            code.choose(table, rows, l, y, of_noise, tracking, price, numbers, odds);
            for (std::size_t g = 0; g < groups; g++) {
                if (g == 7) {
                    CHECK(std::equal(l.begin() + g * m,
                                     l.begin() + (g + 1) * m,
                                     before.begin() + g * m));
                    CHECK(numbers[g] == 100 && odds[g] == -1);
                    continue;
                }
                const float* const c = table.log_ratios.data() + g * m;
                const float* const x = table.candidates.data() + g * m;
                // What floats can tell goes by the largest of what is added up.
                double reach = 10;
                for (std::size_t k = 0; k < m; k++)
                    for (const double value :
                         {std::isnan(y[g]) ? 0 : double(y[g]), double(step) * most})
                        reach = std::max(reach,
                                         (std::abs(value) + 4) * std::abs(x[k]) /
                                             double(of_noise[g]));
                const double close = 1e-6 * reach;
                std::vector<double> own(m);
                for (std::size_t k = 0; k < m; k++) {
                    const double told =
                        std::isnan(y[g]) ? 0 : (y[g] - x[k] / 2.0) * x[k] / of_noise[g];
                    own[k] = before[g * m + std::size_t(table.classes[g * m + k])] + told;
                }
                const double top = *std::max_element(own.begin(), own.end());
                double sum = 0, mean = 0;
                for (std::size_t k = 0; k < m; k++) {
                    const double p = std::exp(own[k] - top);
                    sum += p;
                    mean += p * x[k];
                    const float found = l[g * m + std::size_t(table.classes[g * m + k])];
                    CHECK(std::abs(found - (own[k] - top)) < close);
                }
                CHECK(std::abs(odds[g] - (sum - 1)) < 10 * close * sum);
                std::vector<double> costs;
                for (int i = -most; i <= most; i++) {
                    const double sent = double(step) * i;
                    double total = 0, highest = -1e300;
                    std::vector<double> after(m);
                    for (std::size_t k = 0; k < m; k++) {
                        after[k] = c[k] + (sent - x[k] / 2.0) * x[k] / tracking[g];
                        highest = std::max(highest, after[k]);
                    }
                    for (const double a : after)
                        total += std::exp(a - highest);
                    costs.push_back(highest + std::log(total) -
                                    sent * mean / sum / tracking[g] +
                                    double(price) * i * i);
                }
                const double least = *std::min_element(costs.begin(), costs.end());
                CHECK(std::abs(numbers[g]) <= most);
                CHECK(costs[std::size_t(numbers[g] + most)] - least < 10 * close);
            }
        }
        set_simd_target("");
        std::vector<float> l = before, odds(groups);
        std::vector<int8_t> numbers(groups);
        const std::vector<float> none;
        CHECK_THROWS(
            code.choose(table, rows, l, none, of_noise, tracking, 0, numbers, odds));
        CHECK_THROWS(
            code.choose(table, rows, odds, y, of_noise, tracking, 0, numbers, odds));
        CHECK_THROWS(
            code.choose(table, rows, l, y, of_noise, tracking, NAN, numbers, odds));
        tracking[3] = 0;
        CHECK_THROWS(
            code.choose(table, rows, l, y, of_noise, tracking, 0, numbers, odds));
    }
}

} // namespace

int main()
{
    for (std::size_t bits = 1; bits <= 8; bits++) {
        const belief_code::settings settings{bits, 24, 20, 4, 8, 0.0625f};
        const belief_code code(
            settings, random_floats(belief_code::parameter_count(settings), 0.3f, 1));
        const std::size_t m = code.patterns();

        // Every target gives the same bits; 101 groups leave the last vectors half empty.
        set_simd_target(simd_targets().front());
        const belief_table expected = played(code, 101, 5);
        for (const auto& name : simd_targets()) {
            set_simd_target(name);
            const belief_table got = played(code, 101, 5);
            CHECK(same_bits(got.log_ratios, expected.log_ratios));
            CHECK(same_bits(got.candidates, expected.candidates));
            CHECK(same_bits(got.classes, expected.classes));
            CHECK(same_bits(got.odds, expected.odds));
        }
        set_simd_target("");

        for (std::size_t g = 0; g < 101; g++) {
            const float* l = expected.log_ratios.data() + g * m;
            const float* c = expected.classes.data() + g * m;
            CHECK(l[0] == 0);
            CHECK(std::is_sorted(l, l + m, [](float a, float b) { return a > b; }));
            std::vector<float> sorted(c, c + m);
            std::sort(sorted.begin(), sorted.end());
            for (std::size_t i = 0; i < m; i++)
                CHECK(sorted[i] == i);
        }

        // Bayes' rule in double precision, from the candidates that are there.
        belief_table table = expected;
        std::vector<uint32_t> rows{3, 100, 50};
        const std::vector<uint8_t> levels{150, 0, 90};
        for (const uint32_t row : rows)
            table.decided[row] = 0;
        // Each symbol has a noise variance of its own.
        const std::vector<float> variances{variance, 1, variance / 3};
        code.update(table, rows, values_of(levels), variances, threshold);
        for (std::size_t n = 0; n < rows.size(); n++) {
            std::vector<double> by_class(m);
            const std::size_t at = rows[n] * m;
            for (std::size_t i = 0; i < m; i++) {
                const double x = expected.candidates[at + i],
                             y = (levels[n] - 128) / 16.0;
                by_class[static_cast<std::size_t>(expected.classes[at + i])] =
                    expected.log_ratios[at + i] +
                    (levels[n] ? (y * x - x * x / 2) / variances[n] : 0);
            }
            const double top = *std::max_element(by_class.begin(), by_class.end());
            double rest = -1;
            for (std::size_t i = 0; i < m; i++) {
                const double l =
                    by_class[static_cast<std::size_t>(table.classes[at + i])] - top;
                CHECK(std::abs(table.log_ratios[at + i] - l) < 1e-4);
                rest += std::exp(l);
            }
            CHECK(std::abs(table.odds[rows[n]] - rest) < 1e-5 * (1 + rest));
            CHECK(table.decided[rows[n]] == (rest < std::exp(-threshold)));
        }
    }

    choices();

    const belief_code::settings settings{3, 8, 8, 4, 4, 0.5f};
    const auto parameters =
        random_floats(belief_code::parameter_count(settings), 0.3f, 1);
    const belief_code code(settings, parameters);
    // 15 levels, -3.5 .. 3.5; 0 is kept for what did not arrive.
    std::vector<uint8_t> levels(6);
    code.quantize(std::vector<float>{0,
                                     -100,
                                     std::numeric_limits<float>::infinity(),
                                     std::numeric_limits<float>::quiet_NaN(),
                                     0.74f,
                                     -0.76f},
                  levels);
    CHECK((levels == std::vector<uint8_t>{8, 1, 15, 0, 9, 6}));

    CHECK_THROWS(belief_code(settings, std::vector<float>(3)));
    auto broken = parameters;
    broken[5] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS(belief_code(settings, broken));
    for (auto change : {+[](belief_code::settings& s) { s.group_bits = 9; },
                        +[](belief_code::settings& s) { s.feedback_step = 0; },
                        +[](belief_code::settings& s) { s.feedback_bits = 9; },
                        +[](belief_code::settings& s) { s.hidden2 = 0; }}) {
        auto wrong = settings;
        change(wrong);
        CHECK_THROWS(belief_code(wrong, parameters));
    }
    belief_table table(8, 1, 4), other(4, 1, 4);
    const std::vector<uint32_t> row{1}, outside{4};
    const std::vector<uint8_t> one{1}, large{16};
    std::vector<float> value(1);
    CHECK_THROWS(code.start(table, outside));
    CHECK_THROWS(code.start(other, row));
    code.start(table, row);
    CHECK_THROWS(code.propose(table, row, {}, 10, 1, 1));
    CHECK_THROWS(code.propose(table, row, one, NAN, 1, 1));
    CHECK_THROWS(code.propose(table, row, one, 10, 1, INFINITY));
    CHECK_THROWS(code.symbols(table, row, large, value));
    const std::vector<float> y{1}, zero{0}, infinite{INFINITY};
    CHECK_THROWS(code.update(table, row, infinite, y, 10));
    CHECK_THROWS(code.update(table, row, y, zero, 10));
    CHECK_THROWS(code.update(table, row, y, y, 0));
    CHECK_THROWS(code.update(table, row, {}, y, 10));
    CHECK_THROWS(code.update(table, row, y, {}, 10));

    // Decided groups send nothing and learn nothing; the others of their block go on.
    belief_table pairs(8, 2, 3);
    const std::vector<uint32_t> block{2};
    code.start(pairs, block);
    pairs.decided[4] = 1;
    const belief_table before = pairs;
    code.propose(pairs, block, std::vector<uint8_t>{12}, 10, 1, 1);
    std::vector<float> sent(2);
    code.symbols(pairs, block, std::vector<uint8_t>{5, 5}, sent);
    CHECK(sent[0] == 0 && sent[1] != 0);
    const std::vector<float> both{-2.5f, -2.5f}, of_both{variance, variance};
    code.update(pairs, block, both, of_both, 10);
    const auto unchanged = [&](std::size_t from, std::size_t to) {
        return std::equal(pairs.log_ratios.begin() + from,
                          pairs.log_ratios.begin() + to,
                          before.log_ratios.begin() + from);
    };
    CHECK(unchanged(0, 40));
    CHECK(!unchanged(40, 48));
    return 0;
}

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Against sums over all messages and all paths of the noise, in double precision.
 */
#include "kernels/burst_bcjr.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <cmath>
#include <limits>
#include <random>

using namespace gr::neuralfec;

namespace {

struct exhaustive {
    std::vector<double> posteriors;
    std::vector<double> start, step, count, product, square;
};

// Adds what one frame tells.
void enumerate(const convolutional_trellis& trellis,
               const convolutional_frame& frame,
               const noise_chain& chain,
               const float* values,
               exhaustive& out)
{
    const std::size_t states = chain.states(), n = frame.received;
    const std::size_t k = frame.message_bits, m = trellis.memory();
    std::size_t paths = 1;
    for (std::size_t i = 0; i <= n; i++)
        paths *= states;
    double total = 0;
    std::vector<double> one(k);
    exhaustive sum{{},
                   std::vector<double>(states),
                   std::vector<double>(states * states),
                   std::vector<double>(states),
                   std::vector<double>(states),
                   std::vector<double>(states)};
    for (std::size_t register_bits = 0; register_bits < (1u << k); register_bits++) {
        std::vector<int> x, u;
        unsigned edge = 0;
        for (std::size_t t = 0; t < frame.steps; t++) {
            const unsigned bit = t < k ? register_bits >> t & 1 : 0;
            edge = ((edge << 1) | bit) & ((2u << m) - 1);
            for (unsigned j = 0; j < trellis.outputs(); j++)
                if (frame.kept[t * trellis.outputs() + j])
                    x.push_back((trellis.output(edge) >> j & 1) ? 1 : -1);
            if (t < k)
                u.push_back(trellis.message(edge));
        }
        for (std::size_t path = 0; path < paths; path++) {
            std::vector<std::size_t> s(n + 1);
            for (std::size_t i = 0, rest = path; i <= n; i++, rest /= states)
                s[i] = rest % states;
            double p = chain.start[s[0]];
            for (std::size_t i = 0; i < n; i++) {
                p *= chain.step[s[i] * states + s[i + 1]];
                const double y = values[i], v = chain.variance[s[i + 1]];
                if (std::isfinite(y) && y != 0)
                    p *= std::exp(-std::pow(y - chain.amplitude * x[i], 2) / (2 * v)) /
                         std::sqrt(v);
            }
            total += p;
            for (std::size_t t = 0; t < k; t++)
                one[t] += u[t] * p;
            sum.start[s[0]] += p;
            for (std::size_t i = 0; i < n; i++) {
                sum.step[s[i] * states + s[i + 1]] += p;
                const double y = values[i];
                if (!std::isfinite(y) || y == 0)
                    continue;
                sum.count[s[i + 1]] += p;
                sum.product[s[i + 1]] += p * y * x[i];
                sum.square[s[i + 1]] += p * y * y;
            }
        }
    }
    for (std::size_t t = 0; t < k; t++)
        out.posteriors.push_back(std::log(one[t] / (total - one[t])));
    auto add = [&](std::vector<double>& to, const std::vector<double>& from) {
        to.resize(from.size());
        for (std::size_t i = 0; i < from.size(); i++)
            to[i] += from[i] / total;
    };
    add(out.start, sum.start);
    add(out.step, sum.step);
    add(out.count, sum.count);
    add(out.product, sum.product);
    add(out.square, sum.square);
}

bool close(double a, double b, double tolerance = 2e-4)
{
    return std::fabs(a - b) <= tolerance * std::max(1.0, std::fabs(b));
}

void check_against_sums(const std::vector<int>& generators,
                        unsigned feedback,
                        const std::vector<uint8_t>& puncture,
                        termination end,
                        std::size_t k,
                        std::size_t states)
{
    const convolutional_trellis trellis(generators, feedback);
    const convolutional_frame frame(trellis, k, end, puncture);
    const burst_bcjr_kernel kernel(trellis, frame, states);
    const std::size_t n = frame.received, frames = 19; // more than a vector
    noise_chain chain{1.3, {}, {}, {}};
    for (std::size_t s = 0; s < states; s++) {
        chain.variance.push_back(0.5 * std::pow(4.0, s));
        chain.start.push_back(s == 0 ? 1 - 0.1 * (states - 1) : 0.1);
        for (std::size_t r = 0; r < states; r++)
            chain.step.push_back(r == s ? 1 - 0.2 * (states - 1) : 0.2);
    }
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> values(frames * n);
    for (auto& y : values)
        y = 2 * normal(random);
    values[1] = 0;
    values[n + 1] = std::numeric_limits<float>::quiet_NaN();
    values[2 * n] = std::numeric_limits<float>::infinity();

    exhaustive expected;
    for (std::size_t f = 0; f < frames; f++)
        enumerate(trellis, frame, chain, values.data() + f * n, expected);
    std::vector<float> found(frames * k);
    CHECK(kernel.decode(values, chain, found) == 2);
    for (std::size_t i = 0; i < found.size(); i++)
        CHECK(close(found[i], expected.posteriors[i], 1e-3));

    // The guess counts as 2 symbols or steps of each state.
    noise_chain guess = chain;
    guess.variance.assign(states, 3.0);
    const auto better = kernel.improve(values, chain, guess);
    double product = 0, count = 0;
    for (std::size_t s = 0; s < states; s++) {
        product += expected.product[s] / chain.variance[s];
        count += expected.count[s] / chain.variance[s];
    }
    const double a = product / count;
    CHECK(close(better.amplitude, a));
    for (std::size_t s = 0; s < states; s++) {
        const double squares =
            expected.square[s] - 2 * a * expected.product[s] + a * a * expected.count[s];
        CHECK(close(better.variance[s], (squares + 2 * 3.0) / (expected.count[s] + 2)));
        CHECK(close(better.start[s],
                    (expected.start[s] + 2 * guess.start[s]) / (double(frames) + 2)));
        double leaving = 0;
        for (std::size_t r = 0; r < states; r++)
            leaving += expected.step[s * states + r];
        for (std::size_t r = 0; r < states; r++)
            CHECK(close(better.step[s * states + r],
                        (expected.step[s * states + r] + 2 * guess.step[s * states + r]) /
                            (leaving + 2)));
    }
}

// Of several segments, and what is learned from one frame.
void check_long_frame()
{
    const convolutional_trellis trellis({0171, 0133});
    const convolutional_frame frame(trellis, 3000, termination::zero);
    const burst_bcjr_kernel kernel(trellis, frame);
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<uint8_t> message(3000);
    std::vector<float> values;
    unsigned edge = 0;
    for (std::size_t t = 0; t < frame.steps; t++) {
        const unsigned bit = t < 3000 ? random() & 1 : 0;
        if (t < 3000)
            message[t] = bit;
        edge = ((edge << 1) | bit) & 127;
        for (unsigned j = 0; j < 2; j++)
            values.push_back(5 * ((trellis.output(edge) >> j & 1 ? 1.0f : -1.0f) +
                                  (t % 100 < 3 ? 4.0f : 0.4f) * normal(random)));
    }
    unsigned iterations;
    const auto chain = kernel.learn(values, iterations);
    CHECK(iterations > 1 && iterations <= burst_bcjr_kernel::most_iterations);
    CHECK(close(chain.amplitude, 5, 0.05) && close(chain.variance[0], 25 * 0.16, 0.1));
    CHECK(chain.variance[1] > 20 * chain.variance[0]);
    std::vector<float> posteriors(3000);
    CHECK(kernel.decode(values, chain, posteriors) == 0);
    std::size_t errors = 0;
    for (std::size_t t = 0; t < 3000; t++)
        errors += (posteriors[t] > 0) != message[t];
    CHECK(errors <= 6);
}

} // namespace

int main()
{
    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        check_against_sums({07, 05}, 0, {}, termination::zero, 2, 2);
        check_against_sums({07, -05}, 07, {}, termination::none, 3, 2);
        check_against_sums({07, 05}, 0, {1, 1, 0, 1}, termination::none, 4, 3);
        check_against_sums({03, 02, 03}, 0, {1, 1, 1, 0, 1, 1}, termination::none, 2, 4);
        check_long_frame();
    }

    const convolutional_trellis trellis({07, 05});
    const convolutional_frame frame(trellis, 10, termination::none);
    CHECK_THROWS(burst_bcjr_kernel(trellis, frame, 1));
    CHECK_THROWS(burst_bcjr_kernel(trellis, frame, 5));
    CHECK_THROWS(burst_bcjr_kernel(
        trellis, convolutional_frame(trellis, 10, termination::tail_biting)));
    const burst_bcjr_kernel kernel(trellis, frame);
    std::vector<float> values(20, 1.0f), out(10);
    const auto chain = kernel.guess(values);
    CHECK_THROWS((kernel.decode({values.data(), 19}, chain, out), 0));
    CHECK_THROWS((kernel.decode(values, chain, {out.data(), 9}), 0));
    noise_chain wrong = chain;
    wrong.variance[0] = 0;
    CHECK_THROWS((kernel.decode(values, wrong, out), 0));
    wrong = chain;
    wrong.step.pop_back();
    CHECK_THROWS((kernel.decode(values, wrong, out), 0));
    return 0;
}

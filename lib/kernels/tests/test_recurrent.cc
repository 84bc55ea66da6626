/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/recurrent.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <cmath>
#include <random>

using namespace gr::neuralfec;

namespace {

using sequence = std::vector<std::vector<double>>;

double sigmoid(double x)
{
    return 1 / (1 + std::exp(-x));
}

// The equations of recurrent_weights, one unit after the other.
sequence run_direction(const recurrent_weights& w, std::size_t hidden, const sequence& x)
{
    sequence out;
    std::vector<double> h(hidden);
    for (const auto& in : x) {
        const auto row = [&](std::size_t i, bool of_input) {
            const auto& matrix = of_input ? w.input : w.hidden;
            const auto& v = of_input ? in : h;
            double sum = of_input ? w.input_bias[i] : w.hidden_bias[i];
            for (std::size_t c = 0; c < v.size(); c++)
                sum += matrix[i * v.size() + c] * v[c];
            return sum;
        };
        std::vector<double> next(hidden);
        for (std::size_t j = 0; j < hidden; j++) {
            const double r = sigmoid(row(j, true) + row(j, false));
            const double z = sigmoid(row(hidden + j, true) + row(hidden + j, false));
            const double n =
                std::tanh(row(2 * hidden + j, true) + r * row(2 * hidden + j, false));
            next[j] = (1 - z) * n + z * h[j];
        }
        h = next;
        out.push_back(h);
    }
    return out;
}

} // namespace

int main()
{
    const std::size_t inputs = 3, hidden = 20, steps = 17, sequences = 71;
    std::mt19937 rng(1);
    std::normal_distribution<float> draw(0, 0.5f);
    const auto random = [&](std::size_t size) {
        std::vector<float> v(size);
        for (auto& x : v)
            x = draw(rng);
        return v;
    };
    std::vector<recurrent_weights> directions;
    for (std::size_t i = 0; i < 4; i++) {
        const std::size_t n = i < 2 ? inputs : 2 * hidden;
        directions.push_back({random(3 * hidden * n),
                              random(3 * hidden * hidden),
                              random(3 * hidden),
                              random(3 * hidden)});
    }
    const auto output = random(2 * hidden);
    const auto x = random(sequences * steps * inputs);

    std::vector<double> expected;
    for (std::size_t s = 0; s < sequences; s++) {
        sequence layer;
        for (std::size_t t = 0; t < steps; t++) {
            const auto* first = x.data() + (s * steps + t) * inputs;
            layer.emplace_back(first, first + inputs);
        }
        for (std::size_t i = 0; i < 4; i += 2) {
            const auto forward = run_direction(directions[i], hidden, layer);
            const auto backward = run_direction(
                directions[i + 1], hidden, sequence(layer.rbegin(), layer.rend()));
            for (std::size_t t = 0; t < steps; t++) {
                layer[t] = forward[t];
                layer[t].insert(layer[t].end(),
                                backward[steps - 1 - t].begin(),
                                backward[steps - 1 - t].end());
            }
        }
        for (std::size_t t = 0; t < steps; t++) {
            double sum = 0.25;
            for (std::size_t j = 0; j < 2 * hidden; j++)
                sum += output[j] * layer[t][j];
            expected.push_back(sum);
        }
    }

    const recurrent_network network(inputs, hidden, directions, output, 0.25f);
    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        std::vector<float> y(sequences * steps);
        network.run(x, steps, y);
        for (std::size_t i = 0; i < y.size(); i++)
            CHECK(std::fabs(y[i] - expected[i]) < 2e-5);
    }
    set_simd_target("");

    std::vector<float> y(sequences * steps - 1);
    CHECK_THROWS(network.run(x, steps, y));
    CHECK_THROWS(recurrent_network(inputs, 25, directions, output, 0));
    CHECK_THROWS(recurrent_network(inputs, hidden, {directions[0]}, output, 0));
    CHECK_THROWS(recurrent_network(2, hidden, directions, output, 0));
    CHECK_THROWS(recurrent_network(inputs, hidden, directions, random(5), 0));
    return 0;
}

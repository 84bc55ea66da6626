/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Against the equations in double precision; the Python tests have torch's own.
 */
#include "kernels/gated_recurrent.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <cmath>
#include <random>

using namespace gr::neuralfec;

namespace {

std::vector<float> random_values(std::size_t size, unsigned seed)
{
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 0.4f);
    std::vector<float> values(size);
    for (auto& v : values)
        v = normal(random);
    return values;
}

double sigmoid(double x)
{
    return 1 / (1 + std::exp(-x));
}

void check(std::size_t inputs,
           std::size_t width,
           std::size_t layers,
           std::size_t outputs,
           std::size_t steps,
           std::size_t frames)
{
    std::vector<std::vector<float>> parameters;
    std::vector<gated_recurrent_network::cell> cells;
    for (std::size_t l = 0; l < layers; l++) {
        const std::size_t in = l == 0 ? inputs : width;
        for (std::size_t size : {3 * width * in, 3 * width * width, 3 * width, 3 * width})
            parameters.push_back(random_values(size, parameters.size() + 1));
    }
    for (std::size_t l = 0; l < layers; l++)
        cells.push_back({parameters[4 * l],
                         parameters[4 * l + 1],
                         parameters[4 * l + 2],
                         parameters[4 * l + 3]});
    const auto output = random_values(outputs * width, 97);
    const auto bias = random_values(outputs, 98);
    const auto x = random_values(frames * inputs, 99);
    const gated_recurrent_network network(inputs, width, cells, output, bias, steps);
    CHECK(network.inputs() == inputs && network.outputs() == outputs);
    std::vector<float> y(frames * outputs);
    network.run(x, y);
    for (std::size_t f = 0; f < frames; f++) {
        std::vector<std::vector<double>> h(layers, std::vector<double>(width));
        for (std::size_t t = 0; t < steps; t++)
            for (std::size_t l = 0; l < layers; l++) {
                const auto& c = cells[l];
                const std::size_t in = l == 0 ? inputs : width;
                std::vector<double> below(in), now(width);
                for (std::size_t i = 0; i < in; i++)
                    below[i] = l == 0 ? x[f * inputs + i] : h[l - 1][i];
                auto of_input = [&](std::size_t r) {
                    double sum = c.input_bias[r];
                    for (std::size_t i = 0; i < in; i++)
                        sum += c.input[r * in + i] * below[i];
                    return sum;
                };
                auto of_hidden = [&](std::size_t r) {
                    double sum = c.hidden_bias[r];
                    for (std::size_t i = 0; i < width; i++)
                        sum += c.hidden[r * width + i] * h[l][i];
                    return sum;
                };
                for (std::size_t j = 0; j < width; j++) {
                    const double r = sigmoid(of_input(j) + of_hidden(j));
                    const double z = sigmoid(of_input(width + j) + of_hidden(width + j));
                    const double n =
                        std::tanh(of_input(2 * width + j) + r * of_hidden(2 * width + j));
                    now[j] = (1 - z) * n + z * h[l][j];
                }
                h[l] = now;
            }
        for (std::size_t o = 0; o < outputs; o++) {
            double sum = bias[o];
            for (std::size_t j = 0; j < width; j++)
                sum += output[o * width + j] * h[layers - 1][j];
            CHECK(std::fabs(sum - y[f * outputs + o]) < 2e-5);
        }
    }
}

} // namespace

int main()
{
    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        check(7, 12, 1, 3, 1, 5);
        check(20, 24, 2, 9, 5, 50);
        check(3, 5, 3, 8, 4, 100);
    }

    const std::vector<float> six(6), four(4), two(2), one(1);
    const gated_recurrent_network::cell small{{six}, {six}, {six}, {six}};
    // One input and one unit: 3 weights each.
    const std::vector<float> three(3);
    const gated_recurrent_network::cell right{{three}, {three}, {three}, {three}};
    CHECK_THROWS(gated_recurrent_network(1, 1, {small}, one, one, 1));
    CHECK_THROWS(gated_recurrent_network(1, 1, {right}, two, one, 1));
    CHECK_THROWS(gated_recurrent_network(1, 1, {right}, one, one, 0));
    CHECK_THROWS(gated_recurrent_network(1, 1, {}, one, one, 1));
    const gated_recurrent_network network(1, 1, {right, right}, one, one, 2);
    std::vector<float> out(3);
    CHECK_THROWS((network.run(four, out), 0));
    return 0;
}

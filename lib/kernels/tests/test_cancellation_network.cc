/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Closed forms without networks, gradients against differences, and all SIMD targets
 * against each other; the Python tests have a twin in torch.
 */
#include "kernels/cancellation_network.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace gr::neuralfec;
using net = cancellation_network;

namespace {

constexpr std::size_t frames = 70; // more than four of the widest vectors

std::vector<float> normal(std::size_t size, float deviation, unsigned seed)
{
    std::mt19937 random(seed);
    std::normal_distribution<float> distribution(0, deviation);
    std::vector<float> values(size);
    for (auto& v : values)
        v = distribution(random);
    return values;
}

// Networks of zeros add nothing: what is left is belief propagation.
void check_repetition()
{
    // u_15 is in every position, all others are frozen to the syndrome, 0.
    const cancellation_network code(16, {15}, 3, 8, 8);
    const std::vector<float> none(code.parameters(), 0.0f);
    auto reliabilities = normal(frames * 16, 3, 1);
    for (auto& r : reliabilities)
        r = std::fabs(r);
    const std::vector<uint8_t> u(frames * 16, 0);
    std::vector<float> message(frames), codeword(frames * 16);
    for (std::size_t passes : {1u, 3u}) {
        code.estimate(none, reliabilities, u, passes, message, codeword);
        for (std::size_t f = 0; f < frames; f++) {
            // The frozen left half says +15 of each sum, which leaves the LLR of the
            // right one as it is up to the box's corrections, 0 beyond 2.25 from 15.
            double sum = 0;
            bool far = true;
            for (std::size_t j = 0; j < 8; j++) {
                const double a = reliabilities[f * 16 + j];
                far &= a < 12.7;
                sum += std::min(10.0, a + reliabilities[f * 16 + 8 + j]);
            }
            if (far)
                CHECK(std::fabs(message[f] + sum) < 1e-3 * std::max(1.0, sum) ||
                      sum > 60);
            for (std::size_t j = 0; j < 16; j++)
                CHECK(std::isfinite(codeword[f * 16 + j]));
        }
    }
}

struct problem {
    cancellation_network net{32,
                             {9, 12, 18, 21, 22, 24, 25, 26, 27, 28, 29, 30, 31},
                             2,
                             4,
                             8};
    std::vector<float> parameters = normal(net.parameters(), 0.3f, 2);
    std::vector<float> reliabilities = normal(frames * 32, 3, 3);
    std::vector<uint8_t> u, flips;

    problem()
    {
        for (auto& r : reliabilities)
            r = std::fabs(r);
        std::mt19937 random(4);
        for (std::size_t i = 0; i < frames * 32; i++)
            flips.push_back(random() % 8 == 0);
        // u = flips F^(x)5.
        u = flips;
        for (std::size_t f = 0; f < frames; f++)
            for (std::size_t step = 1; step < 32; step *= 2)
                for (std::size_t i = 0; i < 32; i++)
                    if (!(i & step))
                        u[f * 32 + i] ^= u[f * 32 + i + step];
    }
};

// The mean over frames of the loss after the last pass, as the header defines it.
double loss(const problem& p, const std::vector<float>& parameters, std::size_t passes)
{
    const std::size_t n = p.net.n(), k = p.net.k();
    std::vector<float> message(frames * k), codeword(frames * n);
    p.net.estimate(parameters, p.reliabilities, p.u, passes, message, codeword);
    auto entropy = [](double llr, bool bit) {
        const double x = bit ? -llr : llr;
        return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
    };
    double sum = 0;
    for (std::size_t f = 0; f < frames; f++) {
        for (std::size_t j = 0; j < k; j++)
            sum += entropy(message[f * k + j], p.u[f * n + p.net.unfrozen()[j]]) / k;
        for (std::size_t j = 0; j < n; j++)
            sum += 0.5 * entropy(codeword[f * n + j], p.flips[f * n + j]) / n;
    }
    return sum / frames;
}

void check_gradient(const problem& p)
{
    const std::size_t size = p.net.parameters();
    std::vector<float> gradient(size), again(size);
    for (std::size_t passes : {1u, 2u}) {
        const double found = p.net.gradient(
            p.parameters, p.reliabilities, p.u, p.flips, passes, 0.5f, 0.0f, gradient);
        CHECK(std::fabs(found - loss(p, p.parameters, passes)) < 1e-4);
        if (passes > 1)
            continue;
        // Signs of LLRs are decisions, at which the loss jumps; no decision follows the
        // networks of the last subcode and of the root's rule to the parent. Along random
        // directions, for single parameters drown in float's rounding.
        std::vector<float> free(size);
        for (std::size_t which : {0u, 1u})
            for (const auto* l : {&p.net.leaf_layer(3, which),
                                  &p.net.node_layer(0, net::to_parent, which)})
                std::fill_n(
                    free.begin() + l->weight, l->in * l->out + l->out * l->biases, 1.0f);
        for (unsigned seed = 10; seed < 16; seed++) {
            const auto direction = normal(size, 1, seed);
            const float h = 1e-3f;
            auto moved = [&](float by) {
                auto parameters = p.parameters;
                for (std::size_t i = 0; i < size; i++)
                    parameters[i] += by * direction[i] * free[i];
                return loss(p, parameters, passes);
            };
            const double difference = (moved(h) - moved(-h)) / (2 * h);
            double slope = 0;
            for (std::size_t i = 0; i < size; i++)
                slope += gradient[i] * direction[i] * free[i];
            CHECK(std::fabs(difference - slope) < 0.02 * std::fabs(slope) + 0.003);
        }
    }
    for (std::size_t passes : {1u, 2u}) {
        // A workspace that was used gives the same.
        p.net.gradient(
            p.parameters, p.reliabilities, p.u, p.flips, passes, 0.5f, 0.3f, gradient);
        p.net.gradient(
            p.parameters, p.reliabilities, p.u, p.flips, passes, 0.5f, 0.3f, again);
        CHECK(gradient == again);
    }
}

} // namespace

int main()
{
    const problem p;
    std::vector<float> message[2], codeword[2];
    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        check_repetition();
        check_gradient(p);
        const std::size_t now = message[0].empty() ? 0 : 1;
        message[now].resize(frames * p.net.k());
        codeword[now].resize(frames * p.net.n());
        p.net.estimate(
            p.parameters, p.reliabilities, p.u, 2, message[now], codeword[now]);
        if (now == 1)
            for (std::size_t i = 0; i < codeword[0].size(); i++)
                CHECK(std::fabs(codeword[0][i] - codeword[1][i]) < 5e-3);
    }

    CHECK_THROWS(cancellation_network(24, {3}, 1, 4, 4));
    CHECK_THROWS(cancellation_network(16, {}, 1, 4, 4));
    CHECK_THROWS(cancellation_network(16, {3, 3}, 1, 4, 4));
    CHECK_THROWS(cancellation_network(16, {16}, 1, 4, 4));
    CHECK_THROWS(cancellation_network(16, {3}, 0, 4, 4));
    CHECK_THROWS(cancellation_network(16, {3}, 1, 5, 4));
    std::vector<float> out(1);
    CHECK_THROWS(
        (p.net.estimate(p.parameters, p.reliabilities, p.u, 0, message[0], codeword[0]),
         0));
    CHECK_THROWS(
        (p.net.estimate(out, p.reliabilities, p.u, 1, message[0], codeword[0]), 0));
    CHECK_THROWS(
        (p.net.estimate(p.parameters, p.reliabilities, p.u, 1, out, codeword[0]), 0));
    return 0;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/ordered_statistics.h"
#include "kernels/tests/check.h"

#include <cmath>
#include <limits>
#include <random>

using namespace gr::neuralfec;

namespace {

struct test_code {
    std::size_t n, k;
    std::vector<uint8_t> generator, pseudo_inverse;
};

//! Systematic with random checks; the message stands in front.
test_code random_code(std::size_t n, std::size_t k, std::mt19937& rng)
{
    test_code code{n, k, std::vector<uint8_t>(k * n), std::vector<uint8_t>(n * k)};
    for (std::size_t r = 0; r < k; r++) {
        code.generator[r * n + r] = code.pseudo_inverse[r * k + r] = 1;
        for (std::size_t c = k; c < n; c++)
            code.generator[r * n + c] = rng() & 1;
    }
    return code;
}

float distance(const test_code& code,
               const std::vector<uint8_t>& message,
               const float* llrs)
{
    float sum = 0;
    for (std::size_t c = 0; c < code.n; c++) {
        uint8_t bit = 0;
        for (std::size_t r = 0; r < code.k; r++)
            bit ^= message[r] & code.generator[r * code.n + c];
        sum += bit != (llrs[c] > 0) ? std::fabs(llrs[c]) : 0;
    }
    return sum;
}

} // namespace

int main()
{
    std::mt19937 rng(1);
    std::normal_distribution<float> normal;

    const float everything = std::numeric_limits<float>::infinity();

    // With as many changes as message bits it is maximum likelihood, whatever the LLRs
    // and whatever the order of the positions.
    for (std::size_t n : {4u, 9u, 30u, 75u, 200u}) {
        const auto code = random_code(n, 4, rng);
        const ordered_statistics decoder(code.generator, code.pseudo_inverse, 4, 4);
        for (int trial = 0; trial < 100; trial++) {
            std::vector<float> llrs(n), improved(n);
            for (std::size_t j = 0; j < n; j++) {
                llrs[j] = normal(rng);
                improved[j] = normal(rng);
            }
            float least = std::numeric_limits<float>::infinity();
            for (int m = 0; m < 16; m++) {
                std::vector<uint8_t> message(4);
                for (int r = 0; r < 4; r++)
                    message[r] = m >> r & 1;
                least = std::fmin(least, distance(code, message, llrs.data()));
            }
            std::vector<uint8_t> got(4);
            decoder.decode(llrs, got);
            CHECK(distance(code, got, llrs.data()) <= least * 1.0001f);
            decoder.decode_reordered(llrs, improved, everything, got);
            CHECK(distance(code, got, llrs.data()) <= least * 1.0001f);
        }
    }

    // Within a reach it is the best of the words that contradict no more of the basis.
    for (int trial = 0; trial < 200; trial++) {
        const auto code = random_code(20, 4, rng);
        const ordered_statistics decoder(code.generator, code.pseudo_inverse, 4, 4);
        std::vector<float> llrs(20), improved(20);
        for (std::size_t j = 0; j < 20; j++) {
            llrs[j] = normal(rng);
            // The message stands in the basis.
            improved[j] = std::copysign(
                (j < 4 ? 2.0f : 0.0f) + std::fabs(std::sin(normal(rng))), normal(rng));
        }
        const float reach = trial % 10;
        float least = everything;
        for (int m = 0; m < 16; m++) {
            std::vector<uint8_t> message(4);
            float doubt = 0;
            for (int r = 0; r < 4; r++) {
                message[r] = m >> r & 1;
                doubt += message[r] != (improved[r] > 0) ? std::fabs(improved[r]) : 0;
            }
            if (doubt <= reach)
                least = std::fmin(least, distance(code, message, llrs.data()));
        }
        std::vector<uint8_t> got(4);
        decoder.decode_reordered(llrs, improved, reach, got);
        CHECK(std::fabs(distance(code, got, llrs.data()) - least) < 1e-4f);
    }

    // A higher order never ends farther away, and what leaves no doubt is found at order
    // 0.
    for (std::size_t k : {20u, 70u, 140u}) {
        const auto code = random_code(2 * k, k, rng);
        for (int trial = 0; trial < 20; trial++) {
            std::vector<float> llrs(2 * k), sure(2 * k, -2.0f);
            for (std::size_t j = 0; j < 2 * k; j++)
                llrs[j] = -1.0f + 0.8f * normal(rng);
            sure[3] = std::nanf("");
            float before = std::numeric_limits<float>::infinity();
            for (unsigned order = 0; order <= 2; order++) {
                const ordered_statistics decoder(
                    code.generator, code.pseudo_inverse, k, order);
                std::vector<uint8_t> got(k);
                decoder.decode(llrs, got);
                const float now = distance(code, got, llrs.data());
                CHECK(now <= before * 1.0001f);
                before = now;
                CHECK(decoder.decode(sure, got) == 1);
                CHECK(got == std::vector<uint8_t>(k, 0));
            }
        }
    }

    const auto code = random_code(8, 4, rng);
    CHECK_THROWS(ordered_statistics(code.generator, code.pseudo_inverse, 4, 5));
    CHECK_THROWS(ordered_statistics(code.generator, code.generator, 4, 1));
    CHECK_THROWS(ordered_statistics(code.generator, code.pseudo_inverse, 3, 1));
    CHECK_THROWS(gf2_map(std::vector<uint8_t>{0, 2}, 1));
    CHECK_THROWS(gf2_map(std::vector<uint8_t>{0, 1, 1}, 2));
    const ordered_statistics decoder(code.generator, code.pseudo_inverse, 4, 1);
    std::vector<float> llrs(12);
    std::vector<uint8_t> message(4);
    CHECK_THROWS(decoder.decode(llrs, message));
    llrs.resize(8);
    CHECK_THROWS(
        decoder.decode_reordered(llrs, std::vector<float>(7), everything, message));
    CHECK_THROWS(decoder.decode_reordered(llrs, llrs, -1.0f, message));
    return 0;
}

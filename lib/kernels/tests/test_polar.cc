/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/polar.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <cmath>
#include <limits>
#include <random>

using namespace gr::neuralfec;

namespace {

std::vector<float> noisy(std::vector<uint8_t>& message,
                         std::size_t n,
                         const std::vector<uint32_t>& information,
                         std::mt19937& rng,
                         float deviation)
{
    std::vector<uint8_t> x(n, 0);
    for (std::size_t i = 0; i < information.size(); i++)
        x[information[i]] = message[i] = rng() & 1;
    polar_transform(x, n);
    std::normal_distribution<float> noise(0.0f, deviation);
    std::vector<float> llrs(n);
    for (std::size_t i = 0; i < n; i++)
        llrs[i] = 2.0f / (deviation * deviation) * ((x[i] ? 1.0f : -1.0f) + noise(rng));
    return llrs;
}

//! The message whose codeword correlates best with the LLRs, of all 2^k.
std::vector<uint8_t> maximum_likelihood(const std::vector<float>& llrs,
                                        const std::vector<uint32_t>& information)
{
    double best = -std::numeric_limits<double>::infinity();
    std::vector<uint8_t> winner(information.size());
    for (uint32_t m = 0; m < (1u << information.size()); m++) {
        std::vector<uint8_t> x(llrs.size(), 0);
        for (std::size_t i = 0; i < information.size(); i++)
            x[information[i]] = (m >> i) & 1;
        polar_transform(x, x.size());
        double correlation = 0;
        for (std::size_t i = 0; i < x.size(); i++)
            correlation += x[i] ? llrs[i] : -llrs[i];
        if (correlation > best) {
            best = correlation;
            for (std::size_t i = 0; i < information.size(); i++)
                winner[i] = (m >> i) & 1;
        }
    }
    return winner;
}

//! Successive cancellation as its recursion reads (LLRs positive for bit 0).
std::vector<uint8_t> cancel(const std::vector<double>& llrs,
                            const std::vector<uint8_t>& is_free,
                            std::size_t offset,
                            std::vector<uint8_t>& u,
                            bool exact)
{
    const std::size_t n = llrs.size(), half = n / 2;
    if (n == 1)
        return {u[offset] = is_free[offset] && llrs[0] < 0};
    std::vector<double> a(half), b(half);
    for (std::size_t i = 0; i < half; i++) {
        const double p = llrs[i], q = llrs[i + half];
        a[i] = exact ? 2 * std::atanh(std::tanh(p / 2) * std::tanh(q / 2))
                     : std::copysign(std::fmin(std::fabs(p), std::fabs(q)), p * q);
    }
    const auto x = cancel(a, is_free, offset, u, exact);
    for (std::size_t i = 0; i < half; i++)
        b[i] = llrs[i + half] + (x[i] ? -llrs[i] : llrs[i]);
    const auto y = cancel(b, is_free, offset + half, u, exact);
    std::vector<uint8_t> both(n);
    for (std::size_t i = 0; i < half; i++) {
        both[i] = x[i] ^ y[i];
        both[i + half] = y[i];
    }
    return both;
}

void check_target()
{
    std::mt19937 rng(1);

    // A list as large as the code is maximum likelihood decoding.
    for (const std::vector<uint32_t>& information :
         {std::vector<uint32_t>{3, 5, 6, 7}, std::vector<uint32_t>{7, 11, 13, 14, 15}}) {
        const std::size_t n = information.back() + 1;
        for (bool exact : {false, true}) {
            const successive_cancellation list(n, information, 32, exact);
            int different_from_sc = 0;
            const successive_cancellation sc(n, information, 1, exact);
            for (int trial = 0; trial < 300; trial++) {
                std::vector<uint8_t> sent(information.size()), got(sent), one(sent);
                const auto llrs = noisy(sent, n, information, rng, 1.2f);
                CHECK(list.decode(llrs, got) == 0);
                CHECK(got == maximum_likelihood(llrs, information));
                sc.decode(llrs, one);
                different_from_sc += one != got;
            }
            CHECK(different_from_sc > 0);
        }
    }

    // One path, any number of frames: the recursion, frozen and free subcodes and all.
    const std::vector<uint32_t> information{
        7, 10, 11, 12, 13, 14, 15, 22, 24, 25, 26, 27, 28, 29, 30, 31};
    std::vector<uint8_t> is_free(32, 0);
    for (uint32_t i : information)
        is_free[i] = 1;
    for (bool exact : {false, true}) {
        const std::size_t frames = 67;
        std::vector<float> llrs;
        std::vector<uint8_t> expected, sent(information.size());
        for (std::size_t f = 0; f < frames; f++) {
            const auto frame = noisy(sent, 32, information, rng, 0.9f);
            llrs.insert(llrs.end(), frame.begin(), frame.end());
            std::vector<uint8_t> u(32);
            std::vector<double> flipped(32);
            for (std::size_t i = 0; i < 32; i++)
                flipped[i] = -frame[i];
            cancel(flipped, is_free, 0, u, exact);
            for (uint32_t i : information)
                expected.push_back(u[i]);
        }
        std::vector<uint8_t> got(expected.size());
        successive_cancellation(32, information, 1, exact).decode(llrs, got);
        CHECK(got == expected);
    }

    // An ensemble of permutations that map RM(2, 4) to itself, x to A x + c on indices,
    // decides as its decodings one after the other do, for any number of frames at once.
    const std::vector<uint32_t> reed_muller{3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15};
    std::vector<uint32_t> permutations;
    for (uint32_t turn = 0; turn < 4; turn++)
        for (uint32_t j = 0; j < 16; j++)
            permutations.push_back(((j << turn | j >> (4 - turn)) & 15) ^ (turn * 5));
    const successive_cancellation member(16, reed_muller);
    std::vector<float> received;
    std::vector<uint8_t> expected_words;
    std::vector<uint32_t> expected_decodings;
    int not_the_first = 0;
    for (std::size_t f = 0; f < 300; f++) {
        std::vector<uint8_t> sent(11), found(11), nearest(16), first(16);
        const auto llrs = noisy(sent, 16, reed_muller, rng, 0.8f);
        received.insert(received.end(), llrs.begin(), llrs.end());
        float least = INFINITY;
        uint32_t agreeing = 0, decodings = 0;
        while (agreeing < 2 && decodings < 4) {
            const uint32_t* order = permutations.data() + 16 * decodings++;
            std::vector<float> moved(16);
            for (std::size_t j = 0; j < 16; j++)
                moved[j] = llrs[order[j]];
            member.decode(moved, found);
            std::vector<uint8_t> x(16, 0), word(16);
            for (std::size_t i = 0; i < 11; i++)
                x[reed_muller[i]] = found[i];
            polar_transform(x, 16);
            float distance = 0;
            for (std::size_t j = 0; j < 16; j++) {
                word[order[j]] = x[j];
                distance += x[j] == (moved[j] > 0) ? 0 : std::fabs(moved[j]);
            }
            if (decodings == 1)
                first = word;
            if (agreeing > 0 && word == nearest) {
                agreeing++;
            } else if (distance < least) {
                least = distance;
                agreeing = 1;
                nearest = word;
            }
        }
        not_the_first += nearest != first;
        polar_transform(nearest, 16);
        for (uint32_t i : reed_muller)
            expected_words.push_back(nearest[i]);
        expected_decodings.push_back(decodings);
    }
    CHECK(not_the_first > 10);
    const automorphism_ensemble ensemble(16, reed_muller, permutations, 2);
    for (std::size_t at_once : {1, 3, 300}) {
        std::vector<uint8_t> got(11 * 300);
        std::vector<uint32_t> decodings(300);
        for (std::size_t f = 0; f < 300; f += at_once)
            ensemble.decode({received.data() + 16 * f, 16 * at_once},
                            {got.data() + 11 * f, 11 * at_once},
                            {decodings.data() + f, at_once});
        CHECK(got == expected_words);
        CHECK(decodings == expected_decodings);
    }

    // A sent word without noise passes with every list size; NaN is counted.
    for (std::size_t list_size : {1, 2, 4, 8, 16, 32, 64, 128, 256}) {
        std::vector<uint8_t> sent(information.size()), got(sent);
        auto llrs = noisy(sent, 32, information, rng, 0.05f);
        llrs[3] = std::nanf("");
        llrs[9] = llrs[9] > 0 ? INFINITY : -INFINITY;
        const successive_cancellation decoder(32, information, list_size);
        CHECK(decoder.decode(llrs, got) == 1);
        CHECK(got == sent);
        CHECK(decoder.decode({}, {}) == 0);
    }

    // x^3 + x + 1: of the two best words the one that satisfies the check wins. Message
    // 1011 has the remainder of x^3 (x^3 + x + 1), zero.
    const std::vector<uint32_t> all{0, 1, 2, 3, 4, 5, 6, 7};
    const successive_cancellation checked(8, {1, 2, 3, 4, 5, 6, 7}, 8, false, 3, 3);
    CHECK(checked.k() == 4);
    std::vector<uint8_t> x{0, 1, 0, 1, 1, 0, 0, 0}, got(4);
    polar_transform(x, 8);
    std::vector<float> llrs(8);
    for (std::size_t i = 0; i < 8; i++)
        llrs[i] = x[i] ? 1.0f : -1.0f;
    llrs[2] *= -0.1f;
    checked.decode(llrs, got);
    CHECK((got == std::vector<uint8_t>{1, 0, 1, 1}));
}

} // namespace

int main()
{
    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        check_target();
    }
    const std::vector<uint32_t> information{3, 5};
    CHECK_THROWS(successive_cancellation(7, information));
    CHECK_THROWS(successive_cancellation(0, information));
    CHECK_THROWS(successive_cancellation(4, information));
    CHECK_THROWS(successive_cancellation(8, std::vector<uint32_t>{5, 3}));
    CHECK_THROWS(successive_cancellation(8, std::vector<uint32_t>{}));
    CHECK_THROWS(successive_cancellation(8, information, 3));
    CHECK_THROWS(successive_cancellation(8, information, 512));
    CHECK_THROWS(successive_cancellation(8, information, 1, false, 2, 1));
    CHECK_THROWS(successive_cancellation(8, information, 1, false, 1, 2));
    CHECK_THROWS(automorphism_ensemble(4, {3}, {}, 1));
    CHECK_THROWS(automorphism_ensemble(4, {3}, {0, 1, 2}, 1));
    CHECK_THROWS(automorphism_ensemble(4, {3}, {0, 1, 2, 2}, 1));
    CHECK_THROWS(automorphism_ensemble(4, {3}, {0, 1, 2, 3}, 0));
    const successive_cancellation decoder(8, information);
    std::vector<float> llrs(12);
    std::vector<uint8_t> messages(2);
    CHECK_THROWS(decoder.decode(llrs, messages));
    llrs.resize(16);
    CHECK_THROWS(decoder.decode(llrs, messages));
    return 0;
}

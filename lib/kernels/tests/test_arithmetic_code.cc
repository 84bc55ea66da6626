/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/arithmetic_code.h"
#include "kernels/tests/check.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace gr::neuralfec;

namespace {

//! -log2 of the KT estimates of one number after the other.
double ideal_bits(const std::vector<uint8_t>& numbers, std::size_t bits)
{
    const std::size_t upper = bits > 4 ? std::size_t(1) << (bits - 4) : 1;
    const std::size_t lower = std::size_t(1) << (bits > 4 ? 4 : bits);
    std::vector<double> above(upper, 0.5), below(upper * lower, 0.5);
    double sum = 0;
    const auto take = [&](double* counts, std::size_t size, std::size_t number) {
        double total = 0;
        for (std::size_t i = 0; i < size; i++)
            total += counts[i];
        sum -= std::log2(counts[number] / total);
        counts[number] += 1;
    };
    for (const uint8_t number : numbers) {
        const std::size_t high = number / lower;
        if (upper > 1)
            take(above.data(), upper, high);
        take(&below[high * lower], lower, number % lower);
    }
    return sum;
}

void check_round_trip(const std::vector<uint8_t>& numbers, std::size_t bits)
{
    const auto code = arithmetic_encode(numbers, bits);
    std::vector<uint8_t> again(numbers.size(), 0xee);
    arithmetic_decode(code, bits, again);
    CHECK(again == numbers);
    // Up to the age of counts, which lets them forget some.
    const double ideal = ideal_bits(numbers, bits);
    CHECK(8.0 * static_cast<double>(code.size()) <= ideal * 1.003 + 16);
    // What is behind is not read as more.
    for (const uint8_t behind : {0x00, 0x5a, 0xff}) {
        auto longer = code;
        longer.resize(longer.size() + 7, behind);
        arithmetic_decode(longer, bits, again);
        CHECK(again == numbers);
    }
}

//! Numbers of two distributions cost what each of them does by itself.
void check_contexts(std::size_t bits)
{
    std::mt19937 random(2);
    std::vector<uint8_t> numbers(6000), contexts(6000);
    std::vector<uint8_t> apart[3];
    for (std::size_t i = 0; i < numbers.size(); i++) {
        contexts[i] = static_cast<uint8_t>(random() % 3);
        const uint32_t width = uint32_t(1) << (bits * contexts[i] / 2);
        numbers[i] = static_cast<uint8_t>(random() % 8 ? random() % width : 0);
        apart[contexts[i]].push_back(numbers[i]);
    }
    const auto code = arithmetic_encode(numbers, bits, contexts);
    double ideal = 0;
    for (const auto& some : apart)
        ideal += ideal_bits(some, bits);
    CHECK(8.0 * static_cast<double>(code.size()) <= ideal * 1.003 + 16);
    std::vector<uint8_t> again(numbers.size());
    arithmetic_decode(code, bits, again, contexts);
    CHECK(again == numbers);
    contexts.pop_back();
    CHECK_THROWS(arithmetic_encode(numbers, bits, contexts));
    CHECK_THROWS(arithmetic_decode(code, bits, again, contexts));
}

} // namespace

int main()
{
    for (std::size_t bits : {1, 2, 4, 5, 8})
        check_contexts(bits);
    std::mt19937 random(1);
    for (std::size_t bits = 1; bits <= 8; bits++) {
        const int last = (1 << bits) - 1;
        for (std::size_t size : {0, 1, 2, 20, 1000, 20000}) {
            std::vector<uint8_t> numbers(size);
            std::normal_distribution<double> bell(last / 2.0, last / 10.0);
            for (auto& n : numbers)
                n = static_cast<uint8_t>(
                    std::clamp(std::lround(bell(random)), 0l, long(last)));
            check_round_trip(numbers, bits);
            for (auto& n : numbers)
                n = static_cast<uint8_t>(random() & last);
            check_round_trip(numbers, bits);
            // All alike: carries have long runs to go through.
            check_round_trip(std::vector<uint8_t>(size, 0), bits);
            check_round_trip(std::vector<uint8_t>(size, static_cast<uint8_t>(last)),
                             bits);
            // One at the end that never came before.
            if (size > 1) {
                std::vector<uint8_t> late(size, static_cast<uint8_t>(last));
                late.back() = 0;
                check_round_trip(late, bits);
            }
        }
    }

    // Counts that age, and a source that changes.
    std::vector<uint8_t> numbers(200000);
    for (std::size_t i = 0; i < numbers.size(); i++)
        numbers[i] = static_cast<uint8_t>(i < 100000 ? random() % 16 : random() % 2);
    const auto code = arithmetic_encode(numbers, 4);
    std::vector<uint8_t> again(numbers.size());
    arithmetic_decode(code, 4, again);
    CHECK(again == numbers);
    CHECK(8 * code.size() < 100000 * 4 + 150000);

    // Bytes that are no code.
    for (std::size_t bits = 1; bits <= 8; bits++)
        for (int trial = 0; trial < 50; trial++) {
            std::vector<uint8_t> noise(random() % 300);
            for (auto& n : noise)
                n = static_cast<uint8_t>(trial % 3 ? random() : 0xff);
            std::vector<uint8_t> out(1000);
            arithmetic_decode(noise, bits, out);
            for (const uint8_t n : out)
                CHECK(n >> bits == 0);
        }

    const std::vector<uint8_t> three{3};
    std::vector<uint8_t> out(1);
    CHECK_THROWS(arithmetic_encode(three, 1));
    CHECK_THROWS(arithmetic_encode(three, 0));
    CHECK_THROWS(arithmetic_encode(three, 9));
    CHECK_THROWS((arithmetic_decode(three, 9, out), 0));
    return 0;
}

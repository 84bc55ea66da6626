/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/arithmetic_code.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <utility>

namespace gr::neuralfec {

namespace {

constexpr std::size_t nibble = 16;
// Counts in halves: KT's half for each number that can come, and one for each that came.
// Signed and of 16 bits, so that sixteen of them are compared and added at once.
using count = int16_t;
constexpr int half = 1, one = 2, most = 0x7fff;

//! What is added to the counts below each number when one comes.
struct steps {
    count of[nibble][nibble] = {};
    constexpr steps()
    {
        for (std::size_t number = 0; number < nibble; number++)
            for (std::size_t i = number + 1; i < nibble; i++)
                of[number][i] = one;
    }
};
constexpr steps added;

//! How often each of up to 16 numbers came.
class counts
{
public:
    explicit counts(std::size_t numbers)
    {
        for (std::size_t i = 0; i < nibble; i++)
            d_below[i] = static_cast<count>(half * (i < numbers ? i : numbers));
        d_total = static_cast<count>(half * numbers);
    }
    uint32_t below(std::size_t i) const { return static_cast<uint32_t>(d_below[i]); }
    uint32_t of(std::size_t i) const
    {
        return static_cast<uint32_t>((i + 1 < nibble ? d_below[i + 1] : d_total) -
                                     d_below[i]);
    }
    uint32_t total() const { return static_cast<uint32_t>(d_total); }
    //! The number whose share of [0, total) holds `value`.
    std::size_t find(uint32_t value) const
    {
        const auto limit = static_cast<count>(value);
        count found = 0;
        for (std::size_t i = 0; i < nibble; i++)
            found = static_cast<count>(found + (d_below[i] <= limit));
        return static_cast<std::size_t>(found - 1);
    }
    void add(std::size_t number)
    {
        for (std::size_t i = 0; i < nibble; i++)
            d_below[i] = static_cast<count>(d_below[i] + added.of[number][i]);
        d_total = static_cast<count>(d_total + one);
        if (d_total > most - one)
            age();
    }

private:
    alignas(32) std::array<count, nibble> d_below;
    count d_total;

    void age()
    {
        count sum = 0;
        for (std::size_t i = 0; i < nibble; i++) {
            // One that can come stays above 0.
            const auto left = static_cast<count>((of(i) + 1) / 2);
            d_below[i] = sum;
            sum = static_cast<count>(sum + left);
        }
        d_total = sum;
    }
};

//! The counts of the upper bits' numbers, and of the lower four's for each of these.
class model
{
public:
    explicit model(std::size_t bits)
        : d_upper(uppers(bits)),
          d_lower(uppers(bits), counts(std::size_t(1) << (bits < 4 ? bits : 4)))
    {
    }
    counts& upper() { return d_upper; }
    counts& lower(std::size_t above) { return d_lower[above]; }

private:
    counts d_upper;
    std::vector<counts> d_lower;

    static std::size_t uppers(std::size_t bits)
    {
        return bits > 4 ? std::size_t(1) << (bits - 4) : 1;
    }
};

constexpr uint32_t least_range = 1u << 24;

class encoder
{
public:
    void put(counts& c, std::size_t number)
    {
        const uint32_t step = d_range / c.total();
        d_low += uint64_t(step) * c.below(number);
        d_range = step * c.of(number);
        while (d_range < least_range) {
            d_range <<= 8;
            shift();
        }
        c.add(number);
    }
    std::vector<uint8_t> finish()
    {
        // The fewest bytes that are within [low, low + range) whatever comes behind them.
        std::size_t left_out = 3;
        for (;; left_out--) {
            const uint64_t mask = (uint64_t(1) << 8 * left_out) - 1;
            const uint64_t number = (d_low + mask) & ~mask;
            if (number + mask < d_low + d_range) {
                d_low = number;
                break;
            }
        }
        for (int i = 0; i < 5; i++)
            shift();
        d_code.resize(d_code.size() - left_out);
        return std::move(d_code);
    }

private:
    // 32 bits and a carry; bytes of 255 wait for the carry behind the byte d_cache.
    uint64_t d_low = 0;
    uint32_t d_range = 0xffffffff;
    uint8_t d_cache = 0;
    bool d_first = true;
    std::size_t d_waiting = 0;
    std::vector<uint8_t> d_code;

    void shift()
    {
        if (d_low < 0xff000000 || d_low >> 32) {
            const auto carry = static_cast<uint8_t>(d_low >> 32);
            if (!d_first)
                d_code.push_back(static_cast<uint8_t>(d_cache + carry));
            d_first = false;
            d_code.insert(d_code.end(), d_waiting, static_cast<uint8_t>(0xff + carry));
            d_waiting = 0;
            d_cache = static_cast<uint8_t>(d_low >> 24);
        } else {
            d_waiting++;
        }
        d_low = (d_low & 0x00ffffff) << 8;
    }
};

class decoder
{
public:
    explicit decoder(span<const uint8_t> code) : d_code(code)
    {
        for (int i = 0; i < 4; i++)
            d_value = d_value << 8 | next();
    }
    std::size_t get(counts& c)
    {
        const uint32_t step = d_range / c.total();
        const uint32_t value = d_value / step;
        const std::size_t number = c.find(value < c.total() ? value : c.total() - 1);
        d_value -= step * c.below(number);
        d_range = step * c.of(number);
        while (d_range < least_range) {
            d_range <<= 8;
            d_value = d_value << 8 | next();
        }
        c.add(number);
        return number;
    }

private:
    span<const uint8_t> d_code;
    std::size_t d_at = 0;
    uint32_t d_value = 0, d_range = 0xffffffff;

    uint32_t next() { return d_at < d_code.size() ? d_code[d_at++] : 0; }
};

void check(std::size_t bits, std::size_t numbers, span<const uint8_t> contexts)
{
    if (!contexts.empty() && contexts.size() != numbers)
        throw std::invalid_argument("arithmetic code: expected " +
                                    std::to_string(numbers) + " contexts, got " +
                                    std::to_string(contexts.size()));
    if (bits < 1 || bits > 8)
        throw std::invalid_argument(
            "arithmetic code: expected numbers of 1 to 8 bits, got " +
            std::to_string(bits));
}

//! A model for each context, or one.
std::vector<model> models(std::size_t bits, span<const uint8_t> contexts)
{
    const uint8_t* const last = std::max_element(contexts.begin(), contexts.end());
    const std::size_t count = contexts.empty() ? 1 : *last + std::size_t(1);
    return std::vector<model>(count, model(bits));
}

} // namespace

std::vector<uint8_t> arithmetic_encode(span<const uint8_t> numbers,
                                       std::size_t bits,
                                       span<const uint8_t> contexts)
{
    check(bits, numbers.size(), contexts);
    auto of_context = models(bits, contexts);
    encoder e;
    for (std::size_t i = 0; i < numbers.size(); i++) {
        const uint8_t number = numbers[i];
        model& m = of_context[contexts.empty() ? 0 : contexts[i]];
        if (number >> bits)
            throw std::invalid_argument("arithmetic code: expected numbers below " +
                                        std::to_string(1 << bits) + ", got " +
                                        std::to_string(number));
        const std::size_t above = bits > 4 ? number >> 4 : 0;
        if (bits > 4)
            e.put(m.upper(), above);
        e.put(m.lower(above), number % nibble);
    }
    return e.finish();
}

void arithmetic_decode(span<const uint8_t> code,
                       std::size_t bits,
                       span<uint8_t> numbers,
                       span<const uint8_t> contexts)
{
    check(bits, numbers.size(), contexts);
    auto of_context = models(bits, contexts);
    decoder d(code);
    for (std::size_t i = 0; i < numbers.size(); i++) {
        model& m = of_context[contexts.empty() ? 0 : contexts[i]];
        const std::size_t above = bits > 4 ? d.get(m.upper()) : 0;
        numbers[i] = static_cast<uint8_t>(above << 4 | d.get(m.lower(above)));
    }
}

} // namespace gr::neuralfec

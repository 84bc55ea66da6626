/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/tests/check.h"
#include "kernels/xor_encoder.h"

#include <random>

using namespace gr::neuralfec;

namespace {

// Random programs, frame by frame and bit by bit.
void check_random(std::mt19937& rng)
{
    const std::size_t places = 5 + rng() % 40, k = 1 + rng() % 5, n = 1 + rng() % 60;
    xor_encoder::program p;
    p.places = places;
    for (std::size_t i = 0; i < k; i++)
        p.message.push_back(i);
    for (std::size_t i = 0; i < n; i++)
        p.sent.push_back(rng() % places);
    p.begins.push_back(0);
    for (std::size_t s = rng() % 50; s > 0; s--) {
        p.targets.push_back(rng() % places);
        for (std::size_t i = rng() % 6; i > 0; i--)
            p.sources.push_back(rng() % places);
        p.begins.push_back(p.sources.size());
    }
    // More frames than a word has bits; the message's higher bits do not count.
    const std::size_t frames = rng() % 140;
    std::vector<uint8_t> messages(frames * k), codewords(frames * n, 7);
    for (auto& bit : messages)
        bit = rng();
    xor_encoder(p).encode(messages, codewords);
    for (std::size_t f = 0; f < frames; f++) {
        std::vector<unsigned> memory(places);
        for (std::size_t i = 0; i < k; i++)
            memory[i] = messages[f * k + i] & 1;
        for (std::size_t s = 0; s < p.targets.size(); s++) {
            unsigned sum = 0;
            for (uint32_t i = p.begins[s]; i < p.begins[s + 1]; i++)
                sum ^= memory[p.sources[i]];
            memory[p.targets[s]] = sum;
        }
        for (std::size_t i = 0; i < n; i++)
            CHECK(codewords[f * n + i] == memory[p.sent[i]]);
    }
}

} // namespace

int main()
{
    std::mt19937 rng(1);
    for (int i = 0; i < 200; i++)
        check_random(rng);

    const xor_encoder::program good{4, {0, 1}, {2}, {0, 2}, {0, 1}, {0, 1, 2}};
    CHECK(xor_encoder(good).n() == 3 && xor_encoder(good).k() == 2);
    const auto with = [&](auto change) {
        auto p = good;
        change(p);
        return p;
    };
    CHECK_THROWS(xor_encoder(with([](auto& p) { p.message.clear(); })));
    CHECK_THROWS(xor_encoder(with([](auto& p) { p.sent.clear(); })));
    CHECK_THROWS(xor_encoder(with([](auto& p) { p.message[0] = 4; })));
    CHECK_THROWS(xor_encoder(with([](auto& p) { p.targets[0] = 4; })));
    CHECK_THROWS(xor_encoder(with([](auto& p) { p.sources[0] = 4; })));
    CHECK_THROWS(xor_encoder(with([](auto& p) { p.sent[0] = 4; })));
    CHECK_THROWS(xor_encoder(with([](auto& p) { p.begins = {0}; })));
    CHECK_THROWS(xor_encoder(with([](auto& p) { p.begins = {0, 3}; })));
    CHECK_THROWS(xor_encoder(with([](auto& p) { p.begins = {1, 2}; })));
    std::vector<uint8_t> messages(4), codewords(5);
    CHECK_THROWS(xor_encoder(good).encode(messages, codewords));
    return 0;
}

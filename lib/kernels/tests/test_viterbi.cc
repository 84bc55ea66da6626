/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/convolutional.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"
#include "kernels/viterbi.h"

#include <cmath>
#include <limits>
#include <random>

using namespace gr::neuralfec;

namespace {

using bytes = std::vector<uint8_t>;

// By the definition c_j = (g_j / f) u, one step at a time; start: the register's state.
bytes encode(const convolutional_trellis& trellis, const bytes& u, unsigned& state)
{
    bytes c;
    for (uint8_t bit : u) {
        unsigned edge = state << 1;
        edge |= trellis.message(edge) ^ bit;
        for (unsigned j = 0; j < trellis.outputs(); j++)
            c.push_back((trellis.output(edge) >> j) & 1);
        state = edge & (trellis.states() - 1);
    }
    return c;
}

bytes message(unsigned number, std::size_t k)
{
    bytes u(k);
    for (std::size_t i = 0; i < k; i++)
        u[i] = (number >> i) & 1;
    return u;
}

// All codewords of a frame that fit its termination, with their messages.
std::vector<std::pair<bytes, bytes>> codebook(const convolutional_trellis& trellis,
                                              const convolutional_frame& frame)
{
    std::vector<std::pair<bytes, bytes>> book;
    const unsigned starts = frame.end == termination::tail_biting ? trellis.states() : 1;
    for (unsigned start = 0; start < starts; start++)
        for (unsigned number = 0; number < (1u << frame.steps); number++) {
            unsigned state = start;
            bytes u = message(number, frame.steps);
            const bytes c = encode(trellis, u, state);
            if (frame.end != termination::none && state != start)
                continue;
            u.resize(frame.message_bits);
            bytes sent;
            for (std::size_t i = 0; i < c.size(); i++)
                if (frame.kept[i])
                    sent.push_back(c[i]);
            book.emplace_back(u, sent);
        }
    return book;
}

double correlation(const bytes& c, const float* llrs)
{
    double sum = 0;
    for (std::size_t i = 0; i < c.size(); i++)
        sum += c[i] * llrs[i];
    return sum;
}

// Every decision has the metric of the best codeword.
void check_maximum_likelihood(const convolutional_trellis& trellis,
                              const convolutional_frame& frame,
                              std::mt19937& rng)
{
    const auto book = codebook(trellis, frame);
    // A group across lanes, and a few one by one.
    const std::size_t frames = 67;
    for (auto metric : {viterbi_metric::int8, viterbi_metric::int16}) {
        // Integers that the metric holds exactly.
        viterbi_frame_kernel decoder(trellis, frame, metric, 1);
        const int limit = decoder.limit();
        CHECK(limit >= 1);
        std::uniform_int_distribution<int> draw(-limit, limit);
        std::vector<float> llrs(frames * frame.received);
        for (auto& l : llrs)
            l = draw(rng);
        bytes bits(frames * frame.message_bits, 2);
        CHECK(decoder.decode(llrs, bits) == 0);
        for (std::size_t f = 0; f < frames; f++) {
            const float* received = llrs.data() + f * frame.received;
            const bytes decided(bits.begin() + f * frame.message_bits,
                                bits.begin() + (f + 1) * frame.message_bits);
            double best = -1e9, found = -1e9;
            for (const auto& [u, c] : book) {
                const double m = correlation(c, received);
                best = std::max(best, m);
                if (u == decided)
                    found = std::max(found, m);
            }
            CHECK(found == best);
        }
    }
}

void check_noiseless(const convolutional_trellis& trellis, std::mt19937& rng)
{
    const std::size_t k = 1003, frames = 70;
    const convolutional_frame frame(trellis, k, termination::zero);
    std::vector<float> llrs;
    bytes sent;
    for (std::size_t f = 0; f < frames; f++) {
        bytes u(k);
        for (auto& bit : u)
            bit = rng() & 1;
        sent.insert(sent.end(), u.begin(), u.end());
        unsigned state = 0;
        bytes c = encode(trellis, u, state);
        for (unsigned t = 0; t < trellis.memory(); t++) {
            bytes tail{static_cast<uint8_t>(trellis.message(state << 1))};
            const bytes more = encode(trellis, tail, state);
            c.insert(c.end(), more.begin(), more.end());
        }
        CHECK(state == 0);
        for (uint8_t bit : c)
            llrs.push_back(bit ? 3.7f : -3.7f);
    }
    for (auto metric : {viterbi_metric::int8, viterbi_metric::int16}) {
        viterbi_frame_kernel decoder(trellis, frame, metric);
        bytes bits(frames * k);
        decoder.decode(llrs, bits);
        CHECK(bits == sent);
    }
}

// One by one, with states across lanes, as in groups, with frames across lanes.
void check_few(const convolutional_trellis& trellis, termination end, std::mt19937& rng)
{
    const std::size_t n = trellis.outputs(), frames = 20;
    bytes pattern(3 * n, 1);
    pattern[n - 1] = 0;
    const convolutional_frame frame(trellis, 777, end, pattern);
    std::normal_distribution<float> noise;
    std::vector<float> llrs(frames * frame.received);
    for (auto& l : llrs)
        l = noise(rng);
    for (auto metric : {viterbi_metric::int8, viterbi_metric::int16}) {
        const viterbi_frame_kernel decoder(trellis, frame, metric);
        bytes together(frames * 777), alone(frames * 777);
        decoder.decode(llrs, together);
        for (std::size_t f = 0; f < frames; f++)
            decoder.decode({llrs.data() + f * frame.received, frame.received},
                           {alone.data() + f * 777, 777});
        CHECK(together == alone);
    }
}

void check_stream(const convolutional_trellis& trellis,
                  const bytes& puncture,
                  std::mt19937& rng)
{
    bytes u(4000);
    for (auto& bit : u)
        bit = rng() & 1;
    unsigned state = 0;
    const bytes c = encode(trellis, u, state);
    std::vector<float> llrs;
    std::normal_distribution<float> noise;
    for (std::size_t i = 0; i < c.size(); i++)
        if (puncture.empty() || puncture[i % puncture.size()])
            llrs.push_back(8 * (c[i] ? 1 : -1) + 3 * noise(rng));

    const auto run = [&](std::size_t chunk) {
        const viterbi_stream_kernel stream(trellis, puncture, 0, 100);
        std::vector<float> padded(stream.history());
        padded.insert(padded.end(), llrs.begin(), llrs.end());
        bytes bits(u.size());
        std::size_t in = 0, out = 0;
        for (std::size_t there = 0; there < padded.size();) {
            there = std::min(there + chunk, padded.size());
            const auto done = stream.decode({padded.data() + in, there - in},
                                            {bits.data() + out, bits.size() - out});
            in += done.consumed;
            out += done.produced;
            CHECK(done.not_a_number == 0);
            CHECK(padded.size() - in >= stream.window() - stream.received());
        }
        // All but the last window comes out.
        CHECK(out + stream.depth() + stream.block() + 100 > u.size());
        bits.resize(out);
        return bits;
    };
    const bytes bits = run(llrs.size());
    std::size_t errors = 0;
    for (std::size_t i = 0; i < bits.size(); i++)
        errors += bits[i] != u[i];
    CHECK(errors == 0);
    CHECK(run(1) == bits);
    CHECK(run(777) == bits);
}

} // namespace

int main()
{
    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        std::mt19937 rng(1);
        const convolutional_trellis small({07, 05});
        const convolutional_trellis recursive({07, 05}, 07);
        const convolutional_trellis third({013, 015, 017});
        const convolutional_trellis third_recursive({013, 015, 017}, 013);
        const convolutional_trellis nasa({0171, 0133});
        for (auto end :
             {termination::none, termination::zero, termination::tail_biting}) {
            for (const auto* trellis : {&small, &third}) {
                check_maximum_likelihood(*trellis, {*trellis, 9, end}, rng);
                const std::size_t n = trellis->outputs();
                bytes pattern(3 * n, 1);
                pattern[n] = pattern[2 * n + 1] = 0;
                check_maximum_likelihood(*trellis, {*trellis, 9, end, pattern}, rng);
            }
            // 8 and 9: lengths for which the feedback has an inverse on the circle.
            check_maximum_likelihood(recursive, {recursive, 8, end}, rng);
            check_maximum_likelihood(third_recursive, {third_recursive, 9, end}, rng);
            check_maximum_likelihood(small, {small, 2, end}, rng);
        }
        check_maximum_likelihood(nasa, {nasa, 5, termination::zero}, rng);
        check_maximum_likelihood(nasa, {nasa, 8, termination::none}, rng);
        check_maximum_likelihood(nasa, {nasa, 7, termination::tail_biting}, rng);

        for (const auto& trellis : {convolutional_trellis({03, 02}),
                                    small,
                                    recursive,
                                    convolutional_trellis({023, 035}),
                                    convolutional_trellis({053, 075}),
                                    third,
                                    third_recursive,
                                    nasa,
                                    convolutional_trellis({0561, 0753}),
                                    convolutional_trellis({0765, 0671, 0513, 0473})}) {
            check_noiseless(trellis, rng);
            check_stream(trellis, {}, rng);
            // The scalar target has one way only, and a slow one.
            if (target != "SCALAR")
                for (auto end :
                     {termination::none, termination::zero, termination::tail_biting})
                    check_few(trellis, end, rng);
        }
        // Catastrophic: paths may never merge, so pieces of a traceback do not meet.
        if (target != "SCALAR")
            check_few(convolutional_trellis({06, 05}), termination::none, rng);
        check_stream(nasa, {1, 1, 0, 1, 1, 0}, rng);
        check_stream(recursive, {1, 1, 1, 0}, rng);

        // Scale invariance of the automatic scale; NaN means nothing known.
        const convolutional_frame frame(small, 50, termination::zero);
        viterbi_frame_kernel decoder(small, frame);
        std::normal_distribution<float> noise;
        std::vector<float> llrs(64 * frame.received);
        for (auto& l : llrs)
            l = noise(rng);
        bytes bits(64 * 50), other(64 * 50);
        decoder.decode(llrs, bits);
        auto scaled = llrs;
        for (auto& l : scaled)
            l *= 1024;
        decoder.decode(scaled, other);
        CHECK(bits == other);
        auto erased = llrs;
        erased[5] = 0;
        erased[1700] = -1e30f;
        decoder.decode(erased, bits);
        erased[5] = std::numeric_limits<float>::quiet_NaN();
        erased[1700] = -std::numeric_limits<float>::infinity();
        CHECK(decoder.decode(erased, other) == 1);
        CHECK(bits == other);
        // In a stream each is counted once, though windows overlap.
        std::vector<float> long_stream(20 * 200, 1.0f);
        long_stream[999] = long_stream[1000] = long_stream[1024] = NAN;
        viterbi_stream_kernel stream(small, {}, 0, 500);
        bytes decided(2000);
        const auto done = stream.decode(long_stream, decided);
        CHECK(done.produced == 1500 && done.consumed == 3000 && done.not_a_number == 3);
        std::fill(llrs.begin(), llrs.end(), 0.0f);
        decoder.decode(llrs, bits);
        std::fill(llrs.begin(), llrs.end(), std::numeric_limits<float>::max());
        decoder.decode(llrs, bits);
        CHECK_THROWS(decoder.decode(span<const float>(llrs).subspan(0, 7), bits));
    }
    set_simd_target("");

    CHECK_THROWS(convolutional_trellis({}));
    CHECK_THROWS(convolutional_trellis({0}));
    CHECK_THROWS(convolutional_trellis({02000, 1}));
    CHECK_THROWS(convolutional_trellis({07, 05}, 03));
    const convolutional_trellis small({07, 05});
    CHECK_THROWS(convolutional_frame(small, 0, termination::none));
    CHECK_THROWS(convolutional_frame(small, 1, termination::tail_biting));
    CHECK_THROWS(convolutional_frame(small, 9, termination::none, {1, 1, 0}));
    CHECK_THROWS(convolutional_frame(small, 9, termination::none, {0, 0}));
    CHECK_THROWS(termination_from_name("tailbiting"));
    CHECK_THROWS(viterbi_metric_from_name("int4"));
    CHECK_THROWS(viterbi_metric_from_name("float"));
    CHECK_THROWS(viterbi_stream_kernel(small, {}, 0, 0));
    const convolutional_frame frame(small, 9, termination::none);
    CHECK_THROWS(viterbi_frame_kernel(small, frame, viterbi_metric::int16, -1));
    return 0;
}

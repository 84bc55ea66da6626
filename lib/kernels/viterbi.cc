/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/viterbi.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/viterbi.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include <hwy/aligned_allocator.h>

#ifndef NEURALFEC_VITERBI_ONCE
#define NEURALFEC_VITERBI_ONCE

namespace gr::neuralfec {

// Frames of a group: the bits of a decision word.
constexpr std::size_t group_frames = 64;
// Trellis steps whose inputs are laid out at a time: they stay in the first-level cache.
constexpr std::size_t tile_steps = 32;
constexpr int any_state = -1;

// The code as the kernel walks through it.
struct viterbi_plan {
    // States i and i + S/2 lead to states 2i and 2i + 1.
    struct butterfly {
        uint16_t low;
        // Places of the decisions of 2i and 2i + 1 in a step's words: the states' bits
        // reversed, so that traceback needs the bit it learns last in its last selection.
        uint16_t even_word, odd_word;
    };
    // Butterflies with the same outputs on their four edges.
    struct butterfly_class {
        uint8_t low_even, high_even, low_odd, high_odd;
        std::vector<butterfly> members;
    };

    unsigned memory, states, outputs, feedback;
    std::vector<butterfly_class> classes;
    const convolutional_frame* frame;
    viterbi_metric metric;
    int limit;
    int start_penalty;
    float scale; // 0: automatic
    float
        headroom; // LLR that meets the limit, in mean LLRs, where the scale is automatic
};

// One call of the kernel.
struct viterbi_group {
    std::size_t count = 0;
    const float* llrs[group_frames];
    uint8_t* bits[group_frames];
    // The message bits that are written.
    std::size_t first = 0, length = 0;
    int start[group_frames];
    int end[group_frames];

    // Results: the ends of the path and, per state, the last metric less the best one.
    uint64_t not_finite = 0;
    float scale[group_frames];
    unsigned path_start[group_frames];
    unsigned path_end[group_frames];
    std::vector<int> loss; // [frame][state], where it is not empty on entry
};

// Buffers that grow and stay.
struct viterbi_workspace {
    hwy::AlignedFreeUniquePtr<int16_t[]> rows, columns, metrics;
    hwy::AlignedFreeUniquePtr<uint64_t[]> decisions, words;
    std::vector<float> depunctured;
};

} // namespace gr::neuralfec
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The scale that puts a robust mean of |L|, (mean sqrt|L|)^2, at limit / headroom.
void scale_frame(const viterbi_plan& plan, const float* llrs, float& scale, uint64_t& bad)
{
    const hn::ScalableTag<float> d;
    const std::size_t n = plan.frame->received, lanes = hn::Lanes(d);
    auto sum = hn::Zero(d);
    std::size_t i = 0, finite = 0;
    for (; i + lanes <= n; i += lanes) {
        const auto x = hn::LoadU(d, llrs + i);
        const auto good = hn::IsFinite(x);
        finite += hn::CountTrue(d, good);
        sum = hn::Add(sum, hn::Sqrt(hn::IfThenElseZero(good, hn::Abs(x))));
    }
    double total = hn::GetLane(hn::SumOfLanes(d, sum));
    for (; i < n; i++) {
        if (!std::isfinite(llrs[i]))
            continue;
        finite++;
        total += std::sqrt(std::fabs(llrs[i]));
    }
    bad += n - finite;
    scale = plan.scale;
    if (scale == 0) {
        const double mean = total / n * total / n;
        // A frame of zeros has no scale and needs none.
        const double wanted = plan.limit / (plan.headroom * mean);
        scale = wanted < std::numeric_limits<float>::max() ? wanted : 0;
    }
}

// in[0 .. count) -> integers in +-limit; count is a multiple of 16, rounded up by the
// caller.
void quantize(const viterbi_plan& plan,
              const float* in,
              std::size_t count,
              float scale,
              int16_t* out)
{
    const hn::CappedTag<float, 16> d;
    const hn::Rebind<int16_t, decltype(d)> d16;
    const auto factor = hn::Set(d, scale);
    const auto high = hn::Set(d, static_cast<float>(plan.limit));
    const auto low = hn::Neg(high);
    for (std::size_t i = 0; i < count; i += hn::Lanes(d)) {
        const auto x = hn::LoadU(d, in + i);
        // 0 * factor stays 0; an overflowed product is held to the limit.
        const auto y = hn::Mul(hn::IfThenElseZero(hn::IsFinite(x), x), factor);
        hn::StoreU(hn::DemoteTo(d16, hn::NearestInt(hn::Min(hn::Max(y, low), high))),
                   d16,
                   out + i);
    }
}

#if HWY_TARGET == HWY_SCALAR
// Highway's scalar target has vectors of one element, too few for bit masks: here a
// vector is an array over the whole group.
template <typename T>
std::size_t metric_lanes()
{
    return group_frames;
}

template <typename T>
void transpose(const int16_t* rows, std::size_t stride, T* columns)
{
    for (std::size_t f = 0; f < 8; f++)
        for (std::size_t c = 0; c < 8; c++)
            columns[c * group_frames + f] = static_cast<T>(rows[f * stride + c]);
}

template <typename T>
void select(const T* low,
            const T* low_branch,
            const T* high,
            const T* high_branch,
            T* to,
            uint8_t* word)
{
    uint64_t decisions = 0;
    for (std::size_t f = 0; f < group_frames; f++) {
        const T x = static_cast<T>(low[f] + low_branch[f]);
        const T y = static_cast<T>(high[f] + high_branch[f]);
        const bool take_high = static_cast<T>(x - y) < 0;
        to[f] = take_high ? y : x;
        decisions |= static_cast<uint64_t>(take_high) << f;
    }
    std::memcpy(word, &decisions, sizeof decisions);
}

template <typename T>
void forward(const viterbi_plan& plan,
             const T* columns,
             std::size_t steps,
             std::size_t,
             bool odd,
             T* metrics,
             uint64_t* decisions)
{
    const std::size_t states = plan.states, half = states / 2;
    constexpr std::size_t lanes = group_frames;
    T branch[(1u << convolutional_trellis::max_outputs) * lanes] = {};
    T* from = metrics + odd * states * lanes;
    T* to = metrics + !odd * states * lanes;
    for (std::size_t t = 0; t < steps; t++) {
        for (std::size_t p = 1; p < (std::size_t{1} << plan.outputs); p++) {
            // p without its lowest bit, and that bit's LLR.
            const T* l = columns + (t * plan.outputs + __builtin_ctzll(p)) * lanes;
            for (std::size_t f = 0; f < lanes; f++)
                branch[p * lanes + f] =
                    static_cast<T>(branch[(p & (p - 1)) * lanes + f] + l[f]);
        }
        for (const auto& c : plan.classes)
            for (const auto& b : c.members) {
                const T* low = from + b.low * lanes;
                const T* high = from + (b.low + half) * lanes;
                auto* words = reinterpret_cast<uint8_t*>(decisions + t * states);
                select(low,
                       branch + c.low_even * lanes,
                       high,
                       branch + c.high_even * lanes,
                       to + 2 * b.low * lanes,
                       words + b.even_word * sizeof(uint64_t));
                select(low,
                       branch + c.low_odd * lanes,
                       high,
                       branch + c.high_odd * lanes,
                       to + (2 * b.low + 1) * lanes,
                       words + b.odd_word * sizeof(uint64_t));
            }
        std::swap(from, to);
    }
}

void expand_bits(uint64_t bits, uint8_t* bytes)
{
    for (std::size_t i = 0; i < 64; i++)
        bytes[i] = (bits >> i) & 1;
}
#else
// The lanes of a group that one vector of metrics holds.
template <typename T>
using Lanes = hn::CappedTag<T, group_frames>;

template <typename T>
std::size_t metric_lanes()
{
    return hn::Lanes(Lanes<T>());
}

HWY_INLINE void store_column(hn::Vec<hn::FixedTag<int16_t, 8>> v, int16_t* out)
{
    hn::Store(v, hn::FixedTag<int16_t, 8>(), out);
}

HWY_INLINE void store_column(hn::Vec<hn::FixedTag<int16_t, 8>> v, int8_t* out)
{
    const hn::FixedTag<int8_t, 8> d;
    hn::Store(hn::DemoteTo(d, v), d, out);
}

// 8 frames (rows, stride apart) by 8 coded bits -> 8 columns, each of group_frames lanes.
template <typename T>
HWY_INLINE void transpose(const int16_t* rows, std::size_t stride, T* columns)
{
    const hn::FixedTag<int16_t, 8> d;
    const hn::FixedTag<int32_t, 4> d32;
    const hn::FixedTag<int64_t, 2> d64;
    using V = hn::Vec<decltype(d)>;
    const V r0 = hn::LoadU(d, rows), r1 = hn::LoadU(d, rows + stride),
            r2 = hn::LoadU(d, rows + 2 * stride), r3 = hn::LoadU(d, rows + 3 * stride),
            r4 = hn::LoadU(d, rows + 4 * stride), r5 = hn::LoadU(d, rows + 5 * stride),
            r6 = hn::LoadU(d, rows + 6 * stride), r7 = hn::LoadU(d, rows + 7 * stride);
    const auto low16 = [&](V a, V b) {
        return hn::BitCast(d32, hn::InterleaveLower(d, a, b));
    };
    const auto high16 = [&](V a, V b) {
        return hn::BitCast(d32, hn::InterleaveUpper(d, a, b));
    };
    const auto a0 = low16(r0, r1), a1 = low16(r2, r3), a2 = low16(r4, r5),
               a3 = low16(r6, r7);
    const auto b0 = high16(r0, r1), b1 = high16(r2, r3), b2 = high16(r4, r5),
               b3 = high16(r6, r7);
    const auto four = [&](auto a, auto b, auto c, auto e, T* out) {
        const auto l0 = hn::BitCast(d64, hn::InterleaveLower(d32, a, b));
        const auto l1 = hn::BitCast(d64, hn::InterleaveLower(d32, c, e));
        const auto u0 = hn::BitCast(d64, hn::InterleaveUpper(d32, a, b));
        const auto u1 = hn::BitCast(d64, hn::InterleaveUpper(d32, c, e));
        store_column(hn::BitCast(d, hn::InterleaveLower(d64, l0, l1)), out);
        store_column(hn::BitCast(d, hn::InterleaveUpper(d64, l0, l1)),
                     out + group_frames);
        store_column(hn::BitCast(d, hn::InterleaveLower(d64, u0, u1)),
                     out + 2 * group_frames);
        store_column(hn::BitCast(d, hn::InterleaveUpper(d64, u0, u1)),
                     out + 3 * group_frames);
    };
    four(a0, a1, a2, a3, columns);
    four(b0, b1, b2, b3, columns + 4 * group_frames);
}

// Add, compare, select over `steps` steps for the vectors that hold frames.
template <typename T>
void forward(const viterbi_plan& plan,
             const T* columns,
             std::size_t steps,
             std::size_t vectors,
             bool odd,
             T* metrics,
             uint64_t* decisions)
{
    const Lanes<T> d;
    const std::size_t lanes = hn::Lanes(d), states = plan.states, half = states / 2;
    const std::size_t n = plan.outputs;
    HWY_ALIGN T branch[(1u << convolutional_trellis::max_outputs) * group_frames];
    for (std::size_t v = 0; v < vectors; v++) {
        T* from = metrics + (2 * v + odd) * states * lanes;
        T* to = metrics + (2 * v + !odd) * states * lanes;
        for (std::size_t t = 0; t < steps; t++) {
            // Branch metrics of all 2^n outputs: sums of the L_j with c_j = 1.
            hn::Store(hn::Zero(d), d, branch);
            for (std::size_t j = 0; j < n; j++) {
                const auto l =
                    hn::Load(d, columns + (t * n + j) * group_frames + v * lanes);
                for (std::size_t p = 0; p < (std::size_t{1} << j); p++)
                    hn::Store(hn::Add(hn::Load(d, branch + p * lanes), l),
                              d,
                              branch + (p + (std::size_t{1} << j)) * lanes);
            }
            auto* words =
                reinterpret_cast<uint8_t*>(decisions + t * states) + v * lanes / 8;
            for (const auto& c : plan.classes) {
                const auto low_even = hn::Load(d, branch + c.low_even * lanes);
                const auto high_even = hn::Load(d, branch + c.high_even * lanes);
                const auto low_odd = hn::Load(d, branch + c.low_odd * lanes);
                const auto high_odd = hn::Load(d, branch + c.high_odd * lanes);
                for (const auto& b : c.members) {
                    const auto low = hn::Load(d, from + b.low * lanes);
                    const auto high = hn::Load(d, from + (b.low + half) * lanes);
                    const auto select = [&](auto x,
                                            auto y,
                                            std::size_t state,
                                            std::size_t word) {
                        // The sign of the difference modulo 2^b tells the larger metric.
                        const auto take_high = hn::Lt(hn::Sub(x, y), hn::Zero(d));
                        hn::Store(hn::IfThenElse(take_high, y, x), d, to + state * lanes);
                        hn::StoreMaskBits(d, take_high, words + word * sizeof(uint64_t));
                    };
                    select(hn::Add(low, low_even),
                           hn::Add(high, high_even),
                           2 * b.low,
                           b.even_word);
                    select(hn::Add(low, low_odd),
                           hn::Add(high, high_odd),
                           2 * b.low + 1,
                           b.odd_word);
                }
            }
            std::swap(from, to);
        }
    }
}

// 64 bits, least significant first, to 64 bytes of 0 or 1.
HWY_INLINE void expand_bits(uint64_t bits, uint8_t* bytes)
{
    const hn::CappedTag<uint8_t, 64> d;
    const auto* packed = reinterpret_cast<const uint8_t*>(&bits);
    for (std::size_t i = 0; i < 64; i += hn::Lanes(d)) {
        // LoadMaskBits may read 8 bytes wherever it starts.
        uint8_t piece[8] = {};
        std::memcpy(piece, packed + i / 8, hn::Lanes(d) / 8);
        hn::StoreU(
            hn::IfThenElseZero(hn::LoadMaskBits(d, piece), hn::Set(d, 1)), d, bytes + i);
    }
}

#endif

// For each frame the word, of `count`, that its bits in `index` name; LSB first, count =
// 2^m.
HWY_INLINE uint64_t choose(const uint64_t* words,
                           std::size_t count,
                           const uint64_t* index)
{
    HWY_ALIGN uint64_t kept[1u << (convolutional_trellis::max_length - 2)];
    const hn::CappedTag<uint64_t, 8> d;
    const std::size_t lanes = hn::Lanes(d);
    for (std::size_t half = count / 2; half >= 1; half /= 2, index++) {
        std::size_t i = 0;
        const auto second = hn::Set(d, *index);
        for (; i + lanes <= half; i += lanes) {
            const auto x = hn::LoadU(d, words + i), y = hn::LoadU(d, words + half + i);
            hn::Store(hn::Xor(x, hn::And(hn::Xor(x, y), second)), d, kept + i);
        }
        for (; i < half; i++)
            kept[i] = words[i] ^ ((words[i] ^ words[half + i]) & *index);
        words = kept;
    }
    return kept[0];
}

void transpose_bits(uint64_t* rows)
{
    uint64_t mask = 0x00000000FFFFFFFFu;
    for (unsigned width = 32; width != 0; width /= 2, mask ^= mask << width)
        for (unsigned i = 0; i < 64; i = ((i | width) + 1) & ~width) {
            const uint64_t swapped = ((rows[i] >> width) ^ rows[i | width]) & mask;
            rows[i | width] ^= swapped;
            rows[i] ^= swapped << width;
        }
}

template <typename T>
void decode(const viterbi_plan& plan, viterbi_group& group, viterbi_workspace& work)
{
    const std::size_t lanes = metric_lanes<T>(), states = plan.states, n = plan.outputs;
    const std::size_t steps = plan.frame->steps;
    const std::size_t vectors = (group.count + lanes - 1) / lanes;
    const std::size_t row = tile_steps * n; // a multiple of 16
    T* metrics = reinterpret_cast<T*>(work.metrics.get());
    T* columns = reinterpret_cast<T*>(work.columns.get());

    for (std::size_t f = 0; f < vectors * lanes; f++) {
        T* first = metrics + f / lanes * 2 * states * lanes + f % lanes;
        const int start = f < group.count ? group.start[f] : any_state;
        for (std::size_t s = 0; s < states; s++)
            first[s * lanes] = static_cast<T>(
                start == any_state || start == static_cast<int>(s) ? 0
                                                                   : -plan.start_penalty);
    }
    for (std::size_t f = 0; f < group.count; f++)
        scale_frame(plan, group.llrs[f], group.scale[f], group.not_finite);
    std::memset(work.rows.get(), 0, group_frames * row * sizeof(int16_t));

    for (std::size_t t0 = 0; t0 < steps; t0 += tile_steps) {
        const std::size_t tile = std::min(tile_steps, steps - t0);
        for (std::size_t f = 0; f < group.count; f++) {
            const float* in = group.llrs[f] + t0 * n;
            std::size_t whole = tile * n / 16 * 16;
            if (plan.frame->punctured) {
                const uint8_t* kept = plan.frame->kept.data() + t0 * n;
                const float* next = group.llrs[f] + plan.frame->rank[t0 * n];
                for (std::size_t c = 0; c < tile * n; c++)
                    work.depunctured[c] = kept[c] ? *next++ : 0;
                in = work.depunctured.data();
            }
            quantize(plan, in, whole, group.scale[f], work.rows.get() + f * row);
            if (whole < tile * n) {
                float rest[16] = {};
                std::copy(in + whole, in + tile * n, rest);
                quantize(
                    plan, rest, 16, group.scale[f], work.rows.get() + f * row + whole);
            }
        }
        for (std::size_t f = 0; f < vectors * lanes; f += 8)
            for (std::size_t c = 0; c < tile * n; c += 8)
                transpose(
                    work.rows.get() + f * row + c, row, columns + c * group_frames + f);
        forward(plan,
                columns,
                tile,
                vectors,
                t0 % 2 != 0,
                metrics,
                work.decisions.get() + t0 * states);
    }

    // The state that each frame ends in.
    uint64_t state[convolutional_trellis::max_length] = {};
    for (std::size_t f = 0; f < group.count; f++) {
        const T* last =
            metrics + (2 * (f / lanes) + steps % 2) * states * lanes + f % lanes;
        unsigned best = 0;
        for (unsigned s = 1; s < states; s++)
            if (static_cast<T>(last[best * lanes] - last[s * lanes]) < 0)
                best = s;
        const unsigned end = group.end[f] == any_state ? best : group.end[f];
        group.path_end[f] = end;
        for (unsigned b = 0; b < plan.memory; b++)
            state[b] |= static_cast<uint64_t>((end >> b) & 1) << f;
        if (!group.loss.empty())
            for (std::size_t s = 0; s < states; s++)
                group.loss[f * states + s] =
                    static_cast<T>(last[s * lanes] - last[best * lanes]);
    }

    // words[m + t] holds w_t of all frames; the first m are the state before the frame.
    uint64_t* words = work.words.get();
    const unsigned m = plan.memory;
    for (std::size_t t = steps; t-- > 0;) {
        words[m + t] = state[0];
        const uint64_t oldest = choose(work.decisions.get() + t * states, states, state);
        for (unsigned i = 0; i + 1 < m; i++)
            state[i] = state[i + 1];
        state[m - 1] = oldest;
    }
    for (unsigned i = 0; i < m; i++)
        words[m - 1 - i] = state[i];
    for (std::size_t f = 0; f < group.count; f++) {
        group.path_start[f] = 0;
        for (unsigned i = 0; i < m; i++)
            group.path_start[f] |= static_cast<unsigned>((state[i] >> f) & 1) << i;
    }
    if (plan.feedback != 1)
        for (std::size_t t = steps; t-- > 0;) {
            uint64_t message = 0;
            for (unsigned i = 0; i <= m; i++)
                if ((plan.feedback >> i) & 1)
                    message ^= words[m + t - i];
            words[m + t] = message;
        }

    for (std::size_t t = 0; t < group.length; t += 64) {
        uint64_t block[64] = {};
        const std::size_t length = std::min<std::size_t>(64, group.length - t);
        std::copy_n(words + m + group.first + t, length, block);
        transpose_bits(block);
        for (std::size_t f = 0; f < group.count; f++) {
            if (length == 64) {
                expand_bits(block[f], group.bits[f] + t);
            } else {
                uint8_t bytes[64];
                expand_bits(block[f], bytes);
                std::copy_n(bytes, length, group.bits[f] + t);
            }
        }
    }
}

void decode_group(const viterbi_plan& plan, viterbi_group& group, viterbi_workspace& work)
{
    if (plan.metric == viterbi_metric::int8)
        decode<int8_t>(plan, group, work);
    else
        decode<int16_t>(plan, group, work);
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(decode_group);

namespace {

viterbi_plan make_plan(const convolutional_trellis& trellis,
                       const convolutional_frame& frame,
                       viterbi_metric metric,
                       float scale,
                       bool start_known)
{
    if (!std::isfinite(scale) || scale < 0)
        throw std::invalid_argument(
            "viterbi: expected a scale of 0 (automatic) or more, got " +
            std::to_string(scale));
    viterbi_plan plan{};
    const unsigned m = trellis.memory();
    plan.memory = m;
    plan.states = trellis.states();
    plan.outputs = trellis.outputs();
    plan.feedback = trellis.feedback_taps();
    plan.frame = &frame;
    plan.metric = metric;
    plan.scale = scale;

    // Two metrics that are compared differ by at most limit * (spread + n), and by the
    // penalty of the wrong start states, which outweighs all that these can gain.
    const int largest = metric == viterbi_metric::int8 ? 127 : 32767;
    const int spread = trellis.max_weight() + trellis.outputs();
    const int tail = trellis.tail_weight();
    plan.limit = start_known ? (largest - 1) / (spread + tail) : largest / spread;
    plan.start_penalty = plan.limit * tail + 1;
    plan.headroom = metric == viterbi_metric::int8 ? 2 : 16;

    const auto word = [m](unsigned state) {
        unsigned w = 0;
        for (unsigned i = 0; i < m; i++)
            w |= ((state >> i) & 1) << (m - 1 - i);
        return static_cast<uint16_t>(w);
    };
    for (unsigned low = 0; low < plan.states / 2; low++) {
        const auto output = [&](unsigned source, unsigned bit) {
            return static_cast<uint8_t>(trellis.output(source << 1 | bit));
        };
        const unsigned high = low + plan.states / 2;
        const uint8_t key[4] = {
            output(low, 0), output(high, 0), output(low, 1), output(high, 1)};
        auto c =
            std::find_if(plan.classes.begin(), plan.classes.end(), [&](const auto& k) {
                return k.low_even == key[0] && k.high_even == key[1] &&
                       k.low_odd == key[2] && k.high_odd == key[3];
            });
        if (c == plan.classes.end())
            c = plan.classes.insert(c, {key[0], key[1], key[2], key[3], {}});
        c->members.push_back(
            {static_cast<uint16_t>(low), word(2 * low), word(2 * low + 1)});
    }
    return plan;
}

viterbi_workspace make_workspace(const viterbi_plan& plan)
{
    viterbi_workspace work;
    const std::size_t row = tile_steps * plan.outputs;
    work.rows = hwy::AllocateAligned<int16_t>(group_frames * row);
    work.columns = hwy::AllocateAligned<int16_t>(group_frames * row);
    work.metrics = hwy::AllocateAligned<int16_t>(2 * group_frames * plan.states);
    work.decisions = hwy::AllocateAligned<uint64_t>(plan.frame->steps * plan.states);
    work.words = hwy::AllocateAligned<uint64_t>(plan.frame->steps + plan.memory);
    work.depunctured.resize(row);
    if (!work.rows || !work.columns || !work.metrics || !work.decisions || !work.words)
        throw std::bad_alloc();
    return work;
}

} // namespace

viterbi_metric viterbi_metric_from_name(const std::string& name)
{
    if (name == "int8")
        return viterbi_metric::int8;
    if (name == "int16")
        return viterbi_metric::int16;
    if (name == "float")
        return viterbi_metric::float64;
    throw std::invalid_argument(
        "viterbi: expected metric \"int8\", \"int16\" or \"float\", got \"" + name +
        "\"");
}

struct viterbi_frame_kernel::impl {
    convolutional_trellis trellis;
    convolutional_frame frame;
    viterbi_plan plan;
    viterbi_workspace work;

    impl(const convolutional_trellis& t,
         const convolutional_frame& f,
         viterbi_metric metric,
         float scale)
        : trellis(t), frame(f), plan(make_plan(trellis, frame, metric, scale, true))
    {
        if (metric != viterbi_metric::float64)
            work = make_workspace(plan);
        // Circular paths are compared as register bits.
        if (frame.end == termination::tail_biting)
            plan.feedback = 1;
    }

    // Decodes register bits w where the frame bites its tail, messages otherwise.
    uint64_t decode_integers(const float* llrs, uint8_t* bits, std::size_t frames)
    {
        uint64_t not_finite = 0;
        for (std::size_t f = 0; f < frames; f += group_frames) {
            viterbi_group group;
            group.count = std::min(group_frames, frames - f);
            group.length = frame.message_bits;
            const bool circular = frame.end == termination::tail_biting;
            for (std::size_t i = 0; i < group.count; i++) {
                group.llrs[i] = llrs + (f + i) * frame.received;
                group.bits[i] = bits + (f + i) * frame.message_bits;
                group.start[i] = circular ? any_state : 0;
                group.end[i] = frame.end == termination::zero ? 0 : any_state;
            }
            if (circular)
                group.loss.resize(group.count * plan.states);
            HWY_DYNAMIC_DISPATCH(decode_group)(plan, group, work);
            not_finite += group.not_finite;
            if (circular)
                bite_tails(group);
        }
        return not_finite;
    }

    /* Exact: the best path that ends in s, from whichever state, is no worse than the
     * best that starts and ends in s. States are tried in the order of that bound, those
     * of all frames together, until no bound is above the best circular path that was
     * found. */
    void bite_tails(const viterbi_group& open)
    {
        struct search {
            std::size_t frame;
            int64_t best;
            std::vector<std::pair<int64_t, int>> bounds; // the largest last
        };
        std::vector<search> searches;
        for (std::size_t f = 0; f < open.count; f++) {
            if (open.path_start[f] == open.path_end[f])
                continue;
            const int64_t top = path_metric(open, f, open.path_start[f]);
            search s{f, std::numeric_limits<int64_t>::min(), {}};
            for (unsigned state = 0; state < plan.states; state++)
                s.bounds.emplace_back(top + open.loss[f * plan.states + state], state);
            std::sort(s.bounds.begin(), s.bounds.end());
            searches.push_back(std::move(s));
        }
        std::vector<uint8_t> bits(group_frames * frame.message_bits);
        while (!searches.empty()) {
            viterbi_group group;
            group.count = searches.size();
            group.length = frame.message_bits;
            for (std::size_t i = 0; i < group.count; i++) {
                group.llrs[i] = open.llrs[searches[i].frame];
                group.bits[i] = bits.data() + i * frame.message_bits;
                group.start[i] = group.end[i] = searches[i].bounds.back().second;
                searches[i].bounds.pop_back();
            }
            HWY_DYNAMIC_DISPATCH(decode_group)(plan, group, work);
            for (std::size_t i = 0; i < group.count; i++) {
                const int64_t metric = path_metric(group, i, group.path_start[i]);
                if (metric <= searches[i].best)
                    continue;
                searches[i].best = metric;
                std::copy_n(
                    group.bits[i], frame.message_bits, open.bits[searches[i].frame]);
            }
            searches.erase(std::remove_if(searches.begin(),
                                          searches.end(),
                                          [](const search& s) {
                                              return s.bounds.empty() ||
                                                     s.bounds.back().first <= s.best;
                                          }),
                           searches.end());
        }
    }

    // The sum of c_i q_i of a decoded path, rounded as in the kernel.
    int64_t path_metric(const viterbi_group& group, std::size_t f, unsigned state) const
    {
        int64_t total = 0;
        const float limit = plan.limit;
        for (std::size_t t = 0; t < frame.steps; t++) {
            const unsigned edge = state << 1 | group.bits[f][t];
            const unsigned c = trellis.output(edge);
            state = edge & (plan.states - 1);
            for (unsigned j = 0; j < plan.outputs; j++) {
                const std::size_t at = t * plan.outputs + j;
                if (!((c >> j) & 1) || !frame.kept[at])
                    continue;
                const float l = group.llrs[f][frame.rank[at]];
                const float q = std::isfinite(l) ? l * group.scale[f] : 0;
                total += std::lrint(std::min(std::max(q, -limit), limit));
            }
        }
        return total;
    }

    // Register bits to message bits, in place.
    void message_of_circular(uint8_t* bits) const
    {
        const std::size_t k = frame.message_bits;
        const std::vector<uint8_t> w(bits, bits + k);
        for (std::size_t t = 0; t < k; t++) {
            unsigned edge = 0;
            for (unsigned i = 0; i <= plan.memory; i++)
                edge |= w[(t + k - i) % k] << i;
            bits[t] = trellis.message(edge);
        }
    }

    // The algorithm as in the textbooks, one frame at a time.
    uint64_t decode_floats(const float* llrs, uint8_t* bits)
    {
        const unsigned states = plan.states, n = plan.outputs;
        uint64_t not_finite = 0;
        for (std::size_t i = 0; i < frame.received; i++)
            not_finite += !std::isfinite(llrs[i]);
        const double never = -std::numeric_limits<double>::infinity();
        double best = never;
        const bool circular = frame.end == termination::tail_biting;
        std::vector<std::vector<uint8_t>> oldest(frame.steps,
                                                 std::vector<uint8_t>(states));
        for (unsigned start = 0; start < (circular ? states : 1); start++) {
            std::vector<double> metric(states, never);
            metric[start] = 0;
            for (std::size_t t = 0; t < frame.steps; t++) {
                std::vector<double> next(states, never);
                for (unsigned edge = 0; edge < 2 * states; edge++) {
                    double m = metric[edge >> 1];
                    const unsigned c = trellis.output(edge);
                    for (unsigned j = 0; j < n; j++) {
                        const float l =
                            frame.kept[t * n + j] ? llrs[frame.rank[t * n + j]] : 0.0f;
                        if ((c >> j) & 1 && std::isfinite(l))
                            m += l;
                    }
                    const unsigned state = edge & (states - 1);
                    if (m > next[state]) {
                        next[state] = m;
                        oldest[t][state] = edge >> plan.memory;
                    }
                }
                metric = next;
            }
            unsigned state = 0;
            if (circular)
                state = start;
            else if (frame.end == termination::none)
                state = std::max_element(metric.begin(), metric.end()) - metric.begin();
            if (metric[state] <= best)
                continue;
            best = metric[state];
            for (std::size_t t = frame.steps; t-- > 0;) {
                const unsigned edge = state | oldest[t][state] << plan.memory;
                if (t < frame.message_bits)
                    bits[t] = trellis.message(edge);
                state = edge >> 1;
            }
        }
        return not_finite;
    }
};

viterbi_frame_kernel::viterbi_frame_kernel(const convolutional_trellis& trellis,
                                           const convolutional_frame& frame,
                                           viterbi_metric metric,
                                           float scale)
    : d_impl(std::make_unique<impl>(trellis, frame, metric, scale))
{
}

viterbi_frame_kernel::viterbi_frame_kernel(viterbi_frame_kernel&&) noexcept = default;
viterbi_frame_kernel::~viterbi_frame_kernel() = default;

const convolutional_frame& viterbi_frame_kernel::frame() const
{
    return d_impl->frame;
}

int viterbi_frame_kernel::limit() const
{
    return d_impl->plan.metric == viterbi_metric::float64 ? 0 : d_impl->plan.limit;
}

uint64_t viterbi_frame_kernel::decode(span<const float> llrs, span<uint8_t> bits) const
{
    const auto& frame = d_impl->frame;
    const std::size_t frames = llrs.size() / frame.received;
    if (llrs.size() % frame.received != 0 || bits.size() != frames * frame.message_bits)
        throw std::invalid_argument("viterbi: expected frames of " +
                                    std::to_string(frame.received) + " LLRs and " +
                                    std::to_string(frame.message_bits) + " bits, got " +
                                    std::to_string(llrs.size()) + " LLRs and " +
                                    std::to_string(bits.size()) + " bits");
    uint64_t not_finite = 0;
    if (d_impl->plan.metric == viterbi_metric::float64) {
        for (std::size_t f = 0; f < frames; f++)
            not_finite += d_impl->decode_floats(llrs.data() + f * frame.received,
                                                bits.data() + f * frame.message_bits);
        return not_finite;
    }
    not_finite = d_impl->decode_integers(llrs.data(), bits.data(), frames);
    if (frame.end == termination::tail_biting && d_impl->trellis.feedback_taps() != 1)
        for (std::size_t f = 0; f < frames; f++)
            d_impl->message_of_circular(bits.data() + f * frame.message_bits);
    return not_finite;
}

namespace {

std::size_t round_up(std::size_t x, std::size_t multiple)
{
    return (x + multiple - 1) / multiple * multiple;
}

} // namespace

struct viterbi_stream_kernel::impl {
    std::size_t depth, block;
    convolutional_frame window;
    viterbi_plan plan;
    viterbi_workspace work;
    std::size_t stride; // received coded bits of a block
    std::vector<float> buffer;
    std::size_t filled;

    impl(const convolutional_trellis& trellis,
         const std::vector<uint8_t>& puncture,
         std::size_t depth_,
         std::size_t block_,
         viterbi_metric metric)
        : depth(round_up(depth_ ? depth_ : 12 * trellis.memory(),
                         period(trellis, puncture))),
          block(round_up(block_, period(trellis, puncture))),
          window(trellis, depth + block + depth, termination::none, puncture),
          plan(make_plan(trellis, window, metric, 0, false)),
          work(make_workspace(plan)),
          stride(window.rank[(depth + block) * plan.outputs] -
                 window.rank[depth * plan.outputs]),
          buffer(window.received + (group_frames - 1) * stride),
          filled(window.rank[depth * plan.outputs])
    {
    }

    static std::size_t period(const convolutional_trellis& trellis,
                              const std::vector<uint8_t>& puncture)
    {
        return std::max<std::size_t>(1, puncture.size() / trellis.outputs());
    }
};

viterbi_stream_kernel::viterbi_stream_kernel(const convolutional_trellis& trellis,
                                             const std::vector<uint8_t>& puncture,
                                             std::size_t depth,
                                             std::size_t block,
                                             viterbi_metric metric)
{
    if (block == 0)
        throw std::invalid_argument("viterbi: expected a block of at least 1 bit, got 0");
    if (metric == viterbi_metric::float64)
        throw std::invalid_argument("viterbi: streams have integer metrics");
    d_impl = std::make_unique<impl>(trellis, puncture, depth, block, metric);
}

viterbi_stream_kernel::viterbi_stream_kernel(viterbi_stream_kernel&&) noexcept = default;
viterbi_stream_kernel::~viterbi_stream_kernel() = default;

std::size_t viterbi_stream_kernel::block() const
{
    return d_impl->block;
}
std::size_t viterbi_stream_kernel::received() const
{
    return d_impl->stride;
}
std::size_t viterbi_stream_kernel::depth() const
{
    return d_impl->depth;
}

viterbi_stream_kernel::progress viterbi_stream_kernel::decode(span<const float> llrs,
                                                              span<uint8_t> bits)
{
    auto& s = *d_impl;
    progress done{0, 0, 0};
    while (bits.size() - done.produced >= s.block) {
        const std::size_t take =
            std::min(s.buffer.size() - s.filled, llrs.size() - done.consumed);
        std::copy_n(llrs.data() + done.consumed, take, s.buffer.data() + s.filled);
        // Counted once, though windows overlap; as integers, which compilers vectorize.
        uint64_t bad = 0;
        for (std::size_t i = 0; i < take; i++) {
            uint32_t bits_of_float;
            std::memcpy(
                &bits_of_float, llrs.data() + done.consumed + i, sizeof bits_of_float);
            bad += (bits_of_float & 0x7f800000u) == 0x7f800000u;
        }
        done.not_finite += bad;
        s.filled += take;
        done.consumed += take;
        if (s.filled < s.window.received)
            break;
        viterbi_group group;
        group.count = std::min({(s.filled - s.window.received) / s.stride + 1,
                                (bits.size() - done.produced) / s.block,
                                group_frames});
        group.first = s.depth;
        group.length = s.block;
        for (std::size_t i = 0; i < group.count; i++) {
            group.llrs[i] = s.buffer.data() + i * s.stride;
            group.bits[i] = bits.data() + done.produced + i * s.block;
            group.start[i] = group.end[i] = any_state;
        }
        HWY_DYNAMIC_DISPATCH(decode_group)(s.plan, group, s.work);
        const std::size_t used = group.count * s.stride;
        std::copy(s.buffer.begin() + used, s.buffer.begin() + s.filled, s.buffer.begin());
        s.filled -= used;
        done.produced += group.count * s.block;
    }
    return done;
}

} // namespace gr::neuralfec
#endif

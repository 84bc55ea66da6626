/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/viterbi.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/llr.h"
#include "kernels/viterbi.h"
#include "kernels/workspace.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
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
// Outputs whose sums fill a 128-bit table of 16-bit integers.
constexpr std::size_t table_outputs = 3;
static_assert(convolutional_trellis::max_outputs <= 2 * table_outputs);
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
    // For states across lanes, [table][edge][low state]: where the metrics of its edges
    // (low to even, high to even, low to odd, high to odd) lie in each table, as the
    // indices of two bytes.
    std::size_t low_lanes; // half of the states, at least a vector of 8
    hwy::AlignedFreeUniquePtr<uint16_t[]> lookups;
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
    uint64_t not_a_number = 0;
    float scale[group_frames];
    unsigned path_start[group_frames];
    unsigned path_end[group_frames];
    std::vector<int> loss; // [frame][state], where it is not empty on entry
};

// Buffers that grow and stay.
struct viterbi_workspace {
    hwy::AlignedFreeUniquePtr<int16_t[]> rows, columns, metrics, line;
    hwy::AlignedFreeUniquePtr<uint64_t[]> decisions, words;
    std::vector<float> depunctured;
};

} // namespace gr::neuralfec
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The sampled magnitudes of a frame: all but the last few of a short one, every step-th
// 16 of a long one. The step is odd, and no period of the code divides it.
constexpr std::size_t sample_step(std::size_t n)
{
    return (n / 1024 | 1) * 16;
}

// The median of the sampled |L| that are neither 0 nor infinite; 0 if there are none.
double median_magnitude(const float* llrs, std::size_t n)
{
    std::vector<float> sample;
    const std::size_t step = sample_step(n);
    for (std::size_t i = 0; i < n; i += step)
        for (std::size_t j = i; j < std::min(n, i + 16); j++) {
            const float magnitude = std::fabs(llrs[j]);
            if (magnitude > 0 && std::isfinite(magnitude))
                sample.push_back(magnitude);
        }
    if (sample.empty())
        return 0;
    const auto middle = sample.begin() + sample.size() / 2;
    std::nth_element(sample.begin(), middle, sample.end());
    return *middle;
}

// The scale that puts a robust mean of |L|, (mean sqrt|L|)^2, at limit / headroom. The
// plain mean of Gaussian LLRs is 1.2 times that, on a Rayleigh channel 1.3 times; where
// it is much more there are outliers, and the median takes the place of the mean.
float frame_scale(const viterbi_plan& plan, const float* llrs)
{
    if (plan.scale != 0)
        return plan.scale;
    const hn::CappedTag<float, 16> d;
    const std::size_t n = plan.frame->received, lanes = hn::Lanes(d);
    const std::size_t step = sample_step(n);
    auto sum = hn::Zero(d), plain = hn::Zero(d);
    std::size_t sampled = 0;
    for (std::size_t i = 0; i + 16 <= n; i += step, sampled += 16)
        for (std::size_t j = 0; j < 16; j += lanes) {
            const auto x = hn::LoadU(d, llrs + i + j);
            const auto magnitude = hn::IfThenElseZero(hn::IsFinite(x), hn::Abs(x));
            sum = hn::Add(sum, hn::Sqrt(magnitude));
            plain = hn::Add(plain, magnitude);
        }
    double total = hn::GetLane(hn::SumOfLanes(d, sum));
    double plain_total = hn::GetLane(hn::SumOfLanes(d, plain));
    if (step == 16)
        for (; sampled < n; sampled++) {
            const double magnitude =
                std::isfinite(llrs[sampled]) ? std::fabs(llrs[sampled]) : 0;
            total += std::sqrt(static_cast<float>(magnitude));
            plain_total += magnitude;
        }
    double mean = total / sampled * total / sampled;
    constexpr double outliers = 1.8;
    if (HWY_UNLIKELY(plain_total / sampled > outliers * mean))
        mean = median_magnitude(llrs, n);
    // A frame of zeros has no scale and needs none.
    const double wanted = plan.limit / (plan.headroom * mean);
    return wanted < std::numeric_limits<float>::max() ? wanted : 1;
}

// in[0 .. count) -> integers in +-limit; count is a multiple of 16, rounded up by the
// caller. Returns how many were NaN.
std::size_t quantize(const viterbi_plan& plan,
                     const float* in,
                     std::size_t count,
                     float scale,
                     int16_t* out)
{
    const hn::CappedTag<float, 16> d;
    const hn::RebindToSigned<decltype(d)> d32;
    const hn::Rebind<int16_t, decltype(d)> d16;
    const auto factor = hn::Set(d, scale);
    const auto high = hn::Set(d, static_cast<float>(plan.limit));
    const auto low = hn::Neg(high);
    // The sum with 1.5 * 2^23 has the integer, rounded to nearest even, in its low bits.
    const auto magic = hn::Set(d, 12582912.0f);
    const auto exponent = hn::BitCast(d32, magic);
    std::size_t numbers = 0;
    for (std::size_t i = 0; i < count; i += hn::Lanes(d)) {
        const auto x = hn::LoadU(d, in + i);
        const auto good = hn::Eq(x, x);
        numbers += hn::CountTrue(d, good);
        // The factor is not 0; a product that is infinite is held to the limit.
        const auto y = hn::Mul(hn::IfThenElseZero(good, x), factor);
        const auto sum = hn::Add(hn::Min(hn::Max(y, low), high), magic);
        const auto integer = hn::Sub(hn::BitCast(d32, sum), exponent);
        hn::StoreU(hn::DemoteTo(d16, integer), d16, out + i);
    }
    return count - numbers;
}

// The coded bits of `steps` steps of a frame as integers, 0 where nothing was sent.
void quantize_steps(const viterbi_plan& plan,
                    viterbi_group& group,
                    std::size_t f,
                    std::size_t first,
                    std::size_t steps,
                    viterbi_workspace& work,
                    int16_t* out)
{
    const std::size_t n = plan.outputs, count = steps * n, whole = count / 16 * 16;
    const float* in = group.llrs[f] + first * n;
    if (plan.frame->punctured) {
        const uint8_t* kept = plan.frame->kept.data() + first * n;
        const float* next = group.llrs[f] + plan.frame->rank[first * n];
        for (std::size_t c = 0; c < count; c++)
            work.depunctured[c] = kept[c] ? *next++ : 0;
        in = work.depunctured.data();
    }
    group.not_a_number += quantize(plan, in, whole, group.scale[f], out);
    if (whole < count) {
        float rest[16] = {};
        std::copy(in + whole, in + count, rest);
        group.not_a_number += quantize(plan, rest, 16, group.scale[f], out + whole);
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
    return *words;
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
        group.scale[f] = frame_scale(plan, group.llrs[f]);
    std::memset(work.rows.get(), 0, group_frames * row * sizeof(int16_t));

    for (std::size_t t0 = 0; t0 < steps; t0 += tile_steps) {
        const std::size_t tile = std::min(tile_steps, steps - t0);
        for (std::size_t f = 0; f < group.count; f++)
            quantize_steps(plan, group, f, t0, tile, work, work.rows.get() + f * row);
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

#if HWY_TARGET != HWY_SCALAR
// Sums of the LLRs of three outputs, over all sets of them. Where a step has fewer, those
// behind it are in sums that are not looked up.
template <class D>
HWY_INLINE hn::Vec<D> sums(D d, const int16_t* llrs)
{
    HWY_ALIGN static constexpr int16_t members[table_outputs][16] = {
        {0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1, 0, -1},
        {0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1, 0, 0, -1, -1},
        {0, 0, 0, 0, -1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1}};
    const auto member = [&](std::size_t j) {
        return hn::And(hn::Set(d, llrs[j]), hn::Load(d, members[j]));
    };
    return hn::Add(hn::Add(member(0), member(1)), member(2));
}

// Add, compare, select of one frame, its states across lanes. A step's decisions are two
// rows of low_lanes bits, those of the even states and those of the odd ones.
//
// A step waits for the one before: up to 4 vectors of metrics stay in registers, which
// spares it the way through memory. vectors: how many they are; 0: more.
template <std::size_t vectors, bool two_tables, class D>
void forward_one(const viterbi_plan& plan,
                 D d,
                 const int16_t* HWY_RESTRICT llrs,
                 std::size_t steps,
                 int16_t* metrics,
                 uint8_t* HWY_RESTRICT decisions)
{
    const std::size_t lanes = hn::Lanes(d), half = plan.states / 2, n = plan.outputs;
    const std::size_t row = plan.low_lanes, bytes = row / 8;
    const uint16_t* HWY_RESTRICT lookups = plan.lookups.get();
    const hn::RebindToUnsigned<D> d_index;
    // All states of a small code are in one vector; its upper half of states moves down.
    HWY_ALIGN uint16_t down[16];
    for (std::size_t i = 0; i < 16; i++)
        down[i] = static_cast<uint16_t>(((i + half) % 8) * 0x0202 + 0x0100);
    const auto down_index = hn::BitCast(d, hn::Load(d_index, down));
    int16_t* from = metrics;
    int16_t* to = metrics + 2 * row;
    auto x0 = hn::Load(d, from), x1 = x0, x2 = x0, x3 = x0;
    if (vectors >= 2)
        x1 = hn::Load(d, from + lanes);
    if (vectors == 4) {
        x2 = hn::Load(d, from + 2 * lanes);
        x3 = hn::Load(d, from + 3 * lanes);
    }
    for (std::size_t t = 0; t < steps; t++, llrs += n) {
        const auto table = sums(d, llrs);
        const auto second = two_tables ? sums(d, llrs + table_outputs) : table;
        const auto metric = [&](std::size_t edge, std::size_t state) {
            const auto look_up = [&](auto sums, std::size_t i) {
                const auto* index = lookups + (4 * i + edge) * row + state;
                return hn::TableLookupBytes(sums,
                                            hn::BitCast(d, hn::Load(d_index, index)));
            };
            const auto one = look_up(table, 0);
            return two_tables ? hn::Add(one, look_up(second, 1)) : one;
        };
        const auto select = [&](auto x, auto y, uint8_t* bits) {
            // Modulo 2^16, as the comparison.
            const auto gain = hn::Sub(y, x);
            hn::StoreMaskBits(d, hn::Gt(gain, hn::Zero(d)), bits);
            return hn::Add(x, hn::Max(gain, hn::Zero(d)));
        };
        // Low states from `s` on and their high states, to twice as many.
        const auto butterflies =
            [&](auto low, auto high, std::size_t s, auto& first, auto& last) {
                const auto even = select(hn::Add(low, metric(0, s)),
                                         hn::Add(high, metric(1, s)),
                                         decisions + s / 8);
                const auto odd = select(hn::Add(low, metric(2, s)),
                                        hn::Add(high, metric(3, s)),
                                        decisions + bytes + s / 8);
                first = hn::InterleaveLower(d, even, odd);
                last = hn::InterleaveUpper(d, even, odd);
                if (lanes == 16) {
                    const auto lower = first;
                    first = hn::ConcatLowerLower(d, last, lower);
                    last = hn::ConcatUpperUpper(d, last, lower);
                }
            };
        if (vectors == 1) {
            butterflies(x0, hn::TableLookupBytes(x0, down_index), 0, x0, x1);
        } else if (vectors == 2) {
            butterflies(x0, x1, 0, x0, x1);
        } else if (vectors == 4) {
            const auto low = x1;
            butterflies(x0, x2, 0, x0, x1);
            butterflies(low, x3, lanes, x2, x3);
        } else {
            for (std::size_t s = 0; s < half; s += lanes) {
                butterflies(
                    hn::Load(d, from + s), hn::Load(d, from + half + s), s, x0, x1);
                hn::Store(x0, d, to + 2 * s);
                hn::Store(x1, d, to + 2 * s + lanes);
            }
            std::swap(from, to);
        }
        decisions += 2 * bytes;
    }
    if (vectors == 0)
        return;
    to = metrics + steps % 2 * 2 * row;
    hn::Store(x0, d, to);
    if (vectors >= 2)
        hn::Store(x1, d, to + lanes);
    if (vectors == 4) {
        hn::Store(x2, d, to + 2 * lanes);
        hn::Store(x3, d, to + 3 * lanes);
    }
}

// As `decode`, for frame f of a group alone.
void decode_one(const viterbi_plan& plan,
                viterbi_group& group,
                std::size_t f,
                viterbi_workspace& work)
{
    const std::size_t states = plan.states, steps = plan.frame->steps, n = plan.outputs;
    const unsigned m = plan.memory;
    int16_t* metrics = work.metrics.get();
    for (std::size_t s = 0; s < states; s++)
        metrics[s] = static_cast<int16_t>(group.start[f] == any_state ||
                                                  group.start[f] == static_cast<int>(s)
                                              ? 0
                                              : -plan.start_penalty);
    group.scale[f] = frame_scale(plan, group.llrs[f]);
    for (std::size_t t = 0; t < steps; t += tile_steps)
        quantize_steps(plan,
                       group,
                       f,
                       t,
                       std::min(tile_steps, steps - t),
                       work,
                       work.line.get() + t * n);

    auto* decisions = reinterpret_cast<uint8_t*>(work.decisions.get());
    const auto run = [&](auto kernel, auto d) {
        kernel(plan, d, work.line.get(), steps, metrics, decisions);
    };
    const auto forward = [&](auto d) {
        using D = decltype(d);
        const std::size_t vectors = (states + hn::Lanes(d) - 1) / hn::Lanes(d);
        if (n > table_outputs)
            vectors == 1   ? run(forward_one<1, true, D>, d)
            : vectors == 2 ? run(forward_one<2, true, D>, d)
            : vectors == 4 ? run(forward_one<4, true, D>, d)
                           : run(forward_one<0, true, D>, d);
        else
            vectors == 1   ? run(forward_one<1, false, D>, d)
            : vectors == 2 ? run(forward_one<2, false, D>, d)
            : vectors == 4 ? run(forward_one<4, false, D>, d)
                           : run(forward_one<0, false, D>, d);
    };
    const std::size_t row = plan.low_lanes / 4;
    if (plan.low_lanes == 8)
        forward(hn::FixedTag<int16_t, 8>());
    else
        forward(hn::CappedTag<int16_t, 16>());

    const int16_t* last = metrics + steps % 2 * 2 * plan.low_lanes;
    unsigned best = 0;
    for (unsigned s = 1; s < states; s++)
        if (static_cast<int16_t>(last[best] - last[s]) < 0)
            best = s;
    if (!group.loss.empty())
        for (std::size_t s = 0; s < states; s++)
            group.loss[f * states + s] = static_cast<int16_t>(last[s] - last[best]);
    unsigned state = group.end[f] == any_state ? best : group.end[f];
    group.path_end[f] = state;

    // bits[m + t] is w_t; the first m are the state before the frame. `at` is where a
    // state's decision is in a step's bits: the state rotated.
    uint8_t* bits = reinterpret_cast<uint8_t*>(work.words.get());
    const unsigned top = hwy::Num0BitsBelowLS1Bit_Nonzero64(plan.low_lanes);
    const unsigned learned = m >= 2 ? m - 2 : top;
    const auto previous = [&](unsigned at, std::size_t t) {
        // What lies behind a row belongs to the next one, or to the buffer's end.
        uint64_t word;
        std::memcpy(&word, decisions + t * row + at / 64 * sizeof word, sizeof word);
        const unsigned rotated = (at & (plan.low_lanes - 1)) >> 1 | (at & 1) << top;
        return rotated | static_cast<unsigned>((word >> (at % 64)) & 1) << learned;
    };
    const auto trace = [&](unsigned at, std::size_t end, std::size_t begin) {
        for (std::size_t t = end; t-- > begin;) {
            bits[m + t] = at >> top;
            at = previous(at, t);
        }
        return at;
    };
    unsigned at = state >> 1 | (state & 1) << top;
    // A step of traceback waits for the one before, so pieces of a long frame are traced
    // at once. A piece starts where a path from any state, well behind it, leads to; in
    // the rare case that the frame's path does not, it is traced again.
    constexpr std::size_t pieces = 4;
    const std::size_t piece = steps / pieces, merge = 12 * m;
    if (piece < 2 * merge) {
        at = trace(at, steps, 0);
    } else {
        unsigned start[pieces] = {}, now[pieces];
        for (std::size_t i = merge; i-- > 0;)
            for (std::size_t p = 0; p + 1 < pieces; p++)
                start[p] = previous(start[p], (p + 1) * piece + i);
        start[pieces - 1] = trace(at, steps, pieces * piece);
        std::copy_n(start, pieces, now);
        for (std::size_t i = piece; i-- > 0;)
            for (std::size_t p = 0; p < pieces; p++) {
                bits[m + p * piece + i] = now[p] >> top;
                now[p] = previous(now[p], p * piece + i);
            }
        at = now[pieces - 1];
        for (std::size_t p = pieces - 1; p-- > 0;)
            at = at == start[p] ? now[p] : trace(at, (p + 1) * piece, p * piece);
    }
    state = (at & (plan.low_lanes - 1)) << 1 | at >> top;
    group.path_start[f] = state;
    for (unsigned i = 0; i < m; i++)
        bits[m - 1 - i] = (state >> i) & 1;
    if (plan.feedback != 1)
        for (std::size_t t = steps; t-- > 0;) {
            uint8_t message = 0;
            for (unsigned i = 0; i <= m; i++)
                if ((plan.feedback >> i) & 1)
                    message ^= bits[m + t - i];
            bits[m + t] = message;
        }
    std::copy_n(bits + m + group.first, group.length, group.bits[f]);
}
#endif

void decode_group(const viterbi_plan& plan, viterbi_group& group, viterbi_workspace& work)
{
#if HWY_TARGET != HWY_SCALAR
    // So many frames take as long one by one as in a group, which is 32 to 64 wide.
    if (group.count <= 2 * plan.memory) {
        for (std::size_t f = 0; f < group.count; f++)
            decode_one(plan, group, f, work);
        return;
    }
#endif
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

    plan.low_lanes = std::max(plan.states / 2, 8u);
    plan.lookups = hwy::AllocateAligned<uint16_t>(8 * plan.low_lanes);
    if (!plan.lookups)
        throw std::bad_alloc();
    std::fill_n(plan.lookups.get(), 8 * plan.low_lanes, 0);

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
        for (unsigned edge = 0; edge < 4; edge++)
            for (unsigned table = 0; table < 2; table++) {
                const unsigned at = key[edge] >> (table * table_outputs) & 7;
                plan.lookups[(4 * table + edge) * plan.low_lanes + low] =
                    at * 0x0202 + 0x0100;
            }
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
    work.decisions =
        hwy::AllocateAligned<uint64_t>((plan.frame->steps + 1) * plan.states);
    work.words = hwy::AllocateAligned<uint64_t>(plan.frame->steps + plan.memory);
    work.line = hwy::AllocateAligned<int16_t>(plan.frame->steps * plan.outputs + 16);
    work.depunctured.resize(row);
    if (!work.rows || !work.columns || !work.metrics || !work.decisions || !work.words ||
        !work.line)
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
    // None for float metrics.
    mutable std::unique_ptr<workspace_pool<viterbi_workspace>> workspaces;

    impl(const convolutional_trellis& t,
         const convolutional_frame& f,
         viterbi_metric metric,
         float scale)
        : trellis(t), frame(f), plan(make_plan(trellis, frame, metric, scale, true))
    {
        if (metric != viterbi_metric::float64)
            workspaces = std::make_unique<workspace_pool<viterbi_workspace>>(
                [this] { return make_workspace(plan); });
        // Circular paths are compared as register bits.
        if (frame.end == termination::tail_biting)
            plan.feedback = 1;
    }

    // Decodes register bits w where the frame bites its tail, messages otherwise.
    uint64_t decode_integers(const float* llrs, uint8_t* bits, std::size_t frames) const
    {
        const auto work = workspaces->take();
        uint64_t not_a_number = 0;
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
            HWY_DYNAMIC_DISPATCH(decode_group)(plan, group, *work);
            not_a_number += group.not_a_number;
            if (circular)
                bite_tails(group, *work);
        }
        return not_a_number;
    }

    /* Exact: the best path that ends in s, from whichever state, is no worse than the
     * best that starts and ends in s. States are tried in the order of that bound, those
     * of all frames together, until no bound is above the best circular path that was
     * found. */
    void bite_tails(const viterbi_group& open, viterbi_workspace& work) const
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
                const float q = std::isnan(l) ? 0 : l * group.scale[f];
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
    uint64_t decode_floats(const float* llrs, uint8_t* bits) const
    {
        const unsigned states = plan.states, n = plan.outputs;
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
                    // What a path's bits contradict, so that a large LLR leaves the
                    // others of the right path their digits.
                    for (unsigned j = 0; j < n; j++) {
                        if (!frame.kept[t * n + j])
                            continue;
                        const float l = known_llr(llrs[frame.rank[t * n + j]]);
                        if (((c >> j) & 1) != (l > 0))
                            m -= std::fabs(l);
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
        return count_nan(llrs, llrs + frame.received);
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
    uint64_t not_a_number = 0;
    if (d_impl->plan.metric == viterbi_metric::float64) {
        for (std::size_t f = 0; f < frames; f++)
            not_a_number += d_impl->decode_floats(llrs.data() + f * frame.received,
                                                  bits.data() + f * frame.message_bits);
        return not_a_number;
    }
    not_a_number = d_impl->decode_integers(llrs.data(), bits.data(), frames);
    if (frame.end == termination::tail_biting && d_impl->trellis.feedback_taps() != 1)
        for (std::size_t f = 0; f < frames; f++)
            d_impl->message_of_circular(bits.data() + f * frame.message_bits);
    return not_a_number;
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
    mutable workspace_pool<viterbi_workspace> workspaces;
    std::size_t stride; // received coded bits of a block

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
          workspaces([this] { return make_workspace(plan); }),
          stride(window.rank[(depth + block) * plan.outputs] -
                 window.rank[depth * plan.outputs])
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
std::size_t viterbi_stream_kernel::window() const
{
    return d_impl->window.received;
}
std::size_t viterbi_stream_kernel::history() const
{
    return d_impl->window.rank[d_impl->depth * d_impl->plan.outputs];
}

viterbi_stream_kernel::progress viterbi_stream_kernel::decode(span<const float> llrs,
                                                              span<uint8_t> bits) const
{
    const auto& s = *d_impl;
    progress done{0, 0, 0};
    if (llrs.size() < s.window.received)
        return done;
    const std::size_t blocks =
        std::min((llrs.size() - s.window.received) / s.stride + 1, bits.size() / s.block);
    const auto work = s.workspaces.take();
    uint64_t bad = 0;
    for (std::size_t first = 0; first < blocks; first += group_frames) {
        viterbi_group group;
        group.count = std::min(group_frames, blocks - first);
        group.first = s.depth;
        group.length = s.block;
        for (std::size_t i = 0; i < group.count; i++) {
            group.llrs[i] = llrs.data() + (first + i) * s.stride;
            group.bits[i] = bits.data() + (first + i) * s.block;
            group.start[i] = group.end[i] = any_state;
        }
        HWY_DYNAMIC_DISPATCH(decode_group)(s.plan, group, *work);
        bad += group.not_a_number;
    }
    done.consumed = blocks * s.stride;
    done.produced = blocks * s.block;
    // Windows overlap, but each NaN is to be counted once: that of the blocks' own.
    if (bad != 0) {
        const float* own = llrs.data() + history();
        done.not_a_number = std::count_if(
            own, own + done.consumed, [](float l) { return std::isnan(l); });
    }
    return done;
}

} // namespace gr::neuralfec
#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/viterbi_group.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/viterbi_input-inl.h"
#if HWY_TARGET != HWY_SCALAR
#include "kernels/viterbi_single-inl.h"
#endif

#include <algorithm>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

void decode_viterbi_group(const viterbi_plan& plan,
                          viterbi_group& group,
                          viterbi_workspace& work)
{
    HWY_DYNAMIC_DISPATCH(decode_group)(plan, group, work);
}

} // namespace gr::neuralfec
#endif

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The Viterbi algorithm for one frame, its states across lanes. It has metrics of 16 bits
 * alone: a table that is looked up has as many. Included once for each SIMD target.
 */
#include "kernels/viterbi_input-inl.h"

#include <cstring>

#if defined(NEURALFEC_VITERBI_SINGLE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_VITERBI_SINGLE_INL_H
#undef NEURALFEC_VITERBI_SINGLE_INL_H
#else
#define NEURALFEC_VITERBI_SINGLE_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

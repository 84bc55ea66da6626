/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/belief_propagation.h"
#include "kernels/belief_propagation_int8.h"
#include "kernels/llr.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/belief_propagation.cc"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/belief_propagation-inl.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using graph = belief_propagation::graph;
using settings = belief_propagation::settings;
using results = belief_propagation::results;
using check_rule = belief_propagation::check_rule;

// Inside, LLRs are log2 P(b=0) - log2 P(b=1): base 2 saves a product in each exponential
// and logarithm, and with this sign a check's sign is the product of its bits' signs.
constexpr float to_inside = -1.44269504f;
constexpr float to_outside = -0.693147181f;

// 2^-60: the product of two smallest probabilities is still a normal number.
constexpr float largest_magnitude = 60.0f;

// A frame of which most LLRs are beyond this is overscaled: limited to largest_magnitude,
// its messages would look alike.
constexpr float overscaled_magnitude = 30.0f;

/*
 * With u = 2^-|L| = (1 - tanh) / (1 + tanh), the tanh rule for two magnitudes is
 * u = (u1 + u2) / (1 + u1 u2): positive terms only, so nothing cancels however reliable
 * the bits are. Kept as a fraction, it needs no division:
 */
template <class V>
struct fraction {
    V numerator;
    V denominator;
};

template <class V>
HWY_INLINE fraction<V> combine(fraction<V> a, V u)
{
    return {hn::Add(a.numerator, hn::Mul(u, a.denominator)),
            hn::Add(a.denominator, hn::Mul(u, a.numerator))};
}

template <class V>
HWY_INLINE fraction<V> combine(fraction<V> a, fraction<V> b)
{
    return {
        hn::Add(hn::Mul(a.numerator, b.denominator), hn::Mul(b.numerator, a.denominator)),
        hn::Add(hn::Mul(a.denominator, b.denominator),
                hn::Mul(a.numerator, b.numerator))};
}

// A denominator grows at most twofold an edge: far from overflow for another 32 edges.
template <class D, class V>
HWY_INLINE fraction<V> reduce(D d, fraction<V> a)
{
    return {hn::Div(a.numerator, a.denominator), hn::Set(d, 1.0f)};
}

/*
 * The codewords of one SIMD vector, and the space for their messages.
 */
template <class D>
class decoder
{
public:
    using V = hn::Vec<D>;
    using element = float;
    using mask = int32_t;
    static constexpr std::size_t most_lanes = hn::MaxLanes(D());

    decoder(const graph& g, std::size_t n, const settings& s, float* space)
        : d_graph(g), d_settings(s), d_n(n)
    {
        d_llrs = space;
        d_posteriors = d_llrs + n * lanes();
        d_messages = d_posteriors + n * lanes();
        d_scratch = d_messages + g.edge_bit.size() * lanes();
        d_unlimited = d_scratch + 3 * g.max_degree * lanes();
    }

    static std::size_t lanes() { return hn::Lanes(D()); }

    static std::size_t space(const graph& g, std::size_t n)
    {
        return (2 * n + g.edge_bit.size() + 5 * g.max_degree) * lanes();
    }

    void clear() { std::fill_n(d_llrs, 2 * d_n * lanes(), 0.0f); }

    void iterate(const int32_t* keep)
    {
        update_checks(keep, d_overscaled);
        if (!d_settings.layered)
            update_bits();
    }

    std::size_t load(std::size_t lane, const float* llrs)
    {
        std::size_t unknown = 0;
        for (std::size_t bit = 0; bit < d_n; bit++) {
            unknown += std::isnan(llrs[bit]);
            const float llr = to_inside * known_llr(llrs[bit]);
            d_llrs[bit * lanes() + lane] = llr;
            d_posteriors[bit * lanes() + lane] = llr;
        }
        d_overscaled[lane] =
            d_settings.rule == check_rule::sum_product && is_overscaled(llrs) ? -1 : 0;
        return unknown;
    }

    void store(std::size_t lane,
               std::size_t frame,
               const std::vector<uint32_t>& positions,
               const results& out) const
    {
        if (!out.bits.empty()) {
            uint8_t* bits = out.bits.data() + frame * positions.size();
            for (std::size_t i = 0; i < positions.size(); i++)
                bits[i] = d_posteriors[positions[i] * lanes() + lane] < 0.0f;
        }
        if (!out.posteriors.empty()) {
            float* posteriors = out.posteriors.data() + frame * d_n;
            for (std::size_t bit = 0; bit < d_n; bit++)
                posteriors[bit] = to_outside * d_posteriors[bit * lanes() + lane];
        }
    }

    //! Sets the lanes in which a check fails or a bit is undecided to nonzero.
    HWY_INLINE void find_failed(int32_t* failed) const
    {
        const D d;
        const hn::RebindToSigned<D> di;
        auto any = hn::Load(di, failed);
        const uint32_t* bit = d_graph.edge_bit.data();
        for (std::size_t check = 1; check < d_graph.check_begin.size(); check++) {
            const uint32_t* end = d_graph.edge_bit.data() + d_graph.check_begin[check];
            auto parity = hn::Zero(d);
            for (; bit != end; bit++)
                parity = hn::Xor(parity, hn::Load(d, d_posteriors + *bit * lanes()));
            any = hn::Or(any, hn::BroadcastSignBit(hn::BitCast(di, parity)));
            if (hn::AllTrue(di, hn::Lt(any, hn::Zero(di))))
                break;
        }
        // Positive or negative zero has nothing but the sign bit.
        for (std::size_t b = 0; b < d_n; b++)
            any = hn::Or(any,
                         hn::BitCast(di,
                                     hn::VecFromMask(
                                         d,
                                         hn::Eq(hn::Load(d, d_posteriors + b * lanes()),
                                                hn::Zero(d)))));
        hn::Store(any, di, failed);
    }

private:
    const graph& d_graph;
    const settings& d_settings;
    const std::size_t d_n;
    float* d_llrs;
    float* d_posteriors;
    float* d_messages;
    float* d_scratch;
    float* d_unlimited;
    HWY_ALIGN int32_t d_overscaled[most_lanes] = {};

    bool is_overscaled(const float* llrs) const
    {
        constexpr float limit = -to_outside * overscaled_magnitude;
        std::size_t beyond = 0;
        for (std::size_t bit = 0; bit < d_n; bit++)
            beyond += std::fabs(llrs[bit]) > limit;
        return 2 * beyond > d_n;
    }

    HWY_INLINE void update_checks(const int32_t* keep, const int32_t* overscaled)
    {
        const D d;
        const hn::RebindToSigned<D> di;
        const V kept = hn::BitCast(d, hn::Load(di, keep));
        const auto unlimited = hn::MaskFromVec(hn::BitCast(d, hn::Load(di, overscaled)));
        for (std::size_t check = 0; check + 1 < d_graph.check_begin.size(); check++) {
            const std::size_t begin = d_graph.check_begin[check];
            const std::size_t degree = d_graph.check_begin[check + 1] - begin;
            const uint32_t* bits = d_graph.edge_bit.data() + begin;
            float* messages = d_messages + begin * lanes();
            if (!d_settings.layered) {
                update_check(kept, unlimited, bits, degree, messages);
                continue;
            }
            // What bits know without the check, and then with what it says.
            for (std::size_t j = 0; j < degree; j++)
                hn::Store(into_check(kept, bits[j], messages + j * lanes()),
                          d,
                          d_posteriors + bits[j] * lanes());
            update_check(hn::Zero(d), unlimited, bits, degree, messages);
            for (std::size_t j = 0; j < degree; j++) {
                float* posterior = d_posteriors + bits[j] * lanes();
                hn::Store(
                    hn::Add(hn::Load(d, posterior), hn::Load(d, messages + j * lanes())),
                    d,
                    posterior);
            }
        }
    }

    //! unlimited: lanes whose LLRs are overscaled.
    HWY_INLINE void update_check(V kept,
                                 hn::Mask<D> unlimited,
                                 const uint32_t* bits,
                                 std::size_t degree,
                                 float* messages)
    {
        const D d;
        if (d_settings.rule == check_rule::min_sum) {
            min_sum(kept, bits, degree, messages);
            return;
        }
        const bool any_unlimited = !hn::AllFalse(d, unlimited);
        if (HWY_UNLIKELY(any_unlimited))
            unlimited_sum_product(kept, bits, degree, messages);
        sum_product(kept, bits, degree, messages);
        if (HWY_LIKELY(!any_unlimited))
            return;
        for (std::size_t j = 0; j < degree * lanes(); j += lanes())
            hn::Store(hn::IfThenElse(unlimited,
                                     hn::Load(d, d_unlimited + j),
                                     hn::Load(d, messages + j)),
                      d,
                      messages + j);
    }

    //! What a bit knows without this check.
    HWY_INLINE V into_check(V kept, uint32_t bit, const float* message) const
    {
        const D d;
        return hn::Sub(hn::Load(d, d_posteriors + bit * lanes()),
                       hn::And(kept, hn::Load(d, message)));
    }

    // Of constant degree, the loops unroll and the arrays become registers: 12 % faster.
    template <std::size_t DEGREE>
    HWY_INLINE void sum_product_of(V kept, const uint32_t* bits, float* messages) const
    {
        V probabilities[DEGREE];
        fraction<V> before[DEGREE];
        sum_product_rule(kept, bits, DEGREE, messages, probabilities, before);
    }

    HWY_INLINE void
    sum_product(V kept, const uint32_t* bits, std::size_t degree, float* messages)
    {
        switch (degree) {
        case 1:
            // The bit is 0 for certain; the fraction of no edges has no logarithm.
            hn::Store(hn::Set(D(), largest_magnitude), D(), messages);
            break;
        case 3:
            sum_product_of<3>(kept, bits, messages);
            break;
        case 4:
            sum_product_of<4>(kept, bits, messages);
            break;
        case 5:
            sum_product_of<5>(kept, bits, messages);
            break;
        case 6:
            sum_product_of<6>(kept, bits, messages);
            break;
        case 7:
            sum_product_of<7>(kept, bits, messages);
            break;
        case 8:
            sum_product_of<8>(kept, bits, messages);
            break;
        default:
            V* scratch = reinterpret_cast<V*>(d_scratch);
            sum_product_rule(kept,
                             bits,
                             degree,
                             messages,
                             scratch,
                             reinterpret_cast<fraction<V>*>(scratch + degree));
        }
    }

    HWY_INLINE void sum_product_rule(V kept,
                                     const uint32_t* bits,
                                     std::size_t degree,
                                     float* messages,
                                     V* probabilities,
                                     fraction<V>* before) const
    {
        const D d;
        const std::size_t step = lanes();
        const V sign_bit = hn::SignBit(d);
        const V least = hn::Set(d, -largest_magnitude);
        const fraction<V> none{hn::Zero(d), hn::Set(d, 1.0f)};
        fraction<V> all = none;
        V sign = hn::Zero(d);
        HWY_UNROLL(8)
        for (std::size_t j = 0; j < degree; j++) {
            const V x = into_check(kept, bits[j], messages + j * step);
            const V u = exp2_reproducible(d, hn::Max(hn::Or(x, sign_bit), least));
            sign = hn::Xor(sign, x);
            // The sign travels with u, which has none of its own.
            probabilities[j] = hn::Or(u, hn::And(x, sign_bit));
            before[j] = all;
            all = combine(all, u);
            if (j % 32 == 31)
                all = reduce(d, all);
        }
        all = none;
        HWY_UNROLL(8)
        for (std::size_t i = 0; i < degree; i++) {
            const std::size_t j = degree - 1 - i;
            const V u = probabilities[j];
            const auto others = combine(before[j], all);
            const V magnitude = log2_of_ratio(d, others.denominator, others.numerator);
            hn::Store(hn::Xor(magnitude, hn::And(hn::Xor(sign, u), sign_bit)),
                      d,
                      messages + j * step);
            all = combine(all, hn::Abs(u));
            if (i % 32 == 31)
                all = reduce(d, all);
        }
    }

    /*
     * The tanh rule for two magnitudes of any size,
     * min(a, b) + log2(1 + 2^-(a + b)) - log2(1 + 2^-|a - b|).
     */
    static HWY_INLINE V tanh_rule(V a, V b)
    {
        const D d;
        const V one = hn::Set(d, 1.0f), limit = hn::Set(d, largest_magnitude);
        const V sum = exp2_reproducible(d, hn::Neg(hn::Min(hn::Add(a, b), limit)));
        const V difference =
            exp2_reproducible(d, hn::Neg(hn::Min(hn::Abs(hn::Sub(a, b)), limit)));
        const V correction =
            log2_of_ratio(d, hn::Add(one, sum), hn::Add(one, difference));
        return hn::Max(hn::Zero(d), hn::Add(hn::Min(a, b), correction));
    }

    //! Without a limit to magnitudes, several times as slow: into d_unlimited.
    void unlimited_sum_product(V kept,
                               const uint32_t* bits,
                               std::size_t degree,
                               const float* messages)
    {
        const D d;
        const std::size_t step = lanes();
        const V certain = hn::Set(d, -to_inside * certain_llr);
        float* before = d_unlimited + degree * step;
        V all = certain, sign = hn::Zero(d);
        for (std::size_t j = 0; j < degree; j++) {
            const V x = into_check(kept, bits[j], messages + j * step);
            hn::Store(x, d, d_unlimited + j * step);
            hn::Store(all, d, before + j * step);
            all = tanh_rule(all, hn::Abs(x));
            sign = hn::Xor(sign, x);
        }
        all = certain;
        for (std::size_t j = degree; j-- > 0;) {
            const V x = hn::Load(d, d_unlimited + j * step);
            const V others = tanh_rule(hn::Load(d, before + j * step), all);
            const V others_sign = hn::And(hn::Xor(sign, x), hn::SignBit(d));
            hn::Store(hn::Xor(others, others_sign), d, d_unlimited + j * step);
            all = tanh_rule(all, hn::Abs(x));
        }
    }

    HWY_INLINE void
    min_sum(V kept, const uint32_t* bits, std::size_t degree, float* messages)
    {
        const D d;
        const std::size_t step = lanes();
        const V sign_bit = hn::SignBit(d);
        const V scale = hn::Set(d, d_settings.scale);
        V least = hn::Set(d, 1e30f), second = least, sign = hn::Zero(d);
        for (std::size_t j = 0; j < degree; j++) {
            const V x = into_check(kept, bits[j], messages + j * step);
            const V magnitude = hn::Abs(x);
            second = hn::Min(second, hn::Max(least, magnitude));
            least = hn::Min(least, magnitude);
            sign = hn::Xor(sign, x);
            hn::Store(x, d, d_scratch + j * step);
        }
        const V to_least = hn::Mul(second, scale);
        const V to_others = hn::Mul(least, scale);
        for (std::size_t j = 0; j < degree; j++) {
            const V x = hn::Load(d, d_scratch + j * step);
            const V others =
                hn::IfThenElse(hn::Eq(hn::Abs(x), least), to_least, to_others);
            hn::Store(hn::Xor(others, hn::And(hn::Xor(sign, x), sign_bit)),
                      d,
                      messages + j * step);
        }
    }

    HWY_INLINE void update_bits()
    {
        const D d;
        const uint32_t* edge = d_graph.bit_edges.data();
        for (std::size_t bit = 0; bit < d_n; bit++) {
            const uint32_t* end = d_graph.bit_edges.data() + d_graph.bit_begin[bit + 1];
            V sum = hn::Load(d, d_llrs + bit * lanes());
            for (; edge != end; edge++)
                sum = hn::Add(sum, hn::Load(d, d_messages + *edge * lanes()));
            hn::Store(sum, d, d_posteriors + bit * lanes());
        }
    }
};

std::size_t decode(const graph& g,
                   std::size_t n,
                   const settings& s,
                   const std::vector<uint32_t>& positions,
                   span<const float> llrs,
                   const results& out)
{
    // Few codewords would leave most lanes of a wide vector empty, at its full price.
    using narrow = hn::CappedTag<float, 4>;
    const auto run = llrs.size() <= 4 * n ? &decode_with<decoder<narrow>>
                                          : &decode_with<decoder<hn::ScalableTag<float>>>;
    return run(g, n, s, positions, llrs, out);
}

} // namespace HWY_NAMESPACE
} // namespace gr::neuralfec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(decode);

namespace {

void expect(bool condition, const std::string& expected)
{
    if (!condition)
        throw std::invalid_argument("belief_propagation: expected " + expected);
}

} // namespace

void belief_propagation::settings::set(const std::string& rule_name,
                                       const std::string& schedule)
{
    expect(rule_name == "sum-product" || rule_name == "min-sum" ||
               rule_name == "min-sum-int8",
           "the rule sum-product, min-sum or min-sum-int8, got " + rule_name);
    rule = rule_name == "sum-product" ? check_rule::sum_product
           : rule_name == "min-sum"   ? check_rule::min_sum
                                      : check_rule::min_sum_int8;
    expect(schedule == "auto" || schedule == "flooding" || schedule == "layered",
           "the schedule flooding, layered or auto, got " + schedule);
    layered =
        schedule == "auto" ? rule == check_rule::min_sum_int8 : schedule == "layered";
}

belief_propagation::belief_propagation(std::size_t n,
                                       span<const uint32_t> checks,
                                       span<const uint32_t> bits,
                                       span<const uint32_t> positions,
                                       const settings& s)
    : d_n(n), d_positions(positions.begin(), positions.end()), d_settings(s)
{
    expect(n > 0, "n of at least 1, got 0");
    expect(checks.size() == bits.size(),
           "as many checks as bits, got " + std::to_string(checks.size()) + " and " +
               std::to_string(bits.size()));
    set_iterations(s.iterations);
    expect(s.scale > 0.0f && s.scale <= 1.0f,
           "a scale above 0 and at most 1, got " + std::to_string(s.scale));
    expect(s.rule != check_rule::min_sum_int8 || s.layered,
           "the layered schedule for min-sum in bytes, got flooding");
    for (uint32_t position : positions)
        expect(position < n,
               "positions below " + std::to_string(n) + ", got " +
                   std::to_string(position));

    d_graph.bit_begin.assign(n + 1, 0);
    for (std::size_t e = 0; e < checks.size(); e++) {
        const bool ascending = e == 0 || checks[e] > checks[e - 1] ||
                               (checks[e] == checks[e - 1] && bits[e] > bits[e - 1]);
        expect(bits[e] < n && ascending,
               "ascending checks and ascending bits below " + std::to_string(n) +
                   " in each, got bit " + std::to_string(bits[e]) + " of check " +
                   std::to_string(checks[e]) + " as edge " + std::to_string(e));
        if (e > 0 && checks[e] != checks[e - 1])
            d_graph.check_begin.push_back(e);
        d_graph.bit_begin[bits[e] + 1]++;
    }
    if (!checks.empty())
        d_graph.check_begin.push_back(checks.size());
    for (std::size_t c = 1; c < d_graph.check_begin.size(); c++)
        d_graph.max_degree = std::max<std::size_t>(
            d_graph.max_degree, d_graph.check_begin[c] - d_graph.check_begin[c - 1]);
    for (std::size_t bit = 0; bit < n; bit++)
        d_graph.bit_begin[bit + 1] += d_graph.bit_begin[bit];
    d_graph.edge_bit.assign(bits.begin(), bits.end());
    d_graph.bit_edges.resize(bits.size());
    auto next = d_graph.bit_begin;
    for (std::size_t e = 0; e < bits.size(); e++)
        d_graph.bit_edges[next[bits[e]]++] = e;
}

void belief_propagation::set_iterations(uint32_t iterations)
{
    expect(iterations > 0, "at least 1 iteration, got 0");
    d_settings.iterations = iterations;
}

std::size_t belief_propagation::decode(span<const float> llrs, const results& out) const
{
    const std::size_t frames = llrs.size() / d_n;
    expect(llrs.size() % d_n == 0,
           "whole frames of " + std::to_string(d_n) + " LLRs, got " +
               std::to_string(llrs.size()));
    const auto fits = [frames](std::size_t got, std::size_t each, const char* what) {
        expect(got == 0 || got == frames * each,
               std::to_string(frames * each) + " " + what + ", got " +
                   std::to_string(got));
    };
    fits(out.bits.size(), d_positions.size(), "bits");
    fits(out.iterations.size(), 1, "iterations");
    fits(out.converged.size(), 1, "converged");
    fits(out.posteriors.size(), d_n, "posteriors");
    if (d_settings.rule == check_rule::min_sum_int8)
        return decode_int8(d_graph, d_n, d_settings, d_positions, llrs, out);
    return HWY_DYNAMIC_DISPATCH(decode)(d_graph, d_n, d_settings, d_positions, llrs, out);
}

} // namespace gr::neuralfec
#endif

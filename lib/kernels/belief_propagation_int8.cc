/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/belief_propagation_int8.h"
#include "kernels/llr.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/belief_propagation_int8.cc"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/belief_propagation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using graph = belief_propagation::graph;
using settings = belief_propagation::settings;
using results = belief_propagation::results;

// Steps of the median, by the rate of the bits that are neither known nor unknown: many
// LLRs add up to each bit of a code of low rate, and need room; at high rates few do, and
// small ones decide. Measured over codes of rates 1/13 to 5/6.
constexpr float steps_by_rate = 32.0f, fewest_steps = 6.0f, most_steps = 24.0f;
constexpr int largest = 127;
// Checks say no more than this: several of them then fit into a posterior, and a few
// wrong ones do not turn one that many right ones have made as large as it can be.
constexpr int largest_message = 48;

// Floats above 0 sort as their bits do. A class of floats shares all bits from this one
// on, the exponent and two of the mantissa: four classes an octave.
constexpr int class_bit = 21;

/*
 * What one frame's LLRs are multiplied by before they are rounded, with the sign of the
 * inside, where a positive LLR means bit 0.
 */
float factor_of(const float* llrs, std::size_t n, std::size_t checks)
{
    const hn::ScalableTag<float> d;
    const hn::RebindToSigned<decltype(d)> di;
    const std::size_t lanes = hn::Lanes(d), whole = n - n % lanes;
    const float limit = certain_llr;
    uint32_t top;
    std::memcpy(&top, &limit, sizeof top);
    top >>= class_bit;
    // How many magnitudes have lesser bits: NaN has greater ones than infinity.
    const auto count_below = [&](uint32_t bound) {
        const int32_t edge = static_cast<int32_t>(bound);
        const auto edges = hn::Set(di, edge);
        auto sum = hn::Zero(di);
        for (std::size_t i = 0; i < whole; i += lanes) {
            const auto bits = hn::BitCast(di, hn::Abs(hn::LoadU(d, llrs + i)));
            sum = hn::Add(sum, hn::VecFromMask(di, hn::Lt(bits, edges)));
        }
        HWY_ALIGN int32_t each[hn::MaxLanes(di)];
        hn::Store(sum, di, each);
        std::size_t count = 0;
        for (std::size_t i = 0; i < lanes; i++)
            count += static_cast<std::size_t>(-each[i]);
        for (std::size_t i = whole; i < n; i++) {
            int32_t bits;
            const float magnitude = std::fabs(llrs[i]);
            std::memcpy(&bits, &magnitude, sizeof bits);
            count += bits < edge;
        }
        return count;
    };
    const auto below = [&](uint32_t bound) { return count_below(bound << class_bit); };
    // Class 0 are zeros, and what is as good as zero.
    const std::size_t zeros = below(1), half = zeros + (below(top) - zeros + 1) / 2;
    if (half == zeros)
        return -1.0f;
    // The least bound below which half of the others are: it is above 1.
    uint32_t low = 1, high = top;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        (below(middle) >= half ? high : low) = middle;
    }
    const uint32_t bits = (low << class_bit) + (1u << (class_bit - 1));
    float median;
    std::memcpy(&median, &bits, sizeof median);
    // What is left of a codeword's freedom, by the bits that tell of it.
    const std::size_t unknown = n - count_below(0x7f800001);
    const float ordinary = static_cast<float>(below(top) - zeros);
    const float free =
        static_cast<float>(below(top) + unknown) - static_cast<float>(checks);
    const float steps =
        std::min(std::max(steps_by_rate * free / ordinary, fewest_steps), most_steps);
    return -steps / std::max(median, 1e-30f);
}

//! scale in 128ths times magnitudes of at most 128, rounded, at most largest_message.
template <class D, class V>
HWY_INLINE V scaled(D d, V magnitudes, int scale)
{
#if HWY_TARGET == HWY_SCALAR
    const int product = (hn::GetLane(magnitudes) * scale + 64) >> 7;
    return hn::Set(d, static_cast<uint8_t>(std::min(product, largest_message)));
#else
    // Even and odd bytes by themselves, as 16 bits.
    const hn::Repartition<uint16_t, D> wide;
    const auto factor = hn::Set(wide, static_cast<uint16_t>(scale));
    const auto round = hn::Set(wide, 64);
    const auto both = hn::BitCast(wide, magnitudes);
    const auto times = [&](auto value) {
        return hn::ShiftRight<7>(hn::Add(hn::Mul(value, factor), round));
    };
    const auto even = times(hn::And(both, hn::Set(wide, 255)));
    const auto odd = times(hn::ShiftRight<8>(both));
    return hn::Min(hn::BitCast(d, hn::Or(even, hn::ShiftLeft<8>(odd))),
                   hn::Set(d, static_cast<uint8_t>(largest_message)));
#endif
}

/*
 * The codewords of one SIMD vector, and the space for their messages.
 */
template <class D>
class decoder
{
    using V = hn::Vec<D>;
    using DU = hn::RebindToUnsigned<D>;
    static constexpr D d{};
    static constexpr DU du{};

public:
    using element = int8_t;
    using mask = int8_t;
    static constexpr std::size_t most_lanes = hn::MaxLanes(D());

    decoder(const graph& g, std::size_t n, const settings& s, int8_t* space)
        : d_graph(g),
          d_settings(s),
          d_n(n),
          d_scale(static_cast<int>(std::lround(128 * s.scale)))
    {
        d_posteriors = space;
        d_certain = d_posteriors + n * lanes();
        d_messages = d_certain + n * lanes();
        d_scratch = d_messages + g.edge_bit.size() * lanes();
    }

    static std::size_t lanes() { return hn::Lanes(D()); }

    static std::size_t space(const graph& g, std::size_t n)
    {
        return (2 * n + g.edge_bit.size() + g.max_degree) * lanes();
    }

    void clear() { std::memset(d_posteriors, 0, 2 * d_n * lanes()); }

    void iterate(const int8_t* keep) { update(hn::Load(d, keep)); }

    std::size_t load(std::size_t lane, const float* llrs)
    {
        const hn::ScalableTag<float> df;
        const hn::RebindToSigned<decltype(df)> di;
        const std::size_t step = lanes(), width = hn::Lanes(df);
        const float factor = factor_of(llrs, d_n, d_graph.check_begin.size() - 1);
        const auto factors = hn::Set(df, factor);
        const auto most = hn::Set(df, static_cast<float>(largest));
        HWY_ALIGN float given[hn::MaxLanes(df)];
        HWY_ALIGN int32_t rounded[hn::MaxLanes(df)];
        std::size_t unknown = 0, certain = 0;
        int8_t* posterior = d_posteriors + lane;
        for (std::size_t first = 0; first < d_n; first += width) {
            const std::size_t count = std::min(width, d_n - first);
            auto llr = hn::Zero(df);
            if (count == width) {
                llr = hn::LoadU(df, llrs + first);
            } else {
                std::fill_n(given, width, 0.0f);
                std::copy_n(llrs + first, count, given);
                llr = hn::Load(df, given);
            }
            const auto known = hn::Eq(llr, llr);
            unknown += width - hn::CountTrue(df, known);
            llr = hn::IfThenElseZero(known, llr);
            certain += hn::CountTrue(df, hn::Ge(hn::Abs(llr), hn::Set(df, certain_llr)));
            llr = hn::Mul(llr, factors);
            llr = hn::Min(hn::Max(llr, hn::Neg(most)), most);
            hn::Store(hn::NearestInt(llr), di, rounded);
            for (std::size_t i = 0; i < count; i++, posterior += step)
                *posterior = static_cast<int8_t>(rounded[i]);
        }
        d_factors[lane] = factor;
        // What the lane's last frame had goes, too.
        if (certain > 0 || d_lane_certain[lane]) {
            for (std::size_t bit = 0; bit < d_n; bit++)
                d_certain[bit * step + lane] = std::fabs(llrs[bit]) >= certain_llr
                                                   ? (llrs[bit] > 0 ? -largest : largest)
                                                   : 0;
            d_lane_certain[lane] = certain > 0;
            d_any_certain = std::any_of(
                d_lane_certain, d_lane_certain + step, [](bool any) { return any; });
        }
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
                bits[i] = d_posteriors[positions[i] * lanes() + lane] < 0;
        }
        if (!out.posteriors.empty()) {
            float* posteriors = out.posteriors.data() + frame * d_n;
            for (std::size_t bit = 0; bit < d_n; bit++)
                posteriors[bit] = static_cast<float>(d_posteriors[bit * lanes() + lane]) /
                                  d_factors[lane];
        }
    }

    //! Sets the lanes in which a check fails or a bit is undecided to nonzero.
    HWY_INLINE void find_failed(int8_t* failed) const
    {
        auto any = hn::Load(d, failed);
        const uint32_t* bit = d_graph.edge_bit.data();
        for (std::size_t check = 1; check < d_graph.check_begin.size(); check++) {
            const uint32_t* end = d_graph.edge_bit.data() + d_graph.check_begin[check];
            auto parity = hn::Zero(d);
            for (; bit != end; bit++)
                parity = hn::Xor(parity, hn::Load(d, d_posteriors + *bit * lanes()));
            any = hn::Or(any, parity);
            if (hn::AllTrue(d, hn::Lt(any, hn::Zero(d))))
                break;
        }
        auto undecided = hn::Zero(d);
        for (std::size_t b = 0; b < d_n; b++)
            undecided = hn::Or(
                undecided,
                hn::VecFromMask(
                    d, hn::Eq(hn::Load(d, d_posteriors + b * lanes()), hn::Zero(d))));
        const auto negative = hn::Lt(hn::Or(any, undecided), hn::Zero(d));
        hn::Store(hn::VecFromMask(d, negative), d, failed);
    }

private:
    const graph& d_graph;
    const settings& d_settings;
    const std::size_t d_n;
    const int d_scale; // in 128ths
    int8_t* d_posteriors;
    int8_t* d_certain; // 0, or what the posterior is put back to
    int8_t* d_messages;
    int8_t* d_scratch;
    float d_factors[hn::MaxLanes(D())] = {};
    bool d_lane_certain[hn::MaxLanes(D())] = {};
    bool d_any_certain = false;

    HWY_INLINE void update(V kept)
    {
        for (std::size_t check = 0; check + 1 < d_graph.check_begin.size(); check++) {
            const std::size_t begin = d_graph.check_begin[check];
            update_check(kept,
                         d_graph.edge_bit.data() + begin,
                         d_graph.check_begin[check + 1] - begin,
                         d_messages + begin * lanes());
        }
        if (HWY_LIKELY(!d_any_certain))
            return;
        for (std::size_t i = 0; i < d_n * lanes(); i += lanes()) {
            const V certain = hn::Load(d, d_certain + i);
            hn::Store(hn::IfThenElse(hn::Eq(certain, hn::Zero(d)),
                                     hn::Load(d, d_posteriors + i),
                                     certain),
                      d,
                      d_posteriors + i);
        }
    }

    HWY_INLINE void
    update_check(V kept, const uint32_t* bits, std::size_t degree, int8_t* messages)
    {
        const std::size_t step = lanes();
        if (degree == 1) {
            // The bit is 0 for certain, whatever else is heard.
            hn::Store(hn::Set(d, largest), d, d_posteriors + bits[0] * step);
            return;
        }
        // As unsigned numbers, because the magnitude of -128 is none of 8 bits and a
        // sign.
        auto least = hn::Set(du, static_cast<uint8_t>(largest)), second = least;
        V sign = hn::Zero(d);
        for (std::size_t j = 0; j < degree; j++) {
            const V x = hn::SaturatedSub(hn::Load(d, d_posteriors + bits[j] * step),
                                         hn::And(kept, hn::Load(d, messages + j * step)));
            const auto magnitude = hn::BitCast(du, hn::Abs(x));
            second = hn::Min(second, hn::Max(least, magnitude));
            least = hn::Min(least, magnitude);
            sign = hn::Xor(sign, x);
            hn::Store(x, d, d_scratch + j * step);
        }
        const V to_least = hn::BitCast(d, scaled(du, second, d_scale));
        const V to_others = hn::BitCast(d, scaled(du, least, d_scale));
        for (std::size_t j = 0; j < degree; j++) {
            const V x = hn::Load(d, d_scratch + j * step);
            const auto is_least = hn::Eq(hn::BitCast(du, hn::Abs(x)), least);
            const V others =
                hn::IfThenElse(hn::RebindMask(d, is_least), to_least, to_others);
            const auto negative = hn::Lt(hn::Xor(sign, x), hn::Zero(d));
            const V message = hn::IfThenElse(negative, hn::Neg(others), others);
            hn::Store(message, d, messages + j * step);
            hn::Store(hn::SaturatedAdd(x, message), d, d_posteriors + bits[j] * step);
        }
    }
};

} // namespace

std::size_t DecodeInt8(const graph& g,
                       std::size_t n,
                       const settings& s,
                       const std::vector<uint32_t>& positions,
                       span<const float> llrs,
                       const results& out)
{
    // Few codewords would leave most lanes of a wide vector empty, at its full price.
    using narrow = hn::CappedTag<int8_t, 16>;
    const auto run = llrs.size() <= 16 * n
                         ? &decode_with<decoder<narrow>>
                         : &decode_with<decoder<hn::ScalableTag<int8_t>>>;
    return run(g, n, s, positions, llrs, out);
}

} // namespace HWY_NAMESPACE
} // namespace gr::neuralfec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(DecodeInt8);

std::size_t decode_int8(const belief_propagation::graph& g,
                        std::size_t n,
                        const belief_propagation::settings& s,
                        const std::vector<uint32_t>& positions,
                        span<const float> llrs,
                        const belief_propagation::results& out)
{
    return HWY_DYNAMIC_DISPATCH(DecodeInt8)(g, n, s, positions, llrs, out);
}

} // namespace gr::neuralfec
#endif

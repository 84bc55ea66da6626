/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * From the LLRs of a frame to the integers that the Viterbi kernel adds. Included once
 * for each SIMD target.
 */
#include "kernels/viterbi_plan.h"

#include <hwy/highway.h>
#include <algorithm>
#include <cmath>
#include <limits>

#if defined(NEURALFEC_VITERBI_INPUT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_VITERBI_INPUT_INL_H
#undef NEURALFEC_VITERBI_INPUT_INL_H
#else
#define NEURALFEC_VITERBI_INPUT_INL_H
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

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

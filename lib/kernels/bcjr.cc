/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/bcjr.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/bcjr.h"
#include "kernels/llr.h"
#include "kernels/math-inl.h"
#include "kernels/workspace.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include <hwy/aligned_allocator.h>

#ifndef NEURALFEC_BCJR_ONCE
#define NEURALFEC_BCJR_ONCE

namespace gr::neuralfec {

// Frames of a group at most: lanes of the widest vector of floats.
constexpr std::size_t bcjr_lanes = 16;
// The metric of what cannot be; finite, so that differences stay numbers.
constexpr float impossible = -1e30f;
// An LLR next to which ordinary ones lose their digits.
constexpr float large_llr = 1e4f;
// Lanes of the widest vector of doubles.
constexpr std::size_t bcjr_wide_lanes = 8;
// No path of a frame is exp of that less probable than another where its LLRs' sum is no
// larger: a double then holds each path's probability as it is.
constexpr double largest_summed = 600;
// Bytes of forward sums at most, a second-level cache.
constexpr std::size_t largest_sums = 4 << 20;
// Steps between subtractions of the largest metric: floats then keep 1e-5.
constexpr std::size_t bcjr_norm_steps = 4;

struct bcjr_plan {
    unsigned states, outputs;
    // of edge (source << 1 | newest bit)
    std::vector<uint8_t> output, message;
    const convolutional_frame* frame;
    bcjr_method method;
    // Forward metrics are kept for one segment at a time, and made again from its start.
    std::size_t segment;
    // Numbers that the sums of a short tail-biting frame take; 0: it has too many.
    std::size_t summed;
};

struct bcjr_group {
    std::size_t count;
    const float* llrs[bcjr_lanes];
    float* posteriors[bcjr_lanes];
    // The states at both ends; any_end: all are possible.
    int start[bcjr_lanes], end[bcjr_lanes];
    // Result: max* of all paths' metrics.
    double evidence[bcjr_lanes];
};
constexpr int any_end = -1;

struct bcjr_workspace {
    hwy::AlignedFreeUniquePtr<float[]> llrs, alpha, checkpoints, beta, terms, posteriors;
    hwy::AlignedFreeUniquePtr<double[]> sums;
};

} // namespace gr::neuralfec
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, bcjr_lanes>;
using V = hn::Vec<D>;

template <bcjr_method method>
HWY_INLINE V max_star(V a, V b)
{
    const D d;
    if (method == bcjr_method::max_log)
        return hn::Max(a, b);
    return hn::Add(hn::Max(a, b), log1p_exp(d, hn::Neg(hn::Abs(hn::Sub(a, b)))));
}

/*
 * Branch metrics of all 2^n outputs of a step. A positive LLR counts as L for a 1; a
 * large one, whose sums would lose the others, as -L for a 0, which is the same to all
 * paths.
 */
template <bool any_large>
HWY_INLINE void branches_of(const float* llrs, std::size_t n, float* branch)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d);
    hn::Store(hn::Zero(d), d, branch);
    for (std::size_t j = 0; j < n; j++) {
        const V l = hn::Load(d, llrs + j * lanes);
        const auto large = hn::Gt(l, hn::Set(d, large_llr));
        const V one = any_large ? hn::IfThenZeroElse(large, l) : l;
        for (std::size_t p = 0; p < (std::size_t{1} << j); p++) {
            const V before = hn::Load(d, branch + p * lanes);
            hn::Store(
                hn::Add(before, one), d, branch + (p + (std::size_t{1} << j)) * lanes);
            if (any_large)
                hn::Store(
                    hn::Sub(before, hn::IfThenElseZero(large, l)), d, branch + p * lanes);
        }
    }
}

HWY_INLINE void branches(const float* llrs, std::size_t n, bool any_large, float* branch)
{
    if (HWY_UNLIKELY(any_large))
        branches_of<true>(llrs, n, branch);
    else
        branches_of<false>(llrs, n, branch);
}

// max* of all states' terms, of which the largest is known: one logarithm for all of
// them, and no sum that waits for the one before.
template <bcjr_method method>
HWY_INLINE V max_star_of(std::size_t states, const float* terms, V largest)
{
    const D d;
    if (method == bcjr_method::max_log)
        return largest;
    const std::size_t lanes = hn::Lanes(d);
    V sum = hn::Zero(d);
    for (std::size_t s = 0; s < states; s++) {
        const V below = hn::Sub(hn::Load(d, terms + s * lanes), largest);
        sum = hn::Add(sum,
                      exp2_fine(d,
                                hn::Max(hn::Mul(below, hn::Set(d, 1.44269504f)),
                                        hn::Set(d, -125.0f))));
    }
    return hn::Add(largest, log_coarse(d, sum));
}

// Subtracts the largest of the states' metrics from all, and returns it.
HWY_INLINE V normalize(std::size_t states, float* metrics)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d);
    V largest = hn::Load(d, metrics);
    for (std::size_t s = 1; s < states; s++)
        largest = hn::Max(largest, hn::Load(d, metrics + s * lanes));
    for (std::size_t s = 0; s < states; s++)
        hn::Store(
            hn::Sub(hn::Load(d, metrics + s * lanes), largest), d, metrics + s * lanes);
    return largest;
}

// alpha -> the metrics one step later.
template <bcjr_method method>
HWY_INLINE void
forward(const bcjr_plan& plan, const float* branch, const float* alpha, float* next)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), states = plan.states;
    for (std::size_t s = 0; s < states; s++) {
        // The two edges into s.
        const std::size_t low = s, high = s + states;
        const V a = hn::Add(hn::Load(d, alpha + (low >> 1) * lanes),
                            hn::Load(d, branch + plan.output[low] * lanes));
        const V b = hn::Add(hn::Load(d, alpha + (high >> 1) * lanes),
                            hn::Load(d, branch + plan.output[high] * lanes));
        hn::Store(max_star<method>(a, b), d, next + s * lanes);
    }
}

template <bcjr_method method>
void decode(const bcjr_plan& plan, bcjr_group& group, bcjr_workspace& work)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), states = plan.states, n = plan.outputs;
    const std::size_t steps = plan.frame->steps, row = states * lanes;
    HWY_ALIGN float branch[(1u << convolutional_trellis::max_outputs) * bcjr_lanes];

    float* llrs = work.llrs.get();
    for (std::size_t f = 0; f < lanes; f++)
        for (std::size_t c = 0; c < steps * n; c++)
            llrs[c * lanes + f] = f < group.count && plan.frame->kept[c]
                                      ? group.llrs[f][plan.frame->rank[c]]
                                      : 0.0f;
    // As known_llr, over lanes.
    const V certain = hn::Set(d, certain_llr);
    V largest_llr = hn::Zero(d);
    for (std::size_t i = 0; i < steps * n * lanes; i += hn::Lanes(d)) {
        const V raw = hn::Load(d, llrs + i);
        const V l = hn::IfThenElseZero(hn::Eq(raw, raw),
                                       hn::Min(hn::Max(raw, hn::Neg(certain)), certain));
        hn::Store(l, d, llrs + i);
        largest_llr = hn::Max(largest_llr, l);
    }
    const bool any_large = hn::GetLane(hn::MaxOfLanes(d, largest_llr)) > large_llr;
    const auto fill_ends = [&](const int* ends, float* metrics) {
        for (std::size_t f = 0; f < lanes; f++)
            for (std::size_t s = 0; s < states; s++)
                metrics[s * lanes + f] = f >= group.count || ends[f] == any_end ||
                                                 ends[f] == static_cast<int>(s)
                                             ? 0
                                             : impossible;
    };

    // Forward over the whole frame: the start of each segment is kept, and the end.
    float* alpha = work.alpha.get();
    std::vector<double> offset(lanes);
    float* checkpoint = work.checkpoints.get();
    fill_ends(group.start, checkpoint);
    const auto advance = [&](std::size_t t, const float* from, float* to, bool count) {
        branches(llrs + t * n * lanes, n, any_large, branch);
        forward<method>(plan, branch, from, to);
        if (t % bcjr_norm_steps != 0)
            return;
        const V largest = normalize(states, to);
        if (!count)
            return;
        HWY_ALIGN float subtracted[bcjr_lanes] = {};
        hn::Store(largest, d, subtracted);
        for (std::size_t f = 0; f < lanes; f++)
            offset[f] += subtracted[f];
    };
    const std::size_t segments = (steps + plan.segment - 1) / plan.segment;
    for (std::size_t i = 0; i < segments; i++) {
        std::copy_n(checkpoint + i * row, row, alpha);
        const std::size_t first = i * plan.segment;
        const std::size_t last = std::min(steps, first + plan.segment);
        for (std::size_t t = first; t < last; t++)
            advance(t, alpha + (t - first) * row, alpha + (t - first + 1) * row, true);
        std::copy_n(alpha + (last - first) * row, row, checkpoint + (i + 1) * row);
    }
    float* beta = work.beta.get();
    fill_ends(group.end, beta);
    {
        const float* end = checkpoint + segments * row;
        V total = hn::Add(hn::Load(d, end), hn::Load(d, beta));
        for (std::size_t s = 1; s < states; s++)
            total = max_star<method>(
                total,
                hn::Add(hn::Load(d, end + s * lanes), hn::Load(d, beta + s * lanes)));
        HWY_ALIGN float totals[bcjr_lanes] = {};
        hn::Store(total, d, totals);
        for (std::size_t f = 0; f < group.count; f++)
            group.evidence[f] = offset[f] + totals[f];
    }

    float* posteriors = work.posteriors.get();
    float* zeros = work.terms.get();
    for (std::size_t i = segments; i-- > 0;) {
        const std::size_t first = i * plan.segment;
        const std::size_t last = std::min(steps, first + plan.segment);
        // The last segment's metrics are still there.
        if (i + 1 != segments) {
            std::copy_n(checkpoint + i * row, row, alpha);
            for (std::size_t t = first; t + 1 < last; t++)
                advance(
                    t, alpha + (t - first) * row, alpha + (t - first + 1) * row, false);
        }
        for (std::size_t t = last; t-- > first;) {
            branches(llrs + t * n * lanes, n, any_large, branch);
            const float* a = alpha + (t - first) * row;
            float* next = beta + row;
            const auto onward = [&](std::size_t edge) {
                return hn::Add(hn::Load(d, branch + plan.output[edge] * lanes),
                               hn::Load(d, beta + (edge & (states - 1)) * lanes));
            };
            V one = hn::Set(d, 2 * impossible), zero = one;
            float* ones = zeros + row;
            for (std::size_t s = 0; s < states; s++) {
                const V from = hn::Load(d, a + s * lanes);
                const V b0 = onward(2 * s), b1 = onward(2 * s + 1);
                hn::Store(max_star<method>(b0, b1), d, next + s * lanes);
                const bool flipped = plan.message[2 * s];
                const V to_zero = hn::Add(from, flipped ? b1 : b0);
                const V to_one = hn::Add(from, flipped ? b0 : b1);
                hn::Store(to_zero, d, zeros + s * lanes);
                hn::Store(to_one, d, ones + s * lanes);
                zero = hn::Max(zero, to_zero);
                one = hn::Max(one, to_one);
            }
            hn::Store(hn::Sub(max_star_of<method>(states, ones, one),
                              max_star_of<method>(states, zeros, zero)),
                      d,
                      posteriors + t * lanes);
            std::copy_n(next, row, beta);
            if (t % bcjr_norm_steps == 0)
                normalize(states, beta);
        }
    }
    for (std::size_t f = 0; f < group.count; f++)
        for (std::size_t t = 0; t < plan.frame->message_bits; t++)
            group.posteriors[f][t] = posteriors[t * lanes + f];
}

void bcjr_decode(const bcjr_plan& plan, bcjr_group& group, bcjr_workspace& work)
{
    if (plan.method == bcjr_method::max_log)
        decode<bcjr_method::max_log>(plan, group, work);
    else
        decode<bcjr_method::log_map>(plan, group, work);
}

/*
 * Adds up the probabilities of all circular paths, by each message bit: ones, zeros. Sums
 * and products need neither logarithms nor a scale where no path is too improbable for a
 * double. weights: of the 2^n outputs of each step; work: plan.summed numbers. Start
 * states lie across lanes.
 */
void bcjr_circular_sums(const bcjr_plan& plan,
                        const double* weights,
                        double* work,
                        double* ones,
                        double* zeros)
{
    const hn::CappedTag<double, bcjr_wide_lanes> d;
    const std::size_t lanes = hn::Lanes(d), states = plan.states, row = states * lanes;
    const std::size_t steps = plan.frame->steps, outputs = std::size_t{1} << plan.outputs;
    double *alpha = work, *beta = work + (steps + 1) * row, *next = beta + row;
    std::fill_n(ones, steps, 0.0);
    std::fill_n(zeros, steps, 0.0);
    for (std::size_t first = 0; first < states; first += lanes) {
        std::fill_n(alpha, row, 0.0);
        for (std::size_t f = 0; f < std::min(lanes, states - first); f++)
            alpha[(first + f) * lanes + f] = 1;
        std::copy_n(alpha, row, beta);
        for (std::size_t t = 0; t < steps; t++) {
            const double *w = weights + t * outputs, *from = alpha + t * row;
            double* to = alpha + (t + 1) * row;
            for (std::size_t s = 0; s < states; s++) {
                const std::size_t low = s, high = s + states;
                const auto a = hn::Mul(hn::Load(d, from + (low >> 1) * lanes),
                                       hn::Set(d, w[plan.output[low]]));
                hn::Store(hn::MulAdd(hn::Load(d, from + (high >> 1) * lanes),
                                     hn::Set(d, w[plan.output[high]]),
                                     a),
                          d,
                          to + s * lanes);
            }
        }
        for (std::size_t t = steps; t-- > 0;) {
            const double *w = weights + t * outputs, *from = alpha + t * row;
            auto one = hn::Zero(d), zero = hn::Zero(d);
            for (std::size_t s = 0; s < states; s++) {
                const auto onward = [&](std::size_t edge) {
                    return hn::Mul(hn::Load(d, beta + (edge & (states - 1)) * lanes),
                                   hn::Set(d, w[plan.output[edge]]));
                };
                const bool flipped = plan.message[2 * s];
                const auto to_zero = onward(2 * s + flipped),
                           to_one = onward(2 * s + !flipped);
                const auto a = hn::Load(d, from + s * lanes);
                zero = hn::MulAdd(a, to_zero, zero);
                one = hn::MulAdd(a, to_one, one);
                hn::Store(hn::Add(to_zero, to_one), d, next + s * lanes);
            }
            ones[t] += hn::GetLane(hn::SumOfLanes(d, one));
            zeros[t] += hn::GetLane(hn::SumOfLanes(d, zero));
            std::swap(beta, next);
        }
    }
}

std::size_t bcjr_group_size()
{
    return hn::Lanes(D());
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(bcjr_decode);
HWY_EXPORT(bcjr_circular_sums);
HWY_EXPORT(bcjr_group_size);

bcjr_method bcjr_method_from_name(const std::string& name)
{
    if (name == "log-map")
        return bcjr_method::log_map;
    if (name == "max-log")
        return bcjr_method::max_log;
    throw std::invalid_argument(
        "bcjr: expected method \"log-map\" or \"max-log\", got \"" + name + "\"");
}

struct bcjr_kernel::impl {
    convolutional_frame frame;
    bcjr_plan plan;
    mutable workspace_pool<bcjr_workspace> workspaces;

    impl(const convolutional_trellis& trellis,
         const convolutional_frame& f,
         bcjr_method method)
        : frame(f),
          plan(make_plan(trellis, frame, method)),
          workspaces([this] { return make_workspace(plan); })
    {
    }

    static bcjr_plan make_plan(const convolutional_trellis& trellis,
                               const convolutional_frame& frame,
                               bcjr_method method)
    {
        bcjr_plan plan{};
        plan.states = trellis.states();
        plan.outputs = trellis.outputs();
        for (unsigned edge = 0; edge < 2 * plan.states; edge++) {
            plan.output.push_back(trellis.output(edge));
            plan.message.push_back(trellis.message(edge));
        }
        plan.frame = &frame;
        plan.method = method;
        // Half a second-level cache of forward metrics.
        const std::size_t row = plan.states * bcjr_lanes;
        plan.segment = std::max<std::size_t>(64, (512 << 10) / (row * sizeof(float)));
        const std::size_t summed = (frame.steps + 3) * plan.states * bcjr_wide_lanes;
        if (method == bcjr_method::log_map && frame.end == termination::tail_biting &&
            summed * sizeof(double) <= largest_sums)
            plan.summed = summed;
        return plan;
    }

    static bcjr_workspace make_workspace(const bcjr_plan& plan)
    {
        bcjr_workspace work;
        const auto& frame = *plan.frame;
        const std::size_t row = plan.states * bcjr_lanes;
        const std::size_t kept = std::min(plan.segment, frame.steps);
        work.llrs = hwy::AllocateAligned<float>(frame.steps * plan.outputs * bcjr_lanes);
        work.alpha = hwy::AllocateAligned<float>((kept + 1) * row);
        work.checkpoints =
            hwy::AllocateAligned<float>((frame.steps / plan.segment + 2) * row);
        work.beta = hwy::AllocateAligned<float>(2 * row);
        work.terms = hwy::AllocateAligned<float>(2 * row);
        work.posteriors = hwy::AllocateAligned<float>(frame.steps * bcjr_lanes);
        if (plan.summed)
            work.sums = hwy::AllocateAligned<double>(plan.summed);
        if (!work.llrs || !work.alpha || !work.checkpoints || !work.beta || !work.terms ||
            !work.posteriors || (plan.summed && !work.sums))
            throw std::bad_alloc();
        return work;
    }

    void decode(const float* llrs, float* posteriors, std::size_t frames) const
    {
        const auto work = workspaces.take();
        const std::size_t lanes = HWY_DYNAMIC_DISPATCH(bcjr_group_size)();
        for (std::size_t f = 0; f < frames; f += lanes) {
            bcjr_group group;
            group.count = std::min(lanes, frames - f);
            for (std::size_t i = 0; i < group.count; i++) {
                group.llrs[i] = llrs + (f + i) * frame.received;
                group.posteriors[i] = posteriors + (f + i) * frame.message_bits;
                group.start[i] = 0;
                group.end[i] = frame.end == termination::zero ? 0 : any_end;
            }
            HWY_DYNAMIC_DISPATCH(bcjr_decode)(plan, group, *work);
        }
    }

    // One frame by sums of probabilities, if its LLRs allow.
    bool sum_circular(const float* llrs, float* posteriors, double* work) const
    {
        double sum = 0;
        for (std::size_t i = 0; i < frame.received; i++)
            sum += std::fabs(known_llr(llrs[i]));
        if (sum > largest_summed)
            return false;
        const std::size_t n = plan.outputs, all = std::size_t{1} << n;
        std::vector<double> weights(frame.steps * all), ones(frame.steps),
            zeros(frame.steps);
        for (std::size_t t = 0; t < frame.steps; t++)
            for (std::size_t output = 0; output < all; output++) {
                double metric = 0;
                for (std::size_t j = 0; j < n; j++)
                    if (frame.kept[t * n + j]) {
                        // By the likelier value, so that no weight exceeds 1.
                        const double l = known_llr(llrs[frame.rank[t * n + j]]);
                        metric += ((output >> j) & 1 ? l : 0) - std::max(l, 0.0);
                    }
                weights[t * all + output] = std::exp(metric);
            }
        HWY_DYNAMIC_DISPATCH(bcjr_circular_sums)
        (plan, weights.data(), work, ones.data(), zeros.data());
        const auto metric = [](double p) { return p > 0 ? std::log(p) : 2 * impossible; };
        for (std::size_t t = 0; t < frame.message_bits; t++)
            posteriors[t] = static_cast<float>(metric(ones[t]) - metric(zeros[t]));
        return true;
    }

    // One frame: start states lie across lanes, their results are joined.
    void decode_circular(const float* llrs, float* posteriors) const
    {
        const auto work = workspaces.take();
        if (plan.summed && sum_circular(llrs, posteriors, work->sums.get()))
            return;
        const std::size_t lanes = HWY_DYNAMIC_DISPATCH(bcjr_group_size)();
        const std::size_t k = frame.message_bits, states = plan.states;
        std::vector<float> each(states * k);
        std::vector<double> evidence(states);
        for (std::size_t s = 0; s < states; s += lanes) {
            bcjr_group group;
            group.count = std::min(lanes, states - s);
            for (std::size_t i = 0; i < group.count; i++) {
                group.llrs[i] = llrs;
                group.posteriors[i] = each.data() + (s + i) * k;
                group.start[i] = group.end[i] = static_cast<int>(s + i);
            }
            HWY_DYNAMIC_DISPATCH(bcjr_decode)(plan, group, *work);
            std::copy_n(group.evidence, group.count, evidence.data() + s);
        }
        const auto join = [&](double a, double b) {
            const double larger = std::max(a, b);
            return plan.method == bcjr_method::max_log
                       ? larger
                       : larger + std::log1p(std::exp(-std::fabs(a - b)));
        };
        for (std::size_t t = 0; t < k; t++) {
            double one = 2 * impossible, zero = one;
            for (std::size_t s = 0; s < states; s++) {
                // evidence = max*(one, zero) and L = one - zero give both.
                const double l = each[s * k + t];
                one = join(one, evidence[s] - join(0, -l));
                zero = join(zero, evidence[s] - join(0, l));
            }
            posteriors[t] = static_cast<float>(one - zero);
        }
    }
};

bcjr_kernel::bcjr_kernel(const convolutional_trellis& trellis,
                         const convolutional_frame& frame,
                         bcjr_method method)
    : d_impl(std::make_unique<impl>(trellis, frame, method))
{
}

bcjr_kernel::bcjr_kernel(bcjr_kernel&&) noexcept = default;
bcjr_kernel::~bcjr_kernel() = default;

const convolutional_frame& bcjr_kernel::frame() const
{
    return d_impl->frame;
}

uint64_t bcjr_kernel::decode(span<const float> llrs, span<float> posteriors) const
{
    const auto& frame = d_impl->frame;
    const std::size_t frames = llrs.size() / frame.received;
    if (llrs.size() % frame.received != 0 ||
        posteriors.size() != frames * frame.message_bits)
        throw std::invalid_argument(
            "bcjr: expected frames of " + std::to_string(frame.received) + " LLRs and " +
            std::to_string(frame.message_bits) + " posteriors, got " +
            std::to_string(llrs.size()) + " LLRs and " +
            std::to_string(posteriors.size()) + " posteriors");
    if (frame.end == termination::tail_biting)
        for (std::size_t f = 0; f < frames; f++)
            d_impl->decode_circular(llrs.data() + f * frame.received,
                                    posteriors.data() + f * frame.message_bits);
    else
        d_impl->decode(llrs.data(), posteriors.data(), frames);
    return count_nan(llrs.begin(), llrs.end());
}

} // namespace gr::neuralfec
#endif

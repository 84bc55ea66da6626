/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/burst_bcjr.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include "kernels/burst_bcjr.h"
#include "kernels/workspace.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include <hwy/aligned_allocator.h>

#ifndef NEURALFEC_BURST_BCJR_ONCE
#define NEURALFEC_BURST_BCJR_ONCE

namespace gr::neuralfec {

constexpr std::size_t burst_lanes = 16; // of the widest vector of floats
// What is left of a state that the values rule out, so that no sum is ever 0.
constexpr float burst_floor = 1e-30f;

struct burst_plan {
    unsigned states, outputs;
    // of edge (source << 1 | newest bit)
    std::vector<uint8_t> output, message;
    const convolutional_frame* frame;
    std::size_t noise_states;
    // Forward probabilities are kept for one segment at a time, and made again from its
    // start.
    std::size_t segment;
};

// A chain as the recursions want it, for amplitude 1.
struct burst_constants {
    float inverse_amplitude;
    float half_precision[burst_bcjr_kernel::most_noise_states];
    float log_weight[burst_bcjr_kernel::most_noise_states];
    float start[burst_bcjr_kernel::most_noise_states];
    float step[burst_bcjr_kernel::most_noise_states]
              [burst_bcjr_kernel::most_noise_states];
};

struct burst_group {
    std::size_t count;
    const float* values[burst_lanes];
    float* posteriors[burst_lanes]; // unless statistics are asked for
};

// Expected counts over all symbols, values relative to the amplitude.
struct burst_statistics {
    double start[burst_bcjr_kernel::most_noise_states] = {};
    double step[burst_bcjr_kernel::most_noise_states]
               [burst_bcjr_kernel::most_noise_states] = {};
    // Of symbols in state s: how many, of x y and of y^2.
    double count[burst_bcjr_kernel::most_noise_states] = {};
    double product[burst_bcjr_kernel::most_noise_states] = {};
    double square[burst_bcjr_kernel::most_noise_states] = {};
};

struct burst_workspace {
    hwy::AlignedFreeUniquePtr<float[]> values, likelihoods, alpha, checkpoints, beta,
        posteriors;
};

} // namespace gr::neuralfec
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, burst_lanes>;
using V = hn::Vec<D>;

// P(y | x, s) of a step's values, but for a factor: rows [output][bit][noise state].
template <std::size_t S>
HWY_INLINE void likelihoods(const burst_constants& c,
                            const float* HWY_RESTRICT values,
                            std::size_t count,
                            float* HWY_RESTRICT out)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d);
    const V one = hn::Set(d, 1.0f);
    for (std::size_t i = 0; i < count; i++, out += 2 * S * lanes) {
        const V y = hn::Load(d, values + i * lanes);
        V exponent[2][S], largest = hn::Set(d, -1e30f);
        for (std::size_t x = 0; x < 2; x++) {
            const V n = x ? hn::Sub(y, one) : hn::Add(y, one);
            const V square = hn::Mul(n, n);
            for (std::size_t s = 0; s < S; s++) {
                exponent[x][s] = hn::NegMulAdd(
                    square, hn::Set(d, c.half_precision[s]), hn::Set(d, c.log_weight[s]));
                largest = hn::Max(largest, exponent[x][s]);
            }
        }
        const auto unknown = hn::Eq(y, hn::Zero(d));
        for (std::size_t x = 0; x < 2; x++)
            for (std::size_t s = 0; s < S; s++) {
                const V e = hn::Max(hn::Sub(exponent[x][s], largest), hn::Set(d, -60.0f));
                hn::Store(hn::IfThenElse(unknown, one, hn::Exp(d, e)),
                          d,
                          out + (x * S + s) * lanes);
            }
    }
}

// f, the probabilities of the noise states before a symbol -> those after it.
template <std::size_t S>
HWY_INLINE void
over_symbol(const burst_constants& c, const float* HWY_RESTRICT likelihood, V (&f)[S])
{
    const D d;
    V after[S];
    for (std::size_t to = 0; to < S; to++) {
        after[to] = hn::Mul(f[0], hn::Set(d, c.step[0][to]));
        for (std::size_t from = 1; from < S; from++)
            after[to] = hn::MulAdd(f[from], hn::Set(d, c.step[from][to]), after[to]);
        after[to] = hn::Mul(after[to], hn::Load(d, likelihood + to * hn::Lanes(d)));
    }
    for (std::size_t s = 0; s < S; s++)
        f[s] = after[s];
}

// Divides by the sum, and lifts what vanishes.
HWY_INLINE void normalize(std::size_t rows, float* HWY_RESTRICT p)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d);
    V sum = hn::Load(d, p);
    for (std::size_t i = 1; i < rows; i++)
        sum = hn::Add(sum, hn::Load(d, p + i * lanes));
    const V scale = hn::Div(hn::Set(d, 1.0f), sum);
    for (std::size_t i = 0; i < rows; i++)
        hn::Store(
            hn::Max(hn::Mul(hn::Load(d, p + i * lanes), scale), hn::Set(d, burst_floor)),
            d,
            p + i * lanes);
}

// alpha -> that one step later; likelihoods and kept are those of the step.
template <std::size_t S>
HWY_INLINE void forward(const burst_plan& plan,
                        const burst_constants& c,
                        const uint8_t* kept,
                        const float* HWY_RESTRICT likelihood,
                        const float* HWY_RESTRICT alpha,
                        float* HWY_RESTRICT next)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d);
    for (std::size_t to = 0; to < plan.states; to++) {
        V sum[S];
        for (std::size_t s = 0; s < S; s++)
            sum[s] = hn::Zero(d);
        for (const std::size_t edge : {to, to + plan.states}) {
            V f[S];
            for (std::size_t s = 0; s < S; s++)
                f[s] = hn::Load(d, alpha + ((edge >> 1) * S + s) * lanes);
            for (std::size_t j = 0; j < plan.outputs; j++)
                if (kept[j])
                    over_symbol<S>(c,
                                   likelihood +
                                       (2 * j + (plan.output[edge] >> j & 1)) * S * lanes,
                                   f);
            for (std::size_t s = 0; s < S; s++)
                sum[s] = hn::Add(sum[s], f[s]);
        }
        for (std::size_t s = 0; s < S; s++)
            hn::Store(sum[s], d, next + (to * S + s) * lanes);
    }
    normalize(plan.states * S, next);
}

// Sums of a group's statistics, a lane a frame.
template <std::size_t S>
struct sums {
    HWY_ALIGN float start[S][burst_lanes], step[S][S][burst_lanes], count[S][burst_lanes],
        product[S][burst_lanes], square[S][burst_lanes];
};

HWY_INLINE void add(float* sum, V v)
{
    const D d;
    hn::Store(hn::Add(hn::Load(d, sum), v), d, sum);
}

/*!
 * One step back: beta -> next. The posterior of the step's message bit goes to
 * `posterior`, or, if Learn, expected counts to `total`.
 */
template <std::size_t S, bool Learn>
HWY_INLINE void backward(const burst_plan& plan,
                         const burst_constants& c,
                         const uint8_t* kept,
                         const float* HWY_RESTRICT values,
                         const float* HWY_RESTRICT likelihood,
                         const float* HWY_RESTRICT alpha,
                         const float* HWY_RESTRICT beta,
                         float* HWY_RESTRICT next,
                         V active,
                         float* HWY_RESTRICT posterior,
                         sums<S>& total)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), n = plan.outputs;
    constexpr std::size_t most = convolutional_trellis::max_outputs;
    V zero = hn::Zero(d), one = hn::Zero(d);
    // P(bit j is x, its noise state is s), and of one state and the next, but for a
    // factor.
    V marginal[Learn ? most : 1][2][S], pair[S][S];
    if constexpr (Learn) {
        for (std::size_t j = 0; j < n; j++)
            for (std::size_t s = 0; s < S; s++)
                marginal[j][0][s] = marginal[j][1][s] = hn::Zero(d);
        for (std::size_t s = 0; s < S; s++)
            for (std::size_t r = 0; r < S; r++)
                pair[s][r] = hn::Zero(d);
    }
    for (std::size_t from = 0; from < plan.states; from++) {
        V a[S], sum[S];
        for (std::size_t s = 0; s < S; s++) {
            a[s] = hn::Load(d, alpha + (from * S + s) * lanes);
            sum[s] = hn::Zero(d);
        }
        for (const std::size_t edge : {2 * from, 2 * from + 1}) {
            const std::size_t to = edge & (plan.states - 1);
            V f[Learn ? most + 1 : 1][S], g[S];
            if constexpr (Learn) {
                for (std::size_t s = 0; s < S; s++)
                    f[0][s] = a[s];
                for (std::size_t j = 0; j < n; j++) {
                    for (std::size_t s = 0; s < S; s++)
                        f[j + 1][s] = f[j][s];
                    if (kept[j])
                        over_symbol<S>(c,
                                       likelihood +
                                           (2 * j + (plan.output[edge] >> j & 1)) * S *
                                               lanes,
                                       f[j + 1]);
                }
            }
            for (std::size_t s = 0; s < S; s++)
                g[s] = hn::Load(d, beta + (to * S + s) * lanes);
            for (std::size_t j = n; j-- > 0;) {
                if (!kept[j])
                    continue;
                const std::size_t x = plan.output[edge] >> j & 1;
                const float* l = likelihood + (2 * j + x) * S * lanes;
                V h[S];
                for (std::size_t s = 0; s < S; s++) {
                    h[s] = hn::Mul(g[s], hn::Load(d, l + s * lanes));
                    if constexpr (Learn)
                        marginal[j][x][s] =
                            hn::MulAdd(f[j + 1][s], g[s], marginal[j][x][s]);
                }
                for (std::size_t s = 0; s < S; s++) {
                    g[s] = hn::Mul(h[0], hn::Set(d, c.step[s][0]));
                    for (std::size_t r = 1; r < S; r++)
                        g[s] = hn::MulAdd(h[r], hn::Set(d, c.step[s][r]), g[s]);
                    if constexpr (Learn)
                        for (std::size_t r = 0; r < S; r++)
                            pair[s][r] = hn::MulAdd(f[j][s], h[r], pair[s][r]);
                }
            }
            V joint = hn::Mul(a[0], g[0]);
            for (std::size_t s = 1; s < S; s++)
                joint = hn::MulAdd(a[s], g[s], joint);
            V& of = plan.message[edge] ? one : zero;
            of = hn::Add(of, joint);
            for (std::size_t s = 0; s < S; s++)
                sum[s] = hn::Add(sum[s], g[s]);
        }
        for (std::size_t s = 0; s < S; s++)
            hn::Store(sum[s], d, next + (from * S + s) * lanes);
    }
    if constexpr (Learn) {
        const V share = hn::Div(active, hn::Add(zero, one));
        for (std::size_t s = 0; s < S; s++) {
            for (std::size_t r = 0; r < S; r++)
                add(total.step[s][r], hn::Mul(pair[s][r], share));
            V before = hn::Zero(d);
            for (std::size_t m = 0; m < plan.states; m++)
                before = hn::MulAdd(hn::Load(d, alpha + (m * S + s) * lanes),
                                    hn::Load(d, next + (m * S + s) * lanes),
                                    before);
            // In the end that of the first step is left.
            hn::Store(hn::Mul(before, share), d, total.start[s]);
            for (std::size_t j = 0; j < n; j++) {
                if (!kept[j])
                    continue;
                const V y = hn::Load(d, values + j * lanes);
                const V known = hn::IfThenZeroElse(hn::Eq(y, hn::Zero(d)), share);
                const V p0 = hn::Mul(marginal[j][0][s], known);
                const V p1 = hn::Mul(marginal[j][1][s], known);
                const V p = hn::Add(p0, p1);
                add(total.count[s], p);
                add(total.product[s], hn::Mul(hn::Sub(p1, p0), y));
                add(total.square[s], hn::Mul(p, hn::Mul(y, y)));
            }
        }
    } else {
        const V tiny = hn::Set(d, burst_floor);
        hn::Store(
            hn::Sub(hn::Log(d, hn::Max(one, tiny)), hn::Log(d, hn::Max(zero, tiny))),
            d,
            posterior);
    }
    normalize(plan.states * S, next);
}

template <std::size_t S, bool Learn>
void run(const burst_plan& plan,
         const burst_constants& c,
         const burst_group& group,
         burst_workspace& work,
         burst_statistics* statistics)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), states = plan.states, n = plan.outputs;
    const std::size_t steps = plan.frame->steps, row = states * S * lanes;
    const uint8_t* kept = plan.frame->kept.data();

    float* values = work.values.get();
    for (std::size_t f = 0; f < lanes; f++)
        for (std::size_t i = 0; i < steps * n; i++) {
            const float y =
                f < group.count && kept[i] ? group.values[f][plan.frame->rank[i]] : 0.0f;
            values[i * lanes + f] = std::isfinite(y)
                                        ? std::clamp(y * c.inverse_amplitude, -1e6f, 1e6f)
                                        : 0.0f;
        }
    HWY_ALIGN float is_active[burst_lanes] = {};
    std::fill_n(is_active, group.count, 1.0f);
    const V active = hn::Load(d, is_active);
    sums<S> total;
    if (Learn)
        for (std::size_t s = 0; s < S; s++) {
            for (auto* sum : {total.count[s], total.product[s], total.square[s]})
                std::fill_n(sum, burst_lanes, 0.0f);
            for (std::size_t r = 0; r < S; r++)
                std::fill_n(total.step[s][r], burst_lanes, 0.0f);
        }

    // Forward: the start of each segment is kept, and all of the last one.
    float *alpha = work.alpha.get(), *likelihood = work.likelihoods.get();
    float* checkpoint = work.checkpoints.get();
    const std::size_t likelihood_row = 2 * n * S * lanes;
    for (std::size_t s = 0; s < S; s++)
        for (std::size_t m = 0; m < states; m++)
            hn::Store(hn::Set(d, m == 0 ? c.start[s] : 0.0f),
                      d,
                      checkpoint + (m * S + s) * lanes);
    const std::size_t segments = (steps + plan.segment - 1) / plan.segment;
    auto over_segment = [&](std::size_t i) {
        const std::size_t first = i * plan.segment;
        const std::size_t last = std::min(steps, first + plan.segment);
        likelihoods<S>(c, values + first * n * lanes, (last - first) * n, likelihood);
        std::copy_n(checkpoint + i * row, row, alpha);
        for (std::size_t t = first; t < last; t++)
            forward<S>(plan,
                       c,
                       kept + t * n,
                       likelihood + (t - first) * likelihood_row,
                       alpha + (t - first) * row,
                       alpha + (t - first + 1) * row);
        std::copy_n(alpha + (last - first) * row, row, checkpoint + (i + 1) * row);
    };
    for (std::size_t i = 0; i < segments; i++)
        over_segment(i);

    float *beta = work.beta.get(), *next = beta + row;
    for (std::size_t m = 0; m < states; m++)
        for (std::size_t s = 0; s < S; s++)
            hn::Store(
                hn::Set(d, m == 0 || plan.frame->end == termination::none ? 1.0f : 0.0f),
                d,
                beta + (m * S + s) * lanes);
    for (std::size_t i = segments; i-- > 0;) {
        if (i + 1 != segments)
            over_segment(i);
        const std::size_t first = i * plan.segment;
        for (std::size_t t = std::min(steps, first + plan.segment); t-- > first;) {
            backward<S, Learn>(plan,
                               c,
                               kept + t * n,
                               values + t * n * lanes,
                               likelihood + (t - first) * likelihood_row,
                               alpha + (t - first) * row,
                               beta,
                               next,
                               active,
                               work.posteriors.get() + t * lanes,
                               total);
            std::swap(beta, next);
        }
    }
    if (!Learn) {
        for (std::size_t f = 0; f < group.count; f++)
            for (std::size_t t = 0; t < plan.frame->message_bits; t++)
                group.posteriors[f][t] = work.posteriors[t * lanes + f];
        return;
    }
    for (std::size_t f = 0; f < group.count; f++)
        for (std::size_t s = 0; s < S; s++) {
            statistics->start[s] += total.start[s][f];
            statistics->count[s] += total.count[s][f];
            statistics->product[s] += total.product[s][f];
            statistics->square[s] += total.square[s][f];
            for (std::size_t r = 0; r < S; r++)
                statistics->step[s][r] += double(total.step[s][r][f]) * c.step[s][r];
        }
}

template <std::size_t S>
void run(const burst_plan& plan,
         const burst_constants& c,
         const burst_group& group,
         burst_workspace& work,
         burst_statistics* statistics)
{
    if (statistics)
        run<S, true>(plan, c, group, work, statistics);
    else
        run<S, false>(plan, c, group, work, statistics);
}

void burst_run(const burst_plan& plan,
               const burst_constants& c,
               const burst_group& group,
               burst_workspace& work,
               burst_statistics* statistics)
{
    if (plan.noise_states == 2)
        run<2>(plan, c, group, work, statistics);
    else if (plan.noise_states == 3)
        run<3>(plan, c, group, work, statistics);
    else
        run<4>(plan, c, group, work, statistics);
}

std::size_t burst_group_size()
{
    return hn::Lanes(D());
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(burst_run);
HWY_EXPORT(burst_group_size);

namespace {

// How many symbols the guess counts for in each state, and steps.
constexpr double guess_weight = 2;
// Relative to the amplitude's square: 30 dB. Noiseless frames would have it 0.
constexpr double least_variance = 1e-3;

double median(std::vector<float>& values)
{
    const auto middle = values.begin() + values.size() / 2;
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

burst_plan make_plan(const convolutional_trellis& trellis,
                     const convolutional_frame& frame,
                     std::size_t noise_states)
{
    burst_plan plan{};
    plan.states = trellis.states();
    plan.outputs = trellis.outputs();
    for (unsigned edge = 0; edge < 2 * plan.states; edge++) {
        plan.output.push_back(trellis.output(edge));
        plan.message.push_back(trellis.message(edge));
    }
    plan.frame = &frame;
    plan.noise_states = noise_states;
    // Half a second-level cache of forward probabilities.
    const std::size_t row = plan.states * noise_states * burst_lanes;
    plan.segment = std::max<std::size_t>(64, (512 << 10) / (row * sizeof(float)));
    return plan;
}

burst_workspace make_workspace(const burst_plan& plan)
{
    burst_workspace work;
    const std::size_t row = plan.states * plan.noise_states * burst_lanes;
    const std::size_t steps = plan.frame->steps, kept = std::min(plan.segment, steps);
    auto allocate = [](auto& memory, std::size_t size) {
        memory = hwy::AllocateAligned<float>(size);
        if (!memory)
            throw std::bad_alloc();
    };
    allocate(work.values, steps * plan.outputs * burst_lanes);
    allocate(work.likelihoods, kept * plan.outputs * 2 * plan.noise_states * burst_lanes);
    allocate(work.alpha, (kept + 1) * row);
    allocate(work.checkpoints, (steps / plan.segment + 2) * row);
    allocate(work.beta, 2 * row);
    allocate(work.posteriors, steps * burst_lanes);
    return work;
}

burst_constants constants(const noise_chain& chain)
{
    burst_constants c{};
    const std::size_t states = chain.states();
    c.inverse_amplitude = static_cast<float>(1 / chain.amplitude);
    for (std::size_t s = 0; s < states; s++) {
        const double v = chain.variance[s] / (chain.amplitude * chain.amplitude);
        c.half_precision[s] = static_cast<float>(0.5 / v);
        c.log_weight[s] = static_cast<float>(-0.5 * std::log(v));
        c.start[s] = static_cast<float>(chain.start[s]);
        for (std::size_t r = 0; r < states; r++)
            c.step[s][r] = static_cast<float>(chain.step[s * states + r]);
    }
    return c;
}

} // namespace

struct burst_bcjr_kernel::impl {
    convolutional_frame frame;
    burst_plan plan;
    mutable workspace_pool<burst_workspace> workspaces;

    impl(const convolutional_trellis& trellis,
         const convolutional_frame& f,
         std::size_t noise_states)
        : frame(f),
          plan(make_plan(trellis, frame, noise_states)),
          workspaces([this] { return make_workspace(plan); })
    {
    }

    std::size_t frames_of(span<const float> values) const
    {
        if (values.size() % frame.received != 0)
            throw std::invalid_argument("burst_bcjr: expected frames of " +
                                        std::to_string(frame.received) + " values, got " +
                                        std::to_string(values.size()));
        return values.size() / frame.received;
    }

    void check(const noise_chain& chain) const
    {
        const std::size_t states = plan.noise_states;
        auto probable = [](double p) { return p >= 0 && p <= 1; };
        auto positive = [](double v) { return v > 0 && std::isfinite(v); };
        if (chain.variance.size() != states || chain.start.size() != states ||
            chain.step.size() != states * states || !positive(chain.amplitude) ||
            !std::all_of(chain.variance.begin(), chain.variance.end(), positive) ||
            !std::all_of(chain.start.begin(), chain.start.end(), probable) ||
            !std::all_of(chain.step.begin(), chain.step.end(), probable))
            throw std::invalid_argument(
                "burst_bcjr: expected a chain of " + std::to_string(states) +
                " states with an amplitude and variances above 0 and probabilities");
    }

    //! Calls run for groups of frames; posteriors or statistics may be left out.
    void over_groups(span<const float> values,
                     const noise_chain& chain,
                     float* posteriors,
                     burst_statistics* statistics) const
    {
        const auto work = workspaces.take();
        const auto c = constants(chain);
        const std::size_t lanes = HWY_DYNAMIC_DISPATCH(burst_group_size)();
        const std::size_t frames = frames_of(values);
        for (std::size_t f = 0; f < frames; f += lanes) {
            burst_group group{};
            group.count = std::min(lanes, frames - f);
            for (std::size_t i = 0; i < group.count; i++) {
                group.values[i] = values.data() + (f + i) * frame.received;
                if (posteriors)
                    group.posteriors[i] = posteriors + (f + i) * frame.message_bits;
            }
            HWY_DYNAMIC_DISPATCH(burst_run)(plan, c, group, *work, statistics);
        }
    }
};

burst_bcjr_kernel::burst_bcjr_kernel(const convolutional_trellis& trellis,
                                     const convolutional_frame& frame,
                                     std::size_t noise_states)
{
    if (noise_states < 2 || noise_states > most_noise_states)
        throw std::invalid_argument(
            "burst_bcjr: expected 2 to " + std::to_string(most_noise_states) +
            " states of the noise, got " + std::to_string(noise_states));
    if (frame.end == termination::tail_biting)
        throw std::invalid_argument(
            "burst_bcjr: expected a termination of none or zero, got tail-biting");
    d_impl = std::make_unique<impl>(trellis, frame, noise_states);
}

burst_bcjr_kernel::burst_bcjr_kernel(burst_bcjr_kernel&&) noexcept = default;
burst_bcjr_kernel::~burst_bcjr_kernel() = default;

const convolutional_frame& burst_bcjr_kernel::frame() const
{
    return d_impl->frame;
}

std::size_t burst_bcjr_kernel::noise_states() const
{
    return d_impl->plan.noise_states;
}

noise_chain burst_bcjr_kernel::guess(span<const float> values) const
{
    std::vector<float> sizes;
    for (float y : values)
        if (std::isfinite(y) && y != 0)
            sizes.push_back(std::fabs(y));
    noise_chain chain;
    chain.amplitude = sizes.empty() ? 1 : median(sizes);
    for (float& y : sizes)
        y = static_cast<float>(std::fabs(y - chain.amplitude));
    // The median of |n| of Gaussian n is 0.6745 of its deviation.
    const double deviation = sizes.empty() ? 0 : median(sizes) / 0.6745;
    double variance = std::max(deviation * deviation,
                               least_variance * chain.amplitude * chain.amplitude);
    const std::size_t states = noise_states();
    // Rare changes to a neighbour, and long stays in quiet.
    constexpr double to_louder = 0.01, to_quieter = 0.2;
    chain.step.assign(states * states, 0.0);
    for (std::size_t s = 0; s < states; s++, variance *= 10) {
        chain.variance.push_back(variance);
        chain.start.push_back(s == 0 ? 1 - 0.05 * (states - 1) : 0.05);
        for (std::size_t r = 0; r < states; r++)
            if (r != s)
                chain.step[s * states + r] =
                    (r > s ? to_louder : to_quieter) / (states - 1);
        double leaves = 0;
        for (std::size_t r = 0; r < states; r++)
            leaves += chain.step[s * states + r];
        chain.step[s * states + s] = 1 - leaves;
    }
    return chain;
}

noise_chain burst_bcjr_kernel::improve(span<const float> values,
                                       const noise_chain& chain,
                                       const noise_chain& guess) const
{
    d_impl->check(chain);
    d_impl->check(guess);
    burst_statistics sum;
    d_impl->over_groups(values, chain, nullptr, &sum);
    const std::size_t states = noise_states();
    noise_chain better = chain;
    // The amplitude that the squares of all states, each over its variance, are least
    // for.
    double product = 0, count = 0;
    for (std::size_t s = 0; s < states; s++) {
        product += sum.product[s] / chain.variance[s];
        count += sum.count[s] / chain.variance[s];
    }
    // Below a tenth of the guess, which is a median, only one sign was ever sent.
    const double a = count > 0 ? std::max(product / count, 0.1) : 1;
    better.amplitude = a * chain.amplitude;
    double starts = 0;
    for (std::size_t s = 0; s < states; s++)
        starts += sum.start[s];
    for (std::size_t s = 0; s < states; s++) {
        const double of_guess =
            guess.variance[s] / (chain.amplitude * chain.amplitude) * guess_weight;
        const double squares =
            sum.square[s] - 2 * a * sum.product[s] + a * a * sum.count[s];
        const double v = std::max((squares + of_guess) / (sum.count[s] + guess_weight),
                                  least_variance * a * a);
        better.variance[s] = v * chain.amplitude * chain.amplitude;
        better.start[s] =
            (sum.start[s] + guess_weight * guess.start[s]) / (starts + guess_weight);
        double leaving = 0;
        for (std::size_t r = 0; r < states; r++)
            leaving += sum.step[s][r];
        for (std::size_t r = 0; r < states; r++)
            better.step[s * states + r] =
                (sum.step[s][r] + guess_weight * guess.step[s * states + r]) /
                (leaving + guess_weight);
    }
    return better;
}

noise_chain burst_bcjr_kernel::learn(span<const float> values, unsigned& iterations) const
{
    const std::size_t frames = d_impl->frames_of(values), n = d_impl->frame.received;
    std::vector<float> some;
    if (frames > most_learned_frames) {
        for (std::size_t i = 0; i < most_learned_frames; i++) {
            const auto* from = values.data() + i * frames / most_learned_frames * n;
            some.insert(some.end(), from, from + n);
        }
        values = some;
    }
    const noise_chain first = guess(values);
    noise_chain chain = first;
    for (iterations = 0; iterations < most_iterations;) {
        const noise_chain better = improve(values, chain, first);
        double change = std::fabs(better.amplitude / chain.amplitude - 1);
        for (std::size_t s = 0; s < chain.states(); s++)
            change = std::max(
                change, std::fabs(std::log(better.variance[s] / chain.variance[s])));
        for (std::size_t i = 0; i < chain.step.size(); i++)
            change = std::max(change, 3 * std::fabs(better.step[i] - chain.step[i]));
        chain = better;
        iterations++;
        if (change < 0.02)
            break;
    }
    return chain;
}

uint64_t burst_bcjr_kernel::decode(span<const float> values,
                                   const noise_chain& chain,
                                   span<float> posteriors) const
{
    const std::size_t frames = d_impl->frames_of(values);
    if (posteriors.size() != frames * k())
        throw std::invalid_argument(
            "burst_bcjr: expected room for " + std::to_string(frames) + " frames of " +
            std::to_string(k()) + " LLRs, got " + std::to_string(posteriors.size()));
    d_impl->check(chain);
    d_impl->over_groups(values, chain, posteriors.data(), nullptr);
    return std::count_if(
        values.begin(), values.end(), [](float y) { return !std::isfinite(y); });
}

} // namespace gr::neuralfec
#endif

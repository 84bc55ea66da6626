/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/belief_code.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/belief_code.cc"
#include <hwy/aligned_allocator.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/dense-inl.h"
#include "kernels/math-inl.h"

#ifndef NEURALFEC_BELIEF_CODE_ONCE
#define NEURALFEC_BELIEF_CODE_ONCE
namespace gr::neuralfec {
namespace {
// Groups that go through the network together: their activations stay in the first cache.
constexpr std::size_t chunk = 48;
constexpr std::size_t most_group_bits = 8;
constexpr std::size_t most_symbols = 2;

/*! Batcher's odd-even merge sort of n = 2^k values (Knuth, The Art of Computer
 * Programming 3, 5.2.2, algorithm M): visit(low, high) for each pair of ranks. */
template <typename Visit>
constexpr void sorting_network(std::size_t n, Visit visit)
{
    for (std::size_t p = n / 2; p > 0; p /= 2) {
        std::size_t q = n / 2, r = 0, distance = p;
        while (true) {
            for (std::size_t i = 0; i + distance < n; i++)
                if ((i & p) == r)
                    visit(i, i + distance);
            if (q == p)
                break;
            distance = q - p;
            q /= 2;
            r = p;
        }
    }
}

// Up to so many log-ratios and classes are sorted in registers.
constexpr std::size_t most_in_registers = 16;

constexpr std::size_t comparators_of(std::size_t n)
{
    std::size_t count = 0;
    sorting_network(n, [&](std::size_t, std::size_t) { count++; });
    return count;
}

//! The network of N values, known to the compiler.
template <std::size_t N>
struct fixed_network {
    static constexpr std::size_t size = comparators_of(N);
    std::size_t low[size] = {}, high[size] = {};
    constexpr fixed_network()
    {
        std::size_t k = 0;
        sorting_network(N, [&](std::size_t l, std::size_t h) {
            low[k] = l;
            high[k++] = h;
        });
    }
};
// The network sees no log-ratio below this one (FLOOR of feedback/belief/network.py).
constexpr float input_floor = -16.0f;
} // namespace
} // namespace gr::neuralfec
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr std::size_t lanes = hn::MaxLanes(D());
static_assert(chunk % lanes == 0);

constexpr std::size_t vectors_at_once = lanes >= 4 ? 3 : 1;
static_assert(chunk % (lanes * vectors_at_once) == 0);

float exponential(float x)
{
    const D d;
    return hn::GetLane(exp_reproducible(d, hn::Set(d, x)));
}

//! y = W x + b, then max(y, 0) if Relu; features are rows of `chunk` groups.
template <bool Relu>
HWY_NOINLINE void apply(const tiled_layer& m,
                        const float* HWY_RESTRICT bias,
                        const float* HWY_RESTRICT x,
                        float* HWY_RESTRICT y)
{
    const D d;
    for (std::size_t row = 0; row < whole_tiles(m.out); row += dense_rows) {
        const float* HWY_RESTRICT w = m.weights.data() +
                                      row / dense_tile_rows * dense_tile_rows * m.in +
                                      row % dense_tile_rows;
        for (std::size_t t = 0; t < chunk; t += lanes * vectors_at_once)
            // Not fused: every target gives the same bits.
            multiply_dense<dense_rows, vectors_at_once, false>(
                d,
                w,
                1,
                dense_tile_rows,
                x + t,
                chunk,
                lanes,
                m.in,
                [&](std::size_t r, std::size_t)
                    NEURALFEC_LAMBDA { return hn::Set(d, bias[row + r]); },
                [&](std::size_t r, std::size_t v, V sum) NEURALFEC_LAMBDA {
                    hn::Store(Relu ? hn::Max(sum, hn::Zero(d)) : sum,
                              d,
                              y + (row + r) * chunk + t + v * lanes);
                });
    }
}

#if HWY_TARGET != HWY_SCALAR
using D4 = hn::FixedTag<float, 4>;
using V4 = hn::Vec<D4>;

HWY_INLINE void transpose(V4& a, V4& b, V4& c, V4& d)
{
    const D4 tag;
    const V4 ac0 = hn::InterleaveLower(tag, a, c), ac1 = hn::InterleaveUpper(tag, a, c);
    const V4 bd0 = hn::InterleaveLower(tag, b, d), bd1 = hn::InterleaveUpper(tag, b, d);
    a = hn::InterleaveLower(tag, ac0, bd0);
    b = hn::InterleaveUpper(tag, ac0, bd0);
    c = hn::InterleaveLower(tag, ac1, bd1);
    d = hn::InterleaveUpper(tag, ac1, bd1);
}
#endif

//! Rows of the table, `width` long, into columns of `out`, whose own rows are `chunk`.
HWY_NOINLINE void load_rows(const float* HWY_RESTRICT table,
                            std::size_t width,
                            const uint32_t* HWY_RESTRICT rows,
                            std::size_t n,
                            float* HWY_RESTRICT out)
{
    std::size_t lane = 0;
#if HWY_TARGET != HWY_SCALAR
    const D4 d;
    for (; width >= 4 && lane + 4 <= n; lane += 4) {
        const float* row[4];
        for (std::size_t k = 0; k < 4; k++)
            row[k] = table + rows[lane + k] * width;
        for (std::size_t i = 0; i < width; i += 4) {
            V4 v[4];
            for (std::size_t k = 0; k < 4; k++)
                v[k] = hn::LoadU(d, row[k] + i);
            transpose(v[0], v[1], v[2], v[3]);
            for (std::size_t k = 0; k < 4; k++)
                hn::Store(v[k], d, out + (i + k) * chunk + lane);
        }
    }
#endif
    for (; lane < n; lane++)
        for (std::size_t i = 0; i < width; i++)
            out[i * chunk + lane] = table[rows[lane] * width + i];
}

HWY_NOINLINE void store_rows(const float* HWY_RESTRICT in,
                             std::size_t width,
                             const uint32_t* HWY_RESTRICT rows,
                             std::size_t n,
                             float* HWY_RESTRICT table)
{
    std::size_t lane = 0;
#if HWY_TARGET != HWY_SCALAR
    const D4 d;
    for (; width >= 4 && lane + 4 <= n; lane += 4) {
        float* row[4];
        for (std::size_t k = 0; k < 4; k++)
            row[k] = table + rows[lane + k] * width;
        for (std::size_t i = 0; i < width; i += 4) {
            V4 v[4];
            for (std::size_t k = 0; k < 4; k++)
                v[k] = hn::Load(d, in + (i + k) * chunk + lane);
            transpose(v[0], v[1], v[2], v[3]);
            for (std::size_t k = 0; k < 4; k++)
                hn::StoreU(v[k], d, row[k] + i);
        }
    }
#endif
    for (; lane < n; lane++)
        for (std::size_t i = 0; i < width; i++)
            table[rows[lane] * width + i] = in[i * chunk + lane];
}

void propose(const belief_code& code,
             belief_table& table,
             const uint32_t* rows,
             const uint8_t* left,
             std::size_t n,
             float threshold,
             float gain,
             float snr_db)
{
    const D d;
    const std::size_t patterns = code.patterns();
    const std::size_t points = patterns * code.parameters().symbols;
    const std::size_t widest =
        whole_tiles(std::max({patterns + 1, points, code.layer1.out, code.layer2.out}));
    const auto memory = hwy::AllocateAligned<float>(3 * chunk * widest);
    float* const log_ratios = memory.get();
    float* const a = log_ratios + chunk * widest;
    float* const b = a + chunk * widest;
    std::fill_n(log_ratios, chunk * widest, 0.0f);
    const float peak = code.parameters().peak;
    std::vector<float> bias(code.layer1.bias);
    for (std::size_t i = 0; i < code.layer1.out; i++) {
        bias[i] += code.threshold_weights[i] * threshold;
        bias[i] += code.peak_weights[i] * peak;
        bias[i] += code.snr_weights[i] * snr_db;
    }
    // Candidates of the uniform belief, which all groups begin with.
    std::vector<float> first(points);
    int first_left = -1;
    for (std::size_t start = 0; start < n; start += chunk) {
        const std::size_t size = std::min(chunk, n - start);
        load_rows(table.log_ratios.data(), patterns, rows + start, size, log_ratios);
        bool alike = true;
        for (std::size_t lane = 0; lane < size; lane++)
            alike &= log_ratios[(patterns - 1) * chunk + lane] == 0 &&
                     left[start + lane] == left[start];
        if (alike && left[start] == first_left) {
            for (std::size_t lane = 0; lane < size; lane++)
                std::copy_n(first.data(),
                            points,
                            table.candidates.data() + rows[start + lane] * points);
            continue;
        }
        // Inputs from rank 1 on; below them, in the row of rank M, the rounds left.
        float* const inputs = a;
        for (std::size_t t = 0; t < (patterns - 1) * chunk; t += lanes)
            hn::Store(
                hn::Max(hn::Load(d, log_ratios + chunk + t), hn::Set(d, input_floor)),
                d,
                inputs + t);
        for (std::size_t lane = 0; lane < chunk; lane++)
            inputs[(patterns - 1) * chunk + lane] =
                lane < size ? static_cast<float>(left[start + lane]) : 0.0f;
        apply<true>(code.layer1, bias.data(), a, b);
        apply<true>(code.layer2, code.layer2.bias.data(), b, a);
        apply<false>(code.layer3, code.layer3.bias.data(), a, b);
        for (std::size_t t = 0; t < chunk; t += lanes) {
            for (std::size_t symbol = 0; symbol < points; symbol += patterns) {
                V weight = hn::Zero(d), mean = hn::Zero(d);
                float* const x = b + symbol * chunk + t;
                for (std::size_t i = 0; i < patterns; i++) {
                    const V p =
                        exp_reproducible(d, hn::Load(d, log_ratios + i * chunk + t));
                    weight = hn::Add(weight, p);
                    mean = hn::Add(mean, hn::Mul(p, hn::Load(d, x + i * chunk)));
                }
                mean = hn::Div(mean, weight);
                for (std::size_t i = 0; i < patterns; i++) {
                    const V point = hn::Mul(hn::Set(d, gain),
                                            hn::Sub(hn::Load(d, x + i * chunk), mean));
                    hn::Store(
                        hn::Min(hn::Max(point, hn::Set(d, -peak)), hn::Set(d, peak)),
                        d,
                        x + i * chunk);
                }
            }
        }
        store_rows(b, points, rows + start, size, table.candidates.data());
        if (alike) {
            first_left = left[start];
            for (std::size_t i = 0; i < points; i++)
                first[i] = b[i * chunk];
        }
    }
}

//! The larger log-ratio first, and its class.
HWY_INLINE void compare_and_swap(V& l0, V& l1, V& c0, V& c1)
{
    const auto swap = hn::Gt(l1, l0);
    const V l = hn::IfThenElse(swap, l1, l0), c = hn::IfThenElse(swap, c1, c0);
    l1 = hn::IfThenElse(swap, l0, l1);
    c1 = hn::IfThenElse(swap, c0, c1);
    l0 = l;
    c0 = c;
}

template <std::size_t N, std::size_t... I>
HWY_INLINE void swap_all(V (&l)[N], V (&c)[N], std::index_sequence<I...>)
{
    constexpr fixed_network<N> network;
    (compare_and_swap(
         l[network.low[I]], l[network.high[I]], c[network.low[I]], c[network.high[I]]),
     ...);
}

//! Sorts rows of `chunk` in one go, a vector of lanes of each.
template <std::size_t N, std::size_t... I>
HWY_INLINE void sort_in_registers(float* l_rows, float* c_rows, std::index_sequence<I...>)
{
    const D d;
    V l[N] = {hn::Load(d, l_rows + I * chunk)...};
    V c[N] = {hn::Load(d, c_rows + I * chunk)...};
    swap_all(l, c, std::make_index_sequence<fixed_network<N>::size>());
    (hn::Store(l[I], d, l_rows + I * chunk), ...);
    (hn::Store(c[I], d, c_rows + I * chunk), ...);
}

/*! \param places where in `received` and `variances` each row's first symbol is; the
 * second is `stride` behind it */
void update(const belief_code& code,
            belief_table& table,
            const uint32_t* rows,
            const uint32_t* places,
            std::size_t stride,
            std::size_t n,
            const float* values,
            const float* variances,
            float threshold)
{
    const D d;
    const std::size_t patterns = code.patterns();
    const std::size_t points = patterns * code.parameters().symbols;
    const auto memory = hwy::AllocateAligned<float>(chunk * (2 * patterns + points));
    std::fill_n(memory.get(), chunk * (2 * patterns + points), 0.0f);
    float* const log_ratios = memory.get();
    float* const classes = log_ratios + chunk * patterns;
    float* const candidates = classes + chunk * patterns;
    HWY_ALIGN float received[most_symbols * chunk] = {};
    HWY_ALIGN float precisions[most_symbols * chunk] = {};
    HWY_ALIGN float rest[chunk];
    const float limit = exponential(-threshold);
    for (std::size_t start = 0; start < n; start += chunk) {
        const std::size_t size = std::min(chunk, n - start);
        load_rows(table.log_ratios.data(), patterns, rows + start, size, log_ratios);
        load_rows(table.classes.data(), patterns, rows + start, size, classes);
        load_rows(table.candidates.data(), points, rows + start, size, candidates);
        for (std::size_t i = 0; i < code.parameters().symbols; i++)
            for (std::size_t lane = 0; lane < size; lane++) {
                const std::size_t place = places[start + lane] + i * stride;
                const float value = values[place];
                const bool arrived = !std::isnan(value);
                received[i * chunk + lane] = arrived ? value : 0.0f;
                precisions[i * chunk + lane] = arrived ? 1.0f / variances[place] : 0.0f;
            }
        for (std::size_t t = 0; t < chunk; t += lanes) {
            float* const l = log_ratios + t;
            float* const c = classes + t;
            for (std::size_t s = 0; s < code.parameters().symbols; s++) {
                const V y = hn::Load(d, received + s * chunk + t),
                        precision = hn::Load(d, precisions + s * chunk + t);
                const float* const x_of = candidates + s * patterns * chunk + t;
                for (std::size_t i = 0; i < patterns; i++) {
                    const V x = hn::Load(d, x_of + i * chunk);
                    const V middle = hn::Sub(y, hn::Mul(hn::Set(d, 0.5f), x));
                    const V gained = hn::Mul(hn::Mul(middle, x), precision);
                    hn::Store(
                        hn::Add(hn::Load(d, l + i * chunk), gained), d, l + i * chunk);
                }
            }
            if (patterns == most_in_registers)
                sort_in_registers<most_in_registers>(
                    l, c, std::make_index_sequence<most_in_registers>());
            else
                for (const auto& [low, high] : code.comparators) {
                    V l0 = hn::Load(d, l + low * chunk),
                      l1 = hn::Load(d, l + high * chunk);
                    V c0 = hn::Load(d, c + low * chunk),
                      c1 = hn::Load(d, c + high * chunk);
                    compare_and_swap(l0, l1, c0, c1);
                    hn::Store(l0, d, l + low * chunk);
                    hn::Store(l1, d, l + high * chunk);
                    hn::Store(c0, d, c + low * chunk);
                    hn::Store(c1, d, c + high * chunk);
                }
            const V top = hn::Load(d, l);
            V sum = hn::Zero(d);
            hn::Store(hn::Zero(d), d, l);
            for (std::size_t i = 1; i < patterns; i++) {
                const V ratio = hn::Sub(hn::Load(d, l + i * chunk), top);
                hn::Store(ratio, d, l + i * chunk);
                sum = hn::Add(sum, exp_reproducible(d, ratio));
            }
            hn::Store(sum, d, rest + t);
        }
        store_rows(log_ratios, patterns, rows + start, size, table.log_ratios.data());
        store_rows(classes, patterns, rows + start, size, table.classes.data());
        for (std::size_t lane = 0; lane < size; lane++) {
            table.odds[rows[start + lane]] = rest[lane];
            table.decided[rows[start + lane]] = rest[lane] < limit;
        }
    }
}

/*! The numbers of lanes whose cross-entropy is least.
 *
 * \param moved columns of D x_j / v log2(e), `patterns` rows of `chunk`
 * \param after columns of what c_j + (i D x_j - x_j^2 / 2) / v is for i = -most, in
 * bits; they are changed
 * \param expected the mean of D x_j / v by the posterior
 */
HWY_INLINE V nearest_number(const float* moved,
                            float* after,
                            std::size_t patterns,
                            V expected,
                            int most,
                            float price)
{
    const D d;
    V best = hn::Zero(d), least = hn::Set(d, std::numeric_limits<float>::max());
    for (int i = -most; i <= most; i++) {
        V top = hn::Load(d, after);
        for (std::size_t j = 1; j < patterns; j++)
            top = hn::Max(top, hn::Load(d, after + j * chunk));
        V sum = hn::Zero(d);
        for (std::size_t j = 0; j < patterns; j++) {
            const V l = hn::Load(d, after + j * chunk);
            sum = hn::Add(sum,
                          exp2_coarse(d, hn::Max(hn::Sub(l, top), hn::Set(d, -125.0f))));
            hn::Store(hn::Add(l, hn::Load(d, moved + j * chunk)), d, after + j * chunk);
        }
        // What all numbers share of the cross-entropy is left out.
        const float number = static_cast<float>(i);
        V cost = hn::MulAdd(top, hn::Set(d, 0.693147181f), log_coarse(d, sum));
        cost = hn::NegMulAdd(hn::Set(d, number), expected, cost);
        cost = hn::Add(cost, hn::Set(d, price * number * number));
        const auto better = hn::Lt(cost, least);
        least = hn::IfThenElse(better, cost, least);
        best = hn::IfThenElse(better, hn::Set(d, number), best);
    }
    return best;
}

void choose(const belief_code& code,
            const belief_table& table,
            const uint32_t* rows,
            const uint32_t* places,
            std::size_t n,
            float* posterior,
            const float* values,
            const float* noise,
            const float* tracking,
            float price,
            int8_t* numbers,
            float* odds)
{
    const D d;
    const hn::RebindToSigned<D> di;
    const std::size_t patterns = code.patterns();
    const int most = (1 << (code.parameters().feedback_bits - 1)) - 1;
    const auto memory = hwy::AllocateAligned<float>(4 * chunk * patterns);
    std::fill_n(memory.get(), 4 * chunk * patterns, 0.0f);
    float* const belief = memory.get();
    float* const classes = belief + chunk * patterns;
    float* const candidates = classes + chunk * patterns;
    float* const own = candidates + chunk * patterns;
    const auto indices = hwy::AllocateAligned<int32_t>(chunk * patterns);
    int32_t* const index = indices.get();
    HWY_ALIGN float received[chunk] = {};
    HWY_ALIGN float precisions[chunk] = {};
    HWY_ALIGN float tracked[chunk] = {};
    HWY_ALIGN int32_t at[chunk] = {};
    HWY_ALIGN float rest[chunk];
    HWY_ALIGN float chosen[chunk];
    for (std::size_t start = 0; start < n; start += chunk) {
        const std::size_t size = std::min(chunk, n - start);
        load_rows(table.log_ratios.data(), patterns, rows + start, size, belief);
        load_rows(table.classes.data(), patterns, rows + start, size, classes);
        load_rows(table.candidates.data(), patterns, rows + start, size, candidates);
        // Where in the posterior the classes of each rank are.
        for (std::size_t lane = 0; lane < size; lane++) {
            at[lane] = static_cast<int32_t>(rows[start + lane] * patterns);
            const std::size_t place = places[start + lane];
            const bool arrived = !std::isnan(values[place]);
            received[lane] = arrived ? values[place] : 0.0f;
            precisions[lane] = arrived ? 1.0f / noise[place] : 0.0f;
            tracked[lane] = 1.0f / tracking[place];
        }
        for (std::size_t t = 0; t < chunk; t += lanes)
            for (std::size_t j = 0; j < patterns; j++) {
                const auto rank = hn::ConvertTo(di, hn::Load(d, classes + j * chunk + t));
                hn::Store(hn::Add(hn::Load(di, at + t), rank), di, index + j * chunk + t);
            }
        for (std::size_t j = 0; j < patterns; j++)
            for (std::size_t lane = 0; lane < size; lane++)
                own[j * chunk + lane] = posterior[index[j * chunk + lane]];
        for (std::size_t t = 0; t < chunk; t += lanes) {
            const V y = hn::Load(d, received + t),
                    precision = hn::Load(d, precisions + t);
            V top = hn::Set(d, std::numeric_limits<float>::lowest());
            for (std::size_t j = 0; j < patterns; j++) {
                const V x = hn::Load(d, candidates + j * chunk + t);
                const V middle = hn::Sub(y, hn::Mul(hn::Set(d, 0.5f), x));
                const V l = hn::MulAdd(
                    hn::Mul(middle, x), precision, hn::Load(d, own + j * chunk + t));
                hn::Store(l, d, own + j * chunk + t);
                top = hn::Max(top, l);
            }
            // The likeliest class is left out, or all but one of several.
            V others = hn::Zero(d), likeliest = hn::Zero(d), mean = hn::Zero(d);
            const V bits = hn::Set(d, 1.44269504f),
                    step = hn::Mul(hn::Set(d, code.parameters().feedback_step),
                                   hn::Load(d, tracked + t));
            for (std::size_t j = 0; j < patterns; j++) {
                const V l = hn::Sub(hn::Load(d, own + j * chunk + t), top);
                const V p = exp_reproducible(d, l);
                const auto first = hn::Eq(l, hn::Zero(d));
                hn::Store(l, d, own + j * chunk + t);
                likeliest = hn::Add(likeliest, hn::IfThenElseZero(first, p));
                others = hn::Add(others, hn::IfThenZeroElse(first, p));
                const V x = hn::Load(d, candidates + j * chunk + t),
                        moved = hn::Mul(step, x);
                mean = hn::MulAdd(p, moved, mean);
                // Of the number -most.
                const V half = hn::Mul(hn::Set(d, -0.5f), hn::Mul(x, x));
                V after = hn::MulAdd(
                    half, hn::Load(d, tracked + t), hn::Load(d, belief + j * chunk + t));
                after = hn::NegMulAdd(hn::Set(d, static_cast<float>(most)), moved, after);
                hn::Store(hn::Mul(after, bits), d, belief + j * chunk + t);
                hn::Store(hn::Mul(moved, bits), d, candidates + j * chunk + t);
            }
            mean = hn::Div(mean, hn::Add(likeliest, others));
            hn::Store(hn::Add(others, hn::Sub(likeliest, hn::Set(d, 1.0f))), d, rest + t);
            hn::Store(
                nearest_number(candidates + t, belief + t, patterns, mean, most, price),
                d,
                chosen + t);
        }
        for (std::size_t j = 0; j < patterns; j++)
            for (std::size_t lane = 0; lane < size; lane++)
                posterior[index[j * chunk + lane]] = own[j * chunk + lane];
        for (std::size_t lane = 0; lane < size; lane++) {
            numbers[places[start + lane]] = static_cast<int8_t>(chosen[lane]);
            odds[places[start + lane]] = rest[lane];
        }
    }
}

} // namespace HWY_NAMESPACE
} // namespace gr::neuralfec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(propose);
HWY_EXPORT(update);
HWY_EXPORT(choose);

namespace {

[[noreturn]] void refuse(const std::string& what)
{
    throw std::invalid_argument("belief_code: expected " + what);
}

tiled_layer packed(const float* weights,
                   std::size_t columns,
                   const float* bias,
                   std::size_t in,
                   std::size_t out)
{
    return make_tiled_layer(
        in,
        out,
        [&](std::size_t r, std::size_t i) { return weights[r * columns + i]; },
        [&](std::size_t r) { return bias[r]; });
}

template <typename T>
struct selection {
    std::vector<uint32_t> rows;
    std::vector<T> values;
};

//! Where in a round of blocks the symbols of group q of the n-th one are.
std::size_t
place_of(const belief_table& table, std::size_t n, std::size_t symbol, std::size_t q)
{
    return (n * table.symbols + symbol) * table.groups + q;
}

//! Rows of the groups that are not decided, and value(n, q) of group q of blocks[n].
template <typename Value>
auto undecided(const belief_table& table, span<const uint32_t> blocks, const Value& value)
    -> selection<decltype(value(0, 0))>
{
    selection<decltype(value(0, 0))> s;
    s.rows.resize(blocks.size() * table.groups);
    s.values.resize(blocks.size() * table.groups);
    std::size_t count = 0;
    for (std::size_t n = 0; n < blocks.size(); n++)
        for (std::size_t q = 0; q < table.groups; q++) {
            const std::size_t row = blocks[n] * table.groups + q;
            s.rows[count] = static_cast<uint32_t>(row);
            s.values[count] = value(n, q);
            count += !table.decided[row];
        }
    s.rows.resize(count);
    s.values.resize(count);
    return s;
}

//! Rows of the groups that are not decided, and where their first symbols are.
selection<uint32_t> undecided_places(const belief_table& table,
                                     span<const uint32_t> blocks)
{
    return undecided(table, blocks, [&](std::size_t n, std::size_t q) {
        return static_cast<uint32_t>(place_of(table, n, 0, q));
    });
}

void check_values(span<const float> received, span<const float> variances)
{
    for (const float value : received)
        if (std::isinf(value))
            refuse("finite received symbols, or NaN, got " + std::to_string(value));
    for (const float variance : variances)
        if (!(variance > 0))
            refuse("noise variances above 0, got " + std::to_string(variance));
}

} // namespace

belief_table::belief_table(std::size_t m, std::size_t q, std::size_t n, std::size_t s)
    : patterns(m),
      groups(q),
      blocks(n),
      symbols(s),
      log_ratios(m * q * n),
      classes(m * q * n),
      candidates(s * m * q * n),
      odds(q * n),
      decided(q * n)
{
}

std::size_t belief_code::parameter_count(const settings& s)
{
    const std::size_t patterns = std::size_t(1) << s.group_bits;
    return s.hidden1 * (patterns + 4) + s.hidden2 * (s.hidden1 + 1) +
           s.symbols * patterns * (s.hidden2 + 1);
}

belief_code::belief_code(const settings& s, span<const float> parameters)
    : d_settings(s), d_patterns(std::size_t(1) << s.group_bits)
{
    if (s.group_bits < 1 || s.group_bits > most_group_bits)
        refuse("1 to 8 bits a group, got " + std::to_string(s.group_bits));
    if (s.hidden1 == 0 || s.hidden2 == 0)
        refuse("hidden layers of at least 1, got " + std::to_string(s.hidden1) + " and " +
               std::to_string(s.hidden2));
    if (s.symbols < 1 || s.symbols > most_symbols)
        refuse("1 or 2 symbols of a group in a round, got " + std::to_string(s.symbols));
    if (s.feedback_bits < 2 || s.feedback_bits > 8)
        refuse("2 to 8 feedback bits, got " + std::to_string(s.feedback_bits));
    for (const float value : {s.peak, s.feedback_step})
        if (!(std::isfinite(value) && value > 0))
            refuse("peak and feedback step above 0, got " + std::to_string(value));
    if (parameters.size() != parameter_count(s))
        refuse(std::to_string(parameter_count(s)) + " parameters, got " +
               std::to_string(parameters.size()));
    if (!std::all_of(parameters.begin(), parameters.end(), [](float v) {
            return std::isfinite(v);
        }))
        refuse("finite parameters, got an infinite one or NaN");
    sorting_network(d_patterns, [&](std::size_t low, std::size_t high) {
        comparators.emplace_back(low, high);
    });

    const std::size_t columns = d_patterns + 3;
    const float* next = parameters.data();
    const float* bias = next + s.hidden1 * columns;
    layer1 = packed(next, columns, bias, d_patterns, s.hidden1);
    for (std::size_t r = 0; r < s.hidden1; r++) {
        threshold_weights.push_back(next[r * columns + d_patterns]);
        peak_weights.push_back(next[r * columns + d_patterns + 1]);
        snr_weights.push_back(next[r * columns + d_patterns + 2]);
    }
    next = bias + s.hidden1;
    bias = next + s.hidden2 * s.hidden1;
    layer2 = packed(next, s.hidden1, bias, s.hidden1, s.hidden2);
    next = bias + s.hidden2;
    const std::size_t points = s.symbols * d_patterns;
    bias = next + points * s.hidden2;
    layer3 = packed(next, s.hidden2, bias, s.hidden2, points);
}

void belief_code::check(const belief_table& table,
                        span<const uint32_t> blocks,
                        std::size_t size,
                        std::size_t expected,
                        const char* what) const
{
    if (table.patterns != d_patterns || table.symbols != d_settings.symbols)
        refuse("a table of " + std::to_string(d_patterns) + " patterns and " +
               std::to_string(d_settings.symbols) + " symbols, got " +
               std::to_string(table.patterns) + " and " + std::to_string(table.symbols));
    if (size != expected)
        refuse(std::to_string(expected) + " " + what + ", got " + std::to_string(size));
    for (const uint32_t block : blocks)
        if (block >= table.blocks)
            refuse("blocks below " + std::to_string(table.blocks) + ", got " +
                   std::to_string(block));
}

void belief_code::start(belief_table& table, span<const uint32_t> blocks) const
{
    check(table, blocks, blocks.size(), blocks.size(), "blocks");
    for (const uint32_t block : blocks)
        for (std::size_t q = 0; q < table.groups; q++) {
            const std::size_t row = block * table.groups + q;
            for (std::size_t i = 0; i < d_patterns; i++) {
                table.log_ratios[row * d_patterns + i] = 0;
                table.classes[row * d_patterns + i] = static_cast<float>(i);
            }
            const std::size_t points = d_patterns * table.symbols;
            std::fill_n(table.candidates.data() + row * points, points, 0.0f);
            table.odds[row] = static_cast<float>(d_patterns - 1);
            table.decided[row] = 0;
        }
}

void belief_code::propose(belief_table& table,
                          span<const uint32_t> blocks,
                          span<const uint8_t> left,
                          float threshold,
                          float gain,
                          float snr_db) const
{
    check(table, blocks, left.size(), blocks.size(), "counts of rounds left");
    if (!std::isfinite(threshold) || !std::isfinite(gain) || !std::isfinite(snr_db))
        refuse("a finite threshold, gain and SNR, got " + std::to_string(threshold) +
               ", " + std::to_string(gain) + " and " + std::to_string(snr_db));
    const auto [rows, left_of_rows] =
        undecided(table, blocks, [&](std::size_t n, std::size_t) { return left[n]; });
    HWY_DYNAMIC_DISPATCH(propose)
    (*this,
     table,
     rows.data(),
     left_of_rows.data(),
     rows.size(),
     threshold,
     gain,
     snr_db);
}

void belief_code::symbols(const belief_table& table,
                          span<const uint32_t> blocks,
                          span<const uint8_t> classes,
                          span<float> out) const
{
    const std::size_t size = blocks.size() * table.groups;
    check(table, blocks, classes.size(), size, "classes");
    check(table, blocks, out.size(), size * table.symbols, "symbols");
    for (std::size_t i = 0; i < size; i++) {
        if (classes[i] >= d_patterns)
            refuse("classes below " + std::to_string(d_patterns) + ", got " +
                   std::to_string(classes[i]));
        const std::size_t row =
            blocks[i / table.groups] * table.groups + i % table.groups;
        const float* begin = table.classes.data() + row * d_patterns;
        std::size_t rank = 0;
        if (!table.decided[row])
            rank = std::find(begin, begin + d_patterns, static_cast<float>(classes[i])) -
                   begin;
        for (std::size_t s = 0; s < table.symbols; s++)
            out[place_of(table, i / table.groups, s, i % table.groups)] =
                table.decided[row]
                    ? 0.0f
                    : table.candidates[(row * table.symbols + s) * d_patterns + rank];
    }
}

void belief_code::quantize(span<const float> received, span<uint8_t> levels) const
{
    if (received.size() != levels.size())
        refuse("as many levels as received symbols, got " +
               std::to_string(levels.size()) + " and " + std::to_string(received.size()));
    const int middle = 1 << (d_settings.feedback_bits - 1);
    const float largest = static_cast<float>(middle - 1);
    for (std::size_t i = 0; i < received.size(); i++) {
        const float steps = received[i] / d_settings.feedback_step;
        levels[i] = std::isnan(steps)
                        ? 0
                        : static_cast<uint8_t>(
                              middle + static_cast<int>(std::nearbyint(
                                           std::clamp(steps, -largest, largest))));
    }
}

void belief_code::update(belief_table& table,
                         span<const uint32_t> blocks,
                         span<const float> received,
                         span<const float> variances,
                         float threshold) const
{
    const std::size_t size = blocks.size() * table.groups * table.symbols;
    check(table, blocks, received.size(), size, "received symbols");
    check(table, blocks, variances.size(), size, "noise variances");
    // Above 64 the exponential's own floor would end every group.
    if (!(threshold > 0 && threshold < 60))
        refuse("a threshold above 0 and below 60, got " + std::to_string(threshold));
    check_values(received, variances);
    const auto [rows, places] = undecided_places(table, blocks);
    HWY_DYNAMIC_DISPATCH(update)
    (*this,
     table,
     rows.data(),
     places.data(),
     table.groups,
     rows.size(),
     received.data(),
     variances.data(),
     threshold);
}

void belief_code::choose(const belief_table& table,
                         span<const uint32_t> blocks,
                         span<float> posterior,
                         span<const float> received,
                         span<const float> noise,
                         span<const float> tracking,
                         float price,
                         span<int8_t> numbers,
                         span<float> odds) const
{
    const std::size_t size = blocks.size() * table.groups;
    check(table, blocks, received.size(), size, "received symbols");
    check(table, blocks, noise.size(), size, "noise variances");
    check(table, blocks, tracking.size(), size, "variances to track by");
    check(table, blocks, numbers.size(), size, "numbers");
    check(table, blocks, odds.size(), size, "odds");
    check(table,
          blocks,
          posterior.size(),
          table.log_ratios.size(),
          "log-ratios of the posterior");
    if (table.symbols != 1)
        refuse("one symbol of a group in a round, got " + std::to_string(table.symbols));
    if (!(price >= 0))
        refuse("a price of at least 0, got " + std::to_string(price));
    check_values(received, noise);
    check_values({}, tracking);
    const auto [rows, places] = undecided_places(table, blocks);
    HWY_DYNAMIC_DISPATCH(choose)
    (*this,
     table,
     rows.data(),
     places.data(),
     rows.size(),
     posterior.data(),
     received.data(),
     noise.data(),
     tracking.data(),
     price,
     numbers.data(),
     odds.data());
}

} // namespace gr::neuralfec
#endif

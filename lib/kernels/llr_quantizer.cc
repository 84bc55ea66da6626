/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/llr_quantizer.cc"
#include <hwy/foreach_target.h>

#include "kernels/dense-inl.h"
#include "kernels/llr.h"
#include "kernels/llr_quantizer.h"

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#ifndef NEURALFEC_LLR_QUANTIZER_ONCE
#define NEURALFEC_LLR_QUANTIZER_ONCE
namespace gr::neuralfec {
namespace {

constexpr std::size_t max_width = 128; // of a layer
constexpr std::size_t output_group = 4;

std::size_t round_up(std::size_t n, std::size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

} // namespace
} // namespace gr::neuralfec
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;
using VI = hn::Vec<DI>;
constexpr D d{};
constexpr DI di{};

// Symbols lie in lanes. A block of vectors hides the latency of multiply-adds, as many as
// the registers hold accumulators of output_group rows.
constexpr std::size_t vectors = HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON ? 4 : 2;
HWY_INLINE std::size_t block()
{
    return vectors * hn::Lanes(d);
}
constexpr std::size_t max_block = vectors * 16;

struct alignas(64) rows {
    float at[max_width][max_block];
};

// LLRs of a block, transposed to one row a bit; returns how many were NaN. Infinite ones
// become certain.
std::size_t load(const float* llrs, std::size_t k, rows& out)
{
    const std::size_t lanes = hn::Lanes(d);
    const VI step = hn::Mul(hn::Iota(di, 0), hn::Set(di, static_cast<int>(k)));
    const V certain = hn::Set(d, certain_llr);
    std::size_t bad_samples = 0;
    for (std::size_t v = 0; v < block(); v += lanes)
        for (std::size_t bit = 0; bit < k; bit++) {
            V llr = hn::GatherIndex(d, llrs + v * k + bit, step);
            const auto ordinary = hn::Le(hn::Abs(llr), certain);
            if (HWY_UNLIKELY(!hn::AllTrue(d, ordinary))) {
                const auto number = hn::Eq(llr, llr);
                bad_samples += lanes - hn::CountTrue(d, number);
                llr = hn::IfThenElseZero(number, llr);
                llr = hn::Min(hn::Max(llr, hn::Neg(certain)), certain);
            }
            hn::Store(llr, d, out.at[bit] + v);
        }
    return bad_samples;
}

HWY_INLINE V soft_bit(V llr)
{
    const V e = hn::Exp(d, hn::Neg(hn::Abs(llr)));
    const V one = hn::Set(d, 1.0f);
    return hn::CopySign(hn::Div(hn::Sub(one, e), hn::Add(one, e)), llr);
}

// Linear between powers of two: the bits of a float, read as an integer.
HWY_INLINE V folded_logarithm(V llr)
{
    const V one = hn::Set(d, 1.0f);
    const V magnitude = hn::Add(one, hn::Min(hn::Abs(llr), hn::Set(d, 64.0f)));
    const V octaves = hn::ConvertTo(d, hn::BitCast(di, magnitude));
    return hn::CopySign(
        hn::MulSub(octaves, hn::Set(d, 1.0f / (1 << 23)), hn::Set(d, 127.0f)), llr);
}

void features(const rows& llrs, std::size_t k, llr_feature feature, rows& out)
{
    const std::size_t lanes = hn::Lanes(d);
    for (std::size_t bit = 0; bit < k; bit++)
        for (std::size_t v = 0; v < block(); v += lanes) {
            const V x = hn::Load(d, llrs.at[bit] + v);
            hn::Store(
                feature == llr_feature::soft_bit ? soft_bit(x) : x, d, out.at[bit] + v);
        }
}

// weights: for each group of outputs and each input, the group's weights, after the
// biases.
template <bool Rectify>
void dense(const rows& in,
           std::size_t inputs,
           std::size_t outputs,
           const float* HWY_RESTRICT weights,
           rows& out)
{
    const std::size_t lanes = hn::Lanes(d);
    for (std::size_t o = 0; o < outputs; o += output_group) {
        multiply_dense<output_group, vectors>(
            d,
            weights + output_group,
            1,
            output_group,
            in.at[0],
            max_block,
            lanes,
            inputs,
            [&](std::size_t r, std::size_t)
                NEURALFEC_LAMBDA { return hn::Set(d, weights[r]); },
            [&](std::size_t r, std::size_t v, V sum) NEURALFEC_LAMBDA {
                hn::Store(Rectify ? hn::Max(sum, hn::Zero(d)) : sum,
                          d,
                          out.at[o + r] + v * lanes);
            });
        weights += output_group * (1 + inputs);
    }
}

// The outputs are in the rows returned, one of the two.
const rows& network(const llr_network& net, const rows& llrs, rows& a, rows& b)
{
    features(llrs, net.bits_per_symbol(), net.feature(), a);
    rows *in = &a, *out = &b;
    std::size_t inputs = net.bits_per_symbol();
    for (std::size_t l = 0; l < net.packed().size(); l++) {
        const std::size_t outputs = net.layers()[l].bias.size();
        const float* weights = net.packed()[l].data();
        if (l + 1 < net.packed().size())
            dense<true>(*in, inputs, outputs, weights, *out);
        else
            dense<false>(*in, inputs, outputs, weights, *out);
        std::swap(in, out);
        inputs = outputs;
    }
    return *in;
}

// Vectors of sums and of differences of the rails that the registers hold at a time.
constexpr std::size_t rail_vectors = vectors / 2;

// Sums of the rails lie in the first rows, their differences in those behind.
template <bool Last>
void rail_dense(const rows& in,
                std::size_t inputs,
                const rail_network::packed_layer& layer,
                rows& out)
{
    const std::size_t lanes = hn::Lanes(d);
    const float* HWY_RESTRICT group = layer.weights.data();
    for (std::size_t o = 0; o < layer.outputs; o += output_group) {
        for (std::size_t at = 0; at < vectors * lanes; at += rail_vectors * lanes) {
            V sum[output_group][rail_vectors], difference[output_group][rail_vectors];
            for (std::size_t r = 0; r < output_group; r++)
                for (std::size_t v = 0; v < rail_vectors; v++) {
                    sum[r][v] = hn::Set(d, group[r]);
                    difference[r][v] = hn::Zero(d);
                }
            const float* HWY_RESTRICT weights = group + output_group;
            for (std::size_t i = 0; i < inputs; i++, weights += 2 * output_group) {
                V s[rail_vectors], t[rail_vectors];
                for (std::size_t v = 0; v < rail_vectors; v++) {
                    s[v] = hn::Load(d, in.at[i] + at + v * lanes);
                    t[v] = hn::Load(d, in.at[inputs + i] + at + v * lanes);
                }
                for (std::size_t r = 0; r < output_group; r++) {
                    const V w = hn::Set(d, weights[r]);
                    const V m = hn::Set(d, weights[output_group + r]);
                    for (std::size_t v = 0; v < rail_vectors; v++) {
                        sum[r][v] = hn::MulAdd(w, s[v], sum[r][v]);
                        difference[r][v] = hn::MulAdd(m, t[v], difference[r][v]);
                    }
                }
            }
            for (std::size_t r = 0; r < output_group; r++)
                for (std::size_t v = 0; v < rail_vectors; v++) {
                    V x = hn::Add(sum[r][v], difference[r][v]);
                    V y = hn::Sub(sum[r][v], difference[r][v]);
                    if (!Last) {
                        const V i = hn::Max(x, hn::Zero(d)), q = hn::Max(y, hn::Zero(d));
                        x = hn::Add(i, q);
                        y = hn::Sub(i, q);
                    }
                    hn::Store(x, d, out.at[o + r] + at + v * lanes);
                    hn::Store(y, d, out.at[layer.outputs + o + r] + at + v * lanes);
                }
        }
        group += output_group * (1 + 2 * inputs);
    }
}

// Rows u_I, v_I and, output_group rows on, u_Q, v_Q; they are in the rows returned, one
// of the two.
const rows& network(const rail_network& net, const rows& llrs, rows& a, rows& b)
{
    const std::size_t lanes = hn::Lanes(d);
    const std::size_t rail_bits = net.rail_bits();
    for (std::size_t bit = 0; bit < rail_bits; bit++)
        for (std::size_t v = 0; v < block(); v += lanes) {
            V i = hn::Load(d, llrs.at[bit] + v);
            V q = hn::Load(d, llrs.at[rail_bits + bit] + v);
            i = folded_logarithm(bit == 0 ? hn::Abs(i) : i);
            q = folded_logarithm(bit == 0 ? hn::Abs(q) : q);
            hn::Store(hn::Add(i, q), d, a.at[bit] + v);
            hn::Store(hn::Sub(i, q), d, a.at[rail_bits + bit] + v);
        }
    rows *in = &a, *out = &b;
    std::size_t inputs = rail_bits;
    for (std::size_t l = 0; l < net.packed().size(); l++) {
        const auto& layer = net.packed()[l];
        if (l + 1 < net.packed().size())
            rail_dense<false>(*in, inputs, layer, *out);
        else
            rail_dense<true>(*in, inputs, layer, *out);
        std::swap(in, out);
        inputs = layer.outputs;
    }
    return *in;
}

// Runs whole blocks, the last one filled up with zeros.
template <typename Function>
std::size_t blocks(const float* llrs,
                   uint32_t* indices,
                   std::size_t symbols,
                   std::size_t k,
                   Function function)
{
    const std::size_t size = block();
    std::size_t bad_samples = 0;
    rows loaded;
    std::size_t s = 0;
    for (; s + size <= symbols; s += size) {
        bad_samples += load(llrs + s * k, k, loaded);
        function(loaded, indices + s);
    }
    if (s < symbols) {
        std::vector<float> rest(size * k, 0.0f);
        std::copy(llrs + s * k, llrs + symbols * k, rest.begin());
        bad_samples += load(rest.data(), k, loaded);
        uint32_t last[max_block];
        function(loaded, last);
        std::copy(last, last + (symbols - s), indices + s);
    }
    return bad_samples;
}

void store_index(VI index, uint32_t* out)
{
    hn::StoreU(index, di, reinterpret_cast<int32_t*>(out));
}

VI signs(const rows& llrs, std::size_t k, std::size_t v, unsigned bits)
{
    auto positive = [&](std::size_t bit, unsigned place) {
        const V llr = hn::Load(d, llrs.at[bit] + v);
        return hn::IfThenElseZero(hn::RebindMask(di, hn::Gt(llr, hn::Zero(d))),
                                  hn::Set(di, static_cast<int32_t>(1u << place)));
    };
    return hn::Or(positive(0, bits - 1), positive(k / 2, bits - 2));
}

std::size_t quantize_latent(const latent_quantizer& q,
                            const float* llrs,
                            uint32_t* indices,
                            std::size_t symbols)
{
    rows a, b;
    const std::size_t lanes = hn::Lanes(d);
    return blocks(
        llrs, indices, symbols, q.bits_per_symbol(), [&](const rows& in, uint32_t* out) {
            const rows& latent = network(q.network(), in, a, b);
            for (std::size_t v = 0; v < block(); v += lanes) {
                VI index = hn::Zero(di);
                for (std::size_t o = 0; o < q.thresholds().size(); o++) {
                    const auto& thresholds = q.thresholds()[o];
                    const V x = hn::Load(d, latent.at[o] + v);
                    VI level = hn::Zero(di);
                    for (float t : thresholds)
                        level = hn::Sub(
                            level,
                            hn::BitCast(di,
                                        hn::VecFromMask(d, hn::Ge(x, hn::Set(d, t)))));
                    // 2^b levels: shifting by b is multiplying by them.
                    index = hn::Add(
                        hn::Mul(index,
                                hn::Set(di, static_cast<int32_t>(thresholds.size() + 1))),
                        level);
                }
                store_index(index, out + v);
            }
        });
}

std::size_t quantize_cells(const rail_network& net,
                           const cell_codebook& codebook,
                           const float* levels,
                           const float* llrs,
                           uint32_t* indices,
                           std::size_t symbols)
{
    rows a, b;
    const std::size_t lanes = hn::Lanes(d);
    const std::size_t k = codebook.bits_per_symbol();
    const auto* offsets = reinterpret_cast<const int32_t*>(codebook.offsets().data());
    // Both rails tell u: their mean.
    const V cells = hn::Set(d, 0.5f * static_cast<float>(codebook.levels().size()));
    const V last_cell = hn::Set(d, static_cast<float>(codebook.levels().size() - 1));
    auto floor_below = [](V x, V last) {
        return hn::ConvertTo(di, hn::Min(hn::Max(x, hn::Zero(d)), last));
    };
    return blocks(llrs, indices, symbols, k, [&](const rows& in, uint32_t* out) {
        const rows& latent = network(net, in, a, b);
        for (std::size_t v = 0; v < block(); v += lanes) {
            const V u = hn::Add(hn::Load(d, latent.at[0] + v),
                                hn::Load(d, latent.at[output_group] + v));
            const VI c = floor_below(hn::Mul(u, cells), last_cell);
            const V n = hn::GatherIndex(d, levels, c);
            const V last = hn::Sub(n, hn::Set(d, 1.0f));
            const V v_i = hn::Load(d, latent.at[1] + v);
            const V v_q = hn::Load(d, latent.at[output_group + 1] + v);
            const VI i = floor_below(hn::Mul(v_i, n), last);
            const VI j = floor_below(hn::Mul(v_q, n), last);
            const VI cell = hn::GatherIndex(di, offsets, c);
            const VI level = hn::Add(hn::Mul(i, hn::ConvertTo(di, n)), j);
            const VI sign = signs(in, k, v, codebook.bits());
            store_index(hn::Or(sign, hn::Add(cell, level)), out + v);
        }
    });
}

// candidates: for each level its T, then the sum of log(1 + exp(T)). But for terms of p
// alone, the divergence of a rail is that sum less p . T.
template <std::size_t Bits>
std::size_t search_rails(const cell_codebook& codebook,
                         const float* candidates,
                         const float* llrs,
                         uint32_t* indices,
                         std::size_t symbols)
{
    constexpr std::size_t k = 2 * Bits;
    // Two rails of each.
    constexpr std::size_t width = vectors / 2;
    const std::size_t lanes = hn::Lanes(d);
    const V half = hn::Set(d, 0.5f);
    return blocks(llrs, indices, symbols, k, [&](const rows& in, uint32_t* out) {
        for (std::size_t v = 0; v < block(); v += width * lanes) {
            V p[width][2][Bits];
            for (std::size_t w = 0; w < width; w++)
                for (std::size_t bit = 0; bit < k; bit++) {
                    V llr = hn::Load(d, in.at[bit] + v + w * lanes);
                    if (bit % Bits == 0)
                        llr = hn::Abs(llr);
                    p[w][bit / Bits][bit % Bits] = hn::MulAdd(soft_bit(llr), half, half);
                }
            V best[width];
            VI best_index[width];
            for (std::size_t w = 0; w < width; w++) {
                best[w] = hn::Set(d, std::numeric_limits<float>::max());
                best_index[w] = hn::Zero(di);
            }
            const float* t = candidates;
            for (std::size_t c = 0; c < codebook.levels().size(); c++) {
                const auto n = static_cast<int32_t>(codebook.levels()[c]);
                V least[width][2];
                VI level[width][2];
                for (std::size_t w = 0; w < width; w++)
                    for (std::size_t rail = 0; rail < 2; rail++) {
                        least[w][rail] = hn::Set(d, std::numeric_limits<float>::max());
                        level[w][rail] = hn::Zero(di);
                    }
                for (int32_t i = 0; i < n; i++, t += Bits + 1) {
                    V cost[width][2];
                    for (std::size_t w = 0; w < width; w++)
                        for (std::size_t rail = 0; rail < 2; rail++)
                            cost[w][rail] = hn::Set(d, t[Bits]);
                    for (std::size_t bit = 0; bit < Bits; bit++) {
                        const V x = hn::Set(d, t[bit]);
                        for (std::size_t w = 0; w < width; w++)
                            for (std::size_t rail = 0; rail < 2; rail++)
                                cost[w][rail] =
                                    hn::NegMulAdd(x, p[w][rail][bit], cost[w][rail]);
                    }
                    const VI number = hn::Set(di, i);
                    for (std::size_t w = 0; w < width; w++)
                        for (std::size_t rail = 0; rail < 2; rail++) {
                            const auto less = hn::Lt(cost[w][rail], least[w][rail]);
                            least[w][rail] = hn::Min(cost[w][rail], least[w][rail]);
                            level[w][rail] = hn::IfThenElse(
                                hn::RebindMask(di, less), number, level[w][rail]);
                        }
                }
                const VI cell = hn::Set(di, static_cast<int32_t>(codebook.offsets()[c]));
                for (std::size_t w = 0; w < width; w++) {
                    const V both = hn::Add(least[w][0], least[w][1]);
                    const VI index = hn::Add(
                        hn::Add(hn::Mul(level[w][0], hn::Set(di, n)), level[w][1]), cell);
                    const auto less = hn::Lt(both, best[w]);
                    best[w] = hn::Min(both, best[w]);
                    best_index[w] =
                        hn::IfThenElse(hn::RebindMask(di, less), index, best_index[w]);
                }
            }
            for (std::size_t w = 0; w < width; w++) {
                const std::size_t at = v + w * lanes;
                store_index(hn::Or(signs(in, k, at, codebook.bits()), best_index[w]),
                            out + at);
            }
        }
    });
}

std::size_t search_cells(const cell_codebook& codebook,
                         const float* candidates,
                         const float* llrs,
                         uint32_t* indices,
                         std::size_t symbols)
{
    switch (codebook.bits_per_symbol()) {
    case 2:
        return search_rails<1>(codebook, candidates, llrs, indices, symbols);
    case 4:
        return search_rails<2>(codebook, candidates, llrs, indices, symbols);
    case 6:
        return search_rails<3>(codebook, candidates, llrs, indices, symbols);
    case 8:
        return search_rails<4>(codebook, candidates, llrs, indices, symbols);
    default:
        return search_rails<5>(codebook, candidates, llrs, indices, symbols);
    }
}

} // namespace
} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(quantize_latent);
HWY_EXPORT(quantize_cells);
HWY_EXPORT(search_cells);

namespace {

void require(bool condition, const std::string& expected)
{
    if (!condition)
        throw std::invalid_argument("LLR quantizer: expected " + expected);
}

std::string number(std::size_t n)
{
    return std::to_string(n);
}

uint64_t low_bits(unsigned bits)
{
    return (uint64_t(1) << bits) - 1;
}

bool all_finite(const std::vector<float>& values)
{
    return std::all_of(
        values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

void require_layer(const dense_layer& layer, std::size_t inputs, std::size_t most)
{
    const std::size_t outputs = layer.bias.size();
    require(layer.inputs == inputs && outputs >= 1 && outputs <= most &&
                layer.weights.size() == inputs * outputs,
            "a layer of " + number(inputs) + " inputs, 1 to " + number(most) +
                " outputs and a weight for each pair, got " + number(layer.inputs) +
                ", " + number(outputs) + " and " + number(layer.weights.size()));
    require(all_finite(layer.weights) && all_finite(layer.bias), "finite weights");
}

} // namespace

llr_network::llr_network(std::size_t bits_per_symbol,
                         llr_feature feature,
                         const std::vector<dense_layer>& layers)
    : d_bits_per_symbol(bits_per_symbol), d_feature(feature), d_layers(layers)
{
    require(bits_per_symbol >= 1 && bits_per_symbol <= max_width,
            "1 to " + number(max_width) + " bits per symbol, got " +
                number(bits_per_symbol));
    std::size_t inputs = bits_per_symbol;
    for (const auto& layer : layers) {
        const std::size_t outputs = layer.bias.size();
        require_layer(layer, inputs, max_width);
        auto& packed = d_packed.emplace_back();
        for (std::size_t o = 0; o < round_up(outputs, output_group); o += output_group)
            for (std::size_t i = 0; i <= inputs; i++)
                for (std::size_t r = o; r < o + output_group; r++) {
                    const float weight =
                        r >= outputs ? 0.0f
                                     : (i == 0 ? layer.bias[r]
                                               : layer.weights[r * inputs + i - 1]);
                    packed.push_back(weight);
                }
        inputs = outputs;
    }
}

rail_network::rail_network(std::size_t rail_bits, const std::vector<dense_layer>& layers)
    : d_rail_bits(rail_bits)
{
    require(rail_bits >= 1 && rail_bits <= max_width / 2,
            "1 to " + number(max_width / 2) + " bits per rail, got " + number(rail_bits));
    require(!layers.empty() && layers.back().bias.size() == 2,
            "a last layer of 2 outputs a rail");
    std::size_t inputs = rail_bits, padded = rail_bits;
    for (const auto& layer : layers) {
        require_layer(layer, 2 * inputs, max_width / 2);
        const std::size_t outputs = layer.bias.size();
        packed_layer packed{round_up(outputs, output_group), {}};
        for (std::size_t o = 0; o < packed.outputs; o += output_group) {
            for (std::size_t r = o; r < o + output_group; r++)
                packed.weights.push_back(r < outputs ? layer.bias[r] : 0.0f);
            for (std::size_t i = 0; i < padded; i++)
                for (float sign : {1.0f, -1.0f})
                    for (std::size_t r = o; r < o + output_group; r++) {
                        float weight = 0.0f;
                        if (r < outputs && i < inputs) {
                            const float* row = &layer.weights[r * layer.inputs];
                            weight = 0.5f * (row[i] + sign * row[inputs + i]);
                        }
                        packed.weights.push_back(weight);
                    }
        }
        inputs = outputs;
        padded = packed.outputs;
        d_packed.push_back(std::move(packed));
    }
}

symbol_quantizer::symbol_quantizer(std::size_t bits_per_symbol, unsigned bits)
    : d_bits_per_symbol(bits_per_symbol), d_bits(bits)
{
    require(bits >= 1 && bits <= 32, "1 to 32 bits an index, got " + number(bits));
}

std::size_t symbol_quantizer::quantize(span<const float> llrs,
                                       span<uint32_t> indices) const
{
    require(llrs.size() == indices.size() * d_bits_per_symbol,
            number(d_bits_per_symbol) + " LLRs for each of " + number(indices.size()) +
                " indices, got " + number(llrs.size()));
    return run(llrs.data(), indices.data(), indices.size());
}

namespace {

unsigned threshold_bits(const std::vector<std::vector<float>>& thresholds)
{
    unsigned bits = 0;
    for (const auto& t : thresholds) {
        const std::size_t levels = t.size() + 1;
        require((levels & (levels - 1)) == 0 && std::is_sorted(t.begin(), t.end()) &&
                    all_finite(t),
                "2^b - 1 rising thresholds for each output, got " + number(t.size()));
        for (std::size_t n = levels; n > 1; n /= 2)
            bits++;
    }
    return bits;
}

} // namespace

latent_quantizer::latent_quantizer(const llr_network& network,
                                   const std::vector<std::vector<float>>& thresholds)
    : symbol_quantizer(network.bits_per_symbol(), threshold_bits(thresholds)),
      d_network(network),
      d_thresholds(thresholds)
{
    require(thresholds.size() == network.outputs(),
            "thresholds for each of " + number(network.outputs()) + " outputs, got " +
                number(thresholds.size()));
}

std::size_t
latent_quantizer::run(const float* llrs, uint32_t* indices, std::size_t symbols) const
{
    return HWY_DYNAMIC_DISPATCH(quantize_latent)(*this, llrs, indices, symbols);
}

cell_codebook::cell_codebook(std::size_t bits_per_symbol,
                             unsigned bits,
                             const std::vector<uint32_t>& levels,
                             const std::vector<float>& table)
    : d_bits_per_symbol(bits_per_symbol), d_bits(bits), d_levels(levels), d_table(table)
{
    const std::size_t rail_bits = bits_per_symbol / 2;
    require(bits_per_symbol % 2 == 0 && rail_bits >= 1 && rail_bits <= 5,
            "2, 4, 6, 8 or 10 bits per symbol, got " + number(bits_per_symbol));
    require(bits >= 3 && bits <= 32, "3 to 32 bits an index, got " + number(bits));
    uint64_t used = 0;
    std::size_t rows = 0;
    for (uint64_t n : levels) {
        require(n >= 1 && n <= 1 << 15, "1 to 32768 levels a cell, got " + number(n));
        d_offsets.push_back(static_cast<uint32_t>(used));
        used += n * n;
        rows += n;
        require(used <= low_bits(bits - 2) + 1,
                "a sum of squared levels of at most 2^" + number(bits - 2));
    }
    require(!levels.empty(), "at least 1 cell, got 0");
    require(table.size() == rows * rail_bits,
            number(rows) + " levels of " + number(rail_bits) + " LLRs, got " +
                number(table.size()) + " numbers");
    require(all_finite(table), "finite LLRs in the table");
    for (std::size_t i = 0; i < table.size(); i += rail_bits)
        require(table[i] >= 0, "first LLRs of levels that are not negative");
}

std::vector<float> cell_codebook::rows() const
{
    require(d_bits <= symbol_dequantizer::max_bits,
            "a table of at most " + number(symbol_dequantizer::max_bits) + " bits, got " +
                number(d_bits));
    const std::size_t rail_bits = d_bits_per_symbol / 2;
    std::vector<float> rows((std::size_t(1) << (d_bits - 2)) * d_bits_per_symbol, 0.0f);
    float* row = rows.data();
    const float* cell = d_table.data();
    for (uint32_t n : d_levels) {
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n; j++)
                for (const float* level : {cell + i * rail_bits, cell + j * rail_bits})
                    row = std::copy(level, level + rail_bits, row);
        cell += n * rail_bits;
    }
    return rows;
}

cell_quantizer::cell_quantizer(const rail_network& network, const cell_codebook& codebook)
    : symbol_quantizer(codebook.bits_per_symbol(), codebook.bits()),
      d_network(network),
      d_codebook(codebook),
      d_levels(codebook.levels().begin(), codebook.levels().end())
{
    require(2 * network.rail_bits() == codebook.bits_per_symbol(),
            "a network for " + number(codebook.bits_per_symbol() / 2) +
                " bits per rail, got " + number(network.rail_bits()));
}

std::size_t
cell_quantizer::run(const float* llrs, uint32_t* indices, std::size_t symbols) const
{
    return HWY_DYNAMIC_DISPATCH(quantize_cells)(
        d_network, d_codebook, d_levels.data(), llrs, indices, symbols);
}

cell_search::cell_search(const cell_codebook& codebook)
    : symbol_quantizer(codebook.bits_per_symbol(), codebook.bits()), d_codebook(codebook)
{
    const std::size_t rail_bits = codebook.bits_per_symbol() / 2;
    for (std::size_t i = 0; i < codebook.table().size(); i += rail_bits) {
        const float* level = codebook.table().data() + i;
        double sum = 0;
        for (std::size_t bit = 0; bit < rail_bits; bit++)
            sum += std::max(level[bit], 0.0f) +
                   std::log1p(std::exp(-std::abs(double(level[bit]))));
        d_candidates.insert(d_candidates.end(), level, level + rail_bits);
        d_candidates.push_back(static_cast<float>(sum));
    }
}

std::size_t
cell_search::run(const float* llrs, uint32_t* indices, std::size_t symbols) const
{
    return HWY_DYNAMIC_DISPATCH(search_cells)(
        d_codebook, d_candidates.data(), llrs, indices, symbols);
}

symbol_dequantizer::symbol_dequantizer(std::size_t bits_per_symbol,
                                       unsigned bits,
                                       bool folded,
                                       const std::vector<float>& rows)
    : d_bits_per_symbol(bits_per_symbol), d_bits(bits), d_folded(folded), d_rows(rows)
{
    require(bits_per_symbol >= 1 && (!folded || bits_per_symbol % 2 == 0),
            "bits per symbol of at least 1, and even where signs are apart");
    require(bits >= (folded ? 2u : 1u) && bits <= max_bits,
            "a table of at most " + number(max_bits) + " bits, got " + number(bits));
    const std::size_t expected = (low_bits(bits - 2 * folded) + 1) * bits_per_symbol;
    require(rows.size() == expected,
            number(expected) + " LLRs in the table, got " + number(rows.size()));
}

namespace {

// So far ahead that a row has come from memory when it is needed.
constexpr std::size_t prefetch_distance = 32;

// K is known to the compiler where it is one of square QAM.
template <typename K>
void copy_rows(K k,
               unsigned bits,
               bool folded,
               const float* HWY_RESTRICT rows,
               const uint32_t* HWY_RESTRICT indices,
               float* HWY_RESTRICT llrs,
               std::size_t symbols)
{
    const uint32_t mask = static_cast<uint32_t>(low_bits(folded ? bits - 2 : bits));
    for (std::size_t s = 0; s < symbols; s++, llrs += k) {
        if (s + prefetch_distance < symbols)
            __builtin_prefetch(rows +
                               std::size_t(indices[s + prefetch_distance] & mask) * k);
        std::memcpy(llrs, rows + std::size_t(indices[s] & mask) * k, k * sizeof(float));
        if (folded) {
            if ((indices[s] >> (bits - 1) & 1) == 0)
                llrs[0] = -llrs[0];
            if ((indices[s] >> (bits - 2) & 1) == 0)
                llrs[k / 2] = -llrs[k / 2];
        }
    }
}

} // namespace

void symbol_dequantizer::dequantize(span<const uint32_t> indices, span<float> llrs) const
{
    require(llrs.size() == indices.size() * d_bits_per_symbol,
            number(d_bits_per_symbol) + " LLRs for each of " + number(indices.size()) +
                " indices, got " + number(llrs.size()));
    auto run = [&](auto k) {
        copy_rows(k,
                  d_bits,
                  d_folded,
                  d_rows.data(),
                  indices.data(),
                  llrs.data(),
                  indices.size());
    };
    switch (d_bits_per_symbol) {
    case 4:
        return run(std::integral_constant<std::size_t, 4>());
    case 6:
        return run(std::integral_constant<std::size_t, 6>());
    case 8:
        return run(std::integral_constant<std::size_t, 8>());
    case 10:
        return run(std::integral_constant<std::size_t, 10>());
    default:
        return run(d_bits_per_symbol);
    }
}

namespace {

void require_packed(std::size_t packed, std::size_t count, unsigned bits)
{
    require(bits >= 1 && bits <= 32, "1 to 32 bits an index, got " + number(bits));
    require(packed == packed_size(count, bits),
            number(packed_size(count, bits)) + " bytes for " + number(count) +
                " indices of " + number(bits) + " bits, got " + number(packed));
}

} // namespace

void pack_bits(span<const uint32_t> indices, unsigned bits, span<uint8_t> packed)
{
    require_packed(packed.size(), indices.size(), bits);
    uint64_t window = 0;
    unsigned held = 0;
    uint8_t* out = packed.data();
    for (uint32_t index : indices) {
        window = window << bits | (index & low_bits(bits));
        for (held += bits; held >= 8; held -= 8)
            *out++ = static_cast<uint8_t>(window >> (held - 8));
    }
    if (held > 0)
        *out = static_cast<uint8_t>(window << (8 - held));
}

void unpack_bits(span<const uint8_t> packed, unsigned bits, span<uint32_t> indices)
{
    require_packed(packed.size(), indices.size(), bits);
    uint64_t window = 0;
    unsigned held = 0;
    const uint8_t* in = packed.data();
    for (uint32_t& index : indices) {
        for (; held < bits; held += 8)
            window = window << 8 | *in++;
        held -= bits;
        index = static_cast<uint32_t>(window >> held & low_bits(bits));
    }
}

} // namespace gr::neuralfec
#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_recurrent.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/dense-inl.h"
#include "kernels/gated_cell-inl.h"
#include "kernels/gated_recurrent.h"
#include "kernels/workspace.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include <hwy/aligned_allocator.h>

#ifndef NEURALFEC_GATED_RECURRENT_ONCE
#define NEURALFEC_GATED_RECURRENT_ONCE

namespace gr::neuralfec {

// Inputs that go through the network together: three vectors.
constexpr std::size_t most_gated_inputs = 48;

struct gated_layer {
    // Of r and z over the layer's input and its state beside each other; of n over each.
    tiled_layer gates, candidate_input, candidate_hidden;
};

struct gated_plan {
    std::size_t inputs, width, steps;
    // The first layer's over the input alone, and its gates over the state alone.
    tiled_layer first_gates;
    std::vector<gated_layer> layers;
    tiled_layer output;
};

struct gated_workspace {
    // Rows of numbers, columns of inputs that go through together. The layers' states lie
    // one below the other: a layer's input and its state are neighbours.
    hwy::AlignedFreeUniquePtr<float[]> input, first, states, gates, candidate;
};

} // namespace gr::neuralfec
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, most_gated_inputs / 3>;
using V = hn::Vec<D>;

std::size_t gated_group()
{
    return 3 * hn::Lanes(D());
}

/*!
 * y = W x + b, or += W x, with the first `in` columns of W. All of y's tiles are written,
 * rows of zeros, too.
 */
template <bool Onto, std::size_t Vectors>
HWY_NOINLINE void apply(const tiled_layer& layer,
                        std::size_t in,
                        const float* HWY_RESTRICT x,
                        float* HWY_RESTRICT y)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), row = Vectors * lanes;
    for (std::size_t r = 0; r < layer.out; r += dense_rows) {
        const float* w = layer.weights.data() +
                         r / dense_tile_rows * dense_tile_rows * layer.in +
                         r % dense_tile_rows;
        const float* bias = layer.bias.data() + r;
        float* out = y + r * row;
        multiply_dense<dense_rows, Vectors>(
            d,
            w,
            1,
            dense_tile_rows,
            x,
            row,
            lanes,
            in,
            [&](std::size_t i, std::size_t v) NEURALFEC_LAMBDA {
                return Onto ? hn::Load(d, out + i * row + v * lanes)
                            : hn::Set(d, bias[i]);
            },
            [&](std::size_t i, std::size_t v, V sum)
                NEURALFEC_LAMBDA { hn::Store(sum, d, out + i * row + v * lanes); });
    }
}

// The state h after the step, from the sums of r and z, of n over x and of n over h.
HWY_NOINLINE void finish_cell(std::size_t size,
                              const float* HWY_RESTRICT r,
                              const float* HWY_RESTRICT z,
                              const float* HWY_RESTRICT input_sum,
                              const float* HWY_RESTRICT hidden_sum,
                              float* HWY_RESTRICT h)
{
    const D d;
    for (std::size_t j = 0; j < size; j += hn::Lanes(d))
        hn::Store(gated_state(d,
                              hn::Load(d, r + j),
                              hn::Load(d, z + j),
                              hn::Load(d, input_sum + j),
                              hn::Load(d, hidden_sum + j),
                              hn::Load(d, h + j)),
                  d,
                  h + j);
}

template <std::size_t Vectors>
void run_vectors(const gated_plan& plan,
                 const float* x,
                 std::size_t count,
                 float* y,
                 gated_workspace& work)
{
    const std::size_t row = Vectors * hn::Lanes(D()), width = plan.width;
    const std::size_t tall = whole_tiles(width);
    float *in = work.input.get(), *first = work.first.get(), *states = work.states.get();
    float* gates = work.gates.get();
    float* input_sum = work.candidate.get();
    float* hidden_sum = input_sum + tall * row;
    for (std::size_t i = 0; i < plan.inputs; i++)
        for (std::size_t f = 0; f < row; f++)
            in[i * row + f] = f < count ? x[f * plan.inputs + i] : 0.0f;
    std::fill_n(states, plan.layers.size() * width * row, 0.0f);
    // What the input tells the first layer: r and z, then n.
    float* first_candidate = first + whole_tiles(2 * width) * row;
    apply<false, Vectors>(plan.first_gates, plan.inputs, in, first);
    apply<false, Vectors>(
        plan.layers[0].candidate_input, plan.inputs, in, first_candidate);
    for (std::size_t t = 0; t < plan.steps; t++)
        for (std::size_t l = 0; l < plan.layers.size(); l++) {
            const auto& layer = plan.layers[l];
            // Before the first step states are 0 and their products, too.
            const std::size_t known = t == 0 ? 0 : width;
            float* h = states + l * width * row;
            const float* from = first_candidate;
            if (l == 0) {
                std::copy_n(first, 2 * width * row, gates);
                apply<true, Vectors>(layer.gates, known, h, gates);
            } else {
                apply<false, Vectors>(layer.gates, width + known, h - width * row, gates);
                apply<false, Vectors>(
                    layer.candidate_input, width, h - width * row, input_sum);
                from = input_sum;
            }
            apply<false, Vectors>(layer.candidate_hidden, known, h, hidden_sum);
            finish_cell(width * row, gates, gates + width * row, from, hidden_sum, h);
        }
    apply<false, Vectors>(
        plan.output, width, states + (plan.layers.size() - 1) * width * row, gates);
    for (std::size_t f = 0; f < count; f++)
        for (std::size_t i = 0; i < plan.output.out; i++)
            y[f * plan.output.out + i] = gates[i * row + f];
}

// Up to gated_group() inputs; few of them take fewer vectors, to the same results.
void gated_run(const gated_plan& plan,
               const float* x,
               std::size_t count,
               float* y,
               gated_workspace& work)
{
    const std::size_t lanes = hn::Lanes(D());
    if (count <= lanes)
        run_vectors<1>(plan, x, count, y, work);
    else if (count <= 2 * lanes)
        run_vectors<2>(plan, x, count, y, work);
    else
        run_vectors<3>(plan, x, count, y, work);
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(gated_group);
HWY_EXPORT(gated_run);

namespace {

void expect_size(const char* what, std::size_t expected, std::size_t got)
{
    if (expected != got)
        throw std::invalid_argument(std::string("gated_recurrent: expected ") +
                                    std::to_string(expected) + " " + what + ", got " +
                                    std::to_string(got));
}

gated_plan make_plan(std::size_t inputs,
                     std::size_t width,
                     const std::vector<gated_recurrent_network::cell>& cells,
                     span<const float> output,
                     span<const float> output_bias,
                     std::size_t steps)
{
    if (inputs == 0 || width == 0 || steps == 0 || cells.empty() ||
        output_bias.size() == 0)
        throw std::invalid_argument("gated_recurrent: expected at least one input, unit, "
                                    "time step, layer and output");
    expect_size("output weights", output_bias.size() * width, output.size());
    gated_plan plan{inputs, width, steps, {}, {}, {}};
    for (std::size_t l = 0; l < cells.size(); l++) {
        const auto& c = cells[l];
        const std::size_t in = l == 0 ? inputs : width;
        expect_size("input weights of a layer", 3 * width * in, c.input.size());
        expect_size("hidden weights of a layer", 3 * width * width, c.hidden.size());
        expect_size("input biases of a layer", 3 * width, c.input_bias.size());
        expect_size("hidden biases of a layer", 3 * width, c.hidden_bias.size());
        const auto of_input = [&](std::size_t r, std::size_t i) {
            return c.input[r * in + i];
        };
        const auto of_hidden = [&](std::size_t r, std::size_t i) {
            return c.hidden[r * width + i];
        };
        const auto both = [&](std::size_t r) {
            return c.input_bias[r] + c.hidden_bias[r];
        };
        gated_layer layer;
        if (l == 0) {
            plan.first_gates = make_tiled_layer(in, 2 * width, of_input, both);
            layer.gates = make_tiled_layer(
                width, 2 * width, of_hidden, [](std::size_t) { return 0.0f; });
        } else
            layer.gates = make_tiled_layer(
                2 * width,
                2 * width,
                [&](std::size_t r, std::size_t i) {
                    return i < width ? of_input(r, i) : of_hidden(r, i - width);
                },
                both);
        layer.candidate_input = make_tiled_layer(
            in,
            width,
            [&](std::size_t r, std::size_t i) { return of_input(2 * width + r, i); },
            [&](std::size_t r) { return c.input_bias[2 * width + r]; });
        layer.candidate_hidden = make_tiled_layer(
            width,
            width,
            [&](std::size_t r, std::size_t i) { return of_hidden(2 * width + r, i); },
            [&](std::size_t r) { return c.hidden_bias[2 * width + r]; });
        plan.layers.push_back(std::move(layer));
    }
    plan.output = make_tiled_layer(
        width,
        output_bias.size(),
        [&](std::size_t r, std::size_t i) { return output[r * width + i]; },
        [&](std::size_t r) { return output_bias[r]; });
    return plan;
}

gated_workspace make_workspace(const gated_plan& plan)
{
    gated_workspace work;
    auto allocate = [](auto& memory, std::size_t rows) {
        memory = hwy::AllocateAligned<float>(rows * most_gated_inputs);
        if (!memory)
            throw std::bad_alloc();
    };
    allocate(work.input, plan.inputs);
    allocate(work.first, whole_tiles(2 * plan.width) + whole_tiles(plan.width));
    allocate(work.states, plan.layers.size() * plan.width);
    allocate(work.gates,
             std::max(whole_tiles(2 * plan.width), whole_tiles(plan.output.out)));
    allocate(work.candidate, 2 * whole_tiles(plan.width));
    return work;
}

} // namespace

struct gated_recurrent_network::impl {
    gated_plan plan;
    mutable workspace_pool<gated_workspace> workspaces{
        [this] { return make_workspace(plan); }};
};

gated_recurrent_network::gated_recurrent_network(std::size_t inputs,
                                                 std::size_t width,
                                                 const std::vector<cell>& cells,
                                                 span<const float> output,
                                                 span<const float> output_bias,
                                                 std::size_t steps)
    : d_impl(new impl{make_plan(inputs, width, cells, output, output_bias, steps)})
{
}

gated_recurrent_network::gated_recurrent_network(gated_recurrent_network&&) noexcept =
    default;
gated_recurrent_network::~gated_recurrent_network() = default;

std::size_t gated_recurrent_network::inputs() const
{
    return d_impl->plan.inputs;
}

std::size_t gated_recurrent_network::outputs() const
{
    return d_impl->plan.output.out;
}

void gated_recurrent_network::run(span<const float> x, span<float> y) const
{
    const std::size_t frames = x.size() / inputs();
    if (x.size() % inputs() != 0 || y.size() != frames * outputs())
        throw std::invalid_argument(
            "gated_recurrent: expected inputs of " + std::to_string(inputs()) +
            " numbers and as many outputs of " + std::to_string(outputs()) + ", got " +
            std::to_string(x.size()) + " and " + std::to_string(y.size()));
    const auto work = d_impl->workspaces.take();
    const std::size_t group = HWY_DYNAMIC_DISPATCH(gated_group)();
    for (std::size_t f = 0; f < frames; f += group)
        HWY_DYNAMIC_DISPATCH(gated_run)
    (d_impl->plan,
     x.data() + f * inputs(),
     std::min(group, frames - f),
     y.data() + f * outputs(),
     *work);
}

} // namespace gr::neuralfec
#endif

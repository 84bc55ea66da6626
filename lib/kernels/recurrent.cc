/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/recurrent.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/dense-inl.h"
#include "kernels/gated_cell-inl.h"
#include "kernels/recurrent.h"
#include "kernels/workspace.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>

#include <hwy/aligned_allocator.h>

#ifndef NEURALFEC_RECURRENT_ONCE
#define NEURALFEC_RECURRENT_ONCE

namespace gr::neuralfec {

// Rows of a matrix that are multiplied at a time: their sums stay in registers.
constexpr std::size_t row_block = 10;
// Sequences of a group at most: two of the widest vectors of floats.
constexpr std::size_t max_sequences = 32;

// A matrix in blocks of rows, each column by column, as the product reads it.
using packed_matrix = std::vector<float>;

struct recurrent_direction {
    std::size_t inputs;
    // Of r and z over (x, h) together; of n over x, and over h.
    packed_matrix gates, candidate_input, candidate_hidden;
    std::vector<float> gates_bias, candidate_input_bias, candidate_hidden_bias;
};

struct recurrent_plan {
    std::size_t inputs, hidden;
    std::vector<recurrent_direction> directions;
    std::vector<float> output_weight;
    float output_bias;
};

struct recurrent_workspace {
    // Outputs of two layers in turn, (steps, 2 hidden, sequences); the first also holds
    // x.
    hwy::AlignedFreeUniquePtr<float[]> layers[2];
    // (x, h) of a step, sums, all (rows, sequences).
    hwy::AlignedFreeUniquePtr<float[]> state, gates, candidate;
    std::size_t steps = 0;
};

} // namespace gr::neuralfec
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, max_sequences / 2>;
using V = hn::Vec<D>;

// Two vectors beside each other where there are registers for their sums.
#if HWY_TARGET <= HWY_AVX3
constexpr std::size_t wide = 2;
#else
constexpr std::size_t wide = 1;
#endif

std::size_t group_size()
{
    return wide * hn::Lanes(D());
}

// out (rows, sequences) = matrix in (columns, sequences) + bias
void multiply(const float* matrix,
              const float* bias,
              std::size_t rows,
              std::size_t columns,
              const float* in,
              float* out)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), group = wide * lanes;
    for (std::size_t row = 0; row < rows; row += row_block, matrix += row_block * columns)
        multiply_dense<row_block, wide>(
            d,
            matrix,
            1,
            row_block,
            in,
            group,
            lanes,
            columns,
            [&](std::size_t r, std::size_t)
                NEURALFEC_LAMBDA { return hn::Set(d, bias[row + r]); },
            [&](std::size_t r, std::size_t v, V sum) NEURALFEC_LAMBDA {
                hn::Store(sum, d, out + (row + r) * group + v * lanes);
            });
}

// in (steps, inputs, sequences) -> out, rows `first` .. of (steps, 2 hidden, sequences).
void run_direction(const recurrent_direction& w,
                   std::size_t hidden,
                   std::size_t steps,
                   bool backward,
                   const float* in,
                   float* out,
                   recurrent_workspace& work)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), group = wide * lanes, n = w.inputs;
    float* x = work.state.get();
    float* h = x + n * group;
    float* r = work.gates.get();
    const float* z = r + hidden * group;
    float* input_sum = work.candidate.get();
    float* hidden_sum = input_sum + hidden * group;
    std::fill_n(h, hidden * group, 0.0f);
    for (std::size_t i = 0; i < steps; i++) {
        const std::size_t t = backward ? steps - 1 - i : i;
        std::copy_n(in + t * n * group, n * group, x);
        multiply(w.gates.data(), w.gates_bias.data(), 2 * hidden, n + hidden, x, r);
        multiply(w.candidate_input.data(),
                 w.candidate_input_bias.data(),
                 hidden,
                 n,
                 x,
                 input_sum);
        multiply(w.candidate_hidden.data(),
                 w.candidate_hidden_bias.data(),
                 hidden,
                 hidden,
                 h,
                 hidden_sum);
        float* result = out + (t * 2 + backward) * hidden * group;
        for (std::size_t j = 0; j < hidden * group; j += lanes) {
            const V now = gated_state(d,
                                      hn::Load(d, r + j),
                                      hn::Load(d, z + j),
                                      hn::Load(d, input_sum + j),
                                      hn::Load(d, hidden_sum + j),
                                      hn::Load(d, h + j));
            hn::Store(now, d, h + j);
            hn::Store(now, d, result + j);
        }
    }
}

// Up to group_size() sequences.
void run_group(const recurrent_plan& plan,
               const float* x,
               std::size_t count,
               std::size_t steps,
               float* y,
               recurrent_workspace& work)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), group = wide * lanes, hidden = plan.hidden;
    float* from = work.layers[0].get();
    float* to = work.layers[1].get();
    const std::size_t values = steps * plan.inputs;
    for (std::size_t i = 0; i < values; i++)
        for (std::size_t s = 0; s < group; s++)
            from[i * group + s] = s < count ? x[s * values + i] : 0;
    for (std::size_t i = 0; i < plan.directions.size(); i += 2) {
        run_direction(plan.directions[i], hidden, steps, false, from, to, work);
        run_direction(plan.directions[i + 1], hidden, steps, true, from, to, work);
        std::swap(from, to);
    }
    float* sums = work.gates.get();
    for (std::size_t t = 0; t < steps; t++) {
        for (std::size_t v = 0; v < group; v += lanes) {
            V sum = hn::Set(d, plan.output_bias);
            for (std::size_t j = 0; j < 2 * hidden; j++)
                sum = hn::MulAdd(hn::Set(d, plan.output_weight[j]),
                                 hn::Load(d, from + (t * 2 * hidden + j) * group + v),
                                 sum);
            hn::Store(sum, d, sums + v);
        }
        for (std::size_t s = 0; s < count; s++)
            y[s * steps + t] = sums[s];
    }
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(group_size);
HWY_EXPORT(run_group);

namespace {

void check_size(const char* what, std::size_t expected, std::size_t got)
{
    if (expected != got)
        throw std::invalid_argument(std::string("recurrent network: expected ") +
                                    std::to_string(expected) + " values of " + what +
                                    ", got " + std::to_string(got));
}

// Appends columns [first, last) of row-major rows to blocks of rows.
packed_matrix pack(std::size_t rows,
                   const std::vector<std::pair<const float*, std::size_t>>& parts)
{
    packed_matrix packed;
    for (std::size_t row = 0; row < rows; row += row_block)
        for (const auto& [matrix, columns] : parts)
            for (std::size_t c = 0; c < columns; c++)
                for (std::size_t i = 0; i < row_block; i++)
                    packed.push_back(matrix[(row + i) * columns + c]);
    return packed;
}

} // namespace

struct recurrent_network::impl {
    recurrent_plan plan;
    // Made when the plan is.
    mutable std::optional<workspace_pool<recurrent_workspace>> workspaces;

    recurrent_workspace make_workspace() const
    {
        recurrent_workspace work;
        const std::size_t row = std::max(plan.inputs, 2 * plan.hidden) + plan.hidden;
        work.state = hwy::AllocateAligned<float>(row * max_sequences);
        work.gates = hwy::AllocateAligned<float>(2 * plan.hidden * max_sequences);
        work.candidate = hwy::AllocateAligned<float>(2 * plan.hidden * max_sequences);
        if (!work.state || !work.gates || !work.candidate)
            throw std::bad_alloc();
        return work;
    }

    // Memory for sequences of so many steps.
    void reserve(recurrent_workspace& work, std::size_t steps) const
    {
        if (steps <= work.steps)
            return;
        const std::size_t row = std::max(plan.inputs, 2 * plan.hidden);
        for (auto& layer : work.layers) {
            layer = hwy::AllocateAligned<float>(steps * row * max_sequences);
            if (!layer)
                throw std::bad_alloc();
        }
        work.steps = steps;
    }
};

recurrent_network::recurrent_network(std::size_t inputs,
                                     std::size_t hidden,
                                     std::vector<recurrent_weights> directions,
                                     std::vector<float> output_weight,
                                     float output_bias)
    : d_impl(std::make_unique<impl>())
{
    if (inputs == 0 || hidden == 0 || hidden % row_block != 0)
        throw std::invalid_argument(
            "recurrent network: expected inputs above 0 and hidden "
            "units of a multiple of " +
            std::to_string(row_block) + ", got " + std::to_string(inputs) + " and " +
            std::to_string(hidden));
    if (directions.empty() || directions.size() % 2 != 0)
        throw std::invalid_argument(
            "recurrent network: expected two directions a layer, got " +
            std::to_string(directions.size()));
    check_size("output weights", 2 * hidden, output_weight.size());
    auto& plan = d_impl->plan;
    plan.inputs = inputs;
    plan.hidden = hidden;
    plan.output_weight = std::move(output_weight);
    plan.output_bias = output_bias;
    for (std::size_t i = 0; i < directions.size(); i++) {
        const auto& w = directions[i];
        const std::size_t n = i < 2 ? inputs : 2 * hidden;
        check_size("input weights", 3 * hidden * n, w.input.size());
        check_size("hidden weights", 3 * hidden * hidden, w.hidden.size());
        check_size("input bias", 3 * hidden, w.input_bias.size());
        check_size("hidden bias", 3 * hidden, w.hidden_bias.size());
        recurrent_direction direction;
        direction.inputs = n;
        direction.gates =
            pack(2 * hidden, {{w.input.data(), n}, {w.hidden.data(), hidden}});
        direction.candidate_input = pack(hidden, {{w.input.data() + 2 * hidden * n, n}});
        direction.candidate_hidden =
            pack(hidden, {{w.hidden.data() + 2 * hidden * hidden, hidden}});
        for (std::size_t j = 0; j < 2 * hidden; j++)
            direction.gates_bias.push_back(w.input_bias[j] + w.hidden_bias[j]);
        direction.candidate_input_bias.assign(w.input_bias.begin() + 2 * hidden,
                                              w.input_bias.end());
        direction.candidate_hidden_bias.assign(w.hidden_bias.begin() + 2 * hidden,
                                               w.hidden_bias.end());
        plan.directions.push_back(std::move(direction));
    }
    d_impl->workspaces.emplace([self = d_impl.get()] { return self->make_workspace(); });
}

recurrent_network::recurrent_network(recurrent_network&&) noexcept = default;
recurrent_network::~recurrent_network() = default;

std::size_t recurrent_network::inputs() const
{
    return d_impl->plan.inputs;
}

void recurrent_network::run(span<const float> x, std::size_t steps, span<float> y) const
{
    if (steps == 0 || y.size() % steps != 0 || x.size() != y.size() * inputs())
        throw std::invalid_argument("recurrent network: expected sequences of " +
                                    std::to_string(steps) + " steps of " +
                                    std::to_string(inputs()) + " values, got " +
                                    std::to_string(x.size()) + " values in and " +
                                    std::to_string(y.size()) + " out");
    const auto work = d_impl->workspaces->take();
    d_impl->reserve(*work, steps);
    const std::size_t sequences = y.size() / steps;
    const std::size_t group = HWY_DYNAMIC_DISPATCH(group_size)();
    for (std::size_t s = 0; s < sequences; s += group)
        HWY_DYNAMIC_DISPATCH(run_group)
    (d_impl->plan,
     x.data() + s * steps * inputs(),
     std::min(group, sequences - s),
     steps,
     y.data() + s * steps,
     *work);
}

} // namespace gr::neuralfec
#endif

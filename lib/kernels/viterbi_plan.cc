/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/viterbi_plan.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <stdexcept>
#include <string>

namespace gr::neuralfec {

viterbi_metric viterbi_metric_from_name(const std::string& name)
{
    if (name == "int8")
        return viterbi_metric::int8;
    if (name == "int16")
        return viterbi_metric::int16;
    throw std::invalid_argument("viterbi: expected metric \"int8\" or \"int16\", got \"" +
                                name + "\"");
}

viterbi_plan make_viterbi_plan(const convolutional_trellis& trellis,
                               const convolutional_frame& frame,
                               viterbi_metric metric,
                               float scale,
                               bool start_known)
{
    if (!std::isfinite(scale) || scale < 0)
        throw std::invalid_argument(
            "viterbi: expected a scale of 0 (automatic) or more, got " +
            std::to_string(scale));
    viterbi_plan plan{};
    const unsigned m = trellis.memory();
    plan.memory = m;
    plan.states = trellis.states();
    plan.outputs = trellis.outputs();
    plan.feedback = trellis.feedback_taps();
    plan.frame = &frame;
    plan.metric = metric;
    plan.scale = scale;

    // Two metrics that are compared differ by at most limit * (spread + n), and by the
    // penalty of the wrong start states, which outweighs all that these can gain.
    const int largest = metric == viterbi_metric::int8 ? 127 : 32767;
    const int spread = trellis.max_weight() + trellis.outputs();
    const int tail = trellis.tail_weight();
    plan.limit = start_known ? (largest - 1) / (spread + tail) : largest / spread;
    plan.start_penalty = plan.limit * tail + 1;
    plan.headroom = metric == viterbi_metric::int8 ? 2 : 16;

    plan.low_lanes = std::max(plan.states / 2, 8u);
    plan.lookups = hwy::AllocateAligned<uint16_t>(8 * plan.low_lanes);
    if (!plan.lookups)
        throw std::bad_alloc();
    std::fill_n(plan.lookups.get(), 8 * plan.low_lanes, 0);

    const auto word = [m](unsigned state) {
        unsigned w = 0;
        for (unsigned i = 0; i < m; i++)
            w |= ((state >> i) & 1) << (m - 1 - i);
        return static_cast<uint16_t>(w);
    };
    for (unsigned low = 0; low < plan.states / 2; low++) {
        const auto output = [&](unsigned source, unsigned bit) {
            return static_cast<uint8_t>(trellis.output(source << 1 | bit));
        };
        const unsigned high = low + plan.states / 2;
        const uint8_t key[4] = {
            output(low, 0), output(high, 0), output(low, 1), output(high, 1)};
        auto c =
            std::find_if(plan.classes.begin(), plan.classes.end(), [&](const auto& k) {
                return k.low_even == key[0] && k.high_even == key[1] &&
                       k.low_odd == key[2] && k.high_odd == key[3];
            });
        if (c == plan.classes.end())
            c = plan.classes.insert(c, {key[0], key[1], key[2], key[3], {}});
        c->members.push_back(
            {static_cast<uint16_t>(low), word(2 * low), word(2 * low + 1)});
        for (unsigned edge = 0; edge < 4; edge++)
            for (unsigned table = 0; table < 2; table++) {
                const unsigned at = key[edge] >> (table * table_outputs) & 7;
                plan.lookups[(4 * table + edge) * plan.low_lanes + low] =
                    at * 0x0202 + 0x0100;
            }
    }
    return plan;
}

viterbi_workspace make_viterbi_workspace(const viterbi_plan& plan)
{
    viterbi_workspace work;
    const std::size_t row = tile_steps * plan.outputs;
    work.rows = hwy::AllocateAligned<int16_t>(group_frames * row);
    work.columns = hwy::AllocateAligned<int16_t>(group_frames * row);
    work.metrics = hwy::AllocateAligned<int16_t>(2 * group_frames * plan.states);
    work.decisions =
        hwy::AllocateAligned<uint64_t>((plan.frame->steps + 1) * plan.states);
    work.words = hwy::AllocateAligned<uint64_t>(plan.frame->steps + plan.memory);
    work.line = hwy::AllocateAligned<int16_t>(plan.frame->steps * plan.outputs + 16);
    work.depunctured.resize(row);
    if (!work.rows || !work.columns || !work.metrics || !work.decisions || !work.words ||
        !work.line)
        throw std::bad_alloc();
    return work;
}

} // namespace gr::neuralfec

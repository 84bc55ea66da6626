/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/llr.h"
#include "kernels/viterbi.h"
#include "kernels/viterbi_plan.h"
#include "kernels/workspace.h"

#include <algorithm>
#include <stdexcept>

namespace gr::neuralfec {

namespace {

std::size_t round_up(std::size_t x, std::size_t multiple)
{
    return (x + multiple - 1) / multiple * multiple;
}

} // namespace

struct viterbi_stream_kernel::impl {
    std::size_t depth, block;
    convolutional_frame window;
    viterbi_plan plan;
    mutable workspace_pool<viterbi_workspace> workspaces;
    std::size_t stride; // received coded bits of a block

    impl(const convolutional_trellis& trellis,
         const std::vector<uint8_t>& puncture,
         std::size_t depth_,
         std::size_t block_,
         viterbi_metric metric)
        : depth(round_up(depth_ ? depth_ : 12 * trellis.memory(),
                         period(trellis, puncture))),
          block(round_up(block_, period(trellis, puncture))),
          window(trellis, depth + block + depth, termination::none, puncture),
          plan(make_viterbi_plan(trellis, window, metric, 0, false)),
          workspaces([this] { return make_viterbi_workspace(plan); }),
          stride(window.rank[(depth + block) * plan.outputs] -
                 window.rank[depth * plan.outputs])
    {
    }

    static std::size_t period(const convolutional_trellis& trellis,
                              const std::vector<uint8_t>& puncture)
    {
        return std::max<std::size_t>(1, puncture.size() / trellis.outputs());
    }
};

viterbi_stream_kernel::viterbi_stream_kernel(const convolutional_trellis& trellis,
                                             const std::vector<uint8_t>& puncture,
                                             std::size_t depth,
                                             std::size_t block,
                                             viterbi_metric metric)
{
    if (block == 0)
        throw std::invalid_argument("viterbi: expected a block of at least 1 bit, got 0");
    d_impl = std::make_unique<impl>(trellis, puncture, depth, block, metric);
}

viterbi_stream_kernel::viterbi_stream_kernel(viterbi_stream_kernel&&) noexcept = default;
viterbi_stream_kernel::~viterbi_stream_kernel() = default;

std::size_t viterbi_stream_kernel::block() const
{
    return d_impl->block;
}
std::size_t viterbi_stream_kernel::received() const
{
    return d_impl->stride;
}
std::size_t viterbi_stream_kernel::depth() const
{
    return d_impl->depth;
}
std::size_t viterbi_stream_kernel::window() const
{
    return d_impl->window.received;
}
std::size_t viterbi_stream_kernel::history() const
{
    return d_impl->window.rank[d_impl->depth * d_impl->plan.outputs];
}

viterbi_stream_kernel::progress viterbi_stream_kernel::decode(span<const float> llrs,
                                                              span<uint8_t> bits) const
{
    const auto& s = *d_impl;
    progress done{0, 0, 0};
    if (llrs.size() < s.window.received)
        return done;
    const std::size_t blocks =
        std::min((llrs.size() - s.window.received) / s.stride + 1, bits.size() / s.block);
    const auto work = s.workspaces.take();
    uint64_t bad = 0;
    for (std::size_t first = 0; first < blocks; first += group_frames) {
        viterbi_group group;
        group.count = std::min(group_frames, blocks - first);
        group.first = s.depth;
        group.length = s.block;
        for (std::size_t i = 0; i < group.count; i++) {
            group.llrs[i] = llrs.data() + (first + i) * s.stride;
            group.bits[i] = bits.data() + (first + i) * s.block;
            group.start[i] = group.end[i] = any_state;
        }
        decode_viterbi_group(s.plan, group, *work);
        bad += group.not_a_number;
    }
    done.consumed = blocks * s.stride;
    done.produced = blocks * s.block;
    // Windows overlap, but each NaN is to be counted once: that of the blocks' own.
    if (bad != 0) {
        const float* own = llrs.data() + history();
        done.not_a_number = count_nan(own, own + done.consumed);
    }
    return done;
}

} // namespace gr::neuralfec

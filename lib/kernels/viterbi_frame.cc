/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/viterbi.h"
#include "kernels/viterbi_plan.h"
#include "kernels/workspace.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace gr::neuralfec {

struct viterbi_frame_kernel::impl {
    convolutional_trellis trellis;
    convolutional_frame frame;
    viterbi_plan plan;
    mutable workspace_pool<viterbi_workspace> workspaces;

    impl(const convolutional_trellis& t,
         const convolutional_frame& f,
         viterbi_metric metric,
         float scale)
        : trellis(t),
          frame(f),
          plan(make_viterbi_plan(trellis, frame, metric, scale, true)),
          workspaces([this] { return make_viterbi_workspace(plan); })
    {
        // Circular paths are compared as register bits.
        if (frame.end == termination::tail_biting)
            plan.feedback = 1;
    }

    // Decodes register bits w where the frame bites its tail, messages otherwise.
    uint64_t decode(const float* llrs, uint8_t* bits, std::size_t frames) const
    {
        const auto work = workspaces.take();
        uint64_t not_a_number = 0;
        for (std::size_t f = 0; f < frames; f += group_frames) {
            viterbi_group group;
            group.count = std::min(group_frames, frames - f);
            group.length = frame.message_bits;
            const bool circular = frame.end == termination::tail_biting;
            for (std::size_t i = 0; i < group.count; i++) {
                group.llrs[i] = llrs + (f + i) * frame.received;
                group.bits[i] = bits + (f + i) * frame.message_bits;
                group.start[i] = circular ? any_state : 0;
                group.end[i] = frame.end == termination::zero ? 0 : any_state;
            }
            if (circular)
                group.loss.resize(group.count * plan.states);
            decode_viterbi_group(plan, group, *work);
            not_a_number += group.not_a_number;
            if (circular)
                bite_tails(group, *work);
        }
        return not_a_number;
    }

    /* Exact: the best path that ends in s, from whichever state, is no worse than the
     * best that starts and ends in s. States are tried in the order of that bound, those
     * of all frames together, until no bound is above the best circular path that was
     * found. */
    void bite_tails(const viterbi_group& open, viterbi_workspace& work) const
    {
        struct search {
            std::size_t frame;
            int64_t best;
            std::vector<std::pair<int64_t, int>> bounds; // the largest last
        };
        std::vector<search> searches;
        for (std::size_t f = 0; f < open.count; f++) {
            if (open.path_start[f] == open.path_end[f])
                continue;
            const int64_t top = path_metric(open, f, open.path_start[f]);
            search s{f, std::numeric_limits<int64_t>::min(), {}};
            for (unsigned state = 0; state < plan.states; state++)
                s.bounds.emplace_back(top + open.loss[f * plan.states + state], state);
            std::sort(s.bounds.begin(), s.bounds.end());
            searches.push_back(std::move(s));
        }
        std::vector<uint8_t> bits(group_frames * frame.message_bits);
        while (!searches.empty()) {
            viterbi_group group;
            group.count = searches.size();
            group.length = frame.message_bits;
            for (std::size_t i = 0; i < group.count; i++) {
                group.llrs[i] = open.llrs[searches[i].frame];
                group.bits[i] = bits.data() + i * frame.message_bits;
                group.start[i] = group.end[i] = searches[i].bounds.back().second;
                searches[i].bounds.pop_back();
            }
            decode_viterbi_group(plan, group, work);
            for (std::size_t i = 0; i < group.count; i++) {
                const int64_t metric = path_metric(group, i, group.path_start[i]);
                if (metric <= searches[i].best)
                    continue;
                searches[i].best = metric;
                std::copy_n(
                    group.bits[i], frame.message_bits, open.bits[searches[i].frame]);
            }
            searches.erase(std::remove_if(searches.begin(),
                                          searches.end(),
                                          [](const search& s) {
                                              return s.bounds.empty() ||
                                                     s.bounds.back().first <= s.best;
                                          }),
                           searches.end());
        }
    }

    // The sum of c_i q_i of a decoded path, rounded as in the kernel.
    int64_t path_metric(const viterbi_group& group, std::size_t f, unsigned state) const
    {
        int64_t total = 0;
        const float limit = plan.limit;
        for (std::size_t t = 0; t < frame.steps; t++) {
            const unsigned edge = state << 1 | group.bits[f][t];
            const unsigned c = trellis.output(edge);
            state = edge & (plan.states - 1);
            for (unsigned j = 0; j < plan.outputs; j++) {
                const std::size_t at = t * plan.outputs + j;
                if (!((c >> j) & 1) || !frame.kept[at])
                    continue;
                const float l = group.llrs[f][frame.rank[at]];
                const float q = std::isnan(l) ? 0 : l * group.scale[f];
                total += std::lrint(std::min(std::max(q, -limit), limit));
            }
        }
        return total;
    }

    // Register bits to message bits, in place.
    void message_of_circular(uint8_t* bits) const
    {
        const std::size_t k = frame.message_bits;
        const std::vector<uint8_t> w(bits, bits + k);
        for (std::size_t t = 0; t < k; t++) {
            unsigned edge = 0;
            for (unsigned i = 0; i <= plan.memory; i++)
                edge |= w[(t + k - i) % k] << i;
            bits[t] = trellis.message(edge);
        }
    }
};

viterbi_frame_kernel::viterbi_frame_kernel(const convolutional_trellis& trellis,
                                           const convolutional_frame& frame,
                                           viterbi_metric metric,
                                           float scale)
    : d_impl(std::make_unique<impl>(trellis, frame, metric, scale))
{
}

viterbi_frame_kernel::viterbi_frame_kernel(viterbi_frame_kernel&&) noexcept = default;
viterbi_frame_kernel::~viterbi_frame_kernel() = default;

const convolutional_frame& viterbi_frame_kernel::frame() const
{
    return d_impl->frame;
}

int viterbi_frame_kernel::limit() const
{
    return d_impl->plan.limit;
}

uint64_t viterbi_frame_kernel::decode(span<const float> llrs, span<uint8_t> bits) const
{
    const auto& frame = d_impl->frame;
    const std::size_t frames = llrs.size() / frame.received;
    if (llrs.size() % frame.received != 0 || bits.size() != frames * frame.message_bits)
        throw std::invalid_argument("viterbi: expected frames of " +
                                    std::to_string(frame.received) + " LLRs and " +
                                    std::to_string(frame.message_bits) + " bits, got " +
                                    std::to_string(llrs.size()) + " LLRs and " +
                                    std::to_string(bits.size()) + " bits");
    const uint64_t not_a_number = d_impl->decode(llrs.data(), bits.data(), frames);
    if (frame.end == termination::tail_biting && d_impl->trellis.feedback_taps() != 1)
        for (std::size_t f = 0; f < frames; f++)
            d_impl->message_of_circular(bits.data() + f * frame.message_bits);
    return not_a_number;
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the Viterbi kernels of frames and of streams share: the code as it is walked
 * through, a group of frames, and the walk.
 */
#pragma once

#include "kernels/convolutional.h"
#include "kernels/viterbi.h"

#include <hwy/aligned_allocator.h>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace gr::neuralfec {

// Frames of a group: the bits of a decision word.
constexpr std::size_t group_frames = 64;
// Trellis steps whose inputs are laid out at a time: they stay in the first-level cache.
constexpr std::size_t tile_steps = 32;
// Outputs whose sums fill a 128-bit table of 16-bit integers.
constexpr std::size_t table_outputs = 3;
static_assert(convolutional_trellis::max_outputs <= 2 * table_outputs);
constexpr int any_state = -1;

// The code as the kernel walks through it.
struct viterbi_plan {
    // States i and i + S/2 lead to states 2i and 2i + 1.
    struct butterfly {
        uint16_t low;
        // Places of the decisions of 2i and 2i + 1 in a step's words: the states' bits
        // reversed, so that traceback needs the bit it learns last in its last selection.
        uint16_t even_word, odd_word;
    };
    // Butterflies with the same outputs on their four edges.
    struct butterfly_class {
        uint8_t low_even, high_even, low_odd, high_odd;
        std::vector<butterfly> members;
    };

    unsigned memory, states, outputs, feedback;
    std::vector<butterfly_class> classes;
    // For states across lanes, [table][edge][low state]: where the metrics of its edges
    // (low to even, high to even, low to odd, high to odd) lie in each table, as the
    // indices of two bytes.
    std::size_t low_lanes; // half of the states, at least a vector of 8
    hwy::AlignedFreeUniquePtr<uint16_t[]> lookups;
    const convolutional_frame* frame;
    viterbi_metric metric;
    int limit;
    int start_penalty;
    float scale; // 0: automatic
    float
        headroom; // LLR that meets the limit, in mean LLRs, where the scale is automatic
};

// One call of the kernel.
struct viterbi_group {
    std::size_t count = 0;
    const float* llrs[group_frames];
    uint8_t* bits[group_frames];
    // The message bits that are written.
    std::size_t first = 0, length = 0;
    int start[group_frames];
    int end[group_frames];

    // Results: the ends of the path and, per state, the last metric less the best one.
    uint64_t not_a_number = 0;
    float scale[group_frames];
    unsigned path_start[group_frames];
    unsigned path_end[group_frames];
    std::vector<int> loss; // [frame][state], where it is not empty on entry
};

// Buffers that grow and stay.
struct viterbi_workspace {
    hwy::AlignedFreeUniquePtr<int16_t[]> rows, columns, metrics, line;
    hwy::AlignedFreeUniquePtr<uint64_t[]> decisions, words;
    std::vector<float> depunctured;
};

/*!
 * \param frame must outlive the plan
 * \param scale integers per LLR; 0: for each frame from its LLRs
 * \param start_known whether groups may give a start state
 * \throws std::invalid_argument for a negative or not finite scale
 */
viterbi_plan make_viterbi_plan(const convolutional_trellis& trellis,
                               const convolutional_frame& frame,
                               viterbi_metric metric,
                               float scale,
                               bool start_known);

//! \throws std::bad_alloc
viterbi_workspace make_viterbi_workspace(const viterbi_plan& plan);

//! Decodes the frames of a group, across lanes or, where they are few, one by one.
void decode_viterbi_group(const viterbi_plan& plan,
                          viterbi_group& group,
                          viterbi_workspace& work);

} // namespace gr::neuralfec

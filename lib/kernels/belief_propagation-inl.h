/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * How codewords go through the lanes of a decoder of belief propagation: one whose word
 * is done takes the next. Included once for each SIMD target.
 */
#include "kernels/belief_propagation.h"

#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>
#include <cstdint>
#include <new>
#include <vector>

#if defined(NEURALFEC_BELIEF_PROPAGATION_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_BELIEF_PROPAGATION_INL_H
#undef NEURALFEC_BELIEF_PROPAGATION_INL_H
#else
#define NEURALFEC_BELIEF_PROPAGATION_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {

/*
 * Decodes codewords of n LLRs and returns how many of these were unknown. A Decoder has
 *
 *     element, mask    of its memory, and of what is told lane by lane
 *     most_lanes       lanes() at most
 *     lanes(), clear(), load(lane, llrs) -> unknown LLRs, store(lane, frame, ...)
 *     find_failed(mask*)          sets the lanes to nonzero in which a check fails
 *     iterate(const mask* keep)   messages of lanes with 0 count as 0
 *
 * Inlined, so that the Decoder stays a local object: stores of bytes might change any
 * other, and its pointers would be read again behind each.
 */
template <class Decoder>
HWY_INLINE std::size_t decode_in_lanes(Decoder& decoder,
                                       std::size_t n,
                                       const belief_propagation::settings& settings,
                                       const std::vector<uint32_t>& positions,
                                       span<const float> llrs,
                                       const belief_propagation::results& out)
{
    const std::size_t lanes = Decoder::lanes(), frames = llrs.size() / n;
    std::size_t unknown = 0, next = 0, active = 0;
    std::size_t frame[Decoder::most_lanes];
    uint32_t iterations[Decoder::most_lanes];
    // A lane's messages count as 0 in its first iteration: all ones keep them.
    HWY_ALIGN typename Decoder::mask keep[Decoder::most_lanes];
    HWY_ALIGN typename Decoder::mask failed[Decoder::most_lanes];
    const auto fill = [&](std::size_t lane) {
        keep[lane] = 0;
        iterations[lane] = 0;
        frame[lane] = next;
        if (next < frames) {
            unknown += decoder.load(lane, llrs.data() + next * n);
            next++;
            active++;
        }
    };
    decoder.clear();
    for (std::size_t lane = 0; lane < lanes; lane++)
        fill(lane);

    while (active > 0) {
        bool look = settings.parity_stop;
        for (std::size_t lane = 0; lane < lanes; lane++)
            look |= frame[lane] < frames && iterations[lane] == settings.iterations;
        if (look) {
            // A lane without a frame never ends the search for failed checks.
            for (std::size_t lane = 0; lane < lanes; lane++)
                failed[lane] = frame[lane] < frames ? 0 : -1;
            decoder.find_failed(failed);
            bool changed = false;
            for (std::size_t lane = 0; lane < lanes; lane++) {
                const bool last = iterations[lane] == settings.iterations;
                const bool done = last || (settings.parity_stop && !failed[lane]);
                if (frame[lane] >= frames || !done)
                    continue;
                decoder.store(lane, frame[lane], positions, out);
                if (!out.iterations.empty())
                    out.iterations[frame[lane]] = iterations[lane];
                if (!out.converged.empty())
                    out.converged[frame[lane]] = !failed[lane];
                active--;
                fill(lane);
                changed = true;
            }
            // The frames that came in may be codewords already.
            if (changed)
                continue;
        }
        decoder.iterate(keep);
        for (std::size_t lane = 0; lane < lanes; lane++) {
            keep[lane] = -1;
            iterations[lane]++;
        }
    }
    return unknown;
}

//! Makes a Decoder and decodes with it.
template <class Decoder>
std::size_t decode_with(const belief_propagation::graph& g,
                        std::size_t n,
                        const belief_propagation::settings& s,
                        const std::vector<uint32_t>& positions,
                        span<const float> llrs,
                        const belief_propagation::results& out)
{
    using element = typename Decoder::element;
    // Kept between calls: fresh pages would cost a single codeword a tenth of its time.
    static thread_local hwy::AlignedFreeUniquePtr<element[]> space;
    static thread_local std::size_t size = 0;
    const std::size_t needed = Decoder::space(g, n);
    if (size < needed) {
        space = hwy::AllocateAligned<element>(needed);
        if (!space)
            throw std::bad_alloc();
        size = needed;
    }
    Decoder decoder(g, n, s, space.get());
    return decode_in_lanes(decoder, n, s, positions, llrs, out);
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/polar.cc"
#include <hwy/foreach_target.h>

#include "kernels/llr.h"
#include "kernels/polar.h"

#include <hwy/aligned_allocator.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using node = successive_cancellation::node;

// Above all sums of n penalties.
constexpr float unused_path = 1e30f;
// A penalty next to which those of ordinary LLRs lose their digits.
constexpr float large_penalty = 1e5f;

/*
 * Decodes groups of frames. A row is one value a path and frame: lane f * L + l belongs
 * to path l of frame f. Inside, LLRs are positive for bit 0 and bits are float sign
 * masks, so that an exclusive or adds bits and applies them to LLRs.
 */
template <int L, bool Exact>
class list_decoder
{
    using D = hn::CappedTag<float, 16>;
    using DI = hn::RebindToSigned<D>;
    using V = hn::Vec<D>;
    static constexpr D d{};
    static constexpr DI di{};

public:
    explicit list_decoder(const successive_cancellation& decoder)
        : d_decoder(decoder),
          d_n(decoder.n()),
          d_lanes(hn::Lanes(d)),
          d_row(std::max<std::size_t>(L, d_lanes)),
          d_frames(d_row / L),
          d_llrs(hwy::AllocateAligned<float>(2 * d_n * d_row)),
          d_left(hwy::AllocateAligned<float>(d_n * d_row)),
          d_root(hwy::AllocateAligned<float>(d_n * d_row)),
          d_metric(hwy::AllocateAligned<float>(4 * d_row)),
          d_maps(hwy::AllocateAligned<int32_t>((2 * max_stages + 1) * d_row)),
          d_codeword(d_n),
          d_bits(decoder.information_set().size())
    {
        while ((std::size_t(1) << d_stages) < d_n)
            d_stages++;
        for (std::size_t i = 0; i < (2 * max_stages + 1) * d_row; i++)
            d_maps[i] = static_cast<int32_t>(i % d_row);
    }

    std::size_t frames() const { return d_frames; }

    //! At most frames() frames.
    std::size_t
    decode(const float* llrs, std::size_t frames, uint8_t* messages, uint8_t* verdicts)
    {
        std::size_t not_a_number = 0;
        float* root = stage_llrs(d_stages);
        for (std::size_t f = 0; f < d_frames; f++)
            for (std::size_t j = 0; j < d_n; j++) {
                const float given = f < frames ? llrs[f * d_n + j] : 0.0f;
                not_a_number += std::isnan(given);
                const float llr = -known_llr(given);
                for (int l = 0; l < L; l++)
                    root[j * d_row + f * L + l] = llr;
            }
        for (std::size_t i = 0; i < d_row; i++)
            d_metric[i] = i % L == 0 ? 0.0f : unused_path;
        run();
        const std::size_t k = d_decoder.k();
        for (std::size_t f = 0; f < frames; f++) {
            const bool holds = choose(f);
            if (verdicts)
                verdicts[f] = holds;
            std::copy_n(d_bits.data(), k, messages + f * k);
        }
        return not_a_number;
    }

    // For ensembles, whose lists have one path, in three steps.

    //! Puts known LLRs, position j's from order[j], into the place of frame f.
    void load(std::size_t f, const float* llrs, const uint32_t* order)
    {
        float* root = stage_llrs(d_stages) + f;
        for (std::size_t j = 0; j < d_n; j++)
            root[j * d_row] = -llrs[order[j]];
    }

    void run() { descend(d_stages, 1, d_root.get()); }

    //! The word of frame f, in the order of the LLRs that were loaded.
    void read_word(std::size_t f, const uint32_t* order, uint8_t* word) const
    {
        const float* root = d_root.get() + f;
        for (std::size_t j = 0; j < d_n; j++)
            word[order[j]] = std::signbit(root[j * d_row]);
    }

    //! The sum of |L| where each frame's word contradicts the LLRs' signs.
    void distances(float* out)
    {
        const float* llrs = stage_llrs(d_stages);
        for (std::size_t i = 0; i < d_row; i += d_lanes) {
            V sum = hn::Zero(d);
            for (std::size_t j = i; j < d_n * d_row; j += d_row) {
                const V agreeing =
                    hn::Xor(hn::Load(d, llrs + j), hn::Load(d, d_root.get() + j));
                sum = hn::Add(sum, hn::Max(hn::Neg(agreeing), hn::Zero(d)));
            }
            hn::StoreU(sum, d, out + i);
        }
    }

private:
    static constexpr std::size_t max_stages = 17;

    const successive_cancellation& d_decoder;
    const std::size_t d_n, d_lanes, d_row, d_frames;
    std::size_t d_stages = 0;
    // Stage s works on nodes of 2^s rows; of these there is one at a time.
    hwy::AlignedFreeUniquePtr<float[]> d_llrs, d_left, d_root, d_metric;
    // Lane maps: where the paths of now were when the LLRs, the left child's bits of a
    // stage were written; the last is the map of one fork.
    hwy::AlignedFreeUniquePtr<int32_t[]> d_maps;
    std::vector<uint8_t> d_codeword, d_bits;

    float* stage_llrs(std::size_t s) { return d_llrs.get() + (d_row << s); }
    float* stage_left(std::size_t s) { return d_left.get() + (d_row << s); }
    int32_t* llr_map(std::size_t s) { return d_maps.get() + s * d_row; }
    int32_t* left_map(std::size_t s) { return d_maps.get() + (max_stages + s) * d_row; }
    int32_t* fork_map() { return d_maps.get() + 2 * max_stages * d_row; }

    void reset(int32_t* map)
    {
        for (std::size_t i = 0; L > 1 && i < d_row; i += d_lanes)
            hn::Store(hn::Iota(di, static_cast<int32_t>(i)), di, map + i);
    }

    //! Lanes i .. of a row, each from where the map says.
    V look_up(const float* row, const int32_t* map, std::size_t i) const
    {
        if constexpr (L == 1)
            return hn::Load(d, row + i);
        const auto from = hn::Load(di, map + i);
        if (d_row > d_lanes)
            return hn::GatherIndex(d, row, from);
        return hn::TableLookupLanes(hn::Load(d, row), hn::IndicesFromVec(d, from));
    }

    static V check_node(V a, V b)
    {
        const V least = hn::Min(hn::Abs(a), hn::Abs(b));
        const V sign = hn::Xor(a, b);
        if constexpr (!Exact)
            return hn::CopySign(least, sign);
        const V sum = hn::Abs(hn::Add(a, b)), difference = hn::Abs(hn::Sub(a, b));
        return hn::Add(hn::CopySign(least, sign),
                       hn::Sub(hn::Log1p(d, hn::Exp(d, hn::Neg(sum))),
                               hn::Log1p(d, hn::Exp(d, hn::Neg(difference)))));
    }

    //! What bit 0 costs at an LLR.
    static V penalty(V llr)
    {
        const V contradicted = hn::Max(hn::Neg(llr), hn::Zero(d));
        if constexpr (!Exact)
            return contradicted;
        return hn::Add(contradicted, hn::Log1p(d, hn::Exp(d, hn::Neg(hn::Abs(llr)))));
    }

    void descend(std::size_t s, std::size_t index, float* bits)
    {
        const std::size_t size = std::size_t(1) << s, half = size / 2;
        const float* llrs = stage_llrs(s);
        switch (d_decoder.tree()[index]) {
        case node::frozen:
            std::fill_n(bits, size * d_row, 0.0f);
            if (L > 1)
                for (std::size_t i = 0; i < d_row; i += d_lanes) {
                    V metric = hn::Load(d, d_metric.get() + i);
                    for (std::size_t j = 0; j < size; j++)
                        metric =
                            hn::Add(metric, penalty(hn::Load(d, llrs + j * d_row + i)));
                    hn::Store(metric, d, d_metric.get() + i);
                }
            return;
        case node::repetition:
            for (std::size_t i = 0; i < d_row; i += d_lanes) {
                V total = hn::Zero(d), zero = hn::Zero(d);
                for (std::size_t j = 0; j < size; j++) {
                    const V llr = hn::Load(d, llrs + j * d_row + i);
                    total = hn::Add(total, llr);
                    if (L > 1)
                        zero = hn::Add(zero, penalty(llr));
                }
                if (L > 1) {
                    // The cost of bit 1 is that of bit 0 and the sum of the LLRs.
                    const V before = hn::Load(d, d_metric.get() + i);
                    const auto large = hn::Gt(zero, hn::Set(d, large_penalty));
                    zero = hn::Add(zero, before);
                    V one = hn::Add(zero, total);
                    if (HWY_UNLIKELY(!hn::AllFalse(d, large))) {
                        // Where one of the LLRs is far larger than others, the sum has
                        // lost them: what bit 1 costs, once more by itself.
                        V alone = hn::Zero(d);
                        for (std::size_t j = 0; j < size; j++)
                            alone = hn::Add(
                                alone,
                                penalty(hn::Neg(hn::Load(d, llrs + j * d_row + i))));
                        one = hn::IfThenElse(large, hn::Add(before, alone), one);
                    }
                    hn::Store(zero, d, d_metric.get() + d_row + i);
                    hn::Store(one, d, d_metric.get() + 2 * d_row + i);
                } else {
                    hn::Store(sign(total), d, d_metric.get() + 3 * d_row + i);
                }
            }
            if (L > 1)
                fork(s);
            for (std::size_t j = 0; j < size; j++)
                std::copy_n(d_metric.get() + 3 * d_row, d_row, bits + j * d_row);
            return;
        case node::free:
            for (std::size_t i = 0; i < size * d_row; i += d_lanes)
                hn::Store(sign(hn::Load(d, llrs + i)), d, bits + i);
            return;
        case node::mixed:
            break;
        }

        const float* upper = llrs + half * d_row;
        float* child = stage_llrs(s - 1);
        float* left = stage_left(s - 1);
        for (std::size_t i = 0; i < half * d_row; i += d_lanes)
            hn::Store(
                check_node(hn::Load(d, llrs + i), hn::Load(d, upper + i)), d, child + i);
        reset(llr_map(s));
        reset(llr_map(s - 1));
        descend(s - 1, 2 * index, left);

        reset(left_map(s - 1));
        for (std::size_t j = 0; j < half * d_row; j += d_row)
            for (std::size_t i = 0; i < d_row; i += d_lanes) {
                const V a = look_up(llrs + j, llr_map(s), i);
                const V b = look_up(upper + j, llr_map(s), i);
                hn::Store(
                    hn::Add(b, hn::Xor(a, hn::Load(d, left + j + i))), d, child + j + i);
            }
        reset(llr_map(s - 1));
        descend(s - 1, 2 * index + 1, bits + half * d_row);

        for (std::size_t j = 0; j < half * d_row; j += d_row)
            for (std::size_t i = 0; i < d_row; i += d_lanes)
                hn::Store(hn::Xor(look_up(left + j, left_map(s - 1), i),
                                  hn::Load(d, bits + half * d_row + j + i)),
                          d,
                          bits + j + i);
    }

    static V sign(V llr) { return hn::And(llr, hn::SignBit(d)); }

    /*!
     * Keeps the L best of each frame's 2 L continuations, best first: row 1 of d_metric
     * holds the metrics of bit 0, row 2 those of bit 1; rows 0 and 3 get the metrics and
     * bits of the paths kept. The LLRs in use are those of stage s and above.
     */
    void fork(std::size_t s)
    {
        float* metric = d_metric.get();
        int32_t* from = fork_map();
        for (std::size_t first = 0; first < d_row; first += L) {
            float cost[2 * L];
            std::copy_n(metric + d_row + first, L, cost);
            std::copy_n(metric + 2 * d_row + first, L, cost + L);
            int32_t order[2 * L];
            for (int i = 0; i < 2 * L; i++) {
                int32_t rank = 0;
                for (int j = 0; j < i; j++)
                    rank += cost[j] <= cost[i];
                for (int j = i + 1; j < 2 * L; j++)
                    rank += cost[j] < cost[i];
                order[rank] = i;
            }
            for (int l = 0; l < L; l++) {
                metric[first + l] = cost[order[l]];
                from[first + l] = static_cast<int32_t>(first) + order[l] % L;
                metric[3 * d_row + first + l] = order[l] < L ? 0.0f : -0.0f;
            }
        }
        // The root's LLRs are the same for all paths and need no map.
        for (std::size_t stage = s; stage < d_stages; stage++) {
            compose(llr_map(stage), from);
            compose(left_map(stage), from);
        }
    }

    void compose(int32_t* map, const int32_t* from)
    {
        if (d_row == d_lanes) {
            hn::Store(hn::TableLookupLanes(hn::Load(di, map),
                                           hn::IndicesFromVec(di, hn::Load(di, from))),
                      di,
                      map);
            return;
        }
        int32_t composed[L];
        for (int l = 0; l < L; l++)
            composed[l] = map[from[l]];
        std::copy_n(composed, L, map);
    }

    //! The message bits of a frame's best path, into d_bits; returns whether its check
    //! holds.
    bool choose(std::size_t f)
    {
        int32_t order[L];
        for (int l = 0; l < L; l++)
            order[l] = l;
        const float* metric = d_metric.get() + f * L;
        std::sort(order, order + L, [metric](int a, int b) {
            return metric[a] < metric[b] || (metric[a] == metric[b] && a < b);
        });
        for (int l = 0; l < L && metric[order[l]] < unused_path; l++) {
            read_bits(f * L + order[l]);
            if (d_decoder.crc_holds(d_bits.data()))
                return true;
        }
        read_bits(f * L + order[0]);
        return false;
    }

    void read_bits(std::size_t lane)
    {
        for (std::size_t j = 0; j < d_n; j++)
            d_codeword[j] = std::signbit(d_root[j * d_row + lane]);
        polar_transform(d_codeword, d_n);
        const auto& places = d_decoder.places();
        for (std::size_t j = 0; j < places.size(); j++)
            d_bits[j] = d_codeword[places[j]];
    }
};

//! Decodes as many frames at a time as a decoder takes; told: one number a frame, or
//! null.
template <typename Decoder, typename Code, typename Told>
std::size_t decode_groups(Decoder&& decoder,
                          const Code& code,
                          const float* llrs,
                          std::size_t frames,
                          uint8_t* messages,
                          Told* told)
{
    std::size_t not_a_number = 0;
    for (std::size_t f = 0; f < frames; f += decoder.frames())
        not_a_number += decoder.decode(llrs + f * code.n(),
                                       std::min(decoder.frames(), frames - f),
                                       messages + f * code.k(),
                                       told ? told + f : nullptr);
    return not_a_number;
}

template <int L>
std::size_t decode_list(const successive_cancellation& decoder,
                        const float* llrs,
                        std::size_t frames,
                        uint8_t* messages,
                        uint8_t* verdicts)
{
    return decoder.exact() ? decode_groups(list_decoder<L, true>(decoder),
                                           decoder,
                                           llrs,
                                           frames,
                                           messages,
                                           verdicts)
                           : decode_groups(list_decoder<L, false>(decoder),
                                           decoder,
                                           llrs,
                                           frames,
                                           messages,
                                           verdicts);
}

/*!
 * Decodes some frames by an ensemble: under one permutation each, as long as they are
 * enough to fill the lanes, then under several at once.
 */
class ensemble_decoder
{
public:
    explicit ensemble_decoder(const automorphism_ensemble& ensemble)
        : d_ensemble(ensemble),
          d_n(ensemble.n()),
          d_lanes(ensemble.decoder()),
          d_distances(d_lanes.frames()),
          d_llrs(frames() * d_n),
          d_words((frames() + 1) * d_n),
          d_frames(frames())
    {
    }

    //! So many that few of the lanes are without a frame, and that all lie in a cache.
    std::size_t frames() const { return 32 * d_lanes.frames(); }

    //! At most frames() frames.
    std::size_t
    decode(const float* llrs, std::size_t frames, uint8_t* messages, uint32_t* decodings)
    {
        const std::size_t not_a_number = count_nan(llrs, llrs + frames * d_n);
        std::transform(llrs, llrs + frames * d_n, d_llrs.begin(), known_llr);
        d_waiting.clear();
        for (std::size_t f = 0; f < frames; f++) {
            d_frames[f] = {};
            d_waiting.push_back(f);
        }
        const std::size_t most = d_ensemble.permutations().size() / d_n;
        while (!d_waiting.empty()) {
            d_jobs.clear();
            const std::size_t share =
                std::max<std::size_t>(d_lanes.frames() / d_waiting.size(), 1);
            for (std::size_t f : d_waiting)
                for (std::size_t i = 0; i < share && d_frames[f].begun < most; i++)
                    d_jobs.push_back({f, d_frames[f].begun++ * d_n});
            for (std::size_t first = 0; first < d_jobs.size(); first += d_lanes.frames())
                work(first);
            const auto is_final = [&](std::size_t f) {
                return is_found(d_frames[f]) || d_frames[f].begun == most;
            };
            d_waiting.erase(std::remove_if(d_waiting.begin(), d_waiting.end(), is_final),
                            d_waiting.end());
        }
        const auto& places = d_ensemble.decoder().places();
        for (std::size_t f = 0; f < frames; f++) {
            uint8_t* word = d_words.data() + f * d_n;
            polar_transform({word, d_n}, d_n);
            for (uint32_t place : places)
                *messages++ = word[place];
            if (decodings)
                decodings[f] = d_frames[f].decodings;
        }
        return not_a_number;
    }

private:
    struct frame {
        float distance = std::numeric_limits<float>::infinity();
        uint32_t agreeing = 0, begun = 0, decodings = 0;
    };
    struct job {
        std::size_t frame, order;
    };
    // Above what the order of summation makes of a distance.
    static constexpr float same_distance = 1.0f + 1e-4f;

    const automorphism_ensemble& d_ensemble;
    const std::size_t d_n;
    list_decoder<1, false> d_lanes;
    std::vector<float> d_distances, d_llrs;
    std::vector<uint8_t> d_words; // The nearest of each frame; the last one's is new.
    std::vector<frame> d_frames;
    std::vector<std::size_t> d_waiting;
    std::vector<job> d_jobs;

    bool is_found(const frame& of) const { return of.agreeing >= d_ensemble.agreement(); }

    //! A vector of jobs, from the first on. Lanes without one decode what lies in them.
    void work(std::size_t first)
    {
        const std::size_t count = std::min(d_lanes.frames(), d_jobs.size() - first);
        for (std::size_t i = 0; i < count; i++)
            d_lanes.load(i, llrs(first + i), order(first + i));
        d_lanes.run();
        d_lanes.distances(d_distances.data());
        for (std::size_t i = 0; i < count; i++) {
            const std::size_t index = d_jobs[first + i].frame;
            frame& of = d_frames[index];
            // Begun at once with those that were enough: frames alone and among others
            // get the same word.
            if (is_found(of))
                continue;
            of.decodings++;
            if (d_distances[i] > of.distance * same_distance)
                continue;
            uint8_t* found = &d_words[frames() * d_n];
            uint8_t* nearest = &d_words[index * d_n];
            d_lanes.read_word(i, order(first + i), found);
            if (of.agreeing != 0 && std::equal(found, found + d_n, nearest)) {
                of.agreeing++;
            } else if (d_distances[i] < of.distance) {
                of.distance = d_distances[i];
                of.agreeing = 1;
                std::copy_n(found, d_n, nearest);
            }
        }
    }

    const float* llrs(std::size_t job) const
    {
        return d_llrs.data() + d_jobs[job].frame * d_n;
    }
    const uint32_t* order(std::size_t job) const
    {
        return d_ensemble.permutations().data() + d_jobs[job].order;
    }
};

} // namespace

std::size_t DecodeEnsemble(const automorphism_ensemble& ensemble,
                           const float* llrs,
                           std::size_t frames,
                           uint8_t* messages,
                           uint32_t* decodings)
{
    return decode_groups(
        ensemble_decoder(ensemble), ensemble, llrs, frames, messages, decodings);
}

std::size_t DecodePolar(const successive_cancellation& decoder,
                        const float* llrs,
                        std::size_t frames,
                        uint8_t* messages,
                        uint8_t* verdicts)
{
    switch (decoder.list_size()) {
    case 1:
        return decode_list<1>(decoder, llrs, frames, messages, verdicts);
    case 2:
        return decode_list<2>(decoder, llrs, frames, messages, verdicts);
    case 4:
        return decode_list<4>(decoder, llrs, frames, messages, verdicts);
    case 8:
        return decode_list<8>(decoder, llrs, frames, messages, verdicts);
    case 16:
        return decode_list<16>(decoder, llrs, frames, messages, verdicts);
    case 32:
        return decode_list<32>(decoder, llrs, frames, messages, verdicts);
    case 64:
        return decode_list<64>(decoder, llrs, frames, messages, verdicts);
    case 128:
        return decode_list<128>(decoder, llrs, frames, messages, verdicts);
    default:
        return decode_list<256>(decoder, llrs, frames, messages, verdicts);
    }
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(DecodePolar);
HWY_EXPORT(DecodeEnsemble);

namespace {

bool power_of_two(std::size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

} // namespace

void polar_transform(span<uint8_t> x, std::size_t n)
{
    if (!power_of_two(n) || x.size() % n != 0)
        throw std::invalid_argument(
            "polar_transform: expected whole frames of a power of two, got " +
            std::to_string(x.size()) + " bits in frames of " + std::to_string(n));
    for (std::size_t half = 1; half < n; half *= 2)
        for (std::size_t i = 0; i < x.size(); i += 2 * half)
            for (std::size_t j = i; j < i + half; j++)
                x[j] ^= x[j + half];
}

successive_cancellation::successive_cancellation(
    std::size_t n,
    const std::vector<uint32_t>& information_set,
    std::size_t list_size,
    bool exact,
    unsigned crc_degree,
    uint32_t crc_polynomial,
    const std::vector<uint32_t>& order)
    : d_n(n),
      d_information(information_set),
      d_list_size(list_size),
      d_exact(exact),
      d_crc_degree(crc_degree),
      d_crc_polynomial(crc_polynomial),
      d_places(information_set),
      d_tree(2 * n)
{
    if (!power_of_two(n) || n < 2 || n > 65536)
        throw std::invalid_argument("successive_cancellation: expected n to be a power "
                                    "of two from 2 to 65536, got " +
                                    std::to_string(n));
    if (!power_of_two(list_size) || list_size > max_list_size)
        throw std::invalid_argument(
            "successive_cancellation: expected list_size 1, 2, 4, ... 256, got " +
            std::to_string(list_size));
    if (crc_degree > 31 || crc_polynomial >> crc_degree != 0)
        throw std::invalid_argument(
            "successive_cancellation: expected a CRC of degree 0 to 31 and a "
            "polynomial below it, got degree " +
            std::to_string(crc_degree) + " and " + std::to_string(crc_polynomial));
    if (d_information.size() <= crc_degree)
        throw std::invalid_argument("successive_cancellation: expected an information "
                                    "set larger than the CRC of " +
                                    std::to_string(crc_degree) + " bits, got " +
                                    std::to_string(d_information.size()) + " positions");
    if (!order.empty()) {
        std::vector<bool> held(information_set.size());
        for (uint32_t i : order)
            if (i < held.size())
                held[i] = true;
        if (order.size() != held.size() ||
            std::find(held.begin(), held.end(), false) != held.end())
            throw std::invalid_argument("successive_cancellation: expected an order that "
                                        "holds each number below " +
                                        std::to_string(held.size()) + " once");
        for (std::size_t i = 0; i < order.size(); i++)
            d_places[i] = d_information[order[i]];
    }
    std::fill(d_tree.begin() + n, d_tree.end(), node::frozen);
    for (std::size_t i = 0; i < d_information.size(); i++) {
        if (d_information[i] >= n || (i > 0 && d_information[i] <= d_information[i - 1]))
            throw std::invalid_argument(
                "successive_cancellation: expected rising positions below " +
                std::to_string(n) + ", got " + std::to_string(d_information[i]));
        d_tree[n + d_information[i]] = node::repetition;
    }
    for (std::size_t i = n - 1; i > 0; i--) {
        const node left = d_tree[2 * i], right = d_tree[2 * i + 1];
        // One information bit is a repetition code of length 1 and, for a single path,
        // the smallest subcode without frozen bits.
        auto is_free = [&](std::size_t child) {
            return d_tree[child] == node::free ||
                   (child >= n && d_tree[child] == node::repetition);
        };
        if (left == node::frozen && (right == node::frozen || right == node::repetition))
            d_tree[i] = right;
        else if (list_size == 1 && is_free(2 * i) && is_free(2 * i + 1))
            d_tree[i] = node::free;
        else
            d_tree[i] = node::mixed;
    }
}

bool successive_cancellation::crc_holds(const uint8_t* bits) const
{
    if (d_crc_degree == 0)
        return true;
    const uint32_t top = uint32_t(1) << (d_crc_degree - 1), mask = 2 * top - 1;
    uint32_t remainder = 0;
    for (std::size_t i = 0; i < k(); i++) {
        const bool feedback = ((remainder & top) != 0) != (bits[i] != 0);
        remainder = ((remainder << 1) & mask) ^ (feedback ? d_crc_polynomial : 0);
    }
    for (std::size_t i = 0; i < d_crc_degree; i++)
        if (((remainder >> (d_crc_degree - 1 - i)) & 1) != bits[k() + i])
            return false;
    return true;
}

std::size_t successive_cancellation::decode(span<const float> llrs,
                                            span<uint8_t> messages,
                                            span<uint8_t> verdicts) const
{
    const std::size_t frames = llrs.size() / d_n;
    if (llrs.size() % d_n != 0 || messages.size() != frames * k() ||
        (!verdicts.empty() && verdicts.size() != frames))
        throw std::invalid_argument(
            "successive_cancellation: expected frames of " + std::to_string(d_n) +
            " LLRs and " + std::to_string(k()) + " message bits, got " +
            std::to_string(llrs.size()) + " and " + std::to_string(messages.size()));
    return HWY_DYNAMIC_DISPATCH(DecodePolar)(
        *this, llrs.data(), frames, messages.data(), verdicts.data());
}

automorphism_ensemble::automorphism_ensemble(std::size_t n,
                                             const std::vector<uint32_t>& information_set,
                                             const std::vector<uint32_t>& permutations,
                                             std::size_t agreement)
    : d_decoder(n, information_set), d_permutations(permutations), d_agreement(agreement)
{
    if (permutations.empty() || permutations.size() % n != 0)
        throw std::invalid_argument("automorphism_ensemble: expected permutations of " +
                                    std::to_string(n) + " positions, got " +
                                    std::to_string(permutations.size()) + " numbers");
    for (std::size_t first = 0; first < permutations.size(); first += n) {
        std::vector<uint32_t> sorted(permutations.begin() + first,
                                     permutations.begin() + first + n);
        std::sort(sorted.begin(), sorted.end());
        for (std::size_t j = 0; j < n; j++)
            if (sorted[j] != j)
                throw std::invalid_argument(
                    "automorphism_ensemble: expected each position once in permutation " +
                    std::to_string(first / n));
    }
    if (agreement == 0)
        throw std::invalid_argument(
            "automorphism_ensemble: expected an agreement of at least 1, got 0");
}

std::size_t automorphism_ensemble::decode(span<const float> llrs,
                                          span<uint8_t> messages,
                                          span<uint32_t> decodings) const
{
    const std::size_t frames = llrs.size() / n();
    if (llrs.size() % n() != 0 || messages.size() != frames * k() ||
        (!decodings.empty() && decodings.size() != frames))
        throw std::invalid_argument(
            "automorphism_ensemble: expected frames of " + std::to_string(n()) +
            " LLRs and " + std::to_string(k()) + " message bits, got " +
            std::to_string(llrs.size()) + " and " + std::to_string(messages.size()));
    return HWY_DYNAMIC_DISPATCH(DecodeEnsemble)(
        *this, llrs.data(), frames, messages.data(), decodings.data());
}

} // namespace gr::neuralfec
#endif

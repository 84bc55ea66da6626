/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/bcjr.h"
#include "kernels/convolutional.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

using namespace gr::neuralfec;

namespace {

// log sum or maximum of path metrics over all paths with u_t = 1, less that with u_t = 0.
std::vector<double> marginals(const convolutional_trellis& trellis,
                              const convolutional_frame& frame,
                              bcjr_method method,
                              const float* llrs)
{
    std::vector<std::vector<double>> metrics(2 * frame.message_bits);
    const bool circular = frame.end == termination::tail_biting;
    for (unsigned start = 0; start < (circular ? trellis.states() : 1); start++)
        for (unsigned w = 0; w < (1u << frame.steps); w++) {
            unsigned state = start;
            double metric = 0;
            std::vector<unsigned> u;
            for (std::size_t t = 0; t < frame.steps; t++) {
                const unsigned edge = state << 1 | ((w >> t) & 1);
                for (unsigned j = 0; j < trellis.outputs(); j++) {
                    const std::size_t at = t * trellis.outputs() + j;
                    if (frame.kept[at] && ((trellis.output(edge) >> j) & 1))
                        metric += llrs[frame.rank[at]];
                }
                u.push_back(trellis.message(edge));
                state = edge & (trellis.states() - 1);
            }
            if (frame.end != termination::none && state != start)
                continue;
            for (std::size_t t = 0; t < frame.message_bits; t++)
                metrics[2 * t + u[t]].push_back(metric);
        }
    const auto join = [&](const std::vector<double>& m) {
        const double largest = *std::max_element(m.begin(), m.end());
        double sum = 0;
        for (double x : m)
            sum += std::exp(x - largest);
        return method == bcjr_method::max_log ? largest : largest + std::log(sum);
    };
    std::vector<double> result;
    for (std::size_t t = 0; t < frame.message_bits; t++)
        result.push_back(join(metrics[2 * t + 1]) - join(metrics[2 * t]));
    return result;
}

void check_marginals(const convolutional_trellis& trellis,
                     const convolutional_frame& frame,
                     std::mt19937& rng)
{
    const std::size_t frames = 19;
    // Tail-biting frames are decoded by probabilities and, the large LLRs, by logarithms.
    for (auto [method, deviation] :
         std::vector<std::pair<bcjr_method, float>>{{bcjr_method::log_map, 3.0f},
                                                    {bcjr_method::log_map, 100.0f},
                                                    {bcjr_method::max_log, 3.0f}}) {
        std::normal_distribution<float> draw(0, deviation);
        std::vector<float> llrs(frames * frame.received);
        for (auto& l : llrs)
            l = draw(rng);
        std::vector<float> posteriors(frames * frame.message_bits);
        bcjr_kernel decoder(trellis, frame, method);
        CHECK(decoder.decode(llrs, posteriors) == 0);
        for (std::size_t f = 0; f < frames; f++) {
            const auto expected =
                marginals(trellis, frame, method, llrs.data() + f * frame.received);
            for (std::size_t t = 0; t < frame.message_bits; t++)
                CHECK(std::fabs(posteriors[f * frame.message_bits + t] - expected[t]) <
                      7e-5 * deviation);
        }
    }
}

} // namespace

int main()
{
    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        std::mt19937 rng(1);
        const convolutional_trellis small({07, 05});
        const convolutional_trellis recursive({07, 05}, 07);
        const convolutional_trellis third({013, 015, 017}, 013);
        for (auto end :
             {termination::none, termination::zero, termination::tail_biting}) {
            check_marginals(small, {small, 10, end}, rng);
            check_marginals(small, {small, 10, end, {1, 1, 1, 0}}, rng);
            check_marginals(recursive, {recursive, 8, end}, rng);
            check_marginals(third, {third, 8, end}, rng);
        }

        // Segments of forward metrics: a long frame that repeats knows each part as the
        // short one does, far from the ends.
        const std::size_t period = 2500, repeats = 6;
        std::vector<float> part(2 * period), whole;
        std::normal_distribution<float> draw(0, 3);
        for (auto& l : part)
            l = draw(rng);
        for (std::size_t i = 0; i < repeats; i++)
            whole.insert(whole.end(), part.begin(), part.end());
        bcjr_kernel decoder(small, {small, period * repeats, termination::none});
        std::vector<float> posteriors(period * repeats);
        decoder.decode(whole, posteriors);
        for (std::size_t t = 100; t < period * (repeats - 2); t++)
            CHECK(std::fabs(posteriors[t] - posteriors[t + period]) < 1e-3);

        const convolutional_frame frame(small, 20, termination::zero);
        bcjr_kernel frames(small, frame);
        std::vector<float> llrs(2 * frame.received, 1.5f), erased(40), other(40);
        llrs[3] = 0;
        llrs[50] = 1e20f;
        frames.decode(llrs, erased);
        llrs[3] = std::numeric_limits<float>::quiet_NaN();
        llrs[50] = std::numeric_limits<float>::infinity();
        CHECK(frames.decode(llrs, other) == 1);
        CHECK(erased == other);
        llrs.pop_back();
        CHECK_THROWS(frames.decode(llrs, other));
    }
    set_simd_target("");
    CHECK_THROWS(bcjr_method_from_name("map"));
    return 0;
}

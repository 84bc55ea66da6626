/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/burst_receiver.h"
#include "kernels/burst_passes.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace gr::neuralfec {

namespace {

using complex = std::complex<float>;
using wide = std::complex<double>;

constexpr double largest_clock_offset = 100e-6;
constexpr double tests_of_wholeness = 5;

} // namespace

burst_receiver::burst_receiver(const burst_format& format,
                               double threshold,
                               double false_refusals)
    : d_search(format, threshold), d_demodulator(format), d_false_refusals(false_refusals)
{
    if (!(false_refusals > 0 && false_refusals < 1))
        throw std::invalid_argument(
            "burst_receiver: expected a rate of false refusals within 0 and 1, got " +
            std::to_string(false_refusals));
}

void burst_receiver::push(span<const complex> samples,
                          std::vector<received_burst>& bursts)
{
    d_total += samples.size();
    d_samples.insert(d_samples.end(), samples.begin(), samples.end());
    while (step(bursts)) {
    }
    // What is done with goes, once it is much.
    const std::size_t keep = d_pending ? d_pending->candidate.preamble : d_searched;
    if (keep > 0 && (keep >= d_samples.size() / 2 || keep > 65536)) {
        d_samples.erase(d_samples.begin(), d_samples.begin() + static_cast<long>(keep));
        d_position += keep;
        d_searched -= std::min(keep, d_searched);
        if (d_pending) {
            d_pending->candidate.preamble -= keep;
            d_pending->candidate.window -= keep;
        }
    }
}

bool burst_receiver::step(std::vector<received_burst>& bursts)
{
    const auto all = span<const complex>(d_samples);
    const auto& f = d_demodulator.format();
    if (!d_pending) {
        const auto outcome =
            d_search.search(all.subspan(d_searched, all.size() - d_searched));
        if (!outcome.found) {
            d_searched += outcome.searched;
            return false;
        }
        d_pending.emplace();
        d_pending->candidate = *outcome.found;
        d_pending->candidate.preamble += d_searched;
        d_pending->candidate.window += d_searched;
        d_pending->cfo = outcome.found->cfo;
        d_searched += outcome.searched;
        d_candidates++;
    }
    auto& p = *d_pending;
    const std::size_t available = all.size() - p.candidate.window;
    const auto rest = all.subspan(p.candidate.window, available);
    if (!p.header) {
        if (available < d_demodulator.reach(0))
            return false;
        p.header = d_demodulator.header(rest, p.cfo, offsets());
        if (!p.header) {
            d_pending.reset();
            return true;
        }
        d_headers++;
    }
    const std::size_t reach = d_demodulator.reach(p.header->symbols);
    if (available < reach)
        return false;
    const std::size_t length = f.length(p.header->symbols);
    const std::size_t end = std::min(p.candidate.preamble + length, all.size());
    learn(all.subspan(p.candidate.preamble, end - p.candidate.preamble));
    received_burst burst;
    static_cast<burst_estimate&>(burst) =
        d_demodulator.demodulate(rest, p.cfo, *p.header, offsets());
    burst.header = *p.header;
    burst.start = d_position + p.candidate.preamble;
    burst.length = length;
    burst.window = d_position + p.candidate.window;
    burst.metric = p.candidate.metric;
    // In a torn one, and in one that is none, the next may begin before its end.
    d_searched = std::max(d_searched, p.candidate.preamble + f.preamble_length());
    d_pending.reset();
    if (burst.snr < burst_demodulator::least_snr) {
        d_headers--;
        return true;
    }
    // A sample that is lost looks like a clock's drift, but for one that no radio has.
    const double drift = std::fabs(burst.clock_offset);
    if (burst.whole < d_false_refusals / tests_of_wholeness ||
        (drift > largest_clock_offset && drift * double(length) > 0.5)) {
        d_torn_by_residual++;
        return true;
    }
    // The next one may follow at once.
    d_searched = std::max(d_searched, end - std::min(end, f.cyclic_prefix));
    d_bursts++;
    bursts.push_back(std::move(burst));
    return true;
}

void burst_receiver::gap(uint64_t missing)
{
    d_gaps++;
    if (d_pending && d_pending->header)
        d_torn_by_gap++;
    d_pending.reset();
    d_position += d_samples.size() + missing;
    d_samples.clear();
    d_searched = 0;
}

void burst_receiver::learn(span<const complex> samples)
{
    // Some millions of samples back, so that a slow drift is followed.
    constexpr double memory = 4e6;
    if (d_count > memory) {
        const double keep = memory / d_count;
        d_count *= keep;
        d_energy *= keep;
        d_sum *= keep;
        d_square *= keep;
    }
    for (std::size_t i = 0; i < samples.size(); i += 4096) {
        float sums[5];
        const std::size_t size = std::min<std::size_t>(4096, samples.size() - i);
        burst_passes::moments(
            reinterpret_cast<const float*>(samples.data() + i), size, sums);
        d_sum += wide(sums[0], sums[1]);
        d_square += wide(double(sums[2]) - sums[3], 2.0 * sums[4]);
        d_energy += double(sums[2]) + sums[3];
    }
    d_count += double(samples.size());
}

front_end_offsets burst_receiver::offsets() const
{
    front_end_offsets o;
    if (!(d_count > 0 && d_energy > 0))
        return o;
    // Shrunk by their own variance: of nothing they stay nothing.
    const double power = d_energy / d_count;
    const wide dc = d_sum / d_count;
    const auto shrunk = [](wide value, double var) {
        return value * std::max(0.0, 1 - var / std::max(std::norm(value), 1e-300));
    };
    o.dc = shrunk(dc, power / d_count);
    const double proper = power - std::norm(dc);
    // E r^2 = 2 image E |s|^2 for a proper s.
    const wide square = (d_square / d_count - dc * dc) / (2 * std::max(proper, 1e-300));
    o.image = shrunk(square, 0.5 / d_count);
    return o;
}

std::map<std::string, uint64_t> burst_receiver::stats() const
{
    return {{"samples", d_total},
            {"candidates", d_candidates},
            {"headers", d_headers},
            {"bursts", d_bursts},
            {"gaps", d_gaps},
            {"torn_by_gap", d_torn_by_gap},
            {"torn_by_residual", d_torn_by_residual}};
}

} // namespace gr::neuralfec

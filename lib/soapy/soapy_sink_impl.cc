/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "soapy/soapy_device.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/soapy_sink.h>

#include <SoapySDR/Constants.h>
#include <SoapySDR/Errors.hpp>

#include <boost/thread/thread.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace gr::neuralfec {

namespace {

const pmt::pmt_t length_key = pmt::intern("packet_len");
const pmt::pmt_t tx_time_key = pmt::intern("tx_time");
using clock = std::chrono::steady_clock;

class soapy_sink_impl : public soapy_sink
{
public:
    soapy_sink_impl(const std::string& device,
                    const soapy_settings& settings,
                    std::size_t max_burst)
        : gr::sync_block("soapy_sink",
                         gr::io_signature::make(1, 1, sizeof(gr_complex)),
                         gr::io_signature::make(0, 0, 0)),
          d_device(device, settings, SOAPY_SDR_TX),
          d_name(device),
          d_max_burst(max_burst)
    {
        if (max_burst == 0)
            throw std::invalid_argument(
                "soapy_sink: expected a longest burst of at least 1 sample, got 0");
    }

    bool start() override
    {
        d_burst.clear();
        d_length = 0;
        d_on_air_until = clock::now();
        d_device.activate();
        return true;
    }

    bool stop() override
    {
        // What the device has taken shall go out before it is switched off.
        const auto most = clock::now() + std::chrono::seconds(2);
        std::this_thread::sleep_until(
            std::min(most, d_on_air_until + std::chrono::milliseconds(10)));
        poll(0);
        d_device.deactivate();
        return true;
    }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"samples", d_samples},
                {"bursts", d_bursts},
                {"cut_bursts", d_cut},
                {"late", d_late},
                {"underflows", d_underflows}};
    }

    std::string error() const override
    {
        const std::lock_guard<std::mutex> lock(d_mutex);
        return d_error;
    }

    bool timed() const override { return d_device.timed(); }
    double time() const override { return d_device.time(); }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star&) override
    {
        const auto* in = static_cast<const gr_complex*>(input_items[0]);
        const auto size = std::size_t(noutput_items);
        const uint64_t begin = nitems_read(0);
        get_tags_in_window(d_tags, 0, 0, size, length_key);
        std::sort(d_tags.begin(), d_tags.end(), gr::tag_t::offset_compare);
        auto tag = d_tags.begin();
        std::size_t done = 0;
        while (done < size) {
            std::size_t end = tag == d_tags.end() ? size : tag->offset - begin;
            if (end == done) {
                if (!begin_burst(*tag++))
                    return WORK_DONE;
                continue;
            }
            if (d_length == 0) {
                if (!write(in + done, end - done, 0, 0))
                    return WORK_DONE;
            } else {
                end = std::min(end, done + d_length - d_burst.size());
                d_burst.insert(d_burst.end(), in + done, in + end);
                if (d_burst.size() == d_length && !send_burst())
                    return WORK_DONE;
            }
            done = end;
        }
        return noutput_items;
    }

private:
    soapy_device d_device;
    const std::string d_name;
    const std::size_t d_max_burst;
    mutable std::mutex d_mutex;
    std::string d_error;
    std::atomic<uint64_t> d_samples{0}, d_bursts{0}, d_cut{0}, d_late{0}, d_underflows{0};
    std::vector<gr::tag_t> d_tags, d_times;
    // The burst that is being gathered, and its length, 0 for none.
    std::vector<gr_complex> d_burst;
    std::size_t d_length = 0;
    bool d_has_time = false;
    long long d_time_ns = 0;
    clock::time_point d_on_air_until;

    bool begin_burst(const gr::tag_t& tag)
    {
        if (d_length != 0)
            d_cut++;
        d_burst.clear();
        d_length = 0;
        const long length = pmt::is_integer(tag.value) ? pmt::to_long(tag.value) : 0;
        if (length < 1 || std::size_t(length) > d_max_burst)
            return fail("expected bursts of 1 to " + std::to_string(d_max_burst) +
                        " samples, got packet_len " + pmt::write_string(tag.value));
        d_length = std::size_t(length);
        d_burst.reserve(d_length);
        get_tags_in_range(d_times, 0, tag.offset, tag.offset + 1, tx_time_key);
        d_has_time = false;
        if (!d_times.empty() && pmt::is_tuple(d_times[0].value) && d_device.timed()) {
            d_has_time = true;
            d_time_ns =
                (long long)(pmt::to_uint64(pmt::tuple_ref(d_times[0].value, 0))) *
                    1000000000 +
                std::llround(pmt::to_double(pmt::tuple_ref(d_times[0].value, 1)) * 1e9);
        }
        return true;
    }

    bool send_burst()
    {
        const int flags = SOAPY_SDR_END_BURST | (d_has_time ? SOAPY_SDR_HAS_TIME : 0);
        const bool sent = write(d_burst.data(), d_burst.size(), flags, d_time_ns);
        d_bursts += sent;
        d_burst.clear();
        d_length = 0;
        return sent;
    }

    bool write(const gr_complex* samples, std::size_t size, int flags, long long time_ns)
    {
        poll(0);
        std::size_t done = 0;
        const double ahead =
            flags & SOAPY_SDR_HAS_TIME ? double(time_ns) * 1e-9 - time() : 0;
        // A burst of the far future may have to wait for room.
        const int most = patience + int(std::max(0.0, std::min(ahead, 3600.0)) * 10);
        for (int waited = 0; done < size;) {
            const void* buffers[] = {samples + done};
            int given = flags;
            const int sent = d_device.device().writeStream(
                d_device.stream(), buffers, size - done, given, time_ns, wait_us);
            boost::this_thread::interruption_point();
            if (sent > 0) {
                done += std::size_t(sent);
                // The time is that of the first sample.
                flags &= ~SOAPY_SDR_HAS_TIME;
                waited = 0;
            } else if (sent == SOAPY_SDR_TIMEOUT || sent == 0) {
                if (++waited == most)
                    return fail("takes no samples for 2 s");
            } else if (sent == SOAPY_SDR_TIME_ERROR) {
                d_late++;
                return true;
            } else if (sent == SOAPY_SDR_UNDERFLOW) {
                d_underflows++;
            } else {
                return fail(std::string("unplugged or broken: ") +
                            SoapySDR::errToStr(sent));
            }
        }
        d_samples += size;
        const auto air =
            std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(
                std::max(ahead, 0.0) + double(size) / d_device.rate()));
        d_on_air_until = std::max(d_on_air_until, clock::now()) + air;
        return true;
    }

    // Counts what the device tells of bursts sent before.
    void poll(long timeout_us)
    {
        for (;;) {
            std::size_t channels = 0;
            int flags = 0;
            long long time_ns = 0;
            const int told = d_device.device().readStreamStatus(
                d_device.stream(), channels, flags, time_ns, timeout_us);
            if (told == SOAPY_SDR_TIME_ERROR)
                d_late++;
            else if (told == SOAPY_SDR_UNDERFLOW)
                d_underflows++;
            else if (told != 0)
                return;
        }
    }

    bool fail(const std::string& reason)
    {
        const std::lock_guard<std::mutex> lock(d_mutex);
        d_error = "SoapySDR device '" + d_name + "': " + reason;
        return false;
    }
};

} // namespace

soapy_sink::sptr soapy_sink::make(const std::string& device,
                                  const soapy_settings& settings,
                                  std::size_t max_burst)
{
    return gnuradio::make_block_sptr<soapy_sink_impl>(device, settings, max_burst);
}

} // namespace gr::neuralfec

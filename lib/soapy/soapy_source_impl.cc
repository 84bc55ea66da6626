/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "soapy/soapy_device.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/soapy_source.h>

#include <SoapySDR/Constants.h>
#include <SoapySDR/Errors.hpp>

#include <boost/thread/thread.hpp>

#include <atomic>
#include <cmath>
#include <mutex>

namespace gr::neuralfec {

namespace {

const pmt::pmt_t rx_time_key = pmt::intern("rx_time");

class soapy_source_impl : public soapy_source
{
public:
    soapy_source_impl(const std::string& device, const soapy_settings& settings)
        : gr::sync_block("soapy_source",
                         gr::io_signature::make(0, 0, 0),
                         gr::io_signature::make(1, 1, sizeof(gr_complex))),
          d_device(device, settings, SOAPY_SDR_RX),
          d_name(device)
    {
    }

    bool start() override
    {
        d_expected = -1;
        d_device.activate();
        return true;
    }

    bool stop() override
    {
        d_device.deactivate();
        return true;
    }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"samples", d_samples}, {"overflows", d_overflows}, {"gaps", d_gaps}};
    }

    std::string error() const override
    {
        const std::lock_guard<std::mutex> lock(d_mutex);
        return d_error;
    }

    bool timed() const override { return d_device.timed(); }
    double time() const override { return d_device.time(); }

    int work(int noutput_items,
             gr_vector_const_void_star&,
             gr_vector_void_star& output_items) override
    {
        // Waits in here: the scheduler would sleep for a quarter of a second.
        for (int waited = 0;;) {
            int flags = 0;
            long long time_ns = 0;
            const int got = d_device.device().readStream(d_device.stream(),
                                                         output_items.data(),
                                                         std::size_t(noutput_items),
                                                         flags,
                                                         time_ns,
                                                         wait_us);
            boost::this_thread::interruption_point();
            if (got > 0) {
                tell_time(flags & SOAPY_SDR_HAS_TIME, time_ns);
                d_samples += uint64_t(got);
                d_expected += std::llround(got / d_device.rate() * 1e9);
                return got;
            }
            if (got == SOAPY_SDR_OVERFLOW) {
                d_overflows++;
                d_gap = true;
            } else if (got == SOAPY_SDR_TIMEOUT || got == 0) {
                if (++waited == patience)
                    return fail("no samples for 2 s");
            } else {
                return fail(std::string("unplugged or broken: ") +
                            SoapySDR::errToStr(got));
            }
        }
    }

private:
    soapy_device d_device;
    const std::string d_name;
    mutable std::mutex d_mutex;
    std::string d_error;
    std::atomic<uint64_t> d_samples{0}, d_overflows{0}, d_gaps{0};
    // Time of the next sample if none is missing, in ns; below 0 before the first.
    long long d_expected = -1;
    bool d_gap = false;

    void tell_time(bool known, long long time_ns)
    {
        const bool first = d_expected < 0;
        if (!known)
            time_ns = first ? 0 : d_expected;
        const double apart =
            std::abs(double(time_ns - d_expected)) * 1e-9 * d_device.rate();
        if (first || d_gap || apart > 0.75) {
            const long long second = 1000000000;
            add_item_tag(
                0,
                nitems_written(0),
                rx_time_key,
                pmt::make_tuple(pmt::from_uint64(uint64_t(time_ns / second)),
                                pmt::from_double(double(time_ns % second) * 1e-9)));
            if (!first)
                d_gaps++;
        }
        d_gap = false;
        d_expected = time_ns;
    }

    int fail(const std::string& reason)
    {
        const std::lock_guard<std::mutex> lock(d_mutex);
        d_error = "SoapySDR device '" + d_name + "': " + reason;
        return WORK_DONE;
    }
};

} // namespace

soapy_source::sptr soapy_source::make(const std::string& device,
                                      const soapy_settings& settings)
{
    return gnuradio::make_block_sptr<soapy_source_impl>(device, settings);
}

} // namespace gr::neuralfec

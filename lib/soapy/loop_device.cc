/* SPDX-License-Identifier: GPL-3.0-or-later */
// A radio without hardware for SoapySDR: what one loop device sends, the others receive.
#include "soapy/loop_channel.h"
#include "soapy/loop_medium.h"

#include <SoapySDR/Device.hpp>
#include <SoapySDR/Errors.hpp>
#include <SoapySDR/Formats.hpp>
#include <SoapySDR/Registry.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <deque>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace {

using namespace gr::neuralfec::loop;

constexpr const char* driver = "neuralfec-loop";
// Samples a call, at most: a burst of 4095 symbols goes in several.
constexpr std::size_t unit = 1 << 16;
// How much a transmitter puts on the air beyond now, and a receiver keeps unread, in
// seconds.
constexpr double transmit_ahead = 0.05;
// rms of what bursts are sent with, to which the SNR refers.
constexpr double reference = 0.2;

double number(const SoapySDR::Kwargs& args, const std::string& key, double otherwise)
{
    const auto found = args.find(key);
    if (found == args.end())
        return otherwise;
    std::size_t used = 0;
    double value = 0;
    try {
        value = std::stod(found->second, &used);
    } catch (const std::exception&) {
        used = 0;
    }
    if (used == 0 || used != found->second.size() || !std::isfinite(value))
        throw std::invalid_argument("loop device: expected a number for " + key +
                                    ", got '" + found->second + "'");
    return value;
}

// "0.9;0.1+0.3j;-0.2j": gains a sample apart.
std::vector<std::complex<float>> taps_of(const std::string& text)
{
    std::vector<std::complex<float>> taps;
    std::istringstream words(text);
    for (std::string word; std::getline(words, word, ';');) {
        const char* at = word.c_str();
        std::complex<float> tap = 0;
        bool any = false;
        while (*at) {
            char* after;
            const float value = std::strtof(at, &after);
            if (after == at)
                break;
            any = true;
            if (*after == 'j')
                tap += std::complex<float>(0, value);
            else
                tap += value;
            at = after + (*after == 'j');
        }
        if (!any || *at || !std::isfinite(std::norm(tap)))
            throw std::invalid_argument(
                "loop device: expected taps like 0.9;0.1+0.3j, got '" + text + "'");
        taps.push_back(tap);
    }
    if (taps.empty() || taps.size() > 256)
        throw std::invalid_argument("loop device: expected 1 to 256 taps, got '" + text +
                                    "'");
    return taps;
}

const char* const known_arguments[] = {
    "driver",      "name",   "snr",     "cfo",   "ppm",  "delay",  "taps",  "fading",
    "phase_noise", "lost",   "doubled", "late",  "lag",  "image",  "dc",    "own",
    "overflows",   "buffer", "seed",    "label", "type", "module", "soapy", "remote"};

struct loop_stream {
    int direction;
    bool complex_float;
};

class loop_device : public SoapySDR::Device
{
public:
    explicit loop_device(const SoapySDR::Kwargs& args)
        : d_settings(settings_of(args)),
          d_name(args.count("name") ? args.at("name") : "loop"),
          d_own(number(args, "own", 1) != 0),
          d_overflows(number(args, "overflows", 0)),
          d_buffer(number(args, "buffer", 0)),
          d_air(d_name),
          d_channel(d_settings),
          d_random(d_settings.seed + 1)
    {
        for (const auto& [key, value] : args)
            if (std::find(std::begin(known_arguments), std::end(known_arguments), key) ==
                std::end(known_arguments))
                throw std::invalid_argument("loop device: there is no argument '" + key +
                                            "'");
        if (d_overflows < 0 || d_buffer < 0)
            throw std::invalid_argument(
                "loop device: expected overflows and buffer >= 0");
        if (d_air.rate() == 0)
            d_air.set_rate(1e6);
    }

    std::string getDriverKey() const override { return driver; }
    std::string getHardwareKey() const override { return "loop"; }
    SoapySDR::Kwargs getHardwareInfo() const override { return {{"name", d_name}}; }

    std::size_t getNumChannels(const int) const override { return 1; }
    bool getFullDuplex(const int, const std::size_t) const override { return true; }

    std::vector<std::string> listAntennas(const int direction,
                                          const std::size_t) const override
    {
        return {direction == SOAPY_SDR_TX ? "TX" : "RX"};
    }
    void setAntenna(const int direction,
                    const std::size_t channel,
                    const std::string& name) override
    {
        const auto known = listAntennas(direction, channel)[0];
        if (name != known)
            throw std::runtime_error("expected the antenna " + known + ", got " + name);
    }
    std::string getAntenna(const int direction, const std::size_t channel) const override
    {
        return listAntennas(direction, channel)[0];
    }

    std::vector<std::string> listGains(const int, const std::size_t) const override
    {
        return {"GAIN"};
    }
    void setGain(const int direction, const std::size_t, const double value) override
    {
        d_gain[direction] = std::clamp(value, -80.0, 60.0);
    }
    void setGain(const int direction,
                 const std::size_t channel,
                 const std::string&,
                 const double value) override
    {
        setGain(direction, channel, value);
    }
    double getGain(const int direction, const std::size_t) const override
    {
        return d_gain[direction];
    }
    double
    getGain(const int direction, const std::size_t, const std::string&) const override
    {
        return d_gain[direction];
    }
    SoapySDR::Range getGainRange(const int, const std::size_t) const override
    {
        return {-80, 60};
    }
    SoapySDR::Range
    getGainRange(const int, const std::size_t, const std::string&) const override
    {
        return {-80, 60};
    }

    std::vector<std::string> listFrequencies(const int, const std::size_t) const override
    {
        return {"RF"};
    }
    SoapySDR::RangeList getFrequencyRange(const int, const std::size_t) const override
    {
        return {{0, 1e11}};
    }
    SoapySDR::RangeList
    getFrequencyRange(const int, const std::size_t, const std::string&) const override
    {
        return {{0, 1e11}};
    }
    // An offset of the oscillator is taken back digitally: there is nothing to see of it.
    void setFrequency(const int direction,
                      const std::size_t,
                      const double value,
                      const SoapySDR::Kwargs&) override
    {
        if (!(value >= 0 && value <= 1e11))
            throw std::runtime_error("expected a frequency of 0 to 1e11 Hz, got " +
                                     std::to_string(value));
        d_frequency[direction] = value;
    }
    void setFrequency(const int direction,
                      const std::size_t channel,
                      const std::string&,
                      const double value,
                      const SoapySDR::Kwargs& args) override
    {
        setFrequency(direction, channel, value, args);
    }
    double getFrequency(const int direction, const std::size_t) const override
    {
        return d_frequency[direction];
    }
    double getFrequency(const int direction,
                        const std::size_t,
                        const std::string&) const override
    {
        return d_frequency[direction];
    }
    bool hasFrequencyCorrection(const int, const std::size_t) const override
    {
        return true;
    }
    void setFrequencyCorrection(const int direction,
                                const std::size_t,
                                const double value) override
    {
        d_correction[direction] = value;
    }
    double getFrequencyCorrection(const int direction, const std::size_t) const override
    {
        return d_correction[direction];
    }

    void setSampleRate(const int, const std::size_t, const double rate) override
    {
        d_air.set_rate(rate);
        d_read_from = -1;
    }
    double getSampleRate(const int, const std::size_t) const override
    {
        return d_air.rate();
    }
    std::vector<double> listSampleRates(const int, const std::size_t) const override
    {
        return {250e3, 500e3, 1e6, 2e6, 5e6, 10e6};
    }
    SoapySDR::RangeList getSampleRateRange(const int, const std::size_t) const override
    {
        return {{1e3, 1e8}};
    }

    // By the receiver's clock, which its samples count.
    bool hasHardwareTime(const std::string&) const override { return true; }
    long long getHardwareTime(const std::string&) const override
    {
        return time_of(d_air.now(1 + d_settings.clock_offset));
    }

    SoapySDR::ArgInfoList getStreamArgsInfo(const int, const std::size_t) const override
    {
        return {};
    }
    std::vector<std::string> getStreamFormats(const int, const std::size_t) const override
    {
        return {SOAPY_SDR_CF32, SOAPY_SDR_CS16};
    }
    std::string
    getNativeStreamFormat(const int, const std::size_t, double& full_scale) const override
    {
        full_scale = 1;
        return SOAPY_SDR_CF32;
    }

    SoapySDR::Stream* setupStream(const int direction,
                                  const std::string& format,
                                  const std::vector<std::size_t>& channels,
                                  const SoapySDR::Kwargs&) override
    {
        if (channels.size() > 1 || (channels.size() == 1 && channels[0] != 0))
            throw std::runtime_error("loop device: expected channel 0 alone");
        if (format != SOAPY_SDR_CF32 && format != SOAPY_SDR_CS16)
            throw std::runtime_error("loop device: expected CF32 or CS16, got " + format);
        if (d_open[direction])
            throw std::runtime_error("busy: this device's stream is in use");
        if (direction == SOAPY_SDR_TX)
            d_air.take_transmitter();
        d_open[direction] = true;
        return reinterpret_cast<SoapySDR::Stream*>(
            new loop_stream{direction, format == SOAPY_SDR_CF32});
    }

    void closeStream(SoapySDR::Stream* handle) override
    {
        auto* stream = reinterpret_cast<loop_stream*>(handle);
        if (stream->direction == SOAPY_SDR_TX)
            d_air.leave_transmitter();
        d_open[stream->direction] = false;
        delete stream;
    }

    std::size_t getStreamMTU(SoapySDR::Stream*) const override { return unit; }

    int activateStream(SoapySDR::Stream* handle,
                       const int flags,
                       const long long,
                       const std::size_t) override
    {
        if (flags != 0)
            return SOAPY_SDR_NOT_SUPPORTED;
        auto* stream = reinterpret_cast<loop_stream*>(handle);
        if (stream->direction == SOAPY_SDR_RX)
            d_read_from = -1;
        else
            d_in_burst = false;
        return 0;
    }

    int deactivateStream(SoapySDR::Stream*, const int flags, const long long) override
    {
        return flags ? SOAPY_SDR_NOT_SUPPORTED : 0;
    }

    int readStream(SoapySDR::Stream* handle,
                   void* const* buffers,
                   const std::size_t elements,
                   int& flags,
                   long long& time_ns,
                   const long timeout_us) override
    {
        const auto* stream = reinterpret_cast<loop_stream*>(handle);
        flags = 0;
        if (gone())
            return SOAPY_SDR_STREAM_ERROR;
        const double rate = d_air.rate(), scale = 1 + d_settings.clock_offset;
        int64_t there = d_air.now(scale) - ahead();
        if (d_read_from < 0) {
            d_read_from = there;
            plan_overflow();
        }
        const double kept = d_buffer > 0
                                ? std::min(d_buffer * rate, 0.5 * double(medium::depth()))
                                : 0.5 * double(medium::depth());
        if (double(there - d_read_from) > kept) {
            d_read_from = there;
            return SOAPY_SDR_OVERFLOW;
        }
        if (d_overflows > 0 && d_read_from >= d_next_overflow) {
            d_read_from += 200 + int64_t(1800 * d_random.uniform());
            plan_overflow();
            return SOAPY_SDR_OVERFLOW;
        }
        // A millisecond at once, or what was asked for.
        const auto least = std::min<int64_t>(int64_t(elements),
                                             std::max<int64_t>(64, int64_t(rate / 1000)));
        if (there < d_read_from + least) {
            const double seconds = double(d_read_from + least - there) / rate / scale;
            const double most = double(timeout_us) * 1e-6;
            std::this_thread::sleep_for(
                std::chrono::duration<double>(std::min(seconds + 5e-6, most)));
            there = d_air.now(scale) - ahead();
            if (there < d_read_from + least)
                return SOAPY_SDR_TIMEOUT;
        }
        auto size =
            std::min<std::size_t>({elements, unit, std::size_t(there - d_read_from)});
        if (d_overflows > 0)
            size = std::min<std::size_t>(
                size, std::max<int64_t>(1, d_next_overflow - d_read_from));
        auto* out = static_cast<std::complex<float>*>(buffers[0]);
        if (!stream->complex_float) {
            d_converted.resize(size);
            out = d_converted.data();
        }
        d_channel.receive(d_air,
                          d_read_from,
                          out,
                          size,
                          tuned(SOAPY_SDR_RX),
                          float(std::pow(10, d_gain[SOAPY_SDR_RX] / 20)),
                          d_own);
        if (!stream->complex_float) {
            const auto* rails = reinterpret_cast<const float*>(out);
            std::transform(rails,
                           rails + 2 * size,
                           static_cast<int16_t*>(buffers[0]),
                           [](float x) { return int16_t(std::lrint(32767 * x)); });
        }
        flags = SOAPY_SDR_HAS_TIME;
        time_ns = time_of(d_read_from);
        d_read_from += int64_t(size);
        return int(size);
    }

    int writeStream(SoapySDR::Stream* handle,
                    const void* const* buffers,
                    const std::size_t elements,
                    int& flags,
                    const long long time_ns,
                    const long timeout_us) override
    {
        const auto* stream = reinterpret_cast<loop_stream*>(handle);
        if (gone())
            return SOAPY_SDR_STREAM_ERROR;
        const auto size = std::min(elements, unit);
        const bool ends = (flags & SOAPY_SDR_END_BURST) && size == elements;
        const double rate = d_air.rate();
        const double ahead_of = time_limit(rate);
        if (d_late) {
            // The rest of a burst that came too late.
            d_late = !ends;
            return int(size);
        }
        int64_t start = -1;
        if (flags & SOAPY_SDR_HAS_TIME) {
            start = int64_t(
                std::llround(time_ns * 1e-9 * rate / (1 + d_settings.clock_offset)));
            start = std::max<int64_t>(start, 0);
        } else if (d_in_burst) {
            start = d_air.end();
        }
        d_converted_out.resize(size);
        const float gain = float(std::pow(10, d_gain[SOAPY_SDR_TX] / 20));
        if (stream->complex_float) {
            const auto* in = static_cast<const std::complex<float>*>(buffers[0]);
            std::transform(in, in + size, d_converted_out.begin(), [gain](auto x) {
                return gain * x;
            });
        } else {
            const auto* in = static_cast<const int16_t*>(buffers[0]);
            for (std::size_t i = 0; i < size; i++)
                d_converted_out[i] =
                    gain / 32768 * std::complex<float>(in[2 * i], in[2 * i + 1]);
        }
        const auto until =
            std::chrono::steady_clock::now() + std::chrono::microseconds(timeout_us);
        for (;;) {
            const auto done = d_air.write(d_converted_out.data(),
                                          size,
                                          start,
                                          tuned(SOAPY_SDR_TX),
                                          d_in_burst,
                                          int64_t(ahead_of * rate) + int64_t(size));
            if (done == medium::written::all) {
                d_in_burst = !ends;
                return int(size);
            }
            if (done == medium::written::late) {
                if (d_in_burst && !(flags & SOAPY_SDR_HAS_TIME)) {
                    // The air had nothing of this burst for a while: it goes on now.
                    report(SOAPY_SDR_UNDERFLOW);
                    d_in_burst = false;
                    start = -1;
                    continue;
                }
                report(SOAPY_SDR_TIME_ERROR);
                d_late = !ends;
                return int(size);
            }
            if (std::chrono::steady_clock::now() >= until)
                return SOAPY_SDR_TIMEOUT;
            std::this_thread::sleep_for(std::chrono::microseconds(500));
        }
    }

    int readStreamStatus(SoapySDR::Stream* handle,
                         std::size_t&,
                         int& flags,
                         long long&,
                         const long timeout_us) override
    {
        if (reinterpret_cast<loop_stream*>(handle)->direction != SOAPY_SDR_TX)
            return SOAPY_SDR_NOT_SUPPORTED;
        flags = 0;
        const auto until =
            std::chrono::steady_clock::now() + std::chrono::microseconds(timeout_us);
        for (;;) {
            {
                const std::lock_guard<std::mutex> lock(d_reports_mutex);
                if (!d_reports.empty()) {
                    const int found = d_reports.front();
                    d_reports.pop_front();
                    return found;
                }
            }
            if (std::chrono::steady_clock::now() >= until)
                return SOAPY_SDR_TIMEOUT;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }

private:
    const channel_settings d_settings;
    const std::string d_name;
    const bool d_own;
    const double d_overflows, d_buffer;
    medium d_air;
    channel d_channel;
    gaussian d_random;
    std::atomic<double> d_gain[2] = {0, 0};
    std::atomic<double> d_frequency[2] = {0, 0}, d_correction[2] = {0, 0};
    bool d_open[2] = {false, false};
    // Of the receiver: its next sample, and the next that is to be lost.
    std::atomic<int64_t> d_read_from{-1};
    int64_t d_next_overflow = 0;
    // Of the transmitter: whether its burst goes on, and whether its rest is thrown away.
    bool d_in_burst = false, d_late = false;
    std::vector<std::complex<float>> d_converted, d_converted_out;
    std::mutex d_reports_mutex;
    std::deque<int> d_reports;
    std::atomic<int64_t> d_looked{0};
    std::atomic<bool> d_gone{false};

    static channel_settings settings_of(const SoapySDR::Kwargs& args)
    {
        channel_settings made;
        if (args.count("snr"))
            made.noise_var =
                reference * reference * std::pow(10, -number(args, "snr", 0) / 10);
        made.cfo = number(args, "cfo", 0);
        made.clock_offset = 1e-6 * number(args, "ppm", 0);
        made.delay = number(args, "delay", 0);
        if (args.count("taps"))
            made.taps = taps_of(args.at("taps"));
        made.fading = int(number(args, "fading", 0));
        if (args.count("phase_noise"))
            made.phase_noise =
                M_PI * 50e3 * std::pow(10, number(args, "phase_noise", 0) / 10);
        made.lost = number(args, "lost", 0);
        made.doubled = number(args, "doubled", 0);
        made.late = number(args, "late", 0);
        made.lag = number(args, "lag", made.lag);
        made.image = float(number(args, "image", 0));
        made.dc = float(number(args, "dc", 0));
        made.seed = uint64_t(number(args, "seed", 1));
        if (std::abs(made.clock_offset) > 1e-3)
            throw std::invalid_argument("loop device: expected ppm within +-1000");
        if (made.delay < 0 || made.delay > 0.05)
            throw std::invalid_argument("loop device: expected a delay of 0 to 0.05 s");
        if (made.lag < 0 || made.lag > 0.1)
            throw std::invalid_argument("loop device: expected a lag of 0 to 0.1 s");
        if (!(made.lost >= 0 && made.doubled >= 0 && made.late >= 0 &&
              made.lost + made.doubled + made.late <= 1))
            throw std::invalid_argument(
                "loop device: expected shares of bursts lost, doubled and late");
        if (made.phase_noise > 1)
            throw std::invalid_argument(
                "loop device: expected phase noise below -52 dBc/Hz");
        if (made.fading < 0 || made.fading > 64)
            throw std::invalid_argument("loop device: expected 0 to 64 fading taps");
        return made;
    }

    // How far behind the air a receiver's sample is, in its own samples.
    int64_t ahead() const { return channel::reach(); }

    // Timed bursts may wait on the air as long as a transmitter's ring has room.
    double time_limit(double rate) const
    {
        return std::min(transmit_ahead, 0.25 * double(medium::depth()) / rate);
    }

    double tuned(int direction) const
    {
        return d_frequency[direction] * (1 + 1e-6 * d_correction[direction]);
    }

    long long time_of(int64_t sample) const
    {
        return std::llround(double(sample) / d_air.rate() * 1e9);
    }

    void plan_overflow()
    {
        if (d_overflows > 0)
            d_next_overflow =
                d_read_from + 1 +
                int64_t(-std::log(1 - d_random.uniform()) / d_overflows * d_air.rate());
    }

    void report(int what)
    {
        const std::lock_guard<std::mutex> lock(d_reports_mutex);
        // Nobody has to ask for them.
        if (d_reports.size() < 1000)
            d_reports.push_back(what);
    }

    // Looks ten times a second.
    bool gone()
    {
        const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
                             std::chrono::steady_clock::now().time_since_epoch())
                             .count();
        if (!d_gone && now - d_looked > 100) {
            d_looked = now;
            d_gone = d_air.unplugged();
        }
        return d_gone;
    }
};

SoapySDR::KwargsList find(const SoapySDR::Kwargs& args)
{
    // Nobody else's scan of all devices shall find what is no hardware.
    const auto asked = args.find("driver");
    if (asked == args.end() || asked->second != driver)
        return {};
    auto found = args;
    if (!found.count("name"))
        found["name"] = "loop";
    found["label"] = "Loop device " + found["name"];
    return {found};
}

SoapySDR::Device* make(const SoapySDR::Kwargs& args)
{
    return new loop_device(args);
}

const SoapySDR::Registry registered(driver, &find, &make, SOAPY_SDR_ABI_VERSION);

} // namespace

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/burst_receiver.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/burst_receiver.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <mutex>
#include <optional>

namespace gr::neuralfec {

namespace {

const pmt::pmt_t pdus_port = pmt::intern("pdus");
const pmt::pmt_t noise_var_key = pmt::intern("noise_var");
const pmt::pmt_t length_key = pmt::intern("packet_len");
const pmt::pmt_t time_key = pmt::intern("rx_time");

class burst_receiver_impl : public burst_receiver_block
{
public:
    burst_receiver_impl(const burst_format& format,
                        double threshold,
                        double false_refusals)
        : gr::block("burst_receiver",
                    gr::io_signature::make(1, 1, sizeof(gr_complex)),
                    gr::io_signature::make(0, 2, sizeof(gr_complex))),
          d_format(format),
          d_threshold(threshold),
          d_false_refusals(false_refusals)
    {
        d_receiver.emplace(d_format, d_threshold, d_false_refusals);
        message_port_register_out(pdus_port);
        set_tag_propagation_policy(TPP_DONT);
    }

    bool check_topology(int, int outputs) override
    {
        return outputs == 0 || outputs == 2;
    }

    bool start() override
    {
        // A graph that is started again has another recording.
        const std::lock_guard<std::mutex> lock(d_mutex);
        d_receiver.emplace(d_format, d_threshold, d_false_refusals);
        d_waiting.clear();
        d_sent = 0;
        d_any = false;
        return true;
    }

    void forecast(int, gr_vector_int& required) override { required[0] = 1; }

    std::map<std::string, uint64_t> stats() const override
    {
        const std::lock_guard<std::mutex> lock(d_mutex);
        return d_receiver->stats();
    }

    int general_work(int noutput_items,
                     gr_vector_int& ninput_items,
                     gr_vector_const_void_star& input_items,
                     gr_vector_void_star& output_items) override
    {
        // Samples wait outside while symbols wait inside, and the last of them as long as
        // any do: a block that has no input is not called again.
        if (d_waiting.empty())
            take(static_cast<const gr_complex*>(input_items[0]),
                 static_cast<std::size_t>(ninput_items[0]));
        if (output_items.empty()) {
            d_waiting.clear();
            consume(0, ninput_items[0]);
            return WORK_CALLED_PRODUCE;
        }
        auto* y = static_cast<gr_complex*>(output_items[0]);
        auto* h = static_cast<gr_complex*>(output_items[1]);
        int produced = 0;
        while (!d_waiting.empty() && produced < noutput_items) {
            const auto& burst = d_waiting.front();
            if (d_sent == 0) {
                const uint64_t at = nitems_written(0) + produced;
                add_item_tag(0, at, noise_var_key, pmt::from_double(burst.noise_var));
                for (unsigned port : {0, 1})
                    add_item_tag(port,
                                 at,
                                 length_key,
                                 pmt::from_long(static_cast<long>(burst.y.size())));
            }
            const std::size_t count =
                std::min(burst.y.size() - d_sent,
                         static_cast<std::size_t>(noutput_items - produced));
            std::copy_n(burst.y.begin() + static_cast<long>(d_sent), count, y + produced);
            std::copy_n(burst.h.begin() + static_cast<long>(d_sent), count, h + produced);
            produced += static_cast<int>(count);
            d_sent += count;
            if (d_sent == burst.y.size()) {
                d_waiting.pop_front();
                d_sent = 0;
            }
        }
        if (d_waiting.empty()) {
            consume(0, static_cast<int>(d_taken));
            d_taken = 0;
        }
        produce(0, produced);
        produce(1, produced);
        return WORK_CALLED_PRODUCE;
    }

private:
    const burst_format d_format;
    const double d_threshold, d_false_refusals;
    mutable std::mutex d_mutex;
    std::optional<burst_receiver> d_receiver;
    std::deque<received_burst> d_waiting;
    std::vector<received_burst> d_bursts;
    std::vector<gr::tag_t> d_tags;
    // Symbols of the first waiting burst that went out, samples taken but not consumed.
    std::size_t d_sent = 0, d_taken = 0;
    bool d_any = false;

    void take(const gr_complex* samples, std::size_t size)
    {
        get_tags_in_window(d_tags, 0, 0, size, time_key);
        std::sort(d_tags.begin(), d_tags.end(), gr::tag_t::offset_compare);
        d_bursts.clear();
        {
            const std::lock_guard<std::mutex> lock(d_mutex);
            std::size_t done = 0;
            for (const auto& tag : d_tags) {
                const std::size_t at = tag.offset - nitems_read(0);
                d_receiver->push(span<const gr_complex>(samples + done, at - done),
                                 d_bursts);
                if (d_any || at > 0)
                    d_receiver->gap();
                done = at;
            }
            d_receiver->push(span<const gr_complex>(samples + done, size - done),
                             d_bursts);
        }
        d_any = d_any || size > 0;
        d_taken = size;
        for (auto& burst : d_bursts) {
            publish(burst);
            d_waiting.push_back(std::move(burst));
        }
    }

    void publish(const received_burst& burst)
    {
        auto meta = pmt::make_dict();
        const auto add = [&](const char* key, const pmt::pmt_t& value) {
            meta = pmt::dict_add(meta, pmt::intern(key), value);
        };
        add("start", pmt::from_uint64(burst.start));
        add("length", pmt::from_uint64(burst.length));
        add("symbols", pmt::from_uint64(burst.header.symbols));
        add("user", pmt::from_uint64(burst.header.user));
        add("snr_db", pmt::from_double(10 * std::log10(burst.snr)));
        add("evm_db", pmt::from_double(20 * std::log10(burst.evm)));
        add("cfo", pmt::from_double(burst.cfo));
        add("clock_offset", pmt::from_double(burst.clock_offset));
        add("noise_var", pmt::from_double(burst.noise_var));
        add("whole", pmt::from_double(burst.whole));
        add("h", pmt::init_c32vector(burst.h.size(), burst.h));
        message_port_pub(pdus_port,
                         pmt::cons(meta, pmt::init_c32vector(burst.y.size(), burst.y)));
    }
};

} // namespace

burst_receiver_block::sptr burst_receiver_block::make(const burst_format& format,
                                                      double threshold,
                                                      double false_refusals)
{
    return gnuradio::make_block_sptr<burst_receiver_impl>(
        format, threshold, false_refusals);
}

} // namespace gr::neuralfec

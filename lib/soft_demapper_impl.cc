/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/demapper.h"
#include "rate_tags.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/soft_demapper.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>

namespace gr::neuralfec {

namespace {

const pmt::pmt_t noise_var_key = pmt::intern("noise_var");

bool is_noise_var(double value)
{
    const float v = static_cast<float>(value);
    return std::isfinite(v) && v > 0;
}

class soft_demapper_impl : public soft_demapper
{
public:
    soft_demapper_impl(const demapper& kernel, float noise_var, bool csi)
        : gr::sync_interpolator("soft_demapper",
                                gr::io_signature::make(1 + csi + kernel.interferers(),
                                                       1 + csi + kernel.interferers(),
                                                       sizeof(gr_complex)),
                                gr::io_signature::make(1, 1, sizeof(float)),
                                kernel.bits_per_symbol()),
          d_kernel(kernel),
          d_csi(csi)
    {
        set_noise_var(noise_var);
        set_tag_propagation_policy(TPP_DONT);
        // Many thousand symbols a call, so that the scheduler's share of the time is
        // small.
        set_min_output_buffer(0, 32768 * kernel.bits_per_symbol());
        message_port_register_in(noise_var_key);
        set_msg_handler(noise_var_key, [this](const pmt::pmt_t& m) { handle(m); });
    }

    void set_noise_var(float noise_var) override
    {
        if (!is_noise_var(noise_var))
            throw std::invalid_argument(
                "soft_demapper: expected a finite noise variance > 0, got " +
                std::to_string(noise_var));
        d_noise_var = noise_var;
    }

    float noise_var() const override { return d_noise_var; }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"symbols", d_symbols},
                {"bad_symbols", d_bad_symbols},
                {"bad_noise_vars", d_bad_noise_vars},
                {"bad_packets", d_bad_packets}};
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const std::size_t n = noutput_items / d_kernel.bits_per_symbol();
        get_tags_in_window(d_tags, 0, 0, n, noise_var_key);
        std::sort(d_tags.begin(), d_tags.end(), gr::tag_t::offset_compare);
        std::size_t done = 0;
        for (const auto& tag : d_tags) {
            const std::size_t at = tag.offset - nitems_read(0);
            demap(done, at - done, input_items, output_items);
            done = at;
            take(tag.value);
        }
        demap(done, n - done, input_items, output_items);
        for (std::size_t port = 0; port < input_items.size(); port++) {
            get_tags_in_window(d_tags, port, 0, n);
            for (auto& tag : d_tags) {
                if (change_rate(tag, 1, d_kernel.bits_per_symbol()))
                    add_item_tag(0, tag);
                else if (d_bad_packets++ == 0)
                    d_logger->error(
                        "expected packet_len to be a number of symbols above 0, "
                        "got {:s}; the LLRs go on without it",
                        pmt::write_string(tag.value));
            }
        }
        d_symbols += n;
        return noutput_items;
    }

private:
    const demapper d_kernel;
    const bool d_csi;
    std::atomic<float> d_noise_var;
    std::atomic<uint64_t> d_symbols{0}, d_bad_symbols{0}, d_bad_noise_vars{0},
        d_bad_packets{0};
    std::vector<gr::tag_t> d_tags;

    void demap(std::size_t first,
               std::size_t n,
               const gr_vector_const_void_star& in,
               const gr_vector_void_star& out)
    {
        if (n == 0)
            return;
        const auto input = [&](std::size_t port) {
            return static_cast<const gr_complex*>(in[port]) + first;
        };
        const float noise_var = d_noise_var;
        const gr_complex* gains[2];
        for (std::size_t i = 0; i < d_kernel.interferers(); i++)
            gains[i] = input(1 + d_csi + i);
        const std::size_t k = d_kernel.bits_per_symbol();
        using symbols = span<const gr_complex>;
        d_bad_symbols +=
            d_kernel.demap(symbols(input(0), n),
                           span<const float>(&noise_var, 1),
                           d_csi ? symbols(input(1), n) : symbols(),
                           span<const gr_complex* const>(gains, d_kernel.interferers()),
                           span<float>(static_cast<float*>(out[0]) + first * k, n * k));
    }

    void handle(pmt::pmt_t message)
    {
        if (pmt::is_dict(message) && pmt::dict_has_key(message, noise_var_key))
            message = pmt::dict_ref(message, noise_var_key, pmt::PMT_NIL);
        else if (pmt::is_pair(message))
            message = pmt::cdr(message);
        take(message);
    }

    void take(const pmt::pmt_t& value)
    {
        if (pmt::is_number(value) && !pmt::is_complex(value) &&
            is_noise_var(pmt::to_double(value))) {
            d_noise_var = static_cast<float>(pmt::to_double(value));
            return;
        }
        d_bad_noise_vars++;
        d_logger->warn("expected a finite noise variance > 0, got {:s}; it stays {:g}",
                       pmt::write_string(value),
                       d_noise_var.load());
    }
};

} // namespace

soft_demapper::sptr soft_demapper::make(const std::vector<gr_complex>& points,
                                        const std::vector<uint32_t>& labels,
                                        float noise_var,
                                        bool exact,
                                        bool csi,
                                        unsigned interferers,
                                        const std::vector<gr_complex>& interferer_points)
{
    return gnuradio::make_block_sptr<soft_demapper_impl>(
        demapper(points,
                 labels,
                 exact ? demapper::method::exact : demapper::method::max_log,
                 interferers,
                 interferer_points),
        noise_var,
        csi);
}

} // namespace gr::neuralfec

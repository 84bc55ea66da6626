/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/demapper.h"
#include "rate_tags.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/mapper.h>

#include <atomic>

namespace gr::neuralfec {

namespace {

class mapper_impl : public mapper
{
public:
    mapper_impl(const std::vector<gr_complex>& by_label, unsigned bits)
        : gr::sync_decimator("mapper",
                             gr::io_signature::make(1, 1, sizeof(uint8_t)),
                             gr::io_signature::make(1, 1, sizeof(gr_complex)),
                             bits),
          d_points(by_label),
          d_bits(bits)
    {
        set_tag_propagation_policy(TPP_DONT);
    }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"symbols", d_symbols}, {"bad_packets", d_bad_packets}};
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const auto* in = static_cast<const uint8_t*>(input_items[0]);
        auto* out = static_cast<gr_complex*>(output_items[0]);
        for (int i = 0; i < noutput_items; i++) {
            uint32_t label = 0;
            for (unsigned b = 0; b < d_bits; b++)
                label = label << 1 | (*in++ & 1);
            out[i] = d_points[label];
        }
        get_tags_in_window(d_tags, 0, 0, uint64_t(noutput_items) * d_bits);
        for (auto& tag : d_tags) {
            const pmt::pmt_t value = tag.value;
            if (change_rate(tag, d_bits, 1)) {
                add_item_tag(0, tag);
                continue;
            }
            d_bad_packets++;
            d_logger->error(
                "expected packet_len to be a multiple of {:d} bits, got {:s}; the "
                "symbols go on without it",
                d_bits,
                pmt::write_string(value));
        }
        d_symbols += noutput_items;
        return noutput_items;
    }

private:
    std::vector<gr::tag_t> d_tags;
    std::atomic<uint64_t> d_symbols{0}, d_bad_packets{0};
    const std::vector<gr_complex> d_points;
    const unsigned d_bits;
};

} // namespace

mapper::sptr mapper::make(const std::vector<gr_complex>& points,
                          const std::vector<uint32_t>& labels)
{
    // The demapper asks the same of a constellation.
    const demapper checked(points, labels, demapper::method::max_log);
    std::vector<gr_complex> by_label(points.size());
    for (std::size_t i = 0; i < points.size(); i++)
        by_label[labels[i]] = points[i];
    return gnuradio::make_block_sptr<mapper_impl>(by_label, checked.bits_per_symbol());
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/demapper.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/mapper.h>

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
        return noutput_items;
    }

private:
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

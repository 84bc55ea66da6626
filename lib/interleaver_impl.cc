/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/permutation.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/interleaver.h>

namespace gr::neuralfec {

namespace {

template <typename T>
class interleaver_impl : public interleaver
{
public:
    interleaver_impl(const std::vector<uint32_t>& order, bool deinterleave)
        : gr::sync_block("interleaver",
                         gr::io_signature::make(1, 1, sizeof(T) * order.size()),
                         gr::io_signature::make(1, 1, sizeof(T) * order.size())),
          d_permutation(order),
          d_deinterleave(deinterleave)
    {
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const std::size_t n = noutput_items * d_permutation.size();
        const span<const T> in(static_cast<const T*>(input_items[0]), n);
        const span<T> out(static_cast<T*>(output_items[0]), n);
        if (d_deinterleave)
            d_permutation.invert(in, out);
        else
            d_permutation.apply(in, out);
        return noutput_items;
    }

private:
    const permutation d_permutation;
    const bool d_deinterleave;
};

} // namespace

interleaver::sptr interleaver::make(std::size_t item_size,
                                    const std::vector<uint32_t>& order,
                                    bool deinterleave)
{
    if (order.empty())
        throw std::invalid_argument(
            "interleaver: expected an order of at least 1 element");
    // Elements are only moved, so a type of the same size serves for each.
    switch (item_size) {
    case 1:
        return gnuradio::make_block_sptr<interleaver_impl<uint8_t>>(order, deinterleave);
    case 4:
        return gnuradio::make_block_sptr<interleaver_impl<uint32_t>>(order, deinterleave);
    case 8:
        return gnuradio::make_block_sptr<interleaver_impl<uint64_t>>(order, deinterleave);
    default:
        throw std::invalid_argument("interleaver: expected item_size 1, 4 or 8, got " +
                                    std::to_string(item_size));
    }
}

} // namespace gr::neuralfec

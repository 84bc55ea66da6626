/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/llr_quantizer.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/llr_dequantizer.h>

namespace gr::neuralfec {

namespace {

class llr_dequantizer_impl : public llr_dequantizer
{
public:
    llr_dequantizer_impl(std::shared_ptr<const symbol_dequantizer> dequantizer,
                         std::size_t frame_symbols,
                         bool packed)
        : gr::sync_block(
              "llr_dequantizer",
              gr::io_signature::make(1,
                                     1,
                                     packed
                                         ? packed_size(frame_symbols, dequantizer->bits())
                                         : sizeof(uint32_t) * frame_symbols),
              gr::io_signature::make(1,
                                     1,
                                     sizeof(float) * dequantizer->bits_per_symbol() *
                                         frame_symbols)),
          d_dequantizer(std::move(dequantizer)),
          d_frame_symbols(frame_symbols),
          d_packed(packed)
    {
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const std::size_t symbols = noutput_items * d_frame_symbols;
        const span<float> llrs(static_cast<float*>(output_items[0]),
                               symbols * d_dequantizer->bits_per_symbol());
        if (!d_packed) {
            const auto* in = static_cast<const uint32_t*>(input_items[0]);
            d_dequantizer->dequantize(span<const uint32_t>(in, symbols), llrs);
            return noutput_items;
        }
        d_indices.resize(symbols);
        const std::size_t bytes = packed_size(d_frame_symbols, d_dequantizer->bits());
        const auto* in = static_cast<const uint8_t*>(input_items[0]);
        for (std::size_t s = 0; s < symbols; s += d_frame_symbols, in += bytes)
            unpack_bits(span<const uint8_t>(in, bytes),
                        d_dequantizer->bits(),
                        span<uint32_t>(&d_indices[s], d_frame_symbols));
        d_dequantizer->dequantize(d_indices, llrs);
        return noutput_items;
    }

private:
    const std::shared_ptr<const symbol_dequantizer> d_dequantizer;
    const std::size_t d_frame_symbols;
    const bool d_packed;
    std::vector<uint32_t> d_indices;
};

} // namespace

llr_dequantizer::sptr
llr_dequantizer::make(std::shared_ptr<const symbol_dequantizer> dequantizer,
                      std::size_t frame_symbols,
                      bool packed)
{
    if (!dequantizer || frame_symbols == 0)
        throw std::invalid_argument(
            "llr_dequantizer: expected a dequantizer and frames of at least 1 symbol, "
            "got " +
            std::string(dequantizer ? "" : "no dequantizer and ") +
            std::to_string(frame_symbols));
    return gnuradio::make_block_sptr<llr_dequantizer_impl>(
        std::move(dequantizer), frame_symbols, packed);
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/llr_quantizer.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/llr_quantizer.h>

#include <atomic>

namespace gr::neuralfec {

namespace {

class llr_quantizer_impl : public llr_quantizer
{
public:
    llr_quantizer_impl(std::shared_ptr<const symbol_quantizer> quantizer,
                       std::size_t frame_symbols,
                       bool packed)
        : gr::sync_block(
              "llr_quantizer",
              gr::io_signature::make(1,
                                     1,
                                     sizeof(float) * quantizer->bits_per_symbol() *
                                         frame_symbols),
              gr::io_signature::make(1,
                                     1,
                                     packed
                                         ? packed_size(frame_symbols, quantizer->bits())
                                         : sizeof(uint32_t) * frame_symbols)),
          d_quantizer(std::move(quantizer)),
          d_frame_symbols(frame_symbols),
          d_packed(packed)
    {
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const std::size_t symbols = noutput_items * d_frame_symbols;
        const span<const float> llrs(static_cast<const float*>(input_items[0]),
                                     symbols * d_quantizer->bits_per_symbol());
        if (!d_packed) {
            const span<uint32_t> out(static_cast<uint32_t*>(output_items[0]), symbols);
            d_bad_samples += d_quantizer->quantize(llrs, out);
            return noutput_items;
        }
        d_indices.resize(symbols);
        d_bad_samples += d_quantizer->quantize(llrs, d_indices);
        const std::size_t bytes = packed_size(d_frame_symbols, d_quantizer->bits());
        auto* out = static_cast<uint8_t*>(output_items[0]);
        for (std::size_t s = 0; s < symbols; s += d_frame_symbols, out += bytes)
            pack_bits(span<const uint32_t>(&d_indices[s], d_frame_symbols),
                      d_quantizer->bits(),
                      span<uint8_t>(out, bytes));
        return noutput_items;
    }

    uint64_t bad_samples() const override { return d_bad_samples; }

private:
    const std::shared_ptr<const symbol_quantizer> d_quantizer;
    const std::size_t d_frame_symbols;
    const bool d_packed;
    std::vector<uint32_t> d_indices;
    std::atomic<uint64_t> d_bad_samples{0};
};

} // namespace

llr_quantizer::sptr llr_quantizer::make(std::shared_ptr<const symbol_quantizer> quantizer,
                                        std::size_t frame_symbols,
                                        bool packed)
{
    if (!quantizer || frame_symbols == 0)
        throw std::invalid_argument(
            "llr_quantizer: expected a quantizer and frames of at least 1 symbol, got " +
            std::string(quantizer ? "" : "no quantizer and ") +
            std::to_string(frame_symbols));
    return gnuradio::make_block_sptr<llr_quantizer_impl>(
        std::move(quantizer), frame_symbols, packed);
}

} // namespace gr::neuralfec

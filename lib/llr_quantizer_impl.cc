/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/llr_quantizer.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/llr_dequantizer.h>
#include <gnuradio/neuralfec/llr_quantizer.h>

#include <atomic>
#include <stdexcept>

namespace gr::neuralfec {

namespace {

gr::io_signature::sptr one_port(std::size_t item_size)
{
    return gr::io_signature::make(1, 1, item_size);
}

/*!
 * The port of indices, which both blocks have: frames of symbols, packed into bytes or
 * one uint32_t a symbol.
 */
class index_port
{
public:
    index_port(std::size_t frame_symbols, unsigned bits, bool packed)
        : d_frame_symbols(frame_symbols), d_bits(bits), d_packed(packed)
    {
    }

    std::size_t item_size() const
    {
        return d_packed ? packed_size(d_frame_symbols, d_bits)
                        : sizeof(uint32_t) * d_frame_symbols;
    }

    std::size_t symbols(int items) const { return items * d_frame_symbols; }

    //! Calls quantize(indices) with where indices of so many items go, and packs them.
    template <class Quantize>
    void fill(void* port, int items, Quantize quantize)
    {
        if (!d_packed) {
            quantize(span<uint32_t>(static_cast<uint32_t*>(port), symbols(items)));
            return;
        }
        d_indices.resize(symbols(items));
        quantize(span<uint32_t>(d_indices));
        auto* out = static_cast<uint8_t*>(port);
        for (std::size_t s = 0; s < d_indices.size(); s += d_frame_symbols) {
            pack_bits(span<const uint32_t>(&d_indices[s], d_frame_symbols),
                      d_bits,
                      span<uint8_t>(out, item_size()));
            out += item_size();
        }
    }

    //! The indices of so many items.
    span<const uint32_t> read(const void* port, int items)
    {
        if (!d_packed)
            return {static_cast<const uint32_t*>(port), symbols(items)};
        d_indices.resize(symbols(items));
        const auto* in = static_cast<const uint8_t*>(port);
        for (std::size_t s = 0; s < d_indices.size(); s += d_frame_symbols) {
            unpack_bits(span<const uint8_t>(in, item_size()),
                        d_bits,
                        span<uint32_t>(&d_indices[s], d_frame_symbols));
            in += item_size();
        }
        return d_indices;
    }

private:
    const std::size_t d_frame_symbols;
    const unsigned d_bits;
    const bool d_packed;
    std::vector<uint32_t> d_indices;
};

class llr_quantizer_impl : public llr_quantizer
{
public:
    llr_quantizer_impl(std::shared_ptr<const symbol_quantizer> quantizer,
                       const index_port& port,
                       std::size_t frame_llrs)
        : gr::sync_block("llr_quantizer",
                         one_port(sizeof(float) * frame_llrs),
                         one_port(port.item_size())),
          d_quantizer(std::move(quantizer)),
          d_port(port)
    {
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const span<const float> llrs(static_cast<const float*>(input_items[0]),
                                     d_port.symbols(noutput_items) *
                                         d_quantizer->bits_per_symbol());
        d_port.fill(output_items[0], noutput_items, [&](span<uint32_t> indices) {
            d_bad_samples += d_quantizer->quantize(llrs, indices);
        });
        return noutput_items;
    }

    uint64_t bad_samples() const override { return d_bad_samples; }

private:
    const std::shared_ptr<const symbol_quantizer> d_quantizer;
    index_port d_port;
    std::atomic<uint64_t> d_bad_samples{0};
};

class llr_dequantizer_impl : public llr_dequantizer
{
public:
    llr_dequantizer_impl(std::shared_ptr<const symbol_dequantizer> dequantizer,
                         const index_port& port,
                         std::size_t frame_llrs)
        : gr::sync_block("llr_dequantizer",
                         one_port(port.item_size()),
                         one_port(sizeof(float) * frame_llrs)),
          d_dequantizer(std::move(dequantizer)),
          d_port(port)
    {
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const span<float> llrs(static_cast<float*>(output_items[0]),
                               d_port.symbols(noutput_items) *
                                   d_dequantizer->bits_per_symbol());
        d_dequantizer->dequantize(d_port.read(input_items[0], noutput_items), llrs);
        return noutput_items;
    }

private:
    const std::shared_ptr<const symbol_dequantizer> d_dequantizer;
    index_port d_port;
};

//! \param what "quantizer" or "dequantizer"
template <class Block, class Kernel>
std::shared_ptr<Block> make_block(std::shared_ptr<const Kernel> kernel,
                                  std::size_t frame_symbols,
                                  bool packed,
                                  const std::string& what)
{
    if (!kernel || frame_symbols == 0)
        throw std::invalid_argument("llr_" + what + ": expected a " + what +
                                    " and frames of at least 1 symbol, got " +
                                    (kernel ? "" : "no " + what + " and ") +
                                    std::to_string(frame_symbols));
    const index_port port(frame_symbols, kernel->bits(), packed);
    const std::size_t frame_llrs = frame_symbols * kernel->bits_per_symbol();
    return gnuradio::make_block_sptr<Block>(std::move(kernel), port, frame_llrs);
}

} // namespace

llr_quantizer::sptr llr_quantizer::make(std::shared_ptr<const symbol_quantizer> quantizer,
                                        std::size_t frame_symbols,
                                        bool packed)
{
    return make_block<llr_quantizer_impl>(
        std::move(quantizer), frame_symbols, packed, "quantizer");
}

llr_dequantizer::sptr
llr_dequantizer::make(std::shared_ptr<const symbol_dequantizer> dequantizer,
                      std::size_t frame_symbols,
                      bool packed)
{
    return make_block<llr_dequantizer_impl>(
        std::move(dequantizer), frame_symbols, packed, "dequantizer");
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/xor_encoder.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/linear_encoder.h>

#include <atomic>
#include <stdexcept>
#include <utility>

namespace gr::neuralfec {

namespace {

xor_encoder make_kernel(const encoding_program& code)
{
    return xor_encoder(
        {code.places, code.message, code.targets, code.begins, code.sources, code.sent});
}

class linear_encoder_impl : public linear_encoder
{
public:
    explicit linear_encoder_impl(xor_encoder kernel)
        : gr::sync_block("linear_encoder",
                         gr::io_signature::make(1, 1, kernel.k()),
                         gr::io_signature::make(1, 1, kernel.n())),
          d_kernel(std::move(kernel))
    {
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        d_kernel.encode(
            {static_cast<const uint8_t*>(input_items[0]), noutput_items * d_kernel.k()},
            {static_cast<uint8_t*>(output_items[0]), noutput_items * d_kernel.n()});
        return noutput_items;
    }

private:
    const xor_encoder d_kernel;
};

class generic_linear_encoder : public counted_encoder
{
public:
    generic_linear_encoder(xor_encoder kernel, unsigned codewords)
        : counted_encoder("linear_encoder"), d_kernel(std::move(kernel))
    {
        if (codewords == 0)
            throw std::invalid_argument(
                "linear_encoder: expected at least 1 codeword, got 0");
        d_codewords = codewords;
    }

    int get_input_size() override { return d_codewords * d_kernel.k(); }
    int get_output_size() override { return d_refused ? 0 : d_codewords * d_kernel.n(); }
    double rate() override { return static_cast<double>(d_kernel.n()) / d_kernel.k(); }
    // A packet of another length gives nothing, as in generic_frame_decoder.
    bool set_frame_size(unsigned int frame_size) override
    {
        d_refused = frame_size == 0 || frame_size % d_kernel.k() != 0;
        if (!d_refused)
            d_codewords = frame_size / d_kernel.k();
        else if (d_bad_packets++ == 0)
            d_logger->error(
                "expected packets of a multiple of {:d} bits, got one of {:d}; it "
                "is dropped, and others like it",
                d_kernel.k(),
                frame_size);
        return !d_refused;
    }
    std::map<std::string, uint64_t> stats() const override
    {
        return {{"frames", d_frames}, {"bad_packets", d_bad_packets}};
    }
    // GNU Radio 3.10 made the first argument const on the way; one of these overrides.
    void generic_work(void* in, void* out)
    {
        generic_work(static_cast<const void*>(in), out);
    }
    void generic_work(const void* in, void* out)
    {
        if (d_refused)
            return;
        d_kernel.encode({static_cast<const uint8_t*>(in), d_codewords * d_kernel.k()},
                        {static_cast<uint8_t*>(out), d_codewords * d_kernel.n()});
        d_frames += d_codewords;
    }

private:
    const xor_encoder d_kernel;
    std::size_t d_codewords;
    bool d_refused = false;
    std::atomic<uint64_t> d_frames{0}, d_bad_packets{0};
};

} // namespace

linear_encoder::sptr linear_encoder::make(const encoding_program& code)
{
    return gnuradio::make_block_sptr<linear_encoder_impl>(make_kernel(code));
}

counted_encoder::sptr make_generic_linear_encoder(const encoding_program& code,
                                                  unsigned codewords)
{
    return std::make_shared<generic_linear_encoder>(make_kernel(code), codewords);
}

} // namespace gr::neuralfec

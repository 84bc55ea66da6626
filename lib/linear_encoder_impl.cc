/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/gf2.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/linear_encoder.h>

#include <atomic>
#include <stdexcept>
#include <string>

namespace gr::neuralfec {

namespace {

gf2_map map(unsigned n, const std::vector<uint8_t>& generator)
{
    if (generator.empty() || n == 0 || generator.size() % n != 0)
        throw std::invalid_argument(
            "linear_encoder: expected whole rows of n bits, got " +
            std::to_string(generator.size()) + " bits for n = " + std::to_string(n));
    return gf2_map(generator, generator.size() / n);
}

class linear_encoder_impl : public linear_encoder
{
public:
    explicit linear_encoder_impl(const gf2_map& kernel)
        : gr::sync_block("linear_encoder",
                         gr::io_signature::make(1, 1, kernel.rows()),
                         gr::io_signature::make(1, 1, kernel.columns())),
          d_kernel(kernel)
    {
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        d_kernel.apply(
            {static_cast<const uint8_t*>(input_items[0]),
             noutput_items * d_kernel.rows()},
            {static_cast<uint8_t*>(output_items[0]), noutput_items * d_kernel.columns()});
        return noutput_items;
    }

private:
    const gf2_map d_kernel;
};

class generic_linear_encoder : public counted_encoder
{
public:
    generic_linear_encoder(const gf2_map& kernel, unsigned codewords)
        : counted_encoder("linear_encoder"), d_kernel(kernel)
    {
        if (codewords == 0)
            throw std::invalid_argument(
                "linear_encoder: expected at least 1 codeword, got 0");
        d_codewords = codewords;
    }

    int get_input_size() override { return d_codewords * d_kernel.rows(); }
    int get_output_size() override
    {
        return d_refused ? 0 : d_codewords * d_kernel.columns();
    }
    double rate() override
    {
        return static_cast<double>(d_kernel.columns()) / d_kernel.rows();
    }
    // A packet of another length gives nothing, as in generic_frame_decoder.
    bool set_frame_size(unsigned int frame_size) override
    {
        d_refused = frame_size == 0 || frame_size % d_kernel.rows() != 0;
        if (!d_refused)
            d_codewords = frame_size / d_kernel.rows();
        else if (d_bad_packets++ == 0)
            d_logger->error(
                "expected packets of a multiple of {:d} bits, got one of {:d}; it "
                "is dropped, and others like it",
                d_kernel.rows(),
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
        d_kernel.apply({static_cast<const uint8_t*>(in), d_codewords * d_kernel.rows()},
                       {static_cast<uint8_t*>(out), d_codewords * d_kernel.columns()});
        d_frames += d_codewords;
    }

private:
    const gf2_map d_kernel;
    std::size_t d_codewords;
    bool d_refused = false;
    std::atomic<uint64_t> d_frames{0}, d_bad_packets{0};
};

} // namespace

linear_encoder::sptr linear_encoder::make(unsigned n,
                                          const std::vector<uint8_t>& generator)
{
    return gnuradio::make_block_sptr<linear_encoder_impl>(map(n, generator));
}

counted_encoder::sptr make_generic_linear_encoder(unsigned n,
                                                  const std::vector<uint8_t>& generator,
                                                  unsigned codewords)
{
    return std::make_shared<generic_linear_encoder>(map(n, generator), codewords);
}

} // namespace gr::neuralfec

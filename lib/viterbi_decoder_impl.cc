/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"
#include "kernels/bcjr.h"
#include "kernels/viterbi.h"

#include <gnuradio/neuralfec/viterbi_decoder.h>

#include <algorithm>

namespace gr::neuralfec {

namespace {

viterbi_frame_kernel make_kernel(const std::vector<unsigned>& generators,
                                 unsigned feedback,
                                 std::size_t k,
                                 const std::string& end,
                                 const std::vector<uint8_t>& puncture,
                                 const std::string& metric)
{
    const convolutional_trellis trellis(generators, feedback);
    return {trellis,
            {trellis, k, termination_from_name(end), puncture},
            viterbi_metric_from_name(metric)};
}

class viterbi_stream_decoder_impl : public viterbi_stream_decoder
{
public:
    viterbi_stream_decoder_impl(const std::vector<unsigned>& generators,
                                unsigned feedback,
                                const std::vector<uint8_t>& puncture,
                                std::size_t depth,
                                std::size_t block,
                                const std::string& metric)
        : gr::block("viterbi_stream_decoder",
                    gr::io_signature::make(1, 1, sizeof(float)),
                    gr::io_signature::make(1, 1, 1)),
          d_stream(convolutional_trellis(generators, feedback),
                   puncture,
                   depth,
                   block,
                   viterbi_metric_from_name(metric))
    {
        set_relative_rate(d_stream.block(), d_stream.received());
        // The windows' overlap stays in the buffer, and zeros are before the stream.
        set_history(d_stream.history() + 1);
        set_tag_propagation_policy(TPP_DONT);
        // Buffers are sized by this: a group of windows should fit, up to 4 MB. start()
        // lets fewer windows out, for slow streams.
        const std::size_t window = sizeof(float) * d_stream.received();
        set_output_multiple(std::clamp<std::size_t>((4 << 20) / window, 1, 64) *
                            d_stream.block());
    }

    bool start() override
    {
        set_output_multiple(d_stream.block());
        return true;
    }

    void forecast(int, gr_vector_int& ninput_items_required) override
    {
        ninput_items_required[0] = d_stream.window();
    }

    int general_work(int noutput_items,
                     gr_vector_int& ninput_items,
                     gr_vector_const_void_star& input_items,
                     gr_vector_void_star& output_items) override
    {
        const auto done = d_stream.decode({static_cast<const float*>(input_items[0]),
                                           static_cast<std::size_t>(ninput_items[0])},
                                          {static_cast<uint8_t*>(output_items[0]),
                                           static_cast<std::size_t>(noutput_items)});
        d_bits += done.produced;
        d_bad_samples += done.not_finite;
        consume_each(done.consumed);
        return done.produced;
    }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"bits", d_bits}, {"bad_samples", d_bad_samples}};
    }

private:
    const viterbi_stream_kernel d_stream;
    std::atomic<uint64_t> d_bits{0};
    std::atomic<uint64_t> d_bad_samples{0};
};

class bcjr_decoder_impl : public bcjr_decoder
{
public:
    explicit bcjr_decoder_impl(bcjr_kernel kernel)
        : gr::sync_block("bcjr_decoder",
                         gr::io_signature::make(1, 1, sizeof(float) * kernel.n()),
                         gr::io_signature::make(1, 1, sizeof(float) * kernel.k())),
          d_kernel(std::move(kernel))
    {
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const std::size_t frames = noutput_items;
        d_bad_samples += d_kernel.decode(
            {static_cast<const float*>(input_items[0]), frames * d_kernel.n()},
            {static_cast<float*>(output_items[0]), frames * d_kernel.k()});
        d_frames += frames;
        return noutput_items;
    }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"frames", d_frames}, {"bad_samples", d_bad_samples}};
    }

private:
    const bcjr_kernel d_kernel;
    std::atomic<uint64_t> d_frames{0};
    std::atomic<uint64_t> d_bad_samples{0};
};

} // namespace

viterbi_decoder::sptr viterbi_decoder::make(const std::vector<unsigned>& generators,
                                            unsigned feedback,
                                            std::size_t k,
                                            const std::string& termination,
                                            const std::vector<uint8_t>& puncture,
                                            const std::string& metric)
{
    return gnuradio::make_block_sptr<
        frame_decoder<viterbi_decoder, viterbi_frame_kernel>>(
        "viterbi_decoder",
        make_kernel(generators, feedback, k, termination, puncture, metric),
        64);
}

gr::fec::generic_decoder::sptr
make_generic_viterbi_decoder(const std::vector<unsigned>& generators,
                             unsigned feedback,
                             std::size_t k,
                             const std::string& termination,
                             const std::vector<uint8_t>& puncture,
                             const std::string& metric)
{
    return std::make_shared<generic_frame_decoder<viterbi_frame_kernel>>(
        "viterbi_decoder",
        make_kernel(generators, feedback, k, termination, puncture, metric));
}

viterbi_stream_decoder::sptr
viterbi_stream_decoder::make(const std::vector<unsigned>& generators,
                             unsigned feedback,
                             const std::vector<uint8_t>& puncture,
                             std::size_t depth,
                             std::size_t block,
                             const std::string& metric)
{
    return gnuradio::make_block_sptr<viterbi_stream_decoder_impl>(
        generators, feedback, puncture, depth, block, metric);
}

bcjr_decoder::sptr bcjr_decoder::make(const std::vector<unsigned>& generators,
                                      unsigned feedback,
                                      std::size_t k,
                                      const std::string& termination,
                                      const std::vector<uint8_t>& puncture,
                                      const std::string& method)
{
    const convolutional_trellis trellis(generators, feedback);
    return gnuradio::make_block_sptr<bcjr_decoder_impl>(
        bcjr_kernel(trellis,
                    {trellis, k, termination_from_name(termination), puncture},
                    bcjr_method_from_name(method)));
}

} // namespace gr::neuralfec

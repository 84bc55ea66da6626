/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"
#include "kernels/bcjr.h"
#include "kernels/viterbi.h"

#include <gnuradio/block_detail.h>
#include <gnuradio/buffer_reader.h>
#include <gnuradio/neuralfec/viterbi_decoder.h>

#include <algorithm>

namespace gr::neuralfec {

namespace {

convolutional_frame frame(const convolutional_trellis& trellis,
                          const convolutional_code& code)
{
    return {trellis, code.k, termination_from_name(code.termination), code.puncture};
}

viterbi_frame_kernel make_kernel(const convolutional_code& code,
                                 const std::string& metric)
{
    const convolutional_trellis trellis(code.generators, code.feedback);
    return {trellis, frame(trellis, code), viterbi_metric_from_name(metric)};
}

// Coded bits that are sent of each step of a puncturing pattern.
std::vector<std::size_t> sent_a_step(std::size_t outputs,
                                     const std::vector<uint8_t>& puncture)
{
    if (puncture.empty())
        return {outputs};
    std::vector<std::size_t> sent(puncture.size() / outputs);
    for (std::size_t i = 0; i < puncture.size(); i++)
        sent[i / outputs] += puncture[i];
    return sent;
}

/*
 * A bit is decided when `depth` steps behind it are in. At the end of the stream, and at
 * a message on "flush", there are none: what is left is decided as it is, in a window of
 * its own whose last `depth` steps are unknown.
 */
class viterbi_stream_decoder_impl : public viterbi_stream_decoder
{
public:
    viterbi_stream_decoder_impl(const convolutional_code& code,
                                std::size_t depth,
                                std::size_t block,
                                const std::string& metric)
        : gr::block("viterbi_stream_decoder",
                    gr::io_signature::make(1, 1, sizeof(float)),
                    gr::io_signature::make(1, 1, 1)),
          d_trellis(code.generators, code.feedback),
          d_puncture(code.puncture),
          d_metric(viterbi_metric_from_name(metric)),
          d_stream(d_trellis, d_puncture, depth, block, d_metric),
          d_sent(sent_a_step(code.generators.size(), code.puncture))
    {
        set_relative_rate(d_stream.block(), d_stream.received());
        // The windows' overlap stays in the buffer, and zeros are before the stream.
        set_history(d_stream.history() + 1);
        set_tag_propagation_policy(TPP_DONT);
        // Buffers are sized by this: a group of windows should fit, up to 4 MB. start()
        // lets fewer windows out, for slow streams.
        const std::size_t window = sizeof(float) * d_stream.received();
        d_batch = std::clamp<std::size_t>((4 << 20) / window, 1, 64) * d_stream.block();
        set_output_multiple(d_batch);
        message_port_register_in(flush_key);
        set_msg_handler(flush_key, [this](const pmt::pmt_t&) { d_flush = true; });
    }

    bool start() override
    {
        set_output_multiple(d_stream.block());
        // Buffers are new, and begin with zeros, but after lock() and unlock().
        if (nitems_read(0) == 0) {
            d_known = d_stream.history();
            d_flush = false;
            d_tail.clear();
        }
        return true;
    }

    bool stop() override
    {
        set_output_multiple(d_batch);
        return true;
    }

    void forecast(int, gr_vector_int& ninput_items_required) override
    {
        if (d_flush || !d_tail.empty())
            ninput_items_required[0] = 0;
        else if (detail()->input(0)->done())
            ninput_items_required[0] = d_stream.history() + 1;
        else
            ninput_items_required[0] = d_stream.window();
    }

    int general_work(int noutput_items,
                     gr_vector_int& ninput_items,
                     gr_vector_const_void_star& input_items,
                     gr_vector_void_star& output_items) override
    {
        const span<const float> llrs(static_cast<const float*>(input_items[0]),
                                     ninput_items[0]);
        const span<uint8_t> bits(static_cast<uint8_t*>(output_items[0]), noutput_items);
        if (!d_tail.empty())
            return emit_tail(bits);
        if (llrs.size() >= d_stream.window() && d_known < d_stream.history())
            return decode_first(llrs, bits);
        const auto done = d_stream.decode(llrs, bits);
        if (done.produced == 0 && ends(llrs.size())) {
            finish(llrs);
            return emit_tail(bits);
        }
        count(done);
        return done.produced;
    }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"bits", d_bits}, {"bad_samples", d_bad_samples}};
    }

private:
    inline static const pmt::pmt_t flush_key = pmt::intern("flush");
    const convolutional_trellis d_trellis;
    const std::vector<uint8_t> d_puncture;
    const viterbi_metric d_metric;
    const viterbi_stream_kernel d_stream;
    const std::vector<std::size_t> d_sent;
    std::size_t d_batch;
    //! LLRs since the last flush, as far as the windows' overlap asks for them
    std::size_t d_known = 0;
    bool d_flush = false;
    std::vector<uint8_t> d_tail;
    std::atomic<uint64_t> d_bits{0};
    std::atomic<uint64_t> d_bad_samples{0};

    void count(const viterbi_stream_kernel::progress& done)
    {
        d_bits += done.produced;
        d_bad_samples += done.not_a_number;
        d_known = std::min(d_known + done.consumed, d_stream.history());
        consume_each(done.consumed);
    }

    // Whether these are all the LLRs that there will be before a flush is due.
    bool ends(std::size_t available)
    {
        const auto input = detail()->input(0);
        return d_flush ||
               (input->done() && std::size_t(input->items_available()) == available);
    }

    // LLRs before the last flush are none of this stream's.
    std::vector<float> masked(span<const float> llrs, std::size_t size) const
    {
        std::vector<float> window(size);
        const std::size_t strange = d_stream.history() - d_known;
        std::copy_n(llrs.data() + strange,
                    std::min(llrs.size(), size) - strange,
                    window.begin() + strange);
        return window;
    }

    int decode_first(span<const float> llrs, span<uint8_t> bits)
    {
        const auto done = d_stream.decode(masked(llrs, d_stream.window()),
                                          {bits.data(), d_stream.block()});
        count(done);
        return done.produced;
    }

    void finish(span<const float> llrs)
    {
        const std::size_t left = llrs.size() - d_stream.history();
        std::size_t steps = 0, known = 0;
        for (std::size_t i = 0;
             left > 0 && known + d_sent[i] <= left && (known < left || d_sent[i] == 0);
             i = (i + 1) % d_sent.size()) {
            known += d_sent[i];
            steps++;
        }
        if (steps > 0) {
            const viterbi_stream_kernel last(
                d_trellis, d_puncture, d_stream.depth(), steps, d_metric);
            const auto window =
                masked(span<const float>(llrs.data(), d_stream.history() + known),
                       last.window());
            d_tail.resize(last.block());
            const auto done = last.decode(window, d_tail);
            d_tail.resize(steps);
            d_bad_samples += done.not_a_number;
        }
        consume_each(left);
        d_known = 0;
        d_flush = false;
    }

    int emit_tail(span<uint8_t> bits)
    {
        const std::size_t size = std::min(bits.size(), d_tail.size());
        std::copy_n(d_tail.begin(), size, bits.data());
        d_tail.erase(d_tail.begin(), d_tail.begin() + size);
        d_bits += size;
        return size;
    }
};

} // namespace

viterbi_decoder::sptr viterbi_decoder::make(const convolutional_code& code,
                                            const std::string& metric)
{
    return gnuradio::make_block_sptr<
        frame_decoder<viterbi_decoder, viterbi_frame_kernel>>(
        "viterbi_decoder", make_kernel(code, metric), 64);
}

counted_decoder::sptr make_generic_viterbi_decoder(const convolutional_code& code,
                                                   const std::string& metric,
                                                   unsigned codewords)
{
    return std::make_shared<generic_frame_decoder<viterbi_frame_kernel>>(
        "viterbi_decoder", make_kernel(code, metric), codewords);
}

viterbi_stream_decoder::sptr viterbi_stream_decoder::make(const convolutional_code& code,
                                                          std::size_t depth,
                                                          std::size_t block,
                                                          const std::string& metric)
{
    return gnuradio::make_block_sptr<viterbi_stream_decoder_impl>(
        code, depth, block, metric);
}

bcjr_decoder::sptr bcjr_decoder::make(const convolutional_code& code,
                                      const std::string& method)
{
    const convolutional_trellis trellis(code.generators, code.feedback);
    return gnuradio::make_block_sptr<frame_decoder<bcjr_decoder, bcjr_kernel, float>>(
        "bcjr_decoder",
        bcjr_kernel(trellis, frame(trellis, code), bcjr_method_from_name(method)));
}

} // namespace gr::neuralfec

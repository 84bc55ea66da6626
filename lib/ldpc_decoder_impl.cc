/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"
#include "kernels/belief_propagation.h"
#include "rate_matched.h"

#include <gnuradio/neuralfec/ldpc_decoder.h>

#include <numeric>

namespace gr::neuralfec {

namespace {

// Belief propagation, for those who want its bits alone, too.
class sent_decoder : public rate_matched<belief_propagation>
{
public:
    using rate_matched::rate_matched;

    std::size_t decode(span<const float> llrs,
                       const belief_propagation::results& out) const
    {
        return rate_matched::decode(llrs, out);
    }
    std::size_t decode(span<const float> llrs, span<uint8_t> bits) const
    {
        belief_propagation::results out;
        out.bits = bits;
        return decode(llrs, out);
    }
};

sent_decoder make_kernel(const parity_check_code& code,
                         unsigned iterations,
                         const std::string& rule,
                         float scale,
                         bool parity_stop,
                         const std::string& schedule)
{
    belief_propagation::settings s;
    s.set(rule, schedule);
    s.iterations = iterations;
    s.scale = scale;
    s.parity_stop = parity_stop;
    return {belief_propagation(code.n, code.checks, code.bits, code.information_set, s),
            code.sent};
}

class ldpc_decoder_impl : public ldpc_decoder
{
public:
    explicit ldpc_decoder_impl(sent_decoder kernel)
        : gr::sync_block(
              "ldpc_decoder",
              gr::io_signature::make(1, 1, sizeof(float) * kernel.n()),
              gr::io_signature::makev(1, 2, {static_cast<int>(kernel.k()), 1})),
          d_kernel(std::move(kernel))
    {
    }

    void set_iterations(unsigned iterations) override
    {
        gr::thread::scoped_lock guard(d_setlock);
        d_kernel.kernel().set_iterations(iterations);
    }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"frames", d_frames},
                {"converged", d_total_converged},
                {"iterations", d_total_iterations},
                {"bad_samples", d_bad_samples}};
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        gr::thread::scoped_lock guard(d_setlock);
        const std::size_t frames = noutput_items;
        d_converged.resize(frames);
        d_iterations.resize(frames);
        belief_propagation::results out;
        out.bits = {static_cast<uint8_t*>(output_items[0]), frames * d_kernel.k()};
        out.converged = d_converged;
        out.iterations = d_iterations;
        d_bad_samples += d_kernel.decode(
            {static_cast<const float*>(input_items[0]), frames * d_kernel.n()}, out);
        if (output_items.size() > 1)
            std::copy(d_converged.begin(),
                      d_converged.end(),
                      static_cast<uint8_t*>(output_items[1]));
        d_frames += frames;
        d_total_converged +=
            std::accumulate(d_converged.begin(), d_converged.end(), uint64_t(0));
        d_total_iterations +=
            std::accumulate(d_iterations.begin(), d_iterations.end(), uint64_t(0));
        return noutput_items;
    }

private:
    sent_decoder d_kernel;
    std::vector<uint8_t> d_converged;
    std::vector<uint32_t> d_iterations;
    std::atomic<uint64_t> d_frames{0};
    std::atomic<uint64_t> d_total_converged{0};
    std::atomic<uint64_t> d_total_iterations{0};
    std::atomic<uint64_t> d_bad_samples{0};
};

class generic_ldpc_decoder : public generic_frame_decoder<sent_decoder>
{
public:
    generic_ldpc_decoder(sent_decoder kernel, unsigned codewords)
        : generic_frame_decoder("ldpc_decoder", std::move(kernel), codewords)
    {
    }
    //! Of the codewords of the last frame, the mean.
    float get_iterations() override { return d_last_iterations; }

protected:
    void decode(span<const float> llrs, span<uint8_t> messages) override
    {
        // Several gr-fec blocks may share this object, each with a thread of its own.
        std::vector<uint32_t> iterations(llrs.size() / d_kernel.n());
        belief_propagation::results out;
        out.bits = messages;
        out.iterations = iterations;
        d_kernel.decode(llrs, out);
        d_last_iterations = std::accumulate(iterations.begin(), iterations.end(), 0.0f) /
                            iterations.size();
    }

private:
    std::atomic<float> d_last_iterations{-1.0f};
};

} // namespace

ldpc_decoder::sptr ldpc_decoder::make(const parity_check_code& code,
                                      unsigned iterations,
                                      const std::string& rule,
                                      float scale,
                                      bool parity_stop,
                                      const std::string& schedule)
{
    return gnuradio::make_block_sptr<ldpc_decoder_impl>(
        make_kernel(code, iterations, rule, scale, parity_stop, schedule));
}

counted_decoder::sptr make_generic_ldpc_decoder(const parity_check_code& code,
                                                unsigned iterations,
                                                const std::string& rule,
                                                float scale,
                                                bool parity_stop,
                                                const std::string& schedule,
                                                unsigned codewords)
{
    return std::make_shared<generic_ldpc_decoder>(
        make_kernel(code, iterations, rule, scale, parity_stop, schedule), codewords);
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"
#include "kernels/polar.h"
#include "rate_matched.h"

#include <gnuradio/neuralfec/polar_decoder.h>

#include <numeric>

namespace gr::neuralfec {

namespace {

using sent_decoder = rate_matched<successive_cancellation>;

sent_decoder make_kernel(const polar_code& code, unsigned list_size, bool exact)
{
    return {successive_cancellation(code.n,
                                    code.unfrozen,
                                    list_size,
                                    exact,
                                    code.crc_degree,
                                    code.crc_polynomial,
                                    code.order),
            code.sent,
            code.shortened};
}

class polar_decoder_impl : public polar_decoder
{
public:
    polar_decoder_impl(sent_decoder kernel, bool has_check)
        : gr::sync_block(
              "polar_decoder",
              gr::io_signature::make(1, 1, sizeof(float) * kernel.n()),
              gr::io_signature::makev(1, 2, {static_cast<int>(kernel.k()), 1})),
          d_kernel(std::move(kernel)),
          d_has_check(has_check)
    {
    }

    std::map<std::string, uint64_t> stats() const override
    {
        std::map<std::string, uint64_t> totals = {{"frames", d_frames},
                                                  {"bad_samples", d_bad_samples}};
        if (d_has_check)
            totals["crc_holds"] = d_crc_holds;
        return totals;
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const std::size_t frames = noutput_items;
        d_verdicts.resize(frames);
        d_bad_samples += d_kernel.decode(
            {static_cast<const float*>(input_items[0]), frames * d_kernel.n()},
            span<uint8_t>(static_cast<uint8_t*>(output_items[0]), frames * d_kernel.k()),
            span<uint8_t>(d_verdicts));
        if (output_items.size() > 1)
            std::copy(d_verdicts.begin(),
                      d_verdicts.end(),
                      static_cast<uint8_t*>(output_items[1]));
        d_frames += frames;
        d_crc_holds += std::accumulate(d_verdicts.begin(), d_verdicts.end(), uint64_t(0));
        return noutput_items;
    }

private:
    const sent_decoder d_kernel;
    const bool d_has_check;
    std::vector<uint8_t> d_verdicts;
    std::atomic<uint64_t> d_frames{0};
    std::atomic<uint64_t> d_bad_samples{0};
    std::atomic<uint64_t> d_crc_holds{0};
};

} // namespace

polar_decoder::sptr
polar_decoder::make(const polar_code& code, unsigned list_size, bool exact)
{
    return gnuradio::make_block_sptr<polar_decoder_impl>(
        make_kernel(code, list_size, exact), code.crc_degree != 0);
}

counted_decoder::sptr make_generic_polar_decoder(const polar_code& code,
                                                 unsigned list_size,
                                                 bool exact,
                                                 unsigned codewords)
{
    return std::make_shared<generic_frame_decoder<sent_decoder>>(
        "polar_decoder", make_kernel(code, list_size, exact), codewords);
}

} // namespace gr::neuralfec

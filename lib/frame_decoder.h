/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Decoder kernels as blocks. A kernel has n(), k() and
 * decode(span<const float> llrs, span<uint8_t> messages), or span<float>, which takes
 * whole frames and returns how many LLRs were not finite.
 */
#pragma once

#include "kernels/span.h"

#include <gnuradio/io_signature.h>
#include <gnuradio/neuralfec/counted_definition.h>
#include <gnuradio/sync_block.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace gr::neuralfec {

//! A vector item of n LLRs in, one of k bits, or k LLRs if Out is float, out.
template <typename Block, typename Kernel, typename Out = uint8_t>
class frame_decoder : public Block
{
public:
    //! batch: frames that the kernel is fastest with; buffers hold them, up to 4 MB
    frame_decoder(const char* name, Kernel kernel, std::size_t batch = 1)
        : gr::sync_block(name,
                         gr::io_signature::make(1, 1, sizeof(float) * kernel.n()),
                         gr::io_signature::make(1, 1, sizeof(Out) * kernel.k())),
          d_kernel(std::move(kernel))
    {
        // Buffers are sized by this; start() lets single frames out.
        const std::size_t frame = sizeof(float) * d_kernel.n();
        d_batch = std::clamp<std::size_t>((4 << 20) / frame, 1, batch);
        this->set_output_multiple(d_batch);
    }

    bool start() override
    {
        this->set_output_multiple(1);
        return true;
    }

    bool stop() override
    {
        // The next start makes buffers anew.
        this->set_output_multiple(d_batch);
        return true;
    }

    int work(int noutput_items,
             gr_vector_const_void_star& input_items,
             gr_vector_void_star& output_items) override
    {
        const std::size_t frames = noutput_items;
        d_bad_samples += d_kernel.decode(
            span<const float>(static_cast<const float*>(input_items[0]),
                              frames * d_kernel.n()),
            span<Out>(static_cast<Out*>(output_items[0]), frames * d_kernel.k()));
        d_frames += frames;
        return noutput_items;
    }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"frames", d_frames}, {"bad_samples", d_bad_samples}};
    }

private:
    const Kernel d_kernel;
    std::size_t d_batch;
    std::atomic<uint64_t> d_frames{0};
    std::atomic<uint64_t> d_bad_samples{0};
};

/*!
 * For gr-fec's deployments: fec.extended_decoder, fec.async_decoder and the others. A
 * frame of theirs is one or more codewords, which are decoded together.
 *
 * Tagged and asynchronous deployments tell the length of each packet by set_frame_size()
 * and go on whatever it answers. A packet of another length than the code's would be
 * decoded from what lies behind it; here it gives nothing and is counted.
 */
template <typename Kernel>
class generic_frame_decoder : public counted_decoder
{
public:
    generic_frame_decoder(const char* name, Kernel kernel, unsigned codewords = 1)
        : counted_decoder(name), d_kernel(std::move(kernel)), d_codewords(codewords)
    {
        if (codewords == 0)
            throw std::invalid_argument(std::string(name) +
                                        ": expected at least 1 codeword, got 0");
    }

    // Both are 0 while a length is refused: GNU Radio 3.10.12 takes the difference of
    // one's bits and the other for a code's tail.
    int get_input_size() override { return d_refused ? 0 : d_codewords * d_kernel.n(); }
    int get_output_size() override { return d_refused ? 0 : d_codewords * d_kernel.k(); }
    // Callers multiply the packet's length by this and cut off what is behind the point.
    double rate() override
    {
        return std::nextafter(static_cast<double>(d_kernel.k()) / d_kernel.n(), 2.0);
    }
    bool set_frame_size(unsigned int frame_size) override
    {
        d_refused = frame_size == 0 || frame_size % d_kernel.k() != 0;
        if (!d_refused)
            d_codewords = frame_size / d_kernel.k();
        else if (d_bad_packets++ == 0)
            d_logger->error(
                "expected packets of a multiple of {:d} LLRs, {:d} message bits, "
                "got one of {:d} bits; it is dropped, and others like it",
                d_kernel.n(),
                d_kernel.k(),
                frame_size);
        return !d_refused;
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
        decode({static_cast<const float*>(in), d_codewords * d_kernel.n()},
               {static_cast<uint8_t*>(out), d_codewords * d_kernel.k()});
        d_frames += d_codewords;
    }

    std::map<std::string, uint64_t> stats() const override
    {
        return {{"frames", d_frames}, {"bad_packets", d_bad_packets}};
    }

protected:
    const Kernel d_kernel;

    virtual void decode(span<const float> llrs, span<uint8_t> messages)
    {
        d_kernel.decode(llrs, messages);
    }

private:
    std::size_t d_codewords;
    bool d_refused = false;
    std::atomic<uint64_t> d_frames{0};
    std::atomic<uint64_t> d_bad_packets{0};
};

} // namespace gr::neuralfec

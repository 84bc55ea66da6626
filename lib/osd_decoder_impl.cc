/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"
#include "kernels/ordered_statistics.h"

#include <gnuradio/neuralfec/osd_decoder.h>

namespace gr::neuralfec {

namespace {

ordered_statistics make_kernel(const linear_code& code, unsigned order, bool early)
{
    return {code.generator, code.pseudo_inverse, code.k, order, early};
}

} // namespace

osd_decoder::sptr osd_decoder::make(const linear_code& code, unsigned order, bool early)
{
    return gnuradio::make_block_sptr<frame_decoder<osd_decoder, ordered_statistics>>(
        "osd_decoder", make_kernel(code, order, early));
}

counted_decoder::sptr make_generic_osd_decoder(const linear_code& code,
                                               unsigned order,
                                               bool early,
                                               unsigned codewords)
{
    return std::make_shared<generic_frame_decoder<ordered_statistics>>(
        "osd_decoder", make_kernel(code, order, early), codewords);
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"
#include "kernels/ordered_statistics.h"

#include <gnuradio/neuralfec/osd_decoder.h>

namespace gr::neuralfec {

osd_decoder::sptr osd_decoder::make(const std::vector<uint8_t>& generator,
                                    const std::vector<uint8_t>& pseudo_inverse,
                                    unsigned k,
                                    unsigned order)
{
    return gnuradio::make_block_sptr<frame_decoder<osd_decoder, ordered_statistics>>(
        "osd_decoder", ordered_statistics(generator, pseudo_inverse, k, order));
}

counted_decoder::sptr make_generic_osd_decoder(const std::vector<uint8_t>& generator,
                                               const std::vector<uint8_t>& pseudo_inverse,
                                               unsigned k,
                                               unsigned order)
{
    return std::make_shared<generic_frame_decoder<ordered_statistics>>(
        "osd_decoder", ordered_statistics(generator, pseudo_inverse, k, order));
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"
#include "kernels/polar.h"

#include <gnuradio/neuralfec/polar_decoder.h>

namespace gr::neuralfec {

polar_decoder::sptr polar_decoder::make(unsigned n,
                                        const std::vector<uint32_t>& information_set,
                                        unsigned list_size,
                                        bool exact,
                                        unsigned crc_degree,
                                        uint32_t crc_polynomial)
{
    return gnuradio::make_block_sptr<
        frame_decoder<polar_decoder, successive_cancellation>>(
        "polar_decoder",
        successive_cancellation(
            n, information_set, list_size, exact, crc_degree, crc_polynomial));
}

counted_decoder::sptr
make_generic_polar_decoder(unsigned n,
                           const std::vector<uint32_t>& information_set,
                           unsigned list_size,
                           bool exact,
                           unsigned crc_degree,
                           uint32_t crc_polynomial)
{
    return std::make_shared<generic_frame_decoder<successive_cancellation>>(
        "polar_decoder",
        successive_cancellation(
            n, information_set, list_size, exact, crc_degree, crc_polynomial));
}

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame_decoder.h"
#include "kernels/polar.h"

#include <gnuradio/neuralfec/polar_decoder.h>

namespace gr::neuralfec {

namespace {

successive_cancellation
make_kernel(const polar_code& code, unsigned list_size, bool exact)
{
    return {code.n,
            code.unfrozen,
            list_size,
            exact,
            code.crc_degree,
            code.crc_polynomial,
            code.order};
}

} // namespace

polar_decoder::sptr
polar_decoder::make(const polar_code& code, unsigned list_size, bool exact)
{
    return gnuradio::make_block_sptr<
        frame_decoder<polar_decoder, successive_cancellation>>(
        "polar_decoder", make_kernel(code, list_size, exact));
}

counted_decoder::sptr make_generic_polar_decoder(const polar_code& code,
                                                 unsigned list_size,
                                                 bool exact,
                                                 unsigned codewords)
{
    return std::make_shared<generic_frame_decoder<successive_cancellation>>(
        "polar_decoder", make_kernel(code, list_size, exact), codewords);
}

} // namespace gr::neuralfec

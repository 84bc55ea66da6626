/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/sync_block.h>

namespace gr::neuralfec {

class symbol_dequantizer;

/*!
 * \brief Undoes llr_quantizer: from N_b bits a symbol to K LLRs, by a table.
 * \ingroup neuralfec
 */
class NEURALFEC_API llr_dequantizer : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<llr_dequantizer>;

    /*!
     * \param dequantizer as neuralfec.quantization.LlrQuantizer makes it from a model
     * \param frame_symbols symbols of one vector item
     * \param packed packed bytes in, else int indices
     * \throws std::invalid_argument if there is no dequantizer or frame_symbols is 0
     */
    static sptr make(std::shared_ptr<const symbol_dequantizer> dequantizer,
                     std::size_t frame_symbols,
                     bool packed = true);
};

} // namespace gr::neuralfec

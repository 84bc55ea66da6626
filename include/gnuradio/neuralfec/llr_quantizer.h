/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/sync_block.h>

namespace gr::neuralfec {

class symbol_quantizer;

/*!
 * \brief Vector quantizer of the LLRs of M-QAM symbols.
 * \ingroup neuralfec
 *
 * Each vector item is a frame of symbols: K float LLRs a symbol in, N_b bits a symbol
 * out, packed into bytes (most significant bit first, zeros up to the frame's last byte),
 * or as one int index a symbol. NaN counts as 0, an infinite LLR as certain.
 */
class NEURALFEC_API llr_quantizer : virtual public gr::sync_block
{
public:
    using sptr = std::shared_ptr<llr_quantizer>;

    /*!
     * \param quantizer as neuralfec.quantization.LlrQuantizer makes it from a model
     * \param frame_symbols symbols of one vector item
     * \param packed packed bytes, else int indices
     * \throws std::invalid_argument if there is no quantizer or frame_symbols is 0
     */
    static sptr make(std::shared_ptr<const symbol_quantizer> quantizer,
                     std::size_t frame_symbols,
                     bool packed = true);

    //! LLRs so far that were NaN.
    virtual uint64_t bad_samples() const = 0;
};

} // namespace gr::neuralfec

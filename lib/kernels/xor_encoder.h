/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Encoding of sparse linear codes.
 */
#pragma once

#include "kernels/span.h"

#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*!
 * Encodes by a list of exclusive ors: substitution into the parity checks of a sparse
 * code, and whatever else is linear. 64 frames stand in a word, so that a step costs
 * 64 frames as much as one.
 */
class xor_encoder
{
public:
    struct program {
        //! Bits of memory, 0 at first.
        std::size_t places = 0;
        //! Where each message bit is put.
        std::vector<uint32_t> message;
        //! Step s, one after the other: the bit targets[s] becomes the sum of the bits
        //! sources[begins[s]] .. sources[begins[s + 1] - 1], which may hold itself.
        std::vector<uint32_t> targets, begins, sources;
        //! The bit of memory that each code bit is.
        std::vector<uint32_t> sent;
    };

    //! \throws std::invalid_argument for indices out of range or lists that do not fit
    explicit xor_encoder(program p);

    std::size_t n() const { return d_program.sent.size(); }
    std::size_t k() const { return d_program.message.size(); }

    /*!
     * \param messages F * k; the lowest bit of each byte counts
     * \param codewords F * n
     * \throws std::invalid_argument if a size does not fit
     */
    void encode(span<const uint8_t> messages, span<uint8_t> codewords) const;

private:
    program d_program;
};

} // namespace gr::neuralfec

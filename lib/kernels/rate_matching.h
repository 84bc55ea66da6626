/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * From the bits that are sent to those of the code that a decoder knows.
 */
#pragma once

#include "kernels/span.h"

#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*!
 * LLRs of the sent bits of a punctured, shortened or repeated code as those of all bits
 * of its mother code: 0, "nothing known", where a bit is not sent; the sum where it is
 * sent more than once; certainty where it is known to be 0.
 */
class rate_matching
{
public:
    /*!
     * \param whole bits of the mother code
     * \param sent the bit of the mother code that each sent bit is
     * \param shortened bits of the mother code that are 0 and not sent
     * \throws std::invalid_argument for no sent bits, and for indices out of range
     */
    rate_matching(std::size_t whole,
                  std::vector<uint32_t> sent,
                  std::vector<uint32_t> shortened = {});

    std::size_t whole() const { return d_whole; }
    std::size_t sent() const { return d_sent.size(); }

    /*!
     * \param llrs F * sent(), log P(b=1) - log P(b=0); NaN counts as 0
     * \param out F * whole()
     * \returns how many LLRs were NaN
     * \throws std::invalid_argument if a size does not fit
     */
    std::size_t expand(span<const float> llrs, span<float> out) const;

private:
    std::size_t d_whole;
    std::vector<uint32_t> d_sent, d_shortened;
};

} // namespace gr::neuralfec

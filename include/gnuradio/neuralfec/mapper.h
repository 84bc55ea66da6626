/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/neuralfec/api.h>
#include <gnuradio/sync_decimator.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace gr::neuralfec {

/*!
 * \brief Mapper: K = log2(M) bits in, one complex symbol out.
 * \ingroup neuralfec
 *
 * The first bit of a group is the label's most significant, as soft_demapper gives them
 * back. Bits are bytes of which the lowest bit counts; blocks.packed_to_unpacked_bb makes
 * them of packed bytes.
 *
 * Stream tags go to the symbol that holds their bit; packet_len becomes the number of
 * symbols, and is an error, counted, where the packet's bits are not whole symbols.
 */
class NEURALFEC_API mapper : virtual public gr::sync_decimator
{
public:
    using sptr = std::shared_ptr<mapper>;

    /*!
     * \param points M = 2, 4, 8, ... 4096 points
     * \param labels each of 0 .. M - 1 once; labels[i] belongs to points[i]
     * \throws std::invalid_argument where the arguments are not so
     */
    static sptr make(const std::vector<gr_complex>& points,
                     const std::vector<uint32_t>& labels);

    //! symbols; bad_packets: packet_len tags that were no whole number of symbols
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

} // namespace gr::neuralfec

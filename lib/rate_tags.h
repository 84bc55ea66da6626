/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Stream tags across a change of the item rate. GNU Radio moves a tag to its new place,
 * but the value of packet_len counts items and would stay that of the old rate.
 */
#pragma once

#include <gnuradio/tags.h>
#include <pmt/pmt.h>

#include <cstdint>
#include <limits>

namespace gr::neuralfec {

inline const pmt::pmt_t packet_len_key = pmt::intern("packet_len");

/*!
 * Gives a tag its place and value behind a block of `out` items for `in` items.
 *
 * \returns whether the tag holds there: not where packet_len is not a whole number of the
 *          new items
 */
inline bool change_rate(gr::tag_t& tag, uint64_t in, uint64_t out)
{
    tag.offset = tag.offset * out / in;
    if (!pmt::eqv(tag.key, packet_len_key))
        return true;
    if (!pmt::is_integer(tag.value))
        return false;
    const int64_t length = pmt::to_long(tag.value);
    if (length <= 0 || length > std::numeric_limits<long>::max() / int64_t(out) ||
        length * int64_t(out) % int64_t(in) != 0)
        return false;
    tag.value = pmt::from_long(length * int64_t(out) / int64_t(in));
    return true;
}

} // namespace gr::neuralfec

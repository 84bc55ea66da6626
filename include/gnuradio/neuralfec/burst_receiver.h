/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/block.h>
#include <gnuradio/neuralfec/api.h>

#include <cstdint>
#include <map>
#include <string>

namespace gr::neuralfec {

struct burst_format;

/*!
 * \brief Burst receiver: samples in, symbols of the bursts in them and their channel out.
 * \ingroup neuralfec
 *
 * Outputs, both or none of them connected: y and h of the payload, y = h x + n with mean
 * |h|^2 = 1. On the first symbol of each burst y has the tags "noise_var", the variance
 * of n with the channel estimate's error counted in (what soft_demapper takes), and
 * "packet_len", the burst's symbols.
 *
 * On the message port "pdus" each burst is a PDU of y whose dictionary has start and
 * length (in samples of the stream), symbols, user (36 bits of the header), snr_db,
 * evm_db, cfo (subcarrier spacings), clock_offset, noise_var, whole and h.
 *
 * A stream tag "rx_time" behind the first sample tells a gap, as radios do after an
 * overflow: a burst with one inside is torn, counted and not handed on. DC and IQ image
 * are averaged over bursts and taken off. A burst comes out some samples after its last
 * one; a recording should not end with it.
 */
class NEURALFEC_API burst_receiver_block : virtual public gr::block
{
public:
    using sptr = std::shared_ptr<burst_receiver_block>;

    /*!
     * \param format the bursts' layout
     * \param threshold of the search's metric, within 0 and 1
     * \param false_refusals at most this share of whole bursts is refused as torn
     * \throws std::invalid_argument where the arguments are not so
     */
    static sptr make(const burst_format& format, double threshold, double false_refusals);

    //! samples, candidates, headers, bursts, gaps, torn_by_gap, torn_by_residual
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

} // namespace gr::neuralfec

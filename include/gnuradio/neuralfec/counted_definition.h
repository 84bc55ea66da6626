/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <gnuradio/fec/generic_decoder.h>
#include <gnuradio/fec/generic_encoder.h>
#include <gnuradio/neuralfec/api.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace gr::neuralfec {

/*!
 * A decoder definition for gr-fec's deployments that counts what it does: `frames`, and
 * `bad_packets` of a length that the code does not have, which give no bits.
 */
class NEURALFEC_API counted_decoder : public gr::fec::generic_decoder
{
public:
    using sptr = std::shared_ptr<counted_decoder>;
    using gr::fec::generic_decoder::generic_decoder;
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

/*! The same of an encoder. */
class NEURALFEC_API counted_encoder : public gr::fec::generic_encoder
{
public:
    using sptr = std::shared_ptr<counted_encoder>;
    using gr::fec::generic_encoder::generic_encoder;
    virtual std::map<std::string, uint64_t> stats() const = 0;
};

} // namespace gr::neuralfec

/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Codes as their decoders see them, one struct a family.
 */
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace gr::neuralfec {

/*! A systematic code as a decoder over its parity-check matrix sees it. */
struct parity_check_code {
    //! Bits of a codeword.
    uint32_t n;
    //! The check of each one in the parity-check matrix, ascending, and its bit.
    std::vector<uint32_t> checks;
    std::vector<uint32_t> bits;
    //! Where the k message bits stand in a codeword.
    std::vector<uint32_t> information_set;
    //! The bit of the codeword that each sent bit is, of a code with rate matching;
    //! empty: all are sent, in their order.
    std::vector<uint32_t> sent = {};
};

/*! A linear block code by its generator matrix. */
struct linear_code {
    //! Message bits.
    std::size_t k;
    //! G, k rows of n bits, one after the other.
    std::vector<uint8_t> generator;
    //! n rows of k bits, G pseudo_inverse = I.
    std::vector<uint8_t> pseudo_inverse;
};

/*!
 * How a linear code encodes: exclusive ors over bits of memory, which are 0 at first. The
 * package codes makes one that substitutes into a sparse parity-check matrix.
 */
struct encoding_program {
    //! Bits of memory.
    std::size_t places = 0;
    //! Where each message bit is put.
    std::vector<uint32_t> message;
    //! Step s, one after the other: the bit targets[s] becomes the sum of the bits
    //! sources[begins[s]] .. sources[begins[s + 1] - 1], which may hold itself.
    std::vector<uint32_t> targets, begins, sources;
    //! The bit of memory that each code bit is.
    std::vector<uint32_t> sent;
};

/*! A polar code: codewords u F^(x)m without bit reversal. */
struct polar_code {
    //! Bits of a codeword, a power of two.
    std::size_t n;
    //! Rising positions of the unfrozen bits of u: message bits, then check bits.
    std::vector<uint32_t> unfrozen;
    //! Check bits that choose among a list's words; 0: none.
    unsigned crc_degree = 0;
    //! Their polynomial without the leading term, bit i for x^i.
    uint32_t crc_polynomial = 0;
    //! Which of the unfrozen positions holds each message bit, then each check bit;
    //! empty: in their order.
    std::vector<uint32_t> order = {};
    //! The bit of the codeword that each sent bit is, of a code with rate matching;
    //! empty: all are sent, in their order.
    std::vector<uint32_t> sent = {};
    //! Bits of the codeword that are always 0 and not sent.
    std::vector<uint32_t> shortened = {};
};

/*! A convolutional code and the frames that it is used in. */
struct convolutional_code {
    //! Octal numbers as integers, the newest bit most significant; negative: the
    //! complement of that output is sent.
    std::vector<int> generators;
    //! That of a recursive code; 0: none.
    unsigned feedback = 0;
    //! 1: sent, 0: not, repeating over the coded bits; empty: all are sent.
    std::vector<uint8_t> puncture = {};
    //! Message bits of a frame; decoders of streams do not look at it.
    std::size_t k = 0;
    //! "none", "zero" or "tail-biting"; decoders of streams do not look at it.
    std::string termination = "none";
};

} // namespace gr::neuralfec

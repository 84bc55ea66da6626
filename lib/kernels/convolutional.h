/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Convolutional codes of rate 1/n: the trellis that the Viterbi and the BCJR decoder
 * share, and the frames cut out of it.
 */
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace gr::neuralfec {

/*!
 * A shift register w with n outputs c_j = g_j * w and the message u = f * w (modulo 2).
 *
 * Feedforward codes have f = 1, so u = w. A recursive code has c_j = (g_j / f) u: the
 * same codewords, other messages; it is systematic where g_j = f. (Lin and Costello,
 * "Error Control Coding", chapter 11.)
 *
 * A state is m bits, bit i = w_t-1-i. Edge e has m + 1 bits, bit i = w_t-i; it leads
 * from state e >> 1 to state e & (states - 1).
 */
class convolutional_trellis
{
public:
    static constexpr unsigned max_length = 9;
    static constexpr unsigned max_outputs = 6;

    /*!
     * \param generators g_j as in the literature's octal numbers: the coefficient of
     *        the newest bit is the most significant of the K; negative: the complement
     *        of that output is sent
     * \param feedback f likewise; 0: feedforward
     * \throws std::invalid_argument unless there are 1 to 6 generators, not 0, the
     * constraint length K is 2 to 9 and the feedback has the newest bit's coefficient
     */
    explicit convolutional_trellis(const std::vector<int>& generators,
                                   unsigned feedback = 0);

    unsigned memory() const { return d_memory; }
    unsigned states() const { return 1u << d_memory; }
    //! n: coded bits of a step
    unsigned outputs() const { return static_cast<unsigned>(d_taps.size()); }
    //! The coded bits of an edge, c_j in bit j.
    unsigned output(unsigned edge) const;
    //! The message bit of an edge.
    unsigned message(unsigned edge) const;
    //! Bit i: the coefficient of w_t-i in the message bit.
    unsigned feedback_taps() const { return d_feedback; }
    //! The most coded bits in which two paths of m steps from one state, or of fewer
    //! steps from any two states, differ.
    unsigned max_weight() const { return d_max_weight; }
    //! The most coded bits in which paths of equal input from two states differ.
    unsigned tail_weight() const { return d_tail_weight; }

private:
    unsigned d_memory = 0;
    std::vector<unsigned> d_taps;
    unsigned d_inverted = 0;
    unsigned d_feedback = 1;
    unsigned d_max_weight = 0;
    unsigned d_tail_weight = 0;
};

//! How the ends of a frame are known: it starts in state 0 and ends anywhere (none) or in
//! state 0 after m tail steps (zero), or it starts in the unknown state in which it ends.
enum class termination { none, zero, tail_biting };

//! "none", "zero" or "tail-biting". \throws std::invalid_argument for another name
termination termination_from_name(const std::string& name);

//! Trellis steps and received coded bits of a frame of k message bits.
struct convolutional_frame {
    std::size_t message_bits;
    termination end;
    std::size_t steps;
    //! for each coded bit 0 .. steps * n - 1, whether it is sent
    std::vector<uint8_t> kept;
    //! for each coded bit, how many were sent before it
    std::vector<uint32_t> rank;
    std::size_t received;
    bool punctured;

    /*!
     * \param puncture 1: sent, 0: not; its length is a multiple of n, it repeats; empty:
     *        all are sent
     * \throws std::invalid_argument for k = 0, a tail-biting k < m, or a pattern of
     * another length or one that sends nothing
     */
    convolutional_frame(const convolutional_trellis& trellis,
                        std::size_t k,
                        termination end,
                        const std::vector<uint8_t>& puncture = {});
};

} // namespace gr::neuralfec

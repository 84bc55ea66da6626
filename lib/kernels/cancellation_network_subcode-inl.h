/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The subcodes of 8 bits in which the cancellation network's tree ends. Included once for
 * each SIMD target.
 */
#include "kernels/cancellation_network_vectors-inl.h"

#include <hwy/contrib/math/math-inl.h>
#include <vector>

#if defined(NEURALFEC_CANCELLATION_NETWORK_SUBCODE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_CANCELLATION_NETWORK_SUBCODE_INL_H
#undef NEURALFEC_CANCELLATION_NETWORK_SUBCODE_INL_H
#else
#define NEURALFEC_CANCELLATION_NETWORK_SUBCODE_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

/*
 * A subcode of 8 bits. Its words are c = (x + y, y) with x = u_0..3 F^(x)2 and
 * y = u_4..7 F^(x)2, of which the unfrozen bits leave 2^r; with the probabilities of
 * the 16 values of each half in tables, a word costs one product.
 */
struct subcode_words {
    std::vector<uint8_t> x, y;

    //! mask: bit i tells that u_i is unfrozen.
    explicit subcode_words(uint8_t mask)
    {
        for (unsigned u = 0; u < 16; u++) {
            if ((u & ~mask & 15) == 0)
                x.push_back(transform(u));
            if ((u & ~(mask >> 4) & 15) == 0)
                y.push_back(transform(u));
        }
    }

    static unsigned transform(unsigned u)
    {
        // Bit i of a half is its position i.
        u ^= (u >> 1) & 5;
        return u ^ ((u >> 2) & 3);
    }
};

//! Probabilities of a subcode's bits in each lane, and the way back to the LLRs.
class subcode
{
public:
    // An implicit one would not be compiled for the target.
    subcode() {}

    //! llrs: of the 8 positions.
    void set(const subcode_words& code, const float* llrs)
    {
        fill(llrs, d_ea);
        fill(llrs + 4 * d_lanes, d_eb);
        for (buffer* table : {&d_pa, &d_pb, &d_px})
            clear(*table);
        for (unsigned y : code.y) {
            const V eb = load(row(d_eb, y));
            V total = hn::Zero(d);
            for (unsigned x : code.x) {
                const V p = hn::Mul(load(row(d_ea, x ^ y)), eb);
                add_to(row(d_pa, x ^ y), p);
                add_to(row(d_px, x), p);
                total = hn::Add(total, p);
            }
            store(total, row(d_pb, y));
        }
    }

    //! log P(0) / P(1) of position j.
    V position(std::size_t j) const
    {
        return log_ratio(j < 4 ? d_pa : d_pb, position_bits(j % 4));
    }
    //! log P(0) / P(1) of bit j of u, which is unfrozen.
    V message(std::size_t j) const
    {
        return log_ratio(j < 4 ? d_px : d_pb, u_bits(j % 4));
    }

    //! Of gradients of position() and message(), to be followed by words_gradient().
    void clear_gradient()
    {
        for (buffer* table : {&d_dpa, &d_dpb, &d_dpx, &d_dea, &d_deb})
            clear(*table);
    }
    void add_position_gradient(std::size_t j, V g)
    {
        log_ratio_gradient(
            j < 4 ? d_pa : d_pb, position_bits(j % 4), g, j < 4 ? d_dpa : d_dpb);
    }
    void add_message_gradient(std::size_t j, V g)
    {
        log_ratio_gradient(j < 4 ? d_px : d_pb, u_bits(j % 4), g, j < 4 ? d_dpx : d_dpb);
    }
    //! From the a-posteriori tables to the logarithms of the a-priori ones.
    void words_gradient(const subcode_words& code)
    {
        for (unsigned y : code.y)
            for (unsigned x : code.x) {
                const V g = hn::Add(load(row(d_dpa, x ^ y)),
                                    hn::Add(load(row(d_dpx, x)), load(row(d_dpb, y))));
                const V p =
                    hn::Mul(g, hn::Mul(load(row(d_ea, x ^ y)), load(row(d_eb, y))));
                add_to(row(d_dea, x ^ y), p);
                add_to(row(d_deb, y), p);
            }
    }
    //! Gradient of the LLR of position j.
    V llr_gradient(std::size_t j, V llr) const
    {
        V zero, one;
        parts(j < 4 ? d_dea : d_deb, position_bits(j % 4), zero, one);
        // log P(0) = -log(1 + e^-m), log P(1) = -log(1 + e^m).
        const V p_one = hn::Div(constant(1.0f), hn::Add(constant(1.0f), hn::Exp(d, llr)));
        return hn::Sub(hn::Mul(zero, p_one),
                       hn::Mul(one, hn::Sub(constant(1.0f), p_one)));
    }

private:
    const std::size_t d_lanes = hn::Lanes(d);
    // Of the 16 values of each half a = x + y, b = y, and of x: a-priori, a-posteriori.
    buffer d_ea = rows(16), d_eb = rows(16);
    buffer d_pa = rows(16), d_pb = rows(16), d_px = rows(16);
    buffer d_dea = rows(16), d_deb = rows(16);
    buffer d_dpa = rows(16), d_dpb = rows(16), d_dpx = rows(16);

    float* row(const buffer& table, unsigned value) const
    {
        return table.get() + value * d_lanes;
    }
    void clear(buffer& table) { std::fill_n(table.get(), 16 * d_lanes, 0.0f); }

    //! Probabilities of the 16 values of 4 bits with these LLRs.
    void fill(const float* llrs, buffer& table)
    {
        store(constant(1.0f), table.get());
        for (unsigned j = 0; j < 4; j++) {
            const V llr = load(llrs + j * d_lanes);
            const V one =
                hn::Div(constant(1.0f), hn::Add(constant(1.0f), hn::Exp(d, llr)));
            // 1 - one would lose its digits where one is near 1.
            const V zero = hn::Div(constant(1.0f),
                                   hn::Add(constant(1.0f), hn::Exp(d, hn::Neg(llr))));
            for (unsigned c = 0; c < (1u << j); c++) {
                const V p = load(row(table, c));
                store(hn::Mul(p, one), row(table, c + (1u << j)));
                store(hn::Mul(p, zero), row(table, c));
            }
        }
    }
    //! Sums of a table over the values in which bits selects an odd number of ones, or
    //! even.
    void parts(const buffer& table, unsigned bits, V& zero, V& one) const
    {
        zero = hn::Zero(d);
        one = hn::Zero(d);
        for (unsigned c = 0; c < 16; c++) {
            const V p = load(row(table, c));
            if (__builtin_parity(c & bits))
                one = hn::Add(one, p);
            else
                zero = hn::Add(zero, p);
        }
    }
    V log_ratio(const buffer& table, unsigned bits) const
    {
        V zero, one;
        parts(table, bits, zero, one);
        return hn::Log(d, hn::Div(zero, one));
    }
    void log_ratio_gradient(const buffer& table, unsigned bits, V g, buffer& gradient)
    {
        V zero, one;
        parts(table, bits, zero, one);
        const V by_zero = hn::Div(g, zero), by_one = hn::Neg(hn::Div(g, one));
        for (unsigned c = 0; c < 16; c++)
            add_to(row(gradient, c), __builtin_parity(c & bits) ? by_one : by_zero);
    }
    // A table's bit as a sum of the table's index bits: position j itself, or bit i of u,
    // which is the sum of the positions with all ones of i.
    static unsigned position_bits(std::size_t j) { return 1u << j; }
    static unsigned u_bits(std::size_t i)
    {
        unsigned bits = 0;
        for (unsigned j = 0; j < 4; j++)
            if ((j & i) == i)
                bits |= 1u << j;
        return bits;
    }
};

} // namespace
} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

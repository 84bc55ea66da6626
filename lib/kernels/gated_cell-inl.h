/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The cell of a gated recurrent unit (Cho et al. 2014, as torch has it). Included once
 * for each SIMD target.
 */
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#if defined(NEURALFEC_GATED_CELL_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_GATED_CELL_INL_H
#undef NEURALFEC_GATED_CELL_INL_H
#else
#define NEURALFEC_GATED_CELL_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x)
{
    const V one = hn::Set(d, 1);
    return hn::Div(one, hn::Add(one, hn::Exp(d, hn::Neg(x))));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh(D d, V x)
{
    const V s = sigmoid(d, hn::Add(x, x));
    return hn::Sub(hn::Add(s, s), hn::Set(d, 1));
}

/*!
 * The state after a step: z h + (1 - z) n with n = tanh(input_sum + r hidden_sum).
 *
 * \param r, z sums of the reset and the update gate
 * \param input_sum, hidden_sum what the input and the state give to the candidate n
 * \param h the state before
 */
template <class D, class V = hn::Vec<D>>
HWY_INLINE V gated_state(D d, V r, V z, V input_sum, V hidden_sum, V h)
{
    const V candidate = tanh(d, hn::MulAdd(sigmoid(d, r), hidden_sum, input_sum));
    return hn::MulAdd(sigmoid(d, z), hn::Sub(h, candidate), candidate);
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/demapper_tables.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/demapper.cc"
#include <hwy/foreach_target.h>
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr D d;
// Symbols that are demapped together, one a lane.
constexpr std::size_t lanes = hn::MaxLanes(d);

constexpr float log2e = 1.44269504f;
constexpr float ln2 = 0.693147181f;
// LLRs above this are taken apart into the distance of the nearest levels and a
// correction, because the exponentials of the less likely levels fall out of range.
constexpr float far = 75.0f;

HWY_INLINE V set(float x)
{
    return hn::Set(d, x);
}

// 2^x for x < 127, with a smallest value of 2^-125 in place of what is less.
HWY_INLINE V exp2_floor(V x)
{
    return exp2_coarse(d, hn::Max(x, set(-125.0f)));
}

// 2^x for x < 127, 0 where it is out of range.
HWY_INLINE V exp2_zero(V x)
{
    return hn::IfThenElseZero(hn::Gt(x, set(-126.0f)), exp2_floor(x));
}

// One rail of m = 2^k Gray levels at .., -1.5, -0.5, 0.5, 1.5, ..; w is the received
// value on that scale, g = |h|^2 spacing^2 / N0.
//
// Folding: bit 0 is the sign of w. The other bits are those of |w| - m/4 on a rail of
// half as many levels, of which bit 0 is set inside, and so on. The nearest levels of
// either class of a bit lie on either side of its fold, which gives the max-log LLR
// directly.
template <std::size_t k, bool exact>
HWY_INLINE void demap_gray(const gray_rail& rail, V w, V g, float* HWY_RESTRICT rows)
{
    constexpr std::size_t half = std::size_t{1} << (k - 1); // levels on each side of 0
    const V sign_bit = hn::SignBit(d);
    const V one = set(1.0f);
    const V g2 = hn::Add(g, g);

    // Sums of likelihoods, relative to the nearest level's: of the levels at +-(j + 1/2),
    // and of all on the near and the far side of 0.
    [[maybe_unused]] V level[half];
    [[maybe_unused]] V near_side, far_side;
    if constexpr (exact && k > 1) {
        const V a = hn::Abs(w);
        const V nearest = hn::Min(hn::Add(hn::Floor(a), set(0.5f)), set(half - 0.5f));
        const V gain = hn::Mul(g, set(log2e));
        const V slope = hn::Mul(hn::Add(gain, gain), hn::Sub(a, nearest));
        // exp(-g (a + x)^2) = exp(-g (a - x)^2) exp(-4 g a x), x = j + 1/2.
        V mirror = hn::Max(hn::Mul(hn::Mul(gain, a), set(-2.0f)), set(-125.0f));
        mirror = exp2_fine(d, mirror);
        const V step = hn::Mul(mirror, mirror);
        near_side = far_side = hn::Zero(d);
        HWY_UNROLL(16)
        for (std::size_t j = 0; j < half; j++) {
            const V delta = hn::Sub(set(j + 0.5f), nearest);
            const V t = exp2_floor(hn::Mul(delta, hn::NegMulAdd(gain, delta, slope)));
            const V u = hn::Mul(t, mirror);
            mirror = hn::Mul(mirror, step);
            near_side = hn::Add(near_side, t);
            far_side = hn::Add(far_side, u);
            level[j] = hn::Add(t, u);
        }
    }

    [[maybe_unused]] V center = hn::Zero(d); // distance of the nearest earlier fold
    HWY_UNROLL(5)
    for (std::size_t r = 0; r < k; r++) {
        const V a = hn::Abs(w);
        const V q = hn::Min(hn::Add(hn::Floor(a), one), set(half >> r));
        // g ((a + 1/2)^2 - (a - (q - 1/2))^2), without cancellation near a = 0.
        V llr =
            hn::Mul(hn::Mul(g2, q), hn::Add(hn::NegMulAdd(set(0.5f), q, a), set(0.5f)));

        if constexpr (exact && k > 1) {
            V near = near_side, rest = far_side;
            const auto is_far = hn::Ge(llr, set(far));
            V rest_far = one;
            if (r > 0) {
                // Levels by their distance from this fold: inner, then outer half.
                const std::size_t n = half >> r;
                const V* inner = level + (half - 2 * n);
                V* outer = level + (half - n);
                V inside = inner[0], outside = outer[0];
                for (std::size_t j = 1; j < n; j++) {
                    inside = hn::Add(inside, inner[j]);
                    outside = hn::Add(outside, outer[j]);
                }
                for (std::size_t j = 0; j < n; j++)
                    outer[j] = hn::Add(inner[n - 1 - j], outer[j]);
                const auto is_inside = hn::Lt(w, hn::Zero(d));
                near = hn::IfThenElse(is_inside, inside, outside);
                rest = hn::IfThenElse(is_inside, outside, inside);
                // Seen from near the center of a run of equal bits, the other class's
                // levels at both ends of it count; any further ones do not when far.
                constexpr float cutoff = 20.0f;
                const float ends = 2.0f * ((2 * half >> r) + 1);
                const V difference = hn::Mul(hn::Mul(g, set(ends)), center);
                if (!hn::AllFalse(d, hn::And(is_far, hn::Lt(difference, set(cutoff)))))
                    rest_far = hn::Add(one, exp2_floor(hn::Mul(difference, set(-log2e))));
            }
            rest = hn::IfThenElse(is_far, rest_far, rest);
            llr = hn::Add(hn::IfThenElseZero(is_far, llr),
                          log_coarse(d, hn::Div(near, rest)));
            center = r == 0 ? a : hn::Min(center, a);
        }

        const bool inverted = rail.inverted[r] != (r > 0);
        const V sign = hn::Xor(hn::And(w, sign_bit), inverted ? sign_bit : hn::Zero(d));
        hn::Store(hn::Xor(llr, sign), d, rows + rail.positions[r] * lanes);
        w = hn::Sub(a, set(static_cast<float>(half >> r) / 2));
    }
}

template <bool exact>
HWY_INLINE void demap_gray(const gray_rail& rail, V w, V g, float* rows)
{
    switch (rail.bits) {
    case 0:
        break;
    case 1:
        return demap_gray<1, exact>(rail, w, g, rows);
    case 2:
        return demap_gray<2, exact>(rail, w, g, rows);
    case 3:
        return demap_gray<3, exact>(rail, w, g, rows);
    case 4:
        return demap_gray<4, exact>(rail, w, g, rows);
    case 5:
        return demap_gray<5, exact>(rail, w, g, rows);
    case 6:
        return demap_gray<6, exact>(rail, w, g, rows);
    }
}

// log2 of a sum of likelihoods as the largest term's log2 and the sum relative to it.
struct log_sum {
    V peak, sum;
};

template <bool exact>
HWY_INLINE void add(log_sum& to, const log_sum& from)
{
    const V peak = hn::Max(to.peak, from.peak);
    if constexpr (exact)
        to.sum = hn::Add(hn::Mul(to.sum, exp2_zero(hn::Sub(to.peak, peak))),
                         hn::Mul(from.sum, exp2_zero(hn::Sub(from.peak, peak))));
    to.peak = peak;
}

// Each bit's two halves of 2^k rows of metrics, combined by an associative operation:
// fold(b, c) for class c of bit b, most significant first. scratch holds 2^(k-1) rows.
template <class Combine, class Result>
HWY_INLINE void fold_classes(const float* rows,
                             std::size_t k,
                             float* scratch,
                             const Combine& combine,
                             const Result& result)
{
    for (std::size_t b = 0, n = std::size_t{1} << k; b < k; b++) {
        n /= 2;
        V zero = hn::Load(d, rows), one = hn::Load(d, rows + n * lanes);
        hn::Store(combine(zero, one), d, scratch);
        for (std::size_t j = 1; j < n; j++) {
            const V x = hn::Load(d, rows + j * lanes);
            const V y = hn::Load(d, rows + (n + j) * lanes);
            zero = combine(zero, x);
            one = combine(one, y);
            hn::Store(combine(x, y), d, scratch + j * lanes);
        }
        result(b, zero, one);
        rows = scratch;
    }
}

constexpr std::size_t max_bits = 12;

// The two classes of each bit of a set, and all of it.
struct class_sums {
    log_sum of[max_bits][2];
    log_sum all;
};

// metrics: 2^k rows of log2 likelihoods.
template <bool exact>
HWY_INLINE void
sum_classes(const float* metrics, std::size_t k, float* scratch, class_sums& out)
{
    const std::size_t n = std::size_t{1} << k;
    fold_classes(
        metrics,
        k,
        scratch,
        [](V x, V y) { return hn::Max(x, y); },
        [&](std::size_t b, V zero, V one) {
            out.of[b][0].peak = zero;
            out.of[b][1].peak = one;
        });
    out.all.peak =
        k ? hn::Max(out.of[0][0].peak, out.of[0][1].peak) : hn::Load(d, metrics);
    if constexpr (!exact)
        return;
    float* terms = scratch + n / 2 * lanes;
    for (std::size_t j = 0; j < n; j++)
        hn::Store(exp2_zero(hn::Sub(hn::Load(d, metrics + j * lanes), out.all.peak)),
                  d,
                  terms + j * lanes);
    out.all.sum = set(1.0f);
    fold_classes(
        terms,
        k,
        scratch,
        [](V x, V y) { return hn::Add(x, y); },
        [&](std::size_t b, V zero, V one) {
            out.all.sum = hn::Add(zero, one);
            for (int c : {0, 1}) {
                auto& x = out.of[b][c];
                const V below = hn::Sub(out.all.peak, x.peak);
                const auto near = hn::Lt(below, set(100.0f));
                x.sum =
                    hn::Mul(c ? one : zero, exp2_coarse(d, hn::Min(below, set(100.0f))));
                if (HWY_LIKELY(hn::AllTrue(d, near)))
                    continue;
                // Too far below the peak of all: once more, relative to its own. Lane by
                // lane, so that a symbol's neighbours do not touch its LLRs.
                const std::size_t bit = n >> (b + 1);
                V own = hn::Zero(d);
                for (std::size_t j = 0; j < n; j++)
                    if (((j & bit) != 0) == (c != 0))
                        own = hn::Add(
                            own,
                            exp2_zero(hn::Sub(hn::Load(d, metrics + j * lanes), x.peak)));
                x.sum = hn::IfThenElse(near, x.sum, own);
            }
        });
}

// Writes rows of LLRs, one a bit, symbol by symbol. Each symbol's last store may go up to
// 3 values beyond it, which the next symbol's first overwrites: out has room for them.
HWY_INLINE void interleave(const float* rows, std::size_t bits, float* out)
{
#if HWY_TARGET == HWY_SCALAR
    for (std::size_t b = 0; b < bits; b++)
        out[b] = rows[b];
#else
    const hn::FixedTag<float, 4> d4;
    for (std::size_t s = 0; s < lanes; s += 4) {
        for (std::size_t b = (bits - 1) / 4 * 4 + 4; b > 0;) {
            b -= 4;
            const float* row = rows + b * lanes + s;
            const auto r0 = hn::Load(d4, row);
            const auto r1 = hn::Load(d4, row + lanes);
            const auto r2 = hn::Load(d4, row + 2 * lanes);
            const auto r3 = hn::Load(d4, row + 3 * lanes);
            const auto low01 = hn::InterleaveLower(d4, r0, r1);
            const auto low23 = hn::InterleaveLower(d4, r2, r3);
            const auto up01 = hn::InterleaveUpper(d4, r0, r1);
            const auto up23 = hn::InterleaveUpper(d4, r2, r3);
            float* to = out + s * bits + b;
            hn::StoreU(hn::ConcatLowerLower(d4, low23, low01), d4, to);
            hn::StoreU(hn::ConcatUpperUpper(d4, low23, low01), d4, to + bits);
            hn::StoreU(hn::ConcatLowerLower(d4, up23, up01), d4, to + 2 * bits);
            hn::StoreU(hn::ConcatUpperUpper(d4, up23, up01), d4, to + 3 * bits);
        }
    }
#endif
}

// Far outside the constellation -gain |c - x|^2 loses the difference of points, and
// gain (2 c x - |x|^2) is as good, the same to all of them apart.
HWY_NOINLINE void outside_metrics(const label_set& set_,
                                  V re,
                                  V im,
                                  V gain,
                                  float outside_from,
                                  float* rows)
{
    const auto outside = hn::Gt(hn::Max(hn::Abs(re), hn::Abs(im)), set(outside_from));
    const V twice_re = hn::Add(re, re), twice_im = hn::Add(im, im);
    for (std::size_t j = 0; j < set_.re.size(); j++) {
        const V x = hn::Mul(set(set_.re[j]), hn::Sub(twice_re, set(set_.re[j])));
        const V y = hn::Mul(set(set_.im[j]), hn::Sub(twice_im, set(set_.im[j])));
        const V linear = hn::Mul(hn::Add(x, y), gain);
        hn::Store(hn::IfThenElse(outside, linear, hn::Load(d, rows + j * lanes)),
                  d,
                  rows + j * lanes);
    }
}

// The likelihoods' log2 as rows: -gain |c - x|^2 for each point or level x.
HWY_INLINE void
metrics_of(const label_set& set_, std::size_t rail, V re, V im, V gain, float* rows)
{
    const V c = rail ? im : re;
    const V negative = hn::Neg(gain);
    for (std::size_t j = 0; j < set_.re.size(); j++) {
        const V x = hn::Sub(c, set(set_.re[j]));
        V square = hn::Mul(x, x);
        if (!set_.im.empty()) {
            const V y = hn::Sub(im, set(set_.im[j]));
            square = hn::MulAdd(y, y, square);
        }
        hn::Store(hn::Mul(square, negative), d, rows + j * lanes);
    }
}

// What demap_gray takes as w, for both rails: y / h to within half a unit in the last
// place, given h's inverse power in single precision. Rails of 32 levels and more need
// it: the error of y / h in single precision grows with them and the distance from the
// nearest fold does not.
HWY_INLINE void
rail_coordinates(const demapper_tables& t, V h_re, V h_im, V inverse, V& re, V& im)
{
    const auto& [i_rail, q_rail] = t.rails;
    HWY_ALIGN float y[2][lanes], h[2][lanes], inv[lanes];
    hn::Store(re, d, y[0]);
    hn::Store(im, d, y[1]);
    hn::Store(h_re, d, h[0]);
    hn::Store(h_im, d, h[1]);
    hn::Store(inverse, d, inv);
    for (std::size_t s = 0; s < lanes; s++) {
        const double a = h[0][s], b = h[1][s], c = y[0][s], e = y[1][s], r = inv[s];
        const double precise = r * (2 - r * (a * a + b * b));
        y[0][s] = static_cast<float>(((a * c + b * e) * precise - i_rail.center) *
                                     i_rail.inverse_spacing);
        y[1][s] = static_cast<float>(((a * e - b * c) * precise - q_rail.center) *
                                     q_rail.inverse_spacing);
    }
    re = hn::Load(d, y[0]);
    im = hn::Load(d, y[1]);
}

// Any constellation, any number of interferers; `outside`: received values may be far
// outside of one set of points.
template <bool exact, bool outside = false>
HWY_INLINE void demap_sets(const demapper_tables& t,
                           V re,
                           V im,
                           V gain,
                           const V (&gain_re)[2],
                           const V (&gain_im)[2],
                           float* scratch,
                           float* rows)
{
    const std::size_t hypotheses = [&] {
        std::size_t n = 1;
        for (std::size_t i = 0; i < t.interferers; i++)
            n *= t.interferer_points.size();
        return n;
    }();
    log_sum sums[max_bits][2];
    class_sums part[2];
    for (std::size_t z = 0; z < hypotheses; z++) {
        V c_re = re, c_im = im;
        for (std::size_t i = 0, rest = z; i < t.interferers; i++) {
            const auto point = t.interferer_points[rest % t.interferer_points.size()];
            rest /= t.interferer_points.size();
            const V p_re = set(point.real()), p_im = set(point.imag());
            c_re = hn::MulAdd(gain_im[i], p_im, hn::NegMulAdd(gain_re[i], p_re, c_re));
            c_im = hn::NegMulAdd(gain_im[i], p_re, hn::NegMulAdd(gain_re[i], p_im, c_im));
        }
        for (std::size_t s = 0; s < t.sets.size(); s++) {
            metrics_of(t.sets[s], s, c_re, c_im, gain, scratch);
            if constexpr (outside)
                outside_metrics(t.sets[s], c_re, c_im, gain, t.limit, scratch);
            const std::size_t n = t.sets[s].re.size();
            sum_classes<exact>(
                scratch, t.sets[s].positions.size(), scratch + n * lanes, part[s]);
        }
        for (std::size_t s = 0; s < t.sets.size(); s++) {
            for (std::size_t b = 0; b < t.sets[s].positions.size(); b++) {
                for (int c : {0, 1}) {
                    log_sum x = part[s].of[b][c];
                    if (t.sets.size() == 2) {
                        x.peak = hn::Add(x.peak, part[1 - s].all.peak);
                        if constexpr (exact)
                            x.sum = hn::Mul(x.sum, part[1 - s].all.sum);
                    }
                    auto& sum = sums[t.sets[s].positions[b]][c];
                    if (z == 0)
                        sum = x;
                    else
                        add<exact>(sum, x);
                }
            }
        }
    }
    for (std::size_t b = 0; b < t.bits_per_symbol; b++) {
        V llr = hn::Mul(set(ln2), hn::Sub(sums[b][1].peak, sums[b][0].peak));
        if constexpr (exact)
            llr = hn::Add(llr, log_coarse(d, hn::Div(sums[b][1].sum, sums[b][0].sum)));
        hn::Store(llr, d, rows + b * lanes);
    }
}

// For symbols that are met rarely: by itself, so that it does not slow down the others.
template <bool exact>
HWY_NOINLINE void
demap_outside(const demapper_tables& t, V re, V im, V gain, float* scratch, float* rows)
{
    const V none[2] = {};
    demap_sets<exact, true>(t, re, im, gain, none, none, scratch, rows);
}

// One vector of symbols. Returns a bit for each symbol that is out of the range in which
// single precision is safe: too large, h near 0, or not finite.
template <bool exact>
HWY_INLINE uint32_t demap_vector(const demapper_tables& t,
                                 const demapper_input& in,
                                 std::size_t i,
                                 float* scratch,
                                 float* rows)
{
    const auto load = [&](const std::complex<float>* from, V& re, V& im) {
        hn::LoadInterleaved2(d, reinterpret_cast<const float*>(from + i), re, im);
    };
    const V one = set(1.0f);
    V re, im;
    load(in.y, re, im);
    V gain = hn::Div(one,
                     in.noise_var_per_symbol ? hn::LoadU(d, in.noise_var + i)
                                             : set(*in.noise_var));
    V inverse = one;
    auto safe = hn::Lt(hn::Zero(d), one);
    V interferer_re[2] = {one, one}, interferer_im[2] = {one, one};
    V h_re = one, h_im = hn::Zero(d);
    if (in.h) {
        load(in.h, h_re, h_im);
        // Equation (4): y / h and |h|^2 / N0 are all that the LLRs depend on.
        const V power = hn::MulAdd(h_re, h_re, hn::Mul(h_im, h_im));
        safe = hn::And(hn::Gt(power, set(1e-30f)), hn::Lt(power, set(1e30f)));
        inverse = hn::Div(one, power);
        gain = hn::Mul(gain, power);
    }
    // Next to the exponentials it costs nothing; max-log would be a fifth slower.
    const bool fine = exact && t.fine;
    if (fine) {
        rail_coordinates(t, h_re, h_im, inverse, re, im);
    } else if (in.h) {
        const V turned = hn::MulAdd(h_re, re, hn::Mul(h_im, im));
        im = hn::Mul(inverse, hn::MulSub(h_re, im, hn::Mul(h_im, re)));
        re = hn::Mul(inverse, turned);
    }
    const V limit = set(t.limit);
    for (std::size_t n = 0; n < t.interferers; n++) {
        V g_re, g_im;
        load(in.interferers[n], g_re, g_im);
        interferer_re[n] = hn::Mul(inverse, hn::MulAdd(h_re, g_re, hn::Mul(h_im, g_im)));
        interferer_im[n] = hn::Mul(inverse, hn::MulSub(h_re, g_im, hn::Mul(h_im, g_re)));
        safe = hn::And(safe,
                       hn::And(hn::Lt(hn::Abs(interferer_re[n]), limit),
                               hn::Lt(hn::Abs(interferer_im[n]), limit)));
    }
    if (t.folds) {
        const auto& [i_rail, q_rail] = t.rails;
        if (!fine) {
            re = hn::Mul(hn::Sub(re, set(i_rail.center)), set(i_rail.inverse_spacing));
            im = hn::Mul(hn::Sub(im, set(q_rail.center)), set(q_rail.inverse_spacing));
        }
        const V g_re = hn::Mul(gain, set(i_rail.square_spacing));
        const V g_im = hn::Mul(gain, set(q_rail.square_spacing));
        demap_gray<exact>(i_rail, re, g_re, rows);
        demap_gray<exact>(q_rail, im, g_im, rows);
        gain = hn::Max(g_re, g_im);
    } else {
        demap_sets<exact>(t,
                          re,
                          im,
                          hn::Mul(gain, set(log2e)),
                          interferer_re,
                          interferer_im,
                          scratch,
                          rows);
    }
    safe = hn::And(safe, hn::Lt(gain, set(1e12f)));
    const V size = hn::Max(hn::Abs(re), hn::Abs(im));
    auto inside = hn::Lt(size, limit);
    if (HWY_LIKELY(hn::AllTrue(d, hn::And(safe, inside))))
        return 0;
    if (t.linear_outside) {
        demap_outside<exact>(t, re, im, hn::Mul(gain, set(log2e)), scratch, rows);
        inside = hn::Lt(size, set(most_outside));
    }
    safe = hn::And(safe, inside);
    uint8_t bits[8] = {};
    hn::StoreMaskBits(d, hn::Not(safe), bits);
    return bits[0] | bits[1] << 8;
}

template <bool exact>
std::size_t demap_all(const demapper_tables& t, const demapper_input& in, float* llrs)
{
    const std::size_t bits = t.bits_per_symbol;
    HWY_ALIGN float rows[max_bits * lanes] = {};
    HWY_ALIGN float block[(max_bits + 1) * lanes];
    // Metrics, terms of the sum and what folding leaves of them.
    std::size_t largest = 0;
    for (const auto& set : t.sets)
        largest = std::max(largest, set.re.size());
    const auto scratch = hwy::AllocateAligned<float>(t.folds ? 1 : 3 * largest * lanes);

    std::size_t bad = 0;
    std::size_t i = 0;
    const auto fix = [&](uint32_t unsafe) {
        for (std::size_t s = i; unsafe != 0; unsafe >>= 1, s++)
            if ((unsafe & 1) && s < in.size)
                bad += !demap_one(t, in, s, llrs + s * bits);
    };
    for (; i + lanes <= in.size; i += lanes) {
        const uint32_t unsafe = demap_vector<exact>(t, in, i, scratch.get(), rows);
        if (i + lanes < in.size && (in.size - i - lanes) * bits >= 3) {
            interleave(rows, bits, llrs + i * bits);
        } else {
            interleave(rows, bits, block);
            std::memcpy(llrs + i * bits, block, lanes * bits * sizeof(float));
        }
        if (HWY_UNLIKELY(unsafe))
            fix(unsafe);
    }
    if (const std::size_t rest = in.size - i; rest > 0) {
        // The last symbols, made a whole vector.
        std::complex<float> y[lanes], h[lanes], interferer[2][lanes];
        float noise_var[lanes];
        std::fill_n(noise_var, lanes, 1.0f);
        std::copy_n(in.y + i, rest, y);
        demapper_input part = in;
        part.y = y;
        if (in.noise_var_per_symbol) {
            std::copy_n(in.noise_var + i, rest, noise_var);
            part.noise_var = noise_var;
        }
        if (in.h) {
            std::copy_n(in.h + i, rest, h);
            part.h = h;
        }
        const std::complex<float>* gains[2] = {interferer[0], interferer[1]};
        for (std::size_t n = 0; n < t.interferers; n++)
            std::copy_n(in.interferers[n] + i, rest, interferer[n]);
        part.interferers = gains;
        const uint32_t unsafe = demap_vector<exact>(t, part, 0, scratch.get(), rows);
        interleave(rows, bits, block);
        std::memcpy(llrs + i * bits, block, rest * bits * sizeof(float));
        fix(unsafe);
    }
    return bad;
}

std::size_t demap(const demapper_tables& t, const demapper_input& in, float* llrs)
{
    return t.exact ? demap_all<true>(t, in, llrs) : demap_all<false>(t, in, llrs);
}

} // namespace HWY_NAMESPACE
} // namespace gr::neuralfec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(demap);

namespace {

std::string text(std::size_t n)
{
    return std::to_string(n);
}

} // namespace

std::size_t demapper::bits_per_symbol() const
{
    return d_tables->bits_per_symbol;
}
std::size_t demapper::interferers() const
{
    return d_tables->interferers;
}
bool demapper::folds() const
{
    return d_tables->folds;
}

std::size_t demapper::demap(span<const complex> symbols,
                            span<const float> noise_var,
                            span<const complex> csi,
                            span<const complex* const> interferer_csi,
                            span<float> llrs) const
{
    const std::size_t n = symbols.size();
    const std::size_t k = bits_per_symbol();
    if (noise_var.size() != 1 && noise_var.size() != n)
        throw std::invalid_argument("demapper: expected 1 or " + text(n) +
                                    " noise variances, got " + text(noise_var.size()));
    if (!csi.empty() && csi.size() != n)
        throw std::invalid_argument("demapper: expected " + text(n) +
                                    " channel gains or none, got " + text(csi.size()));
    if (interferer_csi.size() != interferers())
        throw std::invalid_argument("demapper: expected the gains of " +
                                    text(interferers()) + " interferers, got those of " +
                                    text(interferer_csi.size()));
    if (llrs.size() != n * k)
        throw std::invalid_argument("demapper: expected room for " + text(n * k) +
                                    " LLRs, got " + text(llrs.size()));
    for (float v : noise_var)
        if (!(v > 0 && v <= std::numeric_limits<float>::max()))
            throw std::invalid_argument(
                "demapper: expected a finite noise variance > 0, got " +
                std::to_string(v));
    if (n == 0)
        return 0;
    const demapper_input in{symbols.data(),
                            noise_var.data(),
                            noise_var.size() > 1,
                            csi.empty() ? nullptr : csi.data(),
                            interferer_csi.data(),
                            n};
    return HWY_DYNAMIC_DISPATCH(demap)(*d_tables, in, llrs.data());
}

} // namespace gr::neuralfec
#endif

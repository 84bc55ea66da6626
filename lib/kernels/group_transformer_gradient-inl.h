/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The way back through the group transformer. Included once for each SIMD target.
 */
#include "kernels/group_transformer_forward-inl.h"

#if defined(NEURALFEC_GROUP_TRANSFORMER_GRADIENT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_GROUP_TRANSFORMER_GRADIENT_INL_H
#undef NEURALFEC_GROUP_TRANSFORMER_GRADIENT_INL_H
#else
#define NEURALFEC_GROUP_TRANSFORMER_GRADIENT_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/*!
 * The way back. `dx` is the gradient by x; tokens of the padding have 0 in it.
 */

//! dh += the gradient by x of normalise, which gave n.
HWY_NOINLINE void normalise_back(const float* HWY_RESTRICT n,
                                 const float* HWY_RESTRICT scales,
                                 const float* HWY_RESTRICT dn,
                                 float* HWY_RESTRICT dh,
                                 std::size_t width,
                                 std::size_t stride)
{
    const D d;
    const V share = hn::Set(d, 1.0f / width);
    for (std::size_t t = 0; t < stride; t += hn::Lanes(d)) {
        V sum = hn::Zero(d), along = hn::Zero(d);
        for (std::size_t i = 0; i < width; i++) {
            const V g = hn::Load(d, dn + i * stride + t);
            sum = hn::Add(sum, g);
            along = hn::MulAdd(g, hn::Load(d, n + i * stride + t), along);
        }
        sum = hn::Mul(sum, share);
        along = hn::Mul(along, share);
        const V scale = hn::Load(d, scales + t);
        for (std::size_t i = 0; i < width; i++) {
            float* out = dh + i * stride + t;
            V g = hn::Sub(hn::Load(d, dn + i * stride + t), sum);
            g = hn::NegMulAdd(hn::Load(d, n + i * stride + t), along, g);
            hn::Store(hn::MulAdd(g, scale, hn::Load(d, out)), d, out);
        }
    }
}

/*!
 * y = act(x), and the slope of act there. As gelu(x) = x Phi(x), its slope is
 * Phi(x) + x phi(x), which shares the exponential.
 */
template <activation Act>
HWY_NOINLINE void activate(const float* HWY_RESTRICT x,
                           float* HWY_RESTRICT y,
                           float* HWY_RESTRICT slope,
                           std::size_t size)
{
    const D d;
    const V one = hn::Set(d, 1.0f);
    for (std::size_t j = 0; j < size; j += hn::Lanes(d)) {
        const V v = hn::Load(d, x + j);
        V result = v, steep = one;
        if constexpr (Act == activation::relu) {
            result = hn::Max(v, hn::Zero(d));
            steep = hn::IfThenElseZero(hn::Gt(v, hn::Zero(d)), one);
        } else if constexpr (Act == activation::gelu) {
            const V bell = hn::Exp(d, hn::Mul(hn::Mul(v, v), hn::Set(d, -0.5f)));
            const V tail = hn::Mul(gelu_tail(d, hn::Abs(v)), bell);
            const V below =
                hn::IfThenElse(hn::Gt(v, hn::Zero(d)), hn::Sub(one, tail), tail);
            result = hn::Mul(v, below);
            steep = hn::MulAdd(hn::Mul(v, hn::Set(d, 0.39894228f)), bell, below);
        }
        hn::Store(result, d, y + j);
        hn::Store(steep, d, slope + j);
    }
}

void activate(activation act, const float* x, float* y, float* slope, std::size_t size)
{
    with_activation(act, [&](auto fixed) { activate<fixed.value>(x, y, slope, size); });
}

//! dx *= slope.
HWY_NOINLINE void
scale(const float* HWY_RESTRICT slope, float* HWY_RESTRICT dx, std::size_t size)
{
    const D d;
    for (std::size_t j = 0; j < size; j += hn::Lanes(d))
        hn::Store(hn::Mul(hn::Load(d, dx + j), hn::Load(d, slope + j)), d, dx + j);
}

//! dx = 0 where the rectifier gave y = 0.
HWY_NOINLINE void
rectify_back(const float* HWY_RESTRICT y, float* HWY_RESTRICT dx, std::size_t size)
{
    const D d;
    for (std::size_t j = 0; j < size; j += hn::Lanes(d)) {
        const auto on = hn::Gt(hn::Load(d, y + j), hn::Zero(d));
        hn::Store(hn::IfThenElseZero(on, hn::Load(d, dx + j)), d, dx + j);
    }
}

/*!
 * Of attend: the gradient by s, and dn += that by n. \param room for four squares of
 * block_stride
 */
HWY_NOINLINE void attend_back(const float* HWY_RESTRICT s,
                              const float* HWY_RESTRICT n,
                              const float* HWY_RESTRICT dy,
                              float* HWY_RESTRICT ds,
                              float* HWY_RESTRICT dn,
                              float* HWY_RESTRICT room,
                              std::size_t groups,
                              std::size_t block_stride,
                              std::size_t width,
                              std::size_t stride)
{
    const D d;
    const std::size_t lanes = hn::Lanes(d), square = block_stride * block_stride;
    // A row each key, a lane each query; then the other way round.
    float *rho = room, *slope = rho + square;
    float *rho_turned = slope + square, *slope_turned = rho_turned + square;
    for (std::size_t q = 0; q < block_stride; q += lanes) {
        V largest = hn::Set(d, -INFINITY);
        constexpr std::size_t keys = 4;
        for (std::size_t k = 0; k < groups; k += keys) {
            V logit[keys], gain[keys];
            for (std::size_t r = 0; r < keys; r++)
                logit[r] = gain[r] = hn::Zero(d);
            for (std::size_t i = 0; i < width; i++) {
                const V query = hn::Load(d, s + i * stride + q);
                const V weight = hn::Load(d, dy + i * stride + q);
                for (std::size_t r = 0; r < keys; r++) {
                    const V key = hn::Set(d, n[i * stride + std::min(k + r, groups - 1)]);
                    logit[r] = hn::MulAdd(query, key, logit[r]);
                    gain[r] = hn::MulAdd(weight, key, gain[r]);
                }
            }
            // Behind the last key it stands once more, and is written over itself.
            for (std::size_t r = keys; r-- > 0;) {
                const std::size_t row = std::min(k + r, groups - 1) * block_stride + q;
                largest = hn::Max(largest, logit[r]);
                hn::Store(logit[r], d, rho + row);
                hn::Store(gain[r], d, slope + row);
            }
        }
        V total = hn::Zero(d), mean = hn::Zero(d);
        for (std::size_t k = 0; k < groups; k++) {
            float* place = rho + k * block_stride + q;
            const V e = hn::Exp(d, hn::Sub(hn::Load(d, place), largest));
            total = hn::Add(total, e);
            mean = hn::MulAdd(e, hn::Load(d, slope + k * block_stride + q), mean);
            hn::Store(e, d, place);
        }
        const V share = hn::Div(hn::Set(d, 1.0f), total);
        mean = hn::Mul(mean, share);
        for (std::size_t k = 0; k < groups; k++) {
            float *place = rho + k * block_stride + q,
                  *other = slope + k * block_stride + q;
            const V p = hn::Mul(hn::Load(d, place), share);
            hn::Store(p, d, place);
            hn::Store(hn::Mul(p, hn::Sub(hn::Load(d, other), mean)), d, other);
        }
        for (std::size_t i = 0; i < width; i += dense_rows) {
            V sum[dense_rows];
            for (std::size_t r = 0; r < dense_rows; r++)
                sum[r] = hn::Zero(d);
            for (std::size_t k = 0; k < groups; k++) {
                const V weight = hn::Load(d, slope + k * block_stride + q);
                for (std::size_t r = 0; r < dense_rows; r++)
                    sum[r] =
                        hn::MulAdd(weight, hn::Set(d, n[(i + r) * stride + k]), sum[r]);
            }
            for (std::size_t r = 0; r < dense_rows; r++)
                hn::Store(sum[r], d, ds + (i + r) * stride + q);
        }
    }
    for (std::size_t q = 0; q < groups; q++)
        for (std::size_t k = 0; k < block_stride; k++) {
            const bool there = k < groups;
            rho_turned[q * block_stride + k] = there ? rho[k * block_stride + q] : 0.0f;
            slope_turned[q * block_stride + k] =
                there ? slope[k * block_stride + q] : 0.0f;
        }
    for (std::size_t k = 0; k < block_stride; k += lanes)
        for (std::size_t i = 0; i < width; i += dense_rows) {
            V sum[dense_rows];
            for (std::size_t r = 0; r < dense_rows; r++)
                sum[r] = hn::Load(d, dn + (i + r) * stride + k);
            for (std::size_t q = 0; q < groups; q++) {
                const V p = hn::Load(d, rho_turned + q * block_stride + k);
                const V g = hn::Load(d, slope_turned + q * block_stride + k);
                for (std::size_t r = 0; r < dense_rows; r++) {
                    const std::size_t place = (i + r) * stride + q;
                    sum[r] = hn::MulAdd(hn::Set(d, dy[place]), p, sum[r]);
                    sum[r] = hn::MulAdd(hn::Set(d, s[place]), g, sum[r]);
                }
            }
            for (std::size_t r = 0; r < dense_rows; r++)
                hn::Store(sum[r], d, dn + (i + r) * stride + k);
        }
}

/*!
 * One layer W x + b on the way back.
 */
class layer_back
{
public:
    layer_back(const group_transformer::linear& m,
               const group_transformer::linear& turned)
        : d_in(m.in),
          d_out(m.out),
          d_columns((m.in + 1 + hn::Lanes(D()) - 1) / hn::Lanes(D()) * hn::Lanes(D())),
          d_sums(hwy::AllocateAligned<float>(whole_tiles(m.out) * d_columns)),
          d_turned(&turned)
    {
        std::fill_n(d_sums.get(), whole_tiles(m.out) * d_columns, 0.0f);
    }

    std::size_t columns() const { return d_columns; }

    //! Adds dy x^T to the gradient by W, and dy to that by b. \param room columns by
    //! stride
    HWY_NOINLINE void learn(const float* HWY_RESTRICT dy,
                            const float* HWY_RESTRICT x,
                            std::size_t stride,
                            float* HWY_RESTRICT room) const
    {
        const std::size_t lanes = hn::Lanes(D());
        // Tokens by features, a 1 behind them for the bias.
        for (std::size_t t = 0; t < stride; t++) {
            float* row = room + t * d_columns;
            for (std::size_t i = 0; i < d_in; i++)
                row[i] = x[i * stride + t];
            row[d_in] = 1.0f;
            std::fill(row + d_in + 1, row + d_columns, 0.0f);
        }
        for (std::size_t r = 0; r < d_out; r += dense_rows) {
            std::size_t c = 0;
            for (; c + 3 * lanes <= d_columns; c += 3 * lanes)
                tile<3>(dy, stride, room, r, c);
            if (c + 2 * lanes <= d_columns) {
                tile<2>(dy, stride, room, r, c);
                c += 2 * lanes;
            }
            if (c < d_columns)
                tile<1>(dy, stride, room, r, c);
        }
    }

    //! dx = W^T dy, or dx += that.
    template <bool Add = false>
    void pass(const float* dy, float* dx, std::size_t stride) const
    {
        apply<activation::identity, Add>(*d_turned, dy, dx, stride);
    }

    //! Writes the gradient by W, then that by b.
    float* write(float* out) const
    {
        for (std::size_t r = 0; r < d_out; r++)
            out = std::copy_n(d_sums.get() + r * d_columns, d_in, out);
        for (std::size_t r = 0; r < d_out; r++)
            *out++ = d_sums[r * d_columns + d_in];
        return out;
    }

private:
    std::size_t d_in, d_out, d_columns;
    hwy::AlignedFreeUniquePtr<float[]> d_sums;
    const tiled_layer* d_turned;

    template <std::size_t Vectors>
    HWY_INLINE void tile(const float* HWY_RESTRICT dy,
                         std::size_t stride,
                         const float* HWY_RESTRICT turned,
                         std::size_t r,
                         std::size_t c) const
    {
        const D d;
        const std::size_t lanes = hn::Lanes(d);
        float* sums = d_sums.get() + r * d_columns + c;
        multiply_dense<dense_rows, Vectors>(
            d,
            dy + r * stride,
            stride,
            1,
            turned + c,
            d_columns,
            lanes,
            stride,
            [&](std::size_t i, std::size_t v) NEURALFEC_LAMBDA {
                return hn::Load(d, sums + i * d_columns + v * lanes);
            },
            [&](std::size_t i, std::size_t v, V sum) NEURALFEC_LAMBDA {
                hn::Store(sum, d, sums + i * d_columns + v * lanes);
            });
    }
};

void gradient(const group_transformer& net,
              const float* inputs,
              const float* weights,
              std::size_t blocks,
              bool deep,
              float* input_gradient,
              float* product_gradient)
{
    const auto& s = net.sizes();
    deep = deep && s.variable_depth;
    const std::size_t lanes = hn::Lanes(D());
    const std::size_t block_stride = (s.groups + lanes - 1) / lanes * lanes;
    const std::size_t at_once = std::max<std::size_t>(1, 48 / block_stride);
    const std::size_t most = at_once * block_stride;
    std::vector<layer_back> back;
    std::size_t columns = 0, widest = s.width;
    for (const auto* m : net.products()) {
        back.emplace_back(*m, net.turned[back.size()]);
        columns = std::max(columns, back.back().columns());
        widest = std::max({widest, m->in, m->out});
    }

    // A place for every value on the way, then for gradients.
    std::vector<std::size_t> sizes;
    const auto place = [&](std::size_t rows) {
        sizes.push_back(whole_tiles(rows) * most);
        return sizes.size() - 1;
    };
    struct layer_places {
        std::size_t n1, scale1, score, mixed, n2, scale2, raw, active, slope;
    };
    const std::size_t in = place(s.inputs), e1 = place(s.features),
                      e2 = place(s.features), e3 = place(s.features);
    const std::size_t h = place(s.width);
    std::vector<layer_places> layers(s.layers);
    for (auto& l : layers)
        l = {place(s.width),
             place(1),
             place(s.width),
             place(s.width),
             place(s.width),
             place(1),
             place(s.hidden),
             place(s.hidden),
             place(s.hidden)};
    const std::size_t last_scale = place(1);
    // What each layer of the head reads, and gives before its activation.
    std::vector<std::size_t> head_in{place(s.width)}, head_raw, head_slope;
    for (const std::size_t size : s.head) {
        head_raw.push_back(place(size));
        head_slope.push_back(place(size));
        head_in.push_back(place(size));
    }
    const std::size_t first = place(widest), second = place(widest), dh = place(s.width),
                      ds = place(s.width);
    std::size_t total = 0;
    std::vector<std::size_t> starts;
    for (const std::size_t size : sizes) {
        starts.push_back(total);
        total += size;
    }
    const std::size_t squares =
        std::max(4 * block_stride * block_stride, whole_tiles(s.groups) * lanes);
    const auto memory = hwy::AllocateAligned<float>(total + most * columns + squares);
    // Padded rows and lanes take part in the arithmetic.
    std::fill_n(memory.get(), total + most * columns + squares, 0.0f);
    const auto at = [&](std::size_t number) { return memory.get() + starts[number]; };
    float* const turned = memory.get() + total;
    float* const square = turned + most * columns;

    const std::size_t out = s.head.back();
    for (std::size_t begin = 0; begin < blocks; begin += at_once) {
        const std::size_t count = std::min(at_once, blocks - begin);
        const std::size_t stride = count * block_stride;
        const auto load = [&](const float* from, std::size_t size, float* to) {
            for (std::size_t c = 0; c < count; c++)
                for (std::size_t i = 0; i < size; i++) {
                    float* row = to + i * stride + c * block_stride;
                    for (std::size_t q = 0; q < s.groups; q++)
                        row[q] = from[((begin + c) * s.groups + q) * size + i];
                    std::fill(row + s.groups, row + block_stride, 0.0f);
                }
        };
        load(inputs, s.inputs, at(in));
        apply<activation::relu>(net.extract1, at(in), at(e1), stride);
        apply<activation::relu>(net.extract2, at(e1), at(e2), stride);
        if (deep)
            apply<activation::relu>(net.extract3, at(e2), at(e3), stride);
        const float* const embedded = at(deep ? e3 : e2);
        for (std::size_t i = 0; i < s.width; i++)
            for (std::size_t c = 0; c < count; c++) {
                float* row = at(h) + i * stride + c * block_stride;
                std::copy_n(net.positions.data() + i * s.groups, s.groups, row);
                std::fill(row + s.groups, row + block_stride, 0.0f);
            }
        apply<activation::identity, true>(net.embed, embedded, at(h), stride);
        for (std::size_t number = 0; number < s.layers; number++) {
            const auto& layer = net.layers[number];
            const auto& l = layers[number];
            normalise(at(h), at(l.n1), s.width, stride, at(l.scale1));
            apply<activation::identity>(layer.score, at(l.n1), at(l.score), stride);
            for (std::size_t c = 0; c < stride; c += block_stride)
                attend(at(l.score) + c,
                       at(l.n1) + c,
                       at(l.mixed) + c,
                       square,
                       s.groups,
                       block_stride,
                       s.width,
                       stride);
            apply<activation::identity, true>(layer.merge, at(l.mixed), at(h), stride);
            normalise(at(h), at(l.n2), s.width, stride, at(l.scale2));
            apply<activation::identity>(layer.expand, at(l.n2), at(l.raw), stride);
            activate(s.act, at(l.raw), at(l.active), at(l.slope), s.hidden * stride);
            apply<activation::identity, true>(
                layer.contract, at(l.active), at(h), stride);
        }
        normalise(at(h), at(head_in[0]), s.width, stride, at(last_scale));
        for (std::size_t j = 0; j + 1 < s.head.size(); j++) {
            apply<activation::identity>(
                net.head[j], at(head_in[j]), at(head_raw[j]), stride);
            activate(s.head_act,
                     at(head_raw[j]),
                     at(head_in[j + 1]),
                     at(head_slope[j]),
                     s.head[j] * stride);
        }

        // The layers from the last to the first.
        auto m = back.rbegin();
        float *dy = at(first), *dx = at(second);
        load(weights, out, dy);
        for (std::size_t j = s.head.size(); j-- > 0; m++) {
            m->learn(dy, at(head_in[j]), stride, turned);
            m->pass(dy, dx, stride);
            std::swap(dy, dx);
            if (j > 0)
                scale(at(head_slope[j - 1]), dy, s.head[j - 1] * stride);
        }
        std::fill_n(at(dh), s.width * stride, 0.0f);
        normalise_back(at(head_in[0]), at(last_scale), dy, at(dh), s.width, stride);
        for (std::size_t number = s.layers; number-- > 0;) {
            const auto& l = layers[number];
            m->learn(at(dh), at(l.active), stride, turned);
            m->pass(at(dh), dx, stride);
            m++;
            scale(at(l.slope), dx, s.hidden * stride);
            m->learn(dx, at(l.n2), stride, turned);
            m->pass(dx, dy, stride);
            m++;
            normalise_back(at(l.n2), at(l.scale2), dy, at(dh), s.width, stride);
            m->learn(at(dh), at(l.mixed), stride, turned);
            m->pass(at(dh), dx, stride);
            m++;
            std::fill_n(dy, s.width * stride, 0.0f);
            for (std::size_t c = 0; c < stride; c += block_stride)
                attend_back(at(l.score) + c,
                            at(l.n1) + c,
                            dx + c,
                            at(ds) + c,
                            dy + c,
                            square,
                            s.groups,
                            block_stride,
                            s.width,
                            stride);
            m->learn(at(ds), at(l.n1), stride, turned);
            m->pass<true>(at(ds), dy, stride);
            m++;
            normalise_back(at(l.n1), at(l.scale1), dy, at(dh), s.width, stride);
        }
        m->learn(at(dh), embedded, stride, turned);
        m->pass(at(dh), dy, stride);
        m++;
        const auto relu_back = [&](std::size_t e) {
            rectify_back(at(e), dy, s.features * stride);
        };
        const auto through = [&](std::size_t e) {
            m->learn(dy, at(e), stride, turned);
            m->pass(dy, dx, stride);
            m++;
            std::swap(dy, dx);
        };
        if (deep) {
            relu_back(e3);
            through(e2);
        } else if (s.variable_depth)
            m++;
        relu_back(e2);
        through(e1);
        relu_back(e1);
        through(in);
        for (std::size_t c = 0; c < count; c++)
            for (std::size_t q = 0; q < s.groups; q++)
                for (std::size_t i = 0; i < s.inputs; i++)
                    input_gradient[((begin + c) * s.groups + q) * s.inputs + i] =
                        dy[i * stride + c * block_stride + q];
    }
    for (const auto& m : back)
        product_gradient = m.write(product_gradient);
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

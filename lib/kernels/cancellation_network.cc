/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cancellation_network.cc"
#include <hwy/foreach_target.h>

#include "kernels/cancellation_network.h"

#include <hwy/aligned_allocator.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr D d{};
using shape = cancellation_network;
using layer = cancellation_network::layer;
constexpr std::size_t leaf = cancellation_network::leaf;

// What a frozen subcode says of its bits.
constexpr float certain = 15.0f;
// Beyond it a subcode's probabilities would underflow: 8 of them still multiply.
constexpr float most_certain = 10.0f;

V load(const float* p)
{
    return hn::Load(d, p);
}
void store(V v, float* p)
{
    hn::Store(v, d, p);
}
void add_to(float* p, V v)
{
    store(hn::Add(load(p), v), p);
}
V constant(float x)
{
    return hn::Set(d, x);
}
V sign_of(V v)
{
    return hn::CopySign(constant(1.0f), v);
}

V box_correction(V sum_or_difference)
{
    return hn::Max(
        hn::Zero(d),
        hn::NegMulAdd(constant(0.29f), hn::Abs(sum_or_difference), constant(0.65f)));
}

V box(V a, V b)
{
    const V least = hn::CopySign(hn::Min(hn::Abs(a), hn::Abs(b)), hn::Xor(a, b));
    return hn::Add(least,
                   hn::Sub(box_correction(hn::Add(a, b)), box_correction(hn::Sub(a, b))));
}

//! Adds to da and db what the gradient g of box(a, b) makes there.
void box_gradient(V a, V b, V g, V& da, V& db)
{
    auto slope = [](V x) {
        const auto active = hn::Lt(hn::Abs(x), constant(0.65f / 0.29f));
        return hn::IfThenElseZero(active, hn::CopySign(constant(-0.29f), hn::Neg(x)));
    };
    // d/dx c(|x|) = -0.29 sign(x) where c is not yet 0; CopySign above takes -x's sign.
    const V of_sum = slope(hn::Add(a, b)), of_difference = slope(hn::Sub(a, b));
    const auto a_is_least = hn::Lt(hn::Abs(a), hn::Abs(b));
    const V by_a = hn::IfThenElseZero(a_is_least, sign_of(b));
    const V by_b = hn::IfThenZeroElse(a_is_least, sign_of(a));
    da = hn::MulAdd(g, hn::Add(by_a, hn::Sub(of_sum, of_difference)), da);
    db = hn::MulAdd(g, hn::Add(by_b, hn::Add(of_sum, of_difference)), db);
}

//! An LLR as two inputs of a network: linear up to 12, and a tent around 0.
V linear_feature(V llr)
{
    return hn::Clamp(hn::Mul(llr, constant(0.25f)), constant(-3.0f), constant(3.0f));
}
V tent_feature(V llr)
{
    return hn::Max(hn::Zero(d),
                   hn::NegMulAdd(constant(0.5f), hn::Abs(llr), constant(1.0f)));
}
V feature_gradient(V llr, V of_linear, V of_tent)
{
    const V size = hn::Abs(llr);
    const V linear = hn::IfThenElseZero(hn::Lt(size, constant(12.0f)),
                                        hn::Mul(of_linear, constant(0.25f)));
    const V tent =
        hn::IfThenElseZero(hn::Lt(size, constant(2.0f)),
                           hn::Mul(of_tent, hn::CopySign(constant(0.5f), llr)));
    return hn::Sub(linear, tent);
}

/*
 * Matrices are applied to columns of lanes: x is [columns][in] rows of one vector.
 */

//! y = W x + b, for all columns; with relu, its positive part. No bias: b = nullptr.
void apply(const float* w,
           const float* b,
           const float* x,
           float* y,
           std::size_t columns,
           std::size_t in,
           std::size_t out,
           bool relu)
{
    const std::size_t lanes = hn::Lanes(d);
    const V zero = hn::Zero(d);
    auto finish = [&](V v) { return relu ? hn::Max(v, zero) : v; };
    std::size_t c = 0;
    for (; c + 4 <= columns; c += 4)
        for (std::size_t o = 0; o < out; o += 4) {
            const float *w0 = w + o * in, *w1 = w0 + in, *w2 = w1 + in, *w3 = w2 + in;
            const float *x0 = x + c * in * lanes, *x1 = x0 + in * lanes,
                        *x2 = x1 + in * lanes, *x3 = x2 + in * lanes;
            V b0 = constant(b ? b[o] : 0), b1 = constant(b ? b[o + 1] : 0),
              b2 = constant(b ? b[o + 2] : 0), b3 = constant(b ? b[o + 3] : 0);
            V y00 = b0, y01 = b1, y02 = b2, y03 = b3, y10 = b0, y11 = b1, y12 = b2,
              y13 = b3, y20 = b0, y21 = b1, y22 = b2, y23 = b3, y30 = b0, y31 = b1,
              y32 = b2, y33 = b3;
            for (std::size_t i = 0; i < in; i++) {
                const V a = load(x0 + i * lanes), e = load(x1 + i * lanes),
                        f = load(x2 + i * lanes), g = load(x3 + i * lanes);
                V v = constant(w0[i]);
                y00 = hn::MulAdd(v, a, y00), y10 = hn::MulAdd(v, e, y10);
                y20 = hn::MulAdd(v, f, y20), y30 = hn::MulAdd(v, g, y30);
                v = constant(w1[i]);
                y01 = hn::MulAdd(v, a, y01), y11 = hn::MulAdd(v, e, y11);
                y21 = hn::MulAdd(v, f, y21), y31 = hn::MulAdd(v, g, y31);
                v = constant(w2[i]);
                y02 = hn::MulAdd(v, a, y02), y12 = hn::MulAdd(v, e, y12);
                y22 = hn::MulAdd(v, f, y22), y32 = hn::MulAdd(v, g, y32);
                v = constant(w3[i]);
                y03 = hn::MulAdd(v, a, y03), y13 = hn::MulAdd(v, e, y13);
                y23 = hn::MulAdd(v, f, y23), y33 = hn::MulAdd(v, g, y33);
            }
            float* q = y + (c * out + o) * lanes;
            store(finish(y00), q), store(finish(y01), q + lanes);
            store(finish(y02), q + 2 * lanes), store(finish(y03), q + 3 * lanes);
            q += out * lanes;
            store(finish(y10), q), store(finish(y11), q + lanes);
            store(finish(y12), q + 2 * lanes), store(finish(y13), q + 3 * lanes);
            q += out * lanes;
            store(finish(y20), q), store(finish(y21), q + lanes);
            store(finish(y22), q + 2 * lanes), store(finish(y23), q + 3 * lanes);
            q += out * lanes;
            store(finish(y30), q), store(finish(y31), q + lanes);
            store(finish(y32), q + 2 * lanes), store(finish(y33), q + 3 * lanes);
        }
    for (; c < columns; c++)
        for (std::size_t o = 0; o < out; o += 4) {
            const float *w0 = w + o * in, *w1 = w0 + in, *w2 = w1 + in, *w3 = w2 + in;
            V y0 = constant(b ? b[o] : 0), y1 = constant(b ? b[o + 1] : 0),
              y2 = constant(b ? b[o + 2] : 0), y3 = constant(b ? b[o + 3] : 0);
            for (std::size_t i = 0; i < in; i++) {
                const V a = load(x + (c * in + i) * lanes);
                y0 = hn::MulAdd(constant(w0[i]), a, y0);
                y1 = hn::MulAdd(constant(w1[i]), a, y1);
                y2 = hn::MulAdd(constant(w2[i]), a, y2);
                y3 = hn::MulAdd(constant(w3[i]), a, y3);
            }
            float* q = y + (c * out + o) * lanes;
            store(finish(y0), q), store(finish(y1), q + lanes);
            store(finish(y2), q + 2 * lanes), store(finish(y3), q + 3 * lanes);
        }
}

//! dw += dy x^T and db += dy, summed over columns and lanes.
void weight_gradient(const float* dy,
                     const float* x,
                     std::size_t columns,
                     std::size_t in,
                     std::size_t out,
                     float* dw,
                     float* db)
{
    const std::size_t lanes = hn::Lanes(d);
    auto sum = [](V v) { return hn::GetLane(hn::SumOfLanes(d, v)); };
    for (std::size_t o = 0; o < out; o += 4) {
        for (std::size_t i = 0; i < in; i += 4) {
            const V z = hn::Zero(d);
            V s00 = z, s01 = z, s02 = z, s03 = z, s10 = z, s11 = z, s12 = z, s13 = z,
              s20 = z, s21 = z, s22 = z, s23 = z, s30 = z, s31 = z, s32 = z, s33 = z;
            for (std::size_t c = 0; c < columns; c++) {
                const float* p = x + (c * in + i) * lanes;
                const float* q = dy + (c * out + o) * lanes;
                const V x0 = load(p), x1 = load(p + lanes), x2 = load(p + 2 * lanes),
                        x3 = load(p + 3 * lanes);
                V g = load(q);
                s00 = hn::MulAdd(g, x0, s00), s01 = hn::MulAdd(g, x1, s01);
                s02 = hn::MulAdd(g, x2, s02), s03 = hn::MulAdd(g, x3, s03);
                g = load(q + lanes);
                s10 = hn::MulAdd(g, x0, s10), s11 = hn::MulAdd(g, x1, s11);
                s12 = hn::MulAdd(g, x2, s12), s13 = hn::MulAdd(g, x3, s13);
                g = load(q + 2 * lanes);
                s20 = hn::MulAdd(g, x0, s20), s21 = hn::MulAdd(g, x1, s21);
                s22 = hn::MulAdd(g, x2, s22), s23 = hn::MulAdd(g, x3, s23);
                g = load(q + 3 * lanes);
                s30 = hn::MulAdd(g, x0, s30), s31 = hn::MulAdd(g, x1, s31);
                s32 = hn::MulAdd(g, x2, s32), s33 = hn::MulAdd(g, x3, s33);
            }
            float* w = dw + o * in + i;
            w[0] += sum(s00), w[1] += sum(s01), w[2] += sum(s02), w[3] += sum(s03),
                w += in;
            w[0] += sum(s10), w[1] += sum(s11), w[2] += sum(s12), w[3] += sum(s13),
                w += in;
            w[0] += sum(s20), w[1] += sum(s21), w[2] += sum(s22), w[3] += sum(s23),
                w += in;
            w[0] += sum(s30), w[1] += sum(s31), w[2] += sum(s32), w[3] += sum(s33);
        }
        for (std::size_t q = o; q < o + 4; q++) {
            V s = hn::Zero(d);
            for (std::size_t c = 0; c < columns; c++)
                s = hn::Add(s, load(dy + (c * out + q) * lanes));
            db[q] += sum(s);
        }
    }
}

using buffer = hwy::AlignedFreeUniquePtr<float[]>;

buffer rows(std::size_t count)
{
    const std::size_t size = std::max<std::size_t>(count, 1) * hn::Lanes(d);
    buffer memory = hwy::AllocateAligned<float>(size);
    std::fill_n(memory.get(), size, 0.0f);
    return memory;
}

//! The input and hidden rows of one network at one node, and where its layers are.
struct network_use {
    buffer x, hidden;
};

//! What a node holds of one pass. Position p of group g: row (g * size + p) * (1 +
//! features).
struct node_state {
    buffer in, out; // the LLR and the features: from the parent, to the parent
    buffer d_in, d_out;
    network_use use[3];
    buffer leaf_llrs; // of a subcode: what goes into its probabilities
};

/*
 * Runs the network on groups of as many frames as a vector has lanes. Training keeps the
 * states of every pass for the way back; otherwise passes overwrite each other.
 */
class runner : public shape::workspace
{
public:
    runner(const shape& net, std::size_t groups, std::size_t kept_passes)
        : d_net(net),
          d_groups(groups),
          d_lanes(hn::Lanes(d)),
          d_width(1 + net.features()),
          d_training(kept_passes > 0),
          d_syndrome(rows(groups * net.n())),
          d_message(rows(groups * net.n()))
    {
        const std::size_t nodes = 2 * net.n() / leaf;
        d_passes.resize(std::max<std::size_t>(kept_passes, 1));
        for (auto& states : d_passes) {
            states.resize(nodes);
            for (std::size_t i = 1; i < nodes; i++) {
                const std::size_t size = node_size(i);
                auto& s = states[i];
                for (buffer* b : {&s.in, &s.out})
                    *b = rows(groups * size * d_width);
                if (!d_training)
                    continue;
                for (buffer* b : {&s.d_in, &s.d_out})
                    *b = rows(groups * size * d_width);
                allocate(i, s);
            }
        }
        if (!d_training) {
            // One set for the largest of each kind, used by all nodes.
            allocate(1, d_scratch);
            allocate(nodes / 2, d_leaf_scratch, true);
        }
        d_nothing = rows(groups * net.n() * d_width);
        std::size_t most = 0;
        for (const auto& l : net.layers())
            most = std::max(most, std::max(l.in, l.out));
        // A subcode's network has one column a group, a node's at most n / 2.
        std::size_t widest = 0;
        for (std::size_t i = 0; i < net.levels() * 6; i++) {
            const auto& l = net.layers()[i];
            widest = std::max(widest, net.n() / 2 * std::max(l.in, l.out));
        }
        widest = groups * std::max(widest, most);
        d_y = rows(widest);
        if (d_training) {
            d_dx = rows(widest);
            d_dh = rows(widest);
            d_transposed.resize(net.parameters());
        }
    }

    std::size_t kept_passes() const { return d_training ? d_passes.size() : 0; }

    //! They must outlive what is run.
    void set_parameters(const float* parameters)
    {
        d_w = parameters;
        if (!d_training)
            return;
        for (const auto& l : d_net.layers())
            for (std::size_t o = 0; o < l.out; o++)
                for (std::size_t i = 0; i < l.in; i++)
                    d_transposed[l.weight + i * l.out + o] = d_w[l.weight + o * l.in + i];
    }

    //! The frames of one run; frames beyond them are decoded as zeros.
    void set_input(const float* reliabilities, const uint8_t* u, std::size_t frames)
    {
        const std::size_t n = d_net.n();
        for (auto& states : d_passes) {
            float* in = states[1].in.get();
            std::fill_n(in, d_groups * n * d_width * d_lanes, 0.0f);
            for (std::size_t f = 0; f < frames; f++)
                for (std::size_t j = 0; j < n; j++)
                    in[((f / d_lanes * n + j) * d_width) * d_lanes + f % d_lanes] =
                        reliabilities[f * n + j];
        }
        std::fill_n(d_syndrome.get(), d_groups * n * d_lanes, 0.0f);
        for (std::size_t f = 0; f < frames; f++)
            for (std::size_t j = 0; j < n; j++)
                d_syndrome[(f / d_lanes * n + j) * d_lanes + f % d_lanes] = u[f * n + j];
    }

    void run(std::size_t pass)
    {
        d_pass = d_training ? pass : 0;
        d_before = pass == 0 ? nullptr : &d_passes[d_training ? pass - 1 : 0];
        down(1);
    }

    //! LLR of bit j of u, as the last run has it; unfrozen bits only.
    float message(std::size_t f, std::size_t j) const
    {
        return d_message[(f / d_lanes * d_net.n() + j) * d_lanes + f % d_lanes];
    }
    float codeword(std::size_t f, std::size_t j) const
    {
        const std::size_t at =
            (f / d_lanes * d_net.n() + j) * d_width * d_lanes + f % d_lanes;
        const auto& root = d_passes[d_pass][1];
        return root.in[at] + root.out[at];
    }

    /*!
     * Adds the loss of pass d_pass to what d_out of its root and its message gradients
     * hold: call right after run(). Returns the summed loss.
     */
    double add_loss(const uint8_t* u,
                    const uint8_t* flips,
                    std::size_t frames,
                    float message_weight,
                    float codeword_weight)
    {
        const std::size_t n = d_net.n();
        double loss = 0;
        auto cross_entropy = [](float llr, bool bit, float& slope) {
            const float x = bit ? llr : -llr;
            const float e = std::exp(-std::fabs(x));
            slope = (bit ? 1.0f : -1.0f) * (x > 0 ? 1 / (1 + e) : e / (1 + e));
            return std::max(x, 0.0f) + std::log1p(e);
        };
        d_message_gradients.emplace_back(rows(d_groups * n));
        float* dm = d_message_gradients.back().get();
        float* dc = d_passes[d_pass][1].d_out.get();
        for (std::size_t f = 0; f < frames; f++) {
            float slope;
            for (uint32_t j : d_net.unfrozen()) {
                loss +=
                    message_weight * cross_entropy(message(f, j), u[f * n + j], slope);
                dm[(f / d_lanes * n + j) * d_lanes + f % d_lanes] =
                    message_weight * slope;
            }
            for (std::size_t j = 0; j < n; j++) {
                loss += codeword_weight *
                        cross_entropy(codeword(f, j), flips[f * n + j], slope);
                dc[(f / d_lanes * n + j) * d_width * d_lanes + f % d_lanes] =
                    codeword_weight * slope;
            }
        }
        return loss;
    }

    //! The way back through all passes; adds to the gradient of the parameters.
    void back(float* gradient)
    {
        d_gradient = gradient;
        for (std::size_t pass = d_passes.size(); pass-- > 0;) {
            d_pass = pass;
            d_before = pass == 0 ? nullptr : &d_passes[pass - 1];
            d_dm = d_message_gradients[pass].get();
            up(1);
        }
        d_message_gradients.clear();
        for (auto& states : d_passes)
            for (std::size_t i = 1; i < states.size(); i++)
                for (buffer* b : {&states[i].d_in, &states[i].d_out})
                    std::fill_n(
                        b->get(), d_groups * node_size(i) * d_width * d_lanes, 0.0f);
    }

private:
    const shape& d_net;
    const float* d_w = nullptr;
    const std::size_t d_groups, d_lanes, d_width;
    const bool d_training;
    buffer d_syndrome, d_message;
    std::vector<std::vector<node_state>> d_passes;
    std::size_t d_pass = 0;
    std::vector<node_state>* d_before = nullptr;
    node_state d_scratch, d_leaf_scratch;
    buffer d_nothing, d_y, d_dx, d_dh;
    std::vector<buffer> d_message_gradients;
    std::vector<float> d_transposed;
    float* d_gradient = nullptr;
    const float* d_dm = nullptr;

    std::size_t level_of(std::size_t i) const
    {
        std::size_t level = 0;
        while ((std::size_t(2) << level) <= i)
            level++;
        return level;
    }
    std::size_t node_size(std::size_t i) const { return d_net.n() >> level_of(i); }
    bool is_leaf(std::size_t i) const { return node_size(i) == leaf; }

    void allocate(std::size_t i, node_state& s, bool any_leaf = false)
    {
        const std::size_t size = node_size(i), level = level_of(i);
        if (size == leaf) {
            const std::size_t block =
                any_leaf ? d_net.n() / leaf - 1 : i - d_net.n() / leaf;
            const auto& l = d_net.leaf_layer(block, 0);
            s.use[0].x = rows(d_groups * l.in);
            s.use[0].hidden = rows(d_groups * l.out);
            s.leaf_llrs = rows(d_groups * leaf);
            return;
        }
        for (int o = 0; o < 3; o++) {
            const auto& l = d_net.node_layer(level, shape::operation(o), 0);
            s.use[o].x = rows(d_groups * size / 2 * l.in);
            s.use[o].hidden = rows(d_groups * size / 2 * l.out);
        }
    }

    network_use& use(std::size_t i, std::size_t o)
    {
        if (d_training)
            return d_passes[d_pass][i].use[o];
        return is_leaf(i) ? d_leaf_scratch.use[o] : d_scratch.use[o];
    }

    float* row(float* states, std::size_t size, std::size_t g, std::size_t j) const
    {
        return states + (g * size + j) * d_width * d_lanes;
    }

    //! y of the two layers, into d_y.
    void infer(network_use& u,
               const layer& first,
               const layer& second,
               std::size_t bias,
               std::size_t columns)
    {
        apply(d_w + first.weight,
              d_w + first.bias + bias * first.out,
              u.x.get(),
              u.hidden.get(),
              columns,
              first.in,
              first.out,
              true);
        apply(d_w + second.weight,
              d_w + second.bias,
              u.hidden.get(),
              d_y.get(),
              columns,
              second.in,
              second.out,
              false);
    }

    //! From the gradient of y in d_y to that of x in d_dx.
    void infer_back(const network_use& u,
                    const layer& first,
                    const layer& second,
                    std::size_t bias,
                    std::size_t columns)
    {
        weight_gradient(d_y.get(),
                        u.hidden.get(),
                        columns,
                        second.in,
                        second.out,
                        d_gradient + second.weight,
                        d_gradient + second.bias);
        apply(d_transposed.data() + second.weight,
              nullptr,
              d_y.get(),
              d_dh.get(),
              columns,
              second.out,
              second.in,
              false);
        for (std::size_t i = 0; i < columns * first.out * d_lanes; i += d_lanes)
            store(hn::IfThenElseZero(hn::Gt(load(u.hidden.get() + i), hn::Zero(d)),
                                     load(d_dh.get() + i)),
                  d_dh.get() + i);
        weight_gradient(d_dh.get(),
                        u.x.get(),
                        columns,
                        first.in,
                        first.out,
                        d_gradient + first.weight,
                        d_gradient + first.bias + bias * first.out);
        apply(d_transposed.data() + first.weight,
              nullptr,
              d_dh.get(),
              d_dx.get(),
              columns,
              first.out,
              first.in,
              false);
    }

    //! LLRs times signs as network inputs, then feature rows times signs.
    float* put_llr(float* x, V llr)
    {
        store(linear_feature(llr), x);
        store(tent_feature(llr), x + d_lanes);
        return x + 2 * d_lanes;
    }
    float* put_features(float* x, const float* position, V sign)
    {
        for (std::size_t i = 1; i < d_width; i++, x += d_lanes)
            store(hn::Mul(load(position + i * d_lanes), sign), x);
        return x;
    }
    //! The gradient of what put_llr was given.
    V llr_gradient(const float*& dx, V llr)
    {
        const V g = feature_gradient(llr, load(dx), load(dx + d_lanes));
        dx += 2 * d_lanes;
        return g;
    }
    void features_gradient(const float*& dx, float* d_position, V sign)
    {
        for (std::size_t i = 1; i < d_width; i++, dx += d_lanes)
            add_to(d_position + i * d_lanes, hn::Mul(load(dx), sign));
    }
    //! A position's rows: the LLR and y's first row, features from the others, times
    //! sign.
    void take(const float* y, V llr, V sign, float* position)
    {
        store(hn::MulAdd(load(y), sign, llr), position);
        for (std::size_t i = 1; i < d_width; i++)
            store(hn::Mul(load(y + i * d_lanes), sign), position + i * d_lanes);
    }
    void take_gradient(const float* d_position, V sign, float* dy)
    {
        for (std::size_t i = 0; i < d_width; i++)
            store(hn::Mul(load(d_position + i * d_lanes), sign), dy + i * d_lanes);
    }

    //! Calls f(column, g, j) for each pair of positions j and j + half.
    template <typename F>
    void for_pairs(std::size_t half, F f)
    {
        for (std::size_t g = 0; g < d_groups; g++)
            for (std::size_t j = 0; j < half; j++)
                f(g * half + j, g, j);
    }

    const layer& first(std::size_t i, std::size_t o) const
    {
        return d_net.node_layer(level_of(i), shape::operation(o), 0);
    }
    const layer& second(std::size_t i, std::size_t o) const
    {
        return d_net.node_layer(level_of(i), shape::operation(o), 1);
    }
    std::size_t bias_of(std::size_t i) const
    {
        return i - (std::size_t(1) << level_of(i));
    }

    void down(std::size_t i)
    {
        if (is_leaf(i)) {
            down_leaf(i);
            return;
        }
        const std::size_t size = node_size(i), half = size / 2, left = 2 * i,
                          right = left + 1;
        auto& states = d_passes[d_pass];
        float* in = states[i].in.get();
        // Not a copy: the right child's output of the pass before is read before it is
        // written again.
        float* before = d_before ? (*d_before)[right].out.get() : d_nothing.get();

        const layer* l = &first(i, 0);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const float *pa = row(in, size, g, j), *pb = row(in, size, g, j + half),
                        *pr = row(before, half, g, j);
            const V a = load(pa), b = load(pb), r = load(pr);
            const V sa = sign_of(a), sb = sign_of(b), sab = hn::Mul(sa, sb);
            float* x = use(i, 0).x.get() + c * l->in * d_lanes;
            x = put_llr(x, hn::Mul(a, sa));
            x = put_llr(x, hn::Mul(b, sb));
            x = put_llr(x, hn::Mul(r, sb));
            x = put_llr(x, hn::Mul(box(a, hn::Add(b, r)), sab));
            x = put_features(x, pa, sa);
            x = put_features(x, pb, sb);
            put_features(x, pr, sb);
        });
        infer(use(i, 0), *l, second(i, 0), bias_of(i), d_groups * half);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const V a = load(row(in, size, g, j)), b = load(row(in, size, g, j + half)),
                    r = load(row(before, half, g, j));
            take(d_y.get() + c * second(i, 0).out * d_lanes,
                 box(a, hn::Add(b, r)),
                 hn::Mul(sign_of(a), sign_of(b)),
                 row(states[left].in.get(), half, g, j));
        });
        down(left);

        l = &first(i, 1);
        float* from_left = states[left].out.get();
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const float *pa = row(in, size, g, j), *pb = row(in, size, g, j + half),
                        *ps = row(from_left, half, g, j);
            const V a = load(pa), b = load(pb), s = load(ps);
            const V sa = sign_of(a), sb = sign_of(b), sab = hn::Mul(sa, sb);
            float* x = use(i, 1).x.get() + c * l->in * d_lanes;
            x = put_llr(x, hn::Mul(a, sa));
            x = put_llr(x, hn::Mul(b, sb));
            x = put_llr(x, hn::Mul(s, sab));
            x = put_llr(x, hn::Mul(hn::Add(b, box(a, s)), sb));
            x = put_features(x, pa, sa);
            x = put_features(x, pb, sb);
            put_features(x, ps, sab);
        });
        infer(use(i, 1), *l, second(i, 1), bias_of(i), d_groups * half);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const V a = load(row(in, size, g, j)), b = load(row(in, size, g, j + half)),
                    s = load(row(from_left, half, g, j));
            take(d_y.get() + c * second(i, 1).out * d_lanes,
                 hn::Add(b, box(a, s)),
                 sign_of(b),
                 row(states[right].in.get(), half, g, j));
        });
        down(right);

        l = &first(i, 2);
        float *from_right = states[right].out.get(), *out = states[i].out.get();
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const float *pa = row(in, size, g, j), *pb = row(in, size, g, j + half),
                        *ps = row(from_left, half, g, j),
                        *pr = row(from_right, half, g, j);
            const V a = load(pa), b = load(pb), s = load(ps), r = load(pr);
            const V sa = sign_of(a), sb = sign_of(b), sab = hn::Mul(sa, sb);
            float* x = use(i, 2).x.get() + c * l->in * d_lanes;
            x = put_llr(x, hn::Mul(s, sab));
            x = put_llr(x, hn::Mul(r, sb));
            x = put_llr(x, hn::Mul(box(s, hn::Add(r, b)), sa));
            x = put_llr(x, hn::Mul(hn::Add(r, box(a, s)), sb));
            x = put_features(x, ps, sab);
            x = put_features(x, pr, sb);
            x = put_features(x, pa, sa);
            put_features(x, pb, sb);
        });
        infer(use(i, 2), *l, second(i, 2), bias_of(i), d_groups * half);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const V a = load(row(in, size, g, j)), b = load(row(in, size, g, j + half)),
                    s = load(row(from_left, half, g, j)),
                    r = load(row(from_right, half, g, j));
            const float* y = d_y.get() + c * second(i, 2).out * d_lanes;
            take(y, box(s, hn::Add(r, b)), sign_of(a), row(out, size, g, j));
            take(y + d_width * d_lanes,
                 hn::Add(r, box(a, s)),
                 sign_of(b),
                 row(out, size, g, j + half));
        });
    }

    void up(std::size_t i)
    {
        if (is_leaf(i)) {
            up_leaf(i);
            return;
        }
        const std::size_t size = node_size(i), half = size / 2, left = 2 * i,
                          right = left + 1;
        auto& states = d_passes[d_pass];
        float *in = states[i].in.get(), *d_in = states[i].d_in.get();
        float *from_left = states[left].out.get(), *from_right = states[right].out.get();
        float *d_left = states[left].d_out.get(), *d_right = states[right].d_out.get();
        float* before = d_before ? (*d_before)[right].out.get() : d_nothing.get();
        float* d_out = states[i].d_out.get();

        const layer* l = &first(i, 2);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            float* dy = d_y.get() + c * second(i, 2).out * d_lanes;
            std::fill_n(dy, second(i, 2).out * d_lanes, 0.0f);
            take_gradient(row(d_out, size, g, j), sign_of(load(row(in, size, g, j))), dy);
            take_gradient(row(d_out, size, g, j + half),
                          sign_of(load(row(in, size, g, j + half))),
                          dy + d_width * d_lanes);
        });
        infer_back(use(i, 2), *l, second(i, 2), bias_of(i), d_groups * half);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const V a = load(row(in, size, g, j)), b = load(row(in, size, g, j + half)),
                    s = load(row(from_left, half, g, j)),
                    r = load(row(from_right, half, g, j));
            const V sa = sign_of(a), sb = sign_of(b), sab = hn::Mul(sa, sb);
            const float* dx = d_dx.get() + c * l->in * d_lanes;
            V da = hn::Zero(d), db = da, ds = da, dr = da;
            const V upper = box(s, hn::Add(r, b)), lower = hn::Add(r, box(a, s));
            ds = hn::MulAdd(llr_gradient(dx, hn::Mul(s, sab)), sab, ds);
            dr = hn::MulAdd(llr_gradient(dx, hn::Mul(r, sb)), sb, dr);
            const V d_upper = hn::MulAdd(
                llr_gradient(dx, hn::Mul(upper, sa)), sa, load(row(d_out, size, g, j)));
            const V d_lower = hn::MulAdd(llr_gradient(dx, hn::Mul(lower, sb)),
                                         sb,
                                         load(row(d_out, size, g, j + half)));
            V d_sum = hn::Zero(d);
            box_gradient(s, hn::Add(r, b), d_upper, ds, d_sum);
            dr = hn::Add(dr, hn::Add(d_sum, d_lower));
            db = hn::Add(db, d_sum);
            box_gradient(a, s, d_lower, da, ds);
            features_gradient(dx, row(d_left, half, g, j), sab);
            features_gradient(dx, row(d_right, half, g, j), sb);
            features_gradient(dx, row(d_in, size, g, j), sa);
            features_gradient(dx, row(d_in, size, g, j + half), sb);
            add_to(row(d_in, size, g, j), da);
            add_to(row(d_in, size, g, j + half), db);
            add_to(row(d_left, half, g, j), ds);
            add_to(row(d_right, half, g, j), dr);
        });
        up(right);

        l = &first(i, 1);
        float* d_child = states[right].d_in.get();
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            float* dy = d_y.get() + c * second(i, 1).out * d_lanes;
            std::fill_n(dy, second(i, 1).out * d_lanes, 0.0f);
            take_gradient(
                row(d_child, half, g, j), sign_of(load(row(in, size, g, j + half))), dy);
        });
        infer_back(use(i, 1), *l, second(i, 1), bias_of(i), d_groups * half);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const V a = load(row(in, size, g, j)), b = load(row(in, size, g, j + half)),
                    s = load(row(from_left, half, g, j));
            const V sa = sign_of(a), sb = sign_of(b), sab = hn::Mul(sa, sb);
            const float* dx = d_dx.get() + c * l->in * d_lanes;
            V da = hn::Mul(llr_gradient(dx, hn::Mul(a, sa)), sa);
            V db = hn::Mul(llr_gradient(dx, hn::Mul(b, sb)), sb);
            V ds = hn::Mul(llr_gradient(dx, hn::Mul(s, sab)), sab);
            const V sum = hn::Add(b, box(a, s));
            const V d_sum = hn::MulAdd(
                llr_gradient(dx, hn::Mul(sum, sb)), sb, load(row(d_child, half, g, j)));
            db = hn::Add(db, d_sum);
            box_gradient(a, s, d_sum, da, ds);
            features_gradient(dx, row(d_in, size, g, j), sa);
            features_gradient(dx, row(d_in, size, g, j + half), sb);
            features_gradient(dx, row(d_left, half, g, j), sab);
            add_to(row(d_in, size, g, j), da);
            add_to(row(d_in, size, g, j + half), db);
            add_to(row(d_left, half, g, j), ds);
        });
        up(left);

        l = &first(i, 0);
        d_child = states[left].d_in.get();
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            float* dy = d_y.get() + c * second(i, 0).out * d_lanes;
            std::fill_n(dy, second(i, 0).out * d_lanes, 0.0f);
            take_gradient(row(d_child, half, g, j),
                          hn::Mul(sign_of(load(row(in, size, g, j))),
                                  sign_of(load(row(in, size, g, j + half)))),
                          dy);
        });
        infer_back(use(i, 0), *l, second(i, 0), bias_of(i), d_groups * half);
        float* d_before_out = d_before ? (*d_before)[right].d_out.get() : nullptr;
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const V a = load(row(in, size, g, j)), b = load(row(in, size, g, j + half)),
                    r = load(row(before, half, g, j));
            const V sa = sign_of(a), sb = sign_of(b), sab = hn::Mul(sa, sb);
            const float* dx = d_dx.get() + c * l->in * d_lanes;
            V da = hn::Mul(llr_gradient(dx, hn::Mul(a, sa)), sa);
            V db = hn::Mul(llr_gradient(dx, hn::Mul(b, sb)), sb);
            V dr = hn::Mul(llr_gradient(dx, hn::Mul(r, sb)), sb);
            const V br = hn::Add(b, r), l1 = box(a, br);
            const V d_l1 = hn::MulAdd(
                llr_gradient(dx, hn::Mul(l1, sab)), sab, load(row(d_child, half, g, j)));
            V d_br = hn::Zero(d);
            box_gradient(a, br, d_l1, da, d_br);
            db = hn::Add(db, d_br);
            features_gradient(dx, row(d_in, size, g, j), sa);
            features_gradient(dx, row(d_in, size, g, j + half), sb);
            add_to(row(d_in, size, g, j), da);
            add_to(row(d_in, size, g, j + half), db);
            if (d_before_out) {
                features_gradient(dx, row(d_before_out, half, g, j), sb);
                add_to(row(d_before_out, half, g, j), hn::Add(dr, d_br));
            }
        });
    }

    /*
     * A subcode of 8 bits. Its words are c = (x + y, y) with x = u_0..3 F^(x)2 and
     * y = u_4..7 F^(x)2, of which the unfrozen bits leave 2^r; with the probabilities of
     * the 16 values of each half in tables, a word costs one product.
     */
    struct subcode {
        std::vector<uint8_t> x, y;
    };
    static unsigned transform4(unsigned u)
    {
        // Bit i of a half is its position i.
        u ^= (u >> 1) & 5;
        return u ^ ((u >> 2) & 3);
    }
    static subcode words(uint8_t mask)
    {
        subcode s;
        for (unsigned u = 0; u < 16; u++) {
            if ((u & ~mask & 15) == 0)
                s.x.push_back(transform4(u));
            if ((u & ~(mask >> 4) & 15) == 0)
                s.y.push_back(transform4(u));
        }
        return s;
    }
    //! Signs of the positions under the syndrome's frozen bits.
    void coset(std::size_t block, std::size_t g, float* signs)
    {
        const uint8_t mask = d_net.unfrozen_mask(block);
        for (std::size_t j = 0; j < leaf; j++) {
            V sign = constant(1.0f);
            // Position j is the sum of the bits u_i with all ones of j in i.
            for (std::size_t i = 0; i < leaf; i++)
                if ((i & j) == j && !(mask >> i & 1))
                    sign = hn::Mul(
                        sign,
                        hn::NegMulAdd(constant(2.0f),
                                      load(d_syndrome.get() +
                                           (g * d_net.n() + block * leaf + i) * d_lanes),
                                      constant(1.0f)));
            store(sign, signs + j * d_lanes);
        }
    }
    //! Probabilities of the 16 values of 4 bits with these LLRs.
    void tables(const float* llrs, float* table)
    {
        store(constant(1.0f), table);
        for (std::size_t j = 0; j < 4; j++) {
            const V one =
                hn::Div(constant(1.0f),
                        hn::Add(constant(1.0f), hn::Exp(d, load(llrs + j * d_lanes))));
            // 1 - one would lose its digits where one is near 1.
            const V zero = hn::Div(
                constant(1.0f),
                hn::Add(constant(1.0f), hn::Exp(d, hn::Neg(load(llrs + j * d_lanes)))));
            for (std::size_t c = 0; c < (std::size_t(1) << j); c++) {
                const V p = load(table + c * d_lanes);
                store(hn::Mul(p, one), table + (c + (std::size_t(1) << j)) * d_lanes);
                store(hn::Mul(p, zero), table + c * d_lanes);
            }
        }
    }
    //! Sums of a table over the values in which bits selects an odd number of ones, or
    //! even.
    void parts(const float* table, unsigned bits, V& zero, V& one)
    {
        zero = hn::Zero(d);
        one = hn::Zero(d);
        for (unsigned c = 0; c < 16; c++) {
            const V p = load(table + c * d_lanes);
            if (__builtin_parity(c & bits))
                one = hn::Add(one, p);
            else
                zero = hn::Add(zero, p);
        }
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

    void down_leaf(std::size_t i)
    {
        const std::size_t block = i - d_net.n() / leaf;
        auto& state = d_passes[d_pass][i];
        const uint8_t mask = d_net.unfrozen_mask(block);
        const layer &l1 = d_net.leaf_layer(block, 0), &l2 = d_net.leaf_layer(block, 1);
        auto signs = d_signs.get();
        if (mask == 0) {
            for (std::size_t g = 0; g < d_groups; g++) {
                coset(block, g, signs);
                for (std::size_t j = 0; j < leaf; j++) {
                    float* out = row(state.out.get(), leaf, g, j);
                    std::fill_n(out, d_width * d_lanes, 0.0f);
                    store(hn::Mul(load(signs + j * d_lanes), constant(certain)), out);
                }
            }
            return;
        }
        float* before = d_before ? (*d_before)[i].out.get() : d_nothing.get();
        network_use& u = use(i, 0);
        for (std::size_t g = 0; g < d_groups; g++) {
            coset(block, g, signs);
            float* x = u.x.get() + g * l1.in * d_lanes;
            for (std::size_t j = 0; j < leaf; j++)
                x = put_llr(x,
                            hn::Mul(load(row(state.in.get(), leaf, g, j)),
                                    load(signs + j * d_lanes)));
            for (std::size_t j = 0; j < leaf; j++)
                x = put_features(
                    x, row(state.in.get(), leaf, g, j), load(signs + j * d_lanes));
            for (std::size_t j = 0; j < leaf; j++)
                x = put_features(x, row(before, leaf, g, j), load(signs + j * d_lanes));
        }
        infer(u, l1, l2, 0, d_groups);
        const subcode code = words(mask);
        float* llrs = (d_training ? state.leaf_llrs : d_leaf_scratch.leaf_llrs).get();
        for (std::size_t g = 0; g < d_groups; g++) {
            coset(block, g, signs);
            const float* y = d_y.get() + g * l2.out * d_lanes;
            float* m = llrs + g * leaf * d_lanes;
            for (std::size_t j = 0; j < leaf; j++)
                store(hn::Clamp(hn::MulAdd(load(row(state.in.get(), leaf, g, j)),
                                           load(signs + j * d_lanes),
                                           load(y + j * d_lanes)),
                                constant(-most_certain),
                                constant(most_certain)),
                      m + j * d_lanes);
            probabilities(code, m);
            for (std::size_t j = 0; j < leaf; j++) {
                V zero, one;
                parts(j < 4 ? d_pa.get() : d_pb.get(), position_bits(j % 4), zero, one);
                const V posterior = hn::Log(d, hn::Div(zero, one));
                const V sign = load(signs + j * d_lanes);
                float* out = row(state.out.get(), leaf, g, j);
                store(hn::Mul(hn::Add(hn::Sub(posterior, load(m + j * d_lanes)),
                                      load(y + (leaf + j) * d_lanes)),
                              sign),
                      out);
                for (std::size_t f = 1; f < d_width; f++)
                    store(hn::Mul(
                              load(y + (2 * leaf + j * (d_width - 1) + f - 1) * d_lanes),
                              sign),
                          out + f * d_lanes);
                if (mask >> j & 1) {
                    parts(j < 4 ? d_px.get() : d_pb.get(), u_bits(j % 4), zero, one);
                    store(hn::Log(d, hn::Div(zero, one)),
                          d_message.get() + (g * d_net.n() + block * leaf + j) * d_lanes);
                }
            }
        }
    }

    //! Tables of the a-priori (d_ea, d_eb) and a-posteriori probabilities (d_pa, ...).
    void probabilities(const subcode& code, const float* llrs)
    {
        tables(llrs, d_ea.get());
        tables(llrs + 4 * d_lanes, d_eb.get());
        for (float* table : {d_pa.get(), d_pb.get(), d_px.get()})
            std::fill_n(table, 16 * d_lanes, 0.0f);
        for (unsigned y : code.y) {
            const V eb = load(d_eb.get() + y * d_lanes);
            V total = hn::Zero(d);
            for (unsigned x : code.x) {
                const V p = hn::Mul(load(d_ea.get() + (x ^ y) * d_lanes), eb);
                add_to(d_pa.get() + (x ^ y) * d_lanes, p);
                add_to(d_px.get() + x * d_lanes, p);
                total = hn::Add(total, p);
            }
            store(total, d_pb.get() + y * d_lanes);
        }
    }

    //! Adds the gradient g of log(zero / one) of parts() to that of the table.
    void parts_gradient(const float* table, unsigned bits, V g, float* d_table)
    {
        V zero, one;
        parts(table, bits, zero, one);
        const V by_zero = hn::Div(g, zero), by_one = hn::Neg(hn::Div(g, one));
        for (unsigned c = 0; c < 16; c++)
            add_to(d_table + c * d_lanes, __builtin_parity(c & bits) ? by_one : by_zero);
    }

    void up_leaf(std::size_t i)
    {
        const std::size_t block = i - d_net.n() / leaf;
        auto& state = d_passes[d_pass][i];
        const uint8_t mask = d_net.unfrozen_mask(block);
        if (mask == 0)
            return;
        const layer &l1 = d_net.leaf_layer(block, 0), &l2 = d_net.leaf_layer(block, 1);
        auto signs = d_signs.get();
        const subcode code = words(mask);
        buffer& d_m = d_leaf_gradient;
        for (std::size_t g = 0; g < d_groups; g++) {
            coset(block, g, signs);
            const float* m = state.leaf_llrs.get() + g * leaf * d_lanes;
            float* dy = d_y.get() + g * l2.out * d_lanes;
            std::fill_n(dy, l2.out * d_lanes, 0.0f);
            probabilities(code, m);
            for (float* table : {d_dpa.get(), d_dpb.get(), d_dpx.get()})
                std::fill_n(table, 16 * d_lanes, 0.0f);
            for (std::size_t j = 0; j < leaf; j++) {
                const float* d_out = row(state.d_out.get(), leaf, g, j);
                const V sign = load(signs + j * d_lanes);
                const V of_llr = hn::Mul(load(d_out), sign);
                parts_gradient(j < 4 ? d_pa.get() : d_pb.get(),
                               position_bits(j % 4),
                               of_llr,
                               j < 4 ? d_dpa.get() : d_dpb.get());
                store(of_llr, dy + (leaf + j) * d_lanes);
                for (std::size_t f = 1; f < d_width; f++)
                    store(hn::Mul(load(d_out + f * d_lanes), sign),
                          dy + (2 * leaf + j * (d_width - 1) + f - 1) * d_lanes);
                store(hn::Neg(of_llr), d_m.get() + j * d_lanes);
                if (mask >> j & 1)
                    parts_gradient(
                        j < 4 ? d_px.get() : d_pb.get(),
                        u_bits(j % 4),
                        load(d_dm + (g * d_net.n() + block * leaf + j) * d_lanes),
                        j < 4 ? d_dpx.get() : d_dpb.get());
            }
            for (float* table : {d_dea.get(), d_deb.get()})
                std::fill_n(table, 16 * d_lanes, 0.0f);
            for (unsigned y : code.y)
                for (unsigned x : code.x) {
                    const V gp = hn::Add(load(d_dpa.get() + (x ^ y) * d_lanes),
                                         hn::Add(load(d_dpx.get() + x * d_lanes),
                                                 load(d_dpb.get() + y * d_lanes)));
                    const V p = hn::Mul(gp,
                                        hn::Mul(load(d_ea.get() + (x ^ y) * d_lanes),
                                                load(d_eb.get() + y * d_lanes)));
                    // Gradients of the logarithms of the two factors.
                    add_to(d_dea.get() + (x ^ y) * d_lanes, p);
                    add_to(d_deb.get() + y * d_lanes, p);
                }
            for (std::size_t j = 0; j < leaf; j++) {
                V zero, one;
                parts(j < 4 ? d_dea.get() : d_deb.get(), position_bits(j % 4), zero, one);
                // log P(0) = -log(1 + e^-m), log P(1) = -log(1 + e^m).
                const V llr = load(m + j * d_lanes);
                const V p_one =
                    hn::Div(constant(1.0f), hn::Add(constant(1.0f), hn::Exp(d, llr)));
                V dm = hn::Sub(hn::Mul(zero, p_one),
                               hn::Mul(one, hn::Sub(constant(1.0f), p_one)));
                dm = hn::Add(dm, load(d_m.get() + j * d_lanes));
                dm = hn::IfThenElseZero(hn::Lt(hn::Abs(llr), constant(most_certain)), dm);
                store(dm, dy + j * d_lanes);
                add_to(row(state.d_in.get(), leaf, g, j),
                       hn::Mul(dm, load(signs + j * d_lanes)));
            }
        }
        infer_back(use(i, 0), l1, l2, 0, d_groups);
        float* d_before_out = d_before ? (*d_before)[i].d_out.get() : nullptr;
        for (std::size_t g = 0; g < d_groups; g++) {
            coset(block, g, signs);
            const float* dx = d_dx.get() + g * l1.in * d_lanes;
            for (std::size_t j = 0; j < leaf; j++) {
                const V sign = load(signs + j * d_lanes);
                const V llr = hn::Mul(load(row(state.in.get(), leaf, g, j)), sign);
                add_to(row(state.d_in.get(), leaf, g, j),
                       hn::Mul(llr_gradient(dx, llr), sign));
            }
            for (std::size_t j = 0; j < leaf; j++)
                features_gradient(
                    dx, row(state.d_in.get(), leaf, g, j), load(signs + j * d_lanes));
            if (d_before_out)
                for (std::size_t j = 0; j < leaf; j++)
                    features_gradient(
                        dx, row(d_before_out, leaf, g, j), load(signs + j * d_lanes));
        }
    }

    buffer d_signs = rows(leaf), d_leaf_gradient = rows(leaf);
    buffer d_ea = rows(16), d_eb = rows(16), d_pa = rows(16), d_pb = rows(16),
           d_px = rows(16);
    buffer d_dea = rows(16), d_deb = rows(16), d_dpa = rows(16), d_dpb = rows(16),
           d_dpx = rows(16);
};

} // namespace

void EstimateFlips(const cancellation_network& net,
                   const float* parameters,
                   const float* reliabilities,
                   const uint8_t* u,
                   std::size_t frames,
                   std::size_t passes,
                   float* message,
                   float* codeword)
{
    const std::size_t lanes = hn::Lanes(d), n = net.n(), k = net.k();
    const std::size_t groups = std::min<std::size_t>(4, (frames + lanes - 1) / lanes);
    if (frames == 0)
        return;
    runner run(net, groups, 0);
    run.set_parameters(parameters);
    const std::size_t step = groups * lanes;
    for (std::size_t f = 0; f < frames; f += step) {
        const std::size_t now = std::min(step, frames - f);
        run.set_input(reliabilities + f * n, u + f * n, now);
        for (std::size_t pass = 0; pass < passes; pass++)
            run.run(pass);
        for (std::size_t i = 0; i < now; i++) {
            for (std::size_t j = 0; j < k; j++)
                message[(f + i) * k + j] = -run.message(i, net.unfrozen()[j]);
            for (std::size_t j = 0; j < n; j++)
                codeword[(f + i) * n + j] = -run.codeword(i, j);
        }
    }
}

double FlipGradient(const cancellation_network& net,
                    const float* parameters,
                    const float* reliabilities,
                    const uint8_t* u,
                    const uint8_t* flips,
                    std::size_t frames,
                    std::size_t passes,
                    float codeword_weight,
                    float early_weight,
                    float* gradient,
                    std::unique_ptr<shape::workspace>& workspace)
{
    const std::size_t n = net.n(), groups = 4, step = groups * hn::Lanes(d);
    double loss = 0;
    // Of another target, the workspace is another type.
    if (auto* kept = dynamic_cast<runner*>(workspace.get());
        !kept || kept->kept_passes() != passes)
        workspace = std::make_unique<runner>(net, groups, passes);
    runner& run = static_cast<runner&>(*workspace);
    run.set_parameters(parameters);
    for (std::size_t f = 0; f < frames; f += step) {
        const std::size_t now = std::min(step, frames - f);
        run.set_input(reliabilities + f * n, u + f * n, now);
        for (std::size_t pass = 0; pass < passes; pass++) {
            const float weight = (pass + 1 == passes ? 1.0f : early_weight) / frames;
            run.run(pass);
            loss += run.add_loss(u + f * n,
                                 flips + f * n,
                                 now,
                                 weight / net.k(),
                                 weight * codeword_weight / n);
        }
        run.back(gradient);
    }
    return loss;
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(EstimateFlips);
HWY_EXPORT(FlipGradient);

cancellation_network::cancellation_network(std::size_t n,
                                           const std::vector<uint32_t>& unfrozen,
                                           std::size_t features,
                                           std::size_t hidden,
                                           std::size_t leaf_hidden)
    : d_n(n), d_unfrozen(unfrozen), d_features(features), d_masks(n / leaf)
{
    auto expect = [](bool holds, const std::string& what, std::size_t got) {
        if (!holds)
            throw std::invalid_argument("cancellation_network: expected " + what +
                                        ", got " + std::to_string(got));
    };
    expect(n >= 16 && n <= 1024 && (n & (n - 1)) == 0, "n = 16, 32, ... 1024", n);
    expect(!unfrozen.empty(), "at least one unfrozen position", 0);
    expect(features >= 1 && features <= 64, "1 to 64 features", features);
    for (std::size_t width : {hidden, leaf_hidden})
        expect(width >= 4 && width <= 1024 && width % 4 == 0,
               "a hidden width of 4, 8, ... 1024",
               width);
    for (std::size_t i = 0; i < unfrozen.size(); i++) {
        expect(unfrozen[i] < n && (i == 0 || unfrozen[i] > unfrozen[i - 1]),
               "rising unfrozen positions below n",
               unfrozen[i]);
        d_masks[unfrozen[i] / leaf] |= uint8_t(1u << unfrozen[i] % leaf);
    }
    while ((leaf << d_levels) < n)
        d_levels++;

    auto add = [this](std::size_t in, std::size_t out, std::size_t biases) {
        auto whole = [](std::size_t x) { return (x + 3) / 4 * 4; };
        layer l{whole(in), whole(out), biases, d_parameters, 0};
        l.bias = l.weight + l.in * l.out;
        d_parameters = l.bias + l.out * biases;
        d_layers.push_back(l);
    };
    const std::size_t width = 1 + features;
    for (std::size_t level = 0; level < d_levels; level++)
        for (operation o : {to_left, to_right, to_parent}) {
            add(8 + (o == to_parent ? 4 : 3) * features, hidden, std::size_t(1) << level);
            add(hidden, (o == to_parent ? 2 : 1) * width, 1);
        }
    for (uint8_t mask : d_masks) {
        const bool used = mask != 0;
        add(used ? leaf * (2 + 2 * features) : 0, used ? leaf_hidden : 0, 1);
        add(used ? leaf_hidden : 0, used ? leaf * (1 + width) : 0, 1);
    }
}

namespace {

std::size_t checked_frames(const cancellation_network& net,
                           span<const float> parameters,
                           span<const float> reliabilities,
                           span<const uint8_t> u,
                           std::size_t passes)
{
    const std::size_t frames = reliabilities.size() / net.n();
    if (parameters.size() != net.parameters())
        throw std::invalid_argument(
            "cancellation_network: expected " + std::to_string(net.parameters()) +
            " parameters, got " + std::to_string(parameters.size()));
    if (reliabilities.size() % net.n() != 0 || u.size() != reliabilities.size())
        throw std::invalid_argument("cancellation_network: expected reliabilities and "
                                    "bits of as many frames of " +
                                    std::to_string(net.n()) + ", got " +
                                    std::to_string(reliabilities.size()) + " and " +
                                    std::to_string(u.size()));
    if (passes < 1 || passes > 100)
        throw std::invalid_argument(
            "cancellation_network: expected 1 to 100 passes, got " +
            std::to_string(passes));
    return frames;
}

} // namespace

void cancellation_network::estimate(span<const float> parameters,
                                    span<const float> reliabilities,
                                    span<const uint8_t> u,
                                    std::size_t passes,
                                    span<float> message,
                                    span<float> codeword) const
{
    const std::size_t frames =
        checked_frames(*this, parameters, reliabilities, u, passes);
    if (message.size() != frames * k() || codeword.size() != frames * d_n)
        throw std::invalid_argument("cancellation_network: expected room for " +
                                    std::to_string(frames) + " frames");
    HWY_DYNAMIC_DISPATCH(EstimateFlips)
    (*this,
     parameters.data(),
     reliabilities.data(),
     u.data(),
     frames,
     passes,
     message.data(),
     codeword.data());
}

double cancellation_network::gradient(span<const float> parameters,
                                      span<const float> reliabilities,
                                      span<const uint8_t> u,
                                      span<const uint8_t> flips,
                                      std::size_t passes,
                                      float codeword_weight,
                                      float early_weight,
                                      span<float> gradient) const
{
    const std::size_t frames =
        checked_frames(*this, parameters, reliabilities, u, passes);
    if (flips.size() != u.size() || gradient.size() != d_parameters)
        throw std::invalid_argument("cancellation_network: expected flips of " +
                                    std::to_string(frames) + " frames and room for " +
                                    std::to_string(d_parameters) + " gradients");
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    const auto workspace = d_workspaces.take();
    return HWY_DYNAMIC_DISPATCH(FlipGradient)(*this,
                                              parameters.data(),
                                              reliabilities.data(),
                                              u.data(),
                                              flips.data(),
                                              frames,
                                              passes,
                                              codeword_weight,
                                              early_weight,
                                              gradient.data(),
                                              *workspace);
}

} // namespace gr::neuralfec
#endif

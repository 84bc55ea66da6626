/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The passes of the cancellation network down and up its tree, and the way back through
 * them. Included once for each SIMD target.
 */
#include "kernels/cancellation_network_subcode-inl.h"

#include <array>
#include <cmath>

#if defined(NEURALFEC_CANCELLATION_NETWORK_RUNNER_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NEURALFEC_CANCELLATION_NETWORK_RUNNER_INL_H
#undef NEURALFEC_CANCELLATION_NETWORK_RUNNER_INL_H
#else
#define NEURALFEC_CANCELLATION_NETWORK_RUNNER_INL_H
#endif

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

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
    runner(const shape& net, std::size_t kept_passes)
        : d_net(net),
          d_lanes(hn::Lanes(d)),
          d_width(1 + net.features()),
          d_training(kept_passes > 0),
          d_syndrome(rows(most_groups * net.n())),
          d_message(rows(most_groups * net.n()))
    {
        constexpr std::size_t groups = most_groups;
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

    //! The most frames of one run.
    std::size_t most_frames() const { return most_groups * d_lanes; }

    //! The frames of one run, at most most_frames().
    void set_input(const float* reliabilities, const uint8_t* u, std::size_t frames)
    {
        d_groups = (frames + d_lanes - 1) / d_lanes;
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
    static constexpr std::size_t most_groups = 4;
    std::size_t d_groups = most_groups;
    const std::size_t d_lanes, d_width;
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
              [](V sum, std::size_t)
                  NEURALFEC_LAMBDA { return hn::Max(sum, hn::Zero(d)); });
        apply(d_w + second.weight,
              d_w + second.bias,
              u.hidden.get(),
              d_y.get(),
              columns,
              second.in,
              second.out,
              [](V sum, std::size_t) NEURALFEC_LAMBDA { return sum; });
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
        const float* hidden = u.hidden.get();
        apply(d_transposed.data() + second.weight,
              nullptr,
              d_y.get(),
              d_dh.get(),
              columns,
              second.out,
              second.in,
              [&](V sum, std::size_t at) NEURALFEC_LAMBDA {
                  return hn::IfThenElseZero(hn::Gt(load(hidden + at), hn::Zero(d)), sum);
              });
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
              [](V sum, std::size_t) NEURALFEC_LAMBDA { return sum; });
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

    /*
     * The three rules. Each reads an LLR and features of its sources at a pair of
     * positions, j and j + half of the node, adds what a network says to one or two
     * results, and gives its features on. With a and b the LLRs of the two halves, s and
     * r those of the left and the right child:
     *
     *              sources     results
     *   to_left    a, b, r     a [+] (b + r), r of the pass before
     *   to_right   a, b, s     b + (a [+] s)
     *   to_parent  s, r, a, b  s [+] (r + b),  r + (a [+] s)
     *
     * The network sees four LLRs, the results and as many of the first sources as there
     * is room for, and all features; all relative to the signs that they would have if
     * a and b were positive.
     */
    template <shape::operation O>
    static constexpr std::size_t results = O == shape::to_parent ? 2 : 1;
    template <shape::operation O>
    static constexpr std::size_t sources = results<O> + 2;
    template <shape::operation O>
    static constexpr std::size_t seen = 4 - results<O>;

    //! Where the LLRs and features of a source or a result lie: those of position j are
    //! at position j + shift of `states`.
    struct place {
        float* states;
        std::size_t size, shift;
    };
    float* at(const place& p, std::size_t g, std::size_t j) const
    {
        return row(p.states, p.size, g, j + p.shift);
    }

    //! Of the values, or of their gradients; no memory where there is nothing before.
    template <shape::operation O>
    std::array<place, 4> source_places(std::size_t i, bool gradient) const
    {
        const std::size_t size = node_size(i), half = size / 2, right = 2 * i + 1;
        auto in = [&](const node_state& s) { return (gradient ? s.d_in : s.in).get(); };
        auto out = [&](const node_state& s) {
            return (gradient ? s.d_out : s.out).get();
        };
        auto& states = d_passes[d_pass];
        float* own = in(states[i]);
        if (O == shape::to_left) {
            // Not a copy: the right child's output of the pass before is read before it
            // is written again.
            float* before = d_before   ? out((*d_before)[right])
                            : gradient ? nullptr
                                       : d_nothing.get();
            return {{{own, size, 0}, {own, size, half}, {before, half, 0}, {}}};
        }
        float* left = out(states[right - 1]);
        if (O == shape::to_right)
            return {{{own, size, 0}, {own, size, half}, {left, half, 0}, {}}};
        return {{{left, half, 0},
                 {out(states[right]), half, 0},
                 {own, size, 0},
                 {own, size, half}}};
    }
    template <shape::operation O>
    std::array<place, 2> result_places(std::size_t i, bool gradient) const
    {
        const std::size_t size = node_size(i), half = size / 2;
        auto& states = d_passes[d_pass];
        if (O == shape::to_parent) {
            float* out = (gradient ? states[i].d_out : states[i].out).get();
            return {{{out, size, 0}, {out, size, half}}};
        }
        auto& child = states[O == shape::to_left ? 2 * i : 2 * i + 1];
        return {{{(gradient ? child.d_in : child.in).get(), half, 0}, {}}};
    }

    //! What a rule finds and makes at a pair of positions, with the signs.
    template <shape::operation O>
    struct pair {
        V llr[sources<O>], sign[sources<O>];
        V result[results<O>], result_sign[results<O>];
    };
    template <shape::operation O>
    pair<O> pair_at(const std::array<place, 4>& from, std::size_t g, std::size_t j) const
    {
        pair<O> p;
        for (std::size_t k = 0; k < sources<O>; k++)
            p.llr[k] = load(at(from[k], g, j));
        constexpr std::size_t first = O == shape::to_parent ? 2 : 0;
        const V a = p.llr[first], b = p.llr[first + 1];
        const V sa = sign_of(a), sb = sign_of(b), sab = hn::Mul(sa, sb);
        p.sign[first] = sa, p.sign[first + 1] = sb;
        if constexpr (O == shape::to_left) {
            p.sign[2] = sb;
            p.result[0] = box(a, hn::Add(b, p.llr[2])), p.result_sign[0] = sab;
        } else if constexpr (O == shape::to_right) {
            p.sign[2] = sab;
            p.result[0] = hn::Add(b, box(a, p.llr[2])), p.result_sign[0] = sb;
        } else {
            const V s = p.llr[0], r = p.llr[1];
            p.sign[0] = sab, p.sign[1] = sb;
            p.result[0] = box(s, hn::Add(r, b)), p.result_sign[0] = sa;
            p.result[1] = hn::Add(r, box(a, s)), p.result_sign[1] = sb;
        }
        return p;
    }
    //! From the gradients of the results to those of the sources' LLRs.
    template <shape::operation O>
    static void pair_gradient(const pair<O>& p, const V* d_result, V* d_llr)
    {
        V d_sum = hn::Zero(d);
        if constexpr (O == shape::to_left) {
            box_gradient(
                p.llr[0], hn::Add(p.llr[1], p.llr[2]), d_result[0], d_llr[0], d_sum);
            d_llr[1] = hn::Add(d_llr[1], d_sum);
            d_llr[2] = hn::Add(d_llr[2], d_sum);
        } else if constexpr (O == shape::to_right) {
            d_llr[1] = hn::Add(d_llr[1], d_result[0]);
            box_gradient(p.llr[0], p.llr[2], d_result[0], d_llr[0], d_llr[2]);
        } else {
            box_gradient(
                p.llr[0], hn::Add(p.llr[1], p.llr[3]), d_result[0], d_llr[0], d_sum);
            d_llr[1] = hn::Add(d_llr[1], hn::Add(d_sum, d_result[1]));
            d_llr[3] = hn::Add(d_llr[3], d_sum);
            box_gradient(p.llr[2], p.llr[0], d_result[1], d_llr[2], d_llr[0]);
        }
    }

    template <shape::operation O>
    void down_rule(std::size_t i)
    {
        const std::size_t half = node_size(i) / 2;
        const auto from = source_places<O>(i, false);
        const auto to = result_places<O>(i, false);
        const layer &l1 = first(i, O), &l2 = second(i, O);
        float* inputs = use(i, O).x.get();
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const auto p = pair_at<O>(from, g, j);
            float* x = inputs + c * l1.in * d_lanes;
            for (std::size_t k = 0; k < seen<O>; k++)
                x = put_llr(x, hn::Mul(p.llr[k], p.sign[k]));
            for (std::size_t q = 0; q < results<O>; q++)
                x = put_llr(x, hn::Mul(p.result[q], p.result_sign[q]));
            for (std::size_t k = 0; k < sources<O>; k++)
                x = put_features(x, at(from[k], g, j), p.sign[k]);
        });
        infer(use(i, O), l1, l2, bias_of(i), d_groups * half);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const auto p = pair_at<O>(from, g, j);
            const float* y = d_y.get() + c * l2.out * d_lanes;
            for (std::size_t q = 0; q < results<O>; q++)
                take(y + q * d_width * d_lanes,
                     p.result[q],
                     p.result_sign[q],
                     at(to[q], g, j));
        });
    }

    template <shape::operation O>
    void up_rule(std::size_t i)
    {
        const std::size_t half = node_size(i) / 2;
        const auto from = source_places<O>(i, false), d_from = source_places<O>(i, true);
        const auto d_to = result_places<O>(i, true);
        const layer &l1 = first(i, O), &l2 = second(i, O);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const auto p = pair_at<O>(from, g, j);
            float* dy = d_y.get() + c * l2.out * d_lanes;
            std::fill_n(dy, l2.out * d_lanes, 0.0f);
            for (std::size_t q = 0; q < results<O>; q++)
                take_gradient(
                    at(d_to[q], g, j), p.result_sign[q], dy + q * d_width * d_lanes);
        });
        infer_back(use(i, O), l1, l2, bias_of(i), d_groups * half);
        for_pairs(half, [&](std::size_t c, std::size_t g, std::size_t j) {
            const auto p = pair_at<O>(from, g, j);
            const float* dx = d_dx.get() + c * l1.in * d_lanes;
            V d_llr[sources<O>], d_result[results<O>];
            for (std::size_t k = 0; k < sources<O>; k++)
                d_llr[k] = k < seen<O>
                               ? hn::Mul(llr_gradient(dx, hn::Mul(p.llr[k], p.sign[k])),
                                         p.sign[k])
                               : hn::Zero(d);
            for (std::size_t q = 0; q < results<O>; q++)
                d_result[q] =
                    hn::MulAdd(llr_gradient(dx, hn::Mul(p.result[q], p.result_sign[q])),
                               p.result_sign[q],
                               load(at(d_to[q], g, j)));
            pair_gradient<O>(p, d_result, d_llr);
            for (std::size_t k = 0; k < sources<O>; k++) {
                // Nothing was before the first pass.
                if (!d_from[k].states)
                    continue;
                float* d_source = at(d_from[k], g, j);
                features_gradient(dx, d_source, p.sign[k]);
                add_to(d_source, d_llr[k]);
            }
        });
    }

    void down(std::size_t i)
    {
        if (is_leaf(i)) {
            down_leaf(i);
            return;
        }
        down_rule<shape::to_left>(i);
        down(2 * i);
        down_rule<shape::to_right>(i);
        down(2 * i + 1);
        down_rule<shape::to_parent>(i);
    }

    void up(std::size_t i)
    {
        if (is_leaf(i)) {
            up_leaf(i);
            return;
        }
        up_rule<shape::to_parent>(i);
        up(2 * i + 1);
        up_rule<shape::to_right>(i);
        up(2 * i);
        up_rule<shape::to_left>(i);
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
        const subcode_words code(mask);
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
            d_subcode.set(code, m);
            for (std::size_t j = 0; j < leaf; j++) {
                const V posterior = d_subcode.position(j);
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
                if (mask >> j & 1)
                    store(d_subcode.message(j),
                          d_message.get() + (g * d_net.n() + block * leaf + j) * d_lanes);
            }
        }
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
        const subcode_words code(mask);
        buffer& d_m = d_leaf_gradient;
        for (std::size_t g = 0; g < d_groups; g++) {
            coset(block, g, signs);
            const float* m = state.leaf_llrs.get() + g * leaf * d_lanes;
            float* dy = d_y.get() + g * l2.out * d_lanes;
            std::fill_n(dy, l2.out * d_lanes, 0.0f);
            d_subcode.set(code, m);
            d_subcode.clear_gradient();
            for (std::size_t j = 0; j < leaf; j++) {
                const float* d_out = row(state.d_out.get(), leaf, g, j);
                const V sign = load(signs + j * d_lanes);
                const V of_llr = hn::Mul(load(d_out), sign);
                d_subcode.add_position_gradient(j, of_llr);
                store(of_llr, dy + (leaf + j) * d_lanes);
                for (std::size_t f = 1; f < d_width; f++)
                    store(hn::Mul(load(d_out + f * d_lanes), sign),
                          dy + (2 * leaf + j * (d_width - 1) + f - 1) * d_lanes);
                store(hn::Neg(of_llr), d_m.get() + j * d_lanes);
                if (mask >> j & 1)
                    d_subcode.add_message_gradient(
                        j, load(d_dm + (g * d_net.n() + block * leaf + j) * d_lanes));
            }
            d_subcode.words_gradient(code);
            for (std::size_t j = 0; j < leaf; j++) {
                const V llr = load(m + j * d_lanes);
                V dm = d_subcode.llr_gradient(j, llr);
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
    subcode d_subcode;
};

} // namespace
} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

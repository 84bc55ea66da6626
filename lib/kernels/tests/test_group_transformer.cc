/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/group_transformer.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace gr::neuralfec;

namespace {

using vec = std::vector<double>;
using tokens = std::vector<vec>;

// One block after the description in the header, layer by layer, in double.
struct reference {
    group_transformer::shape s;
    const float* next;

    vec take(std::size_t n)
    {
        vec v(next, next + n);
        next += n;
        return v;
    }

    static vec linear(const vec& w, const vec& b, const vec& x)
    {
        vec y(w.size() / x.size());
        for (std::size_t r = 0; r < y.size(); r++) {
            y[r] = b.empty() ? 0 : b[r];
            for (std::size_t i = 0; i < x.size(); i++)
                y[r] += w[r * x.size() + i] * x[i];
        }
        return y;
    }

    static vec act(activation a, vec x)
    {
        for (double& v : x) {
            if (a == activation::relu)
                v = std::max(v, 0.0);
            if (a == activation::gelu)
                v *= 0.5 * std::erfc(-v / std::sqrt(2.0));
        }
        return x;
    }

    static vec norm(const vec& g, const vec& b, const vec& x)
    {
        double mean = 0, variance = 0;
        for (double v : x)
            mean += v / x.size();
        for (double v : x)
            variance += (v - mean) * (v - mean) / x.size();
        vec y(x.size());
        for (std::size_t i = 0; i < x.size(); i++)
            y[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * g[i] + b[i];
        return y;
    }

    void affine(std::size_t in, std::size_t out, tokens& x, activation a)
    {
        const vec w = take(in * out), b = take(out);
        for (vec& t : x)
            t = act(a, linear(w, b, t));
    }

    tokens operator()(tokens h, bool deep)
    {
        affine(s.inputs, s.features, h, activation::relu);
        affine(s.features, s.features, h, activation::relu);
        if (s.variable_depth) {
            tokens copy = h;
            affine(s.features, s.features, deep ? h : copy, activation::relu);
        }
        affine(s.features, s.width, h, activation::identity);
        const double root = std::sqrt(static_cast<double>(s.width));
        const vec positions = take(s.groups * s.width);
        for (std::size_t q = 0; q < s.groups; q++)
            for (std::size_t i = 0; i < s.width; i++)
                h[q][i] = root * h[q][i] + positions[q * s.width + i];
        for (std::size_t l = 0; l < s.layers; l++) {
            const vec g1 = take(s.width), b1 = take(s.width);
            const vec g2 = take(s.width), b2 = take(s.width);
            const vec query = take(s.width * s.width), key = take(s.width * s.width);
            const vec value = take(s.width * s.width);
            const vec merge = take(s.width * s.width), merge_bias = take(s.width);
            const vec expand = take(s.width * s.hidden), expand_bias = take(s.hidden);
            const vec contract = take(s.width * s.hidden), contract_bias = take(s.width);
            tokens n, result;
            for (const vec& t : h)
                n.push_back(norm(g1, b1, t));
            for (std::size_t t = 0; t < n.size(); t++) {
                const vec q = linear(query, {}, n[t]);
                vec rho;
                double total = 0;
                for (const vec& other : n) {
                    const vec k = linear(key, {}, other);
                    double dot = 0;
                    for (std::size_t i = 0; i < s.width; i++)
                        dot += q[i] * k[i];
                    rho.push_back(std::exp(dot / root));
                    total += rho.back();
                }
                vec mix(s.width);
                for (std::size_t o = 0; o < n.size(); o++) {
                    const vec v = linear(value, {}, n[o]);
                    for (std::size_t i = 0; i < s.width; i++)
                        mix[i] += rho[o] / total * v[i];
                }
                result.push_back(linear(merge, merge_bias, mix));
            }
            for (std::size_t t = 0; t < h.size(); t++) {
                for (std::size_t i = 0; i < s.width; i++)
                    h[t][i] += result[t][i];
                const vec inner =
                    act(s.act, linear(expand, expand_bias, norm(g2, b2, h[t])));
                const vec outer = linear(contract, contract_bias, inner);
                for (std::size_t i = 0; i < s.width; i++)
                    h[t][i] += outer[i];
            }
        }
        const vec g = take(s.width), b = take(s.width);
        for (vec& t : h)
            t = norm(g, b, t);
        std::size_t in = s.width;
        for (std::size_t i = 0; i < s.head.size(); i++) {
            affine(in,
                   s.head[i],
                   h,
                   i + 1 == s.head.size() ? activation::identity : s.head_act);
            in = s.head[i];
        }
        return h;
    }
};

void compare(const group_transformer::shape& s, std::size_t blocks)
{
    std::mt19937 rng(3);
    std::normal_distribution<float> normal(0.0f, 0.3f);
    std::vector<float> parameters(group_transformer::parameter_count(s));
    for (float& p : parameters)
        p = normal(rng);
    std::vector<float> inputs(blocks * s.groups * s.inputs);
    for (float& x : inputs)
        x = 3 * normal(rng);
    const group_transformer net(s, parameters);
    const std::size_t out = s.head.back();
    for (bool deep : {false, true}) {
        vec expected;
        double largest = 0;
        for (std::size_t b = 0; b < blocks; b++) {
            tokens block(s.groups);
            for (std::size_t q = 0; q < s.groups; q++) {
                const float* x = inputs.data() + (b * s.groups + q) * s.inputs;
                block[q].assign(x, x + s.inputs);
            }
            for (const vec& t : reference{s, parameters.data()}(block, deep))
                for (double v : t) {
                    expected.push_back(v);
                    largest = std::max(largest, std::abs(v));
                }
        }
        for (const auto& target : simd_targets()) {
            set_simd_target(target);
            std::vector<float> outputs(blocks * s.groups * out, NAN);
            net.run(inputs, deep, outputs);
            for (std::size_t i = 0; i < outputs.size(); i++)
                CHECK(std::abs(outputs[i] - expected[i]) < 1e-4 * largest);
            // A block alone gives the same as in company.
            std::vector<float> alone(s.groups * out);
            const std::size_t size = s.groups * s.inputs;
            net.run({inputs.data() + (blocks - 1) * size, size}, deep, alone);
            CHECK(std::equal(alone.begin(), alone.end(), outputs.end() - alone.size()));
        }
        set_simd_target("");
    }
}

// The slope of a weighted sum of the outputs, along a direction of all parameters and
// inputs at once, by differences of the reference and by the gradient.
void compare_gradient(const group_transformer::shape& s, std::size_t blocks, bool deep)
{
    std::mt19937 rng(4);
    std::normal_distribution<float> normal(0.0f, 0.3f);
    const auto drawn = [&](std::size_t size) {
        std::vector<float> v(size);
        for (float& x : v)
            x = normal(rng);
        return v;
    };
    auto parameters = drawn(group_transformer::parameter_count(s));
    // Far from the kinks of the extractor's rectifiers, half of which are off.
    std::size_t end = 0, in = s.inputs;
    float bias = 5.0f;
    for (std::size_t l = 0; l < 2u + s.variable_depth; l++, in = s.features, bias *= 5) {
        end += (in + 1) * s.features;
        for (std::size_t i = 0; i < s.features; i++)
            parameters[end - s.features + i] = i % 2 ? -bias : bias;
    }
    const auto inputs = drawn(blocks * s.groups * s.inputs);
    const auto weights = drawn(blocks * s.groups * s.head.back());
    auto direction = drawn(parameters.size());
    const auto input_direction = drawn(inputs.size());
    // The positions are a table.
    const std::size_t before = end + (s.features + 1) * s.width;
    std::fill_n(direction.begin() + before, s.groups * s.width, 0.0f);
    const auto along = [&](float step) {
        auto p = parameters, x = inputs;
        for (std::size_t i = 0; i < p.size(); i++)
            p[i] += step * direction[i];
        for (std::size_t i = 0; i < x.size(); i++)
            x[i] += step * input_direction[i];
        double sum = 0;
        const float* w = weights.data();
        for (std::size_t b = 0; b < blocks; b++) {
            tokens block(s.groups);
            for (std::size_t q = 0; q < s.groups; q++) {
                const float* from = x.data() + (b * s.groups + q) * s.inputs;
                block[q].assign(from, from + s.inputs);
            }
            for (const vec& t : reference{s, p.data()}(block, deep))
                for (double v : t)
                    sum += *w++ * v;
        }
        return sum;
    };
    const float step = 1.0f / 1024;
    const double expected = (along(step) - along(-step)) / (2 * step);
    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        const group_transformer net(s, parameters);
        std::vector<float> by_inputs(inputs.size(), NAN), by(parameters.size(), NAN);
        std::vector<float> by_products(net.product_count(), NAN);
        net.gradient(inputs, deep, weights, by_inputs, by_products);
        net.parameter_gradient(by_products, by);
        double slope = 0, size = 0;
        for (std::size_t i = 0; i < by.size(); i++) {
            slope += by[i] * direction[i];
            size += by[i] * by[i];
        }
        for (std::size_t i = 0; i < inputs.size(); i++) {
            slope += by_inputs[i] * input_direction[i];
            size += by_inputs[i] * by_inputs[i];
        }
        CHECK(std::abs(slope - expected) < 1e-3 * std::sqrt(size));
        for (std::size_t i = 0; i < s.groups * s.width; i++)
            CHECK(by[before + i] == 0);
    }
    set_simd_target("");
}

} // namespace

int main()
{
    using shape = group_transformer::shape;
    const auto gelu = activation::gelu, relu = activation::relu;
    const auto none = activation::identity;
    compare(shape{21, 16, 96, 32, 128, 2, {8, 1}, gelu, none, true}, 7);
    compare(shape{20, 16, 96, 32, 128, 3, {32, 8, 8}, relu, relu, false}, 4);
    compare(shape{3, 5, 10, 12, 20, 1, {3}, gelu, gelu, true}, 5);
    compare(shape{2, 70, 8, 9, 7, 2, {1}, relu, gelu, false}, 2);

    compare_gradient(shape{5, 16, 12, 8, 20, 2, {8, 1}, gelu, none, true}, 7, true);
    compare_gradient(shape{5, 16, 12, 8, 20, 2, {8, 1}, gelu, none, true}, 7, false);
    compare_gradient(shape{3, 5, 10, 12, 9, 1, {6, 3}, gelu, gelu, false}, 5, false);
    compare_gradient(shape{2, 70, 8, 9, 7, 2, {1}, gelu, gelu, false}, 2, false);

    const shape s{2, 3, 4, 5, 6, 1, {1}, gelu, gelu, false};
    std::vector<float> parameters(group_transformer::parameter_count(s));
    const group_transformer net(s, parameters);
    std::vector<float> in(6), out(3), uneven(7);
    net.run({}, false, {});
    CHECK_THROWS((net.run(uneven, false, out), 0));
    CHECK_THROWS((net.run(in, false, in), 0));
    std::vector<float> by(parameters.size()), by_products(net.product_count());
    net.gradient({}, false, {}, {}, by_products);
    CHECK_THROWS((net.gradient(in, false, in, in, by_products), 0));
    CHECK_THROWS((net.gradient(in, false, out, in, out), 0));
    CHECK_THROWS((net.parameter_gradient(by, by), 0));
    CHECK_THROWS((net.parameter_gradient(by_products, out), 0));
    parameters.push_back(0);
    CHECK_THROWS(group_transformer(s, parameters));
    shape empty = s;
    empty.layers = 0;
    CHECK_THROWS(group_transformer(empty, parameters));
    return 0;
}

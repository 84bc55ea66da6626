/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the group transformer makes of its parameters beforehand, and the way back from
 * there.
 */
#include "kernels/group_transformer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace gr::neuralfec {

namespace {

// Row-major, in double: what is multiplied beforehand is rounded once.
struct matrix {
    std::size_t rows, columns;
    std::vector<double> values;
    matrix(std::size_t r, std::size_t c) : rows(r), columns(c), values(r * c) {}
    double& operator()(std::size_t r, std::size_t c) { return values[r * columns + c]; }
    double operator()(std::size_t r, std::size_t c) const
    {
        return values[r * columns + c];
    }
};

matrix product(const matrix& a, const matrix& b)
{
    matrix c(a.rows, b.columns);
    for (std::size_t i = 0; i < a.rows; i++)
        for (std::size_t k = 0; k < a.columns; k++)
            for (std::size_t j = 0; j < b.columns; j++)
                c(i, j) += a(i, k) * b(k, j);
    return c;
}

matrix transposed(const matrix& a)
{
    matrix t(a.columns, a.rows);
    for (std::size_t i = 0; i < a.rows; i++)
        for (std::size_t j = 0; j < a.columns; j++)
            t(j, i) = a(i, j);
    return t;
}

matrix scaled(matrix a, double factor)
{
    for (double& value : a.values)
        value *= factor;
    return a;
}

//! a diag(v)
matrix columns_scaled(matrix a, const matrix& v)
{
    for (std::size_t i = 0; i < a.rows; i++)
        for (std::size_t j = 0; j < a.columns; j++)
            a(i, j) *= v.values[j];
    return a;
}

matrix sum(matrix a, const matrix& b)
{
    for (std::size_t i = 0; i < a.values.size(); i++)
        a.values[i] += b.values[i];
    return a;
}

tiled_layer packed(const matrix& w, const matrix& bias)
{
    return make_tiled_layer(
        w.columns, w.rows, w, [&](std::size_t r) { return bias.values[r]; });
}

class reader
{
public:
    explicit reader(span<const float> parameters) : d_next(parameters.begin()) {}
    matrix operator()(std::size_t rows, std::size_t columns)
    {
        matrix m(rows, columns);
        std::copy_n(d_next, m.values.size(), m.values.begin());
        d_next += m.values.size();
        return m;
    }

private:
    const float* d_next;
};

} // namespace

std::size_t group_transformer::parameter_count(const shape& s)
{
    const auto affine = [](std::size_t in, std::size_t out) { return (in + 1) * out; };
    std::size_t count = affine(s.inputs, s.features) + affine(s.features, s.features) +
                        s.variable_depth * affine(s.features, s.features) +
                        affine(s.features, s.width) + s.groups * s.width;
    count += s.layers * (4 * s.width + 3 * s.width * s.width + affine(s.width, s.width) +
                         affine(s.width, s.hidden) + affine(s.hidden, s.width));
    count += 2 * s.width;
    std::size_t in = s.width;
    for (const std::size_t out : s.head) {
        count += affine(in, out);
        in = out;
    }
    return count;
}

group_transformer::group_transformer(const shape& s, span<const float> parameters)
    : d_shape(s), d_parameters(parameters.begin(), parameters.end())
{
    for (const std::size_t size :
         {s.inputs, s.groups, s.features, s.width, s.hidden, s.layers, s.head.size()})
        if (size == 0)
            throw std::invalid_argument(
                "group_transformer: expected sizes of at least 1");
    if (parameters.size() != parameter_count(s))
        throw std::invalid_argument(
            "group_transformer: expected " + std::to_string(parameter_count(s)) +
            " parameters, got " + std::to_string(parameters.size()));
    reader read(parameters);
    const auto affine = [&read](std::size_t in, std::size_t out) {
        const matrix w = read(out, in);
        return packed(w, read(out, 1));
    };
    // Of an affine map behind a layer norm of weight g and bias b: W (g n + b) + c.
    const auto after_norm =
        [](const matrix& w, const matrix& c, const matrix& g, const matrix& b) {
            return packed(columns_scaled(w, g), sum(product(w, b), c));
        };
    extract1 = affine(s.inputs, s.features);
    extract2 = affine(s.features, s.features);
    if (s.variable_depth)
        extract3 = affine(s.features, s.features);
    const double embed_scale = std::sqrt(static_cast<double>(s.width));
    const matrix embed_weight = scaled(read(s.width, s.features), embed_scale);
    embed = packed(embed_weight, scaled(read(s.width, 1), embed_scale));
    const matrix table = transposed(read(s.groups, s.width));
    positions.assign(table.values.begin(), table.values.end());
    for (std::size_t l = 0; l < s.layers; l++) {
        const matrix g1 = read(s.width, 1), b1 = read(s.width, 1);
        const matrix g2 = read(s.width, 1), b2 = read(s.width, 1);
        const matrix query = read(s.width, s.width), key = read(s.width, s.width);
        const matrix value = read(s.width, s.width);
        const matrix merge = read(s.width, s.width), merge_bias = read(s.width, 1);
        const matrix expand = read(s.hidden, s.width), expand_bias = read(s.hidden, 1);
        // With tokens g1 n + b1, query . key of tokens t and k is
        //     (Wq (g1 n_t + b1)) . (Wk (g1 n_k + b1)) = (B n_t + c) . n_k + terms of t
        //     alone,
        // B = diag(g1) Wk^T Wq diag(g1), c = diag(g1) Wk^T Wq b1, and softmax over k does
        // not see what all k have in common. So n itself serves as the keys; and as the
        // values, since merge(sum_k rho_k Wv token_k) = Wm Wv (g1 sum_k rho_k n_k + b1).
        const matrix both = scaled(product(transposed(key), query), 1 / embed_scale);
        const matrix keyed = transposed(columns_scaled(transposed(both), g1));
        const matrix carried = product(merge, value);
        const matrix contract = read(s.width, s.hidden);
        layers.push_back({packed(columns_scaled(keyed, g1), product(keyed, b1)),
                          after_norm(carried, merge_bias, g1, b1),
                          after_norm(expand, expand_bias, g2, b2),
                          packed(contract, read(s.width, 1))});
    }
    const matrix g = read(s.width, 1), b = read(s.width, 1);
    std::size_t in = s.width;
    for (const std::size_t out : s.head) {
        const matrix w = read(out, in), bias = read(out, 1);
        head.push_back(head.empty() ? after_norm(w, bias, g, b) : packed(w, bias));
        in = out;
    }
    for (const auto* m : products())
        turned.push_back(make_tiled_layer(
            m->out,
            m->in,
            [m](std::size_t r, std::size_t i) {
                return m->weights[(i / dense_tile_rows * m->in + r) * dense_tile_rows +
                                  i % dense_tile_rows];
            },
            [](std::size_t) { return 0.0f; }));
}

std::vector<const group_transformer::linear*> group_transformer::products() const
{
    std::vector<const linear*> all{&extract1, &extract2};
    if (d_shape.variable_depth)
        all.push_back(&extract3);
    all.push_back(&embed);
    for (const auto& l : layers)
        all.insert(all.end(), {&l.score, &l.merge, &l.expand, &l.contract});
    for (const auto& m : head)
        all.push_back(&m);
    return all;
}

std::size_t group_transformer::product_count() const
{
    std::size_t count = 0;
    for (const auto* m : products())
        count += (m->in + 1) * m->out;
    return count;
}

void group_transformer::parameter_gradient(span<const float> product_gradient,
                                           span<float> result) const
{
    const auto& s = d_shape;
    if (product_gradient.size() != product_count() ||
        result.size() != d_parameters.size())
        throw std::invalid_argument("group_transformer: expected a gradient of " +
                                    std::to_string(product_count()) + " numbers for " +
                                    std::to_string(d_parameters.size()) + ", got " +
                                    std::to_string(product_gradient.size()) + " and " +
                                    std::to_string(result.size()));
    // From the products' gradient to that of their factors, in the constructor's order.
    reader next(product_gradient), read{span<const float>(d_parameters)};
    float* out = result.data();
    const auto write = [&out](const matrix& m) {
        out = std::copy(m.values.begin(), m.values.end(), out);
    };
    const auto taken = [&next](std::size_t columns, std::size_t rows) {
        matrix w = next(rows, columns);
        return std::pair{std::move(w), next(rows, 1)};
    };
    const auto affine = [&](std::size_t columns, std::size_t rows, double scale) {
        read(rows, columns);
        read(rows, 1);
        const auto [w, b] = taken(columns, rows);
        write(scaled(w, scale));
        write(scaled(b, scale));
    };
    // W diag(g) and W b of the gradients dw and db: by W, by g and by b.
    struct behind_norm {
        matrix w, g, b;
    };
    const auto unscaled = [](const matrix& w,
                             const matrix& g,
                             const matrix& b,
                             const matrix& dw,
                             const matrix& db) {
        behind_norm by{sum(columns_scaled(dw, g), product(db, transposed(b))),
                       matrix(g.rows, 1),
                       product(transposed(w), db)};
        for (std::size_t i = 0; i < w.rows; i++)
            for (std::size_t j = 0; j < w.columns; j++)
                by.g.values[j] += dw(i, j) * w(i, j);
        return by;
    };
    const double embed_scale = std::sqrt(static_cast<double>(s.width));
    affine(s.inputs, s.features, 1);
    affine(s.features, s.features, 1);
    if (s.variable_depth)
        affine(s.features, s.features, 1);
    affine(s.features, s.width, embed_scale);
    read(s.groups, s.width);
    write(matrix(s.groups, s.width));
    for (std::size_t l = 0; l < s.layers; l++) {
        const matrix g1 = read(s.width, 1), b1 = read(s.width, 1);
        const matrix g2 = read(s.width, 1), b2 = read(s.width, 1);
        const matrix query = read(s.width, s.width), key = read(s.width, s.width);
        const matrix value = read(s.width, s.width);
        const matrix merge = read(s.width, s.width);
        read(s.width, 1);
        const matrix expand = read(s.hidden, s.width);
        read(s.hidden, 1);
        read(s.width, s.hidden);
        read(s.width, 1);
        const matrix both = scaled(product(transposed(key), query), 1 / embed_scale);
        const matrix keyed = transposed(columns_scaled(transposed(both), g1));
        const matrix carried = product(merge, value);
        const auto [score_w, score_b] = taken(s.width, s.width);
        const auto [merge_w, merge_b] = taken(s.width, s.width);
        const auto [expand_w, expand_b] = taken(s.width, s.hidden);
        const auto [contract_w, contract_b] = taken(s.hidden, s.width);
        const auto by_keyed = unscaled(keyed, g1, b1, score_w, score_b);
        const auto by_carried = unscaled(carried, g1, b1, merge_w, merge_b);
        const auto by_expand = unscaled(expand, g2, b2, expand_w, expand_b);
        const matrix by_both = transposed(columns_scaled(transposed(by_keyed.w), g1));
        matrix by_g1 = sum(by_keyed.g, by_carried.g);
        for (std::size_t i = 0; i < s.width; i++)
            for (std::size_t j = 0; j < s.width; j++)
                by_g1.values[i] += by_keyed.w(i, j) * both(i, j);
        write(by_g1);
        write(sum(by_keyed.b, by_carried.b));
        write(by_expand.g);
        write(by_expand.b);
        write(scaled(product(key, by_both), 1 / embed_scale));
        write(scaled(product(query, transposed(by_both)), 1 / embed_scale));
        write(product(transposed(merge), by_carried.w));
        write(product(by_carried.w, transposed(value)));
        write(merge_b);
        write(by_expand.w);
        write(expand_b);
        write(contract_w);
        write(contract_b);
    }
    const matrix g = read(s.width, 1), b = read(s.width, 1);
    const matrix last = read(s.head[0], s.width);
    read(s.head[0], 1);
    const auto [head_w, head_b] = taken(s.width, s.head[0]);
    const auto by_head = unscaled(last, g, b, head_w, head_b);
    write(by_head.g);
    write(by_head.b);
    write(by_head.w);
    write(head_b);
    for (std::size_t j = 1; j < s.head.size(); j++)
        affine(s.head[j - 1], s.head[j], 1);
}

} // namespace gr::neuralfec

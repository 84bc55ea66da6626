/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Layers y = W x + b in the order in which dense-inl.h reads them.
 */
#pragma once

#include <cstddef>
#include <vector>

namespace gr::neuralfec {

//! Rows of W that stand together: [tile][in][row of the tile], with rows of zeros behind.
constexpr std::size_t dense_tile_rows = 8;

constexpr std::size_t whole_tiles(std::size_t rows)
{
    return (rows + dense_tile_rows - 1) / dense_tile_rows * dense_tile_rows;
}

struct tiled_layer {
    std::size_t in = 0;
    std::size_t out = 0;
    std::vector<float> weights;
    std::vector<float> bias;
};

//! \param weight, bias functions of (row, column) and of (row)
template <typename Weight, typename Bias>
tiled_layer
make_tiled_layer(std::size_t in, std::size_t out, const Weight& weight, const Bias& bias)
{
    tiled_layer layer{in,
                      out,
                      std::vector<float>(whole_tiles(out) * in),
                      std::vector<float>(whole_tiles(out))};
    for (std::size_t r = 0; r < out; r++) {
        layer.bias[r] = static_cast<float>(bias(r));
        for (std::size_t i = 0; i < in; i++)
            layer.weights[(r / dense_tile_rows * in + i) * dense_tile_rows +
                          r % dense_tile_rows] = static_cast<float>(weight(r, i));
    }
    return layer;
}

} // namespace gr::neuralfec

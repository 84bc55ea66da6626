/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Vector quantization of the LLRs of one symbol into a few bits, and back.
 */
#pragma once

#include "kernels/span.h"

#include <cstdint>
#include <vector>

namespace gr::neuralfec {

/*! What a network sees of an LLR L; NaN counts as 0, Inf as certain. */
enum class llr_feature {
    llr,      //!< L
    soft_bit, //!< tanh(L / 2)
};

/*! y = W x + b; weights row by row, one row an output. */
struct dense_layer {
    std::size_t inputs;
    std::vector<float> weights;
    std::vector<float> bias;
};

/*!
 * Feed-forward network over the LLRs of a symbol: rectified linear units between the
 * layers, none after the last; without layers, the features themselves.
 */
class llr_network
{
public:
    /*! \throws std::invalid_argument where the layers do not fit together */
    llr_network(std::size_t bits_per_symbol,
                llr_feature feature,
                const std::vector<dense_layer>& layers);

    std::size_t bits_per_symbol() const { return d_bits_per_symbol; }
    std::size_t outputs() const
    {
        return d_layers.empty() ? d_bits_per_symbol : d_layers.back().bias.size();
    }
    llr_feature feature() const { return d_feature; }
    const std::vector<dense_layer>& layers() const { return d_layers; }
    //! Of each layer, for every four outputs: their biases, then by input their weights.
    const std::vector<std::vector<float>>& packed() const { return d_packed; }

private:
    std::size_t d_bits_per_symbol;
    llr_feature d_feature;
    std::vector<dense_layer> d_layers;
    std::vector<std::vector<float>> d_packed;
};

/*!
 * Feed-forward network that treats both rails of a QAM symbol alike.
 *
 * It sees sign(L) log2(1 + min(|L|, 64)) of the folded LLRs (see cell_codebook), the
 * logarithm linear between powers of two. A layer has weights (A B), row by row, and
 * biases b for one rail, and makes of the rails' numbers x_I and x_Q
 *     y_I = A x_I + B x_Q + b,  y_Q = A x_Q + B x_I + b,
 * with rectified linear units between the layers. The last gives two numbers a rail:
 * (u_I, v_I) and (u_Q, v_Q); the network's outputs are (u_I + u_Q) / 2, v_I and v_Q.
 *
 * Sums and differences of the rails do not mix, (A + B) / 2 times the one and
 * (A - B) / 2 times the other: half the multiplications of a network that knows nothing
 * of the rails.
 */
class rail_network
{
public:
    /*!
     * \param rail_bits K / 2
     * \param layers weights (A B) and biases; inputs counts both rails'
     * \throws std::invalid_argument where the layers do not fit together or end in other
     * than 2 outputs
     */
    rail_network(std::size_t rail_bits, const std::vector<dense_layer>& layers);

    std::size_t rail_bits() const { return d_rail_bits; }
    //! Of a layer: outputs of a rail, a multiple of four with zeros in place of those
    //! that are not there; for every four their biases, then by input the (A + B) / 2 and
    //! the (A - B) / 2 of each.
    struct packed_layer {
        std::size_t outputs;
        std::vector<float> weights;
    };
    const std::vector<packed_layer>& packed() const { return d_packed; }

private:
    std::size_t d_rail_bits;
    std::vector<packed_layer> d_packed;
};

/*! From the K LLRs of a symbol to an index of `bits` bits. */
class symbol_quantizer
{
public:
    virtual ~symbol_quantizer() = default;

    std::size_t bits_per_symbol() const { return d_bits_per_symbol; }
    //! Bits of an index, 1 to 32.
    unsigned bits() const { return d_bits; }

    /*!
     * Quantizes whole symbols. NaN counts as 0 ("nothing known"), an infinite LLR as
     * certain; their number is returned. \throws std::invalid_argument unless llrs are K
     * for each index
     */
    std::size_t quantize(span<const float> llrs, span<uint32_t> indices) const;

protected:
    symbol_quantizer(std::size_t bits_per_symbol, unsigned bits);
    virtual std::size_t
    run(const float* llrs, uint32_t* indices, std::size_t symbols) const = 0;

private:
    std::size_t d_bits_per_symbol;
    unsigned d_bits;
};

/*!
 * Latent quantizer of the published autoencoder: output d of the network is quantized by
 * thresholds of its own, and the index is the level numbers one behind the other, the
 * first output's in the most significant bits.
 */
class latent_quantizer : public symbol_quantizer
{
public:
    /*!
     * \param thresholds for each output of the network 2^b - 1 rising numbers, b >= 0
     * \throws std::invalid_argument
     */
    latent_quantizer(const llr_network& network,
                     const std::vector<std::vector<float>>& thresholds);

    const llr_network& network() const { return d_network; }
    const std::vector<std::vector<float>>& thresholds() const { return d_thresholds; }

protected:
    std::size_t
    run(const float* llrs, uint32_t* indices, std::size_t symbols) const override;

private:
    llr_network d_network;
    std::vector<std::vector<float>> d_thresholds;
};

/*!
 * Codebook of square Gray-labelled QAM: cells of the gain G = |h|^2 / N0, and in cell c
 * n_c levels of the distance from the axis, the same for both rails.
 *
 * A symbol's LLRs are K/2 of the in-phase rail, then K/2 of the quadrature rail. On a
 * rail the sign of the first is sent as it is; by the Gray code's symmetry the rest
 * depends on the distance from the axis alone. The index is sign_I 2^(N_b - 1) + sign_Q
 * 2^(N_b - 2) + offset[c] + i n_c + j, offset[c] = sum of n_c'^2 over c' < c, with sign 1
 * for a positive first LLR, and stands for LLRs of (s_I T[c][i][0], T[c][i][1], ..., s_Q
 * T[c][j][0], T[c][j][1], ...).
 */
class cell_codebook
{
public:
    /*!
     * \param bits_per_symbol K: 2, 4, 6, 8 or 10
     * \param bits N_b: 3 to 32
     * \param levels n_c of each cell, sum of n_c^2 <= 2^(N_b - 2)
     * \param table T: K/2 LLRs of each level of each cell, the first not negative
     * \throws std::invalid_argument
     */
    cell_codebook(std::size_t bits_per_symbol,
                  unsigned bits,
                  const std::vector<uint32_t>& levels,
                  const std::vector<float>& table);

    std::size_t bits_per_symbol() const { return d_bits_per_symbol; }
    unsigned bits() const { return d_bits; }
    const std::vector<uint32_t>& levels() const { return d_levels; }
    const std::vector<float>& table() const { return d_table; }
    //! First index of each cell.
    const std::vector<uint32_t>& offsets() const { return d_offsets; }
    //! 2^(N_b - 2) rows of K LLRs for symbol_dequantizer; 0 where no codeword stands.
    std::vector<float> rows() const;

private:
    std::size_t d_bits_per_symbol;
    unsigned d_bits;
    std::vector<uint32_t> d_levels;
    std::vector<float> d_table;
    std::vector<uint32_t> d_offsets;
};

/*!
 * Fast quantizer: a network's outputs (u, v_I, v_Q) in 0 .. 1 tell the cell
 * c = floor(u C) and the levels i = floor(v_I n_c), j = floor(v_Q n_c).
 */
class cell_quantizer : public symbol_quantizer
{
public:
    /*! \throws std::invalid_argument unless both are for the same K */
    cell_quantizer(const rail_network& network, const cell_codebook& codebook);

protected:
    std::size_t
    run(const float* llrs, uint32_t* indices, std::size_t symbols) const override;

private:
    rail_network d_network;
    cell_codebook d_codebook;
    std::vector<float> d_levels;
};

/*!
 * Optimum quantizer: of all codewords the one whose bit posteriors q are nearest to those
 * of the LLRs, p, by the Kullback-Leibler divergence sum_k D(p_k || q_k). Given the cell,
 * the rails are independent, so that the sum of n_c, not of n_c^2, is to be tried.
 */
class cell_search : public symbol_quantizer
{
public:
    explicit cell_search(const cell_codebook& codebook);

protected:
    std::size_t
    run(const float* llrs, uint32_t* indices, std::size_t symbols) const override;

private:
    cell_codebook d_codebook;
    //! Each level's T and the sum of log(1 + exp(T)) behind it.
    std::vector<float> d_candidates;
};

/*! From indices back to LLRs, by a table. */
class symbol_dequantizer
{
public:
    static constexpr unsigned max_bits = 20;

    /*!
     * \param bits_per_symbol K
     * \param bits N_b, at most max_bits
     * \param folded whether the two most significant bits are signs of LLR 0 and K/2
     *   (set: positive) and the table is of the remaining N_b - 2
     * \param rows the table: K LLRs of each index, 2^N_b or 2^(N_b - 2) rows
     * \throws std::invalid_argument
     */
    symbol_dequantizer(std::size_t bits_per_symbol,
                       unsigned bits,
                       bool folded,
                       const std::vector<float>& rows);

    std::size_t bits_per_symbol() const { return d_bits_per_symbol; }
    unsigned bits() const { return d_bits; }

    /*!
     * Bits of an index above N_b are ignored.
     * \throws std::invalid_argument unless llrs are K for each index
     */
    void dequantize(span<const uint32_t> indices, span<float> llrs) const;

private:
    std::size_t d_bits_per_symbol;
    unsigned d_bits;
    bool d_folded;
    std::vector<float> d_rows;
};

/*! Bytes that `count` indices of `bits` bits fill. */
constexpr std::size_t packed_size(std::size_t count, unsigned bits)
{
    return (count * bits + 7) / 8;
}

/*!
 * The `bits` low bits of each index one behind the other, most significant first, zeros
 * after the last.
 * \throws std::invalid_argument unless bits is 1 to 32 and packed as long as
 * packed_size()
 */
void pack_bits(span<const uint32_t> indices, unsigned bits, span<uint8_t> packed);

/*! Undoes pack_bits(). \throws std::invalid_argument as pack_bits() */
void unpack_bits(span<const uint8_t> packed, unsigned bits, span<uint32_t> indices);

} // namespace gr::neuralfec

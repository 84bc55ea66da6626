/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/llr_quantizer.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <cmath>
#include <limits>
#include <random>

using namespace gr::neuralfec;

namespace {

constexpr std::size_t k = 8;
constexpr unsigned bits = 9;
const std::vector<uint32_t> levels{4, 6, 8};

double cross_entropy(const float* p, const float* q)
{
    double sum = 0;
    for (std::size_t i = 0; i < k; i++)
        sum += std::log1p(std::exp(double(q[i]))) - q[i] / (1 + std::exp(-double(p[i])));
    return sum;
}

void test_packing()
{
    std::mt19937 random(1);
    for (unsigned b = 1; b <= 32; b++)
        for (std::size_t count : {0u, 1u, 7u, 8u, 81u}) {
            std::vector<uint32_t> indices(count), back(count);
            for (auto& index : indices)
                index = static_cast<uint32_t>(random()) >> (32 - b);
            std::vector<uint8_t> packed(packed_size(count, b));
            pack_bits(indices, b, packed);
            // Bit by bit, most significant first.
            for (std::size_t i = 0; i < count * b; i++)
                CHECK((packed[i / 8] >> (7 - i % 8) & 1) ==
                      (indices[i / b] >> (b - 1 - i % b) & 1));
            unpack_bits(packed, b, back);
            CHECK(back == indices);
        }
    std::vector<uint32_t> indices(8);
    std::vector<uint8_t> packed(14);
    CHECK_THROWS((pack_bits(indices, 15, packed), 0));
    CHECK_THROWS((pack_bits(indices, 33, packed), 0));
}

} // namespace

int main()
{
    test_packing();

    std::mt19937 random(2);
    std::normal_distribution<float> normal(0, 4);
    std::vector<float> table(18 * k / 2);
    for (auto& x : table)
        x = normal(random);
    for (std::size_t i = 0; i < table.size(); i += k / 2)
        table[i] = std::abs(table[i]);
    const cell_codebook codebook(k, bits, levels, table);
    const symbol_dequantizer dequantizer(k, bits, true, codebook.rows());

    std::vector<uint32_t> every(512);
    for (std::size_t i = 0; i < every.size(); i++)
        every[i] = static_cast<uint32_t>(i);
    std::vector<float> words(every.size() * k);
    dequantizer.dequantize(every, words);

    // A count that leaves a part of a block on every target.
    const std::size_t symbols = 333;
    std::vector<float> llrs(symbols * k);
    for (auto& x : llrs)
        x = normal(random);
    llrs[5] = std::numeric_limits<float>::quiet_NaN();
    llrs[k * symbols - 1] = -std::numeric_limits<float>::infinity();
    std::vector<float> finite = llrs;
    finite[5] = 0;
    finite[k * symbols - 1] = -1e3f;

    const dense_layer hidden{
        k, std::vector<float>(k * 10, 0.1f), std::vector<float>(10, 0)};
    const dense_layer last{
        10, std::vector<float>(30, 0.05f), std::vector<float>(3, 0.1f)};
    const dense_layer rails{10, std::vector<float>(20, 0.05f), {0.3f, 0.2f}};
    dense_layer folded{k, std::vector<float>(k * 5, 0.1f), std::vector<float>(5, 0)};
    folded.weights[1] = -0.3f;
    const cell_quantizer fast(rail_network(k / 2, {folded, rails}), codebook);
    const latent_quantizer latent(llr_network(k, llr_feature::soft_bit, {hidden, last}),
                                  {{0.1f}, {0.0f, 0.1f, 0.2f}, {}});
    CHECK(latent.bits() == 3);

    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        std::vector<uint32_t> found(symbols), again(symbols);
        CHECK(cell_search(codebook).quantize(llrs, found) == 1);
        for (std::size_t s = 0; s < symbols; s++) {
            const float* p = &finite[s * k];
            double least = std::numeric_limits<double>::max();
            for (uint32_t index : every) {
                const bool used = (index & 127) < 16 + 36 + 64;
                const bool signs =
                    (index >> 8 & 1) == (p[0] > 0) && (index >> 7 & 1) == (p[4] > 0);
                if (used && signs)
                    least = std::min(least, cross_entropy(p, &words[index * k]));
            }
            CHECK(cross_entropy(p, &words[found[s] * k]) <= least + 1e-4);
        }
        // Symbols do not depend on their neighbours.
        for (const symbol_quantizer* q :
             std::initializer_list<const symbol_quantizer*>{&fast, &latent}) {
            CHECK(q->quantize(llrs, found) == 1);
            for (std::size_t s = 0; s < symbols; s++)
                q->quantize(span<const float>(&finite[s * k], k),
                            span<uint32_t>(&again[s], 1));
            CHECK(found == again);
            for (uint32_t index : found)
                CHECK(index >> q->bits() == 0);
        }
    }

    CHECK_THROWS(cell_codebook(k, 8, levels, table));
    CHECK_THROWS(cell_codebook(7, bits, levels, table));
    CHECK_THROWS(symbol_dequantizer(k, 21, false, {}));
    CHECK_THROWS(llr_network(6, llr_feature::llr, {hidden}));
    CHECK_THROWS(rail_network(k / 2, {}));
    CHECK_THROWS(rail_network(k / 2, {folded}));
    CHECK_THROWS(rail_network(3, {folded, rails}));
    CHECK_THROWS(cell_quantizer(
        rail_network(1, {{2, std::vector<float>(4, 1.0f), {0, 0}}}), codebook));
    std::vector<uint32_t> two(2);
    CHECK_THROWS(fast.quantize(llrs, two));
    return 0;
}

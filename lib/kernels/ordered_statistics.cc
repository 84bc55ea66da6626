/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ordered_statistics.cc"
#include <hwy/foreach_target.h>

#include "kernels/llr.h"
#include "kernels/ordered_statistics.h"

#include <hwy/highway.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

// GCC 12 folds the instantiations for one and two words, and then warns of the two words
// that the larger one reads.
#pragma GCC diagnostic ignored "-Warray-bounds"

// The loops are plain: the compiler makes vectors of them, for each target its own.
HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace {

//! The transpose of 64 x 64 bits: bit c of word r becomes bit r of word c.
void transpose(uint64_t* words)
{
    uint64_t mask = 0xffffffff;
    for (unsigned j = 32; j != 0; j >>= 1, mask ^= mask << j)
        for (unsigned first = 0; first < 64; first += 2 * j)
            for (unsigned r = first; r < first + j; r++) {
                const uint64_t swapped = ((words[r] >> j) ^ words[r + j]) & mask;
                words[r] ^= swapped << j;
                words[r + j] ^= swapped;
            }
}

//! W words hold k bits and n - k bits.
template <std::size_t W>
class search
{
    using word = std::array<uint64_t, W>;

public:
    search(const gf2_map& generator, unsigned order, bool early)
        : d_n(generator.columns()),
          d_k(generator.rows()),
          d_order(order),
          d_early(early),
          d_columns(d_n),
          d_magnitudes(d_n),
          d_positions(d_n),
          d_basis(d_k),
          d_parity(d_n - d_k),
          d_rows(d_k),
          d_change(d_k),
          d_tables(256 * ((d_n - d_k + 7) / 8))
    {
        for (std::size_t j = 0; j < d_n; j++) {
            word column{};
            for (std::size_t r = 0; r < d_k; r++)
                column[r / 64] |= (generator.row(r)[j / 64] >> j % 64 & 1) << r % 64;
            d_original.push_back(column);
        }
    }

    //! The codeword nearest to finite LLRs; positions ordered by those called improved.
    void decode(const float* llrs, const float* improved, float reach, uint8_t* codeword)
    {
        sort_positions(improved);
        choose_basis();
        // From here on the basis is in rising order of reliability.
        const bool by_channel = llrs == improved;
        const std::size_t checks = d_n - d_k;
        build_tables(llrs);
        d_margin = d_early ? probable_parity_cost(llrs) : 0;

        // Where the word contradicts the signs of the LLRs: among the checks as bits.
        word parity{};
        for (std::size_t p = 0; p < checks; p++)
            parity[p / 64] |= uint64_t(llrs[d_parity[p]] > 0) << p % 64;
        float basis_cost = 0;
        for (std::size_t i = 0; i < d_k; i++) {
            const float llr = llrs[d_basis[i]];
            const bool bit = improved[d_basis[i]] > 0;
            const uint64_t mask = -uint64_t(bit);
            for (std::size_t w = 0; w < W; w++)
                parity[w] ^= d_rows[i][w] & mask;
            const bool contradicts = bit != (llr > 0);
            basis_cost += contradicts ? std::fabs(llr) : 0;
            d_change[i] = contradicts ? -std::fabs(llr) : std::fabs(llr);
        }
        d_best = basis_cost + parity_cost(parity);
        d_best_count = 0;
        d_best_parity = parity;
        for (unsigned changes = 1; changes <= d_order && changes <= d_k; changes++) {
            if (by_channel)
                try_changes<true>(changes, 0, 0, parity, basis_cost, reach);
            else
                try_changes<false>(changes, 0, 0, parity, basis_cost, reach);
        }

        for (std::size_t i = 0; i < d_k; i++)
            codeword[d_basis[i]] = improved[d_basis[i]] > 0;
        for (unsigned i = 0; i < d_best_count; i++)
            codeword[d_basis[d_best_changes[i]]] ^= 1;
        for (std::size_t p = 0; p < checks; p++)
            codeword[d_parity[p]] =
                (llrs[d_parity[p]] > 0) ^ (d_best_parity[p / 64] >> p % 64 & 1);
    }

private:
    const std::size_t d_n, d_k;
    const unsigned d_order;
    const bool d_early;
    std::vector<word> d_original; // columns of G
    std::vector<word> d_columns;  // the same in order of reliability, then reduced
    std::vector<float> d_magnitudes;
    std::vector<uint32_t> d_positions, d_basis, d_parity;
    std::vector<word> d_rows;    // check bits of each basis position
    std::vector<float> d_change; // cost of changing it
    std::vector<float> d_tables; // cost of each byte of check bits
    float d_best = 0;
    float d_margin = 0; // What other check bits are taken to cost at least.
    unsigned d_best_count = 0;
    std::array<uint32_t, ordered_statistics::max_order> d_best_changes{}, d_changes{};
    word d_best_parity{};

    static void add(word& a, const word& b)
    {
        for (std::size_t w = 0; w < W; w++)
            a[w] ^= b[w];
    }

    //! Most reliable first, the first of equals in front; each position's place is
    //! counted.
    void sort_positions(const float* llrs)
    {
        for (std::size_t j = 0; j < d_n; j++)
            d_magnitudes[j] = std::fabs(llrs[j]);
        const float* m = d_magnitudes.data();
        for (std::size_t j = 0; j < d_n; j++) {
            uint32_t place = 0;
            for (std::size_t i = 0; i < j; i++)
                place += m[i] >= m[j];
            for (std::size_t i = j + 1; i < d_n; i++)
                place += m[i] > m[j];
            d_positions[place] = static_cast<uint32_t>(j);
        }
    }

    /*!
     * Gauss-Jordan elimination on columns: adding a row to others is, in each column that
     * has a one in it, the exclusive or with the pivot's column.
     */
    void choose_basis()
    {
        for (std::size_t j = 0; j < d_n; j++)
            d_columns[j] = d_original[d_positions[j]];
        word free_rows{};
        for (std::size_t r = 0; r < d_k; r++)
            free_rows[r / 64] |= uint64_t(1) << r % 64;
        std::array<uint32_t, 64 * W> of_row{};
        std::size_t found = 0, checks = 0;
        for (std::size_t j = 0; j < d_n; j++) {
            const word pivot = d_columns[j];
            std::size_t w = 0;
            while (w < W && (pivot[w] & free_rows[w]) == 0)
                w++;
            if (w == W) {
                d_parity[checks++] = static_cast<uint32_t>(j);
                continue;
            }
            const unsigned bit = __builtin_ctzll(pivot[w] & free_rows[w]);
            free_rows[w] &= ~(uint64_t(1) << bit);
            word others = pivot;
            others[w] &= ~(uint64_t(1) << bit);
            // No branch, and what becomes of the basis does not matter: its columns are
            // not looked at again.
            word* columns = d_columns.data();
            for (std::size_t c = 0; c < d_n; c++) {
                const uint64_t mask = -(columns[c][w] >> bit & 1);
                for (std::size_t v = 0; v < W; v++)
                    columns[c][v] ^= others[v] & mask;
            }
            // Least reliable first.
            const std::size_t at = d_k - 1 - found++;
            d_basis[at] = d_positions[j];
            of_row[w * 64 + bit] = static_cast<uint32_t>(at);
        }
        for (std::size_t w = 0; 64 * w < d_k; w++)
            for (std::size_t first = 0; first < checks; first += 64) {
                std::array<uint64_t, 64> block{};
                for (std::size_t p = first; p < std::min(first + 64, checks); p++)
                    block[p - first] = d_columns[d_parity[p]][w];
                transpose(block.data());
                for (std::size_t r = 64 * w; r < std::min(64 * w + 64, d_k); r++)
                    d_rows[of_row[r]][first / 64] = block[r - 64 * w];
            }
        for (std::size_t p = 0; p < checks; p++)
            d_parity[p] = d_positions[d_parity[p]];
    }

    void build_tables(const float* llrs)
    {
        const std::size_t checks = d_n - d_k;
        for (std::size_t first = 0; first < checks; first += 8) {
            float* table = d_tables.data() + 32 * first;
            table[0] = 0;
            for (std::size_t i = 0; i < 8; i++) {
                const float cost =
                    first + i < checks ? std::fabs(llrs[d_parity[first + i]]) : 0;
                for (std::size_t v = 0; v < (std::size_t(1) << i); v++)
                    table[v + (std::size_t(1) << i)] = table[v] + cost;
            }
        }
    }

    /*!
     * What the check bits of the word sent cost, if |L| are true: the mean of that sum,
     * each |L| wrong with probability 1 / (1 + e^|L|), less a standard deviation.
     */
    float probable_parity_cost(const float* llrs) const
    {
        float mean = 0, variance = 0;
        for (uint32_t position : d_parity) {
            const float magnitude = std::fabs(llrs[position]);
            const float wrong = 1 / (1 + std::exp(magnitude));
            mean += magnitude * wrong;
            variance += magnitude * magnitude * wrong * (1 - wrong);
        }
        return std::max(mean - std::sqrt(variance), 0.0f);
    }

    float parity_cost(const word& parity) const
    {
        const float* table = d_tables.data();
        const std::size_t bytes = d_tables.size() / 256;
        float even = 0, odd = 0;
        std::size_t b = 0;
        for (; b + 2 <= bytes; b += 2) {
            const uint64_t bits = parity[b / 8] >> b % 8 * 8;
            even += table[b * 256 + (bits & 255)];
            odd += table[(b + 1) * 256 + (bits >> 8 & 255)];
        }
        if (b < bytes)
            even += table[b * 256 + (parity[b / 8] >> b % 8 * 8 & 255)];
        return even + odd;
    }

    //! All ways to change `left` more positions, from first on.
    template <bool ByChannel>
    void try_changes(unsigned left,
                     unsigned depth,
                     std::size_t first,
                     const word& parity,
                     float basis_cost,
                     float reach)
    {
        for (std::size_t i = first; i + left <= d_k; i++) {
            // Both rise from one position to the next: the cost only by the channel's
            // LLRs.
            const float doubt = d_magnitudes[d_basis[i]];
            if (ByChannel ? basis_cost + left * d_change[i] + d_margin >= d_best
                          : left * doubt > reach)
                return;
            word changed = parity;
            add(changed, d_rows[i]);
            const float cost = basis_cost + d_change[i];
            d_changes[depth] = static_cast<uint32_t>(i);
            if (left > 1) {
                try_changes<ByChannel>(
                    left - 1, depth + 1, i + 1, changed, cost, reach - doubt);
                continue;
            }
            const float total = cost + parity_cost(changed);
            if (total < d_best) {
                d_best = total;
                d_best_parity = changed;
                d_best_changes = d_changes;
                d_best_count = depth + 1;
            }
        }
    }
};

// LLRs to reckon with, as known_llr has them; returns how many were NaN.
std::size_t known_llrs(const float* llrs, std::size_t n, float* known)
{
    namespace hn = hwy::HWY_NAMESPACE;
    const hn::ScalableTag<float> d;
    const auto most = hn::Set(d, certain_llr);
    std::size_t not_a_number = 0, i = 0;
    for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) {
        const auto llr = hn::LoadU(d, llrs + i);
        const auto bad = hn::IsNaN(llr);
        not_a_number += hn::CountTrue(d, bad);
        hn::StoreU(
            hn::IfThenZeroElse(bad, hn::Clamp(llr, hn::Neg(most), most)), d, known + i);
    }
    not_a_number += count_nan(llrs + i, llrs + n);
    std::transform(llrs + i, llrs + n, known + i, known_llr);
    return not_a_number;
}

template <std::size_t W>
std::size_t decode_words(const gf2_map& generator,
                         const gf2_map& pseudo_inverse,
                         unsigned order,
                         bool early,
                         const float* llrs,
                         const float* improved,
                         float reach,
                         std::size_t frames,
                         uint8_t* messages)
{
    const std::size_t n = generator.columns(), k = generator.rows();
    search<W> decoder(generator, order, early);
    std::vector<float> channel(n), ordering(n);
    std::vector<uint8_t> codeword(n);
    std::size_t not_a_number = 0;
    for (std::size_t f = 0; f < frames; f++) {
        not_a_number += known_llrs(llrs + f * n, n, channel.data());
        if (improved)
            known_llrs(improved + f * n, n, ordering.data());
        decoder.decode(channel.data(),
                       improved ? ordering.data() : channel.data(),
                       reach,
                       codeword.data());
        pseudo_inverse.apply(codeword, span<uint8_t>(messages + f * k, k));
    }
    return not_a_number;
}

} // namespace

std::size_t DecodeOrdered(const gf2_map& generator,
                          const gf2_map& pseudo_inverse,
                          unsigned order,
                          bool early,
                          const float* llrs,
                          const float* improved,
                          float reach,
                          std::size_t frames,
                          uint8_t* messages)
{
    const std::size_t k = generator.rows(), n = generator.columns();
    const std::size_t words = (std::max(k, n - k) + 63) / 64;
    const auto decode = words == 1   ? decode_words<1>
                        : words == 2 ? decode_words<2>
                                     : decode_words<16>;
    return decode(
        generator, pseudo_inverse, order, early, llrs, improved, reach, frames, messages);
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(DecodeOrdered);

ordered_statistics::ordered_statistics(span<const uint8_t> generator,
                                       span<const uint8_t> pseudo_inverse,
                                       std::size_t k,
                                       unsigned order,
                                       bool early)
    : d_generator(generator, k),
      d_pseudo_inverse(pseudo_inverse, d_generator.columns()),
      d_order(order),
      d_early(early)
{
    if (order > max_order)
        throw std::invalid_argument(
            "ordered_statistics: expected an order of 0 to 4, got " +
            std::to_string(order));
    if (k > 1024 || n() - std::min(n(), k) > 1024 || n() < k)
        throw std::invalid_argument(
            "ordered_statistics: expected k <= n, k and n - k at most 1024, got n = " +
            std::to_string(n()) + ", k = " + std::to_string(k));
    if (d_pseudo_inverse.columns() != k)
        throw std::invalid_argument("ordered_statistics: expected a pseudo-inverse of " +
                                    std::to_string(n()) + " x " + std::to_string(k) +
                                    ", got " + std::to_string(pseudo_inverse.size()) +
                                    " bits");
    std::vector<uint8_t> identity(k * k);
    d_pseudo_inverse.apply(generator, identity);
    for (std::size_t i = 0; i < k * k; i++)
        if (identity[i] != (i / k == i % k))
            throw std::invalid_argument(
                "ordered_statistics: expected G pseudo_inverse = I, got another matrix");
}

std::size_t ordered_statistics::decode(span<const float> llrs,
                                       span<uint8_t> messages) const
{
    return decode_frames(llrs, nullptr, 0, messages);
}

std::size_t ordered_statistics::decode_reordered(span<const float> llrs,
                                                 span<const float> improved,
                                                 float reach,
                                                 span<uint8_t> messages) const
{
    if (!(reach >= 0))
        throw std::invalid_argument(
            "ordered_statistics: expected a reach of at least 0, got " +
            std::to_string(reach));
    if (improved.size() != llrs.size())
        throw std::invalid_argument(
            "ordered_statistics: expected as many improved LLRs as "
            "LLRs, " +
            std::to_string(llrs.size()) + ", got " + std::to_string(improved.size()));
    return decode_frames(llrs, improved.data(), reach, messages);
}

std::size_t ordered_statistics::decode_frames(span<const float> llrs,
                                              const float* improved,
                                              float reach,
                                              span<uint8_t> messages) const
{
    const std::size_t frames = llrs.size() / n();
    if (llrs.size() % n() != 0 || messages.size() != frames * k())
        throw std::invalid_argument(
            "ordered_statistics: expected frames of " + std::to_string(n()) +
            " LLRs and " + std::to_string(k()) + " message bits, got " +
            std::to_string(llrs.size()) + " and " + std::to_string(messages.size()));
    return HWY_DYNAMIC_DISPATCH(DecodeOrdered)(d_generator,
                                               d_pseudo_inverse,
                                               d_order,
                                               d_early && improved == nullptr,
                                               llrs.data(),
                                               improved,
                                               reach,
                                               frames,
                                               messages.data());
}

} // namespace gr::neuralfec
#endif

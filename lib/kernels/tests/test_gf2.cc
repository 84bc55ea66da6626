/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/gf2.h"
#include "kernels/tests/check.h"

#include <algorithm>
#include <random>

using namespace gr::neuralfec;

int main()
{
    std::mt19937 random(1);
    std::bernoulli_distribution bit;
    for (std::size_t n : {1u, 7u, 63u, 64u, 65u, 200u})
        for (std::size_t k : {1u, 5u, 70u}) {
            std::vector<uint8_t> generator(k * n), messages(3 * k), codewords(3 * n);
            for (auto& g : generator)
                g = bit(random);
            for (auto& m : messages)
                m = bit(random);
            gf2_map(generator, k).apply(messages, codewords);
            for (std::size_t f = 0; f < 3; f++)
                for (std::size_t j = 0; j < n; j++) {
                    int sum = 0;
                    for (std::size_t i = 0; i < k; i++)
                        sum += messages[f * k + i] * generator[i * n + j];
                    CHECK(codewords[f * n + j] == sum % 2);
                }
        }

    // Row r's column c is bit c % 64 of its word c / 64.
    std::vector<uint8_t> matrix(2 * 130);
    matrix[129] = matrix[130] = matrix[130 + 64] = 1;
    const gf2_map map(matrix, 2);
    CHECK(map.rows() == 2 && map.columns() == 130 && map.words() == 3);
    CHECK(map.row(0)[0] == 0 && map.row(0)[1] == 0 && map.row(0)[2] == 2);
    CHECK(map.row(1)[0] == 1 && map.row(1)[1] == 1 && map.row(1)[2] == 0);

    // Only the lowest bit of a byte of x counts.
    const std::vector<uint8_t> high{0xff, 0xfe};
    std::vector<uint8_t> first_row(130);
    map.apply(high, first_row);
    CHECK(std::equal(first_row.begin(), first_row.end(), matrix.begin()));

    const std::vector<uint8_t> none, three(3, 1), two{1, 2};
    CHECK_THROWS(gf2_map(three, 0));
    CHECK_THROWS(gf2_map(none, 2));
    CHECK_THROWS(gf2_map(three, 2));
    CHECK_THROWS(gf2_map(two, 1));
    std::vector<uint8_t> out(3);
    CHECK_THROWS((gf2_map(three, 1).apply(three, out), 0));
    CHECK_THROWS((gf2_map(three, 3).apply(two, out), 0));
    return 0;
}

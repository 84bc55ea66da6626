/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/matrix_encoder.h"
#include "kernels/tests/check.h"

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
            matrix_encoder(n, generator).encode(messages, codewords);
            for (std::size_t f = 0; f < 3; f++)
                for (std::size_t j = 0; j < n; j++) {
                    int sum = 0;
                    for (std::size_t i = 0; i < k; i++)
                        sum += messages[f * k + i] * generator[i * n + j];
                    CHECK(codewords[f * n + j] == sum % 2);
                }
        }

    const std::vector<uint8_t> none, three(3, 1), two{1, 2};
    CHECK_THROWS(matrix_encoder(0, three));
    CHECK_THROWS(matrix_encoder(2, none));
    CHECK_THROWS(matrix_encoder(2, three));
    CHECK_THROWS(matrix_encoder(2, two));
    std::vector<uint8_t> out(3);
    CHECK_THROWS((matrix_encoder(3, three).encode(three, out), 0));
    return 0;
}

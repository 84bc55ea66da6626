/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/rate_matching.h"
#include "kernels/tests/check.h"

#include <cmath>
#include <limits>

using namespace gr::neuralfec;

int main()
{
    const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
    const rate_matching matching(6, {4, 1, 4, 0}, {5});
    CHECK(matching.whole() == 6 && matching.sent() == 4);
    // Bit 4 is sent twice, 2 and 3 are not, 5 is known to be 0.
    const std::vector<float> llrs{1, 2, 3, -4, inf, nan, -inf, 5, nan, 1, 7, -inf};
    std::vector<float> out(18, 9);
    CHECK(matching.expand(llrs, out) == 2);
    const std::vector<float> first{-4, 2, 0, 0, 4}, second{5, 0, 0, 0, 0},
        third{-inf, 1, 0, 0, 7};
    for (std::size_t i = 0; i < 5; i++) {
        CHECK(out[i] == first[i]);
        CHECK(out[6 + i] == second[i]);
        CHECK(out[12 + i] == third[i]);
    }
    for (std::size_t f = 0; f < 3; f++)
        CHECK(out[6 * f + 5] < -1e30f);

    CHECK_THROWS(rate_matching(6, {}));
    CHECK_THROWS(rate_matching(6, {6}));
    CHECK_THROWS(rate_matching(6, {0}, {6}));
    std::vector<float> other(17);
    CHECK_THROWS(matching.expand(llrs, other));
    return 0;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/permutation.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <algorithm>
#include <numeric>

using namespace gr::neuralfec;

int main()
{
    // By hand: out[i] = in[order[i]].
    const std::vector<uint32_t> order{2, 0, 1};
    const permutation p(order);
    const std::vector<float> in{10, 11, 12, 20, 21, 22};
    std::vector<float> out(6), back(6);
    p.apply<float>(in, out);
    CHECK((out == std::vector<float>{12, 10, 11, 22, 20, 21}));
    p.invert<float>(out, back);
    CHECK(back == in);

    for (std::size_t size : {1u, 2u, 648u, 1000u}) {
        auto random = permutation::random(size, 7).order();
        CHECK(random == permutation::random(size, 7).order());
        CHECK(size < 3 || random != permutation::random(size, 8).order());
        std::sort(random.begin(), random.end());
        std::vector<uint32_t> identity(size);
        std::iota(identity.begin(), identity.end(), 0u);
        CHECK(random == identity);
    }

    CHECK_THROWS(permutation(std::vector<uint32_t>{}));
    CHECK_THROWS(permutation(std::vector<uint32_t>{0, 0}));
    CHECK_THROWS(permutation(std::vector<uint32_t>{0, 2}));
    std::vector<float> uneven(4);
    CHECK_THROWS(p.apply<float>(uneven, uneven));

    // Holding to one target and giving the choice back.
    const auto targets = simd_targets();
    CHECK(!targets.empty());
    for (const auto& name : targets) {
        set_simd_target(name);
        CHECK(simd_target() == name);
    }
    set_simd_target("");
    CHECK(simd_target() == targets.front());
    CHECK_THROWS((set_simd_target("MMX"), 0));
    return 0;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/belief_propagation.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

using namespace gr::neuralfec;
using bp = belief_propagation;

namespace {

struct edges {
    std::size_t n;
    std::vector<uint32_t> checks, bits;

    std::vector<uint32_t> all() const
    {
        std::vector<uint32_t> positions(n);
        for (uint32_t i = 0; i < n; i++)
            positions[i] = i;
        return positions;
    }
};

struct decoded {
    std::vector<uint8_t> bits, converged;
    std::vector<uint32_t> iterations;
    std::vector<float> posteriors;
    std::size_t unknown;

    decoded(const edges& e, const bp::settings& s, const std::vector<float>& llrs)
        : bits(llrs.size()),
          converged(llrs.size() / e.n),
          iterations(converged.size()),
          posteriors(llrs.size())
    {
        unknown = bp(e.n, e.checks, e.bits, e.all(), s)
                      .decode(llrs, {bits, iterations, converged, posteriors});
    }

    bool same(const decoded& other) const
    {
        return bits == other.bits && converged == other.converged &&
               iterations == other.iterations &&
               std::memcmp(posteriors.data(),
                           other.posteriors.data(),
                           posteriors.size() * sizeof(float)) == 0;
    }
};

// Every check degree from 1 to 40: each loop of the kernel, the rescaling included.
edges random_code(std::size_t n, std::size_t checks, std::mt19937& random)
{
    edges e{n, {}, {}};
    for (std::size_t c = 0; c < checks; c++) {
        const double density = (c % 40 + 1.0) / n;
        for (std::size_t b = 0; b < n; b++)
            if (b == c % n || std::bernoulli_distribution(density)(random)) {
                e.checks.push_back(c);
                e.bits.push_back(b);
            }
    }
    return e;
}

} // namespace

int main()
{
    std::mt19937 random(1);
    const float infinity = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();

    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        for (auto rule : {"sum-product", "min-sum", "min-sum-int8"}) {
            bp::settings s;
            s.set(rule, "auto");
            // Bytes have steps, here of an eighth of the median.
            const float tolerance = s.layered ? 0.5f : 1e-5f;
            s.scale = 1.0f;
            // One check on two bits: each learns what the other knows.
            const edges pair{2, {0, 0}, {0, 1}};
            const decoded sum(pair, s, {3.0f, -1.0f, -2.5f, 1.5f});
            CHECK(std::abs(sum.posteriors[0] - 2.0f) < tolerance);
            CHECK(std::abs(sum.posteriors[1] - 2.0f) < tolerance);
            CHECK((sum.bits == std::vector<uint8_t>{1, 1, 0, 0}));
            CHECK((sum.converged == std::vector<uint8_t>{1, 1}));
            CHECK((sum.iterations == std::vector<uint32_t>{1, 1}));

            // An unknown bit is found; with nothing known at all nothing is claimed.
            const decoded erased(
                pair, s, {nan, 4.0f, 3e38f, infinity, nan, nan, 7.0f, 8.0f});
            CHECK(erased.unknown == 3);
            CHECK((erased.converged == std::vector<uint8_t>{1, 1, 0, 1}));
            CHECK((erased.iterations == std::vector<uint32_t>{1, 0, 50, 0}));
            CHECK(erased.bits[0] == 1 && erased.bits[3] == 1);
            CHECK(erased.posteriors[4] == 0.0f && erased.posteriors[5] == 0.0f);
            for (float posterior : erased.posteriors)
                CHECK(std::isfinite(posterior));

            // A check on one bit says that it is 0, whatever else is heard.
            const decoded zero({1, {0}, {0}}, s, {3.0f});
            CHECK(zero.bits[0] == 0 && zero.converged[0]);
        }
        // No checks: every frame is a codeword at once.
        const decoded free({2, {}, {}}, {}, {1.0f, -1.0f});
        CHECK(free.converged[0] && free.iterations[0] == 0 && free.bits[0] == 1);
    }

    // The same bits of every result on every target, whole or one frame at a time.
    for (int code = 0; code < 5; code++) {
        const edges e = random_code(60, code == 0 ? 25 : 41, random);
        std::normal_distribution<float> noise(-1.0f, 4.0f);
        std::vector<float> llrs(e.n * 153);
        for (float& llr : llrs)
            llr = noise(random);
        llrs[7] = nan;
        llrs[100] = 1e30f;
        bp::settings s;
        s.iterations = 12;
        s.set(code == 3   ? "min-sum"
              : code == 4 ? "min-sum-int8"
                          : "sum-product",
              code == 2 ? "layered" : "auto");
        s.parity_stop = code != 1;
        set_simd_target("");
        const decoded expected(e, s, llrs);
        for (const auto& target : simd_targets()) {
            set_simd_target(target);
            CHECK(decoded(e, s, llrs).same(expected));
        }
        set_simd_target("");
        for (std::size_t f = 0; f < 153; f++) {
            const auto begin = llrs.begin() + f * e.n;
            const decoded one(e, s, {begin, begin + e.n});
            CHECK(std::memcmp(one.posteriors.data(),
                              expected.posteriors.data() + f * e.n,
                              e.n * sizeof(float)) == 0);
            CHECK(one.iterations[0] == expected.iterations[f]);
        }
    }

    const std::vector<uint32_t> checks{0, 0}, bits{0, 1}, positions{0};
    const std::vector<uint32_t> none, backwards{1, 0}, outside{0, 2};
    const auto make = [&](const std::vector<uint32_t>& c,
                          const std::vector<uint32_t>& b,
                          const std::vector<uint32_t>& p,
                          bp::settings s = {}) { return bp(2, c, b, p, s); };
    CHECK_THROWS(make(checks, none, positions));
    CHECK_THROWS(make(checks, backwards, positions));
    CHECK_THROWS(make(backwards, bits, positions));
    CHECK_THROWS(make(checks, outside, positions));
    CHECK_THROWS(make(checks, bits, outside));
    bp::settings wrong;
    wrong.iterations = 0;
    CHECK_THROWS(make(checks, bits, positions, wrong));
    wrong = {};
    wrong.scale = nan;
    CHECK_THROWS(make(checks, bits, positions, wrong));
    CHECK_THROWS(bp(0, none, none, none, {}));
    const std::vector<float> llrs(4), uneven(3);
    std::vector<uint8_t> one(1);
    CHECK_THROWS(make(checks, bits, positions).decode(uneven, bp::results{}));
    bp::results small;
    small.bits = one;
    CHECK_THROWS(make(checks, bits, positions).decode(llrs, small));
    CHECK(make(checks, bits, positions).decode({}, bp::results{}) == 0);
    return 0;
}

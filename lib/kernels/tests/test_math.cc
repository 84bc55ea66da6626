/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The error bounds that math-inl.h states, against double precision, on the target that
 * the compiler takes as given; other targets round no worse.
 */
#include "kernels/math-inl.h"
#include "kernels/tests/check.h"

#include <algorithm>
#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void check_bounds()
{
    const hn::CappedTag<float, 1> d;
    const auto of = [&](float x) { return hn::Set(d, x); };
    const auto value = [](auto v) { return static_cast<double>(hn::GetLane(v)); };
    double coarse = 0, fine = 0, reproducible = 0, exponential = 0;
    for (double step = -125.9; step < 126.9; step += 1.37e-3) {
        const float x = static_cast<float>(step);
        const double exact = std::exp2(static_cast<double>(x));
        const auto error = [&](auto v) { return std::fabs(value(v) / exact - 1); };
        coarse = std::max(coarse, error(exp2_coarse(d, of(x))));
        fine = std::max(fine, error(exp2_fine(d, of(x))));
        reproducible = std::max(reproducible, error(exp2_reproducible(d, of(x))));
    }
    for (double step = -64; step <= 0; step += 3.7e-4) {
        const float x = static_cast<float>(step);
        const double exact = std::exp(static_cast<double>(x));
        exponential = std::max(exponential,
                               std::fabs(value(exp_reproducible(d, of(x))) / exact - 1));
    }
    CHECK(coarse < 4e-6 && fine < 3e-7 && reproducible < 2e-7 && exponential < 1e-7);
    // Else the samples would not reach the worst of them.
    CHECK(coarse > 2e-6 && fine > 1e-7);
    CHECK(value(exp_reproducible(d, of(-1e30f))) > 0);

    double softplus = 0;
    for (double step = -90; step <= 0; step += 3.7e-4) {
        const float x = static_cast<float>(step);
        const double exact = std::log1p(std::exp(static_cast<double>(x)));
        softplus = std::max(softplus, std::fabs(value(log1p_exp(d, of(x))) - exact));
    }
    CHECK(softplus < 5e-7);
    CHECK(value(log1p_exp(d, of(-1e30f))) < 1e-30);

    for (double step = 1e-37; step < 1e38; step *= 1.00137) {
        const float x = static_cast<float>(step);
        const double exact = std::log(static_cast<double>(x));
        CHECK(std::fabs(value(log_coarse(d, of(x))) - exact) <
              2e-6 + 1.2e-7 * std::fabs(exact));
        for (const float y : {1.0f, 3e-7f, 0.37f}) {
            const double ratio = std::log2(static_cast<double>(x) / y);
            if (std::fabs(ratio) < 120)
                CHECK(std::fabs(value(log2_of_ratio(d, of(x), of(y))) - ratio) <
                      3e-7 + 1e-7 * std::fabs(ratio));
        }
    }
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

int main()
{
    gr::neuralfec::HWY_NAMESPACE::check_bounds();
    return 0;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/demapper.h"
#include "kernels/simd.h"
#include "kernels/tests/check.h"

#include <cmath>
#include <complex>
#include <limits>
#include <random>

using namespace gr::neuralfec;
using complex = std::complex<float>;

namespace {

struct modulation {
    std::vector<complex> points;
    std::vector<uint32_t> labels;
};

modulation qam(unsigned side)
{
    modulation m;
    const double scale = std::sqrt(1.5 / (side * side - 1.0));
    for (unsigned i = 0; i < side; i++)
        for (unsigned q = 0; q < side; q++) {
            m.points.emplace_back((2.0 * i - side + 1) * scale,
                                  (2.0 * q - side + 1) * scale);
            m.labels.push_back((i ^ i >> 1) * side + (q ^ q >> 1));
        }
    return m;
}

modulation psk(unsigned order)
{
    modulation m;
    for (unsigned i = 0; i < order; i++) {
        m.points.push_back(std::polar(1.0f, static_cast<float>(2 * M_PI * i / order)));
        m.labels.push_back(i ^ i >> 1);
    }
    return m;
}

// The definition, bit by bit, in double precision.
double oracle(const modulation& m,
              unsigned shift,
              complex y,
              complex h,
              double noise_var,
              bool exact,
              const std::vector<complex>& gains,
              const std::vector<complex>& z)
{
    std::size_t hypotheses = 1;
    for (std::size_t i = 0; i < gains.size(); i++)
        hypotheses *= z.size();
    double total[2];
    for (unsigned c : {0u, 1u}) {
        std::vector<double> terms;
        for (std::size_t n = 0; n < hypotheses; n++) {
            std::complex<double> rest = y;
            for (std::size_t i = 0, left = n; i < gains.size(); i++, left /= z.size())
                rest -= std::complex<double>(gains[i]) *
                        std::complex<double>(z[left % z.size()]);
            for (std::size_t i = 0; i < m.points.size(); i++)
                if ((m.labels[i] >> shift & 1) == c)
                    terms.push_back(
                        -std::norm(rest - std::complex<double>(h) *
                                              std::complex<double>(m.points[i])) /
                        noise_var);
        }
        double peak = terms[0], sum = 0;
        for (double t : terms)
            peak = std::max(peak, t);
        for (double t : terms)
            sum += std::exp(t - peak);
        total[c] = peak + (exact ? std::log(sum) : 0.0);
    }
    return total[1] - total[0];
}

void check_accuracy(const modulation& m, bool exact, std::size_t interferers)
{
    const auto z = interferers ? psk(4).points : std::vector<complex>{};
    const demapper kernel(m.points,
                          m.labels,
                          exact ? demapper::method::exact : demapper::method::max_log,
                          interferers,
                          z);
    const std::size_t k = kernel.bits_per_symbol();
    std::mt19937 engine(1);
    std::normal_distribution<float> normal(0, std::sqrt(0.5f));
    std::uniform_real_distribution<float> snr_db(-5, 40);
    const auto gaussian = [&] { return complex(normal(engine), normal(engine)); };
    for (std::size_t n : {1u, 7u, 16u, 61u}) {
        std::vector<complex> y(n), h(n), gains[2];
        std::vector<float> noise_var(n), llrs(n * k + 1, -1.0f);
        for (std::size_t s = 0; s < n; s++) {
            h[s] = gaussian();
            noise_var[s] = std::pow(10.0f, -snr_db(engine) / 10);
            y[s] = h[s] * m.points[engine() % m.points.size()] +
                   std::sqrt(noise_var[s]) * gaussian();
            for (std::size_t i = 0; i < interferers; i++) {
                gains[i].push_back(0.5f * gaussian());
                y[s] += gains[i][s] * z[engine() % z.size()];
            }
        }
        std::vector<const complex*> pointers;
        for (std::size_t i = 0; i < interferers; i++)
            pointers.push_back(gains[i].data());
        CHECK(kernel.demap(y, noise_var, h, pointers, span<float>(llrs.data(), n * k)) ==
              0);
        CHECK(llrs.back() == -1.0f);
        for (std::size_t s = 0; s < n; s++) {
            std::vector<complex> g;
            for (std::size_t i = 0; i < interferers; i++)
                g.push_back(gains[i][s]);
            for (std::size_t b = 0; b < k; b++) {
                const double expected =
                    oracle(m, k - 1 - b, y[s], h[s], noise_var[s], exact, g, z);
                CHECK(std::abs(llrs[s * k + b] - expected) <=
                      1e-4 * std::abs(expected) + 1e-4);
            }
        }
    }
}

} // namespace

int main()
{
    for (const auto& target : simd_targets()) {
        set_simd_target(target);
        for (bool exact : {true, false}) {
            for (unsigned side : {2u, 4u, 8u, 16u, 32u})
                check_accuracy(qam(side), exact, 0);
            for (unsigned order : {2u, 4u, 8u, 16u})
                check_accuracy(psk(order), exact, 0);
            check_accuracy(qam(4), exact, 1);
            check_accuracy(qam(4), exact, 2);
            check_accuracy(psk(8), exact, 2);
        }

        const auto m = qam(16);
        const demapper kernel(m.points, m.labels, demapper::method::exact);
        CHECK(kernel.folds());
        const float nan = std::numeric_limits<float>::quiet_NaN();
        const float inf = std::numeric_limits<float>::infinity();
        const float big = std::numeric_limits<float>::max();
        const std::vector<complex> y{
            {nan, 0}, {1, inf}, {1, 1}, {1, 1}, {big, -big}, {1, 1}, {1e-40f, 0}};
        const std::vector<complex> h{
            {1, 0}, {1, 0}, {nan, 1}, {0, 0}, {1, 0}, {big, -big}, {1e-40f, 0}};
        std::vector<float> llrs(y.size() * 8);
        for (float noise_var : {1e-6f, 1.0f, 100.0f}) {
            CHECK(kernel.demap(y, std::vector<float>{noise_var}, h, llrs) == 3);
            for (float l : llrs)
                CHECK(std::isfinite(l));
            for (std::size_t i = 0; i < 4 * 8; i++)
                CHECK(llrs[i] == 0);
            CHECK(llrs[4 * 8] > 1e6f && llrs[4 * 8 + 4] < -1e6f);
        }
    }
    set_simd_target("");

    auto m = qam(4);
    const auto make = [](const modulation& x, std::size_t interferers = 0) {
        return demapper(x.points, x.labels, demapper::method::exact, interferers);
    };
    CHECK_THROWS(make(m, 1));
    CHECK_THROWS(make(m, 3));
    const auto kernel = make(m);
    const std::vector<complex> y(3), none;
    const std::vector<float> noise_var{0.1f};
    std::vector<float> llrs(12);
    CHECK_THROWS(kernel.demap(y, noise_var, y, span<float>(llrs.data(), 11)));
    CHECK_THROWS(kernel.demap(y, noise_var, span<const complex>(y.data(), 2), llrs));
    CHECK_THROWS(kernel.demap(y, std::vector<float>{1, 1}, none, llrs));
    CHECK_THROWS(kernel.demap(y, std::vector<float>{0}, none, llrs));
    CHECK_THROWS(kernel.demap(y, std::vector<float>{NAN}, none, llrs));
    m.labels[0] = m.labels[1];
    CHECK_THROWS(make(m));
    m.labels.pop_back();
    CHECK_THROWS(make(m));
    m.points.pop_back();
    CHECK_THROWS(make(m));
    return 0;
}

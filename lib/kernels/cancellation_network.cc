/* SPDX-License-Identifier: GPL-3.0-or-later */
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cancellation_network.cc"
#include <hwy/foreach_target.h>

#include "kernels/cancellation_network_runner-inl.h"

#include <hwy/highway.h>
#include <algorithm>
#include <stdexcept>
#include <string>

HWY_BEFORE_NAMESPACE();
namespace gr::neuralfec::HWY_NAMESPACE {
namespace {

//! The runner that a workspace keeps, made where it has none of this kind.
runner& runner_in(std::unique_ptr<shape::workspace>& workspace,
                  const shape& net,
                  std::size_t kept_passes)
{
    // Of another target, the workspace is another type.
    if (auto* kept = dynamic_cast<runner*>(workspace.get());
        kept && kept->kept_passes() == kept_passes)
        return *kept;
    auto made = std::make_unique<runner>(net, kept_passes);
    runner& run = *made;
    workspace = std::move(made);
    return run;
}

} // namespace

void EstimateFlips(const cancellation_network& net,
                   const float* parameters,
                   const float* reliabilities,
                   const uint8_t* u,
                   std::size_t frames,
                   std::size_t passes,
                   float* message,
                   float* codeword,
                   std::unique_ptr<shape::workspace>& workspace)
{
    const std::size_t n = net.n(), k = net.k();
    runner& run = runner_in(workspace, net, 0);
    run.set_parameters(parameters);
    for (std::size_t f = 0; f < frames; f += run.most_frames()) {
        const std::size_t now = std::min(run.most_frames(), frames - f);
        run.set_input(reliabilities + f * n, u + f * n, now);
        for (std::size_t pass = 0; pass < passes; pass++)
            run.run(pass);
        for (std::size_t i = 0; i < now; i++) {
            for (std::size_t j = 0; j < k; j++)
                message[(f + i) * k + j] = -run.message(i, net.unfrozen()[j]);
            for (std::size_t j = 0; j < n; j++)
                codeword[(f + i) * n + j] = -run.codeword(i, j);
        }
    }
}

double FlipGradient(const cancellation_network& net,
                    const float* parameters,
                    const float* reliabilities,
                    const uint8_t* u,
                    const uint8_t* flips,
                    std::size_t frames,
                    std::size_t passes,
                    float codeword_weight,
                    float early_weight,
                    float* gradient,
                    std::unique_ptr<shape::workspace>& workspace)
{
    const std::size_t n = net.n();
    double loss = 0;
    runner& run = runner_in(workspace, net, passes);
    run.set_parameters(parameters);
    for (std::size_t f = 0; f < frames; f += run.most_frames()) {
        const std::size_t now = std::min(run.most_frames(), frames - f);
        run.set_input(reliabilities + f * n, u + f * n, now);
        for (std::size_t pass = 0; pass < passes; pass++) {
            const float weight = (pass + 1 == passes ? 1.0f : early_weight) / frames;
            run.run(pass);
            loss += run.add_loss(u + f * n,
                                 flips + f * n,
                                 now,
                                 weight / net.k(),
                                 weight * codeword_weight / n);
        }
        run.back(gradient);
    }
    return loss;
}

} // namespace gr::neuralfec::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gr::neuralfec {

HWY_EXPORT(EstimateFlips);
HWY_EXPORT(FlipGradient);

cancellation_network::cancellation_network(std::size_t n,
                                           const std::vector<uint32_t>& unfrozen,
                                           std::size_t features,
                                           std::size_t hidden,
                                           std::size_t leaf_hidden)
    : d_n(n), d_unfrozen(unfrozen), d_features(features), d_masks(n / leaf)
{
    auto expect = [](bool holds, const std::string& what, std::size_t got) {
        if (!holds)
            throw std::invalid_argument("cancellation_network: expected " + what +
                                        ", got " + std::to_string(got));
    };
    expect(n >= 16 && n <= 1024 && (n & (n - 1)) == 0, "n = 16, 32, ... 1024", n);
    expect(!unfrozen.empty(), "at least one unfrozen position", 0);
    expect(features >= 1 && features <= 64, "1 to 64 features", features);
    for (std::size_t width : {hidden, leaf_hidden})
        expect(width >= 4 && width <= 1024 && width % 4 == 0,
               "a hidden width of 4, 8, ... 1024",
               width);
    for (std::size_t i = 0; i < unfrozen.size(); i++) {
        expect(unfrozen[i] < n && (i == 0 || unfrozen[i] > unfrozen[i - 1]),
               "rising unfrozen positions below n",
               unfrozen[i]);
        d_masks[unfrozen[i] / leaf] |= uint8_t(1u << unfrozen[i] % leaf);
    }
    while ((leaf << d_levels) < n)
        d_levels++;

    auto add = [this](std::size_t in, std::size_t out, std::size_t biases) {
        auto whole = [](std::size_t x) { return (x + 3) / 4 * 4; };
        layer l{whole(in), whole(out), biases, d_parameters, 0};
        l.bias = l.weight + l.in * l.out;
        d_parameters = l.bias + l.out * biases;
        d_layers.push_back(l);
    };
    const std::size_t width = 1 + features;
    for (std::size_t level = 0; level < d_levels; level++)
        for (operation o : {to_left, to_right, to_parent}) {
            add(8 + (o == to_parent ? 4 : 3) * features, hidden, std::size_t(1) << level);
            add(hidden, (o == to_parent ? 2 : 1) * width, 1);
        }
    for (uint8_t mask : d_masks) {
        const bool used = mask != 0;
        add(used ? leaf * (2 + 2 * features) : 0, used ? leaf_hidden : 0, 1);
        add(used ? leaf_hidden : 0, used ? leaf * (1 + width) : 0, 1);
    }
}

namespace {

std::size_t checked_frames(const cancellation_network& net,
                           span<const float> parameters,
                           span<const float> reliabilities,
                           span<const uint8_t> u,
                           std::size_t passes)
{
    const std::size_t frames = reliabilities.size() / net.n();
    if (parameters.size() != net.parameters())
        throw std::invalid_argument(
            "cancellation_network: expected " + std::to_string(net.parameters()) +
            " parameters, got " + std::to_string(parameters.size()));
    if (reliabilities.size() % net.n() != 0 || u.size() != reliabilities.size())
        throw std::invalid_argument("cancellation_network: expected reliabilities and "
                                    "bits of as many frames of " +
                                    std::to_string(net.n()) + ", got " +
                                    std::to_string(reliabilities.size()) + " and " +
                                    std::to_string(u.size()));
    if (passes < 1 || passes > 100)
        throw std::invalid_argument(
            "cancellation_network: expected 1 to 100 passes, got " +
            std::to_string(passes));
    return frames;
}

} // namespace

void cancellation_network::estimate(span<const float> parameters,
                                    span<const float> reliabilities,
                                    span<const uint8_t> u,
                                    std::size_t passes,
                                    span<float> message,
                                    span<float> codeword) const
{
    const std::size_t frames =
        checked_frames(*this, parameters, reliabilities, u, passes);
    if (message.size() != frames * k() || codeword.size() != frames * d_n)
        throw std::invalid_argument("cancellation_network: expected room for " +
                                    std::to_string(frames) + " frames");
    const auto workspace = d_workspaces.take();
    HWY_DYNAMIC_DISPATCH(EstimateFlips)
    (*this,
     parameters.data(),
     reliabilities.data(),
     u.data(),
     frames,
     passes,
     message.data(),
     codeword.data(),
     *workspace);
}

double cancellation_network::gradient(span<const float> parameters,
                                      span<const float> reliabilities,
                                      span<const uint8_t> u,
                                      span<const uint8_t> flips,
                                      std::size_t passes,
                                      float codeword_weight,
                                      float early_weight,
                                      span<float> gradient) const
{
    const std::size_t frames =
        checked_frames(*this, parameters, reliabilities, u, passes);
    if (flips.size() != u.size() || gradient.size() != d_parameters)
        throw std::invalid_argument("cancellation_network: expected flips of " +
                                    std::to_string(frames) + " frames and room for " +
                                    std::to_string(d_parameters) + " gradients");
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    const auto workspace = d_workspaces.take();
    return HWY_DYNAMIC_DISPATCH(FlipGradient)(*this,
                                              parameters.data(),
                                              reliabilities.data(),
                                              u.data(),
                                              flips.data(),
                                              frames,
                                              passes,
                                              codeword_weight,
                                              early_weight,
                                              gradient.data(),
                                              *workspace);
}

} // namespace gr::neuralfec
#endif

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/simd.h"

#include <hwy/highway.h>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

namespace gr::neuralfec {

namespace {

// In Highway a target is a bit, and a lower bit is a better target.
int64_t best(int64_t targets)
{
    return targets & -targets;
}

int64_t usable_targets()
{
    return hwy::SupportedTargets() & HWY_TARGETS;
}

// What this processor runs, asked for before anything is switched off.
const int64_t all_targets = [] {
    hwy::DisableTargets(0);
    return usable_targets();
}();

const bool environment_applied = [] {
    if (const char* name = std::getenv("NEURALFEC_SIMD")) {
        try {
            set_simd_target(name);
        } catch (const std::invalid_argument&) {
            // A library must not end its program while it loads: the best target stays,
            // and simd_target() tells.
        }
    }
    return true;
}();

} // namespace

std::vector<std::string> simd_targets()
{
    std::vector<std::string> names;
    for (int64_t targets = all_targets; targets != 0; targets &= targets - 1)
        names.emplace_back(hwy::TargetName(best(targets)));
    return names;
}

std::string simd_target()
{
    return hwy::TargetName(best(usable_targets()));
}

void set_simd_target(const std::string& name)
{
    if (name.empty()) {
        hwy::DisableTargets(0);
        return;
    }
    std::string known;
    for (int64_t targets = all_targets; targets != 0; targets &= targets - 1) {
        if (name == hwy::TargetName(best(targets))) {
            hwy::DisableTargets(~best(targets));
            return;
        }
        known += std::string(" ") + hwy::TargetName(best(targets));
    }
    throw std::invalid_argument("SIMD target \"" + name +
                                "\" is not one of this processor's:" + known);
}

} // namespace gr::neuralfec

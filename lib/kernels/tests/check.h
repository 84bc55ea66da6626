/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What the kernel tests need of a test framework.
 */
#pragma once

#include <cstdio>
#include <cstdlib>
#include <stdexcept>

//! Ends the test program with the line that failed; stays in release builds.
#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);         \
            std::exit(1);                                                                \
        }                                                                                \
    } while (0)

#define CHECK_THROWS(expression)                                                         \
    do {                                                                                 \
        bool thrown = false;                                                             \
        try {                                                                            \
            (void)(expression);                                                          \
        } catch (const std::invalid_argument&) {                                         \
            thrown = true;                                                               \
        }                                                                                \
        CHECK(thrown&& #expression);                                                     \
    } while (0)

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Cross-compiles the kernels for 64-bit ARM in build/aarch64 and runs their tests under
# QEMU. On Debian 12 or Ubuntu 24.04 it wants, once, as root:
#
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install g++-aarch64-linux-gnu qemu-user libhwy-dev:arm64 libfftw3-dev:arm64
set -eu
cd "$(dirname "$0")/.."
build="$PWD/build/aarch64"

for program in aarch64-linux-gnu-g++ qemu-aarch64; do
    if ! command -v "$program" >/dev/null; then
        echo "aarch64.sh: expected $program; the first lines of this script say what to install" >&2
        exit 1
    fi
done
for library in libhwy fftw3f; do
    if [ ! -e "/usr/lib/aarch64-linux-gnu/pkgconfig/$library.pc" ]; then
        echo "aarch64.sh: expected $library for arm64; the first lines of this script say how" >&2
        exit 1
    fi
done

PKG_CONFIG_LIBDIR=/usr/lib/aarch64-linux-gnu/pkgconfig \
    cmake -S . -B "$build" -G Ninja -DKERNELS_ONLY=ON \
    -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
    -DCMAKE_CROSSCOMPILING_EMULATOR="qemu-aarch64;-L;/usr/aarch64-linux-gnu;-E;LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu"
cmake --build "$build"
ctest --test-dir "$build" --output-on-failure "$@"

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Installs what comes from the distribution (Debian 12 and 13, Ubuntu 24.04). Asks for nothing
# where all is there; without root or sudo it says what to install.
set -eu

packages="gnuradio gnuradio-dev cmake g++ make ninja-build pkg-config python3-venv
python3-dev python3-numpy python3-scipy python3-matplotlib python3-sklearn python3-zmq
python3-yaml python3-joblib python3-rich libhwy-dev libfftw3-dev libsoapysdr-dev gir1.2-gtk-3.0 gir1.2-pango-1.0 xvfb"

if ! command -v apt-get >/dev/null 2>&1; then
    echo "No apt-get here: see environment.yml for the conda way, or install GNU Radio 3.10," \
        "CMake, a C++17 compiler, Highway and Python's scipy, matplotlib, scikit-learn and pyzmq." >&2
    exit 1
fi
missing=""
for package in $packages; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1; then
    as_root="sudo"
else
    echo "Neither root nor sudo. Ask for these packages, then run make again:$missing" >&2
    exit 1
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends $missing

#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds kernels and blocks with AddressSanitizer and UndefinedBehaviorSanitizer in
# build/sanitize and runs their tests: ctest, and pytest on whatever calls C++ (arguments
# are pytest's, default: below). `make` must have run: it makes the virtual environment.
set -eu
cd "$(dirname "$0")/.."
venv="$PWD/.venv"
build="$PWD/build/sanitize"
root="$build/root"

# -O1 and two SIMD targets: the kernels are compiled once for each, which takes its time here.
cmake -S . -B "$build" -G Ninja -DENABLE_SANITIZERS=ON -DCMAKE_BUILD_TYPE=None \
    -DCMAKE_CXX_FLAGS="-O1 -g1" -DDISABLED_SIMD_TARGETS="HWY_SSSE3;HWY_SSE4;HWY_AVX3;HWY_AVX3_DL" \
    -DCMAKE_INSTALL_PREFIX="$venv" \
    -DPYTHON_EXECUTABLE="$venv/bin/python"
cmake --build "$build"

export UBSAN_OPTIONS=print_stacktrace=1
# Python, GNU Radio's registries and pybind11's types live until the process ends and are
# reported as leaks by the hundred.
export ASAN_OPTIONS=detect_leaks=0
ctest --test-dir "$build" --output-on-failure

rm -rf "$root"
DESTDIR="$root" cmake --install "$build" >/dev/null
site=$(echo "$root$venv"/lib/python3*/site-packages)
if [ $# -eq 0 ]; then
    # What is left out has no C++ of ours, or has it in processes of its own; and trainings and
    # measurements of speed use kernels that tests of their own run.
    set -- tests -m "not statistics" -n logical --dist loadfile --no-loadscope-reorder \
        --ignore=tests/apps --ignore=tests/docs --ignore=tests/grc --ignore=tests/models \
        --ignore=tests/simulation --ignore=tests/training --ignore=tests/python_block \
        --ignore=tests/test_cmake_package.py --ignore=tests/test_without_torch.py \
        --ignore=tests/codes/test_files.py --ignore=tests/codes/test_standard_codes.py \
        --ignore=tests/feedback/test_deepvlf_stopping.py --ignore=tests/links/test_model_speed.py \
        -k "not train and not torch_network"
fi
# The interpreter is not built with ASan, so its runtime must come first, and libstdc++
# before it is needed, or ASan does not see exceptions pass.
LD_PRELOAD="$(cc -print-file-name=libasan.so) $(c++ -print-file-name=libstdc++.so.6)" \
    PYTHONPATH="$site" OMP_NUM_THREADS=1 "$venv/bin/python" - "$@" <<'PYTHON'
import sys

import pytest
from gnuradio import neuralfec

# Else the tests would pass without having tested anything.
assert "/build/sanitize/" in neuralfec._kernels.__file__, neuralfec._kernels.__file__
sys.exit(pytest.main(sys.argv[1:]))
PYTHON

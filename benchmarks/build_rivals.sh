#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Build the decoders of other projects that rivals.py measures, as shared libraries.
#
#   benchmarks/build_rivals.sh FOLDER
#
# FOLDER holds checkouts, as far as you have them, of
#
#   aff3ct       github.com/aff3ct/aff3ct, v3.0.2, with its submodules
#   srsRAN_4G    github.com/srsran/srsRAN_4G, release_23_11 or later
#   libcorrect   github.com/quiet/libcorrect
#
# and gets libaff3ct_ldpc.so, libsrsran_ldpc.so and libcorrect.so. Only the files of the decoders are
# compiled, for this processor, with -O3. Nothing of them is part of gr-neuralfec.
set -e
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:?usage: build_rivals.sh FOLDER}"
folder=$PWD

if [ -d aff3ct ]; then
    cd aff3ct
    ${CXX:-c++} -std=c++17 -O3 -march=native -funroll-loops -w -fPIC -shared \
        -DAFF3CT_MULTI_PREC -Iinclude -Isrc -Ilib/MIPP/src -Ilib/date/include/date \
        -Ilib/date/include -Ilib/rang/include -Ilib/cli/src \
        "$here/aff3ct_ldpc.cpp" src/Module/Module.cpp src/Module/Task.cpp src/Module/Decoder/*.cpp \
        src/Module/Decoder/LDPC/BP/Decoder_LDPC_BP.cpp \
        $(find src/Tools/Algo/Matrix src/Tools/Exception src/Tools/Perf -name '*.cpp') \
        src/Tools/general_utils.cpp src/Tools/system_functions.cpp \
        -o "$folder/libaff3ct_ldpc.so"
    cd "$folder"
fi

if [ -d srsRAN_4G ]; then
    cd srsRAN_4G/lib
    # CMake would make it; the version is told in messages alone.
    mkdir -p "$folder/include/srsran"
    printf '#define SRSRAN_VERSION_MAJOR 0\n#define SRSRAN_VERSION_STRING ""\n' \
        >"$folder/include/srsran/version.h"
    simd="-DLV_HAVE_SSE -DLV_HAVE_AVX -DLV_HAVE_FMA -DLV_HAVE_AVX2"
    if grep -q avx512bw /proc/cpuinfo; then simd="$simd -DLV_HAVE_AVX512"; fi
    ${CC:-cc} -std=c99 -D_GNU_SOURCE -O3 -march=native -w -fPIC -shared $simd -Iinclude \
        -I"$folder/include" src/phy/fec/ldpc/base_graph.c src/phy/fec/ldpc/ldpc_dec*.c \
        src/phy/fec/crc.c src/phy/utils/vector.c src/phy/utils/vector_simd.c src/phy/utils/bit.c \
        src/phy/utils/debug.c src/phy/utils/phy_logger.c -lm -o "$folder/libsrsran_ldpc.so"
    cd "$folder"
fi

if [ -d libcorrect ]; then
    cmake -S libcorrect -B libcorrect/build -DCMAKE_BUILD_TYPE=Release >/dev/null
    # Its headers are targets of their own, which the library does not wait for.
    cmake --build libcorrect/build --target correct-h correct-sse-h >/dev/null
    cmake --build libcorrect/build --target correct >/dev/null
    cp libcorrect/build/lib/libcorrect.so .
fi
ls lib*.so

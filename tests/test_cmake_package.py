# SPDX-License-Identifier: GPL-3.0-or-later
"""Another project finds the installed library by CMake, compiles against its headers and runs."""

import os
import subprocess
import sys

PROJECT = """
cmake_minimum_required(VERSION 3.19)
project(other LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 17)
find_package(gnuradio-neuralfec 0.1 REQUIRED)
add_executable(other other.cc)
target_link_libraries(other PRIVATE gnuradio::gnuradio-neuralfec)
"""
SOURCE = """
#include <gnuradio/neuralfec/mapper.h>
#include <iostream>

int main()
{
    const auto mapper = gr::neuralfec::mapper::make({ { 1, 0 }, { -1, 0 } }, { 1, 0 });
    std::cout << mapper->name() << ' ' << mapper->input_signature()->sizeof_stream_item(0) << '\\n';
}
"""


def test_another_project_builds_against_what_is_installed(tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(PROJECT)
    (tmp_path / "other.cc").write_text(SOURCE)
    build = tmp_path / "build"
    for command in (
        ["cmake", "-S", tmp_path, "-B", build, f"-DCMAKE_PREFIX_PATH={sys.prefix}"],
        ["cmake", "--build", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([build / "other"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["mapper", "1"]

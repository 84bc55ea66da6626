# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers `pip install .`: CMake builds the module against the GNU Radio of this machine."""

MESSAGE = """
gr-neuralfec is built against the GNU Radio of this machine, which pip knows nothing of.
  Into a virtual environment of the checkout:   make demo
  Into the system:   cmake -S . -B build && cmake --build build
                     sudo cmake --install build && sudo ldconfig
"""


def build_wheel(*_args, **_options):
    raise SystemExit(MESSAGE)


build_sdist = build_editable = build_wheel
get_requires_for_build_wheel = get_requires_for_build_editable = build_wheel

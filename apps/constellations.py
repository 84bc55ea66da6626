#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the constellations, or write down the points and labels of one.

A listing of points is a file that --constellation file:PATH takes: change it as you need.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

from gnuradio.neuralfec import app
from gnuradio.neuralfec.phy.constellation import NAMES, constellation


def parser() -> app.Parser:
    made = app.parser(__doc__, "neuralfec constellations", "neuralfec constellations qam16")
    made.add_argument("name", nargs="?", help="constellation to write down")
    return made


def run(args: argparse.Namespace) -> None:
    if args.name is None:
        print("\n".join([*NAMES, "file:PATH"]))
        return
    shown = constellation(args.name)
    for point, bits in zip(shown.points, shown.bits, strict=True):
        print(f"{point.real:10.7f} {point.imag:10.7f} {''.join(map(str, bits))}")


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the decoders by their specs; `neuralfec codes SPEC` tells which decode a code."""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

from gnuradio.neuralfec import app, decoders


def parser() -> app.Parser:
    return app.parser(__doc__, "neuralfec decoders")


def run(args: argparse.Namespace) -> None:
    print("\n".join(decoders.specs()))


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())

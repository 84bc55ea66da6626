#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the codes, or tell what a code is.

Without a spec the specs of all codes are listed; docs/codes.md explains them. With one: code bits
n, message bits k, rate, where the message stands in a codeword, and which decoders decode it.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

from gnuradio.neuralfec import app, codes, decoders


def parser() -> app.Parser:
    made = app.parser(__doc__, "neuralfec codes", "neuralfec codes polar-nr:64,32")
    made.add_argument("spec", nargs="?", help="code to tell of, such as wifi-648 or alist:FILE")
    return made


def run(args: argparse.Namespace) -> None:
    if args.spec is None:
        print("\n".join(codes.specs()))
        return
    code = codes.code(args.spec)
    print(f"{args.spec}: {code.n} code bits, {code.k} message bits, rate {code.k / code.n:.4g}")
    if hasattr(code, "message_place"):
        print(f"message: {code.message_place}")
    print(f"decoders: {', '.join(decoders_of(code)) or 'none'}")


def decoders_of(code) -> list[str]:
    """Specs of the decoders that take the code."""
    found = []
    for spec in decoders.specs():
        name = spec.partition("[")[0].partition(":")[0]
        try:
            decoders.decoder(name + DEFAULTS.get(name, ""), code)
        except (ValueError, ImportError):
            continue
        found.append(spec)
    return found


# What stands after the names that do not stand alone.
DEFAULTS = {"scl": ":4", "osd": ":1", "syndrome-osd": ":1", "syndrome-ae": ":8"}


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())

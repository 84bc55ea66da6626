# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `neuralfec`: all programs by name, `neuralfec demap ...`.

A program is a file of apps/, which is installed with the package; its subcommand is the file's
name with dashes, or a shorter one of the tables below. A new file is a subcommand by itself.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

_APPS = Path(__file__).parent / "apps"
# Subcommands that are not called as their file.
_SHORT = {"bicm_link": "link", "quantize_llrs": "quantize"}
_CURVES = {
    "bicm": "bicm_curves",
    "burst": "burst_curves",
    "decoders": "decoder_comparison",
    "feedback": "feedback_curves",
    "harq": "harq_link",
    "quantization": "llr_quantization",
    "sequence": "sequence_decoding",
    "syndrome": "syndrome_decoding",
}


def programs() -> dict[str, Path]:
    """Return the file of each program by its subcommand, "demap" or "curves bicm"."""
    files = {path.stem: path for path in _APPS.glob("[!_]*.py")}
    curves = {f"curves {name}": files.pop(stem) for name, stem in _CURVES.items() if stem in files}
    named = {_SHORT.get(stem, stem.replace("_", "-")): path for stem, path in files.items()}
    return dict(sorted((named | curves).items()))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    found = programs()
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview(found))
        return 0
    if words[0] == "--version":
        from . import __version__

        print(f"gr-neuralfec {__version__}")
        return 0
    count = 2 if words[0] == "curves" else 1
    name = " ".join(words[:count])
    if name in ("curves", "curves -h", "curves --help"):
        print(_overview({key: path for key, path in found.items() if key.startswith("curves ")}))
        return 0
    if name not in found:
        like = difflib.get_close_matches(name, found, 3)
        advice = f"did you mean {' or '.join(like)}?" if like else "neuralfec --help lists them"
        print(f"neuralfec: error: there is no program {name!r}; {advice}", file=sys.stderr)
        return 2
    # What argparse and the records of results call the program.
    sys.argv = [f"neuralfec {name}", *words[count:]]
    try:
        program = importlib.import_module(f"{__package__}.apps.{found[name].stem}")
    except ModuleNotFoundError as error:
        advice = "make training brings it" if error.name == "torch" else "make brings it"
        print(f"neuralfec {name}: error: this needs {error.name}: {advice}", file=sys.stderr)
        return 2
    return program.main(words[count:])


def _overview(found: dict[str, Path]) -> str:
    width = max(map(len, found), default=0)
    lines = [f"  {name:{width}}  {_first_line(path)}" for name, path in found.items()]
    return "\n".join(
        [
            "usage: neuralfec PROGRAM ...   (neuralfec PROGRAM --help tells the rest)",
            "",
            *lines,
        ]
    )


def _first_line(path: Path) -> str:
    # Not imported: that would take a second for all.
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.partition("\n\n")[0].replace("\n", " ")

# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the pages that follow from the code: all blocks, and the API by module.

They are generated before each build from GRC's yml files and the package itself, so that a new
block or module is in them by itself.
"""

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
# Rooms that are programs' or compiled modules' own.
_HIDDEN = ("_kernels", "neuralfec_python", "apps", "bindings")


def _blocks() -> str:
    """Return the page of all blocks, by GRC's categories."""
    by_category: dict[str, list[dict[str, Any]]] = {}
    for file in sorted((ROOT / "grc").rglob("*.block.yml")):
        block = yaml.safe_load(file.read_text())
        if "deprecated" in block.get("flags", []):
            continue
        category = block.get("category", "").removeprefix("[NeuralFEC]").strip("/")
        by_category.setdefault(category or "Other", []).append(block)
    lines = [
        "# All blocks",
        "",
        "In GNU Radio Companion they stand below *NeuralFEC*. In Python each is",
        "`from gnuradio import neuralfec; neuralfec.NAME(...)`.",
        "",
    ]
    for category in sorted(by_category):
        lines += [f"## {category}", ""]
        for block in sorted(by_category[category], key=lambda block: block["label"]):
            lines += [
                f"### {block['label']}",
                "",
                f"`{block['id'].removeprefix('neuralfec_')}`",
                "",
            ]
            lines += [block.get("documentation", "").strip(), ""]
            shown = [p for p in block.get("parameters", []) if p.get("hide") != "all"]
            if shown:
                lines += ["| parameter | type | default |", "|---|---|---|"]
                for parameter in shown:
                    default = str(parameter.get("default", "")).replace("|", "\\|")
                    default = f"`{default}`" if default else ""
                    lines.append(
                        f"| {parameter.get('label', parameter['id'])} "
                        f"| {parameter.get('dtype', 'raw')} | {default} |"
                    )
                lines.append("")
    return "\n".join(lines) + "\n"


def _modules(package: ModuleType) -> list[str]:
    """Return the names of all modules of the package that import, the package first."""
    names = [package.__name__]
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        parts = found.name.removeprefix(package.__name__ + ".").split(".")
        if not set(parts) & set(_HIDDEN) and not parts[-1].startswith("_"):
            names.append(found.name)
    return names


def _api(folder: Path) -> None:
    """Write one page a module, and the page that lists them."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.rst"):
        old.unlink()
    package = importlib.import_module("gnuradio.neuralfec")
    listed = []
    for name in _modules(package):
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"reference: {name} is left out: {error}")
            continue
        short = name.removeprefix("gnuradio.")
        text = f"{short}\n{'=' * len(short)}\n\n.. automodule:: {name}\n"
        (folder / f"{short}.rst").write_text(text)
        listed.append(short)
    title = "API by module"
    index = [title, "=" * len(title), "", ".. toctree::", "   :maxdepth: 1", ""]
    (folder / "index.rst").write_text(
        "\n".join([*index, *(f"   {name}" for name in listed)]) + "\n"
    )


# Outside of `code`: what reStructuredText would read as a substitution, emphasis or a reference.
_MARKUP = re.compile(r"(`+[^`]*`+)|([|*])|(?<=\w)_(?=\W|$)")


def _escape(line: str) -> str:
    return _MARKUP.sub(lambda match: match[1] or "\\" + (match[2] or "_"), line)


def readable(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring's plain text into reStructuredText, in place.

    Sections of NumPy's style are left to napoleon. Before them, lists of the form
    ``name : text`` with indented continuations become bullets.
    """
    sections = next(
        (i - 1 for i, line in enumerate(lines) if i and set(line.strip()) == {"-"}), len(lines)
    )
    made: list[str] = []
    paragraph: list[str] = []

    def close() -> None:
        if not any(line.startswith(" ") for line in paragraph[1:]):
            made.extend(_escape(line) for line in paragraph)
        elif paragraph[0].startswith("    "):
            made.extend(["::", "", *paragraph])
        else:
            for line in paragraph:
                if line.startswith(" ") and made and made[-1]:
                    made[-1] += " " + _escape(line.strip())
                else:
                    made.append("* " + _escape(line))
        made.append("")
        paragraph.clear()

    for line in lines[:sections]:
        if line.strip():
            paragraph.append(line)
        elif paragraph:
            close()
    if paragraph:
        close()
    made += [_escape(line) if set(line.strip()) != {"-"} else line for line in lines[sections:]]
    lines[:] = made


def generate(app: Any) -> None:
    """Write all generated pages into the source folder of the site."""
    source = Path(app.srcdir)
    (source / "blocks.md").write_text(_blocks())
    _api(source / "api")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", generate)
    # Before napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", readable, priority=400)
    return {"parallel_read_safe": True}

# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the pages that follow from the code: all blocks, and the API by module.

They are generated before each build from GRC's yml files and the package itself, so that a new
block or module is in them by itself.
"""

import contextlib
import html
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


# The companion's colours of ports by their type.
_COLOURS = {
    "complex": "#2196f3",
    "float": "#f57c00",
    "int": "#009688",
    "byte": "#d500f9",
    "message": "#bdbdbd",
}


def _evaluated(text: Any, values: dict[str, Any]) -> Any:
    """Return what a definition's ``${ }`` is at the defaults; other text as it is."""
    expression = re.fullmatch(r"\$\{(.*)\}\s*", str(text), re.S)
    if not expression:
        return text
    with contextlib.suppress(Exception):
        return eval(expression[1].strip(), {}, values)
    return None


def _picture(block: dict[str, Any]) -> str:
    """Draw a block as the companion does, at its defaults: SVG with its ports and parameters."""
    parameters = block.get("parameters", [])
    values: dict[str, Any] = {}
    for parameter in parameters:
        text = parameter.get("default", "")
        values[parameter["id"]] = text
        if parameter.get("dtype") in ("int", "real", "bool"):
            with contextlib.suppress(Exception):
                values[parameter["id"]] = eval(str(text), {"float": float})
    lines = []
    for parameter in parameters:
        if _evaluated(parameter.get("hide", "none"), values) not in ("part", "all"):
            shown = parameter.get("default", "")
            if shown in (options := [str(option) for option in parameter.get("options", [])]):
                shown = parameter.get("option_labels", options)[options.index(shown)]
            lines.append(f"{parameter['label']}: {str(shown)[:28]}")

    def ports(side: str) -> list[tuple[str, str]]:
        found = []
        for index, port in enumerate(block.get(side, [])):
            if _evaluated(port.get("hide", False), values):
                continue
            message = port.get("domain") == "message"
            kind = "message" if message else str(_evaluated(port.get("dtype"), values))
            plain = f"{'in' if side == 'inputs' else 'out'}{index}"
            count = _evaluated(port.get("multiplicity", 1), values) or 1
            found += [(str(port.get("label") or port.get("id") or plain), kind)] * int(count)
        return found

    left, right = ports("inputs"), ports("outputs")
    longest = max([len(block["label"]) * 1.2, *(len(line) for line in lines)])
    body = round(7 * longest + 24)
    height = max(34 + 18 * len(lines), 26 * max(len(left), len(right), 1) + 12)
    wide = {
        side: 7 * max([len(n) for n, _ in p], default=0) + 12
        for side, p in (("l", left), ("r", right))
    }
    start = wide["l"]
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{start + body + wide["r"] + 2}" '
        f'height="{height + 2}" font-family="sans-serif" font-size="12">',
        f'<rect x="{start}" y="1" width="{body}" height="{height}" rx="3" fill="#f1ecff" '
        'stroke="#616161"/>',
        f'<text x="{start + body / 2}" y="20" text-anchor="middle" font-weight="bold">'
        f"{html.escape(block['label'])}</text>",
    ]
    for number, line in enumerate(lines):
        drawn.append(f'<text x="{start + 10}" y="{42 + 18 * number}">{html.escape(line)}</text>')
    for side, placed, x in (("l", left, 1), ("r", right, start + body)):
        for number, (name, kind) in enumerate(placed):
            y = (height - 26 * len(placed)) / 2 + 26 * number + 4
            drawn.append(
                f'<rect x="{x}" y="{y}" width="{wide[side] - 1}" height="20" '
                f'fill="{_COLOURS.get(kind, "#ffffff")}" stroke="#616161"/>'
                f'<text x="{x + wide[side] / 2}" y="{y + 14}" text-anchor="middle">'
                f"{html.escape(name)}</text>"
            )
    return "\n".join([*drawn, "</svg>"]) + "\n"


def _blocks(pictures: Path) -> str:
    """Return the page of all blocks, by GRC's categories; a picture of each goes to the folder."""
    pictures.mkdir(exist_ok=True)
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
            name = block["id"].removeprefix("neuralfec_")
            lines += [
                f"### {block['label']}",
                "",
                f"`{name}`",
                "",
                f"![The block {block['label']}]({pictures.name}/{name}.svg)",
                "",
            ]
            (pictures / f"{name}.svg").write_text(_picture(block))
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
    (source / "blocks.md").write_text(_blocks(source / "block-pictures"))
    _api(source / "api")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", generate)
    # Before napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", readable, priority=400)
    return {"parallel_read_safe": True}

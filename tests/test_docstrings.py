# SPDX-License-Identifier: GPL-3.0-or-later
"""Public names say in one line what they do."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "neuralfec"
# First words of what is no verb.
NO_VERBS = {"A", "An", "All", "As", "Each", "Of", "The", "This", "These", "What"}


def public():
    """Path and node of each public function, class and method, without properties."""
    for file in sorted(PACKAGE.rglob("*.py")):
        relative = file.relative_to(PACKAGE)
        if relative.name in ("blocks.py", "__init__.py"):
            continue
        yield from inside(ast.parse(file.read_text()), relative.as_posix())


def inside(node, path):
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield f"{path}:{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from inside(child, f"{path}:{child.name}")


NAMES = dict(public())


@pytest.mark.parametrize("name", NAMES)
def test_first_line_is_a_sentence(name):
    node = NAMES[name]
    text = ast.get_docstring(node)
    assert text, "no docstring"
    paragraph = text.split("\n\n")[0].rstrip()
    assert paragraph.endswith((".", ":")), f"no end of a sentence: {paragraph}"
    assert "\n" not in paragraph, f"more than a line: {paragraph}"
    decorators = {ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])}
    if isinstance(node, ast.FunctionDef) and not decorators & {"property", "cached_property"}:
        first = paragraph.split()[0]
        assert first not in NO_VERBS and first.isalpha(), f"no verb first: {paragraph}"

# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports go down only: the floors of docs/architecture.md, held against the syntax tree."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "neuralfec"

# The first floor above the systems, which may ask for decoders by name.
LINKS = {"links", "diagnosis", "command"}
# From the ground up. A room is a module or folder of the package; "blocks" is every module of
# that name. A room imports itself and rooms of floors below. Rooms need not be there.
FLOORS = [
    {"registry", "remade", "provenance", "telemetry", "vectors", "python_block"},
    {"codes", "phy", "models"},
    {"decoders", "app"},
    {"simulation", "training", "framing"},
    {"quantization", "sequence", "syndrome", "feedback"},
    LINKS,
    {"radio"},
    {"grc"},
    {"blocks"},
]

# Where gnuradio may be imported, beside the modules named blocks.
GNURADIO = {"python_block", "vectors", "radio", "grc"}

# What names modules as strings: the doors of the package, of registries, and of a system that
# loads its own kernels late.
SWITCHBOARDS = {"", "command", "registry", "quantization"}

# Arrows that still run up, and what still asks the decoders' switchboard from below it. Take
# an arrow out when it is gone; the test fails until you do. Add none.
KNOWN_ARROWS_UP: set[tuple[str, str]] = set()
KNOWN_CALLERS_OF_THE_SWITCHBOARD: set[str] = set()
# Arrows of circles, likewise.
KNOWN_ARROWS_IN_CIRCLES: set[tuple[str, str]] = set()


def modules():
    """Dotted name below the package ("" for itself) to syntax tree and package."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        package = parts[:-1]
        name = ".".join(package if parts[-1] == "__init__" else parts)
        found[name] = (ast.parse(file.read_text()), package)
    return found


MODULES = modules()


def imports(name):
    """(module, imported name) of all relative imports, wherever they stand."""
    tree, package = MODULES[name]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            source = ".".join([*base, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}".lstrip(".")
                yield (whole, "") if whole in MODULES else (source, alias.name)


def arrows(name):
    # What the package itself holds (a version, the compiled kernels) is on no floor.
    return {target for target, _ in imports(name) if target in MODULES and target}


def room(name):
    return "blocks" if name.endswith("blocks") else name.partition(".")[0]


def floor(name):
    for height, rooms in enumerate(FLOORS):
        if room(name) in rooms:
            return height
    raise AssertionError(f"{name} is on no floor; name its room in FLOORS and architecture.md")


def circles():
    """Strongly connected sets of more than one module, by Tarjan's algorithm."""
    order, low, stack, found = {}, {}, [], set()

    def visit(name):
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in arrows(name):
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            component = set()
            while name not in component:
                component.add(stack.pop())
            if len(component) > 1:
                found.add(frozenset(component))

    for name in MODULES:
        if name not in order:
            visit(name)
    return found


def test_there_are_modules():
    assert len(MODULES) > 50
    assert ("codes.linear", "") not in imports("codes.linear")
    assert "codes.gf2" in arrows("codes.linear")


def test_imports_go_down_only():
    up = {
        (name, target)
        for name in MODULES
        if name
        for target in arrows(name)
        if room(target) != room(name) and floor(target) >= floor(name)
    }
    assert up - KNOWN_ARROWS_UP == set()
    assert KNOWN_ARROWS_UP - up == set(), "gone: take them out of KNOWN_ARROWS_UP"


def test_there_are_no_circles():
    found = {
        (name, target)
        for circle in circles()
        for name in circle
        for target in arrows(name) & circle
    }
    assert found - KNOWN_ARROWS_IN_CIRCLES == set()
    assert KNOWN_ARROWS_IN_CIRCLES - found == set(), "gone: take them out of the list"


def test_modules_by_name_are_the_switchboards_alone():
    users = {
        name
        for name, (tree, _) in MODULES.items()
        if any(
            (isinstance(node, ast.Attribute) and node.attr == "import_module")
            or (isinstance(node, ast.Name) and node.id in ("import_module", "__import__"))
            for node in ast.walk(tree)
        )
    }
    assert users == SWITCHBOARDS


def test_only_the_registry_of_decoders_looks_up():
    """A registry's modules are relative to its package, ".polar": ".." leaves it."""
    leave = {
        name
        for name, (tree, _) in MODULES.items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Registry"
        for text in ast.walk(call)
        if isinstance(text, ast.Constant) and str(text.value).startswith("..")
    }
    assert leave == {"decoders"}


def test_no_system_asks_for_decoders_by_name():
    """The switchboard of decoders leads up to the systems: from there it would be a circle."""
    callers = {
        name
        for name in MODULES
        if name and room(name) != "decoders" and floor(name) < FLOORS.index(LINKS)
        for target, what in imports(name)
        if target == "decoders" and what in ("", "decoder", "REGISTRY")
    }
    assert callers == KNOWN_CALLERS_OF_THE_SWITCHBOARD, "take out what is gone, add none"


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) not in GNURADIO])
def test_below_the_blocks_nothing_imports_gnuradio(name):
    if room(name) == "blocks":
        return
    tree, _ = MODULES[name]
    for node in ast.walk(tree):
        sources = []
        if isinstance(node, ast.Import):
            sources = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            sources = [node.module]
        assert not [s for s in sources if s.partition(".")[0] in ("gnuradio", "pmt")], name

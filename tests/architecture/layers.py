"""The house in figures: its rooms, the arrows between them, and the walks of three things through it.

    python tests/architecture/layers.py

A room is a folder of `coopy/` or a module of its root; an arrow is an import from one room into another, wherever it stands in a
module; a climb is a step of a walk to a room of a higher row. The front door, `coopy/__init__.py`, is the root itself and no room.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from architecture.trees import nodes_of, tree_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "coopy"
MODULES = sorted(PACKAGE.rglob("*.py"))
FRONT = "coopy"

# A room may import from the rows below its own. Top first.
ROWS: tuple[frozenset[str], ...] = tuple(
    frozenset(f"coopy.{name}" for name in row.split())
    for row in (
        "__main__ base tests",
        "cli compat",
        "aio messaging metrics testing tools",
        "batteries objects opening",
        "replication",
        "sync system",
        "control proof",
        "past",
        "place spine",
        "clock determinism disk network.server",
        "network values",
        "decorators env migration",
        "ground",
        "errors",
    )
)


def name_of(path: Path) -> str:
    """Returns the dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = frozenset(map(name_of, MODULES))
FOLDERS = frozenset(name_of(path) for path in MODULES if path.name == "__init__.py") - {FRONT}


def room_of(module: str) -> str:
    """Returns the room of a module: its folder, or itself if it lies in the root."""
    while module not in FOLDERS:
        above = module.rpartition(".")[0]
        if above in ("", FRONT):
            return module
        module = above
    return module


def row_of(room: str) -> int:
    """Returns the number of a room's row, 0 at the top. Raises LookupError if it has none."""
    for number, row in enumerate(ROWS):
        if room in row:
            return number
    raise LookupError(f"{room} has no row; give it one in ROWS of tests/architecture/layers.py")


@cache
def front_names() -> frozenset[str]:
    """Returns the names that the front door offers: who takes one of them, as ``from coopy import clock``, comes in by it."""
    tree = tree_of(PACKAGE / "__init__.py")
    lists = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    return frozenset(ast.literal_eval(lists[0]))


def imports(path: Path, everywhere: bool = True) -> tuple[str, ...]:
    """Returns what a module imports, modules by their whole names; with ``everywhere`` also what its functions import."""
    return _imports(path)[not everywhere]


@cache
def _imports(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns what a module imports anywhere, and what it imports at once."""
    return tuple(_imported(nodes_of(path))), tuple(_imported(tree_of(path).body))


def _imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = front_names() if node.module == FRONT else frozenset()
            for alias in node.names:
                whole = FRONT if alias.name in names else f"{node.module}.{alias.name}"
                yield whole if whole in NAMES or whole == FRONT else node.module


def arrows() -> set[tuple[str, str]]:
    """Returns every pair of rooms of which the first imports the second."""
    found = set()
    for path in MODULES:
        for target in imports(path):
            one, other = room_of(name_of(path)), room_of(target)
            if target.split(".")[0] == "coopy" and FRONT not in (one, other, target) and one != other:
                found.add((one, other))
    return found


def upward() -> list[tuple[str, str]]:
    """Returns the arrows that do not point to a lower row."""
    return sorted((one, other) for one, other in arrows() if row_of(other) <= row_of(one))


def circles() -> list[str]:
    """Returns the modules that import each other in a circle, in whatever function they do it."""
    below = {name_of(path): {each for each in imports(path) if each in NAMES} - {FRONT} for path in MODULES}
    while True:
        ends = {name for name, targets in below.items() if not targets & below.keys() - {name}}
        if not ends:
            return sorted(below)
        for name in ends:
            del below[name]


def rooms() -> list[str]:
    """Returns the rooms of the house."""
    return sorted({room_of(name) for name in NAMES} - {FRONT})


def in_the_root() -> list[str]:
    """Returns the modules that lie in the root, the front door among them."""
    return sorted(path.stem for path in PACKAGE.glob("*.py"))


def report() -> Iterator[str]:
    """Yields the figures, a line each."""
    yield f"{len(rooms())} rooms, {len(arrows())} arrows, {len(upward())} upward, {len(circles())} modules in circles"
    yield f"{len(in_the_root())} modules in the root, {len(MODULES)} in all"
    for one, other in upward():
        yield f"  upward: {one} -> {other}"
    for name in circles():
        yield f"  in a circle: {name}"


if __name__ == "__main__":
    print("\n".join(report()))
    sys.exit(bool(upward() or circles()))

"""The modules of the package, parsed: each file once for all tests of a process that look at source.

The collector is off meanwhile. It would look at all that has been parsed again and again, in which there is no garbage: three quarters
of the time.
"""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path


@cache
def tree_of(path: Path) -> ast.Module:
    """Returns a module, parsed."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        if enabled:
            gc.enable()


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Returns the nodes of a module, in the order of `ast.walk`."""
    return tuple(ast.walk(tree_of(path)))


def let_go() -> None:
    """Forgets them. 700,000 objects: the collector would look at them in all tests to come, and each fork copy their tables."""
    for kept in (tree_of, nodes_of):
        kept.cache_clear()

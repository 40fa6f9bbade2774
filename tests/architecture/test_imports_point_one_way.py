"""The layers of the package, and what must not be imported with it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "coopy"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module may import from layers below its own, and from its own folder. Top first.
LAYERS = [
    {"coopy", "coopy.base", "coopy.tests", "coopy.tests.utils"},
    {"coopy.system"},
    {"coopy.proxy", "coopy.progress"},
    {"coopy.engine"},
    {"coopy.replay"},
    {"coopy.machine"},
    {"coopy.clock", "coopy.env", "coopy.disk"},
    {"coopy.moment", "coopy.storage", "coopy.codec", "coopy.action", "coopy.determinism"},
    {"coopy.decorators", "coopy.errors", "coopy.log"},
]
# What the disk may know of the spine: the seam and the errors.
DISK_MAY_IMPORT = {"coopy.storage", "coopy.errors", "coopy.log"}
# Too heavy to come with the package, or not always there.
LATE = {"dill", "inspect", "dataclasses", "json", "logging", "hashlib", "uuid", "ast"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> int:
    home = "coopy.disk" if module.startswith("coopy.disk") else module
    for number, names in enumerate(LAYERS):
        if home in names:
            return number
    raise AssertionError(f"{module} has no layer; give it one in LAYERS")


def imports(path: Path, everywhere: bool) -> list[str]:
    tree = ast.parse(path.read_text())
    found = []
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = {name_of(module) for module in MODULES}
            found += [each if each in modules else node.module for each in inside]
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_layers_below(path: Path) -> None:
    module = name_of(path)
    for target in imports(path, everywhere=True):
        if not target.startswith("coopy") or target == "coopy":
            continue
        if module.startswith("coopy.disk"):
            assert target in DISK_MAY_IMPORT or target.startswith("coopy.disk"), f"{module} imports {target}"
        elif layer(module) == 0:
            continue
        else:
            assert layer(target) > layer(module), f"{module} imports {target}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_loads_nothing_heavy_with_the_package(path: Path) -> None:
    if name_of(path) == "coopy.determinism":
        return  # Loaded when a system is opened.
    assert not LATE & set(imports(path, everywhere=False))


def test_only_the_system_knows_where_bytes_are_kept() -> None:
    for path in MODULES:
        if name_of(path) != "coopy.system" and not name_of(path).startswith("coopy.disk"):
            assert not [each for each in imports(path, everywhere=True) if each.startswith("coopy.disk")], path


def test_words_that_the_project_does_not_use_are_not_in_its_names() -> None:
    banned = ("checkpoint", "slave", "helper", "manager", "util_")
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                assert not any(word in node.name.lower() for word in banned), f"{path.name}: {node.name}"

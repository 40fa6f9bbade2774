"""The layers of the package, what must not be imported with it, and what must not be said in it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import coopy

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "coopy"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A module may import from layers below its own, and from its own folder. Top first.
LAYERS = [
    {"coopy.cli", "coopy.__main__", "coopy.pytest_plugin"},
    {"coopy.testing"},
    {"coopy.tools"},
    {"coopy.aio"},
    {"coopy", "coopy.base", "coopy.tests", "coopy.tests.utils"},
    {"coopy.opening"},
    {"coopy.replicated"},
    {"coopy.system"},
    {"coopy.beside"},
    {"coopy.reading", "coopy.follower"},
    {"coopy.checking", "coopy.delivery", "coopy.legacy", "coopy.proxy", "coopy.progress", "coopy.proving", "coopy.shadow"},
    {"coopy.engine"},
    {"coopy.history", "coopy.proof", "coopy.replay", "coopy.retention", "coopy.trial"},
    {"coopy.machine"},
    {"coopy.deterministic"},
    {
        "coopy.clock",
        "coopy.logs",
        "coopy.effects",
        "coopy.env",
        "coopy.disk",
        "coopy.network",
        "coopy.outbox",
        "coopy.versions",
    },
    {"coopy.action", "coopy.codec", "coopy.determinism", "coopy.stubs"},
    {"coopy.batch", "coopy.bytecode", "coopy.decimals", "coopy.decompile", "coopy.line"},
    {
        "coopy.decorators",
        "coopy.deep",
        "coopy.digest",
        "coopy.entities",
        "coopy.looking",
        "coopy.migration",
        "coopy.moment",
        "coopy.paths",
        "coopy.recursion",
        "coopy.storage",
    },
    {"coopy.bound"},
    {"coopy.collector", "coopy.errors", "coopy.fields", "coopy.holding", "coopy.interruption", "coopy.limits", "coopy.words"},
    {"coopy.log"},
]
# What the disk may know of the spine: the seam and the errors.
DISK_MAY_IMPORT = {"coopy.collector", "coopy.holding", "coopy.paths", "coopy.storage", "coopy.errors", "coopy.log"}
NETWORK_MAY_IMPORT = {"coopy.storage", "coopy.line", "coopy.errors", "coopy.limits", "coopy.log", "coopy.words"}
# Too heavy to come with the package, or not always there.
LOADED_BY_NAME = (
    "coopy.aio",
    "coopy.checking",
    "coopy.decompile",
    "coopy.cli",
    "coopy.shadow",
    "coopy.deterministic",
    "coopy.determinism",
    "coopy.follower",
    "coopy.limits",
    "coopy.line",
    "coopy.logs",
    "coopy.network",
    "coopy.outbox",
    "coopy.replicated",
    "coopy.stubs",
    "coopy.testing",
    "coopy.tools",
    "coopy.__main__",
)
LATE = {"dill", "inspect", "dataclasses", "json", "logging", "hashlib", "uuid", "ast", "shlex"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> int:
    home = next(
        (folder for folder in ("coopy.disk", "coopy.network", "coopy.cli", "coopy.tools") if module.startswith(folder)), module
    )
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
        elif module.startswith("coopy.network"):
            assert target in NETWORK_MAY_IMPORT or target.startswith("coopy.network"), f"{module} imports {target}"
        elif layer(module) == 0 or (module.startswith("coopy.tools") and target.startswith("coopy.tools")):
            continue
        else:
            assert layer(target) > layer(module), f"{module} imports {target}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_loads_nothing_heavy_with_the_package(path: Path) -> None:
    if name_of(path).startswith(LOADED_BY_NAME):
        return
    assert not LATE & set(imports(path, everywhere=False))


def test_only_who_opens_a_directory_knows_where_bytes_are_kept() -> None:
    for path in MODULES:
        if not name_of(path).startswith(
            (
                "coopy.beside",
                "coopy.disk",
                "coopy.opening",
                "coopy.reading",
                "coopy.replicated",
                "coopy.system",
                "coopy.testing",
                "coopy.tools",
            )
        ):
            assert not [each for each in imports(path, everywhere=True) if each.startswith("coopy.disk")], path


def test_the_front_door_gathers_and_does_nothing_else() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    for statement in tree.body:
        names = isinstance(statement, ast.Assign) and isinstance(statement.value, (ast.Name, ast.Constant, ast.List))
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        assert names or docstring or isinstance(statement, ast.ImportFrom), ast.unparse(statement)


# Words that say too little, or that mean one thing in each system that has them.
NOT_OURS = frozenset("transaction checkpoint master slave parent info helper util utils manager".split())
GIVEN = {
    # The documented interface has them.
    "coopy.aio": {"master"},
    "coopy.opening": {"master"},
    # A method of the library that is overridden.
    "coopy.network.connection": {"info"},
    "coopy.replicated": {"master"},
    "coopy.tests.utils": {"utils"},
    # Of a syntax tree; and what a finding calls a function that a method uses.
    "coopy.determinism": {"parent", "helper"},
}


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names_given(path: Path) -> Iterator[tuple[int, str]]:
    """Each name that a module gives to something, and its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_words_that_the_project_does_not_use_are_not_in_its_names(path: Path) -> None:
    module = name_of(path)
    banned = NOT_OURS - GIVEN.get(module, set())
    found = words(module.rpartition(".")[2]) & banned
    assert not found, f"{module}: {found}"
    for line, name in names_given(path):
        assert not words(name) & banned, f"{path.name}, line {line}: {name}"


def test_words_are_told_apart_as_a_reader_does() -> None:
    assert words("SnapshotManager") == {"snapshot", "manager"}
    assert words("_MESSAGE_BYTES_MAX") == {"message", "bytes", "max"}
    assert words("transactional") == {"transactional"}
    assert words("HTTPInfo") == {"http", "info"}


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    places = re.compile(rb"/(?:home|root|Users)/[A-Za-z]")
    for path in files():
        found = places.search(path.read_bytes())
        assert found is None, f"{path.relative_to(ROOT)}: {found[0]!r}"


def files() -> list[Path]:
    """The files of the repository; without git, those of the folders that are ours."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(asked, cwd=ROOT, capture_output=True, check=False, timeout=60)
        if listed.returncode == 0:
            paths = [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
            return [path for path in paths if path.is_file()]
    folders = ("coopy", "tests", "docs", "examples", "benchmarks")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md")]


def test_the_distribution_has_every_package_and_the_version_that_the_code_says() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^packages = (\[.*?\])", project, re.M | re.S)
    assert listed is not None
    assert sorted(ast.literal_eval(listed[1])) == [name_of(path) for path in MODULES if path.name == "__init__.py"]
    assert f'version = "{coopy.__version__}"' in project.splitlines()

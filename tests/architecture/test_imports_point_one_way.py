"""The layers of the package, what must not be imported with it, and what must not be said in it."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from architecture.layers import MODULES, PACKAGE, ROOT, ROWS, arrows, circles, imports, in_the_root, name_of, rooms, upward
from architecture.trees import nodes_of, tree_of

import coopy

# Too heavy to come with the package, or not always there: rooms, and modules of others.
LOADED_BY_NAME = (
    "coopy.__main__",
    "coopy.aio",
    "coopy.cli",
    "coopy.compat",
    "coopy.determinism",
    "coopy.messaging",
    "coopy.network",
    "coopy.proof.checked",
    "coopy.proof.shadow",
    "coopy.replication",
    "coopy.sync",
    "coopy.sync.elector",
    "coopy.testing",
    "coopy.tools",
)
LATE = {"dill", "inspect", "dataclasses", "json", "logging", "hashlib", "uuid", "ast", "shlex"}

# The spine is one call, from the outside in, and nothing else: a module more is a decision (docs/design/019-house.md).
SPINE = {
    "agreement",
    "attributes",
    "parts",
    "calling",
    "delivery",
    "effects",
    "engine",
    "facts",
    "machine",
    "methods",
    "proxy",
    "replay",
    "results",
    "section",
    "tap",
    "versions",
}
# What the organs may know of the rest: seams, words and errors.
ORGANS = {
    "coopy.disk": {"coopy.errors", "coopy.ground"},
    "coopy.network": {"coopy.errors", "coopy.ground"},
    "coopy.network.server": {"coopy.errors", "coopy.ground", "coopy.network"},
}
# Who knows where bytes are kept.
KNOW_THE_DISK = {
    "coopy.objects",
    "coopy.past",
    "coopy.place",
    "coopy.proof",
    "coopy.replication",
    "coopy.testing",
    "coopy.tools",
    "coopy.cli",
}


def test_every_room_has_a_row_and_every_row_has_its_rooms() -> None:
    assert sorted(rooms()) == sorted(room for row in ROWS for room in row)


def test_a_room_imports_only_from_rows_below_its_own() -> None:
    assert upward() == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles() == []


def test_the_house_is_small_enough_to_be_held_in_the_head() -> None:
    assert len(ROWS) <= 14
    assert len(rooms()) <= 32
    assert len(arrows()) <= 160
    assert len(in_the_root()) <= 20


def test_the_spine_is_a_closed_list() -> None:
    assert {path.stem for path in (PACKAGE / "spine").glob("*.py")} - {"__init__"} == SPINE


@pytest.mark.parametrize("name", ["coopy.aio.proxy", "coopy.aio.worker", "coopy.past.proxy", "coopy.spine.proxy"])
def test_a_proxy_is_built_on_what_it_asks_of_an_engine_and_on_no_engine(name: str) -> None:
    [path] = [path for path in MODULES if name_of(path) == name]
    assert {"coopy.spine.calling", "coopy.spine.methods"} & set(imports(path))
    assert not {"coopy.spine.engine", "coopy.replication.follower", "coopy.proof.checked"} & set(imports(path))


@pytest.mark.parametrize("organ", ORGANS)
def test_an_organ_knows_nothing_of_the_spine(organ: str) -> None:
    assert {other for one, other in arrows() if one == organ} <= ORGANS[organ]


def test_who_knows_where_bytes_are_kept_is_a_closed_list() -> None:
    assert {one for one, other in arrows() if other == "coopy.disk"} <= KNOW_THE_DISK


def test_a_module_loads_nothing_heavy_with_the_package() -> None:
    loaded = [path for path in MODULES if not name_of(path).startswith(LOADED_BY_NAME)]
    heavy = {name_of(path): LATE & set(imports(path, everywhere=False)) for path in loaded}
    assert {name: found for name, found in heavy.items() if found} == {}


def test_the_front_door_gathers_and_does_nothing_else() -> None:
    tree = tree_of(PACKAGE / "__init__.py")
    for statement in tree.body:
        names = isinstance(statement, ast.Assign) and isinstance(statement.value, (ast.Name, ast.Constant, ast.List))
        docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        later = isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in ("_MODULES", "_MODULE_OF")
        assert names or docstring or later or isinstance(statement, (ast.ImportFrom, ast.If)), ast.unparse(statement)
    [told, asked] = [each for each in tree.body if isinstance(each, ast.If)]
    assert [ast.unparse(told.test), ast.unparse(asked.test)] == ["TYPE_CHECKING", "not TYPE_CHECKING"]
    assert all(isinstance(each, (ast.ImportFrom, ast.Assign)) for each in told.body)
    assert [each.name for each in asked.body if isinstance(each, ast.FunctionDef)] == ["__getattr__", "__dir__"]
    assert len(asked.body) == 2


# Words that say too little, or that mean one thing in each system that has them.
NOT_OURS = frozenset("transaction checkpoint master slave parent info helper util utils manager".split())
GIVEN = {
    "coopy.compat.pysyncobj_locks": {"manager"},
    # The documented interface has them.
    "coopy.aio.election": {"master"},
    "coopy.batteries": {"manager"},
    "coopy.batteries.locks": {"manager"},
    "coopy.sync.election": {"master"},
    # The documented interface has them, here or in the library whose names these are.
    "coopy.compat.metaparticle": {"master"},
    "coopy.opening": {"master"},
    "coopy.place.options": {"master"},
    # A method of the library that is overridden.
    "coopy.network.connection": {"info"},
    "coopy.replication.role": {"master"},
    "coopy.tests.utils": {"utils"},
    # Of a syntax tree; and what a finding calls a function that a method uses.
    "coopy.determinism.check": {"helper"},
    "coopy.determinism.source": {"parent"},
}


@functools.cache
def words(name: str) -> frozenset[str]:
    return frozenset(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name))


def names_given(path: Path) -> Iterator[tuple[int, str]]:
    """Each name that a module gives to something, and its line."""
    for node in nodes_of(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def test_words_that_the_project_does_not_use_are_not_in_its_names() -> None:
    found = []
    for path in MODULES:
        module = name_of(path)
        banned = NOT_OURS - GIVEN.get(module, set())
        names = [(1, module.rpartition(".")[2]), *names_given(path)]
        found += [f"{path.relative_to(ROOT)}:{line}: {name}" for line, name in names if words(name) & banned]
    assert found == []


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


def test_the_distribution_has_every_package() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^packages = (\[.*?\])", project, re.M | re.S)
    assert listed is not None
    assert sorted(ast.literal_eval(listed[1])) == [name_of(path) for path in MODULES if path.name == "__init__.py"]


def test_the_version_stands_in_one_place_and_the_changelog_knows_it() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert re.search(r'^dynamic = \[.*"version".*\]', project, re.M)
    assert not re.search(r'^version = "', project, re.M)
    assert (ROOT / "CHANGELOG.md").read_text().split("## ")[1].startswith(f"{coopy.__version__} ")

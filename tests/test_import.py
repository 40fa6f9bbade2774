"""What `import coopy` costs: only the modules that every program needs."""

from __future__ import annotations

import ast
import builtins
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from program import environment, run, write

import coopy

HEAVY = (
    "dill",
    "inspect",
    "json",
    "ast",
    "logging",
    "dataclasses",
    "tempfile",
    "subprocess",
    "socket",
    "asyncio",
    "multiprocessing",
    "concurrent.futures",
    "unittest",
    "hypothesis",
    "pytest",
    "urllib.parse",
    "email",
)


def modules_after(statement: str) -> set[str]:
    """Modules that a statement loads, beyond those of the bare interpreter."""
    lines = "import sys; before = set(sys.modules); {}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", lines.format(statement)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split())


def ours(loaded: set[str]) -> set[str]:
    """The modules of coopy among others, without the packages that hold them."""
    return {name for name in loaded if name.startswith("coopy.")} - {"coopy.ground", "coopy.objects"}


def test_what_a_class_is_defined_with_is_all_that_comes_with_the_package() -> None:
    loaded = modules_after("import coopy")
    assert ours(loaded) == {
        "coopy.clock",
        "coopy.control",
        "coopy.decorators",
        "coopy.env",
        "coopy.errors",
        "coopy.ground.action",
        "coopy.ground.looking",
        "coopy.ground.ondemand",
        "coopy.ground.record",
        "coopy.ground.running",
        "coopy.ground.words",
        "coopy.objects.defaults",
        "coopy.objects.entry",
    }
    assert not loaded & {*HEAVY, "pickle", "zlib", "signal", "select", "mmap", "tokenize"}


@pytest.mark.parametrize("statement", ["from coopy import init_system", "from coopy.base import init_persistent_system"])
def test_what_opens_a_system_loads_nothing_heavy(statement: str) -> None:
    loaded = modules_after(statement)
    assert "coopy.system" in loaded
    assert not loaded & set(HEAVY)
    assert {name for name in ours(loaded) if name.startswith("coopy.objects")} == {
        "coopy.objects.defaults",
        "coopy.objects.entry",
    }


def test_dill_is_loaded_by_what_pickle_cannot_and_by_nothing_else(tmp_path: Path) -> None:
    script = write(
        tmp_path / "wiki.py",
        """
        import sys
        from coopy import init_system

        class Wiki:
            def __init__(self):
                self.pages = []
            def write(self, page):
                self.pages.append(page)

        with init_system(Wiki, "data") as wiki:
            wiki.write("plain")
            wiki.write({"a": [1, 2.5, None]})
            wiki.take_snapshot()
            print("dill" in sys.modules)
            if "lambda" in sys.argv:
                wiki.write(lambda: None)
                print("dill" in sys.modules)
        """,
    )
    assert run(script) == "False"
    assert run(script, "lambda").split() == ["False", "True"]
    assert run(script).split()[0] == "True"


@pytest.mark.parametrize("package", ["coopy", "coopy.objects"])
def test_what_is_loaded_when_it_is_asked_for_is_what_type_checkers_are_told(package: str) -> None:
    found = importlib.import_module(package)
    tree = ast.parse(Path(found.__file__ or "").read_text(encoding="utf-8"))
    [told] = [each for each in tree.body if isinstance(each, ast.If) and ast.unparse(each.test) == "TYPE_CHECKING"]
    names = {
        alias.asname or alias.name: str(each.module).removeprefix(f"{package}.")
        for each in told.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    assert names == found._MODULE_OF


@pytest.mark.parametrize("package", ["coopy", "coopy.objects"])
def test_a_name_that_is_not_there_is_an_attribute_error_and_all_others_are_listed(package: str) -> None:
    found = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'init_sistem'"):
        found.init_sistem  # noqa: B018
    assert {*found.__all__} <= {*dir(found)}


@pytest.mark.parametrize("name", ["clock", "control", "env", "objects"])
def test_a_module_does_not_take_the_name_of_what_the_package_offers(name: str) -> None:
    statement = f"import coopy, coopy.opening, coopy.objects.opening, coopy.{name}; print(type(coopy.{name}).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", statement], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() in ("Clock", "Env", "function")


def test_every_public_name_is_there_and_is_said_to_be() -> None:
    assert sorted(set(coopy.__all__)) == coopy.__all__
    for name in coopy.__all__:
        assert getattr(coopy, name) is not None
    documented = (
        "init_system init_persistent_system replay control readonly unlocked abort_exception transactional "
        "clock env CoopyError UsageError"
    )
    assert set(documented.split()) <= set(coopy.__all__)


def test_importing_all_names_replaces_no_builtin() -> None:
    assert coopy.open is coopy.init_system
    assert not set(coopy.__all__) & {*vars(builtins)}


def test_documented_old_paths_are_re_exports_without_logic() -> None:
    import coopy.base
    import coopy.decorators
    import coopy.tests.utils

    assert coopy.base.init_persistent_system is coopy.init_persistent_system
    assert coopy.base.init_system is coopy.init_system
    assert coopy.decorators.readonly is coopy.readonly
    assert coopy.tests.utils.TestSystemMixin.__name__ == "TestSystemMixin"
    source = Path(coopy.base.__file__).read_text(encoding="utf-8")
    allowed = (ast.ImportFrom, ast.Assign, ast.Expr)
    assert all(isinstance(statement, allowed) for statement in ast.parse(source).body)

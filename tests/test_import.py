"""What `import coopy` costs: only the modules that every program needs."""

from __future__ import annotations

import ast
import builtins
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


@pytest.mark.parametrize("statement", ["import coopy", "from coopy.base import init_persistent_system"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    loaded = modules_after(statement)
    assert "coopy.system" in loaded
    assert not loaded & set(HEAVY)


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

"""What a type checker sees."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from program import ROOT, environment

pytest.importorskip("mypy", reason="mypy is not installed")

SNIPPET = """
from datetime import datetime
import coopy
import coopy.aio
import coopy.testing
from coopy import abort_exception, control, init_system, readonly, replay, transactional, unlocked

class Wiki:
    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
    @readonly
    def page(self, name: str) -> str:
        return self.pages[name]
    @unlocked
    @abort_exception
    @transactional
    def write(self, name: str, text: str) -> int:
        return len(text)

reveal_type(init_system(Wiki))  # N: snippet.Wiki
reveal_type(init_system(Wiki()))  # N: snippet.Wiki
reveal_type(init_system(Wiki, "data", durability="buffered"))  # N: snippet.Wiki
reveal_type(coopy.open(Wiki, "data"))  # N: snippet.Wiki
reveal_type(coopy.open(Wiki(), "data"))  # N: snippet.Wiki
reveal_type(init_system(Wiki).page("a"))  # N: str
reveal_type(init_system(Wiki).write("a", "b"))  # N: int
reveal_type(replay(Wiki, "data", 3))  # N: snippet.Wiki
reveal_type(replay(Wiki, "data", datetime(2012, 1, 1)))  # N: snippet.Wiki
reveal_type(control(init_system(Wiki)).take_snapshot())  # N: int
init_system(Wiki).page(5)  # E: [arg-type]
init_system(Wiki).pages["a"] = 5  # E: [assignment]
init_system(Wiki, snapshot_time="often")  # E: [call-overload]
replay(Wiki(), "data")  # E: [arg-type]

init_system(Wiki, "data", 60, keep=3, keep_for=7.5, fork=None, progress=print, on_divergence=print, check=True)
init_system(Wiki, "data", 60, True, port=7000, tls=True, cluster=["a:1", "b:1", "c:1"], node="a:1", timeout=5)
coopy.open(Wiki(), master=True, validation="strict")
init_system(Wiki, durabilty="sync")  # E: [call-overload]
init_system(Wiki, durability="often")  # E: [call-overload]
init_system(Wiki, keep="three")  # E: [call-overload]
init_system(Wiki, timeout=None)  # E: [call-overload]
init_system(Wiki(), on_divergence="ignore")  # E: [call-overload]
coopy.aio.open(Wiki, "data", snapshot_time=60, master=True, tls=True, timeout=5)
coopy.aio.open(Wiki, "data", on_divergence="refuse", progress=print, self_check=False)
coopy.aio.open(Wiki, "data", durabilty="sync")  # E: [call-overload]
coopy.aio.open(Wiki, "data", tls="yes")  # E: [call-overload]
coopy.aio.open(Wiki, "data", validation="loud")  # E: [call-overload]
reveal_type(coopy.testing.memory_system(Wiki, seed=1, snapshot_time=60, keep=3))  # N: snippet.Wiki
reveal_type(coopy.testing.open_system(Wiki(), "data", durability="buffered"))  # N: snippet.Wiki
coopy.testing.memory_system(Wiki, durability="sync")  # E: [call-overload]
coopy.testing.open_system(Wiki, "data", cluster=["a:1"])  # E: [call-overload]
"""

STRICT = """# pyright: strict
from __future__ import annotations

import coopy.aio
from coopy import clock, control, env, init_system, readonly
from coopy.clock import Clock
from coopy.env import Env
from coopy.testing import memory_system

class Todo:
    _clock: Clock
    _env: Env
    def __init__(self) -> None:
        self.tasks: list[str] = []
    def add(self, name: str) -> int:
        self.tasks.append(f"{name} {clock.now()} {env.random()} {self._clock.now()} {self._env.uuid4()}")
        return len(self.tasks)
    @readonly
    def first(self) -> str:
        return self.tasks[0]

todo = init_system(Todo, "todo", results="copy", validation="strict", durability="buffered", on_divergence="refuse")
with control(todo):
    number: int = todo.add("water")
    first: str = todo.first()
    index: int = control(todo).take_snapshot()
with control(memory_system(Todo, results="frozen", validation="warn")) as controls:
    at: int = controls.index

async def later() -> str:
    async with coopy.aio.open(Todo, "todo", results="live") as wiki:
        return await coopy.aio.call(wiki, Todo.first)
"""
"""What README, tutorial and guides teach, with annotations."""
WRONG = """
init_system(Todo, results="frosen")  # E: [call-overload]
init_system(Todo, validation="loud")  # E: [call-overload]
memory_system(Todo, results=None)  # E: [call-overload]
coopy.aio.open(Todo, results="lively")  # E: [call-overload]
"""


def mypy(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *arguments],
        cwd=cwd,
        env=environment(MYPYPATH=ROOT, MYPY_CACHE_DIR=str(cwd / "mypy-cache")),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the checks of this file."""
    return tmp_path_factory.mktemp("mypy")


@pytest.fixture(scope="module")
def said(cwd: Path) -> str:
    """What mypy says of both files: one run for both."""
    (cwd / "snippet.py").write_text(SNIPPET, encoding="utf-8")
    (cwd / "taught.py").write_text(STRICT + WRONG, encoding="utf-8")
    return mypy("snippet.py", "taught.py", cwd=cwd)


@pytest.mark.parametrize(("name", "text"), [("snippet.py", SNIPPET), ("taught.py", STRICT + WRONG)])
def test_a_system_has_the_type_of_its_domain(said: str, name: str, text: str) -> None:
    found: dict[int, str] = {}
    for line in said.splitlines():
        place, kind, what = line.split(": ", 2)
        file, _, number = place.partition(":")
        if file == name and (kind == "error" or "Revealed type" in what):
            found[int(number)] = what
    for number, source in enumerate(text.splitlines(), start=1):
        _, _, expected = source.partition("  # ")
        if expected.startswith("N: "):
            assert f'"{expected[3:]}"' in found.pop(number, "nothing").replace("builtins.", ""), source
        elif expected.startswith("E: "):
            assert expected[3:] in found.pop(number, "nothing"), source
    assert not found, f"and nothing else is wrong: {found}"


@pytest.mark.slow
def test_pyright_accepts_what_is_taught(tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="pyright is not installed")
    if shutil.which("node") is None:
        pytest.skip("pyright needs node, which is not installed")
    (tmp_path / "taught.py").write_text(STRICT, encoding="utf-8")
    (tmp_path / "wrong.py").write_text(f"{STRICT}{WRONG}", encoding="utf-8")
    settings = {"extraPaths": [str(ROOT)], "reportMissingTypeStubs": False, "include": ["."]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    errors = [each for each in json.loads(done.stdout)["generalDiagnostics"] if each["severity"] == "error"]
    wrong = {each["range"]["start"]["line"] for each in errors if Path(each["file"]).name == "wrong.py"}
    assert [each for each in errors if Path(each["file"]).name == "taught.py"] == []
    first = len(STRICT.splitlines()) + 1
    assert wrong == set(range(first, first + len(WRONG.strip().splitlines())))


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(ROOT) / "coopy" / "py.typed").exists()

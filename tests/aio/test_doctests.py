"""What the docstrings of coopy.aio show is what happens, and each of its public names shows something."""

from __future__ import annotations

import asyncio
import doctest
import inspect
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aio.wiki import Wiki
from program import ROOT, environment
from typing_extensions import Unpack

import coopy.aio
from coopy import SystemClosed, close_all, control

GIVEN: dict[str, Any] = {
    "Unpack": Unpack,
    "SystemClosed": SystemClosed,
    "Wiki": Wiki,
    "asyncio": asyncio,
    "control": control,
    "coopy": coopy,
}
GIVEN |= {name: getattr(coopy.aio, name) for name in coopy.aio.__all__}
SERVED = "connect"
"""What takes a system that is served."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # A path of a socket has at most 104 bytes on macOS: that of tmp_path is too long.
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.chdir(folder)
        yield Path(folder)
        close_all()


def shown(name: str) -> list[doctest.DocTest]:
    """The examples in the docstring of a name and in those of its members."""
    thing: Any = getattr(coopy.aio, name)
    found = doctest.DocTestFinder(exclude_empty=True).find(thing, name, globs=dict(GIVEN))
    return [each for each in found if each.examples]


def run(name: str) -> None:
    for each in shown(name):
        runner = doctest.DocTestRunner()
        runner.run(each)
        assert runner.tries and not runner.failures, each.name


@pytest.mark.parametrize("name", coopy.aio.__all__)
def test_a_public_name_of_asyncio_has_an_example(name: str) -> None:
    said = inspect.getdoc(getattr(coopy.aio, name)) or ""
    assert ">>> " in said and shown(name)


@pytest.mark.parametrize("name", [name for name in coopy.aio.__all__ if name != SERVED])
def test_the_example_of_a_name_shows_what_happens(name: str, here: Path) -> None:
    run(name)


@pytest.mark.slow
def test_the_example_of_a_connection_shows_what_happens(here: Path) -> None:
    for package in ("click", "websockets"):
        pytest.importorskip(package)
    shutil.copy(Path(ROOT, "tests", "aio", "wiki.py"), here)
    served = [sys.executable, "-m", "coopy", "serve", "wiki:Wiki", "data", "--listen", "unix:wiki.sock"]
    server = subprocess.Popen(served, env={**environment(), "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    try:
        while not (here / "wiki.sock").exists():
            assert server.poll() is None
            time.sleep(0.05)
        run(SERVED)
    finally:
        server.kill()
        server.wait()

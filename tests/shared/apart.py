"""Systems whose calls are sent: a test opens one as any other, and another one of this process, which it does not see, writes.

As a plugin of pytest it has suites that know nothing of it run over them: `make suites-shared`.

    PYTHONPATH=tests python -m pytest -p shared.apart --apart follower tests/batteries

Programs that a test starts open systems of their own, as ever.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import coopy
from coopy import control, testing
from coopy.aio import opening
from coopy.replication import keys
from coopy.replication.gate import Gate

open_directory, open_memory = coopy.init_system, testing.memory_system
NEEDS = {"replication", "master", "port", "host", "password", "shared", "copy", "check", "clock", "seed", "wait"}
"""Options of what is no system of one process in a directory, or looks after one; and of a second process that waits."""
OF_WHO_WRITES = {"snapshot_time", "snapshot_growth", "snapshot_interval", "keep", "create", "deterministic", "digests"}


class Gates:
    """One loop that serves all directories that are connected to."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="gates", daemon=True).start()
        self._folder = tempfile.mkdtemp(prefix="coopy-")
        self._numbers = itertools.count()

    def open(self, writer: Any, cls: type) -> tuple[str, Callable[[], object]]:
        """Serves a system. Returns where, and what ends it."""
        place = control(writer)._system.place  # type: ignore[attr-defined]
        gate = Gate(place.name, place.manifest.system, cls.__qualname__, b"", None)
        where = keys.parse(f"unix:{self._folder}/{next(self._numbers)}")
        self._run(gate.open(where))
        return str(where), lambda: self._run(gate.close())

    def _run(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(60)


gates = functools.cache(Gates)


def follower(writer: Any, cls: type, path: str, options: dict[str, Any]) -> tuple[Any, Callable[[], object]]:
    given = {name: value for name, value in options.items() if name not in OF_WHO_WRITES}
    return open_directory(cls, path, shared=True, **{**given, "validation": "off"}), lambda: None


def reader(writer: Any, cls: type, path: str, options: dict[str, Any]) -> tuple[Any, Callable[[], object]]:
    return follower(writer, cls, path, {**options, "copy": False})


def connected(writer: Any, cls: type, path: str, options: dict[str, Any]) -> tuple[Any, Callable[[], object]]:
    where, close = gates().open(writer, cls)
    return coopy.connect(where, cls), close


HOW: dict[str, Callable[..., tuple[Any, Callable[[], object]]]] = {
    "follower": follower,
    "reader": reader,
    "connected": connected,
}
opened = 0
"""How many systems were opened so."""


def open_apart(how: str, obj: Any, path: str, **options: Any) -> Any:
    """Opens a system whose calls are sent. Closing it closes both."""
    global opened
    cls = obj if isinstance(obj, type) else type(obj)
    writer = open_directory(obj, path, shared=True, **options)
    try:
        found, end = HOW[how](writer, cls, path, options)
    except BaseException:
        control(writer).close()
        raise
    system: Any = control(found)._system
    close = system.close

    def close_both() -> None:
        close()
        end()
        control(writer).close()

    system.close = close_both
    opened += 1
    return found


# -- the plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--apart", choices=list(HOW), required=True, help="how the systems of the tests are opened")


def pytest_configure(config: pytest.Config) -> None:
    how, folder = config.getoption("apart"), tempfile.mkdtemp(prefix="coopy-apart-", dir=testing_folder())
    numbers = itertools.count()

    @functools.wraps(open_directory)
    def init_system(obj: Any, basedir: Any = None, **options: Any) -> Any:
        if basedir is None or NEEDS & set(options):
            return open_directory(obj, basedir, **options)
        return open_apart(how, obj, os.fspath(basedir), **options)

    @functools.wraps(open_memory)
    def memory_system(obj: Any, **options: Any) -> Any:
        if NEEDS & set(options):
            return open_memory(obj, **options)
        return open_apart(how, obj, f"{folder}/{next(numbers)}", **{"durability": "buffered", **options})

    coopy.init_system = opening.init_system = init_system
    testing.memory_system = memory_system
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def testing_folder() -> str | None:
    """Returns a folder in memory, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    before = opened
    yield
    if opened == before:
        alone.add(item.nodeid)


alone: set[str] = set()
"""Tests that have opened no system so."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    counts = {
        kind: [each for each in terminalreporter.stats.get(kind, ()) if each.nodeid not in alone]
        for kind in ("passed", "failed")
    }
    terminalreporter.write_line(
        f"apart: {len(counts['passed'])} passed, {len(counts['failed'])} failed; {len(alone)} open no system so"
    )

from __future__ import annotations

import functools
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slow import FILES, TESTS

from coopy.determinism import source

# Until all tests are collected: modules and tests are made, and nothing is dropped.
gc.disable()

HERE = Path(__file__).parent
MEMORY = "/dev/shm"
MEMORY_BYTES = 256 * 1024 * 1024
TREES_KEPT = 8  # The domains of a test are in its own file and one or two beside it.


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one, for tests that make thousands of files and ask nothing of the disk.

    On a disk they would wait for it: a file that is written anew is flushed when it is closed, and each directory that
    goes is a turn of the file system's own journal.
    """
    if not os.access(MEMORY, os.W_OK | os.X_OK) or shutil.disk_usage(MEMORY).free < MEMORY_BYTES:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="coopy-tests-", dir=MEMORY) as found:
        yield Path(found)


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """A program that a test starts can be interrupted, even if the tests run in the background of a script, which can't."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def elsewhere_than_at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The password of nodes that are given none is kept in a place of the tests', for programs that they start, too."""
    found = tmp_path_factory.mktemp("run")
    found.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(found))
        yield found


@pytest.fixture(autouse=True, scope="session")
def a_file_is_parsed_once() -> Iterator[None]:
    """Not for each system that a test opens: a program opens few and keeps no tree, tests open thousands of classes of a few files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "parsed", functools.lru_cache(TREES_KEPT)(source.parsed))
        yield


@pytest.fixture(scope="module")
def what_others_have_made_is_passed_over() -> Iterator[None]:
    """By the collector, for tests that ask it again and again. Not for those of what coopy hides from it: see `coopy.ground.collector`."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # What will not be run need not be imported.
    return True if config.getoption("markexpr") == "not slow" and _name(collection_path) in FILES else None


def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str) -> list[pytest.Item] | None:
    # Nor made: of the tests of the other files these are those with the most cases.
    slow = collector.config.getoption("markexpr") == "not slow" and name in TESTS.get(_name(collector.path), ())
    return [] if slow else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = _name(item.path)
        if name in FILES or getattr(item, "originalname", item.name) in TESTS.get(name, ()):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    gc.enable()
    # Byte code is known by the second and the size of its source. A module that a test writes anew within a second would be taken
    # for what it was, so from here on none is kept, by programs that tests start neither.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


@functools.cache
def _name(path: Path) -> str:
    return path.relative_to(HERE).as_posix() if path.is_relative_to(HERE) else ""

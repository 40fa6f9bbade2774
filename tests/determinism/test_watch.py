"""Files, sockets and processes that an action uses are seen when it uses them."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from program import run, write

import coopy
from coopy import control, init_system, readonly
from coopy.determinism.rules import DeterminismWarning
from coopy.determinism.uses import Use, refused, warned, watch
from coopy.errors import PrevalentError

HERE = Path(__file__)


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Desk:
    """Does what it is told to."""

    todo: Callable[[], Any] = lambda: None

    def __init__(self) -> None:
        self.done = 0
        type(self).todo()

    def work(self) -> None:
        type(self).todo()
        self.done += 1

    @wrapped
    def wrapped_work(self) -> None:
        type(self).todo()

    @readonly
    def look(self) -> None:
        type(self).todo()


@contextmanager
def watching(callback: Callable[[Use], object], cls: type = object) -> Iterator[None]:
    end = watch(callback, cls)
    try:
        yield
    finally:
        end()


@contextmanager
def desk(directory: Path, todo: Callable[[], Any]) -> Iterator[Any]:
    """A desk whose actions do that; its construction does not."""
    with init_system(Desk, directory, validation="off") as system:  # type: ignore[attr-defined]
        Desk.todo = staticmethod(todo)  # type: ignore[assignment]
        try:
            yield system
        finally:
            Desk.todo = staticmethod(lambda: None)  # type: ignore[assignment]


def nobody_listens() -> None:
    with socket.socket() as asking, pytest.raises(OSError):
        asking.connect(("127.0.0.1", 1))


def forked() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


SEEN: dict[str, tuple[Callable[[], Any], str, str]] = {
    "open": (lambda: open(HERE).close(), "files", "open"),
    "os.open": (lambda: os.close(os.open(HERE, os.O_RDONLY)), "files", "open"),
    "pathlib": (lambda: HERE.read_text(), "files", "open"),
    "listdir": (lambda: os.listdir("."), "files", "os.listdir"),
    "socket": (nobody_listens, "the network", "socket.connect"),
    "getaddrinfo": (lambda: socket.getaddrinfo("127.0.0.1", 1), "the network", "socket.getaddrinfo"),
    "subprocess": (lambda: subprocess.run([sys.executable, "-S", "-c", ""], check=True), "processes", "subprocess.Popen"),
    "system": (lambda: os.system("true"), "processes", "os.system"),
    "fork": (forked, "processes", "os.fork"),
    "putenv": (lambda: os.environ.__setitem__("COOPY_TEST", "1"), "the environment", "os.putenv"),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_an_action_uses_is_told_before_it_happens(name: str, tmp_path: Path) -> None:
    todo, kind, event = SEEN[name]
    seen: list[Use] = []
    with watching(seen.append), desk(tmp_path, todo) as system:
        todo()
        system.look()
        assert not seen, "outside an action, and in a read, anything goes"
        system.work()
    first = next(each for each in seen if each.event == event)
    assert (first.domain, first.method, first.kind, first.file) == ("Desk", "work", kind, __file__)
    assert f"Desk.work() uses {kind} in an action ({event}: " in str(first) and "Use an argument: let the caller" in str(first)


def test_replay_uses_it_again_and_is_told(tmp_path: Path) -> None:
    with desk(tmp_path, lambda: open(HERE).close()) as system:
        system.work()
        seen: list[Use] = []
        with watching(seen.append):
            coopy.replay(Desk, tmp_path)
            system.work()
    assert [(each.method, each.event, each.replayed) for each in seen] == [("work", "open", True), ("work", "open", False)]


def test_the_method_is_named_whatever_is_wrapped_around_it(tmp_path: Path) -> None:
    seen: list[Use] = []
    with watching(seen.append), desk(tmp_path, lambda: open(HERE).close()) as system:
        system.wrapped_work()
    assert [each.method for each in seen] == ["wrapped_work"]


def test_what_a_first_state_is_made_from_is_kept_and_not_told(tmp_path: Path) -> None:
    seen: list[Use] = []
    Desk.todo = staticmethod(lambda: open(HERE).close())  # type: ignore[assignment]
    with watching(seen.append), init_system(Desk, tmp_path, validation="off"):  # type: ignore[attr-defined]
        Desk.todo = staticmethod(lambda: None)  # type: ignore[assignment]
    assert not seen


def elsewhere() -> None:
    thread = threading.Thread(target=lambda: open(HERE).close())
    thread.start()
    thread.join()


def told_the_log() -> None:
    logger = logging.getLogger("coopy.tests.watch")
    handler = logging.FileHandler(os.devnull, delay=True)
    logger.addHandler(handler)
    logger.warning("a line")
    logger.removeHandler(handler)
    handler.close()


QUIET: dict[str, Callable[[], Any]] = {
    "an import": lambda: importlib.import_module("determinism.loaded_quietly"),
    "a log": told_the_log,
    "a time zone": lambda: ZoneInfo.no_cache("UTC"),
    "another thread": elsewhere,
    "nothing": lambda: None,
}


@pytest.mark.parametrize("name", QUIET)
def test_what_is_not_the_actions_doing_is_not_told(name: str, tmp_path: Path) -> None:
    sys.modules.pop("determinism.loaded_quietly", None)
    seen: list[Use] = []
    with watching(seen.append), desk(tmp_path, QUIET[name]) as system:
        system.work()
    assert not seen


@pytest.mark.parametrize("fork", [None, False])
def test_another_system_that_an_action_calls_writes_its_own_files(fork: bool | None, tmp_path: Path) -> None:
    seen: list[Use] = []
    with init_system(Quiet, tmp_path / "inner", fork=fork) as inner:  # type: ignore[attr-defined]

        def todo() -> None:
            inner.work()
            control(inner).take_snapshot()

        with watching(seen.append), desk(tmp_path / "outer", todo) as system:
            system.work()
        assert len(list((tmp_path / "inner").glob("snapshot_*"))) == 2
    assert not seen


class Quiet:
    def work(self) -> None:
        pass


def test_what_a_module_does_while_it_is_imported_is_told(tmp_path: Path) -> None:
    sys.modules.pop("determinism.loaded_late", None)
    seen: list[Use] = []
    with watching(seen.append), desk(tmp_path, lambda: importlib.import_module("determinism.loaded_late")) as system:
        system.work()
    assert [(each.method, Path(each.file).name) for each in seen] == [("work", "loaded_late.py")]


def test_a_callback_may_use_files_itself(tmp_path: Path) -> None:
    seen: list[str] = []

    def callback(use: Use) -> None:
        seen.append(HERE.read_text()[:3])

    with watching(callback), desk(tmp_path, lambda: open(HERE).close()) as system:
        system.work()
    assert len(seen) == 1


def test_only_systems_of_the_class_are_watched_and_only_until_the_end(tmp_path: Path) -> None:
    class Other:
        pass

    seen: list[Use] = []
    with desk(tmp_path, lambda: open(HERE).close()) as system:
        with watching(seen.append, Other):
            system.work()
        assert not seen
        with watching(seen.append, Desk):
            system.work()
        assert len(seen) == 1
        system.work()
    assert len(seen) == 1


def test_a_long_argument_is_cut(tmp_path: Path) -> None:
    seen: list[Use] = []

    def todo() -> None:
        with pytest.raises(OSError):
            open("x" * 300)

    with watching(seen.append), desk(tmp_path, todo) as system:
        system.work()
    assert len(seen[0].what) == 80 and seen[0].what.endswith("...")


def test_refused_is_not_done(tmp_path: Path) -> None:
    made = tmp_path / "made by an action"
    with watching(refused), desk(tmp_path / "data", lambda: made.write_text("x")) as system:
        with pytest.raises(
            PrevalentError, match=r"test_watch\.py:\d+: Desk\.work\(\) uses files .* It was not done\."
        ) as raised:
            system.work()
        assert isinstance(raised.value.findings[0], Use)
        assert not made.exists() and system.done == 0


def test_warned_says_it_once_for_a_method_and_kind(tmp_path: Path) -> None:
    program = """
        import os, warnings
        from coopy import init_system
        from coopy.determinism.uses import warned, watch

        class Desk:
            def read(self):
                open(os.devnull).close()
            def also_read(self):
                open(os.devnull).close()
                os.system("true")

        warnings.simplefilter("always")
        with init_system(Desk, "data", validation="off") as desk, warnings.catch_warnings(record=True) as said:
            watch(warned)
            for _ in range(3):
                desk.read()
                desk.also_read()
            for each in said:
                print(each.category.__name__, each.lineno, each.message)
    """
    lines = run(write(tmp_path / "desk.py", program)).splitlines()
    assert [line.partition(str(tmp_path))[0] for line in lines] == [f"DeterminismWarning {line} " for line in (8, 10, 11)]
    assert ["Desk.read() uses files", "Desk.also_read() uses files", "Desk.also_read() uses processes"] == [
        line.partition(": ")[2].partition(" in an action")[0] for line in lines
    ]


def test_a_warning_that_is_an_error_stops_the_use(tmp_path: Path) -> None:
    made = tmp_path / "made by an action"
    with warnings.catch_warnings(), watching(warned), desk(tmp_path / "data", lambda: made.write_text("x")) as system:
        warnings.simplefilter("error", DeterminismWarning)
        with pytest.raises(DeterminismWarning):
            system.work()
        assert not made.exists()


def test_without_a_watcher_python_is_not_asked_for_events(tmp_path: Path) -> None:
    program = """
        from coopy.determinism import install, uses
        from coopy import init_system

        class Desk:
            def work(self):
                return 1

        install.install()
        init_system(Desk, "data").work()
        print(uses._hooked)
        for _ in range(2):
            uses.watch(print)
        print(uses._hooked, len(uses._watchers))
    """
    assert run(write(tmp_path / "desk.py", program)).split() == ["False", "True", "2"]

"""What a value of the state raises when somebody looks at it, and what interrupts that: neither keeps a system from being closed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cluster.in_memory import Together
from network.servers import until

from coopy import EncodingError, SnapshotError, control, init_system
from coopy.disk import child
from coopy.opening import open_as
from coopy.place.options import Settings
from coopy.replication.node import ReplicatedSystem
from coopy.replication.role import role

KINDS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, MemoryError, RecursionError, TimeoutError]
FORKS = [False, pytest.param(True, marks=pytest.mark.skipif(not child.AVAILABLE, reason="no process can be forked"))]


class Hook:
    """Does something when it is asked what is to be kept of it."""

    def __init__(self, does: Callable[[], object]) -> None:
        self.does = does


class Reduces(Hook):
    def __reduce__(self) -> Any:
        return self.does()


class ReducesEx(Hook):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.does()


class HasState(Hook):
    def __getstate__(self) -> Any:
        return self.does()


class HasArguments(Hook):
    def __getnewargs__(self) -> Any:
        return self.does()


HOOKS: list[type[Hook]] = [Reduces, ReducesEx, HasState, HasArguments]


class Own(BaseException):
    pass


class Shelf:
    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self.total = 0

    def hold(self, number: int) -> None:
        self.hooks.append(held[number])

    def drop(self) -> None:
        self.hooks.clear()

    def add(self) -> int:
        self.total += 1
        return self.total


held: list[Hook] = []
"""What a shelf is given is named by its place: as arguments these could not be recorded."""


def raises(kind: type[BaseException]) -> Any:
    raise kind("own")


def opened(path: Path, hook: Hook, **options: Any) -> Any:
    system = init_system(Shelf, path / "data", validation="off", self_check=False, **options)
    held[:] = [hook]
    system.hold(0)
    return system


def uninterrupted(function: Callable[[], Any]) -> Any:
    """What a function returns, or raises; an interrupt is a failure of the test, and not the end of all tests."""
    try:
        return function()
    except Exception:
        raise
    except BaseException as error:
        raise AssertionError(f"it was interrupted by {error!r}") from error


def is_let_go(path: Path, system: Any) -> None:
    """The system is closed in all its parts, and the directory can be taken by anybody."""
    assert control(system).closed
    uninterrupted(control(system).close)
    assert not any(str(path) in thread.name for thread in threading.enumerate())
    held[0] = Hook(lambda: None)
    with control(init_system(Shelf, path / "data", validation="off")) as again:
        assert len(again.system.hooks) == 1


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("kind", [*KINDS, Own])
def test_what_a_value_raises_does_not_keep_a_system_from_being_closed(
    tmp_path: Path, kind: type[BaseException], hook: type[Hook], fork: bool, caplog: pytest.LogCaptureFixture
) -> None:
    system = opened(tmp_path, hook(partial(raises, kind)), fork=fork)
    uninterrupted(control(system).close)
    assert "cannot be digested" in caplog.text
    is_let_go(tmp_path, system)


def test_a_block_that_ends_with_an_error_closes_its_system_and_raises_the_error(tmp_path: Path) -> None:
    system = opened(tmp_path, Reduces(partial(raises, KeyboardInterrupt)), fork=False)
    with pytest.raises(ZeroDivisionError), system:
        1 // 0  # noqa: B018
    is_let_go(tmp_path, system)


@contextmanager
def handled(number: int, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def exits(number: int, frame: object) -> None:
    raise SystemExit(number)


def runs_out(number: int, frame: object) -> None:
    raise TimeoutError("the job's")


INTERRUPTS = {
    "Ctrl-C": (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt),
    "a service that is stopped": (signal.SIGTERM, exits, SystemExit),
    "the time limit of a job": (signal.SIGUSR1, runs_out, TimeoutError),
}


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("name", INTERRUPTS)
def test_what_interrupts_the_last_look_at_the_state_is_raised_once_all_is_closed(tmp_path: Path, name: str, fork: bool) -> None:
    number, handler, kind = INTERRUPTS[name]
    owner = os.getpid()

    def interrupts() -> Any:
        os.kill(owner, number)
        while os.getpid() != owner:
            signal.pause()  # The child ends with who waits for it.
        return int, ()

    with handled(number, handler):
        system = opened(tmp_path, Reduces(interrupts), fork=fork)
        with pytest.raises(kind):
            control(system).close()
    is_let_go(tmp_path, system)


# -- snapshots, and digests that somebody asks for


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("kind", [*KINDS, Own])
def test_what_a_value_raises_is_told_by_who_takes_a_snapshot(tmp_path: Path, kind: type[BaseException], fork: bool) -> None:
    with control(opened(tmp_path, Reduces(partial(raises, kind)), fork=fork)) as here:
        with pytest.raises((SnapshotError, EncodingError), match="own") as raised:
            uninterrupted(here.take_snapshot)
        assert here.status()["snapshot"]["problem"] == str(raised.value)
        assert not list((tmp_path / "data").glob("*.tmp")) and here.system.add() == 1
        here.system.drop()
        assert here.take_snapshot() == 3 and here.status()["snapshot"]["problem"] is None


@pytest.mark.parametrize("name", INTERRUPTS)
def test_what_interrupts_a_snapshot_is_raised(tmp_path: Path, name: str) -> None:
    number, handler, kind = INTERRUPTS[name]
    with handled(number, handler):
        system = opened(tmp_path, Reduces(lambda: os.kill(os.getpid(), number)), fork=False)
        with pytest.raises((kind, EncodingError)) as raised:
            control(system).take_snapshot()
        assert isinstance(raised.value, kind) or isinstance(raised.value.__cause__, kind)
        system.drop()
        control(system).close()


@pytest.mark.parametrize("does", [*(partial(raises, kind) for kind in (*KINDS, Own)), sys.exit])
def test_snapshots_are_taken_by_themselves_after_one_that_a_value_has_refused(tmp_path: Path, does: Any) -> None:
    with control(opened(tmp_path, Reduces(does), fork=False, snapshot_time=0.01)) as here:
        until(lambda: here.status()["snapshot"]["problem"])
        here.system.drop()
        # The file is there a moment before the status says so.
        until(lambda: (found := here.status()["snapshot"])["index"] == 2 and found["problem"] is None)


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("kind", [*KINDS, Own])
def test_what_a_value_raises_is_told_by_who_asks_for_a_digest(
    tmp_path: Path, kind: type[BaseException], hook: type[Hook]
) -> None:
    with control(opened(tmp_path, hook(partial(raises, kind)))) as here:
        with pytest.raises(EncodingError, match=rf"\.hooks\[0\]: {hook.__name__} cannot be digested: own"):
            uninterrupted(here.state_digest)
        assert here.system.add() == 1


@pytest.mark.parametrize("name", INTERRUPTS)
def test_what_interrupts_a_digest_is_raised(tmp_path: Path, name: str) -> None:
    number, handler, kind = INTERRUPTS[name]
    with handled(number, handler), control(opened(tmp_path, Reduces(lambda: os.kill(os.getpid(), number)))) as here:
        with pytest.raises(kind):
            here.state_digest()
        here.system.drop()


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_a_node_whose_state_raises_is_closed(tmp_path: Path, kind: type[BaseException], fork: bool) -> None:
    together, nodes = Together(), ["n0:4321"]
    settings = Settings.of(
        "init_system", {"cluster": nodes, "node": nodes[0], "password": "secret", "validation": "off", "fork": fork}
    )
    node = partial(ReplicatedSystem, role=role(settings, str(tmp_path / "data")), servers=together.servers)
    system = open_as(node, Shelf, str(tmp_path / "data"), settings)
    held[:] = [Reduces(partial(raises, kind))]
    system.hold(0)
    uninterrupted(control(system).close)
    assert control(system).closed and not together.rooms
    assert not any(str(tmp_path) in thread.name for thread in threading.enumerate())

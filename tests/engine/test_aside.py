"""Signal handlers and finalizers that call or close the system, while something else is going on in the same thread."""

from __future__ import annotations

import contextlib
import gc
import shutil
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import Held, open_with

import coopy
from coopy import UsageError, control, init_system, readonly

pytestmark = pytest.mark.usefixtures("what_others_have_made_is_passed_over")
act: list[Callable[[], Any]] = []
"""What comes in between the two halves of an action, once."""


class Till:
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def ring(self, what: Any) -> int:
        self.lines.append(what)
        if act:
            act.pop()()
        self.lines.append(what)
        return len(self.lines)

    def add(self, what: Any) -> int:
        self.lines.append(what)
        return len(self.lines)

    def refuse(self) -> None:
        raise ValueError("refused")

    @readonly
    def all(self) -> list[Any]:
        return list(self.lines)

    @readonly
    def slow(self) -> list[Any]:
        if act:
            act.pop()()
        return list(self.lines)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    act.clear()
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)
    settle()


def settle() -> None:
    for thread in threading.enumerate():
        if thread.name.endswith("afterwards"):
            thread.join(60)


def opened(basedir: Path, **options: Any) -> Any:
    return init_system(Till, basedir, validation="off", **options)


def by_signal(function: Callable[[], Any]) -> Callable[[], Any]:
    def handler(number: int, frame: object) -> None:
        function()

    def arm() -> None:
        signal.signal(signal.SIGUSR1, handler)
        signal.raise_signal(signal.SIGUSR1)

    return arm


def by_signal_without_names(function: Callable[[], Any]) -> Callable[[], Any]:
    def arm() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: function())
        signal.raise_signal(signal.SIGUSR1)

    return arm


class Watched:
    """Calls as it goes, from `__del__`."""

    def __init__(self, function: Callable[[], Any], in_cycle: bool) -> None:
        self.function = function
        self.self = self if in_cycle else None

    def __del__(self) -> None:
        self.function()


def by_del(function: Callable[[], Any]) -> Callable[[], Any]:
    found = [Watched(function, in_cycle=False)]
    return found.clear


def by_collector(function: Callable[[], Any]) -> Callable[[], Any]:
    Watched(function, in_cycle=True)
    return gc.collect


def by_reference(function: Callable[[], Any]) -> Callable[[], Any]:
    class Gone:
        pass

    found = [Gone()]
    kept.append(weakref.ref(found[0], lambda _: function()))
    return found.clear


def by_finalize(function: Callable[[], Any]) -> Callable[[], Any]:
    class Gone:
        pass

    found = [Gone()]
    weakref.finalize(found[0], function)
    return found.clear


kept: list[Any] = []
WAYS = [by_signal, by_signal_without_names, by_del, by_collector, by_reference, by_finalize]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_a_call_that_comes_in_between_of_an_action_is_recorded_after_it(tmp_path: Path, way: Any, durability: str) -> None:
    gc.collect()
    with opened(tmp_path / "till", durability=durability) as till:
        what = ["aside"]
        act.append(way(lambda: till.add(what)))
        assert till.ring("tea") == 2, "the action sees nothing of it"
        settle()
        what.append("changed later")
        assert till.all() == ["tea", "tea", ["aside"]]
        assert control(till).index == 2
    with opened(tmp_path / "till") as till:
        assert till.all() == ["tea", "tea", ["aside"]]


def test_a_call_that_the_action_itself_makes_is_a_part_of_it(tmp_path: Path) -> None:
    with opened(tmp_path / "till") as till:
        act.append(lambda: till.add("inside"))
        assert till.ring("tea") == 3
        assert control(till).index == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_call_in_between_that_fails_is_said_in_the_log(tmp_path: Path, way: Any, caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()
    with opened(tmp_path / "till") as till:
        act.append(way(till.refuse))
        assert till.ring("tea") == 2
        settle()
        assert "refuse(), which a signal handler or a finalizer asked for" in caplog.text


class Ward:
    """An object of the state that says of itself that it goes."""

    till: Any = None

    def __del__(self) -> None:
        if Ward.till is not None:
            Ward.till.add("gone")


class Wards(Till):
    def take(self) -> None:
        self.lines.append(Ward())

    def drop(self) -> None:
        del self.lines[-1]


def test_what_a_finalizer_has_recorded_is_not_done_twice_at_replay(tmp_path: Path) -> None:
    try:
        with init_system(Wards, tmp_path / "wards", validation="off") as wards:
            Ward.till = wards
            wards.take()
            wards.drop()
            settle()
            assert wards.all() == ["gone"]
            # Rebuilt, as after an interrupt: the finalizer runs again.
            wards._coopy_engine.machine.applied = -2
            assert wards.all() == ["gone"]
            settle()
            assert wards.all() == ["gone"] and control(wards).index == 3
    finally:
        Ward.till = None


@pytest.mark.parametrize("way", [by_signal, by_signal_without_names])
def test_a_call_of_a_handler_that_comes_while_the_state_is_made_anew_is_not_lost(tmp_path: Path, way: Any) -> None:
    with opened(tmp_path / "till") as till:
        till.ring("tea")
        act.append(way(lambda: till.add("aside")))
        # Rebuilt, as after an interrupt: the handler comes while the first action is run again.
        till._coopy_engine.machine.applied = -2
        assert till.all() == ["tea", "tea"]
        settle()
        assert till.all() == ["tea", "tea", "aside"]
    with opened(tmp_path / "till") as till:
        assert till.all() == ["tea", "tea", "aside"]


# -- closing


@pytest.mark.parametrize("way", WAYS)
def test_a_close_that_comes_in_between_of_an_action_closes_after_it(tmp_path: Path, way: Any) -> None:
    gc.collect()
    till = opened(tmp_path / "till")
    act.append(way(control(till).close))
    assert till.ring("tea") == 2
    settle()
    assert control(till).closed
    with opened(tmp_path / "till") as till:
        assert till.all() == ["tea", "tea"]


def test_a_service_that_closes_and_exits_in_its_handler_has_closed_in_order(tmp_path: Path) -> None:
    till = opened(tmp_path / "till")
    till.add("before")

    def stop() -> None:
        control(till).close()
        raise SystemExit(0)

    act.append(by_signal(stop))
    with pytest.raises(SystemExit):
        till.ring("tea")
    settle()
    assert control(till).closed
    with opened(tmp_path / "till") as till:
        assert till.all() == ["before"], "the action that was interrupted is withdrawn"


def test_a_method_that_closes_its_own_system_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "till") as till:
        act.append(control(till).close)
        with pytest.raises(UsageError, match="inside one of its own actions"):
            till.ring("tea")


@pytest.mark.parametrize("asked", ["close", "all", "add"])
def test_a_handler_that_comes_while_a_read_runs_does_at_once_what_it_asks_for(tmp_path: Path, asked: str) -> None:
    till = opened(tmp_path / "till")
    till.add("tea")
    function = {"close": control(till).close, "all": till.all, "add": lambda: till.add("aside")}[asked]
    act.append(by_signal(function))
    till.slow()
    assert control(till).closed == (asked == "close")
    control(till).close()
    assert coopy.replay(Till, tmp_path / "till").lines == (["tea", "aside"] if asked == "add" else ["tea"])


@pytest.mark.parametrize("asked", ["close", "all", "add", "refuse"])
def test_a_handler_that_comes_while_a_call_waits_for_the_disk_does_not_wait_for_it(tmp_path: Path, asked: str) -> None:
    calls = Held()
    till = open_with(calls, Till, tmp_path / "till")
    done: list[str] = []

    def ask() -> None:
        calls.gate.set()
        with contextlib.suppress(ValueError):
            getattr(till if asked != "close" else control(till), asked)(*(["aside"] if asked == "add" else []))
        done.append(asked)

    calls.gate.clear()
    calls.waiting.clear()
    signal.signal(signal.SIGUSR1, lambda *_: ask())
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        calls.waiting.wait(60)
        time.sleep(0.02)
        signal.pthread_kill(main, signal.SIGUSR1)
        time.sleep(0.02)
        calls.gate.set()

    thread = threading.Thread(target=press)
    thread.start()
    assert till.add("tea") == 1
    thread.join(60)
    assert done == [asked]
    control(till).close()
    shutil.copytree(tmp_path / "till", tmp_path / "copy")
    assert coopy.replay(Till, tmp_path / "copy").lines == (["tea", "aside"] if asked == "add" else ["tea"])

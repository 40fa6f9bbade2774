"""What others see of a call that is interrupted, encoded or compared at the wrong moment. Every moment is tests/moments."""

from __future__ import annotations

import contextlib
import errno
import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from faults import Held, open_with
from interrupted import trace_instructions

import coopy
from coopy import CoopyError, control, init_system, readonly
from coopy.disk.fs import Calls
from coopy.ground import collector
from coopy.spine.engine import Engine

trips: list[type[BaseException]] = []
"""What the next transfer is interrupted with."""


class Purses:
    def __init__(self) -> None:
        self.one, self.other = 100, 0
        self.names = {"one": 1, "other": 2}

    def transfer(self, size: int) -> None:
        self.one -= size
        if trips:
            raise trips.pop()
        self.other += size

    def name(self, name: str) -> None:
        self.names[name] = len(self.names) + 1

    @readonly
    def total(self) -> int:
        return self.one + self.other

    @readonly
    def listed(self) -> Iterator[str]:
        return (name for name in self.names)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, RecursionError])
def test_nobody_sees_half_of_an_action_that_was_interrupted(tmp_path: Path, error: type[BaseException]) -> None:
    calls = Held()
    purses = open_with(calls, Purses, tmp_path / "data")
    calls.gate.clear()
    calls.waiting.clear()
    trips.append(error)
    caller = threading.Thread(target=lambda: pytest.raises(error, purses.transfer, 10), daemon=True)
    caller.start()
    assert calls.waiting.wait(60)
    # The record is on its way to the disk, and the lock is free.
    seen: list[int] = []
    readers = [threading.Thread(target=lambda: seen.append(purses.total()), daemon=True) for _ in range(3)]
    for reader in readers:
        reader.start()
    calls.gate.set()
    for thread in (caller, *readers):
        thread.join(60)
    assert seen == [100, 100, 100]
    purses.close()


def test_nobody_sees_half_of_an_action_whose_interruption_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(self: Engine, *_: object) -> None:
        raise KeyboardInterrupt

    purses = open_with(Calls(), Purses, tmp_path / "data")
    trips.append(MemoryError)
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "failed", failed)
        with pytest.raises(KeyboardInterrupt):
            purses.transfer(10)
    assert purses._coopy_engine.log.last == 1 and purses.total() == 100
    purses.close()


def test_a_read_that_returns_a_generator_gives_what_was_there_when_it_was_called(tmp_path: Path) -> None:
    with init_system(Purses, tmp_path / "data") as purses:
        names = purses.listed()
        purses.name("third")
        found = []
        # "dictionary changed size during iteration"
        with contextlib.suppress(RuntimeError):
            found += names
        assert found == ["one", "other"]


class Log:
    def __init__(self) -> None:
        self.at: list[float] = []

    def note(self, what: object) -> None:
        self.at.append(self._clock.time())  # type: ignore[attr-defined]


class Calling:
    """An argument that calls the system when it is encoded."""

    log: Any = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        if Calling.log is not None:
            time.sleep(0.002)
            Calling.log.note("inside")
        return Calling, ()


def test_instants_never_go_back_though_an_argument_calls_the_system_as_it_is_encoded(tmp_path: Path) -> None:
    with init_system(Log, tmp_path / "data") as log:
        Calling.log = log
        try:
            log.note(Calling())
        finally:
            Calling.log = None
        # Pickle may ask more than once; the argument itself comes last.
        assert len(log.at) >= 2 and log.at == sorted(log.at)


class Same:
    def __init__(self, number: int) -> None:
        self.number = number

    def add(self) -> None:
        self.number += 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.number == other.number

    __hash__ = None  # type: ignore[assignment]


def test_two_systems_are_compared_as_they_are_on_the_disk(tmp_path: Path) -> None:
    calls = Held()
    one, other = open_with(Held(), Same(1), tmp_path / "one"), open_with(calls, Same(0), tmp_path / "other")
    calls.gate.clear()
    calls.waiting.clear()
    caller = threading.Thread(target=other.add, daemon=True)
    caller.start()
    assert calls.waiting.wait(60)
    found: list[bool] = []
    comparing = threading.Thread(target=lambda: found.append(one == other), daemon=True)
    comparing.start()
    comparing.join(0.2)
    assert comparing.is_alive(), "the other is not on the disk yet"
    calls.gate.set()
    comparing.join(60)
    caller.join(60)
    assert found == [True]
    one.close()
    other.close()


def test_two_threads_that_compare_two_systems_crosswise_do_not_wait_for_each_other(tmp_path: Path) -> None:
    one, other = init_system(Same(1), tmp_path / "one"), init_system(Same(1), tmp_path / "other")
    found: list[bool] = []

    def compare(first: Any, second: Any) -> None:
        found.extend(first == second for _ in range(300))

    threads = [threading.Thread(target=compare, args=pair, daemon=True) for pair in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 600 and all(found)
    one.close()
    other.close()


# -- an interrupt in the handling of another


def twice(run: Callable[[], object], first: Callable[[FrameType], bool], second: Callable[[FrameType, str], bool]) -> int:
    """Runs, and interrupts once before an instruction and once at an event of a profile. How many interrupts there were."""
    came = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal came
        if came == 1 and second(frame, event):
            came = 2
            raise KeyboardInterrupt

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal came
        frame.f_trace_opcodes = True
        if came == 0 and event == "opcode" and first(frame):
            came = 1
            # Python takes the trace away when it raises; it leaves the profile. With both set, 3.13 would tell of no instruction later.
            sys.settrace(None)
            sys.setprofile(profile)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    trace_instructions(trace)
    try:
        run()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
        sys.setprofile(None)
    return came


@pytest.mark.parametrize("event", [0, 1, 4])
def test_two_interrupts_leave_the_collector_on_and_nothing_hidden_from_it(event: int) -> None:
    gc.collect()
    assert gc.isenabled() and collector.is_free()
    code, frozen = collector.off.__wrapped__.__code__, gc.get_freeze_count()  # type: ignore[attr-defined]
    for moment in range(0, 400, 2):
        moments, events = 0, 0

        def first(frame: FrameType) -> bool:
            nonlocal moments
            moments += frame.f_code is code
            return moments > moment

        def second(frame: FrameType, what: str) -> bool:
            nonlocal events
            events += frame.f_code is code and what.startswith("c_")
            return events > event

        def run() -> None:
            with collector.off():
                pass

        came = twice(run, first, second)
        gc.collect(1)  # What was interrupted outside of `off` ends with its generator, which is young.
        assert gc.isenabled() and gc.get_freeze_count() <= frozen, (moment, came)
        if came == 0:
            assert moment > 30
            return
    pytest.fail("it has no end")


class Refusing:
    def __init__(self) -> None:
        self.times = 0

    def refuse(self) -> None:
        self.times += 1
        raise ValueError("refused")


def test_two_interrupts_in_a_call_that_raises_leave_the_lock_free(tmp_path: Path) -> None:
    with init_system(Refusing, tmp_path / "data") as refusing:
        engine = refusing._coopy_engine
        for moment in range(0, 400, 3):
            moments = 0

            def first(frame: FrameType) -> bool:
                nonlocal moments
                moments += frame.f_code is Engine.failed.__code__
                return moments > moment

            def run() -> None:
                with contextlib.suppress(ValueError):
                    refusing.refuse()

            came = twice(run, first, lambda frame, event: event == "call" and frame.f_code is Engine.unwind.__code__)
            assert not engine.lock._is_owned() and not engine.machine.running, (moment, came)
            if came == 0:
                assert moment > 10
                break
            assert came == 2
        else:
            pytest.fail("it has no end")
        times = refusing.times
    with init_system(Refusing, tmp_path / "data") as refusing:
        assert refusing.times == times


# -- a time limit that is an OSError comes while the disk is waited for


class Lines:
    def __init__(self) -> None:
        self.lines: list[Any] = []

    def add(self, line: Any) -> int:
        self.lines.append(line)
        return len(self.lines)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[OSError, str], None]]:
    """Has a signal's handler raise an error as soon as a file is synced, or a directory, the next time."""
    before = signal.getsignal(signal.SIGUSR1)

    def limit(error: OSError, call: str) -> None:
        real = getattr(Calls, call)

        def handler(number: int, frame: object) -> None:
            raise error

        def interrupted(*args: Any) -> Any:
            monkeypatch.setattr(Calls, call, real)
            signal.raise_signal(signal.SIGUSR1)
            return real(*args)

        signal.signal(signal.SIGUSR1, handler)
        monkeypatch.setattr(Calls, call, interrupted)

    yield limit
    signal.signal(signal.SIGUSR1, before)


LIMITS = [TimeoutError("too long"), OSError(errno.EIO, "of the handler"), ConnectionResetError("gone"), InterruptedError()]


@pytest.mark.parametrize("error", LIMITS, ids=repr)
def test_a_time_limit_while_a_call_waits_for_the_disk_is_no_failing_disk(
    tmp_path: Path, limited: Callable[[OSError, str], None], error: OSError
) -> None:
    lines = init_system(Lines, tmp_path / "data", validation="off")
    lines.add(1)
    limited(error, "sync_data")
    with pytest.raises(type(error)) as raised:
        lines.add(2)
    assert raised.value is error and "had returned when this was raised" in "".join(error.__notes__)  # type: ignore[attr-defined]
    assert lines.add(3) == 3
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lines.add, range(4, 8))) == [4, 5, 6, 7]
    control(lines).close()
    assert coopy.replay(Lines, tmp_path / "data").lines[:3] == [1, 2, 3]


@pytest.mark.parametrize("error", LIMITS, ids=repr)
@pytest.mark.parametrize("durability", ["sync", "buffered"])
def test_a_time_limit_while_a_system_is_closed_is_raised_once_all_is_closed(
    tmp_path: Path, limited: Callable[[OSError, str], None], error: OSError, durability: str
) -> None:
    lines = init_system(Lines, tmp_path / "data", validation="off", durability=durability)
    lines.add(1)
    limited(error, "sync_data")
    with pytest.raises(type(error)) as raised:
        control(lines).close()
    assert raised.value is error and control(lines).closed
    with init_system(Lines, tmp_path / "data", validation="off") as lines:
        assert lines.add(2) == 2


def test_a_time_limit_at_a_roll_over_is_no_failing_disk(tmp_path: Path, limited: Callable[[OSError, str], None]) -> None:
    lines = init_system(Lines, tmp_path / "data", validation="off", segment_bytes=1 << 20)
    lines.add(1)
    limited(TimeoutError("too long"), "sync_directory")
    with pytest.raises(CoopyError) as raised:
        lines.add("x" * (1 << 20))
    assert isinstance(raised.value.__cause__, TimeoutError) and "nothing has changed" in str(raised.value)
    assert lines.add(2) == 2
    control(lines).close()
    assert coopy.replay(Lines, tmp_path / "data").lines == [1, 2]

"""Real SIGINTs, at random microseconds, in every kind of operation; some of them a second time, a little later.

    python tests/moments/signals.py [--signals N] [--seed N] [--lives N]

A worker lives with a system for some operations; a timer of the kernel interrupts each. After each another thread makes a call
and reads, now and then a copy of the directory is opened as after kill -9, and in the end the directory itself. Only what
arrives in an operation counts.

The exit status is 1 if something was broken.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from moments import watch
from moments.campaign import place, seed
from moments.domain import Bank
from moments.operations import MEDIUM, SEGMENT_BYTES, Trial, small_segments
from moments.oracle import (
    FLAWS,
    Broken,
    Process,
    Witness,
    comes_out_as,
    describe,
    in_another_thread,
    is_refusal,
    killed,
    lets_go,
    restarts,
    state_of,
    takes_calls,
)
from moments.tracer import PACKAGE

import coopy
from coopy import control
from coopy.errors import DirectoryInUse

SHOTS = 60
"""Operations of a life."""
LOOK_EVERY = 10
"""After so many a copy of the directory is opened."""
AGAIN = 0.3
"""So many of the interrupts are followed by a second one."""


# -- the timer


class _Event(ctypes.Structure):
    """A ``struct sigevent`` of Linux."""

    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("rest", ctypes.c_char * 44),
    ]


class _Times(ctypes.Structure):
    """A ``struct itimerspec``."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "after_s", "after_ns")]


_SIGEV_THREAD_ID = 4
_CLOCK_MONOTONIC = 1


class KernelTimer:
    """Sends a SIGINT to the thread that made it."""

    signal = signal.SIGINT

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._id = ctypes.c_void_p()
        event = _Event(None, signal.SIGINT, _SIGEV_THREAD_ID, threading.get_native_id())
        if self._library.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._id)):
            raise OSError(ctypes.get_errno(), "timer_create")

    def set(self, after_s: float) -> None:
        """Fires once after so long; never, for 0."""
        times = _Times(0, 0, 0, max(1, int(after_s * 1e9)) if after_s else 0)
        self._library.timer_settime(self._id, 0, ctypes.byref(times), None)


class AlarmTimer:
    """Where there is no such timer: SIGALRM, of which there is one."""

    signal = signal.SIGALRM

    def set(self, after_s: float) -> None:
        """Fires once after so long; never, for 0."""
        signal.setitimer(signal.ITIMER_REAL, after_s)


class Shooter:
    """Interrupts a function once or twice."""

    def __init__(self) -> None:
        linux = sys.platform.startswith("linux")
        self._timers: Sequence[KernelTimer | AlarmTimer] = [KernelTimer(), KernelTimer()] if linux else [AlarmTimer()]
        self.hits: list[str] = []
        """Where the interrupts of the last function arrived."""
        signal.signal(self._timers[0].signal, self._handle)

    def shoot(self, function: Callable[[], Any], *after_s: float) -> BaseException | None:
        """Calls a function, and interrupts it after so long, and again. Returns what it raised."""
        self.hits = []
        held = None
        try:
            self._fire(function, after_s)
        except BaseException as error:
            held = error
        for timer in self._timers:
            timer.set(0)
        return held

    def _fire(self, function: Callable[[], Any], after_s: tuple[float, ...]) -> None:
        for timer, delay in zip(self._timers, after_s, strict=False):  # One or two of them fire.
            timer.set(delay)
        _target(function)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        where, inside = "", False
        while frame is not None:
            path = frame.f_code.co_filename
            if not where and path.startswith((PACKAGE, "<coopy proxy")):
                where = f"{path.rpartition('coopy' + os.sep)[2]}:{frame.f_lineno} {frame.f_code.co_name}"
            inside |= frame.f_code is _target.__code__
            frame = frame.f_back
        if inside:
            self.hits.append(where or "elsewhere")
            raise KeyboardInterrupt


def _target(function: Callable[[], Any]) -> None:
    """What is interrupted: an interrupt that comes when this has returned is too late, and dropped."""
    function()


# -- a life

_windows: dict[str, float] = {}
"""Within so many seconds is an operation interrupted: so that two of three interrupts meet it, early and late."""


class Life:
    """Some operations of one system, each interrupted."""

    def __init__(self, seed: str, folder: Path, say: watch.Say) -> None:
        self._chance = random.Random(seed)
        self._folder = folder
        self._say = say
        self._shooter = Shooter()
        self._number = 0
        options = {
            "durability": self._chance.choice(("sync", "buffered")),
            "segment_bytes": self._chance.choice((SEGMENT_BYTES, 64 << 20)),
            "fork": False,
        }
        directory = folder / "data"
        shutil.rmtree(directory, ignore_errors=True)
        self._trial = Trial(directory, options, Witness())
        self._trial.open()
        self.counts: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()

    def run(self) -> None:
        """Lives. Raises `Broken`."""
        operations = [
            *[self._call] * 4,
            *[self._carry] * 4,
            self._fail,
            self._refuse,
            self._undo,
            self._safely,
            *[self._read] * 2,
            self._set,
            self._glimpse,
            self._snapshot,
            self._child,
            self._prune,
            self._replay,
            self._past,
            self._beside,
            self._beside,
            self._close,
        ]
        for number in range(SHOTS):
            self._chance.choice(operations)()
            self._say(phase=f"after the shot: at {self._shooter.hits}")
            self._look(number)
        self._say(phase="closing")
        lets_go(self._trial.system)
        self._say(phase="opening again")
        restarts(self._trial.directory, self._trial.witness, self._trial.options, "after close()")
        self._trial.system = None

    def _look(self, number: int) -> None:
        trial = self._trial
        in_another_thread(lambda: takes_calls(trial.system, trial.witness, "another thread", number % 2 == 0))
        takes_calls(trial.system, trial.witness, "the same thread", number % 3 == 0)
        if number % LOOK_EVERY == LOOK_EVERY - 1:
            image = self._folder / "killed"
            try:
                restarts(killed(trial.directory, image), trial.witness.copy(), trial.options, "after a kill")
            finally:
                shutil.rmtree(image, ignore_errors=True)

    def _shot(self, name: str, function: Callable[[], Any]) -> bool:
        """Calls a function, and interrupts it. Returns whether it returned. Raises `Broken`."""
        self._say(phase=name)
        window_s = _windows.get(name, 0.0003)
        after_s = [self._chance.uniform(0, window_s)]
        if self._chance.random() < AGAIN:
            after_s.append(after_s[0] + self._chance.uniform(0, 60e-6))
        held = self._shooter.shoot(function, *after_s)
        self.counts[name] += 1
        self.hits[name] += bool(self._shooter.hits)
        self.seconds[name] += len(self._shooter.hits) > 1
        _windows[name] = window_s * (1.05 if self._shooter.hits else 0.9)
        if held is None:
            return True
        if isinstance(held, Broken):
            raise held
        if not self._shooter.hits:
            kind = "lock" if isinstance(held, DirectoryInUse) else "refused"
            raise Broken(kind, f"{name}, which nobody interrupted: {describe(held)}")
        comes_out_as(held, KeyboardInterrupt)
        return False

    def _key(self) -> str:
        self._number += 1
        key = str(self._number)
        self._trial.witness.doubtful.add(key)
        return key

    def _counted(self, name: str, method: str, *more: Any) -> None:
        key = self._key()
        if self._shot(name, lambda: getattr(self._trial.system, method)(key, 3, *more)):
            self._trial.witness.acknowledged.append(key)

    def _call(self) -> None:
        self._counted("call", "transfer")

    def _carry(self) -> None:
        self._counted("call with much", "carry", MEDIUM)

    def _safely(self) -> None:
        self._counted("call of a transactional method", "safely")

    def _raising(self, name: str, method: str, counts: bool) -> None:
        key = self._key()

        def function() -> None:
            try:
                getattr(self._trial.system, method)(key, 3)
            except ValueError:
                return
            raise AssertionError("the method raises, and its call did not")

        if self._shot(name, function):
            self._trial.witness.doubtful.discard(key)
            if counts:
                self._trial.witness.acknowledged.append(key)

    def _fail(self) -> None:
        self._raising("call that raises", "fail", True)

    def _refuse(self) -> None:
        self._raising("call that is refused", "refuse", False)

    def _undo(self) -> None:
        self._raising("call that is undone", "undo", False)

    def _set(self) -> None:
        note = self._key()
        self._trial.witness.doubtful.discard(note)
        self._trial.witness.notes.add(note)
        if self._shot("setting an attribute", lambda: setattr(self._trial.system, "note", note)):
            self._trial.witness.notes = {note}

    def _read(self) -> None:
        self._shot("read", lambda: self._trial.system.state())

    def _glimpse(self) -> None:
        self._shot("unlocked read", lambda: self._trial.system.glimpse())

    def _snapshot(self) -> None:
        self._trial.call("transfer", self._key(), 1)
        self._shot("snapshot", lambda: control(self._trial.system).take_snapshot())

    def _child(self) -> None:
        system = control(self._trial.system)._system
        self._trial.call("transfer", self._key(), 1)
        system._fork = True
        try:
            self._shot("snapshot by a child", lambda: system.take_snapshot())
        finally:
            system._fork = False

    def _prune(self) -> None:
        self._shot("prune", lambda: control(self._trial.system).prune(keep=2))

    def _replay(self) -> None:
        self._shot("replay of a directory", lambda: state_of(coopy.replay(Bank, self._trial.directory)))

    def _past(self) -> None:
        self._shot("replay by its control", lambda: state_of(control(self._trial.system).replay()))

    def _beside(self) -> None:
        """A call while two others make calls."""
        errors: list[BaseException] = []

        def work(keys: list[str], done: list[str]) -> None:
            try:
                for key in keys:
                    self._trial.system.transfer(key, 1)
                    done.append(key)
            except BaseException as error:
                errors.append(error)

        done: list[list[str]] = [[], []]
        threads = [threading.Thread(target=work, args=([self._key() for _ in range(6)], each), daemon=True) for each in done]
        for thread in threads:
            thread.start()
        try:
            self._counted("call beside others", "transfer")
        finally:
            self._say(phase=f"waiting for the others, after an interrupt at {self._shooter.hits}")
            for thread in threads:
                thread.join()
        if errors:
            raise Broken("refused", f"another caller: {errors[0]!r}")
        for each in done:
            self._trial.witness.acknowledged += each

    def _close(self) -> None:
        trial = self._trial
        trial.witness.look(trial.system.state())
        self._shot("close", lambda: trial.system.close())
        self._say(phase=f"closing again, after an interrupt at {self._shooter.hits}")
        try:
            in_another_thread(lambda: trial.system.state())
        except BaseException as error:
            if not is_refusal(error):
                raise Broken("refused", f"a read of a system that may be closed: {error!r}") from error
        lets_go(trial.system)
        trial.system = None
        if not self._shot("opening", trial.open) and trial.system is None:
            self._say(phase=f"opening again, after an interrupt at {self._shooter.hits}")
            try:
                trial.open()
            except BaseException as error:
                raise Broken("lock", f"an opening that was interrupted: {error!r}") from error


def _work(seed: int, life: int, folder: Path, say: watch.Say) -> tuple[Any, bool]:
    process = Process()
    one = Life(f"{seed} {life}", folder, say)
    broken = ("", "")
    try:
        one.run()
        process.compare()
    except Broken as problem:
        broken = (problem.kind, f"{problem.args[0]} (the last interrupt: {one._shooter.hits})")
    return [one.counts, one.hits, one.seconds, _windows, *broken], not broken[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=int(os.environ.get("MOMENTS_SIGINTS", "100000")))
    parser.add_argument("--seed", type=int, default=seed())
    parser.add_argument("--workers", type=int, default=int(os.environ.get("MOMENTS_WORKERS", "2")))
    parser.add_argument("--lives", type=int, nargs="+", help="only the lives of these numbers")
    arguments = parser.parse_args()
    print(f"signals: seed {arguments.seed}, Python {sys.version.split()[0]}, {arguments.signals} SIGINTs", flush=True)
    return 1 if run(arguments.signals, arguments.seed, arguments.workers, arguments.lives) else 0


@small_segments()
def run(wanted: int, seed: int, workers: int, only: list[int] | None = None) -> int:
    """Sends as many signals, prints what came of them, and returns how many lives were broken."""
    counts, hits, seconds = Counter[str](), Counter[str](), Counter[str]()
    fatal: list[tuple[int, str, str]] = []
    flaws: Counter[str] = Counter()
    folder, number, begun = place(), 0, time.monotonic()
    try:
        while hits.total() + seconds.total() < wanted:
            lives = only or list(range(number, number + 40))
            number += len(lives)

            def work(life: int, home: Path, say: watch.Say) -> tuple[Any, bool]:
                return _work(seed, life, home, say)

            for ending in watch.run(lives, work, folder, workers):
                if ending.value is None:
                    kind, what = ("hang", ending.hung) if ending.hung else ("died", ending.died)
                else:
                    counted, hit, again, windows, kind, what = ending.value
                    _windows.update(windows)
                    counts += Counter(counted)
                    hits += Counter(hit)
                    seconds += Counter(again)
                if kind in FLAWS:
                    flaws[kind] += 1
                    print(f"  {kind}: life {ending.task}: {what[:400]}")
                elif kind:
                    fatal.append((ending.task, kind, what))
                    print(f"  {kind}: --seed {seed} --lives {ending.task}: {what[:500]}", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if only:
                break
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{'operation':35} {'times':>8} {'hit':>8} {'twice':>8}")
    for name in sorted(counts):
        print(f"{name:35} {counts[name]:8} {hits[name]:8} {seconds[name]:8}")
    print(
        f"{hits.total() + seconds.total()} SIGINTs in {number} lives, {time.monotonic() - begun:.0f} s: "
        f"{len(fatal)} lives ended by a fatal one {dict(Counter(kind for _, kind, _ in fatal))}, flaws {dict(flaws)}"
    )
    return len(fatal)


if __name__ == "__main__":
    sys.exit(main())

"""What comes in between while a method of the fuzzer's domain runs, at a point that is chosen before: signals, other threads, kills."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import signal
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from fuzz.values import Fussy

import coopy
from coopy import control


class JobTimeout(Exception):
    """Made of the class alone, as time limits of libraries are."""

    def __init__(self, message: str = "the job took too long") -> None:
        super().__init__(message)


class Stop(BaseException):
    pass


class Own(Exception):
    """An error of the domain."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)


RAISED: tuple[type[BaseException], ...] = (
    TimeoutError,
    JobTimeout,
    SystemExit,
    KeyboardInterrupt,
    MemoryError,
    RecursionError,
    Stop,
    ValueError,
    KeyError,
    OSError,
    asyncio.CancelledError,
    StopIteration,
    GeneratorExit,
    RuntimeError,
    Own,
)
ASKED: tuple[type[BaseException], ...] = (*(each for each in RAISED if each is not Own), Fussy, UnicodeDecodeError, Own)
"""What another thread asks for; the last three can't be made of the class alone."""

TURN_S = 60.0
"""Longer than any run is waited for: a thread that waits so long for its turn is part of a hang."""

armed: list[Armed] = []
slow: list[Slow] = []
pending: list[None] = []
"""Not empty while another thread is about to ask for an exception."""


class Armed:
    """Acts once, at the point after so many others."""

    def __init__(self, kind: str, act: Callable[[], None], points: int) -> None:
        self.kind = kind
        self.act = act
        self.points = points
        self.fired = False
        self.in_replay = False
        """Whether it has come while an action was run again."""


def fire() -> None:
    """A point of a method at which something may come in between."""
    if not (armed or slow) or threading.current_thread() is not threading.main_thread():
        return
    if slow and not coopy.replaying():
        slow[0].come_to_point()
    if not armed:
        return
    one = armed[0]
    if coopy.replaying() and one.kind.startswith(("asked", "call of a finalizer")):
        # Nothing tells what another thread asks for then from what the action has raised in its day, and a finalizer runs again.
        return
    one.points -= 1
    if one.points < 0:
        armed.clear()
        one.fired = True
        one.in_replay = coopy.replaying()
        one.act()


# -- exceptions


def _made(error: type[BaseException]) -> BaseException:
    return error(1, "own") if error is Own else error("too long")


def _by_signal(handler: Any, number: int = signal.SIGUSR1) -> None:
    signal.signal(number, handler)
    signal.raise_signal(number)


class _Limit:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __call__(self, number: int, frame: object) -> None:
        self.end()

    def end(self) -> None:
        raise _made(self.error)


def _named(error: type[BaseException], number: int, frame: object) -> None:
    raise _made(error)


def _handler(way: str, error: type[BaseException]) -> Any:
    def plain(number: int, frame: object) -> None:
        raise _made(error)

    def bare(number: int, frame: object) -> None:
        raise error if error is not Own else _made(error)

    def variadic(*_: object) -> None:
        raise _made(error)

    def in_turn(number: int, frame: object) -> None:
        try:
            raise _made(error)
        except BaseException as first:
            raise RuntimeError("after it") from first

    return {
        "plain": plain,
        "bare": bare,
        "variadic": variadic,
        "object": _Limit(error),
        "partial": functools.partial(_named, error),
        "lambda": lambda *_: _Limit(error).end(),
        "in turn": in_turn,
    }[way]


HANDLERS = ("plain", "bare", "variadic", "object", "partial", "lambda", "in turn")


def _ask(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def _ask_from_another_thread(error: type[BaseException]) -> None:
    thread = threading.get_ident()

    def ask() -> None:
        _ask(thread, error)
        pending.clear()

    pending.append(None)
    try:
        threading.Thread(target=ask, daemon=True).start()
    except BaseException:
        pending.clear()
        raise


def _trace(error: type[BaseException]) -> None:
    """Has a trace function raise at the next line of the method."""

    def step(frame: Any, event: str, argument: object) -> Any:
        if event == "line":
            sys.settrace(None)
            raise _made(error)
        return None

    frame = sys._getframe(3)
    frame.f_trace = step
    sys.settrace(lambda *_: None)


def interruption(chance: Any, points: int) -> Armed:
    """Something that ends the method from outside."""
    way = chance.choice(("signal", "signal", "signal", "asked", "asked", "asked by itself", "Ctrl-C", "traced"))
    if way == "Ctrl-C":
        return Armed("Ctrl-C", lambda: _by_signal(signal.default_int_handler, signal.SIGINT), points)
    error = chance.choice(ASKED if "asked" in way else RAISED)
    if way == "signal":
        handler = chance.choice(HANDLERS)
        return Armed(f"signal, {handler}: {error.__name__}", lambda: _by_signal(_handler(handler, error)), points)
    act = {"asked": _ask_from_another_thread, "traced": _trace}.get(way, lambda error: _ask(threading.get_ident(), error))
    return Armed(f"{way}: {error.__name__}", lambda: act(error), points)


# -- what only comes in between


class _Watched:
    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function

    def __del__(self) -> None:
        self.function()


def _by_del(function: Callable[[], Any]) -> None:
    _Watched(function)


def aside(chance: Any, points: int, function: Callable[[], Any]) -> Armed:
    """A call that a signal handler or a finalizer makes."""
    if chance.random() < 0.5:
        return Armed("call of a handler", lambda: _by_signal(lambda *_: function()), points)
    return Armed("call of a finalizer", lambda: _by_del(function), points)


class Slow:
    """A call of another thread: it is recorded before that of the main thread, and waits for the disk only at the point after so many
    others of that one's method, as if the thread had not had its turn before. What it has synced then holds a call that is half done.
    """

    def __init__(self, function: Callable[[], object], points: int, answered: Callable[[], object]) -> None:
        self._function = function
        self._points = points
        self._answered = answered
        """Called once its caller has the answer, if that is while the other call runs."""
        # These can be used at the end of the stack, where an Event can't.
        self._recorded: SimpleQueue[None] = SimpleQueue()
        self._turn: SimpleQueue[None] = SimpleQueue()
        self._has_come = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: BaseException | None = None

    def begin(self) -> None:
        """Returns when the call is recorded."""
        self._thread.start()
        self._recorded.get(timeout=TURN_S)

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self.error = error
        finally:
            self._recorded.put(None)

    def comes_to_wait(self) -> None:
        """To be called before any thread waits for the disk."""
        if threading.current_thread() is self._thread and not self._has_come:
            self._has_come = True
            self._recorded.put(None)
            self._turn.get(timeout=TURN_S)

    def come_to_point(self) -> None:
        self._points -= 1
        if self._points == -1:
            self.end()
            self._answered()

    def misses_its_point(self) -> None:
        """It has its turn at the end only."""
        self._points = -1

    def end(self) -> None:
        self._turn.put(None)
        self._thread.join(TURN_S)


def closing(system: Any, points: int, exits: bool) -> Armed:
    def close(number: int, frame: object) -> None:
        control(system).close()
        if exits:
            raise SystemExit(0)

    return Armed("close and exit" if exits else "close", lambda: _by_signal(close), points)


def settle() -> None:
    """Waits for what handlers have asked for while the action ran."""
    for thread in threading.enumerate():
        if thread.name.endswith("afterwards"):
            thread.join(60)

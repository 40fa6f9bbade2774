"""A class that opens a system in memory wherever a test makes an object of it, and what became of the test then.

`opened(list)` is an empty subclass of a class, whose objects are systems of `coopy.testing.memory_system` as long as a `Watch` is
on, and plain objects otherwise: the same test runs on both. Only what a test itself makes is opened; an object that a method
makes, or the code of a package, is plain.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import types
import unittest
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from coopy import control
from coopy.spine.calling import INSIDE
from coopy.testing import assert_replays, memory_system

LIMIT_S = 30
COMPARED = 300
"""So many systems of one test are compared with a replay; a test that makes thousands makes them in a loop."""


class Watch:
    """Opens systems while it is on, and knows those of the test that runs."""

    def __init__(self) -> None:
        self.is_on = False
        self.keeps = True
        self.roots: tuple[str, ...] = ()
        """Where the source of the tests is: objects that are made elsewhere stay plain."""
        self.systems: list[Any] = []
        self._makes = False

    def made(self, make: Callable[[], Any], asks: types.FrameType) -> Any:
        """Returns what a class is to return for a test: a system, or the plain object."""
        if not self.is_on or self._makes or not asks.f_code.co_filename.startswith(self.roots) or _is_inside(asks):
            return make()
        self._makes = True
        try:
            plain = make()
        finally:
            self._makes = False
        return self.system_of(plain)

    def system_of(self, plain: Any) -> Any:
        """Returns a system of an object of a class that opens systems, and anything else as it is."""
        if not isinstance(type(plain), _Opened):
            return plain
        proxy = memory_system(plain, validation="off", results="recorded")
        if self.keeps and len(self.systems) < COMPARED:
            self.systems.append(control(proxy))
        return proxy

    @contextlib.contextmanager
    def on(self, keeps: bool = True) -> Iterator[None]:
        self.is_on, self.keeps, self.systems = True, keeps, []
        try:
            yield
        finally:
            self.is_on = False

    def compared(self) -> str:
        """Returns how the state of a system differs from its replay, or the empty string. Forgets the systems."""
        systems, self.systems = self.systems, []
        for each in systems:
            if not each.closed:
                try:
                    assert_replays(each._system.proxy)
                except Exception as error:  # Whatever keeps a system from coming to its state again.
                    return f"replay: {type(error).__name__}: {error}"
        return ""


watch = Watch()


class _Opened(type):
    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return watch.made(lambda: type.__call__(cls, *args, **kwargs), sys._getframe(1))


def opened(cls: type) -> type:
    """Returns a subclass of a class that opens systems; it has the name of the class."""
    if cls not in _known:
        kind = _Opened
        if type(cls) is not type:
            kind = type("_Opened", (_Opened, type(cls)), {"__call__": _Opened.__call__})
        module = types.ModuleType(f"opened_{cls.__module__}_{cls.__qualname__}".replace(".", "_"))
        made = kind(cls.__name__, (cls,), {"__module__": module.__name__, "__qualname__": cls.__name__, "__doc__": cls.__doc__})
        setattr(module, cls.__name__, made)
        sys.modules[module.__name__] = module
        _known[cls] = made
    return _known[cls]


_known: dict[type, type] = {}


def _is_inside(frame: types.FrameType | None) -> bool:
    """Whether a call of a system is what makes the object."""
    while frame is not None:
        if INSIDE in frame.f_globals:
            return True
        frame = frame.f_back
    return False


# -- what became of a test


@dataclass
class Outcome:
    """How one test ended: "pass", "skip", or how it failed: "silent" or "loud"."""

    how: str
    text: str = ""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Ends a test that would go on for ever."""

    def over(*_: object) -> None:
        raise TimeoutError(f"the test has not ended after {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judged(error: BaseException | None, failure: type[BaseException] = AssertionError) -> Outcome:
    """What an exception of a test says: an assertion that does not hold is wrong without a word, anything else was said."""
    if error is None:
        return Outcome("pass")
    if isinstance(error, unittest.SkipTest):
        return Outcome("skip")
    said = (str(error).splitlines() or [""])[0]
    return Outcome("silent" if isinstance(error, failure) else "loud", f"{type(error).__name__}: {said}"[:300])


class _Result(unittest.TestResult):
    """Keeps the worst of what a test and its parts have raised."""

    def __init__(self) -> None:
        super().__init__()
        self.outcome = Outcome("pass")

    def _worse(self, error: Any) -> None:
        found = judged(error[1])
        if self.outcome.how in ("pass", "skip") or (self.outcome.how == "loud" and found.how == "silent"):
            self.outcome = found

    def addError(self, test: Any, error: Any) -> None:
        self._worse(error)

    addFailure = addError

    def addSubTest(self, test: Any, subtest: Any, error: Any) -> None:
        if error is not None:
            self._worse(error)

    def addSkip(self, test: Any, reason: str) -> None:
        self.outcome = Outcome("skip", reason)


def outcome(test: unittest.TestCase) -> Outcome:
    """Runs one test as it is."""
    result = _Result()
    with limited():
        unittest.TestSuite([test]).run(result)
    return result.outcome


def outcome_opened(test: Callable[[], unittest.TestCase]) -> Outcome:
    """Runs one test with systems in the place of the objects, and compares each with a replay."""
    with watch.on():
        found = outcome(test())
        differs = watch.compared()
    if found.how in ("silent", "loud"):
        # A test of when an object is collected: nothing may hold it.
        with watch.on(keeps=False):
            again = outcome(test())
        found = again if again.how == "pass" else found
    if differs and found.how != "silent":
        return Outcome("silent", differs[:300])
    return found

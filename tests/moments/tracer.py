"""Raises an exception at the Kth moment of an operation, and a second one at the Jth moment of handling the first.

A moment is what lies before one instruction of a frame that belongs to the package (its modules, the generated methods of
a proxy) or to the domain. Python itself looks for signals at some of them only: as a function begins, at and after a
call, and as a loop goes back. Those are the call boundaries, and `Moment.boundary` says which they are.

A trace function that raises is taken away by Python. What holds the one of a frame is dropped just after that, before
the next instruction of the handling runs; its finalizer puts the tracer back.
"""

from __future__ import annotations

import dis
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

import coopy

PACKAGE = os.path.dirname(os.path.abspath(coopy.__file__)) + os.sep
DOMAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "domain.py")
_CALLS = frozenset(("CALL", "CALL_FUNCTION", "CALL_METHOD", "CALL_FUNCTION_KW", "CALL_FUNCTION_EX", "CALL_KW"))
_LOOKS = _CALLS | {"RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE"}


class Moment(NamedTuple):
    """Where an exception is raised: before an instruction."""

    file: str
    line: int
    function: str
    opcode: str
    offset: int
    boundary: bool
    """Whether Python looks for signals there."""
    stack: int
    """A hash of where the frames above are: equal for two turns of a loop."""

    def __str__(self) -> str:
        mark = "signal" if self.boundary else "opcode"
        return f"{self.file}:{self.line} {self.function} before {self.opcode} ({self.offset}) [{mark}]"


class Tracer:
    """Traces this thread while it is in `run`.

    ``first`` and ``second`` count from 1; 0 raises none. With ``in_child`` the moments that count are those of a forked
    child, and only those. With ``everything`` the frames of other modules count, too. With ``keep`` moments are kept, not
    only those at which it raised. ``told`` is told of those, before.
    """

    def __init__(
        self,
        first: int = 0,
        second: int = 0,
        error: type[BaseException] = KeyboardInterrupt,
        *,
        in_child: bool = False,
        everything: bool = False,
        keep: bool = False,
        told: Callable[[Moment], None] = lambda moment: None,
    ) -> None:
        self.raised: list[Moment] = []
        self.kept: list[Moment] = []
        """The moments after the first exception, or all if there is to be none; if they are to be kept."""
        self.count = 0
        """The moments since the start, or since the first exception."""
        self._at = [first, second, 0]
        self._error = error
        self.seen: Callable[[], None] | None = None
        """Called at each moment of the handling."""
        self._in_child = in_child
        self._everything = everything
        self._keep = keep
        self._told = told
        self._process = os.getpid()
        self._top: FrameType | None = None
        self._previous: dict[int, int] = {}
        self._thread = threading.get_ident()

    def run(self, function: Callable[[], object]) -> None:
        """Runs a function traced, in a generator.

        CPython 3.11 to 3.13 has no clean-up for what is raised before one of three instructions, PUSH_EXC_INFO and the COPY and
        POP_EXCEPT with which a handler ends: the thread goes on to take the exception that was handled there for its current one,
        and keeps all that it refers to. It looks for signals, and for what other threads ask for, at none of them, so that a trace
        function alone meets this. A generator has a current exception of its own, which goes with it.
        """

        def apart() -> Iterator[None]:
            sys.settrace(self._begin)
            try:
                function()
            finally:
                sys.settrace(None)
                self._top = None
            yield

        next(apart())

    def _begin(self, frame: FrameType, event: str, argument: object) -> Any:
        if not is_ours(frame.f_code, self._everything):
            return None
        self._previous.pop(id(frame), None)
        self._trace(frame)
        return None

    def at(self, frame: FrameType) -> None:
        """Takes a moment: raises, or counts it."""
        if (os.getpid() == self._process) == self._in_child:
            return
        self.count += 1
        stage = len(self.raised)
        if self._keep and (stage == 1 or not self._at[0]):
            self.kept.append(self._moment(frame))
        is_it = self.count == self._at[stage]
        moment = self._moment(frame) if is_it else None
        self._previous[id(frame)] = frame.f_lasti
        if moment is not None:
            self.raised.append(moment)
            self.count = 0
            self._told(moment)
            self._top = frame
            raise self._error()
        if stage == 1 and self.seen is not None:
            self.seen()

    def back(self) -> None:
        """Puts the tracer back after it has raised."""
        frame = self._top
        if frame is None or threading.get_ident() != self._thread:
            return
        self._top = None
        sys.settrace(self._begin)
        while frame is not None:
            if is_ours(frame.f_code, self._everything):
                self._trace(frame)
            frame = frame.f_back

    def _trace(self, frame: FrameType) -> None:
        # In this order: Python 3.13 looks at the one as the other is set.
        frame.f_trace = _Local(self)
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True

    def _moment(self, frame: FrameType) -> Moment:
        code, offset = frame.f_code, frame.f_lasti
        names = _opcodes(code)
        opcode = names[offset]
        previous = names.get(self._previous.get(id(frame), -1))
        stack, above = 0, frame.f_back
        while above is not None:
            if is_ours(above.f_code, self._everything):
                stack = hash((stack, id(above.f_code), above.f_lasti))
            above = above.f_back
        boundary = previous is None or previous in _LOOKS or opcode in _CALLS
        if opcode == "PUSH_EXC_INFO":
            boundary = False  # The call before it has raised.
        path = code.co_filename
        file = path[len(PACKAGE) :] if path.startswith(PACKAGE) else os.path.basename(path)
        return Moment(file, frame.f_lineno or 0, code.co_name, opcode, offset, boundary, stack)


def _at_event(tracer: Tracer, frame: FrameType, event: str, argument: object) -> None:
    if event == "opcode":
        tracer.at(frame)


class _Local(functools.partial):  # type: ignore[type-arg]
    """The trace function of one frame, which alone holds it."""

    def __new__(cls, tracer: Tracer) -> Any:
        return super().__new__(cls, _at_event, tracer)

    def __del__(self) -> None:
        self.args[0].back()


_known: dict[tuple[str, bool], bool] = {}
_named: dict[int, tuple[CodeType, dict[int, str]]] = {}


def is_ours(code: CodeType, everything: bool) -> bool:
    """Whether the moments of a code object count."""
    path = code.co_filename
    found = _known.get((path, everything))
    if found is None:
        found = path.startswith((PACKAGE, "<coopy proxy of ")) or path == DOMAIN
        if everything and not path.startswith(("<", os.path.dirname(DOMAIN))):
            found = True
        _known[path, everything] = found
    return found


def _opcodes(code: CodeType) -> dict[int, str]:
    """The names of the instructions of a code object, by offset."""
    found = _named.get(id(code))
    if found is None:
        # The code object is kept, so that its id stays its own.
        found = _named[id(code)] = (code, {each.offset: each.opname for each in dis.get_instructions(code)})
    return found[1]

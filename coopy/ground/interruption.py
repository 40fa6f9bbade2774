"""What comes in between while a method of the domain runs: exceptions from outside, signal handlers, finalizers.

An exception that has left a method is the method's own, or comes from outside. What the method has raised by itself is raised
again at replay, and the call counts. What came from outside (Ctrl-C, the time limit of a job, another thread, no memory) does not
come again at replay, so the call is withdrawn.

Nobody marks an exception with where it came from. What can be known:

* MemoryError and RecursionError say more of the process than of the action. They always count as coming from outside.
* A signal handler, and a trace function, is given the frame that it interrupts. If such a function stands in the traceback, the
  exception is the function's, or comes from what the function has called. A handler may have put something else in the place of
  that argument, by walking up the stack say; it is then known as the handler that is set for the signal whose number it was given.
* The other exceptions that stop a program or a task (SystemExit, CancelledError) come from either side. So does one that
  CPython raises in a thread because another thread has asked for it. CPython makes that one of a class, without arguments, and no statement
  raises it; where that can't be done, it raises what says so. Whether such an exception comes again is found by running the action again.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any
from weakref import ReferenceType

INTERRUPTIONS = (MemoryError, RecursionError)
"""Exceptions that say more of the process than of the action."""

OWN, DOUBTFUL, OUTSIDE = range(3)
NOT_ASIDE, OF_HANDLER, OF_FINALIZER = range(3)

_SIGNALS_MAX = int(getattr(signal, "NSIG", 65))
_VARIADIC = 0x04 | 0x08
"""``co_flags`` of a function that takes any number of arguments, and of one that takes any by name."""


def origin(error: BaseException) -> int:
    """Returns OWN for an exception that the method has raised itself, OUTSIDE for one that it has not, and DOUBTFUL.

    The traceback has to begin with the frame that has called the method.
    """
    if isinstance(error, INTERRUPTIONS):
        return OUTSIDE
    frames: set[FrameType] = set()
    looked: set[int] = set()
    found = OWN
    is_cause = False
    each: BaseException | None = error
    # One that came from outside may have been caught, and another been raised for it.
    while each is not None and id(each) not in looked:  # coopy: ignore[CPY207] a mark of this loop alone
        looked.add(id(each))  # coopy: ignore[CPY207]
        first = each.__traceback__
        if each is error or is_cause or (first is not None and first.tb_frame in frames):
            found = max(found, _origin_of_one(each, first, frames))
        # A cause is the method's, wherever it was raised: a generator that ends with StopIteration has no frame any more.
        is_cause = each.__cause__ is not None
        each = each.__cause__ or each.__context__
    return found


def is_of_the_code(error: BaseException) -> bool:
    """Whether code that was called for an answer has raised an exception, and nothing from outside has.

    So it is for what a ``raise`` has raised, whatever it is, for each Exception that no handler has raised, and for a lack of memory or
    of stack, which are too little for that code. The traceback has to begin with the frame that has called the code.
    """
    if isinstance(error, INTERRUPTIONS):
        return True
    found = origin(error)
    if isinstance(error, Exception) or found != DOUBTFUL:
        return found != OUTSIDE
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and _is_statement(last.tb_frame.f_code, last.tb_lasti)


def _origin_of_one(error: BaseException, at: TracebackType | None, frames: set[FrameType]) -> int:
    last = at
    runner = at
    while at is not None:
        if at is not runner:
            frames.add(at.tb_frame)
            if _was_given_what_it_interrupts(at.tb_frame) or _handles_a_signal(at.tb_frame):
                return OUTSIDE
        last, at = at, at.tb_next
    is_raised = last is not None and _is_statement(last.tb_frame.f_code, last.tb_lasti)
    if isinstance(error, Exception) and not _may_be_asked_for(error):
        made = last is not None and _makes_an_exception(last.tb_frame)
        return DOUBTFUL if made or (not is_raised and _may_be_for_another(error)) else OWN
    if isinstance(error, Exception):
        return OWN if is_raised else DOUBTFUL
    return OUTSIDE if isinstance(error, KeyboardInterrupt) and not is_raised else DOUBTFUL


def _was_given_what_it_interrupts(frame: FrameType) -> bool:
    """Whether a function has the frame that it came out of among its arguments."""
    code, before = frame.f_code, frame.f_back
    flags = code.co_flags & _VARIADIC
    if before is None or (code.co_argcount < 2 and not flags):
        return False
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + flags.bit_count()]
    values = frame.f_locals
    for name in names:
        value = values.get(name)
        if value is before or (type(value) is tuple and any(each is before for each in value)):
            return True
    return False


def _handles_a_signal(frame: FrameType) -> bool:
    """Whether a function is set as the handler of the signal whose number is among its first two arguments."""
    code = frame.f_code
    if code.co_argcount < 2:
        return False
    values = frame.f_locals
    for name in code.co_varnames[:2]:
        value: Any = values.get(name)
        # isinstance() asks a value for its __class__, which may raise.
        if issubclass(type(value), int) and 0 < value < _SIGNALS_MAX:
            handler: Any = signal.getsignal(value)
            if handler is None or isinstance(handler, signal.Handlers):
                continue  # No code of Python's. What looks a member up in an Enum is no handler, though SIG_DFL is such a member.
            handler = getattr(handler, "__func__", None) or getattr(handler, "func", handler)
            own = getattr(handler, "__code__", None) or getattr(getattr(type(handler), "__call__", None), "__code__", None)  # noqa: B004
            if own is code:
                return True
    return False


def aside(frame: FrameType | None, actions: Collection[CodeType]) -> int:
    """Returns OF_HANDLER or OF_FINALIZER if what runs is no part of the action that runs but has come in between; else NOT_ASIDE.

    Looks from a frame outwards, up to one of the functions that run ``actions``. A finalizer is a ``__del__``, or what a weak
    reference to an object calls once the object is gone.
    """
    while frame is not None and frame.f_code not in actions:
        if _was_given_what_it_interrupts(frame) or _handles_a_signal(frame):
            return OF_HANDLER
        if frame.f_code.co_name == "__del__" or _was_given_what_is_gone(frame):
            return OF_FINALIZER
        frame = frame.f_back
    return NOT_ASIDE


def _was_given_what_is_gone(frame: FrameType) -> bool:
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + (code.co_flags & _VARIADIC).bit_count()]
    values = frame.f_locals
    for name in names:
        value = values.get(name)
        for each in value if type(value) is tuple else (value,):
            if issubclass(type(each), ReferenceType) and each() is None:
                return True
    return False


def _may_be_asked_for(error: Exception) -> bool:
    """Whether CPython can have raised it because another thread has asked for it: it was made of the class alone."""
    if not vars(BaseException)["args"].__get__(error):  # A class may have a property of that name.
        return True
    for base in type(error).__mro__:
        made = vars(base).get("__init__") or vars(base).get("__new__")
        if made is not None:
            # Those of the standard library that have arguments of their own are given them by who raises.
            return isinstance(made, FunctionType) and made.__module__.partition(".")[0] not in sys.stdlib_module_names
    return False


def _may_be_for_another(error: Exception) -> bool:
    """Whether CPython can have raised it because an exception that another thread has asked for can't be made of the class alone."""
    return isinstance(error, TypeError) and any(each in str(error) for each in ("missing", "(0 given)", "got 0", "abstract"))


def _makes_an_exception(frame: FrameType) -> bool:
    """Whether a frame is the ``__init__`` of an exception, which may have been asked for."""
    code = frame.f_code
    if code.co_name != "__init__" or not code.co_argcount:
        return False
    return issubclass(type(frame.f_locals.get(code.co_varnames[0])), BaseException)


def _is_statement(code: CodeType, place: int) -> bool:
    """Whether a ``raise`` or an ``assert`` stands at a place in code."""
    from opcode import opmap

    instructions = code.co_code
    return 0 <= place < len(instructions) and instructions[place] == opmap["RAISE_VARARGS"]


def note(error: BaseException, text: str) -> None:
    """Adds a note to an exception, as Python 3.11 prints it."""
    try:
        if hasattr(error, "add_note"):
            error.add_note(text)
        else:
            setattr(error, "__notes__", [*getattr(error, "__notes__", ()), text])  # noqa: B010 - Python 3.10 knows no such attribute
    except Exception:
        pass  # A class that takes no attributes.

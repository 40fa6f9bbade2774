"""Marks on domain methods. They set an attribute and do nothing else.

What a mark means is the engine's affair; a marked method of a plain object,
outside any system, behaves as if it were not marked.
"""

from __future__ import annotations

from typing import Any, Callable, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

READONLY = "_coopy_readonly"
UNLOCKED = "_coopy_unlocked"
ABORT_EXCEPTION = "_coopy_abort_exception"
TRANSACTIONAL = "_coopy_transactional"


def readonly(method: F) -> F:
    """The method changes nothing: it runs under the lock and is not recorded."""
    setattr(method, READONLY, True)
    return method


def unlocked(method: F) -> F:
    """The method takes no lock.

    With `readonly`, it runs at once, beside any other call: the domain answers
    for its thread safety. Without, the call is still recorded and applied one
    at a time, because replay can repeat only one order; the lock is held for
    that alone.
    """
    setattr(method, UNLOCKED, True)
    return method


def abort_exception(method: F) -> F:
    """If the method raises, its call is withdrawn: replay skips it.

    The live state stays as the method left it, so raise before changing
    anything; a system opened with ``check=True`` refuses a method that does not.
    """
    setattr(method, ABORT_EXCEPTION, True)
    return method


def transactional(method: F) -> F:
    """If the method raises, its call leaves no trace, in memory or on disk.

    The cost is on the failing path: the state is rebuilt from the newest
    snapshot and the journal.
    """
    setattr(method, TRANSACTIONAL, True)
    return method

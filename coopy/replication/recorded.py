"""Which calls of other processes stand in the journal, by their ids, and what came of those whose answer may be asked for.

A table that is read from the journal when somebody asks, and may be dropped and read again: nothing else keeps it. What a call came to is known
of those that this process has run on its way to write; of others it is found out by running them again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import wraps
from types import GeneratorType
from typing import Any, NamedTuple, Protocol

from coopy.errors import MissingActions
from coopy.ground import holding
from coopy.ground.raised import told_as
from coopy.past.trail import Tail
from coopy.replication.parcels import ids_in
from coopy.spine.machine import Machine
from coopy.spine.methods import Function

BEFORE = 10_000
"""So many actions more are read than were asked for: others ask for some that lie a little further back."""
IDS_MAX = 500_000
"""Some tens of megabytes: a larger table is dropped, and read again from where it is needed."""
ENDED_MAX = 100_000
"""What so many calls came to is kept: those who wait for it ask within a second."""


class Ended(NamedTuple):
    """What a call came to: the index of its action, what that has returned, or has raised."""

    action: int
    value: Any
    error: BaseException | None


class Keeping(Protocol):
    """What is told what calls come to."""

    def note(self, one: bytes, ended: Ended) -> None:
        """Is told what the call of an id has come to."""
        ...


class Wanted(dict[bytes, "Ended | None"]):
    """What some calls come to in this process, which has sent them. Whoever wants to know puts the id here first, and takes it out."""

    def note(self, one: bytes, ended: Ended) -> None:
        if one in self:
            self[one] = ended


class Noting(dict[str, Any]):
    """The methods of a machine, such that what the calls of other processes in some frames come to is kept."""

    def __init__(self, machine: Machine, recorded: Keeping, pages: Iterable[tuple[int, bytes]]) -> None:
        self._machine = machine
        self._methods = machine.methods
        self._recorded = recorded
        self._ids = {index: one for _, data in pages for one, index in ids_in(data)}

    def __missing__(self, name: str) -> Any:
        function = self._methods[name]
        return function if name.startswith("<") else self._noted(function)

    def forget(self, version: int) -> None:
        """As the methods of a machine."""
        self._methods.forget(version)

    def _noted(self, function: Function) -> Function:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            index = self._machine.index
            one = self._ids.get(index)
            with told_as(self._raised, one, index, of=BaseException):
                value = function(*args, **kwargs)
                if type(value) is GeneratorType:
                    value = iter(list(value))
            if one is not None:
                self._recorded.note(one, Ended(index, value, None))
            return value

        return run

    def _raised(self, error: BaseException, one: bytes | None, index: int) -> BaseException:
        if one is not None:
            self._recorded.note(one, Ended(index, None, error))
        return error


class Recorded:
    """``tail_after`` makes what reads the journal behind an action."""

    def __init__(self, tail_after: Callable[[int], Tail]) -> None:
        self._tail_after = tail_after
        self._indexes: dict[bytes, int] = {}
        self._low = self._high = 0
        """The table has the ids of the actions behind the first, up to the second."""
        self._ended: dict[bytes, Ended] = {}
        self._lock = threading.RLock()

    def ended(self, one: bytes) -> Ended | None:
        """Returns what a call came to, if this process has run it on its way to write. Once."""
        return self._ended.pop(one, None)

    def note(self, one: bytes, ended: Ended) -> None:
        """Keeps what a call came to."""
        self._ended[one] = ended
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def index_of(self, one: bytes, after: int, last: int) -> int:
        """Returns the index of the action that has an id, if it is one behind ``after`` up to ``last``; 0 if none is. Raises `MissingActions`."""
        # After a takeover many ask at once, for much the same: the first reads.
        holding.run_with(self._lock, lambda: self._reach(after, last))
        return self._indexes.get(one, 0)

    def _reach(self, after: int, last: int) -> None:
        if after > self._high or not self._high or len(self._indexes) > IDS_MAX:
            self._indexes.clear()
            self._low = self._high = after
        if after < self._low:
            low = max(0, after - BEFORE)
            try:
                self._read(low, self._low)
            except MissingActions:
                low = after
                self._read(low, self._low)
            self._low = low
        if last > self._high:
            self._read(self._high, last)
            self._high = last

    def _read(self, after: int, upto: int) -> None:
        tail = self._tail_after(after)
        try:
            for _, data in tail.upto(upto, whole=True):
                self._indexes.update(ids_in(data))
        finally:
            tail.close()

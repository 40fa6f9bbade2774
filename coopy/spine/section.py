"""Actions under one hold of the lock: run in order, written together, answered.

`Section.one` runs an action by itself, `Section.many` run some in one loop. Where an action may be seen while it runs, by a read
without the lock or by somebody else's copy of the log, each is in the log before it runs (``at_once``). Everywhere else the records are
gathered, and `Section.write` appends them before anybody else gets the lock.

`Engine.call` alone does what `one` does in its own body, as going through here costs it 3 %. tests/engine/test_batches.py takes one
table of calls all three ways, and they agree.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from coopy.errors import copy_of
from coopy.ground import action
from coopy.ground.record import WRAP, joined
from coopy.ground.storage import Log
from coopy.spine.calling import Answer
from coopy.spine.machine import Machine
from coopy.spine.methods import Function, Method, is_undone
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.

_pack = action.HEADER.pack
_HEADER = slice(len(WRAP), len(WRAP) + action.HEADER.size)


class Owner(Protocol):
    """What a section asks of the engine whose lock is held."""

    log: Log
    machine: Machine
    proxy: object
    instant: int
    """Instant of the newest action, in nanoseconds: no later action has an earlier one."""

    def failed(self, method: Method, index: int, error: BaseException, parts: bytes | None) -> None:
        """Puts memory and log right after an action of the log has raised, as the marks of its method say."""
        ...


class Section:
    """Actions under one hold of the lock. Guarded by that lock."""

    __slots__ = ("asked", "problem", "_owner", "_log", "_codec", "_take", "_records", "_calls", "_reads", "_before")

    def __init__(self, owner: Owner, codec: Codec, at_once: bool) -> None:
        self.asked: list[str] = []
        """Names of the effects that the actions have asked for."""
        self.problem: BaseException | None = None
        """Why the last records that were written could not all be appended; None if they were."""
        self._owner = owner
        self._log = owner.log
        self._codec = codec
        self._records: list[bytes] = []
        self._take = owner.log.append if at_once else self._records.append
        self._calls: list[Answer | None] = []
        """Where the callers of the actions that were run since the last `write` are told, in the same order."""
        self._reads: list[tuple[Answer, int]] = []
        """Where the callers of reads are told, and how many of the records each could see."""
        self._before = owner.instant
        """Instant of the newest action that has been written."""

    @property
    def last(self) -> int:
        """Index of the last action, whether it has been written or not."""
        return self._log.last + len(self._records)

    def is_in_step(self) -> bool:
        """Returns whether the log takes records, and the machine stands where the log will be once all are written."""
        log = self._log
        return self._owner.machine.applied == log.last + len(self._records) and log.settled >= 0

    def one(
        self,
        instant: int,
        offset: int,
        call: bytes,
        method: Method,
        function: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: Answer | None = None,
    ) -> tuple[Any, BaseException | None]:
        """Runs one action. Returns what it has returned, and what it has raised, or None.

        Memory and log are then as the marks of its method say. Raises if nothing was recorded, or if that could not be done. The machine must be
        in step. ``answer`` is told if the record can't be written afterwards.
        """
        owner = self._owner
        machine = owner.machine
        parts = None
        index = machine.applied + 1
        assert index == self._log.last + len(self._records) + 1, "actions are applied in order, without gaps"
        try:
            # A signal handler that calls the system must not come between this record and the one before it.
            machine.running = True
            if method.parts:
                parts = self._codec.dump_parts(machine.domain, method.parts)
            if instant < owner.instant:
                instant = owner.instant
            header = _pack(instant, offset, machine.outcome)
            self._take(header + call)
            self._calls.append(answer)
            owner.instant = instant
            value = machine.apply(header, function, args, kwargs)
        except BaseException as error:
            if self.last < index:
                machine.running = False
                raise  # Nothing was recorded.
            self.failed(method, error, parts)
            return None, error
        return (value if value is not machine.domain else owner.proxy), None

    def many(
        self, headers: list[bytes], functions: Iterable[Function], arguments: Iterable[Any]
    ) -> tuple[list[Any], BaseException | None]:
        """Runs actions in one loop, up to the first that raises or for which there are no arguments.

        Returns what each has returned, and what the one after them has raised, or None. The caller adds their records.
        """
        owner = self._owner
        machine = owner.machine
        values: list[Any] = []
        failure: BaseException | None = None
        try:
            machine.apply_all(headers, functions, arguments, values)
        except (
            BaseException
        ) as error:  # The domain's own, or an interruption: the caller deals with it, and has the values before it.
            failure = error
        domain = machine.domain
        if type(domain) in set(map(type, values)):
            values = [value if value is not domain else owner.proxy for value in values]
        try:
            return values, failure
        finally:
            failure = None  # Its traceback has this frame.

    def add(self, records: Sequence[bytes], calls: Sequence[Answer], instant: int) -> None:
        """Takes the records of actions that `many` has run. ``instant`` is that of the last."""
        self._records += records
        self._calls += calls
        self._owner.instant = instant

    def add_read(self, call: Answer) -> None:
        """Takes a call that records nothing: it is told if what it saw can't be written."""
        self._reads.append((call, len(self._records)))

    def failed(self, method: Method, error: BaseException, parts: bytes | None) -> None:
        """Puts memory and log right after the last action has raised. Raises what `write` met if its record is not in the log."""
        owner = self._owner
        machine = owner.machine
        if self._records:
            last = self.last
            if machine.index == last and machine.outcome == action.RAISED and not is_undone(method.of(machine.code), error):
                machine.applied = last
                return
            # What the others have recorded must not be lost when the machine is rebuilt.
            self.write()
            if self.problem is not None:
                raise copy_of(self.problem)
        owner.failed(method, self._log.last, error, parts)

    def write(self) -> None:
        """Appends the records.

        If that fails, ``problem`` says why, and so is each call told that is not in the log then, or saw one that is not.
        """
        records = self._records
        try:
            if records:
                self.write_joined(*joined(records))
        finally:
            records.clear()
            self._calls.clear()
            self._reads.clear()

    def write_joined(self, records: bytes, sizes: array[int]) -> None:
        """As `write`, with the records joined already."""
        log, owner = self._log, self._owner
        before = log.last
        self.problem = None
        try:
            log.append_all(records, sizes)
            self._before = owner.instant
        except BaseException as error:  # Of whatever kind: all whose records are not in the log have to be told.
            self.problem = error
            written = log.last - before
            if written:
                self._before = action.instant_of(records[sum(sizes[: written - 1]) :][_HEADER])
            owner.instant = self._before
            for call in self._calls[written:]:
                if call is not None:
                    call.error = copy_of(error)
            for read, seen in self._reads:
                if seen > written:
                    read.error = copy_of(error)
            self.asked = [name for name in self.asked if int(name.partition(".")[0]) <= log.last]

"""The part of a node's engine that applies: the actions of one batch of the line, as this node's own journal gets them.

Actions of which nothing is to be done but to call them are run in one loop and appended together; the others, one by one. Which batch
is the next, and what becomes of an action that can't be applied, is the follower's work (coopy/replication/follower.py).
"""

from __future__ import annotations

import marshal
import struct
import threading
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple, cast

from coopy.errors import MissingMethod
from coopy.ground import action, batch
from coopy.ground.line import Line
from coopy.ground.record import WRAP, with_headers
from coopy.ground.storage import Log, SnapshotStore
from coopy.migration import MARK
from coopy.replication.sender import Sender
from coopy.spine.engine import with_lock
from coopy.spine.machine import MissingName
from coopy.spine.methods import Function, Method, method_for
from coopy.spine.section import Section
from coopy.spine.versions import CODE
from coopy.values.codec import Codec, decode_joined, joined_headers
from coopy.values.copies import SCALARS

__coopy_inside__ = True  # See `coopy.spine.calling`.
PART = 512
"""So many actions are applied before the lock is given away once: milliseconds of plain ones, which is what a reader waits at most."""
DIGESTS_MAX = 20_000
"""Batches of at least a minute of the highest load: nodes compare those that both have, and one may be that far behind."""

_pack = action.HEADER.pack
_unpack = action.HEADER.unpack
_INSTANT = struct.Struct("<q5x")
_MANY_INSTANTS = struct.Struct("<" + 64 * "q5x")
assert _INSTANT.size == action.HEADER.size, "an instant is what a header begins with"


class Unapplied(NamedTuple):
    """An action, the last of the journal, that this node can't apply. The state is that before it."""

    action: int
    """Its index."""
    method: str
    problem: str

    def __str__(self) -> str:
        return f"action {self.action}, {self.method}(), can't be applied here ({self.problem})"


class NotApplied(Exception):
    """Ends what is being applied, as an action can't be."""


class Came(NamedTuple):
    """What the actions of a batch came to."""

    digest: int
    first: int
    """Index of the first of them."""
    actions: int


class Applier(Sender):
    """An engine that applies batches."""

    __slots__ = ("digests", "unapplied", "_compared_after", "_left_out", "_was_interrupted", "_marks", "_moved")

    def __init__(
        self,
        log: Log,
        snapshots: SnapshotStore,
        codec: Codec,
        secret: bytes,
        line: Line,
        node: str,
        timeout_s: float,
        only_reads: bool,
    ) -> None:
        super().__init__(log, snapshots, codec, secret, line, node, timeout_s, only_reads)
        self.digests: dict[int, Came] = {}
        """For each of the newest batches, by sequence, what its actions came to on this node."""
        self.unapplied: Unapplied | None = None
        """What this node waits to be withdrawn. Set and taken back with the lock held; until then nothing is applied."""
        self._compared_after = 0
        """Up to this message of the line nodes may have come to different things, before an action was withdrawn and after."""
        self._was_interrupted = False
        """Whether an action of the batch that is being applied was: then what it came to here first says nothing of the state."""
        self._left_out: set[int] = set()
        """Indexes of actions that were withdrawn after this node had applied them."""
        self._marks: dict[str, Method] = {}
        self._moved = threading.Condition()
        """Guards ``digests`` and the place in the line, and tells of both."""

    def _apply(self, sequence: int, found: batch.Batch, done: int, answers: Sequence[Any]) -> None:
        """Applies the actions of a batch but the first ``done``."""
        headers, names, arguments = decode_joined(found.records) if found.actions else ([], [], [])
        if len(headers) != found.actions:
            raise batch.damaged(sequence, "it does not hold as many actions as it says")
        joined, sizes, places = found.records, found.sizes, [0, *accumulate(found.sizes)]
        results: list[Any] = []
        self._was_interrupted = False
        start = done
        for end in [*self._left_out_of(done, found.actions), found.actions]:
            for at in range(start, end, PART):
                self._apply_part(
                    slice(at, min(at + PART, end)), headers, names, arguments, joined, sizes, places, answers, results
                )
            if end < found.actions:
                self._leave_out(headers[end], joined[places[end] + len(WRAP) : places[end + 1]])
            start = end + 1
        if not done and sequence > self._compared_after and not self._was_interrupted:
            with self._moved:
                self.digests[sequence] = Came(zlib.crc32(marshal.dumps(results, 2)), self.machine.batches.first, found.actions)
                if len(self.digests) > DIGESTS_MAX:
                    del self.digests[next(iter(self.digests))]

    def _left_out_of(self, done: int, actions: int) -> list[int]:
        """Which actions of the batch that is being applied are to be left out, as places in it."""
        if not self._left_out:
            return []
        first = self.machine.batches.first
        return sorted(index - first for index in self._left_out if done <= index - first < actions)

    @with_lock
    def _apply_part(
        self,
        part: slice,
        headers: list[bytes],
        names: list[str | None],
        arguments: list[Any],
        joined: bytes,
        sizes: array[int],
        places: list[int],
        answers: Sequence[Any],
        results: list[Any],
    ) -> None:
        """Applies a part of the actions of a batch, and adds to ``results`` what each comes to."""
        records = joined[places[part.start] : places[part.stop]]
        applied = self._apply_plain(headers[part], names[part], arguments[part], records, sizes[part], answers[part], results)
        section = Section(self, self._codec, True)
        for number in range(part.start + applied, part.stop):
            if self.unapplied is not None:
                break
            record = joined[places[number] + len(WRAP) : places[number + 1]]
            value, failure = self._apply_one(section, headers[number], names[number], arguments[number], record)
            if answers:
                answers[number].value, answers[number].error = value, failure
            results.append(
                type(failure).__name__ if failure is not None else value if type(value) in SCALARS else type(value).__name__
            )
            failure = None  # Its traceback has this frame.
        if self.unapplied is not None:
            raise NotApplied

    def _apply_plain(
        self,
        headers: list[bytes],
        names: list[str | None],
        arguments: list[Any],
        records: bytes,
        sizes: array[int],
        answers: Sequence[Any],
        results: list[Any],
    ) -> int:
        """Applies actions in order, up to the first that raises, and appends them together. Returns how many were begun.

        That is 0 if anything must be done before one of them but to call it. The lock is held: nobody sees what is not in the
        journal yet.
        """
        self._current()
        methods = self._plain_methods(set(names))
        if methods is None:
            return 0
        if not self._stand_as_sent(joined_headers(headers, arguments)):
            headers = self._made_to_stand(headers)
            records = with_headers(headers, records, sizes)
        section = self._section = Section(self, self._codec, False)
        try:
            values, failure = section.many(headers, map(methods.__getitem__, names), arguments)
            begun = len(values) + (failure is not None)
            # If the journal takes only some of them, those are not applied again; their callers wait for the whole batch.
            for answer, value in zip(answers, values, strict=False):
                answer.value = value
            if begun:
                self.instant = action.instant_of(headers[begun - 1])
                section.write_joined(records if begun == len(sizes) else records[: sum(sizes[:begun])], sizes[:begun])
        finally:
            self._end_section(section)
        if section.problem is not None:
            raise section.problem
        types = set(map(type, values))
        results += (
            values if types <= SCALARS else [value if type(value) in SCALARS else type(value).__name__ for value in values]
        )
        if failure is not None:
            self.failed(self._marks[cast(str, names[begun - 1])], self.log.last, failure, None)
            results.append(type(failure).__name__)
            if answers:
                answers[begun - 1].error = failure
        return begun

    def _stand_as_sent(self, joined: bytes) -> bool:
        """Whether headers are right as they were sent: no instant before another's, and each action behind one that returned."""
        outcomes = joined[action.HEADER.size - 1 :: action.HEADER.size]
        if self.machine.outcome != action.RETURNED or outcomes.count(action.RETURNED) != len(outcomes):
            return False
        many = len(joined) // _MANY_INSTANTS.size * _MANY_INSTANTS.size
        instants = [
            *chain.from_iterable(_MANY_INSTANTS.iter_unpack(joined[:many])),
            *chain.from_iterable(_INSTANT.iter_unpack(joined[many:])),
        ]
        return instants[0] >= self.instant and sorted(instants) == instants

    def _made_to_stand(self, headers: list[bytes]) -> list[bytes]:
        """Headers such that no instant is before another's and that each says of the action before that it returned."""
        made, instant, outcome = [], self.instant, self.machine.outcome
        for header in headers:
            own, offset, _ = _unpack(header)
            if own > instant:
                instant = own
            made.append(_pack(instant, offset, outcome))
            outcome = action.RETURNED
        return made

    def _plain_methods(self, names: set[str | None]) -> dict[str | None, Function] | None:
        """The methods of names, if nothing is to be done before any of them but to call it."""
        if self._is_seen_at_once:
            return None
        methods = self.machine.methods
        found: dict[str | None, Function] = {}
        for name in names:
            if name is None or name.startswith("<"):
                return None
            try:
                function = methods[name]
            except MissingName:
                return None  # Those before it are applied.
            if self._mark(name, function).parts:
                return None
            found[name] = function
        return found

    def _mark(self, name: str, function: Function) -> Method:
        """What the marks of a method say."""
        method = self._marks.get(name)
        if method is None:
            method = self._marks[name] = method_for(name, function, ())
        return method

    def _apply_one(
        self, section: Section, sent: bytes, name: str | None, args: Any, record: bytes
    ) -> tuple[Any, BaseException | None]:
        machine = self._current()
        kwargs: dict[str, Any] = {}
        if name is None:
            name, args, *rest = self._codec.decode_call(args, None, machine.domain)
            kwargs = rest[0] if rest else {}
        assert name is not None
        if name == MARK:
            machine.refuse_newer(args[0], self.log.where)
            function: Function = machine.begin_version
        elif name == CODE:
            machine.refuse_newer_code(args[0], self.log.where)
            function = machine.methods[CODE]
            self._marks.clear()  # They are those of the bodies that were enabled.
        else:
            try:
                function = machine.methods[name]
            except MissingName:
                cls = type(machine.domain).__qualname__
                raise MissingMethod(machine.applied + 1, name, f"sent by another node to {self.node}", cls, "") from None
        instant, offset, _ = _unpack(sent[-13:])
        call = record[action.HEADER.size :]
        return section.one(instant, offset, call, self._mark(name, function), function, args, kwargs)

    @with_lock
    def _leave_out(self, sent: bytes, record: bytes) -> None:
        """Records an action as withdrawn, and does not run it."""
        machine = self._current()
        instant, offset, _ = _unpack(sent[-13:])
        instant = max(instant, self.instant)
        header = _pack(instant, offset, machine.outcome)
        index = self.log.append(header + record[action.HEADER.size :])
        self.instant = instant
        machine.header, machine.index, machine.outcome = header, index, action.WITHDRAWN
        self._withdraw()
        self._forget(index)
        machine.applied = index

    def _mark_message(self, name: str, args: tuple[Any, ...]) -> None:
        """Records an action that says what message of the line was met, and applies it."""
        machine = self.machine
        call, args, _ = self._codec.encode_call(name, args, {})
        offset, function = self._offset_of(machine.header), machine.methods[name]
        section = Section(self, self._codec, True)
        _, failure = section.one(self.instant, offset, call, Method(name, function), function, args, {})
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # Its traceback has this frame.

    @staticmethod
    def _offset_of(header: bytes) -> int:
        offset: int = _unpack(header[-13:])[1]
        return offset

    def _forget(self, index: int) -> None:
        """Has the state know that it is without an action, before the message is met: others may begin with a snapshot of it."""
        machine = self.machine
        machine.batches = machine.batches.without(index)

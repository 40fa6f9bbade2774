"""The engine of a node of a replicated system: calls go into a line, and are applied in its order. It has more than 500 lines because
sending, applying and withdrawing go by one state under one lock, and each leaves it such that the other two can go on from there.

The line (`coopy.ground.line`) has the last word on the order; a majority of the nodes has what stands in it
on disk. So a call is encoded, sent, and applied when this node meets it in the line, between those
of other nodes; then its caller is answered. What was applied is in this node's own journal, too,
which needs no sync of its own before anybody is answered: what a power cut takes from it is in the line.

One thread applies. The lock is held meanwhile, and given away between PARTs of large batches; readers
take it as in any system, and see the calls of their own node that were answered.

An action that this node can't apply for lack of memory, or of room to recurse, is withdrawn by a message in the line: the
node sends one, looks ahead in the line for the first that there is, and goes on without the action. A node that
has applied the action goes back to the state before it when it meets the message: see `Superseded`.
"""

from __future__ import annotations

import marshal
import struct
import threading
import time
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import accumulate, chain, islice
from typing import Any, NamedTuple, cast

from coopy import versions
from coopy.effects import DONE
from coopy.errors import (
    ClusterError,
    CoopyError,
    DamagedLine,
    InterruptedReplay,
    MissingActions,
    MissingMethod,
    NotAMember,
    ReadOnlyNode,
    SystemClosed,
    Unavailable,
    copy_of,
)
from coopy.ground import action, batch, log
from coopy.ground.batch import BATCH, WITHDRAWN
from coopy.ground.interruption import note
from coopy.ground.line import Line
from coopy.ground.record import WRAP, with_headers
from coopy.ground.running import current
from coopy.ground.storage import Log, SnapshotStore
from coopy.migration import MARK
from coopy.past import history
from coopy.replication.outbox import BATCH_BYTES_MAX, Group, Outbox, check_size
from coopy.spine.calling import Call
from coopy.spine.engine import CHUNK, STEP_NS, Engine, Saver, say_nothing, with_lock
from coopy.spine.machine import Machine, MissingName
from coopy.spine.methods import Function, Method, has_unlocked_reads, method_for
from coopy.spine.replay import Progress
from coopy.spine.section import Section
from coopy.values.codec import SCALARS, Codec, decode_joined, joined_headers
from coopy.versions import CODE

__coopy_inside__ = True  # See `coopy.spine.calling`.
TICK_S = 0.1
"""After so long without a message the thread looks at what is to be sent again, which is due after `outbox.RETRY_S` at the earliest."""
PART = 512
"""So many actions are applied before the lock is given away once: milliseconds of plain ones, which is what a reader waits at most."""
DIGESTS_MAX = 20_000
"""Batches of at least a minute of the highest load: nodes compare those that both have, and one may be that far behind."""
FAR = 1000
"""An action that another node has passed by so many messages is not withdrawn any more: what came after it was answered long ago."""

_pack = action.HEADER.pack
_unpack = action.HEADER.unpack
_INSTANT = struct.Struct("<q5x")
_MANY_INSTANTS = struct.Struct("<" + 64 * "q5x")
assert _INSTANT.size == action.HEADER.size, "an instant is what a header begins with"


def _raise(error: BaseException) -> None:
    raise error


def _tell_all(answers: Sequence[Any], error: BaseException) -> None:
    for each in answers:
        each.error = copy_of(error)


class Answered:
    """How one call ended."""

    __slots__ = ("value", "error")

    value: Any
    error: BaseException | None

    def __init__(self) -> None:
        self.value = None
        self.error = None


class Unapplied(NamedTuple):
    """An action, the last of the journal, that this node can't apply. The state is that before it."""

    action: int
    """Its index."""
    method: str
    problem: str

    def __str__(self) -> str:
        return f"action {self.action}, {self.method}(), can't be applied here ({self.problem})"


class Superseded(ClusterError):
    """An action that this node has applied was withdrawn by a message of the line.

    ``index`` of the action, ``sequence`` of the message. The node has to go on with a journal that ends before the action (see
    `Replicated.amendment_before`), or with a state of another node that has met the message.
    """

    def __init__(self, index: int, sequence: int) -> None:
        super().__init__(f"action {index} was withdrawn by message {sequence} of the line, after it had been applied here")
        self.index = index
        self.sequence = sequence


class Passed(ClusterError):
    """Another node is far past an action that this node can't apply: it counts, and this node has to begin anew with a state of the other.

    ``sequence`` of the message that the state must have come to.
    """

    def __init__(self, unapplied: Unapplied, sequence: int) -> None:
        super().__init__(f"{unapplied}, and other nodes are far past it")
        self.sequence = sequence


class _NotApplied(Exception):
    """Ends what is being applied, as an action can't be."""


class Came(NamedTuple):
    """What the actions of a batch came to."""

    digest: int
    first: int
    """Index of the first of them."""
    actions: int


class Replicated(Engine):
    """The engine of a node. `start`, then `follow`, then, unless it only reads, `begin`."""

    __slots__ = (
        "line",
        "outbox",
        "node",
        "timeout_s",
        "position",
        "failure",
        "behind",
        "furthest",
        "only_reads",
        "digests",
        "trouble",
        "unapplied",
        "_compared_after",
        "_left_out",
        "_was_interrupted",
        "_marks",
        "_thread",
        "_moved",
    )

    is_alone = False

    def __init__(
        self,
        log: Log,
        snapshots: SnapshotStore,
        codec: Codec,
        secret: bytes,
        line: Line,
        node: str,
        *,
        timeout_s: float = 30.0,
        only_reads: bool = False,
        behind: Callable[[BaseException], None] = _raise,
        furthest: Callable[[], int] = int,
    ) -> None:
        super().__init__(log, snapshots, codec, secret)
        self.line = line
        self.node = node
        self.outbox = Outbox(line, node)
        self.timeout_s = timeout_s
        self.only_reads = only_reads
        self.behind = behind
        """Told, in the thread that follows, why this node can't go on by itself; what it returns from has been mended."""
        self.furthest = furthest
        """Says which message the furthest of the other nodes has come to, as far as is known."""
        self.position = 0
        """Sequence of the last message of the line that was dealt with."""
        self.failure: BaseException | None = None
        """Why this node applies no more."""
        self.digests: dict[int, Came] = {}
        """For each of the newest batches, by sequence, what its actions came to on this node."""
        self.trouble: BaseException | None = None
        """Raised in the thread that follows, before the next message."""
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
        self._thread: threading.Thread | None = None

    # -- calls

    def call(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Sends a call, and returns when this node has applied it.

        Raises what the method raises; `EncodingError` and `Unavailable` if nothing was recorded; and
        `OutcomeUnknown` if that can't be known in time.
        """
        if current.machine is self.machine:
            return self._returned(method.function(self.machine.domain, *args, **kwargs))
        answer = Answered()
        self._wait(self.submit([self.encode(method, args, kwargs)], [answer]), self.timeout_s)
        if answer.error is not None:
            raise answer.error
        return answer.value

    def submit(self, records: Sequence[bytes], answers: Sequence[Any], then: Callable[[Group], None] | None = None) -> Group:
        """Sends records, and tells ``answers`` how they ended; ``then`` is called in the thread that follows."""
        group = Group(records, answers, then)
        self.outbox.put(group)
        return group

    def encode(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The record of a call, for `submit`. Raises `EncodingError`, `ReadOnlyNode`."""
        if self.only_reads:
            raise ReadOnlyNode(
                f"This is a slave/read-only instance. {method.name}() was not called and nothing was recorded: it is not "
                f"marked @readonly. Call it on a node that writes."
            )
        if self.failure is not None:
            raise copy_of(self.failure)
        if method.bodies:
            versions.enabled(self.machine, method.name, method.function)  # Others may not have it at all.
        call, _, _ = self._codec.encode_call(method.name, args, kwargs, method.parameters, self.machine)
        record = _pack(*self._stamped(), action.RETURNED) + call
        check_size(method.name, record)
        return record

    def begin_all(self, calls: Sequence[Call]) -> list[Group]:
        """Sends calls in order, and answers reads among them. What is to be `settled`, in groups."""
        groups = []
        at_once: list[Any] = []
        records: list[bytes] = []
        answers: list[Any] = []
        size = 0
        for some, encoded in self._encoded(calls):
            if not encoded:
                at_once += some
                continue
            more = sum(map(len, encoded))
            if records and size + more > BATCH_BYTES_MAX:
                groups.append(self._submitted(records, answers))
                records, answers, size = [], [], 0
            records += encoded
            answers += some
            size += more
        if records:
            groups.append(self._submitted(records, answers))
        if at_once:
            groups.insert(0, Group((), at_once))
        return groups

    def _encoded(self, calls: Sequence[Call]) -> Iterator[tuple[list[Any], list[bytes]]]:
        """Some of the calls at a time with their records. No record: it is answered; it was a read, or can't be sent."""
        rest = iter(calls)
        while chunk := list(islice(rest, CHUNK)):
            together = self._encoded_at_once(chunk)
            if together is not None:
                yield chunk, together
                continue
            for call in chunk:
                record = []
                try:
                    if isinstance(call.what, Method):
                        record = [self.encode(call.what, call.args, call.kwargs)]
                    elif call.what is not None:
                        call.value = self.read(call.what, call.args, call.kwargs)
                except BaseException as error:  # The caller of this call is told, and the others are sent all the same.
                    call.error = error
                yield [call], record

    def _encoded_at_once(self, calls: list[Any]) -> list[bytes] | None:
        """The records of calls, if nothing is to be looked at for any of them but its arguments."""
        methods = [call.what for call in calls]
        encoded = self._encoded_together(methods, calls)
        if encoded is None or self.only_reads or self.failure is not None or any(each.bodies for each in set(methods)):
            return None
        instant, offset = self._stamped()
        return [_pack(instant + STEP_NS * place, offset, action.RETURNED) + each for place, each in enumerate(encoded)]

    def _submitted(self, records: list[bytes], answers: list[Any]) -> Group:
        try:
            return self.submit(records, answers)
        except CoopyError as error:
            _tell_all(answers, error)
            return Group((), answers)

    def settled(self, begun: list[Group], calls: Sequence[Call]) -> Iterator[Sequence[Any]]:
        """The calls that `begin_all` has begun, a group at a time, as they are answered."""
        for group in begun:
            if group.records:
                try:
                    self._wait(group, self.timeout_s)
                except ClusterError as error:
                    _tell_all(group.answers, error)
            yield group.answers

    def sync(self, timeout_s: float | None = None) -> None:
        """Returns when this node has applied all that was acknowledged anywhere before. Raises `Unavailable`."""
        if current.machine is self.machine:
            return
        if self.failure is not None:
            raise copy_of(self.failure)
        group = Group((), ())
        self.outbox.barrier(group)
        self._wait(group, self.timeout_s if timeout_s is None else timeout_s)

    def _wait(self, group: Group, timeout_s: float) -> None:
        if group.done.acquire(timeout=timeout_s):
            if self.failure is not None and not group.records:
                raise copy_of(self.failure)
            return
        error = self.outbox.give_up(group, timeout_s)
        if not group.done.acquire(False):
            raise error

    # -- actions of the system's own

    def start(self, progress: Progress | None = None, loading: Progress | None = None) -> None:
        """Brings the machine to the end of this node's journal."""
        machine = self.run(lambda: self._rebuild(progress, loading))
        self._is_seen_at_once = has_unlocked_reads(type(machine.domain))
        # A batch that was begun may not have been applied to its end.
        self.position = machine.batches.sequence - bool(machine.batches.left(machine.applied))

    def record(self, name: str, args: tuple[Any, ...], function: Function) -> None:
        """Sends an action of the system's own, and waits until it was applied."""
        call, _, _ = self._codec.encode_call(name, args, {})
        answer = Answered()
        self._wait(self.submit([_pack(*self._stamped(), action.RETURNED) + call], [answer]), self.timeout_s)
        if answer.error is not None:
            raise answer.error

    def carried_out(self, name: str) -> None:
        """Records that an effect was."""
        self.record(DONE, (name, None), self.machine.effects.pop)

    # -- following the line

    def follow(self) -> None:
        """Starts the thread that applies what stands in the line."""
        self.line.follow(self.position)
        self._thread = threading.Thread(target=self._follow, name=f"coopy follower {self.node}", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Sends from now on; to be called when this node has applied what the line held at its start."""
        incarnation, _ = self.machine.batches.writers.get(self.node, (0, 0))
        # More than any that was used: by a process that sent nothing that arrived, too.
        self.outbox.begin(max(incarnation + 1, time.time_ns()))

    def reach(self, sequence: int, timeout_s: float, progress: Callable[[int, int], object] | None = None) -> bool:
        """Waits until the line was followed so far; whether it was in time. Raises why it can't be."""
        start, deadline = self.position, time.monotonic() + timeout_s
        with self._moved:
            while self.position < sequence:
                if self.failure is not None:
                    raise copy_of(self.failure)
                before = self.position
                self._moved.wait(0.2)
                if self.position > before:
                    deadline = time.monotonic() + timeout_s
                elif time.monotonic() > deadline:
                    return False
                if progress is not None:
                    progress(self.position - start, max(sequence - start, 1))
        return True

    def _follow(self) -> None:
        while True:
            try:
                self._follow_on()
            except SystemClosed as error:
                self.outbox.close(error)
                with self._moved:
                    self.failure = self.failure or error
                    self._moved.notify_all()
                return
            except BaseException as error:  # Of whatever kind: nobody else would mend it, or answer those who wait.
                try:
                    self.behind(error)
                except BaseException as final:  # The last resort of a thread: each caller is told why.
                    self.fail(final)
                    return

    def _follow_on(self) -> None:
        receive, tick = self.line.receive, self.outbox.tick
        while True:
            if self.unapplied is not None:
                self._have_withdrawn(self.unapplied)
            try:
                for sequence, data in receive(TICK_S):
                    if self.trouble is not None:
                        break
                    self.take(sequence, data)
            except _NotApplied:
                continue
            self._raise_trouble()
            tick()

    def _raise_trouble(self) -> None:
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble

    def fail(self, error: BaseException) -> None:
        """This node applies no more: every call is told why."""
        log.error("%s: this node has stopped: %s", self.node, error)
        self.failure = error
        self.outbox.close(error)
        with self._moved:
            self._moved.notify_all()

    def take(self, sequence: int, data: bytes) -> None:
        """Deals with the next message of the line. Raises `DamagedLine` if it is another."""
        if sequence > self.position + 1:
            raise DamagedLine(
                f"the line brought message {sequence} after {self.position}. This node has stopped before it; what it has is "
                f"whole."
            )
        found = batch.unpack(data, sequence)
        own = found.node == self.node and found.incarnation == self.outbox.incarnation
        if found.kind == batch.BARRIER:
            if own:
                self.outbox.seen_barrier(found.number)
        elif found.kind == batch.WITHDRAWAL:
            self._take_withdrawal(sequence, found.number)
        else:
            groups = self._take_actions(sequence, found, own)
            for group in groups:
                group.finish()
        self._tell()
        with self._moved:
            self.position = sequence
            self._moved.notify_all()

    def _take_actions(self, sequence: int, found: batch.Batch, own: bool) -> list[Group]:
        done = self._applied_of(sequence, found, own)
        if done is None:
            return []
        groups = self.outbox.seen(found.number) if own else []
        answers = [answer for group in groups for answer in group.answers]
        self._apply(sequence, found, done, answers)
        if own:
            self.outbox.applied(found.number)
        return groups

    @with_lock
    def _applied_of(self, sequence: int, found: batch.Batch, own: bool) -> int | None:
        """Begins a batch, if it has not been. Returns how many of its actions have been applied; None if none is to be."""
        machine = self._current()
        batches = machine.batches
        step = batches.step(sequence, found)
        if step == batch.REST:
            return batches.done(machine.applied)
        if step == batch.NEW:
            self._mark_message(BATCH, (sequence, found.node, found.incarnation, found.number, found.actions))
            return 0
        if own and step == batch.PASSED:
            self.outbox.passed_over(found.number)
        if own and step == batch.FOLLOWED:
            raise NotAMember(
                f"another process runs as the node {self.node}, and has begun later. This one has stopped; what it had "
                f"sent before is applied. Give each node a name and a directory of its own."
            )
        return None

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
            raise _NotApplied

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

    def _interrupted(self, method: Method, index: int, error: BaseException, is_doubtful: bool) -> None:
        """Applies an action again that was interrupted: the others have it, so it counts, unless it can't be applied here."""
        self._was_interrupted = True
        try:
            self._rebuild()
        except InterruptedReplay as problem:
            # Nothing is applied before that goes well: each step begins with a machine that is whole.
            which = f"action {problem.index}, {problem.method}(), which comes before it"
            note(
                error,
                f"{method.name}() was interrupted on the node {self.node}, which lacks memory even for {which}: the call counts.",
            )
            return
        if self.unapplied is not None:
            note(error, f"{method.name}() can't be run on the node {self.node}: action {index} is withdrawn on all nodes.")
        elif not is_doubtful:
            note(
                error, f"{method.name}() was interrupted on the node {self.node}, which has applied it again: the call counts."
            )

    # -- an action that can't be applied

    def _rebuild(self, progress: Progress | None = None, loading: Progress | None = None, withdrawn: int = 0) -> Machine:
        """Restores the machine anew; without the last action, if that can't be applied: then it is `unapplied`."""
        if self.unapplied is not None:
            withdrawn = self.unapplied.action
        try:
            return super()._rebuild(progress, loading, withdrawn)
        except InterruptedReplay as error:
            if (
                error.recorded != action.OUTCOMES[action.UNKNOWN]
                or error.index != self.log.last
                or not self._is_of_the_line(error.index)
            ):
                raise
            found = Unapplied(error.index, error.method, repr(error.__cause__))
        # Not before the exception is gone, which holds the machine that could not be restored.
        self.unapplied = found
        log.error("%s: %s. %s.", self.node, found, "It waits" if self.only_reads else "It is withdrawn on all nodes")
        return super()._rebuild(progress, loading, found.action)

    def _ended(self) -> int:
        found = super()._ended()
        return found if self.unapplied is None else min(found, self.unapplied.action - 1)

    def _is_of_the_line(self, index: int) -> bool:
        """Whether an action that the machine has come to is one of a batch."""
        return self.machine.batches.left(index - 1) > 0

    def _withdraw(self) -> None:
        if self.unapplied is None:  # Not before the line says so.
            super()._withdraw()

    def _have_withdrawn(self, unapplied: Unapplied) -> None:
        """Waits until a message of the line withdraws an action; sends one, unless this node only reads. Raises `Passed`."""
        line, sequence = self.line, self.machine.batches.sequence
        data = batch.withdrawal(self.node, sequence, unapplied.action)
        sent: Future[int] | None = None
        seen = self.position
        line.follow(seen)
        while True:
            for seen, message in line.receive(TICK_S):
                if batch.withdraws(message, sequence, unapplied.action):
                    self.leave_unapplied_out(seen)
                    # What has been looked at is still to be applied.
                    line.follow(self.position)
                    return
            self._raise_trouble()
            if sent is None and self.furthest() > sequence + FAR:
                raise Passed(unapplied, sequence)
            if not self.only_reads and seen >= line.last() and (sent is None or (sent.done() and sent.exception() is not None)):
                sent = line.send(data, f"withdrawal.{sequence}.{unapplied.action}")
            self.outbox.tick()

    @with_lock
    def leave_unapplied_out(self, sequence: int) -> None:
        """Records that the action which can't be applied is withdrawn, by that message of the line."""
        unapplied = self.unapplied
        assert unapplied is not None, "only its own thread ends what the node waits for"
        super()._withdraw()
        self._forget(unapplied.action)
        self.unapplied = None
        self._compared_after = max(self._compared_after, sequence)

    @with_lock
    def _take_withdrawal(self, sequence: int, index: int) -> None:
        """Deals with the withdrawal of an action. Raises `Superseded` if this node has applied the action."""
        batches = self._current().batches
        if sequence <= batches.sequence:
            return
        self._compared_after = max(self._compared_after, sequence)
        if index not in batches.withdrawn and self._outcome_of(index) != action.WITHDRAWN:
            self._left_out.add(index)
            raise Superseded(index, sequence)
        self._mark_message(WITHDRAWN, (sequence, index))
        self._left_out.discard(index)

    def _outcome_of(self, index: int) -> int:
        """How an action ended on this node; WITHDRAWN if it has not been applied, UNKNOWN if the journal does not reach back so far."""
        machine = self._current()
        if index >= machine.applied:
            return machine.outcome if index == machine.applied else action.WITHDRAWN
        try:
            return next(history.actions(self.log, self._codec, index - 1)).outcome
        except MissingActions:
            return action.UNKNOWN

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

    def _forget(self, index: int) -> None:
        """Has the state know that it is without an action, before the message is met: others may begin with a snapshot of it."""
        machine = self.machine
        machine.batches = machine.batches.without(index)

    @with_lock
    def amendment_before(self, index: int) -> bytes:
        """The amendment of the action before another, for a journal that is to end with it. Raises `MissingActions` if nothing leads to it."""
        found = self._snapshots.latest(index - 1)
        if found is None:
            raise MissingActions("snapshots", index - 1, index - 1, "No snapshot of this node is so old.")
        if found[0] == index - 1:
            return action.amendment(self.instant, self._offset, found[1][action.HEADER.size - 1])
        for _ in self.log.read(found[0]):
            break
        before = next(history.actions(self.log, self._codec, index - 2))
        instant, offset, _ = _unpack(before.header[-action.HEADER.size :])
        return action.amendment(instant, offset, before.outcome)

    @with_lock
    def _begin_snapshot(self, apart: Callable[[Saver], Callable[[], bytes | None]]) -> tuple[int, Callable[[], bytes | None]]:
        if self.unapplied is not None:
            raise Unavailable(f"{self.unapplied}, and is not withdrawn yet. No snapshot was taken; take one later.")
        return super()._begin_snapshot(apart)

    # -- comparing with other nodes

    def newest_digests(self, number: int) -> list[tuple[int, int]]:
        """Sequence and digest of the newest batches."""
        with self._moved:
            newest = list(islice(reversed(self.digests.items()), number))
        return [(sequence, came.digest) for sequence, came in reversed(newest)]

    def replace(self, log: Log, snapshots: SnapshotStore) -> None:
        """Goes on with another journal and other snapshots, and what they hold."""
        self._exchange(log, snapshots)
        self.digests.clear()
        self._marks.clear()
        self.start()
        incarnation, number = self.machine.batches.writers.get(self.node, (0, 0))
        self.outbox.skipped(number if incarnation == self.outbox.incarnation else 0)
        self.line.follow(self.position)

    @with_lock
    def _exchange(self, log: Log, snapshots: SnapshotStore) -> None:
        self.log = log
        self._snapshots = snapshots
        self._saved = -1
        self.instant = 0
        self.unapplied = None

    def close(self) -> None:
        """Takes no more calls, waits for those on their way, and makes all durable."""
        deadline = time.monotonic() + min(self.timeout_s, 10.0)
        while not self.outbox.is_empty() and self.failure is None and time.monotonic() < deadline:
            time.sleep(0.005)
        self.line.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self.unapplied is not None:
            self.machine.outcome = action.UNKNOWN  # The line has not said that it is withdrawn.
            self.last_look = say_nothing
        super().close()

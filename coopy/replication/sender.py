"""The half of a node's engine that sends: calls are encoded, handed to the outbox, and waited for until this node has applied them.

Applies nothing: whoever does so, in a thread of its own, answers them (coopy/replication/follower.py). What is sent when, and sent
again, is the outbox's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from coopy.errors import ClusterError, CoopyError, ReadOnlyNode, copy_of
from coopy.ground import action
from coopy.ground.line import Line
from coopy.ground.running import current
from coopy.ground.storage import Log, SnapshotStore
from coopy.replication.outbox import BATCH_BYTES_MAX, Group, Outbox, check_size
from coopy.spine import versions
from coopy.spine.calling import Call, answering
from coopy.spine.effects import DONE
from coopy.spine.engine import CHUNK, STEP_NS, Engine
from coopy.spine.methods import Function, Method
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.

_pack = action.HEADER.pack


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


class Sender(Engine):
    """An engine whose calls go into a line."""

    __slots__ = ("line", "outbox", "node", "timeout_s", "failure", "only_reads")

    is_alone = False

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
        super().__init__(log, snapshots, codec, secret)
        self.line = line
        self.node = node
        self.outbox = Outbox(line, node)
        self.timeout_s = timeout_s
        self.only_reads = only_reads
        self.failure: BaseException | None = None
        """Why this node applies no more."""

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
                # The caller of this call is told what it raises, and the others are sent all the same.
                with answering(call):
                    if isinstance(call.what, Method):
                        record = [self.encode(call.what, call.args, call.kwargs)]
                    elif call.what is not None:
                        call.value = self.read(call.what, call.args, call.kwargs)
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

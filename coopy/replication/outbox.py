"""What a node has to say to the others: calls gather to batches while the batches before them are on their way.

A batch is sent until it is seen in the line. Sent again, it has the same number, so each node applies it once
(see `coopy.ground.batch`), and the same name, so that the servers drop it if they know it. One that was passed over, because
the one before it was lost on the way, is sent again under another name.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock, RLock

from coopy.errors import EncodingError, OutcomeUnknown, SystemClosed, Unavailable, copy_of
from coopy.ground import batch
from coopy.ground.line import Line
from coopy.network.limits import Sparing
from coopy.spine.calling import Answer

IN_FLIGHT_MAX = 2
"""While the servers store one batch, the next is on its way to them; what comes meanwhile gathers to a third."""
BATCH_BYTES_MAX = 1024 * 1024
"""Large enough that what a message costs by itself is lost in it; small enough for other nodes' batches to come in between soon."""
BATCH_ACTIONS_MAX = 4096
"""Of small actions: each node applies them one after another, and the callers of all of them are answered after the last."""
WAITING_MAX = 100_000
"""About as many calls as a node takes in a second at its best. Where more wait the line does not keep up, and callers are told so."""
RECORD_BYTES_MAX = 8 * 1000 * 1000
"""One record alone has to fit into a message, which takes 8 MiB less its headers: what is left is for the head of the batch."""
RETRY_S = 0.2
"""So long after a send that failed it is tried again: a link that broke off for a moment is there again."""
RETRY_S_MAX = 0.5
"""The wait doubles up to this. It stays this short so that callers are answered soon after a majority is there again."""


class Group:
    """Calls that one caller handed over together, and waits for together."""

    __slots__ = ("records", "answers", "done", "then", "abandoned", "waiting", "size")

    def __init__(
        self, records: Sequence[bytes], answers: Sequence[Answer], then: Callable[[Group], None] | None = None
    ) -> None:
        self.records = records
        self.answers = answers
        self.size = sum(map(len, records))
        self.then = then
        self.abandoned = False
        self.waiting = True
        """Whether it has not been sent yet."""
        self.done = Lock()
        self.done.acquire()

    def finish(self) -> None:
        """Wakes who waits."""
        self.done.release()
        if self.then is not None:
            self.then(self)


class _Sent:
    """A batch on its way."""

    __slots__ = ("number", "data", "groups", "attempt", "surely_not", "in_flight", "due", "delay_s", "problem", "kind")

    def __init__(self, kind: int, number: int, data: bytes, groups: list[Group]) -> None:
        self.kind = kind
        self.number = number
        self.data = data
        self.groups = groups
        self.attempt = 0
        self.surely_not = True
        """Whether it is sure that it does not stand in the line."""
        self.in_flight = False
        self.due: float | None = None
        self.delay_s = RETRY_S
        self.problem: BaseException | None = None


class Outbox:
    """The batches of a node. Any thread may `put`; `seen`, `passed_over` and `tick` are called by who follows the line."""

    def __init__(self, line: Line, node: str) -> None:
        self._line = line
        self._node = node
        self._sparing = Sparing()
        self._lock = RLock()
        self._incarnation = 0
        self._number = 0
        self._waiting: deque[Group] = deque()
        self._waiting_records = 0
        self._sent: dict[int, _Sent] = {}
        self._barriers: dict[int, _Sent] = {}
        self._tokens = 0
        self._in_flight = 0
        self._closed: BaseException | None = None
        self.problem: BaseException | None = None
        """Why batches are not taken now; None if they are."""

    @property
    def incarnation(self) -> int:
        return self._incarnation

    def begin(self, incarnation: int) -> None:
        """Sends from now on, as this incarnation of the node."""
        with self._lock:
            self._incarnation = incarnation
            self._send_more()

    def put(self, group: Group) -> None:
        """Sends a group's records in order, behind those of earlier groups. Raises `SystemClosed`, `Unavailable`."""
        with self._lock:
            if self._closed is not None:
                raise copy_of(self._closed)
            if self._waiting_records + len(group.records) > WAITING_MAX:
                raise Unavailable(
                    f"{self._waiting_records} calls wait to be sent already. Nothing was recorded; call again later."
                )
            self._waiting.append(group)
            self._waiting_records += len(group.records)
            if self._in_flight < IN_FLIGHT_MAX:
                self._send_more()

    def barrier(self, group: Group) -> None:
        """Sends a message that does nothing; the group is finished once this node has applied all before it."""
        with self._lock:
            if self._closed is not None:
                raise copy_of(self._closed)
            self._tokens += 1
            token = self._tokens
            data = batch.pack(batch.BARRIER, self._node, self._incarnation, token)
            group.waiting = False
            found = self._barriers[token] = _Sent(batch.BARRIER, token, data, [group])
            self._send(found)

    def give_up(self, group: Group, timeout_s: float) -> BaseException:
        """Nobody waits for a group any more: what its caller is told."""
        with self._lock:
            group.abandoned = True
            if group.waiting:
                try:
                    self._waiting.remove(group)
                    self._waiting_records -= len(group.records)
                except ValueError:
                    pass
                sure = True
            else:
                found = [each for each in [*self._sent.values(), *self._barriers.values()] if group in each.groups]
                # In none: it was met in the line, and is being applied.
                sure = bool(found) and all(each.surely_not and not each.in_flight for each in found)
            cause = f" ({self.problem})" if self.problem is not None else ""
        if sure:
            return Unavailable(
                f"no majority of the nodes took the call within {timeout_s:g} s{cause}. Nothing was recorded; call again."
            )
        return OutcomeUnknown(
            f"it is not known after {timeout_s:g} s whether the call was recorded{cause}. It is applied once or never; "
            f"look at the state when the cluster is back."
        )

    def tick(self) -> None:
        """Sends again what is due. Called a few times a second."""
        self._sparing.tick()
        if self.problem is None:
            return
        now = time.monotonic()
        with self._lock:
            for token in [token for token, sent in self._barriers.items() if sent.due is not None]:
                sent = self._barriers[token]
                if all(group.abandoned for group in sent.groups):
                    del self._barriers[token]
                elif sent.due is not None and sent.due <= now:
                    self._send(sent)
            # In order: what stands behind one that was lost is passed over.
            failed = [sent for sent in self._sent.values() if sent.due is not None]
            if failed and all(sent.due is not None and sent.due <= now for sent in failed):
                if not any(sent.in_flight for sent in self._sent.values()):
                    for sent in list(self._sent.values()):
                        self._without_abandoned(sent)
                        self._send(sent)
            if not self._is_due() and not any(each.in_flight for each in [*self._sent.values(), *self._barriers.values()]):
                # What failed was given up, or has been met in the line: nothing else would find out that all is well.
                self.problem = None
                self._send_more()

    def seen(self, number: int) -> list[Group]:
        """A batch of this node's was met in the line, and is being applied; which groups' answers it brings."""
        with self._lock:
            sent = self._sent.get(number)
            if sent is None:
                return []
            sent.surely_not = False
            sent.due = None
            return sent.groups

    def applied(self, number: int) -> None:
        """A batch of this node's was applied. Those before it have been, too."""
        with self._lock:
            for each in [each for each in self._sent if each <= number]:
                del self._sent[each]

    def seen_barrier(self, token: int) -> None:
        """A barrier was met."""
        with self._lock:
            sent = self._barriers.pop(token, None)
        for group in sent.groups if sent is not None else ():
            group.finish()

    def passed_over(self, number: int) -> None:
        """A batch stands in the line, and no node applied it, as one before it was missing."""
        with self._lock:
            sent = self._sent.get(number)
            if sent is not None:
                sent.attempt += 1
                sent.due = time.monotonic()
                self.problem = self.problem or Unavailable("batches were lost on their way")

    def skipped(self, number: int) -> None:
        """The node goes on with another state, which has the batches up to that one: those after it may have been passed over unseen."""
        with self._lock:
            for sent in self._sent.values():
                if sent.number > number:
                    # Under the name that it has the servers would drop it.
                    sent.attempt += 1
                    sent.due = time.monotonic()
                    self.problem = self.problem or Unavailable("batches were skipped with a part of the line")

    def close(self, reason: BaseException) -> None:
        """Takes no more, and lets everybody go who waits."""
        with self._lock:
            self._closed = reason
            waiting = [*self._waiting]
            sent = [*self._sent.values(), *self._barriers.values()]
            self._waiting.clear()
            self._sent.clear()
            self._barriers.clear()
        groups = {id(group): (group, True) for group in waiting}
        for each in sent:
            for group in each.groups:
                sure = each.surely_not and not each.in_flight
                groups[id(group)] = (group, sure and groups.get(id(group), (group, True))[1])
        for group, sure in groups.values():
            for answer in group.answers:
                answer.error = SystemClosed(f"{reason}. Nothing was recorded.") if sure else OutcomeUnknown(f"{reason}")
            group.finish()

    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is on its way."""
        return not self._waiting and not self._sent

    # -- with the lock held

    def _send_more(self) -> None:
        if self._incarnation == 0 or self.problem is not None:
            return
        while self._waiting and self._in_flight < IN_FLIGHT_MAX:
            records: list[bytes] = []
            groups: list[Group] = []
            size = 0
            while self._waiting and len(records) < BATCH_ACTIONS_MAX:
                group = self._waiting[0]
                if records and size + group.size > BATCH_BYTES_MAX:
                    break
                self._waiting.popleft()
                group.waiting = False
                self._waiting_records -= len(group.records)
                groups.append(group)
                records.extend(group.records)
                size += group.size
            self._number += 1
            data = batch.pack(batch.ACTIONS, self._node, self._incarnation, self._number, records)
            sent = self._sent[self._number] = _Sent(batch.ACTIONS, self._number, data, groups)
            self._send(sent)

    def _send(self, sent: _Sent) -> None:
        sent.due = None
        sent.in_flight = True
        if sent.kind == batch.ACTIONS:
            self._in_flight += 1
        name = f"{self._node}.{self._incarnation}.{sent.kind}.{sent.number}.{sent.attempt}"
        try:
            future = self._line.send(sent.data, name)
        except BaseException as error:
            # Who called was interrupted: it may have been sent, and is sent again by who follows the line.
            self._not_taken(sent, OutcomeUnknown(f"sending was broken off by {error!r}"))
            raise
        future.add_done_callback(lambda found: self._answered(sent, found))

    def _without_abandoned(self, sent: _Sent) -> None:
        """Drops what nobody waits for from a batch that surely does not stand in the line."""
        if not sent.surely_not or not any(group.abandoned for group in sent.groups):
            return
        sent.groups = [each for each in sent.groups if not each.abandoned]
        records = [record for group in sent.groups for record in group.records]
        sent.data = batch.pack(batch.ACTIONS, self._node, self._incarnation, sent.number, records)

    def _is_due(self) -> bool:
        """Whether anything is to be sent again."""
        return any(each.due is not None for each in [*self._sent.values(), *self._barriers.values()])

    # -- called by the line

    def _answered(self, sent: _Sent, found: Future[int]) -> None:
        error = found.exception()
        with self._lock:  # Which this thread may have: a line may answer at once.
            if error is not None:
                self._not_taken(sent, error)
                return
            self._is_back(sent)
            sent.surely_not = False
            if self.problem is not None and not self._is_due():
                self._sparing.warn("taken", "%s: the cluster takes calls again", self._node)
                self.problem = None
            if self._waiting:
                self._send_more()

    def _not_taken(self, sent: _Sent, error: BaseException) -> None:
        """Has it sent again, a little later."""
        self._is_back(sent)
        if isinstance(error, SystemClosed):
            return
        if isinstance(error, OutcomeUnknown):
            sent.surely_not = False
        sent.due = time.monotonic() + sent.delay_s
        sent.delay_s = min(2 * sent.delay_s, RETRY_S_MAX)
        if self.problem is None:
            self._sparing.warn("not taken", "%s: %s; trying again", self._node, error)
        self.problem = error

    def _is_back(self, sent: _Sent) -> None:
        sent.in_flight = False
        if sent.kind == batch.ACTIONS:
            self._in_flight -= 1


def check_size(name: str, record: bytes) -> None:
    """Raises `EncodingError` if a record is too large for a message."""
    if len(record) > RECORD_BYTES_MAX:
        raise EncodingError(
            f"the arguments of {name}() take {len(record)} bytes; in a replicated system {RECORD_BYTES_MAX} are the most. "
            f"Nothing was recorded and nothing has changed."
        )

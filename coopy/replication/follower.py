"""The engine of a node of a replicated system: calls go into a line, and are applied in its order. The thread that follows the line.

How a call is sent is in coopy/replication/sender.py, and how the actions of a batch are applied in coopy/replication/applier.py.

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

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from itertools import islice

from coopy.errors import (
    ClusterError,
    DamagedLine,
    InterruptedReplay,
    MissingActions,
    NotAMember,
    SystemClosed,
    Unavailable,
    copy_of,
)
from coopy.ground import action, batch, log
from coopy.ground.batch import BATCH, WITHDRAWN
from coopy.ground.interruption import note
from coopy.ground.line import Line
from coopy.ground.raised import last_resort
from coopy.ground.storage import Log, SnapshotStore
from coopy.past import history
from coopy.replication.applier import Applier, NotApplied, Unapplied
from coopy.replication.outbox import Group
from coopy.spine.engine import Saver, say_nothing, with_lock
from coopy.spine.machine import Machine
from coopy.spine.methods import Method, has_unlocked_reads
from coopy.spine.proxy import keep_looking_for_hidden
from coopy.spine.replay import Progress
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.
TICK_S = 0.1
"""After so long without a message the thread looks at what is to be sent again, which is due after `outbox.RETRY_S` at the earliest."""
FAR = 1000
"""An action that another node has passed by so many messages is not withdrawn any more: what came after it was answered long ago."""

_pack = action.HEADER.pack
_unpack = action.HEADER.unpack


def _raise(error: BaseException) -> None:
    raise error


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


class Replicated(Applier):
    """The engine of a node. `start`, then `follow`, then, unless it only reads, `begin`."""

    __slots__ = ("position", "behind", "furthest", "trouble", "_thread")

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
        super().__init__(log, snapshots, codec, secret, line, node, timeout_s, only_reads)
        self.behind = behind
        """Told, in the thread that follows, why this node can't go on by itself; what it returns from has been mended."""
        self.furthest = furthest
        """Says which message the furthest of the other nodes has come to, as far as is known."""
        self.position = 0
        """Sequence of the last message of the line that was dealt with."""
        self.trouble: BaseException | None = None
        """Raised in the thread that follows, before the next message."""
        self._thread: threading.Thread | None = None

    def start(self, progress: Progress | None = None, loading: Progress | None = None) -> None:
        """Brings the machine to the end of this node's journal."""
        machine = self.run(lambda: self._rebuild(progress, loading))
        self._is_seen_at_once = has_unlocked_reads(type(machine.domain))
        # A batch that was begun may not have been applied to its end.
        self.position = machine.batches.sequence - bool(machine.batches.left(machine.applied))

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
        # Whatever is raised, nobody else would mend it; if that fails as well, each caller is told why, and the thread ends.
        with last_resort(self.fail, of=BaseException):
            while True:
                with last_resort(self.behind, of=BaseException):
                    try:
                        self._follow_on()
                    except SystemClosed as error:
                        self.outbox.close(error)
                        with self._moved:
                            self.failure = self.failure or error
                            self._moved.notify_all()
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
            except NotApplied:
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
            machine = super()._rebuild(progress, loading, withdrawn)
            keep_looking_for_hidden(self)
            return machine
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
        machine = super()._rebuild(progress, loading, found.action)
        keep_looking_for_hidden(self)
        return machine

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
    def amendment_before(self, index: int) -> bytes:
        """The amendment of the action before another, for a journal that is to end with it. Raises `MissingActions` if nothing leads to it."""
        found = self._snapshots.latest(index - 1)
        if found is None:
            raise MissingActions("snapshots", index - 1, index - 1, "No snapshot of this node is so old.")
        if found[0] == index - 1:
            return action.amendment(self.instant, self._offset, found[1][: action.HEADER.size][-1])
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
        self.run(self._tell)  # Who waits for something may find it in this state.
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

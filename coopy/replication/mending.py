"""What a node does that can't go on by itself: it waits, goes back, begins anew with a state of another node, or stops.

All of it runs in the thread that follows the line. What can be mended, and how, is decided here; how a journal is read again, cut or
replaced is the node's.

    the node                                               is then       and
    can't write its journal, or can't restore its state    stalled       tries again each second, as often as it takes
    has applied what the line has withdrawn                behind        goes back by its own journal; else by a snapshot
    lacks what the line has forgotten                      behind        begins anew with a snapshot of another node
    can't apply an action that all others are past         behind        the same
    came to another state than the others                  quarantined   the same, with a snapshot that is newer than the error
    anything else, or the fourth of these within an hour   stopped
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from coopy.errors import Diverged, InterruptedReplay, JournalError, MissingActions, ReplayError, StorageError
from coopy.ground import log
from coopy.ground.storage import Stored
from coopy.network.limits import Sparing
from coopy.replication.follower import Passed, Superseded
from coopy.replication.servers import Clock
from coopy.replication.states import BEHIND, QUARANTINED, READY, STALLED, Life

MENDS_MAX = 3
"""A node that needs a snapshot of another again and again does something that the others do not, and would do it again."""
MENDS_S = 3600.0
"""Mends that lie further back than that count no more."""
STALL_S = 1.0
"""A full disk is looked at that often; room is made by hand, or by a snapshot that lets the journal go."""


class Mendable(Protocol):
    """What is asked of the node."""

    @property
    def is_closing(self) -> bool: ...

    @property
    def position(self) -> int:
        """The last message that was applied."""
        ...

    @property
    def is_unsure(self) -> bool:
        """Whether a sync failed: nobody knows what the journal holds before it was read again."""
        ...

    def follow_again(self) -> None:
        """Has the line begin again after the last message that was applied."""
        ...

    def read_again(self) -> None:
        """Reads the state from the node's own files. Raises `JournalError`, `ReplayError`."""
        ...

    def cut(self, index: int) -> None:
        """Goes on with a journal that ends before an action. Raises `StorageError` with all as it was, `ReplayError`."""
        ...

    def begin_anew(self, index: int, data: Stored) -> None:
        """Puts journal and snapshots aside, and goes on with a snapshot of another node."""
        ...

    def forget_differences(self) -> None:
        """Drops what was said of the state that the node no longer has."""
        ...


class Mending:
    """One node's. ``fetch`` returns a snapshot of another node, of the state after a message or a later one."""

    def __init__(
        self,
        name: str,
        node: Mendable,
        life: Life,
        fetch: Callable[[int], tuple[int, Stored]],
        clock: Clock,
        sparing: Sparing,
    ) -> None:
        self._name = name
        self._node = node
        self._life = life
        self._fetch = fetch
        self._clock = clock
        self._sparing = sparing
        self._mends: list[float] = []
        """When the node began anew, of late."""

    def mend(self, error: BaseException) -> None:
        """Deals with what keeps this node from following. Raises what can't be mended."""
        if self._node.is_closing:
            raise error
        if isinstance(error, (JournalError, InterruptedReplay)):
            self._wait(error)
        elif isinstance(error, Superseded):
            self._go_back(error)
        elif isinstance(error, (MissingActions, Diverged, Passed)) and self._may_begin_anew():
            self._begin_anew(error)
        else:
            raise error

    def _wait(self, error: JournalError | InterruptedReplay) -> None:
        """Lets a second pass: the line has what this node can't write, or can't hold; it goes on where it was when there is room."""
        if self._life.state != STALLED:
            lacks = "can't write its journal" if isinstance(error, JournalError) else "can't restore its state"
            self._sparing.error("stalled", "%s: this node %s, and waits: %s", self._name, lacks, error)
        # Its text: an exception holds what was being done, which may be a whole state.
        self._life.stalls(str(error), self._node.position)
        self._clock.sleep(STALL_S)
        if self._node.is_unsure:
            # A sync failed: what the journal holds has to be read again, once the disk gives it.
            self._insist(self._node.read_again)
        else:
            self._node.follow_again()

    def _insist(self, work: Callable[[], None]) -> None:
        """Does what can be done again from its beginning: once a second, while the disk fails, or memory is short."""
        while True:
            try:
                work()
                return
            except (OSError, InterruptedReplay) as error:
                if self._node.is_closing:
                    raise
                self._sparing.error("stalled", "%s: this node can't go on yet, and waits: %s", self._name, error)
                self._life.stalls(str(error), self._node.position)
                self._clock.sleep(STALL_S)

    def _go_back(self, error: Superseded) -> None:
        """Goes on without an action that was withdrawn: by the node's own journal, or by a snapshot of a node that has it withdrawn."""
        before = self._life.state
        self._life.becomes(BEHIND)
        log.error(
            "%s: %s. It is applied no more: this node goes back to the state before it, and on from there.", self._name, error
        )
        try:
            self._node.cut(error.index)
        except (StorageError, ReplayError, OSError) as problem:
            log.error(
                "%s: its own journal does not lead back (%s). It begins again with a snapshot of another node.",
                self._name,
                problem,
            )
            found = self._fetch(error.sequence)
            self._insist(lambda: self._node.begin_anew(*found))
        self._node.forget_differences()
        self._life.becomes(before)

    def _may_begin_anew(self) -> bool:
        now = self._clock.now()
        self._mends = [at for at in self._mends if now - at < MENDS_S]
        if len(self._mends) >= MENDS_MAX:
            return False
        self._mends.append(now)
        return True

    def _begin_anew(self, error: MissingActions | Diverged | Passed) -> None:
        """Goes on with a state of another node."""
        self._life.becomes(QUARANTINED if isinstance(error, Diverged) else BEHIND)
        log.error("%s: %s. It begins again with a snapshot of another node.", self._name, error)
        # What this node did wrong, or can't do, it would come to again.
        least = self._node.position if isinstance(error, Diverged) else error.sequence if isinstance(error, Passed) else 0
        found = self._fetch(least)
        self._insist(lambda: self._node.begin_anew(*found))
        # What was said meanwhile is of the state that was put aside, and says nothing of this one.
        self._node.forget_differences()
        self._life.becomes(READY)

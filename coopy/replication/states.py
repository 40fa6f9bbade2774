"""The states of a node: what may follow each, and what calls and reads do in it. A table, and the node's place in it.

Everything that changes a node's state goes through `Life.becomes`, and everything there is to know of a state is in its row of
`TABLE`; the table of docs/guides/replication.md is made from it, by `python docs/internals/generate_states.py`.

Several threads say what a node becomes: the one that follows the line, the one that watches, and the one that opens or closes it. A
word that comes too late, such as "ready" for a node that has stopped meanwhile, is in no row, and changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

STARTING, CATCHING_UP, READY = "starting", "catching up", "ready"
BEHIND, QUARANTINED, STALLED = "behind", "quarantined", "stalled"
STOPPED, CLOSING = "stopped", "closing"


class State(NamedTuple):
    """One row of the table; the texts are those of the guide."""

    name: str
    follow: tuple[str, ...]
    """The states that may come next."""
    node: str
    calls: str
    reads: str


TABLE = {
    row.name: row
    for row in (
        State(
            STARTING,
            (CATCHING_UP, CLOSING),
            "finds out how the system began, and restores from its own directory; `init_system` has not returned",
            "there is nobody to call yet",
            "there is nobody to read yet",
        ),
        State(
            CATCHING_UP,
            (READY, BEHIND, QUARANTINED, STALLED, STOPPED, CLOSING),
            "has not come to where the line was when it started; `init_system` has not returned",
            "there is nobody to call yet",
            "there is nobody to read yet",
        ),
        State(
            READY,
            (BEHIND, QUARANTINED, STALLED, STOPPED, CLOSING),
            "follows",
            "return once this node has applied them",
            "see every call that this node has answered",
        ),
        State(
            BEHIND,
            (CATCHING_UP, READY, STALLED, STOPPED, CLOSING),
            "was away for so long that the line does not reach back, or has applied an action that was withdrawn; takes a snapshot "
            "of another node, or goes back by its own journal",
            "wait, for at most `timeout=`",
            "see the state from before, and the new one once it is there",
        ),
        State(
            QUARANTINED,
            (READY, STALLED, STOPPED, CLOSING),
            "came to another state than the others; takes a snapshot of another node",
            "wait, for at most `timeout=`",
            "see the state that differs, and the new one once it is there",
        ),
        State(
            STALLED,
            (READY, BEHIND, QUARANTINED, STOPPED, CLOSING),
            "can't write its journal, and waits for the disk; or can't apply an action for lack of memory, and waits until it is "
            "withdrawn. `problem` says which",
            "wait, for at most `timeout=`",
            "go on; see the state before what can't be applied",
        ),
        State(
            STOPPED,
            (CLOSING,),
            "applies no more, and does not begin again by itself. `problem` says why; close it",
            "raise why",
            "see the last state",
        ),
        State(
            CLOSING,
            (),
            "is being closed",
            "are waited for if they are on their way; then they raise `SystemClosed`",
            "go on until it is closed; then they raise `SystemClosed`",
        ),
    )
}


def as_markdown() -> Iterator[str]:
    """Yields the lines of the table for the guide."""
    yield "| state | the node | calls | reads | then |"
    yield "| --- | --- | --- | --- | --- |"
    for row in TABLE.values():
        yield f"| {row.name} | {row.node} | {row.calls} | {row.reads} | {', '.join(row.follow) or '-'} |"


class Life:
    """Which state a node is in. Any thread may say what it becomes.

    ``call_back`` calls a function of the user's with what it is given, and lets nothing through that it raises.
    """

    def __init__(self, call_back: Callable[..., None]) -> None:
        self._call_back = call_back
        self._changing = threading.RLock()
        self.state = STARTING
        self.stalled: object = None
        """Why the node was stalled last; text, or what has a text."""
        self.stalled_at = 0
        """Which message it had come to then."""
        self.on_state_changed: Callable[[str, str], object] = lambda before, after: None
        self.on_ready: Callable[[], object] = _nothing

    def becomes(self, state: str) -> bool:
        """Goes over to a state, and tells. Returns False, with nothing changed, if that can't follow."""
        with self._changing:
            before = self.state
            if before == state:
                return True
            if state not in TABLE[before].follow:
                return False
            self.state = state
        self._call_back(self.on_state_changed, before, state)
        self.tell_if_ready()
        return True

    def stalls(self, why: object, position: int) -> None:
        """Goes over to stalled; ``position``: the last message that was applied."""
        self.stalled, self.stalled_at = why, position
        self.becomes(STALLED)

    @property
    def problem(self) -> object:
        """Why the node is stalled; None if it is not."""
        return self.stalled if self.state == STALLED else None

    def tell_if_ready(self) -> None:
        """Calls what waits for the node to be ready, if it is. Once."""
        if self.state == READY:
            with self._changing:
                function, self.on_ready = self.on_ready, _nothing
            self._call_back(function)


def _nothing() -> None:
    pass

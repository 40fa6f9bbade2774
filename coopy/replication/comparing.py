"""Whether the nodes agree: compares what batches came to here with what the other nodes say they came to there.

Each node says the digests of its newest batches twice a second. Where a majority of the members came to something else, or all others
did, it is this node that is wrong; its engine is told so, and stops before it applies more.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol

from coopy.errors import Diverged
from coopy.network.room import Facts
from coopy.replication import states
from coopy.replication.applier import Came
from coopy.replication.outlook import Outlook

KEPT_MAX = 5000
"""Of so many batches it is remembered what others said: more than one of them says at a time, by many times. The rest is of batches
that this node will meet much later, if at all."""
COMPARED = (states.READY, states.CATCHING_UP)
"""The states in which what a node says of its batches is taken: in another one it may know itself that it is wrong."""


class Compared(Protocol):
    """What is asked of this node's engine."""

    position: int
    trouble: BaseException | None

    @property
    def digests(self) -> Mapping[int, Came]:
        """What the newest batches came to here, by their sequence in the line."""
        ...


class Comparing:
    """What other nodes said, until it was compared. Any thread may say something."""

    def __init__(self, outlook: Outlook, has_vote: bool) -> None:
        self._outlook = outlook
        self._has_vote = has_vote
        """Whether this node is one of those that make a majority."""
        self._theirs: dict[int, dict[str, int]] = {}
        """For each of the newest batches, what it came to on other nodes."""
        self._comparing = threading.Lock()

    def hear(self, node: str, facts: Facts) -> None:
        """Takes what a node says of its batches."""
        if facts.get("state") in COMPARED:
            with self._comparing:
                for sequence, value in facts.get("digests", {}).items():
                    self._theirs.setdefault(int(sequence), {})[node] = int(value)

    def forget(self, engine: Compared) -> None:
        """Drops all that was said, and what it came to: this node goes on with another state."""
        with self._comparing:
            self._theirs.clear()
            engine.trouble = None

    def compare(self, engine: Compared) -> None:
        """Compares as far as this node has come. If it is this node that is wrong, sets the engine's ``trouble``."""
        with self._comparing:
            for sequence in sorted(self._theirs):
                came = engine.digests.get(sequence)
                if came is None:
                    if sequence <= engine.position:
                        self._theirs.pop(sequence, None)
                elif self._is_wrong(came, self._votes(sequence)):
                    self._theirs.clear()
                    engine.trouble = Diverged(_difference(sequence, came), came.first)
                    return
                elif len(self._votes(sequence)) >= len(self._outlook.nodes) - 1:
                    self._theirs.pop(sequence, None)
            while len(self._theirs) > KEPT_MAX:
                self._theirs.pop(next(iter(self._theirs)))

    def _votes(self, sequence: int) -> list[int]:
        members = set(self._outlook.names)
        return [value for node, value in self._theirs[sequence].items() if node in members]

    def _is_wrong(self, came: Came, votes: list[int]) -> bool:
        wrong = [value for value in votes if value != came.digest]
        if not wrong:
            return False
        number = len(self._outlook.nodes)
        are_most = max(map(wrong.count, wrong)) > number // 2
        # Of two, or where each came to something else, the node that leads is taken for right: one of them must be.
        are_all = len(votes) == number - 1 and len(wrong) == len(votes) and not self._outlook.leads
        return are_most or are_all or not self._has_vote


def _difference(sequence: int, came: Came) -> str:
    last = came.first + came.actions - 1
    which = f"action {came.first}" if came.actions == 1 else f"one of the actions {came.first} to {last}"
    return (
        f"{which} (message {sequence} of the line) came to something else here than on the other nodes: a method does what is not the "
        f"same everywhere, or this machine's memory is not what it was"
    )

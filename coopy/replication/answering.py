"""What replicas ask, and nodes answer: how far the line goes, and what its leader says of it. And what the command line has a node do.

A replica may not ask a stream's leader itself: such questions stand in one queue of the servers for all who ask, and whoever fills it
keeps the nodes from being answered. How often a node passes on a question is bounded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from coopy.errors import CoopyError, SystemClosed
from coopy.network.limits import TokenBucket
from coopy.network.room import Facts
from coopy.replication.servers import Servers

ASK_S = 2.0
"""The leader is asked for others so long; they ask again."""
SYNC_RATE = 50.0, 100.0
"""Questions for `sync` a second, and at once, of one connection: a replica's readers share one, see `coopy.network.limits.Together`."""
SNAPSHOT_RATE = 4.0, 10.0
"""Questions for a snapshot, of one connection: it is asked again each second while one is made."""
LINE_RATE = 10.0, 20.0
"""Questions about the line, of one connection: a replica looks once a second."""
CODE_RATE = 4.0, 10.0
"""Orders for another code version, of one connection: a person gives them."""
ROUND_RATE = 100.0, 200.0
"""So many messages a second, and at once, are put into the line for replicas that ask how far it goes, however many ask: each
is an entry that all nodes keep."""
LOOK_RATE = 50.0, 100.0
"""So many questions a second, and at once, are put to a stream's leader for replicas: it has the nodes to answer, too."""
RETRY_S = 0.2
"""When those come again who asked when too many did."""
SEQUENCE_MAX = 1 << 63
"""The servers count in 64 bits with a sign."""


class Synced(Protocol):
    """What is asked of the engine of a node that answers."""

    @property
    def position(self) -> int: ...

    def sync(self) -> None: ...


class Answering:
    """One node's answers. ``ended``: set once the node is being closed; ``name``: its name."""

    def __init__(self, name: str, engine: Synced, servers: Servers, ended: threading.Event) -> None:
        self._name = name
        self._engine = engine
        self._servers = servers
        self._ended = ended
        self._rounds = TokenBucket(*ROUND_RATE, servers.clock.now)
        self._looks = TokenBucket(*LOOK_RATE, servers.clock.now)

    def begin(self, snapshots: Callable[[list[Facts]], list[Facts]], set_code_version: Callable[[int], None]) -> None:
        """Answers from now on; ``snapshots`` answers the questions for those, ``set_code_version`` enables a code version."""
        room = self._servers.room
        room.answer("snapshot", snapshots, *SNAPSHOT_RATE)
        room.answer("sync", self.sync, *SYNC_RATE)
        room.answer("line", self.line, *LINE_RATE)
        room.answer("code", lambda asked: [_switched(each.get("version"), set_code_version) for each in asked], *CODE_RATE)

    def sync(self, asked: list[Facts]) -> list[Facts]:
        """Says to which message a replica must have come to have seen all that was acknowledged. Raises `SystemClosed`."""
        # Each round is a message of the line, for however many who wait.
        while not self._rounds.take():
            if self._servers.clock.wait(self._ended, self._rounds.wait_s()):
                raise SystemClosed(f"{self._name} is being closed")
        self._engine.sync()
        return [{"sequence": self._engine.position}] * len(asked)

    def line(self, asked: list[Facts]) -> list[Facts]:
        """Says what the stream's leader says of it, and whether it has a message. Raises `ClusterError`."""
        state = self._servers.state(ASK_S) if self._looks.take() else None
        found = []
        for each in asked:
            sequence = each.get("sequence")
            answer: Facts = {"state": state}
            if isinstance(sequence, int) and 0 < sequence < SEQUENCE_MAX and state is not None and self._looks.take():
                answer["there"] = self._servers.is_there(sequence, ASK_S)
            unanswered = state is None or sequence is not None and "there" not in answer
            found.append({"error": "too many ask", "retry_s": RETRY_S} if unanswered else answer)
        return found


def _switched(version: Any, set_code_version: Callable[[int], None]) -> Facts:
    """Enables a code version, and says whether it was refused."""
    try:
        set_code_version(version)
    except CoopyError as error:
        return {"refused": str(error)}
    return {"version": version}

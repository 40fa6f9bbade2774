"""Looks after a node, twice a second: its own server, who the members are, how long the line is, and whether the others agree.

It runs in a thread of its own, and decides by what `Outlook` has seen and what the engine says; each step takes the time as an
argument, so a test needs no thread and no waiting. What it finds wrong with this node it tells the engine, which stops or has it mended.
"""

from __future__ import annotations

import threading
from typing import Protocol

from coopy.errors import ClusterError, CoopyError, DamagedLine, NotAMember, SystemClosed
from coopy.ground import log
from coopy.ground.raised import last_resort
from coopy.network.address import parse
from coopy.network.membership import replicas
from coopy.network.room import Facts
from coopy.network.stream import State
from coopy.replication import states
from coopy.replication.comparing import Compared, Comparing
from coopy.replication.outlook import Outlook
from coopy.replication.servers import OwnServer, Servers
from coopy.replication.states import Life

SAY_S = 0.5
"""Each node says that often how it is: `coopy.network.room.ALIVE_S` is twenty times as long."""
LOOK_S = 1.0
"""The leader is asked that often how the line stands; each question goes through the one queue of the servers."""
FLUSH_S = 5.0
"""A node's own journal is synced that often. What a power cut takes from it is in the line; a sync more often costs the disk, and one
less often has the line keep more."""
LAGGING_S = 60.0
"""Servers mostly catch up within seconds; after a partition one sometimes stood still for more than a minute. By then it is cheaper to
start it again than to wait."""
LAG_MAX = 1000
"""Messages by which a server may be behind: a busy line has thousands in a second, and what the leader says of it is that old."""
BACKWARDS_S = 20.0
"""A leader that was cut off goes on saying how the line stood before: after a partition, clients on its side had no service for 13 to
20 s. A line that is shorter for longer than that, than what this node has applied, has lost what was acknowledged."""
KEPT_BYTES = 256 * 1024 * 1024
"""So much of the line is kept although every node has it: a node that was away for a while needs no snapshot."""
LINE_BYTES_MAX = 1024 * 1024 * 1024
"""Beyond that the oldest quarter goes although some node lacks it, and has to take a snapshot."""
assert KEPT_BYTES < LINE_BYTES_MAX, "what all nodes have goes before what some node lacks"


class Sender(Protocol):
    """What is asked of what sends this node's calls."""

    @property
    def problem(self) -> BaseException | None:
        """Why the servers do not take what this node sends."""
        ...


class Followed(Compared, Protocol):
    """What is asked of the node's engine."""

    @property
    def failure(self) -> BaseException | None:
        """Why the node applies no more."""
        ...

    @property
    def unapplied(self) -> object | None:
        """The action that the node can't apply and waits to see withdrawn."""
        ...

    @property
    def outbox(self) -> Sender: ...

    def fail(self, error: BaseException) -> None:
        """Stops the node: it applies no more."""
        ...


class Watched(Protocol):
    """What is asked of the node besides."""

    def facts(self) -> Facts:
        """Returns what this node says of itself."""
        ...

    def look_at_code(self) -> None:
        """Tells of another code version that was enabled."""
        ...

    def flush(self) -> None:
        """Makes the journal durable. Raises OSError, `CoopyError`."""
        ...


class Watching:
    """One node's. ``ended``: set once the node is being closed. ``looks_after_members``: whether they may change."""

    def __init__(
        self,
        node: Watched,
        engine: Followed,
        outlook: Outlook,
        life: Life,
        comparing: Comparing,
        servers: Servers,
        ended: threading.Event,
        looks_after_members: bool,
    ) -> None:
        self._node = node
        self._engine = engine
        self._outlook = outlook
        self._life = life
        self._comparing = comparing
        self._servers = servers
        self._ended = ended
        self._looks_after_members = looks_after_members
        self._looked_at = self._flushed_at = float("-inf")
        self.safe = 0
        """The last message whose actions are durable in this node's own journal."""
        self.unserved: BaseException | None = None
        """Why this node's own server could not be started again."""
        self._lagging_since: float | None = None
        self._backwards_since: float | None = None

    def keep(self) -> None:
        """Looks until the node is closed."""
        with last_resort(self._stop, of=BaseException):
            while not self._servers.clock.wait(self._ended, SAY_S):
                self.look(self._servers.clock.now())

    def _stop(self, error: BaseException) -> None:
        """Has the node say why nobody looks after it any more."""
        self._engine.fail(error)
        self._life.becomes(states.STOPPED)

    def look(self, now: float) -> None:
        """Does what is due."""
        self._look_at_state()
        self._servers.room.say(self._node.facts())
        self._servers.sparing.tick()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._look_at_line(now)
        if now - self._flushed_at >= FLUSH_S:
            self._flushed_at = now
            self.flush()
        self._comparing.compare(self._engine)

    def _look_at_state(self) -> None:
        engine, life = self._engine, self._life
        if engine.failure is not None:
            life.becomes(states.STOPPED)
        self._node.look_at_code()
        if life.state == states.STALLED and engine.position > life.stalled_at:
            life.becomes(states.READY)
        elif life.state == states.READY and engine.unapplied is not None:
            life.stalls(engine.unapplied, engine.position)

    def _look_at_line(self, now: float) -> None:
        # Before the leader is asked: what is applied while it answers may not be in its answer.
        position, before = self._engine.position, self._outlook.line
        try:
            state = self._outlook.look(0)
        except (ClusterError, SystemClosed):
            self._outlook.is_led(None)
            self._look_after_server(None, False, now)
            return
        self._outlook.is_led(state)
        self._look_after_server(state, before is None or state.last > before.last, now)
        self._look_for_loss(state, position, now)
        if self._looks_after_members:
            self._look_after_members(state)

    def _look_for_loss(self, state: State, position: int, now: float) -> None:
        """Stops the node if the servers have lost what it has applied."""
        if state.last >= position:
            self._backwards_since = None
        elif self._backwards_since is None:
            self._backwards_since = now
        elif now - self._backwards_since > BACKWARDS_S and self._engine.failure is None:
            self._engine.fail(
                DamagedLine(
                    f"the servers have {state.last} messages now, and this node has applied {position}: they "
                    f"have lost what was acknowledged. This node has stopped; its directory is whole"
                )
            )

    # -- the journal, and the length of the line

    def flush(self) -> None:
        """Makes the journal durable, and lets the line forget what every node has."""
        position = self._engine.position
        try:
            self._node.flush()
        except (OSError, CoopyError) as error:
            self._servers.sparing.error("not synced", "%s: the journal could not be synced: %s", self._outlook.name, error)
            return
        self.safe = position
        upto = self._forgettable()
        if upto:
            try:
                self._servers.line.forget(upto)
            except (ClusterError, SystemClosed) as error:
                self._servers.sparing.warn(
                    "not forgotten", "%s: the line keeps what all nodes have: %s", self._outlook.name, error
                )

    def _forgettable(self) -> int:
        """The message up to which the line may forget; 0 if nothing is to go, or another node sees to it."""
        state = self._outlook.line
        if state is None or not self._outlook.leads or state.bytes < KEPT_BYTES:
            return 0
        quarter = (state.last - state.first) // 4
        if state.bytes > LINE_BYTES_MAX:
            upto = min(self.safe, state.first + quarter)
        else:
            # A node that is not heard may lack everything.
            upto = min([self.safe, *(int(self._outlook.said(each).get("safe", 0)) for each in self._outlook.others)]) - quarter
        return upto if upto > state.first else 0

    # -- the server

    def _look_after_server(self, state: State | None, moves: bool, now: float) -> None:
        """Restarts this node's server if its copy of the stream does not catch up, or no server takes anything.

        ``state``: what the stream's leader said, None if there is none. ``moves``: whether anything came since it was asked last.
        """
        server = self._servers.own
        if server is None or not self._lags(server, state, moves):
            self._lagging_since = None
        elif self._lagging_since is None:
            self._lagging_since = now
        elif now - self._lagging_since > LAGGING_S:
            self._restart(server)

    def _restart(self, server: OwnServer) -> None:
        name = self._outlook.name
        log.error("%s: its server has not caught up or taken anything for %g s, and is started again", name, LAGGING_S)
        try:
            server.restart()
            self.unserved = None
        except (CoopyError, OSError) as error:
            # Others may keep the line meanwhile, and this node follows them.
            log.error("%s: its server could not be started, which is tried again in %g s: %s", name, LAGGING_S, error)
            self.unserved = error
            self._lagging_since = self._servers.clock.now()
            return
        if self._ended.is_set():
            server.stop()  # The node was closed just before.
        self._lagging_since = None

    def _lags(self, server: OwnServer, state: State | None, moves: bool) -> bool:
        if not server.running:
            return True
        if state is None or (self._engine.outbox.problem is not None and not moves):
            # A server that could not write once takes nothing any more. Where too few nodes are there it is not that.
            return self._outlook.most_are_there()
        mine = next((peer for peer in state.peers if peer[0] == self._outlook.name), None)
        return mine is not None and not (mine[1] and mine[3] < LAG_MAX)

    # -- the members

    def _look_after_members(self, state: State) -> None:
        """Stops a node that was removed; has as many servers keep the line as there are members for."""
        try:
            nodes = [parse(each) for each in self._servers.members.nodes()] or self._outlook.nodes
        except ClusterError:
            return
        self._outlook.are_members(nodes)
        name, own = self._outlook.name, self._servers.own
        if name not in self._outlook.names:
            self._engine.fail(
                NotAMember(f"{name} was removed from the cluster; what it has is whole. It follows the others no more")
            )
            self._life.becomes(states.STOPPED)
            self._ended.set()
            if own is not None:
                own.stop()
        elif own is not None and state.replicas < replicas(len(nodes)) and self._outlook.leads:
            try:
                self._servers.members.grow(self._outlook.there)
            except (ClusterError, SystemClosed) as error:
                self._servers.sparing.warn(
                    "not grown", "%s: the line is kept by %d servers only: %s", name, state.replicas, error
                )

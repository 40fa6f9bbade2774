"""The servers of a node as they are: nats-server, started here, at other nodes, or by the user. A `coopy.replication.servers.Servers`.

Starts this node's server if the role has one, asks the other nodes who the members are, and connects. What is asked of a connection is
in `coopy.network`; what a node does with all that is in `coopy.replication.node`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from coopy.errors import AuthenticationFailed, NotAMember, SystemClosed, Unavailable, UsageError
from coopy.ground import log
from coopy.ground.line import DUPLICATES_S
from coopy.ground.raised import on_failure
from coopy.network import room as rooms
from coopy.network import shipping, stream, wire
from coopy.network.address import Address, parse
from coopy.network.connection import Connection
from coopy.network.limits import Sparing
from coopy.network.membership import Membership
from coopy.network.room import Room, Turn
from coopy.network.server import folder, proof
from coopy.network.server.configuration import PAYLOAD_BYTES_MAX, Settings
from coopy.network.server.elections import Elections
from coopy.network.server.supervisor import Supervisor
from coopy.network.shipping import ShippedSnapshots
from coopy.network.stream import State, Stream
from coopy.network.subjects import NODE, REPLICA, SYSTEM, Names
from coopy.network.wire import NoTLS
from coopy.replication import outbox
from coopy.replication.outbox import RECORD_BYTES_MAX
from coopy.replication.role import Role, context
from coopy.replication.servers import OPEN_S

ASK_S = 2.0
"""One node is asked who the members are; if it does not answer soon, the next one is."""
ANSWER_S = 0.5
"""Where nobody takes a connection within that there is no node."""
MAKE_S = 2.0
"""It is tried again until the node gives up opening: right after a start there is no leader to ask."""

assert RECORD_BYTES_MAX < stream.MESSAGE_BYTES_MAX < PAYLOAD_BYTES_MAX < wire.MESSAGE_BYTES_MAX, "a record fits into a message"
assert outbox.RETRY_S_MAX + stream.SEND_S < DUPLICATES_S / 10, "what is sent again is known by its name, also after some tries"


class JetStream:
    """One node's way to servers of NATS with JetStream. ``directory``: the node's own."""

    line: Stream
    room: Room
    shipped: ShippedSnapshots
    members: Membership

    def __init__(self, role: Role, names: Names, directory: str) -> None:
        self._role = role
        self._names = names
        self._place = os.path.join(directory, "server")
        self.own: Supervisor | None = None
        self.clock = ThisMachine()
        self._connection: Connection | None = None
        self._elections: Elections | None = None

    @property
    def sparing(self) -> Sparing:
        return self._connected.sparing

    @property
    def url(self) -> str | None:
        return None if self._connection is None else self._connection.url

    @property
    def _connected(self) -> Connection:
        connection = self._connection
        if connection is None:
            raise SystemClosed(f"{self._role.id} is not connected to the servers")
        return connection

    # -- opening

    def open(self) -> tuple[Address, ...]:
        own = self._role
        nodes = own.nodes
        if own.where.starts_one:
            if own.joins_others:
                nodes = self._members_now()
            self._start_server(nodes)
        self._connect(nodes)
        if own.where.starts_one and own.joins_others and own.begins_elections:
            self._elections = Elections(own.id, self._names, self._wire_as_system)
            self.clock.start(self._elections.keep, f"coopy elections {own.id}")
        return nodes

    def _members_now(self) -> tuple[Address, ...]:
        """The members as the others know them, or as this node knew them last. Raises `NotAMember`."""
        os.makedirs(self._place, 0o700, exist_ok=True)
        own = self._role
        others = [each for each in own.nodes if each != own.node]
        remembered = folder.remembered(self._place) or ()
        # One that was alone is started as one of several to become so.
        nodes = self._asked_for_members(others) or (remembered if len(remembered) > 1 else own.nodes)
        if own.node not in nodes:
            self.remember(nodes)
            raise NotAMember(
                f"{own.node} is not a member of the cluster; these are: {', '.join(map(str, nodes))}. Nothing was opened and "
                f"its server was not started. Let it join again with `coopy cluster add {own.node}` at one of the others."
            )
        return nodes

    def _asked_for_members(self, others: Sequence[Address]) -> tuple[Address, ...] | None:
        """What the first says that lets this node in. Raises `AuthenticationFailed` if nobody does, and one has another password."""
        refused: AuthenticationFailed | None = None
        for each in others:
            if not _answers(each):
                continue
            connection = self._connected_to([f"{self._scheme}://{each}"], NODE, self._role.password)
            try:
                connection.open(ASK_S)
            except AuthenticationFailed as error:
                # At the address of a node that is away may be anybody, and the others can do without it. With another password it
                # is a node all the same, and who started this one has to hear of that.
                if isinstance(error.__cause__, NoTLS):
                    log.warn("%s: %s", self._role.id, error)
                else:
                    refused = error
                continue
            except Unavailable:
                continue
            if refused is not None:
                log.warn("%s: %s", self._role.id, refused)
            try:
                facts = connection.run(Room(connection, self._names, self._role.id, writes=True).read("members"), ASK_S)
            except Unavailable:
                return None
            finally:
                connection.close()
            return None if facts is None else tuple(parse(each) for each in facts["nodes"])
        if refused is not None:
            raise refused
        return None

    def remember(self, nodes: Sequence[Address]) -> None:
        folder.remember(self._place, nodes)

    @property
    def _scheme(self) -> str:
        return "nats" if self._role.tls is None else "tls"

    def _connected_to(self, urls: list[str], user: str, password: str) -> Connection:
        return Connection(urls, user, password, name=f"coopy {self._role.id}", **self._recognised(user, password))

    def _recognised(self, user: str | None, password: str | None) -> dict[str, Any]:
        """By what a connection knows the other side for the right one, and what to do if it is another."""
        own = self._role
        if own.tls is not None or user is None or password is None:
            return {"tls": context(own.tls), "advice": own.advice}
        return {"tls": proof.context(user, password), "tls_name": proof.name(user), "advice": own.advice}

    def _start_server(self, nodes: Sequence[Address]) -> None:
        own, place = self._role, self._place
        os.makedirs(place, 0o700, exist_ok=True)
        folder.set_store_aside(place, "alone" if len(nodes) == 1 else "cluster")
        node_password, replica_password = own.server_passwords(lambda: folder.own_password(place))
        tls, replica_tls = own.tls, None
        if tls is None:
            tls = proof.files(place, NODE, node_password, own.node.host)
            if replica_password is not None:
                replica_tls = proof.files(place, REPLICA, replica_password, own.node.host)
        self.own = Supervisor(
            Settings(
                directory=place,
                name=str(own.node),
                listen=own.node,
                peers=tuple(nodes) if len(nodes) > 1 else (),
                node_password=node_password,
                replica_password=replica_password,
                subject=self._names.subject,
                tls=tls,
                replica_tls=replica_tls,
            )
        )
        self.own.start()

    def _connect(self, nodes: Sequence[Address]) -> None:
        own = self._role
        user, urls = own.where.user, own.where.urls(self._scheme, [own.node, *nodes])
        password = None if user is None else own.password
        if self.own is not None:
            urls[0], password = self.own.url, self.own.settings.node_password
        inbox, api = self._names.way(user)
        connection = self._connection = Connection(
            list(dict.fromkeys(urls)),
            user,
            password,
            name=f"coopy {own.id}",
            inbox=inbox,
            api=api,
            **self._recognised(user, password),
        )
        with on_failure(setattr, self, "_connection", None):
            connection.open(OPEN_S if own.writes else min(own.timeout_s, OPEN_S))
        self.room = Room(connection, self._names, own.id, writes=own.writes)
        # What asks a stream's leader is done by servers in one queue for all, which anybody could fill.
        asks = None if own.where.asks_leader else self.room.asked
        self.line = Stream(connection, self._names, writes=own.writes, asks=asks)
        self.shipped = ShippedSnapshots(connection, self._names)
        self.members = Membership(connection, self._names, self.room, self._as_system)

    def _as_system(self) -> Connection:
        if self.own is None:
            raise UsageError("the servers are not coopy's own: change their number with their own tools")
        return self._connected_to([self.own.url], SYSTEM, self.own.settings.node_password)

    def _wire_as_system(self, subscribe: Sequence[bytes], bell: wire.Bell) -> wire.Wire:
        """One to this node's own server. Raises OSError."""
        own = self.own
        if own is None:
            raise ConnectionError("the server was stopped")
        password = own.settings.node_password
        given = self._recognised(SYSTEM, password)
        return wire.Wire(
            own.url,
            SYSTEM,
            password,
            subscribe=subscribe,
            bell=bell,
            name=f"coopy elections {self._role.id}",
            tls=given["tls"],
            tls_name=given.get("tls_name"),
        )

    # -- asking

    def make(self, replicas: int) -> None:
        connection = self._connected
        for make in (rooms.make, shipping.make):
            connection.run(make(connection, self._names, replicas), MAKE_S)

    def make_line(self, replicas: int, first: int) -> None:
        connection = self._connected
        connection.insist(lambda: stream.make(connection, self._names, replicas, first), OPEN_S)

    def state(self, timeout_s: float) -> State:
        return self._connected.run(self.line.state(), timeout_s)

    def is_there(self, sequence: int, timeout_s: float) -> bool:
        return self._connected.run(self.line.is_there(sequence), timeout_s)

    def turn(self, key: str, limit_s: float) -> Turn:
        return Turn(self.room, key, limit_s)

    def leading(self, state: State, nodes: Sequence[Address], there: Iterable[str]) -> str | None:
        # A node that took itself for it then would carry out effects that another does as well.
        if state.leader and not self._role.where.names_nodes:
            # It is the name of a server of the user's, not of a node: the first of those that are heard.
            return next((str(each) for each in sorted(nodes) if str(each) in there), None)
        return state.leader or (None if state.peers else str(self._role.node))

    def elections(self) -> dict[str, Any]:
        found = self._elections
        if found is None:
            why = "quick_elections=False" if not self._role.begins_elections else "no server of this node's joins others"
            return {"elections_off": why, "election_probes": 0, "election_kicks": 0}
        return {"elections_off": found.off, "election_probes": found.probes, "election_kicks": found.kicks}

    # -- closing

    def close(self) -> None:
        if self._elections is not None:
            self._elections.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            self.room.close()
            self.line.close()
            connection.close()
        server, self.own = self.own, None
        if server is not None:
            server.stop()


class ThisMachine:
    """The time of this machine. A `coopy.replication.servers.Clock`."""

    now = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)

    def wait(self, ended: threading.Event, seconds: float) -> bool:
        return ended.wait(seconds)

    def start(self, function: Callable[[], None], name: str) -> None:
        threading.Thread(target=function, name=name, daemon=True).start()


def _answers(address: Address) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection(address, ANSWER_S).close()
    except OSError:
        return False
    return True

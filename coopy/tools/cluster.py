"""What a running cluster says of itself, and the changes of its members, asked for from outside of it.

Connects as the nodes do, as the user "node"; reads no data directory but for the password and the address of a node
that it is told to look for there. What is not well is said in one line each, by `Cluster.problems`.

A cluster without a majority still answers as far as its nodes can be heard: then there are no streams to be read, and the
system is known by what the nodes say.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from coopy import AuthenticationFailed, ClusterError, Unavailable, UsageError
from coopy.ground.paths import absolute, reads
from coopy.network.address import Address, parse
from coopy.network.connection import Connection
from coopy.network.membership import Membership, replicas
from coopy.network.room import Facts, Room
from coopy.network.server import folder, loopback, proof
from coopy.network.server.configuration import TLS
from coopy.network.subjects import ALIVE_OF_ALL, NODE, STREAM_NAMES, SYSTEM, Names

OPEN_S = 5.0  # A server that answers at all answers at once; the command says so otherwise.
ASK_S = 2.0  # An election takes a second or two: what is not known then is shown as not known.
HEAR_S = 1.2
"""Each node says twice a second how it is."""
INFORM_S = 1.0  # Each stream is asked in turn, and a person waits.
SWITCH_S = 30.0  # A call of a node waits so long by default.
LEAD_S = 15.0  # A leader that steps down is followed within an election, or a few on a busy machine.
RETRY_S = 0.1  # A person waits: it is looked again this often.
READY = "ready"


class Door(NamedTuple):
    """Where a cluster is reached, and with what."""

    at: Address
    password: str
    tls: TLS | None = None
    """None: the certificates that the password makes."""

    def connection(self, nodes: Sequence[Address], user: str = NODE) -> Connection:
        """A connection to one of several nodes, not yet open. Raises `UsageError`."""
        if self.tls is None:
            urls = [f"nats://{each}" for each in nodes]
            context = proof.context(user, self.password)
            return Connection(urls, user, self.password, name="coopy cluster", tls=context, tls_name=proof.name(user))
        try:
            context = ssl.create_default_context(cafile=self.tls.authority)
        except OSError as error:
            raise UsageError(f"{self.tls.authority}: {error.strerror or error}") from error
        return Connection([f"tls://{each}" for each in nodes], user, self.password, name="coopy cluster", tls=context)

    def is_another_s(self) -> bool:
        """Whether somebody is there who has another password. Raises `UsageError`."""
        connection = self.connection([self.at])
        try:
            connection.open(0)
        except AuthenticationFailed:
            return True
        except Unavailable:
            return False
        connection.close()
        return False


class Peer(NamedTuple):
    """A server that keeps a stream."""

    node: str
    current: bool
    offline: bool
    lag: int
    """Messages."""


class Kept(NamedTuple):
    """A stream, as its leader says."""

    name: str
    leader: str | None
    replicas: int
    first: int
    last: int
    messages: int
    bytes: int
    peers: tuple[Peer, ...]
    """The leader is not one of them."""


@dataclass(frozen=True)
class Node:
    """A member, or somebody else who is heard."""

    name: str
    member: bool
    replica: bool
    state: str
    """As it says itself; "away": it is not heard."""
    position: int | None
    index: int | None
    leads: bool
    server: str
    """Of its copy of the line: "leads", "current", "behind", "offline", "" if it keeps none."""
    lag: int
    code: int | None = None
    """The highest code version that it has."""
    enabled: int | None = None
    """The code version that is enabled on it."""
    uptime: int | None = None
    """Seconds."""

    def as_plain(self) -> dict[str, object]:
        """What is told of the node that is asked alone, under the names that `ClusterControl.status` gives it."""
        return {
            "state": self.state,
            "uptime": self.uptime,
            "self_code_version": self.code,
            "enabled_code_version": self.enabled,
        }


class Cluster(NamedTuple):
    """All that was found."""

    system: str
    members: tuple[str, ...] | None
    """None: no majority, so nobody can say."""
    nodes: tuple[Node, ...]
    streams: tuple[Kept, ...]
    problems: tuple[str, ...]

    @property
    def leader(self) -> str | None:
        return next((node.name for node in self.nodes if node.leads), None)

    def as_dict(self) -> dict[str, Any]:
        """In the types of JSON."""
        streams = [{**each._asdict(), "peers": [peer._asdict() for peer in each.peers]} for each in self.streams]
        return {
            "system": self.system,
            "leader": self.leader,
            "members": None if self.members is None else list(self.members),
            "nodes": [asdict(each) for each in self.nodes],
            "streams": streams,
            "problems": list(self.problems),
        }

    def as_plain(self, at: str) -> dict[str, object]:
        """The same under the names that `ClusterControl.status` gives them, as far as it can be seen from outside."""
        members = [node for node in self.nodes if node.member]
        heard = [node for node in members if node.position is not None]
        line = self.streams[0] if self.streams else None
        return {
            "self": at,
            "leader": self.leader,
            "has_quorum": self.leader is not None and len(heard) > len(members) // 2,
            "partner_nodes_count": sum(node.name != at for node in members),
            "readonly_nodes_count": sum(node.replica for node in self.nodes),
            "log_len": 0 if line is None else line.messages,
            "log_bytes": 0 if line is None else line.bytes,
            "commit_idx": 0 if line is None else line.last,
            "last_applied": max((node.index or 0 for node in heard), default=0),
            **{f"partner_node_status_server_{node.name}": 2 if node in heard else 0 for node in members if node.name != at},
            **{f"position_{node.name}": node.position for node in heard},
            **{f"state_{node.name}": node.state for node in members},
            **{
                key: value for node in members if node.name == at for key, value in node.as_plain().items() if value is not None
            },
        }


# -- where to look


def this_users(at: Address) -> str | None:
    """Returns the password of nodes on this machine that this user gave none, unless the node there has another. Raises `UsageError`."""
    found = loopback.find() if at.is_loopback else None
    password = None if found is None else loopback.for_user(found, NODE)
    return None if password is None or Door(at, password).is_another_s() else password


def beside(directory: str) -> tuple[Address, str | None, TLS | None]:
    """Of a node's data directory: where the node is, the password of its server if it made one itself, certificates it was given.

    Raises `UsageError` if it is not a node's.
    """
    place = os.path.join(absolute(directory), "server")
    with reads(place):
        return _beside(directory, place)


def _beside(directory: str, place: str) -> tuple[Address, str | None, TLS | None]:
    try:
        with open(os.path.join(place, "server.conf"), errors="replace") as file:
            said = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{directory}: is not the directory of a node: it has no server/server.conf") from None
    name = _said(said, "server_name")
    if name is None:
        raise UsageError(f"{place}/server.conf: does not say which node it is of")
    at = parse(name)
    at = at._replace(host={"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at.host, at.host))
    authority = _said(said, "ca_file")
    made = authority is None or authority.endswith(f"/server/{proof.AUTHORITY}")
    return at, folder.read(os.path.join(place, "secret")), None if made else TLS("", "", str(authority))


def _said(text: str, key: str) -> str | None:
    found = re.search(rf'^ *{key}: "((?:[^"\\]|\\.)*)"$', text, re.M)
    return None if found is None else re.sub(r"\\(.)", r"\1", found[1])


class Visit:
    """A connection to a running system. Made by `visiting`."""

    def __init__(self, door: Door, connection: Connection, system: str) -> None:
        self.door = door
        self.system = system
        self._names = Names(system)
        self._connection = connection
        self._room = Room(connection, self._names, f"coopy cluster {os.uname().nodename}:{os.getpid()}", writes=True)
        self._members: tuple[Address, ...] = ()
        self.membership = Membership(connection, self._names, self._room, self._as_system)

    def _as_system(self) -> Connection:
        return self.door.connection(self._members or (self.door.at,), SYSTEM)

    # -- looking

    def hear(self, members: Sequence[str] = ()) -> None:
        """Listens until each of these nodes was heard, or as long as each would have been."""
        self._room.enter()
        deadline = time.monotonic() + (2 * HEAR_S if members else HEAR_S)
        while time.monotonic() < deadline and not (members and set(members) <= set(self._room.alive())):
            time.sleep(RETRY_S)

    def look(self) -> Cluster:
        """What there is to be seen. Takes a second or two."""
        self.hear()
        heard = self._room.alive()
        problems: list[str] = []
        members, streams = self._written(problems)
        line = next((each for each in streams if each.name == self._names.stream), None)
        names = [*(members or ()), *sorted(set(heard) - set(members or ()))]
        nodes = tuple(_node(name, members, heard.get(name), line, self.door.at) for name in names)
        problems += _problems(nodes, streams, members)
        return Cluster(self.system, members, nodes, streams, tuple(dict.fromkeys(problems)))

    def _written(self, problems: list[str]) -> tuple[tuple[str, ...] | None, tuple[Kept, ...]]:
        """The members, and the streams of the system, as far as the servers answer."""
        members: tuple[str, ...] | None = None
        try:
            facts = self._connection.run(self._room.read("members"), ASK_S)
            members = tuple(facts["nodes"]) if facts is not None else ()
        except ClusterError:
            problems.append("the servers do not say who the members are: there is no majority of them, or no leader yet")
        found = []
        for name in self._names.streams:
            try:
                found.append(self._connection.run(self._stream(name), ASK_S))
            except ClusterError:
                problems.append(f"{name}: no leader answers")
        return members, tuple(found)

    async def _stream(self, name: str) -> Kept:
        # While there is no leader nobody answers, and the library would wait for five seconds.
        found = await asyncio.wait_for(self._connection.stream_api.stream_info(name), INFORM_S)
        cluster, state = found.cluster, found.state
        peers = [] if cluster is None else cluster.replicas or []
        return Kept(
            name,
            # Alone, a server names nobody.
            cluster.leader if cluster is not None and cluster.leader else None,
            found.config.num_replicas or 1,
            state.first_seq,
            state.last_seq,
            state.messages,
            state.bytes,
            tuple(Peer(str(each.name), bool(each.current), bool(each.offline), each.lag or 0) for each in peers),
        )

    # -- changing

    def add(self, node: str) -> list[str]:
        """Lets a node join. Raises `UsageError`, `ClusterError`."""
        self.hear(self.membership.nodes())
        return self.membership.add(node)

    def remove(self, node: str) -> list[str]:
        """Takes a node out. Raises `UsageError`, `ClusterError`."""
        nodes = self.membership.nodes()
        self._members = tuple(parse(each) for each in nodes if each != node)
        self.hear([each for each in nodes if each != node])
        return self.membership.remove(node)

    def set_version(self, version: int) -> None:
        """Has all nodes run the methods of a code version from now on. Raises `UsageError` if the nodes refuse it, `ClusterError`."""
        found = self._room.ask("code", {"version": version}, SWITCH_S)
        if "refused" in found:
            raise UsageError(str(found["refused"]))

    def lead(self, node: str | None) -> str:
        """Has another node lead; returns which one does. Raises `UsageError`, `ClusterError`."""
        nodes = self.membership.nodes()
        if node is not None and node not in nodes:
            raise UsageError(f"{node} is not a member; these are: {', '.join(nodes)}")
        if len(nodes) < 3:
            raise UsageError(f"only {nodes[0]} keeps the line: there is nobody else to lead")
        before = self._connection.insist(lambda: self._stream(self._names.stream), LEAD_S)
        if before.leader is None:
            raise ClusterError(
                "nobody leads: there is no majority of the servers. Nothing was changed; start the nodes that are away."
            )
        if before.leader == node:
            return node
        peers = {each.node: each for each in before.peers}
        if node is not None and (node not in peers or not peers[node].current):
            why = "is not up to date" if node in peers else "does not keep the line"
            raise ClusterError(f"{node} {why}, and can't lead. Nothing was changed.")
        self.membership.transfer(node)
        deadline = time.monotonic() + LEAD_S
        while True:
            found = self._connection.insist(lambda: self._stream(self._names.stream), LEAD_S)
            if found.leader is not None and found.leader != before.leader:
                break
            if time.monotonic() > deadline:
                raise ClusterError(f"{before.leader} still leads after {LEAD_S:g} s. Nothing else was changed; try again.")
            time.sleep(RETRY_S)
        if node is not None and found.leader != node:
            raise ClusterError(f"{found.leader} leads now, and not {node}. Nothing else was changed; try again.")
        return found.leader


@contextmanager
def visiting(door: Door, system: str | None = None, elsewhere: str | None = None) -> Iterator[Visit]:
    """Connects to a system; ``system``: its name, if there are several; ``elsewhere``: not to this node's server.

    Raises `UsageError`, `AuthenticationFailed`, `Unavailable`.
    """
    connection = door.connection([door.at])
    connection.open(OPEN_S)
    try:
        name = _system(connection, system)
        if elsewhere == str(door.at):
            # Its server is about to stop, and with it whoever talks through it.
            others = [parse(each) for each in Visit(door, connection, name).membership.nodes() if each != elsewhere]
            if others:
                connection.close()
                connection = door.connection(others)
                connection.open(OPEN_S)
        yield Visit(door, connection, name)
    finally:
        connection.close()


def _system(connection: Connection, wanted: str | None) -> str:
    """The name of the system that the servers keep. Raises `UsageError`, `Unavailable`."""
    try:
        found = connection.run(_stored(connection), ASK_S)
    except Unavailable:
        # No majority: the nodes can be heard all the same.
        found = connection.run(_heard(connection), HEAR_S + ASK_S)
        if not found and wanted is None:
            raise Unavailable(
                f"{connection.url}: the servers have no leader, and no node is heard. Nothing was changed. See that a "
                f"majority of the nodes runs; after a start it takes some seconds."
            ) from None
    if wanted is not None:
        if found and wanted not in found:
            raise UsageError(f"--system {wanted}: is not there; these are: {', '.join(sorted(found))}")
        return wanted
    if not found:
        raise UsageError(f"{connection.url}: no system was begun there yet")
    if len(found) > 1:
        raise UsageError(f"there are several systems; say which one with --system: {', '.join(sorted(found))}")
    return found.pop()


async def _stored(connection: Connection) -> set[str]:
    answer = await connection.client.request(STREAM_NAMES, b"{}", timeout=ASK_S)
    said = json.loads(answer.data)
    if "error" in said:
        raise Unavailable(str(said["error"].get("description")))
    found = map(Names.of_stream, said.get("streams") or [])
    return {each.id for each in found if each is not None}


async def _heard(connection: Connection) -> set[str]:
    found = set()

    async def heard(message: Any) -> None:
        found.add(Names.of_alive(message.subject).id)

    subscription = await connection.client.subscribe(ALIVE_OF_ALL, cb=heard)
    await asyncio.sleep(HEAR_S)
    await subscription.unsubscribe()
    return found


def _node(name: str, members: tuple[str, ...] | None, facts: Facts | None, line: Kept | None, at: Address) -> Node:
    leads, server, lag = False, "", 0
    if line is not None:
        peer = next((each for each in line.peers if each.node == name), None)
        alone = line.leader is None and line.replicas == 1 and (members or ())[:1] == (name,)
        if line.leader == name or alone:
            leads, server = True, "leads"
        elif peer is not None:
            server, lag = "offline" if peer.offline else "current" if peer.current else "behind", peer.lag
    replica = bool(facts and facts.get("replica"))
    return Node(
        name.removeprefix("replica ") if replica else name,
        # Without a majority nobody can say; whoever speaks as a node is one.
        not replica if members is None else name in members,
        replica,
        READY if replica else "away" if facts is None else str(facts.get("state")),
        None if facts is None else int(facts["position"]),
        None if facts is None else int(facts["index"]),
        leads,
        server,
        lag,
        *(_number(facts, key) for key in ("code", "enabled", "uptime")),
    )


def _number(facts: Facts | None, key: str) -> int | None:
    return None if facts is None or facts.get(key) is None else int(facts[key])


def _problems(nodes: tuple[Node, ...], streams: tuple[Kept, ...], members: tuple[str, ...] | None) -> Iterator[str]:
    """Each thing that is not as it is to be, in one line."""
    led = any(node.leads for node in nodes)
    for node in nodes:
        if node.member and node.state == "away":
            yield f"{node.name}: is not heard. Start it" + (f", or `coopy cluster remove {node.name}`" if led else "")
        elif node.member and node.state != READY:
            yield f"{node.name}: is {node.state}"
        elif not node.member and not node.replica:
            yield f"{node.name}: is heard, and is not a member"
    for stream in streams:
        if stream.leader is None and stream.peers:
            yield f"{stream.name}: has no leader. That takes a majority of the servers that keep it, and some seconds"
            continue
        for peer in stream.peers:
            if members and peer.node not in members:
                yield f"{stream.name}: {peer.node} keeps it, and is not a member"
            elif peer.offline:
                yield f"{stream.name}: the server of {peer.node} is away"
            elif not peer.current:
                yield f"{stream.name}: the server of {peer.node} is not up to date" + (
                    f", by {peer.lag:,} messages" if peer.lag else ""
                )
        if members and stream.replicas < replicas(len(members)):
            yield f"{stream.name}: {stream.replicas} of the {len(members)} nodes keep it; it is to be {replicas(len(members))}"

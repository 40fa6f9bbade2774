"""What a node does for another leader to be elected soon: with a server that is made up, and with three real ones."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from coopy.errors import ClusterError
from coopy.ground.raised import on_failure
from coopy.network.address import Address
from coopy.network.connection import Connection
from coopy.network.server import votes
from coopy.network.server.elections import Elections
from coopy.network.server.supervisor import Supervisor
from coopy.network.subjects import NODE as NODES
from coopy.network.subjects import SYSTEM, Names
from coopy.network.wire import Bell, Delivered, Wire

from .servers import NODE, free_port, running, settings, until

NAMES = Names("shop")


class Silent:
    """A server of some release that answers nothing, or what it is told to. In place of a `Wire`."""

    def __init__(self, version: str) -> None:
        self.version, self.server_id = version, "SERVER"
        self.said: list[tuple[str, str, bytes]] = []
        self.coming: list[Delivered] = []
        self.answers: dict[str, bytes] = {}
        self.came = threading.Condition()
        self.closed = False

    def say(self, data: bytes) -> None:
        line, _, body = data.partition(b"\r\n")
        _, subject, *rest = line.split()
        reply = rest[0] if len(rest) > 1 else b""
        self.said.append((subject.decode(), reply.decode(), body[:-2]))
        for prefix, answer in self.answers.items():
            if subject.startswith(prefix.encode()):
                self.deliver(1, reply, answer)

    def deliver(self, subscription: int, subject: bytes, data: bytes, reply: bytes = b"") -> None:
        with self.came:
            self.coming.append(Delivered(subscription, subject, b"", data, reply))
            self.came.notify()

    def wait(self, timeout_s: float) -> None:
        if self.closed:
            raise ConnectionError("it was closed")
        with self.came:
            self.came.wait_for(lambda: self.coming, min(timeout_s, 0.01))

    def read(self) -> list[Delivered]:
        with self.came:
            found, self.coming = self.coming, []
            return found

    def has_more(self) -> bool:
        return bool(self.coming)

    def close(self) -> None:
        self.closed = True


@contextlib.contextmanager
def watching(wire: Silent) -> Iterator[Elections]:
    def connect(subscribe: Sequence[bytes], bell: Bell) -> Any:
        if wire.closed:
            raise ConnectionError("nobody is there")
        return wire

    elections = Elections("a:1", NAMES, connect)
    thread = threading.Thread(target=elections.keep)
    thread.start()
    try:
        yield elections
    finally:
        elections.close()
        thread.join()


def group(leader: str = "CCCCCCCC") -> bytes:
    peers = {each * 8: {"name": f"127.0.0.1:{1000 + ord(each)}"} for each in "BC"}
    said = {"id": "A" * 8, "leader": leader, "term": 3, "size": 3, "pindex": 7, "peers": peers}
    return json.dumps({"data": {"COOPY": {"S-R3F-x": said}}}).encode()


def vote(member: str) -> bytes:
    return b"\x03" + bytes(7) + member.encode() * 8 + b"\x00"


@pytest.mark.parametrize("version", ["2.16.0", "2.11.10", "2.12.0", "3.0.0", "", "2.15.0-dev"])
def test_a_server_of_a_release_that_is_not_known_is_asked_nothing(version: str) -> None:
    wire = Silent(version)
    with watching(wire) as elections:
        until(lambda: version in (elections.off or ""))
        wire.deliver(
            2, b"coopy.shop.leaderless", json.dumps({"server": "B" * 8, "lacks": {"S-R3F-x": 3}}).encode(), b"_INBOX.b"
        )
        until(lambda: not wire.coming)
    assert wire.said == [] and (elections.probes, elections.kicks) == (0, 0)


@pytest.mark.parametrize("answers", [{}, {"$SYS": b""}, {"$SYS": b"nonsense"}, {"$SYS": b'{"data": 5}'}, {"$SYS": group()}])
def test_a_server_that_refuses_or_says_something_else_is_asked_on_and_no_election_is_begun(answers: dict[str, bytes]) -> None:
    wire = Silent("2.15.1")
    wire.answers = {**answers, "$NRG": b"no vote"}
    with watching(wire) as elections:
        until(lambda: sum(subject.startswith("$SYS") for subject, _, _ in wire.said) >= 2)
        until(lambda: len(wire.said) >= 6 or answers != {"$SYS": group()})
    assert elections.kicks == 0 and not [body for subject, _, body in wire.said if subject.startswith("$NRG") and body[0]]


def test_a_majority_that_finds_the_leader_silent_begins_an_election() -> None:
    wire = Silent("2.15.1")
    wire.answers = {
        "$SYS": group(),
        "$NRG": vote("A"),
        "coopy.shop.leaderless": b'{"server": "BBBBBBBB", "lacks": {"S-R3F-x": 3}}',
    }
    with watching(wire) as elections:
        until(lambda: elections.kicks)
        assert elections.off is None and elections.probes > 0
    begun = [body for subject, _, body in wire.said if subject == "$NRG.V.S-R3F-x" and body != votes.question("A" * 8)]
    assert begun[0] == votes.request(4, "A" * 8)


def test_a_node_that_is_asked_says_what_it_sees() -> None:
    wire = Silent("2.15.1")
    wire.answers = {"$SYS": group(), "$NRG": vote("A")}
    asked = json.dumps({"server": "B" * 8, "lacks": {}}).encode()

    def seen() -> Any:
        wire.deliver(2, b"coopy.shop.leaderless", asked, b"_INBOX.b")
        found = [json.loads(body) for subject, _, body in wire.said if subject == "_INBOX.b"]
        return found and found[-1] == {"server": "A" * 8, "lacks": {"S-R3F-x": 3}}

    with watching(wire) as elections:
        until(seen)
    assert elections.kicks == 0


@pytest.mark.parametrize(
    "data", [b"", b"5", b"{}", b'{"server": "B"}', b'{"server": "B", "lacks": 5}', b'{"server": "B", "lacks": {"x": "y"}}']
)
def test_what_another_says_that_can_not_be_read_is_dropped(data: bytes) -> None:
    wire = Silent("2.15.1")
    wire.answers = {"$SYS": group(), "$NRG": vote("A"), "coopy.shop.leaderless": data}
    with watching(wire) as elections:
        wire.deliver(2, b"coopy.shop.leaderless", data, b"_INBOX.b")
        until(lambda: any(subject == "coopy.shop.leaderless" for subject, _, _ in wire.said))
        wire.deliver(2, b"coopy.shop.leaderless", data, b"_INBOX.b")
        until(lambda: not wire.coming)
        assert elections.off is None
    assert elections.kicks == 0


def test_a_connection_that_is_lost_is_made_again_and_nothing_is_begun_meanwhile() -> None:
    wire = Silent("2.15.1")
    with watching(wire) as elections:
        until(lambda: elections.off is None)
        wire.closed = True
        until(lambda: elections.off is not None)
        before = len(wire.said)
        wire.closed = False
        until(lambda: elections.off is None and len(wire.said) > before)


# -- three real servers


class Three:
    """Three servers with a stream of three copies, and what three nodes do for another leader to be elected."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        peers = tuple(Address("127.0.0.1", free_port()) for _ in range(3))
        self.servers = {
            str(peer): stack.enter_context(running(settings(directory / str(peer.port), peer.port, peers=peers)))
            for peer in peers
        }
        self.connections = {}
        for peer in self.servers:
            found = self.connections[peer] = Connection([f"nats://{peer}"], NODES, NODE)
            with on_failure(found.close):
                found.open(20)
            stack.callback(found.close)
        until(self._make, 60)
        self.elections = {peer: stack.enter_context(self._watching(peer, server)) for peer, server in self.servers.items()}
        until(lambda: all(each.off is None and each.probes for each in self.elections.values()) or self._probing())

    def _probing(self) -> bool:
        # The one whose server leads everything asks nobody.
        return sum(each.probes > 0 for each in self.elections.values()) >= 2

    def _make(self) -> bool:
        from nats.errors import Error
        from nats.js.api import StreamConfig

        some = next(iter(self.connections.values()))
        with contextlib.suppress(Error, ClusterError):
            some.run(some.stream_api.add_stream(StreamConfig(name="X", subjects=["x"], num_replicas=3)), 5)
            return self.leader() is not None
        return False

    @contextlib.contextmanager
    def _watching(self, name: str, server: Supervisor) -> Iterator[Elections]:
        found = Elections(
            name, NAMES, lambda subscribe, bell: Wire(server.url, SYSTEM, NODE, subscribe=subscribe, bell=bell, timeout_s=5.0)
        )
        thread = threading.Thread(target=found.keep)
        thread.start()
        try:
            yield found
        finally:
            found.close()
            thread.join()

    def publish(self, but: str | None = None) -> str:
        """Through a server; returns which one leads by then."""
        name, some = next((name, each) for name, each in self.connections.items() if name != but)
        some.insist(lambda: some.stream_api.publish("x", b"", timeout=0.3), 20)
        return str(self.leader(name))

    def leader(self, at: str | None = None) -> str | None:
        some = self.connections[at or next(iter(self.connections))]

        async def ask() -> str | None:
            cluster = (await some.stream_api.stream_info("X")).cluster
            return None if cluster is None else cluster.leader

        return some.insist(ask, 20)

    @property
    def kicks(self) -> int:
        return sum(each.kicks for each in self.elections.values())


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Three]:
    with contextlib.ExitStack() as stack:
        yield Three(tmp_path, stack)


@pytest.mark.slow
def test_a_leader_that_is_stopped_is_followed_by_another_and_a_new_one_is_left_alone(three: Three) -> None:
    leader = three.publish()
    pid = three.servers[leader].pid
    assert pid is not None and three.kicks == 0
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert three.publish(leader) != leader
        print(f"served again after {time.monotonic() - began:.2f} s")
        assert three.kicks > 0
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: three.leader(leader) != leader)
    probes = sum(each.probes for each in three.elections.values())
    until(lambda: sum(each.probes for each in three.elections.values()) > probes + 20)
    new, term = three.publish(), three.kicks
    until(lambda: sum(each.probes for each in three.elections.values()) > probes + 40)
    assert three.publish() == new and three.kicks == term


@pytest.mark.slow
def test_a_leader_that_is_killed_and_comes_back_at_once_is_not_waited_for(three: Three) -> None:
    """It lives, and leads no more: only it knows that."""
    leader = three.publish()
    pid = three.servers[leader].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    three.publish(leader)
    print(f"served again after {time.monotonic() - began:.2f} s")
    assert three.kicks > 0

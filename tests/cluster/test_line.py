"""What `coopy.ground.line` promises, over memory and over the stream of a real server; and what of a server may go wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from network.servers import NODE, running, settings

from coopy import DamagedLine, MissingActions, SystemClosed, Unavailable
from coopy.ground.line import Line, MemoryServer, Message
from coopy.network import stream
from coopy.network.address import parse
from coopy.network.connection import Connection
from coopy.network.stream import Stream
from coopy.network.subjects import Names
from coopy.network.wire import header
from coopy.replication.memory import MemoryCluster
from coopy.replication.role import Here, Member

TIMEOUT_S = 10.0
Ends = Callable[[], Line]


class Servers:
    """A server, and a stream of its own for each test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.number = 0
        self.names = Names("none")
        self.connections: list[Connection] = []

    def begin(self, made: bool = True) -> Servers:
        self.number += 1
        self.names = Names(f"line{self.number}")
        if made:
            self.make()
        return self

    def make(self) -> None:
        # What all streams may take is set apart for them, and a disk is only so large.
        self.run(stream.make(self.connect(), self.names, 1))

    def connect(self) -> Connection:
        connection = Connection([self.url], "node", NODE)
        connection.open(TIMEOUT_S)
        self.connections.append(connection)
        return connection

    def run(self, work: Any) -> Any:
        return self.connections[-1].run(work, TIMEOUT_S)

    def end(self) -> Stream:
        return Stream(self.connect(), self.names)

    def close(self) -> None:
        for each in self.connections:
            each.close()
        self.connections.clear()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(settings(tmp_path_factory.mktemp("server"))) as supervisor:
        yield Servers(supervisor.url)


@pytest.fixture
def servers(server: Servers) -> Iterator[Servers]:
    yield server.begin()
    server.close()


def in_memory() -> Ends:
    """Ends of the line of a cluster in memory."""
    names = iter([f"{name}:1" for name in "abcdefgh"])
    nodes = ("a:1", "b:1", "c:1")
    cluster = MemoryCluster(nodes)
    for name in nodes:
        cluster.start(name)

    def end() -> Line:
        node = parse(next(names))
        found = cluster.of(
            Member(
                node=node, nodes=(), where=Here(), password="x", replica_password=None, tls=None, timeout_s=TIMEOUT_S, advice=""
            ),
            Names("x"),
            "",
        )
        found.make_line(3, 1)
        return found.line

    return end


@pytest.fixture(params=["memory", "servers", "servers in memory"])
def end(request: pytest.FixtureRequest) -> Ends:
    """Makes one more end of the same line."""
    if request.param == "memory":
        memory = MemoryServer()
        return lambda: memory.ends(1)[0]
    if request.param == "servers in memory":
        return in_memory()
    return request.getfixturevalue("servers").end  # type: ignore[no-any-return]


KEPT: WeakKeyDictionary[Line, list[Message]] = WeakKeyDictionary()
"""What came while an answer was waited for."""


def connected(line: Line) -> Line:
    """A stream connects where it receives, and what is sent before is refused."""
    if isinstance(line, Stream):
        while line._wire is None:
            KEPT.setdefault(line, []).extend(line.receive(0.02))
    return line


def answered(line: Line, *futures: Future[int]) -> list[int]:
    deadline = time.monotonic() + TIMEOUT_S
    while not all(each.done() for each in futures) and time.monotonic() < deadline:
        KEPT.setdefault(line, []).extend(line.receive(0.02))
    return [each.result(0) for each in futures]


def send(line: Line, *texts: str) -> list[int]:
    return [answered(line, connected(line).send(text.encode(), text))[0] for text in texts]


def received(line: Line, number: int) -> list[Message]:
    found, deadline = KEPT.pop(line, []), time.monotonic() + TIMEOUT_S
    while len(found) < number:
        found += line.receive(0.1)
        assert time.monotonic() < deadline, f"{number} were to come, and {len(found)} did"
    return found


def follow(line: Line, after: int) -> None:
    KEPT.pop(line, None)
    line.follow(after)


def test_a_line_without_messages_brings_none(end: Ends) -> None:
    line = end()
    follow(line, 0)
    assert (line.last(), line.receive(0.01)) == (0, [])


def test_every_end_sees_the_same_messages_under_sequences_without_gaps(end: Ends) -> None:
    one, other, late = end(), end(), end()
    follow(one, 0), follow(other, 0)
    assert send(one, "a") + send(other, "b") + send(one, "c") == [1, 2, 3]
    follow(late, 0)
    expected = [(1, b"a"), (2, b"b"), (3, b"c")]
    assert [received(each, 3) for each in (one, other, late)] == [expected] * 3
    assert one.last() == late.last() == 3


def test_following_begins_where_it_is_said_and_may_begin_again(end: Ends) -> None:
    line = end()
    send(line, "a", "b", "c")
    follow(line, 2)
    assert received(line, 1) == [(3, b"c")]
    follow(line, 0)
    assert received(line, 3) == [(1, b"a"), (2, b"b"), (3, b"c")]
    follow(line, 3)
    assert line.receive(0.01) == []
    send(line, "d")
    assert received(line, 1) == [(4, b"d")]


def test_of_messages_of_one_name_one_stands_in_the_line(end: Ends) -> None:
    one, other = end(), end()
    follow(one, 0)
    assert [answered(line, connected(line).send(b"x", "name"))[0] for line in (one, one, other)] == [1, 1, 1]
    assert send(one, "next") == [2]
    assert received(one, 2) == [(1, b"x"), (2, b"next")]


def test_what_one_end_sends_keeps_its_order(end: Ends) -> None:
    line = end()
    follow(line, 0)
    connected(line)
    futures = [line.send(b"%d" % number, str(number)) for number in range(200)]
    assert answered(line, *futures) == list(range(1, 201))
    assert [int(data) for _, data in received(line, 200)] == list(range(200))


def test_messages_of_many_threads_and_ends_come_to_all_in_one_order(end: Ends) -> None:
    lines = [end() for _ in range(3)]
    for each in lines:
        follow(connected(each), 0)
    futures: list[Future[int]] = []

    def work(line: Line, key: str) -> None:
        futures.extend(line.send(f"{key}{number}".encode(), f"{key}{number}") for number in range(50))

    threads = [
        threading.Thread(target=work, args=(line, f"{number}{key}")) for number, line in enumerate(lines) for key in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, *others = [received(each, 300) for each in lines]
    assert others == [first] * 2
    assert [sequence for sequence, _ in first] == list(range(1, 301))
    assert len({data for _, data in first}) == 300
    for each in lines:
        each.receive(0.1)  # The last answer may come behind the last message.
    assert sorted(each.result(TIMEOUT_S) for each in futures) == list(range(1, 301))


def test_the_largest_message_arrives(end: Ends) -> None:
    line = end()
    follow(line, 0)
    data = bytes(range(256)) * (stream.MESSAGE_BYTES_MAX // 256)
    answered(line, connected(line).send(data, "large"))
    assert received(line, 1) == [(1, data)]


@pytest.mark.parametrize("upto", [2, 3])
def test_who_needs_what_was_forgotten_is_told_and_the_others_go_on(end: Ends, upto: int) -> None:
    line, behind = end(), end()
    send(line, "a", "b", "c")
    follow(line, 3)
    line.forget(upto)
    follow(behind, 0)
    with pytest.raises(MissingActions) as caught:
        behind.receive(3.0)
    assert (caught.value.first, caught.value.last) == (1, upto)
    send(line, "d")
    assert received(line, 1) == [(4, b"d")]
    follow(behind, 3)
    assert received(behind, 1) == [(4, b"d")]


def test_a_closed_end_is_told_so_and_the_others_go_on(end: Ends) -> None:
    line, other = end(), end()
    follow(line, 0), follow(other, 0)
    waiting: list[BaseException] = []

    def wait() -> None:
        try:
            line.receive(TIMEOUT_S)
        except BaseException as error:
            waiting.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    line.close()
    thread.join(TIMEOUT_S)
    assert [type(each) for each in waiting] == [SystemClosed]
    with pytest.raises(SystemClosed):
        line.receive(0.01)
    with pytest.raises(SystemClosed):
        send(line, "a")
    line.close()
    assert send(other, "b") == [1]
    assert received(other, 1) == [(1, b"b")]


# -- over servers alone


def test_what_no_server_takes_was_surely_not_recorded(server: Servers) -> None:
    server.begin(made=False)
    try:
        with pytest.raises(Unavailable):
            send(server.end(), "a")
    finally:
        server.close()


def test_a_stream_is_made_once(servers: Servers) -> None:
    line = servers.end()
    send(line, "a")
    servers.make()
    assert line._connection.run(line.state(), TIMEOUT_S)[:2] == (1, 1)


class Unreliable(Stream):
    """Hears of messages late, twice, or never."""

    how = ""
    held: list[Any]

    def _published(self, message: Any) -> None:
        sequence = int(header(message.headers, b"Nats-Sequence") or 0)
        if self.how == "never" or (self.how == "now and then" and sequence % 3):
            return
        super()._published(message)
        if self.how == "twice":
            super()._published(message)
        if self.how == "late":
            before, self.held = getattr(self, "held", None), message
            if before is not None:
                super()._published(before)


@pytest.mark.parametrize("how", ["never", "now and then", "twice", "late"])
def test_what_is_told_unreliably_is_received_in_order_and_once(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(stream, "POLL_S", 0.05)
    sender, line = servers.end(), Unreliable(servers.connect(), servers.names)
    line.how = how
    follow(line, 0)
    texts = [str(number) for number in range(100)]
    connected(sender)
    answered(sender, *[sender.send(text.encode(), text) for text in texts])
    assert received(line, 100) == [(number + 1, text.encode()) for number, text in enumerate(texts)]
    assert line.receive(0.2) == []


def test_what_is_not_received_yet_is_bounded_and_comes_when_there_is_room(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "POLL_S", 0.05)
    monkeypatch.setattr(stream, "HELD_BYTES_MAX", 1_000_000)
    monkeypatch.setattr(stream, "FETCH_BYTES", 300_000)
    line = servers.end()
    follow(line, 0)
    sender = servers.end()
    connected(sender)
    answered(sender, *[sender.send(bytes([number]) * 100_000, str(number)) for number in range(40)])
    time.sleep(0.3)
    assert line._arrived_bytes <= 1_400_000
    assert [(sequence, data[0]) for sequence, data in received(line, 40)] == [(number + 1, number) for number in range(40)]


@pytest.mark.parametrize("lost", [1, 2])
def test_a_hole_in_the_stream_stops_who_comes_to_it(server: Servers, lost: int) -> None:
    from nats.js.api import RePublish, StreamConfig

    names, connection = server.begin(made=False).names, server.connect()
    config = StreamConfig(
        name=names.stream, subjects=[names.line], allow_direct=True, republish=RePublish(src=names.line, dest=names.out)
    )
    try:
        server.run(connection.stream_api.add_stream(config))
        line = server.end()
        send(line, "a", "b", "c")
        server.run(line._connection.stream_api.delete_msg(names.stream, 2))
        follow(line, 0 if lost == 1 else 1)
        with pytest.raises(DamagedLine, match="has no message 2, but has 3"):
            assert len(received(line, 3)) < 3
    finally:
        server.close()

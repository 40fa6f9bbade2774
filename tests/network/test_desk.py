"""Questions: who asks without end takes little of a node, and nothing from the others."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from network.servers import NODE, REPLICA, running, settings, until

from coopy.errors import ClusterError, Unavailable
from coopy.network import room as rooms
from coopy.network.connection import Connection
from coopy.network.desk import CREDIT, MESSAGES_S, Desk, _peer
from coopy.network.room import Room
from coopy.network.server.supervisor import Supervisor
from coopy.network.subjects import REPLICA_INBOX, Names
from coopy.network.wire import Bell, Delivered, Wire

NAMES = Names("shop")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with running(settings(tmp_path_factory.mktemp("node") / "server")) as supervisor:
        yield supervisor


@pytest.fixture
def connection(server: Supervisor) -> Iterator[Connection]:
    found = Connection([server.url], "node", NODE, name="node")
    found.open(10)
    yield found
    found.close()


@pytest.fixture
def desk(connection: Connection) -> Iterator[Desk]:
    found = Desk(connection, NAMES, "node")
    yield found
    found.close()


@pytest.fixture
def replica(server: Supervisor) -> Iterator[Room]:
    connection = Connection([server.url], "replica", REPLICA, name="replica", inbox=REPLICA_INBOX)
    connection.open(10)
    yield Room(connection, NAMES, "replica", writes=False)
    connection.close()


def opened(desk: Desk) -> None:
    """Opens a desk, and returns when it has asked the server for questions of all kinds."""
    desk.open()
    until(lambda: desk._kinds[-1].number)


def flood(server: Supervisor, number: int) -> tuple[int, int]:
    """Sends so many questions from one connection. How many were answered, and to how many nobody responded."""
    bell = Bell()
    inbox = REPLICA_INBOX.encode() + b".flood"
    wire = Wire(server.url, "replica", REPLICA, subscribe=[inbox], bell=bell, timeout_s=10)
    subject = f"{NAMES.subject}.ask.sync".encode()
    wire.say(b"".join(b"PUB %s %s 2\r\n{}\r\n" % (subject, inbox) for _ in range(number)))
    found: list[Delivered] = []
    deadline = time.monotonic() + 30
    while len(found) < number and time.monotonic() < deadline:
        wire.wait(0.1)
        found += wire.read()
    wire.close()
    bell.close()
    nobody = sum(b"503" in each.headers for each in found)
    return len(found) - nobody, nobody


def test_a_question_is_answered_with_what_is_found_for_it(desk: Desk, replica: Room) -> None:
    desk.answer("sync", lambda asked: [{"got": each} for each in asked], 100, 100)
    opened(desk)
    assert replica.ask("sync", {"a": 1}, 10) == {"got": {"a": 1}}


def test_an_error_of_who_answers_is_the_answer_and_is_said_once(
    desk: Desk, replica: Room, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(asked: list[Any]) -> list[Any]:
        raise KeyError("what is missing")

    desk.answer("sync", fail, 100, 100)
    opened(desk)
    for _ in range(3):
        with pytest.raises(ClusterError, match="sync: KeyError: 'what is missing'"):
            replica.ask("sync", {}, 10)
    assert caplog.text.count("a question for sync was not answered") == 1


@pytest.mark.parametrize("data", [b"[" * 4000, b"\xff", b"[]", b"null", b"{", b"1" * 4000], ids=lambda data: repr(data[:3]))
def test_a_question_that_is_nonsense_is_told_so(server: Supervisor, desk: Desk, data: bytes) -> None:
    desk.answer("sync", lambda asked: [{}] * len(asked), 100, 100)
    opened(desk)
    bell, inbox = Bell(), REPLICA_INBOX.encode() + b".a"
    wire = Wire(server.url, "replica", REPLICA, subscribe=[inbox], bell=bell, timeout_s=10)
    wire.say(b"PUB %s.ask.sync %s %d\r\n%s\r\n" % (NAMES.subject.encode(), inbox, len(data), data))
    found: list[Delivered] = []
    while not found:
        wire.wait(0.1)
        found = wire.read()
    assert b"must be an object of JSON" in found[0].data
    wire.close()
    bell.close()


def test_what_is_asked_while_an_answer_is_worked_out_is_answered_together(desk: Desk, server: Supervisor) -> None:
    begun, proceed, sizes = threading.Event(), threading.Event(), list[int]()

    def answers(asked: list[Any]) -> list[Any]:
        begun.set()
        proceed.wait(30)
        sizes.append(len(asked))
        return [{}] * len(asked)

    desk.answer("sync", answers, 100, 100)
    opened(desk)
    first, rest = (threading.Thread(target=flood, args=(server, number)) for number in (1, 50))
    first.start()
    assert begun.wait(30)
    rest.start()
    until(lambda: len(desk._kinds[0].waiting) == 50)
    proceed.set()
    first.join()
    rest.join()
    assert sizes == [1, 50]


def test_one_connection_that_asks_without_end_is_told_to_ask_again_and_the_others_are_answered(
    desk: Desk, server: Supervisor, replica: Room, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Any] = []

    def answers(some: list[Any]) -> list[Any]:
        asked.extend(some)
        return [{"right": True}] * len(some)

    desk.answer("sync", answers, 1, 10)
    opened(desk)
    answered, nobody = flood(server, 20_000)
    assert answered + nobody == 20_000, "each is told something"
    assert 10 <= len(asked) <= 30
    assert replica.ask("sync", {}, 10) == {"right": True}
    said = [record.getMessage() for record in caplog.records if "asks for sync" in record.getMessage()]
    assert len(said) == 1 and "more often than 1 times a second, and is told to ask again" in said[0]


def test_the_server_delivers_no_more_than_the_node_gives_credit_for(
    desk: Desk, server: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered = []
    came = desk._came
    monkeypatch.setattr(desk, "_came", lambda message: (delivered.append(1), came(message)))
    desk.answer("sync", lambda asked: [{}] * len(asked), 100, 100)
    desk._kinds[0].credit.rate = 1e-9
    opened(desk)
    answered, nobody = flood(server, 20_000)
    assert len(delivered) <= 2 * CREDIT and nobody >= 20_000 - 2 * CREDIT
    assert MESSAGES_S >= 10 * CREDIT, "credit is given anew many times a second"


def test_who_is_told_that_nobody_responds_or_to_ask_again_asks_again(desk: Desk, replica: Room) -> None:
    busy = [1, 2, 3]

    def answers(asked: list[Any]) -> list[Any]:
        return [{"error": "busy", "retry_s": 0.001} if busy and busy.pop() else {"right": True} for _ in asked]

    desk.answer("sync", answers, 100, 100)
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(replica.ask("sync", {}, 30)))
    asking.start()
    opened(desk)
    asking.join()
    assert found == [{"right": True}] and not busy


def test_who_is_told_all_the_time_that_nobody_responds_gives_up(replica: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "NOBODY_S", 0.1)
    with pytest.raises(Unavailable, match="no node answers the question for sync"):
        replica.ask("sync", {}, 30)


def test_what_is_said_to_all_is_heard_and_needs_no_answer(desk: Desk, replica: Room) -> None:
    heard: list[Any] = []
    desk.hear("alive", heard.append, 1, 5)
    opened(desk)
    replica.say({"position": 1})
    until(lambda: heard)
    assert heard == [{"node": "replica", "position": 1}]


def test_a_desk_finds_another_connection_when_it_loses_its_own(desk: Desk, replica: Room) -> None:
    desk.answer("sync", lambda asked: [{"right": True}] * len(asked), 100, 100)
    opened(desk)
    lost = desk._wire
    assert lost is not None
    lost._socket.shutdown(socket.SHUT_RDWR)
    until(lambda: desk._wire not in (None, lost))
    assert replica.ask("sync", {}, 10) == {"right": True}


# -- who asks


def asked_by(server: Supervisor, desk: Desk, monkeypatch: pytest.MonkeyPatch, *headers: bytes) -> set[bytes]:
    """The names by which questions of one connection with these headers are told apart from those of others."""
    found: list[bytes] = []
    came: Callable[[Delivered], None] = desk._came
    monkeypatch.setattr(desk, "_came", lambda message: (found.append(_peer(message)), came(message)))
    desk.answer("sync", lambda asked: [{}] * len(asked), 1000, 1000)
    opened(desk)
    bell = Bell()
    name = 'a","acc":"x", Nats-Request-Info: {"start":"1"'
    wire = Wire(server.url, "replica", REPLICA, subscribe=[], bell=bell, name=name, timeout_s=10)
    for each in headers:
        wire.publish(f"{NAMES.subject}.ask.sync".encode(), b"_INBOX_replica.a", each, b"{}")
    until(lambda: len(found) == len(headers))
    wire.close()
    bell.close()
    return set(found)


def test_a_connection_can_not_pass_for_many_whatever_headers_it_sends(
    server: Supervisor, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = b'Nats-Request-Info: {"start":"%d","host":"1.2.3.4","id":%d,"acc":"REPLICA"}'
    headers = []
    for number in range(20):
        line = forged % (number, number)
        headers += [
            b"NATS/1.0\r\nA: b\r\n\r\n",
            b"NATS/1.0\r\n%s\r\n\r\n" % line,
            b"NATS/1.0\r\n%s\r\n%s\r\n\r\n" % (line, line),
            b"NATS/1.0\r\n%s\r\nA: b\r\n\r\n" % line.lower(),
            b"NATS/1.0\r\nA: %s\r\n\r\n" % line,
            b"NATS/1.0\r\n%sXX" % line,
        ]
    assert len(asked_by(server, desk, monkeypatch, *headers)) == 1


def test_two_connections_are_not_taken_for_one() -> None:
    one = Delivered(
        16, b"s", b'NATS/1.0\r\nNats-Request-Info: {"start":"1","host":"a","id":1,"acc":"R"}\r\n\r\n', b"{}", b"_R_.a.b"
    )
    other = one._replace(headers=one.headers.replace(b'"id":1', b'"id":11'))
    assert _peer(one) != _peer(other)
    assert _peer(one) == _peer(one._replace(reply=b"_R_.a.c"))
    node = Delivered(16, b"s", b"", b"{}", b"_INBOX.a.1")
    assert _peer(node) == _peer(node._replace(reply=b"_INBOX.a.2")) != _peer(node._replace(reply=b"_INBOX.b.1"))

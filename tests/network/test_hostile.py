"""Who connects to a server and means ill: without a password, with a wrong one, and with that of a replica."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors
import pytest
from nats.js.api import RePublish, StreamConfig
from network.servers import NODE, REPLICA, running, settings

from coopy.network.server.configuration import (
    PAYLOAD_BYTES_MAX,
    REPLICA_CONNECTIONS_MAX,
    REPLICA_PAYLOAD_BYTES_MAX,
    REPLICA_SUBSCRIPTIONS_MAX,
    connections_max,
)
from coopy.network.server.supervisor import Supervisor
from coopy.network.subjects import REPLICA_INBOX, Names

SUBJECT = "coopy.shop"
LINE, KV, OBJECTS = Names("shop").streams
PREFIX = Names("shop").replica_api
OTHER = "COOPY_other"
MB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with running(settings(tmp_path_factory.mktemp("node") / "server")) as supervisor:
        asyncio.run(prepared(supervisor))
        yield supervisor


async def prepared(server: Supervisor) -> None:
    """What a system has, and a stream that is not its own."""
    async with connected(server, "node") as node:
        js = node.jetstream()
        line = f"{SUBJECT}.line"
        await js.add_stream(
            StreamConfig(name=LINE, subjects=[line], allow_direct=True, republish=RePublish(src=line, dest=f"{SUBJECT}.out"))
        )
        await js.add_stream(StreamConfig(name=OTHER, subjects=["other"], allow_direct=True))
        for number in range(5):
            await js.publish(line, b"%d" % number)
            await js.publish("other", b"secret")
        await (await js.create_key_value(bucket=LINE, direct=True)).put("a", b"1")
        await (await js.create_object_store(bucket=LINE)).put("state", bytes(MB))


@contextlib.asynccontextmanager
async def connected(server: Supervisor, user: str, password: str = "") -> AsyncIterator[Any]:
    async def quiet(_: Exception) -> None:
        pass

    client = await nats.connect(
        server.url,
        user=user,
        password=password or {"node": NODE, "system": NODE, "replica": REPLICA}[user],
        inbox_prefix=(REPLICA_INBOX if user == "replica" else "_INBOX").encode(),
        error_cb=quiet,
        allow_reconnect=False,
        connect_timeout=5,
    )
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def replica(server: Supervisor) -> AsyncIterator[tuple[Any, Any]]:
    """A connection with a replica's password, and a node that serves replicas."""

    async def told(request: Any) -> None:
        await request.respond(b"told: " + request.data)

    async with connected(server, "node") as node, connected(server, "replica") as guest:
        await node.subscribe(f"{SUBJECT}.ask.>", cb=told)
        await node.flush()
        yield node, guest


async def stored(node: Any) -> dict[str, Any]:
    """All that is on the server: messages, consumers and configuration of each stream."""
    js = node.jetstream()
    found = {}
    for info in await js.streams_info():
        found[info.config.name] = (info.state.messages, info.state.first_seq, info.state.last_seq, info.config)
    for name in ("KV", "line"):
        message = await js.get_last_msg(*{"KV": (KV, f"$KV.{LINE}.a"), "line": (LINE, f"{SUBJECT}.line")}[name])
        found[name] = (message.seq, message.data)
    return found


async def works(server: Supervisor) -> None:
    async with connected(server, "node") as node:
        assert (await node.jetstream().key_value(LINE)) is not None
        assert (await (await node.jetstream().key_value(LINE)).get("a")).value == b"1"


# -- without a password


def heard(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(65536):
            found += data
    return found


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff\x80garbage\x00" * 5000,
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x80\x04cposix\nsystem\n(S'touch ruined'\ntR." + b"\r\n" * 10,
        b"PUB a 99999999999999\r\n" + bytes(65536),
        b"CONNECT " + b"{" * 100_000 + b"\r\n",
        b'CONNECT {"user": "node", "pass": "wrong"}\r\nPING\r\n',
        b'CONNECT {"user": "node"}\r\nPUB coopy.shop.line 5\r\nwrong\r\nPING\r\n',
        b"CONNECT {}\r\nPUB coopy.shop.line 5\r\nwrong\r\nPING\r\n",
        b"PUB coopy.shop.line 5\r\nwrong\r\nSUB > 1\r\nPING\r\n",
    ],
    ids=lambda sent: repr(sent[:20]),
)
def test_what_comes_from_a_stranger_is_answered_with_an_error_and_changes_nothing(server, sent):
    async def look() -> dict[str, Any]:
        async with connected(server, "node") as node:
            return await stored(node)

    before = asyncio.run(look())
    pid = server.pid
    with socket.create_connection(server.settings.listen, 10) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        answer = heard(connection)
    assert b"PONG" not in answer and b"MSG" not in answer and b"+OK" not in answer
    assert server.pid == pid and asyncio.run(look()) == before


@pytest.mark.parametrize("size", [PAYLOAD_BYTES_MAX + 1, 2_000_000_000])
def test_who_has_a_password_and_says_that_more_comes_than_a_message_may_have_is_cut_off(server, size):
    login = json.dumps({"user": "node", "pass": NODE, "verbose": False}).encode()
    with socket.create_connection(server.settings.listen, 10) as connection:
        connection.sendall(b"CONNECT %s\r\nPUB coopy.shop.line %d\r\n" % (login, size))
        heard(connection)
    asyncio.run(works(server))


@pytest.mark.parametrize("user", ["node", "replica", "system"])
@pytest.mark.parametrize("password", ["wrong", "other's"])
def test_a_wrong_password_is_refused_also_if_it_is_that_of_another_user(server, user, password):
    given = {"wrong": "wrong", "other's": NODE if user == "replica" else REPLICA}[password]

    async def connect() -> None:
        async with connected(server, user, given):
            pass

    with pytest.raises(nats.errors.Error, match="(?i)authorization"):
        asyncio.run(connect())


@pytest.fixture
def descriptors() -> Iterator[None]:
    """As many for this process as it may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_three_thousand_who_connect_and_say_nothing_are_sent_away_while_others_are_served(server, descriptors):
    if connections_max() <= 3000:
        pytest.skip("this machine allows a process too few descriptors")
    idle = []
    try:
        for _ in range(3000):
            idle.append(socket.create_connection(server.settings.listen, 10))
        try:
            asyncio.run(works(server))
        except (nats.errors.Error, OSError) as error:
            pytest.fail(f"nobody can log in any more: {error}")
        resident = Path(f"/proc/{server.pid}/statm").read_text().split()[1]
        assert int(resident) * 4096 < 300 * MB
        for connection in idle:
            assert b"Authentication Timeout" in heard(connection)
    finally:
        for connection in idle:
            connection.close()
    asyncio.run(works(server))


def test_there_is_a_bound_on_connections_and_no_port_that_tells_about_them(server):
    text = (Path(server.settings.directory) / "server.conf").read_text()
    assert f"max_connections: {connections_max()}\n" in text
    assert "http" not in text and "monitor" not in text


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_all_who_may_connect_leave_the_server_as_many_descriptors_for_its_files(server):
    limit = Path(f"/proc/{server.pid}/limits").read_text().partition("Max open files")[2].split()[0]
    assert limit == "unlimited" or int(limit) >= 2 * connections_max()


def test_replicas_can_not_take_all_connections_nor_one_of_them_memory_without_end(server):
    assert connections_max() >= 2 * REPLICA_CONNECTIONS_MAX or connections_max() < 2048

    login = json.dumps({"user": "replica", "pass": REPLICA, "verbose": False}).encode()
    with socket.create_connection(server.settings.listen, 10) as connection:
        asked = b"".join(
            b"SUB %s.%d %d\r\n" % (REPLICA_INBOX.encode(), each, each) for each in range(1, 2 * REPLICA_SUBSCRIPTIONS_MAX)
        )
        connection.sendall(b"CONNECT %s\r\n%sPING\r\n" % (login, asked))
        answer = b""
        while b"PONG" not in answer:
            answer += connection.recv(65536)
        assert answer.count(b"maximum subscriptions exceeded") == REPLICA_SUBSCRIPTIONS_MAX - 1
        size = REPLICA_PAYLOAD_BYTES_MAX + 1
        connection.sendall(b"PUB %s.ask.a %d\r\n%s\r\n" % (SUBJECT.encode(), size, bytes(size)))
        assert b"Maximum Payload Violation" in heard(connection)


# -- with the password of a replica


def test_a_replica_reads_the_line_as_it_grows_and_the_table(server):
    async def read() -> None:
        async with replica(server) as (node, guest):
            js = guest.jetstream(prefix=PREFIX)
            told = await guest.subscribe(f"{SUBJECT}.out")
            info = await node.jetstream().stream_info(LINE)
            for number in range(40):
                await node.jetstream().publish(f"{SUBJECT}.line", bytes(MB))
                assert (await told.next_msg(5)).headers["Nats-Sequence"] == str(info.state.last_seq + 1 + number)
            await node.jetstream().purge_stream(LINE, keep=5)

            assert (await js.get_last_msg(KV, f"$KV.{LINE}.a", direct=True)).data == b"1"
            assert (await js.get_msg(LINE, info.state.last_seq + 40, direct=True)).data == bytes(MB)
            assert (await js.get_last_msg(LINE, f"{SUBJECT}.line", direct=True)).data == bytes(MB)
            assert (await guest.request(f"{SUBJECT}.ask.hello", b"there", timeout=5)).data == b"told: there"

            inbox = await guest.subscribe(guest.new_inbox())
            await guest.publish(f"{PREFIX}.DIRECT.GET.{LINE}", b'{"seq": 1, "batch": 3}', reply=inbox.subject)
            assert [len((await inbox.next_msg(5)).data) for _ in range(3)] == [MB] * 3

    asyncio.run(read())


def config(**given: object) -> bytes:
    return json.dumps({"stream_name": given.pop("stream", LINE), "config": {"ack_policy": "none", **given}}).encode()


def line_config() -> bytes:
    return json.dumps({"name": LINE, "subjects": ["x"]}).encode()


# What a replica may send, each of which is answered; and where it may ask for the answer to be sent.
ANSWERED = [
    (f"{PREFIX}.DIRECT.GET.{LINE}", b'{"seq": 99999999}'),
    (f"{PREFIX}.DIRECT.GET.{LINE}", b'{"last_by_subj": "coopy.shop.line"}'),
    (f"{PREFIX}.DIRECT.GET.{LINE}", b'{"seq": 1, "batch": 3}'),
    (f"{PREFIX}.DIRECT.GET.{KV}", b'{"multi_last": [">"], "batch": 3}'),
    (f"{SUBJECT}.ask.this", b""),
]
TARGETS = [
    f"{SUBJECT}.line",
    f"{SUBJECT}.order.code",
    f"$KV.{LINE}.a",
    f"$O.{LINE}.C.x",
    f"$JS.API.STREAM.PURGE.{LINE}",
    f"$JS.API.STREAM.DELETE.{LINE}",
    f"$JS.API.STREAM.DELETE.{KV}",
    f"{PREFIX}.STREAM.DELETE.{LINE}",
]
DIRECT = [
    (f"{SUBJECT}.line", b"forged"),
    (f"{SUBJECT}.out", b"forged"),
    (f"{SUBJECT}.order.code", b'{"version": 1}'),
    (f"$KV.{LINE}.a", b"forged"),
    (f"$O.{LINE}.C.x", b"forged"),
    ("other", b"forged"),
    *[
        (f"{prefix}.{request}", body)
        for prefix in ("$JS.API", PREFIX)
        for request, body in [
            (f"STREAM.PURGE.{LINE}", b""),
            (f"STREAM.DELETE.{LINE}", b""),
            (f"STREAM.UPDATE.{LINE}", line_config()),
            (f"STREAM.CREATE.{LINE}2", json.dumps({"name": f"{LINE}2", "subjects": ["x"]}).encode()),
            (f"STREAM.MSG.DELETE.{LINE}", b'{"seq": 1}'),
            (f"STREAM.SNAPSHOT.{LINE}", b'{"deliver_subject": "_INBOX_replica.x"}'),
            (f"STREAM.RESTORE.{LINE}", b"{}"),
            (f"STREAM.LEADER.STEPDOWN.{LINE}", b""),
            (f"STREAM.PEER.REMOVE.{LINE}", b'{"peer": "a"}'),
            (f"CONSUMER.CREATE.{LINE}", config(deliver_subject="_INBOX_replica.x")),
            (f"CONSUMER.CREATE.{OTHER}", config(stream=OTHER, deliver_subject="_INBOX_replica.x")),
            (f"CONSUMER.CREATE.{LINE}.mine", config(name="mine", deliver_subject="_INBOX_replica.x")),
            (f"CONSUMER.CREATE.{LINE}.own.coopy.shop.line", config(name="own", deliver_subject="_INBOX_replica.x")),
            (f"CONSUMER.DURABLE.CREATE.{LINE}.mine", config(durable_name="mine")),
            (f"CONSUMER.DELETE.{LINE}.own", b""),
            (f"CONSUMER.PAUSE.{LINE}.own", b'{"pause_until": "2100-01-01T00:00:00Z"}'),
            (f"CONSUMER.MSG.NEXT.{LINE}.own", b"10"),
            (f"DIRECT.GET.{OTHER}", b'{"seq": 1}'),
            (f"STREAM.MSG.GET.{OTHER}", b'{"seq": 1}'),
            # What the server answers in one queue for all: whoever fills that keeps the nodes from being answered.
            (f"STREAM.MSG.GET.{LINE}", b'{"seq": 1}'),
            (f"STREAM.INFO.{LINE}", b""),
            (f"STREAM.INFO.{KV}", b""),
            ("STREAM.NAMES", b""),
            ("STREAM.LIST", b""),
            ("INFO", b""),
            ("META.LEADER.STEPDOWN", b""),
            ("ACCOUNT.PURGE.COOPY", b""),
        ]
    ],
    ("$SYS.REQ.SERVER.PING", b""),
    ("$JS.FC.COOPY_shop.a.b", b""),
    ("$JS.ACK.COOPY_shop.own.1.1.1.1.1", b"+TERM"),
]


async def consumers(node: Any) -> list[str]:
    return sorted(each.name for each in await node.jetstream().consumers_info(LINE))


def test_no_subject_that_a_replica_sends_to_changes_or_tells_anything_it_may_not(server):
    async def send() -> None:
        async with replica(server) as (node, guest):
            await node.jetstream().pull_subscribe(f"{SUBJECT}.line", durable="own", stream=LINE)
            before = await stored(node), await consumers(node)
            inbox = await guest.subscribe(guest.new_inbox() + ".>")
            base = inbox.subject[:-2]
            for number, (subject, body) in enumerate(DIRECT):
                await guest.publish(subject, body, reply=f"{base}.{number}")
            await guest.flush()
            # A request that is answered, sent last: what the others led to is there before its answer.
            await guest.request(f"{SUBJECT}.ask.last", b"", timeout=5)
            for message in list(inbox._pending_queue._queue):
                # Nobody is there to answer, and the server says so.
                assert message.data == b"" and message.headers["Status"] == "503", message
            assert (await stored(node), await consumers(node)) == before
            await node.jetstream().delete_consumer(LINE, "own")

    asyncio.run(send())


@pytest.mark.parametrize("target", TARGETS)
def test_an_answer_that_is_asked_for_elsewhere_never_gets_there(server, target):
    async def send() -> None:
        async with replica(server) as (node, guest):
            before = await stored(node)
            for subject, body in ANSWERED:
                await guest.publish(subject, body, reply=target)
            await guest.flush()
            await guest.request(f"{SUBJECT}.ask.last", b"", timeout=5)
            # The server answers some of it in another thread: what it is asked next comes after.
            for _ in range(3):
                await node.jetstream().account_info()
            assert await stored(node) == before

    asyncio.run(send())


def test_a_replica_hears_nothing_but_its_inbox_and_what_the_nodes_tell_everybody(server):
    async def listen() -> None:
        async with replica(server) as (node, guest):
            heard = [
                await guest.subscribe(subject) for subject in (">", f"{SUBJECT}.>", "$JS.>", "_INBOX.>", f"{SUBJECT}.line")
            ]
            await guest.flush()
            await node.request(f"{SUBJECT}.ask.a", b"a secret of the nodes", timeout=5)
            await node.publish(f"{SUBJECT}.gossip", b"another")
            await node.flush()
            await guest.request(f"{SUBJECT}.ask.last", b"", timeout=5)
            assert [each.pending_msgs for each in heard] == [0] * len(heard)

    asyncio.run(listen())

"""A bus over a real nats-server: who starts it, who may come in, what holds when it dies, and what other programs of NATS see."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import program
import pytest
from messaging.bus_media import PATIENCE_S
from network.servers import free_port, lives, until

from coopy import AuthenticationFailed, DecodingError, SystemClosed, Unavailable, UsageError
from coopy.messaging import Bus, Missed, bus_core, bus_link, bus_message
from coopy.messaging.bus_aio import AsyncBus
from coopy.network.address import Address
from coopy.network.server import certificates
from coopy.network.server.configuration import Settings
from coopy.network.server.supervisor import Supervisor
from coopy.network.subjects import NODE
from coopy.network.wire import Delivered

nats = pytest.importorskip("nats", reason="the extra [cluster] is not installed")
pytest.importorskip("cryptography", reason="the extra [cluster] is not installed")

PASSWORD = "of all members"


def server_of(bus: Bus) -> Supervisor:
    assert bus._station is not None and bus._station.server is not None
    return bus._station.server


def opened(*arguments: Any, **options: Any) -> Bus:
    return Bus(*arguments, **{"timeout": PATIENCE_S, **options})


# -- a directory


def test_a_directory_has_a_password_that_nobody_else_can_read(tmp_path: Path) -> None:
    with opened(tmp_path / "bus"):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "bus").iterdir()}
    assert stat.S_IMODE((tmp_path / "bus").stat().st_mode) == 0o700
    assert modes == {"owner": 0o600, "secret": 0o600, "address": 0o600, "server": 0o700}
    assert len((tmp_path / "bus" / "secret").read_text()) >= 32


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match="chmod 700"):
        Bus(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_process_finds_the_bus_by_its_directory(tmp_path: Path) -> None:
    script = program.write(
        tmp_path / "asks.py",
        """
        import sys
        from coopy.messaging import Bus

        with Bus(sys.argv[1]) as bus:
            print(bus.call("sums", [1, 2], timeout=60))
        """,
    )
    with opened(tmp_path / "bus") as bus, bus.subscribe("sums", lambda message: message.respond(sum(message.value))):
        assert program.run(script, tmp_path / "bus") == "3"


def test_when_the_process_that_runs_the_server_is_killed_another_member_starts_the_next(tmp_path: Path) -> None:
    script = program.write(
        tmp_path / "first.py",
        """
        import sys
        from coopy.messaging import Bus

        bus = Bus(sys.argv[1])
        print(bus._station.server.pid, flush=True)
        sys.stdin.read()
        """,
    )
    first = program.start(script, tmp_path / "bus")
    assert first.stdout is not None
    before = int(first.stdout.readline())
    with opened(tmp_path / "bus") as bus, opened(tmp_path / "bus") as other, bus.subscribe("orders") as orders:
        address = (tmp_path / "bus" / "address").read_text()
        first.kill()
        first.wait()
        until(lambda: not lives(before))
        other.flush()
        bus.flush()
        other.publish("orders", 1)
        assert orders.get(PATIENCE_S).value == 1
        assert [each._station.server is not None for each in (bus, other)].count(True) == 1  # type: ignore[union-attr]
        assert (tmp_path / "bus" / "address").read_text() == address, "who looks for the bus finds it where it was"


def test_when_the_member_that_runs_the_server_closes_another_goes_on(tmp_path: Path) -> None:
    one = opened(tmp_path)
    with opened(tmp_path) as other, other.subscribe("orders") as orders:
        one.close()
        other.flush()
        other.publish("orders", 1)
        assert orders.get(PATIENCE_S).value == 1 and server_of(other).running


def test_a_forked_child_has_no_part_in_the_bus_of_its_parent(tmp_path: Path) -> None:
    with opened(tmp_path) as bus, bus.subscribe("orders") as orders:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            said = b"nothing"
            try:
                bus.publish("orders", "of the child")
            except SystemClosed as error:
                said = str(error).encode()
            os.write(writing, said)
            bus.close()
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        try:
            assert b"forked" in os.read(reading, 1000)
            bus.publish("orders", 1)
            assert orders.get(PATIENCE_S).value == 1
            other = opened(tmp_path)
            bus.close()
            # The child is still there, and holds no copy of the lock.
            other.flush()
            assert server_of(other).running
            other.close()
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(reading)
            os.close(writing)


# -- the server dies


def test_a_server_that_is_killed_comes_back_with_all_subscriptions(tmp_path: Path) -> None:
    with opened(tmp_path) as bus, bus.another() as other:
        with other.subscribe("orders.*") as orders, other.subscribe("orders.new", group="g") as group:
            for number in range(3):
                pid = server_of(bus).pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                until(lambda: not lives(pid))
                other.flush()
                bus.flush()
                bus.publish("orders.new", number)
                assert orders.get(PATIENCE_S).value == group.get(PATIENCE_S).value == number


def test_what_is_published_while_the_server_is_away_comes_when_it_is_back(tmp_path: Path) -> None:
    with opened(tmp_path) as bus, bus.another() as other, other.subscribe("orders") as orders:
        server = server_of(bus)
        server.stop()
        until(lambda: not bus.connected and not other.connected)
        for number in range(100):
            bus.publish("orders", number)
        found = threading.Thread(target=lambda: other.subscribe("late"))
        found.start()
        server.start()
        got = 0
        # On a busy machine the other one may come back too late for some: then it is told.
        deadline = time.monotonic() + PATIENCE_S
        while got + orders.missed < 100 and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                got += orders.get(0.2) is not None
        found.join()
        assert got + orders.missed == 100


def test_more_than_may_wait_while_the_server_is_away_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_link, "OUTAGE_BYTES_MAX", 1000)
    with opened(tmp_path) as bus:
        server_of(bus).stop()
        until(lambda: not bus.connected)
        with pytest.raises(Unavailable, match="bytes wait"):
            for _ in range(20):
                bus.publish("orders", b"x" * 100)
        with pytest.raises(Unavailable):
            bus.flush(0.05)


def test_what_a_lost_connection_has_lost_is_told_though_nothing_more_is_published(tmp_path: Path) -> None:
    told: list[Missed] = []
    done = threading.Event()

    def missed(gap: Missed) -> None:
        told.append(gap)
        done.set()

    with opened(tmp_path) as bus, bus.another() as other:
        with other.subscribe("orders.*", lambda message: None, missed=missed) as orders:
            bus.publish("orders.new", 0)
            bus.flush()
            until(lambda: (bus.publisher.encode(), b"orders.new") in orders._last)
            # As if the server had taken it and died.
            with bus.core.link.lock:
                bus.core._sent[b"orders.new"] += 5
                bus.core._sent[b"users.new"] = 3
                # It has said so as well, to nobody who heard it.
                bus.core._said, bus.core._busy, bus.core._unsaid = dict(bus.core._sent), False, False
            wire = other.core.link._wire  # type: ignore[attr-defined]
            wire._socket.shutdown(socket.SHUT_RDWR)
            assert done.wait(PATIENCE_S)
            assert told == [Missed(bus.publisher, "orders.new", 2, 5)] and orders.missed == 5


def test_what_says_how_many_were_sent_is_taken_after_the_messages_before_it(url: str) -> None:
    with opened(server=url) as bus, bus.subscribe("a.*") as taken:
        [subscription] = bus.core._subscriptions.values()

        def delivered(subject: str, number: int) -> Delivered:
            return Delivered(subscription.number, subject.encode(), bus_message.compose(b"p", number, b"j", None), b"1")

        def last(number: int, subject: str, sent: int) -> Delivered:
            said = json.dumps({"from": "p", "last": {subject: sent}}).encode()
            return Delivered(number, b"_COOPY.last", b"NATS/1.0\r\n\r\n", said)

        for number in (subscription.marks, 2):  # The second is CONTROL.
            first = 10 * number
            batch = [
                last(number, "a.y", first),
                delivered("a.x", first),
                last(number, "a.x", first),
                delivered("a.x", first + 1),
                last(number, "a.x", first + 1),
            ]
            subscription.forget_numbers()
            bus.core.link._pass_on(batch)  # type: ignore[attr-defined]
            assert [taken.get(PATIENCE_S).number for _ in range(2)] == [first, first + 1] and taken.missed == 0


def test_who_has_gone_quiet_says_how_many_it_has_sent(url: str) -> None:
    told: list[Missed] = []
    done = threading.Event()
    with opened(server=url) as bus, opened(server=url) as other:
        with (
            other.subscribe("orders.*", lambda message: None, missed=lambda gap: (told.append(gap), done.set())) as orders,
            other.subscribe("users", missed=told.append),
        ):
            bus.publish("orders.new", 0)
            bus.flush()
            until(lambda: orders._last)
            # As if the server had dropped them: it keeps only so much for a connection that does not read.
            with bus.core.link.lock:
                bus.core._sent[b"orders.new"] = 6
            assert done.wait(PATIENCE_S)
        assert told == [Missed(bus.publisher, "orders.new", 2, 5)]


def test_a_publisher_whose_connection_was_lost_says_how_many_it_has_sent(tmp_path: Path) -> None:
    told: list[Missed] = []
    done = threading.Event()
    with opened(tmp_path) as bus, bus.another() as other:
        with other.subscribe("orders", lambda message: done.set(), missed=lambda gap: (told.append(gap), done.set())):
            other.wait_for_subscribers("orders", timeout=PATIENCE_S)
            bus.publish("orders", 0)
            assert done.wait(PATIENCE_S)
            done.clear()
            bus.core._sent[b"orders"] = 4
            bus.core.link._wire._socket.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
            assert done.wait(PATIENCE_S) and told == [Missed(bus.publisher, "orders", 2, 3)]


def test_a_publisher_of_very_many_subjects_goes_on_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_core, "SUBJECTS_MAX", 10)
    with Bus() as bus, bus.another() as other, other.subscribe("s.>") as subscription:
        for number in range(35):
            bus.publish(f"s.{number % 12}", number)
        found = [subscription.get(PATIENCE_S) for _ in range(35)]
        assert len({each.publisher for each in found}) > 1 and subscription.missed == 0
        assert len(bus.core._sent) <= 10


def test_who_subscribes_to_very_many_publishers_forgets_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coopy.messaging.bus_subscription.KNOWN_MAX", 8)
    with Bus() as bus, bus.subscribe("s.*") as subscription:
        for number in range(30):
            bus.publish(f"s.{number}", number)
        assert len(subscription._last) <= 8 and subscription.missed == 0


# -- who may come in


def test_a_stranger_is_refused_and_one_with_the_password_is_not(tmp_path: Path) -> None:
    port = free_port()
    with opened(tmp_path, listen=f"127.0.0.1:{port}", password=PASSWORD) as bus, bus.subscribe("orders") as orders:
        with pytest.raises(AuthenticationFailed, match="password"):
            opened(at=f"127.0.0.1:{port}", password="another")
        with opened(at=f"127.0.0.1:{port}", password=PASSWORD) as other:
            other.publish("orders", 1)
            assert orders.get(PATIENCE_S).value == 1
        # Whoever does not show that it has the password is no member, whatever it speaks.
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b'CONNECT {"verbose":false}\r\nPUB orders 1\r\n7\r\nPING\r\n')
            stranger.settimeout(PATIENCE_S)
            with contextlib.suppress(OSError):
                while stranger.recv(4096):
                    pass
        with pytest.raises(TimeoutError):
            orders.get(0.05)


def test_the_password_is_told_to_nobody_who_has_it_not(tmp_path: Path) -> None:
    heard = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as impostor:

        def listen() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = impostor.accept()
                    connection.sendall(b'INFO {"server_id":"X","version":"2.11.0","headers":true}\r\n')
                    connection.settimeout(1)
                    with contextlib.suppress(OSError):
                        while data := connection.recv(4096):
                            heard.extend(data)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        with pytest.raises(AuthenticationFailed, match="was not sent"):
            opened(at=f"127.0.0.1:{impostor.getsockname()[1]}", password=PASSWORD)
    assert PASSWORD.encode() not in heard


@pytest.mark.parametrize(
    "options",
    [
        {"at": "a.example.com:5559"},
        {"find": "workshop"},
        {"directory": "x", "at": "a:1", "password": "p"},
        {"listen": "0.0.0.0:5559"},
        {"directory": "x", "listen": "0.0.0.0:5559"},
        {"announce": "workshop"},
        {"server": "http://a"},
        {"encoding": "yaml"},
        {"server": "nats://127.0.0.1:1", "encoding": "pickle"},
        {"directory": "x", "password": ""},
        {"timeout": 0},
        {"directory": "x", "tls": True},
        {"at": "a:1", "password": "p", "tls": "/not/there.pem"},
        {"directory": "x", "announce": "a.b"},
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_is_opened(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        Bus(**options)
    assert not (tmp_path / "x" / "server").exists()


def test_where_nobody_answers_is_said_in_time() -> None:
    with pytest.raises(Unavailable, match="nobody answers at 127.0.0.1"):
        Bus(at=f"127.0.0.1:{free_port()}", password=PASSWORD, timeout=0.3)


def test_certificates_of_ones_own_are_shown_and_asked_for(tmp_path: Path) -> None:
    port = free_port()
    made = certificates.make(str(tmp_path / "made"), [Address("127.0.0.1", port)])
    [folder] = made.folders.values()
    with opened(tmp_path / "bus", listen=f"127.0.0.1:{port}", password=PASSWORD, tls=folder) as bus:
        with bus.subscribe("orders") as orders, opened(at=f"127.0.0.1:{port}", password=PASSWORD, tls=made.authority) as other:
            other.publish("orders", 1)
            assert orders.get(PATIENCE_S).value == 1
        with pytest.raises(AuthenticationFailed, match="certificate"):
            opened(at=f"127.0.0.1:{port}", password=PASSWORD)
        with pytest.raises(AuthenticationFailed, match="certificate"):
            opened(at=f"127.0.0.1:{port}", password=PASSWORD, tls=True)


# -- a server of the user's own, and other programs


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """A server as a user may have it: without TLS."""
    port = free_port()
    given = Settings(
        directory=str(tmp_path_factory.mktemp("own")),
        name="own",
        listen=Address("127.0.0.1", port),
        node_password="its-own",
        subject="coopy.own",
        keeps=False,
    )
    server = Supervisor(given)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def url(plain: Supervisor) -> str:
    return f"nats://{NODE}:its-own@{plain.settings.listen}"


def test_a_server_of_ones_own_is_reached_by_its_url(url: str) -> None:
    with opened(server=url) as bus, bus.another() as other, bus.subscribe("orders") as orders:
        other.publish("orders", 1)
        assert orders.get(PATIENCE_S).value == 1
    with pytest.raises(AuthenticationFailed) as refused:
        opened(server=url.replace("its-own", "another"))
    assert "another" not in str(refused.value), "a message may be read by anybody"


def test_of_several_servers_of_ones_own_the_next_is_taken(plain: Supervisor, url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Bus(server=[])
    nobody = f"nats://127.0.0.1:{free_port()}"
    with another_server(tmp_path) as other:
        with (
            opened(server=[nobody, other, url]) as bus,
            opened(server=[nobody, url]) as there,
            there.subscribe("orders") as orders,
        ):
            bus.publish("orders", 0)
            for member in (bus, there):
                member.flush()
                link: Any = member.core.link
                before = link._wire
                before._socket.shutdown(socket.SHUT_RDWR)
                until(lambda: link._wire not in (None, before))
                member.flush()
            bus.publish("orders", 1)
            assert orders.get(PATIENCE_S).value == 1, "the first was sent to another server, of another bus"


@contextlib.contextmanager
def another_server(path: Path) -> Iterator[str]:
    """One more server of one's own; its URL."""
    listen = Address("127.0.0.1", free_port())
    given = Settings(
        directory=str(path), name="other", listen=listen, node_password="other", subject="coopy.other", keeps=False
    )
    server = Supervisor(given)
    server.start()
    try:
        yield f"nats://{NODE}:other@{listen}"
    finally:
        server.stop()


def test_who_does_not_read_at_all_harms_nobody_and_is_told(tmp_path: Path) -> None:
    script = program.write(
        tmp_path / "stopped.py",
        """
        import sys
        from coopy.messaging import Bus

        got = 0
        lost = 0

        def take(message):
            global got
            got += 1

        def missed(gap):
            global lost
            lost += gap.lost

        with Bus(sys.argv[1]) as bus, bus.subscribe("long", take, missed=missed):
            print("ready", flush=True)
            for line in sys.stdin:
                print(got, lost, flush=True)
        """,
    )
    with opened(tmp_path / "bus") as bus, bus.another() as other, other.subscribe("long") as quick:
        stopped = program.start(script, tmp_path / "bus")
        assert stopped.stdin is not None and stopped.stdout is not None and stopped.stdout.readline() == "ready\n"

        def known() -> tuple[int, int]:
            assert stopped.stdin is not None and stopped.stdout is not None
            stopped.stdin.write("\n")
            stopped.stdin.flush()
            got, lost = map(int, stopped.stdout.readline().split())
            return got, lost

        bus.publish("long", b"x")
        until(lambda: known() == (1, 0), PATIENCE_S)
        stopped.send_signal(signal.SIGSTOP)
        try:
            assert quick.get(PATIENCE_S).number == 1
            for number in range(2, 47):
                bus.publish("long", b"x" * (2 << 20))
                assert quick.get(PATIENCE_S).number == number
            assert quick.missed == 0
        finally:
            stopped.send_signal(signal.SIGCONT)
        bus.publish("long", b"x")
        until(lambda: sum(known()) == 47, PATIENCE_S)
        assert known()[1] > 0, "the server has kept less than was sent"
        stopped.stdin.close()
        stopped.wait(PATIENCE_S)


def test_other_programs_of_nats_hear_and_are_heard(url: str) -> None:
    async def foreign(bus: Bus, orders: Any) -> None:
        client = await nats.connect(url)
        try:
            heard = await client.subscribe("answers")
            await client.flush()
            await client.publish("orders", b'{"a": 1}', headers={"Trace": "7"})
            await client.publish("orders", b"no JSON")
            message = await asyncio.to_thread(orders.get, PATIENCE_S)
            assert (message.value, message.headers, message.publisher, message.number) == ({"a": 1}, {"Trace": "7"}, "", 0)
            message = await asyncio.to_thread(orders.get, PATIENCE_S)
            assert message.data == b"no JSON"
            with pytest.raises(DecodingError, match="JSON"):
                _ = message.value
            bus.publish("answers", {"b": [2]}, {"Trace": "8"})
            found = await heard.next_msg(timeout=PATIENCE_S)
            assert json.loads(found.data) == {"b": [2]} and found.headers["Trace"] == "8"
            answer = await client.request("sums", b"[1, 2]", timeout=PATIENCE_S)
            assert json.loads(answer.data) == 3
        finally:
            await client.close()

    with opened(server=url) as bus, bus.subscribe("orders") as orders:
        with bus.subscribe("sums", lambda message: message.respond(sum(message.value))):
            asyncio.run(foreign(bus, orders))


def test_a_service_says_of_itself_what_the_library_of_nats_understands(url: str) -> None:
    from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

    async def ask() -> list[Any]:
        client = await nats.connect(url)
        try:
            found = []
            for verb, kind in (("PING", ServicePing), ("INFO", ServiceInfo), ("STATS", ServiceStats)):
                for of in ("", ".sums", f".sums.{service.id}"):
                    answer = await client.request(f"$SRV.{verb}{of}", b"", timeout=PATIENCE_S)
                    said = json.loads(answer.data)
                    made = kind.from_dict({**said, "started": said.get("started", "")})  # type: ignore[attr-defined]
                    assert (said["type"], made.name, made.id, made.version) == (made.type, "sums", service.id, "1.0.0")
                    found.append(made)
            failed = await client.request("sums.add", b"7", timeout=PATIENCE_S)
            assert failed.headers["Nats-Service-Error-Code"] == "500" and "TypeError" in failed.headers["Nats-Service-Error"]
            return found
        finally:
            await client.close()

    with opened(server=url) as bus, bus.service("sums", "1.0.0", "adds", {"team": "a"}) as service:
        service.endpoint("add")(sum)
        bus.call("sums.add", [1, 2], timeout=PATIENCE_S)
        with contextlib.suppress(Exception):
            bus.call("sums.add", 7, timeout=PATIENCE_S)
        found = asyncio.run(ask())
    assert found[3].description == "adds" and found[3].metadata == {"team": "a"}
    assert found[3].endpoints[0].queue_group == "q"
    [stats] = found[-1].endpoints
    assert (stats.name, stats.subject, stats.num_requests, stats.num_errors) == ("add", "sums.add", 2, 1)
    assert stats.average_processing_time > 0 and "TypeError" in (stats.last_error or "")


def test_a_service_of_the_library_of_nats_is_called_and_found(url: str) -> None:
    from nats import micro

    async def foreign(bus: Bus) -> None:
        client = await nats.connect(url)
        try:

            async def add(request: Any) -> None:
                await request.respond(json.dumps(sum(json.loads(request.data))).encode())

            service = await micro.add_service(client, name="theirs", version="1.0.0")
            await service.add_endpoint(name="add", subject="theirs.add", handler=add)
            await client.flush()
            async with AsyncBus(bus) as ours:
                assert await ours.call("theirs.add", [1, 2], timeout=PATIENCE_S) == 3
                assert [each["name"] for each in await ours.services("theirs", timeout=0.2)] == ["theirs"]
            await service.stop()
        finally:
            await client.close()

    with opened(server=url) as bus:
        asyncio.run(foreign(bus))


@pytest.mark.parametrize("name", ["", "a b", "a.b", "größe", None])
def test_a_service_needs_a_name_and_a_version_that_the_tool_takes(name: Any) -> None:
    with Bus() as bus:
        with pytest.raises(UsageError):
            bus.service(name)
        with pytest.raises(UsageError, match="three numbers"):
            bus.service("sums", version=str(name))
        with bus.service("sums") as service, pytest.raises(UsageError):
            service.endpoint("a b")(print)


# -- payloads


def test_messagepack_carries_what_json_can_not(url: str) -> None:
    pytest.importorskip("msgpack", reason="the extra [msgpack] is not installed")
    with opened(server=url, encoding="msgpack") as one, opened(server=url) as other, other.subscribe("values") as values:
        one.publish("values", {1: b"\x00", "b": [2.5]})
        assert values.get(PATIENCE_S).value == {1: b"\x00", "b": [2.5]}, "it is read as its header says, also on a bus of JSON"


class Tattle:
    """Whoever reads its pickle runs `read.append`."""

    read: list[str] = []

    def __reduce__(self) -> Any:
        return Tattle.tell, ("read",)

    @staticmethod
    def tell(word: str) -> str:
        Tattle.read.append(word)
        return word


def test_a_pickle_is_read_by_who_shares_the_password_with_its_sender(url: str) -> None:
    Tattle.read.clear()
    with (
        opened(server=url, password=PASSWORD, encoding="pickle") as one,
        opened(server=url, password=PASSWORD) as same,
        opened(server=url, password="another") as other,
        opened(server=url) as none,
    ):
        subscriptions = [bus.subscribe("values") for bus in (same, other, none)]
        one.publish("values", Tattle())
        assert subscriptions[0].get(PATIENCE_S).value == "read" and Tattle.read == ["read"]
        for refuses in subscriptions[1:]:
            with pytest.raises(AuthenticationFailed, match="not read"):
                _ = refuses.get(PATIENCE_S).value
    assert Tattle.read == ["read"]


@pytest.mark.parametrize("how", ["no signature", "another subject", "changed", "short", "of another key", "without a kind"])
def test_a_pickle_of_a_stranger_at_the_same_server_is_never_read(url: str, how: str) -> None:
    Tattle.read.clear()
    data = pickle.dumps(Tattle())
    with opened(server=url, password=PASSWORD) as bus, bus.subscribe("values") as values:
        kind = b"" if how == "without a kind" else b"p"
        payloads = bus.core.payloads
        signature = {
            "no signature": b"\0" * 32,
            "another subject": payloads._signature(b"others", data),
            "changed": payloads._signature(b"values", data + b"x"),
            "short": b"",
            "of another key": b"\1" * 32,
            "without a kind": b"",
        }[how]
        with bus.core.link.lock:
            bus.core.link.publish(b"values", b"", bus_message.compose(b"stranger", 1, kind, None), signature + data)
        message = values.get(PATIENCE_S)
        with pytest.raises((AuthenticationFailed, DecodingError)):
            _ = message.value
    assert Tattle.read == []


@pytest.mark.parametrize(
    "line", ["x", "x y z", "x 1", "x -1 j", f"x {1 << 64} j", "x 1 j j", "x " + "9" * 5000 + " j", "", "x 1 ?", "x 1.5 j"]
)
def test_a_header_that_nobody_of_ours_has_written_does_no_harm(url: str, line: str) -> None:
    with opened(server=url) as bus, bus.subscribe("values") as values:
        with bus.core.link.lock:
            bus.core.link.publish(b"values", b"", b"NATS/1.0\r\nCoopy: %s\r\n\r\n" % line.encode(), b"7")
        message = values.get(PATIENCE_S)
        assert message.data == b"7" and message.number in (0, 1)
        with contextlib.suppress(DecodingError):
            assert message.value == 7
        bus.publish("values", 1)
        assert values.get(PATIENCE_S).value == 1 and values.missed == 0


@pytest.mark.parametrize(
    "said",
    [b"", b"[]", b"{}", b"no", b'{"last": 7}', b'{"last": {"a": "b"}}', b'{"tell": [7, null]}', b'{"count": 5}', b"[" * 5000],
)
def test_nonsense_between_the_members_does_no_harm(url: str, said: bytes) -> None:
    with opened(server=url) as bus, bus.subscribe("values") as values:
        with bus.core.link.lock:
            bus.core.link.publish(b"_COOPY.bus", b"values", b"NATS/1.0\r\n\r\n", said)
        bus.flush()
        bus.publish("values", 1)
        assert values.get(PATIENCE_S).value == 1


# -- the local network


@pytest.mark.slow
def test_a_bus_is_found_by_its_name_and_an_impostor_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zeroconf", reason="the extra [discovery] is not installed")
    from coopy.messaging import bus_discovery

    monkeypatch.setattr(bus_discovery, "INTERFACES", ["127.0.0.1"])
    name = f"workshop {os.getpid()}"
    with opened(tmp_path / "other", listen=f"127.0.0.1:{free_port()}", password="another", announce=name):
        port = free_port()
        with opened(tmp_path / "bus", listen=f"127.0.0.1:{port}", password=PASSWORD, announce=name) as bus:
            with bus.subscribe("orders") as orders, opened(find=name, password=PASSWORD) as found:
                found.publish("orders", 1)
                assert orders.get(PATIENCE_S).value == 1
            with pytest.raises(Unavailable, match="none has this password|none was found"):
                Bus(find=name, password="of nobody", timeout=2.0)


def test_a_bus_without_extras_needs_nothing_but_python(tmp_path: Path) -> None:
    script = program.write(
        tmp_path / "bare.py",
        """
        import sys

        for name in ("nats", "cryptography", "msgpack", "zeroconf", "websockets", "click"):
            sys.modules[name] = None
        from coopy import UsageError
        from coopy.messaging import Bus

        with Bus() as bus, bus.subscribe("a.*") as subscription:
            bus.publish("a.b", [1])
            assert subscription.get().value == [1]
        for options in ({"directory": "x"}, {"encoding": "msgpack"}, {"find": "x", "password": "y"}):
            try:
                Bus(**options)
            except UsageError as error:
                print(str(error).partition("extra ")[2].partition("]")[0] + "]")
        """,
    )
    assert program.run(script).split() == ["[cluster]", "[msgpack]", "[discovery]"]


def test_the_loop_goes_on_while_a_coroutine_waits_for_messages(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        async with AsyncBus() as bus:
            got: list[Any] = []

            async def take(message: Any) -> None:
                await asyncio.sleep(0)
                got.append(message.value)

            async with await bus.subscribe("a", take), await bus.subscribe("a") as taken:
                for number in range(100):
                    await bus.publish("a", number)
                assert [(await taken.get(PATIENCE_S)).value for _ in range(100)] == list(range(100))
                with pytest.raises(TimeoutError):
                    await taken.get(0.01)
                await bus.publish("a", 100)
                async for message in taken:
                    got.append(message.value + 1000)
                    break
            return got

    assert sorted(asyncio.run(main())) == [*range(101), 1100]

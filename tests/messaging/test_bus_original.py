"""The bus of PyDistributed, row by row of what its documentation says and of what was found by running it."""

from __future__ import annotations

import fcntl
import functools
import gzip
import inspect
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import program
import pytest
from messaging.bus_media import PATIENCE_S
from network.servers import free_port, until

import coopy.messaging as bus
from coopy import AuthenticationFailed, DecodingError, EncodingError, ServerError, SystemClosed, UsageError
from coopy.compat import pydistributed
from coopy.compat.pydistributed import (
    Hub,
    HubClient,
    MessageBusBroker,
    MessageBusClient,
    Proxy,
    Publisher,
    Subscriber,
    stream_from_file,
    stream_to_file,
)
from coopy.network.server import folder, loopback

pytest.importorskip("cryptography", reason="the extra [cluster] is not installed")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of their own, whose password is in their own place."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    # The same for all: to make keys of a new password takes two tenths of a second.
    (tmp_path / ".coopy").mkdir(mode=0o700)
    folder.write(str(tmp_path / ".coopy" / loopback.FILE), "p" * loopback.LENGTH_MIN)
    return tmp_path


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture
def broker(ports: tuple[int, int]) -> Iterator[Proxy]:
    found = MessageBusBroker(None, *ports)
    found.start()
    yield found
    found.shutdown()
    found.join(PATIENCE_S)


@pytest.fixture
def pair(broker: Proxy, ports: tuple[int, int]) -> Iterator[tuple[Publisher, Subscriber]]:
    publisher, subscriber = Publisher(port=ports[0]), Subscriber(port=str(ports[1]))
    yield publisher, subscriber
    publisher.shutdown()
    subscriber.shutdown()


def client(ports: tuple[int, int]) -> MessageBusClient:
    return MessageBusClient(publisher_port=ports[0], subscriber_port=ports[1])


def ready(publisher: Publisher, subscriber: Subscriber) -> None:
    """Returns when both are connected: as in the original, they come to the broker by and by."""
    until(lambda: publisher._bus.connected and subscriber._bus.connected)
    subscriber._wait()


# -- the names


def test_all_names_are_those_of_the_original_and_are_in_messaging_too() -> None:
    for name in (
        "Publisher",
        "Proxy",
        "Subscriber",
        "Hub",
        "HubClient",
        "MessageBusBroker",
        "MessageBusClient",
        "stream_to_file",
        "stream_from_file",
    ):
        assert getattr(pydistributed, name) is getattr(bus, name)


@pytest.mark.parametrize(
    ("kind", "documented"),
    [
        (Publisher, {"host": "localhost", "port": 5559, "context": None, "bind": False}),
        (Subscriber, {"host": "localhost", "port": 5560, "context": None, "bind": False}),
        (Proxy, {"context": None, "frontend_port": 5559, "backend_port": 5560}),
        (MessageBusBroker, {"context": None, "frontend_port": 5559, "backend_port": 5560}),
        (Hub, {"context": None, "frontend_port": 5559, "backend_port": 5560}),
        (HubClient, {"context": None, "keyvalue_host": "localhost", "publisher_port": 5559, "subscriber_port": 5560}),
        (MessageBusClient, {}),
    ],
)
def test_the_arguments_are_the_documented_ones_in_their_order(kind: type, documented: dict[str, Any]) -> None:
    parameters = [each for each in inspect.signature(kind).parameters.values() if each.kind is not each.KEYWORD_ONLY]
    assert {each.name: each.default for each in parameters} == documented
    assert [each.name for each in parameters] == list(documented)


# -- Publisher, Subscriber


class Context:
    """As much of a context of ZeroMQ as matters."""

    ended = 0

    def term(self) -> None:
        self.ended += 1


def test_publisher_sends_a_topic_and_a_value_of_any_class(pair: tuple[Publisher, Subscriber]) -> None:
    publisher, subscriber = pair
    subscriber.subscribe("values")
    ready(publisher, subscriber)
    for value in (None, 1, "a", [1], {"a": (1, 2)}, {1, 2}, 1j, Path("/a"), b"\x00"):
        publisher.send("values", value)
        found = subscriber.receive()
        assert found == ["values", value] and type(found) is list
    with pytest.raises(EncodingError):
        publisher.send("values", lambda: 0)
    with pytest.raises(UsageError):
        publisher.send(7, 1)  # type: ignore[arg-type]


def test_publisher_shutdown_terminates_the_context(ports: tuple[int, int]) -> None:
    context = Context()
    publisher = Publisher(port=ports[0], context=context)
    publisher.shutdown()
    publisher.shutdown()
    assert context.ended == 1
    with pytest.raises(SystemClosed):
        publisher.send("a", 1)


@pytest.mark.parametrize(
    ("prefix", "heard", "not_heard"),
    [
        ("foo", ["foo", "foobar", "foo.bar", "foo bar"], ["fo", "bar", "Foo", "", " foo"]),
        ("", ["", "a", "a.b", ">", "*"], []),
        ("a.", ["a.b", "a..b"], ["a", "ab"]),
        ("a*", ["a*", "a*b"], ["ab", "a"]),
        ("gr", ["größe"], ["g"]),
        ("grö", ["größe"], ["gro"]),
        ("\n", ["\n", "\r\n"[1:] + "x"], ["n"]),
        ("x" * 16, ["x" * 16, "x" * 17, "x" * 300], ["x" * 15]),
        ("x" * 20, ["x" * 20, "x" * 21], ["x" * 19, "x" * 17 + "y" * 10]),
    ],
)
def test_subscriber_hears_what_begins_with_its_topic_as_in_zeromq(
    pair: tuple[Publisher, Subscriber], prefix: str, heard: list[str], not_heard: list[str]
) -> None:
    publisher, subscriber = pair
    subscriber.subscribe(prefix)
    ready(publisher, subscriber)
    for number, topic in enumerate([*not_heard, *heard]):
        publisher.send(topic, number)
    assert [subscriber.receive()[0] for _ in heard] == heard


def test_subscriber_gets_each_message_once_and_in_order_whatever_it_has_subscribed_to(
    pair: tuple[Publisher, Subscriber],
) -> None:
    publisher, subscriber = pair
    for topic in ("foobar", "foo", "f", "b", "foo"):
        subscriber.subscribe(topic)
    ready(publisher, subscriber)
    for number in range(50):
        for topic in ("foobar", "bar", "food", "f"):
            publisher.send(topic, number)
    found = [subscriber.receive() for _ in range(200)]
    assert found == [[topic, number] for number in range(50) for topic in ("foobar", "bar", "food", "f")]


def test_subscriber_unsubscribe_takes_one_back_and_leaves_the_others(pair: tuple[Publisher, Subscriber]) -> None:
    publisher, subscriber = pair
    for topic in ("f", "f", "foo", "end"):
        subscriber.subscribe(topic)
    ready(publisher, subscriber)

    def sent() -> list[str]:
        for topic in ("fa", "foo", "end"):
            publisher.send(topic, 1)
        found = [subscriber.receive()[0]]
        while found[-1] != "end":
            found.append(subscriber.receive()[0])
        return found

    assert sent() == ["fa", "foo", "end"]
    subscriber.unsubscribe("f")
    assert sent() == ["fa", "foo", "end"], "it was subscribed to twice"
    subscriber.unsubscribe("f")
    assert sent() == ["foo", "end"]
    subscriber.unsubscribe("nothing")
    subscriber.subscribe("f")
    assert sent() == ["fa", "foo", "end"] and subscriber.missed == 0, "what was not subscribed to is not missed"


def test_subscriber_subscribe_all_drops_the_others_and_unsubscribe_all_hears_nothing(
    pair: tuple[Publisher, Subscriber],
) -> None:
    publisher, subscriber = pair
    subscriber.subscribe("a")
    subscriber.subscribe_all()
    ready(publisher, subscriber)
    publisher.send("b", 1)
    assert subscriber.receive() == ["b", 1]
    subscriber.unsubscribe("")
    publisher.send("a", 2)
    publisher._bus.flush()
    subscriber.subscribe_all()
    publisher.send("c", 3)
    assert subscriber.receive() == ["c", 3], "after that nothing of before is subscribed to"
    subscriber.unsubscribe_all()
    publisher.send("c", 4)
    publisher._bus.flush()
    subscriber.subscribe("d")
    publisher.send("d", 5)
    assert subscriber.receive() == ["d", 5]


def test_subscriber_receive_ends_with_shutdown(pair: tuple[Publisher, Subscriber]) -> None:
    _, subscriber = pair
    ended: list[BaseException] = []

    def receive() -> None:
        try:
            subscriber.receive()
        except SystemClosed as error:
            ended.append(error)

    thread = threading.Thread(target=receive)
    thread.start()
    subscriber.shutdown()
    thread.join(PATIENCE_S)
    assert ended


def test_publisher_and_subscriber_may_be_there_before_the_broker(ports: tuple[int, int]) -> None:
    publisher, subscriber = Publisher(port=ports[0]), Subscriber(port=ports[1])
    broker = Proxy(None, *ports)
    try:
        subscriber.subscribe("a")
        broker.start()
        until(lambda: subscriber._bus.connected)
        subscriber._wait()
        publisher.send("a", 1)
        assert subscriber.receive() == ["a", 1]
    finally:
        for each in (publisher, subscriber, broker):
            each.shutdown()  # type: ignore[attr-defined]


@pytest.mark.parametrize("binds", ["publisher", "subscriber"])
def test_publisher_or_subscriber_that_binds_needs_no_broker(ports: tuple[int, int], binds: str) -> None:
    ends: list[Any] = [
        Publisher(port=ports[0], bind=binds == "publisher"),
        Subscriber(port=ports[0], bind=binds == "subscriber"),
    ]
    ends[1].subscribe("a")
    ready(*ends)
    ends[0].send("a", 1)
    assert ends[1].receive() == ["a", 1]
    for end in ends:
        end.shutdown()


def test_another_host_needs_a_password_and_one_with_another_password_is_refused(ports: tuple[int, int]) -> None:
    for make in (lambda: Publisher("a.example.com"), lambda: Subscriber("10.0.0.1"), lambda: Proxy(host="0.0.0.0")):
        with pytest.raises(UsageError, match="password="):
            make()
    broker = Proxy(None, *ports, host="127.0.0.1", password="of all")
    broker.start()
    publisher, stranger = Publisher(port=ports[0], password="of all"), Subscriber(port=ports[1], password="another")
    friend = Subscriber(port=ports[1], password="of all")
    try:
        friend.subscribe_all()
        ready(publisher, friend)
        publisher.send("a", 1)
        assert friend.receive() == ["a", 1]
        with pytest.raises(AuthenticationFailed, match="was not sent"):
            stranger.receive()
    finally:
        for each in (publisher, stranger, friend, broker):
            each.shutdown()  # type: ignore[attr-defined]


# -- Proxy, MessageBusBroker


def test_proxy_is_a_thread_that_runs_from_start_to_shutdown(ports: tuple[int, int]) -> None:
    proxy = Proxy(frontend_port=ports[0], backend_port=ports[1])
    assert isinstance(proxy, threading.Thread)
    proxy.start()
    for port in ports:
        socket.create_connection(("127.0.0.1", port)).close()
    assert proxy.is_alive()
    proxy.shutdown()
    proxy.shutdown()
    proxy.join(PATIENCE_S)
    assert not proxy.is_alive()
    for port in ports:
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port)).close()


@pytest.mark.parametrize(("send", "receive"), [(0, 1), (1, 0), (0, 0), (1, 1)])
def test_proxy_is_found_at_both_ports_by_both(broker: Proxy, ports: tuple[int, int], send: int, receive: int) -> None:
    publisher, subscriber = Publisher(port=ports[send]), Subscriber(port=ports[receive])
    subscriber.subscribe("a")
    ready(publisher, subscriber)
    publisher.send("a", 1)
    assert subscriber.receive() == ["a", 1]
    publisher.shutdown()
    subscriber.shutdown()


def test_proxy_whose_port_is_taken_says_so(broker: Proxy, ports: tuple[int, int]) -> None:
    with pytest.raises(ServerError, match="already"):
        Proxy(None, *ports).start()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(ServerError, match=str(taken)):
            Proxy(None, free_port(), taken).start()
        with pytest.raises(ServerError, match=str(taken)):
            Proxy(None, taken, free_port()).start()


def test_message_bus_broker_is_a_proxy() -> None:
    assert issubclass(MessageBusBroker, Proxy)


# -- Hub, HubClient


def test_hub_hears_its_clients_and_they_hear_it_and_not_one_another(ports: tuple[int, int]) -> None:
    hub = Hub(None, *ports)
    clients = [HubClient(publisher_port=ports[0], subscriber_port=ports[1]) for _ in range(2)]
    try:
        hub.frontend.subscribe_all()
        for each in clients:
            each.subscriber.subscribe("answer")
            ready(each.publisher, each.subscriber)
        ready(hub.backend, hub.frontend)
        clients[0].publisher.send("answer", "not for clients")
        assert hub.frontend.receive() == ["answer", "not for clients"]
        hub.backend.send("answer", 7)
        assert [each.subscriber.receive() for each in clients] == [["answer", 7]] * 2
    finally:
        for each in (*clients, hub):
            each.shutdown()  # type: ignore[attr-defined]


# -- MessageBusClient


def test_message_bus_client_publishes_and_receives(broker: Proxy, ports: tuple[int, int]) -> None:
    one = client(ports)
    assert isinstance(one, threading.Thread)
    one.subscribe("pings")
    ready(one._publisher, one._subscriber)
    one.publish("pings", "ping")
    assert one.receive() == ["pings", "ping"]
    send = one.publisher("pings")
    send({"a": 1})
    assert one.receive() == ["pings", {"a": 1}]
    one.unsubscribe_all()
    one.subscribe_all()
    one.publish("pongs", 1)
    assert one.receive() == ["pongs", 1] and one.missed == 0
    one.shutdown()


def one_argument(got: list[Any]) -> Callable[..., Any]:
    return lambda message: got.append((message,))


def two_arguments(got: list[Any]) -> Callable[..., Any]:
    return lambda message, topic: got.append((message, topic))


def three_arguments(got: list[Any]) -> Callable[..., Any]:
    return lambda message, topic, client: got.append((message, topic, type(client)))


def any_arguments(got: list[Any]) -> Callable[..., Any]:
    return lambda *arguments: got.append((*arguments[:2], type(arguments[2])))


def topic_by_default(got: list[Any]) -> Callable[..., Any]:
    return lambda message, topic=None, client=None: got.append((message, topic, type(client)))


def another_by_default(got: list[Any]) -> Callable[..., Any]:
    return lambda message, retries=3: got.append((message,) if retries == 3 else ())


def only_names(got: list[Any]) -> Callable[..., Any]:
    return lambda message, *, client: got.append((message, "pings", type(client)))


def a_method(got: list[Any]) -> Callable[..., Any]:
    class Keeps:
        def take(self, message: Any, topic: str) -> None:
            got.append((message, topic))

    return Keeps().take


def a_partial(got: list[Any]) -> Callable[..., Any]:
    return functools.partial(lambda where, message: where.append((message,)), got)


def a_callable_object(got: list[Any]) -> Callable[..., Any]:
    class Keeps:
        def __call__(self, message: Any) -> None:
            got.append((message,))

    return Keeps()


def a_builtin(got: list[Any]) -> Callable[..., Any]:
    class Keeps(list[Any]):
        def __init__(self) -> None:
            self.append = lambda message: got.append((message,))  # type: ignore[method-assign,assignment]

    return Keeps().append


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (one_argument, 1),
        (two_arguments, 2),
        (three_arguments, 3),
        (any_arguments, 3),
        (topic_by_default, 3),
        (another_by_default, 1),
        (only_names, 3),
        (a_method, 2),
        (a_partial, 1),
        (a_callable_object, 1),
        (a_builtin, 1),
    ],
)
def test_message_bus_client_calls_callbacks_of_one_two_and_three_arguments(
    broker: Proxy, ports: tuple[int, int], make: Callable[..., Any], given: int
) -> None:
    got: list[Any] = []
    one = client(ports)
    one.register_callback("ping", make(got))
    one.start()
    ready(one._publisher, one._subscriber)
    one.publish("pings", 7)
    until(lambda: got)
    assert got == [(7, "pings", MessageBusClient)[:given]]
    one.shutdown()
    one.join(PATIENCE_S)
    assert not one.is_alive()


@pytest.mark.parametrize("callback", [None, 7, lambda: 0, lambda a, b, c, d: 0])
def test_message_bus_client_refuses_what_can_be_no_callback(ports: tuple[int, int], callback: Any) -> None:
    one = client(ports)
    with pytest.raises(TypeError):
        one.register_callback("pings", callback)
    one.shutdown()


def test_message_bus_client_goes_on_after_a_callback_that_raises_and_stops_calling_what_was_unregistered(
    broker: Proxy, ports: tuple[int, int]
) -> None:
    got: list[Any] = []

    def raises(message: Any) -> None:
        raise KeyError(message)

    one = client(ports)
    one.register_callback("p", raises)
    unregister = one.register_callback("ping", lambda message: got.append(message))
    one.register_callback("pong", lambda message, topic: got.append(topic))
    one.start()
    ready(one._publisher, one._subscriber)
    one.publish("pings", 1)
    one.publish("pongs", 2)
    until(lambda: len(got) == 2)
    unregister()
    unregister()
    one.publish("pings", 3)
    one.publish("pongs", 4)
    until(lambda: len(got) == 3)
    assert got == [1, "pongs", "pongs"]
    one.shutdown()


def test_message_bus_client_wait_returns_after_shutdown(ports: tuple[int, int]) -> None:
    one = client(ports)
    one.start()
    waits = threading.Thread(target=one.wait)
    waits.start()
    one.shutdown()
    one.shutdown()
    waits.join(PATIENCE_S)
    one.join(PATIENCE_S)
    assert not waits.is_alive() and not one.is_alive()


# -- stream_to_file, stream_from_file


def test_stream_to_file_and_stream_from_file_give_back_what_was_sent(broker: Proxy, ports: tuple[int, int], home: Path) -> None:
    path = home / "stream.gz"
    one = client(ports)
    with stream_to_file(path) as write:
        one.register_callback("sensors", write)
        one.start()
        ready(one._publisher, one._subscriber)
        for number in range(3):
            one.publish(f"sensors.{number}", {"value": number})
        until(lambda: path.exists() and len(list(stream_from_file(path))) == 3)
        one.shutdown()
    found = list(stream_from_file(path))
    assert [(each["topic"], each["message"]) for each in found] == [
        (f"sensors.{number}", {"value": number}) for number in range(3)
    ]
    assert all(isinstance(each["timestamp"], float) for each in found) and path.stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="closed"):
        write(1)


def test_stream_to_file_goes_on_where_the_file_ends(home: Path) -> None:
    for number in (1, 2):
        with stream_to_file(home / "s") as write:
            write(number, "a")
    assert [each["message"] for each in stream_from_file(home / "s")] == [1, 2]


def test_stream_from_file_reads_pickles_that_were_written_one_after_the_other(home: Path) -> None:
    with gzip.open(home / "s", "wb") as file:
        for number in (1, 2):
            pickle.dump({"topic": "a", "message": number, "timestamp": 1.0}, file)
    (home / "s").chmod(0o600)
    assert [each["message"] for each in stream_from_file(home / "s")] == [1, 2]


class Tattle:
    read: list[str] = []

    def __reduce__(self) -> Any:
        return Tattle.read.append, ("read",)


@pytest.mark.parametrize("how", ["another user", "group may write", "others may write", "a pipe", "a link to another user's"])
def test_stream_from_file_refuses_a_file_of_another_user(home: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    path = home / "s"
    path.write_bytes(gzip.compress(pickle.dumps({"topic": "a", "message": Tattle(), "timestamp": 1.0})))
    path.chmod({"group may write": 0o620, "others may write": 0o602}.get(how, 0o600))
    if how == "a pipe":
        path.unlink()
        os.mkfifo(path, 0o600)
    if how == "a link to another user's":
        (home / "link").symlink_to(path)
        path = home / "link"
    if "another user" in how:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    for use in (stream_from_file, stream_to_file):
        with pytest.raises((UsageError, OSError)):
            use(path)
    assert Tattle.read == []


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_stream_from_file_leaves_out_what_a_crash_has_left(home: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    path = home / "s"
    with stream_to_file(path) as write:
        for number in range(3):
            write(number, "a")
    path.write_bytes(path.read_bytes()[:-cut])
    assert [each["message"] for each in stream_from_file(path)][:2] == [0, 1]
    assert "ends in the middle of a message" in caplog.text


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"no pickle"), gzip.compress(pickle.dumps([1])), gzip.compress(pickle.dumps({"topic": 1}))],
    ids=["no gzip", "no pickle", "a list", "a topic alone"],  # What gzip writes has the time in it.
)
def test_stream_from_file_says_of_a_file_that_is_none_that_it_is_none(home: Path, data: bytes) -> None:
    (home / "s").write_bytes(data)
    (home / "s").chmod(0o600)
    with pytest.raises(DecodingError, match="message 1"):
        list(stream_from_file(home / "s"))


# -- the README

PING_PONG = """
import multiprocessing
import time

from coopy.compat import pydistributed


def service_ping():
    client = pydistributed.MessageBusClient()
    client.subscribe("pongs")
    time.sleep(0.5)
    while True:
        client.publish("pings", "ping")
        print("GOT", client.receive())


def service_pong():
    client = pydistributed.MessageBusClient()
    client.subscribe("pings")
    time.sleep(0.5)
    while True:
        print("GOT", client.receive())
        client.publish("pongs", "pong")


try:
    broker = pydistributed.MessageBusBroker()
    broker.start()
    ping = multiprocessing.Process(target=service_ping)
    pong = multiprocessing.Process(target=service_pong)
    ping.start()
    pong.start()
    broker.join()
except Exception as e:
    print(e, "bringing down broker")
finally:
    broker.shutdown()
"""


@pytest.mark.slow
def test_the_ping_pong_of_the_readme_runs_with_its_import_changed(home: Path) -> None:
    script = program.write(home / "ping_pong.py", PING_PONG)
    # At the documented ports there is room for one at a time.
    with open(Path(tempfile.gettempdir(), "coopy-tests-5559"), "w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        with subprocess.Popen(
            [sys.executable, "-u", str(script)],
            env=program.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as running:
            assert running.stdout is not None
            lines: list[str] = []
            try:
                for line in running.stdout:
                    lines.append(line.strip())
                    if "already" in line or "taken" in line:
                        pytest.skip("another program has the documented ports")
                    if len(lines) == 40:
                        break
                assert set(lines) == {"GOT ['pings', 'ping']", "GOT ['pongs', 'pong']"}
            finally:
                os.killpg(running.pid, signal.SIGKILL)

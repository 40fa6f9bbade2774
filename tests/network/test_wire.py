"""The plain connection of the line: what a server may do to it, what several threads may, and what is known when it breaks."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cluster.test_line import Servers, answered, connected, follow, received, send
from network.servers import NODE, REPLICA, free_port, running, settings, until

from coopy import OutcomeUnknown, SystemClosed, Unavailable
from coopy.network import stream
from coopy.network import wire as wires
from coopy.network.address import parse
from coopy.network.connection import Connection
from coopy.network.stream import Stream
from coopy.network.subjects import Names
from coopy.network.wire import Bell, Delivered, NoTLS, Wire, header, status

TIMEOUT_S = 10.0
FOLDER = Path("/proc/self/fd")
INFO = b'INFO {"server_id":"X","version":"2.11.0","proto":1,"max_payload":8388608,"headers":true%s}\r\n'
PLAIN, REQUIRES = INFO % b"", INFO % b',"tls_required":true'


class Certified:
    """Certificates for 127.0.0.1, and what each side makes of them."""

    def __init__(self, path: Path) -> None:
        certificates = pytest.importorskip("coopy.network.server.certificates")
        pytest.importorskip("cryptography", reason="the extra [crypto] is not installed")
        made = certificates.make(str(path), [parse("127.0.0.1:1")])
        self.folder = next(iter(made.folders.values()))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(f"{self.folder}/node.pem", f"{self.folder}/node.key")
        self.client = ssl.create_default_context(cafile=made.authority)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return Certified(tmp_path_factory.mktemp("tls") / "made")


class Peer:
    """The other side of a wire. It greets in a thread; after that the test does what a server would, with ``socket``."""

    def __init__(self, tls: Certified | None = None) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(TIMEOUT_S)
        self._tls = tls
        self.port = self._server.getsockname()[1]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.bell = Bell()
        self.heard = bytearray()
        self.socket: socket.socket
        self.wires: list[Wire] = []
        self.after = b""
        """Said right behind the greeting."""

    def wire(self, **options: Any) -> Wire:
        greeting = threading.Thread(target=self._greet)
        greeting.start()
        try:
            self.wires.append(self.connect(**options))
        finally:
            greeting.join()
        return self.wires[-1]

    def connect(self, url: str = "", user: str | None = "node", password: str | None = "secret", **options: Any) -> Wire:
        if self._tls is not None:
            options.setdefault("tls", self._tls.client)
        return Wire(
            url or self.url, user, password, subscribe=[b"out", b"in.*"], bell=self.bell, **{"timeout_s": TIMEOUT_S, **options}
        )

    def _greet(self) -> None:
        self.accept(PLAIN if self._tls is None else REQUIRES)
        if self._tls is not None:
            self.socket = self._tls.server.wrap_socket(self.socket, server_side=True)
        self.hear(lambda: self.heard.endswith(b"PING\r\n"))
        self.socket.sendall(b"PONG\r\n" + self.after)

    def accept(self, says: bytes) -> None:
        self.socket = self._server.accept()[0]
        self.socket.settimeout(TIMEOUT_S)
        self.socket.sendall(says)

    def hear(self, enough: Callable[[], bool]) -> bytearray:
        while not enough():
            found = self.socket.recv(1 << 20)
            assert found, "the wire ended"
            self.heard += found
        return self.heard

    @contextlib.contextmanager
    def doing(self, work: Callable[[], object], then: str = "closes") -> Iterator[None]:
        """Plays the server in a thread; that the other side leaves in the middle is all right."""

        def play() -> None:
            with contextlib.suppress(OSError):
                work()
            if then == "closes" and hasattr(self, "socket"):
                self.socket.close()

        thread = threading.Thread(target=play)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def close(self) -> None:
        for each in self.wires:
            each.close()
        self.bell.close()
        self._server.close()
        with contextlib.suppress(AttributeError):
            self.socket.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    found = Peer()
    yield found
    found.close()


@pytest.fixture(params=["plain", "tls"])
def either(request: pytest.FixtureRequest) -> Iterator[Peer]:
    found = Peer(request.getfixturevalue("certified") if request.param == "tls" else None)
    yield found
    found.close()


def read(wire: Wire, number: int) -> list[Delivered]:
    """So many messages."""
    found: list[Delivered] = []
    while len(found) < number:
        wire.wait(TIMEOUT_S)
        found += wire.read()
    return found


def broken(wire: Wire) -> OSError:
    """What the reader is told in the end."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            wire.wait(0.02)
            wire.read()
        except OSError as error:
            return error
    pytest.fail("the wire did not break")


def fill(wire: Wire, size: int = 1 << 20) -> int:
    """Publishes until the socket takes no more; how many messages."""
    for number in range(64):
        wire.publish(b"line", b"in.1", b"NATS/1.0\r\n\r\n", bytes([number]) * size)
        if wire._unsent:
            return number + 1
    pytest.fail("the socket takes everything")


# -- out


def test_what_the_socket_does_not_take_is_sent_by_who_reads_and_nothing_is_mixed_up(
    either: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wires, "PING_S", 1000.0)
    wire, headers = either.wire(), b"NATS/1.0\r\nA: b\r\n\r\n"
    wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    rounds, threads, size = 2, 4, 300_000

    def body(key: int, number: int) -> bytes:
        return b"%d.%d." % (key, number) + bytes([key]) * (size + number)

    def message(key: int, number: int) -> bytes:
        data = headers + body(key, number)
        return b"HPUB line in.%d %d %d\r\n%s\r\n" % (key, len(headers), len(data), data)

    def publish(key: int) -> None:
        for number in range(10):
            wire.publish(b"line", b"in.%d" % key, headers, body(key, number))

    def publishing(first: int) -> list[threading.Thread]:
        started = [threading.Thread(target=publish, args=(key,)) for key in range(first, first + threads)]
        for thread in started:
            thread.start()
        return started

    for thread in publishing(0):
        thread.join()  # Nobody has read: who publishes waits for nobody.
    assert len(wire._unsent) > size
    either.heard.clear()
    total = sum(len(message(key, number)) for key in range(rounds * threads) for number in range(10))
    with either.doing(lambda: either.hear(lambda: len(either.heard) >= total), then="stays"):
        others = publishing(threads)
        while any(thread.is_alive() for thread in others) or wire._unsent:
            wire.wait(0.01)
            wire.read()
        for thread in others:
            thread.join()
    found, at = [], 0
    while at < total:
        key, number = map(int, either.heard[at : at + 1000].split(b"\r\n\r\n")[1].split(b".")[:2])
        whole = message(key, number)
        assert either.heard[at : at + len(whole)] == whole
        found.append((key, number))
        at += len(whole)
    assert len(found) == rounds * threads * 10
    for key in range(rounds * threads):
        assert [number for own, number in found if own == key] == list(range(10))


def test_who_reads_is_woken_by_what_could_not_be_sent(peer: Peer) -> None:
    wire = peer.wire()
    fill(wire)
    assert select.select([peer.bell], [], [], 0)[0]


def test_what_the_socket_has_not_taken_is_known(peer: Peer) -> None:
    wire = peer.wire()
    assert wire.unsent == 0
    fill(wire)
    assert wire.unsent == len(wire._unsent) > 0


def test_what_a_server_takes_for_one_message_is_known(peer: Peer) -> None:
    assert peer.wire().payload_bytes_max == 8 << 20


def test_a_child_that_forgets_the_connection_leaves_it_to_its_parent(either: Peer) -> None:
    wire = either.wire()
    pid = os.fork()
    if pid == 0:
        wire.forget()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    either.heard.clear()
    wire.publish(b"line", b"in.1", b"NATS/1.0\r\n\r\n", b"still there")
    with either.doing(lambda: either.hear(lambda: b"still there" in either.heard), then="stays"):
        pass


def test_who_has_nothing_to_send_waits_until_something_comes(either: Peer) -> None:
    wire = either.wire()
    either.heard.clear()
    wanted = 20 + fill(wire) * (1 << 20)
    with either.doing(lambda: either.hear(lambda: len(either.heard) > wanted), then="stays"):
        while wire._unsent:
            wire.wait(0.01)
            wire.read()
    waited = []

    class Poll:
        def __init__(self) -> None:
            self.events = 0

        def register(self, _: object, events: int) -> None:
            self.events |= events

        def poll(self, _: float) -> list[tuple[int, int]]:
            waited.append(self.events)
            return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(select, "poll", Poll)
        wire.wait(TIMEOUT_S)
    assert waited == [select.POLLIN]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ssl.SSLError])
def test_after_a_message_that_was_cut_off_nothing_more_is_sent(peer: Peer, error: type[BaseException]) -> None:
    wire = peer.wire()
    whole = wire._socket

    class Interrupted:
        def send(self, data: bytes) -> int:
            whole.send(data[:20])
            raise error

    wire._socket = Interrupted()  # type: ignore[assignment]
    with pytest.raises(error):
        wire.publish(b"line", b"in.1", b"", b"cut off")
    wire._socket = whole
    peer.heard.clear()
    with pytest.raises(OSError, match=error.__name__):
        wire.publish(b"line", b"in.2", b"", b"next")
    assert select.select([peer.bell], [], [], 0)[0]
    peer.socket.sendall(b"MSG in.1 2 1\r\na\r\n")
    assert [each.data for each in read(wire, 1)] == [b"a"], "what was answered before is known"
    peer.bell.ring()
    with pytest.raises(OSError, match=error.__name__):
        wire.wait(TIMEOUT_S)
    wire.close()
    while found := peer.socket.recv(4096):
        peer.heard += found
    assert peer.heard == b"HPUB line in.1 0 7\r\ncut off\r\n"[:20]


def test_what_was_answered_is_read_though_the_rest_can_not_be_sent(peer: Peer) -> None:
    wire = peer.wire()
    fill(wire)

    def fail(_: object) -> int:
        raise BrokenPipeError

    wire._sent = fail  # type: ignore[method-assign, assignment]
    wire._sends_on = select.POLLIN
    peer.socket.sendall(b"MSG in.1 2 1\r\na\r\n")
    assert [each.data for each in read(wire, 1)] == [b"a"]
    assert "BrokenPipeError" in str(broken(wire))


def test_what_openssl_can_only_send_after_it_has_read_is_not_tried_again_before(certified: Certified) -> None:
    peer = Peer(certified)
    try:
        wire = peer.wire()
        tried = []

        def send(data: bytes) -> int:
            tried.append(len(data))
            if len(tried) < 4:
                raise ssl.SSLWantReadError if len(tried) < 3 else ssl.SSLWantWriteError
            return len(data)

        wire._socket.send = send  # type: ignore[assignment, method-assign]
        wire.publish(b"line", b"in.1", b"", b"a")
        for _ in range(5):
            while select.select([wire._socket], [], [], 0)[0]:
                wire.read()  # What comes with a new connection: tickets.
            tried[1:] = []
            wire.wait(0.001)
        assert tried == [23]
        peer.socket.sendall(b"MSG out 1 1\r\na\r\n")
        read(wire, 1)
        assert len(tried) == 2
        peer.socket.sendall(b"MSG out 1 1\r\nb\r\n")
        read(wire, 1)
        peer.bell.wait(0)
        wire.wait(TIMEOUT_S)
        assert len(tried) == 4 and not wire._unsent
    finally:
        peer.close()


# -- signs of life


def test_who_asks_whether_anybody_is_there_is_answered(either: Peer) -> None:
    wire = either.wire()
    either.heard.clear()
    either.socket.sendall(b"PING\r\nMSG out 1 1\r\na\r\n")
    read(wire, 1)
    assert either.hear(lambda: either.heard.endswith(b"\r\n")) == b"PONG\r\n"


def test_a_server_that_gives_no_sign_of_life_is_given_up(either: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "PING_S", 0.02)
    monkeypatch.setattr(wires, "PONG_S", 0.03)
    wire = either.wire()
    either.heard.clear()
    assert "127.0.0.1 gave no sign of life for" in str(broken(wire))
    assert either.hear(lambda: either.heard.endswith(b"\r\n")) == b"PING\r\n"


@pytest.mark.parametrize("answer", [b"PONG\r\n", b"MSG out 1 1\r\na\r\n", b"MSG out 1 100\r\nhalf"])
def test_whose_answer_came_while_the_reader_was_busy_is_not_given_up(
    either: Peer, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    wire = either.wire()
    monkeypatch.setattr(wires, "PING_S", -1.0)
    while wire._asked is None:
        wire.wait(0)
        wire.read()
    monkeypatch.setattr(wires, "PING_S", 1000.0)
    monkeypatch.setattr(wires, "PONG_S", -1.0)
    either.socket.sendall(answer)
    until(wire.has_more)
    wire.wait(0)
    wire.read()
    wire.wait(0)
    assert wire._asked is None


def test_a_reader_that_was_away_for_long_asks_before_it_gives_up(peer: Peer) -> None:
    wire = peer.wire()
    wire._alive_at -= 1000
    peer.heard.clear()
    wire.wait(0)
    assert peer.hear(lambda: peer.heard.endswith(b"\r\n")) == b"PING\r\n"


def test_who_is_slow_to_take_what_is_sent_is_not_given_up_while_it_takes_something(either: Peer) -> None:
    wire = either.wire()
    number = fill(wire)
    while wire._asked is None:
        wire._alive_at -= 1000
        wire.wait(0)
        wire.read()
    wire._asked -= 1000
    either.heard.clear()
    wanted = number * (1 << 20)
    with either.doing(lambda: either.hear(lambda: len(either.heard) > wanted), then="stays"):
        select.select([], [wire._socket], [], TIMEOUT_S)
        wire.wait(TIMEOUT_S)
        assert wire._asked is None or wire._asked > time.monotonic() - 500
        while wire._unsent:
            wire.wait(0.01)
            wire.read()


# -- in

HEADERS = b"NATS/1.0\r\nNats-Sequence: 7\r\nA:b\r\n\r\n"
MESSAGES = [
    (b"MSG out 1 5\r\nhello\r\n", Delivered(1, b"out", b"", b"hello")),
    (b"MSG out 1 0\r\n\r\n", Delivered(1, b"out", b"", b"")),
    (b"MSG in.4 2 reply.to 6\r\n\r\na\r\nb\r\n", Delivered(2, b"in.4", b"", b"\r\na\r\nb", b"reply.to")),
    (b"HMSG out 1 %d %d\r\n%sbody\r\n" % (len(HEADERS), len(HEADERS) + 4, HEADERS), Delivered(1, b"out", HEADERS, b"body")),
    (b"HMSG in.5 2 reply 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", Delivered(2, b"in.5", b"NATS/1.0 503\r\n\r\n", b"", b"reply")),
    (b"MSG out 12 13\r\nMSG out 1 9\r\n\r\n", Delivered(12, b"out", b"", b"MSG out 1 9\r\n")),
]
ALL = b"PING\r\n+OK\r\n".join(said for said, _ in MESSAGES) + b"INFO {}\r\n"
EXPECTED = [expected for _, expected in MESSAGES]


def test_messages_that_come_all_at_once_are_taken_apart(either: Peer) -> None:
    wire = either.wire()
    either.socket.sendall(ALL)
    assert read(wire, len(EXPECTED)) == EXPECTED


def test_messages_that_come_byte_by_byte_are_put_together(either: Peer) -> None:
    wire = either.wire()
    found = []
    for number in range(len(ALL)):
        either.socket.sendall(ALL[number : number + 1])
        wire.wait(TIMEOUT_S)
        found += wire.read()
    found += read(wire, len(EXPECTED) - len(found))
    assert found == EXPECTED and len(wire._buffer) < 10


def test_messages_that_are_cut_anywhere_are_put_together(peer: Peer) -> None:
    wire = peer.wire()
    for cut in range(1, len(ALL)):
        for part in (ALL[:cut], ALL[cut:]):
            wire._fed(part)
        assert read(wire, len(EXPECTED)) == EXPECTED, cut
        assert wire._buffer == b"", cut


def test_a_large_message_comes_in_many_parts(either: Peer) -> None:
    wire, body = either.wire(), bytes(range(256)) * 20_000
    with either.doing(lambda: either.socket.sendall(b"MSG out 1 %d\r\n%s\r\nMSG out 1 1\r\na\r\n" % (len(body), body))):
        assert [each.data for each in read(wire, 2)] == [body, b"a"]


def test_what_openssl_holds_is_not_waited_for(certified: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(certified)
    try:
        wire = peer.wire()
        monkeypatch.setattr(wires, "_READ_BYTES", 16)
        peer.socket.sendall(ALL)
        found: list[Delivered] = []
        while not wire._socket.pending():  # type: ignore[attr-defined]
            select.select([wire._socket], [], [], TIMEOUT_S)
            found += wire.read()
        assert not select.select([wire._socket], [], [], 0)[0]
        while len(found) < len(EXPECTED):
            assert wire.has_more()
            with pytest.MonkeyPatch.context() as patch:
                patch.delattr(select, "poll")
                wire.wait(TIMEOUT_S)
            found += wire.read()
        assert found == EXPECTED
    finally:
        peer.close()


def test_what_is_said_right_behind_the_greeting_is_read_though_nothing_follows(either: Peer) -> None:
    either.after = MESSAGES[0][0]
    wire = either.wire()
    assert read(wire, 1) == [EXPECTED[0]]


@pytest.mark.parametrize(
    ("headers", "found", "said"),
    [
        (b"NATS/1.0\r\nA:b\r\n\r\n", b"b", b""),
        (b"NATS/1.0 503\r\n\r\n", None, b"503"),
        (b"NATS/1.0 404 No Messages\r\nXA: c\r\nA:  b \r\n\r\n", b"b", b"404 No Messages"),
        (b"NATS/1.0\r\nA: cut", b"cut", b""),
        (b"", None, b""),
    ],
)
def test_headers_are_found_by_their_names(headers: bytes, found: bytes | None, said: bytes) -> None:
    assert (header(headers, b"A"), status(headers)) == (found, said)


# -- what no server says

NONSENSE = [
    b"\x00\xff\x80 garbage\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\r\n",
    b"MSG\r\n",
    b"MSG \r\n",
    b"MSG out 1\r\n",
    b"MSG out one 5\r\nhello\r\n",
    b"MSG out 1 five\r\nhello\r\n",
    b"MSG out 1 -5\r\nhello\r\n",
    b"MSG out 1 5.0\r\nhello\r\n",
    b"MSG out 1 %d\r\n" % (wires.MESSAGE_BYTES_MAX + 1),
    b"MSG out 1 " + b"9" * 5000 + b"\r\n",
    b"MSG out 1 3\r\nhello\r\n",
    b"MSG out 1 3\r\nhello+OK\r\n",
    b"HMSG out 1 5\r\nhello\r\n",
    b"HMSG out 1 -1 5\r\nhello\r\n",
    b"HMSG out 1 6 5\r\nhello\r\n",
    b"HMSG out 1 a 5\r\nhello\r\n",
    b"x" * (wires.LINE_BYTES_MAX + 2),
    b"MSG " + b"x" * wires.LINE_BYTES_MAX,
]


def briefly(said: bytes) -> str:
    return repr(said[:30])


@pytest.mark.parametrize("said", NONSENSE, ids=briefly)
def test_what_no_server_says_ends_the_connection(peer: Peer, said: bytes) -> None:
    wire = peer.wire()
    with peer.doing(lambda: (peer.socket.sendall(b"MSG out 1 1\r\na\r\n" + said), peer.socket.recv(1))):
        error = broken(wire)
        wire.close()
    assert str(error).startswith("127.0.0.1 sent ") and len(str(error)) < 300
    assert len(wire._buffer) < wires.LINE_BYTES_MAX + 100


@pytest.mark.parametrize("said", NONSENSE, ids=briefly)
@pytest.mark.parametrize("before", [b"", PLAIN], ids=["at once", "after its first line"])
def test_who_greets_as_no_server_does_is_left(peer: Peer, before: bytes, said: bytes) -> None:
    with peer.doing(lambda: (peer.accept(before + said), peer.socket.recv(1 << 20), peer.socket.recv(1))):
        with pytest.raises(OSError, match="127.0.0.1 sent" if before else "the other side is no such server"):
            peer.connect()


@pytest.mark.parametrize(
    "said",
    [
        b"INFO\r\n",
        b"INFO \r\n",
        b"INFO nonsense\r\n",
        b"INFO []\r\n",
        b"INFO 5\r\n",
        b'INFO "\xff"\r\n',
        b"INFO " + b"[" * 60_000 + b"\r\n",
        b'INFO {"max_payload": ' + b"9" * 5000 + b"}\r\n",
        b"-ERR 'too many connections'\r\n",
        b"INFO {}",
    ],
    ids=briefly,
)
def test_a_first_line_that_says_nothing_is_an_error_that_shows_it(peer: Peer, said: bytes) -> None:
    with peer.doing(lambda: peer.accept(said)):
        with pytest.raises(OSError, match="no such server"):
            peer.connect()


def test_a_host_may_take_its_time_until_it_is_connected_and_after(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its addresses, the first may be one at which nobody answers."""
    connect, monotonic, gone = socket.create_connection, time.monotonic, [0.0]

    def slowly(*given: Any) -> socket.socket:
        gone[0] += 2 * TIMEOUT_S
        return connect(*given)

    monkeypatch.setattr(socket, "create_connection", slowly)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + gone[0])
    peer.wire()


def test_who_says_nothing_is_not_waited_for(peer: Peer) -> None:
    with peer.doing(lambda: (peer.accept(b""), peer.socket.recv(1))):
        with pytest.raises(TimeoutError):
            peer.connect(timeout_s=0.05)


@pytest.mark.parametrize("what", [b"x", b"PING\r\n"], ids=["its first line", "its answer"])
def test_who_never_comes_to_the_end_of_its_greeting_is_not_waited_for(peer: Peer, what: bytes) -> None:
    over = threading.Event()

    def drip() -> None:
        peer.accept(b"" if what == b"x" else PLAIN)
        while not over.wait(0.0005):
            peer.socket.sendall(what)

    with peer.doing(drip):
        try:
            with pytest.raises(TimeoutError):
                peer.connect(timeout_s=0.1)
        finally:
            over.set()


def test_who_floods_instead_of_answering_is_left(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "MESSAGE_BYTES_MAX", 4 << 20)
    message = b"MSG out 1 100000\r\n%s\r\n" % bytes(100_000)

    def flood() -> None:
        peer.accept(PLAIN)
        while True:
            peer.socket.sendall(message)

    with peer.doing(flood):
        with pytest.raises(ConnectionError, match="no answer to what it was asked"):
            peer.connect()


# -- who may come in


@pytest.mark.parametrize(
    ("url", "user", "password", "said"),
    [
        ("nats://{}", "node", "secret", {"user": "node", "pass": "secret"}),
        ("{}", "node", "secret", {"user": "node", "pass": "secret"}),
        ("nats://ann:p%40ss%20w%2Frd@{}", None, None, {"user": "ann", "pass": "p@ss w/rd"}),
        ("nats://token%3A@{}", None, None, {"auth_token": "token:"}),
        ("nats://ann:other@{}", "node", "secret", {"user": "node", "pass": "secret"}),
        ("nats://{}", None, None, {}),
    ],
)
def test_user_and_password_are_those_given_or_else_those_of_the_url(
    peer: Peer, url: str, user: str | None, password: str | None, said: dict[str, str]
) -> None:
    peer.wire(url=url.format(f"127.0.0.1:{peer.port}"), user=user, password=password)
    line = peer.heard.partition(b"\r\n")[0]
    assert line.startswith(b"CONNECT ")
    found = json.loads(line[8:])
    assert {key: found[key] for key in ("user", "pass", "auth_token") if key in found} == said


def test_what_was_subscribed_to_is_said_before_anything_is_asked(peer: Peer) -> None:
    peer.wire()
    assert peer.heard.partition(b"\r\n")[2] == b"SUB out 1\r\nSUB in.* 2\r\nPING\r\n"


@pytest.mark.parametrize("how", ["url", "context"])
def test_who_is_to_speak_tls_and_speaks_none_is_told_nothing(peer: Peer, how: str) -> None:
    heard = []
    with peer.doing(lambda: (peer.accept(PLAIN), heard.append(peer.socket.recv(1000)))):
        with pytest.raises(NoTLS, match="it speaks no TLS"):
            if how == "url":
                peer.connect(f"tls://127.0.0.1:{peer.port}")
            else:
                peer.connect(tls=ssl.create_default_context())
    assert heard == [b""]


def test_a_certificate_of_nobody_known_or_for_another_host_is_refused(certified: Certified) -> None:
    peer = Peer(certified)
    try:
        for url, context in [("", ssl.create_default_context()), (f"nats://127.1:{peer.port}", certified.client)]:
            peer.heard.clear()
            with peer.doing(peer._greet):
                with pytest.raises(ssl.SSLCertVerificationError):
                    Wire(url or peer.url, "node", "secret", subscribe=[], bell=peer.bell, tls=context, timeout_s=TIMEOUT_S)
            assert peer.heard == b""
    finally:
        peer.close()


def test_an_error_of_the_server_ends_the_connection_and_is_said(peer: Peer) -> None:
    wire = peer.wire()
    peer.socket.sendall(b"-ERR 'Stale Connection'\r\n")
    assert str(broken(wire)) == "127.0.0.1: Stale Connection"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(settings(tmp_path_factory.mktemp("server"))) as supervisor:
        yield Servers(supervisor.url)


@pytest.fixture
def servers(server: Servers) -> Iterator[Servers]:
    yield server.begin()
    server.close()


@pytest.fixture
def bell() -> Iterator[Bell]:
    found = Bell()
    yield found
    found.close()


def test_a_wrong_password_is_said(server: Servers, bell: Bell) -> None:
    with pytest.raises(OSError, match="Authorization Violation"):
        Wire(server.url, "node", "wrong", subscribe=[b"out"], bell=bell)


def test_a_url_with_the_password_in_it_is_enough_for_a_server(server: Servers, bell: Bell) -> None:
    Wire(server.url.replace("//", f"//node:{quote(NODE)}@"), None, None, subscribe=[], bell=bell, timeout_s=TIMEOUT_S).close()


def test_what_is_not_permitted_is_not_done_and_the_connection_goes_on(
    server: Servers, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, hear = [], Wire._said

    def listen(wire: Wire, line: bytes) -> None:
        said.append(line)
        hear(wire, line)

    monkeypatch.setattr(Wire, "_said", listen)
    wire = Wire(server.url, "replica", REPLICA, subscribe=[b"_INBOX_replica.>"], bell=bell, timeout_s=TIMEOUT_S)
    wire.publish(b"coopy.shop.line", b"_INBOX_replica.1", b"NATS/1.0\r\n\r\n", b"forged")
    wire.publish(b"coopy.shop.ask.this", b"_INBOX_replica.2", b"NATS/1.0\r\n\r\n", b"")
    [answer] = read(wire, 1)
    assert (answer.subject, status(answer.headers)) == (b"_INBOX_replica.2", b"503")
    assert [line for line in said if b"Permissions Violation" in line]
    wire.close()


def test_a_server_that_speaks_tls_is_spoken_to(tmp_path: Path, certified: Certified, bell: Bell) -> None:
    from coopy.network.server.configuration import tls_of

    with running(settings(tmp_path / "server", tls=tls_of(certified.folder))) as supervisor:
        wire = Wire(supervisor.url, "node", NODE, subscribe=[b"a"], bell=bell, tls=certified.client, timeout_s=TIMEOUT_S)
        body = bytes(range(256)) * 16_000
        for number in range(3):
            wire.publish(b"a", b"b", b"NATS/1.0\r\n\r\n", b"%d" % number + body)
        assert [each.data for each in read(wire, 3)] == [b"%d" % number + body for number in range(3)]
        wire.close()


# -- the end


def test_the_other_side_sees_the_end_also_if_a_child_has_a_copy_of_the_socket(either: Peer) -> None:
    wire = either.wire()
    copy = os.dup(wire._socket.fileno())
    try:
        wire.close()
        assert either.socket.recv(1) == b""
    finally:
        os.close(copy)


def test_a_closed_wire_says_so_and_may_be_closed_again(either: Peer) -> None:
    wire = either.wire()
    wire.close()
    wire.close()
    for work in (lambda: wire.wait(0), wire.read, lambda: wire.publish(b"a", b"b", b"", b"")):
        with pytest.raises(OSError):
            work()


def test_the_end_of_the_other_side_is_noticed_by_who_reads_and_by_who_sends(either: Peer) -> None:
    wire = either.wire()
    either.socket.close()
    assert isinstance(broken(wire), OSError)
    deadline = time.monotonic() + TIMEOUT_S
    with pytest.raises(OSError):
        while time.monotonic() < deadline:
            wire.publish(b"line", b"in.1", b"", b"a")


def test_nothing_is_closed_while_somebody_sends_to_it(peer: Peer) -> None:
    """Its descriptor would be that of the next file that is opened."""
    for each, closed in [(peer.wire(), lambda found: found._socket), (Bell(), lambda found: found._out)]:
        with each._lock:  # type: ignore[attr-defined]
            thread = threading.Thread(target=each.close)  # type: ignore[attr-defined]
            thread.start()
            thread.join(0.05)
            assert closed(each).fileno() != -1
        thread.join()
        assert closed(each).fileno() == -1


@pytest.mark.parametrize("what", ["read", "has_more", "wait"])
def test_openssl_is_not_asked_while_another_thread_sends(certified: Certified, what: str) -> None:
    peer = Peer(certified)
    try:
        wire = peer.wire()
        work: Callable[[], object] = {"read": wire.read, "has_more": wire.has_more, "wait": lambda: wire.wait(0)}[what]
        with wire._lock:
            thread = threading.Thread(target=work)
            thread.start()
            thread.join(0.05)
            assert thread.is_alive()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
    finally:
        peer.close()


def test_a_bell_rings_until_it_was_heard_and_never_fails() -> None:
    bell = Bell()
    for _ in range(100_000):
        bell.ring()  # More than it holds.
    bell.wait(TIMEOUT_S)
    assert not select.select([bell], [], [], 0)[0]
    bell.close()
    bell.ring()
    bell.close()


# -- the line over it


@pytest.fixture
def line(servers: Servers) -> Iterator[Stream]:
    found = servers.end()
    follow(found, 0)
    yield connected(found)  # type: ignore[misc]
    found.close()


def outcome(line: Stream, sent: Future[int]) -> BaseException | None:
    """How it ended, for who receives meanwhile."""
    deadline = time.monotonic() + TIMEOUT_S
    while not sent.done():
        line.receive(0.01)
        assert time.monotonic() < deadline, "it is not answered"
    return sent.exception()


def test_what_is_sent_without_a_connection_surely_does_not_stand_in_the_line(servers: Servers) -> None:
    line = servers.end()
    sent = line.send(b"a", "a")
    assert sent.done() and isinstance(sent.exception(), Unavailable)
    connected(line)
    assert line._wire is not None
    line._wire._socket.shutdown(socket.SHUT_RDWR)
    servers.connections[-1]._urls[:] = ["nats://127.0.0.1:1"]
    servers.connections[-1].client._current_server = None
    while line._wire is not None or line._away is None:
        line.receive(0.01)
    error = line.send(b"b", "b").exception(0)
    assert isinstance(error, Unavailable) and "there is no connection to a server (" in str(error)
    line.close()


def test_what_was_not_answered_when_the_connection_broke_is_not_known_and_the_line_goes_on(line: Stream) -> None:
    assert line._wire is not None
    line._wire._socket.shutdown(socket.SHUT_RDWR)
    lost = [line.send(b"lost", "lost"), line.send(b"lost too", "lost too")]
    assert [type(outcome(line, each)) for each in lost] == [OutcomeUnknown] * 2
    assert "the connection was lost before the acknowledgement came" in str(lost[0].exception())
    assert send(line, "next") == [1]
    assert received(line, 1) == [(1, b"next")]


def test_a_server_that_is_killed_and_comes_back_on_the_same_port_is_found_again(tmp_path: Path) -> None:
    with running(settings(tmp_path / "server")) as supervisor:
        servers = Servers(supervisor.url).begin()
        line = connected(servers.end())
        assert isinstance(line, Stream)
        follow(line, 0)
        assert send(line, "before") == [1]
        pid = supervisor.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: supervisor.pid != pid)
        sent = line.send(b"during", "during")
        assert isinstance(outcome(line, sent), OutcomeUnknown)
        connected(line)
        until(lambda: servers.connections[-1].connected)
        answers: list[int] = []
        while not answers:
            # Right after its start a server may not have read its streams yet.
            with contextlib.suppress(Unavailable, OutcomeUnknown):
                answers = send(line, "after")
        assert answers == [2]
        assert received(line, 2) == [(1, b"before"), (2, b"after")]
        line.close()
        servers.close()


def test_where_the_first_server_is_gone_the_line_goes_to_the_next(tmp_path: Path, server: Servers) -> None:
    server.begin()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(running(settings(tmp_path / "server", free_port())))
        connection = Connection([first.url, server.url], "node", NODE)
        connection.open(TIMEOUT_S)
        stack.callback(connection.close)
        connection.run(stream.make(connection, server.names, 1), TIMEOUT_S)
        line = Stream(connection, server.names)
        stack.callback(line.close)
        assert send(connected(line), "first") == [1]
        first.stop()
        until(lambda: line.receive(0.01) or line._wire is None)
        assert send(connected(line), "a", "b") == [1, 2], "it is another server, with a line of its own"
    server.close()


def test_who_takes_a_message_and_never_answers_leaves_its_outcome_unknown(
    server: Servers, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SEND_S", 0.05)
    server.begin(made=False)
    silent = Wire(server.url, "node", NODE, subscribe=[server.names.line.encode()], bell=bell, timeout_s=TIMEOUT_S)
    line = connected(server.end())
    assert isinstance(line, Stream)
    sent = line.send(b"a", "a")
    error = outcome(line, sent)
    assert isinstance(error, OutcomeUnknown) and "no acknowledgement within 0.05 s" in str(error)
    assert [each.data for each in read(silent, 1)] == [b"a"]
    assert line._wire is not None and not line._unanswered
    line.close()
    silent.close()
    server.close()


def test_when_another_server_leads_nobody_waits_longer_for_an_answer_of_the_one_that_led(server: Servers, bell: Bell) -> None:
    server.begin(made=False)
    silent = Wire(server.url, "node", NODE, subscribe=[server.names.line.encode()], bell=bell, timeout_s=TIMEOUT_S)
    line = connected(server.end())
    assert isinstance(line, Stream)
    began = time.monotonic()
    sent = line.send(b"a", "a")
    assert [each.data for each in read(silent, 1)] == [b"a"]
    silent.publish(server.names.elected.encode(), b"nobody", b"NATS/1.0\r\n\r\n", b"{}")
    error = outcome(line, sent)
    assert isinstance(error, OutcomeUnknown) and "another server leads" in str(error)
    assert time.monotonic() - began < stream.SEND_S, "it was not waited for"
    line.close()
    silent.close()
    server.close()


def test_an_answer_that_comes_with_the_news_of_another_leader_counts(line: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line._wire is not None
    sent = line.send(b"a", "a")
    [token] = line._unanswered
    both = [Delivered(3, b"elected", b"", b"{}"), Delivered(2, line._inbox + b"." + token, b"", b'{"seq": 7}')]
    monkeypatch.setattr(line._wire, "read", lambda: both)
    line.receive(TIMEOUT_S)
    assert sent.result(0) == 7


def test_who_only_reads_asks_for_no_news_of_who_leads(server: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    server.begin()
    connection = server.connect()
    asked: list[list[bytes]] = []
    open_wire = connection.wire
    monkeypatch.setattr(
        connection, "wire", lambda subscribe, bell: (asked.append(list(subscribe)), open_wire(subscribe, bell))[1]
    )
    for writes in (True, False):
        line = Stream(connection, server.names, writes=writes)
        connected(line)
        line.close()
    elected = server.names.elected.encode()
    assert [elected in each for each in asked] == [True, False]
    server.close()


def test_an_answer_that_is_there_counts_however_late_this_end_comes_to_it(
    line: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SEND_S", 0.0)
    monkeypatch.setattr(wires, "_READ_BYTES", 16)
    assert line._wire is not None
    sent = line.send(b"a", "a")
    found = line._wire._socket
    until(lambda: select.select([found], [], [], 0)[0] and b'"seq"' in found.recv(65536, socket.MSG_PEEK))
    assert outcome(line, sent) is None and sent.result() == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"\xff",
        b"[]",
        b"5",
        b"{}",
        b'{"seq": "a"}',
        b'{"seq": null}',
        b'{"seq": Infinity}',
        b'{"error": {}}',
        b'{"error": 5}',
        b"[" * 100_000,
    ],
    ids=briefly,
)
def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown(line: Stream, data: bytes) -> None:
    assert line._wire is not None
    sent = line.send(b"a", "a")
    [token] = line._unanswered
    line._answered(Delivered(2, line._inbox + b"." + token, b"", data))
    assert isinstance(sent.exception(0), OutcomeUnknown)


@pytest.mark.parametrize(("code", "kind"), [(400, Unavailable), (503, OutcomeUnknown), (500, OutcomeUnknown)])
def test_what_goes_wrong_in_a_server_may_have_come_after_others_kept_the_message(
    line: Stream, code: int, kind: type[BaseException]
) -> None:
    sent = line.send(b"a", "a")
    [token] = line._unanswered
    said = b'{"error": {"code": %d, "err_code": 10077, "description": "no room"}}' % code
    line._answered(Delivered(2, line._inbox + b"." + token, b"", said))
    with pytest.raises(kind, match="refused a message: no room .10077."):
        sent.result(0)


@pytest.mark.parametrize("subject", [b"", b"in", b"in.x", b"in.-1", b"in." + b"9" * 5000, b"in.999"])
def test_an_answer_to_nothing_is_dropped(line: Stream, subject: bytes) -> None:
    line._answered(Delivered(2, subject, b"", b'{"seq": 5}'))
    assert line.last() == 0


@pytest.mark.parametrize("sequence", [b"", b"x", b"-1", b"1.5", b"9" * 5000])
def test_a_message_without_a_sequence_is_dropped(line: Stream, sequence: bytes) -> None:
    line._published(Delivered(1, b"out", b"NATS/1.0\r\nNats-Sequence: %s\r\n\r\n" % sequence, b"a"))
    assert line.last() == 0 and line.receive(0) == []


def test_nothing_that_is_sent_while_the_connection_breaks_stays_without_an_answer(line: Stream) -> None:
    sent: list[tuple[str, Future[int]]] = []
    over = threading.Event()

    def work(key: str) -> None:
        number = 0
        while not over.is_set():
            name = f"{key}{number}"
            future = line.send(name.encode() * 100, name)
            sent.append((name, future))
            number += 1
            while not future.done() and number % 5 == 0 and not over.is_set():
                over.wait(0.001)

    threads = [threading.Thread(target=work, args=(key,)) for key in "ab"]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            before = line.last()
            while line._wire is None or line.last() < before + 20:
                line.receive(0.05)
            found = line._wire
            found._socket.shutdown(socket.SHUT_RDWR)
            sent.append((f"lost{before}", line.send(b"lost%d" % before * 100, f"lost{before}")))
            while line._wire is found:
                line.receive(0.05)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    for _, future in sent:
        outcome(line, future)
    last = send(connected(line), "end")[0]
    follow(line, 0)
    texts = {data[: len(data) // 100].decode(): sequence for sequence, data in received(line, last) if data != b"end"}
    kinds = {type(future.exception()) for _, future in sent}
    assert {type(None), OutcomeUnknown} <= kinds <= {type(None), OutcomeUnknown, Unavailable}
    for name, future in sent:
        error = future.exception()
        if error is None:
            assert texts[name] == future.result()
        elif isinstance(error, Unavailable):
            assert name not in texts


@pytest.mark.parametrize("when", ["at once", "connected", "busy"])
def test_closing_while_another_thread_receives_ends_it_with_nothing_but_that(servers: Servers, when: str) -> None:
    connection = servers.connect()
    for number in range(10):
        line, ended = Stream(connection, servers.names), []
        line.follow(0)
        ready = threading.Event()

        def receive() -> None:
            try:
                while True:
                    line.receive(TIMEOUT_S if ready.is_set() else 0.01)
                    if when == "at once" or line._wire is not None:
                        ready.set()
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=receive)
        thread.start()
        ready.wait(TIMEOUT_S)
        sent = [line.send(b"x" * 1000, f"{number}.{each}") for each in range(20 if when == "busy" else 0)]
        line.close()
        thread.join(TIMEOUT_S)
        assert [type(each) for each in ended] == [SystemClosed]
        assert all(each.done() and isinstance(each.exception(), (OutcomeUnknown, type(None))) for each in sent)
        assert isinstance(line.send(b"a", "a").exception(0), SystemClosed)
        with pytest.raises(SystemClosed):
            line.receive(0.01)


def test_who_is_closed_receives_nothing_more_though_messages_have_arrived(line: Stream) -> None:
    line._take(1, b"a")
    line.close()
    with pytest.raises(SystemClosed):
        line.receive(0.01)


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """No descriptor is left open, and none was closed by nobody but the collector."""
    gc.collect()
    before = len(os.listdir(FOLDER)) if FOLDER.exists() else 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)] == []
    if FOLDER.exists():
        until(lambda: len(os.listdir(FOLDER)) <= before, TIMEOUT_S)


def test_a_wire_that_broke_leaves_no_descriptor(either: Peer) -> None:
    with nothing_left():
        for _ in range(3):
            wire = either.wire()
            fill(wire)
            either.socket.close()
            broken(wire)
            wire.close()
            either.wires.clear()
            del wire


@pytest.mark.parametrize(
    "says",
    [b"", b"nonsense\r\n", b"INFO nonsense\r\n", PLAIN, PLAIN + b"-ERR 'no'\r\n", REQUIRES, REQUIRES + b"no TLS"],
    ids=briefly,
)
def test_a_greeting_that_failed_leaves_no_descriptor(peer: Peer, says: bytes) -> None:
    with nothing_left():
        for _ in range(3):
            with peer.doing(lambda: peer.accept(says)):
                with pytest.raises(OSError):
                    peer.connect()


def test_a_line_that_is_closed_leaves_no_descriptor(servers: Servers) -> None:
    connection = servers.connect()
    with nothing_left():
        for _ in range(3):
            line = Stream(connection, Names(servers.names.id))
            line.follow(0)
            connected(line)
            assert line._wire is not None
            line._wire._socket.shutdown(socket.SHUT_RDWR)
            while line._wire is not None:
                line.receive(0.01)
            answered(connected(line), line.send(b"a", "a"))
            line.close()
            del line

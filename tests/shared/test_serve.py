"""`coopy serve` among strangers: keys, garbage, huge lengths, idle connections, peers that do not read; and the command itself."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import socket
import ssl
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("websockets", reason="the extra [serve] is not installed")

from shared.domain import LIMIT_S, Wiki
from shared.gates import Served, Serving, served
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect, unix_connect
from websockets.sync.server import serve as any_server

import coopy
from coopy import AuthenticationFailed, UsageError
from coopy.network.address import Address
from coopy.network.server.certificates import make
from coopy.replication import gate, keys, local, parcels
from coopy.values.codec import Codec


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def wiki(place: Served) -> Iterator[Any]:
    """One who has the key, and is served whatever the others do."""
    with place.connect() as found:
        found.clear()
        yield found
        assert found.add("afterwards") == 1


def address(place: Served) -> tuple[str, int]:
    host = keys.parse(place.tcp).host
    assert host is not None
    return host


def stranger(place: Served) -> ClientConnection:
    return connect(f"ws://{Address(*address(place))}/", compression=None, proxy=None).__enter__()


def raw(place: Served) -> socket.socket:
    found = socket.create_connection(address(place))
    found.settimeout(LIMIT_S)
    return found


def ends(connection: socket.socket) -> bool:
    """Whether the other side closes a connection."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


class Bad:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["COOPY_TEST_MARK"],)


@pytest.mark.parametrize("text", ["", "x", "a b c", "0" * 64, "0" * 64 + " 00 " + "0" * 64, "é" * 900, b"\0" * 100])
def test_who_shows_no_key_is_let_go(place: Served, wiki: Any, text: str | bytes) -> None:
    with stranger(place) as peer:
        peer.recv()
        peer.send(text)
        with pytest.raises(ConnectionClosed) as ended:
            peer.recv(LIMIT_S)
        assert ended.value.rcvd is not None and ended.value.rcvd.code == 1008


def test_nothing_is_decoded_of_who_has_not_shown_the_key(
    place: Served, wiki: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COOPY_TEST_MARK", str(tmp_path / "mark"))
    call = pickle.dumps(("", (Bad(),)))
    with stranger(place) as peer:
        peer.recv()
        peer.send(parcels.pack(parcels.HELLO, 0, 0, call, b"12345678") + parcels.pack(parcels.CALL, 1, 0, call, b"12345678"))
        with pytest.raises(ConnectionClosed):
            peer.recv(LIMIT_S)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 4096,
        b"\xff" * 100_000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000,
        b"GET /" + b"a" * 100_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    ],
)
def test_what_is_no_websocket_is_let_go(place: Served, wiki: Any, data: bytes) -> None:
    with raw(place) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            return  # It was let go before all was sent.
        assert ends(connection)


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@pytest.mark.parametrize("size", [keys.PIECE_BYTES + 1, 1 << 31, (1 << 63) - 1, 1 << 63])
def test_a_huge_length_is_refused_before_anything_of_it_has_come(place: Served, wiki: Any, size: int) -> None:
    with raw(place) as connection:
        connection.sendall(HANDSHAKE + b"\x82\xff" + size.to_bytes(8, "big") + b"mask")
        assert ends(connection)


def test_a_huge_length_of_who_has_the_key_is_refused_too(place: Served, wiki: Any) -> None:
    with shown(place) as peer:
        peer.send(b"\0" * (keys.PIECE_BYTES + 1))
        with pytest.raises(ConnectionClosed) as ended:
            peer.recv(LIMIT_S)
        assert ended.value.rcvd is not None and ended.value.rcvd.code == 1009


def shown(place: Served, process: bytes = b"processx") -> ClientConnection:
    """One that has shown the key."""
    peer, key, own = stranger(place), keys.key_of(place.key), keys.nonce()
    text, theirs = keys.response(key, peer.recv(), own, process)
    peer.send(text)
    keys.introduced(key, peer.recv(), own, theirs)
    return peer


@pytest.mark.parametrize("data", ["text", b"garbage" * 20, parcels.pack(parcels.CALL, 1, 0, b"NN", b"processx")])
def test_garbage_of_who_has_the_key_ends_its_connection_alone(place: Served, wiki: Any, data: str | bytes) -> None:
    with shown(place) as peer:
        peer.send(data)
        with pytest.raises(ConnectionClosed):
            peer.recv(LIMIT_S)


def test_a_thousand_idle_connections_leave_room_for_who_has_the_key(place: Served, wiki: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 5000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(5000, hard), hard))
    idle = [raw(place) for _ in range(1000)]
    try:
        with place.connect() as other:
            assert other.add(1) == wiki.count() == 1
            other.clear()
        let_go = sum(map(has_ended, idle))
        assert let_go >= 1000 - gate.STRANGERS_MAX - 100, "the oldest had to go"
    finally:
        for each in idle:
            each.close()


def has_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_stranger_is_let_go_after_a_while(place: Served, wiki: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "SHOW_S", 0.05)
    with stranger(place) as peer:
        peer.recv()
        with pytest.raises(ConnectionClosed):
            peer.recv(LIMIT_S)


def test_a_peer_that_does_not_read_is_let_go_and_holds_up_nobody(
    place: Served, wiki: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "TAKE_S", 0.2)
    wiki.put("large", os.urandom(1 << 20))
    with raw(place) as connection:
        peer = connect("ws://x/", sock=connection, compression=None, proxy=None, max_queue=1).__enter__()
        key, own = keys.key_of(place.key), keys.nonce()
        text, theirs = keys.response(key, peer.recv(), own, b"processx")
        peer.send(text)
        system = keys.introduced(key, peer.recv(), own, theirs).system
        codec = Codec(Wiki)
        peer.send(parcels.pack(parcels.HELLO, 0, 0, parcels.said(codec, parcels.FORMAT, system, "calls"), b"processx"))
        read = parcels.said(codec, "page", ("large",), {})
        for number in range(1, 31):
            peer.send(parcels.pack(parcels.READ, number, 0, read, b"processx"))
        while b"processx" not in place.gate._sessions:
            pass
        assert wiki.page("large")
        # No answer was read.
        while b"processx" in place.gate._sessions:
            assert wiki.count() == 0
        peer.close_timeout = 0.1
        peer.close()


def test_a_second_connection_of_a_client_ends_the_first(place: Served, wiki: Any) -> None:
    with shown(place) as first, shown(place) as second:
        with pytest.raises(ConnectionClosed):
            first.recv(LIMIT_S)
        with pytest.raises(TimeoutError):
            second.recv(0.01)


def test_a_server_without_the_key_is_not_believed(tmp_path: Path) -> None:
    keys.make_key(str(tmp_path / "key"))

    def answer(peer: Any) -> None:
        peer.send(keys.challenge(keys.nonce()))
        peer.recv()
        peer.send(keys.introduction(b"another key", keys.nonce(), keys.nonce(), b"system", "Wiki"))
        peer.recv()

    with any_server(answer, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        with pytest.raises(AuthenticationFailed, match="has not shown that it has the key"):
            coopy.connect(f"tcp://127.0.0.1:{port}", Wiki, key=tmp_path / "key", timeout=LIMIT_S)
        server.shutdown()
        thread.join()


def test_what_answers_and_is_no_server_of_ours_is_sent_nothing(tmp_path: Path) -> None:
    with any_server(lambda peer: peer.send("hello"), "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        with pytest.raises(AuthenticationFailed, match="no `coopy serve`"):
            coopy.connect(f"tcp://127.0.0.1:{port}", Wiki, key=b"x" * 32, timeout=LIMIT_S)
        server.shutdown()
        thread.join()


# -- Unix sockets


def test_another_user_is_let_in_at_no_socket(place: Served, wiki: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = keys.parse(place.unix).path
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    monkeypatch.setattr(local, "is_ours", lambda peer: False)
    with pytest.raises((WebSocketException, OSError)), unix_connect(path, compression=None):
        pass
    with pytest.raises(AuthenticationFailed, match="another user's"):
        place.connect("unix", timeout=0.2)
    monkeypatch.undo()
    with place.connect("unix") as other:
        assert other.count() == 0


def test_a_socket_that_is_used_or_no_socket_is_left_alone_and_one_that_was_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    gate._listening_at(keys.parse(f"unix:{path}")).close()
    with gate._listening_at(keys.parse(f"unix:{tmp_path}/other")), pytest.raises(UsageError, match="listens there"):
        gate._listening_at(keys.parse(f"unix:{tmp_path}/other"))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="no socket"):
        gate._listening_at(keys.parse(f"unix:{tmp_path}/file"))
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(UsageError, match="at most"):
        gate._listening_at(keys.parse(f"unix:{tmp_path}/{'x' * 100}"))


def test_a_socket_is_removed_unless_another_has_taken_its_place(tmp_path: Path) -> None:
    with served(tmp_path) as place:
        place.close()
        path = keys.parse(place.unix).path
        assert not os.path.exists(path)
        place.open()
        os.unlink(path)
        with gate._listening_at(keys.parse(place.unix)):
            place.close()
            assert os.path.exists(path)


# -- the command


def test_the_command_makes_a_key_says_where_and_ends_in_order(tmp_path: Path) -> None:
    unix = f"unix:{tmp_path}/s"
    with Serving(tmp_path, "--listen", "tcp://127.0.0.1:0", "--listen", unix, "--durability", "buffered") as process:
        tcp = process.where()
        assert process.where() == unix
        key = tmp_path / "data" / keys.NAME
        assert any(str(key) in line and "run code as this user" in line for line in process.said)
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        with coopy.connect(tcp, Wiki, key=key) as wiki, coopy.connect(unix, Wiki) as other:
            assert wiki.add(1) == other.count() == 1
            assert process.end() == 0
    assert not (tmp_path / "s").exists()
    with Serving(tmp_path, "--listen", "tcp://127.0.0.1:0") as process, coopy.connect(process.where(), Wiki, key=key) as wiki:
        assert wiki.all() == [1]
        assert process.end(signal.SIGINT) == 130


def test_an_address_of_other_machines_needs_certificates_and_has_them_checked(tmp_path: Path) -> None:
    made = make(str(tmp_path / "certificates"), [Address("localhost", 7070)])
    (folder,) = made.folders.values()
    arguments = ("--listen", "tcp://127.0.0.1:0", "--tls", folder)
    with Serving(tmp_path, *arguments) as process:
        where = process.where().replace("127.0.0.1", "localhost")
        key = tmp_path / "data" / keys.NAME
        with coopy.connect(where, Wiki, key=key, tls=made.authority) as wiki:
            assert wiki.add(1) == 1
        with pytest.raises(AuthenticationFailed, match="certificate is not accepted"):
            coopy.connect(where, Wiki, key=key, tls=True)
        host = keys.parse(where).host
        assert host is not None
        # One who never begins to speak TLS is a stranger as any other.
        with socket.create_connection(host) as idle, coopy.connect(where, Wiki, key=key, tls=made.authority) as wiki:
            assert wiki.count() == 1
            idle.sendall(b"no TLS at all, and more than a record's head of it")
            idle.settimeout(LIMIT_S)
            assert ends(idle)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "tcp://0.0.0.0:7070"], "other machines"),
        (["--listen", "tcp://[::]:7070"], "other machines"),
        (["--listen", "http://127.0.0.1"], "unix:PATH or tcp://HOST:PORT"),
        (["--listen", "unix:s", "--tls", "none"], "is not there"),
        (["--listen", "unix:s", "--durability", "none"], "durability"),
    ],
)
def test_the_command_refuses_what_can_not_be_meant(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from coopy.cli.app import app

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app(["serve", "shared.domain:Wiki", "data", *arguments], prog_name="coopy")
    assert ended.value.code == 2 and said in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_tls_is_of_a_version_that_is_safe(tmp_path: Path) -> None:
    made = make(str(tmp_path / "certificates"), [Address("localhost", 7070)])
    (folder,) = made.folders.values()
    from coopy.network.server.configuration import tls_of

    assert keys.server_context(tls_of(folder)).minimum_version >= ssl.TLSVersion.TLSv1_2

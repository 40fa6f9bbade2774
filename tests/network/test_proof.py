"""Who listens where a node should be is told no password, whatever it says, and can't use what it hears."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.bank import Bank
from network.servers import NODE, REPLICA, free_port, running, settings, until
from program import run, write

from coopy import AuthenticationFailed, Unavailable, control, init_system
from coopy.network.address import ROUTE_OFFSET, Address, parse
from coopy.network.connection import Connection
from coopy.network.server import proof
from coopy.network.server.configuration import Settings
from coopy.network.server.supervisor import Supervisor
from coopy.network.wire import Bell, Wire

INFO = b'INFO {"server_id":"X","version":"2.11.0","proto":1,"max_payload":1000,"headers":true,"auth_required":true%s}\r\n'
WORDS = {"node": NODE, "system": NODE, "replica": REPLICA}


def proven(directory: Path, port: int | None = None, **others: Any) -> Settings:
    """A server as nodes have it."""
    directory.mkdir(parents=True)
    given = settings(directory, port, **others)
    made = {
        "tls": proof.files(str(directory), "node", given.node_password, "127.0.0.1"),
        "replica_tls": proof.files(str(directory), "replica", str(given.replica_password), "127.0.0.1"),
    }
    return Settings(**{**vars(given), **made})


def connection(url: str, user: str, password: str = "") -> Connection:
    password = password or WORDS[user]
    return Connection([url], user, password, tls=proof.context(user, password), tls_name=proof.name(user))


def wire(url: str, user: str, bell: Bell) -> Wire:
    context = proof.context(user, WORDS[user])
    return Wire(url, user, WORDS[user], subscribe=[], bell=bell, tls=context, tls_name=proof.name(user))


@pytest.fixture
def bell() -> Iterator[Bell]:
    found = Bell()
    yield found
    found.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    with running(proven(tmp_path_factory.mktemp("proof") / "server")) as found:
        yield found


class Listener:
    """Somebody at an address, who keeps all that is said there. ``answers`` says what is said back, on each connection."""

    def __init__(self, answers: Callable[[socket.socket, Listener], None], port: int = 0) -> None:
        self.heard = b""
        self.visits = 0
        self._answers = answers
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = int(self._server.getsockname()[1])
        self.url = f"nats://127.0.0.1:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._visited, args=(self._server.accept()[0],), daemon=True).start()

    def _visited(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            self.visits += 1
            self._answers(client, self)
            while data := client.recv(4096):
                self.heard += data

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def says(text: bytes) -> Callable[[socket.socket, Listener], None]:
    """And hangs up on the first answer."""

    def answer(client: socket.socket, listener: Listener) -> None:
        client.sendall(text)
        listener.heard += client.recv(4096)
        raise ConnectionError("enough")

    return answer


def shows_a_certificate(place: Path, password: str) -> Callable[[socket.socket, Listener], None]:
    """Of another password, with the right name."""
    made = proof.files(str(place), "node", password, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate)

    def answer(client: socket.socket, listener: Listener) -> None:
        client.sendall(INFO % b',"tls_required":true')
        with context.wrap_socket(client, server_side=True) as secured:
            while data := secured.recv(4096):
                listener.heard += data

    return answer


def passes_on(port: int) -> Callable[[socket.socket, Listener], None]:
    """Both ways, between who comes and a real server."""

    def answer(client: socket.socket, listener: Listener) -> None:
        with socket.create_connection(("127.0.0.1", port)) as beyond:

            def back() -> None:
                with contextlib.suppress(OSError):
                    while data := beyond.recv(4096):
                        client.sendall(data)

            threading.Thread(target=back, daemon=True).start()
            while data := client.recv(4096):
                listener.heard += data
                beyond.sendall(data)

    return answer


def test_a_password_makes_the_same_files_in_every_process_and_another_makes_others(tmp_path: Path) -> None:
    source = (
        "from coopy.network.server import proof\nfor user in ('node', 'replica'): proof.files({!r}, user, {!r}, '127.0.0.1')\n"
    )
    held = []
    for place, password in (("one", "x"), ("same", "x"), ("other", "y")):
        (tmp_path / place).mkdir()
        made = source.format(str(tmp_path / place), password)
        if place == "same":
            run(write(tmp_path / "made.py", made))
        else:
            exec(made, {})
        held.append({each.name: each.read_bytes() for each in (tmp_path / place).iterdir()})
    assert sorted(held[0]) == ["node-authority.pem", "node.pem", "replica.pem"]
    assert held[0] == held[1] and not set(held[0].values()) & set(held[2].values())
    assert {each.stat().st_mode & 0o777 for each in (tmp_path / "one").iterdir()} == {0o600}


def test_files_that_are_there_are_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proof.files(str(tmp_path), "node", "x", "127.0.0.1")
    monkeypatch.setattr(
        "coopy.network.server.folder.write", lambda path, text: pytest.fail("on a full disk the server still starts")
    )
    proof.files(str(tmp_path), "node", "x", "127.0.0.1")


@pytest.mark.parametrize("user", ["node", "system", "replica"])
def test_whoever_has_the_password_knows_the_server(server: Supervisor, bell: Bell, user: str) -> None:
    found = connection(server.url, user)
    found.open(5)
    found.close()
    if user != "system":
        wire(server.url, user, bell).close()


@pytest.mark.parametrize(
    ("user", "password"), [("node", "guessed"), ("node", REPLICA), ("replica", NODE), ("replica", "guessed")]
)
def test_whoever_has_another_password_is_told_so_and_does_not_say_it(server: Supervisor, user: str, password: str) -> None:
    with pytest.raises(
        AuthenticationFailed, match="refused the password. Nothing was opened: .* was not sent. Give the password="
    ):
        connection(server.url, user, password).open(5)


@pytest.mark.parametrize("kind", ["plain", "claims tls", "another password", "the replicas' password"])
def test_who_listens_where_a_node_should_be_is_told_no_password(tmp_path: Path, bell: Bell, kind: str) -> None:
    listener = Listener(
        {
            "plain": lambda: says(INFO % b""),
            "claims tls": lambda: says(INFO % b',"tls_required":true'),
            "another password": lambda: shows_a_certificate(tmp_path, "guessed"),
            "the replicas' password": lambda: shows_a_certificate(tmp_path, REPLICA),
        }[kind]()
    )
    try:
        for user in ("node", "replica"):
            with pytest.raises((AuthenticationFailed, Unavailable)):
                connection(listener.url, user).open(0)
            with pytest.raises(OSError):
                wire(listener.url, user, bell)
    finally:
        listener.close()
    assert listener.visits >= 4
    for word in (b"CONNECT", NODE.encode(), REPLICA.encode()):
        assert word not in listener.heard


def test_a_node_asks_the_others_for_the_members_though_a_stranger_has_the_address_of_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    at = f"127.0.0.1:{free_port()}"
    with control(init_system(Bank, tmp_path / "n", cluster=[at], node=at, password=NODE, validation="off")) as found:
        stranger, other = Listener(says(INFO % b"")), Listener(shows_a_certificate(tmp_path, "guessed"))
        try:
            away = [parse(f"127.0.0.1:{each.port}") for each in (stranger, other)]
            asked = found._system.servers._asked_for_members
            assert asked([*away, parse(at)]) == (parse(at),)
            assert "it speaks no TLS, so it is no node of this release" in caplog.text and "refused the password" in caplog.text
            assert asked([away[0]]) is None
            with pytest.raises(AuthenticationFailed, match="refused the password"):
                asked(away)
        finally:
            stranger.close()
            other.close()


def test_who_passes_on_what_is_said_hears_no_password_and_can_not_say_it_again(server: Supervisor) -> None:
    """An answer to a challenge would do for the one who stands between, as he can pass on the challenge, too."""
    port = server.settings.listen.port
    listener = Listener(passes_on(port))
    try:
        for user in ("node", "replica"):
            found = connection(listener.url, user)
            found.open(5)
            found.close()
    finally:
        listener.close()
    assert listener.heard
    for word in (b"CONNECT", NODE.encode(), REPLICA.encode()):
        assert word not in listener.heard
    with socket.create_connection(("127.0.0.1", port)) as again:
        again.settimeout(5)
        again.sendall(listener.heard)
        answered = b""
        with contextlib.suppress(OSError):
            while data := again.recv(4096):
                answered += data
    assert answered.startswith(b"INFO ") and b"PONG" not in answered and b"+OK" not in answered


def test_who_listens_where_a_server_of_the_cluster_should_be_is_told_no_password(tmp_path: Path) -> None:
    here = settings(tmp_path / "unused").listen
    listeners: list[Listener] = []
    answers = [says(INFO % b""), says(INFO % b',"tls_required":true'), shows_a_certificate(tmp_path, "guessed")]
    try:
        listeners += [Listener(each) for each in answers]
        peers = (here, *(Address("127.0.0.1", each.port - ROUTE_OFFSET) for each in listeners))
        with running(proven(tmp_path / "server", here.port, peers=peers)):
            until(lambda: all(each.visits > 1 for each in listeners))
    finally:
        for each in listeners:
            each.close()
    for each in listeners:
        for word in (b"CONNECT", NODE.encode()):
            assert word not in each.heard


def test_a_server_with_the_replicas_certificate_is_no_server_of_the_cluster(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a replica knows makes a certificate, but not one for routes: even with the nodes' password beside it."""
    one, other = (settings(tmp_path / "unused").listen for _ in range(2))
    peers = (one, other)
    first = proven(tmp_path / "first", one.port, peers=peers)
    second = proven(tmp_path / "second", other.port, peers=peers)
    assert second.replica_tls is not None
    stranger = Settings(**{**vars(second), "tls": second.replica_tls})
    caplog.set_level("DEBUG", "coopy.network")
    with running(first):
        with running(stranger):
            until(lambda: "TLS route handshake error: tls: client didn't provide a certificate" in caplog.text)
            until(lambda: "TLS route handshake error: tls: failed to verify certificate" in caplog.text)
        assert "new metadata leader" not in caplog.text  # Which takes both.
        with running(second):
            until(lambda: "new metadata leader" in caplog.text)

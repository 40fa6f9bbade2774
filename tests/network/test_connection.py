"""How a connection is opened to a server that does not take it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from coopy import AuthenticationFailed, Unavailable
from coopy.network import connection as network
from coopy.network.connection import Connection

INFO = (
    b'INFO {"server_id":"A","server_name":"a","version":"2.12.0","headers":true,"max_payload":1048576,"auth_required":true}\r\n'
)


@contextlib.contextmanager
def answering(said: bytes) -> Iterator[str]:
    """A server that says the same to everybody who logs in, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(INFO)
                        connection.recv(65536)
                        connection.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"nats://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"-ERR 'Authorization Violation'\r\n", AuthenticationFailed),
        (b"-ERR 'Authentication Timeout'\r\n", Unavailable),
        (b"-ERR 'maximum connections exceeded'\r\n", Unavailable),
        (b"-ERR 'maximum account active connections exceeded'\r\n", Unavailable),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_only_a_password_that_was_refused_is_called_a_wrong_one(said: bytes, error: type[Exception]) -> None:
    with answering(said) as url:
        connection = Connection([url], "node", "a password")
        with pytest.raises(error):
            connection.open(0.1)


def test_who_finds_nobody_is_told_while_it_is_tried_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(network, "TELL_S", -1.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Unavailable), caplog.at_level("WARNING", "coopy"):
        Connection([url], "node", "a password", name="coopy b").open(0.3)
    told = [each for each in caplog.messages if "nobody answers at" in each]
    assert len(told) == 1, "and then once a minute"
    assert told[0].startswith(f"coopy b: nobody answers at {url} (") and "trying for 0 s more" in told[0]

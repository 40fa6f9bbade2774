"""The ports of an elector: HTTP as clients and strangers speak it, and what a server does at its beginning and end."""

from __future__ import annotations

import errno
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from program import free_port

pytest.importorskip("uvicorn", reason="the extra [elector] is not installed")

from sync.served import PATIENCE_S, Served, answered

from coopy import SystemClosed, control
from coopy.sync import elector_server
from coopy.sync.elector import Elector
from coopy.sync.elector_server import listen
from coopy.testing import memory_system


def until_closed(stranger: socket.socket) -> bytes:
    """What a stranger is told until the connection is closed, in order or not."""
    found = b""
    try:
        while more := stranger.recv(65536):
            found += more
    except ConnectionResetError:
        pass
    return found


@pytest.fixture
def served() -> Iterator[Served]:
    found = Served()
    yield found
    found.end()
    assert found.failure is None


# -- HTTP as clients speak it


def test_every_answer_is_json_with_its_length(served: Served) -> None:
    asked = [("GET", "/locks/x", 404), ("PUT", "/locks/x", 200), ("POST", "/locks/x", 409), ("PATCH", "/locks/x", 405)]
    for method, target, status in [*asked, ("GET", "/", 404), ("GET", "/locks/a/b", 429), ("GET", "/healthz", 200)]:
        found, said, headers = served.ask(method, target)
        assert (found, headers["content-type"]) == (status, "application/json")
        assert said and int(headers["content-length"]) > 0 and "transfer-encoding" not in headers
    assert served.ask("HEAD", "/locks/x")[:2] == (405, None)


def test_a_connection_is_kept_or_closed_as_the_client_says(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
    for _ in range(3):
        connection.request("PUT", "/locks/x", headers={"accept": "application/json", "Content-Length": "0"})
        assert answered(connection)[0] == 200
        assert connection.sock is not None
    connection.request("GET", "/locks/x", headers={"Connection": "close"})
    assert answered(connection)[2]["connection"] == "close"
    assert connection.sock is None


def test_an_answer_is_sent_at_once_and_not_when_the_client_has_said_that_it_has_the_head(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    came = elector_server.Visitors.came

    def looked(self: Any, peer: Any, transport: Any, now: float) -> None:
        found.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        came(self, peer, transport, now)

    monkeypatch.setattr(elector_server.Visitors, "came", looked)
    served.ask("GET", "/locks/x")
    assert found and all(found)


def test_a_client_of_http_1_0_is_answered_and_its_connection_closed(served: Served) -> None:
    said = until_closed(served.stranger(b"GET /locks/x HTTP/1.0\r\n\r\n"))
    assert said.startswith(b"HTTP/1.1 404") and said.endswith(b'{"message": "Not found."}')


def test_requests_that_come_before_the_answer_of_the_one_before_are_answered_in_order(served: Served) -> None:
    asked = (
        b"PUT /locks/x HTTP/1.1\r\nhost: x\r\n\r\n" * 3 + b"DELETE /locks/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    assert until_closed(served.stranger(asked)).count(b"HTTP/1.1 200 OK") == 4


def test_localhost_is_ipv4_and_ipv6(served: Served) -> None:
    try:
        connection = http.client.HTTPConnection("::1", served.port, timeout=PATIENCE_S)
        connection.connect()
    except OSError:
        pytest.skip("this machine has no IPv6")
    connection.request("PUT", "/locks/x")
    assert answered(connection)[0] == 200
    connection.close()


def test_the_body_of_a_put_is_read_over_and_that_of_a_post_names_the_lock(served: Served) -> None:
    assert served.ask("PUT", "/locks/x", b"\xff{" * 1000)[0] == 200
    assert served.ask("POST", "/locks", b'{"metadata": {"name": "y"}}')[1]["metadata"]["name"] == "y"
    assert served.ask("PUT", "/locks/Schlo%C3%9F")[1]["metadata"]["name"] == "Schloß"
    assert served.ask("PUT", "/locks/a%2Fb")[0] == 429


def test_a_put_that_waits_gets_the_lock_at_the_moment_it_is_freed(served: Served) -> None:
    served.ask("PUT", "/locks/x?owner=a")
    waiting = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
    waiting.request("PUT", "/locks/x?owner=b&wait=20")
    assert served.ask("PUT", "/locks/x?owner=c")[0] == 409
    assert served.ask("DELETE", "/locks/x?owner=a")[0] == 200
    status, said, _ = answered(waiting)
    waiting.close()
    assert (status, said["spec"]["owner"]) == (200, "mine/b")


def test_who_waits_and_goes_away_gets_no_lock(served: Served) -> None:
    served.ask("PUT", "/locks/x?owner=a")
    gone = served.stranger(b"PUT /locks/x?owner=gone&wait=20 HTTP/1.1\r\nhost: x\r\n\r\n")
    served.ask("PUT", "/locks/y")  # It is there by now.
    gone.close()
    for _ in range(3):
        served.ask("GET", "/healthz")  # That he has gone was there to be seen before.
    served.ask("DELETE", "/locks/x?owner=a")
    assert served.ask("PUT", "/locks/x?owner=b")[0] == 200


# -- strangers


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server that waits for nobody."""
    monkeypatch.setattr(elector_server, "REQUEST_S", 0.3)
    monkeypatch.setattr(elector_server, "IDLE_S", 1.5)
    monkeypatch.setattr(elector_server, "SWEEP_S", 0.02)
    monkeypatch.setattr(elector_server, "CONNECTIONS_MAX", 4)
    found = Served()
    found.open.wait(PATIENCE_S)
    yield found
    found.end()


SLOW = [b"", b"PUT /locks/x HTTP/1.1\r\nhost: x\r\n", b"PUT /locks/x HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nthree"]


@pytest.mark.parametrize("part", SLOW, ids=["nothing", "half the headers", "half the body"])
def test_a_request_that_does_not_come_to_its_end_is_cut_off(hurried: Served, part: bytes) -> None:
    began = time.monotonic()
    assert until_closed(hurried.stranger(part)) == b""
    assert time.monotonic() - began >= 0.3
    assert hurried.ask("GET", "/locks/x")[0] == 404


def test_a_connection_that_is_kept_for_nothing_is_closed(hurried: Served) -> None:
    said = until_closed(hurried.stranger(b"GET /locks/x HTTP/1.1\r\nhost: x\r\n\r\n"))
    assert said.startswith(b"HTTP/1.1 404")


def test_many_connections_make_room_for_one_more(hurried: Served) -> None:
    strangers = [hurried.stranger() for _ in range(12)]
    assert hurried.ask("PUT", "/locks/x")[0] == 200
    for each in strangers:
        each.close()


NONSENSE = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "words": b"hello there\r\n\r\n",
    "letters": b"PUT /locks/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a line without end": b"GET /" + b"a" * 20_000,
    "two lengths": b"PUT /locks/x HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
}


@pytest.mark.parametrize("sent", NONSENSE.values(), ids=NONSENSE)
def test_what_is_no_http_is_400_in_json(served: Served, sent: bytes) -> None:
    head, _, body = until_closed(served.stranger(sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"\r\ncontent-length: %d" % len(body) in head
    assert json.loads(body)["message"]
    assert served.ask("GET", "/locks/x")[0] == 404


@pytest.mark.parametrize("sized", [True, False], ids=["with its length", "in chunks"])
def test_a_body_that_is_too_large_is_413_and_not_read_to_its_end(served: Served, sized: bool) -> None:
    head = b"content-length: 1000000000\r\n\r\n" if sized else b"transfer-encoding: chunked\r\n\r\n"
    stranger = served.stranger(b"PUT /locks/x HTTP/1.1\r\nhost: x\r\n" + head)
    part = b"x" * 70_000
    stranger.sendall(part if sized else b"%x\r\n%b\r\n" % (len(part), part))
    assert until_closed(stranger).startswith(b"HTTP/1.1 413 ")
    assert served.ask("GET", "/locks/x")[0] == 404


def test_a_web_page_gets_no_lock(served: Served) -> None:
    assert served.ask("PUT", "/locks/x", Origin="http://example.org")[0] == 403
    assert served.ask("POST", "/locks/x", Origin="null")[0] == 403
    assert served.ask("GET", "/locks/x")[0] == 404


def test_an_upgrade_is_not_made(served: Served) -> None:
    status, _, _ = served.ask("GET", "/locks/x", Connection="Upgrade", Upgrade="websocket")
    assert status == 404


# -- beginning and end


def test_who_comes_before_the_elector_is_open_is_answered_when_it_is() -> None:
    may_open = threading.Event()

    def opens() -> Any:
        may_open.wait(PATIENCE_S)
        return memory_system(Elector)

    served = Served(opens)
    early = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
    early.request("PUT", "/locks/x")
    assert served.ask("GET", "/healthz")[0] == 200
    assert served.ask("GET", "/readyz")[0] == 503
    may_open.set()
    assert answered(early)[0] == 200
    assert served.ask("GET", "/readyz")[0] == 200
    early.close()
    served.end()
    assert served.failure is None


def test_who_comes_long_before_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elector_server, "PATIENCE_S", 0.05)
    may_open = threading.Event()

    def opens() -> Any:
        may_open.wait(PATIENCE_S)
        return memory_system(Elector)

    served = Served(opens)
    status, said, _ = served.ask("PUT", "/locks/x")
    assert status == 503 and "has not opened yet. Nothing was recorded" in said["message"]
    may_open.set()
    served.end()


def test_what_opening_raises_ends_the_server_and_is_raised() -> None:
    may_fail = threading.Event()

    def opens() -> Any:
        may_fail.wait(PATIENCE_S)
        raise OSError(errno.ENOSPC, "no room")

    served = Served(opens)
    early = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
    early.request("PUT", "/locks/x")
    served.ask("GET", "/healthz")
    may_fail.set()
    assert answered(early)[0] == 503
    early.close()
    served.end()
    assert isinstance(served.failure, OSError) and served.failure.errno == errno.ENOSPC


def test_at_the_end_who_waits_is_answered_and_the_system_closed() -> None:
    system = memory_system(Elector)
    served = Served(lambda: system)
    served.ask("PUT", "/locks/x?owner=a")
    waiting = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
    waiting.request("PUT", "/locks/x?owner=b&wait=25")
    served.ask("GET", "/healthz")
    began = time.monotonic()
    served.end()
    assert answered(waiting)[0] == 409 and time.monotonic() - began < PATIENCE_S
    waiting.close()
    with pytest.raises(SystemClosed):
        system.get("x")


def test_at_the_end_who_waits_for_the_storage_is_told_that_it_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elector_server, "GOODBYE_S", 1)
    hangs = threading.Event()
    reached = threading.Event()

    class Slow(Elector):
        def take(self, name: str, owner: str, ttl_ns: int) -> Any:
            reached.set()
            hangs.wait(PATIENCE_S)
            return super().take(name, owner, ttl_ns)

    served = Served(lambda: memory_system(Slow, validation="off"))
    waiting = http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S)
    waiting.request("PUT", "/locks/x")
    assert reached.wait(PATIENCE_S)
    served.ending.set()
    status, said, _ = answered(waiting)
    assert status == 503 and "It is not known whether this was recorded" in said["message"]
    waiting.close()
    hangs.set()
    served.end()
    assert served.failure is None


def test_the_port_of_the_probes_answers_nothing_else() -> None:
    port = free_port()
    served = Served(probes=listen("127.0.0.1", port))
    served.open.wait(PATIENCE_S)
    for target, status in (("/healthz", 200), ("/readyz", 200), ("/locks/x", 404)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        connection.request("PUT" if "locks" in target else "GET", target)
        assert answered(connection)[0] == status
        connection.close()
    served.end()


def test_a_system_that_is_closed_is_not_healthy() -> None:
    system = memory_system(Elector)
    served = Served(lambda: system)
    served.open.wait(PATIENCE_S)
    control(system).close()
    assert served.ask("GET", "/healthz")[:2] == (503, {"message": "the system is closed"})
    assert served.ask("PUT", "/locks/x")[0] == 500
    served.end()


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            OSError, match=f"port {port} of 127.0.0.1 is taken. .* Nothing was opened. End that program, or give"
        ):
            listen("localhost", port)


def test_an_address_that_this_machine_does_not_have_is_an_error() -> None:
    with pytest.raises(OSError, match="port 13131 of 192.0.2.1 can't be listened at: .* Nothing was opened"):
        listen("192.0.2.1", 13131)

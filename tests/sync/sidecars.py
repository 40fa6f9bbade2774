"""Sidecars as processes, and clients of Metaparticle as the requests that they send."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from program import environment, free_port

TTL_S = 1.8
POLL_S = TTL_S / 3
"""As 10 s are to 30 s."""
PATIENCE_S = 60


class Sidecar:
    """A process of `coopy elector`; a node of a cluster if it is told so."""

    def __init__(self, directory: Path, *options: str, ttl_s: float = TTL_S) -> None:
        self.port = free_port(2)
        self.also = self.port + 1
        self.uri = f"http://localhost:{self.port}"
        self.log = Path(f"{directory}.log")
        self.words = ["--port", str(self.port), "--also", str(self.also), "-d", str(directory), "--ttl", str(ttl_s), *options]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "coopy", "elector", *self.words],
                env=environment(COOPY_PASSWORD="of the electors"),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            assert self.process is not None and self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def ask(self, method: str, target: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def kill(self) -> None:
        """At once. Its server, if it has one, ends a moment later."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def terminate(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


@contextlib.contextmanager
def three_sidecars(here: Path) -> Iterator[list[Sidecar]]:
    """Starts three sidecars that keep their locks together, and ends them after the block. They may not be ready yet."""
    first = free_port(3)
    nodes = [f"127.0.0.1:{first + number}" for number in range(3)]
    found = [
        Sidecar(here / f"elector-{number}", "--owner", f"pod-{number}", "--cluster", ",".join(nodes), "--node", node)
        for number, node in enumerate(nodes)
    ]
    try:
        for each in found:
            each.start()
        yield found
    finally:
        for each in found:
            each.end()


def leading_last(sidecars: list[Sidecar]) -> list[Sidecar]:
    """Returns sidecars once they are ready, the one last whose node leads."""
    for each in sidecars:
        each.until_ready()
    found = sorted(sidecars, key=lambda each: bool(each.ask("GET", "/readyz")[1]["leads"]))
    assert [each.ask("GET", "/readyz")[1]["leads"] for each in found] == [False, False, True]
    return found


class Kind(NamedTuple):
    """What is particular of the requests of one client; see the sources in github.com/metaparticle-io/sync."""

    headers: dict[str, str]
    of_put: dict[str, str]
    asks_also: bool = False
    """Whether it asks at the second port."""
    keeps_connection: bool = False
    beats_with_get: bool = True
    """Whether a heartbeat is a GET and a PUT, or a PUT alone."""
    beats_at_once: bool = True
    """Whether the first heartbeat follows the acquisition without a pause."""


GO = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
KINDS = {
    "Python": Kind(
        {"User-Agent": "Python-urllib/3.6", "Connection": "close"}, {"accept": "application/json", "Content-Length": "0"}
    ),
    "JavaScript": Kind({"Connection": "close"}, {"content-length": "0"}, beats_at_once=False),
    "Java": Kind(
        {"accept": "application/json", "Accept-Encoding": "gzip", "user-agent": "unirest-java/1.3.11"},
        {},
        keeps_connection=True,
    ),
    ".NET": Kind({"Accept": "application/json", "User-Agent": "Metaparticle Sync Client"}, {"Content-Length": "0"}),
    "Go": Kind(GO, {"Content-Length": "0"}, asks_also=True, keeps_connection=True, beats_with_get=False, beats_at_once=False),
    "Rust": Kind({"Accept": "*/*"}, {"Content-Length": "0"}, asks_also=True, beats_at_once=False),
}


class Said(NamedTuple):
    """One request and what was answered."""

    sent_s: float
    method: str
    status: int
    body: Any

    @property
    def spec(self) -> Any:
        return self.body["spec"]


class Client:
    """One client at one sidecar: acquires a lock and keeps it, as its kind does."""

    def __init__(self, kind: str, sidecar: Sidecar, name: str, poll_s: float = POLL_S) -> None:
        self.kind = KINDS[kind]
        self.name = name
        self.poll_s = poll_s
        self.said: list[Said] = []
        self.has_waited = threading.Event()
        self.held = threading.Event()
        self.stop = threading.Event()
        self._port = sidecar.also if self.kind.asks_also else sidecar.port
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Acquires the lock, and keeps it until `stop`: it "releases" it by sending nothing more."""
        with contextlib.suppress(OSError, http.client.HTTPException):  # Its sidecar was killed.
            while self._acquire() != 200:
                self.has_waited.set()
                if self.stop.wait(self.poll_s):
                    return
            self.held.set()
            pause = not self.kind.beats_at_once
            while not self.stop.wait(self.poll_s if pause else 0):
                pause = True
                if self.kind.beats_with_get and self.ask("GET") != 200:
                    return
                if self.ask("PUT") != 200:
                    return

    def _acquire(self) -> int:
        # All of them look first whether they are answered as they know; Go does so once, and the others each time.
        if not self.said or self.kind.beats_with_get:
            assert self.ask("GET") in (200, 404)
        return self.ask("PUT")

    def ask(self, method: str, query: str = "") -> int:
        """Sends a request as this kind does, and keeps what was answered."""
        headers = {**self.kind.headers, **(self.kind.of_put if method == "PUT" else {})}
        connection = self._connection or http.client.HTTPConnection("localhost", self._port, timeout=PATIENCE_S)
        sent_s = time.monotonic()
        connection.request(method, f"/locks/{self.name}{query}", headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        assert int(answer.headers["content-length"]) == len(text)
        self.said.append(Said(sent_s, method, answer.status, json.loads(text)))
        if self.kind.keeps_connection:
            assert connection.sock is not None, "it was to be kept"
            self._connection = connection
        else:
            connection.close()
        return answer.status


def running(clients: list[Client]) -> list[threading.Thread]:
    """Has each client run in a thread."""
    threads = [threading.Thread(target=each.run) for each in clients]
    for each in threads:
        each.start()
    return threads

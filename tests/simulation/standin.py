"""One system behind three nodes: a stand-in for a cluster, to try the campaign itself.

The first node has a system of one machine and serves it; the others ask it, call by call. It is
linearizable, and comes back from kill -9, but what the first node loses is lost: a campaign must
pass over it where no data goes, and must not where data goes.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import coopy


class OutcomeUnknown(Exception):
    """No answer: the call may have happened or not."""


class Standin:
    """What each node has: its methods are those of the domain class, carried out by the first node."""

    def __init__(self, obj: type, directory: str, cluster: list[str], node: str, password: str, timeout: float) -> None:
        self.leader = cluster[0]
        self.timeout = timeout
        self.local: Any = None
        os.makedirs(directory, exist_ok=True)
        if node == self.leader:
            self.local = coopy.init_system(obj, directory)
            self._serve(node)

    def _serve(self, node: str) -> None:
        system = self.local

        class Door(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                method, *args = json.loads(self.rfile.readline())
                self.wfile.write(json.dumps(answer(system, method, args)).encode() + b"\n")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        host, port = node.split(":")
        threading.Thread(target=Server((host, int(port)), Door).serve_forever, daemon=True).start()

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any) -> Any:
            if self.local is not None:
                return answer(self.local, method, args)
            host, port = self.leader.split(":")
            try:
                with socket.create_connection((host, int(port)), timeout=self.timeout) as door:
                    door.sendall(json.dumps([method, *args]).encode() + b"\n")
                    line = door.makefile("rb").readline()
            except OSError as error:
                raise OutcomeUnknown(str(error)) from error
            if not line.endswith(b"\n"):
                raise OutcomeUnknown("the first node ended")
            return json.loads(line)

        return call


def answer(system: Any, method: str, args: Any) -> Any:
    if method == "state_digest":
        state = json.dumps([system.registers, system.totals, system.deposits])
        return [coopy.control(system).index, hashlib.sha256(state.encode()).hexdigest()]
    return getattr(system, method)(*args)


init_system = Standin


class control:
    """The few controls that the simulation uses."""

    def __init__(self, system: Standin) -> None:
        self._system = system

    def status(self) -> dict[str, Any]:
        return {"leader": self._system.leader, "server_pid": os.getpid()}

    def state_digest(self) -> Any:
        return self._system.__getattr__("state_digest")()

    def sync(self) -> None:
        pass

    @contextmanager
    def latest(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        if self._system.local is not None:
            coopy.control(self._system.local).close()

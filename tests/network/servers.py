"""Real Raft servers for tests, on free ports of this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coopy.network.address import ROUTE_OFFSET, Address
from coopy.network.server.configuration import Settings
from coopy.network.server.supervisor import Supervisor

NODE, REPLICA = "the nodes' own", "for replicas"


def free_port() -> int:
    """One of which the port of the routes is free too."""
    while True:
        with socket.socket() as client, socket.socket() as route:
            client.bind(("127.0.0.1", 0))
            port = int(client.getsockname()[1])
            if port + ROUTE_OFFSET > 65535:
                continue
            with contextlib.suppress(OSError):
                route.bind(("127.0.0.1", port + ROUTE_OFFSET))
                return port


def settings(directory: Path, port: int | None = None, **others: object) -> Settings:
    address = Address("127.0.0.1", port or free_port())
    given: dict[str, object] = {
        "directory": str(directory),
        "name": str(address),
        "listen": address,
        "node_password": NODE,
        "replica_password": REPLICA,
        "subject": "coopy.shop",
    }
    return Settings(**{**given, **others})  # type: ignore[arg-type]


@contextlib.contextmanager
def running(given: Settings, **options: object) -> Iterator[Supervisor]:
    supervisor = Supervisor(given, **options)  # type: ignore[arg-type]
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


def lives(pid: int) -> bool:
    """Whether there is such a process that has not ended; one that nobody has waited for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        if os.path.isdir("/proc/self"):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(what: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Returns as soon as it holds, and fails if it never does."""
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            pytest.fail("it did not come about")
        time.sleep(0.01)

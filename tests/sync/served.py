"""An elector that a thread of this process serves, and how it is asked."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

from program import free_port

from coopy import aio
from coopy.sync import elector_server
from coopy.sync.elector import Elector
from coopy.sync.elector_server import Opened, listen
from coopy.testing import memory_system

S = 1_000_000_000
PATIENCE_S = 20


class Served:
    """An elector that is served by a thread of this process."""

    def __init__(self, opens: Callable[[], Any] = lambda: memory_system(Elector), port: int = 0, **options: Any) -> None:
        self.port = port or free_port()
        self.ending = threading.Event()
        self.open = threading.Event()
        self.failure: BaseException | None = None
        self._opens = opens
        self._options = {"owner": "mine", "ttl_ns": 30 * S, **options}
        self._thread = threading.Thread(target=self._run, args=(listen("localhost", self.port),))
        self._thread.start()

    def _run(self, sockets: list[socket.socket]) -> None:
        try:
            serving = elector_server.serve(
                self._opening, sockets, is_over=self.ending.is_set, on_open=self.open.set, **self._options
            )
            asyncio.run(serving)
        except BaseException as error:
            self.failure = error

    async def _opening(self) -> Opened:
        loop = asyncio.get_running_loop()
        calls = await aio.open(await loop.run_in_executor(None, self._opens))
        return Opened(calls, aio.system_of(calls), lambda: aio.close(calls))

    def end(self) -> None:
        self.ending.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, target, body, headers)
            return answered(connection)
        finally:
            connection.close()

    def stranger(self, sends: bytes = b"") -> socket.socket:
        found = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        found.sendall(sends)
        return found


def answered(connection: http.client.HTTPConnection) -> tuple[int, Any, dict[str, str]]:
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text else None, {name.lower(): value for name, value in answer.getheaders()}

"""A system that is served from a thread of this process, or by `coopy serve` in another."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import program
from shared.domain import LIMIT_S, Wiki, opened, stands_still

import coopy
from coopy.replication import keys
from coopy.replication.gate import Gate


class Served:
    """A system that this process has open and serves. ``tcp`` and ``unix`` say where, ``key`` is the file."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.basedir = path / "data"
        self.wiki = opened(self.basedir, **{"durability": "buffered", **options})
        self.key = path / "key"
        keys.make_key(str(self.key))
        self.open()

    def open(self, tcp: str = "tcp://127.0.0.1:0") -> None:
        """Begins to serve."""
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started, tcp)))
        self._thread.start()
        assert started.wait(LIMIT_S)

    async def _serve(self, started: threading.Event, tcp: str) -> None:
        self.loop, self._told = asyncio.get_running_loop(), asyncio.Event()
        system = coopy.control(self.wiki)._system.place.manifest.system  # type: ignore[attr-defined]
        self.gate = Gate(str(self.basedir), system, Wiki.__qualname__, keys.key_of(self.key), None)
        self.tcp = str(await self.gate.open(keys.parse(tcp)))
        self.unix = str(await self.gate.open(keys.parse(f"unix:{self.path}/s")))
        started.set()
        await self._told.wait()
        await self.gate.close()

    def close(self) -> None:
        """Serves no more; the system stays open."""
        self.loop.call_soon_threadsafe(self._told.set)
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()

    def connect(self, how: str = "tcp", **options: Any) -> Any:
        if how == "tcp":
            options = {"key": self.key, **options}
        return coopy.connect(getattr(self, how), Wiki, **options)


@contextmanager
def served(path: Path, **options: Any) -> Iterator[Served]:
    found = Served(path, **options)
    try:
        yield found
    finally:
        if found._thread.is_alive():
            found.close()
        coopy.close_all()


class Serving:
    """`coopy serve` in a process of its own."""

    def __init__(self, path: Path, *arguments: object, spec: str = "shared.domain:Wiki") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "coopy.cli", "serve", spec, str(path / "data"), *map(str, arguments)],
            cwd=Path(__file__).parents[1],
            env=program.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.said: list[str] = []

    def where(self) -> str:
        """Waits for the next address."""
        assert self._process.stderr is not None
        while line := self._process.stderr.readline():
            self.said.append(line)
            if line.startswith("serves "):
                return line.split(" at ")[-1].strip()
        raise AssertionError("".join(self.said))

    def end(self, number: int = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        return self._process.wait(LIMIT_S)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)
        if number == signal.SIGSTOP:
            stands_still(self.pid)

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()

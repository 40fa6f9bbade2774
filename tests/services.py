"""Web servers for tests: a program in a folder that answers at a port, is asked from outside, and is ended with all that it started."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from program import environment, free_port

PATIENCE_S = 60


class Service:
    """A server that runs, and what it has said."""

    def __init__(self, here: Path, words: Sequence[str], **more: str) -> None:
        """``words``: what is started; ``{port}`` in them is its port."""
        self.here = here
        self.port = free_port()
        self.output = here / "output"
        words = [word.format(port=self.port) for word in words]
        self._program = [sys.executable, *(words if words[0].endswith(".py") else ["-m", *words])]
        self._environment = environment(**more)
        self.start()

    def start(self) -> None:
        with open(self.output, "ab") as said:
            self.process = subprocess.Popen(
                self._program, cwd=self.here, env=self._environment, stdout=said, stderr=said, start_new_session=True
            )

    def start_again(self) -> None:
        """Starts another in the place of one whose first process was killed; what that has left is killed, as systemd does."""
        self.end()
        self.start()

    def end(self) -> None:
        """At once, and all of it."""
        with contextlib.suppress(ProcessLookupError):
            # What is left of its group, which is its own: a reloader's child, say.
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def answer(self, name: str, text: str | None = None) -> Any:
        """What is answered to a PUT of a text, or to a GET."""
        data = None if text is None else json.dumps(text).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{name}", data, {"Content-Type": "application/json"}, method="PUT" if data else "GET"
        )
        with urllib.request.urlopen(asked, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    def ask(self, name: str, text: str | None = None) -> Any:
        """The first value that is answered, of several."""
        found = self.answer(name, text)
        return next(iter(found.values())) if isinstance(found, dict) else found

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def until(self, is_so: Any) -> Any:
        """Tries again until something comes to be: what a server does at a signal comes at its own time."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if found := is_so():
                    return found
            except (OSError, http.client.HTTPException):
                pass
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.05)


@contextmanager
def served(
    here: Path, words: Sequence[str], ended: int = signal.SIGTERM, asked: str = "Nothing", **more: str
) -> Iterator[Service]:
    """A server that has answered once, started by words in which ``{port}`` is its port. It ends by a signal."""
    service = Service(here, words, **more)
    try:
        service.until(lambda: service.ask(asked) is not None)
        yield service
        service.process.send_signal(ended)
        service.process.wait(PATIENCE_S)
    finally:
        service.end()


def children(pid: int) -> list[int]:
    """The processes that a process has forked or started, and that have not ended."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return sorted(found)

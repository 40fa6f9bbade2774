"""Serves the directory of a store or a queue to other machines: `coopy serve` as a child, which ends with the process that started it.

The child lets in who has the key, over TLS where other machines can reach the address, and decodes nothing before; see docs/guides/serve.md. This
module is also the program of the child: it waits for the end of its standard input, which the operating system closes with its parent, however
that ends.

    python -m coopy.messaging.store_served MODULE:CLASS DIR --listen URL ...
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence

from coopy import UsageError

END_S = 30.0
"""How long the child may take to answer what it has taken, before it is killed."""
_LINES_KEPT = 20
"""The reason of a failure is in its last lines."""


class Served:
    """A directory that is served at some addresses, until it is closed."""

    def __init__(self, cls: type, directory: str, urls: Sequence[str], key: str, tls: str | None, durability: str) -> None:
        """Returns once it is. Raises `UsageError`, with what the child has said."""
        command = [
            sys.executable,
            "-m",
            __name__,
            f"{cls.__module__}:{cls.__qualname__}",
            directory,
            "--key",
            key,
            "--durability",
            durability,
        ]
        command += [part for url in urls for part in ("--listen", url)] + (["--tls", tls] if tls else [])
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._pid = os.getpid()
        self._said: deque[str] = deque(maxlen=_LINES_KEPT)
        self._missing = len(urls)
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, name="coopy serve", daemon=True)
        self._reader.start()
        self._ready.wait()
        if self._missing:
            self.close()
            said = " ".join(line.strip() for line in self._said)
            raise UsageError(f"{directory} can't be served at {', '.join(urls)}: {said} Nothing was opened.")

    def _read(self) -> None:
        assert self._child.stderr is not None, "it is a pipe"
        for line in self._child.stderr:
            self._said.append(line)
            self._missing -= line.startswith("serves ")
            if not self._missing:
                self._ready.set()
        self._ready.set()

    def close(self) -> None:
        """Lets nobody in any more, has all be answered that was taken, and ends the child; in a process that was forked since, does nothing."""
        if os.getpid() != self._pid:
            return
        # A process that was forked from this one may hold the other end of its input open, so it is told.
        self._child.terminate()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join()
        for each in (self._child.stdin, self._child.stderr):
            assert each is not None, "it is a pipe"
            each.close()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, name="coopy end", daemon=True).start()
    sys.argv[:1] = ["coopy", "serve"]
    runpy.run_module("coopy", run_name="__main__", alter_sys=True)

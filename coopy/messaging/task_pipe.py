"""How one process learns at once that another has ended, however it has: a named pipe in the directory, held open by the one, and watched by the other.

    worker-<16 hexadecimal digits>.pipe    nothing is ever written to it, nor read from it

The kernel closes the writing end of a process that ends, and tells those who have the reading end. So there is nothing to renew, no clock, and no
process id that another process may have by now. It works among all processes of one machine that reach the directory, in whatever containers they run.

A forked child closes its copy. A child that was forked by code which knows nothing of Python's hooks keeps it open, and where there can be no pipe there is none:
then the lease of the session says that its process is gone, half a minute later.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import stat
import weakref
from contextlib import suppress
from typing import Any

_NAME = re.compile(r"worker-[0-9a-f]{16}\.pipe\Z")
_BOOT = "/proc/sys/kernel/random/boot_id"
"""Where Linux says which of its starts this is; the same in all containers."""


class Pipe:
    """The pipe of this process, held open until `close` or its end. Raises OSError if there can be none."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, f"worker-{secrets.token_hex(8)}.pipe")
        self._writer = -1
        # Under its own name it is seen only once it is held: what nobody holds is removed.
        new = f"{self._path}.tmp"
        os.mkfifo(new, stat.S_IRUSR | stat.S_IWUSR)
        try:
            reader = os.open(new, os.O_RDONLY | os.O_NONBLOCK)
            try:
                self._writer = os.open(new, os.O_WRONLY | os.O_NONBLOCK)
            finally:
                os.close(reader)
            os.rename(new, self._path)
        except OSError:
            os.unlink(new)
            self.drop()
            raise
        _pipes.add(self)

    @property
    def about(self) -> dict[str, Any]:
        """What others must know to watch it."""
        directory, name = os.path.split(self._path)
        return {"pipe": name, **_place(directory)}

    def drop(self) -> None:
        """Closes this process's copy."""
        writer, self._writer = self._writer, -1
        if writer >= 0:
            os.close(writer)

    def close(self) -> None:
        """Closes it, and removes it."""
        self.drop()
        remove(*os.path.split(self._path))


def _place(directory: str) -> dict[str, Any]:
    """Returns what tells a directory, and this machine, from others."""
    found = os.stat(directory)
    boot = ""
    with suppress(OSError), open(_BOOT, encoding="ascii") as file:
        boot = file.read().strip()
    return {"place": [found.st_dev, found.st_ino], "host": socket.gethostname(), "boot": boot}


def is_here(directory: str, about: dict[str, Any]) -> bool:
    """Whether a process that was said to have a pipe has it in this directory, on this machine: by name, or because it has not started again since."""
    if not about.get("pipe"):
        return False
    mine = _place(directory)
    return list(about["place"]) == mine["place"] and (
        about["host"] == mine["host"] or (bool(mine["boot"]) and about["boot"] == mine["boot"])
    )


def watched(directory: str, name: str) -> int:
    """Returns the reading end of a pipe: ready to be read once its process has ended. Less than 0 if it has by now. Raises OSError."""
    try:
        reader = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return -1
    try:
        os.read(reader, 1)
    except BlockingIOError:
        return reader
    except OSError:
        os.close(reader)
        raise
    os.close(reader)
    return -1


def remove(directory: str, name: str) -> None:
    """Removes a pipe, if it is there."""
    if _NAME.match(name):
        with suppress(OSError):
            os.unlink(os.path.join(directory, name))


def sweep(directory: str) -> None:
    """Removes the pipes that nobody holds any more."""
    with suppress(OSError):
        for name in os.listdir(directory):
            if _NAME.match(name):
                reader = watched(directory, name)
                if reader < 0:
                    remove(directory, name)
                else:
                    os.close(reader)


_pipes: weakref.WeakSet[Pipe] = weakref.WeakSet()


def _forked() -> None:
    for each in list(_pipes):
        each.drop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

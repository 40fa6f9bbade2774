"""One writing process for each directory.

An flock on the file ``lock``, with the holder's pid inside. The kernel drops it
when its holder ends, however it ends, so a file left behind means nothing.
"""

from __future__ import annotations

import fcntl
import os

from coopy.errors import DirectoryInUse

NAME = "lock"


class DirectoryLock:
    """Held from construction to `release`. Raises `DirectoryInUse`."""

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, NAME)
        self._file = open(path, "a+", encoding="ascii")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read(32).strip()
            self._file.close()
            raise DirectoryInUse(directory, int(holder) if holder.isdigit() else None) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Lets go. In a forked child it closes the child's copy, and the parent keeps the lock."""
        self._file.close()

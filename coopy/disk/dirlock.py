"""One writing process for each directory.

An flock on the file ``lock``, with the holder's pid inside. The kernel drops it
when its holder ends, however it ends, so a file left behind means nothing.
"""

from __future__ import annotations

import fcntl
import os

from coopy.errors import DirectoryInUse, ForeignDirectory

NAME = "lock"


class DirectoryLock:
    """Held from construction to `release`. Raises `DirectoryInUse`, or `ForeignDirectory` if ``lock`` is no file."""

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, NAME)
        if os.path.lexists(path) and not os.path.isfile(path):
            raise ForeignDirectory(
                f"{path} is not a file, or a link to one. Nothing was changed. Remove it; an empty one is made in its place."
            )
        self._pid = os.getpid()
        self._file = open(path, "ab+", buffering=0)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.seek(0)
                holder = self._file.read(32).strip()
                raise DirectoryInUse(directory, int(holder) if holder.isdigit() else None) from None
            self._file.truncate(0)
            self._file.write(b"%d\n" % os.getpid())
        except BaseException:
            # The exception may be kept, and must not keep the lock.
            self._file.close()
            raise

    def release(self) -> None:
        """Lets go. In a forked child it closes the child's copy, and the parent keeps the lock."""
        if os.getpid() == self._pid and not self._file.closed:
            # A child that was forked just now may not have come to close its copy.
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()


def holder(directory: str) -> int | None:
    """The process that holds the lock; None if nobody does. Asks the kernel, and takes the lock from nobody.

    Where the kernel does not tell (there is no /proc/locks), a process that lives and whose pid is in the file.
    """
    path = os.path.join(directory, NAME)
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        text = file.read(32).strip()
        status = os.fstat(file.fileno())
    named = int(text) if text.isdigit() else None
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as locks:
            # "1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF"
            held = [fields for fields in map(str.split, locks) if len(fields) == 8 and fields[1] == "FLOCK"]
    except OSError:
        return named if named is not None and _lives(named) else None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    if any(fields[5] == place for fields in held):
        return named
    # Some file systems give another device here than to stat. Then the inode may be one of another file, and
    # the pid, which the holder has written, tells.
    known = any(fields[4] == str(named) and fields[5].endswith(f":{status.st_ino}") for fields in held)
    return named if known else None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

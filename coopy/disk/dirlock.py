"""One writing process for each directory.

An flock on the directory itself, and one on the file ``lock`` in it. The kernel drops both when their holder ends,
however it ends, so a file left behind means nothing. The directory can't be locked away by removing the file, and
stays locked when it is renamed. The file keeps out a coopy of before, which locks that alone, and is the lock where
directories can't be locked (NFS does not).

    line 1  the pid of the holder
    line 2  <boot> <instant> <device>:<inode>
            boot     id of the start of this machine in which the end of the journal was last known to be whole
            instant  when that was, nanoseconds since 1970-01-01 UTC
            device, inode of the directory: what a copy says is not said of the copy

Line 2 tells a power cut from a kill: who finds the boot that it is itself in (`DirectoryLock.earlier_boot`) knows that
no power was cut since, and all that was written since is there. So it must not be said before the end is whole: it stays
as it was until `DirectoryLock.mark`. It is written without a sync, on purpose: after a power cut the machine
is in another boot, and whatever is found here, an older line, a torn one, or zeros, does not name that one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import time
from collections.abc import Callable
from functools import cache

from coopy.disk.fs import Descriptor
from coopy.errors import DirectoryInUse, ForeignDirectory, JournalError
from coopy.ground.holding import or_undone
from coopy.ground.paths import is_file, refusal

try:
    import fcntl
except ImportError:
    raise ImportError(
        f"coopy runs on Linux and macOS: it needs flock (the module fcntl of Python), which this system, {sys.platform}, does not have. "
        f"On Windows use it in the Windows Subsystem for Linux."
    ) from None

NAME = "lock"
_BYTES_MAX = 256  # The lock file is one line of a pid, a boot and a place; a longer one is not ours.
_BOOT = re.compile(r"([0-9A-Za-z-]{8,64}) [0-9]{1,20} ([0-9]+:[0-9]+)\Z")
_CANT_BE_LOCKED = frozenset(
    {errno.EBADF, errno.EINVAL, errno.EISDIR, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
)
_MOVED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


forked_from: set[int | None] = set()
"""The processes that this one was forked from, at some remove, while they had a directory open."""


class DirectoryLock:
    """Held from construction to `release`. Raises `DirectoryInUse`, `ForeignDirectory` if ``lock`` is no file, `JournalError`.

    An interrupted construction keeps nothing, at the latest once its exception is forgotten.
    """

    earlier_boot: str | None = None
    """The boot that the directory named when it was taken; None if it named none, or is a copy. See `boot_id`."""

    _line = b""
    _place = (-1, -1)
    _locks_directory = False

    def __init__(self, directory: str, known: Callable[[DirectoryLock], None] | None = None) -> None:
        """``known`` is called with the lock before anything is held: an interrupt may keep its maker from ever having it."""
        self._pid = os.getpid()
        self._path = directory
        self._directory = _Held()
        self._file = _Held()
        if known is not None:
            known(self)
        # The exception may be kept, and must not keep the lock.
        or_undone(self._take, self.release)

    def _take(self) -> None:
        path = os.path.join(self._path, NAME)
        try:
            if not _is_lock(path):
                raise ForeignDirectory(
                    f"{path} is not a file, or a link to one. Nothing was changed. Remove it; an empty one is made in its place."
                )
            self._directory.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            self._locks_directory = self._lock(self._directory)
            self._file.open(path, os.O_RDWR | os.O_CREAT)
            if not self._lock(self._file) and not self._locks_directory:
                raise OSError(errno.ENOLCK, "this file system has no locks")
            found = os.fstat(self._directory.fileno())
            self._place = (found.st_dev, found.st_ino)
            self._take_file()
        except OSError as error:
            raise refusal(
                error, self._path, "The directory could not be locked, so it was not opened; nothing in it was changed."
            ) from error
        # It may have been moved between the two.
        self.check()

    def _lock(self, held: _Held) -> bool:
        """Takes the lock of one of the two. Whether it could; False if it is of a kind that can't be locked here."""
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = holder(self._path) or _said(self._path)[0]
            raise DirectoryInUse(self._path, pid, pid in forked_from) from None
        except OSError as error:
            if error.errno not in _CANT_BE_LOCKED:
                raise
            return False
        return True

    def _take_file(self) -> None:
        """Puts the pid into the file, and keeps what else it says."""
        file = self._file.fileno()
        mode = os.fstat(file).st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            # Who may open it may lock it. It is as it was made by a coopy of before; another's can't be changed.
            with contextlib.suppress(PermissionError):
                os.fchmod(file, stat.S_IRUSR | stat.S_IWUSR)
        _, boot, place, self._line = _parsed(os.pread(file, _BYTES_MAX, 0))
        self.earlier_boot = boot if place == self._place else None
        self._write()

    @property
    def pid(self) -> int:
        """The process that took it: in a forked child that of the parent."""
        return self._pid

    def mark(self) -> None:
        """Says that in this boot the end of the journal is whole: what is not so later was damaged, not cut off."""
        boot = boot_id()
        if not boot:
            return
        self._line = b"%s %d %d:%d\n" % (boot.encode(), time.time_ns(), *self._place)
        # What it does not say it can't be wrong about.
        with contextlib.suppress(OSError):
            self._write()

    def _write(self) -> None:
        file, data = self._file.fileno(), b"%d\n" % self._pid + self._line
        if os.pwrite(file, data, 0) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(file, len(data))

    def check(self) -> None:
        """Raises `JournalError` if the path does not lead to the directory any more that was locked."""
        try:
            if self._is_at(self._path, self._directory, self._place):
                if self._locks_directory or self._has_file():
                    return
                code, what = errno.ENOENT, f"the file {NAME} in it was removed"
            else:
                code, what = errno.ESTALE, "it was replaced by another"
        except OSError as error:
            if error.errno not in _MOVED:
                raise JournalError(
                    error.errno,
                    f"{error.strerror}. Whether this is still the directory that was opened can't be seen. Nothing in it was "
                    f"changed; free the cause and try again.",
                    self._path,
                ) from error
            code, what = error.errno or errno.ENOENT, "it was moved or removed"
        raise JournalError(
            code,
            f"This is not the directory any more that is locked: {what} while it was open. What was acknowledged before is in "
            f"the one that was opened, wherever it is now; nothing more is recorded. Put it back, or open it where it is.",
            self._path,
        )

    def _has_file(self) -> bool:
        try:
            return self._is_at(os.path.join(self._path, NAME), self._file)
        except FileNotFoundError:
            return False

    @staticmethod
    def _is_at(path: str, held: _Held, place: tuple[int, int] = (-1, -1)) -> bool:
        found = os.stat(path)
        if place == (found.st_dev, found.st_ino):
            return True
        # Some file systems give other numbers later on.
        return held.is_open and os.path.samestat(found, os.fstat(held.fileno()))

    def release(self) -> None:
        """Lets go; what an interrupted one has left held, the next one lets go.

        In a forked child it closes the child's copies, and the parent keeps the lock.
        """
        try:
            try:
                if os.getpid() == self._pid:
                    # A child that was forked just now may not have come to close its copies.
                    self._file.unlock()
                    self._directory.unlock()
            finally:
                self._file.close()
        finally:
            self._directory.close()


class _Held(Descriptor):
    """A file, or a directory, that is locked."""

    def fileno(self) -> int:
        if not self.is_open:
            raise ValueError("the lock of the directory has been released")
        return super().fileno()

    def close(self) -> None:
        # Somebody else has closed it, and so has given the lock back.
        with contextlib.suppress(OSError):
            super().close()

    def unlock(self) -> None:
        # It may be one that can't be locked.
        with contextlib.suppress(OSError):
            if self.is_open:
                fcntl.flock(self, fcntl.LOCK_UN)


def holder(directory: str) -> int | None:
    """The process that holds the lock; None if nobody does. Asks the kernel, and takes the lock from nobody.

    Where the kernel does not tell (there is no /proc/locks), a process that lives and whose pid is in the file.
    """
    named = _said(directory)[0]
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as locks:
            # "1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF"
            held = [fields for fields in map(str.split, locks) if len(fields) == 8 and fields[1] == "FLOCK"]
    except OSError:
        return named if named is not None and _lives(named) else None
    for path in (directory, os.path.join(directory, NAME)):
        try:
            status = os.stat(path)
        except OSError:
            continue
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for fields in held:
            if fields[5] == place and fields[3] == "WRITE":
                return int(fields[4]) if fields[4].isdigit() and int(fields[4]) else named
        # Some file systems give another device here than to stat. Then the inode may be one of another file, and
        # the pid, which the holder has written, tells.
        if any(fields[4] == str(named) and fields[5].endswith(f":{status.st_ino}") for fields in held):
            return named
    return None


@cache
def boot_id() -> str:
    """What names this start of the machine, and no other start of any; "" if it is not known."""
    if sys.platform == "darwin":
        return _sysctl(b"kern.bootsessionuuid")
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii", errors="replace") as file:
            return file.read(_BYTES_MAX).strip()
    except OSError:
        return ""


def _sysctl(name: bytes) -> str:  # macOS
    import ctypes

    size = ctypes.c_size_t(_BYTES_MAX)
    value = ctypes.create_string_buffer(_BYTES_MAX)
    if ctypes.CDLL(None).sysctlbyname(name, value, ctypes.byref(size), None, ctypes.c_size_t(0)):
        return ""
    return value.value.decode("ascii", "replace")


def forget_boot(directory: str) -> None:
    """Leaves in the file what a power cut leaves: a pid that means nothing, and no boot. For tests. Raises OSError."""
    with open(os.path.join(directory, NAME), "r+b") as file:
        file.truncate(len(file.readline()))


def _is_lock(path: str) -> bool:
    """Whether it is a file, or nothing that would keep one from being made. Raises OSError where that can't be told."""
    try:
        return is_file(path)
    except FileNotFoundError:
        return True


def _said(directory: str) -> tuple[int | None, str | None]:
    """The pid and the boot that the file of a directory names; None for what it does not say of this directory."""
    path = os.path.join(directory, NAME)
    try:
        if not os.path.isfile(path):
            return None, None
        with open(path, "rb") as file:
            pid, boot, place, _ = _parsed(file.read(_BYTES_MAX))
        found = os.stat(directory)
    except OSError:
        return None, None
    return pid, boot if place == (found.st_dev, found.st_ino) else None


def earlier_boot(directory: str) -> str | None:
    """As `DirectoryLock.earlier_boot`, for callers that take no lock."""
    return _said(directory)[1]


def is_this_boot(boot: str | None) -> bool:
    """Whether a boot is the one that the machine is in: no power was cut since."""
    return boot is not None and boot == boot_id()


def _parsed(data: bytes) -> tuple[int | None, str | None, tuple[int, int] | None, bytes]:
    """What the file says: the pid, the boot, the place, and the second line as it is; None and b"" for what it does not say."""
    first, _, rest = data.partition(b"\n")
    pid = int(first) if first.isdigit() and len(first) < 10 else None
    second = rest.partition(b"\n")[0]
    found = _BOOT.match(second.decode("ascii", "replace"))
    if found is None:
        return pid, None, None, b""
    device, _, inode = found[2].partition(":")
    return pid, found[1], (int(device), int(inode)), second + b"\n"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

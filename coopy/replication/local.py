"""Unix sockets of a directory: named by who writes there, open to this user alone.

    coopy.writer                "1 <pid> <name of the socket>\\n", written whole
    writer-<incarnation>.sock   where that process listens

The holder of the directory's lock alone makes and removes them. Knows no system and nothing of what is sent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from coopy.disk.directory import TEMPORARY
from coopy.disk.fs import Calls, remove_if_there
from coopy.ground.raised import on_failure

NAME = "coopy.writer"
_SOCKET = re.compile(r"writer-[0-9a-f]{16}\.sock\Z")
_LINE = re.compile(rb"1 ([0-9]{1,10}) (writer-[0-9a-f]{16}\.sock)\n\Z")
_LINE_BYTES_MAX = 256  # The line has fewer than fifty.
PATH_BYTES_MAX = 100
"""A longer path is reached by a shorter one: an address has room for 107 bytes, on macOS for 103."""
BACKLOG = 128
"""So many processes and threads may connect before the writer comes to accept them."""
_LOCAL_PEERCRED, _LOCAL_PEERPID, _SOL_LOCAL = 1, 2, 0
"""macOS has no names for these in `socket`."""
_CREDENTIALS = struct.Struct("3i")
_TIMEVAL = struct.Struct("@ll")


class Published(NamedTuple):
    """Who writes in a directory, and where that process listens."""

    pid: int
    name: str


def published(directory: str) -> Published | None:
    """Returns who was the last to say that it writes; None if nobody has. It may have ended since. Raises OSError."""
    try:
        with open(os.path.join(directory, NAME), "rb") as file:
            found = _LINE.match(file.read(_LINE_BYTES_MAX))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    return None if found is None else Published(int(found[1]), found[2].decode("ascii"))


class Listening:
    """A socket of a directory that this process listens at. Raises OSError."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        sweep(directory)
        self.name = f"writer-{secrets.token_hex(8)}.sock"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with on_failure(self.close):
            with _short(directory) as path:
                address = os.path.join(path, self.name)
                self.socket.bind(address)
                # Before it listens: until then nobody can connect, whatever mode it was made with.
                os.chmod(address, stat.S_IRUSR | stat.S_IWUSR)
                self.socket.listen(BACKLOG)
            self.socket.setblocking(False)
            self._publish()

    def _publish(self) -> None:
        """Says in the directory where this process listens. Not durably: it is said of processes that live, and a sync takes long on a busy disk."""
        path = os.path.join(self._directory, NAME)
        with open(path + TEMPORARY, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(b"1 %d %s\n" % (os.getpid(), self.name.encode("ascii")))
        os.replace(path + TEMPORARY, path)

    def close(self) -> None:
        """Takes no more connections."""
        self.socket.close()

    def remove(self) -> None:
        """Removes the socket. To be called while the directory is locked."""
        with contextlib.suppress(OSError):
            found = published(self._directory)
            if found is not None and found.name == self.name:
                remove_if_there(Calls(), os.path.join(self._directory, NAME))
            remove_if_there(Calls(), os.path.join(self._directory, self.name))


def sweep(directory: str) -> None:
    """Removes the sockets of processes that have ended. To be called while the directory is locked."""
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if _SOCKET.match(name) or name == NAME:
                remove_if_there(Calls(), os.path.join(directory, name))


def connected(directory: str, name: str) -> socket.socket:
    """Returns a connection to who listens there, which is of this user. Raises OSError."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with on_failure(found.close):
        with _short(directory) as path:
            found.connect(os.path.join(path, name))
        if not is_ours(found):
            raise PermissionError(errno.EPERM, "the socket is another user's", os.path.join(directory, name))
    return found


def wait_at_most(peer: socket.socket, seconds: float, *options: int) -> None:
    """Has what waits for a peer give up after so many seconds, 0 for never: SO_RCVTIMEO, SO_SNDTIMEO or both. The socket stays one that blocks."""
    whole = int(seconds)
    value = _TIMEVAL.pack(whole, int((seconds - whole) * 1_000_000))
    for option in options:
        peer.setsockopt(socket.SOL_SOCKET, option, value)


def is_ours(peer: socket.socket) -> bool:
    """Whether the kernel says that the process at the other end is of this user."""
    if sys.platform == "darwin":
        # struct xucred: a version, the uid, and more.
        said = peer.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
        return int.from_bytes(said[4:8], sys.byteorder) == os.geteuid()
    said = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(said)[1] == os.geteuid())


def pid_of(peer: socket.socket) -> int:
    """Returns the process that has connected, as the kernel says. Raises OSError."""
    if sys.platform == "darwin":
        return int.from_bytes(peer.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4), sys.byteorder)
    return int(_CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0])


@contextlib.contextmanager
def _short(directory: str) -> Iterator[str]:
    """Gives a path of a directory that is short enough for an address."""
    if len(os.fsencode(directory)) + len("/writer-0123456789abcdef.sock") <= PATH_BYTES_MAX:
        yield directory
        return
    if sys.platform == "linux":
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{opened}"
        finally:
            os.close(opened)
        return
    folder = tempfile.mkdtemp(prefix="coopy-")
    try:
        link = os.path.join(folder, "d")
        os.symlink(directory, link)
        yield link
    finally:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(folder, "d"))
        os.rmdir(folder)

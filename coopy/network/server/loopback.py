"""The password of this user on this machine: for nodes and replicas on loopback that were given none.

    $XDG_RUNTIME_DIR/coopy/password     if that is a directory of this user's that nobody else may enter
    ~/.coopy/password                   otherwise

One for all ports: a cluster of three, who joins it, its replicas and the command line look in the same place, whatever each knows
of the others. Nodes and replicas have a word of their own each, made from it: `for_user`.

The first who asks makes it. The folder is 0700, the file 0600; both are looked at each time, since whoever else could read it could
run code as this user, and whoever else could write it could be followed for a node.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from coopy.errors import UsageError
from coopy.network.server import folder

FILE = "password"
LENGTH_MIN = 32
"""Characters; what is shorter was not made here."""
_BYTES_MAX = 4096
"""A password is a short line; whatever else is there is not read into memory."""


def path() -> str:
    """Where it is, or would be."""
    run = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(run) and _is_private(run):
        return os.path.join(run, "coopy", FILE)
    return os.path.join(os.path.expanduser("~"), ".coopy", FILE)


def find() -> str | None:
    """The password, None if none was made yet. Raises `UsageError` if somebody else can read it, or it is somebody else's."""
    place = path()
    try:
        about = os.stat(os.path.dirname(place))
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o022:
            raise _refused(os.path.dirname(place), about, f"chmod 700 {os.path.dirname(place)}")
        # Not through a link; and a pipe would keep whoever opens it.
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(place, error) from error
    with open(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            raise _refused(
                place, about, f"close all nodes and replicas that use it, and remove {place}: the next one makes another"
            )
        found = file.read(_BYTES_MAX).decode("ascii", "replace").strip()
    if 0 < len(found) < LENGTH_MIN or not (found.isascii() and found.isprintable()):
        raise UsageError(
            f"{place}: holds no password that coopy has made. Nothing was opened. Close all nodes and replicas that use it, and remove "
            f"it: the next one makes another. Or give a password= of your own to all."
        )
    return found or None


def find_or_make() -> str:
    """The password; made, if there is none. Raises `UsageError`."""
    found = find()
    if found is not None:
        return found
    place = path()
    try:
        os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
        with _alone(os.path.dirname(place)):
            found = find()
            if found is None:
                found = secrets.token_urlsafe(LENGTH_MIN)
                folder.write(place, found)
    except OSError as error:
        raise _unusable(place, error) from error
    return found


def for_user(password: str, user: str) -> str:
    """What a user of the server says who has been given none: another one for each, as a replica may only read."""
    return hmac.digest(password.encode(), f"coopy {user}".encode(), "sha256").hex()


def _is_private(directory: str) -> bool:
    try:
        about = os.stat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o077


@contextmanager
def _alone(directory: str) -> Iterator[None]:
    """No other process is in here: three nodes that start together make one password."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _refused(place: str, about: os.stat_result, remedy: str) -> UsageError:
    whose = f"belongs to user {about.st_uid}"
    if about.st_uid == os.geteuid():
        whose = f"has mode {stat.S_IMODE(about.st_mode):04o}"
    else:
        remedy = "have HOME or XDG_RUNTIME_DIR name a directory of this user's"
    return UsageError(
        f"{place}: is to hold the password of this user (id {os.geteuid()}), for nodes and replicas on loopback that were given none. "
        f"Nobody else may have a part in it, and it {whose}. Nothing was opened, nothing was changed. To mend it, {remedy}. Or give a "
        f"password= of your own to all nodes and replicas."
    )


def _unusable(place: str, error: OSError) -> UsageError:
    return UsageError(
        f"no password= was given, and this user's own (id {os.geteuid()}) can't be kept in {place}: {error.strerror or error}. Nothing "
        f"was opened. Give a password= of your own to all nodes and replicas, or have XDG_RUNTIME_DIR or HOME name a directory of this "
        f"user's that can be written to."
    )

"""Small files that much depends on: a word, a list, a password. Each is written whole, or is as it was.

    <name>       what was written last; readable by its owner alone
    <name>.new   being written, or left there by a crash: nobody reads it, and the next writing begins it anew

A power cut at any moment, and a disk without room, leave the text from before or the new one, and one that was written
stays. An empty file counts as none: a release before this one could leave that. One process at a time writes in a folder.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Sequence

from coopy.ground import paths
from coopy.network.address import Address, parse


def read(path: str) -> str | None:
    """The text of a file; None if it is not there, or empty."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read() or None
    except FileNotFoundError:
        return None


def write(path: str, text: str) -> None:
    """Puts a text in the place of what the file holds. It is on disk when this returns. Raises OSError; nothing has changed then."""
    new = f"{path}.new"
    # One that was left there may have another mode, or be a link.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(new, flags, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        # Before it gets its name: a name without its bytes would be an empty file after a power cut.
        _sync(file.fileno())
    os.replace(new, path)
    sync(os.path.dirname(path))


def sync(folder: str) -> None:
    """What was renamed in a folder is on disk under its new name when this returns."""
    fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync(fd: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


# -- what a node remembers beside its server


def own_password(place: str) -> str:
    """The password by which a master talks to its own server; made once."""
    path = os.path.join(place, "secret")
    found = read(path)
    if found is None:
        found = secrets.token_urlsafe(32)
        write(path, found)
    return found


def set_store_aside(place: str, kind: str) -> None:
    """Moves what a server of the other kind has stored out of the way: one of a cluster would delete it.

    What it holds is in this node's journal; the system goes on in a line that begins where it ended.
    """
    path, store = os.path.join(place, "kind"), os.path.join(place, "store")
    before = read(path)
    if before == kind:
        return
    # Without a word from before nothing is known against the store, and it may hold what the journal does not.
    if before is not None and paths.exists(store):
        os.rename(store, f"{store}-{before}-{time.time_ns()}")
        # Before the word: with that alone on disk the store would be taken for one of this kind.
        sync(place)
    write(path, kind)


def remembered(place: str) -> tuple[Address, ...] | None:
    """The members as this node knew them last."""
    found = read(os.path.join(place, "members"))
    return None if found is None else tuple(parse(each) for each in found.split())


def remember(place: str, nodes: Sequence[Address]) -> None:
    write(os.path.join(place, "members"), "\n".join(map(str, nodes)) + "\n")

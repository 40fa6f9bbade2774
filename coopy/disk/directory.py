"""The data directory: made so that it lasts, and the names of the files in it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from datetime import datetime, timezone

from coopy.disk.fs import Calls, File, remove_if_there
from coopy.errors import UsageError
from coopy.ground.paths import exists, is_directory

# As they are written, and no larger than a header can hold: any other name is not one of ours.
_INDEX = "([0-9]{15}|[1-9][0-9]{15,18})"
_SEGMENT = re.compile(rf"transaction_{_INDEX}\.log\Z")
_SNAPSHOT = re.compile(rf"snapshot_{_INDEX}\.dat\Z")
TEMPORARY = ".tmp"
ASIDE = "aside-"
"""What a directory is called that keeps what an opening or a repair has taken out of the way."""


def make(calls: Calls, path: str) -> None:
    """Makes a directory and those above it that are missing, each durable by name. Raises `UsageError`, OSError."""
    missing = []
    while not is_directory(path):
        missing.append(path)
        path, below = os.path.dirname(path), path
        if path == below:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    for each in reversed(missing):
        try:
            calls.make_directory(each)
        except FileExistsError:
            if not is_directory(each):
                raise UsageError(
                    f"{each} is not a directory, or a link to one. Nothing was changed. Choose another place for the data."
                ) from None
        try:
            sync_above(calls, each)
        except OSError:
            # Who comes next would take it for one that lasts.
            with contextlib.suppress(OSError):
                calls.remove_directory(each)
            raise


def sync_above(calls: Calls, path: str) -> None:
    """Makes the name of a directory durable. Raises OSError."""
    # A directory that can be passed through, but not read, can't be synced either.
    with contextlib.suppress(PermissionError):
        calls.sync_directory(os.path.dirname(path))


def make_aside(calls: Calls, path: str) -> str:
    """Makes a new directory for what is taken out of the way, and returns its path. Raises OSError."""
    name = ASIDE + datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    folder, number = os.path.join(path, name), 1
    while exists(folder):
        number += 1
        folder = os.path.join(path, f"{name}-{number}")
    calls.make_directory(folder)
    return folder


def write_whole(calls: Calls, path: str, data: bytes) -> None:
    """Writes a new file, durable but for its name; what is there of that name is replaced. Raises OSError."""
    temporary = path + TEMPORARY
    remove_if_there(calls, temporary)
    file = File(calls, temporary, write=True, create=True)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()
    calls.rename(temporary, path)


def segment_path(directory: str, first: int) -> str:
    """The segment whose first action is ``first``."""
    return os.path.join(directory, f"transaction_{first:015d}.log")


def snapshot_path(directory: str, index: int) -> str:
    """The snapshot of the state at ``index``."""
    return os.path.join(directory, f"snapshot_{index:015d}.dat")


def segments(names: list[str]) -> list[int]:
    """First indexes of the segments among names, in order."""
    return sorted(int(found[1]) for found in map(_SEGMENT.match, names) if found)


def snapshots(names: list[str]) -> list[int]:
    """Indexes of the snapshots among names, in order."""
    return sorted(int(found[1]) for found in map(_SNAPSHOT.match, names) if found)

"""The data directory: made so that it lasts, and the names of the files in it."""

from __future__ import annotations

import os
import re

from coopy.disk.fs import Calls
from coopy.errors import UsageError

# As they are written, and no larger than a header can hold: any other name is not one of ours.
_INDEX = "([0-9]{15}|[1-9][0-9]{15,18})"
_SEGMENT = re.compile(rf"transaction_{_INDEX}\.log\Z")
_SNAPSHOT = re.compile(rf"snapshot_{_INDEX}\.dat\Z")
TEMPORARY = ".tmp"
TORN = ".torn"


def absolute(basedir: str | os.PathLike[str]) -> str:
    """The absolute path of what a caller named. Raises `UsageError`."""
    if not isinstance(basedir, (str, os.PathLike)) or not isinstance(os.fspath(basedir), str):
        raise UsageError(f"basedir={basedir!r}: must be the path of a directory, as text or a path object")
    return os.path.abspath(basedir)


def make(calls: Calls, path: str) -> None:
    """Makes a directory and those above it that are missing, each durable by name. Raises `UsageError`, OSError."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        try:
            calls.make_directory(each)
        except FileExistsError:
            if not os.path.isdir(each):
                raise UsageError(
                    f"{each} is not a directory, or a link to one. Nothing was changed. Choose another place for the data."
                ) from None
        try:
            calls.sync_directory(os.path.dirname(each))
        except PermissionError:
            pass  # A directory that can be passed through, but not read, can't be synced either.


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

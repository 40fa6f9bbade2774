"""Recognizes directories of coopy 0.4 and 0.7 by their files, and refuses them. Unpickles nothing.

`coopy.tools.legacy` reads them.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from coopy.errors import ForeignDirectory
from coopy.ground import paths

_FILE = re.compile(r"(snapshot|transaction)_(\d{15})\.(dat|log)\Z")
_PICKLE = b"\x80"


def recognize(path: str | os.PathLike[str]) -> str | None:
    """The release that wrote a data directory, "0.4.6" or "0.7.0", or None for anything else. Unpickles nothing.

    Raises `UsageError`, `Unreadable`.
    """
    path = paths.absolute(path, "path")
    with paths.reads(path):
        if not paths.is_directory(path):
            return None
        members = manifest(path)
        if members is not None:
            version = members.get("format_version")
            return "0.7.0" if type(version) is int else None
        found = files(path)
        return "0.4.6" if any(head(each.path).startswith(_PICKLE) for each in found) else None


def refuse(basedir: str) -> None:
    """Refuses the directory of an older release, and says how it is brought over. Raises `ForeignDirectory`, `Unreadable`."""
    release = recognize(basedir)
    if release is not None:
        raise ForeignDirectory(
            f"{basedir} was written by coopy {release}, in another format. Nothing was changed. Bring it over into a new directory "
            f"with `coopy import {basedir} NEW --class module:Class`, or with coopy.tools.importing.import_directory()."
        )


class OldFile(NamedTuple):
    """A snapshot or a log of an older release."""

    number: int
    is_log: bool
    path: str


def files(path: str) -> list[OldFile]:
    """Snapshots and logs, in order."""
    found = ((_FILE.match(name), name) for name in os.listdir(path))
    return sorted(
        OldFile(int(match[2]), match[1] == "transaction", os.path.join(path, name))
        for match, name in found
        if match and (match[1] == "transaction") == (match[3] == "log")
    )


def head(path: str) -> bytes:
    """Returns the first bytes of a file. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(64)


def manifest(path: str) -> dict[str, Any] | None:
    """Members of coopy.json, none if it does not read; None where there is no such file."""
    import json

    try:
        with open(os.path.join(path, "coopy.json"), "rb") as file:
            members = json.load(file)
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError):
        return {}
    return members if isinstance(members, dict) else {}

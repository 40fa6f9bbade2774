"""What a backup in a store of objects consists of.

    pieces/<file>.<offset>-<end>.<random>   bytes of one file of the directory, from one offset to another; at most PIECE_BYTES
    catalogs/<number>.json                  a whole backup: which pieces make which file

A catalog is one line of JSON:

    sha256       of "catalog", in hexadecimal digits; written with sorted keys, and without spaces
    catalog
      format     1
      number     that of its name, 9 digits there; higher than that of the catalog before it
      token      random: who wrote it knows it again
      system     id of the system, hexadecimal digits
      index      the last action in it
      written    when, ISO 8601 with UTC offset
      earlier    numbers of the last catalogs of histories that the directory does not go on with any more
      files      by name: "size" in bytes, "pieces" in order, "mark" of the file that was read (size, nanoseconds, inode)
        pieces   name of the object, size in bytes, sha256

Bytes of a file beyond its pieces are zeros. The backup is what the catalog of the highest number says. It is written last, with all of its
pieces there, and no object is written over: so a backup that is cut off, at whatever moment, leaves the one before it as it was. Pieces of
one that was cut off belong to no catalog; nobody reads them.

A catalog is made from the one before it. Its number can be written once: of two who make one from the same catalog, one is told so, and
begins again with what the other has written. So whatever a catalog names was named by the one before it, or written for it; and what two
catalogs that follow each other do not name is not named by any later one. That, and nothing else, is removed.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from coopy import StorageError, UnsupportedFormat, UsageError
from coopy.ground.log import warn
from coopy.tools.backup import is_of_a_copy
from coopy.tools.objectstore import Objects

FORMAT = 1  # Of catalogs; another one is refused.
PIECE_BYTES = 8 * 1024 * 1024
"""The size of a piece: it is held in memory, and sent anew if the line breaks. A store takes up to 5 GiB at a time."""
CATALOGS, PIECES = "catalogs", "pieces"
_CATALOG = re.compile(r"catalogs/(\d{9,})\.json\Z")
_OURS = re.compile(r"(catalogs/\d{9,}\.json|pieces/[a-z0-9_.]+\.\d+-\d+\.[0-9a-f]{32})\Z")
_TOKEN_BYTES = 16  # Nobody finds the same by chance.

Mark = tuple[int, int, int]
"""Size, time of the last change (ns) and inode of a file: while they are the same, so is what was in it."""


class DamagedCatalog(StorageError):
    """A catalog is not what was written."""


@dataclass(frozen=True, slots=True)
class Piece:
    """An object that holds bytes of a file."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it is kept: its size, its pieces in order, and the mark of the file that was read."""

    size: int
    pieces: tuple[Piece, ...]
    mark: Mark

    @property
    def end(self) -> int:
        """The bytes that are in pieces; after them there are zeros."""
        return sum(each.size for each in self.pieces)


@dataclass(frozen=True, slots=True)
class Catalog:
    """One backup, as the table above says."""

    number: int
    system: str
    index: int
    files: dict[str, Kept]
    earlier: tuple[int, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_hex(_TOKEN_BYTES))
    written: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat())

    @property
    def name(self) -> str:
        """The name of its object."""
        return name_of(self.number)

    @property
    def objects(self) -> set[str]:
        """The names of its pieces."""
        return {piece.name for kept in self.files.values() for piece in kept.pieces}

    @property
    def total(self) -> int:
        """The bytes of all pieces."""
        return sum(kept.end for kept in self.files.values())

    def packed(self) -> bytes:
        """Returns the object that says all this."""
        said = {
            "format": FORMAT,
            "number": self.number,
            "token": self.token,
            "system": self.system,
            "index": self.index,
            "written": self.written,
            "earlier": self.earlier,
            "files": {
                name: {
                    "size": kept.size,
                    "pieces": [[each.name, each.size, each.sha256] for each in kept.pieces],
                    "mark": kept.mark,
                }
                for name, kept in self.files.items()
            },
        }
        return json.dumps({"catalog": said, "sha256": _digest(said)}, separators=(",", ":")).encode()


def name_of(number: int) -> str:
    """Returns the name of the catalog of a number."""
    return f"{CATALOGS}/{number:09d}.json"


def name_of_piece(file: str, offset: int, size: int) -> str:
    """Returns a name that no other piece has."""
    return f"{PIECES}/{file}.{offset}-{offset + size}.{secrets.token_hex(_TOKEN_BYTES)}"


def numbers(store: Objects) -> list[int]:
    """Returns the numbers of the catalogs in a store, ascending. Raises `OutOfReach`."""
    return sorted(int(found[1]) for found in map(_CATALOG.match, store.names(CATALOGS)) if found)


def read(store: Objects, number: int) -> Catalog | None:
    """Returns the catalog of a number; None if it is not there, or not any more. Raises `OutOfReach`, `DamagedCatalog`, `StorageError`."""
    data = store.read(name_of(number))
    if data is None:
        return None
    place = f"{store.url}/{name_of(number)}"
    try:
        whole = json.loads(data)
        said = whole["catalog"]
        if whole["sha256"] != _digest(said) or said["number"] != number:
            raise ValueError
        if said["format"] != FORMAT:
            raise UnsupportedFormat(f"{place} has format {said['format']}; this coopy reads {FORMAT}. Nothing was changed.")
        files = {name: _kept(each) for name, each in said["files"].items()}
        found = Catalog(number, said["system"], said["index"], files, tuple(said["earlier"]), said["token"], said["written"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedCatalog(f"{place}: this is not what was written. Nothing was changed.") from None
    strange = [name for name in files if not is_of_a_copy(name)]
    strange += [name for name in found.objects if not _OURS.match(name)]
    if strange:
        raise StorageError(f"{place} names {strange[0]!r}, which no backup has. Nothing was changed.")
    return found


def newest(store: Objects) -> tuple[Catalog | None, int]:
    """Returns the newest catalog that reads, None if there is none; and the highest number that is taken.

    One that does not read is passed over, with a warning: a store that keeps half of what was sent when the sender died is no store as it
    should be, but the catalog before that one is whole. Raises `OutOfReach`, and `StorageError` if none reads.
    """
    problem: StorageError | None = None
    while True:
        there = numbers(store)
        if not there:
            return None, 0
        for number in reversed(there):
            try:
                found = read(store, number)
            except UnsupportedFormat:
                raise
            except DamagedCatalog as error:
                problem = problem or error
                continue
            if found is None:
                break  # It was removed since, so there are newer ones.
            if problem is not None:
                warn("%s The backup before it counts, of %s.", problem, found.written)
            return found, there[-1]
        else:
            assert problem is not None, "none of them reads"
            raise problem


def refuse_strangers(store: Objects) -> None:
    """Refuses a place without a catalog in which something else lies. Raises `UsageError`, `OutOfReach`."""
    strange = next((name for name in store.some() if not _OURS.match(name)), None)
    if strange is not None:
        raise UsageError(
            f"{store.url} holds {strange}, which is no part of a backup, and no backup. Nothing was written. Give a place of its own "
            f"to the backup: {store.url}/NAME"
        )


def unused(stale: Iterable[Catalog], kept: Iterable[Catalog]) -> set[str]:
    """Returns the pieces that catalogs name which are to go, and none that stays."""
    return set().union(*(each.objects for each in stale)) - set().union(*(each.objects for each in kept))


def _kept(said: Any) -> Kept:
    size, time, inode = said["mark"]
    pieces = tuple(Piece(str(name), int(length), str(sha256)) for name, length, sha256 in said["pieces"])
    return Kept(int(said["size"]), pieces, (size, time, inode))


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, separators=(",", ":"), sort_keys=True).encode()).hexdigest()

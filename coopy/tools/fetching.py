"""A directory out of a backup in a store of objects, as it was at the end of the backup or before.

Each piece is compared with its checksum, and all of it is read as a whole, as a copy of a directory is (`coopy.tools.backup`): it appears under its
name complete, or not at all.
"""

from __future__ import annotations

import hashlib
import os
from datetime import datetime

from coopy import CoopyError, PrunedPast, StorageError, UsageError
from coopy.disk import directory
from coopy.disk.fs import Calls, File
from coopy.ground import paths
from coopy.tools import catalog, repair
from coopy.tools.backup import Backup, Progress, clear, filled, state_of
from coopy.tools.catalog import Catalog, Kept
from coopy.tools.objectstore import Objects


class _Gone(Exception):
    """A piece is not there any more: a newer backup was made meanwhile."""


def fetch(
    url: str, dest: str, progress: Progress | None = None, *, until: int | datetime | None = None, calls: Calls | None = None
) -> Backup:
    """Makes a directory of a backup; ``dest`` must not exist, or be an empty directory.

    With ``until``, an action or a time, it ends there. If the directory had more than one history, that is looked at which it went on with last, and
    then those before it.

    Raises:
        UsageError: there is no backup at ``url``, something is in ``dest``, or ``until`` is not a point of the system.
        PrunedPast: the past before ``until`` is not in the backup.
        OutOfReach: the store can't be reached.
        StorageError: what is in the store is not what was written.
        JournalError: the disk refused. In each case there is no ``dest`` that was not there before, unless the error says so.
    """
    dest = paths.absolute(dest, "dest")
    store = Objects(url)
    newest, _ = catalog.newest(store)
    if newest is None:
        raise UsageError(f"{store.url}: there is no backup. Nothing was made.")
    calls = Calls() if calls is None else calls
    try:
        while True:
            try:
                return _fetched(calls, store, newest, dest, progress, until)
            except _Gone as gone:
                found, _ = catalog.newest(store)
                if found is None or found.token == newest.token:
                    raise StorageError(f"{store.url}: {gone} is not there any more. Nothing was made.") from None
                newest = found
    except CoopyError:
        raise
    except OSError as error:
        raise paths.refusal(error, dest, state_of(dest)) from error


def _fetched(
    calls: Calls, store: Objects, newest: Catalog, dest: str, progress: Progress | None, until: int | datetime | None
) -> Backup:
    """From the newest history that has the point."""
    refused: PrunedPast | None = None
    for number in (newest.number, *reversed(newest.earlier)):
        found = newest if number == newest.number else catalog.read(store, number)
        if found is None or (refused is not None and not _reaches(found, until)):
            continue
        try:
            return _filled(calls, store, found, dest, progress, until)
        except PrunedPast as error:
            refused = refused or error
    assert refused is not None, "the newest is there"
    raise refused


def _filled(
    calls: Calls, store: Objects, found: Catalog, dest: str, progress: Progress | None, until: int | datetime | None
) -> Backup:
    files = found.files
    if isinstance(until, int):
        if until > found.index:
            raise UsageError(f"until={until}: the backup has the actions up to {found.index}. Nothing was made.")
        oldest = min(directory.snapshots(list(files)), default=0)
        if until < oldest:
            raise PrunedPast(f"the state after action {until}", oldest)
        files = {name: each for name, each in files.items() if _is_upto(name, until)}
    total = sum(each.end for each in files.values())

    def fill(temporary: str) -> Backup:
        clear(calls, temporary)
        done = 0
        for name, each in files.items():
            done = _written(calls, store, os.path.join(temporary, name), each, done, total, progress)
        calls.sync_directory(temporary)
        plan = repair.plan(temporary)
        if plan is not None:
            raise StorageError(
                f"{store.url}: what is in the backup does not make a directory: {plan.damages[0]}. Nothing was made."
            )
        return Backup(store.url, dest, len(files), sum(each.size for each in files.values()), found.index)

    return filled(calls, dest, bytes.fromhex(found.system), until, fill)


def _reaches(found: Catalog, until: int | datetime | None) -> bool:
    """Whether a history that did not go on has a point, and not only what was long before it."""
    if isinstance(until, datetime):
        return until.astimezone() <= datetime.fromisoformat(found.written)
    return until is None or until <= found.index


def _is_upto(name: str, until: int) -> bool:
    """Whether a file is needed for the state after an action, and those before it."""
    return all(first <= until + 1 for first in directory.segments([name])) and all(
        index <= until for index in directory.snapshots([name])
    )


def _written(calls: Calls, store: Objects, path: str, kept: Kept, done: int, total: int, progress: Progress | None) -> int:
    """Writes a file; returns the bytes that are done of the total."""
    file = File(calls, path, write=True, create=True)
    try:
        if kept.size > kept.end:
            file.allocate(kept.size)
        offset = 0
        for piece in kept.pieces:
            data = store.read(piece.name)
            if data is None:
                raise _Gone(piece.name)
            if len(data) != piece.size or hashlib.sha256(data).hexdigest() != piece.sha256:
                raise StorageError(f"{store.url}/{piece.name}: its checksum is not that of what was written. Nothing was made.")
            file.write(offset, data)
            offset += piece.size
            if progress is not None:
                progress(done + offset, total)
        file.sync()
    finally:
        file.close()
    return done + offset

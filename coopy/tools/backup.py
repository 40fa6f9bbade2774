"""A copy of a data directory, of an open one too: another process may write, roll over, snapshot and prune meanwhile.

What is in the copy is one prefix of the history: every action that was
acknowledged before `backup` was called, perhaps some later ones, and no gap. It
comes about so:

1. The names are listed and the files opened, the newest first. What is open
   can be pruned by name only. If one is gone between the two, it begins again.
2. The end of the last segment is looked for: whole frames up to there. What was
   acknowledged before is in front of it, and is not written a second time.
3. All is copied, the last segment up to that end; later segments are left out, and
   so is what is not in use (aside-*, *.tmp, damaged-*). Segments before the last, and
   snapshots, do not change.
4. The copy is read as a whole, as `coopy.tools.repair.plan` does: if the
   directory is damaged the copy is too, and there will be no backup that looks
   like a good one.

The copy appears under its name with every byte of it synced, or not at all;
what an interrupted one leaves is called like it and ends in ".tmp".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from coopy import CoopyError, ForeignDirectory, PrunedPast, StorageError, UsageError
from coopy.disk import digests, directory, dirlock, manifest, older
from coopy.disk.cutting import cut
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.fs import Calls, File, remove_if_there
from coopy.disk.segment import Segment
from coopy.ground import paths
from coopy.ground.action import WITHDRAWN
from coopy.ground.raised import on_failure
from coopy.past import trail
from coopy.past.reading import Reading
from coopy.tools import repair
from coopy.tools.contents import look

CHUNK = 1024 * 1024  # Copied in pieces, so that a backup takes no memory and can be ended.
_TRIES = 20  # Each time a snapshot went while it was copied; after this many something else is wrong.
_ASIDE = "aside" + directory.TEMPORARY  # Holds what is cut off, in the unfinished copy, until it is removed.
_HELD = 256  # Files that are open at once; of older ones it has to be hoped that nobody prunes them meanwhile.

Progress = Callable[[int, int], None]
"""Called with the bytes that are copied and the bytes in all."""


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied: so many files and bytes, with all actions up to ``index``."""

    basedir: str
    dest: str
    files: int
    bytes: int
    index: int


class _Changed(Exception):
    """Files were pruned while they were copied."""


def backup(
    basedir: str,
    dest: str,
    progress: Progress | None = None,
    *,
    until: int | datetime | None = None,
    calls: Calls | None = None,
) -> Backup:
    """Copies a data directory to ``dest``, which must not exist or be an empty directory.

    With ``until``, an action or a time, the copy ends there: it has the actions up to that one, and no later one.

    The copy has the id and the secret of the system: it is the same system at an earlier time. Read it,
    or keep it; open one of the two as the system that goes on, and not the other as well. From the first
    action that they do not share they are two histories of one system, whose files nobody can tell apart:
    never put files of one into the other.

    Raises:
        UsageError: there is no system in ``basedir``, something is in ``dest``, or ``until`` is not a point of the system.
        PrunedPast: the past before ``until`` was pruned.
        DirectoryInUse: another backup to ``dest`` is under way.
        StorageError: the directory is damaged, or files are pruned faster than they can be copied.
        JournalError: the disk refused. In each case there is no ``dest`` that was not there before, unless the error says so.
    """
    basedir, dest = paths.absolute(basedir), paths.absolute(dest, "dest")
    paths.refuse_missing(basedir)
    try:
        return _backed_up(Calls() if calls is None else calls, basedir, dest, progress, until)
    except CoopyError:
        raise
    except OSError as error:
        raise paths.refusal(error, dest, state_of(dest)) from error


def state_of(dest: str) -> str:
    """What there is after a backup that failed."""
    try:
        if not os.listdir(dest):
            return "There is no copy; free the cause and make one."
    except FileNotFoundError:
        return "There is no copy; free the cause and make one."
    except OSError:
        pass
    return "Nothing was copied that can be relied on: what is there may not last. Free the cause, remove it, and make another."


def _backed_up(calls: Calls, basedir: str, dest: str, progress: Progress | None, until: int | datetime | None) -> Backup:
    try:
        known = manifest.read(calls, basedir)
    except ForeignDirectory:
        older.refuse(basedir)
        raise
    if known is None:
        older.refuse(basedir)
        raise UsageError(f"{basedir}: there is no coopy.json, so no system to copy. Nothing was changed.")
    if os.path.realpath(dest).startswith(os.path.join(os.path.realpath(basedir), "")):
        raise UsageError(f"{dest} is inside of the directory that is to be copied. Nothing was copied. Choose another place.")

    def fill(temporary: str) -> Backup:
        for _ in range(_TRIES):
            try:
                return _copied(calls, basedir, temporary, dest, progress)
            except _Changed:
                pass
        raise StorageError(
            f"{basedir}: at each of {_TRIES} attempts files were pruned before they could be copied. There is no "
            f"copy. Let more of the past stay (keep=, keep_for=), or try when there is less to do."
        )

    return filled(calls, dest, known.system, until, fill)


def filled(calls: Calls, dest: str, system: bytes, until: int | datetime | None, fill: Callable[[str], Backup]) -> Backup:
    """Makes a copy that appears under its name whole, or not at all: ``fill`` puts the files, checked and synced, where it is told.

    Raises `UsageError`, `DirectoryInUse`, `PrunedPast`, what ``fill`` raises, and OSError.
    """
    _refuse_taken(calls, dest)
    temporary = dest + directory.TEMPORARY
    directory.make(calls, temporary)
    _refuse_not_ours(calls, temporary)
    lock = DirectoryLock(temporary)
    try:
        with on_failure(_remove, calls, temporary):
            copied = fill(temporary)
            if until is not None:
                copied = _ended(calls, temporary, system, copied, until)
            with on_failure(_take_back, calls, dest, temporary, paths.exists(dest)):
                calls.rename(temporary, dest)
                # In place, and still ours: a lock file means nothing, and nobody is to wonder whose pid that is.
                remove_if_there(calls, os.path.join(dest, dirlock.NAME))
                calls.sync_directory(dest)
                calls.sync_directory(os.path.dirname(dest))
    finally:
        lock.release()
    return copied


def _take_back(calls: Calls, dest: str, temporary: str, was_there: bool) -> None:
    """Gives a copy that may not last its first name again, if it has the other."""
    try:
        if not os.path.lexists(temporary):
            calls.rename(dest, temporary)
            if was_there:
                calls.make_directory(dest)
    except OSError:
        pass  # The error says what is there.


def _remove(calls: Calls, temporary: str) -> None:
    """Removes what was not finished; what can't be removed is written over by the next backup."""
    try:
        clear(calls, temporary)
        remove_if_there(calls, os.path.join(temporary, dirlock.NAME))
        calls.remove_directory(temporary)
    except OSError:
        pass


def _copied(calls: Calls, basedir: str, temporary: str, dest: str, progress: Progress | None) -> Backup:
    clear(calls, temporary)
    names = calls.names(basedir)
    firsts = directory.segments(names)
    segments = [os.path.basename(directory.segment_path("", first)) for first in firsts]
    snapshots = [os.path.basename(directory.snapshot_path("", index)) for index in directory.snapshots(names)]
    # Pruning takes the oldest first, and a snapshot before the segments behind it.
    said = [name for name in names if name == digests.NAME]
    wanted = [*reversed(snapshots), *reversed(segments), *said, manifest.NAME]
    held: dict[str, File] = {}
    try:
        for name in wanted[:_HELD]:
            held[name] = _open(calls, basedir, name)
        sizes = {name: held[name].size if name in held else _size(basedir, name) for name in wanted}
        if segments:
            # The header is looked at in the copy.
            last = segments[-1]
            if last not in held:
                held[last] = _open(calls, basedir, last)
            seen = look(Segment(held[last], firsts[-1]), last)
            sizes[last] = seen.size if seen.proven else seen.end
        done, total = 0, sum(sizes.values())
        for name in wanted:
            file = held.pop(name, None) or _open(calls, basedir, name)
            done = _copy(calls, file, os.path.join(temporary, name), sizes[name], done, total, progress)
    finally:
        for file in held.values():
            file.close()
    calls.sync_directory(temporary)
    plan = repair.plan(temporary)
    if plan is not None:
        now = calls.names(basedir)
        if (directory.segments(now), directory.snapshots(now)) != (firsts, directory.snapshots(names)):
            raise _Changed  # The names may have been listed in the midst of a change.
        raise StorageError(
            f"{basedir} is damaged, so there is no copy: {plan.damages[0]}. Nothing was changed. Repair it first (`coopy "
            f"repair DIR` says what can be done), or copy the files as they are."
        )
    with Reading(temporary) as reading:
        index = reading.log.last
    return Backup(basedir, dest, len(wanted), total, index)


def _ended(calls: Calls, temporary: str, system: bytes, copied: Backup, until: int | datetime) -> Backup:
    """Has a copy end at a point, before anybody opens it."""
    with Reading(temporary) as reading:
        last = trail.last_upto(reading, until)
        # How an action ended is said by what follows it, which is cut off: one that counts for nothing goes, too.
        while any(each.outcome == WITHDRAWN for each in trail.actions(reading, last, last)):
            last -= 1
        oldest = min(reading.snapshots.indexes())
    if last < oldest:
        what = f"the state of {until.isoformat(' ')}" if isinstance(until, datetime) else f"the state after action {until}"
        raise PrunedPast(what, oldest)
    aside = os.path.join(temporary, _ASIDE)
    directory.make(calls, aside)
    cut(calls, temporary, system, last + 1, aside)
    _remove_aside(calls, temporary)
    calls.sync_directory(temporary)
    kept = [os.path.join(temporary, name) for name in calls.names(temporary) if name != dirlock.NAME]
    return replace(copied, files=len(kept), bytes=sum(map(os.path.getsize, kept)), index=last)


def _open(calls: Calls, basedir: str, name: str) -> File:
    path = os.path.join(basedir, name)
    try:
        is_one = paths.is_file(path)
    except FileNotFoundError:
        raise _Changed from None
    if not is_one:
        raise StorageError(
            f"{path} is not a file, or a link to one, so there is no copy. Nothing was changed. Repair the directory first "
            f"(`coopy repair DIR` says what can be done)."
        )
    try:
        return File(calls, path, write=False)
    except FileNotFoundError:
        raise _Changed from None


def _size(basedir: str, name: str) -> int:
    try:
        return os.path.getsize(os.path.join(basedir, name))
    except FileNotFoundError:
        raise _Changed from None


def _copy(calls: Calls, source: File, target: str, size: int, done: int, total: int, progress: Progress | None) -> int:
    """Copies ``size`` bytes; returns what is done of the total."""
    try:
        new = File(calls, target, write=True, create=True)
        try:
            offset = 0
            while offset < size and (data := source.read(offset, min(CHUNK, size - offset))):
                new.write(offset, data)
                offset += len(data)
                if progress is not None:
                    progress(done + offset, total)
            new.sync()
        finally:
            new.close()
    finally:
        source.close()
    return done + offset


def _refuse_taken(calls: Calls, dest: str) -> None:
    try:
        mode = os.lstat(dest).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(mode) or calls.names(dest):
        raise UsageError(f"{dest} is there, and is not an empty directory. Nothing was copied. Choose another name.")


def _refuse_not_ours(calls: Calls, temporary: str) -> None:
    """What an interrupted backup left is written over; anything else under that name is somebody's."""
    strange = [name for name in calls.names(temporary) if not _is_ours(name)]
    if strange:
        raise UsageError(f"{temporary} is no unfinished copy: it has {strange[0]}. Nothing was copied. Move it away.")


def clear(calls: Calls, temporary: str) -> None:
    """Removes what an interrupted backup has left in an unfinished copy. Raises OSError."""
    for name in calls.names(temporary):
        if name == _ASIDE:
            _remove_aside(calls, temporary)
        elif name != dirlock.NAME:
            calls.remove(os.path.join(temporary, name))


def _remove_aside(calls: Calls, temporary: str) -> None:
    aside = os.path.join(temporary, _ASIDE)
    for name in calls.names(aside):
        calls.remove(os.path.join(aside, name))
    calls.remove_directory(aside)


def _is_ours(name: str) -> bool:
    return name == _ASIDE or name == dirlock.NAME or is_of_a_copy(name)


def is_of_a_copy(name: str) -> bool:
    """Whether a file of that name is one that a copy has."""
    return name in (manifest.NAME, digests.NAME) or bool(directory.segments([name]) or directory.snapshots([name]))

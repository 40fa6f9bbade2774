"""A backup in a store of objects that is brought up to date, as often as one likes: only what is new is sent.

The directory may be in use; nothing in it is changed. What is in the backup is one prefix of the history, as `coopy.tools.backup` says of a copy, and
it comes about in the same way: the names are listed, the files that are needed are opened, the newest first, and then the end
of the last segment is looked for. What is sent was checked before: frames, snapshots.

What was sent before is known by the catalog. A file that has the size, the time and the inode that it had then is the same. Of another one the bytes are
compared by their checksums; where they are others, the directory has another history than the backup (an older copy was put in its place, an action
was withdrawn, a power cut took what had not been synced), and a new history is begun beside the old one, which stays.
What is pruned in the directory stays in the backup, but for snapshots that are not the oldest: with the journal that is there, they are only time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

from coopy import StorageError, UsageError
from coopy.disk import digests, directory, manifest
from coopy.disk.fs import Calls, File
from coopy.disk.segment import HEADER, NotWhole, Segment
from coopy.ground import paths
from coopy.ground.raised import on_failure
from coopy.tools import catalog
from coopy.tools.catalog import PIECE_BYTES, Catalog, Kept, Piece
from coopy.tools.contents import Look, look, problem_of_snapshot
from coopy.tools.objectstore import Objects, OutOfReach

Progress = Callable[[int, int], None]
"""Called with the bytes that are sent and the bytes in all."""
_TRIES = 20  # Each time files were pruned, or another backup was made, meanwhile; after this many something else is wrong.
_NO_NEW_ONE = "There is no new backup, and the one before it is whole. `coopy repair DIR` says what can be done."


@dataclass(frozen=True, slots=True)
class Sent:
    """What a backup has done: it has all actions up to ``index``, in ``files`` files of ``total`` bytes; ``bytes`` of them were sent now."""

    basedir: str
    url: str
    index: int
    files: int
    total: int
    bytes: int
    is_new: bool
    """Whether there was anything new."""
    is_another: bool
    """Whether the directory had another history than the backup before."""


class _Changed(Exception):
    """Files were pruned, or another has made a backup, while this one was made."""


class _Place(NamedTuple):
    """Where the last block of a segment begins, and the action that follows those before it: the search for the end goes on there."""

    inode: int
    offset: int
    following: int


class _Source(NamedTuple):
    """A file of the directory that is to be kept: what is in it up to ``end``, and zeros up to ``size``."""

    file: File
    mark: catalog.Mark
    end: int
    size: int


class Offsite:
    """A directory and the place where its backup is. Nothing is written before `update`.

    >>> Offsite("data", "s3://bucket/wiki").update()

    Raises `UsageError` for a URL of no store, and what `coopy.tools.domain.found` raises for the directory.
    """

    def __init__(self, basedir: str, url: str, *, calls: Calls | None = None) -> None:
        self.basedir = paths.absolute(basedir)
        self._calls = Calls() if calls is None else calls
        self._system()
        self._store = Objects(url)
        self._newest: Catalog | None = None
        self._taken = 0
        """The highest number of a catalog there."""
        self._is_known = False
        """Whether these two are what the store has, as far as is known."""
        self._stale: dict[int, Catalog] = {}
        """Catalogs that are to go."""
        self._seen: dict[str, int] = {}
        """Inodes by name: of these files what is in the backup was compared with what is here."""
        self._place: _Place | None = None

    def update(self, progress: Progress | None = None) -> Sent:
        """Sends what is new.

        Raises:
            UsageError: something else is in the place, or another system's backup.
            OutOfReach: the store can't be reached, or refuses. The backup is as it was, or up to date.
            StorageError: the directory is damaged, and the backup is as it was; or that is damaged itself.
        """
        for _ in range(_TRIES):
            try:
                with paths.reads(self.basedir):
                    return self._updated(progress)
            except _Changed:
                self._place = None
        raise StorageError(
            f"{self.basedir}: at each of {_TRIES} attempts files were pruned, or another backup was made to {self._store.url}, before this "
            f"one was complete. What is there is whole. Let more of the past stay (keep=, keep_for=), and let one process alone make backups."
        )

    def follow(self, every_s: float, tell: Callable[[Sent | OutOfReach], None], progress: Progress | None = None) -> NoReturn:
        """Brings the backup up to date again and again, and tells of each time that something was new. Never ends.

        While the store is out of reach that is told once, and it is tried again. Raises what `update` raises otherwise.
        """
        was_there = told = False
        while True:
            try:
                sent = self.update(progress)
                if sent.is_new or told or not was_there:
                    tell(sent)
                was_there, told = True, False
            except OutOfReach as error:
                if not was_there:
                    raise  # The URL may be wrong, or the key.
                if not told:
                    tell(error)
                told = True
            time.sleep(every_s)

    # -- one backup

    def _updated(self, progress: Progress | None) -> Sent:
        newest = self._read_newest()
        system = self._system()
        if newest is not None and newest.system != system:
            raise UsageError(
                f"{self._store.url} holds the backup of the system {newest.system}, and {self.basedir} is the system {system}. Nothing was "
                f"written. Give a place of its own to each."
            )
        reader = _Reader(self._calls, self.basedir, bytes.fromhex(system), self._place)
        try:
            kept = None if newest is None else self._gone_on(newest, reader)
            is_another = newest is not None and kept is None
            reader.open({} if kept is None else kept)
            if kept is not None and not self._holds(kept, reader):
                is_another, kept = True, None
                reader.open({})
            files, sent = self._sent(kept or {}, reader, progress)
            self._place = reader.place
        finally:
            reader.close()
        if newest is not None and not is_another and _is_same(files, newest.files) and reader.index == newest.index:
            self._newest = replace(newest, files=files)  # With their marks of now.
            self._remember(files)
            return self._said(newest, 0, False, False)
        earlier = () if newest is None else newest.earlier
        if newest is not None and is_another:
            earlier = (*earlier, newest.number)
        made = Catalog(self._taken + 1, system, reader.index, files, earlier)
        self._commit(made, newest)
        self._remember(files)
        return self._said(made, sent, True, is_another)

    def _remember(self, files: dict[str, Kept]) -> None:
        self._seen = {name: each.mark[2] for name, each in files.items()}

    def _said(self, made: Catalog, sent: int, is_new: bool, is_another: bool) -> Sent:
        return Sent(self.basedir, self._store.url, made.index, len(made.files), made.total, sent, is_new, is_another)

    def _system(self) -> str:
        said = manifest.read(self._calls, self.basedir)
        if said is None:
            raise UsageError(f"{self.basedir}: there is no coopy.json, so no system to copy. Nothing was changed.")
        return said.system.hex()

    def _read_newest(self) -> Catalog | None:
        if not self._is_known:
            there = catalog.numbers(self._store)
            self._newest, self._taken = catalog.newest(self._store)
            if self._newest is None:
                catalog.refuse_strangers(self._store)
            else:
                self._find_stale(there, self._newest)
            self._is_known = True
        return self._newest

    def _find_stale(self, there: list[int], newest: Catalog) -> None:
        """What an earlier process was about to remove when it ended: all but the newest and the ends of histories."""
        older = [number for number in there if number < newest.number and number not in newest.earlier]
        for number in older:
            with suppress(catalog.DamagedCatalog):
                found = catalog.read(self._store, number)
                if found is not None:
                    self._stale[number] = found

    def _gone_on(self, newest: Catalog, reader: _Reader) -> dict[str, Kept] | None:
        """The files of the backup that stay as they are, or are added to; None if the directory can't be what follows them."""
        before = directory.segments(list(newest.files))
        now = reader.firsts
        if any(first not in before for first in now if before and first <= before[-1]):
            return None
        if any(first not in now for first in before if now and first >= now[0]):
            return None
        joined = set(before) & set(now)
        begins = now[0] if now else max(reader.snapshots, default=0) + 1
        if not joined and begins != newest.index + 1:
            return None
        oldest = min(directory.snapshots(list(newest.files)), default=None)
        kept = {}
        for name, each in newest.files.items():
            index = next(iter(directory.snapshots([name])), None)
            if index is None or index == oldest or index in reader.snapshots:
                kept[name] = each
        return kept

    def _holds(self, kept: dict[str, Kept], reader: _Reader) -> bool:
        """Whether what was sent of the files that are open now is what is in them."""
        for name, source in reader.open_now.items():
            before = kept.get(name)
            if before is None or name in (manifest.NAME, digests.NAME):
                continue
            if before.end > source.end:
                return False
            # Where only more was appended since it was compared, it is the end that shows it.
            known = self._seen.get(name) == source.mark[2]
            offset = before.end
            for piece in before.pieces[:-2:-1] if known else before.pieces[::-1]:
                offset -= piece.size
                if hashlib.sha256(source.file.read(offset, piece.size)).hexdigest() != piece.sha256:
                    return False
        return True

    # -- what is sent

    def _sent(self, kept: dict[str, Kept], reader: _Reader, progress: Progress | None) -> tuple[dict[str, Kept], int]:
        """All files of the backup as they are to be kept, and the bytes that were sent for it."""
        files = dict(kept)
        total = sum(each.end - (kept[name].end if name in kept else 0) for name, each in reader.open_now.items())
        done = 0
        for name, source in reader.open_now.items():
            before = kept.get(name, Kept(0, (), source.mark))
            if name in (manifest.NAME, digests.NAME):
                pieces = self._small(name, before, source)
            else:
                pieces = self._more(name, before, source)
            done += sum(each.size for each in pieces if each not in before.pieces)
            if progress is not None and done:
                progress(done, max(total, done))
            files[name] = Kept(source.size, pieces, source.mark)
        return files, done

    def _small(self, name: str, before: Kept, source: _Source) -> tuple[Piece, ...]:
        """A file that may change anywhere: it is sent whole."""
        data = source.file.read(0, source.end)
        if [each.sha256 for each in before.pieces] == [hashlib.sha256(data).hexdigest()]:
            return before.pieces
        return (self._piece(name, 0, data),)

    def _more(self, name: str, before: Kept, source: _Source) -> tuple[Piece, ...]:
        """What is new of a file that only grows. Small pieces before it are sent anew with it: there are never many."""
        pieces, start = list(before.pieces), before.end
        if start == source.end:
            return before.pieces
        while pieces and pieces[-1].size <= 2 * (source.end - start) and pieces[-1].size + source.end - start <= PIECE_BYTES:
            start -= pieces.pop().size
        for offset in range(start, source.end, PIECE_BYTES):
            size = min(PIECE_BYTES, source.end - offset)
            data = source.file.read(offset, size)
            if len(data) != size:
                raise _Changed  # It was cut meanwhile.
            pieces.append(self._piece(name, offset, data))
        return tuple(pieces)

    def _piece(self, name: str, offset: int, data: bytes) -> Piece:
        made = Piece(catalog.name_of_piece(name, offset, len(data)), len(data), hashlib.sha256(data).hexdigest())
        if not self._store.write(made.name, data):
            # A request that was sent twice, as its answer was lost, has met itself.
            if self._store.read(made.name) != data:
                raise OutOfReach(self._store.url, f"{made.name} is there, and is another object")
        return made

    def _commit(self, made: Catalog, before: Catalog | None) -> None:
        """Makes it the backup, and removes what only the ones before the last needed."""
        self._is_known = False
        if not self._store.write(made.name, made.packed()):
            found = catalog.read(self._store, made.number)
            if found is None or found.token != made.token:
                raise _Changed
        self._newest, self._taken, self._is_known = made, made.number, True
        with suppress(OutOfReach):  # The next one does it.
            self._tidy(made, before)
        if before is not None and before.number not in made.earlier:
            self._stale[before.number] = before

    def _tidy(self, made: Catalog, before: Catalog | None) -> None:
        going = {number: each for number, each in self._stale.items() if number not in made.earlier}
        if not going:
            return
        earlier = [catalog.read(self._store, number) for number in made.earlier]
        stay = [each for each in (made, before, *earlier) if each is not None]
        self._store.remove(sorted(catalog.unused(going.values(), stay)))
        self._store.remove([each.name for each in going.values()])
        for number in going:
            del self._stale[number]


def _is_same(files: dict[str, Kept], before: dict[str, Kept]) -> bool:
    """Whether files are the same, whatever their marks."""
    return files.keys() == before.keys() and all(
        (each.size, each.pieces) == (before[name].size, before[name].pieces) for name, each in files.items()
    )


class _Reader:
    """The files of the directory at one moment: which there are, and those open that are needed."""

    def __init__(self, calls: Calls, basedir: str, system: bytes, place: _Place | None) -> None:
        self._calls = calls
        self._basedir = basedir
        self._system = system
        self.place = place
        names = calls.names(basedir)
        self.firsts = directory.segments(names)
        self.snapshots = directory.snapshots(names)
        self._others = [name for name in names if name in (digests.NAME, manifest.NAME)]
        self.index = max(self.snapshots, default=0)
        """The last action, once the files are open."""
        self.open_now: dict[str, _Source] = {}

    def open(self, kept: dict[str, Kept]) -> None:
        """Opens what is not kept as it is, and checks it. Raises `_Changed`, `StorageError`."""
        self.close()
        segments = [directory.segment_path(self._basedir, first) for first in reversed(self.firsts)]
        snapshots = [directory.snapshot_path(self._basedir, index) for index in reversed(self.snapshots)]
        # Pruning takes the oldest first, and a snapshot before the segments after it.
        wanted = [*snapshots, *segments, *(os.path.join(self._basedir, name) for name in self._others)]
        last = segments[0] if segments else ""
        with on_failure(self.close):
            for path in wanted:
                name, mark = os.path.basename(path), self._mark(path)
                if name not in kept or kept[name].mark != mark or path == last or name in self._others:
                    self.open_now[name] = _Source(self._open(path, name), mark, 0, 0)
            # The end comes last: it is after whatever the snapshots have.
            for name in sorted(self.open_now, key=lambda name: name == os.path.basename(last)):
                self.open_now[name] = self._checked(name, name == os.path.basename(last), self.open_now[name])

    def close(self) -> None:
        """Closes all files."""
        for each in self.open_now.values():
            each.file.close()
        self.open_now = {}

    def _mark(self, path: str) -> catalog.Mark:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            raise _Changed from None
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _open(self, path: str, name: str) -> File:
        try:
            if not paths.is_file(path):
                raise StorageError(f"{path} is not a file, or a link to one. {_NO_NEW_ONE}")
            for first in directory.segments([name]):
                return Segment.open(self._calls, path, self._system, first, write=False).file
            return File(self._calls, path, write=False)
        except FileNotFoundError:
            raise _Changed from None

    def _checked(self, name: str, is_last: bool, source: _Source) -> _Source:
        """The same, with its end."""
        file = source.file
        for index in directory.snapshots([name]):
            problem = problem_of_snapshot(file, self._system, index)
            if problem:
                raise StorageError(f"{file.path}: {problem}. {_NO_NEW_ONE}")
        for first in directory.segments([name]):
            segment = Segment(file, first)
            if is_last:
                end = self._end_of_last(segment, name, source.mark)
                return source._replace(end=end, size=end)
            return source._replace(end=self._looked_at(segment, name).end, size=file.size)
        return source._replace(end=file.size, size=file.size)

    def _looked_at(self, segment: Segment, name: str, may_be_torn: bool = False) -> Look:
        seen = look(segment, name)
        if seen.stop is not None and (seen.proven or not may_be_torn):
            offset, index = seen.stop
            raise StorageError(
                f"{segment.file.path}, byte {offset}: this is not the whole frame of action {index}. {_NO_NEW_ONE}"
            )
        return seen

    def _end_of_last(self, segment: Segment, name: str, mark: catalog.Mark) -> int:
        """Where its whole frames end: searched for from where that was before, if it still is the same file."""
        if self.place is None or self.place.inode != mark[2]:
            self._looked_at(segment, name, may_be_torn=True)
            self.place = _Place(mark[2], HEADER.size, segment.first)
        start, following = self.place.offset, self.place.following
        self.index, end = following - 1, start
        try:
            for block in segment.blocks(start, following):
                self.place = _Place(mark[2], block.offset, following)
                following = block.last + 1
                self.index, end = block.last, block.offset + len(block.frames)
        except NotWhole:
            pass  # It is being written, or it was torn by a power cut; what is before it is whole.
        return end

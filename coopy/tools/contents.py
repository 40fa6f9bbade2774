"""What is in a data directory: its files, what they say of themselves, and where they are not what was written.

Everything is read and nothing is unpickled: of a record only the header is
looked at. The directory may be in use, and nothing in it is changed. Damage is
a part of the answer; opening, which refuses damaged directories, goes by the
same rules (`coopy.disk.journal`).

A file that another process appends to can look torn, or even damaged, when it
is read just while that happens. So a place that is not whole counts only if it
is the same when all is read again.
"""

from __future__ import annotations

import itertools
import os
import zlib
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from coopy import DamagedJournal, DamagedManifest, ForeignDirectory, StorageError, UnsupportedFormat, UsageError
from coopy.disk import digests, directory, dirlock, frame, manifest, older, snapshots
from coopy.disk.chunks import CHUNK
from coopy.disk.fs import Calls, File
from coopy.disk.manifest import Manifest
from coopy.disk.segment import HEADER, Block, NotWhole, Segment
from coopy.ground import action, paths
from coopy.ground.record import PREFIX_BYTES

WHOLE, TORN, DAMAGED = "whole", "torn", "damaged"
_TRIES = 10  # Each time a file went or came while the directory was read; after this many something else is wrong.
SYSTEM = slice(12, 12 + manifest.SYSTEM_BYTES)  # In the headers of segments and snapshots alike.


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not as it was written. ``kind`` is "manifest", "header", "frame", "missing", "overlap",
    "snapshot", "foreign" or "format"; ``offset`` (bytes) and ``index`` are there where they mean something."""

    kind: str
    name: str
    offset: int | None
    index: int | None
    text: str

    def __str__(self) -> str:
        return f"{self.name}{'' if self.offset is None else f', byte {self.offset}'}: {self.text}"


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment. ``first`` is what its name says, ``last`` its last intact action (None: it has none), ``begins`` and
    ``ends`` are when those two happened. ``torn``: what the next opening cuts off or sets aside."""

    name: str
    size: int
    first: int
    last: int | None
    actions: int
    begins: datetime | None
    ends: datetime | None
    state: str
    offset: int | None
    problem: str


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A snapshot; ``time`` is that of the last action in it, None if not even that can be read."""

    name: str
    size: int
    index: int
    time: datetime | None
    state: str
    problem: str


@dataclass(frozen=True, slots=True)
class OtherFile:
    """Something else that lies there; for a directory the size is that of all it holds."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a directory. Sizes are in bytes, times are aware datetimes, ids are hexadecimal digits."""

    basedir: str
    domain: str
    created: str
    format: int | None
    system: str
    holder: int | None
    """The process that has the directory open, as far as that can be told."""
    first: int | None
    """The oldest action in the journal; None if it has none."""
    last: int
    """The last action: in the journal, or that of a snapshot which goes further."""
    oldest: int | None
    """Index of the oldest state that can be shown, that of a snapshot; what was before it was pruned. None without one."""
    begins: datetime | None
    """When the oldest action in the journal happened."""
    ends: datetime | None
    """When the newest did."""
    segments: list[SegmentFile]
    snapshots: list[SnapshotFile]
    others: list[OtherFile]
    """All that is not in use: what was set aside (aside-*), what was not finished (*.tmp), and what is not ours."""
    damages: list[Damage]
    size: int
    """Bytes of all files."""

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON has it: dicts, lists, strings, numbers, None. Times are ISO 8601."""
        members: dict[str, Any] = _plain(asdict(self))
        return members


def contents(basedir: str) -> Contents:
    """What is in a data directory; a damaged one, too. May be called while a system is open.

    Raises `UsageError` if there is no system, `ForeignDirectory` if something else is there, `Unreadable`.
    """
    basedir = paths.absolute(basedir)
    calls = Calls()
    with paths.reads(basedir):
        found = survey(calls, basedir)
    if found.manifest is None and not any(each.name == manifest.NAME and each.offset == 0 for each in found.damages):
        raise UsageError(f"{basedir}: there is no coopy.json, so no system to look at. Nothing was changed.")
    looks = [look for look in found.live if look.last >= look.first]
    whole = [each.index for each in found.snapshots if each.state == WHOLE]
    known = found.manifest or Manifest(b"", b"")
    held = dirlock.holder(basedir)
    return Contents(
        basedir=basedir,
        domain=known.domain,
        created=known.created,
        format=manifest.FORMAT if found.manifest else None,
        system=found.system.hex(),
        holder=held,
        first=looks[0].first if looks else None,
        last=max([look.last for look in looks] + whole, default=0),
        oldest=min(whole, default=None),
        begins=moment(looks[0].begins) if looks else None,
        ends=moment(looks[-1].ends) if looks else None,
        segments=[_described(look, found) for look in sorted(found.live + found.torn, key=lambda look: look.first)],
        snapshots=found.snapshots,
        others=found.others,
        damages=found.damages,
        size=found.size,
    )


# -- the survey, which backup and repair begin with as well


class Look(NamedTuple):
    """What the bytes of a segment say. ``last`` is ``first - 1`` if it has no intact action."""

    name: str
    size: int
    first: int
    last: int
    end: int
    """The offset behind its last intact frame."""
    synced: int
    """Up to this index, its frames say, all was on disk; -1 if it has none."""
    begins: bytes | None = None
    ends: bytes | None = None
    """The headers of its first and its last intact action."""
    stop: tuple[int, int] | None = None
    """The offset and the index of a frame that should be there and is not whole."""
    proven: bool = False
    """Whether what lies behind shows that this frame had been kept."""
    damage: Damage | None = None
    """What is wrong with its header; then nothing is known of the rest."""


class Survey(NamedTuple):
    """A directory as its bytes are. ``live`` are the segments that make the journal, in order; ``torn`` those behind
    a torn end, which the next opening sets aside."""

    manifest: Manifest | None
    system: bytes
    live: list[Look]
    torn: list[Look]
    snapshots: list[SnapshotFile]
    others: list[OtherFile]
    damages: list[Damage]
    size: int


def survey(calls: Calls, basedir: str) -> Survey:
    """Reads all of a directory. Raises `UsageError` if there is no system, `ForeignDirectory` if it is not ours."""
    paths.refuse_missing(basedir)
    for _ in range(_TRIES):
        names = calls.names(basedir)
        found = _survey(calls, basedir, names)
        # What was pruned while it was looked at is not damaged.
        if not found.damages or calls.names(basedir) == names:
            break
    return found


def look(segment: Segment, name: str, all_kept: bool = False) -> Look:
    """Reads a segment whose header has been checked. ``all_kept`` says that no power was cut since it was written."""
    seen = _read(segment, name)
    for _ in range(_TRIES):
        if seen.stop is None:
            return seen
        proven = segment.proves(*seen.stop, all_kept)
        again = _read(segment, name)
        if again.stop == seen.stop:
            return again._replace(proven=proven)
        seen = again
    # It is appended to faster than it is read: another place each time.
    return seen._replace(stop=None)


def behind_a_torn_end(looks: list[Look], all_kept: bool = False) -> list[Look]:
    """The last of these segments that opening takes for begun behind a torn end, and so sets aside."""
    if all_kept:
        return []  # Only a power cut leaves one.
    unsynced: list[Look] = []
    for each in reversed(looks):
        unsynced.insert(0, each)
        if each.damage is not None:
            return []
        if max(one.synced for one in unsynced) >= each.first - 1:
            break
    for number, (each, behind) in enumerate(itertools.pairwise(unsynced), 1):
        if each.last < behind.first - 1 and not each.proven:
            return unsynced[number:]
    return []


def moment(header: bytes | None) -> datetime | None:
    """The aware time in the header of a record; None without one, and for one that no clock can have given."""
    if header is None:
        return None
    try:
        return action.aware_time(header)
    except (OverflowError, ValueError):
        return None


def _survey(calls: Calls, basedir: str, names: list[str]) -> Survey:
    known, system, damages = _manifest(calls, basedir, names)
    states = [_snapshot(calls, basedir, system, index) for index in directory.snapshots(names)]
    all_kept = dirlock.is_this_boot(dirlock.earlier_boot(basedir))
    looks = [_look(calls, basedir, system, first, all_kept) for first in directory.segments(names)]
    torn = behind_a_torn_end(looks, all_kept)
    live = looks[: len(looks) - len(torn)]
    ours = {manifest.NAME, dirlock.NAME, digests.NAME, *(each.name for each in looks), *(each.name for each in states)}
    sizes = {name: _size(os.path.join(basedir, name)) for name in names}
    others = [OtherFile(name, size) for name, size in sizes.items() if name not in ours]
    return Survey(known, system, live, torn, states, others, damages + _damages(live, states), sum(sizes.values()))


def _manifest(calls: Calls, basedir: str, names: list[str]) -> tuple[Manifest | None, bytes, list[Damage]]:
    """The manifest, the id that the files are to have, and what is wrong with the manifest."""
    try:
        found = manifest.read(calls, basedir)
        problem = Damage("manifest", manifest.NAME, None, None, "it is not there")
    except ForeignDirectory as error:
        older.refuse(basedir)
        if not _system_in_headers(calls, basedir, names):
            raise
        # Its neighbours are ours, so it was, too.
        found, problem = None, Damage("manifest", manifest.NAME, 0, None, _sentence(error, basedir))
    except DamagedManifest as error:
        found, problem = None, Damage("manifest", manifest.NAME, 0, None, _sentence(error, basedir))
    except UnsupportedFormat as error:
        found, problem = None, Damage("format", manifest.NAME, 0, None, _sentence(error, basedir))
    if found is not None:
        return found, found.system, []
    if problem.offset is None:
        older.refuse(basedir)
        if not directory.segments(names) and not directory.snapshots(names):
            raise UsageError(f"{basedir}: there is no coopy.json, so no system to look at. Nothing was changed.")
    return None, _system_in_headers(calls, basedir, names), [problem]


def _system_in_headers(calls: Calls, basedir: str, names: list[str]) -> bytes:
    """The id that most segments and snapshots carry."""
    ids = []
    paths = [directory.segment_path(basedir, first) for first in directory.segments(names)]
    paths += [directory.snapshot_path(basedir, index) for index in directory.snapshots(names)]
    for path in filter(is_there, paths):
        file = File(calls, path, write=False)
        try:
            data = file.read(0, HEADER.size)
        finally:
            file.close()
        if len(data) == HEADER.size and zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little"):
            ids.append(data[SYSTEM])
    return max(ids, key=ids.count, default=b"")


def _look(calls: Calls, basedir: str, system: bytes, first: int, all_kept: bool) -> Look:
    path = directory.segment_path(basedir, first)
    name = os.path.basename(path)
    try:
        segment = Segment.open(calls, path, system, first, write=False)
    except FileNotFoundError:
        kind, problem = "missing", "it is not there any more"
    except DamagedJournal as error:
        kind, problem = "header", "its header is not what was written" if is_there(path) else _sentence(error, basedir)
    except ForeignDirectory as error:
        kind, problem = "foreign", _sentence(error, basedir)
    except UnsupportedFormat as error:
        kind, problem = "format", _sentence(error, basedir)
    else:
        try:
            return look(segment, name, all_kept)
        finally:
            segment.close()
    return Look(name, _size(path), first, first - 1, 0, -1, damage=Damage(kind, name, 0, first, problem))


def _read(segment: Segment, name: str) -> Look:
    begins = final = earlier = stop = None
    try:
        for block in segment.blocks():
            begins = begins or _first_header(block)
            earlier, final = final, block
    except NotWhole as problem:
        stop = problem.offset, problem.index
    first = segment.first
    if stop is not None:
        end, last = stop[0], stop[1] - 1
    elif final is not None:
        end, last = final.offset + len(final.frames), final.last
    else:
        end, last = HEADER.size, first - 1
    ends = None
    for near in (final, earlier):
        ends = ends or (_last_header(near, last) if near is not None else None)
    synced = final.synced if final is not None else -1
    return Look(name, segment.file.size, first, last, end, synced, begins, ends, stop)


def _first_header(block: Block) -> bytes:
    found = frame.head(block.frames, 0)
    assert found is not None, "a block begins with a frame"
    return block.frames[found.begin : found.begin + PREFIX_BYTES]


def _last_header(block: Block, last: int) -> bytes | None:
    """The header of the last action of a block, up to ``last``; None if the block has amendments alone."""
    header, offset = None, 0
    while (found := frame.head(block.frames, offset)) is not None and found.index <= last:
        if not found.is_amendment:
            header = found.records(block.frames, offset)[-1][:PREFIX_BYTES]
        offset += found.length
    return header


def _snapshot(calls: Calls, basedir: str, system: bytes, index: int) -> SnapshotFile:
    path = directory.snapshot_path(basedir, index)
    name, size = os.path.basename(path), _size(path)
    if not is_there(path):
        return SnapshotFile(name, size, index, None, DAMAGED, "it is not a file, or a link to one")
    file = File(calls, path, write=False)
    try:
        header = file.read(0, HEADER.size + action.HEADER.size)
        problem = problem_of_snapshot(file, system, index)
    finally:
        file.close()
    time = moment(header[HEADER.size :]) if len(header) == HEADER.size + action.HEADER.size else None
    return SnapshotFile(name, size, index, time, DAMAGED if problem else WHOLE, problem)


def problem_of_snapshot(file: File, system: bytes, index: int) -> str:
    """What is wrong with a snapshot; "" if it is whole.

    As `coopy.disk.snapshots` finds it, a chunk at a time: a state can be larger than what memory is free.
    """
    head = file.read(0, HEADER.size)
    if len(head) < HEADER.size or file.size < HEADER.size + snapshots.FOOTER.size + 4:
        return "it is too short"
    magic, version, owner, named, _, _, checksum = snapshots.HEADER.unpack(head)
    if magic != snapshots.MAGIC or checksum != zlib.crc32(head[:-4]):
        return "the checksum of its header does not match"
    if version != snapshots.VERSION:
        return f"it has format {version}; this coopy reads {snapshots.VERSION}"
    if owner != system:
        return f"it belongs to system {owner.hex()}"
    if named != index:
        return f"its header says that it is of action {named}"
    footer = file.read(file.size - snapshots.FOOTER.size - 4, snapshots.FOOTER.size)
    size, chunks = snapshots.FOOTER.unpack(footer)
    table = HEADER.size + size
    if table + 4 * chunks + len(footer) + 4 != file.size or chunks != -(-size // CHUNK):
        return "its size is not what its end says"
    end = file.read(table, file.size - table)
    if zlib.crc32(end[:-4]) != int.from_bytes(end[-4:], "little"):
        return "the checksum of its end does not match"
    for number in range(chunks):
        offset = HEADER.size + number * CHUNK
        data = file.read(offset, min(CHUNK, table - offset))
        if zlib.crc32(data) != int.from_bytes(end[4 * number : 4 * number + 4], "little"):
            return f"the checksum of its bytes from {offset} on does not match"
    return ""


def _damages(live: list[Look], states: list[SnapshotFile]) -> list[Damage]:
    found = [Damage("snapshot", each.name, None, each.index, each.problem) for each in states if each.state == DAMAGED]
    whole = {each.index for each in states if each.state == WHOLE}
    for each in live:
        if each.damage is not None:
            found.append(each.damage)
        elif each.stop is not None and (each.proven or each is not live[-1]):
            offset, index = each.stop
            found.append(Damage("frame", each.name, offset, index, f"this is not the whole frame of action {index}"))
    for each, following in itertools.pairwise(live):
        if each.last >= following.first:
            text = f"action {following.first} and later ones are in the segment before it as well"
            found.append(Damage("overlap", following.name, None, following.first, text))
        elif not (each.damage or each.stop) and each.last < following.first - 1 and following.first - 1 not in whole:
            found.append(_missing(following.name, each.last + 1, following.first - 1))
    oldest = min((each.index for each in states), default=None)
    if oldest is None:
        if any(each.last >= each.first or each.damage for each in live):
            found.append(Damage("missing", "snapshots", None, 0, "there is no snapshot for the actions to begin with"))
    elif not live:
        text = "there is no segment, and every system has one"
        found.append(Damage("missing", "segments", None, oldest + 1, text))
    elif oldest < live[0].first - 1:
        found.append(_missing(live[0].name, oldest + 1, live[0].first - 1))
    return found


def _missing(name: str, first: int, last: int) -> Damage:
    which = f"action {first}, which comes" if first == last else f"actions {first} to {last}, which come"
    return Damage("missing", name, None, first, f"{which} before it, {'is' if first == last else 'are'} not there")


def _described(seen: Look, found: Survey) -> SegmentFile:
    damage = next((each for each in found.damages if each.name == seen.name and each.offset is not None), None)
    state, offset, problem = WHOLE, None, ""
    if damage is not None:
        state, offset, problem = DAMAGED, damage.offset, damage.text
    elif seen in found.torn:
        state, offset, problem = TORN, HEADER.size, "it was begun behind a torn end; writing sets it aside"
    elif seen.stop is not None:
        state, offset, problem = TORN, seen.stop[0], "its last write is torn; writing cuts it off"
    actions = seen.last - seen.first + 1
    return SegmentFile(
        seen.name,
        seen.size,
        seen.first,
        seen.last if actions else None,
        actions,
        moment(seen.begins) if actions else None,
        moment(seen.ends),
        state,
        offset,
        problem,
    )


def _sentence(error: StorageError, basedir: str) -> str:
    """The first sentence of a message, which says what is wrong; what to do is another's word here."""
    return str(error).replace(basedir + os.sep, "").split(". ")[0]


def is_there(path: str) -> bool:
    """Whether this is a file, or a link to one. Raises OSError where that can't be told."""
    try:
        return paths.is_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _size(path: str) -> int:
    """Bytes of a file, or of all that a directory holds."""
    if paths.is_directory(path) and not os.path.islink(path):
        return sum(_size(os.path.join(path, name)) for name in os.listdir(path))
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value

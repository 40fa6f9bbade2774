"""Makes a damaged directory one that opens again, and throws nothing away. It has more than 500 lines because plan and
work must agree about every kind of damage.

A plan says what is damaged, from where on nothing can be used, and what is to be
done; it changes nothing, and nobody is asked to carry out what they have not
read. What can be restored is the state at the last action that a whole snapshot
leads to through whole frames. Of the ways to get there the one that reaches
furthest is taken; of the snapshots that reach as far, the oldest, so that as
much of the past as possible stays. So damage in front of a newer whole snapshot
costs no action, only the way through it: what is before goes aside.

All that goes is kept in `damaged-<UTC time>`, a new directory inside. It gets a
copy of coopy.json: the past in it can be read, as far as it is whole.

What a crash leaves, in the order of the steps:

1. `damaged-<UTC time>.tmp`, unfinished copies: nothing was changed yet.
2. The copies of what will be cut or replaced, under their last name and synced:
   nothing was changed yet.
3. A new segment, renamed into its place, beside the damaged one that it is made
   from, or instead of it: all that both hold is the same.
4. Some files are in `damaged-<UTC time>`, each by one rename.
5. A segment is cut.

From each of them a new plan finds what is left to do, and comes to the same
end; what it sets aside is then in two directories.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple

from coopy import StorageError, UsageError
from coopy.disk import directory, frame, manifest
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.fs import Calls, File
from coopy.disk.journal import FIRST_BYTES
from coopy.disk.segment import BLOCK, HEADER, MAGIC, VERSION, Segment
from coopy.ground import paths
from coopy.tools.contents import SYSTEM, WHOLE, Damage, Look, Survey, is_there, survey

CHUNK = 1024 * 1024  # Copied in pieces, so that a large segment takes no memory.
Progress = Callable[[int, int], None]
"""Called with the bytes that are copied and the bytes in all."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A segment ends at byte ``offset``; ``size`` bytes are cut off."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The whole frames of actions ``first`` to ``last`` of a segment become a segment of their own."""

    name: str
    new: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is damaged in a directory, and what carrying the plan out does. It is one value: equal plans do the same."""

    basedir: str
    damages: tuple[Damage, ...]
    possible: bool
    reason: str
    """Why it is not possible."""
    last_index: int
    """The last action that the repaired directory has; -1 if it is not possible."""
    snapshot: int
    """The oldest snapshot that it has."""
    intact_index: int
    """The last action before the first damage in the journal."""
    lost_least: int
    """Actions that surely were kept once, and are behind ``last_index``."""
    lost_probably: int
    """The same, with those that unreadable bytes behind them would hold if they were as long as the others."""
    lost_unknown: bool
    """Whether there may be many more: of the end of the journal nothing can be read."""
    cuts: tuple[Cut, ...]
    rewrites: tuple[Rewrite, ...]
    moves: tuple[str, ...]
    """Files that go aside."""
    empty: int | None
    """The first index of an empty segment that is made, as none is left."""

    def as_dict(self) -> dict[str, Any]:
        """The same, of JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def text(self) -> str:
        """What a person reads before they say yes."""
        return "\n".join(_lines(self))


@dataclass(frozen=True, slots=True)
class Repaired:
    """``aside`` is the directory that has what went, ``files`` their names; ``last_index`` that of the last action."""

    aside: str
    files: tuple[str, ...]
    last_index: int


def plan(basedir: str) -> Plan | None:
    """What is damaged and what can be done; None if nothing is damaged. Reads all of it and unpickles nothing.

    A torn end is not damage: the next opening deals with it. Raises `UsageError` if there is no system,
    `ForeignDirectory` if something else is there, `Unreadable`: what can't be read may be whole.
    """
    basedir = paths.absolute(basedir)
    with paths.reads(basedir):
        return _plan(Calls(), basedir)


def carry_out(plan: Plan, progress: Progress | None = None, *, calls: Calls | None = None) -> Repaired:
    """Does what a plan says. Afterwards the directory opens, and has the actions up to ``plan.last_index``.

    Raises:
        UsageError: the plan is not possible, or the directory is not as it was when the plan was made.
        DirectoryInUse: it is open.
        JournalError: the disk refused. Nothing is lost; plan and carry out again.
    """
    if not plan.possible:
        raise UsageError(f"{plan.basedir} cannot be repaired: {plan.reason} Nothing was changed.")
    with paths.writes(plan.basedir, "The repair is not finished, and nothing is lost: plan and carry it out again."):
        return _carried_out(plan, progress, Calls() if calls is None else calls)


def _carried_out(plan: Plan, progress: Progress | None, calls: Calls) -> Repaired:
    basedir = plan.basedir
    lock = DirectoryLock(basedir)
    try:
        if _plan(calls, basedir) != plan:
            raise UsageError(f"{basedir} is not as it was when the plan was made. Nothing was changed. Make a new plan.")
        aside = _set_aside(calls, plan, progress)
        for rewrite in plan.rewrites:
            _rewrite(calls, basedir, rewrite)
        for name in plan.moves:
            calls.rename(os.path.join(basedir, name), os.path.join(aside, name))
        if plan.moves:
            calls.sync_directory(aside)
            calls.sync_directory(basedir)
        for cut in plan.cuts:
            _cut(calls, basedir, cut)
        if plan.empty is not None:
            path = directory.segment_path(basedir, plan.empty)
            Segment.create(calls, path, known(calls, basedir).system, plan.empty, FIRST_BYTES).close()
        left = _plan(calls, basedir)
        assert left is None, f"what was planned mends all that is damaged, but: {left.text()}"
    finally:
        lock.release()
    return Repaired(aside, tuple(name for name in calls.names(aside) if name != manifest.NAME), plan.last_index)


# -- what there is


class _Piece(NamedTuple):
    """Actions ``first`` to ``last`` of a segment, whole and without a gap, from byte ``offset`` to ``end``."""

    place: int
    """Of its segment among those of the journal."""
    first: int
    last: int
    offset: int
    end: int


class _Run:
    """Pieces whose actions follow one another. ``first`` is the action that it begins with, ``last`` where it ends."""

    def __init__(self, piece: _Piece) -> None:
        self.pieces = [piece]
        self.first = piece.first
        self.last = piece.last

    def add(self, piece: _Piece) -> None:
        self.pieces.append(piece)
        self.last = max(self.last, piece.last)


class _Impossible(Exception):
    """Why a directory cannot be repaired."""


def _plan(calls: Calls, basedir: str) -> Plan | None:
    found = survey(calls, basedir)
    if not found.damages:
        return None
    try:
        return _possible(calls, basedir, found)
    except _Impossible as reason:
        intact = _intact_index(found)
        damages = tuple(found.damages)
        return Plan(basedir, damages, False, str(reason), -1, -1, intact, 0, 0, True, (), (), (), None)


def _possible(calls: Calls, basedir: str, found: Survey) -> Plan:
    if found.manifest is None:
        raise _Impossible(_without_manifest(found))
    newer = next((each for each in found.damages if each.kind == "format"), None)
    if newer is not None:
        raise _Impossible(f"{newer.text}. Use the release that wrote it, or a newer one.")
    whole = [each.index for each in found.snapshots if each.state == WHOLE]
    if not whole:
        raise _Impossible(
            "no snapshot is whole, so there is no state for the actions to begin with. Put a snapshot back from a backup: "
            "any one of this system does, whose actions go on where it ends."
        )
    data = [bytes_of(calls, basedir, look) if _is_damaged(found, place) else b"" for place, look in enumerate(found.live)]
    pieces = _pieces(calls, basedir, found, data)
    run, last, snapshot = _furthest(_runs(found, pieces, whole), whole)
    kept, cuts, rewrites = _of_segments(found, pieces, data, run, snapshot)
    names = [each.name for each in found.snapshots if not (each.state == WHOLE and snapshot <= each.index <= last)]
    moves = names + [each.name for each in found.live if each.name not in kept]
    if not found.live or found.live[-1].name not in kept or cuts:
        moves += [each.name for each in found.torn]
    least = max(last, *_evidence(found, data)) - last
    replaced = {each.new for each in rewrites}
    return Plan(
        basedir=basedir,
        damages=tuple(found.damages),
        possible=True,
        reason="",
        last_index=last,
        snapshot=snapshot,
        intact_index=_intact_index(found),
        lost_least=least,
        lost_probably=max(least, _last_probably(found, data) - last),
        lost_unknown=not pieces or not pieces[-1],
        cuts=tuple(cuts),
        rewrites=tuple(rewrites),
        moves=tuple(name for name in moves if name not in replaced),
        empty=None if kept or rewrites else last + 1,
    )


def _is_damaged(found: Survey, place: int) -> bool:
    look = found.live[place]
    is_last = place == len(found.live) - 1
    return look.damage is not None or (look.stop is not None and (look.proven or not is_last))


def _pieces(calls: Calls, basedir: str, found: Survey, data: list[bytes]) -> list[list[_Piece]]:
    """The pieces of each segment, none of them with what the next segment has as well."""
    pieces = []
    for place, look in enumerate(found.live):
        if look.damage is not None and data[place][SYSTEM] != found.system:
            each = []  # Whose frames these are, nothing says.
        elif _is_damaged(found, place):
            each = _salvaged(data[place], place, look.first)
        else:
            each = [_Piece(place, look.first, look.last, HEADER.size, look.end)]
        if place + 1 < len(found.live) and each and each[-1].last >= found.live[place + 1].first:
            each = _without_twins(calls, basedir, found, place, data[place], each)
        pieces.append(each)
    return pieces


def _without_twins(calls: Calls, basedir: str, found: Survey, place: int, data: bytes, pieces: list[_Piece]) -> list[_Piece]:
    """The pieces up to where the next segment begins, if what it begins with are the same frames."""
    here, following = found.live[place], found.live[place + 1]
    ours = data or bytes_of(calls, basedir, here)
    theirs = bytes_of(calls, basedir, following)
    twins = frames(theirs, HEADER.size, following.end)
    cut = []
    for piece in pieces:
        end = None
        for each, offset in frames(ours, piece.offset, piece.end):
            if each.index < following.first:
                continue
            end = offset if end is None else end
            twin, at = next(twins, (each, None))
            if at is None or ours[offset : offset + each.length] != theirs[at : at + twin.length]:
                index = max(each.first, following.first)
                raise _Impossible(
                    f"{here.name} and {following.name} both have action {index}, and not the same one. Move the file that "
                    f"does not belong here out of the directory, and plan again."
                )
        if end is not None:
            piece = piece._replace(last=following.first - 1, end=end)
        if piece.last >= piece.first or piece.offset == HEADER.size:
            cut.append(piece)
    return cut


def _runs(found: Survey, pieces: list[list[_Piece]], whole: list[int]) -> list[_Run]:
    runs: list[_Run] = []
    for place, several in enumerate(pieces):
        for number, piece in enumerate(several):
            run = runs[-1] if runs else None
            # Opening leaves a gap itself, where a power cut took the end of a journal whose actions a snapshot has.
            bridged = number == 0 and place > 0 and not _is_damaged(found, place - 1) and piece.first - 1 in whole
            if run is not None and (piece.first == run.last + 1 or bridged):
                run.add(piece)
            else:
                runs.append(_Run(piece))
    if runs and found.live and not _is_damaged(found, len(found.live) - 1):
        runs[-1].last = max(runs[-1].last, *whole)
    return runs


def _furthest(runs: list[_Run], whole: list[int]) -> tuple[_Run | None, int, int]:
    """The run, its last action, and the oldest snapshot that leads to it; a snapshot alone may reach furthest."""
    best: tuple[_Run | None, int, int] = (None, max(whole), max(whole))
    for run in runs:
        leading = [index for index in whole if run.first - 1 <= index <= run.last]
        if leading and run.last >= best[1]:
            best = run, run.last, min(leading)
    return best


def _of_segments(
    found: Survey, pieces: list[list[_Piece]], data: list[bytes], run: _Run | None, snapshot: int
) -> tuple[set[str], list[Cut], list[Rewrite]]:
    """The segments that stay, those that are cut, and those of which a part becomes a new one."""
    kept: set[str] = set()
    cuts: list[Cut] = []
    rewrites: list[Rewrite] = []
    for place, look in enumerate(found.live):
        mine = [piece for piece in pieces[place] if run is not None and piece in run.pieces]
        if not mine:
            continue
        whole = not _is_damaged(found, place) and mine[-1].last == look.last
        if whole:
            kept.add(look.name)
        elif look.damage is None and mine == pieces[place][:1]:
            kept.add(look.name)
            cuts.append(Cut(look.name, mine[0].end, max(0, _filled(data[place], look.size) - mine[0].end)))
        else:
            assert run is not None
            begins_it = mine[0] is run.pieces[0] and mine[0] is not pieces[place][0]
            first = _begins_behind(data[place], mine, snapshot) if begins_it else look.first
            if first <= mine[-1].last:
                new = os.path.basename(directory.segment_path("", first))
                rewrites.append(Rewrite(look.name, new, first, mine[-1].last))
    return kept, cuts, rewrites


def _begins_behind(data: bytes, pieces: list[_Piece], index: int) -> int:
    """Where the frame begins that has the action behind ``index``: no frame is split."""
    for piece in pieces:
        for found, _ in frames(data, piece.offset, piece.end):
            if found.index > index:
                return found.first
    return index + 1


def _evidence(found: Survey, data: list[bytes]) -> Iterator[int]:
    """Indexes that something says were kept."""
    yield from (each.index for each in found.snapshots)
    for look, bytes_of_it in zip(found.live, data, strict=True):
        yield max(look.last, look.synced)
        if look.damage is None:
            yield look.first - 1
        if look.stop is not None and look.proven:
            yield look.stop[1]
        if bytes_of_it and bytes_of_it[SYSTEM] == found.system:
            for piece in _salvaged(bytes_of_it, 0, look.first):
                for each, _ in frames(bytes_of_it, piece.offset, piece.end):
                    yield max(each.index, each.synced)


def _last_probably(found: Survey, data: list[bytes]) -> int:
    """The last action, if the bytes behind the last whole frame of the journal hold some that are as long as the others."""
    if not found.live or data[-1][SYSTEM] != found.system:
        return 0
    pieces = _salvaged(data[-1], 0, found.live[-1].first)
    actions = sum(piece.last - piece.first + 1 for piece in pieces)
    mean = max(1, sum(piece.end - piece.offset for piece in pieces) // actions) if actions else BLOCK
    return pieces[-1].last + max(0, len(data[-1].rstrip(b"\0")) - pieces[-1].end) // mean


def _intact_index(found: Survey) -> int:
    """The last action before the first damage in the journal."""
    places = [each.index - 1 for each in found.damages if each.index is not None and each.kind != "snapshot"]
    return max(0, min(places, default=found.live[-1].last if found.live else 0))


def _without_manifest(found: Survey) -> str:
    return (
        f"{manifest.NAME} is {'damaged' if found.damages[0].offset is not None else 'not there'}. The other files say that "
        f"the id of the system is {found.system.hex() or 'unknown'}, but its secret stands nowhere else, and without it the "
        f"actions that drew from the env would come out otherwise. The file is written once and never changes: put it back "
        f"from any backup of this system."
    )


# -- frames behind damage


def _salvaged(data: bytes, place: int, first: int) -> list[_Piece]:
    """The pieces of a segment, in order. The first of them begins where the file does, and may have no action."""
    pieces = []
    at: tuple[int, int] | None = HEADER.size, first
    while at is not None:
        end, following = _walk(data, *at)
        pieces.append(_Piece(place, at[1], following - 1, at[0], end))
        at = _resumed(data, end, following)
    return pieces


def _walk(data: bytes, offset: int, following: int) -> tuple[int, int]:
    """The end of the whole frames from ``offset`` on, and the index that would come next."""
    end = offset
    while True:
        found = frame.whole(data, offset)
        if found is not None and found.follows(following - 1):
            following = found.index + 1
            offset = end = _behind(offset, found.length)
        elif offset % BLOCK and not data[offset : -(-offset // BLOCK) * BLOCK].strip(b"\0"):
            offset = -(-offset // BLOCK) * BLOCK  # The frame did not fit into the rest of the block.
        else:
            return end, following


def _resumed(data: bytes, offset: int, following: int) -> tuple[int, int] | None:
    """Where the next whole frame of an action is, and its index; None if there is none.

    Only where a frame can begin: behind the damaged one, if its head still says how long it is, and at
    the beginning of a block. What looks like a frame elsewhere may be an argument of somebody's.
    """
    places = list(range(-(-(offset + 1) // BLOCK) * BLOCK, len(data), BLOCK))
    if places and not data[offset : places[0]].strip(b"\0"):
        offset = places[0]  # The damaged one did not fit into the rest of the block.
    damaged = frame.head(data, offset)
    if damaged is not None and offset + damaged.length < len(data):
        places.insert(1 if places[:1] == [offset] else 0, _behind(offset, damaged.length))
    for place in places:
        at = place
        while (found := frame.whole(data, at)) is not None and found.first >= following - 1:
            if not found.is_amendment and found.first >= following:
                return at, found.first
            at = _behind(at, found.length)
    return None


def _behind(offset: int, length: int) -> int:
    """Where, behind a frame of so many bytes, the next one begins if it fits into the same block.

    None fits behind one that is longer than its block.
    """
    end = offset + length
    return end if offset // BLOCK == (end - 1) // BLOCK else -(-end // BLOCK) * BLOCK


def frames(data: bytes, offset: int, end: int) -> Iterator[tuple[frame.Frame, int]]:
    """Each whole frame of a segment between two places, and its offset."""
    while offset < end:
        found = frame.whole(data, offset)
        if found is None:
            offset = -(-(offset + 1) // BLOCK) * BLOCK
            continue
        yield found, offset
        offset = _behind(offset, found.length)


def bytes_of(calls: Calls, basedir: str, look: Look) -> bytes:
    """All bytes of a segment; none if it is not there."""
    path = os.path.join(basedir, look.name)
    if not is_there(path):
        return b""
    file = File(calls, path, write=False)
    try:
        return file.read(0, file.size)
    finally:
        file.close()


def _filled(data: bytes, size: int) -> int:
    return len(data.rstrip(b"\0")) if data else size


# -- the steps


def _set_aside(calls: Calls, plan: Plan, progress: Progress | None) -> str:
    """The directory for what goes, with copies of what will be cut or replaced in it."""
    replaced = [each.new for each in plan.rewrites if each.new == each.name]
    return set_aside(calls, plan.basedir, "damaged", [*(each.name for each in plan.cuts), *replaced], progress)


def set_aside(
    calls: Calls,
    basedir: str,
    kind: str,
    names: Sequence[str],
    progress: Progress | None = None,
    notes: Mapping[str, bytes] = {},
) -> str:
    """Makes a new directory `<kind>-<UTC time>` with copies of files and of coopy.json, and ``notes`` beside them.

    It has its last name once all of it is on the disk. Returns its path.
    """
    base = f"{kind}-{datetime.now(timezone.utc).strftime('%Y%m%dT%H%M%SZ')}"
    taken, name, number = set(calls.names(basedir)), base, 1
    while name in taken or name + directory.TEMPORARY in taken:
        number += 1
        name = f"{base}-{number}"
    path = os.path.join(basedir, name)
    temporary = path + directory.TEMPORARY
    names = [manifest.NAME, *names]
    total = sum(os.path.getsize(os.path.join(basedir, each)) for each in names)
    done = 0
    calls.make_directory(temporary)
    for each in names:
        done += _copy(calls, os.path.join(basedir, each), os.path.join(temporary, each))
        if progress is not None:
            progress(done, total)
    for each, data in notes.items():
        directory.write_whole(calls, os.path.join(temporary, each), data)
    calls.sync_directory(temporary)
    calls.rename(temporary, path)
    calls.sync_directory(basedir)
    return path


def _copy(calls: Calls, source: str, target: str) -> int:
    old = File(calls, source, write=False)
    try:
        new = File(calls, target, write=True, create=True)
        try:
            offset = 0
            while data := old.read(offset, CHUNK):
                new.write(offset, data)
                offset += len(data)
            new.sync()
            return offset
        finally:
            new.close()
    finally:
        old.close()


def _rewrite(calls: Calls, basedir: str, rewrite: Rewrite) -> None:
    """Lays the frames out again, in blocks as `coopy.disk.segment` has them; the old file stays until it is moved."""
    file = File(calls, os.path.join(basedir, rewrite.name), write=False)
    try:
        data = file.read(0, file.size)
    finally:
        file.close()
    system = known(calls, basedir).system
    header = HEADER.pack(MAGIC, VERSION, system, rewrite.first, b"", 0)[:-4]
    new = bytearray(header + zlib.crc32(header).to_bytes(4, "little"))
    for piece in _salvaged(data, 0, directory.segments([rewrite.name])[0]):
        for found, offset in frames(data, piece.offset, piece.end):
            if rewrite.first <= found.first and found.index <= rewrite.last:
                fresh = len(new) == HEADER.size or len(new) % BLOCK == 0
                if not fresh and len(new) % BLOCK + found.length > BLOCK:
                    new += bytes(-len(new) % BLOCK)
                end = _behind(len(new), found.length)
                new += data[offset : offset + found.length]
                new += bytes(end - len(new))
    directory.write_whole(calls, os.path.join(basedir, rewrite.new), bytes(new))
    calls.sync_directory(basedir)


def _cut(calls: Calls, basedir: str, cut: Cut) -> None:
    file = File(calls, os.path.join(basedir, cut.name), write=True)
    try:
        file.cut(cut.offset)
        file.sync()
    finally:
        file.close()


def known(calls: Calls, basedir: str) -> manifest.Manifest:
    found = manifest.read(calls, basedir)
    if found is None:
        raise StorageError(f"{basedir}: {manifest.NAME} is gone since. Put it back.")
    return found


# -- words


def _lines(plan: Plan) -> Iterator[str]:
    yield f"{plan.basedir} is damaged:"
    for damage in plan.damages:
        yield f"  {damage}"
    if not plan.possible:
        yield f"It cannot be repaired: {plan.reason}"
        return
    if plan.lost_probably == 0 and not plan.lost_unknown:
        yield f"No action is lost for the present state: it can be restored up to action {plan.last_index}, the last."
    else:
        yield f"The state can be restored up to action {plan.last_index}. Lost to it are the actions behind: {_lost(plan)}."
    if plan.intact_index < plan.snapshot:
        yield (
            f"The last action before the damage is {plan.intact_index}, and the snapshot of action {plan.snapshot}, with what "
            f"follows it, is whole. So the directory is to begin with that snapshot; what is before it goes aside, where the "
            f"past up to action {plan.intact_index} can be read."
        )
    yield f"To be done (all that goes is kept in {os.path.join(plan.basedir, 'damaged-<UTC time>')}):"
    for rewrite in plan.rewrites:
        what = f"the whole frames of actions {rewrite.first} to {rewrite.last}"
        yield f"  write {rewrite.new} anew, with {what}{'' if rewrite.new == rewrite.name else f' of {rewrite.name}'}"
    for name in plan.moves:
        yield f"  move {name} aside"
    for cut in plan.cuts:
        yield f"  cut {cut.name} at byte {cut.offset}: {cut.size:,} bytes"
    if plan.empty is not None:
        yield f"  make an empty segment for action {plan.empty} and those after it"
    yield f"Then the directory opens, with all actions up to {plan.last_index}."


def _lost(plan: Plan) -> str:
    parts = [f"at least {plan.lost_least:,}"] if plan.lost_least else []
    if plan.lost_probably > plan.lost_least:
        parts.append(f"probably {plan.lost_probably:,}")
    if plan.lost_unknown:
        parts.append(f"how many {'more ' if parts else ''}there were, nothing that is left tells")
    return ", ".join(parts)

"""Snapshot + log -> machine: to the end, or to a point.

The newest snapshot at or before the point is loaded and the actions behind it
run again. Restoring, time travel and rebuilding after an interruption are this
one function with other ends.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from coopy.errors import (
    ChangedClass,
    CoopyError,
    DamagedSnapshot,
    DecodingError,
    InterruptedReplay,
    MissingActions,
    PrunedPast,
    ReplayError,
    StorageError,
    UsageError,
)
from coopy.ground import action, collector, recursion
from coopy.ground.log import warn
from coopy.ground.storage import Log, SnapshotStore
from coopy.spine.machine import NOTHING_FOLLOWS, Machine
from coopy.values.codec import Codec, decode_joined

WIDER = (2_000, 10_000)
"""Calls by which the limit of recursion is raised, the one after the other, for an action that went deeper in its day than fits now. The stack of C
of a thread, 8 MiB, holds so many, even if each of them goes through C."""

Progress = Callable[[int, int], object]
"""Called with the actions done and the actions in all."""

Batch = tuple[list[bytes], list[str | None], list[Any]]


def restore(
    log: Log,
    snapshots: SnapshotStore,
    codec: Codec,
    secret: bytes,
    *,
    deterministic: bool,
    until: int | None = None,
    instant: int | None = None,
    clock_from: int = 0,
    after: int | None = None,
    progress: Progress | None = None,
    loading: Progress | None = None,
    begin: Callable[[Machine], None] | None = None,
    stops: Sequence[int] = (),
    visit: Callable[[Machine], None] | None = None,
    misfit: Callable[[ReplayError], None] | None = None,
    withdrawn: int = 0,
    alone: bool = True,
) -> Machine:
    """The machine after action ``until``, or after the last action not later than ``instant`` (ns).

    All actions after ``after`` are run again, though a newer snapshot may hold them.
    Actions before that of ``clock_from`` are earlier than ``instant``, whatever time they have: the clock was put back then.
    ``begin`` is given the machine before the first action is replayed, ``loading`` the bytes
    of the snapshot that are loaded, and how many there are, and ``visit`` the machine after each
    action of ``stops``, which ascend; ``visit`` may add where to stop next. ``misfit`` is given each error of an action that does not fit,
    which is then left out. Where the last action turns out to be withdrawn all begins again, visits
    and misfits too. So it is if nothing says how it ended and it is interrupted now, unless others have it as well: then
    this system is not ``alone``. Raises a `StorageError`, `DecodingError` or `ReplayError`, and `UsageError` if
    the state is of another class than that of ``codec``; nothing is written.
    """
    wider = iter(WIDER)
    more = 0
    while True:
        # Restoring makes objects and drops none: the collector would look at all of them, again and again.
        with collector.off(), recursion.room(more):
            upto = until if after is None else after
            machine, passed_over = _from_snapshot(snapshots, codec, secret, upto, instant, clock_from, loading)
            machine.deterministic = deterministic
            if begin is not None:
                begin(machine)
            start = machine.applied
            total = (log.last if until is None else min(until, log.last)) - start
            withdraw = False
            batches = _batches(log, machine, until, instant, clock_from)
            if visit is not None:
                batches = _stopping(batches, machine, stops, visit)
            try:
                for batch, following in batches:
                    if misfit is not None:
                        withdraw = _replay_all_that_fits(machine, batch, following, codec, log, withdrawn, misfit)
                    else:
                        withdraw = _replay(machine, batch, following, codec, log, withdrawn, alone)
                    if progress is not None:
                        progress(machine.applied - start, max(total, machine.applied - start))
            except CoopyError as error:
                if isinstance(error, InterruptedReplay) and error.lacks_room and (more := next(wider, 0)):
                    continue
                if passed_over is None:
                    raise
                raise passed_over from error  # It is what is to be mended.
        if not withdraw:
            return machine
        # The process ended between the call and the record of its outcome. It raised or was interrupted, so it
        # was to be withdrawn: start over without it, as every later replay will.
        withdrawn, loading = machine.applied, None


def _from_snapshot(
    snapshots: SnapshotStore,
    codec: Codec,
    secret: bytes,
    until: int | None,
    instant: int | None,
    clock_from: int,
    loading: Progress | None,
) -> tuple[Machine, CoopyError | None]:
    """The machine at the newest snapshot that can be loaded, and why a newer one can't be."""
    upto = until
    passed_over: CoopyError | None = None
    while True:
        found = snapshots.latest(upto)
        if found is None:
            if passed_over is not None:
                raise passed_over
            oldest = min(snapshots.indexes(), default=0)
            if oldest and (instant is not None or (until is not None and until < oldest)):
                raise PrunedPast(_asked(until, instant), oldest)
            raise MissingActions("snapshots", 0, until, "There is no snapshot to begin with. Put it back from a backup.")
        index, data = found
        version = None
        try:
            if len(data) < action.HEAD.size:
                raise DamagedSnapshot(f"snapshot of action {index}", index, "it has no head")
            header, version, size = action.HEAD.unpack(data[: action.HEAD.size])
            if instant is not None and index > 0 and index >= clock_from and action.instant_of(header) > instant:
                upto = index - 1
                continue
            codec.refuse_newer(version, f"the snapshot of action {index}")
            start = action.HEAD.size + size
            state = codec.load_state(data, version, loading, start)
        except ChangedClass:
            raise  # It is loaded once it is said what becomes of its objects.
        except (DamagedSnapshot, DecodingError) as error:
            passed_over = passed_over or error
            # One that another version has written may lack no more than that version, or a right upgrade.
            if version not in (None, codec.migration.version) or index == min(snapshots.indexes(), default=index):
                raise passed_over from None
            upto = index - 1
            continue
        if passed_over is not None:
            warn(
                "a newer snapshot cannot be loaded, going back to the one of action %d, and the journal: %s", index, passed_over
            )
        refuse_other(state, codec.domain_class)
        snapshots.loaded(index)
        machine = Machine(state, index, header, secret, version, data[action.HEAD.size : start])
        machine.refuse_newer_code(machine.code, partial(_snapshot_of, index))
        return machine, passed_over


def _snapshot_of(index: int, _: int) -> str:
    return f"the snapshot of action {index}"


def _asked(until: int | None, instant: int | None) -> str:
    if until is not None:
        return f"the state after action {until}"
    assert instant is not None, "the newest state is never one that was pruned"
    return f"the state of {datetime(1970, 1, 1) + timedelta(microseconds=instant // 1000)} UTC"


def is_other(state: object, cls: type) -> bool:
    """Whether a state is refused where a class is asked for; see `refuse_other`."""
    held = type(state)
    return not isinstance(state, cls) and (held.__module__, held.__qualname__) != (cls.__module__, cls.__qualname__)


def refuse_other(state: object, cls: type) -> None:
    """Refuses a state that is not of the class that was asked for. Raises `UsageError`.

    One of a subclass is: a method may have given the state another class, and the methods that run are those of its own. So is one
    of a class of the same name: it was defined again.
    """
    held = type(state)
    if is_other(state, cls):
        one, other = held.__qualname__, cls.__qualname__
        if one == other:
            one, other = f"{held.__module__}:{one}", f"{cls.__module__}:{other}"
        raise UsageError(
            f"the directory holds a system of {one}, not of {other}. Nothing was changed. Open it with that class, or choose another "
            f"directory. If the class has moved, say so in its migration: upgrades.renamed(old, new)."
        )


def _batches(
    log: Log, machine: Machine, until: int | None, instant: int | None, clock_from: int
) -> Iterator[tuple[Batch, bytes]]:
    """Batches of records, cut at the point asked for, each with the header that follows it."""
    held: Batch | None = None
    following = machine.applied + 1
    reading = log.read(machine.applied)
    while True:
        try:
            first, records = next(reading)
        except StopIteration:
            break
        except StorageError:
            if until is not None and until < following:
                break  # What lies behind the point need not be whole.
            raise
        batch = headers, names, arguments = decode_joined(records)
        if arguments[0] is None:
            first += 1  # It begins with the amendment of the action before it.
        if first != following:
            if until is not None and until < following:
                break
            raise MissingActions(log.where(first), following, first - 1, "A segment, or a part of one, is not there.")
        following = first + len(names) - (arguments.count(None) if None in names else 0)
        if held is not None:
            yield held, headers[0]
        size = _size_upto(headers, arguments, first, until, instant, clock_from)
        if size < len(headers):
            if size:
                yield _part(batch, 0, size), headers[size]
            return
        held = batch
    if held is not None:
        yield held, NOTHING_FOLLOWS


def _stopping(
    batches: Iterator[tuple[Batch, bytes]], machine: Machine, stops: Sequence[int], visit: Callable[[Machine], None]
) -> Iterator[tuple[Batch, bytes]]:
    """The same batches, cut such that the machine can be visited after each action of ``stops``."""
    # Looked at anew each time: who is visited may have added where to stop next.
    place = bisect_left(stops, machine.applied)
    if place < len(stops) and stops[place] == machine.applied:
        place += 1
        visit(machine)
    for batch, following in batches:
        while place < len(stops):
            size = _size_upto(batch[0], batch[2], machine.applied + 1, stops[place], None)
            if size == len(batch[0]):
                break
            yield _part(batch, 0, size), batch[0][size]
            place += 1
            visit(machine)
            batch = _part(batch, size, None)
        yield batch, following
        if place < len(stops) and stops[place] == machine.applied:
            place += 1
            visit(machine)


def _replay(machine: Machine, batch: Batch, following: bytes, codec: Codec, log: Log, withdrawn: int, alone: bool) -> bool:
    """Replays a batch. Returns whether the last action turns out to be withdrawn."""
    try:
        return machine.replay(*batch, following, codec, log.where, withdrawn)
    except InterruptedReplay as error:
        if not alone or error.recorded != action.OUTCOMES[action.UNKNOWN] or error.index != log.last:
            raise
        machine.applied = error.index
        return True


def _replay_all_that_fits(
    machine: Machine,
    batch: Batch,
    following: bytes,
    codec: Codec,
    log: Log,
    withdrawn: int,
    misfit: Callable[[ReplayError], None],
) -> bool:
    while batch[0]:
        first = machine.applied + 1
        try:
            return machine.replay(*batch, following, codec, log.where, withdrawn)
        except ReplayError as error:
            misfit(error)
            machine.applied = error.index
            batch = _part(batch, _size_upto(batch[0], batch[2], first, error.index, None), None)
    return False


def _part(batch: Batch, start: int, end: int | None) -> Batch:
    headers, names, arguments = batch
    return headers[start:end], names[start:end], arguments[start:end]


def _size_upto(
    headers: list[bytes], arguments: list[Any], first: int, until: int | None, instant: int | None, clock_from: int = 0
) -> int:
    """How many records of a batch lie at or before the point; all if it is not in this batch."""
    if until is not None and first + len(headers) > until:
        index = first - 1
        for place, args in enumerate(arguments):
            index += args is not None
            if index > until:
                return place
    if instant is not None and action.instant_of(headers[-1]) > instant:
        index = first - 1
        for place, (header, args) in enumerate(zip(headers, arguments, strict=True)):
            index += args is not None
            if action.instant_of(header) > instant and index >= clock_from:
                return place
    return len(headers)

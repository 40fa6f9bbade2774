"""Withdraws an action that replay can't get past, by hand, and takes that back.

How an action ended stands in the header of the record after it (`coopy.ground.action`): in the same frame, in the next one, in
an amendment, or in the next segment. There it becomes WITHDRAWN, and the frame gets another checksum; no other frame
changes. If nothing comes after the action, an amendment is appended. Replay then leaves the action out. Its index
stays, and so do those of all others, with what they drew from the env.

Nothing is unpickled into objects of anybody's classes, so the code that recorded the action need not be there any more.

All that changes is kept in `withdrawn-<UTC time>`, a new directory inside: the segment as it was, coopy.json, and
`withdrawn.json`, which says how the action had ended. Taking it back goes by that, and makes a `reinstated-<UTC time>`.

What a crash leaves, in the order of the steps:

1. `withdrawn-<UTC time>.tmp`, unfinished copies: nothing was changed yet.
2. The copies under their last name: nothing was changed yet.
3. Where the action is the last one, and the segment after it has none yet: that segment is among the copies, by one rename.
4. The segment with the other byte, renamed into its place; or the amendment, which is torn or whole as any frame is.

From each of them the same command comes to the same end.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from coopy import UsageError
from coopy.disk import digests, directory, frame
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.fs import Calls
from coopy.disk.journal import Journal
from coopy.disk.segment import HEADER
from coopy.disk.snapshots import DiskSnapshots
from coopy.ground import action, paths
from coopy.ground.batch import BATCH
from coopy.ground.record import PREFIX_BYTES, WRAP, sizes_of
from coopy.tools import unloaded
from coopy.tools.contents import WHOLE, Look, Survey, moment, survey
from coopy.tools.repair import Progress, bytes_of, frames, known, set_aside

NOTE = "withdrawn.json"
SERVER = "server"
"""The directory that a node's Raft server has in the node's own."""
_OUTCOME = PREFIX_BYTES - 1
"""The place of the outcome in a record."""
_BATCH = b"\x8c%c%b" % (len(BATCH), BATCH.encode())
"""What the call of an action begins with that begins a batch."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An action, and what carrying the plan out does. It is one value: equal plans do the same."""

    basedir: str
    index: int
    last_index: int
    """The last action there is."""
    method: str | None
    """None if it can't be known without its code."""
    call: str
    """The call in words."""
    time: str
    """When it was called, ISO 8601."""
    outcome: str
    """How it is recorded to have ended."""
    becomes: str
    """How it is recorded to have ended once the plan is carried out."""
    name: str
    """The segment that is changed."""
    offset: int | None
    """The byte of that segment that is changed; None if an amendment is appended."""
    moves: tuple[str, ...]
    """Segments without an action that go aside."""

    @property
    def withdraws(self) -> bool:
        """Whether the action is withdrawn, not reinstated."""
        return self.becomes == action.OUTCOMES[action.WITHDRAWN]

    @property
    def kind(self) -> str:
        """What the directory is called that keeps what is changed, without the time."""
        return "withdrawn" if self.withdraws else "reinstated"

    def as_dict(self) -> dict[str, Any]:
        """The same, of JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def text(self) -> str:
        """What a person reads before they say yes."""
        return "\n".join(_lines(self))


@dataclass(frozen=True, slots=True)
class Done:
    """``aside`` is the directory that has what was changed, as it was; ``files`` are their names."""

    aside: str
    files: tuple[str, ...]


def plan(basedir: str, index: int, *, on_every_node: bool = False) -> Plan:
    """What withdrawing an action does. Reads all of the directory, changes nothing, and loads no code.

    Raises `UsageError` if there is no such action, or it can't be withdrawn; `ForeignDirectory`, `Unreadable`. The directory of
    a node is refused unless the caller promises to do the same ``on_every_node``.
    """
    return _planned(Calls(), paths.absolute(basedir), index, None, on_every_node)


def plan_back(basedir: str, index: int, *, on_every_node: bool = False) -> Plan:
    """What reinstating an action does that was withdrawn by hand. Raises as `plan` does."""
    basedir = paths.absolute(basedir)
    with paths.reads(basedir):
        before = _outcome_before(basedir, index)
    return _planned(Calls(), basedir, index, before, on_every_node)


def carry_out(plan: Plan, progress: Progress | None = None, *, on_every_node: bool = False, calls: Calls | None = None) -> Done:
    """Does what a plan says.

    Raises:
        UsageError: the directory is not as it was when the plan was made.
        DirectoryInUse: it is open.
        JournalError: the disk refused. Nothing is lost; plan and carry out again.
    """
    with paths.writes(plan.basedir, "It is not finished, and nothing is lost: plan and carry it out again."):
        return _carried_out(plan, progress, on_every_node, Calls() if calls is None else calls)


def _carried_out(plan: Plan, progress: Progress | None, on_every_node: bool, calls: Calls) -> Done:
    basedir = plan.basedir
    lock = DirectoryLock(basedir)
    try:
        becomes = None if plan.withdraws else plan.becomes
        if _planned(calls, basedir, plan.index, becomes, on_every_node) != plan:
            raise UsageError(f"{basedir} is not as it was when the plan was made. Nothing was changed. Make a new plan.")
        note = {"index": plan.index, "outcome": plan.outcome, "call": plan.call}
        notes = {NOTE: json.dumps(note).encode()} if plan.withdraws else {}
        aside = set_aside(calls, basedir, plan.kind, [plan.name], progress, notes)
        digests.set_aside(calls, basedir, aside)
        for name in plan.moves:
            calls.rename(os.path.join(basedir, name), os.path.join(aside, name))
        if plan.moves:
            calls.sync_directory(aside)
            calls.sync_directory(basedir)
        if plan.offset is None:
            _append(calls, plan, lock)
        else:
            _change(calls, plan)
        found = _found(calls, basedir, survey(calls, basedir), plan.index)
        assert action.OUTCOMES[found.outcome] == plan.becomes, "the action is recorded as the plan has it"
    finally:
        lock.release()
    return Done(aside, tuple(sorted({plan.name, *plan.moves})))


def _append(calls: Calls, plan: Plan, lock: DirectoryLock) -> None:
    basedir, system = plan.basedir, known(calls, plan.basedir).system
    floor = max(DiskSnapshots(calls, basedir, system).indexes(), default=0)
    found = _found(calls, basedir, survey(calls, basedir), plan.index)
    instant, offset, _ = action.HEADER.unpack(found.record[:PREFIX_BYTES])
    journal = Journal(calls, basedir, system, floor=floor, held=lock)
    try:
        journal.amend(action.amendment(instant, offset, action.OUTCOMES.index(plan.becomes)))
    finally:
        journal.close()


def _change(calls: Calls, plan: Plan) -> None:
    found = _found(calls, plan.basedir, survey(calls, plan.basedir), plan.index)
    said = found.said
    assert said is not None, "the plan is of this place"
    data = bytes_of(calls, plan.basedir, said.look)
    start, end = said.frame_offset, said.frame_offset + said.frame.length
    becomes = action.OUTCOMES.index(plan.becomes)
    if becomes == action.UNKNOWN and said.frame.is_amendment and plan.index == plan.last_index:
        # Without an amendment, so that the next opening can say how it has ended.
        changed = bytes(end - start)
    else:
        changed = frame.changed(data[start:end], said.offset - start, becomes)
    directory.write_whole(calls, os.path.join(plan.basedir, plan.name), data[:start] + changed + data[end:])
    calls.sync_directory(plan.basedir)


# -- what there is


class _Said(NamedTuple):
    """Where the outcome of an action stands."""

    look: Look
    frame: frame.Frame
    frame_offset: int
    offset: int
    outcome: int


class _Found(NamedTuple):
    """An action: the segment it is in, its record, and where its outcome stands; None if nothing comes after it."""

    look: Look
    record: bytes
    said: _Said | None

    @property
    def outcome(self) -> int:
        return action.UNKNOWN if self.said is None else self.said.outcome


def _planned(calls: Calls, basedir: str, index: int, becomes: str | None, on_every_node: bool) -> Plan:
    with paths.reads(basedir):
        found = survey(calls, basedir)
        _refuse_damage(basedir, found)
        _refuse_index(basedir, found, index)
        each = _found(calls, basedir, found, index)
        outcome = action.OUTCOMES[each.outcome]
        method, call = unloaded.call_of(each.record)
        _refuse_action(basedir, index, method, outcome, becomes)
        if not on_every_node and _is_node(calls, basedir, found):
            raise UsageError(
                f"{basedir}: this is the directory of a node of a replicated system. If action {index} were withdrawn here alone, this "
                f"node would differ from the others. Nothing was changed. Where an action can't be run for lack of memory, the "
                f"nodes withdraw it themselves. Any other: stop all nodes, give this command with --on-every-node in the directory "
                f"of each, and start them again."
            )
        when = moment(each.record[:PREFIX_BYTES])
        later = found.live[found.live.index(each.look) + 1 :] if each.said is None else []
        return Plan(
            basedir=basedir,
            index=index,
            last_index=_last(found),
            method=method,
            call=call,
            time="" if when is None else when.isoformat(),
            outcome=outcome,
            becomes=action.OUTCOMES[action.WITHDRAWN] if becomes is None else becomes,
            name=(each.look if each.said is None else each.said.look).name,
            offset=None if each.said is None else each.said.offset,
            moves=tuple(look.name for look in later),
        )


def _refuse_damage(basedir: str, found: Survey) -> None:
    if found.damages:
        raise UsageError(
            f"{basedir} is damaged ({found.damages[0]}). Nothing was changed. Run `coopy repair {basedir}` first, or put back a backup."
        )


def _refuse_index(basedir: str, found: Survey, index: int) -> None:
    last = _last(found)
    if not 1 <= index <= last:
        there = f"the system has actions 1 to {last}" if last else "the system has no action yet"
        raise UsageError(f"{basedir}: there is no action {index}; {there}. Nothing was changed.")
    oldest = found.live[0].first
    if index < oldest:
        raise UsageError(
            f"{basedir}: action {index} was pruned; the journal begins with action {oldest}. What the action did is in the snapshots. "
            f"Nothing was changed. Change the state by a call of the system."
        )
    whole = [each for each in found.snapshots if each.state == WHOLE]
    newer = [each.name for each in whole if each.index >= index]
    if newer:
        older = [each.index for each in whole if oldest - 1 <= each.index < index]
        cure = "No older snapshot leads to it. Change the state by a call of the system."
        if older:
            cure = (
                f"To have it left out of the state, too: move {', '.join(newer)} out of the directory and give this command again. "
                f"Opening then begins with the snapshot of action {max(older)}, and runs all later actions but this one again."
            )
        raise UsageError(
            f"{basedir}: what action {index} did is in {newer[-1]}, with which opening begins. Withdrawing the action would change "
            f"nothing. Nothing was changed. {cure}"
        )


def _refuse_action(basedir: str, index: int, method: str | None, outcome: str, becomes: str | None) -> None:
    withdrawn = action.OUTCOMES[action.WITHDRAWN]
    if method is not None and method.startswith("<"):
        raise UsageError(
            f"{basedir}: action {index} is no call. The system has recorded it itself ({method}), and what comes after it relies on it. "
            f"Nothing was changed."
        )
    if becomes is None and outcome == withdrawn:
        raise UsageError(f"{basedir}: action {index} is withdrawn already; replay leaves it out. Nothing was changed.")
    if becomes is not None and outcome != withdrawn:
        raise UsageError(f"{basedir}: action {index} is not withdrawn; replay runs it. Nothing was changed.")


def _last(found: Survey) -> int:
    """The last action that the journal has."""
    return max((each.last for each in found.live if each.last >= each.first), default=0)


def _found(calls: Calls, basedir: str, found: Survey, index: int) -> _Found:
    """An action that is there."""
    record, at = b"", None
    for look in found.live:
        if look.last < index:
            continue
        data = bytes_of(calls, basedir, look)
        for each, offset in frames(data, HEADER.size, look.end):
            if each.index < index:
                continue
            if not each.is_amendment and each.first <= index:
                at, record = look, each.records(data, offset)[index - each.first]
            place = _place_after(data, each, offset, index)
            if place is not None:
                assert at is not None, "what comes after an action comes after it"
                return _Found(at, record, _Said(look, each, offset, place, data[place]))
    assert at is not None, "the journal has no gap where no snapshot is newer"
    return _Found(at, record, None)


def _place_after(data: bytes, each: frame.Frame, offset: int, index: int) -> int | None:
    """The place of the outcome of an action in a frame, if it stands there."""
    start = offset + each.begin
    if each.first == index + 1 or (each.is_amendment and each.index == index):
        return start + _OUTCOME
    if each.first <= index < each.index:
        places = list(accumulate(sizes_of(data[offset + frame.MANY_HEAD.size : start]), initial=start - len(WRAP)))
        return places[index + 1 - each.first] + len(WRAP) + _OUTCOME
    return None


def _is_node(calls: Calls, basedir: str, found: Survey) -> bool:
    """Whether the directory is that of a node, whose actions stand in a line that it shares with others."""
    if os.path.isdir(os.path.join(basedir, SERVER)):
        return True
    newest = max(each.index for each in found.snapshots)
    snapshots = DiskSnapshots(calls, basedir, found.system)
    size = action.HEAD.unpack(snapshots.head(newest, action.HEAD.size))[2]
    if size and "batches" in unloaded.value_of(snapshots.head(newest, action.HEAD.size + size)[action.HEAD.size :]):
        return True
    return any(_begins_batch(calls, basedir, look) for look in found.live if look.last > newest)


def _begins_batch(calls: Calls, basedir: str, look: Look) -> bool:
    data = bytes_of(calls, basedir, look)
    if _BATCH not in data:
        return False
    return any(
        record.startswith(_BATCH, PREFIX_BYTES)
        for each, offset in frames(data, HEADER.size, look.end)
        for record in each.records(data, offset)
    )


# -- what was withdrawn by hand


def _outcome_before(basedir: str, index: int) -> str:
    """How an action had ended before it was last withdrawn by hand. Raises `UsageError` if it was not."""
    for each in _notes(basedir):
        if each.get("index") == index and each.get("outcome") in action.OUTCOMES:
            return str(each["outcome"])
    raise UsageError(
        f"{basedir}: action {index} was not withdrawn by `coopy repair --withdraw`; no withdrawn-*/{NOTE} is about it. Nothing was changed."
    )


def _notes(basedir: str) -> Iterator[dict[str, Any]]:
    """What the directories of earlier withdrawals say, newest first."""
    for _, _, name in sorted(filter(None, map(_aside, os.listdir(basedir))), reverse=True):
        try:
            with open(os.path.join(basedir, name, NOTE), "rb") as file:
                found = json.load(file)
        except (FileNotFoundError, ValueError):
            continue
        if isinstance(found, dict):
            yield found


def _aside(name: str) -> tuple[str, int, str] | None:
    """The time of the directory of a withdrawal, its number among those of that second, and its name; None if it is none."""
    found = re.fullmatch(r"withdrawn-([0-9]{8}T[0-9]{6}Z)(?:-([0-9]+))?", name)
    return None if found is None else (found[1], int(found[2] or 1), name)


# -- words


def _lines(plan: Plan) -> Iterator[str]:
    basedir, index, last = plan.basedir, plan.index, plan.last_index
    yield f"Action {index} of {last} in {basedir}, recorded as {plan.outcome!r}:"
    yield f"  {plan.time}  {plan.call}"
    rest = f"action {last} is" if last == index + 1 else f"the actions {index + 1} to {last} are"
    if plan.withdraws:
        yield "It is to be withdrawn: the state will be as if it had never been called, and effects that it has asked for are dropped."
        without = "without it"
    else:
        yield f"It is to be reinstated: opening runs it again, and it has to end as recorded before ({plan.becomes!r})."
        without = "after it"
    if last > index:
        yield f"Later calls stay: {rest} run {without}. One that does not end as it was recorded then stops opening, and can be withdrawn as well."
    yield f"To be done (what is changed is kept in {os.path.join(basedir, f'{plan.kind}-<UTC time>')}):"
    for name in plan.moves:
        yield f"  move {name} aside, which has no action yet"
    if plan.offset is None:
        yield f"  append to {plan.name} that action {index} is {plan.becomes}"
    else:
        yield f"  write {plan.name} anew, in which it says that action {index} is {plan.becomes}"
    yield f"It can be taken back: coopy repair {basedir} --{'reinstate' if plan.withdraws else 'withdraw'} {index}"

"""An object that ends its process: what it has died of, and what can be done about that. For directories of `coopy.objects`.

Three things can be done, each while the directory is closed:

1. Releasing: what it has died of is forgotten, so it is called again. Its file is copied aside first.
2. Withdrawing what has ended the process. A call that waits, or an alarm, is dropped by a record that says so (`<passed>`), which is appended. An
   action that is in the log already is left out when the object is loaded: how it ended stands in the header of the next record of its
   key, and becomes WITHDRAWN there, as `coopy.tools.withdrawing` has it for a system; or a record that says so is appended.
3. Reinstating what was withdrawn so: the byte becomes what it was; the record that drops a call is withdrawn itself.

Nothing of the object is run, but for an alarm: which one is due is known once the object is loaded. What is changed is copied to
`withdrawn-<UTC time>` or `reinstated-<UTC time>` before. After a crash in between, the same command comes to the same end.
"""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_right
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from coopy import UsageError
from coopy.disk import directory, frame
from coopy.disk.dirlock import DirectoryLock
from coopy.disk.fs import Calls, File
from coopy.disk.journal import Journal
from coopy.ground import action, keyed, paths
from coopy.ground.record import PREFIX_BYTES, WRAP, joined, sizes_of
from coopy.objects import poison
from coopy.objects.past import NO_CALLS
from coopy.objects.poison import Death
from coopy.objects.reading import Reading, place_of
from coopy.tools.repair import set_aside
from coopy.tools.unloaded import call_of
from coopy.tools.withdrawing import NOTE

_OUTCOME = PREFIX_BYTES - 1
"""The place of the outcome in a record."""
_WAITS = ("told", "alarm")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done about an object. It is one value: equal plans do the same."""

    basedir: str
    key: str
    of: str
    """The class of the object, if it is not that of the directory."""
    deaths: tuple[Death, ...]
    """What the process has died of."""
    does: str
    """"release", "withdraw" or "reinstate"; "" if nothing is to be done but to tell."""
    index: int
    """Of the action that is withdrawn or reinstated; 0 if none is."""
    call: str
    """The same in words."""
    record: int
    """The index of the record that says how the action has ended; 0 if one is appended."""
    becomes: int
    """How the action is said to have ended then."""
    appended: bytes
    """The record that is appended, without its instant; empty if none is."""

    @property
    def done(self) -> str:
        """What was done, in a word."""
        return {"release": "released", "withdraw": "mended, and released", "reinstate": "as it was before"}[self.does]

    def as_dict(self) -> dict[str, Any]:
        """The same, of JSON types."""
        members = asdict(self)
        members["deaths"] = [each._asdict() for each in self.deaths]
        del members["appended"]
        return {**members, "becomes": action.OUTCOMES[self.becomes]}

    def text(self) -> str:
        """What a person reads before they say yes."""
        return "\n".join(_lines(self))


def plan(
    basedir: str,
    key: str,
    *,
    withdraw: int | None = None,
    reinstate: int | None = None,
    release: bool = False,
    cls: type | None = None,
    of: str | None = None,
) -> Plan:
    """Returns what would be done about an object. Changes nothing. ``cls`` is needed to drop an alarm alone.

    Raises `UsageError` if that can't be done, and what `Reading` raises.
    """
    with Reading(place_of(basedir, key), cls, of) as reading, paths.reads(basedir):
        deaths = tuple(reading.deaths_of(key))
        told: dict[str, Any] = {"does": "", "index": 0, "call": "", "record": 0, "becomes": 0, "appended": b""}
        if release:
            if not deaths:
                raise UsageError(
                    f"{basedir}: the process has not died of {key!r}, or that was struck out. Nothing was changed."
                )
            told["does"] = "release"
        elif withdraw is not None:
            waiting = next((each for each in deaths if each.action == withdraw and each.doing in _WAITS), None)
            found = _dropping(reading, key, waiting) if waiting is not None else _withdrawing(reading, key, withdraw, deaths)
            told |= {"does": "withdraw", "index": withdraw, **found}
        elif reinstate is not None:
            told |= {"does": "reinstate", "index": reinstate, **_reinstating(reading, key, reinstate)}
        return Plan(basedir=reading.basedir, key=key, of=reading.prefix[:-1].decode(), deaths=deaths, **told)


def carry_out(plan: Plan, cls: type | None = None, calls: Calls | None = None) -> str:
    """Does what a plan says. Returns the directory that has what was changed, as it was.

    Raises:
        UsageError: the directory is not as it was when the plan was made.
        DirectoryInUse: it is open.
        JournalError: the disk refused. Nothing is lost; plan and carry out again.
    """
    calls, basedir = Calls() if calls is None else calls, plan.basedir
    with paths.writes(basedir, "It is not finished, and nothing is lost: plan and carry it out again."):
        lock = DirectoryLock(basedir)
        try:
            if _planned_again(plan, cls) != plan:
                raise UsageError(f"{basedir} is not as it was when the plan was made. Nothing was changed. Make a new plan.")
            return _carried_out(calls, plan, lock)
        finally:
            lock.release()


def _planned_again(before: Plan, cls: type | None) -> Plan:
    withdraw, reinstate = (before.index if before.does == name else None for name in ("withdraw", "reinstate"))
    return plan(
        before.basedir,
        before.key,
        withdraw=withdraw,
        reinstate=reinstate,
        release=before.does == "release",
        cls=cls,
        of=before.of or None,
    )


def _carried_out(calls: Calls, plan: Plan, lock: DirectoryLock) -> str:
    basedir = plan.basedir
    name, offset = _place(calls, plan) if plan.record else ("", 0)
    kind = {"release": "released", "withdraw": "withdrawn", "reinstate": "reinstated"}[plan.does]
    names = [each for each in (name, poison.DEATHS) if each and paths.exists(os.path.join(basedir, each))]
    note = {
        "dropped": not plan.record and plan.becomes != action.WITHDRAWN,
        "index": plan.index,
        "outcome": _outcome(calls, plan, name, offset),
        "call": plan.call,
        "key": plan.key,
    }
    aside = set_aside(calls, basedir, kind, names, None, {NOTE: json.dumps(note).encode()})
    if plan.record:
        _change(calls, basedir, name, offset, plan)
    elif plan.appended:
        _append(calls, plan, lock)
    if plan.does != "reinstate":
        stored = f"{plan.of}\0{plan.key}" if plan.of else plan.key
        left = [each for each in poison.read(calls, basedir) if each.key != stored]
        poison.write(calls, basedir, left)
    return aside


def _append(calls: Calls, plan: Plan, lock: DirectoryLock) -> None:
    with Reading(plan.basedir, of=plan.of or None) as reading:
        newest = action.instant_of(next(iter(reading.after(reading.log.last - 1)))[2][: action.HEADER.size])
        system = reading.manifest.system
    header = action.HEADER.pack(max(time.time_ns(), newest), 0, 0)[:_OUTCOME]
    journal = Journal(calls, plan.basedir, system, floor=0, held=lock)
    try:
        journal.append_together(*joined([header + plan.appended]))
    finally:
        journal.close()


def _change(calls: Calls, basedir: str, name: str, offset: int, plan: Plan) -> None:
    data = _data(calls, basedir, name)
    found = frame.whole(data, offset)
    assert found is not None, "the plan is of this place"
    place = _outcome_at(data, offset, found, plan.record)
    end = offset + found.length
    changed = frame.changed(data[offset:end], place - offset, data[place] & 0xF0 | plan.becomes)
    directory.write_whole(calls, os.path.join(basedir, name), data[:offset] + changed + data[end:])
    calls.sync_directory(basedir)


def _place(calls: Calls, plan: Plan) -> tuple[str, int]:
    """Returns the segment, and the offset of the frame, in which a record stands that is changed."""
    with Reading(plan.basedir, of=plan.of or None) as reading:
        firsts = reading.log.firsts
        first = firsts[bisect_right(firsts, plan.record) - 1]
        [offset] = [link.offset for link in reading.links(plan.key) if link.place == plan.record]
    return os.path.basename(directory.segment_path(plan.basedir, first)), offset


def _outcome(calls: Calls, plan: Plan, name: str, offset: int) -> str:
    """Returns how the action is said to have ended, before it is changed."""
    if not plan.record:
        return action.OUTCOMES[action.UNKNOWN]
    data = _data(calls, plan.basedir, name)
    found = frame.whole(data, offset)
    assert found is not None, "the plan is of this place"
    return action.OUTCOMES[data[_outcome_at(data, offset, found, plan.record)] & 0x0F]


def _outcome_at(data: bytes, offset: int, found: frame.Frame, index: int) -> int:
    """Returns the place of the outcome in the header of a record of a frame."""
    start = offset + found.begin
    if found.first == found.index:
        return start + _OUTCOME
    sizes = sizes_of(data[offset + frame.MANY_HEAD.size : start])
    return list(accumulate(sizes, initial=start - len(WRAP)))[index - found.first] + len(WRAP) + _OUTCOME


def _data(calls: Calls, basedir: str, name: str) -> bytes:
    file = File(calls, os.path.join(basedir, name), write=False)
    try:
        return file.read(0, file.size)
    finally:
        file.close()


# -- what there is


def _dropping(reading: Reading, key: str, death: Death) -> dict[str, Any]:
    """Returns the record with which a call that waits, or an alarm, is dropped."""
    args: tuple[Any, ...] = ()
    if death.doing == "alarm":
        if reading.kind.cls is object:
            raise UsageError(
                f"{reading.basedir}: which alarm of {key!r} is due is known once the object is loaded, and its class can't be imported. "
                f"Nothing was changed. Name it: --class module:Class"
            )
        found = reading.alarm_due(key)
        if found is None:
            raise UsageError(f"{reading.basedir}: {key!r} has no alarm. Nothing was changed.")
        args = found
    call = reading.kind.codec.encode_call(keyed.PASSED, args, {})[0]
    what = f"{death.method}(), {'an alarm' if death.doing == 'alarm' else 'a call that waits'}"
    return {"call": what, "appended": _record(reading, key, action.UNKNOWN, call)}


def _withdrawing(reading: Reading, key: str, index: int, deaths: tuple[Death, ...]) -> dict[str, Any]:
    chain = reading.links(key)
    at = _at(reading, key, index, deaths)
    later = [link for link in chain[at + 1 :] if link.name == keyed.STATE]
    if later:
        raise UsageError(
            f"{reading.basedir}: what action {index} did is in the state of {key!r} that was written as record {later[-1].place}, with which "
            f"loading begins. Withdrawing the action would change nothing. Nothing was changed. Change the object by a call."
        )
    header = chain[at].found.header + b"\0"
    call = call_of(header + chain[at].found.call)[1]
    if at + 1 < len(chain):
        following = chain[at + 1]
        if following.found.outcome == action.WITHDRAWN:
            raise UsageError(f"{reading.basedir}: action {index} is withdrawn already. Nothing was changed.")
        return {"call": call, "record": following.place, "becomes": action.WITHDRAWN}
    ended = bytes([0x8C, len(keyed.ENDED)]) + keyed.ENDED.encode() + b")"
    return {"call": call, "appended": _record(reading, key, action.WITHDRAWN, ended), "becomes": action.WITHDRAWN}


def _reinstating(reading: Reading, key: str, index: int) -> dict[str, Any]:
    before = next((each for each in _notes(reading.basedir) if each.get("index") == index and each.get("key") == key), None)
    chain = reading.links(key)
    places = [link.place for link in chain]
    if before is None:
        raise UsageError(
            f"{reading.basedir}: action {index} of {key!r} was not withdrawn by `coopy repair --key`; no withdrawn-*/{NOTE} is about it. "
            f"Nothing was changed."
        )
    if before.get("dropped"):
        # What waited was dropped by a record, which is withdrawn in turn.
        index = next((link.place for link in reversed(chain) if link.name == keyed.PASSED), 0)
        found = _withdrawing(reading, key, index, ())
        return {**found, "call": str(before["call"])}
    if index not in places:
        raise UsageError(f"{reading.basedir}: there is no record {index} of {key!r} any more. Nothing was changed.")
    at = places.index(index)
    if at + 1 >= len(chain) or chain[at + 1].found.outcome != action.WITHDRAWN:
        raise UsageError(f"{reading.basedir}: action {index} is not withdrawn. Nothing was changed.")
    becomes = action.OUTCOMES.index(str(before["outcome"]))
    return {"call": str(before["call"]), "record": chain[at + 1].place, "becomes": becomes}


def _at(reading: Reading, key: str, index: int, deaths: tuple[Death, ...]) -> int:
    """Returns the number of an action among the records of its object. Raises `UsageError` if it is none."""
    chain = reading.links(key)
    for at, link in enumerate(chain):
        if link.place == index and link.name not in NO_CALLS:
            return at
    if any(each.action == index for each in deaths):
        raise UsageError(
            f"{reading.basedir}: action {index} of {key!r} ended the process before it was recorded, so there is nothing to withdraw. Nothing was "
            f"changed. Mend the code, and give --release; whoever has called it may call it again."
        )
    raise UsageError(
        f"{reading.basedir}: record {index} is no call of {key!r}; `coopy log --key` has them. Nothing was changed."
    )


def _record(reading: Reading, key: str, outcome: int, call: bytes) -> bytes:
    """Returns a record of an object that is to be its newest, from its outcome on."""
    newest = reading.links(key)[-1]
    found = newest.found
    fields = keyed.fields(newest.place, newest.offset, found.version, reading.stored(key), found.code)
    return bytes([keyed.outcome(outcome, found.code)]) + fields + call


def _notes(basedir: str) -> list[dict[str, Any]]:
    """Returns what the directories of earlier withdrawals say, newest first."""
    found = []
    for name in sorted((each for each in os.listdir(basedir) if each.startswith("withdrawn-")), reverse=True):
        try:
            with open(os.path.join(basedir, name, NOTE), "rb") as file:
                said = json.load(file)
        except (FileNotFoundError, ValueError):
            continue
        if isinstance(said, dict):
            found.append(said)
    return found


# -- words

_WHAT = {
    "call": "{}(), a call",
    "read": "{}(), which reads",
    "told": "{}(), a call that waits in it",
    "alarm": "{}(), an alarm",
    "load": "replaying it",
    "state": "pickling it",
}


def _lines(plan: Plan) -> list[str]:
    lines = []
    if plan.deaths:
        is_out = len(plan.deaths) >= poison.DEATHS_MAX
        lines.append(f"{plan.key!r} in {plan.basedir} {'is quarantined' if is_out else 'is served'}. The process has died of:")
        lines += [f"  {each.at}  {_WHAT[each.doing].format(each.method)}, action {each.action}" for each in plan.deaths]
    else:
        lines.append(f"{plan.key!r} in {plan.basedir}: the process has not died of it, or that was struck out.")
    if not plan.does:
        return lines
    command = f"coopy repair {plan.basedir} --key {plan.key}"
    if plan.does == "release":
        lines.append(
            "It is to be released: all that is forgotten, and it is called again. Should it end the process twice once more, it is quarantined again."
        )
        return lines
    lines.append(f"  action {plan.index}: {plan.call}")
    if plan.does == "withdraw":
        lines.append("It is to be withdrawn: the object will be as if it had never been called, and is released.")
    else:
        lines.append("It is to be reinstated: it is run again.")
    if plan.record:
        lines.append(
            f"To be done: the segment is written anew, in which record {plan.record} says that it is {action.OUTCOMES[plan.becomes]}."
        )
    else:
        lines.append("To be done: a record is appended that says so.")
    lines.append("What is changed is kept in a directory inside.")
    lines.append(f"It can be taken back: {command} --{'reinstate' if plan.does == 'withdraw' else 'withdraw'} {plan.index}")
    return lines

"""Whether replay gives the state that the live system had.

A live system says now and then what state it is in: an index and the digest of its state (`coopy.values.digest`), how long that took,
and the digests of the state's members as far as there was time. Whoever replays compares, where it passes such an index. What a
method depends on that is not recorded can't be listed; that it made a difference can be seen.

Does not decide when a digest is taken, nor what becomes of a difference.

An entry's text is a JSON object:

    digest   32 hexadecimal digits; not there if there was no time
    took_us  how long the digest took, or until it was given up
    parts    the digests of members of the state by their place, 8 hexadecimal digits each; as many as there was room for
    at       the instant of the action, in nanoseconds: of another action of that index nothing is said
    own      true, if code of the domain's own classes (a __getstate__, a __reduce__) had to run for it; not there otherwise
    code     what the digest depends on besides the state: the format of digests, the Python, and the version of the class
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from coopy.errors import EncodingError
from coopy.ground import action
from coopy.ground.storage import SnapshotStore
from coopy.spine.machine import Machine

PARTS_MAX, PARTS_CHARS = 32, 1500
"""Of so many members, or in so many characters of its text, an entry says digests: it is a hint where to look, and stays small."""
_PART_DIGITS = 8
"""32 bits tell two members apart; the digest of the whole state has all of its digits."""
STOPS = 8
"""At so many indexes, beside the first and the last, states are compared while all is replayed."""


class Said(NamedTuple):
    """What a live system said of its state after an action."""

    action: int
    """Its index."""
    digest: str
    took_s: float
    parts: dict[str, str]
    at: int
    code: str
    own: bool


class Difference(NamedTuple):
    """Replay gives another state than the live system had."""

    after: int
    """Index at which the two were last seen to be the same; -1 if there is none."""
    action: int
    """Index at which they differ."""
    path: str
    """Where in the state, as far as that is known."""


def code_of(machine: Machine) -> str:
    """What digests depend on besides the state."""
    from coopy.values import digest

    return f"{digest.FORMAT} {sys.version_info[0]}.{sys.version_info[1]} {machine.migration.version}"


def say(machine: Machine, within_s: float) -> str | None:
    """The text of an entry on the state of a machine that is between two actions; None if the state can't be digested.

    Code of the domain may run for it, as it does for a snapshot: it may wait for a lock, or end the process.
    """
    return say_plainly(machine, within_s) or _say(machine, within_s, True)


def say_plainly(machine: Machine, within_s: float) -> str | None:
    """The same; None as well if code of the domain would have to run."""
    return _say(machine, within_s, False)


def _say(machine: Machine, within_s: float, runs_code: bool) -> str | None:
    import json

    from coopy.values import digest

    began = time.thread_time()
    found: dict[str, Any] = {"at": action.instant_of(machine.header), "code": code_of(machine)}
    try:
        found["digest"] = digest.digest(machine.domain, began + within_s, runs_code).hex()
        found["took_us"] = int((time.thread_time() - began) * 1e6)
        found["parts"] = _parts(machine.domain, began + within_s, runs_code)
    except digest.OutOfTime:
        found["took_us"] = int((time.thread_time() - began) * 1e6)
    except (EncodingError, digest.OwnCode):
        return None
    if runs_code:
        found["own"] = True
    return json.dumps(found, separators=(",", ":"))


def understood(index: int, text: str) -> Said | None:
    """An entry, if this release can read it."""
    import json

    try:
        found = json.loads(text)
        parts = {str(place): str(each) for place, each in found.get("parts", {}).items()}
        took_s, own = found["took_us"] / 1e6, found.get("own", False) is True
        return Said(index, str(found.get("digest", "")), took_s, parts, int(found["at"]), str(found["code"]), own)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _parts(state: object, until: float, runs_code: bool) -> dict[str, str]:
    """The digests of members, until there is no more time, or room."""
    from coopy.values import digest

    found: dict[str, str] = {}
    room = PARTS_CHARS
    for place, value in digest.members(state):
        room -= len(place) + _PART_DIGITS + 6
        if len(found) == PARTS_MAX or room < 0:
            break
        try:
            found[place] = digest.digest(value, until, runs_code).hex()[:_PART_DIGITS]
        except digest.OutOfTime:
            break
    return found


class Comparison:
    """Compares a machine that is replayed with what was said, at some indexes that it passes."""

    def __init__(self, said: Sequence[Said], code: Callable[[Machine], str] = code_of) -> None:
        self._said = {each.action: each for each in said if each.digest}  # Of two on one state the later one counts.
        self._code = code
        self.begin()

    @property
    def stops(self) -> list[int]:
        """The indexes, ascending."""
        return sorted(self._said)

    def begin(self) -> None:
        """Forgets what was found: it is replayed from the beginning."""
        self.difference: Difference | None = None
        self.same = -1
        """Index at which the two were last seen to be the same."""

    def visit(self, machine: Machine) -> None:
        """Compares the state of a machine."""
        said = self._said[machine.applied]
        if self.difference is not None or said.code != self._code(machine) or said.at != action.instant_of(machine.header):
            return
        path = differs(machine, said)
        if path is None:
            self.same = machine.applied
        else:
            self.difference = Difference(self.same, machine.applied, path)


def differs(machine: Machine, said: Said) -> str | None:
    """Where the state of a machine is not what was said of it; "state" if only that is known, None if it is the same."""
    from coopy.values import digest

    try:
        if digest.digest(machine.domain).hex() == said.digest:
            return None
        now = {place: digest.digest(value).hex()[:_PART_DIGITS] for place, value in digest.members(machine.domain)}
    except EncodingError:
        return None  # Nothing can be said of it.
    gone = [place for place in said.parts if place not in now]
    found = [place for place in said.parts if place in now and now[place] != said.parts[place]]
    return ", ".join(f"state{place}" for place in (found + gone)[:3]) or "state"


def chosen(said: Sequence[Said], start: int, last: int, patience_s: float) -> list[Said]:
    """Those that are worth comparing from a snapshot to the end of a log: the first, the last, and some in between.

    So many as can be digested in about ``patience_s``, as long as it took live; the last ones before the others.
    """
    there = sorted({each.action: each for each in said if start <= each.action <= last and each.digest}.values())
    if not there:
        return []
    step = max(1, (len(there) - 1) // (STOPS + 1))
    wanted = [there[-1], *(each for each in there[-1 - step :: -step]), there[0]]
    found: dict[int, Said] = {}
    for each in wanted:
        patience_s -= each.took_s if each.action not in found else 0
        if patience_s < 0:
            break
        found[each.action] = each
    return sorted(found.values())


def path_between(one: object, other: object, within_s: float) -> str:
    """The innermost place in which two states differ, as far as it is found in time."""
    from coopy.values import digest

    until = time.thread_time() + within_s
    path, seen = "state", {id(one)}
    while True:
        try:
            ones, others = dict(digest.members(one)), dict(digest.members(other))
        except EncodingError:
            return path
        for place in [*ones, *(place for place in others if place not in ones)]:
            if place not in ones or place not in others:
                return path + place
            try:
                if digest.digest(ones[place], until) == digest.digest(others[place], until):
                    continue
            except (digest.OutOfTime, EncodingError):
                return path
            path, one, other = path + place, ones[place], others[place]
            if id(one) in seen:
                return path
            seen.add(id(one))
            break
        else:
            return path


class Only:
    """A store of snapshots that has but one. A `coopy.ground.storage.SnapshotStore`, to be read."""

    def __init__(self, snapshots: SnapshotStore, index: int) -> None:
        self._snapshots = snapshots
        self._index = index

    def indexes(self) -> list[int]:
        return [self._index]

    def latest(self, upto: int | None = None) -> Any:
        found = self._snapshots.latest(self._index)
        return found if found is not None and found[0] == self._index else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._snapshots, name)

"""What the tools ask of a directory of many objects: their calls, each as it was, and whether the log gives what they are."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from coopy import CoopyError, UsageError
from coopy.ground import action, keyed
from coopy.ground.raised import attempted
from coopy.objects.reading import Reading, all_of, has_objects, place_of
from coopy.past.history import Action
from coopy.tools import domain as domains
from coopy.tools import tree

__all__ = ["Reading", "all_of", "calls", "calls_of_all", "class_of", "has_objects", "opened", "place_of", "problems"]
Point = int | datetime


def class_of(basedir: str, spec: str | None, of: str | None, tell: Callable[[str], None], needed: bool) -> type | None:
    """Returns the class of the objects that are asked for, and tells before what is about to be loaded.

    None if it can't be imported, and is not ``needed``. Raises `UsageError`, a `StorageError`.
    """
    with all_of(basedir) as readings:
        said, last = readings[0].manifest, sum(each.log.last for each in readings)
    tell(domains.announcement(basedir, said, last))
    try:
        return domains.load(spec or of) if spec or of else domains.domain_class(said, None)  # type: ignore[arg-type]
    except UsageError:
        if needed or spec is not None:
            raise
        return None


def opened(
    basedir: str, key: str, spec: str | None, of: str | None, tell: Callable[[str], None], *, needed: bool = True
) -> Reading:
    """Returns the journal that has an object, opened to be read, for a class; see `class_of`."""
    return Reading(place_of(basedir, key), class_of(basedir, spec, of, tell, needed), of)


class Keyed(NamedTuple):
    """A call, and the key of its object; that of another class than the directory's has the class in front."""

    key: str
    call: Action


def calls(reading: Reading, key: str | None, since: Point | None = None, until: Point | None = None) -> Iterator[Keyed]:
    """Yields the calls of an object, or of all with None, in order. Raises `UsageError`, a `StorageError`."""
    for each in _of_one(reading, key) if key is not None else _of_all(reading):
        if _is_before(each.call, since, True):
            continue
        if until is not None and not _is_before(each.call, until, False):
            return
        yield each


def calls_of_all(readings: list[Reading], since: Point | None = None, until: Point | None = None) -> Iterator[Keyed]:
    """Yields the calls of all objects, in the order of their times. Raises what `calls` raises."""
    return heapq.merge(
        *(calls(each, None, since, until) for each in readings), key=lambda each: action.instant_of(each.call.header)
    )


def _is_before(each: Action, point: Point | None, strictly: bool) -> bool:
    """Returns whether a call is before a point, or at it."""
    if point is None:
        return False
    if isinstance(point, int):
        return each.index < point or (each.index == point and not strictly)
    instant, then = action.instant_of(each.header), action.nanoseconds(point)
    return instant < then if strictly else instant <= then + 999  # Times have microseconds, and actions nanoseconds.


def _of_one(reading: Reading, key: str) -> Iterator[Keyed]:
    for each in reading.calls(key):
        found = Action(each.place, each.header + bytes([each.outcome]), each.method, each.args, each.kwargs)
        found.outcome = each.outcome
        yield Keyed(key, found)


def _of_all(reading: Reading) -> Iterator[Keyed]:
    """Yields the calls of all objects. How each has ended is found by a first reading."""
    ended: dict[int, int] = {}
    newest: dict[bytes, int] = {}
    first = reading.log.oldest - 1
    for index, _, record in reading.after(first):
        found = keyed.parts(record)
        if found.key in newest and found.outcome not in (action.RETURNED, action.UNKNOWN):
            ended[newest[found.key]] = found.outcome
        if reading.is_call(record):
            newest[found.key] = index
    for index, _, record in reading.after(first):
        if reading.is_call(record):
            found = keyed.parts(record)
            call = Action(index, found.header + b"\0", *reading.decoded(record))
            call.outcome = ended.get(index, action.RETURNED if newest[found.key] != index else action.UNKNOWN)
            yield Keyed(found.key.decode().replace("\0", " "), call)


class Problem(NamedTuple):
    """Something that is not as it should be, and of which object."""

    key: str
    action: int
    text: str


def problems(reading: Reading, progress: Callable[[int, int], None]) -> tuple[int, int, list[Problem]]:
    """Loads all objects of the class, and compares each of their states in the log with what the calls before it make.

    Returns how many objects and how many states that were, and what is wrong. An object that is quarantined is not loaded.
    """
    found, states = [], 0
    keys = reading.keys()
    for number, key in enumerate(keys, 1):
        if len(reading.deaths_of(key)) > 1:
            found.append(Problem(key, 0, "it is quarantined, and was not loaded"))
            continue
        said, error = attempted(_of_states, reading, key)
        if said is None:
            found.append(Problem(key, getattr(error, "index", 0) or 0, f"{type(error).__name__}: {error}"))
        else:
            states += said[0]
            found += said[1]
        progress(number, len(keys))
    return len(keys), states, found


def _of_states(reading: Reading, key: str) -> tuple[int, list[Problem]]:
    count, found = 0, []
    for index, made, kept in reading.spans(key):
        count += 1
        first = next(iter(tree.differences(kept, made)), None)
        if first is not None:
            found.append(
                Problem(key, index, f"replay gives another state than was written: {first.path or 'all of it'} differs")
            )
    try:
        reading.state(key)
    except CoopyError as error:
        found.append(Problem(key, getattr(error, "index", 0) or 0, str(error)))
    return count, found

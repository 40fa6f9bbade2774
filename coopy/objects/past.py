"""What an object was: its actions one by one, and its state after one of them. Reads what the log has of its key, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from coopy.errors import CoopyError, PrunedPast, UsageError
from coopy.ground import action, keyed
from coopy.objects.engine import Engine, name_of
from coopy.objects.kind import Action, Kind
from coopy.values.codec import decode_one


class Recorded(NamedTuple):
    """A call of an object, as it was recorded."""

    action: int
    """The index of its record, among those of all objects."""
    at: datetime
    """When it was recorded, with the UTC offset of then."""
    method: str
    """The name; `<take>` and `<alarm>` are those with which coopy has run what the object was told, or an alarm of it."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outcome: str
    """How it has ended: "returned", "raised" or "withdrawn"; "unknown" of the last one, if nothing says so yet."""


class _Link(NamedTuple):
    """A record of the object, and how the action before it has ended."""

    place: int
    found: keyed.Keyed
    name: str | None


def history(engine: Engine, kind: Kind, key: bytes) -> Iterator[Recorded]:
    """Yields the calls of an object in order: those of which there is a record still. Raises a `StorageError`, `DecodingError`."""
    links = _links(engine, kind, key)
    for link, ended in zip(links, _ends(engine, kind, key, links), strict=True):
        if link.name in (keyed.STATE, keyed.ENDED, keyed.DELETED, keyed.TOLD):
            continue
        name, args = decode_one(link.found.call)
        kwargs: dict[str, Any] = {}
        if name is None:
            name, args, *rest = kind.codec.decode_call(args, link.found.version)
            kwargs = rest[0] if rest else {}
        header = link.found.header + b"\0"
        yield Recorded(link.place, action.aware_time(header), name, args, kwargs, action.OUTCOMES[ended])


def replay(engine: Engine, kind: Kind, key: bytes, until: int | datetime) -> Any:
    """Returns the object as it was after the record of an index, or at a time: a plain object, whose methods record nothing.

    Raises KeyError if there was none, `PrunedPast` if what it needs is not there any more, `ReplayError`, `DecodingError`, a `StorageError`.
    """
    if isinstance(until, bool) or not isinstance(until, (int, datetime)):
        raise UsageError(f"until={until!r}: must be the index of a record, or a datetime")
    links = _links(engine, kind, key)
    ends = _ends(engine, kind, key, links)
    if isinstance(until, datetime):
        instant = action.nanoseconds(until)
        upto = [link for link in links if action.instant_of(link.found.header + b"\0") <= instant]
    else:
        upto = [link for link in links if link.place <= until]
    if not upto:
        if links and links[0].found.before:
            raise PrunedPast(f"{kind.text(key)!r} as it was {until}", links[0].place)
        raise KeyError(kind.text(key))
    actions: list[Action] = []
    state, number = b"", 0
    for link, ended in zip(upto, ends, strict=False):
        if link.name == keyed.STATE:
            state, actions = link.found.call, []
        elif link.name == keyed.TOLD:
            actions.append(Action(link.place, b"", 0, b"", action.RETURNED, decode_one(link.found.call)[1]))
        elif link.name != keyed.ENDED:
            if not state and not any(each.told is None for each in actions):
                number = link.place - 1
            actions.append(Action(link.place, link.found.header, link.found.version, link.found.call, ended))
    if not state and upto[0].found.before:
        raise PrunedPast(f"{kind.text(key)!r} as it was {until}", links[0].place)
    domain = engine.as_it_was(kind, key, state, number, actions)
    if domain is None:
        raise KeyError(kind.text(key))
    return domain


def _links(engine: Engine, kind: Kind, key: bytes) -> list[_Link]:
    """Returns the records of an object in order, as far back as there are."""
    index, offset = engine.place_of(key)
    links: list[_Link] = []
    while index:
        try:
            found = keyed.parts(engine.store.at(index, offset))
        except CoopyError:
            if links and index < engine.store.begins()[0]:
                break  # Those before were deleted.
            raise
        name = name_of(found.call)
        if name == keyed.DELETED:
            break
        links.append(_Link(index, found, name))
        index, offset = found.before, found.offset or offset
    links.reverse()
    return links


def _ends(engine: Engine, kind: Kind, key: bytes, links: list[_Link]) -> list[int]:
    """Returns how each has ended, which the record after it says; the last one only memory may know."""
    return [link.found.outcome for link in links[1:]] + [engine.outcome_of(kind, key)] if links else []

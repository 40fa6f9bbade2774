"""What an object was: its actions one by one, and its state after one of them. Reads what the log has of its key, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    """The name; `<take>` and `<alarm>` are those with which coopy has run what the object was told, or an alarm of it; `<done>` says that
    an effect was carried out."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outcome: str
    """How it has ended: "returned", "raised" or "withdrawn"; "unknown" of the last one, if nothing says so yet."""


class Link(NamedTuple):
    """A record of the object, and how the action before it has ended."""

    place: int
    offset: int
    """Where its frame begins in its segment."""
    found: keyed.Keyed
    name: str | None


class Call(NamedTuple):
    """A call of an object as the log has it."""

    place: int
    header: bytes
    """Without the outcome at its end."""
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outcome: int


def history(engine: Engine, kind: Kind, key: bytes) -> Iterator[Recorded]:
    """Yields the calls of an object in order: those of which there is a record still. Raises a `StorageError`, `DecodingError`."""
    for each in calls(engine, kind, key):
        at = action.aware_time(each.header + b"\0")
        yield Recorded(each.place, at, each.method, each.args, each.kwargs, action.OUTCOMES[each.outcome])


def calls(engine: Engine, kind: Kind, key: bytes) -> Iterator[Call]:
    """Yields the same, as the log has them."""
    chain = links(engine, kind, key)
    for link, ended in zip(chain, _ends(engine, kind, key, chain), strict=True):
        if link.name not in NO_CALLS:
            yield Call(link.place, link.found.header, *decoded(kind, link.found), ended)


NO_CALLS = (keyed.STATE, keyed.ENDED, keyed.DELETED, keyed.TOLD, keyed.SENT, keyed.HEARD)
"""Names of records that call no method."""


def decoded(kind: Kind, found: keyed.Keyed) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Returns the method of a call and its arguments. Raises `DecodingError`."""
    name, args = decode_one(found.call)
    if name is not None:
        return name, args, {}
    name, args, *rest = kind.codec.decode_call(args, found.version)
    return name, args, rest[0] if rest else {}


def replay(engine: Engine, kind: Kind, key: bytes, until: int | datetime) -> Any:
    """Returns the object as it was after the record of an index, or at a time: a plain object, whose methods record nothing.

    Raises KeyError if there was none, `PrunedPast` if what it needs is not there any more, `ReplayError`, `DecodingError`, a `StorageError`.
    """
    if isinstance(until, bool) or not isinstance(until, (int, datetime)):
        raise UsageError(f"until={until!r}: must be the index of a record, or a datetime")
    chain = links(engine, kind, key)
    ends = _ends(engine, kind, key, chain)
    if isinstance(until, datetime):
        instant = action.nanoseconds(until)
        upto = [link for link in chain if action.instant_of(link.found.header + b"\0") <= instant]
    else:
        upto = [link for link in chain if link.place <= until]
    if not upto:
        if chain and chain[0].found.before:
            raise PrunedPast(f"{kind.text(key)!r} as it was {until}", chain[0].place)
        raise KeyError(kind.text(key))
    if upto[0].found.before and not any(each.name == keyed.STATE for each in upto):
        raise PrunedPast(f"{kind.text(key)!r} as it was {until}", chain[0].place)
    domain = made_of(engine, kind, key, upto, ends)
    if domain is None:
        raise KeyError(kind.text(key))
    return domain


def made_of(engine: Engine, kind: Kind, key: bytes, chain: Sequence[Link], ends: Sequence[int]) -> Any:
    """Returns what records of an object make, with how each has ended: the object after the last of them; None if that is none."""
    return engine.as_it_was(kind, key, *made_from(chain, ends))


def made_from(chain: Sequence[Link], ends: Sequence[int]) -> tuple[bytes, int, list[Action]]:
    """Returns the newest state in records of an object, the number of the action before those that follow, and these."""
    actions: list[Action] = []
    state, number = b"", 0
    for link, ended in zip(chain, [*ends, action.UNKNOWN], strict=False):
        if link.name == keyed.STATE:
            state, actions = link.found.call, []
        elif link.name == keyed.TOLD:
            actions.append(Action(link.place, b"", 0, 0, b"", action.RETURNED, decode_one(link.found.call)[1]))
        elif link.name != keyed.ENDED:
            if not state and not any(each.told is None for each in actions):
                number = link.place - 1
            actions.append(Action(link.place, link.found.header, link.found.version, link.found.code, link.found.call, ended))
    return state, number, actions


def links(engine: Engine, kind: Kind, key: bytes) -> list[Link]:
    """Returns the records of an object in order, as far back as there are."""
    return links_upto(engine, *engine.place_of(key))


def links_upto(engine: Engine, index: int, offset: int) -> list[Link]:
    """Returns the records of an object up to one, in order, as far back as there are."""
    chain: list[Link] = []
    while index:
        try:
            found = keyed.parts(engine.store.at(index, offset))
        except CoopyError:
            if chain and index < engine.store.begins()[0]:
                break  # Those before were deleted.
            raise
        name = name_of(found.call)
        if name == keyed.DELETED:
            break
        chain.append(Link(index, offset, found, name))
        index, offset = found.before, found.offset or offset
    chain.reverse()
    return chain


def _ends(engine: Engine, kind: Kind, key: bytes, chain: list[Link]) -> list[int]:
    """Returns how each has ended, which the record after it says; the last one only memory may know."""
    return [link.found.outcome for link in chain[1:]] + [engine.outcome_of(kind, key)] if chain else []

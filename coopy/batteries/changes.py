"""What the structures say of what they change, and how a `Change` reads.

A structure says it with `coopy.tell`, as the pieces of a `Change` from its kind on, and only while somebody listens: nothing of it is in the
state, and nothing is recorded. Values are said as they are kept, which nobody changes. An object that can't be frozen is not said at all: whoever
takes it out of the structure may change it before the listener sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from coopy import tell
from coopy.batteries.frozen import ATOMS, Boxed, kept

KINDS = {
    "added": "it was not there before",
    "set": "it has another value",
    "removed": "somebody has taken it out",
    "expired": "its time was over",
    "evicted": "it fell out, because there was no more room",
    "touched": "it got its full time again",
    "moved": "the order is another one (`sort`, `reverse`, `rotate`), or what stands at each position",
    "passed": "all have come to a barrier",
    "broken": "a barrier is broken",
    "missed": "what was done up to this index is not known here any more: read again",
}
"""What may have happened. The guide has them from here."""


class _Word:
    """A value that stands for itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:
        return self._name


ALL: Final = _Word("ALL")
"""The key of a change that concerns all of a structure, or one that has no keys; and what is watched by default."""
NOT_TOLD: Final = _Word("NOT_TOLD")
"""In the place of a value that is an object of another class, of which no copy is made for listeners: read it. See docs/guides/batteries.md."""


class Change(NamedTuple):
    """What an action has changed in a structure.

    >>> from datetime import datetime, timezone
    >>> Change(7, datetime(2030, 1, 1, tzinfo=timezone.utc), "set", "tea", 3, 4).after
    4
    """

    index: int  # type: ignore[assignment]
    """The index of the action. One action may make several changes."""
    time: datetime
    """When the action happened, with the UTC offset of where it happened."""
    kind: str
    """What has happened; see the guide for all of them."""
    key: Any
    """A key, a member, a position, an owner, or `ALL`."""
    before: Any
    """The value before; None if there was none."""
    after: Any
    """The value after; None if there is none."""


def said(value: Any) -> Any:
    """Returns a value as listeners are told of it."""
    if type(value) in ATOMS:
        return value
    value = kept(value)
    return NOT_TOLD if type(value) is Boxed else value


def tell_change(source: object, kind: str, key: Any = ALL, before: Any = None, after: Any = None) -> None:
    """Says that the running action changes a structure."""
    tell(source, kind, key if key is ALL else said(key), said(before), said(after))


def tell_put(source: object, items: Mapping[Any, Any], key: Any, after: Any) -> None:
    """Says that a key gets a value. To be called before it has it."""
    if key in items:
        tell_change(source, "set", key, items[key], after)
    else:
        tell_change(source, "added", key, None, after)


def tell_taken(source: object, items: Mapping[Any, Any], keys: Iterable[Any], kind: str = "removed") -> None:
    """Says that those of some keys which are there go. To be called before they have gone."""
    for key in keys:
        if key in items:
            tell_change(source, kind, key, items[key])


def tell_difference(source: object, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> None:
    """Says what has come, has gone, and is another value, of keys and values before an action and after it."""
    tell_taken(source, before, [key for key in before if key not in after])
    for key, value in after.items():
        if key not in before:
            tell_change(source, "added", key, None, value)
        elif before[key] is not value:
            tell_change(source, "set", key, before[key], value)

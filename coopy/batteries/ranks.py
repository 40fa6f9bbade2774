"""Leaderboard: who has how many points, and which place that is. It needs sortedcontainers, the extra ``[batteries]``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from coopy import abort_exception, listeners, readonly
from coopy.batteries.battery import Battery
from coopy.batteries.changes import tell_change
from coopy.batteries.frozen import Given, given, kept

try:
    from sortedcontainers import SortedDict  # type: ignore[import-untyped]
except ImportError:
    SortedDict = None

T = TypeVar("T")


class Leaderboard(Battery, Generic[T]):
    """Members with scores, the highest first; of equal ones that which had its score first. Places count from 1.

    >>> from coopy import init_system
    >>> board = init_system(Leaderboard, "board")
    >>> board.set("ann", 30), board.set("bob", 50), board.add("eve", 30), board.add("ann", 5)
    (1, 1, 30, 35)
    >>> board.top(2), board.rank("eve"), board.around("ann", 1)
    ([('bob', 50), ('ann', 35)], 3, [(1, 'bob', 50), (2, 'ann', 35), (3, 'eve', 30)])
    """

    _KEYS = "member"

    def __init__(self) -> None:
        if SortedDict is None:
            raise ImportError("Leaderboard needs the package sortedcontainers: pip install 'coopy[batteries]'")
        self._places: Any = SortedDict()
        """By minus the score and a number that counts changes, the member."""
        self._keys: dict[Any, tuple[float, int]] = {}
        self._number = 0

    # -- actions

    @abort_exception
    def set(self, member: T, score: float) -> int:
        """Sets the score of a member, and returns its place."""
        self._put(kept(member), _checked(score))
        return self.rank(member)

    @abort_exception
    def add(self, member: T, points: float = 1) -> float:
        """Adds to the score of a member, who begins with 0. Returns the score."""
        score: float = _checked(self.score(member, 0) + points)
        self._put(kept(member), score)
        return score

    @abort_exception
    def remove(self, member: T) -> float:
        """Takes a member out, and returns its score. Raises KeyError."""
        key = self._keys.pop(member)
        del self._places[key]
        if listeners:
            tell_change(self, "removed", member, -key[0])
        return -key[0]

    @abort_exception
    def discard(self, member: T) -> None:
        """Takes a member out, if it is there."""
        if member in self._keys:
            self.remove(member)

    def clear(self) -> None:
        """Takes all out."""
        if listeners:
            for member, key in self._keys.items():
                tell_change(self, "removed", member, -key[0])
        self._places.clear()
        self._keys.clear()

    def _put(self, member: Any, score: float) -> None:
        before = self._keys.get(member)
        if before is not None:
            if before[0] == -score:
                return
            del self._places[before]
        if listeners:
            tell_change(self, "added" if before is None else "set", member, None if before is None else -before[0], score)
        key = -score, self._number
        self._number += 1
        self._keys[member] = key
        self._places[key] = member

    # -- reads

    @readonly
    def score(self, member: T, default: Any = None) -> Any:
        """Returns the score of a member, or the default if it is not there."""
        key = self._keys.get(member)
        return default if key is None else -key[0]

    @readonly
    def rank(self, member: T) -> int:
        """Returns the place of a member, 1 for the first. Raises KeyError."""
        return int(self._places.index(self._keys[member])) + 1

    @readonly
    def top(self, count: int = 10) -> list[tuple[T, float]]:
        """Returns the first members, with their scores."""
        return self.between(1, count)

    @readonly
    def between(self, first: int, last: int) -> list[tuple[T, float]]:
        """Returns the members from one place to another, that included, with their scores."""
        return [(given(self._places[key]), -key[0]) for key in self._places.islice(max(0, first - 1), max(0, last))]

    @readonly
    def around(self, member: T, count: int = 5) -> list[tuple[int, T, float]]:
        """Returns a member and those up to ``count`` places before and after it: place, member, score. Raises KeyError."""
        place = self.rank(member)
        first = max(1, place - count)
        return [(first + number, who, score) for number, (who, score) in enumerate(self.between(first, place + count))]

    def __contains__(self, member: object) -> bool:
        return member in self._keys

    def __iter__(self) -> Iterator[T]:
        return Given(self._places.values())

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"<Leaderboard of {len(self._keys)} members>"


def _checked(score: Any) -> Any:
    if score != score or not isinstance(score + 0, (int, float)):
        raise ValueError(f"score={score!r}: must be an int or a float that can be compared")
    return score

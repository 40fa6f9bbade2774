"""The keys of a store in order, so that those with one beginning are found without a look at all.

A list of blocks, each a sorted list of at most twice `BLOCK_KEYS` keys, and the last key of each: the place of a key is found by two
searches, and putting it in moves one block and no more. The idea is that of sortedcontainers (Grant Jenks,
grantjenks.com/docs/sortedcontainers), which is an extra and can't be asked for here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

BLOCK_KEYS = 512
"""Where a block is split: a few microseconds to move, and two thousand blocks for a million keys."""


class SortedKeys:
    """Texts in order, each once.

    >>> keys = SortedKeys()
    >>> for key in ("b/1", "a", "b/2", "c"):
    ...     keys.add(key)
    >>> list(keys.beginning("b/")), list(keys.beginning("", after="b/1")), list(keys.beginning("", before="b/2"))
    (['b/1', 'b/2'], ['b/2', 'c'], ['b/1', 'a'])
    """

    def __init__(self) -> None:
        self._blocks: list[list[str]] = []
        self._lasts: list[str] = []

    def add(self, key: str) -> None:
        """Puts a key in that is not there."""
        at = bisect_left(self._lasts, key)
        if at == len(self._lasts):
            if not at:
                self._blocks.append([key])
                self._lasts.append(key)
                return
            at -= 1
            block = self._blocks[at]
            block.append(key)
            self._lasts[at] = key
        else:
            block = self._blocks[at]
            insort(block, key)
        if len(block) > 2 * BLOCK_KEYS:
            self._blocks[at : at + 1] = [block[:BLOCK_KEYS], block[BLOCK_KEYS:]]
            self._lasts.insert(at, block[BLOCK_KEYS - 1])

    def remove(self, key: str) -> None:
        """Takes a key out that is there."""
        at = bisect_left(self._lasts, key)
        block = self._blocks[at]
        del block[bisect_left(block, key)]
        if block:
            self._lasts[at] = block[-1]
        else:
            del self._blocks[at], self._lasts[at]

    def beginning(self, prefix: str, after: str | None = None, before: str | None = None) -> Iterator[str]:
        """Yields the keys that begin with ``prefix`` and come after a key; with ``before`` those that come before it, backwards."""
        if before is not None:
            yield from self._backwards(prefix, before)
            return
        start, is_in = (prefix, True) if after is None or after < prefix else (after, False)
        for key in self._onwards(start, is_in):
            if not key.startswith(prefix):
                return
            yield key

    def last(self, prefix: str) -> str | None:
        """Returns the last key that begins with ``prefix``, or None if none does."""
        return next(self._backwards(prefix, None), None)

    def _onwards(self, start: str, is_in: bool) -> Iterator[str]:
        at = bisect_left(self._lasts, start)
        if at < len(self._blocks):
            block = self._blocks[at]
            yield from block[bisect_left(block, start) if is_in else bisect_right(block, start) :]
            for block in self._blocks[at + 1 :]:
                yield from block

    def _backwards(self, prefix: str, before: str | None) -> Iterator[str]:
        for key in self._from_above(prefix, before):
            if not key.startswith(prefix):
                if key < prefix:
                    return
                continue  # Above all that begin so.
            yield key

    def _from_above(self, prefix: str, before: str | None) -> Iterator[str]:
        # The first text above all that begin with the prefix, where there is one in this alphabet; otherwise from the end.
        above = _above(prefix)
        end = above if before is None else before if above is None else min(before, above)
        at = len(self._blocks) - 1
        if end is not None:
            at = min(bisect_left(self._lasts, end), at)
        for number in range(at, -1, -1):
            block = self._blocks[number]
            yield from reversed(block if end is None else block[: bisect_left(block, end)])

    def __len__(self) -> int:
        return sum(map(len, self._blocks))


def _above(prefix: str) -> str | None:
    """Returns a text that is above all which begin with ``prefix``, and above none that is itself above these; None if there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        if ord(prefix[at]) < _LAST_CHARACTER:
            return prefix[:at] + chr(ord(prefix[at]) + 1)
    return None


_LAST_CHARACTER = 0x10FFFF
"""Unicode has none after it."""

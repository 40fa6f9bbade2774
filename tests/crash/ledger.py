"""The domain of the crash campaign: it can tell whether its own history is whole.

``chain`` folds over the entries in order, so a state with an action missing,
doubled or out of its place does not agree with itself.
"""

from __future__ import annotations

import zlib

Entry = tuple[int, int]


def link(chain: int, entry: Entry) -> int:
    return zlib.crc32(repr(entry).encode("ascii"), chain)


class Ledger:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.written: dict[int, int] = {}
        self.chain = 0
        self.draws = 0

    def add(self, writer: int, number: int, filler: bytes) -> int:
        """Entry ``number`` of a writer, which must be its next."""
        assert number == self.written.get(writer, 0) + 1, "a writer's entries come in order, each once"
        self.entries.append((writer, number))
        self.written[writer] = number
        self.chain = link(self.chain, (writer, number))
        # What the env drew is a part of the state that no argument carries.
        self.draws = (self.draws * 31 + self._env.getrandbits(32)) % (1 << 61)  # type: ignore[attr-defined]
        return number

    def whole(self) -> bool:
        """Whether the state is the fold of its own entries."""
        chain, written = 0, {}
        for writer, number in self.entries:
            chain = link(chain, (writer, number))
            if number != written.get(writer, 0) + 1:
                return False
            written[writer] = number
        return (chain, written) == (self.chain, self.written)

"""Where events lie: the parts of the state of an event source that grow with it, in as few bytes as they need.

For each append five numbers are kept, for each run of events of a stream two, and nothing for an event. What an event says is in the journal.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Appends:
    """Each append, in order: where its events begin, and by which action they were recorded."""

    def __init__(self) -> None:
        self.firsts = array("Q")
        """Offset of the first event."""
        self.actions = array("Q")
        """Index of the action."""
        self.versions = array("Q")
        """Version of the first event in its stream."""
        self.sizes = array("Q")
        """Bytes of data of all events before it, since ever."""
        self.times = array("d")
        """Seconds since 1970."""
        self.size = 0
        """Bytes of data of all events, since ever."""

    def add(self, first: int, action: int, version: int, size: int, time: float) -> None:
        self.firsts.append(first)
        self.actions.append(action)
        self.versions.append(version)
        self.sizes.append(self.size)
        self.times.append(time)
        self.size += size

    def place(self, offset: int) -> int:
        """Returns which append an event belongs to."""
        return bisect_right(self.firsts, offset) - 1

    def begin(self, place: int, end: int) -> int:
        """Returns the offset with which an append begins; the end for the one that comes next."""
        return self.firsts[place] if place < len(self.firsts) else end

    def since(self, time: float, end: int) -> int:
        """Returns the offset of the first event that is not older than a time."""
        return self.begin(bisect_left(self.times, time), end)

    def of_size(self, size: int, end: int) -> int:
        """Returns the first offset from which on all events together are not larger."""
        return self.begin(bisect_left(self.sizes, self.size - size), end) if size < self.size else 0

    def bytes_since(self, offset: int) -> int:
        """Returns about how many bytes there are from an offset on; what one append has recorded counts as a whole."""
        place = self.place(offset)
        return self.size - self.sizes[max(place, 0)] if self.sizes else 0

    def forget(self, offset: int) -> None:
        """Forgets the appends whose events are all before an offset."""
        gone = max(self.place(offset), 0)
        for each in (self.firsts, self.actions, self.versions, self.sizes, self.times):
            del each[:gone]


class Stream:
    """The events of one stream: its version, and runs of them that lie side by side."""

    __slots__ = ("version", "firsts", "offsets")

    def __init__(self) -> None:
        self.version = 0
        """How many events it has had."""
        self.firsts = array("Q")
        """Version of the first event of each run."""
        self.offsets = array("Q")
        """Its offset."""

    def add(self, offset: int, count: int) -> None:
        """Takes so many events from an offset on."""
        following = self.version + 1
        if not self.firsts or self.offsets[-1] + following - self.firsts[-1] != offset:
            self.firsts.append(following)
            self.offsets.append(offset)
        self.version += count

    def forget(self, offset: int) -> None:
        """Forgets the runs that lie before an offset."""
        gone = bisect_right(self.offsets, offset) - 1
        if gone > 0:
            del self.firsts[:gone], self.offsets[:gone]

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Yields offset, count and version of the runs with the versions from ``first`` to ``last``."""
        place = max(bisect_right(self.firsts, first) - 1, 0)
        for number in range(place, len(self.firsts)):
            begins = self.firsts[number]
            ends = self.firsts[number + 1] - 1 if number + 1 < len(self.firsts) else self.version
            begin, end = max(begins, first), min(ends, last)
            if begin <= end:
                yield self.offsets[number] + begin - begins, end - begin + 1, begin
            if ends >= last:
                return


class Ranges:
    """Numbers, as ranges of them that do not touch, in order."""

    def __init__(self) -> None:
        self.begins = array("Q")
        self.ends = array("Q")
        """One more than the last number of each."""

    def add(self, ranges: Iterable[tuple[int, int]]) -> int:
        """Adds the numbers of ranges, each from its first to one before its second. Returns how many were not there before."""
        before = self.count()
        begins, ends = array("Q"), array("Q")
        for begin, end in sorted([*zip(self.begins, self.ends, strict=True), *ranges]):
            if ends and begin <= ends[-1]:
                ends[-1] = max(ends[-1], end)
            elif begin < end:
                begins.append(begin)
                ends.append(end)
        self.begins, self.ends = begins, ends
        return self.count() - before

    def count(self) -> int:
        return sum(self.ends) - sum(self.begins)

    def after(self, number: int) -> int:
        """Returns the first number from this one on that is not in here."""
        place = bisect_right(self.begins, number) - 1
        return max(number, self.ends[place]) if place >= 0 else number

    def gaps(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Yields the ranges between two numbers that are not in here."""
        begin = self.after(begin)
        while begin < end:
            place = bisect_right(self.begins, begin)
            upto = min(self.begins[place], end) if place < len(self.begins) else end
            yield begin, upto
            begin = self.after(upto)

    def forget(self, number: int) -> None:
        """Forgets the ranges that end before a number."""
        gone = bisect_right(self.ends, number)
        del self.begins[:gone], self.ends[:gone]

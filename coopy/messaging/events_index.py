"""Where events lie: the parts of the state of an event source that grow with it, in as few bytes as they need.

Appends of one size that were recorded one after another take three numbers together, and other appends three each; events of a stream
that lie side by side take two together. For an event by itself nothing is kept. What it says is in the journal.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

MARKS_MAX = 4096
"""So many marks say how much was appended until when. Retention is as exact as one two-thousandth of what is kept, and the marks have 100 kB at most."""


class Appends:
    """Which action has recorded which events."""

    def __init__(self) -> None:
        self.firsts = array("Q")
        """Of each run of appends: the offset of the first event,"""
        self.actions = array("Q")
        """the index of the first action; each next append of the run is the next action,"""
        self.steps = array("Q")
        """and how many events each of them has."""

    def add(self, first: int, action: int, number: int) -> None:
        """Takes an append of so many events, of which the first has an offset."""
        if self.firsts and self.steps[-1] == number:
            before = first - self.firsts[-1]
            if before == (action - self.actions[-1]) * number:
                return  # It follows from the ones before.
        self.firsts.append(first)
        self.actions.append(action)
        self.steps.append(number)

    def place(self, offset: int) -> tuple[int, int, int]:
        """Returns the action that has recorded an event, which of its events it is, and how many follow it there at most."""
        run = bisect_right(self.firsts, offset) - 1
        step = self.steps[run]
        number, slot = divmod(offset - self.firsts[run], step)
        following = step - slot
        if run + 1 < len(self.firsts):
            following = min(following, self.firsts[run + 1] - offset)
        return self.actions[run] + number, slot, following

    def forget(self, offset: int) -> None:
        """Forgets the runs whose events are all before an offset."""
        gone = max(bisect_right(self.firsts, offset) - 1, 0)
        del self.firsts[:gone], self.actions[:gone], self.steps[:gone]


class Marks:
    """How much was appended, and until when: at each append while they are few, then at each second, fourth ... one."""

    def __init__(self) -> None:
        self.offsets = array("Q")
        """Offset of the first event of an append,"""
        self.sizes = array("Q")
        """the bytes of data of all events before it, since ever,"""
        self.times = array("d")
        """and when it was appended, in seconds since 1970."""
        self.size = 0
        """Bytes of data of all events, since ever."""
        self.spacing = 1
        """A mark is set at each so many appends."""
        self.passed = 0
        """How many appends there were since the last mark."""

    def add(self, first: int, size: int, time: float) -> None:
        """Takes an append of so many bytes."""
        self.passed += 1
        if self.passed >= self.spacing:
            self.passed = 0
            self.offsets.append(first)
            self.sizes.append(self.size)
            self.times.append(time)
            if len(self.offsets) > MARKS_MAX:
                self.spacing *= 2
                del self.offsets[1::2], self.sizes[1::2], self.times[1::2]
        self.size += size

    def since(self, time: float, end: int) -> int:
        """Returns an offset from which on no event is older than a time."""
        return self._offset(bisect_left(self.times, time), end)

    def of_size(self, size: int, end: int) -> int:
        """Returns an offset from which on all events together are not larger."""
        return self._offset(bisect_left(self.sizes, self.size - size), end) if size < self.size else 0

    def _offset(self, mark: int, end: int) -> int:
        return self.offsets[mark] if mark < len(self.offsets) else end

    def bytes_since(self, offset: int) -> int:
        """Returns about how many bytes there are from an offset on."""
        mark = bisect_right(self.offsets, offset) - 1
        return self.size - self.sizes[max(mark, 0)] if self.sizes else 0

    def forget(self, offset: int) -> None:
        """Forgets the marks before an offset, but for the last of them."""
        gone = max(bisect_right(self.offsets, offset) - 1, 0)
        del self.offsets[:gone], self.sizes[:gone], self.times[:gone]
        if self.spacing > 1 and len(self.offsets) < MARKS_MAX // 4:
            self.spacing //= 2


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

    def version_of(self, offset: int) -> int:
        """Returns the version of the event with an offset."""
        place = bisect_right(self.offsets, offset) - 1
        return self.firsts[place] + offset - self.offsets[place] if place >= 0 else 0  # It was removed just now.

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

"""What an event source gives and takes: events, what came of an append, positions, and what is raised.

`Event`, `OffsetMissingInIndex`, `CouldNotFindOffset` and `LogSizeExceeded` have the names of PyDistributed. The three outcomes of an append are
those of Chronicle's ``AppendOnce``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from coopy import CoopyError, UsageError

ANY = -1
"""``expected=ANY``: whatever version the stream has. See docs/guides/events.md."""
NONE = 0
"""``expected=NONE``: the stream has no event yet. See docs/guides/events.md."""
PAYLOAD_BYTES_MAX = 65_536
"""What `EventSource.write` takes, as PyDistributed does."""


@dataclass(slots=True)
class Event:
    """One event. The first four fields are those of PyDistributed.

    >>> Event(0, 1_700_000_000_000_000_000, 5, b"hello").data
    b'hello'
    """

    offset: int
    """Its place among all events: the first has 0, each the next number, and what is removed leaves its number empty."""
    timestamp: int
    """When it was appended: nanoseconds since 1970-01-01 UTC. PyDistributed says float, and gives this."""
    message_size: int
    """Bytes of its data as they are stored."""
    data: Any
    """Bytes that were appended are bytes; anything else is as it was, or what upcasts make of it. None in a tombstone."""
    stream: str = ""
    type: str = "bytes"
    version: int = 0
    """Its place in its stream: the first has 1."""
    key: str | None = None
    meta: Any = None
    gap: int = 0
    """How many events that lay just before it have been removed; where a consumer jumped, how many it has not seen."""
    attempt: int = 1
    """How often a consumer was given it by this handle, this time included."""

    @property
    def is_tombstone(self) -> bool:
        """Whether it says that there is nothing of its key any more."""
        return self.key is not None and self.data is None


class NewEvent(NamedTuple):
    """An event to be appended, where its data alone do not say everything.

    ``type``: a name, by which consumers choose and upcasts are found; ``data``: any value that can be pickled; ``key``: what the event is about,
    for compaction and for groups; ``meta``: any value that is carried along.

    >>> NewEvent("Moved", {"to": "Oslo"}, key="ann").type
    'Moved'
    """

    type: str
    data: Any = None
    key: str | None = None
    meta: Any = None


class _Outcome:
    """What came of an append. Appended and AlreadyAppended are true, NotAppended is false."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return not isinstance(self, NotAppended)


@dataclass(frozen=True, slots=True)
class Appended(_Outcome):
    """The events are there: from offset ``first`` to ``last``, and ``version`` is that of the stream with them.

    >>> bool(Appended("tea", 0, 1, 2)), Appended("tea", 0, 1, 2).check().version
    (True, 2)
    """

    stream: str
    first: int
    last: int
    version: int

    def check(self) -> Appended:
        """Returns itself; a `NotAppended` raises."""
        return self


@dataclass(frozen=True, slots=True)
class AlreadyAppended(Appended):
    """They had been appended before, with the same id: nothing was appended now.

    >>> bool(AlreadyAppended("tea", 0, 1, 2))
    True
    """


@dataclass(frozen=True, slots=True)
class NotAppended(_Outcome):
    """Nothing was appended: the stream has another version than was expected, or the id stands for other events.

    ``why`` is "version" or "id"; ``version`` is the one that the stream has.

    >>> bool(NotAppended("tea", expected=3, version=2, why="version"))
    False
    """

    stream: str
    expected: int
    version: int
    why: str

    def check(self) -> Appended:
        """Raises `AppendConflict`."""
        raise AppendConflict(self)


class AppendConflict(CoopyError):
    """Raised by ``source.append(...).check()`` for a `NotAppended`, which is in ``conflict``. Nothing was appended.

    See docs/guides/events.md.

    >>> source.append("tea", b"1", expected=3).check()
    Traceback (most recent call last):
    coopy.messaging.events_kinds.AppendConflict: ...
    """

    def __init__(self, conflict: NotAppended) -> None:
        self.conflict = conflict
        if conflict.why == "id":
            text = f"the stream {conflict.stream!r}: that id was given to other events before. Nothing was appended. Use an id once."
        else:
            text = (
                f"the stream {conflict.stream!r} has version {conflict.version}, and {conflict.expected} was expected: somebody else has "
                f"appended. Nothing was appended. Read the stream again, and decide anew."
            )
        super().__init__(text)


class OffsetMissingInIndex(CoopyError):
    """An offset can't be one: it is negative. (PyDistributed raises it where its index has no entry; here all have one.)

    >>> source.get(-1)
    Traceback (most recent call last):
    coopy.messaging.events_kinds.OffsetMissingInIndex: the offset -1 is negative...
    """


class CouldNotFindOffset(CoopyError):
    """There is no event with that offset (yet). ``offset``, and ``end``: the one that the next event gets.

    >>> try:
    ...     source.get(99)
    ... except CouldNotFindOffset as error:
    ...     print(error.offset)
    99
    """

    def __init__(self, offset: int, end: int) -> None:
        self.offset = offset
        self.end = end
        super().__init__(
            f"there is no event with the offset {offset}: the next one that is appended gets {end}. Nothing was changed."
        )


class Removed(CouldNotFindOffset):
    """The event was removed, by retention or compaction. ``first_available``: the next one that is there, or will be.

    See docs/guides/events.md.

    >>> Removed(3, 7).first_available
    7
    """

    def __init__(self, offset: int, first_available: int) -> None:
        CoopyError.__init__(
            self, f"the event with the offset {offset} was removed. The next one that is there has {first_available}."
        )
        self.offset = offset
        self.first_available = first_available


class OffsetTooOld(CoopyError):
    """Retention has removed events that the one who reads has not seen. ``name`` of the consumer ("" for a plain read), ``offset``, ``first_available``.

    See docs/guides/events.md.

    >>> OffsetTooOld("mail", 3, 7).first_available
    7
    """

    def __init__(self, name: str, offset: int, first_available: int) -> None:
        self.name = name
        self.offset = offset
        self.first_available = first_available
        who = f"the consumer {name!r}" if name else "this read"
        super().__init__(
            f"{who} goes on at offset {offset}, and events before {first_available} were removed by retention: {first_available - offset} "
            f'were not seen. Nothing was changed. To go on with what is there, say on_gap="earliest"; that retention waits for it, say '
            f"held_by= in retain()."
        )


class LogSizeExceeded(CoopyError):
    """A record is longer than max_log_size allows a file of the exported format to be.

    >>> issubclass(LogSizeExceeded, CoopyError)
    True
    """


class ForeignPosition(UsageError):
    """A position comes from another event source, or from a history that this one has not had: after a restore from a backup, say.

    See docs/guides/events.md.

    >>> issubclass(ForeignPosition, UsageError)
    True
    """


class Position(NamedTuple):
    """Where to go on reading, to be kept outside of the event source: it knows to which history it belongs.

    ``system`` is the id of the event source, ``offset`` that of the next event, ``mark`` the timestamp of the event before it, 0 if there is none.

    >>> Position.of(str(Position("5f", 7, 99)))
    Position(system='5f', offset=7, mark=99)
    """

    system: str
    offset: int
    mark: int

    def __str__(self) -> str:
        return f"{self.system}:{self.offset}:{self.mark}"

    @classmethod
    def of(cls, text: str) -> Position:
        """Returns the position that ``str`` has made a text of. Raises `UsageError`."""
        system, offset, mark = [*text.split(":"), "", ""][:3]
        if text.count(":") != 2 or not (offset.isdecimal() and mark.isdecimal()):
            raise UsageError(f"{text!r} is no position. It must be the text of one: str(source.position(...)).")
        return cls(system, int(offset), int(mark))


class Run(NamedTuple):
    """Events with offsets one after another that were recorded by one action."""

    offset: int
    number: int
    """How many."""
    action: int
    """Index of the action that has recorded them."""
    slot: int
    """Which of the events of that action is the first; -1 if it says the offsets itself."""


@dataclass(frozen=True)
class Retained:
    """How much is kept: of each limit that is not None, what is beyond it goes.

    >>> Retained(count=1000, age=7 * 86_400)
    Retained(size=None, age=604800, count=1000)
    """

    size: int | None = None
    """Bytes of data."""
    age: float | None = None
    """Seconds."""
    count: int | None = None
    """Events."""


class Retention(NamedTuple):
    """What `EventSource.retain` has said."""

    limits: Retained = Retained()
    held_by: tuple[str, ...] | None = ()
    """Consumers that it waits for; None for all."""
    bound: Retained = Retained()
    """Beyond these limits it waits for nobody."""

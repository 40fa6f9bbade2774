"""The engine of one of several processes that have the objects of a directory: what the others ask, and what they are told.

Two things are added to the engine of a directory that one process has. `coopy.replication.serving` gives it what other processes have asked for
(`Shard.take`), and asks what has become of a call whose answer was lost with a process (`Shard.ended`). And an action may tell an object of
another shard: what it tells is written in the frame of the action (`<sent>`), and a thread for each of the others brings it there. Who is told
writes down, in the frame in which it takes it, how far it has heard (`<heard>`); what it is sent twice it passes over. So the journal of
the sender is all that is kept of what is on its way, and after the end of either process it goes on from what the other says that it has heard.
"""

from __future__ import annotations

import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from coopy.errors import MissingActions, Unavailable
from coopy.ground import action, keyed
from coopy.ground.holding import Alarm
from coopy.ground.log import warn
from coopy.ground.raised import attempted, last_resort, on_failure
from coopy.ground.running import current
from coopy.objects import past, slots
from coopy.objects.checked import CheckedEngine
from coopy.objects.engine import CHUNK, Answer, Engine
from coopy.objects.kind import Cell, Kind
from coopy.objects.store import Store
from coopy.replication import parcels
from coopy.replication.copying import VIEWS
from coopy.replication.parcels import Said, id_in, said
from coopy.spine.calling import answering
from coopy.spine.engine import with_lock
from coopy.spine.machine import running_in
from coopy.spine.methods import Function, Method, functions_of, method_for, reader_of
from coopy.values.alone import decoded_by
from coopy.values.codec import decode_one

__coopy_inside__ = True  # See `coopy.spine.calling`.

SENT_TOGETHER = CHUNK - 1
"""So many are told together: with the record of how far was heard they are one frame."""
TABLE_EVERY_MIN = 20_000
"""So many records are read in a tenth of a second. With many keys writing the table is what costs, and a quarter of them come before the next time."""
AGAIN_S = 0.2
"""Where another process can't be told something it is tried again after so long."""
IDS_MAX = 500_000
"""Some tens of megabytes: a larger table of calls that were recorded is dropped, and read again from where it is needed."""
_KEY_SIZE = struct.Struct("<H")
_INDEX = struct.Struct("<Q")


class Sent(NamedTuple):
    """What an object of another shard is told: where the record of it lies, and what that says."""

    place: int
    key: bytes
    call: bytes


def addressed(key: bytes, call: bytes) -> bytes:
    """Returns what is said of an object, with its key."""
    return _KEY_SIZE.pack(len(key)) + key + call


def parted(data: bytes) -> tuple[bytes, bytes]:
    """Returns the key and what is said of its object."""
    end = _KEY_SIZE.size + _KEY_SIZE.unpack_from(data)[0]
    return data[_KEY_SIZE.size : end], data[end:]


def key_to(number: int) -> bytes:
    """Returns the key of the records of what is sent to another shard."""
    return b"\0to\0%d" % number


def key_from(number: int) -> bytes:
    """Returns the key of the records of what was heard from another shard."""
    return b"\0from\0%d" % number


def _record(name: str, data: bytes) -> bytes:
    return b"\x8c" + bytes([len(name)]) + name.encode("ascii") + b"B" + len(data).to_bytes(4, "little") + data


def heard(engine: Engine, sender: int) -> int:
    """Returns up to which of its records another shard has been heard. Raises a `StorageError`."""
    place = engine.table.find(key_from(sender))
    if place < 0 or not engine.table.indexes[place]:
        return 0
    record = engine.store.at(engine.table.indexes[place], engine.table.offsets[place])
    return int(_INDEX.unpack(decode_one(keyed.parts(record).call)[1])[0])


def unheard(engine: Engine, target: int, upto: int) -> list[Sent]:
    """Returns what was sent to another shard that has heard up to a record. Raises a `StorageError`."""
    place = engine.table.find(key_to(target))
    index, offset = (0, 0) if place < 0 else (engine.table.indexes[place], engine.table.offsets[place])
    found: list[Sent] = []
    while index > upto:
        record = keyed.parts(engine.store.at(index, offset))
        found.append(Sent(index, *parted(decode_one(record.call)[1])))
        index, offset = record.before, record.offset or offset
    found.reverse()
    return found


class _Road(Cell):
    """The way to another shard, in the place of an object that is told something."""

    __slots__ = ("key",)

    key: bytes


class Outgoing:
    """What is on its way to one other shard. Guarded by the lock of the engine."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.waiting: deque[Sent] | None = None
        """None as long as it is not known what the other has heard."""
        self.bell = Alarm()

    def take(self, sent: Sent) -> None:
        """Has it wait; where it is not known what waits, the journal has it."""
        if self.waiting is not None:
            self.waiting.append(sent)
        self.bell.set()


class _Log:
    """The log as who serves knows it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def last(self) -> int:
        return self._store.last

    @property
    def settled(self) -> int:
        return self._store.settled

    synced = settled


class Shard(Engine):
    """The objects of one of several processes. ``number`` and ``count``, set by who opens, say which, and of how many."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.log = _Log(self.store)
        self.number, self.count_of_shards = 0, 1
        self.outgoing: dict[int, Outgoing] = {}
        self._roads: dict[int, _Road] = {}
        self._leaving: list[tuple[int, int, bytes, bytes]] = []
        """What is sent by records of the group: the place there, the shard, the key and the call."""
        self._heard: dict[int, int] = {}
        self._running = 0
        """What tells the call of another process that runs from every other; 0 if it is none of these."""
        self._ids: dict[bytes, tuple[int, int]] = {}
        """The calls of other processes that stand in the log, from a record on up to another: the place of each, by its id."""
        self._low = self._high = 0
        self._marks: dict[tuple[bytes, str], Method] = {}
        self._readers: dict[tuple[bytes, str], Function] = {}

    def be(self, number: int, count: int) -> None:
        """Has this be one of so many shards."""
        self.number, self.count_of_shards = number, count
        self.outgoing = {each: Outgoing(each) for each in range(count) if each != number}

    takes_reads = True
    tap: Any = None
    """Nobody follows one shard: who asks has no copy of it."""

    # -- what other processes ask; see `coopy.replication.serving`

    def newest(self) -> tuple[int, int]:
        """Returns the index of the newest record."""
        return self.store.last, action.UNKNOWN

    def settle(self, index: int | None = None) -> None:
        """Waits until a record is durable; without one, the newest."""
        index = self.store.last if index is None else index
        if self.store.settled < index:
            self.store.wait(index)

    @with_lock
    def take(self, forwarded: Sequence[Any]) -> int:
        """Runs calls and reads that others have sent, in order, and appends them. Returns the index that is waited for before they are told."""
        self._ready()
        for each in forwarded:
            # Its caller is told what it raises, and the others are run.
            with answering(each):
                self._take_one(each)
        with last_resort(_told):
            self._flush()
        self._trim()
        return self.store.last

    def _take_one(self, each: Any) -> None:
        key, data = parted(each.data)
        kind = self.kind_of(key)
        if self.applied != self.store.last:
            self._ready()
        if each.kind == parcels.READ:
            _, (what, args, kwargs), _ = decoded_by(kind.codec, data)
            function = self._reader(kind, what) if isinstance(what, str) else what
            self._look(kind, key, function, args, kwargs, each)
        else:
            name, args, kwargs = decoded_by(kind.codec, data)
            token = _token(data)
            if each.kind == parcels.AGAIN:
                self._refuse_deadly(kind, key, name, token)
            if name == keyed.DELETED:
                each.value = bool(self._delete(kind, key, data))
            else:
                self._running = token
                self._do(kind, key, self._mark(kind, name), data, args, kwargs, each, each)
                self._running = 0
                if len(self._group) >= CHUNK:
                    self._flush()
        if each.error is None:
            # What it returns may be a part of the state: it is encoded before the next action changes it.
            each.value = Said(said(kind.codec, _shown(each.value)))

    def _mark(self, kind: Kind, name: str) -> Method:
        found = self._marks.get((kind.prefix, name))
        if found is None:
            function = kind.functions.get(name)
            if function is None:
                raise AttributeError(f"{kind.cls.__qualname__!r} has no method {name!r} in the process that has the object")
            found = self._marks[kind.prefix, name] = method_for(name, function, ())
        return found

    def _reader(self, kind: Kind, name: str) -> Function:
        found = self._readers.get((kind.prefix, name))
        if found is None:
            function = functions_of(kind.cls).get(name)
            if function is None:
                raise AttributeError(f"{kind.cls.__qualname__!r} has no method {name!r} in the process that has the object")
            found = self._readers[kind.prefix, name] = reader_of(name, function)
        return found

    # -- what became of a call

    def ended(self, one: bytes, after: int) -> Callable[[], Any] | None:
        """Returns what returns or raises what a call has come to; None if it is not in the log.

        Raises `MissingActions` if it may have stood where the log was compacted.
        """
        place = self._place_of(one, after)
        return None if place is None else partial(self._outcome_of, *place)

    def _refuse_deadly(self, kind: Kind, key: bytes, name: str, token: int) -> None:
        """Raises `Unavailable` for a call of which the process before has died."""
        if self.watch.died is None:
            return
        death, running = self.watch.died
        if (death.key.encode(), death.doing, death.method, running) == (key, "call", name, token):
            raise Unavailable(
                f"The process that has {kind.text(key)!r} ended while it ran {name}() of it. Nothing was recorded. The call was not tried "
                f"again, as it may be what ended it; call again if it is not."
            )

    def _apply(
        self,
        kind: Kind,
        key: bytes,
        cell: Cell,
        header: bytes,
        number: int,
        method: Method,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self._running:
            self.watch.at(self._running)
        return super()._apply(kind, key, cell, header, number, method, args, kwargs)

    @with_lock
    def _place_of(self, one: bytes, after: int) -> tuple[int, int] | None:
        self._ready()
        store = self.store
        if not self._high or after < self._low or len(self._ids) > IDS_MAX:
            if after + 1 < store.begins()[0]:
                raise MissingActions(self.store.where(after + 1, 0), after + 1, None, "They were compacted.")
            self._ids.clear()
            self._low = self._high = after
        for index, offset, record in store.after(self._high):
            found = id_in(record)
            if found is not None:
                self._ids[found] = index, offset
        self._high = store.last
        return self._ids.get(one)

    @with_lock
    def _outcome_of(self, index: int, offset: int) -> Any:
        """Runs an action once more, on the object as it was before. Returns what it returns, or raises what it raises."""
        self._ready()
        self.settle(index)
        record = keyed.parts(self.store.at(index, offset))
        kind = self.kind_of(record.key)
        if record.call.startswith(_DELETING):
            return Said(said(kind.codec, True))
        before = past.links_upto(self, record.before, record.offset or offset)
        ends = [link.found.outcome for link in before[1:]] + [record.outcome]
        state, number, actions = past.made_from(before, ends)
        cell = (
            Cell(None, 0, 0, action.UNKNOWN, 0, 0, {})
            if not before
            else self._brought_forth(kind, record.key, 0, state, number, actions, action.UNKNOWN)
        )
        method = self._mark(kind, decode_one(record.call)[0] or decoded_by(kind.codec, record.call)[0])
        _, args, kwargs = decoded_by(kind.codec, record.call)
        answer, number = Answer(), (cell.number or index - 1) + 1
        with answering(answer):
            answer.value = self._apply(kind, record.key, cell, record.header + b"\0", number, method, args, kwargs)
        stage = kind.stage
        stage.running = False
        stage.left(cell.domain)
        if current.machine is stage:
            current.machine = running_in(sys._getframe(1))
        return Said(said(kind.codec, _shown(answer.given())))

    # -- what is told across shards

    def _target(self, cell: Cell, key: bytes, kind: Kind, address: bytes) -> Cell:
        number = slots.shard_of(address, self.count_of_shards)
        return super()._target(cell, key, kind, address) if number == self.number else self._road(number)

    def _road(self, number: int) -> _Road:
        found = self._roads.get(number)
        if found is None:
            key = key_to(number)
            found = self._roads[number] = _Road(None, self.table.number(key), 0, action.UNKNOWN, 0, 0, {})
            found.key = key
        return found

    def _tell(self, kind: Kind, key: bytes, cell: Cell, call: bytes) -> None:
        if type(cell) is not _Road:
            super()._tell(kind, key, cell, call)
            return
        self._leaving.append((len(self._group), slots.shard_of(key, self.count_of_shards), key, call))
        self._add(kind, cell.key, cell, self._header(cell), _record(keyed.SENT, addressed(key, call)))

    def _flush(self) -> None:
        leaving = self._leaving
        if not leaving:
            super()._flush()
            return
        self._leaving, first = [], self.store.last + 1
        with on_failure(self._lose_count, leaving):
            super()._flush()
            for place, number, key, call in leaving:
                self.outgoing[number].take(Sent(first + place, key, call))

    def _lose_count(self, leaving: list[tuple[int, int, bytes, bytes]]) -> None:
        """Has it be read from the log again what is on its way."""
        for _, number, _, _ in leaving:
            self.outgoing[number].waiting = None
            self.outgoing[number].bell.set()

    @with_lock
    def next_sent(self, number: int) -> list[Sent]:
        """Returns what is to be told to another shard next, in order."""
        waiting = self.outgoing[number].waiting
        return [] if waiting is None else [waiting[place] for place in range(min(len(waiting), SENT_TOGETHER))]

    @with_lock
    def was_heard(self, number: int, upto: int) -> None:
        """Forgets what another shard has heard."""
        outgoing = self.outgoing[number]
        if outgoing.waiting is None:
            self._ready()
            outgoing.waiting = deque(unheard(self, number, upto))
        while outgoing.waiting and outgoing.waiting[0].place <= upto:
            outgoing.waiting.popleft()

    @with_lock
    def heard_from(self, sender: int) -> int:
        """Returns up to which record another shard was heard."""
        self._ready()
        if sender not in self._heard:
            self._heard[sender] = heard(self, sender)
        return self._heard[sender]

    @with_lock
    def hear(self, sender: int, items: Sequence[tuple[int, bytes, bytes]]) -> int:
        """Has objects be told what another shard has sent. Returns up to which record that was heard now. Raises `JournalError`."""
        upto = self.heard_from(sender)
        found = [Sent(*each) for each in items if each[0] > upto]
        if not found:
            return upto
        # Loading those that are told may append records: it comes before what is one frame.
        targets = [(self.kind_of(each.key), each, self._told_object(each.key)) for each in found]
        self._flush()
        for kind, each, cell in targets:
            super()._tell(kind, each.key, cell, each.call)
        key = key_from(sender)
        road = Cell(None, self.table.number(key), 0, action.UNKNOWN, 0, 0, {})
        self._add(targets[0][0], key, road, self._header(road), _record(keyed.HEARD, _INDEX.pack(found[-1].place)))
        self._flush()
        self._heard[sender] = found[-1].place
        self._trim()
        return found[-1].place

    def _told_object(self, key: bytes) -> Cell:
        """Returns an object that is told something; one that can't be loaded keeps it all the same."""
        kind = self.kind_of(key)
        if not self.watch.has(key):
            found, error = attempted(self._cell, kind, key)
            if found is not None:
                return found
            warn("%r was told something, and can't be loaded: %s", kind.text(key), error)
        cell = self._unloaded.get(key)
        if cell is None:
            cell = self._unloaded[key] = Cell(None, self.table.number(key), 0, action.UNKNOWN, 0, 0, {})
        cell.kept = None
        return cell

    # -- figures, and what is not needed any more

    @property
    def table_every(self) -> int:
        """After so many records the table of keys is written again: for another process that takes the shard, while callers wait."""
        return max(TABLE_EVERY_MIN, self.living // 4)

    @property
    def living(self) -> int:
        roads = [self.table.find(each) for number in range(self.count_of_shards) for each in (key_to(number), key_from(number))]
        return self.table.living - sum(1 for place in roads if place >= 0 and self.table.indexes[place])

    def _cut(self, before: int | None) -> int:
        found = super()._cut(before)
        waiting = [each.waiting for each in self.outgoing.values()]
        if None in waiting:
            return 0
        oldest = min((each[0].place for each in waiting if each), default=found)
        return max((first for first in self.store.begins()[1:] if first <= min(found, oldest)), default=0)

    def _needs(self, place: int, first: int) -> bool:
        key = self.table.key(place)
        if key[0]:
            return super()._needs(place, first)
        if 0 < self.table.indexes[place] < first and key.startswith(key_from(0)[:-1]):
            # It is written anew as it is.
            road = Cell(None, place, 0, action.UNKNOWN, 0, 0, {})
            index = self.heard_from(int(key.rpartition(b"\0")[2]))
            self._note(self.kinds[b""], key, road, _record(keyed.HEARD, _INDEX.pack(index)))
        return False

    def keys(self, prefix: bytes) -> list[bytes]:
        return [each for each in super().keys(prefix) if each[0]]

    def is_quiet(self) -> bool:
        """Returns whether nothing is on its way to another shard."""
        return all(each.waiting is not None and not each.waiting for each in self.outgoing.values())


class CheckedShard(Shard, CheckedEngine):
    """The same, of a directory that is opened with check=True."""


_DELETING = b"\x8c" + bytes([len(keyed.DELETED)]) + keyed.DELETED.encode("ascii")


def _token(data: bytes) -> int:
    """Returns what tells a call of another process, with its id at its end, from every other."""
    one = data[-17:-1]
    return int.from_bytes(one[:8], "little") ^ int.from_bytes(one[8:], "little")


def _shown(value: Any) -> Any:
    """Returns what a caller in another process is given of a view of a dict: what it shows."""
    return list(value) if type(value) in VIEWS else value


def _told(error: Exception) -> None:
    """Those whose records are not in the log have been told."""

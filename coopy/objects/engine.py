"""One call of one object, start to finish: find it, stamp, append, apply, wait. It has more than 500 lines because a call, many at once, a
read, loading and dropping hold one lock and keep one promise, which is whole only when they are read together.

What the log has and what the table of keys says agree whenever the lock is free and all is well: ``applied == store.last``. If they do not,
a call was interrupted half-way, and the next caller reads from the log which keys that has changed; these objects are loaded anew.
An object of which it is not sure (`Cell.sure`) is loaded anew, too. So there is no state that only memory has.

An object is loaded from its newest state in the log and the actions after it, and from nothing else. One that is not used is dropped; if the
log lacks a state of it that is new enough, that is written first.

All objects share one lock: what holds it is Python code, which runs in one thread at a time anyway. Nobody waits for the disk with it.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from threading import RLock
from types import GeneratorType
from typing import Any

from coopy.errors import CallInsideAction, DecodingError, EncodingError, copy_of
from coopy.ground import action, holding, keyed
from coopy.ground.interruption import note
from coopy.ground.log import warn
from coopy.ground.raised import last_resort
from coopy.ground.running import current
from coopy.objects.kind import Action, Cell, Kind, Stage, named
from coopy.objects.store import Store
from coopy.spine import calling
from coopy.spine.calling import Call, answering
from coopy.spine.engine import with_lock
from coopy.spine.machine import running_in
from coopy.spine.methods import Function, Method, is_undone

__coopy_inside__ = True  # See `coopy.spine.calling`.

CHUNK = 64
"""So many calls of a batch are written together, and the lock is given back after them."""
PASSIVATED = 64
"""So many objects are dropped together: their states are one write."""
_NS = 1_000_000_000  # Nanoseconds in a second.
_RESERVED = action.RESERVED
_pack = action.HEADER.pack
_fields = keyed.fields
_time_ns = time.time_ns
_monotonic = time.monotonic
_ENDED, _DELETED = named(keyed.ENDED), named(keyed.DELETED)
_COUNTS = "{}() had returned when this was raised: the call counts."
_WITHDRAWN = "{}() was interrupted: the action is withdrawn, and the object is as before the call."


class Answer:
    """Where a caller is told how a call has ended."""

    __slots__ = ("value", "error")

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None

    def given(self) -> Any:
        """Returns the value, or raises what the call has raised."""
        error, self.error = self.error, None
        if error is None:
            return self.value
        try:
            raise error
        finally:
            del error  # Its traceback has this frame.


class Engine:
    """The objects of one store."""

    def __init__(self, store: Store, memory_bytes: int, idle_s: float, clock: Callable[[], int] = _time_ns) -> None:
        self.lock = RLock()
        self.acquire = self.lock.acquire
        self.release = self.lock.release
        self.store = store
        self.memory_bytes = memory_bytes
        self.idle_s = idle_s
        self.clock = clock
        self.kinds: dict[bytes, Kind] = {}
        """By the prefix of their keys."""
        self.cells: OrderedDict[bytes, Cell] = OrderedDict()
        """The objects that are active, those called last at the end."""
        self.size_bytes = 0
        """About how much memory they take."""
        self.table, self.applied = store.kept_table()
        """``applied``: index of the last record whose place is in the table."""
        self.activated = 0
        """How many objects were loaded."""
        self.passivated = 0
        """How many objects were dropped."""
        self.has_others = False
        """Whether there may be objects of other classes than that of the directory."""
        self._instant = 0
        self._offset = 0
        self._offset_until = 0
        self._group: list[tuple[bytes, Cell, bytes, Call | None]] = []
        """Records that are written together, each with its key and its object, and who waits for it: of actions that have run."""

    @with_lock
    def start(self) -> None:
        """Brings the table to the end of the log. Raises a `StorageError`."""
        # The last record has the time from which on the clock goes on.
        self.applied = max(0, min(self.applied, self.store.last - 1))
        self._read_on()

    # -- one call

    def call(self, kind: Kind, key: bytes, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Records a call and applies it. Returns what the method returns once that is durable.

        Raises what the method raises, `CallInsideAction`, and our errors before anything is recorded.
        """
        self._refuse_inside(method.name)
        # Encoding runs methods of the arguments, which may call other objects: it comes before the lock is taken.
        call, args, kwargs = kind.codec.encode_call(method.name, args, kwargs, method.parameters)
        answer = Answer()
        index = self._act(kind, key, method, call, args, kwargs, answer)
        if self.store.settled < index:
            self.store.wait(index)
        return answer.given()

    @with_lock
    def _act(
        self,
        kind: Kind,
        key: bytes,
        method: Method,
        call: bytes,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: calling.Answer,
    ) -> int:
        """Returns the index to wait for, before the caller is told."""
        self._ready()
        cell = self._cell(kind, key)
        record, header, number = self._record(kind, key, cell, call, self.store.last + 1)
        cell.sure = False
        index, offset = self.store.append(record)
        self.table.put(cell.place, index, offset)
        self.applied = index
        self._count(cell, len(call))
        with answering(answer):
            answer.value = self._apply(kind, key, cell, header, number, method, args, kwargs)
        if answer.error is None:
            cell.sure = True
        else:
            self._failed(kind, key, cell, number, method, answer.error)
        self._trim()
        return self.store.last

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
        """Runs the method of an action that is recorded, or will be. Raises what it raises, and then the cell is not sure."""
        stage = kind.stage
        domain = cell.domain
        stage.enter(key, domain, number - 1)
        if domain is None:
            result = stage.apply(header, _first, (kind, key, cell, method, args, kwargs), {})
            stage.domain = None
        else:
            result = stage.apply(header, method.function, (domain, *args), kwargs)
            stage.domain = None
        cell.number = number
        cell.outcome = action.RETURNED
        return result if result is not cell.domain else kind.handle(key)

    def _record(self, kind: Kind, key: bytes, cell: Cell, call: bytes, index: int) -> tuple[bytes, bytes, int]:
        """Returns the record of an action, its header as the clock and the env read it, and its number."""
        instant = self._stamp()
        place, table = cell.place, self.table
        header = _pack(instant, self._offset, _RESERVED | cell.outcome)
        before = table.indexes[place]
        record = header + _fields(before, table.offsets[place] if before else 0, kind.version, key) + call
        return record, header, (cell.number or index - 1) + 1

    def _count(self, cell: Cell, size: int) -> None:
        """Counts an action of an object, and the memory that its arguments may take in it."""
        cell.since += 1
        cell.size_bytes += size
        self.size_bytes += size

    def _stamp(self) -> int:
        """Returns the instant of the next action: never an earlier one than that of the last."""
        instant = self.clock()
        if instant >= self._offset_until:
            self._offset = time.localtime(instant // _NS).tm_gmtoff
            self._offset_until = (instant // _NS + 1) * _NS
        if instant < self._instant:
            return self._instant
        self._instant = instant
        return instant

    def _failed(self, kind: Kind, key: bytes, cell: Cell, number: int, method: Method, error: BaseException) -> None:
        """Puts memory and log right after an action of the log has raised, as the marks of its method say."""
        stage = kind.stage
        stage.running = False
        if current.machine is stage:
            current.machine = running_in(sys._getframe(1))
        # It may have been interrupted before the method began: then the stage tells of another action.
        has_run = stage.key == key and stage.index == number
        outcome = stage.outcome if has_run else action.UNKNOWN
        if outcome == action.RAISED and not is_undone(method, error):
            if cell.domain is None:
                self._withdraw(kind, key, cell)  # The object was not made, so there is none.
                return
            cell.number = number
            cell.outcome = action.RAISED
            cell.sure = True
            stage.domain = None
            return
        if outcome == action.RETURNED:
            note(error, _COUNTS.format(method.name))
            self._drop(key)  # What it had come to is in the log.
            return
        if outcome != action.RAISED and has_run and stage.is_doubtful:
            # What the method raises by itself it raises again.
            self._drop(key)
            again = self._activated(kind, key)
            if again is None or again.outcome != action.RETURNED:
                return
            cell = again
        self._withdraw(kind, key, cell)
        if outcome != action.RAISED:
            note(error, _WITHDRAWN.format(method.name))

    def _withdraw(self, kind: Kind, key: bytes, cell: Cell) -> None:
        """Records that the last action of an object is withdrawn; of its first one: that there is no object."""
        self._drop(key)
        kind.stage.domain = None
        cell.outcome = action.WITHDRAWN
        self._note(kind, key, cell, _DELETED if cell.number == 0 else _ENDED)

    def _note(self, kind: Kind, key: bytes, cell: Cell, call: bytes) -> int:
        """Appends a record that calls no method. Returns its index."""
        self._flush()
        record, _, _ = self._record(kind, key, cell, call, 0)
        index, offset = self.store.append(record)
        self.table.put(cell.place, 0 if call is _DELETED else index, offset)
        self.applied = index
        return index

    # -- reads

    def read(self, kind: Kind, key: bytes, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a function of the object that changes nothing. Returns what it returns once all that it could see is durable.

        Where there is no object of the key, that of a new one is asked, which is dropped again.
        """
        self._refuse_inside(getattr(function, "__name__", "read"))
        answer = Answer()
        index = self._look(kind, key, function, args, kwargs, answer)
        if self.store.settled < index:
            self.store.wait(index)
        return answer.given()

    @with_lock
    def _look(
        self,
        kind: Kind,
        key: bytes,
        function: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: calling.Answer,
    ) -> int:
        """Returns the index to wait for, before the caller is told."""
        self._ready()
        cell = self._activated(kind, key)
        seen = self.store.last if cell is None else self.table.indexes[cell.place]
        with answering(answer):
            domain = kind.made(key) if cell is None or cell.domain is None else cell.domain
            result = function(domain, *args, **kwargs)
            if type(result) is GeneratorType:
                result = iter(list(result))
            answer.value = result if result is not domain else kind.handle(key)
        self._trim()
        return seen

    @with_lock
    def has(self, kind: Kind, key: bytes) -> int:
        """Returns the index of the newest record of an object; 0 if there is none of the key."""
        self._ready()
        place = self.table.find(key)
        return 0 if place < 0 else self.table.indexes[place]

    @with_lock
    def keys(self, prefix: bytes) -> list[bytes]:
        """Returns the keys that there are and begin with some bytes, in order."""
        self._ready()
        return sorted(self.table.keys(prefix))

    @with_lock
    def count(self) -> int:
        """Returns how many objects there are, of all classes."""
        self._ready()
        return self.table.living

    def settle(self) -> None:
        """Waits until all that was recorded so far is durable."""
        last = self.store.last
        if self.store.settled < last:
            self.store.wait(last)

    def delete(self, kind: Kind, key: bytes) -> bool:
        """Records that there is no object of a key any more. Returns whether there was one."""
        self._refuse_inside("del")
        index = self._delete(kind, key)
        if index and self.store.settled < index:
            self.store.wait(index)
        return bool(index)

    @with_lock
    def _delete(self, kind: Kind, key: bytes) -> int:
        self._ready()
        cell = self._activated(kind, key)
        if cell is None:
            return 0
        cell.sure = False
        index = self._note(kind, key, cell, _DELETED)
        self._drop(key)
        return index

    # -- many calls at once

    def begin_all(self, calls: Sequence[Call]) -> int:
        """Takes calls in order, each with a `Target` for what it calls. Returns the index that is waited for before they are answered."""
        for start in range(0, len(calls), CHUNK):
            self._begin(calls[start : start + CHUNK])
        return self.store.last

    def settled(self, begun: int, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        """Yields the calls that `begin_all` has begun once they are durable. Raises `JournalError`."""
        if self.store.settled < begun:
            self.store.wait(begun)
        yield calls

    @with_lock
    def _begin(self, calls: Sequence[Call]) -> None:
        self._ready()
        for call in calls:
            if call.what is not None:  # Somebody waits for it still.
                # It is raised where this call is waited for; the others go on.
                with answering(call):
                    self._begin_one(call)
        with last_resort(_told):
            self._flush()
        self._trim()

    def _begin_one(self, call: Call) -> None:
        method = call.what
        kind, key, *args = call.args
        if type(method) is not Method:
            self._look(kind, key, method, tuple(args), call.kwargs, call)
            return
        data, given, kwargs = kind.codec.encode_call(method.name, tuple(args), call.kwargs, method.parameters)
        if self.applied != self.store.last:
            self._ready()
        found = self.cells.get(key)
        if found is not None and not found.sure:
            self._flush()  # The place of its record before has to be known.
        cell = self._cell(kind, key)
        record, header, number = self._record(kind, key, cell, data, self.store.last + len(self._group) + 1)
        cell.sure = False
        self._count(cell, len(data))
        with answering(call):
            call.value = self._apply(kind, key, cell, header, number, method, given, kwargs)
        self._group.append((record, cell, key, call))
        if call.error is not None:
            self._flush()
            self._failed(kind, key, cell, number, method, call.error)

    def _flush(self) -> None:
        """Appends the records of the group. Raises what `Store.append_all` raises, and so is each call told whose record is not in the log."""
        group, store, table = self._group, self.store, self.table
        if not group:
            return
        first = store.last + 1
        try:
            self._group = []
            begins = store.append_all([each[0] for each in group])
            ends = [index for index, _ in begins[1:]] + [first + len(group)]
            index = first
            for (_, offset), end in zip(begins, ends, strict=True):
                for _, cell, _, call in group[index - first : end - first]:
                    table.put(cell.place, index, offset)
                    # Of one that has raised it is not noted yet how it has ended.
                    cell.sure = call is None or call.error is None
                    index += 1
            self.applied = store.last
        except BaseException as error:  # Of whatever kind: all whose records are not in the log have to be told.
            for _, cell, key, _ in group:
                cell.sure = False
                self._drop(key)
            for _, _, _, call in group[store.last + 1 - first :]:
                if call is not None:
                    call.error = copy_of(error)
            raise

    # -- objects come and go

    def _cell(self, kind: Kind, key: bytes) -> Cell:
        """Returns the object of a key, with a place in the table; a cell without one if its first action makes it."""
        cell = self._activated(kind, key)
        if cell is None:
            cell = self.cells[key] = Cell(None, self.table.number(key), 0, action.UNKNOWN, 0, 0)
            self.size_bytes += cell.size_bytes
        elif cell.since >= cell.due:
            self._write_state(kind, key, cell)
        return cell

    def _activated(self, kind: Kind, key: bytes) -> Cell | None:
        """Returns the object of a key, loaded if it is not active. None if there is none."""
        cells = self.cells
        cell = cells.get(key)
        if cell is not None:
            if cell.sure:
                cells.move_to_end(key)
                cell.touched = _monotonic()
                return cell
            self._drop(key)
        place = self.table.find(key)
        if place < 0 or not self.table.indexes[place]:
            return None
        cell = self._loaded(kind, key, place)
        if cell.domain is None:
            # Its first action was interrupted, or could not make it, and the process ended before it said so.
            self._note(kind, key, cell, _DELETED)
            return None
        cells[key] = cell
        self.size_bytes += cell.size_bytes
        self.activated += 1
        cell.touched = _monotonic()
        return cell

    def _loaded(self, kind: Kind, key: bytes, place: int) -> Cell:
        """Loads an object from its newest state in the log and the actions after it."""
        store = self.store
        index, offset = self.table.indexes[place], self.table.offsets[place]
        actions: list[Action] = []
        domain, number, outcome, state_bytes = None, 0, action.UNKNOWN, 0
        after: int | None = None
        state, begins = b"", 0
        while index:
            record = store.at(index, offset)
            found = keyed.parts(record)
            if found.key != key:
                raise DecodingError(
                    f"{store.where(index, offset)}: the record there is not one of {kind.text(key)!r}: it is damaged"
                )
            name = _name_of(found.call)
            if name == keyed.DELETED:
                break
            if name == keyed.STATE:
                state = found.call
                domain, kept, outcome, state_bytes = kind.loaded(state)
                number = kept["number"]
                break
            if name != keyed.ENDED:
                actions.append(Action(found.header, found.version, found.call, action.UNKNOWN if after is None else after))
                number = begins = index - 1
            after = found.outcome
            index, offset = found.before, found.offset
        actions.reverse()
        if actions:
            domain, number, outcome = kind.replayed(key, domain, number, actions, lambda number: f"object {kind.text(key)!r}")
            if outcome == action.WITHDRAWN and actions[-1].outcome == action.UNKNOWN:
                # The process ended between the call and the record of its outcome. It is left out, as it will be by every later loading.
                actions[-1].outcome = action.WITHDRAWN
                domain, number = (kind.loaded(state)[0], kept["number"]) if state else (None, begins)
                domain, number, outcome = kind.replayed(
                    key, domain, number, actions, lambda number: f"object {kind.text(key)!r}"
                )
        return Cell(domain, place, number, outcome, len(actions), state_bytes)

    def _write_state(self, kind: Kind, key: bytes, cell: Cell) -> None:
        """Writes the state of an object to the log. One that can't be pickled is replayed from further back."""
        try:
            call = kind.dumped(cell, _pack(self._stamp(), self._offset, 0), {})
        except EncodingError as error:
            warn("the state of %r can't be written, so its next start replays all its actions: %s", kind.text(key), error)
            cell.due += cell.since
            return
        self._note(kind, key, cell, call)
        self.size_bytes -= cell.size_bytes
        fresh = Cell(cell.domain, cell.place, cell.number, cell.outcome, 0, len(call))
        cell.since, cell.due, cell.size_bytes = 0, fresh.due, fresh.size_bytes
        self.size_bytes += cell.size_bytes

    def _drop(self, key: bytes) -> None:
        cell = self.cells.pop(key, None)
        if cell is not None:
            self.size_bytes -= cell.size_bytes

    def _trim(self) -> None:
        """Drops the objects that were called longest ago, until the others have room."""
        while self.size_bytes > self.memory_bytes and self.cells:
            try:
                self._passivate(PASSIVATED)
            except OSError as error:  # The disk is full, say: what was called counts all the same.
                warn("objects can't be dropped from memory, as their states can't be written: %s", error)
                return

    @with_lock
    def passivate_idle(self) -> int:
        """Drops the objects that nobody has called for a time. Returns how many."""
        self._ready()
        before, until = self.passivated, _monotonic() - self.idle_s
        while self.cells and next(iter(self.cells.values())).touched < until:
            self._passivate(PASSIVATED, until)
        return self.passivated - before

    def _passivate(self, count: int, until: float = float("inf")) -> None:
        """Drops some objects, those called longest ago first. What their states lack in the log is written before, all with one write."""
        self._flush()
        gone = []
        # Pickling runs methods of the class, which may call other objects.
        for key, cell in list(islice(self.cells.items(), count)):
            if cell.touched >= until:
                break
            gone.append(key)
            if cell.sure and cell.since:
                kind = self.kind_of(key)
                try:
                    call = kind.dumped(cell, _pack(self._stamp(), self._offset, 0), {})
                except EncodingError:
                    continue  # It is replayed from further back.
                record = self._record(kind, key, cell, call, 0)[0]
                cell.sure = False
                self._group.append((record, cell, key, None))
        self._flush()
        for key in gone:
            self._drop(key)
        self.passivated += len(gone)

    def kind_of(self, key: bytes) -> Kind:
        """Returns the class of the object of a key."""
        prefix, separator, _ = key.rpartition(b"\0")
        return self.kinds[prefix + separator]

    # -- what was interrupted

    def _ready(self) -> None:
        """Sees to it that the table and the log agree: reads what an interrupted call has changed. Raises if the log takes no more."""
        store = self.store
        if store.settled < 0:
            store.wait(store.last + 1)
        if self._group:
            self._flush()
        if self.applied != store.last:
            self._read_on()

    def _read_on(self) -> None:
        """Brings the table to the end of the log."""
        table, newest = self.table, b""
        for index, offset, record in self.store.after(self.applied):
            newest = record
            if not keyed.has_key(record):
                raise DecodingError(f"{self.store.where(index, offset)}: the record there has no key: it is damaged")
            key = keyed.key_of(record)
            self._drop(key)
            self.has_others = self.has_others or b"\0" in key
            place = table.number(key)
            table.put(
                place, 0 if record.endswith(_DELETED) and _name_of(keyed.parts(record).call) == keyed.DELETED else index, offset
            )
            self.applied = index
        table.count()
        if newest:
            self._instant = max(self._instant, action.instant_of(newest[: action.HEADER.size]))

    def _refuse_inside(self, name: str) -> None:
        machine = current.machine
        if machine is not None and isinstance(machine, Stage):
            raise CallInsideAction(
                f"{name}() of an object was called inside an action of another one, or of itself, which would wait for it. Nothing was "
                f"called. An action changes its own object alone, by self; tell others with tell(Class, key).{name}(...), and read "
                f"what it needs before it is called."
            )

    def unwind(self) -> None:
        """Gives back what the caller has of the lock, after something was raised in it: see `coopy.spine.engine.Engine.unwind`."""
        if not self.lock._is_owned():  # type: ignore[attr-defined]
            return
        due = holding.times_due(sys._getframe(1).f_back, self)
        if not due:
            machine = current.machine
            if isinstance(machine, Stage):
                machine.running = False
                current.machine = running_in(sys._getframe(1).f_back)
        for _ in range(holding.times_held(self.lock) - due):
            self.release()

    # -- the table, and the end

    def keep_table(self) -> int:
        """Writes the table to the disk. Returns the index of the last record in it. Raises `JournalError`, OSError."""
        data, index = self._packed_table()
        self.store.flush()
        self.store.keep_table(data)
        return index

    @with_lock
    def _packed_table(self) -> tuple[bytes, int]:
        self._ready()
        return self.pack_table(self.table), self.applied

    pack_table: Callable[[Any], bytes]
    """Packs a table for the system; set by who opens."""

    @with_lock
    def passivate_all(self) -> None:
        """Drops all objects, and writes what their states lack in the log."""
        self._ready()
        while self.cells:
            self._passivate(PASSIVATED)


def _told(error: Exception) -> None:
    """Those whose records are not in the log have been told."""


def _first(kind: Kind, key: bytes, cell: Cell, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The first action of an object, which makes it."""
    domain = cell.domain = kind.made(key)
    return method.function(domain, *args, **kwargs)


def _name_of(call: bytes) -> str | None:
    """Returns the name that a call begins with, without decoding its arguments; None if it is opaque."""
    return call[2 : 2 + call[1]].decode("utf-8") if call[:1] == b"\x8c" else None

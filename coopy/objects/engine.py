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

import heapq
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from threading import RLock
from types import GeneratorType
from typing import Any

from coopy.errors import CallInsideAction, DecodingError, EncodingError, PrevalentError, Quarantined, copy_of
from coopy.ground import action, holding, keyed
from coopy.ground.interruption import note
from coopy.ground.log import warn
from coopy.ground.raised import last_resort
from coopy.ground.running import current
from coopy.objects import poison
from coopy.objects.kind import Action, Cell, Kind, Stage, named
from coopy.objects.kind import told as told_call
from coopy.objects.store import Store
from coopy.spine import calling
from coopy.spine.calling import Call, answering
from coopy.spine.effects import DONE
from coopy.spine.engine import with_lock
from coopy.spine.machine import running_in
from coopy.spine.methods import Function, Method, is_undone, is_withdrawing
from coopy.values.codec import decode_one

__coopy_inside__ = True  # See `coopy.spine.calling`.

TABLE_EVERY = 1_000_000
"""A start reads so many records in some seconds."""
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
_ENDING = len(_DELETED) + 27
"""In so many bytes at the end of a record stands that it deletes, with the id of a call of another process behind it or without."""
_INTERRUPTED = "{}() was interrupted: nothing was recorded, and the object is as before the call."
AT_ONCE = 1
"""What is due when there is something to do now; any other number is an instant."""
IDLE_S = 60.0
"""After so many seconds it is looked again whether something is due: a clock may be set."""


def _nobody() -> None:
    pass


def _no_delivery(key: bytes, name: str) -> None:
    pass


def refuse_inside(name: str) -> None:
    """Raises `CallInsideAction` in an action of an object."""
    machine = current.machine
    if machine is not None and isinstance(machine, Stage):
        raise CallInsideAction(
            f"{name}() of an object was called inside an action of another one, or of itself, which would wait for it. Nothing was "
            f"called. An action changes its own object alone, by self; tell others with tell(Class, key).{name}(...), and read "
            f"what it needs before it is called."
        )


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
        self.watch = store.watch()
        self._unloaded: dict[bytes, Cell] = {}
        """Objects that are quarantined, and were told something."""
        self.table, self.applied = store.kept_table()
        """``applied``: index of the last record whose place is in the table."""
        self.activated = 0
        """How many objects were loaded."""
        self.passivated = 0
        """How many objects were dropped."""
        self.wake: Callable[[], None] = _nobody
        """Called when there is something to do sooner than before."""
        self._heap: list[tuple[int, int]] = []
        """When there is something to do for which key, by its number in the table. What is not in the table any more is passed over."""
        self.asked: Callable[[bytes, str], None] = _no_delivery
        """Told the key of an object and the name of an effect that it has asked for, with the lock held."""
        self._flying: dict[int, set[str]] = {}
        """By the number of a key: the effects that are being carried out."""
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
        self.has_others = self.table.has_classes()
        self.fill_heap()
        self._read_on()

    # -- one call

    def call(self, kind: Kind, key: bytes, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Records a call and applies it. Returns what the method returns once that is durable.

        Raises what the method raises, `CallInsideAction`, and our errors before anything is recorded.
        """
        refuse_inside(method.name)
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
        self._do(kind, key, method, call, args, kwargs, answer)
        self._flush()
        self._trim()
        return self.store.last

    def _do(
        self,
        kind: Kind,
        key: bytes,
        method: Method,
        call: bytes,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        answer: calling.Answer,
        waits: Call | None = None,
    ) -> None:
        """Runs an action of an object, and adds its record, and those of what it has told others, to those that are written together."""
        cell = self._cell(kind, key)
        index = self.store.last + len(self._group) + 1
        header, number = self._header(cell), (cell.number or index - 1) + 1
        cell.sure = False
        watch, name = self.watch, method.name
        if name[0] == "<":
            watch.begin(key, *_kept(cell, method, args))
        else:
            watch.begin(key, poison.CALL, name)
        with answering(answer):
            answer.value = self._apply(kind, key, cell, header, number, method, args, kwargs)
        watch.end()
        if answer.error is not None:
            self._failed(kind, key, cell, header, call, number, method, answer.error)
            return
        told = list(kind.stage.told) if kind.stage.told else ()
        if told:
            # Loading those that are told may fail; then nothing is recorded.
            targets = [(other, address, self._target(cell, key, other, address), call) for other, address, call in told]
            if number == index != self.store.last + len(self._group) + 1:
                # The number of a first action is its index, and loading has added records in between.
                self._forget(key)
                self._do(kind, key, method, call, args, kwargs, answer, waits)
                return
        self._count(cell, len(call))
        self._add(kind, key, cell, header, call, waits)
        cell.sure = True
        if told:
            for other, address, target, said in targets:
                self._tell(other, address, target, said)
        if cell.kept is not None:
            self._schedule(cell)

    def _target(self, cell: Cell, key: bytes, kind: Kind, address: bytes) -> Cell:
        """Returns the object that another one, or itself, has told something."""
        if address == key:
            return cell
        if not self.watch.has(address):
            return self._cell(kind, address)
        # How its last action has ended is not known without loading it: as after a crash.
        found = self._unloaded.get(address)
        if found is None:
            found = self._unloaded[address] = Cell(None, self.table.number(address), 0, action.UNKNOWN, 0, 0, {})
        found.kept = None
        return found

    def _tell(self, kind: Kind, key: bytes, cell: Cell, call: bytes) -> None:
        """Adds the record of a call that waits in an object from now on."""
        cell.sure = False
        self._add(kind, key, cell, self._header(cell), told_call(call))
        if cell.kept is None:
            cell.kept = {}
        cell.kept.setdefault("inbox", []).append(call)
        self._count(cell, len(call))
        cell.sure = True
        self._schedule(cell)

    def _add(self, kind: Kind, key: bytes, cell: Cell, header: bytes, call: bytes, waits: Call | None = None) -> None:
        """Adds a record to those that are written together.

        Where the record before it lies is looked up here and no earlier: what comes in between may have written that.
        """
        place, table, group = cell.place, self.table, self._group
        newest = self.store.last + len(group)
        # An interrupt may have come before the newest one of the group was noted.
        pending = newest if group and group[-1][1] is cell else cell.pending
        before = pending or table.indexes[place]
        # One that is written together with this one stands in the same frame.
        offset = table.offsets[place] if before and not pending else 0
        if kind.code:
            header = keyed.with_code(header)
        record = header + _fields(before, offset, kind.version, key, kind.code) + call
        group.append((record, cell, key, waits))
        cell.pending = newest + 1

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
        stage.enter(key, domain, number - 1, {} if cell.kept is None else cell.kept)
        if domain is None:
            result = stage.apply(header, _first, (kind, cell, method, args, kwargs), {})
        else:
            result = stage.apply(header, method.function, (domain, *args), kwargs)
        stage.domain = None
        if stage.own_code:
            stage.left(cell.domain)
        cell.number = number
        cell.outcome = action.RETURNED
        if cell.kept is not None or stage.has_asked:
            stage.commit()
            cell.kept = stage.kept
        return result if result is not cell.domain else kind.handle(key)

    def _header(self, cell: Cell) -> bytes:
        """Returns the header of the next record of an object, as the clock and the env read it."""
        return _pack(self._stamp(), self._offset, _RESERVED | cell.outcome)

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

    def _failed(
        self, kind: Kind, key: bytes, cell: Cell, header: bytes, call: bytes, number: int, method: Method, error: BaseException
    ) -> None:
        """Puts memory right after an action has raised, and has its record written, as the marks of its method say."""
        stage = kind.stage
        stage.running = False
        stage.left(cell.domain)
        method = method.of(kind.code)
        if current.machine is stage:
            current.machine = running_in(sys._getframe(1))
        # It may have been interrupted before the method began: then the stage tells of another action.
        has_raised = stage.key == key and stage.index == number and stage.outcome == action.RAISED
        if not has_raised or cell.domain is None:
            # Nothing is recorded of what was interrupted, nor of an object that could not be made.
            self._forget(key)
            if not has_raised:
                note(error, _INTERRUPTED.format(method.name))
            return
        ran = stage.ran if method in (TAKE, ALARM) else None
        is_withdrawn = is_undone(method, error) if ran is None else is_withdrawing(ran) or isinstance(error, PrevalentError)
        is_first, cell.number = cell.number == 0, number
        if is_withdrawn and is_first and cell.kept is None:
            self._forget(key)  # There is no object then.
            return
        cell.outcome = action.WITHDRAWN if is_withdrawn else action.RAISED
        self._add(kind, key, cell, header, call)
        if is_withdrawn:
            self._add(kind, key, cell, self._header(cell), _ENDED)
            self._forget(key)
            return
        self._count(cell, len(call))
        cell.sure = True
        if cell.kept is not None:
            self._schedule(cell)

    def _forget(self, key: bytes) -> None:
        """Drops an object whose state is not that of the log; what the log lacks is written before."""
        self._flush()
        self._drop(key)

    def _note(self, kind: Kind, key: bytes, cell: Cell, call: bytes) -> int:
        """Appends a record that calls no method. Returns its index."""
        if call.startswith(_DELETED):
            # Before its record can be written: whoever writes it has to know.
            cell.domain = _DELETED
        self._add(kind, key, cell, self._header(cell), call)
        self._flush()
        return self.store.last

    # -- reads

    def read(self, kind: Kind, key: bytes, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a function of the object that changes nothing. Returns what it returns once all that it could see is durable.

        Where there is no object of the key, that of a new one is asked, which is dropped again.
        """
        refuse_inside(getattr(function, "__name__", "read"))
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
        outer = self.watch.begin(key, poison.READ, getattr(function, "__name__", "read"))
        with answering(answer):
            domain = kind.made(key) if cell is None or cell.domain is None else cell.domain
            result = function(domain, *args, **kwargs)
            if type(result) is GeneratorType:
                result = iter(list(result))
            answer.value = result if result is not domain else kind.handle(key)
        self.watch.end(outer)
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
        return self.living

    @property
    def table_every(self) -> int:
        """After so many records the table of keys is written again: a start reads on from it."""
        return TABLE_EVERY

    @property
    def living(self) -> int:
        """How many objects there are."""
        return self.table.living

    def settle(self) -> None:
        """Waits until all that was recorded so far is durable."""
        last = self.store.last
        if self.store.settled < last:
            self.store.wait(last)

    def delete(self, kind: Kind, key: bytes) -> bool:
        """Records that there is no object of a key any more. Returns whether there was one."""
        refuse_inside("del")
        index = self._delete(kind, key)
        if index and self.store.settled < index:
            self.store.wait(index)
        return bool(index)

    @with_lock
    def _delete(self, kind: Kind, key: bytes, call: bytes = _DELETED) -> int:
        """Returns the index of the record that says so; 0 if there was no object. The call may have the id of another process's behind it."""
        self._ready()
        cell = self._activated(kind, key)
        if cell is None:
            return 0
        cell.sure = False
        index = self._note(kind, key, cell, call)
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
        self._do(kind, key, method, data, given, kwargs, call, call)
        if len(self._group) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        """Appends the records of the group. Raises what `Store.append` raises, and so is each call told whose record is not in the log."""
        group, store, table = self._group, self.store, self.table
        if not group:
            return
        first = store.last + 1
        try:
            self._group = []
            offset = store.append([each[0] for each in group])
            for index, (_, cell, _, _) in enumerate(group, first):
                # The place of a key that has no object any more is nowhere.
                table.put(cell.place, 0 if cell.domain is _DELETED else index, offset)
                cell.pending = 0
            self.applied = store.last
        except BaseException as error:  # Of whatever kind: all whose records are not in the log have to be told.
            self._unloaded.clear()
            for _, cell, key, _ in group:
                cell.sure, cell.pending = False, 0
                self._drop(key)
            if store.last < first:
                for _, _, _, call in group:
                    if call is not None:
                        call.error = copy_of(error)
            raise

    # -- objects come and go

    def _cell(self, kind: Kind, key: bytes) -> Cell:
        """Returns the object of a key, with a place in the table; a cell without one if its first action makes it."""
        cell = self._activated(kind, key)
        if cell is None:
            cell = self.cells[key] = Cell(None, self.table.number(key), 0, action.UNKNOWN, 0, 0, {})
            cell.touched = _monotonic()
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
            self._forget(key)
        if self.watch.deaths:
            # One that is quarantined is not active.
            self.watch.refuse(key, kind.text(key))
        place = self.table.find(key)
        if place < 0 or not self.table.indexes[place]:
            return None
        cell = self._loaded(kind, key, place)
        if cell.domain is None and cell.kept is None:
            # Its first action was interrupted, or could not make it, and the process ended before it said so.
            self._note(kind, key, cell, _DELETED)
            return None
        cells[key] = cell
        self.size_bytes += cell.size_bytes
        self.activated += 1
        cell.touched = _monotonic()
        self._schedule(cell)
        return cell

    def _loaded(self, kind: Kind, key: bytes, place: int) -> Cell:
        """Loads an object from its newest state in the log and the actions after it."""
        store = self.store
        index, offset = self.table.indexes[place], self.table.offsets[place]
        actions: list[Action] = []
        state, begins = b"", 0
        after: int | None = None
        while index:
            record = store.at(index, offset)
            found = keyed.parts(record)
            if found.key != key or found.before >= index:
                raise DecodingError(
                    f"{store.where(index, offset)}: the record there is not one of {kind.text(key)!r}: it is damaged"
                )
            name = name_of(found.call)
            if name == keyed.STATE:
                state = found.call
            if name in (keyed.STATE, keyed.DELETED):
                break
            if name == keyed.TOLD:
                actions.append(Action(index, b"", 0, 0, b"", action.RETURNED, decode_one(found.call)[1]))
            elif name != keyed.ENDED:
                ended = action.UNKNOWN if after is None else after
                actions.append(Action(index, found.header, found.version, found.code, found.call, ended))
                begins = index - 1
            # How the action before has ended, those that call no method say as well.
            after = found.outcome
            index, offset = found.before, found.offset or offset
        actions.reverse()
        return self._brought_forth(kind, key, place, state, begins, actions, action.UNKNOWN if after is None else after)

    def _brought_forth(
        self, kind: Kind, key: bytes, place: int, state: bytes, number: int, actions: list[Action], ended: int
    ) -> Cell:
        """Returns an object as its state, if it has one, and the actions after that make it."""
        outer = self.watch.begin(key, poison.LOAD, "")
        self.watch.at(actions[0].index if actions else self.table.indexes[place])
        try:
            return self._made_anew(kind, key, place, state, number, actions, ended)
        finally:
            self.watch.end(outer)

    def _made_anew(
        self, kind: Kind, key: bytes, place: int, state: bytes, number: int, actions: list[Action], ended: int
    ) -> Cell:
        begins, state_bytes = number, 0
        # Where the process has died of it before, it is said which action it is.
        step = self.watch.at if key in self.watch.deaths else None
        last = next((each for each in reversed(actions) if each.told is None), None)
        for is_again in (False, True):
            domain: Any = None
            kept: dict[str, Any] = {}
            number, outcome = begins, ended
            if state:
                domain, kept, outcome, state_bytes = kind.loaded(state)
                # Of one that was told something, and has done nothing yet, the first action has its index; or had, before it was moved.
                first = kept.pop("first", begins)
                number = kept.pop("number") or first
            if actions:
                where = f"object {kind.text(key)!r}"
                domain, number, found = kind.replayed(key, domain, number, kept, actions, lambda number: where, step)  # noqa: B023
                outcome = outcome if last is None else found
            if is_again or last is None or outcome != action.WITHDRAWN or last.outcome != action.UNKNOWN:
                break
            # The process ended between the call and the record of its outcome. It is left out, as it will be by every later loading.
            last.outcome = action.WITHDRAWN
        return Cell(domain, place, number if domain is not None else 0, outcome, len(actions), state_bytes, kept)

    def _write_state(self, kind: Kind, key: bytes, cell: Cell) -> None:
        """Writes the state of an object to the log. One that can't be pickled is replayed from further back."""
        try:
            call = self._dumped(kind, key, cell)
        except EncodingError as error:
            warn("the state of %r can't be written, so its next start replays all its actions: %s", kind.text(key), error)
            cell.due += cell.since
            return
        self._note(kind, key, cell, call)
        self.size_bytes -= cell.size_bytes
        fresh = Cell(cell.domain, cell.place, cell.number, cell.outcome, 0, len(call), {})
        cell.since, cell.due, cell.size_bytes = 0, fresh.due, fresh.size_bytes
        self.size_bytes += cell.size_bytes

    def _dumped(self, kind: Kind, key: bytes, cell: Cell) -> bytes:
        """Returns the call of a record with the state of an object. Raises `EncodingError`."""
        outer = self.watch.begin(key, poison.STATE, "")
        self.watch.at(self.table.indexes[cell.place])
        try:
            return kind.dumped(cell, _pack(self._stamp(), self._offset, 0))
        finally:
            self.watch.end(outer)

    def _drop(self, key: bytes) -> None:
        cell = self.cells.pop(key, None)
        if cell is not None:
            self.size_bytes -= cell.size_bytes
            if not cell.sure and self.table.indexes[cell.place]:
                # What it has to do is known once it is loaded.
                self._due(cell.place, AT_ONCE)

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
                    call = self._dumped(kind, key, cell)
                except EncodingError:
                    continue  # It is replayed from further back.
                self._add(kind, key, cell, self._header(cell), call)
        self._flush()
        for key in gone:
            self._drop(key)
        self.passivated += len(gone)

    def kind_of(self, key: bytes) -> Kind:
        """Returns the class of the object of a key."""
        prefix, separator, _ = key.rpartition(b"\0")
        return self.kinds[prefix + separator]

    # -- what was

    @with_lock
    def place_of(self, key: bytes) -> tuple[int, int]:
        """Returns the place of the newest record of a key; 0, 0 if there is no object."""
        self._ready()
        place = self.table.find(key)
        return (0, 0) if place < 0 else (self.table.indexes[place], self.table.offsets[place])

    @with_lock
    def outcome_of(self, kind: Kind, key: bytes) -> int:
        """Returns how the last action of an object has ended."""
        self._ready()
        cell = None if self.watch.has(key) else self._activated(kind, key)
        return action.UNKNOWN if cell is None else cell.outcome

    @with_lock
    def as_it_was(self, kind: Kind, key: bytes, state: bytes, number: int, actions: list[Action]) -> Any:
        """Returns what a state and the actions after it make; None if that is no object. Raises `Quarantined` if that has ended the process."""
        self._ready()
        if any(each.doing == "load" for each in self.watch.deaths.get(key, ())):
            self.watch.refuse(key, kind.text(key))
        return self._brought_forth(kind, key, 0, state, number, actions, action.UNKNOWN).domain

    # -- what is not needed any more

    def compact(self, before: int | None) -> int:
        """Writes anew the states that lie far back, and forgets what nothing needs any more: all before an instant, in nanoseconds.

        Returns how many segments were forgotten. Calls go on in between. Raises `EncodingError`, `JournalError`, a `StorageError`.
        """
        first = self._cut(before)
        if first == 0:
            return 0
        place = 0
        while place < len(self.table.indexes):
            self._write_anew(range(place, min(place + CHUNK, len(self.table.indexes))), first)
            place += CHUNK
        # Only what is durable, and in the table that is kept, can be in the place of what goes.
        self.keep_table()
        return self._forget_before(first)

    @with_lock
    def _cut(self, before: int | None) -> int:
        self._ready()
        # What is quarantined can't be loaded, so its state can't be written anew.
        places = [self.table.find(key) for key in self.watch.quarantined()]
        kept = min((self._oldest_needed(place) for place in places if place >= 0), default=sys.maxsize)
        found = 0
        for first in self.store.begins()[1:]:
            if first > kept:
                break
            if before is not None:
                record = next(iter(self.store.after(first - 1)))[2] if first <= self.store.last else b""
                if not record or action.instant_of(record[: action.HEADER.size]) > before:
                    break
            found = first
        return found

    @with_lock
    def _write_anew(self, places: range, first: int) -> None:
        self._ready()
        for place in places:
            if self._needs(place, first):
                key = self.table.key(place)
                kind = self.kind_of(key)
                cell = self._activated(kind, key)
                if cell is not None:
                    self._note(kind, key, cell, self._dumped(kind, key, cell))
                    cell.since = 0
        self._trim()

    def _needs(self, place: int, first: int) -> bool:
        """Returns whether loading an object reads a record before an index."""
        return 0 < self._oldest_needed(place, first) < first

    def _oldest_needed(self, place: int, first: int = 0) -> int:
        """Returns the index of the oldest record that loading an object reads, or that of one before ``first``; 0 if there is none."""
        index, offset = self.table.indexes[place], self.table.offsets[place]
        oldest = index
        while index >= first and index:
            found = keyed.parts(self.store.at(index, offset))
            oldest = index
            if name_of(found.call) in (keyed.STATE, keyed.DELETED):
                return oldest
            index, offset = found.before, found.offset or offset
        return index or oldest

    @with_lock
    def _forget_before(self, first: int) -> int:
        self._ready()
        return self.store.forget(first)

    # -- what is to be done for objects: calls that wait, and alarms

    def _schedule(self, cell: Cell) -> None:
        """Notes when there is something to do for an object."""
        kept, due = cell.kept, 0
        if kept is not None:
            due = AT_ONCE if kept.get("inbox") else min((due for due, _ in kept.get("alarms", {}).values()), default=0)
            effects = kept.get("effects")
            if effects:
                self._ask(cell.place, effects)
            elif not due:
                cell.kept = None
        if due != self.table.dues[cell.place]:
            self._due(cell.place, due)

    def _due(self, place: int, due: int) -> None:
        self.table.dues[place] = due
        if due:
            heapq.heappush(self._heap, (due, place))
            if self._heap[0] == (due, place):
                self.wake()

    def fill_heap(self) -> None:
        """Looks through the table for what there is to do."""
        self._heap = [(due, place) for place, due in enumerate(self.table.dues) if due]
        heapq.heapify(self._heap)

    @with_lock
    def do_what_is_due(self, count: int = CHUNK) -> float:
        """Runs calls that wait, and alarms whose time has come. Returns in how many seconds there is more to do."""
        self._ready()
        more_s = self._run_due(count)
        self._flush()
        self._trim()
        return more_s

    def _run_due(self, count: int) -> float:
        heap, table = self._heap, self.table
        for _ in range(count):
            while heap and table.dues[heap[0][1]] != heap[0][0]:
                heapq.heappop(heap)  # It is done, or is for another time.
            if not heap:
                return IDLE_S
            now = self.clock()
            due, place = heap[0]
            if due > now:
                return min(IDLE_S, (due - now) / _NS)
            heapq.heappop(heap)
            key = table.key(place)
            if self.watch.deaths and self.watch.has(key):
                continue  # It stays due, and is done once it is released.
            table.dues[place] = 0
            with last_resort(self._not_done, place):
                self._do_due(key, now)
        return 0.0

    def _do_due(self, key: bytes, now: int) -> None:
        kind = self.kind_of(key)
        cell = self._activated(kind, key)
        if cell is None or cell.kept is None:
            return
        if cell.kept.get("inbox"):
            self._do_kept(kind, key, TAKE, ())
        elif cell.kept.get("alarms"):
            due, name = min((due, name) for name, (due, _) in cell.kept["alarms"].items())
            if due <= now:
                self._do_kept(kind, key, ALARM, (name, due))
        again = self._activated(kind, key)
        if again is not None:
            self._schedule(again)

    def _do_kept(self, kind: Kind, key: bytes, method: Method, args: tuple[Any, ...]) -> None:
        """Runs what waits in an object. What it raises is an outcome, and nobody is told but the log."""
        answer = Answer()
        self._do(kind, key, method, kind.codec.encode_call(method.name, args, {})[0], args, {}, answer)
        if answer.error is None:
            return
        warn("%s of %r raised %r", method.name, kind.text(key), answer.error)
        cell = self._activated(kind, key)
        if cell is None:
            return
        if cell.domain is None:
            # It could not be made, so there is nobody to keep what it was told.
            self._note(kind, key, cell, _DELETED)
            self._drop(key)
        elif cell.outcome == action.WITHDRAWN:
            self._do(kind, key, PASSED, kind.codec.encode_call(keyed.PASSED, args, {})[0], args, {}, Answer())

    def _ask(self, place: int, effects: Iterable[str]) -> None:
        """Has effects of an object carried out, each once at a time."""
        flying = self._flying.setdefault(place, set())
        for name in effects:
            if name not in flying:
                flying.add(name)
                self.asked(self.table.key(place), name)

    def effect(self, key: bytes, name: str) -> bytes | None:
        """Returns what an effect of an object is to do, once the action that asked for it is durable; None if it is done."""
        found = self._effect(key, name)
        self.settle()
        return found

    @with_lock
    def _effect(self, key: bytes, name: str) -> bytes | None:
        self._ready()
        cell = self._activated(self.kind_of(key), key)
        effects: dict[str, bytes] = {} if cell is None or cell.kept is None else cell.kept.get("effects", {})
        if name not in effects:
            self._flying.get(self.table.find(key), set()).discard(name)
        return effects.get(name)

    @with_lock
    def carried_out(self, key: bytes, name: str) -> None:
        """Records that an effect of an object has been carried out."""
        self._ready()
        kind = self.kind_of(key)
        cell = self._activated(kind, key)
        if cell is not None and name in (cell.kept or {}).get("effects", ()):
            args, answer = (name, None), Answer()
            self._do(kind, key, _DONE, kind.codec.encode_call(DONE, args, {})[0], args, {}, answer)
            self._flush()
            answer.given()
        if cell is not None:
            self._flying.get(cell.place, set()).discard(name)

    def _not_done(self, error: Exception, place: int) -> None:
        warn("what was to be done for %r was not, and is tried again: %s", self.table.key(place), error)
        self._due(place, self.clock() + _NS)

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
            place = table.number(key)
            if key[0]:
                self.has_others = self.has_others or b"\0" in key
                self._due(place, AT_ONCE)
            deletes = _DELETED in record[-_ENDING:] and name_of(keyed.parts(record).call) == keyed.DELETED
            table.put(place, 0 if deletes else index, offset)
            self.applied = index
        table.count()
        if newest:
            self._instant = max(self._instant, action.instant_of(newest[: action.HEADER.size]))

    def unwind(self) -> None:
        """Gives back what the caller has of the lock, after something was raised in it: see `coopy.spine.engine.Engine.unwind`."""
        if not self.lock._is_owned():  # type: ignore[attr-defined]
            return
        due = holding.times_due(sys._getframe(1).f_back, self)
        if not due:
            self.watch.end()
            machine = current.machine
            if isinstance(machine, Stage):
                machine.running = False
                current.machine = running_in(sys._getframe(1).f_back)
        for _ in range(holding.times_held(self.lock) - due):
            self.release()

    # -- what ends the process

    @with_lock
    def quarantined(self, kind: Kind) -> dict[str, Quarantined]:
        """Returns what is raised by calls of the objects of a class that are quarantined, by their keys."""
        watch, prefix = self.watch, kind.prefix
        mine = [key for key in watch.quarantined() if key.startswith(prefix) and b"\0" not in key[len(prefix) :]]
        return {kind.text(key): watch.refusal(key, kind.text(key)) for key in mine}

    @with_lock
    def let_out(self, key: bytes) -> bool:
        """Forgets what an object has ended the process with, so that it is called again. Returns whether there was anything."""
        self._ready()
        found = self.watch.release(key)
        self._unloaded.pop(key, None)
        place = self.table.find(key)
        if found and place >= 0 and self.table.dues[place]:
            self._due(place, AT_ONCE)
        return found

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
        for place, names in self._flying.items():
            if names:
                self._due(place, AT_ONCE)  # Who opens the directory next looks at the object at once.
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


def _first(kind: Kind, cell: Cell, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The first action of an object, which makes it."""
    domain = cell.domain = kind.made(kind.stage.key)
    kind.stage.made(domain)
    return method.function(domain, *args, **kwargs)


def _run_told(domain: Any) -> Any:
    return _stage_of(domain).run_told()


def _run_alarm(domain: Any, name: str, due: int) -> Any:
    return _stage_of(domain).run_alarm(name, due)


def _pass_over(domain: Any, *args: Any) -> None:
    _stage_of(domain).pass_over(*args)


def _stage_of(domain: Any) -> Stage:
    """The stage of the action that runs, with an object on it."""
    stage = current.machine
    assert isinstance(stage, Stage), "what coopy calls itself it calls in an action"
    stage.receive(domain)
    return stage


def _carried_out(domain: Any, name: str, _: None) -> None:
    _stage_of(domain).carried_out(name)


_DONE = Method(DONE, _carried_out)
TAKE, ALARM, PASSED = Method(keyed.TAKE, _run_told), Method(keyed.ALARM, _run_alarm), Method(keyed.PASSED, _pass_over)


def _kept(cell: Cell, method: Method, args: tuple[Any, ...]) -> tuple[int, str]:
    """Returns what coopy runs of an object by itself: what that is, and which method it calls."""
    kept = cell.kept or {}
    if method is TAKE:
        return poison.TOLD, name_of(kept["inbox"][0]) or "a call"
    if method is ALARM:
        return poison.ALARM, name_of(kept["alarms"][args[0]][1]) or "a call"
    return poison.CALL, method.name


def name_of(call: bytes) -> str | None:
    """Returns the name that a call begins with, without decoding its arguments; None if it is opaque."""
    return call[2 : 2 + call[1]].decode("utf-8") if call[:1] == b"\x8c" else None

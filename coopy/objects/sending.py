"""Takes the calls of objects that several processes have: sends each to the process that has its key, and waits for its answer there.

What is sent, over which connections, and what becomes of a question whose process ends, is that of a shared directory: `coopy.replication.caller` and
`coopy.replication.parcels`. In front of a call, or of a read, stands the key. What is asked for besides is asked by name (`CONTROL`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, cast

from coopy.errors import SystemClosed
from coopy.ground import keyed
from coopy.ground.holding import Alarm
from coopy.ground.raised import attempted
from coopy.objects import slots
from coopy.objects.engine import refuse_inside
from coopy.objects.kind import Kind, named
from coopy.objects.shard import Shard, addressed
from coopy.replication import asking, parcels
from coopy.replication.caller import Caller, Question
from coopy.replication.connecting import greeting
from coopy.replication.guests import Guests
from coopy.replication.parcels import Parcel, said
from coopy.replication.telling import raised
from coopy.spine.calling import Call, answering
from coopy.spine.methods import Function, Method
from coopy.values.alone import decoded_by
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.

_DELETE = named(keyed.DELETED)


class _Log:
    """What a handle asks of a log: nothing here is settled, so every read is asked for."""

    last = settled = synced = 0


class _Asked:
    """What a lane is to ask together, in order."""

    __slots__ = ("shard", "pairs", "done", "problem")

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.pairs: list[tuple[Call, Question]] = []
        self.done = Alarm()
        self.problem: Exception | None = None


class _Begun(NamedTuple):
    """Calls that were begun: those that lanes ask for, those of this process, and those that are answered already."""

    asked: list[_Asked]
    here: list[Call]
    upto: int
    rest: list[Call]


class Lines:
    """The connections to all processes, and for calls of a loop a lane to each: a thread, so that they come in order."""

    def __init__(self, directories: Sequence[str], greeting: bytes, timeout_s: float) -> None:
        self._given = list(directories), greeting, timeout_s
        self._begin()

    def _begin(self) -> None:
        directories, greeting, timeout_s = self._given
        self.callers = [Caller(each, lambda purpose: greeting, timeout_s) for each in directories]
        self._lanes: dict[int, SimpleQueue[_Asked | None]] = {}

    def lane(self, shard: int) -> SimpleQueue[_Asked | None]:
        """Returns where to put what is asked of a shard."""
        found = self._lanes.get(shard)
        if found is None:
            found = self._lanes[shard] = SimpleQueue()
            Thread(target=_ask_all, args=(self.callers[shard], found), name=f"coopy lane {shard}", daemon=True).start()
        return found

    def forked(self) -> None:
        """Makes all of it anew, in a forked child."""
        before = self.callers
        self._begin()
        for each in before:
            each.forked()

    def close(self) -> None:
        """Ends the lanes, and has everybody who asks be told that this is closed."""
        for lane in self._lanes.values():
            lane.put(None)
        for each in self.callers:
            where = os.path.dirname(each.directory)
            each.close(SystemClosed(f"the objects in {where} are closed. Open them again to use them."))


class Sending(asking.Unguarded):
    """What takes the calls of all objects of a directory that is spread. ``here`` is the engine of the shard that this process has, if it has one."""

    def __init__(
        self, directories: Sequence[str], system: bytes, codec: Codec, timeout_s: float, here: Shard | None = None
    ) -> None:
        self.directories = list(directories)
        self.here = here
        self.store = _Log()
        self.kinds: dict[bytes, Kind] = {}
        self._codec = codec
        self.lines = Lines(directories, greeting(codec, system), timeout_s)
        self._number = -1 if here is None else here.number
        self._guests: Guests | None = None
        self._reads: dict[Kind, asking.Reads] = {}
        self._known = [0] * len(directories)
        """By shard: the newest index that this process has been told of. A call that is sent now is recorded behind it, if at all."""

    @property
    def callers(self) -> list[Caller]:
        """The connections, by shard."""
        return self.lines.callers

    def give_way_to(self, guests: Guests) -> None:
        """Has calls of this process, of its own shard, come in between those of others."""
        self._guests = guests

    # -- one call

    def call(self, kind: Kind, key: bytes, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Has a call recorded and applied where its object is. Returns what the method returns once that is durable.

        Raises what the method raises, `CallInsideAction`; `EncodingError` and `Unavailable` if nothing was recorded; `OutcomeUnknown` if that
        can't be known in time.
        """
        refuse_inside(method.name)
        shard = slots.shard_of(key, len(self.callers))
        if shard == self._number:
            return self._engine().call(kind, key, method, args, kwargs)
        return self._asked(shard, self._do(kind, key, method, args, kwargs))

    def read(self, kind: Kind, key: bytes, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a function of the object that changes nothing, where that is. Returns what it returns."""
        refuse_inside(getattr(function, "__name__", "read"))
        shard = slots.shard_of(key, len(self.callers))
        if shard == self._number:
            return self._engine().read(kind, key, function, args, kwargs)
        return self._asked(shard, self._to_read(kind, key, function, args, kwargs))

    def delete(self, kind: Kind, key: bytes) -> bool:
        """Records that there is no object of a key any more. Returns whether there was one."""
        refuse_inside("del")
        shard = slots.shard_of(key, len(self.callers))
        if shard == self._number:
            return self._engine().delete(kind, key)
        question = self.callers[shard].question(parcels.CALL, addressed(key, _DELETE), self._known[shard])
        return bool(self._asked(shard, question))

    def _engine(self) -> Shard:
        if self._guests is not None and self._guests.have_the_turn:
            self._guests.let_pass()
        return cast(Shard, self.here)

    def _do(self, kind: Kind, key: bytes, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Question:
        """Returns what is asked to have an action done: `coopy.metrics` counts them here, as in `Engine._do`."""
        shard = slots.shard_of(key, len(self.callers))
        call = kind.codec.encode_call(method.name, args, kwargs, method.parameters)[0]
        return self.callers[shard].question(parcels.CALL, addressed(key, call), self._known[shard])

    def _to_read(self, kind: Kind, key: bytes, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Question:
        shard = slots.shard_of(key, len(self.callers))
        reads = self._reads.get(kind)
        if reads is None:
            reads = self._reads[kind] = asking.Reads(kind.cls, kind.codec)
        return self.callers[shard].question(parcels.READ, addressed(key, reads.said(function, args, kwargs)), 0)

    def _asked(self, shard: int, question: Question) -> Any:
        self.callers[shard].ask_one(question)
        return self._answer(shard, cast(Parcel, question.answer))

    def _answer(self, shard: int, answer: Parcel) -> Any:
        if answer.position > self._known[shard]:
            self._known[shard] = answer.position
        value = decoded_by(self._codec, answer.call)[1][0]
        if answer.kind == parcels.VALUE:
            return value
        raise raised(self._codec, value)

    # -- many calls at once

    def begin_all(self, calls: Sequence[Call]) -> Any:
        """Sends calls, those of one shard in order, each with its class and its key before its arguments."""
        by_shard: dict[int, _Asked] = {}
        here: list[Call] = []
        rest: list[Call] = []
        for call in calls:
            if call.what is None:  # Nobody waits for it any more.
                rest.append(call)
                continue
            shard = slots.shard_of(call.args[1], len(self.callers))
            if shard == self._number:
                here.append(call)
                continue
            question = None
            # It is raised where this call is waited for; the others go on.
            with answering(call):
                ask = self._do if isinstance(call.what, Method) else self._to_read
                question = ask(call.args[0], call.args[1], call.what, call.args[2:], call.kwargs)
            if question is None:
                rest.append(call)
                continue
            asked = by_shard.get(shard)
            if asked is None:
                asked = by_shard[shard] = _Asked(shard)
            asked.pairs.append((call, question))
        for asked in by_shard.values():
            self.lines.lane(asked.shard).put(asked)
        return _Begun(list(by_shard.values()), here, self._engine().begin_all(here) if here else 0, rest)

    def settled(self, begun: Any, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        """Yields the calls that were begun once they are answered."""
        if begun.rest:
            yield begun.rest
        if begun.here:
            yield from cast(Shard, self.here).settled(begun.upto, begun.here)
        for asked in begun.asked:
            asked.done.wait()
            for call, question in asked.pairs:
                with answering(call):
                    if question.answer is None:
                        assert asked.problem is not None, "what was asked is answered"
                        raise asked.problem
                    call.value = self._answer(asked.shard, question.answer)
            yield [call for call, _ in asked.pairs]

    # -- what is asked besides calls

    def of_shard(self, shard: int, name: str, *args: Any, timeout_s: float | None = None) -> Any:
        """Has the process of a shard do something, and returns what came of it."""
        caller = self.callers[shard]
        question = caller.question(parcels.CONTROL, said(self._codec, name, args), 0)
        caller.ask((question,), timeout_s)
        return self._answer(shard, cast(Parcel, question.answer))

    def of_key(self, key: bytes, name: str, *args: Any) -> Any:
        """Has the process that has a key do something, and returns what came of it."""
        return self.of_shard(slots.shard_of(key, len(self.callers)), name, *args)

    def of_all(self, name: str, *args: Any) -> list[Any]:
        """Has each process do something, and returns what came of it, by shard."""
        return [self.of_shard(shard, name, *args) for shard in range(len(self.callers))]

    def has(self, kind: Kind, key: bytes) -> int:
        """Returns the index of the newest record of an object; 0 if there is none of the key."""
        return int(self.of_key(key, "has", kind.prefix, key))

    def keys(self, prefix: bytes) -> list[bytes]:
        """Returns the keys that there are and begin with some bytes, in order."""
        return sorted(key for those in self.of_all("keys", prefix) for key in those)

    def settle(self) -> None:
        """Does nothing: what was answered is durable."""

    # -- the end

    def forked(self) -> None:
        """Called in a forked child: it has connections of its own."""
        self.lines.forked()
        self._known = [0] * len(self.directories)

    def close(self) -> None:
        """Asks for nothing any more."""
        self.lines.close()


def _ask_all(caller: Caller, lane: SimpleQueue[_Asked | None]) -> None:
    """What the thread does that asks one process, for calls of a loop: one after the other, so that they come in order."""
    while (asked := lane.get()) is not None:
        _, asked.problem = attempted(caller.ask, [question for _, question in asked.pairs])
        asked.done.set()
        del asked

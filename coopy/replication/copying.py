"""The engine of a process that shares a directory: while another writes, calls are sent there, and the state follows the journal; once this
process writes, it is the engine of one machine.

Which of the two it is says ``caller``: who sends, or None. It changes once, from the first to the second, with the lock held.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, cast

from coopy.errors import CoopyError, MissingActions, UsageError, copy_of
from coopy.ground import action
from coopy.ground.raised import or_none
from coopy.ground.running import current
from coopy.ground.storage import Log, SnapshotStore
from coopy.past.proxy import codec_of_past
from coopy.past.trail import Tail
from coopy.replication import asking, parcels
from coopy.replication.caller import Caller, Came, Question
from coopy.replication.followed import Followed
from coopy.replication.guests import Guests
from coopy.replication.parcels import Parcel, Said, id_of, taken_in, told_out, with_own
from coopy.replication.recorded import Ended, Keeping, Noting, Recorded, Wanted
from coopy.replication.telling import raised
from coopy.spine.attributes import has_own, kind_of_callable, method_by_name
from coopy.spine.calling import Call, answering
from coopy.spine.engine import CHUNK, Engine, with_lock
from coopy.spine.machine import NOTHING_FOLLOWS, Machine, MissingName
from coopy.spine.methods import Function, Method, functions_of, has_unlocked_reads, method_for, reader_of
from coopy.spine.parts import ANSWERS
from coopy.spine.proxy import keep_looking_for_hidden
from coopy.spine.replay import Progress
from coopy.spine.section import Section
from coopy.values import entities
from coopy.values.alone import decoded_by
from coopy.values.codec import Codec, decode_joined
from coopy.values.copies import SCALARS

__coopy_inside__ = True  # See `coopy.spine.calling`.
VIEWS = frozenset({type({}.keys()), type({}.values()), type({}.items())})


class Forwarded:
    """What another process has asked for: a call, see `coopy.spine.calling.Call`, or anything else that is answered."""

    __slots__ = ("peer", "number", "data", "kind", "what", "args", "kwargs", "value", "error")

    what: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(self, peer: Any, number: int, data: bytes = b"", kind: int = parcels.CALL) -> None:
        self.peer = peer
        """Who is answered; ``number`` is its number of what it has asked."""
        self.number = number
        self.data = data
        """A call as it lies in the journal, with its id."""
        self.kind = kind
        """Of the parcel with which it was asked."""
        self.what = None
        self.value: Any = None
        self.error: BaseException | None = None


class Shared(Engine):
    """An engine that sends, or writes. ``tail`` makes what reads a journal behind an action."""

    takes_reads = False
    """A read of a process without a copy waits for no call that has come with it."""
    __slots__ = ("caller", "stopped", "guests", "recorded", "_tail_after", "_tail", "_marks", "_readers", "_wanted")

    def __init__(
        self,
        log: Log,
        snapshots: SnapshotStore,
        codec: Codec,
        secret: bytes,
        caller: Caller | None,
        tail_after: Callable[[int], Tail],
    ) -> None:
        super().__init__(log, snapshots, codec, secret)
        self.caller = caller
        self.guests = Guests(self)
        """Whose turn it is, of callers of this process and of others."""
        self.stopped: Exception | None = None
        """Why the copy goes on no more: each read is told."""
        self._tail_after = tail_after
        self.recorded = Recorded(tail_after)
        """Which calls of other processes stand in the journal."""
        self._tail: Tail | None = None
        self._marks: dict[str, Method] = {}
        self._readers: dict[str, Function] = {}
        self._wanted = Wanted()

    @property
    def is_alone(self) -> bool:  # type: ignore[override]
        """Whether what is interrupted here can be withdrawn here."""
        return self.caller is None

    def start(self, progress: Progress | None = None, loading: Progress | None = None) -> None:
        if self.caller is None:
            super().start(progress, loading)
        else:
            self._start_copy(progress, loading)

    @with_lock
    def _start_copy(self, progress: Progress | None, loading: Progress | None) -> None:
        machine = self._rebuild(progress, loading)
        self._is_seen_at_once = has_unlocked_reads(type(machine.domain))
        if machine.version != machine.migration.version:
            raise UsageError(
                f"the process that writes has version {machine.version} of {type(machine.domain).__qualname__}, and this one "
                f"version {machine.migration.version}. Nothing was opened. End the processes of the older version first."
            )

    def _rebuild(self, progress: Progress | None = None, loading: Progress | None = None, withdrawn: int = 0) -> Machine:
        machine = super()._rebuild(progress, loading, withdrawn)
        keep_looking_for_hidden(self)
        return machine

    # -- sending

    def call(self, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Sends a call to the process that writes, and returns what it has returned; once this process writes, runs it.

        Raises what the method raises; `EncodingError` and `Unavailable` if nothing was recorded; and `OutcomeUnknown`
        if that can't be known in time.
        """
        caller = self.caller
        if caller is None:
            if self.guests.have_the_turn:
                self.guests.let_pass()
            return super().call(method, args, kwargs, wait)
        if current.machine is self.machine:
            return self._returned(method.function(self.machine.domain, *args, **kwargs))
        data = self._codec.encode_call(method.name, args, kwargs, method.parameters, self._owner())[0]
        question = caller.question(parcels.CALL, data, self.log.last)
        try:
            if self.are_parts_recorded and method.name in ANSWERS:
                return self._asked_for_a_part(caller, question)
            caller.ask_one(question)
        except Came:
            return self._done_here(question, caller, method, args, kwargs)
        return self._answer(cast(Parcel, question.answer))

    def _owner(self) -> Machine | None:
        """Returns what has the entities to which a call that is sent may refer."""
        if entities.known.any:
            self.catch_up()  # To those that this process has been told of.
        return self.machine

    def _asked_for_a_part(self, caller: Caller, question: Question) -> Any:
        """Sends a call whose caller goes on with what it answers with: that is the object of this copy, and not the one that was sent."""
        one, wanted = id_of(caller.process, question.number), self._wanted
        wanted[one] = None
        try:
            caller.ask_one(question)
            value = self._answer(cast(Parcel, question.answer))
            if type(value) in SCALARS:
                return value
            self.catch_up()
            ended = wanted[one]
            return value if ended is None else self._returned(ended.value)
        finally:
            wanted.pop(one, None)

    def _answer(self, answer: Parcel) -> Any:
        """Returns the value of an answer, or raises what it tells of. The next read sees the action."""
        if answer.position > self.log.last:
            self.promise(answer.position)
        value, has_entities = taken_in(self._codec, answer.call)
        if answer.kind == parcels.VALUE:
            return self._with_own(value) if has_entities else value
        raise raised(self._codec, value)

    def _with_own(self, value: Any) -> Any:
        """Returns a value with the objects of this copy in the place of those that another process has sent; as it is if one has gone meanwhile."""
        self.catch_up()
        found = or_none(self.run, lambda: with_own(self._codec, self.machine.domain, value))
        return value if found is None else found

    def _done_here(
        self, question: Question, caller: Caller, method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Makes a call here that was to be sent, unless who wrote before has recorded it."""
        ended = self.ended(id_of(caller.process, question.number), question.since) if question.was_sent else None
        if ended is not None:
            return ended()
        return super().call(method, args, kwargs)

    def begin_all(self, calls: Sequence[Call]) -> Any:
        """Sends calls in order, and answers reads among them. Returns what is to be `settled`."""
        caller = self.caller
        if caller is None:
            if self.guests.have_the_turn:
                self.guests.let_pass()
            return super().begin_all(calls)
        return asking.begin_all(calls, self._question_for)

    def _question_for(self, call: Call) -> Question | None:
        """Returns what is sent for one of many calls, and answers a read."""
        method = call.what
        if isinstance(method, Method):
            caller = cast(Caller, self.caller)
            caller.refuse_if_closed()
            data = self._codec.encode_call(method.name, call.args, call.kwargs, method.parameters, self._owner())[0]
            return caller.question(parcels.CALL, data, self.log.last)
        if method is not None:
            call.value = self.read(method, call.args, call.kwargs)
        return None

    def settled(self, begun: Any, calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
        caller = self.caller
        if not isinstance(begun, list):
            yield from super().settled(begun, calls)
            return
        asking.end_all(
            caller,
            begun,
            self._answer,
            lambda question, call: self._done_here(question, cast(Caller, caller), call.what, call.args, call.kwargs),
        )
        yield calls

    # -- the copy

    @with_lock
    def promise(self, index: int) -> None:
        """Has the next read see an action. Those who are told of actions here are told of it at once, as in a system of one process."""
        if self.caller is not None:
            cast(Followed, self.log).promise(index)
            if self.tap is not None:
                self.catch_up()

    @with_lock
    def follow(self, index: int, outcome: int = action.UNKNOWN) -> None:
        """Brings the copy to an action that stands in the journal and has ended: so, if the journal does not say how."""
        log = self.log
        if self.caller is None or log.settled < 0:
            return
        self._current()
        if index <= log.last:
            return
        try:
            withdrawn = self._apply(self._tail_at(log.last).upto(index), outcome, self._wanted or None)
        except MissingActions:
            # They were pruned: a snapshot has them.
            cast(Followed, log).advance(index)
            self._rebuild()
        else:
            cast(Followed, log).advance(index)
            if withdrawn:
                self._rebuild(withdrawn=index)
        self.instant = max(self.instant, action.instant_of(self.machine.header))
        self._tell()

    def _apply(self, pages: list[tuple[int, bytes]], outcome: int, keeping: Keeping | None) -> bool:
        """Runs recorded actions behind the copy, and tells what the calls among them come to. Returns whether the last one is to be withdrawn."""
        machine, log = self.machine, self.log
        batches = [decode_joined(data) for _, data in pages]
        last = NOTHING_FOLLOWS[:-1] + bytes([outcome])
        withdrawn, methods = False, machine.methods
        try:
            if keeping is not None:
                machine.methods = cast(Any, Noting(machine, keeping, pages))
            for place, batch in enumerate(batches):
                following = batches[place + 1][0][0] if place + 1 < len(batches) else last
                withdrawn = machine.replay(*batch, following, self._codec, log.where, 0, True)
        finally:
            machine.methods = methods
        return withdrawn

    def forked(self) -> None:
        super().forked()
        self.guests = Guests(self)
        self.recorded = Recorded(self._tail_after)
        self._wanted = Wanted()
        self._tail = None
        self.stopped = None

    @with_lock
    def begin_again(self, index: int, outcome: int) -> None:
        """Brings the copy of a forked child to what the writer has told: from the state of its parent if that is whole, or else anew."""
        log = cast(Followed, self.log)
        log.settled = log.last
        if self.machine.applied == log.last <= index:
            self.follow(index, outcome)
        else:
            log.last = log.settled = index
            self._rebuild()

    def _tail_at(self, index: int) -> Tail:
        """Returns what reads on behind an action."""
        if self._tail is None or self._tail.last != index:
            self.forget_tail()
            self._tail = self._tail_after(index)
        return self._tail

    def forget_tail(self) -> None:
        """Closes the file that is read from."""
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def catch_up(self) -> None:
        """Brings the copy to all that this process has been promised. Raises why it goes on no more."""
        if self.caller is None:
            return
        log = self.log
        if self.stopped is not None:
            raise copy_of(self.stopped)
        caller = self.caller
        if caller is not None and caller.wakes is not None:
            caller.wakes()
        if log.settled > log.last and current.machine is not self.machine:
            self.follow(log.settled)

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        self.catch_up()
        return super().read(function, args, kwargs, wait)

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self.catch_up()
        return super().read_unlocked(function, args, kwargs)

    def sync(self, timeout_s: float | None) -> None:
        """Has the copy, and the proxy, hold all that was answered anywhere before. Raises `Unavailable`."""
        caller = self.caller
        if caller is None or current.machine is self.machine:
            return
        question = caller.question(parcels.WHERE, b"NN", self.log.last)
        try:
            caller.ask((question,), timeout_s)
        except Came:
            return
        self.promise(cast(Parcel, question.answer).position)
        self.catch_up()  # An attribute may hide a method, which the proxy has to know before it is asked for.

    # -- coming to write

    @with_lock
    def take_over(self, log: Log, snapshots: SnapshotStore) -> None:
        """Goes on as the one that writes: with the journal, and what stands in it behind the copy."""
        caller = self.caller
        assert caller is not None, "a process comes to write once"
        machine, before = self.machine, self.log
        self.log, self._snapshots = log, snapshots
        withdrawn = False
        if machine.applied != before.last:
            self.caller = None
            self._rebuild()
        elif machine.applied < log.last:
            pages = self._tail_at(machine.applied).upto(log.last)
            # Their callers ask for what they came to: who wrote before may not have come to say.
            withdrawn = self._apply(pages, action.UNKNOWN, self.recorded)
        self.caller = None
        if withdrawn:
            self._rebuild(withdrawn=log.last)
        self.instant = max(self.instant, action.instant_of(self.machine.header))
        self.forget_tail()
        self._tell()
        caller.came()

    # -- what others have sent

    @with_lock
    def take(self, forwarded: Sequence[Forwarded]) -> int:
        """Runs calls that others have sent, in order, and appends them. Returns the index of the last action.

        Raises `SystemClosed`, or a `JournalError`, if none was taken, as none is any more.
        """
        self._current()
        if len(forwarded) == 1:
            self._take_one(forwarded[0])
        else:
            self._take_many(forwarded)
        return self.log.last

    def _take_one(self, call: Forwarded) -> None:
        """As `_take_many`, in less time."""
        section = self._section = Section(self, self._codec, True)
        try:
            # Its caller is told.
            with answering(call):
                name, call.args, call.kwargs = decoded_by(self._codec, call.data, self.machine.domain)
                method = self._marks.get(name) or self._mark(name)
                # Decoding may have called the system.
                function = self._caught_up().methods[name]
                instant, offset = self._stamped()
                value, call.error = section.one(instant, offset, call.data, method, function, call.args, call.kwargs, call)
                call.value = value if type(value) in SCALARS else self._encoded(value)
        finally:
            self._end_section(section)

    def _take_many(self, forwarded: Sequence[Forwarded]) -> None:
        section = self._section = Section(self, self._codec, self._is_seen_at_once)
        try:
            rest = iter(forwarded)
            while chunk := list(islice(rest, CHUNK)):
                self._decode(chunk)
                methods = [each.what for each in chunk]
                calls, data, begun = cast("list[Call]", chunk), [each.data for each in chunk], 0
                if None not in methods and not any(each.kwargs for each in chunk):
                    begun = self._begin_together(methods, calls, data, section)
                if begun < len(chunk):
                    self._begin_each(calls[begun:], data[begun:], section)
        finally:
            self._end_section(section)
        for each in forwarded:
            if each.error is None and type(each.value) not in SCALARS:
                each.value = self._encoded(each.value)

    def _encoded(self, value: Any) -> Any:
        """Returns what a call has returned that may be a part of the state, encoded before the next action changes it."""
        # What can't be sent its caller is told when it is answered.
        with contextlib.suppress(CoopyError):
            return Said(told_out(self._codec, self.machine.domain, value))
        return value

    def _decode(self, forwarded: Sequence[Forwarded]) -> None:
        """Finds out what is called: nothing for a call that can't be read, whose caller is told."""
        codec, domain, marks = self._codec, self.machine.domain, self._marks
        for each in forwarded:
            # Its caller is told; the others are run.
            with answering(each):
                name, each.args, each.kwargs = decoded_by(codec, each.data, domain)
                each.what = marks.get(name) or self._mark(name)

    def _mark(self, name: str) -> Method:
        try:
            function = self.machine.methods[name]
        except MissingName:
            cls = type(self.machine.domain).__qualname__
            raise AttributeError(f"{cls!r} has no method {name!r} in the process that writes") from None
        found = self._marks[name] = method_for(name, function, ())
        return found

    def ended(self, one: bytes, after: int) -> Callable[[], Any] | None:
        """Returns what returns or raises what a call has come to that stands behind an action; None if none has that id.

        Raises `MissingActions` if it may have stood where the journal was pruned.
        """
        log = self.log
        index = self.recorded.index_of(one, after, log.last)
        if not index:
            return None
        known = self.recorded.ended(one)
        return partial(self._said_again, known) if known is not None else partial(self.outcome_of, index)

    def _said_again(self, ended: Ended) -> Any:
        self.settle(ended.action)
        if ended.error is not None:
            raise ended.error
        return self._returned(ended.value)

    def reader(self, name: str) -> Function:
        """Returns what answers a read of a method. Raises AttributeError if the class has none of that name."""
        domain = self.machine.domain
        if not name.startswith("__") and has_own(domain, name):
            if kind_of_callable(getattr(domain, name), domain) not in ("", "read"):
                raise UsageError(
                    f"{name}() of the object is hidden by an attribute by now, which may change it, and was called as what reads. Nothing "
                    f"has changed. Open the system again, or connect again, to call the attribute."
                )
            return method_by_name(name).function
        found = self._readers.get(name)
        if found is None:
            cls = type(self.machine.domain)
            function = functions_of(cls).get(name)
            if function is None:
                raise AttributeError(f"{cls.__qualname__!r} has no method {name!r} in the process that writes")
            found = self._readers[name] = reader_of(name, function)
        return found

    def given_out(self, result: Any) -> Any:
        """Returns what a caller is given for a result: of the state itself, the proxy; of a view of a dict, what it shows."""
        return list(result) if type(result) in VIEWS else self._returned(result)

    def outcome_of(self, index: int) -> Any:
        """Returns what an action has returned, or raises what it has raised: by running it once more, on a copy of the state before it."""
        self.settle(index)
        cls = type(self.machine.domain)
        machine = self.past(index - 1, None, 0, *codec_of_past(cls))
        log = self.log.reader()
        try:
            headers, names, arguments = decode_joined(next(iter(log.read(index - 1)))[1])
        finally:
            log.close()
        place = next(place for place, args in enumerate(arguments) if args is not None)
        name, args = names[place], arguments[place]
        kwargs: dict[str, Any] = {}
        if name is None:
            name, args, *rest = self._codec.decode_call(args, None, machine.domain)
            kwargs = rest[0] if rest else {}
        return machine.apply(headers[place][-action.HEADER.size :], machine.methods[name], args, kwargs)

"""The engine of a process that keeps no state: calls and reads go to the process that writes (``copy=False``).

What is read comes by value. The machine is an empty one: it says which class it is of, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

from coopy.errors import UsageError
from coopy.ground import action
from coopy.ground.storage import Log, SnapshotStore
from coopy.past.trail import Tail
from coopy.replication import parcels
from coopy.replication.asking import Reads
from coopy.replication.caller import Caller, Question
from coopy.replication.copying import Shared
from coopy.replication.followed import Followed
from coopy.replication.parcels import Parcel, said
from coopy.spine.calling import Call
from coopy.spine.machine import Machine
from coopy.spine.methods import Function, Method
from coopy.spine.replay import Progress
from coopy.values.codec import Codec

__coopy_inside__ = True  # See `coopy.spine.calling`.
R = TypeVar("R")


class Remote(Shared):
    """An engine that sends everything. It never writes."""

    __slots__ = ("_reads",)

    looks_at_reads = True
    gives_parts = False
    is_elsewhere = True
    """Whether there is no state here to compare with that of another system."""

    def __init__(
        self,
        log: Log,
        snapshots: SnapshotStore,
        codec: Codec,
        secret: bytes,
        caller: Caller,
        tail_after: Callable[[int], Tail],
    ) -> None:
        super().__init__(log, snapshots, codec, secret, caller, tail_after)
        cls: Any = codec.domain_class
        empty = cls.__new__(cls)
        self._reads = Reads(cls, codec)
        self._ring_nobody()
        self.machine = Machine(empty, log.last, action.header(0, 0, action.UNKNOWN), secret)

    def _ring_nobody(self) -> None:
        # Who waits for an action asks again and again, as nobody is told of one.
        self.doorbell = None  # type: ignore[assignment]

    def forked(self) -> None:
        super().forked()
        self._ring_nobody()

    def start(self, progress: Progress | None = None, loading: Progress | None = None) -> None:
        """Loads nothing."""

    def read(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], wait: bool = True) -> Any:
        """Has the process that writes run a function of the domain object that changes nothing. Raises what it raises, and `Unavailable`."""
        if self._reads.is_here(function, args):
            return self._reads.of_class(*args)
        cast(Caller, self.caller).refuse_if_closed()  # Before it is told what can't be sent.
        return self._answer(self._asked(parcels.READ, self._reads.said(function, args, kwargs)))

    def _owner(self) -> None:
        """Returns None: the state is elsewhere."""

    def _with_own(self, value: Any) -> Any:
        return value

    def _question_for(self, call: Call) -> Question | None:
        if call.what is None or isinstance(call.what, Method):
            return super()._question_for(call)
        caller = cast(Caller, self.caller)
        caller.refuse_if_closed()
        return caller.question(parcels.READ, self._reads.said(call.what, call.args, call.kwargs), 0)

    def read_unlocked(self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.read(function, args, kwargs)

    def examine(self, function: Callable[[Any], R]) -> tuple[int, R]:
        answer = self._asked(parcels.READ, said(self._codec, function, (), {}))
        return answer.position, self._answer(answer)

    def _asked(self, kind: int, call: bytes, timeout_s: float | None = None) -> Parcel:
        caller = cast(Caller, self.caller)
        question: Question = caller.question(kind, call, 0)
        caller.ask((question,), timeout_s)
        return cast(Parcel, question.answer)

    def sync(self, timeout_s: float | None) -> None:
        """Has the log end where that of the process that writes does."""
        self.promise(self._asked(parcels.WHERE, b"NN", timeout_s).position)

    def promise(self, index: int) -> None:
        """Notes how far the process that writes has come: every read sees it."""
        log = cast(Followed, self.log)
        if index > log.last:
            log.advance(index)
            self.machine.applied = index

    def subscribe(self, *_: object, **__: object) -> NoReturn:
        raise UsageError(
            "subscribe(): a process that keeps no copy (copy=False) is told of no action. Subscribe in one that keeps a copy."
        )

    def listen(self, *_: object) -> NoReturn:
        self.subscribe()

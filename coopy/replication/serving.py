"""The half of a process that writes: what others ask comes in as parcels, and answers go out. No socket is known here.

One thread gives all parcels that have come to `Serving.take`, which runs and appends their calls together. Who may be told at once is
answered there; the others by a second thread, which waits for the disk while the first goes on. The second tells the news, too.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from coopy.errors import CoopyError, EncodingError, MissingActions, OutcomeUnknown, SystemClosed
from coopy.ground import action
from coopy.ground.holding import Alarm
from coopy.ground.log import error as log_error
from coopy.ground.raised import last_resort
from coopy.replication import parcels
from coopy.replication.copying import Forwarded, Shared
from coopy.replication.parcels import Parcel, Said, id_of, pack, said, told_out, with_id
from coopy.replication.telling import told
from coopy.spine.calling import answering
from coopy.values.alone import decoded_by
from coopy.values.codec import Codec

CALLS, NEWS = "calls", "news"
"""What a connection is for."""
NEWS_S = 0.01
"""Followers are told so often of what is settled, while calls come one after the other. Each time wakes a thread in each of them, which reads and
runs what has come: a millisecond took a quarter of what a call costs in all, and a tenth of its time."""


class Peer(Protocol):
    """Whoever asks."""

    process: bytes

    def send(self, data: bytes) -> None:
        """Sends bytes, at once or a little later. Never waits, and raises nothing."""
        ...

    def end(self) -> None:
        """Sends no more, and takes no more from there."""
        ...


class _Batch(NamedTuple):
    """What was run together: the last action, and the calls."""

    last: int
    calls: Sequence[Forwarded]


class Serving:
    """Answers what others ask of an engine that writes."""

    asleep = False

    def __init__(self, engine: Shared, codec: Codec, system: bytes, controls: Callable[[str, tuple[Any, ...]], Any]) -> None:
        self._engine = engine
        self._codec = codec
        self._system = system
        self._controls = controls
        self._takes_reads = engine.takes_reads
        """Whether reads are taken with calls, in order."""
        self._listeners: list[Peer] = []
        """Who is to be told news."""
        self._waiting: list[_Batch] = []
        """What is to be answered once it is settled, in order."""
        self._told = -1
        self._news_from = 0.0
        """No news before; of time.monotonic()."""
        self._is_quiet = False
        """Whether the thread that answers sleeps until then, and wants to hear of what is to be answered alone."""
        self._unanswered_after: int | None = None
        """Calls behind this action may have been run and not answered. Nobody is told news of them before: so who writes next runs them itself, and
        knows what they came to."""
        self._bell = Alarm()
        self._ending = False
        self._thread = threading.Thread(
            target=_answer_all, args=(weakref.ref(self), self._bell), name="coopy answers", daemon=True
        )
        weakref.finalize(self, self._bell.set).atexit = False

    def begin(self) -> None:
        """Starts the thread that answers."""
        self._thread.start()

    def finish(self) -> None:
        """Answers what has been run, and ends."""
        self._ending = True
        self.wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    # -- in the thread that takes

    def take(self, asked: Sequence[tuple[Peer, Parcel]]) -> None:
        """Deals with what has come, in order."""
        calls: list[Forwarded] = []
        for peer, parcel in asked:
            if parcel.process != peer.process and parcel.kind != parcels.HELLO:
                peer.end()  # It has not said who it is.
                continue
            if parcel.kind == parcels.CALL or (parcel.kind == parcels.READ and self._takes_reads):
                calls.append(_forwarded(peer, parcel))
                continue
            if calls:
                self._run(calls)
                calls = []
            # A peer that sends what can't be read is let go; the others are served.
            with last_resort(self._not_understood, peer):
                _DEALS_WITH[parcel.kind](self, peer, parcel)
        if calls:
            self._run(calls)

    def _not_understood(self, error: Exception, peer: Peer) -> None:
        if not isinstance(error, SystemClosed):
            log_error("%s: what another process asked could not be read, and its connection was closed: %r", self._name, error)
        peer.end()

    @property
    def _name(self) -> str:
        return f"process {os.getpid()}"

    def _run(self, calls: Sequence[Forwarded]) -> None:
        engine = self._engine
        self._unanswered_after = engine.log.last
        try:
            index = engine.take(calls)
        except CoopyError as error:  # It takes no calls: closed, or its disk has failed.
            for call in calls:
                self._refuse(call, error)
            return
        self._answer_when_settled(index, calls)
        self._unanswered_after = None

    def _answer_when_settled(self, index: int, calls: Sequence[Forwarded]) -> None:
        if self._engine.log.settled >= index:
            self._answer(index, calls)
        else:
            self._waiting.append(_Batch(index, calls))
            if self.asleep or self._is_quiet:
                self.wake()

    def _refuse(self, call: Forwarded, error: BaseException) -> None:
        if isinstance(error, SystemClosed):
            call.peer.end()  # It sends its call to whoever writes next.
        else:
            self._send_error(call, error)

    # -- what is asked besides calls

    def _hello(self, peer: Peer, parcel: Parcel) -> None:
        format, system, purpose = decoded_by(self._codec, parcel.call)[1]
        if (format, system) != (parcels.FORMAT, self._system):
            peer.send(pack(parcels.REFUSED, 0, 0, said(self._codec, parcels.FORMAT, self._system)))
            peer.end()
            return
        peer.process = parcel.process
        last, outcome = self._engine.newest()
        self._engine.settle(last)
        peer.send(pack(parcels.WELCOME, 0, last, said(self._codec, os.getpid(), outcome)))
        if purpose == NEWS:
            if not self._listeners:
                self._engine.listen(self)
            self._listeners.append(peer)

    def leave(self, peer: Peer) -> None:
        """Tells a peer of nothing any more."""
        if peer in self._listeners:
            self._listeners.remove(peer)
            engine = self._engine
            if not self._listeners:
                engine.run(lambda: engine.tap.leave(self, engine) if engine.tap is not None else None)

    def position_of(self, peer: Peer) -> int | None:
        """Returns the action that a peer has been told of, at least; None if it is told no news."""
        if peer not in self._listeners:
            return None
        return self._told if self._told >= 0 else self._engine.log.last

    def _again(self, peer: Peer, parcel: Parcel) -> None:
        """A call that may have been recorded before."""
        call = _forwarded(peer, parcel)
        try:
            ended = self._engine.ended(id_of(parcel.process, parcel.number), parcel.position)
        except MissingActions as error:
            lost = OutcomeUnknown(f"The call was sent, and where it may stand the journal was pruned: {error}")
            self._send_error(call, lost)
            return
        if ended is None:
            self._run((call,))
        else:
            self._say_later(call, ended)

    def _say_later(self, call: Forwarded, function: Callable[[], Any]) -> None:
        """Answers with what a function returns or raises. It may take long: it has a thread of its own."""

        def run() -> None:
            with answering(call):
                call.value = function()
            self._answer(self._engine.log.last, (call,))

        threading.Thread(target=run, name="coopy answer", daemon=True).start()

    def _read(self, peer: Peer, parcel: Parcel) -> None:
        engine, codec = self._engine, self._codec
        found = Forwarded(peer, parcel.number)
        with answering(found):

            def read(domain: Any) -> Said:
                # Entities among the arguments are those of the state. What it returns may be a part of it: it is encoded before the
                # next action changes it.
                _, (function, args, kwargs), _ = decoded_by(codec, parcel.call, domain)
                if isinstance(function, str):
                    function = engine.reader(function)
                return Said(told_out(codec, domain, engine.given_out(function(domain, *args, **kwargs))))

            found.value = engine.read(read, (), {}, False)
        self._answer_when_settled(engine.log.last, (found,))

    def _where(self, peer: Peer, parcel: Parcel) -> None:
        self._answer_when_settled(self._engine.newest()[0], (Forwarded(peer, parcel.number),))

    def _control(self, peer: Peer, parcel: Parcel) -> None:
        _, (name, args), _ = decoded_by(self._codec, parcel.call)
        self._say_later(Forwarded(peer, parcel.number), lambda: self._controls(name, args))

    def _ping(self, peer: Peer, parcel: Parcel) -> None:
        peer.send(pack(parcels.VALUE, parcel.number, 0, b"NN"))

    # -- answers

    def _answer(self, index: int, calls: Sequence[Forwarded]) -> None:
        answers: list[bytes] = []
        # What a peer has asked at once stands together.
        peer = calls[0].peer
        for call in calls:
            if call.peer is not peer:
                peer.send(b"".join(answers))
                peer, answers = call.peer, []
            answers.append(self._answer_to(call, index))
        peer.send(answers[0] if len(answers) == 1 else b"".join(answers))

    def _answer_to(self, call: Forwarded, index: int) -> bytes:
        if call.error is not None:
            error, call.error = call.error, None
            return self._error(call, index, error)
        value = call.value
        if type(value) is not Said:
            try:
                value = said(self._codec, value)
            except CoopyError as error:
                return self._error(call, index, self._not_sent(error))
        return pack(parcels.VALUE, call.number, index, value)

    @staticmethod
    def _not_sent(error: CoopyError) -> CoopyError:
        """What to raise for a call whose value can't be sent."""
        return EncodingError(
            f"what the call has returned cannot be sent to the process that has called: {error}. The call was run in the process that "
            "writes, is recorded, and counts. Return what can be pickled."
        )

    def _send_error(self, call: Forwarded, error: BaseException) -> None:
        call.peer.send(self._error(call, 0, error))

    def _error(self, call: Forwarded, index: int, error: BaseException) -> bytes:
        return pack(parcels.RAISED, call.number, index, said(self._codec, told(self._codec, error)))

    # -- in the thread that answers

    def wake(self) -> None:
        """Has the thread look. May be called with the engine's lock held."""
        self.asleep = self._is_quiet = False
        self._bell.set()

    def withdrawn(self, index: int, /) -> object:
        """Is not of interest: what has not ended is not told."""

    def _answer_next(self) -> bool:
        """Answers what waits, and tells the news. Returns whether there is to be a next time."""
        engine = self._engine
        try:
            if self._waiting:
                # Not for what came after: while others call, there is always more.
                engine.settle(self._waiting[0].last)
            news = self._newest() if self._listeners and time.monotonic() >= self._news_from else None
        except (CoopyError, OSError) as error:
            batches, self._waiting = self._waiting, []
            for batch in batches:
                self._failed(batch, error)
            return bool(batches) or self._ending
        # In this order: what is not answered any more waits, or was answered.
        unanswered, settled = self._unanswered_after, engine.log.settled
        while self._waiting and self._waiting[0].last <= settled:
            self._answer(*self._waiting.pop(0))
        if news is not None:
            self._tell(*news, unanswered)
        return True

    def _is_over(self) -> bool:
        return self._ending and not self._waiting

    def _newest(self) -> tuple[int, int]:
        """Returns the last action that is settled, and how it has ended, as far as that is known."""
        last, outcome = self._engine.newest()
        if self._waiting and self._engine.log.settled < last:
            return self._engine.log.settled, action.UNKNOWN
        self._engine.settle(last)
        return last, outcome

    def _tell(self, last: int, outcome: int, unanswered: int | None) -> None:
        """Tells news, if there are any."""
        if unanswered is not None and unanswered < last:
            last, outcome = unanswered, action.UNKNOWN
        if last > self._told:
            self._told = last
            news = pack(parcels.NEWS, 0, last, said(self._codec, outcome))
            for peer in list(self._listeners):
                peer.send(news)
        self._news_from = time.monotonic() + NEWS_S

    def _quiet_s(self) -> float:
        """Begins to be quiet. Returns for how long: 0 if there is something to answer."""
        # While actions come one after the other nobody has to wake it for news. Who waits for an answer does not wait for that.
        self._is_quiet = True
        return 0.0 if self._waiting or self._ending else self._news_from - time.monotonic()

    def _sleeps(self) -> bool:
        """Begins to sleep. Returns whether there is nothing to answer, or to tell."""
        self._is_quiet = False
        self.asleep = True
        return not self._waiting and not self._ending and not self._has_news()

    def _has_news(self) -> bool:
        tap = self._engine.tap
        return bool(self._listeners) and tap is not None and tap.newest > self._told

    def _failed(self, batch: _Batch, error: Exception) -> None:
        """Answers calls whose actions can't be waited for."""
        if not isinstance(error, SystemClosed):
            for call in batch.calls:
                self._send_error(call, error)
        elif self._engine.log.synced >= batch.last:
            self._answer(*batch)  # Closing has made them durable.
        else:
            for call in batch.calls:
                call.peer.end()  # It asks whoever writes next what came of its call.


def _answer_all(myself: weakref.ref[Serving], bell: Alarm) -> None:
    """What the thread that answers does. What waits does not keep the system, which its user may have forgotten."""
    while (serving := myself()) is not None and not serving._is_over():
        quiet_s = serving._quiet_s()
        if quiet_s > 0:
            serving = None
            bell.wait(quiet_s)
            serving = myself()
        if serving is not None and serving._sleeps():
            serving = None
            bell.wait()
            serving = myself()
        if serving is None:
            return
        serving.asleep = False
        if not serving._answer_next():
            return


def _forwarded(peer: Peer, parcel: Parcel) -> Forwarded:
    if parcel.kind == parcels.READ:
        return Forwarded(peer, parcel.number, parcel.call, parcels.READ)
    return Forwarded(peer, parcel.number, with_id(parcel.call, parcel.process, parcel.number), parcel.kind)


_DEALS_WITH: dict[int, Callable[[Serving, Peer, Parcel], None]] = {
    parcels.HELLO: Serving._hello,
    parcels.AGAIN: Serving._again,
    parcels.READ: Serving._read,
    parcels.WHERE: Serving._where,
    parcels.CONTROL: Serving._control,
    parcels.PING: Serving._ping,
}

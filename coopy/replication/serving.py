"""The half of a process that writes: what others ask comes in as parcels, and answers go out. No socket is known here.

One thread gives all parcels that have come to `Serving.take`, which runs and appends their calls together. Who may be told at once is
answered there; the others by a second thread, which waits for the disk while the first goes on. The second tells the news, too.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from coopy.errors import CoopyError, MissingActions, OutcomeUnknown, SystemClosed
from coopy.ground import action
from coopy.ground.holding import Alarm
from coopy.ground.interruption import note
from coopy.ground.log import error as log_error
from coopy.ground.raised import last_resort
from coopy.replication import parcels
from coopy.replication.copying import Forwarded, Shared
from coopy.replication.parcels import Parcel, Said, decoded, id_of, pack, said, with_id
from coopy.replication.telling import told
from coopy.spine.calling import answering
from coopy.values.codec import Codec

CALLS, NEWS = "calls", "news"
"""What a connection is for."""
NEWS_S = 0.001
"""Followers are told so often of what is settled, while calls come one after the other."""


class Peer(Protocol):
    """Whoever asks."""

    process: bytes

    def send(self, data: bytes) -> None:
        """Sends bytes, at once or a little later. Never waits, and raises nothing."""
        ...

    def end(self) -> None:
        """Sends no more, and takes no more from there."""
        ...


class _Batch:
    """What was run together, and its callers."""

    __slots__ = ("index", "asked", "calls")

    def __init__(self, index: int, asked: Sequence[tuple[Peer, Parcel]], calls: Sequence[Forwarded]) -> None:
        self.index = index
        self.asked = asked
        self.calls = calls


class Serving:
    """Answers what others ask of an engine that writes."""

    asleep = False

    def __init__(self, engine: Shared, codec: Codec, system: bytes, controls: Callable[[str, tuple[Any, ...]], Any]) -> None:
        self._engine = engine
        self._codec = codec
        self._system = system
        self._controls = controls
        self._listeners: list[Peer] = []
        """Who is to be told news."""
        self._waiting: list[_Batch] = []
        """What is to be answered once it is settled, in order."""
        self._told = -1
        self._unanswered_after: int | None = None
        """Calls behind this action may have been run and not answered. Nobody is told news of them before: so who writes next runs them itself, and
        knows what they came to."""
        self._bell = Alarm()
        self._ending = False
        self._thread = threading.Thread(target=self._answer_all, name="coopy answers", daemon=True)

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
        calls: list[tuple[Peer, Parcel]] = []
        for peer, parcel in asked:
            if parcel.process != peer.process and parcel.kind != parcels.HELLO:
                peer.end()  # It has not said who it is.
                continue
            if parcel.kind == parcels.CALL:
                calls.append((peer, parcel))
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

    def _run(self, asked: Sequence[tuple[Peer, Parcel]]) -> None:
        engine = self._engine
        calls = [Forwarded(with_id(parcel.call, parcel.process, parcel.number)) for _, parcel in asked]
        self._unanswered_after = engine.log.last
        try:
            index = engine.take(calls)
        except CoopyError as error:  # It takes no calls: closed, or its disk has failed.
            for peer, parcel in asked:
                self._refuse(peer, parcel, error)
            return
        self._answer_when_settled(_Batch(index, asked, calls))
        self._unanswered_after = None

    def _answer_when_settled(self, batch: _Batch) -> None:
        if self._engine.log.settled >= batch.index:
            self._answer(batch)
        else:
            self._waiting.append(batch)
            if self.asleep:
                self.wake()

    def _refuse(self, peer: Peer, parcel: Parcel, error: BaseException) -> None:
        if isinstance(error, SystemClosed):
            peer.end()  # It sends its call to whoever writes next.
        else:
            self._send_error(peer, parcel, 0, error)

    # -- what is asked besides calls

    def _hello(self, peer: Peer, parcel: Parcel) -> None:
        format, system, purpose = decoded(self._codec, parcel.call)[1]
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
        try:
            ended = self._engine.ended(id_of(parcel.process, parcel.number), parcel.position)
        except MissingActions as error:
            lost = OutcomeUnknown(f"The call was sent, and where it may stand the journal was pruned: {error}")
            self._send_error(peer, parcel, 0, lost)
            return
        if ended is None:
            self._run([(peer, parcel)])
        else:
            self._say_later(peer, parcel, ended)

    def _say_later(self, peer: Peer, parcel: Parcel, function: Callable[[], Any]) -> None:
        """Answers with what a function returns or raises. It may take long: it has a thread of its own."""

        def run() -> None:
            found = Forwarded(parcel.call)
            with answering(found):
                found.value = function()
            self._answer(_Batch(self._engine.log.last, [(peer, parcel)], [found]))

        threading.Thread(target=run, name="coopy answer", daemon=True).start()

    def _read(self, peer: Peer, parcel: Parcel) -> None:
        engine, codec = self._engine, self._codec
        found = Forwarded(parcel.call)
        with answering(found):
            _, (function, args, kwargs), _ = decoded(codec, parcel.call)
            if isinstance(function, str):
                function = engine.reader(function)

            def read(domain: Any) -> Said:
                # What it returns may be a part of the state: it is encoded before the next action changes it.
                return Said(said(codec, engine.given_out(function(domain, *args, **kwargs))))

            found.value = engine.read(read, (), {}, False)
        self._answer_when_settled(_Batch(engine.log.last, [(peer, parcel)], [found]))

    def _where(self, peer: Peer, parcel: Parcel) -> None:
        last = self._engine.newest()[0]
        self._answer_when_settled(_Batch(last, [(peer, parcel)], [Forwarded(b"")]))

    def _control(self, peer: Peer, parcel: Parcel) -> None:
        _, (name, args), _ = decoded(self._codec, parcel.call)
        self._say_later(peer, parcel, lambda: self._controls(name, args))

    def _ping(self, peer: Peer, parcel: Parcel) -> None:
        peer.send(pack(parcels.VALUE, parcel.number, 0, b"NN"))

    # -- answers

    def _answer(self, batch: _Batch) -> None:
        answers: dict[Peer, list[bytes]] = {}
        for (peer, parcel), call in zip(batch.asked, batch.calls, strict=True):
            answers.setdefault(peer, []).append(self._answer_of(parcel, call, batch.index))
        for peer, some in answers.items():
            peer.send(some[0] if len(some) == 1 else b"".join(some))

    def _answer_of(self, parcel: Parcel, call: Forwarded, index: int) -> bytes:
        if call.error is not None:
            error, call.error = call.error, None
            return self._error(parcel, index, error)
        try:
            value = call.value if isinstance(call.value, Said) else said(self._codec, call.value)
        except CoopyError as error:
            return self._error(parcel, index, self._not_sent(error))
        return pack(parcels.VALUE, parcel.number, index, value)

    @staticmethod
    def _not_sent(error: CoopyError) -> CoopyError:
        """What to raise for a call whose value can't be sent."""
        note(
            error,
            "The call was run in the process that writes, and counts; what it has returned can't be sent to another process.",
        )
        return error

    def _send_error(self, peer: Peer, parcel: Parcel, index: int, error: BaseException) -> None:
        peer.send(self._error(parcel, index, error))

    def _error(self, parcel: Parcel, index: int, error: BaseException) -> bytes:
        return pack(parcels.RAISED, parcel.number, index, said(self._codec, told(self._codec, error)))

    # -- in the thread that answers

    def wake(self) -> None:
        """Has the thread look. May be called with the engine's lock held."""
        self.asleep = False
        self._bell.set()

    def withdrawn(self, index: int, /) -> object:
        """Is not of interest: what has not ended is not told."""

    def _answer_all(self) -> None:
        engine = self._engine
        while not (self._ending and not self._waiting):
            self.asleep = True
            if not self._waiting and not self._ending and not self._has_news():
                self._bell.wait()
            self.asleep = False
            try:
                last, outcome = engine.newest()
                engine.settle(last)
            except (CoopyError, OSError) as error:
                batches, self._waiting = self._waiting, []
                for batch in batches:
                    self._failed(batch, error)
                if not batches and not self._ending:
                    return
                continue
            # In this order: what is not answered any more waits, or was answered.
            unanswered = self._unanswered_after
            while self._waiting and self._waiting[0].index <= last:
                self._answer(self._waiting.pop(0))
            if unanswered is not None and unanswered < last:
                last, outcome = unanswered, action.UNKNOWN
            if last > self._told and self._listeners:
                self._told = last
                news = pack(parcels.NEWS, 0, last, said(self._codec, outcome))
                for peer in list(self._listeners):
                    peer.send(news)
                if not self._waiting:
                    time.sleep(NEWS_S)

    def _has_news(self) -> bool:
        tap = self._engine.tap
        return bool(self._listeners) and tap is not None and tap.newest > self._told

    def _failed(self, batch: _Batch, error: Exception) -> None:
        """Answers calls whose actions can't be waited for."""
        if not isinstance(error, SystemClosed):
            for peer, parcel in batch.asked:
                self._send_error(peer, parcel, 0, error)
        elif self._engine.log.synced >= batch.index:
            self._answer(batch)  # Closing has made them durable.
        else:
            for peer, _ in batch.asked:
                peer.end()  # It asks whoever writes next what came of its call.


_DEALS_WITH: dict[int, Callable[[Serving, Peer, Parcel], None]] = {
    parcels.HELLO: Serving._hello,
    parcels.AGAIN: Serving._again,
    parcels.READ: Serving._read,
    parcels.WHERE: Serving._where,
    parcels.CONTROL: Serving._control,
    parcels.PING: Serving._ping,
}

"""A replay that pauses: a process that replays a system, and on its way leaves copies of itself behind, each at a state of the past.

A copy is a fork: it shares the memory of the state with the replay that goes on, so it is made in milliseconds and holds no more than
what was written since. It waits for questions. For each it forks once more, and that process goes on with the replay up to the
state that is asked for, looks at it (`coopy.tools.web_looks`), answers and ends. So a state costs the actions since the last pause, however
large it is; nothing that a method or a ``__repr__`` of the domain does reaches another question; and a process that takes too long is ended.

`coopy.tools.web_states` starts these processes and asks them. What is said between them are JSON objects, each after its length, and the
sockets of new copies and of answers beside them. Nothing is written to the directory.

Beginning is the newest state of a snapshot; why not each snapshot has a replay of its own is in docs/design/030-inspector.md.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn, cast

from coopy.errors import CoopyError, ReplayError, StorageError
from coopy.ground import looking
from coopy.ground.raised import last_resort
from coopy.ground.storage import Log
from coopy.past.reading import Reading
from coopy.past.trail import Tail
from coopy.spine.machine import Machine
from coopy.tools import web_looks
from coopy.tools.domain import domain_class, found

PAUSE_S = 0.05
"""The replay pauses after so many seconds of work: half of it is what a question waits for on average, and one who drags does not notice."""
PAUSES_MAX = 40
"""With so many copies every second one goes, and the pauses are twice as far apart: what all of them hold is bounded by this."""
FIRST_ACTIONS = 200  # Until it is known how long actions take.
ANSWER_S = 60
"""A question that is not answered by then is not answered: a method may run for ever."""
NICE = 5  # The system itself, and whoever works at the machine, come first.
_SIZE = struct.Struct("<I")


def send(to: socket.socket, said: dict[str, Any], sockets: tuple[socket.socket, ...] = ()) -> None:
    """Sends an object, and sockets with it. Of several threads, one at a time may do it. Raises OSError."""
    data = json.dumps(said).encode()
    data = _SIZE.pack(len(data)) + data
    if sockets:
        data = data[socket.send_fds(to, [data], [each.fileno() for each in sockets]) :]
    to.sendall(data)


def receive(of: socket.socket) -> tuple[dict[str, Any], list[socket.socket]] | None:
    """Receives an object, and the sockets that came with it; None if the other side is gone."""
    try:
        head, numbers, _, _ = socket.recv_fds(of, _SIZE.size, 1)
        if not head:
            return None
        head += _whole(of, _SIZE.size - len(head))
        (size,) = _SIZE.unpack(head)
        said: dict[str, Any] = json.loads(_whole(of, size))
    except (OSError, EOFError):
        return None
    return said, [socket.socket(fileno=number) for number in numbers]


def _whole(of: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = of.recv(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def main() -> None:
    """Replays what the argument says, and answers until whoever has started this process is gone."""
    job = json.loads(sys.argv[1])
    control = socket.socket(fileno=job["socket"])
    stay_quiet(job["tool"])
    try:
        said = found(job["basedir"])
        with Reading(job["basedir"], domain_class(said, job["class"])) as reading:
            PausingReplay(control, reading, job["base"], job["upto"]).run()
    except CoopyError as error:
        upto = error.index - 1 if isinstance(error, ReplayError) else None
        send(control, {"problem": str(error), "upto": upto})


def stay_quiet(tool: str) -> None:
    """What methods print was printed when they ran first; and it is the terminal's process that Ctrl-C is for."""
    looking.only(tool)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.nice(NICE)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, sys.__stdout__.fileno() if sys.__stdout__ is not None else 1)


class PausingReplay:
    """The replay of one process, and what is left of it in the copies."""

    def __init__(self, control: socket.socket, reading: Reading, base: int, upto: int | None) -> None:
        self._control = control
        self._reading = reading
        self._base = base
        self._upto = upto
        """Where to stop for good: a later snapshot has been begun with. None: what is written is followed."""
        self._stops = [base]
        self._machine: Machine | None = None
        self._pause_s = PAUSE_S
        self._paused = 0
        self._since = (base, time.process_time())
        self._tail: Tail | None = None
        self.problem: str | None = None
        """Why the log can't be read to its end."""
        self._question: dict[str, Any] = {}
        self._look: web_looks.Look | None = None
        """In a process that answers: what it was asked, and what looks at the state for it."""
        self._wanted = -1
        self._to: socket.socket | None = None

    def run(self) -> None:
        """Replays, and answers for ever. Raises what `coopy.spine.replay.restore` raises."""
        log = cast(Log, _Read(self._reading.log, self))
        try:
            machine = self._reading.machine_from(self._base, None, self._stops, self.visit, log)
        except CoopyError as error:
            if self._to is None:
                raise
            self._refuse(str(error))
        if self._look is not None:
            self._refuse(self.problem or f"the journal ends with action {machine.applied}")
        # The log ends here, or is damaged: nothing follows.
        self._say_where(machine, ended=True)
        self._answer_for_ever(machine)
        self._begin(machine)
        self._refuse(self.problem or f"the journal ends with action {machine.applied}")

    # -- on the way

    def visit(self, machine: Machine) -> None:
        """Pauses, if it is time for it; in a process that answers, looks at the state."""
        self._machine = machine
        if self._look is not None:
            if machine.applied == self._wanted:
                self._go_on(machine)
            return
        if self._upto is not None and machine.applied >= self._upto:
            self._say_where(machine, ended=True)
            self._answer_for_ever(machine)
            self._begin(machine)
            return
        self._leave_a_copy(machine)
        if self._look is None and self._stops[-1] <= machine.applied:
            self._stops.append(self._next(machine.applied))

    def _next(self, at: int) -> int:
        """The action after which to pause next."""
        begin, began = self._since
        took_s = time.process_time() - began
        self._since = (at, time.process_time())
        actions = FIRST_ACTIONS if at == begin else max(int((at - begin) * self._pause_s / max(took_s, 1e-6)), 1)
        following = at + min(actions, 4 * max(at - begin, FIRST_ACTIONS))
        return following if self._upto is None else min(following, self._upto)

    def _leave_a_copy(self, machine: Machine) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            ours.close()
            self._control.close()
            self._control = theirs
            self._answer_for_ever(machine)
            self._begin(machine)
            return
        theirs.close()
        self._paused += 1
        thin = self._paused >= PAUSES_MAX
        if thin:
            self._paused //= 2
            self._pause_s *= 2
        send(self._control, {"at": machine.applied, "pid": pid, "thin": thin}, (ours,))
        ours.close()

    def at_the_end(self) -> list[tuple[int, bytes]] | None:
        """Waits until more is written, and returns it. A process that answers a question does not wait: None, if there is no more now."""
        machine = self._machine
        assert machine is not None, "the first state was visited"
        if self._look is not None and self._question["last"] <= self._known:
            return None  # To find the end of a long segment takes longer than most answers.
        if self._tail is None:
            self._tail = Tail(self._reading.basedir, self._reading.manifest.system, self._reading.log.last)
        if self._look is not None:
            return self._tail.news() or None
        if self._upto is not None:
            return None
        self._say_where(machine)
        while True:
            asked = self._answer_for_ever(machine, news=True)
            if asked:
                self._begin(machine)
                return self._tail.news() or None
            self._since = (machine.applied, time.process_time())
            pages = self._tail.news()
            if pages:
                return pages
            self._say_where(machine)

    @property
    def _known(self) -> int:
        """Index of the last action that is known to be there."""
        return self._tail.last if self._tail is not None else self._reading.log.last

    def _say_where(self, machine: Machine, ended: bool = False) -> None:
        said = {"tip": machine.applied, "last": self._known, "ended": ended, "problem": self.problem}
        send(self._control, said)

    # -- a question

    def _answer_for_ever(self, machine: Machine, news: bool = False) -> bool:
        """Forks a process for each question, in which this returns True; returns False at the word that there may be news."""
        while True:
            said = receive(self._control)
            if said is None:
                os._exit(0)
            asked, sockets = said
            if not sockets:
                if news:
                    return False
                continue
            if not os.fork():
                self._control.close()
                self._to = sockets[0]
                self._question = asked
                return True
            sockets[0].close()

    def _begin(self, machine: Machine) -> None:
        """Begins with the question, and answers it at once if this is where it is about."""
        signal.alarm(ANSWER_S)
        assert self._to is not None, "there is a question"
        send(self._to, {"pid": os.getpid()})
        with last_resort(self._failed):
            self._look = web_looks.look(self._question["look"], self._question["about"])
            self._wanted = next(self._look)
            if self._wanted == machine.applied:
                self._go_on(machine)
            self._stop_at(machine, self._wanted)

    def _go_on(self, machine: Machine) -> None:
        assert self._look is not None, "it is asked about"
        with last_resort(self._failed):
            while self._wanted == machine.applied:
                try:
                    self._wanted = self._look.send(machine)
                except StopIteration as end:
                    self._answer({"answer": end.value})
            self._stop_at(machine, self._wanted)

    def _stop_at(self, machine: Machine, index: int) -> None:
        if index < machine.applied:
            self._refuse(f"the state after action {index} is past")
        if self._stops[-1] > machine.applied:
            self._stops[-1] = index
        else:
            self._stops.append(index)

    def _failed(self, error: Exception) -> None:
        # A state is of any class, and its code may raise anything when it is looked at.
        self._refuse(str(error) if isinstance(error, CoopyError) else f"{type(error).__name__}: {error}")

    def _refuse(self, why: str) -> NoReturn:
        self._answer({"error": why})

    def _answer(self, said: dict[str, Any]) -> NoReturn:
        assert self._to is not None, "there is a question"
        try:
            send(self._to, said)
        except OSError:
            pass  # Nobody waits for it any more.
        finally:
            os._exit(0)


class _Read:
    """The log as the replay reads it: damage ends it, and at its end more may come. A `coopy.ground.storage.Log`, to be read."""

    def __init__(self, log: Log, replay: PausingReplay) -> None:
        self._log = log
        self._replay = replay

    def read(self, after: int) -> Iterator[tuple[int, bytes | memoryview]]:
        try:
            yield from self._log.read(after)
            while (pages := self._replay.at_the_end()) is not None:
                yield from pages
        except (StorageError, OSError) as error:
            self._replay.problem = str(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

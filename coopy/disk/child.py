"""Runs one function in a forked child: the child has the state as it was, the parent goes on.

Copy on write makes the pause as long as the fork itself. The collector is kept quiet meanwhile: a full collection
would touch, and so copy, every page.

The child is nobody else. It runs no signal handler of the program: signals are blocked around the fork and all handlers
taken away before they are let in, so that one to the whole group (a terminal's Ctrl-C, a service that is stopped) ends the child
without a word, and the parent says which it was. And it never returns into the program, whose `finally` and tests
would run a second time: from the fork to the end of the process there is no line of Python to which an exception could come back, see
`_Child._fork`.

It may wait for ever, for a lock that a thread held which is not in the child. A thread of the child says every second whether the
child has done anything; where it has not for STUCK_S, the child is given up. The same thread ends the child when the parent is gone.

In the parent an exception may come at any moment, and another while that is dealt with. What is held is written down by the
same call of C that takes it (the ends of the pipe, the process, its status), and is let go by whoever gets there first: the one that
starts or waits, in its `finally`; the end of what waits; or the next snapshot or closing. Waiting that is interrupted ends the child:
nothing goes on that nobody waits for.
"""

from __future__ import annotations

import _thread
import contextlib
import gc
import os
import select
import signal
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, filterfalse, repeat, starmap, tee
from typing import Any

from coopy.disk import fs
from coopy.errors import SnapshotError
from coopy.ground import collector
from coopy.ground.interruption import is_of_the_code

AVAILABLE = hasattr(os, "fork")
GONE_S = 1.0
"""A child that was killed is waited for this long; one that the kernel keeps longer is looked for by the next snapshot or closing."""

STUCK_S = 20.0
"""A child that has done nothing for so long is ended: neither used the processor nor waited for the disk."""

_LOOK_S = 0.5  # How long it is waited for an answer of the child before somebody looks whether it is still there.
_BEAT_S = 1.0  # The child shows that it lives this often: far more often than it is given up for being silent.
_WORK_S = 0.005  # CPU time that counts as work since the beat before: more than a loop that waits takes.
_BEAT = b"."
_DONE = b"done"
_MESSAGE_BYTES_MAX = 4096  # A pipe passes on this many bytes whole, in one write, on every system (PIPE_BUF on Linux).
_HERE = __name__.replace(".", r"\.") + r"\Z"

_until: tuple[float, str] | None = None
"""When what a child does has to be done, and what to say if it is not."""

_held: dict[_Child, weakref.ref[Waiting]] = {}
"""All for which something is held, each with what waits for it. Where that is gone, the rest is let go by whoever comes next."""


def _nothing(pid: int) -> None:
    pass


def _do_nothing() -> None:
    pass


def start(
    function: Callable[[], bytes | None], failed: Callable[[int], None] = _nothing, what: str = "the snapshot was not written"
) -> Waiting:
    """Forks; the child runs the function and ends. Returns what waits for it, and returns what the function did.

    That is bytes, not too many for a pipe to take at once, or None. Waiting raises `SnapshotError` if the child did not do it, or if that can't be told; ``failed`` is then called with its process
    id, to tidy up what it has left. Raises `SnapshotError` if there is no room for a child.
    """
    reap()
    child = _Child(function, failed, what)
    waiting = Waiting(child)
    _held[child] = weakref.ref(waiting, lambda _: child.let_go())
    try:
        child.begin()
    except (
        OSError,
        RuntimeError,
    ) as error:  # Python 3.12 forks no more once the interpreter ends, and says so in a RuntimeError.
        raise SnapshotError(f"no child could be forked to write the snapshot: {error}. Nothing was saved.") from error
    finally:
        if not child.begun:
            child.let_go()
    return waiting


def reap() -> None:
    """Lets go of what interrupts have left held, and waits for children that were killed, no longer than needed."""
    for child, waiting in list(_held.items()):
        if child.is_given_up or waiting() is None:
            child.let_go()


class Waiting:
    """What waits for a child; once it is dropped, nobody does any more."""

    __slots__ = ("_child", "__weakref__")

    def __init__(self, child: _Child) -> None:
        self._child = child

    def __call__(self) -> bytes | None:
        return self._child.wait()

    def give_up(self) -> None:
        """Ends the child, and so the waiting of another thread for it."""
        self._child.kill()


class _Child:
    """A child, and what its parent holds for it."""

    def __init__(self, function: Callable[[], bytes | None], failed: Callable[[int], None], what: str) -> None:
        self.begun = False
        self._what = what
        self._function = function
        self._failed = failed
        self._owner = os.getpid()
        self._pipe: list[int] = []
        """The ends that are open: reading, writing."""
        self._masks: list[Any] = []
        self._frozen = False
        self.is_stuck = False
        """Whether it has done nothing for too long."""
        self.is_given_up = False
        """Whether nobody waits for it any more, and it had to be ended."""
        self._killed = False
        self._pids: list[int] = []
        self._statuses: list[tuple[int, int]] = []

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that forked it, and not another one that has a copy of this."""
        return os.getpid() == self._owner

    def begin(self) -> None:
        """Forks. Raises OSError."""
        self._pipe.extend(chain.from_iterable(starmap(os.pipe, ((),))))
        keep_python_from_warning()
        self._masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        try:
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
                # What others have frozen is theirs to thaw; frozen together it could not be told apart.
                self._frozen = collector.is_free()
                if self._frozen:
                    gc.freeze()
                self._fork()
            finally:
                self._unblock()
        finally:
            self._unblock()  # An interrupt may have come just before.
        self._close(1)
        self._masks.clear()
        self._function = _do_nothing  # The child has it; it may hold much.
        self.begun = True

    def wait(self) -> bytes | None:
        """Returns what the child came to. Raises `SnapshotError` if it did not; if it is interrupted, ends the child."""
        message, reason, what = b"", "", self._what
        try:
            message = self._listen()
            if not self.is_stuck and not self._statuses:
                try:
                    self._statuses.extend(starmap(os.waitpid, ((self._pids[0], 0),)))
                except ChildProcessError:
                    self._statuses.append((0, 0))  # Somebody else has waited for it; what it wrote tells.
        except OSError as error:
            if not is_of_the_code(error):
                raise  # The TimeoutError of a signal's handler is one.
            reason = f"it could not be seen what became of its process: {error}"
        finally:
            self.let_go()
        collector.look_if_grown()
        if message.startswith(_DONE):
            return message[len(_DONE) :].rstrip(_BEAT) or None
        if not self.is_given_up:
            self._failed(self._pids[0])
        status = self._statuses[0][1] if self._statuses else 0
        if self.is_stuck:
            reason = (
                f"its process has done nothing for {STUCK_S:.0f} s and was ended. It may have waited for a lock that another thread "
                f"held when the process was forked, in a __getstate__, __reduce__ or __setstate__ say"
            )
        elif reason or not (message or status):
            what = "whether the snapshot was written can't be told"
        reason = reason or message.decode("utf-8", "replace") or _ending(status)
        raise SnapshotError(f"{what}: {reason}. The system goes on; its journal holds every action.")

    def _listen(self) -> bytes:
        """What the child has to say when it ends. Returns as well when it has done nothing for STUCK_S. Raises OSError."""
        os.set_blocking(self._pipe[0], False)
        poll = select.poll()
        poll.register(self._pipe[0], select.POLLIN)
        message = b""
        until = time.monotonic() + STUCK_S
        while time.monotonic() < until:
            poll.poll(_LOOK_S * 1000)
            is_over = self._is_over()
            # Read after that: what it has written before its end is there.
            heard = self._said()
            if heard:
                until = time.monotonic() + STUCK_S
                message += heard.lstrip(_BEAT)
            elif is_over or heard is not None:
                return message
            if message:
                return message
        self.is_stuck = True
        return message

    def _is_over(self) -> bool:
        """Whether the child has come to its end. Raises OSError."""
        try:
            self._statuses.extend(filter(_is_gone, starmap(os.waitpid, ((self._pids[0], os.WNOHANG),))))
        except ChildProcessError:
            self._statuses.append((0, 0))  # Somebody else has waited for it; what it wrote tells.
        return bool(self._statuses)

    def _said(self) -> bytes | None:
        """What the child has written since; b"" if there is no more to come, None if there is nothing now. Raises OSError."""
        try:
            return os.read(self._pipe[0], _MESSAGE_BYTES_MAX)
        except BlockingIOError:
            return None  # It may be that something else has a copy of the other end.

    def let_go(self) -> None:
        """Lets go of all that is held, and ends the child if it has not been waited for. May be called again, and at any moment."""
        if not self.is_ours:
            return
        try:
            self._unblock()
            self._masks.clear()
        finally:
            try:
                if self._frozen:
                    gc.unfreeze()
                    self._frozen = False
            finally:
                try:
                    if self._pids and not self._statuses:
                        self._end()
                finally:
                    if self._statuses or not self._pids:
                        self._close(len(self._pipe))
                        if not (self._masks or self._frozen or self._pipe):
                            _held.pop(self, None)

    def kill(self) -> None:
        """Ends the child; that it did is for who waits for it to see."""
        if self.is_ours and self._pids and not self._statuses:
            # It has ended by itself.
            with contextlib.suppress(OSError):
                os.kill(self._pids[0], signal.SIGKILL)

    def _end(self) -> None:
        """Kills the child, and waits a moment for its end."""
        patience_s = 0.0 if self.is_given_up else GONE_S
        self.is_given_up = True
        # If somebody else has waited for it, its number may be another's by now.
        if not self._killed and self._has_the_pipe():
            patience_s = GONE_S
            try:
                os.kill(self._pids[0], signal.SIGKILL)
                self._killed = True
            except OSError:
                pass  # It is tried again by whoever comes next.
        until = time.monotonic() + patience_s
        while not self._look() and time.monotonic() < until:
            time.sleep(0.001)

    def _look(self) -> bool:
        """Whether the child has come to its end."""
        # As if it still ran.
        with contextlib.suppress(OSError):
            self._is_over()
        if self._statuses:
            self._failed(self._pids[0])
        return bool(self._statuses)

    def _has_the_pipe(self) -> bool:
        if len(self._pipe) != 1:
            return True  # It was just forked.
        try:
            os.set_blocking(self._pipe[0], False)
            os.read(self._pipe[0], _MESSAGE_BYTES_MAX)
        except OSError:
            return True  # Nothing has come yet; or it can't be seen, and it must not go on.
        return False

    def _fork(self) -> None:
        # One call of C, from which only the parent returns: the fork gives it the child's process id, which is kept. To the child
        # it gives 0. Of that a `_Life` is made, its length taken, and it is dropped, which runs `_Life.__del__`; exceptions
        # do not leave a `__del__`. Then the length is the status with which the process ends.
        forked, again = tee(starmap(os.fork, ((),)))
        born = filterfalse(None, again)
        self._pids.extend(chain(map(os._exit, map(len, map(_Life, zip(born, repeat(self))))), forked))

    def live(self) -> None:
        """In the child: does what there is to do, says what came of it, and ends."""
        try:
            try:
                _leave_the_program()
                gc.disable()
                self._close(1, place=0)
                self._keep_showing_life()
                found = self._function()
            except BaseException as error:  # Whatever it is, a child can only tell of it and end.
                said = f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:_MESSAGE_BYTES_MAX]
            else:
                said = _DONE + (found or b"")
            os.write(self._pipe[-1], said)
        finally:
            os._exit(0)

    def _keep_showing_life(self) -> None:
        """In the child: starts a thread that says that the child goes on, and ends the child when the parent has ended."""
        # There can't be one more: then it has STUCK_S.
        with contextlib.suppress(RuntimeError):
            _thread.start_new_thread(_show_life, (self._pipe[0], self._owner, threading.get_ident()))

    def _unblock(self) -> None:
        if self._masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._masks[0])

    def _close(self, count: int, place: int = -1) -> None:
        """Closes some ends of the pipe; what has been closed is not in the list any more."""
        while count > 0:
            count -= 1
            # Whatever the system answers, the number is free.
            with contextlib.suppress(OSError):
                deque(map(os.close, map(self._pipe.pop, (place,))), 0)


class _Life(list[Any]):
    """What the child does: see `_Child._fork`."""

    __slots__ = ()

    def __del__(self) -> None:
        self[1].live()


@contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """In a child: ends it if what is done takes longer. Elsewhere nothing has that power, and it takes as long as it takes."""
    global _until
    _until = time.monotonic() + seconds, f"{what} did not end in {seconds:.0f} s"
    try:
        yield
    finally:
        _until = None


def _show_life(pipe: int, owner: int, main: int) -> None:
    """Writes to the parent, again and again, for as long as the thread ``main`` works or the disk works for it."""
    used = time.process_time()
    while os.getppid() == owner:
        time.sleep(_BEAT_S)
        now = time.process_time()
        frame = sys._current_frames().get(main)
        if now - used > _WORK_S or (frame is not None and frame.f_code.co_filename == fs.__file__):
            used = now
            os.write(pipe, _BEAT)
        limit = _until
        if limit is not None and time.monotonic() > limit[0]:
            os.write(pipe, limit[1].encode())
            os._exit(0)
    os._exit(0)


def _is_gone(found: tuple[int, int]) -> bool:
    return found[0] != 0


def _leave_the_program() -> None:
    """In the child: takes away all by which the program could run in it."""
    sys.settrace(None)
    sys.setprofile(None)
    threading.settrace(None)  # type: ignore[arg-type, unused-ignore]
    threading.setprofile(None)
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None:
        for tool in range(6):
            if monitoring.get_tool(tool) is not None:
                monitoring.set_events(tool, 0)
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        # None: one that was not set by Python.
        if handler is None or not isinstance(handler, signal.Handlers):
            try:
                signal.signal(number, signal.SIG_DFL)
            except (OSError, ValueError):
                continue  # Not ours to set.
    # In a subinterpreter, which has none.
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def keep_python_from_warning(here: str = _HERE) -> None:
    """Keeps Python 3.12 from warning of a fork beside threads that a module makes, whose name is a regular expression."""
    # The child takes no lock that one of them could hold. The filter is of that module alone, and stays: `warnings.catch_warnings`
    # exchanges the filters of all threads, and may put back too many.
    if sys.version_info >= (3, 12):
        first = warnings.filters[0] if warnings.filters else None
        if first is None or getattr(first[3], "pattern", first[3]) != here:
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=here)


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "its process ended without a word"
    if code > 0:
        return f"its process ended with status {code}"
    try:
        return f"its process was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"its process was ended by signal {-code}"

"""What has to hold after an interrupt, as plain functions of a system and of what its callers know.

Each raises `Broken`, which says what does not hold. They use what a user has: the system, its control, the directory.
The process is looked at, too: what an interrupt leaks is felt much later.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from moments.domain import Bank, not_whole

import coopy
from coopy import control, init_system
from coopy.errors import CoopyError, SystemClosed
from coopy.ground.running import current

T = TypeVar("T")

FATAL = ("hang", "lost", "half", "twice", "differs", "refused", "unopenable", "lock", "stuck", "child", "died", "process")
"""What can be broken: a call that never returns; an acknowledged call that is gone; half a call that is seen; a call that
is there twice, or one that nobody made; a restart that gives another state; calls that are refused though nothing failed; a
directory that does not open, or that nobody let go; a thread that still takes itself for an action; a child that runs the
program; a process that died; and one whose collector, signals or warnings are not what they were, or that has a child."""

FLAWS = ("odd", "leak")
"""What is not fatal: an interrupt that comes out as another error; a file or a thread that is left behind."""


class Broken(Exception):
    """``kind`` is one of FATAL or FLAWS."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kind = kind


class Witness:
    """What the callers of a system know: the calls that returned, and those that may or may not be there."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        """Keys of the calls that returned."""
        self.doubtful: set[str] = set()
        """Keys of the calls that were interrupted."""
        self.notes = {""}
        """What the note may be."""
        self.known: tuple[Any, ...] | None = None
        """A state that somebody has seen."""
        self.exact = True
        """Whether nobody has made a call since."""

    def copy(self) -> Witness:
        """Another that knows the same."""
        found = Witness()
        found.acknowledged, found.doubtful = list(self.acknowledged), set(self.doubtful)
        found.notes, found.known, found.exact = set(self.notes), self.known, self.exact
        return found

    def saw(self, state: tuple[Any, ...]) -> None:
        """Takes a state that was read while the operation ran: some calls may not be there yet. Raises `Broken`."""
        problem = not_whole(state)
        if problem is not None:
            raise Broken("half", f"a read by another thread meanwhile: {problem}")
        if self.known is not None and state[5][: len(self.known[5])] != self.known[5]:
            raise Broken("differs", f"a read had given {self.known[5]}, and another meanwhile {state[5]}")
        self.known, self.exact = state, False

    def look(self, state: tuple[Any, ...]) -> None:
        """Takes a state that was read. Raises `Broken`."""
        problem = not_whole(state)
        if problem is not None:
            raise Broken("half", problem)
        entries = [entry[0] for entry in state[5]]
        missing = [key for key in self.acknowledged if key not in entries]
        if missing:
            raise Broken("lost", f"{missing} were acknowledged and are not in {entries}")
        if len(set(entries)) < len(entries):
            raise Broken("twice", f"{entries}")
        extra = set(entries) - set(self.acknowledged) - self.doubtful
        if extra:
            raise Broken("twice", f"{extra}: nobody made these calls, or they were refused")
        if state[4] not in self.notes:
            raise Broken("lost", f"the note is {state[4]!r}, and may be one of {self.notes}")
        if self.known is not None and state[5][: len(self.known[5])] != self.known[5]:
            raise Broken("differs", f"a read had given {self.known[5]}, and now {state[5]}")
        self.known, self.exact = state, True


class Reader:
    """Another thread, which reads when it is told to; at moments when it can't, it waits while others go on."""

    def __init__(self, read: Callable[[], tuple[Any, ...]]) -> None:
        self.states: list[tuple[Any, ...]] = []
        """What it has read, if it differs from what it had read before."""
        self._read = read
        self._error: BaseException | None = None
        self._asked, self._answered = threading.Lock(), threading.Lock()
        self._asked.acquire()
        self._answered.acquire()
        self._busy = False
        self._over = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def at_moment(self) -> None:
        """Lets it read, or go on with what it has begun to read."""
        if self._busy:
            self._busy = not self._answered.acquire(timeout=0.00005)
        if not self._busy:
            self._asked.release()
            self._busy = not self._answered.acquire(timeout=0.001)

    def end(self) -> None:
        """Waits for its last read. Raises `Broken` for what it could not read."""
        if self._busy:
            self._answered.acquire()
        self._over = True
        self._asked.release()
        self._thread.join()
        if self._error is not None:
            raise Broken("refused", f"a reader: {describe(self._error)}")

    def _run(self) -> None:
        while True:
            self._asked.acquire()
            if self._over:
                return
            try:
                state = self._read()
                if state not in self.states[-1:]:
                    self.states.append(state)
            except BaseException as error:
                self._error = error
            self._answered.release()


def in_another_thread(function: Callable[[], T]) -> T:
    """What a function returns, or raises, in another thread. Whoever watches this process sees whether it comes back."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="another thread", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def takes_calls(system: Any, witness: Witness, who: str, read_first: bool) -> None:
    """A thread can read and make a call, and sees what it should. Raises `Broken`."""
    key = f"{who} {len(witness.acknowledged)}"
    try:
        if read_first:
            witness.look(system.state())
        system.transfer(key, 1)
        witness.acknowledged.append(key)
        witness.look(system.state())
        count = system.glimpse()
    except Broken:
        raise
    except BaseException as error:
        raise Broken("refused", f"{who}: {describe(error)}") from error
    assert witness.known is not None
    if count != len(witness.known[5]):
        raise Broken("differs", f"an unlocked read gives {count} entries, and a read {len(witness.known[5])}")


def describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def state_of(domain: Bank) -> tuple[Any, ...]:
    found: tuple[Any, ...] = domain.state()
    return found


def restarts(directory: Path, witness: Witness, options: dict[str, Any], why: str) -> None:
    """The directory opens, gives what was seen last, takes a call, closes, and is replayed to that. Raises `Broken`."""
    try:
        system = reopened(directory, options)
    except BaseException as error:
        raise Broken("unopenable", f"{why}: {describe(error)}") from error
    try:
        state = system.state()
        again(state, witness, why)
        takes_calls(system, witness, why, False)
        seen = witness.known
    except Broken:
        raise
    except BaseException as error:
        raise Broken("refused", f"{why}: {describe(error)}") from error
    finally:
        system.close()
    try:
        found = state_of(coopy.replay(Bank, directory))
    except BaseException as error:
        raise Broken("unopenable", f"{why}, the second time: {describe(error)}") from error
    if found != seen:
        raise Broken("differs", f"{why}: the state was {seen}, and is replayed as {found}")


def again(state: tuple[Any, ...], witness: Witness, why: str) -> None:
    """A state after a restart is what was seen last. Raises `Broken`."""
    known, exact = witness.known, witness.exact
    try:
        witness.look(state)
    except Broken as problem:
        raise Broken(problem.kind, f"{why}: {problem.args[0]}") from None
    if known is not None and exact and state != known:
        raise Broken("differs", f"{why}: the state was {known}, and is {state}")


def reopened(directory: Path, options: dict[str, Any]) -> Any:
    return init_system(Bank, directory, validation="off", **options)


def killed(directory: Path, to: Path) -> Path:
    """A copy of a directory as it is: what kill -9 leaves. A snapshot that a child gives its name meanwhile may be in neither."""
    shutil.copytree(directory, to, copy_function=_copy_if_there)
    return to


def _copy_if_there(path: str | os.DirEntry[str], to: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(path, to)


def lets_go(system: Any) -> None:
    """Closes a system, again if need be. Raises `Broken`."""
    try:
        system.close()
    except BaseException as error:
        raise Broken("lock", f"close() raises {describe(error)}") from error
    if not control(system).closed:
        raise Broken("lock", "close() has returned, and the system is open")


class Process:
    """What belongs to the process and not to a system; `compare` says what has changed."""

    def __init__(self) -> None:
        self._before = _of_process()

    def compare(self) -> None:
        """Raises `Broken`."""
        if getattr(current, "machine", None) is not None:
            current.machine = None
            raise Broken("stuck", "this thread takes itself for an action: its clock stands still")
        for turn in range(20):
            now = _of_process()
            if now == self._before:
                return
            # A thread that has nothing to do any more needs a moment to end; a cycle, the collector.
            if turn in (0, 10):
                gc.collect()
            time.sleep(0.0005 * turn)
        only_left = all(now[name] == was for name, was in self._before.items() if name not in ("files", "threads"))
        raise Broken("leak" if only_left else "process", "; ".join(_changes(self._before, now)))


def _changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for name, was in before.items():
        if isinstance(was, list):
            more, less = [each for each in now[name] if each not in was], [each for each in was if each not in now[name]]
            if more or less:
                yield f"{name}: {more} more, {less} less"
        elif now[name] != was:
            yield f"{name}: {was}, and now {now[name]}"


def _of_process() -> dict[str, Any]:
    return {
        "files": sorted(_open_files()),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "collector": (gc.isenabled(), gc.get_freeze_count() > 1000),
        "signals": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "filters": list(warnings.filters),
        "children": _children(),
    }


def _open_files() -> list[str]:
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    found = []
    for name in os.listdir(folder):
        # The one that lists them.
        with contextlib.suppress(OSError):
            found.append(f"{name} {os.readlink(os.path.join(folder, name)) if folder.startswith('/proc') else ''}")
    return found


def _children() -> str:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return ""
    return f"process {pid}, status {status}" if pid else "one that runs"


def is_refusal(error: BaseException) -> bool:
    """Whether an error says that the system is closed."""
    return isinstance(error, SystemClosed)


def comes_out_as(error: BaseException, raised: type[BaseException]) -> None:
    """An interrupted operation raises the interrupt, or an error of ours that follows from it. Raises `Broken`."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, raised) and (found is error or isinstance(error, CoopyError)):
            return
        found = found.__cause__ or found.__context__
    raise Broken("odd", f"the interrupt came out as {describe(error)}")

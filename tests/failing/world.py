"""One directory and one system under test, with the record of what was told about each call: the judge of what a fault did."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import handed
from crash.disk_model import Disk, Said, everything, nothing, put, some
from failing.calls import PATH, Failing
from failing.disk import Mapped, Noted, Written

import coopy
from coopy import abort_exception, control, readonly, transactional
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK
from coopy.errors import CoopyError, JournalError, StorageError, Unreadable
from coopy.place.directory import DirectoryPlace
from coopy.place.options import Settings
from coopy.system import System

SEGMENT_BYTES = 3 * BLOCK
"""See `crash.power.small_segments`."""

UNCHANGED = (
    "nothing was changed",
    "nothing has changed",
    "nothing in it was changed",
    "nothing was opened or changed",
    "nothing more is recorded",
)
ACKNOWLEDGED, REFUSED, UNCERTAIN = "acknowledged", "refused", "uncertain"


class Ledger:
    """Every action that counts leaves its token."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def add(self, token: int, filler: str = "") -> int:
        self.tokens.append(token)
        return token

    def add_and_raise(self, token: int, filler: str = "") -> None:
        self.tokens.append(token)
        raise KeyError(token)

    @abort_exception
    def refuse(self, token: int, filler: str = "") -> None:
        raise KeyError(token)

    @transactional
    def undo(self, token: int, filler: str = "") -> None:
        self.tokens.append(token)
        raise KeyError(token)

    def ask(self, token: int) -> None:
        self.tokens.append(token)
        coopy.on_commit(carry_out, token)

    @readonly
    def found(self) -> list[int]:
        return list(self.tokens)


carried_out: list[int] = []


def carry_out(token: int) -> None:
    carried_out.append(token)


class Called(handed.Called):
    domain = Ledger


class Violation(AssertionError):
    """A promise was broken."""


class Hang(BaseException):
    """Something took too long."""


class Setting(NamedTuple):
    durability: str = "sync"
    mapped: bool = True

    def __str__(self) -> str:
        return f"{self.durability}, {'mapped' if self.mapped else 'written'}"


class World:
    """A system in ``home``, and what was told about each call."""

    def __init__(self, root: Path, setting: Setting, failing: Failing, noted: bool) -> None:
        self.root = root
        self.home = root / "ledger"
        self.setting = setting
        self.failing = failing
        self.calls: Calls
        if noted:
            self.calls = Noted(setting.mapped)
        else:
            self.calls = Mapped() if setting.mapped else Written()
        self.noted = self.calls if isinstance(self.calls, Noted) else None
        self.ledger: Any = None
        self.told: dict[int, str] = {}
        """What was said of each token that was to be added, in order."""
        self.never: set[int] = set()
        """Tokens of calls that raise and leave nothing."""
        self.refuses = False
        """Whether it was said that the system has to be opened again."""
        self.lost_by_hand: set[int] = set()
        self.is_damaged = False
        self.in_order = True
        self.asked: set[int] = set()
        self._token = 0
        self._threads = set(threading.enumerate())
        self._files = set(_open_files())
        self._processes = _children()
        self.errors: list[str] = []

    # -- what operations do

    def open(self, *, segment_bytes: int = SEGMENT_BYTES, keep: int | None = None, fork: bool = False) -> None:
        self.ledger = self.opened(self.home, self.calls, segment_bytes, keep, fork)

    def opened(
        self, home: Path, calls: Calls, segment_bytes: int = SEGMENT_BYTES, keep: int | None = None, fork: bool = False
    ) -> Any:
        given = {
            "durability": self.setting.durability,
            "keep": keep,
            "fork": fork and self.noted is None,
            "segment_bytes": segment_bytes,
        }
        settings = Settings.of("opened", given)
        system = System(Ledger, DirectoryPlace(str(home), Ledger, settings, calls=calls), settings)
        system.start(None)
        return system.proxy

    @property
    def control(self) -> Any:
        return control(self.ledger)

    def add(self, size: int = 0, method: str = "add") -> None:
        token = self.token()
        undone = method in ("undo", "refuse")
        if undone:
            self.never.add(token)
        self.issued(token)
        try:
            verdict = self.call(lambda: getattr(self.ledger, method)(token, "x" * size))
        except KeyError:
            verdict = ACKNOWLEDGED
        if not undone:
            self.tell(token, verdict)

    def ask(self) -> None:
        token = self.token()
        self.issued(token)
        self.asked.add(token)
        self.tell(token, self.call(lambda: self.ledger.ask(token)))

    def add_together(self, *sizes: int) -> None:
        batch = [Called("add", self.token(), "x" * size) for size in sizes]
        for each in batch:
            self.issued(each.args[0])
        engine = self.ledger._coopy_engine
        done: list[Any] = []
        verdict = self.call(lambda: [done.extend(part) for part in engine.settled(engine.begin_all(batch), batch)])
        for each in batch:
            if each not in done:
                self.tell(each.args[0], verdict)
            elif each.error is None:
                self.tell(each.args[0], ACKNOWLEDGED)
            else:
                self.tell(each.args[0], self.verdict(each.error))

    def read(self) -> None:
        seen: list[int] = []
        if self.call(lambda: seen.extend(self.ledger.found())) == ACKNOWLEDGED:
            self.compare(seen, "live")

    def token(self) -> int:
        self._token += 1
        return self._token

    def issued(self, token: int) -> None:
        if self.noted is not None:
            self.noted.say("issued", token)

    def tell(self, token: int, verdict: str) -> None:
        self.told[token] = verdict
        if self.noted is not None and verdict != UNCERTAIN:
            self.noted.say(verdict, token)

    def call(self, function: Callable[[], object]) -> str:
        """Makes a call; returns what is so of it then. A KeyError is the domain's own."""
        try:
            function()
        except KeyError:
            raise
        except Exception as error:
            return self.verdict(error)
        if self.refuses:
            raise Violation("a call was taken although it was said that the system has to be opened again")
        return ACKNOWLEDGED

    def verdict(self, error: BaseException) -> str:
        """What an error of a call says. Raises `Violation` if it is not ours, or says nothing."""
        self.ours(error)
        text = str(error)
        if "open it again" in text:
            self.refuses = True
            return UNCERTAIN
        if self.refuses:
            raise Violation(f"it was said that the system has to be opened again, and then: {told(error)}")
        if any(word in text for word in ("nothing has changed", "nothing was changed", "nothing more is recorded")):
            return REFUSED
        raise Violation(f"the error does not say what holds: {told(error)}")

    def ours(self, error: BaseException) -> None:
        self.errors.append(told(error))
        if not isinstance(error, CoopyError):
            raise Violation(f"not ours, from {place(error)}: {told(error)}")

    def does(self, function: Callable[[], object], *words: str) -> bool:
        """Does what is no call. Whether it was done; if not, the error must be ours and say one of the words."""
        try:
            function()
        except Exception as error:
            self.ours(error)
            if "open it again" in str(error) and isinstance(error, JournalError) and self.ledger is not None:
                # Of this directory, and not of a copy that is being made.
                self.refuses = str(error.filename).startswith(str(self.home))
            if not any(word.lower() in str(error).lower() for word in (*words, *UNCHANGED)):
                raise Violation(f"the error does not say what holds: {told(error)}") from error
            if (
                isinstance(error, StorageError)
                and not isinstance(error, Unreadable)
                and not self.is_damaged
                and not self._vanished(error)
            ):
                raise Violation(f"not true: {told(error)}") from error
            return False
        return True

    @property
    def vanished(self) -> bool:
        """Whether the directory was not there for a while."""
        return self.failing.fault is not None and self.failing.fault.kind == PATH

    def _vanished(self, error: StorageError) -> bool:
        """Whether it says that something is not there, and that was so."""
        return self.vanished and any(word in str(error) for word in ("missing", "not there", "is not a data directory"))

    # -- what must be so

    def compare(self, found: list[int], where: str) -> None:
        """Raises `Violation` if the tokens that were found are not what was told."""
        if len(set(found)) != len(found):
            raise Violation(f"{where}: a call counts twice: {found}")
        if found != sorted(found) and self.in_order:
            raise Violation(f"{where}: out of order: {found}")
        self._missing(found, [token for token, verdict in self.told.items() if verdict == ACKNOWLEDGED], where)
        for token in found:
            if token in self.never:
                raise Violation(f"{where}: {token} was to leave nothing, and is there")
            if self.told.get(token) == REFUSED:
                raise Violation(f"{where}: of {token} it was said that nothing has changed, and it is there")

    def _missing(self, found: list[int], acknowledged: list[int], where: str) -> None:
        missing = [token for token in acknowledged if token not in found and token not in self.lost_by_hand]
        if missing:
            raise Violation(f"{where}: {len(missing)} of {len(acknowledged)} acknowledged calls are not there: {missing[:5]}")

    def judge(self, lasting: bool, chance: random.Random, check: Callable[[World], None], is_opened: bool) -> None:
        """Looks whether all that was promised is so. The fault is still armed.

        ``is_opened`` says whether the directory must open as it is, once the operation is over.
        """
        has_failed = self.failing.end_of_operation()
        if is_opened and self.home.exists():
            self._look_killed("killed right then")
        if self.ledger is not None and not self.control.closed:
            self._go_on(is_over=has_failed and not lasting)
        closed_early = lasting and self.ledger is not None and chance.random() < 0.5
        if closed_early:
            self._close()
        self.failing.disarm()
        if not closed_early:
            check(self)
            if self.ledger is not None and not self.refuses and not self.control.closed:
                self._take_calls("once the fault is over")
        self._look_killed("killed")
        if self.ledger is not None:
            self._close()
        self._look(self.home, "closed", self.calls)
        self._replay(self.home)
        self._no_leaks()

    def _go_on(self, is_over: bool) -> None:
        self.read()
        self.add()
        self.add(20_000)
        if is_over and not self.refuses and UNCERTAIN not in self.told.values():
            last = list(self.told.values())[-2:]
            if last != [ACKNOWLEDGED] * 2:
                raise Violation("the fault is over, and a call is refused still")

    def _take_calls(self, where: str) -> None:
        for size in (0, 20_000):
            self.add(size)
            if list(self.told.values())[-1] != ACKNOWLEDGED:
                raise Violation(f"{where}: a call is refused: {self.errors[-1]}")
        self.read()

    def _look_killed(self, where: str) -> None:
        copy = self.root / "killed"
        with self.failing.paused():
            shutil.copytree(self.home, copy)
            self._look(copy, where)
            shutil.rmtree(copy)

    def _look(self, home: Path, where: str, calls: Calls | None = None) -> None:
        try:
            again = self.opened(home, Calls() if calls is None else calls)
        except Exception as error:
            raise Violation(f"{where}: it does not open: {told(error)}") from error
        found = again.found()
        self.compare(found, where)
        if calls is None:
            again.add(1 << 30)
        else:
            # What is acknowledged now must last as well.
            self.told = dict.fromkeys(found, ACKNOWLEDGED)
            self.ledger, self.refuses = again, False
            self.lost_by_hand.clear()
            self._take_calls("opened again")
        control(again).close()

    def _replay(self, home: Path) -> None:
        try:
            found = coopy.replay(Ledger, home).tokens
        except Exception as error:
            raise Violation(f"it can't be replayed: {told(error)}") from error
        self.compare(found, "replayed")

    def _close(self) -> None:
        try:
            self.control.close()
        except Exception as error:
            self.ours(error)
        if not self.control.closed:
            raise Violation("closing has not closed it")
        self.ledger = None

    def _no_leaks(self) -> None:
        self.ledger = None
        self._end_of_threads()
        if self.noted is not None:
            self.noted._areas.clear()  # Its maps keep files open.
        if self._open_files():
            gc.collect()
            if self._open_files():
                raise Violation(f"left open: {self._open_files()}")
        if self._left():
            raise Violation(f"a child process is left: {self._left()}")

    def _end_of_threads(self) -> None:
        for thread in set(threading.enumerate()) - self._threads:
            thread.join(5)
            if thread.is_alive():
                raise Violation(f"a thread is left: {thread.name}")

    def _open_files(self) -> list[str]:
        """Files of this directory, and pipes, that were not open before."""
        return sorted(path for name, path in _open_files() if (name, path) not in self._files)

    # -- power cuts

    def cut_power(self, chance: random.Random, since: int, cuts: int = 6) -> int:
        """Cuts the power at moments after note ``since``, and opens what is there. Returns how often."""
        assert self.noted is not None
        notes = self.noted.notes
        places = {len(notes) - 1, *(chance.randrange(min(since, len(notes) - 1), len(notes)) for _ in range(cuts))}
        disk, done = Disk(str(self.home)), 0
        for place, note in enumerate(notes):
            disk.follow(note)
            if place not in places:
                continue
            for keep in (nothing, everything, some(chance, 0.5), some(chance, 0.9)):
                files = disk.found(keep)
                done += 1
                if files is None:
                    if any(each.word == ACKNOWLEDGED for each in disk.said):
                        raise Violation("power cut: the directory is gone")
                    continue
                after = self.root / "after"
                put(files, after)
                self._look_after_cut(after, disk.said, f"power cut after note {place} of {len(notes)}")
                shutil.rmtree(after)
        return done

    def _look_after_cut(self, home: Path, said: list[Said], where: str) -> None:
        try:
            again = self.opened(home, Written())
        except Exception as error:
            raise Violation(f"{where}: it does not open: {told(error)}") from error
        found = again.found()
        again._coopy_control._system.abandon()
        words = {
            word: [each.what for each in said if each.word == word] for word in ("issued", ACKNOWLEDGED, REFUSED, "durable")
        }
        kept = words[ACKNOWLEDGED] if self.setting.durability == "sync" else words["durable"]
        self._missing(found, [int(str(token)) for token in kept], where)
        if sorted(found) != sorted(set(found)) or (found != sorted(found) and self.in_order):
            raise Violation(f"{where}: out of order: {found}")
        for token in found:
            if token not in words["issued"]:
                raise Violation(f"{where}: {token} was not called yet")
            if token in words[REFUSED] or token in self.never:
                raise Violation(f"{where}: {token} was to leave nothing, and is there")

    def abandon(self) -> None:
        """Lets go whatever a violation has left."""
        self.failing.disarm()
        if self.ledger is not None:
            with contextlib.suppress(Exception):
                control(self.ledger)._system.abandon()
            self.ledger = None
        for _ in range(100):
            for pid in self._left():
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            if not self._left():
                break
            time.sleep(0.01)

    def _left(self) -> set[int]:
        """Children that were not there before: another test may have some."""
        return _children() - self._processes


def _children() -> set[int]:
    """The processes that this one has started and not waited for; none where the system does not list them."""
    found: set[int] = set()
    for tasks in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(map(int, tasks.read_text().split()))
        except OSError:
            continue  # A thread that has ended.
    return found


def _open_files() -> list[tuple[str, str]]:
    found = []
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []:
        try:
            found.append((name, os.readlink(f"/proc/self/fd/{name}")))
        except OSError:
            continue  # It was for the list itself.
    return found


def place(error: BaseException) -> str:
    """The last line of coopy's that an error came through."""
    found, last, traceback = "?", "?", error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if traceback.tb_frame.f_globals.get("__name__", "").startswith(("coopy.", "failing.world", "failing.operations")):
            found = f"{os.path.basename(code.co_filename)}, {code.co_name}"
            if not code.co_filename.endswith("fs.py"):
                last = found
        traceback = traceback.tb_next
    return last if found.startswith("fs.py") else found


def told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]

"""A call that something from outside has interrupted is withdrawn, and no call keeps a directory from opening."""

from __future__ import annotations

import ctypes
import enum
import functools
import shutil
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import Faulty, open_with

import coopy
from coopy import abort_exception, control, init_system, readonly, transactional
from coopy.disk.journal import Journal
from coopy.errors import InterruptedReplay
from coopy.ground import recursion, running
from coopy.spine import replay as replaying


class JobTimeout(Exception):
    """Made of the class alone, as CPython makes what one thread raises in another."""

    def __init__(self, message: str = "the job took too long") -> None:
        super().__init__(message)


class OfJob(Exception):
    """Can't be made of the class alone."""

    def __init__(self, job: str) -> None:
        super().__init__(job)


class Named(Exception):
    """Can't be made of the class alone: it finds so itself."""

    def __init__(self, job: Any = None) -> None:
        super().__init__(job.name)


class Stop(BaseException):
    pass


class Colour(enum.Enum):
    RED = 1


class Rights(enum.IntFlag, **({"boundary": enum.STRICT} if sys.version_info >= (3, 11) else {})):
    READ = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        raise ValueError(f"{value} is no right")


class Secretive(Exception):
    @property
    def args(self) -> Any:  # type: ignore[override]
        raise AttributeError("nobody is told")


interrupts: list[Callable[[], None]] = []
"""What `Jobs.stumble` calls in the middle."""


class Jobs:
    def __init__(self) -> None:
        self.steps: list[Any] = []

    def add(self, what: Any) -> int:
        self.steps.append(what)
        return len(self.steps)

    def work(self) -> None:
        self.steps.append("begun")
        while not interrupted:
            pass
        self.steps.append("ended")

    def nap(self) -> None:
        self.steps.append("begun")
        if not interrupted:
            time.sleep(60)
        self.steps.append("ended")

    def guarded(self) -> None:
        """Raises an error of its own for one that came from outside."""
        self.steps.append("begun")
        try:
            self.work()
        except (TimeoutError, JobTimeout) as error:
            raise ValueError("given up") from error

    def tidied(self) -> None:
        """Raises another error while it tidies up."""
        try:
            self.work()
        finally:
            {}["tidy"]

    def yielded(self) -> Iterator[int]:
        """An end of an iterator that comes out of it is an error of another class."""
        self.work()
        yield 1

    def more_and_more(self) -> None:
        """Lacks memory if it is not interrupted."""
        self.work()
        self.resize(10**15)

    @transactional
    def together(self) -> None:
        self.work()

    @abort_exception
    def careful(self) -> None:
        self.work()

    def resize(self, size: int) -> None:
        self.steps = [0] * size

    def repeat(self, size: int) -> None:
        self.steps.append("begun")
        self.steps.append("x" * size)

    def fill(self, size: int) -> None:
        self.steps.append("begun")
        self.steps.append(bytearray(size))

    def fall(self) -> None:
        self.steps.append("begun")
        self.fall()

    def sink(self, depth: int) -> int:
        """Recurses so deep, and returns."""
        if depth:
            return self.sink(depth - 1) + 1
        self.steps.append("at the bottom")
        return 0

    def exit(self, status: int) -> None:
        self.steps.append("exit")
        sys.exit(status)

    def give_up(self) -> None:
        self.steps.append("given up")
        raise TimeoutError

    def stumble(self) -> None:
        """Raises by itself, with a place in the middle where a test interrupts."""
        self.steps.append("begun")
        for interrupt in interrupts:
            interrupt()
        self.steps.append("stumbled")
        raise ValueError("stumbled")

    def press(self) -> None:
        self.steps.append("pressed")
        raise KeyboardInterrupt

    def late(self) -> None:
        self.steps.append("late")
        raise JobTimeout

    def next_of(self, numbers: list[int]) -> None:
        self.steps.append("next")
        next(iter(numbers))

    def choose(self, number: int) -> None:
        """Has a small number, as signals have, taken for a member of an Enum: the handlers of signals are members of one, too."""
        self.steps.append("chosen")
        Colour(number)

    def refuse(self) -> None:
        self.steps.append("refused")
        raise Secretive

    def permit(self, number: int) -> None:
        self.steps.append("permitted")
        Rights(number)

    def ask_signal(self, number: int) -> None:
        self.steps.append("asked")
        signal.Handlers(number)

    @readonly
    def all(self) -> list[Any]:
        return list(self.steps)


interrupted: list[None] = []
"""Not empty once something has interrupted: a method that is run again does not wait for it."""


@pytest.fixture(autouse=True)
def armed() -> Iterator[None]:
    interrupted.clear()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


def opened(basedir: Path, **options: Any) -> Any:
    """The jobs wait for what interrupts them, which validation would refuse."""
    return init_system(Jobs, basedir, validation="off", **options)


def restored(basedir: Path) -> list[Any]:
    """The state that a process which was killed now would leave."""
    copy = basedir.with_name("copy")
    shutil.copytree(basedir, copy)
    try:
        return list(coopy.replay(Jobs, copy).steps)
    finally:
        shutil.rmtree(copy)


# -- what comes from outside


def raising(error: BaseException) -> Callable[..., None]:
    def handler(number: int, frame: object) -> None:
        interrupted.append(None)
        raise error

    return handler


def any_arguments(*_: object) -> None:
    interrupted.append(None)
    raise TimeoutError("too long")


class Limit:
    """A handler that is an object, and asks others to raise."""

    def __call__(self, number: int, frame: object) -> None:
        interrupted.append(None)
        self.end()

    def end(self) -> None:
        raise JobTimeout


def by_name(error: type[Exception], number: int, frame: object) -> None:
    interrupted.append(None)
    raise error("too long")


def after(seconds: float, handler: Callable[..., None]) -> None:
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def ask_for(error: type[BaseException]) -> None:
    """Has a thread ask CPython to raise an exception in this one."""
    thread = threading.get_ident()

    def ask() -> None:
        time.sleep(0.05)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
        interrupted.append(None)

    threading.Thread(target=ask, daemon=True).start()


def trace(error: BaseException) -> None:
    """Has a trace function raise, as limits on time and debuggers do."""

    def step(frame: Any, event: str, argument: object) -> Any:
        if frame.f_code is Jobs.work.__code__ and event == "line" and len(frame.f_locals["self"].steps) > 1:
            interrupted.append(None)
            sys.settrace(None)
            raise error
        return step if frame.f_code is Jobs.work.__code__ else None

    sys.settrace(step)


def walking_up(error: BaseException) -> Callable[..., None]:
    """A handler that has lost the frame it was given: it goes up the stack, as one that looks for a request or a test does."""

    def handle(number: int, frame: Any) -> None:
        while frame is not None:
            frame = frame.f_back
        raise error

    return handle


class Watchdog:
    """The same as an object, and as its method."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, number: int, frame: Any) -> None:
        self.handle(number, frame)

    def handle(self, number: int, frame: Any) -> None:
        while frame is not None:
            frame = frame.f_back
        raise self.error


OUTSIDE: dict[str, tuple[Callable[[], None], type[BaseException]]] = {
    "a time limit": (lambda: after(0.05, raising(TimeoutError("too long"))), TimeoutError),
    "a time limit of a library": (lambda: after(0.05, raising(JobTimeout())), JobTimeout),
    "a handler of any arguments": (lambda: after(0.05, any_arguments), TimeoutError),
    "a handler that is an object": (lambda: after(0.05, Limit()), JobTimeout),
    "a handler that is a partial": (lambda: after(0.05, functools.partial(by_name, OSError)), OSError),
    "a handler that stops": (lambda: after(0.05, raising(Stop())), Stop),
    "a handler that exits": (lambda: after(0.05, raising(SystemExit(1))), SystemExit),
    "Ctrl-C": (lambda: after(0.05, signal.default_int_handler), KeyboardInterrupt),
    "a handler that walks up the stack": (lambda: after(0.05, walking_up(TimeoutError("too long"))), TimeoutError),
    "Ctrl-C to one that does": (lambda: after(0.05, walking_up(KeyboardInterrupt())), KeyboardInterrupt),
    "a method that walks up": (lambda: after(0.05, Watchdog(OSError("late")).handle), OSError),
    "an object that walks up": (lambda: after(0.05, Watchdog(SystemExit(3))), SystemExit),
    "a partial that walks up": (lambda: after(0.05, functools.partial(walking_up(LookupError("late")))), LookupError),
    "another thread": (lambda: ask_for(TimeoutError), TimeoutError),
    "a library's other thread": (lambda: ask_for(JobTimeout), JobTimeout),
    "another thread that exits": (lambda: ask_for(SystemExit), SystemExit),
    "another thread's Ctrl-C": (lambda: ask_for(KeyboardInterrupt), KeyboardInterrupt),
    "another thread's stop": (lambda: ask_for(Stop), Stop),
    "another thread's end of an iterator": (lambda: ask_for(StopIteration), StopIteration),
    "another thread, for what can't be made": (lambda: ask_for(OfJob), TypeError),
    "another thread, for what C can't make": (lambda: ask_for(UnicodeDecodeError), TypeError),
    "another thread, for what fails as it is made": (lambda: ask_for(Named), AttributeError),
    "a trace function": (lambda: trace(TimeoutError("traced")), TimeoutError),
}


@pytest.mark.parametrize("durability", ["sync", "buffered"])
@pytest.mark.parametrize("how", OUTSIDE)
def test_a_call_that_is_interrupted_from_outside_is_withdrawn(tmp_path: Path, how: str, durability: str) -> None:
    arm, error = OUTSIDE[how]
    with opened(tmp_path / "jobs", durability=durability) as jobs:
        jobs.add(1)
        arm()
        with pytest.raises(error) as raised:
            jobs.work()
        assert any("action 2 is withdrawn" in each for each in getattr(raised.value, "__notes__", ()))
        assert restored(tmp_path / "jobs") == [1], "its withdrawal is written before the caller gets the exception"
        assert jobs.all() == [1]
        assert jobs.add(2) == 2
    with opened(tmp_path / "jobs") as jobs:
        assert jobs.all() == [1, 2]


@pytest.mark.parametrize(
    "handler", [walking_up(TimeoutError("late")), walking_up(KeyboardInterrupt()), Watchdog(OSError("late"))]
)
def test_a_replay_that_is_interrupted_takes_nothing_for_the_methods_own(tmp_path: Path, handler: Callable[..., None]) -> None:
    with opened(tmp_path / "jobs") as jobs:
        with pytest.raises(ValueError, match="stumbled"):
            jobs.stumble()
        signal.signal(signal.SIGALRM, handler)
        interrupts.append(lambda: signal.raise_signal(signal.SIGALRM))
        try:
            with pytest.raises((TimeoutError, KeyboardInterrupt, OSError), match="late|^$"):
                coopy.replay(Jobs, tmp_path / "jobs")
        finally:
            interrupts.clear()
        assert coopy.replay(Jobs, tmp_path / "jobs").steps == ["begun", "stumbled"] == jobs.all()


@pytest.mark.parametrize("method", ["nap", "guarded", "tidied", "together", "careful"])
@pytest.mark.parametrize("how", ["a time limit", "a library's other thread", "a handler of any arguments"])
def test_whatever_the_method_does_with_it_the_directory_opens(tmp_path: Path, method: str, how: str) -> None:
    if method == "nap" and "thread" in how:
        pytest.skip("another thread can't wake one that sleeps")
    with opened(tmp_path / "jobs") as jobs:
        jobs.add(1)
        OUTSIDE[how][0]()
        with pytest.raises((OUTSIDE[how][1], ValueError, KeyError)):
            getattr(jobs, method)()
        signal.setitimer(signal.ITIMER_REAL, 0)
        state = jobs.all()
        # What tidies up raises by itself: run again, the call comes to its end and raises that.
        assert state == [1] or (state == [1, "begun", "ended"] and method == "tidied" and "thread" in how)
        assert jobs.add(2) == len(state) + 1
    with opened(tmp_path / "jobs") as jobs:
        assert jobs.all() == [*state, 2]


@pytest.mark.parametrize(
    "call", [("resize", 10**15), ("repeat", 10**15), ("fill", 10**15), ("fall",)], ids=lambda call: call[0]
)
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_call_that_lacks_memory_or_room_to_recurse_is_withdrawn(
    tmp_path: Path, call: tuple[Any, ...], is_killed: bool
) -> None:
    jobs = opened(tmp_path / "jobs")
    jobs.add(1)
    with pytest.raises((MemoryError, RecursionError)):
        getattr(jobs, call[0])(*call[1:])
    assert jobs.all() == [1] and jobs.add(2) == 2
    with pytest.raises((MemoryError, RecursionError)):
        getattr(jobs, call[0])(*call[1:])
    if is_killed:
        jobs = restarted(jobs, tmp_path)
    control(jobs).close()
    with opened(tmp_path / "jobs") as jobs:
        assert jobs.all() == [1, 2]


@pytest.mark.parametrize(
    "how", [lambda: after(0.05, raising(StopIteration())), lambda: ask_for(StopIteration)], ids=["signal", "thread"]
)
def test_an_end_of_an_iterator_that_comes_from_outside_into_a_generator_is_no_error_of_its_own(
    tmp_path: Path, how: Any
) -> None:
    with opened(tmp_path / "jobs") as jobs:
        jobs.add(1)
        how()
        with pytest.raises(RuntimeError, match="StopIteration") as raised:
            jobs.yielded()
        assert any("action 2 is withdrawn" in each for each in getattr(raised.value, "__notes__", ()))
        assert jobs.add(2) == 2
    with opened(tmp_path / "jobs") as jobs:
        assert jobs.all() == [1, 2]


def test_a_call_that_is_looked_at_again_and_lacks_memory_then_is_said_to_be_withdrawn(tmp_path: Path) -> None:
    with opened(tmp_path / "jobs") as jobs:
        jobs.add(1)
        ask_for(TimeoutError)
        with pytest.raises(TimeoutError) as raised:
            jobs.more_and_more()
        assert any("action 2 is withdrawn" in each for each in getattr(raised.value, "__notes__", ()))
        assert restored(tmp_path / "jobs") == [1] and jobs.all() == [1]
    with opened(tmp_path / "jobs") as jobs:
        assert jobs.all() == [1]


def restarted(jobs: Any, tmp_path: Path) -> Any:
    """Opens what is there now in place of what was open, as after a kill."""
    shutil.copytree(tmp_path / "jobs", tmp_path / "killed")
    control(jobs).close()
    shutil.rmtree(tmp_path / "jobs")
    (tmp_path / "killed").rename(tmp_path / "jobs")
    return opened(tmp_path / "jobs")


@pytest.mark.parametrize("call", [("resize", 10**15), ("fall",)], ids=lambda call: call[0])
def test_a_process_killed_before_the_withdrawal_is_recorded_finds_it_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[Any, ...]
) -> None:
    jobs = opened(tmp_path / "jobs")
    jobs.add(1)
    monkeypatch.setattr(Journal, "amend", lambda self, record: None)
    with pytest.raises((MemoryError, RecursionError)):
        getattr(jobs, call[0])(*call[1:])
    shutil.copytree(tmp_path / "jobs", tmp_path / "killed")
    monkeypatch.undo()
    control(jobs).close()
    with opened(tmp_path / "killed") as jobs:
        assert jobs.all() == [1]
        shutil.copytree(tmp_path / "killed", tmp_path / "looked at")
        assert jobs.add(2) == 2
    # So it was found, and so it stays where the same call would have room.
    monkeypatch.setattr(Jobs, call[0], lambda self, *_: self.add("as it was not"))
    assert coopy.replay(Jobs, tmp_path / "looked at").steps == [1]
    assert coopy.replay(Jobs, tmp_path / "killed").steps == [1, 2]


def test_with_sync_the_withdrawal_is_on_the_disk_before_the_caller_gets_the_exception(tmp_path: Path) -> None:
    done: list[str] = []

    jobs: Any = None

    class Watched(Faulty):
        def pwrite(self, *args: Any) -> int:
            done.append("write")
            if jobs is not None and done.count("write") == 2:
                # Another caller has the action synced before its withdrawal is written.
                other = threading.Thread(target=jobs._coopy_engine.log.wait, args=(2,))
                other.start()
                other.join(60)
            return super().pwrite(*args)

        def sync_data(self, fd: int) -> None:
            super().sync_data(fd)
            done.append("sync")

    jobs = open_with(Watched(), Jobs, tmp_path / "jobs")
    jobs.add(1)
    done.clear()
    with pytest.raises(MemoryError):
        jobs.resize(10**15)
    assert done == ["write", "write", "sync", "sync"], "the call and what withdraws it, each synced by itself"
    jobs.close()


def test_a_withdrawal_that_the_disk_refuses_is_said(tmp_path: Path) -> None:
    disk = Faulty()
    jobs = open_with(disk, Jobs, tmp_path / "jobs")
    jobs.add(1)
    disk.failing = "sync_data"
    with pytest.raises(MemoryError) as raised:
        jobs.resize(10**15)
    assert any("withdrawal could not be recorded" in each for each in getattr(raised.value, "__notes__", ()))
    disk.failing = ""
    control(jobs).close()


# -- what the method raises by itself


OWN: dict[str, type[BaseException]] = {
    "give_up": TimeoutError,
    "press": KeyboardInterrupt,
    "late": JobTimeout,
    "exit": SystemExit,
    "next_of": StopIteration,
    "refuse": Secretive,
    "choose": ValueError,
    "permit": ValueError,
    "ask_signal": ValueError,
}


@pytest.mark.parametrize("method", OWN)
def test_what_the_method_raises_by_itself_counts(tmp_path: Path, method: str) -> None:
    # 15 is SIGTERM, which nothing handles here.
    arguments = {"exit": (3,), "next_of": ([],), "choose": (15,), "permit": (15,), "ask_signal": (15,)}.get(method, ())
    with opened(tmp_path / "jobs") as jobs:
        jobs.add(1)
        with pytest.raises(OWN[method]) as raised:
            getattr(jobs, method)(*arguments)
        assert not getattr(raised.value, "__notes__", None)
        state = jobs.all()
        assert len(state) == 2
        assert restored(tmp_path / "jobs") == state
        assert jobs.add(2) == 3
    with opened(tmp_path / "jobs") as jobs:
        assert jobs.all() == [*state, 2]


def test_an_error_that_its_caller_was_dealing_with_is_not_taken_for_one_of_the_method(tmp_path: Path) -> None:
    with opened(tmp_path / "jobs") as jobs:
        try:
            raising(TimeoutError("before"))(14, None)
        except TimeoutError:
            with pytest.raises(StopIteration):
                jobs.next_of([])
        assert jobs.all() == ["next"]


# -- when it had returned


def test_an_interrupt_after_the_method_has_returned_leaves_the_call_counted_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "jobs") as jobs:
        jobs.add(1)

        def interrupt(self: Journal, index: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Journal, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt) as raised:
            jobs.add(2)
        monkeypatch.undo()
        assert "add() had returned when this was raised: the call is action 2, and counts." in raised.value.__notes__[0]
        assert jobs.all() == [1, 2]


# -- room to recurse


def deep(depth: int, function: Callable[[], Any]) -> Any:
    return deep(depth - 1, function) if depth else function()


@pytest.mark.parametrize("depth", [0, 300])
def test_a_call_that_recursed_almost_to_the_limit_and_returned_is_run_again(tmp_path: Path, depth: int) -> None:
    limit = sys.getrecursionlimit()
    lowest = 0
    with opened(tmp_path / "jobs") as jobs:
        while True:
            try:
                jobs.sink(lowest + 5)
            except RecursionError:
                break
            lowest += 5
        state = jobs.all()
    assert lowest > 100
    # From further down the stack than it was called.
    assert deep(depth, lambda: coopy.replay(Jobs, tmp_path / "jobs").steps) == state
    with deep(depth, lambda: opened(tmp_path / "jobs")) as jobs:
        assert jobs.all() == state
    assert sys.getrecursionlimit() == limit


OF_ITS_OWN = (RecursionError, coopy.EncodingError, TimeoutError, JobTimeout, SystemExit, MemoryError, StopIteration)


def left_on_the_stack() -> int:
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    return sys.getrecursionlimit() - depth


@pytest.mark.parametrize("method", ["add", "give_up", "late", "exit", "resize", "together", "all", "next_of"])
def test_a_call_at_the_end_of_the_stack_leaves_the_lock_free(tmp_path: Path, method: str) -> None:
    arguments = {"add": (1,), "exit": (3,), "resize": (10**15,), "next_of": ([],)}.get(method, ())
    interrupted.append(None)
    limit = sys.getrecursionlimit()
    with opened(tmp_path / "jobs", durability="buffered") as jobs:
        engine = jobs._coopy_engine
        for left in range(0, 40, 2):
            try:
                deep(left_on_the_stack() - left, lambda: getattr(jobs, method)(*arguments))
            except BaseException as error:
                assert isinstance(error, OF_ITS_OWN)
            assert not engine.lock._is_owned() and not engine.machine.running and running.current.machine is None, left
        state = jobs.all()
    assert coopy.replay(Jobs, tmp_path / "jobs").steps == state
    assert sys.getrecursionlimit() == limit


@pytest.mark.parametrize("method", ["resize", "together"])
def test_a_replay_at_the_end_of_the_stack_leaves_the_limit_as_it_was(tmp_path: Path, method: str) -> None:
    limit = sys.getrecursionlimit()
    interrupted.append(None)
    with opened(tmp_path / "jobs", durability="buffered") as jobs:
        for left in range(0, 60, 4):
            try:
                deep(left_on_the_stack() - left, lambda: getattr(jobs, method)(*((10**15,) if method == "resize" else ())))
            except BaseException as error:
                assert isinstance(error, OF_ITS_OWN)
            try:
                deep(left_on_the_stack() - left, lambda: control(jobs).replay())
            except BaseException as error:
                assert isinstance(error, (*OF_ITS_OWN, coopy.CoopyError))
            # CPython does not lower it at the end of the stack; whoever is next does.
            with recursion.room():
                pass
            assert (sys.getrecursionlimit(), recursion._rooms) == (limit, {}), left


def deeply(path: Path, depth: int) -> Any:
    """Makes a call that goes so much deeper than the limit of recursion lets it otherwise. Returns the state."""
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(limit + depth + 1000)
        with opened(path) as jobs:
            jobs.add(1)
            jobs.sink(limit + depth)
            return jobs.all()
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("depth", [500, 2500])
def test_a_call_that_went_deeper_than_the_limit_now_lets_is_run_again(tmp_path: Path, depth: int) -> None:
    limit = sys.getrecursionlimit()
    state = deeply(tmp_path / "jobs", depth)
    assert coopy.replay(Jobs, tmp_path / "jobs").steps == state
    with opened(tmp_path / "jobs") as jobs:
        assert jobs.all() == state
    assert sys.getrecursionlimit() == limit


def test_a_call_that_went_deeper_than_any_limit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = sys.getrecursionlimit()
    deeply(tmp_path / "jobs", 2000)
    monkeypatch.setattr(replaying, "WIDER", (500, 1000))
    with pytest.raises(InterruptedReplay, match=r"action 2 .* sink\(\): recorded as 'returned'.*--withdraw 2") as raised:
        opened(tmp_path / "jobs")
    assert (raised.value.index, raised.value.method) == (2, "sink")
    assert sys.getrecursionlimit() == limit


def test_threads_that_restore_at_once_leave_the_limit_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path / "jobs") as jobs:
        for number in range(20):
            jobs.add(number)
    limit = sys.getrecursionlimit()
    threads = [threading.Thread(target=lambda: [coopy.replay(Jobs, tmp_path / "jobs") for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sys.getrecursionlimit() == limit


class Closed:
    """Shows nothing of itself, not even its class."""

    def __getattribute__(self, name: str) -> Any:
        raise TimeoutError(name)


class Liar:
    """Says that it is a number, or whatever is asked for."""

    @property
    def __class__(self) -> Any:
        return self.says

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError

    def __init__(self, says: type) -> None:
        self.says = says


class Raising:
    """Can't be made, and shows nothing of itself."""

    def __init__(self) -> None:
        raise ValueError("its own")

    def __getattribute__(self, name: str) -> Any:
        raise TimeoutError(name)


def passed_on(value: Any, more: Any) -> None:
    raise ValueError("its own")


class Odd:
    """Its methods raise where values are at hand that are odd to look at."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.me: Any = None

    def raises(self, which: str) -> None:
        self.steps.append(which)
        if which == "can't be made":
            Raising()
        passed_on({"closed": Closed, "a number": lambda: Liar(int), "gone": lambda: Liar(weakref.ref)}[which](), 1)

    def add(self, step: str) -> None:
        self.steps.append(step)

    def calls(self, which: str) -> None:
        self.steps.append(which)
        call_on({"closed": Closed, "a number": lambda: Liar(int), "gone": lambda: Liar(weakref.ref)}[which](), reached[0])


reached: list[Any] = []


def call_on(value: Any, system: Any) -> None:
    system.add("more")


@pytest.mark.parametrize("which", ["closed", "a number", "gone", "can't be made"])
def test_what_a_method_raises_is_its_own_though_a_value_at_hand_does_not_say_what_it_is(tmp_path: Path, which: str) -> None:
    with init_system(Odd, tmp_path / "data", validation="off") as odd:
        with pytest.raises(ValueError, match="its own"):
            odd.raises(which)
        assert [each.ended for each in control(odd).actions()] == ["raised"] and odd.steps == [which]
    assert coopy.replay(Odd, tmp_path / "data").steps == [which]


@pytest.mark.parametrize("which", ["closed", "a number", "gone"])
def test_a_method_may_call_its_system_though_a_value_at_hand_does_not_say_what_it_is(tmp_path: Path, which: str) -> None:
    with init_system(Odd, tmp_path / "data", validation="off") as odd:
        reached[:] = [odd]
        odd.calls(which)
        assert odd.steps == [which, "more"] and control(odd).index == 1
    reached.clear()

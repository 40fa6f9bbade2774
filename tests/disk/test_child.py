"""The child that writes a snapshot is nobody else, and its parent loses nothing, whatever happens to either and when."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from interrupted import trace_instructions

from coopy import control, init_system
from coopy.disk import child
from coopy.errors import SnapshotError
from coopy.ground import collector

pytestmark = pytest.mark.skipif(not child.AVAILABLE, reason="no fork")
ROOT = Path(child.__file__).parents[2]
HERE = child.__file__


def ends() -> set[str]:
    """The pipes that are open."""
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    return {name for name in os.listdir(folder) if os.path.exists(f"{folder}/{name}")}


def children() -> set[str]:
    """The processes that this one has started and not waited for; where the system does not list them, whether there are any."""
    found: set[str] = set()
    for tasks in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(tasks.read_text().split())
        except OSError:
            continue  # A thread that has ended.
    if not found:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return set()
        found.add("some")
    return found


@pytest.fixture(autouse=True, scope="module")
def nothing_of_others() -> None:
    """No pipe of the tests before is closed while one of these looks; to look at all objects for each takes most of their time."""
    gc.collect()


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Asserts that a test leaves no child, no pipe, nothing frozen, and the signals as they were."""
    gc.collect(1)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ()), ends(), gc.get_freeze_count()
    # A test that ran before in this process may have left one.
    of_others = children()
    yield
    for _ in range(1000):
        child.reap()
        if children() <= of_others:
            break
        time.sleep(0.01)  # The system takes its time to end one.
    after = signal.pthread_sigmask(signal.SIG_BLOCK, ()), ends(), gc.get_freeze_count()
    assert after[:2] == before[:2] and after[2] <= before[2]
    assert gc.isenabled()
    assert children() <= of_others


def nothing() -> None:
    pass


@pytest.fixture
def endless(as_before: None) -> Iterator[Callable[[], None]]:
    """What does not end before its parent has ended it, or the test."""
    reading, writing = os.pipe()

    def read() -> None:
        os.close(writing)
        os.read(reading, 1)

    yield read
    os.close(reading)
    os.close(writing)


def traced(act: Callable[[], object], raises: Callable[[FrameType], bool], error: type[BaseException]) -> None:
    """Acts, and raises once, at a moment of the module's functions for which ``raises`` is true."""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != HERE:
            return None
        frame.f_trace_opcodes = True
        if raises(frame):
            raise error
        return trace

    before = sys.gettrace()
    trace_instructions(trace)
    try:
        act()
    finally:
        sys.settrace(before)


# -- the child


def test_an_exception_at_any_moment_of_the_child_ends_it_and_does_not_come_back_into_the_program(tmp_path: Path) -> None:
    parent, moments, unwound = os.getpid(), 0, tmp_path / "unwound"
    while True:
        passed = tmp_path / f"{moments}"

        def raises(frame: FrameType) -> bool:
            if os.getpid() == parent:
                return False
            if not passed.exists() or passed.stat().st_size < moments:
                with passed.open("a") as file:
                    file.write(".")
                return False
            passed.with_suffix(".raised").touch()
            return True

        def act() -> None:
            try:
                child.start(nothing)()
            except SnapshotError:
                pass
            finally:
                if os.getpid() != parent:
                    unwound.touch()

        try:
            traced(act, raises, KeyboardInterrupt)
        finally:
            if os.getpid() != parent:
                os._exit(3)
        assert not unwound.exists()
        if not passed.with_suffix(".raised").exists():
            break
        moments += 1
    assert moments > 5


def test_a_child_that_fails_at_every_moment_ends_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    parent = os.getpid()
    real = os.getpid

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return fail if real() != parent else getattr(os, name)

    monkeypatch.setattr(child, "os", Failing())
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    try:
        with pytest.raises(SnapshotError, match="its process ended with status 2"):
            child.start(nothing)()
    finally:
        if os.getpid() != parent:
            os._exit(3)


PROGRAM = """
    import os, signal, sys, threading
    from coopy import control, init_system

    class Slow:
        def __init__(self, reading):
            self.reading = reading

        def __getstate__(self):
            os.write(1, b"writing\\n")
            os.read(self.reading, 1)
            return {}

    class Shop:
        slow = None

    def handle(number, frame):
        os.write(1, b"handled by %s\\n" % (b"parent" if os.getpid() == parent else b"child"))

    parent = os.getpid()
    shop = init_system(Shop, "data", validation="off", fork=True)
    reading, writing = os.pipe()
    shop._coopy_engine.machine.domain.slow = Slow(reading)
    for name in sys.argv[1].split():
        signal.signal(getattr(signal, name), handle)
    signal.set_wakeup_fd(os.open(os.devnull, os.O_WRONLY | os.O_NONBLOCK), warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        shop.take_snapshot()
    except Exception as error:
        print(error)
    print("mask", sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())) == [signal.SIGUSR2])
    print(sorted(name for name in os.listdir("data") if name.endswith(".tmp")))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_a_signal_to_the_group_ends_the_child_without_a_word_and_the_parent_says_which(tmp_path: Path, name: str) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    number = getattr(signal, name)
    process = subprocess.Popen(
        [sys.executable, "program.py", name],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        while process.stdout.readline() != "writing\n":
            assert process.poll() is None
        os.killpg(process.pid, number)
        said, _ = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 0
    assert said.count("handled by parent") == 1 and "handled by child" not in said
    assert f"the snapshot was not written: its process was ended by {name}." in said
    assert "mask True" in said and "[]" in said, "and what it had begun to write is gone"


# -- the parent


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_at_any_moment_of_the_parent_leaves_nothing() -> None:
    assert collector.is_free()
    parent, mask, open_ends, of_others = os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK, ()), ends(), children()
    moments, done = 0, False
    while not done:
        left = moments

        def raises(frame: FrameType) -> bool:
            nonlocal left
            if os.getpid() != parent:
                return False
            left -= 1
            return left < 0

        done = True
        try:
            traced(lambda: child.start(nothing)(), raises, KeyboardInterrupt)
        except KeyboardInterrupt:
            done = False
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
        assert ends() == open_ends
        assert gc.get_freeze_count() == 0 or collector.is_free()
        child.reap()
        assert children() <= of_others
        moments += 7  # Each takes a fork; those in between are tried with a second interrupt.
    assert moments > 100


@pytest.mark.parametrize("second", range(1, 6))
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_second_interrupt_during_the_handling_of_the_first_leaves_nothing(second: int) -> None:
    parent, mask, open_ends, of_others = os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK, ()), ends(), children()
    for moment in range(second, 1000, 29):
        left, events = moment, second

        def again(frame: FrameType, event: str, argument: Any) -> None:
            nonlocal events
            if frame.f_code.co_filename == HERE:
                events -= 1
                if events == 0:
                    raise KeyboardInterrupt

        def raises(frame: FrameType) -> bool:
            nonlocal left
            if os.getpid() != parent:
                return False
            left -= 1
            if left == 0:
                # Python takes the trace away when it raises; it leaves the profile. With both set, 3.13 would tell of no instruction later.
                sys.settrace(None)
                sys.setprofile(again)
            return left == 0

        try:
            traced(lambda: child.start(nothing)(), raises, KeyboardInterrupt)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        child.reap()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
        assert ends() == open_ends
        assert collector.is_free()
        assert children() <= of_others
        if left > 0:
            return


@pytest.mark.parametrize("call", ["pipe", "fork"])
@pytest.mark.parametrize("number", ["EAGAIN", "ENOMEM", "EMFILE"])
def test_what_there_is_no_room_for_is_an_error_and_nothing_was_saved(
    call: str, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Any:
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(SnapshotError, match="no child could be forked .* Nothing was saved"):
        child.start(nothing)


def reaped() -> None:
    """Lets go of a child that was killed, and that the kernel may still have to bring to its end."""
    while child._held:
        child.reap()


REFUSED = {
    "close": (True, ("EIO", "EAGAIN", "EINTR", "ENOSPC"), None),
    "waitpid": (
        False,
        ("EINTR", "ENOMEM", "EIO", "EAGAIN"),
        "whether the snapshot was written can't be told: .*became of its process",
    ),
    "read": (False, ("EINTR", "ENOMEM", "EIO"), "whether the snapshot was written can't be told: "),
    "set_blocking": (
        False,
        ("EINTR", "EIO", "ENOMEM"),
        "whether the snapshot was written can't be told: .*became of its process",
    ),
}


@pytest.mark.parametrize("always", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("call, number", [(call, number) for call, (_, numbers, _) in REFUSED.items() for number in numbers])
def test_what_the_system_refuses_the_parent_is_told_truly_and_leaves_nothing(
    call: str, number: str, always: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    is_done, _, said = REFUSED[call]
    parent, real, calls = os.getpid(), getattr(os, call), []
    code = getattr(errno, number)

    def fail(*what: Any) -> Any:
        calls.append(what)
        if os.getpid() != parent or (len(calls) > 1 and not always):
            return real(*what)
        if is_done:
            real(*what)  # Whatever the system answers, the number is free.
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(child, "GONE_S", 0.01)
    with monkeypatch.context() as failing:
        wait = child.start((tmp_path / "written").touch)
        if call == "close":
            wait()
        failing.setattr(os, call, fail)
        if call == "close":
            child.start(nothing)()
        else:
            assert said is not None
            with pytest.raises(SnapshotError, match=said + ".*The system goes on"):
                wait()
    # What is kept of the error does not keep it from being let go.
    reaped()
    assert calls


@pytest.mark.parametrize("number", ["EPERM", "EINVAL", "ESRCH"])
def test_a_child_that_can_not_be_ended_is_ended_by_whoever_comes_next(
    number: str, endless: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise OSError(getattr(errno, number), number)

    monkeypatch.setattr(child, "GONE_S", 0.01)
    with monkeypatch.context() as failing:
        failing.setattr(os, "kill", fail)
        failing.setattr(os, "waitpid", fail)
        wait = child.start(endless)
        with pytest.raises(SnapshotError, match="can't be told"):
            wait()
    child.start(nothing)()
    reaped()


@pytest.mark.parametrize("always", [False, True], ids=["once", "from then on"])
def test_a_child_that_could_not_say_that_it_is_done_is_not_said_to_have_failed(
    always: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, calls = os.write, []

    def fail(*what: Any) -> Any:
        calls.append(what)
        if len(calls) > 1 and not always:
            return real(*what)
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(SnapshotError, match="whether the snapshot was written can't be told: its process ended without a word"):
        child.start((tmp_path / "written").touch)()
    assert (tmp_path / "written").exists()


def test_an_interpreter_that_ends_and_forks_no_more_saves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise RuntimeError("can't fork at interpreter shutdown")

    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(SnapshotError, match="can't fork at interpreter shutdown. Nothing was saved"):
        child.start(nothing)


def test_who_is_interrupted_while_he_waits_ends_the_child(endless: Callable[[], None]) -> None:
    failed: list[int] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        wait = child.start(endless, failed.append)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(failed) == 1, "it is gone, and what it has left is tidied up"


def test_a_child_that_nobody_waits_for_is_ended(endless: Callable[[], None]) -> None:
    failed: list[int] = []
    wait = child.start(endless, failed.append)
    del wait
    assert len(failed) == 1


def test_signals_are_blocked_only_around_the_fork() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    wait = child.start(nothing)
    after = signal.pthread_sigmask(signal.SIG_SETMASK, before)
    wait()
    assert after == before


def test_a_child_that_somebody_else_has_waited_for_has_said_what_came_of_it() -> None:
    for function, fails in ((nothing, False), (lambda: os._exit(4), True)):
        wait = child.start(function)
        os.waitpid(-1, 0)
        if fails:
            with pytest.raises(SnapshotError):
                wait()
        else:
            wait()


def test_what_others_have_frozen_stays_frozen_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "is_free", lambda: False)
    before = gc.get_freeze_count()
    wait = child.start(nothing)
    assert gc.get_freeze_count() == before
    wait()


def test_the_filters_of_warnings_are_those_of_the_program() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        beside = threading.Event()
        thread = threading.Thread(target=beside.wait)
        thread.start()
        filters, before = warnings.filters, list(warnings.filters)
        child.start(nothing)()
        child.start(nothing)()
        beside.set()
        thread.join()
        assert warnings.filters is filters and list(filters)[-len(before) :] == before and len(filters) <= len(before) + 1
    assert not [each for each in said if issubclass(each.category, DeprecationWarning)]


def test_a_snapshot_whose_child_was_killed_leaves_no_file(tmp_path: Path) -> None:
    class Fatal:
        def __init__(self) -> None:
            self.fatal = False

        def __reduce__(self) -> Any:
            if self.fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return Fatal, ()

    class Shop:
        def __init__(self) -> None:
            self.fatal = Fatal()

        def make_fatal(self) -> None:
            self.fatal.fatal = True

    shop = init_system(Shop, tmp_path / "data", validation="off", fork=True)
    shop.make_fatal()
    with pytest.raises(SnapshotError, match="was ended by SIGKILL"):
        shop.take_snapshot()
    assert not list((tmp_path / "data").glob("*.tmp"))
    control(shop).close()


# -- what does nothing, and what goes on too long


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "STUCK_S", 0.6)
    monkeypatch.setattr(child, "_LOOK_S", 0.02)
    monkeypatch.setattr(child, "_BEAT_S", 0.02)


def test_a_child_that_waits_for_a_lock_that_nobody_lets_go_is_given_up(impatient: None, endless: Callable[[], None]) -> None:
    lock = threading.Lock()
    lock.acquire()
    for function in (endless, lock.acquire, threading.Event().wait):
        outcome: list[BaseException] = []

        def give_up(function: Any = function, outcome: list[BaseException] = outcome) -> None:
            with pytest.raises(SnapshotError) as refusal:
                child.start(function)()
            outcome.append(refusal.value)

        thread = threading.Thread(target=give_up, daemon=True)
        thread.start()
        thread.join(30)
        assert outcome, "it is waited for, for ever"
        assert "has done nothing for 1 s and was ended. It may have waited for a lock" in str(outcome[0])


def test_a_child_that_works_is_not_given_up(impatient: None) -> None:
    def work() -> None:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            pass

    child.start(work)()


def test_a_child_that_waits_for_the_disk_is_not_given_up(impatient: None) -> None:
    slow: dict[str, Any] = {}
    exec(compile("def sync():\n    time.sleep(1.5)\n", child.fs.__file__, "exec"), {"time": time}, slow)
    child.start(slow["sync"])()


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    program = """
        import os, sys, time
        from coopy.disk import child
        child._BEAT_S = 0.05
        def endless():
            print(os.getpid(), flush=True)
            time.sleep(100)
        wait = child.start(endless)
        sys.stdin.read()
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    with subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait(60)
        for _ in range(600):
            if not is_running(pid):
                break
            time.sleep(0.05)
        assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether a process runs; one that has ended, and whose new parent has not looked yet, does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"

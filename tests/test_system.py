"""Opening, closing, snapshots, and looking at the past."""

from __future__ import annotations

import errno
import gc
import os
import random
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from faults import open_with
from program import start, write
from warm import script as run

import coopy
from coopy import (
    DirectoryInUse,
    ForeignDirectory,
    JournalError,
    MissingActions,
    PrevalentError,
    PrunedPast,
    ReplayDiverged,
    SnapshotError,
    SystemClosed,
    UsageError,
    control,
    init_system,
    readonly,
    replay,
)
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK
from coopy.ground import collector
from coopy.place.directory import DirectoryPlace
from coopy.place.options import Settings
from coopy.system import System

PATIENCE_S = 20


class Counter:
    _clock: Any
    _env: Any

    def __init__(self) -> None:
        self.total = 0
        self.history: list[int] = []
        self.moments: list[datetime] = []

    def add(self, number: int = 1) -> int:
        self.total += number
        self.history.append(number)
        return self.total

    def note(self) -> datetime:
        moment: datetime = self._clock.now()
        self.moments.append(moment)
        return moment

    def fill(self, data: bytes) -> None:
        self.total += 1

    def within(self, act: Callable[[], Any]) -> Any:
        return act()

    @readonly
    def look_within(self, act: Callable[[], Any]) -> Any:
        return act()


class Other:
    def __init__(self) -> None:
        self.words: list[str] = []


def contents(basedir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(basedir.iterdir())}


def snapshots(basedir: Path) -> list[int]:
    return sorted(int(path.stem[9:]) for path in basedir.glob("snapshot_*.dat"))


def segments(basedir: Path) -> list[int]:
    return sorted(int(path.stem[12:]) for path in basedir.glob("transaction_*.log"))


def opened(basedir: Path, calls: Calls, **options: Any) -> Any:
    """A system of a counter whose disk is ``calls``."""
    settings = Settings.of("opened", {"fork": False, "segment_bytes": 1 << 20, **options})
    system = System(Counter, DirectoryPlace(str(basedir), Counter, settings, calls=calls), settings)
    system.start(None)
    return system.proxy


def eventually(condition: Callable[[], bool]) -> None:
    """Waits for what another thread is to bring about."""
    deadline = time.monotonic() + PATIENCE_S
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        tick.wait(0.005)


@contextmanager
def writing(system: Any, threads: int) -> Iterator[None]:
    """Threads that call ``add`` meanwhile; at least one call each is through at the beginning."""
    stop = threading.Event()
    begun = threading.Barrier(threads + 1)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            system.add(number)
            begun.wait(PATIENCE_S)
            while not stop.is_set():
                system.add(number)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(1, threads + 1)]
    for worker in workers:
        worker.start()
    begun.wait(PATIENCE_S)
    try:
        yield
    finally:
        stop.set()
        for worker in workers:
            worker.join(PATIENCE_S)
    assert not failures, failures


def in_a_child(act: Callable[[], Any]) -> str:
    """What a forked child says of ``act``: its result, or the name of what it raised."""
    reading, writing_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(PATIENCE_S)  # A child that hangs ends.
            try:
                said = repr(act())
            except BaseException as error:
                said = type(error).__name__
            os.write(writing_end, said.encode())
        finally:
            os._exit(0)
    os.close(writing_end)
    try:
        assert select.select([reading], [], [], PATIENCE_S + 5)[0], "the child hangs"
        said = os.read(reading, 1000).decode()
    finally:
        os.close(reading)
        os.waitpid(pid, 0)
    return said


# -- arguments


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "eventual"},
        {"durability": None},
        {"snapshot_time": -1},
        {"snapshot_time": "hourly"},
        {"snapshot_time": float("nan")},
        {"snapshot_time": float("inf")},
        {"snapshot_growth": -1},
        {"snapshot_growth": None},
        {"keep": 0},
        {"keep": -3},
        {"keep": 1.5},
        {"keep": "all"},
        {"segment_bytes": 0},
        {"segment_bytes": "64M"},
        {"validation": "sometimes"},
        {"progress": 100},
    ],
    ids=repr,
)
def test_a_wrong_option_is_refused_and_named_and_nothing_is_opened(tmp_path: Path, options: dict[str, Any]) -> None:
    [name] = options
    with pytest.raises(UsageError, match=name):
        init_system(Counter, tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("basedir", [5, b"data", ["data"], 1.5])
def test_a_directory_that_is_no_path_is_refused(basedir: Any) -> None:
    with pytest.raises(UsageError, match="basedir"):
        init_system(Counter, basedir)
    with pytest.raises(UsageError, match="basedir"):
        replay(Counter, basedir)


@pytest.mark.parametrize("obj", [dict, list, {}, [], None, 5, "Wiki", print, lambda: None, os], ids=lambda obj: str(obj)[:20])
def test_what_is_no_domain_is_refused_with_what_to_do_instead(tmp_path: Path, obj: Any) -> None:
    with pytest.raises(UsageError, match="domain class"):
        init_system(obj, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_system_is_not_a_domain(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path / "a") as counter:
        with pytest.raises(UsageError, match="a system already"):
            init_system(counter, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_forking_is_refused_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coopy.disk.child.AVAILABLE", False)
    with pytest.raises(UsageError, match="fork=True"):
        init_system(Counter, tmp_path, fork=True)
    with init_system(Counter, tmp_path) as counter:
        assert counter.take_snapshot() == 0


def test_validation_strict_refuses_warn_warns_and_off_does_neither(tmp_path: Path, recwarn: Any) -> None:
    class Reader:
        def load(self, path: str) -> str:
            with open(path, encoding="utf-8") as file:
                return file.read()

    class Teller:
        def tell(self) -> float:
            return time.time()

    with pytest.raises(PrevalentError):
        init_system(Reader, tmp_path / "a", validation="strict")
    assert not (tmp_path / "a").exists()
    with pytest.warns(Warning, match="open"):
        init_system(Reader, tmp_path / "a").close()
    for mode in ("strict", "warn"):
        with pytest.raises(PrevalentError, match=r"time\.time\(\)"):
            init_system(Teller, tmp_path / "b", validation=mode)
    recwarn.clear()
    for cls in (Reader, Teller):
        init_system(cls, tmp_path / cls.__name__, validation="off").close()
    assert not recwarn.list


# -- where, and what is found there


def test_the_default_directory_is_the_lower_cased_name_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with init_system(Counter) as counter:
        assert control(counter).basedir == str(tmp_path / "counter")
        monkeypatch.chdir("/")
        assert control(counter).basedir_abspath() == [str(tmp_path / "counter")]
        counter.add()
        assert counter.take_snapshot() == 1
    assert snapshots(tmp_path / "counter") == [0, 1]


def test_missing_parents_are_made_and_path_objects_and_text_are_one(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path / "a" / "b" / "c") as counter:
        counter.add(3)
    with init_system(Counter, str(tmp_path / "a" / "b" / "c")) as counter:
        assert counter.total == 3


def test_open_is_the_same_function() -> None:
    assert coopy.open is init_system


def test_an_instance_brings_the_first_state(tmp_path: Path) -> None:
    mine = Counter()
    mine.add(10)
    with init_system(mine, tmp_path) as counter:
        assert counter.total == 10
        counter.add(5)
    assert replay(Counter, tmp_path, 0).history == [10]
    assert replay(Counter, tmp_path).history == [10, 5]


def test_a_state_that_is_there_wins_over_the_instance(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path) as counter:
        counter.add(1)
    mine = Counter()
    mine.add(100)
    with init_system(mine, tmp_path) as counter:
        assert counter.total == 1


def test_a_class_that_needs_arguments_opens_a_state_that_is_there(tmp_path: Path) -> None:
    class Needy:
        def __init__(self, name: str) -> None:
            self.name = name

    with pytest.raises(TypeError, match="name"):
        init_system(Needy, tmp_path)
    with init_system(Needy("given"), tmp_path) as needy:
        assert needy.name == "given"
    with init_system(Needy, tmp_path) as needy:
        assert needy.name == "given"


def test_a_constructor_has_a_clock_and_an_env(tmp_path: Path) -> None:
    class Dated:
        _clock: Any
        _env: Any

        def __init__(self) -> None:
            self.began = self._clock.now()
            self.token = self._env.token_hex()

    with init_system(Dated, tmp_path) as dated:
        began, token = dated.began, dated.token
    with init_system(Dated, tmp_path) as dated:
        assert (dated.began, dated.token) == (began, token)


def test_another_class_is_refused_with_both_names_and_nothing_is_changed(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path) as counter:
        counter.add()
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="holds a system of Counter, not of Other"):
        init_system(Other, tmp_path)
    with pytest.raises(UsageError, match="holds a system of Counter, not of Other"):
        replay(Other, tmp_path)
    after = contents(tmp_path)
    assert {**after, "lock": b""} == {**before, "lock": b""}
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 1


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "snapshot_000000000000007.dat").write_bytes(b"of an older release")
    with pytest.raises(ForeignDirectory, match="something else wrote them"):
        init_system(Counter, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["snapshot_000000000000007.dat"]


def test_a_coopy_json_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "coopy.json").write_text('{"name": "another program"}', encoding="utf-8")
    with pytest.raises(ForeignDirectory):
        init_system(Counter, tmp_path)
    with pytest.raises(ForeignDirectory):
        replay(Counter, tmp_path)


def test_files_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    for name in ("notes.txt", "notes.tmp", "snapshot_x.dat", "transaction_1.log"):
        (tmp_path / name).write_text("mine", encoding="utf-8")
    with init_system(Counter, tmp_path, keep=1) as counter:
        counter.add()
        counter.take_snapshot()
    for name in ("notes.txt", "notes.tmp", "snapshot_x.dat", "transaction_1.log"):
        assert (tmp_path / name).read_text(encoding="utf-8") == "mine"


def test_what_a_killed_process_had_begun_to_write_is_removed(tmp_path: Path) -> None:
    init_system(Counter, tmp_path).close()
    left = [
        "snapshot_000000000000001.dat.123.tmp",
        "transaction_000000000000002.log.tmp",
        "coopy.json.tmp",
    ]
    for name in left:
        (tmp_path / name).write_bytes(b"half")
    init_system(Counter, tmp_path).close()
    assert not [name for name in left if (tmp_path / name).exists()]


def test_a_journal_without_any_snapshot_is_refused(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path) as counter:
        counter.add()
    (tmp_path / "snapshot_000000000000000.dat").unlink()
    for act in (lambda: init_system(Counter, tmp_path), lambda: replay(Counter, tmp_path)):
        with pytest.raises(MissingActions, match="[sS]napshot"):
            act()


def test_an_amendment_at_the_head_of_a_block_is_no_gap(tmp_path: Path) -> None:
    """Closing writes how the last action ended; that frame may be the first of a new block."""
    with init_system(Counter, tmp_path, durability="buffered") as counter:
        journal = control(counter)._system._journal
        overhead = -journal._tail
        counter.fill(b"x" * 1000)
        overhead += journal._tail - 1000
        while journal._block_end - journal._tail > 3000:
            counter.fill(b"x" * 1000)
        counter.fill(b"x" * (journal._block_end - journal._tail - overhead))
        assert journal._tail == journal._block_end == BLOCK, "the block is full to its last byte"
        total = counter.total
    for more in range(3):
        with init_system(Counter, tmp_path) as counter:
            assert counter.total == total + more
            counter.fill(b"")
    assert replay(Counter, tmp_path, total).total == total


class Fickle:
    """Raises as long as ``raises`` says so."""

    raises = True

    def fill(self, data: bytes) -> None:
        pass

    def fail(self, data: bytes) -> None:
        if self.raises:
            raise ValueError(len(data))


def test_an_amendment_at_the_head_of_a_block_says_how_the_action_before_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with init_system(Fickle, tmp_path, durability="buffered", validation="off") as system:
        journal = control(system)._system._journal
        overhead = -journal._tail
        system.fill(b"x" * 1000)
        overhead += journal._tail - 1000
        while journal._block_end - journal._tail > 3000:
            system.fill(b"x" * 1000)
        with pytest.raises(ValueError):
            system.fail(b"x" * (journal._block_end - journal._tail - overhead))
        assert journal._tail == journal._block_end == BLOCK, "the block is full to its last byte"
    monkeypatch.setattr(Fickle, "raises", False)
    with pytest.raises(ReplayDiverged, match=r"fail\(\): recorded as 'raised', but replay 'returned'"):
        replay(Fickle, tmp_path)


def test_what_the_journal_grows_by_while_a_snapshot_is_written_counts_towards_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with init_system(Counter, tmp_path, durability="buffered", snapshot_growth=100 * BLOCK, fork=False) as counter:

        def slowly(save: Any) -> Any:
            save()
            return lambda: [counter.fill(bytes(BLOCK)) for _ in range(3)] and None

        counter.fill(bytes(BLOCK))
        monkeypatch.setattr("coopy.past.keeping._inline", slowly)
        counter.take_snapshot()
        assert 3 * BLOCK <= control(counter)._system.keeping.grown < 4 * BLOCK


# -- one writing process


def test_a_second_opening_from_this_process_is_refused_and_says_so(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path) as counter:
        with pytest.raises(DirectoryInUse, match=rf"this process \({os.getpid()}\)") as refused:
            init_system(Counter, tmp_path)
        assert (refused.value.path, refused.value.pid) == (str(tmp_path), os.getpid())
        counter.add()
    init_system(Counter, tmp_path).close()


HOLDER = """
    import os, sys
    from coopy import init_system

    class Counter:
        def __init__(self):
            self.total = 0
        def add(self, number):
            self.total += number

    counter = init_system(Counter, sys.argv[1])
    counter.add(7)
    print(os.getpid(), flush=True)
    sys.stdin.read()
"""
ASKER = """
    import sys
    import coopy
    class Counter:
        def add(self, number):
            self.total += number
    print(coopy.replay(Counter, sys.argv[1]).total)
"""


def test_a_second_process_is_refused_with_the_pid_and_opens_after_kill_9(tmp_path: Path) -> None:
    script = write(tmp_path / "holder.py", HOLDER)
    asker = write(tmp_path / "asker.py", ASKER)
    with start(script, "data") as holder:
        assert holder.stdout is not None
        pid = int(holder.stdout.readline())
        assert pid == holder.pid
        with pytest.raises(DirectoryInUse, match=f"process {pid}") as refused:
            init_system(Counter, tmp_path / "data")
        assert refused.value.pid == pid
        # Looking at it is possible all the same, and changes nothing.
        before = contents(tmp_path / "data")
        assert run(asker, "data") == "7"
        assert contents(tmp_path / "data") == before
        holder.kill()
    assert run(asker, "data") == "7"
    with start(script, "data") as holder:
        assert holder.stdout is not None
        assert int(holder.stdout.readline()) == holder.pid, "the pid of the dead is no obstacle"
        holder.kill()
    assert run(asker, "data") == "14"


def test_another_process_is_told_the_pid_of_this_one(tmp_path: Path) -> None:
    script = write(
        tmp_path / "opener.py",
        """
        import sys
        from coopy import DirectoryInUse, init_system
        class Counter: pass
        try:
            init_system(Counter, sys.argv[1])
        except DirectoryInUse as error:
            print(error.pid, error)
        """,
    )
    with init_system(Counter, tmp_path / "data"):
        said = run(script, "data")
    assert said.startswith(f"{os.getpid()} ")
    assert f"is open in process {os.getpid()}" in said


# -- forked children


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@needs_fork
def test_a_forked_child_has_a_closed_system_and_the_parent_goes_on(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path) as counter:
        counter.add()
        assert in_a_child(lambda: counter.add()) == "SystemClosed"
        assert in_a_child(lambda: counter.total) == "SystemClosed"
        assert in_a_child(lambda: counter.take_snapshot()) == "SystemClosed"
        assert in_a_child(lambda: control(counter).closed) == "True"
        assert in_a_child(lambda: counter.close()) == "None"
        assert in_a_child(lambda: init_system(Counter, tmp_path)) == "DirectoryInUse"
        assert counter.add() == 2
        with pytest.raises(DirectoryInUse):
            init_system(Counter, tmp_path)
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 2


@needs_fork
def test_a_process_of_multiprocessing_has_a_closed_system(tmp_path: Path) -> None:
    import multiprocessing

    def act(answers: Any) -> None:
        try:
            counter.add()
        except SystemClosed as error:
            answers.put(str(error))

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with init_system(Counter, tmp_path) as counter:
        process = context.Process(target=act, args=(answers,))
        process.start()
        assert "from which this one was forked" in answers.get(timeout=PATIENCE_S)
        process.join(PATIENCE_S)
        assert counter.add() == 1


@needs_fork
def test_a_child_forked_while_another_thread_is_inside_an_action_is_not_stuck(tmp_path: Path) -> None:
    inside, leave = threading.Event(), threading.Event()
    _inside.update(enter=inside.set, leave=lambda: leave.wait(PATIENCE_S))
    with init_system(Counter, tmp_path) as counter:
        thread = threading.Thread(target=counter.within, args=(_linger,))
        thread.start()
        assert inside.wait(PATIENCE_S)
        try:
            for act in (counter.add, lambda: counter.total, lambda: counter.take_snapshot()):
                assert in_a_child(act) == "SystemClosed"
        finally:
            leave.set()
            thread.join(PATIENCE_S)
        assert counter.add() == 1
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 1


_inside: dict[str, Callable[[], Any]] = {}


def _linger() -> None:
    _inside["enter"]()
    _inside["leave"]()


def test_a_child_that_has_not_come_to_close_its_copy_of_the_lock_does_not_hold_the_directory(tmp_path: Path) -> None:
    counter = init_system(Counter, tmp_path)
    copy = os.dup(control(counter)._system.place._lock._file.fileno())
    counter.close()
    init_system(Counter, tmp_path).close()
    os.close(copy)


@needs_fork
def test_a_child_that_outlives_its_parents_system_does_not_hold_the_directory(tmp_path: Path) -> None:
    reading, writing_end = os.pipe()
    counter = init_system(Counter, tmp_path)
    pid = os.fork()
    if pid == 0:
        os.close(writing_end)
        os.read(reading, 1)
        os._exit(0)
    try:
        counter.close()
        init_system(Counter, tmp_path).close()
    finally:
        os.close(writing_end)
        os.waitpid(pid, 0)
        os.close(reading)


# -- closing and the controls


def test_closing_twice_is_fine_and_a_closed_system_says_that_it_is_closed(tmp_path: Path) -> None:
    counter = init_system(Counter, tmp_path)
    counter.add()
    assert not control(counter).closed
    counter.close()
    counter.close()
    control(counter).shutdown()
    assert control(counter).closed
    for act in (
        lambda: counter.add(),
        lambda: counter.total,
        lambda: counter.look_within(int),
        lambda: counter.take_snapshot(),
        lambda: setattr(counter, "total", 5),
    ):
        with pytest.raises(SystemClosed, match="Open it again"):
            act()
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 1


def test_closing_inside_an_action_is_refused_and_the_system_goes_on(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path, snapshot_growth=1) as counter:
        _inside["act"] = counter.close
        with pytest.raises(UsageError, match="still open"):
            counter.within(_act)
        assert counter.add() == 1
        # Snapshots go on being taken, too.
        for _ in range(3):
            counter.fill(bytes(BLOCK))
        eventually(lambda: len(snapshots(tmp_path)) > 1)
    _inside["act"] = _refused
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 4


def _act() -> Any:
    """What an action does by way of `Counter.within`; another thing live than in replay, if need be."""
    return _inside["act"]()


def _refused() -> None:
    raise UsageError("as it was")


def test_a_with_block_closes_also_when_it_is_left_by_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        with init_system(Counter, tmp_path) as counter:
            counter.add()
            raise KeyError("mine")
    assert control(counter).closed
    with init_system(Counter, tmp_path) as counter, control(counter) as controls:
        assert controls.index == 1
    assert controls.closed


def test_the_controls_tell_the_directory_the_last_action_and_what_is_durable(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path) as counter:
        controls = control(counter)
        assert (controls.index, controls.durable) == (0, 0)
        counter.add()
        counter.add()
        assert (controls.index, controls.durable) == (2, 2)
        assert repr(controls) == f"<control of {tmp_path}, action 2>"
        assert controls.take_snapshot() == 2
    assert repr(controls) == f"<control of {tmp_path}, closed>"


@pytest.mark.parametrize("not_a_system", [Counter, Counter(), None, 5])
def test_controls_are_only_of_systems(not_a_system: Any) -> None:
    with pytest.raises(UsageError, match=r"control\(\) takes what init_system\(\) returned"):
        control(not_a_system)


def test_buffered_is_not_durable_until_it_is_closed(tmp_path: Path) -> None:
    counter = init_system(Counter, tmp_path, durability="buffered")
    counter.add()
    assert (control(counter).index, control(counter).durable) == (1, 0)
    counter.close()
    assert control(counter).durable == 1


class FailingSync(Calls):
    """A disk whose syncs fail from some moment on."""

    failing = False

    def sync_data(self, fd: int) -> None:
        if self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_data(fd)


def test_a_close_that_cannot_make_all_durable_says_so_and_lets_the_directory_go(tmp_path: Path) -> None:
    disk = FailingSync()
    counter = opened(tmp_path, disk, durability="buffered")
    counter.add()
    disk.failing = True
    with pytest.raises(JournalError) as failed:
        counter.close()
    assert failed.value.errno == errno.EIO
    assert control(counter).closed
    counter.close()
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 1


def test_a_system_that_is_dropped_lets_its_directory_go(tmp_path: Path) -> None:
    import gc

    counter = init_system(Counter, tmp_path, snapshot_growth=1 << 20)
    counter.add()
    del counter
    gc.collect()
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 1


# -- snapshots

forked_and_inline = pytest.mark.parametrize("fork", [pytest.param(True, marks=needs_fork), False], ids=["fork", "inline"])


@forked_and_inline
def test_a_snapshot_taken_while_eight_threads_write_is_a_state_between_two_calls(tmp_path: Path, fork: bool) -> None:
    with init_system(Counter, tmp_path, durability="buffered", fork=fork) as counter:
        with writing(counter, 8):
            indexes = [control(counter).take_snapshot() for _ in range(4)]
            before = control(counter).index
            eventually(lambda: control(counter).index > before)
        history = counter.history
    assert set(indexes) <= set(snapshots(tmp_path))
    for index in {0, *indexes}:
        # From that snapshot alone, and from it with the rest of the journal.
        assert replay(Counter, tmp_path, index).history == history[:index]
        copy = tmp_path.with_name(f"{tmp_path.name}-{index}")
        shutil.copytree(tmp_path, copy)
        for other in snapshots(copy):
            if other != index:
                (copy / f"snapshot_{other:015d}.dat").unlink()
        assert replay(Counter, copy).history == history
        shutil.rmtree(copy)


def test_neither_a_snapshot_nor_a_restore_leaves_anything_frozen(tmp_path: Path) -> None:
    at_start = gc.get_freeze_count()
    for _ in range(2):
        with init_system(Counter, tmp_path, fork=None) as counter:
            counter.add()
            counter.take_snapshot()
        assert gc.get_freeze_count() <= at_start


@pytest.mark.parametrize(
    ("frozen", "at_start", "free"),
    [(0, 0, True), (0, 375, True), (375, 375, True), (376, 375, False), (9, 0, False), (5000, 5000, False)],
)
def test_what_others_have_frozen_is_not_thawed(frozen: int, at_start: int, free: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "get_freeze_count", lambda: frozen)
    monkeypatch.setattr(collector, "_at_start", at_start)
    assert collector.is_free() is free


@forked_and_inline
def test_a_snapshot_inside_an_action_is_refused(tmp_path: Path, fork: bool) -> None:
    with init_system(Counter, tmp_path, fork=fork) as counter:
        _inside["act"] = counter.take_snapshot
        for inside in (counter.within, counter.look_within):
            with pytest.raises(UsageError, match="inside a method of the domain"):
                inside(_act)
        assert counter.add() == 1
        _inside["act"] = _refused
        assert counter.take_snapshot() == 2
    assert snapshots(tmp_path) == [0, 2]


def is_taken(lock: Any) -> bool:
    """Whether another thread holds a lock."""
    if lock.acquire(False):
        lock.release()
        return False
    return True


@pytest.mark.parametrize("method", ["within", "look_within"])
def test_a_method_that_asks_for_a_snapshot_does_not_wait_for_one_that_waits_for_it(tmp_path: Path, method: str) -> None:
    with init_system(Counter, tmp_path, fork=False) as counter:
        engine = control(counter)._system.engine
        other = threading.Thread(target=counter.take_snapshot)

        def act() -> int:
            other.start()
            eventually(lambda: is_taken(engine._snapshot_lock))  # It has begun, and waits for this action to end.
            return counter.take_snapshot()

        _inside["act"] = act
        asking = threading.Thread(target=lambda: pytest.raises(UsageError, getattr(counter, method), _act), daemon=True)
        asking.start()
        asking.join(PATIENCE_S)
        assert not asking.is_alive(), "the two wait for each other"
        other.join(PATIENCE_S)
        _inside["act"] = _refused


def test_a_second_snapshot_of_the_same_state_is_the_first_one(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path) as counter:
        counter.add()
        assert counter.take_snapshot() == 1
        before = contents(tmp_path)
        assert counter.take_snapshot() == 1
        assert contents(tmp_path) == before


class FullDisk(Calls):
    """A disk that takes no snapshot while it is full."""

    full = False

    def rename(self, old: str, new: str) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), new)
        super().rename(old, new)


@forked_and_inline
def test_a_snapshot_that_fails_leaves_the_system_going(tmp_path: Path, fork: bool) -> None:
    disk = FullDisk()
    with opened(tmp_path, disk, fork=fork) as counter:
        counter.add()
        disk.full = True
        with pytest.raises(SnapshotError, match="No space left.*The system goes on"):
            counter.take_snapshot()
        assert counter.add() == 2
        assert snapshots(tmp_path) == [0]
        assert not list(tmp_path.glob("*.tmp"))
        disk.full = False
        assert counter.take_snapshot() == 2
        assert counter.add() == 3
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 3


def test_snapshots_are_taken_by_time(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path, snapshot_time=0.01) as counter:
        counter.add()
        eventually(lambda: snapshots(tmp_path) == [0, 1])
        counter.add()
        eventually(lambda: snapshots(tmp_path) == [0, 1, 2])
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 2


class WatchedDisk(Calls):
    """A disk that counts how often somebody looks which snapshots there are."""

    looks = 0

    def names(self, path: str) -> list[str]:
        self.looks += 1
        return super().names(path)


def test_no_snapshot_is_taken_by_time_of_what_has_one_already(tmp_path: Path) -> None:
    disk = WatchedDisk()
    with opened(tmp_path, disk) as counter:
        counter.add()
        control(counter)._system.keeping.by_itself(control(counter)._system, 0.001)
        eventually(lambda: snapshots(tmp_path) == [0, 1] and control(counter).status()["snapshot"]["seconds"] is not None)
        before = contents(tmp_path)
        looks = disk.looks
        eventually(lambda: disk.looks > looks + 10)
        assert contents(tmp_path) == before


def test_snapshots_are_taken_by_growth_of_the_journal(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path, durability="buffered", snapshot_growth=4 * BLOCK) as counter:
        for _ in range(3):
            counter.fill(bytes(BLOCK // 2))
        assert snapshots(tmp_path) == [0], "not yet"
        for _ in range(20):
            counter.fill(bytes(BLOCK // 2))
        eventually(lambda: len(snapshots(tmp_path)) >= 2)
        first = snapshots(tmp_path)
        while control(counter).index < 60:
            counter.fill(bytes(BLOCK // 2))
        eventually(lambda: len(snapshots(tmp_path)) > len(first))


def test_a_failing_snapshot_by_itself_is_logged_and_tried_again(tmp_path: Path, caplog: Any) -> None:
    disk = FullDisk()
    with opened(tmp_path, disk) as counter:
        counter.add()
        disk.full = True
        control(counter)._system.keeping.by_itself(control(counter)._system, 0.005)
        eventually(lambda: "no snapshot was taken" in caplog.text)
        disk.full = False
        eventually(lambda: snapshots(tmp_path) == [0, 1])
    assert str(tmp_path) in caplog.text


def test_the_thread_that_takes_snapshots_ends_with_the_system(tmp_path: Path) -> None:
    def there() -> bool:
        return any(str(tmp_path) in thread.name for thread in threading.enumerate())

    with init_system(Counter, tmp_path, snapshot_time=1000):
        assert there()
    eventually(lambda: not there())


def test_everything_is_kept_unless_keep_says_otherwise(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path, durability="buffered", segment_bytes=1) as counter:
        for _ in range(20):
            counter.fill(bytes(BLOCK))
            counter.take_snapshot()
    assert snapshots(tmp_path) == list(range(21))
    assert segments(tmp_path)[0] == 1


@pytest.mark.parametrize("keep", [1, 3])
def test_keep_deletes_older_snapshots_and_the_journal_that_only_they_need(tmp_path: Path, keep: int) -> None:
    with init_system(Counter, tmp_path, durability="buffered", segment_bytes=1, keep=keep) as counter:
        for _ in range(20):
            counter.fill(bytes(BLOCK))
            counter.fill(bytes(BLOCK))
            counter.take_snapshot()
        oldest = 40 - 2 * (keep - 1)
        assert snapshots(tmp_path) == list(range(oldest, 41, 2))
        # From the oldest snapshot on, all of the journal is there, and little before it.
        first, *others = segments(tmp_path)
        assert first <= oldest + 1
        assert all(segment > oldest + 1 for segment in others)
        assert control(counter).replay(oldest).total == oldest
        with pytest.raises(PrunedPast):
            control(counter).replay(oldest - 1)
        counter.add(0)
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 40
        assert control(counter).index == 41


def test_the_oldest_snapshot_kept_can_stand_in_for_a_damaged_newer_one(tmp_path: Path, caplog: Any) -> None:
    with init_system(Counter, tmp_path, keep=2) as counter:
        for _ in range(3):
            counter.add()
            counter.take_snapshot()
    newest = tmp_path / "snapshot_000000000000003.dat"
    data = bytearray(newest.read_bytes())
    data[100] ^= 1
    newest.write_bytes(data)
    with init_system(Counter, tmp_path) as counter:
        assert counter.total == 3
    assert "going back to the snapshot of action 2" in caplog.text


# -- the past


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A directory of ten actions, with a snapshot in the middle; closed."""
    with init_system(Counter, tmp_path) as counter:
        for number in range(1, 11):
            counter.add(number)
            if number == 5:
                counter.take_snapshot()
    return tmp_path


@pytest.mark.parametrize("until", range(11))
def test_any_index_can_be_looked_at(written: Path, until: int) -> None:
    past = replay(Counter, written, until)
    assert type(past) is Counter
    assert past.history == list(range(1, until + 1))


def test_none_is_the_end_and_zero_the_beginning(written: Path) -> None:
    assert replay(Counter, written).total == 55
    assert replay(Counter, written, None).total == 55
    assert replay(Counter, written, until=0).total == 0


@pytest.mark.parametrize("until", [-1, 11, 10**20, 1.5, "yesterday", True, b"1"])
def test_what_is_no_point_of_the_system_is_refused(written: Path, until: Any) -> None:
    with pytest.raises(UsageError, match="until="):
        replay(Counter, written, until)
    with init_system(Counter, written) as counter, pytest.raises(UsageError, match="until="):
        control(counter).replay(until)


def test_looking_at_the_past_writes_nothing(written: Path) -> None:
    before = contents(written)
    for until in (0, 3, 7, None, datetime.now()):
        replay(Counter, written, until)
    assert contents(written) == before


def test_a_time_is_taken_as_local_if_naive_and_as_it_says_if_aware(tmp_path: Path) -> None:
    moments = []
    with init_system(Counter, tmp_path) as counter:
        for number in range(6):
            if number == 3:
                counter.take_snapshot()
            moments.append(counter.note())
            while datetime.now() <= moments[-1]:
                pass  # The clock goes on before the next action.
        for count, moment in enumerate(moments, start=1):
            aware = moment.astimezone()
            far = timezone(timedelta(hours=9))
            for until in (moment, aware, aware.astimezone(timezone.utc), aware.astimezone(far)):
                # The action of that very moment is in it.
                assert control(counter).replay(until).moments == moments[:count]
            assert replay(Counter, tmp_path, moment - timedelta(microseconds=1)).moments == moments[: count - 1]
        assert replay(Counter, tmp_path, moments[0] - timedelta(days=1)).moments == []
        assert replay(Counter, tmp_path, moments[-1] + timedelta(days=1)).moments == moments


def test_the_past_can_be_looked_at_while_the_system_is_open_and_written_to(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path, durability="buffered") as counter:
        with writing(counter, 2):
            for _ in range(3):
                past = replay(Counter, tmp_path)
                assert past.total == sum(past.history)
                index = random.Random(0).randrange(len(past.history) + 1)
                assert replay(Counter, tmp_path, index).history == past.history[:index]
                assert control(counter).replay(index).history == past.history[:index]
        assert counter.history[: len(past.history)] == past.history


class Watched:
    meanwhile: list[Callable[[], None]] = []

    def __init__(self) -> None:
        self.count = 0

    def add(self, data: bytes) -> None:
        self.count += 1
        if self.count == 98 and Watched.meanwhile:
            Watched.meanwhile.pop()()


def test_the_journal_may_roll_over_while_the_past_is_looked_at(tmp_path: Path) -> None:
    watched = open_with(Calls(), Watched, tmp_path)
    for _ in range(100):
        watched.add(bytes(20_000))

    journal = control(watched)._system._journal
    first = journal._segment.first

    def fill() -> None:
        while journal._segment.first == first:
            watched.add(bytes(20_000))

    def write_on() -> None:
        writer = threading.Thread(target=fill)
        writer.start()
        writer.join()

    Watched.meanwhile.append(write_on)
    assert control(watched).replay(100).count == 100
    assert control(watched).index > 100
    control(watched).close()


def test_the_past_is_a_plain_object_of_its_own(written: Path) -> None:
    with init_system(Counter, written) as counter:
        past = control(counter).replay()
        past.add(1000)
        assert counter.total == 55
        assert control(counter).index == 10
        assert control(counter).replay(5).total == 15


def test_replay_needs_a_class_and_a_system(tmp_path: Path, written: Path) -> None:
    with pytest.raises(UsageError, match="takes the domain class"):
        replay(Counter(), written)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no system to read or replay"):
        replay(Counter, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


# -- progress


def test_a_restore_tells_its_progress(written: Path) -> None:
    told: list[tuple[int, int]] = []
    (written / "snapshot_000000000000005.dat").unlink()
    with init_system(Counter, written, progress=lambda done, total: told.append((done, total))):
        pass
    assert told[-1] == (10, 10)
    assert all(0 < done <= total for done, total in told)
    told.clear()
    replay(Counter, written, 4, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (4, 4)


def test_progress_that_fails_opens_nothing_and_holds_nothing(written: Path) -> None:
    (written / "snapshot_000000000000005.dat").unlink()

    def fail(done: int, total: int) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        init_system(Counter, written, progress=fail)
    init_system(Counter, written).close()


@pytest.mark.parametrize("manifest", ['{"version": 2, "serializer": "pickle"}', None], ids=["0.7", "0.4"])
def test_a_directory_of_an_older_release_is_refused_and_left_as_it_is(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "transaction_000000000000003.log").write_bytes(b"\x80\x04...")
    if manifest is not None:
        (tmp_path / "coopy.json").write_text(manifest)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ForeignDirectory, match="Nothing was changed"):
        init_system(Counter, tmp_path)
    assert sorted(os.listdir(tmp_path)) == before


def test_who_wants_to_be_told_is_told_before_the_system_is_closed_once_and_while_it_takes_calls(tmp_path: Path) -> None:
    system = init_system(Counter, tmp_path / "data")
    told: list[int] = []
    control(system).before_closing(lambda: 1 // 0)
    control(system).before_closing(lambda: told.append(system.add(7)))
    control(system).close()
    control(system).close()
    assert told == [7]
    with init_system(Counter, tmp_path / "data") as again:
        assert again.total == 7


class Interrupted:
    """Counts, and raises when it is told to; an interrupt is not repeated by replay."""

    def __init__(self) -> None:
        self.counted = [0]

    def count(self, raised: str = "") -> None:
        self.counted.append(len(self.counted))
        if raised == "error":
            raise ValueError(raised)
        if raised and not coopy.replaying():
            raise KeyboardInterrupt


def test_who_asks_for_the_domain_object_gets_it_at_once_and_each_one_that_takes_its_place(tmp_path: Path) -> None:
    given: list[Any] = []
    with control(init_system(Interrupted, tmp_path / "data", validation="off")) as found:
        found.on_restored(given.append)
        assert len(given) == 1
        found.system.count()
        assert given[0].counted == [0, 1]
        with pytest.raises(ValueError):
            found.system.count("error")
        assert len(given) == 1 and given[0].counted == [0, 1, 2]
        with pytest.raises(KeyboardInterrupt):
            found.system.count("interrupt")
        assert found.system.counted == [0, 1, 2]
        times = len(given)
        assert given[-1] is not given[0] and given[-1].counted == [0, 1, 2]
        found.replay()
        found.system.count()
        assert len(given) == times and given[-1].counted == [0, 1, 2, 3]

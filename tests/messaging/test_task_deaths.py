"""A worker whose process ends, however it does: its tasks run again at once, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from program import environment

from coopy import control
from coopy.messaging import TaskQueue, task_pipe
from coopy.messaging.task_pipe import Pipe, is_here, sweep, watched

SOON_S = 25.0
"""Less than the lease: what needs that to be over is not in time."""


def wait_until(question: Callable[[], object]) -> None:
    end = time.monotonic() + SOON_S
    while not question():
        assert time.monotonic() < end
        time.sleep(0.005)


class Workers:
    """Programs that work for a queue in a directory, which this process has open as well."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes = path / "notes"
        self.queue = TaskQueue(path / "tasks", durability="buffered")
        self.processes: dict[int, subprocess.Popen[str]] = {}

    def start(self, *options: str, number: int = 1, **more: str) -> None:
        for _ in range(number):
            found = subprocess.Popen(
                [sys.executable, "-m", "messaging.functions", *options],
                env=environment(TASKS_OF_TEST=str(self.path / "tasks"), PYTHONPATH=os.pathsep.join(sys.path), **more),
                stdout=subprocess.PIPE,
                text=True,
            )
            self.processes[found.pid] = found
        wait_until(lambda: {each["pid"] for each in self.queue.workers()} == set(self.processes))

    def who_runs(self, number: int) -> int:
        """Waits until a task has begun, and returns the process."""
        wait_until(lambda: any(number in each["tasks"] for each in self.queue.workers()) and self.notes.exists())
        return next(int(each["pid"]) for each in self.queue.workers() if number in each["tasks"])

    def kill(self, *pids: int) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            self.processes.pop(pid).communicate()

    def close(self) -> None:
        self.kill(*self.processes)
        self.queue.close()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    found = Workers(tmp_path)
    yield found
    found.close()


def send(workers: Workers, seconds: float) -> int:
    return workers.queue.enqueue(_work(), str(workers.notes), seconds).id


def _work() -> Callable[[str, float], int]:
    from messaging import functions

    return functions.work.function


def test_the_task_of_a_worker_that_was_killed_is_another_ones_at_once(workers: Workers) -> None:
    """celery#3541, huey#559, rq#2015: lost. dramatiq#64, celery#4984, arq#343: there again after hours or days."""
    workers.start(number=2)
    number = send(workers, 600)
    first = workers.who_runs(number)
    workers.kill(first)
    wait_until(lambda: workers.queue.handle(number).look().deliveries == 2)
    assert workers.queue.handle(number).look().crashes == 1
    assert {each["pid"] for each in workers.queue.workers()} == set(workers.processes)


def test_the_only_worker_that_was_killed_is_followed_by_the_next_that_is_started(workers: Workers) -> None:
    """procrastinate#740: somebody had to run a script."""
    workers.start()
    number = send(workers, 600)
    workers.kill(workers.who_runs(number))
    assert workers.queue.handle(number).state == "running"
    workers.start()
    wait_until(lambda: workers.queue.handle(number).look().deliveries == 2)
    assert len([name for name in os.listdir(workers.path / "tasks") if name.endswith(".pipe")]) == 1


@pytest.mark.slow
def test_of_workers_that_are_killed_together_each_is_told_of(workers: Workers) -> None:
    workers.start(number=4)
    numbers = [send(workers, 600) for _ in range(4)]
    pids = [workers.who_runs(number) for number in numbers]
    workers.kill(*pids[:3])
    wait_until(lambda: len(workers.queue.workers()) == 1)
    assert sorted(workers.queue.handle(number).state for number in numbers) == ["running", "waiting", "waiting", "waiting"]
    assert sum(workers.queue.handle(number).look().crashes for number in numbers) == 3


@pytest.mark.slow
def test_the_process_that_writes_may_be_the_worker_that_is_killed(tmp_path: Path) -> None:
    workers = Workers(tmp_path)
    workers.queue.close()
    found = subprocess.Popen(
        [sys.executable, "-m", "messaging.functions"],
        env=environment(TASKS_OF_TEST=str(tmp_path / "tasks"), PYTHONPATH=os.pathsep.join(sys.path)),
    )
    workers.processes[found.pid] = found
    wait_until((tmp_path / "tasks" / "coopy.json").exists)
    workers.queue = TaskQueue(tmp_path / "tasks", durability="buffered")
    assert control(workers.queue.system).status()["writer"] == found.pid
    workers.start()
    number = send(workers, 600)
    first = workers.who_runs(number)
    workers.kill(found.pid)
    if first == found.pid:
        wait_until(lambda: workers.queue.handle(number).look().deliveries == 2)
    else:
        wait_until(lambda: len(workers.queue.workers()) == 1)
    other = send(workers, 0)
    if first != found.pid:
        assert workers.queue.handle(number).look().deliveries == 1
    else:
        assert workers.queue.handle(other).state == "waiting"
    workers.close()


@pytest.mark.parametrize(
    "options",
    [(), *[pytest.param((each,), marks=pytest.mark.slow) for each in ("threads=2", "processes=1", "coroutines=2")]],
    ids=str,
)
def test_a_signal_ends_a_worker_in_order_with_the_task_that_runs(workers: Workers, options: tuple[str, ...]) -> None:
    workers.start(*options)
    number = send(workers, 0.3)
    pid = workers.who_runs(number)
    process = workers.processes.pop(pid)
    process.terminate()
    said, _ = process.communicate(timeout=SOON_S)
    assert said == "ended in order\n" and process.returncode == 0
    found = workers.queue.handle(number).look()
    assert (found.state, found.deliveries, workers.queue.workers()) == ("done", 1, [])
    assert not [name for name in os.listdir(workers.path / "tasks") if name.endswith(".pipe")]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("coroutines=2",)], ids=str)
def test_a_worker_that_keeps_no_copy_of_the_state_works_as_the_others_do(workers: Workers, options: tuple[str, ...]) -> None:
    workers.queue.counts()
    workers.start(*options, TASKS_COPY="no")
    number = send(workers, 0)
    assert workers.queue.handle(number).result(timeout=SOON_S) == next(iter(workers.processes))
    number = send(workers, 600)
    workers.who_runs(number)
    workers.start()
    workers.kill(next(iter(workers.processes)))
    wait_until(lambda: workers.queue.handle(number).look().deliveries == 2)


@pytest.mark.slow
def test_a_child_that_runs_tasks_ends_with_its_worker(workers: Workers) -> None:
    workers.start("processes=1")
    number = send(workers, 600)
    pid = workers.who_runs(number)
    child = int(workers.notes.read_text().split()[0])
    assert child != pid
    workers.kill(pid)

    def is_gone() -> bool:
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        # In a container without an init, an orphan stays as a zombie.
        return (
            Path(f"/proc/{child}/stat").exists()
            and Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )

    wait_until(is_gone)


# -- the pipe itself


def test_a_pipe_is_held_until_it_is_closed_and_then_it_is_gone(tmp_path: Path) -> None:
    pipe = Pipe(str(tmp_path))
    name = pipe.about["pipe"]
    reader = watched(str(tmp_path), name)
    assert reader >= 0 and is_here(str(tmp_path), pipe.about)
    sweep(str(tmp_path))
    assert os.listdir(tmp_path) == [name]
    pipe.drop()
    assert os.read(reader, 1) == b"" and watched(str(tmp_path), name) == -1
    os.close(reader)
    sweep(str(tmp_path))
    assert os.listdir(tmp_path) == [] and watched(str(tmp_path), name) == -1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_hold_the_pipe(tmp_path: Path) -> None:
    pipe = Pipe(str(tmp_path))
    (reads, writes), (hears, tells) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(tells, b"x")
        os.read(reads, 1)
        os._exit(0)
    os.read(hears, 1)
    pipe.drop()
    try:
        assert watched(str(tmp_path), pipe.about["pipe"]) == -1
    finally:
        os.write(writes, b"x")
        os.waitpid(child, 0)
        for each in (reads, writes, hears, tells):
            os.close(each)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"host": "another"}, True),
        ({"boot": "another"}, True),
        ({"host": "another", "boot": "another"}, False),
        ({"place": [1, 2]}, False),
        ({"pipe": ""}, False),
    ],
    ids=str,
)
def test_a_pipe_is_looked_for_where_it_can_be(tmp_path: Path, changed: dict[str, object], expected: bool) -> None:
    about = Pipe(str(tmp_path)).about
    assert is_here(str(tmp_path), {**about, **changed}) == expected


def test_only_a_pipe_is_removed(tmp_path: Path) -> None:
    (tmp_path / "coopy.json").touch()
    (tmp_path / "worker-x.pipe").touch()
    for name in ("coopy.json", "worker-x.pipe", "../x"):
        task_pipe.remove(str(tmp_path), name)
    assert len(os.listdir(tmp_path)) == 2


def test_where_there_can_be_no_pipe_a_worker_works_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: str, mode: int) -> None:
        raise PermissionError(1, "not here", path)

    monkeypatch.setattr(os, "mkfifo", refused)
    with TaskQueue(tmp_path / "tasks", durability="buffered") as queue, queue.worker():
        assert queue.enqueue(divmod, 7, 2).result(timeout=SOON_S) == (3, 1)
        assert "pipe" not in queue.workers()[0]

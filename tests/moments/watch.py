"""Runs tasks in forked workers, and notices the worker that never comes back.

A worker that sleeps in all its threads, or runs on and on, hangs: what it was doing is told, and it is killed. Whatever a
task has broken in its process, the next one that matters begins in a new worker.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import logging
import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from moments.tracer import PACKAGE

ASLEEP_S = 0.4
"""So long has a worker slept in all its threads when it is taken to hang, """
LOOKS = 8
"""and was found to at so many looks: one look says little where this process had something else to do, or no processor, before it."""
BUSY_S = 10.0
"""So much processor time has a phase of a task had when it is taken to run for ever."""
PATIENCE_S = 30.0
"""So long may a phase take where threads can't be looked at."""

Task = Sequence[Any]
Say = Callable[..., None]
Work = Callable[[Any, Path, Say], "tuple[Any, bool]"]
"""Does a task, in a folder of its own; tells what it has come to (``phase``, and what else is worth knowing if it never
ends). Returns a value that JSON has, and whether the worker may go on."""


class Ending(NamedTuple):
    """How a task ended: with a value, or with the reason why it never will."""

    task: Any
    value: Any
    hung: str
    died: str
    said: list[dict[str, Any]]
    """What it told, besides its phases."""


@dataclass
class _Worker:
    pid: int
    pipe: int
    tasks: list[Any]
    busy: bool = False
    """Whether it is at the first of its tasks."""
    ended: bool = False
    phase: str = "starting"
    heard: float = field(default_factory=time.monotonic)
    awake: float = field(default_factory=time.monotonic)
    asleep: int = 0
    """At how many looks in a row it was asleep."""
    processor: float = -1.0
    """Processor time that it had when it was heard last; -1 if nobody has looked since."""
    said: list[dict[str, Any]] = field(default_factory=list)
    rest: bytes = b""


def run(tasks: Sequence[Any], work: Work, folder: Path, workers: int) -> Iterator[Ending]:
    """Yields how each task ended, in any order."""
    parts = [list(tasks[place::workers]) for place in range(workers)]
    running = [_start(part, work, folder) for part in parts if part]
    try:
        while running:
            ready, _, _ = select.select([worker.pipe for worker in running], [], [], 0.05)
            for worker in list(running):
                if worker.pipe in ready:
                    yield from _hear(worker)
                else:
                    problem = _hangs(worker)
                    if problem:
                        worker.ended = True
                        where = f"{worker.phase}: {problem}: {_stacks(worker, folder)}"
                        yield Ending(worker.tasks.pop(0), None, where, "", worker.said)
                if worker.ended:
                    running.remove(worker)
                    _end(worker)
                    if worker.tasks:
                        running.append(_start(worker.tasks, work, folder))
    finally:
        for worker in running:
            _end(worker)


def _start(tasks: list[Any], work: Work, folder: Path) -> _Worker:
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            _be_the_worker(tasks, work, folder, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    return _Worker(pid, reading, list(tasks))


def _be_the_worker(tasks: list[Any], work: Work, folder: Path, writing: int) -> None:
    os.setsid()
    # A collection at its own time would be an accident of its own; whether it is on is looked at.
    gc.set_threshold(0)
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda args: None
    sys.excepthook = lambda *args: None
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    dump = open(folder / f"stacks {os.getpid()}", "w")
    faulthandler.register(signal.SIGUSR1, dump)
    home = folder / f"worker {os.getpid()}"
    home.mkdir()

    def say(**what: Any) -> None:
        os.write(writing, json.dumps(what).encode() + b"\n")

    for task in tasks:
        say(begin=True)
        try:
            value, goes_on = work(task, home, say)
        except BaseException as error:
            say(phase=f"raising {error!r}")
            raise
        say(end=value)
        if not goes_on:
            return


def _hear(worker: _Worker) -> Iterator[Ending]:
    data = os.read(worker.pipe, 1 << 16)
    worker.heard = worker.awake = time.monotonic()
    worker.asleep, worker.processor = 0, -1.0
    if not data:
        worker.ended = True
        if worker.busy:
            yield Ending(worker.tasks.pop(0), None, "", f"{worker.phase}: the process died, {_status(worker)}", worker.said)
        return
    *lines, worker.rest = (worker.rest + data).split(b"\n")
    for line in lines:
        what = json.loads(line)
        if "begin" in what:
            worker.said, worker.busy = [], True
        elif "end" in what:
            worker.busy = False
            yield Ending(worker.tasks.pop(0), what["end"], "", "", worker.said)
        elif "phase" in what:
            worker.phase = what["phase"]
        else:
            worker.said.append(what)


def _hangs(worker: _Worker) -> str:
    """Why a worker that says nothing will never say anything again; empty if that is not known."""
    now = time.monotonic()
    looked = _looked_at(worker.pid)
    if looked is None:
        return "nothing was heard of it any more" if worker.busy and now - worker.heard > PATIENCE_S else ""
    asleep, processor = looked
    worker.asleep += 1
    if not asleep or not worker.busy:
        worker.awake, worker.asleep = now, 0
    if worker.processor < 0:
        worker.processor = processor
    if now - worker.awake > ASLEEP_S and worker.asleep >= LOOKS:
        return "all its threads sleep"
    return "it runs on and on" if processor - worker.processor > BUSY_S else ""


def _stacks(worker: _Worker, folder: Path) -> str:
    """Where the threads of a worker are."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.pid, signal.SIGUSR1)
    time.sleep(0.05)
    path = folder / f"stacks {worker.pid}"
    stacks = path.read_text() if path.exists() else ""
    return "; ".join(_innermost(part) for part in stacks.split("\n\n") if "File" in part)


def _innermost(stack: str) -> str:
    """The innermost frame of a stack that is in the package."""
    for path, line, name in re.findall(r'File "(.*?)", line (\d+) in (\S+)', stack):
        if path.startswith(PACKAGE):
            return f"{path[len(PACKAGE) :]}:{line} {name}"
    return "elsewhere"


def _status(worker: _Worker) -> str:
    """How a worker that has ended has come to that, without waiting for it: `_end` does."""
    found = os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    if found is None:
        return "and nobody knows how"
    ended = "with status" if found.si_code == os.CLD_EXITED else "by signal"
    return f"{ended} {found.si_status}"


def _end(worker: _Worker) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.pid, signal.SIGKILL)
    os.waitpid(worker.pid, 0)
    os.close(worker.pipe)


def _looked_at(pid: int) -> tuple[bool, float] | None:
    """Whether all threads of a process and of its children sleep, and its processor time in seconds. None: not known."""
    if not os.path.isdir("/proc/self/task"):
        return None
    asleep, ticks = True, 0
    try:
        for process in (pid, *_children(pid)):
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                asleep &= fields[0] in "SZ"
                ticks += int(fields[11]) + int(fields[12])
    except OSError:
        return False, 0.0  # A thread, or a child, has come to its end.
    return asleep, ticks / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    return found

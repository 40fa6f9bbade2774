"""Interrupts every operation at every moment, and in the handling of the first interrupt a second time.

    python tests/moments/campaign.py [--only TEXT]... [--pairs N] [--error NAME] [--step N] [--report FILE] ...

The trials run in forked workers. A worker that sleeps in all its threads, or runs on and on, hangs: it is killed, and its
trial was fatal. What was broken in one trial can't make the next one fail, as that begins in a new worker.

The exit status is 1 if a moment was fatal that is not in unclosable.txt.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import fnmatch
import gc
import json
import linecache
import logging
import os
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from moments import trial
from moments.operations import OPERATIONS, Operation, make_template
from moments.oracle import Witness, describe
from moments.tracer import PACKAGE, Moment, Tracer

ASLEEP_S = 0.4
"""So long has a worker slept in all its threads when it is taken to hang."""
BUSY_S = 10.0
"""So much processor time has a trial had when it is taken to run for ever."""
PATIENCE_S = 30.0
"""So long may a trial take where threads can't be looked at."""
ERRORS = {each.__name__: each for each in (KeyboardInterrupt, TimeoutError, SystemExit, MemoryError)}


class Task(NamedTuple):
    """The moments at which a trial is interrupted; 0 for not at all."""

    first: int
    second: int = 0


class Result(NamedTuple):
    """What came of a trial."""

    task: Task
    raised: list[Moment]
    kind: str
    what: str
    came: str

    @property
    def at_signals(self) -> bool:
        """Whether Python looks for signals at each of the moments."""
        return all(moment.boundary for moment in self.raised)


@dataclass
class Tally:
    """The trials of an operation."""

    operation: str
    moments: int = 0
    signals: int = 0
    """Those of the moments at which Python looks for signals."""
    pairs: int = 0
    swallowed: int = 0
    """Trials in which the operation returned in spite of the interrupt."""
    fatal: list[Result] = field(default_factory=list)
    known: list[Result] = field(default_factory=list)
    """Those that were fatal and are in unclosable.txt."""
    seconds: float = 0.0

    def add(self, result: Result, known: Sequence[Known]) -> None:
        if result.task.second:
            self.pairs += 1
        else:
            self.moments += 1
            self.signals += result.at_signals
        if not result.kind:
            self.swallowed += result.came == "nothing"
        elif any(each.matches(self.operation, result) for each in known):
            self.known.append(result)
        else:
            self.fatal.append(result)

    def count(self, pairs: bool, signals: bool) -> int:
        return sum((each.task.second > 0) == pairs and each.at_signals == signals for each in self.fatal)


class Known(NamedTuple):
    """A moment that Python itself can't close: a line of unclosable.txt."""

    operation: str
    function: str
    line: str
    opcode: str
    reason: str

    def matches(self, operation: str, result: Result) -> bool:
        return fnmatch.fnmatch(operation, self.operation) and any(
            fnmatch.fnmatch(f"{moment.file}:{moment.function}", self.function)
            and fnmatch.fnmatch(source(moment), self.line)
            and fnmatch.fnmatch(moment.opcode, self.opcode)
            for moment in result.raised
        )


def known_moments(path: Path = Path(__file__).with_name("unclosable.txt")) -> list[Known]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return [Known(*(part.strip() for part in line.split(" | "))) for line in lines if line and not line.startswith("#")]


def source(moment: Moment) -> str:
    return linecache.getline(PACKAGE + moment.file, moment.line).strip()


# -- which moments


def sites(moments: Sequence[Moment], every: bool) -> list[int]:
    """Numbers of the moments, from 1; of those in loops the first two and the last turn."""
    if every:
        return list(range(1, len(moments) + 1))
    turns: dict[tuple[Any, ...], list[int]] = {}
    for number, moment in enumerate(moments, 1):
        turns.setdefault((moment.file, moment.function, moment.offset, moment.stack), []).append(number)
    return sorted({number for each in turns.values() for number in (*each[:2], each[-1])})


# -- workers


@dataclass
class Worker:
    """A forked process that runs trials, and what it has said so far."""

    pid: int
    pipe: int
    tasks: list[Task]
    current: Task | None = None
    phase: str = "starting"
    heard: float = field(default_factory=time.monotonic)
    processor: float = 0.0
    """Processor time that it had when the phase began."""
    awake: float = field(default_factory=time.monotonic)
    rest: bytes = b""


class Campaign:
    """Runs the trials of one operation in some workers."""

    def __init__(self, operation: Operation, folder: Path, error: type[BaseException], workers: int, everything: bool) -> None:
        self.operation = operation
        self.folder = folder
        self.error = error
        self.workers = workers
        self.everything = everything
        self.template = (folder / "template", make_template(operation.template, folder / "template"))
        self._numbers = iter(range(1_000_000))

    def plan(self, task: Task) -> trial.Outcome:
        """A trial in a worker of its own that tells all its moments. They are the same in each trial, but for threads."""
        (result,) = self.run([task], keep=True)
        found = json.loads((self.folder / "plan").read_text())
        moments = [[Moment(*each) for each in part] for part in found]
        return trial.Outcome(result.raised, result.came, result.kind, result.what, *moments)

    def run(self, tasks: Sequence[Task], keep: bool = False) -> Iterator[Result]:
        """Runs trials and yields what came of each, in any order."""
        parts = [list(tasks[place :: self.workers]) for place in range(self.workers)]
        running = [self._start(part, keep) for part in parts if part]
        try:
            while running:
                ready, _, _ = select.select([worker.pipe for worker in running], [], [], 0.05)
                for worker in list(running):
                    if worker.pipe in ready:
                        yield from self._hear(worker)
                        ended = worker.phase == "ended"
                    else:
                        problem = self._hangs(worker)
                        ended = problem != ""
                        if ended and worker.current is not None:
                            yield self._hung(worker, problem)
                    if ended:
                        running.remove(worker)
                        self._end(worker)
                        if worker.tasks:
                            running.append(self._start(worker.tasks, keep))
        finally:
            for worker in running:
                self._end(worker)

    def _start(self, tasks: list[Task], keep: bool) -> Worker:
        reading, writing = os.pipe()
        folder = self.folder / f"worker {next(self._numbers)}"
        folder.mkdir()
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setsid()
                os.close(reading)
                self._work(tasks, folder, writing, keep)
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        return Worker(pid, reading, list(tasks))

    def _work(self, tasks: list[Task], folder: Path, writing: int, keep: bool) -> None:
        """In the worker: runs trials, up to the first that is fatal."""
        # A collection at its own time would make moments of its own; that it is on is looked at.
        gc.set_threshold(0)
        logging.disable(logging.CRITICAL)
        sys.unraisablehook = lambda args: None
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 2)
        dump = open(self.folder / f"stacks {os.getpid()}", "w")
        faulthandler.register(signal.SIGUSR1, dump)

        def say(**what: Any) -> None:
            os.write(writing, json.dumps(what).encode() + b"\n")

        def told(moment: Moment) -> None:
            if os.getpid() == myself:
                say(raised=moment)
            else:
                (folder / trial.IN_CHILD).write_text(json.dumps(moment))

        myself = os.getpid()
        for task in tasks:
            say(begin=task)
            in_child = self.operation.in_child
            tracer = Tracer(*task, self.error, in_child=in_child, everything=self.everything, keep=keep, told=told)
            outcome = trial.run(self.operation, self.template, folder, tracer, self.error, lambda name: say(phase=name))
            if keep:
                (self.folder / "plan").write_text(json.dumps([outcome.before, outcome.handling]))
            say(end=[outcome.raised, outcome.kind, outcome.what, outcome.came])
            if outcome.kind:
                return

    def _hear(self, worker: Worker) -> Iterator[Result]:
        data = os.read(worker.pipe, 1 << 16)
        worker.heard = worker.awake = time.monotonic()
        worker.processor = -1.0
        if not data:
            worker.phase = "ended"
            if worker.current is not None:
                yield Result(worker.current, self._seen(worker), "died", f"the process died in: {worker.rest!r}", "")
                worker.tasks.remove(worker.current)
            return
        *lines, worker.rest = (worker.rest + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "begin" in said:
                worker.current = Task(*said["begin"])
                self._raised[worker.pid] = []
            elif "phase" in said:
                worker.phase = said["phase"]
            elif "raised" in said:
                self._raised[worker.pid].append(Moment(*said["raised"]))
            elif worker.current is not None:
                raised, kind, what, came = said["end"]
                worker.tasks.remove(worker.current)
                yield Result(worker.current, [Moment(*each) for each in raised], kind, what, came)
                worker.current = None

    _raised: dict[int, list[Moment]] = {}

    def _seen(self, worker: Worker) -> list[Moment]:
        return self._raised.get(worker.pid, [])

    def _hangs(self, worker: Worker) -> str:
        """Why a worker that says nothing will never say anything again; empty if that is not known."""
        now = time.monotonic()
        looked = _looked_at(worker.pid)
        if looked is None:
            return "nothing was heard of it any more" if now - worker.heard > PATIENCE_S else ""
        asleep, processor = looked
        if not asleep:
            worker.awake = now
        if worker.processor < 0:
            worker.processor = processor
        if now - worker.awake > ASLEEP_S:
            return "all its threads sleep"
        return "it runs on and on" if processor - worker.processor > BUSY_S else ""

    def _hung(self, worker: Worker, problem: str) -> Result:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGUSR1)
        time.sleep(0.05)
        path = self.folder / f"stacks {worker.pid}"
        stacks = path.read_text() if path.exists() else ""
        assert worker.current is not None
        worker.tasks.remove(worker.current)
        where = "; ".join(_innermost(part) for part in stacks.split("\n\n") if "File" in part)
        return Result(worker.current, self._seen(worker), "hang", f"{worker.phase}: {problem}: {where}", "")

    def _end(self, worker: Worker) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        os.waitpid(worker.pid, 0)
        os.close(worker.pipe)


def _innermost(stack: str) -> str:
    """The innermost frame of a stack that is in the package."""
    for path, line, name in re.findall(r'File "(.*?)", line (\d+) in (\S+)', stack):
        if path.startswith(PACKAGE):
            return f"{path[len(PACKAGE):]}:{line} {name}"
    return "elsewhere"


def _looked_at(pid: int) -> tuple[bool, float] | None:
    """Whether all threads of a process and of its children sleep, and its processor time in seconds. None: not known."""
    try:
        asleep, ticks = True, 0
        for process in (pid, *_children(pid)):
            for thread in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{thread}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
                asleep &= fields[0] in "SZ"
                ticks += int(fields[11]) + int(fields[12])
        return asleep, ticks / os.sysconf("SC_CLK_TCK")
    except OSError:
        return (False, 0.0) if os.path.isdir("/proc/self/task") else None


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(each) for each in file.read().split()]
    except OSError:
        return []


# -- all of it


def place() -> Path:
    """A folder for the directories of the trials; in memory where there is one, as syncs cost nothing there."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="coopy-moments-", dir=parent))


def interrupt(
    operation: Operation,
    folder: Path,
    *,
    pairs: int = 0,
    step: int = 1,
    offset: int = 0,
    every: bool = False,
    error: type[BaseException] = KeyboardInterrupt,
    workers: int = 2,
    everything: bool = False,
    chance: random.Random,
    known: Sequence[Known] = (),
) -> Tally:
    """Runs an operation with an interrupt at its moments, and at some pairs of moments."""
    begun = time.monotonic()
    tally = Tally(operation.name)
    campaign = Campaign(operation, folder, error, workers, everything)
    if operation.in_child:
        # What a child has done is gone with it: the moments are tried until there are no more.
        for first in range(1 + offset, 1_000_000, step):
            (result,) = campaign.run([Task(first)])
            if not result.raised and not result.kind:
                break
            tally.add(result, known)
    else:
        # The first trial of all is not traced from its first instruction on in some releases of Python.
        campaign.plan(Task(0))
        plain = campaign.plan(Task(0))
        if plain.kind or plain.came != "nothing":
            raise AssertionError(f"{operation.name}: fails without any interrupt: {plain.kind} {plain.what} {plain.came}")
        numbers = sites(plain.before, every)[offset::step]
        for result in campaign.run([Task(number) for number in numbers]):
            if result.raised or result.kind:
                tally.add(result, known)
        tally_pairs(campaign, numbers, pairs, every, chance, tally, known)
    tally.seconds = time.monotonic() - begun
    return tally


def tally_pairs(
    campaign: Campaign,
    numbers: Sequence[int],
    pairs: int,
    every: bool,
    chance: random.Random,
    tally: Tally,
    known: Sequence[Known],
) -> None:
    """Runs pairs of moments: so many, spread over all first moments; all of them if there are not more."""
    if not pairs:
        return
    firsts = list(numbers)
    chance.shuffle(firsts)
    left = pairs
    for place, first in enumerate(firsts):
        handled = campaign.plan(Task(first))
        seconds = sites(handled.handling, every)
        share = -(-left // (len(firsts) - place))
        if share < len(seconds):
            seconds = chance.sample(seconds, share)
        for result in campaign.run([Task(first, second) for second in seconds]):
            if len(result.raised) == 2 or result.kind:
                tally.add(result, known)
        left -= len(seconds)
        if left <= 0:
            return


def report(tally: Tally, longest: int = 200) -> None:
    """Prints the fatal moments of an operation."""
    groups = Counter((each.kind, " then ".join(map(str, each.raised)) or "?") for each in tally.fatal)
    shown = {(each.kind, " then ".join(map(str, each.raised)) or "?"): each for each in tally.fatal}
    for (kind, moments), count in list(groups.items())[:longest]:
        result = shown[kind, moments]
        more = f" ({count} times)" if count > 1 else ""
        line = source(result.raised[-1]) if result.raised else ""
        print(f"  {kind}: {moments}{more}: {line}\n      task {tuple(result.task)}; raised {result.came}; {result.what[:400]}")


HEAD = f"{'operation':42} {'moments':>8} {'signals':>8} {'pairs':>8} | {'fatal at signals':>16} {'opcodes':>8} | {'pairs: signals':>14} {'opcodes':>8} | {'known':>5} {'swallowed':>9} {'s':>6}"


def row(tally: Tally) -> str:
    kinds = " ".join(f"{kind}:{count}" for kind, count in Counter(each.kind for each in tally.fatal).most_common())
    return (
        f"{tally.operation:42} {tally.moments:8} {tally.signals:8} {tally.pairs:8} | {tally.count(False, True):16} "
        f"{tally.count(False, False):8} | {tally.count(True, True):14} {tally.count(True, False):8} | {len(tally.known):5} "
        f"{tally.swallowed:9} {tally.seconds:6.0f} {kinds}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="operations whose name has this text")
    parser.add_argument("--exactly", action="store_true", help="operations whose name is this text")
    parser.add_argument("--pairs", type=int, default=int(os.environ.get("MOMENTS_PAIRS", "1000")), help="of each operation")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("MOMENTS_SEED", random.SystemRandom().randrange(1 << 32))))
    parser.add_argument("--step", type=int, default=1, help="every so many moments")
    parser.add_argument("--offset", type=int, default=0, help="begin at this moment")
    parser.add_argument("--all", action="store_true", help="all turns of loops, not two of them and the last")
    parser.add_argument("--error", choices=sorted(ERRORS), default="KeyboardInterrupt")
    parser.add_argument("--everything", action="store_true", help="frames of other modules count, too")
    parser.add_argument("--workers", type=int, default=int(os.environ.get("MOMENTS_WORKERS", "2")))
    parser.add_argument("--at", type=int, nargs="+", help="only the moment of this number, or this pair")
    parser.add_argument("--report", type=Path, help="a file for all fatal moments, as JSON")
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    chosen = [
        each
        for each in OPERATIONS
        if not arguments.only or any(t == each.name if arguments.exactly else t in each.name for t in arguments.only)
    ]
    if arguments.list:
        print(*(each.name for each in chosen), sep="\n")
        return 0
    print(f"moments: seed {arguments.seed}, Python {sys.version.split()[0]}, {arguments.error}", flush=True)
    known, folder, tallies = known_moments(), place(), []
    try:
        for number, operation in enumerate(chosen):
            home = folder / str(number)
            home.mkdir()
            if arguments.at:
                campaign = Campaign(operation, home, ERRORS[arguments.error], 1, arguments.everything)
                for result in campaign.run([Task(*arguments.at)]):
                    print(operation.name, *result, sep="\n  ")
                continue
            tally = interrupt(
                operation, home, pairs=arguments.pairs, step=arguments.step, offset=arguments.offset, every=arguments.all,
                error=ERRORS[arguments.error], workers=arguments.workers, everything=arguments.everything,
                chance=random.Random(f"{arguments.seed} {operation.name}"), known=known,
            )  # fmt: skip
            tallies.append(tally)
            print(row(tally), flush=True)
            report(tally)
            shutil.rmtree(home, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(HEAD, *map(row, tallies), sep="\n")
    if arguments.report:
        arguments.report.write_text(json.dumps({tally.operation: tally.fatal for tally in tallies}, indent=1))
    fatal = sum(len(tally.fatal) for tally in tallies)
    trials = sum(tally.moments + tally.pairs for tally in tallies)
    print(f"{trials} trials, {fatal} fatal, {sum(len(tally.known) for tally in tallies)} at moments that Python can't close")
    return 1 if fatal else 0


if __name__ == "__main__":
    sys.exit(main())

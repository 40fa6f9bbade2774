"""Interrupts every operation at every moment, and in the handling of the first interrupt a second time.

    python tests/moments/campaign.py [--only TEXT]... [--pairs N] [--error NAME] [--step N] [--report FILE] ...

The exit status is 1 if a moment was fatal that is not in unclosable.txt.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import linecache
import logging
import os
import random
import shutil
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

from moments import trial, watch
from moments.operations import OPERATIONS, Operation, make_template, small_segments
from moments.oracle import FLAWS
from moments.tracer import PACKAGE, Moment, Tracer

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
    handled: list[int]
    """Numbers of the moments of the handling that are worth a second interrupt."""

    @property
    def at_signals(self) -> bool:
        """Whether Python looks for signals at each of the moments."""
        return all(moment.boundary for moment in self.raised)


@dataclass(frozen=True)
class Choice:
    """Which moments are tried, and how."""

    pairs: int = 0
    """So many pairs of moments of each operation."""
    step: int = 1
    offset: int = 0
    every: bool = False
    """All turns of loops."""
    signals: bool = False
    """Only where Python looks for signals."""
    error: type[BaseException] = KeyboardInterrupt
    everything: bool = False
    """In the frames of other modules, too."""
    workers: int = 2
    seed: int = 0


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
    flaws: list[Result] = field(default_factory=list)
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
            (self.flaws if result.kind in FLAWS else self.fatal).append(result)

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
    for folder in (PACKAGE, str(Path(__file__).parent) + os.sep):
        if os.path.exists(folder + moment.file):
            return linecache.getline(folder + moment.file, moment.line).strip()
    return ""


# -- which moments


def sites(moments: Sequence[Moment], every: bool, signals: bool) -> list[int]:
    """Numbers of the moments, from 1; of those in loops the first two turns and the last. ``signals``: call boundaries only."""
    numbered = [(number, moment) for number, moment in enumerate(moments, 1) if moment.boundary or not signals]
    if every:
        return [number for number, _ in numbered]
    turns: dict[tuple[Any, ...], list[int]] = {}
    for number, moment in numbered:
        turns.setdefault((moment.file, moment.function, moment.offset, moment.stack), []).append(number)
    return sorted({number for each in turns.values() for number in (*each[:2], each[-1])})


# -- trials


class Campaign:
    """Runs the trials of one operation."""

    def __init__(self, operation: Operation, folder: Path, choice: Choice) -> None:
        self.operation = operation
        self.folder = folder
        self.choice = choice
        self.template = (folder / "template", make_template(operation.template, folder / "template"))
        # What is made once in a process would be moments of the first trial only.
        (folder / "warm").mkdir()
        trial.run(operation, self.template, folder / "warm", Tracer())

    def plan(self) -> list[int]:
        """Runs the operation without an interrupt, and returns the numbers of its moments that are worth one."""
        # The first trial of all is not traced from its first instruction on in some releases of Python.
        *_, plain = self.run([Task(0), Task(0)], workers=1)
        if plain.kind or plain.came != "nothing":
            raise AssertionError(f"{self.operation.name}: fails without any interrupt: {plain.kind} {plain.what} {plain.came}")
        return plain.handled

    def run(self, tasks: Sequence[Task], workers: int = 0) -> Iterator[Result]:
        """Runs trials and yields what came of each, in any order."""
        for ending in watch.run(tasks, self._work, self.folder, workers or self.choice.workers):
            if ending.value is not None:
                raised, *rest = ending.value
                yield Result(ending.task, [Moment(*each) for each in raised], *rest)
            else:
                raised = [Moment(*each["raised"]) for each in ending.said]
                yield Result(ending.task, raised, "hang" if ending.hung else "died", ending.hung or ending.died, "", [])

    def _work(self, task: Task, folder: Path, say: watch.Say) -> tuple[Any, bool]:
        """In a worker: one trial."""

        def told(moment: Moment) -> None:
            if os.getpid() == myself:
                say(raised=moment)
            else:
                path = folder / trial.IN_CHILD
                path.with_suffix(".new").write_text(json.dumps(moment))
                path.with_suffix(".new").rename(path)

        myself, choice = os.getpid(), self.choice
        tracer = Tracer(
            *task,
            choice.error,
            in_child=self.operation.in_child,
            everything=choice.everything,
            told=told,
            keep=not task.first or (choice.pairs > 0 and not task.second),
        )
        found = trial.run(self.operation, self.template, folder, tracer, choice.error, lambda name: say(phase=name))
        handled = sites(tracer.kept, choice.every, choice.signals)
        what, came = (text.replace(f"{folder}{os.sep}", "") for text in (found.what, found.came))
        return [found.raised, found.kind, what, came, handled], not found.kind


# -- all of it


def place() -> Path:
    """A folder for the directories of the trials; in memory where there is one, as syncs cost nothing there."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="coopy-moments-", dir=parent))


def seed() -> int:
    """Of all that is random in a campaign but the scheduler."""
    return int(os.environ.get("MOMENTS_SEED", random.SystemRandom().randrange(1 << 32)))


@small_segments()
def interrupt(operation: Operation, folder: Path, choice: Choice, known: Sequence[Known] = ()) -> Tally:
    """Runs an operation with an interrupt at its moments, and at some pairs of moments."""
    begun = time.monotonic()
    tally = Tally(operation.name)
    campaign = Campaign(operation, folder, choice)
    if operation.in_child:
        # What a child has done is gone with it: the moments are tried until there are no more.
        for first in range(1 + choice.offset, 1_000_000, choice.step):
            (result,) = campaign.run([Task(first)])
            if not result.raised and not result.kind:
                break
            tally.add(result, known)
    else:
        numbers = campaign.plan()[choice.offset :: choice.step]
        handled: dict[int, list[int]] = {}
        for result in campaign.run([Task(number) for number in numbers] * operation.repeat):
            if result.raised or result.kind:
                tally.add(result, known)
            handled[result.task.first] = result.handled
        # Where one interrupt is fatal, a second shows nothing.
        for result in (*tally.fatal, *tally.known):
            handled.pop(result.task.first, None)
        for result in campaign.run(_pairs(handled, choice, operation.name)):
            if len(result.raised) == 2 or result.kind:
                tally.add(result, known)
    tally.seconds = time.monotonic() - begun
    return tally


@small_segments()
def again(operation: Operation, folder: Path, choice: Choice, task: Task) -> None:
    """Runs one trial, and prints all that is known of it."""
    for result in Campaign(operation, folder, choice).run([task], workers=1):
        print(operation.name, *map(str, result.raised), result.kind or "well", result.what, result.came, sep="\n  ")


def _pairs(handled: dict[int, list[int]], choice: Choice, name: str) -> list[Task]:
    """Pairs of moments: as many as asked for, spread over all first moments; all of them if there are not more."""
    chance, left = random.Random(f"{choice.seed} {name}"), choice.pairs
    firsts, tasks = sorted(handled), []
    chance.shuffle(firsts)
    # Those with few come first: what they leave is for the others.
    for place, first in enumerate(sorted(firsts, key=lambda first: len(handled[first]))):
        share = -(-left // (len(firsts) - place))
        seconds = handled[first]
        tasks += [Task(first, second) for second in (chance.sample(seconds, share) if share < len(seconds) else seconds)]
        left = choice.pairs - len(tasks)
        if left <= 0:
            break
    chance.shuffle(tasks)
    return tasks


def report(results: Sequence[Result], each: bool) -> None:
    """Prints trials: those that were interrupted in the same lines together, or each."""
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in sorted(results, key=lambda result: result.task):
        lines = tuple((moment.file, moment.function, moment.line) for moment in result.raised)
        groups.setdefault((result.kind, lines, result.task if each else None), []).append(result)
    for (kind, _, _), alike in groups.items():
        # One at a signal says more.
        result = next((result for result in alike if result.at_signals), alike[0])
        signals = sum(result.at_signals for result in alike)
        places = " then ".join(f"{moment}: {source(moment)}" for moment in result.raised)
        print(f"  {kind}: {len(alike)} ({signals} at signals): {places or '?'}")
        print(f"      --at {' '.join(map(str, result.task))}; raised {result.came or 'nothing'}; {result.what[:300]}")


HEAD = (
    f"{'':42} {'':>8} {'with':>8} {'':>8} | fatal moments: | fatal pairs:    |\n"
    f"{'operation':42} {'moments':>8} {'signals':>8} {'pairs':>8} | {'signals':>7} {'other':>6} | "
    f"{'signals':>7} {'other':>7} | {'known':>6} {'flaws':>6} {'swallowed':>9} {'s':>5}"
)


def row(tally: Tally) -> str:
    kinds = " ".join(f"{kind}:{count}" for kind, count in Counter(each.kind for each in tally.fatal).most_common())
    return (
        f"{tally.operation:42} {tally.moments:8} {tally.signals:8} {tally.pairs:8} | {tally.count(False, True):7} "
        f"{tally.count(False, False):6} | {tally.count(True, True):7} {tally.count(True, False):7} | {len(tally.known):6} "
        f"{len(tally.flaws):6} {tally.swallowed:9} {tally.seconds:5.0f} {kinds}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="operations whose name has this text")
    parser.add_argument("--exactly", action="store_true", help="operations whose name is this text")
    parser.add_argument("--pairs", type=int, default=int(os.environ.get("MOMENTS_PAIRS", "1000")), help="of each operation")
    parser.add_argument("--seed", type=int, default=seed())
    parser.add_argument("--step", type=int, default=1, help="every so many moments")
    parser.add_argument("--offset", type=int, default=0, help="begin at this moment")
    parser.add_argument("--signals", action="store_true", help="only moments at which Python looks for signals")
    parser.add_argument("--flaws", action="store_true", help="print flaws, too")
    parser.add_argument("--each", action="store_true", help="print each fatal moment, not those of a line together")
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
    choice = Choice(
        arguments.pairs,
        arguments.step,
        arguments.offset,
        arguments.all,
        arguments.signals,
        ERRORS[arguments.error],
        arguments.everything,
        arguments.workers,
        arguments.seed,
    )
    logging.disable(logging.CRITICAL)
    print(f"moments: seed {arguments.seed}, Python {sys.version.split()[0]}, {arguments.error}", flush=True)
    known, folder, tallies = known_moments(), place(), []
    try:
        for number, operation in enumerate(chosen):
            home = folder / str(number)
            home.mkdir()
            if arguments.at:
                again(operation, home, choice, Task(*arguments.at))
                continue
            tally = interrupt(operation, home, choice, known)
            tallies.append(tally)
            print(row(tally), flush=True)
            report(tally.fatal, arguments.each)
            if arguments.flaws:
                report(tally.flaws, arguments.each)
            shutil.rmtree(home, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(HEAD, *map(row, tallies), sep="\n")
    if arguments.report:
        found = {each.operation: [each.fatal, each.flaws, each.known] for each in tallies}
        arguments.report.write_text(json.dumps(found, indent=1))
    fatal = sum(len(tally.fatal) for tally in tallies)
    trials = sum(tally.moments + tally.pairs for tally in tallies)
    print(f"{trials} trials, {fatal} fatal, {sum(len(tally.known) for tally in tallies)} at moments that Python can't close")
    return 1 if fatal else 0


if __name__ == "__main__":
    sys.exit(main())

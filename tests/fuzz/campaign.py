"""Random domain classes and calls, with whatever can come in between: what is promised must hold after each run.

    python tests/fuzz/campaign.py [--runs N] [--seed S] [--seconds T] [--processes N] [--stop]
    python tests/fuzz/campaign.py --seed S --run N
    python tests/fuzz/campaign.py --planted [--only NAME]... [--runs N] [--seed S]

A run is the life of a system of a class that was made up (`fuzz.domain`): calls with exceptions of their own and from outside (`fuzz.outside`),
recursion to the end of the stack, allocations that no machine has, arguments and states that can't be kept (`fuzz.values`), snapshots,
pruning, ends, and kills in between; `fuzz.life` judges. A seed makes the same runs, but for the moment at which a process is
killed and the turns that threads take.

With --planted each fault of PLANTED is put into a copy of coopy, and runs are made until one finds it.

The exit status is 1 if anything was violated, or a planted fault was not found.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TextIO

if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dill  # noqa: F401 - before coopy, as a program may have done: it adds to the pickler of the standard library
from crash.mutants import MUTANTS, copied, planted
from fuzz.life import Life, Violation, killed

PLACES = Path("/dev/shm")
KILLED_SHARE = 0.06
ENOUGH = 20
"""At least half of the runs have so many actions."""
CHUNK = 20
PLANTED = (
    # An action that is interrupted.
    "an-interrupted-action-is-not-withdrawn",
    "a-withdrawal-is-not-synced-before-the-caller-has-its-exception",
    "a-handler-in-the-traceback-is-overlooked",
    "what-another-thread-asks-for-is-taken-for-the-methods-own",
    "what-can-not-be-made-is-taken-for-the-methods-own",
    "a-replay-has-less-room-to-recurse-than-the-call-had",
    "a-call-at-the-end-of-the-stack-keeps-the-lock",
    "a-call-of-a-handler-is-taken-for-a-part-of-the-action",
    "what-a-finalizer-has-recorded-is-done-again-at-replay",
    "an-interrupted-machine-is-used-as-it-is",
    "a-withdrawal-is-not-recorded",
    "what-a-transactional-method-did-is-left",
    # A snapshot that does not load.
    "a-snapshot-is-kept-whether-it-loads-or-not",
    "opening-does-not-go-back-to-a-snapshot-that-can-be-loaded",
    "all-that-was-loaded-once-is-pruned",
    "a-child-that-does-nothing-is-waited-for",
    "a-child-goes-on-without-its-parent",
    # What belongs to a process.
    "what-pickle-writes-is-an-argument",
    "dill-keeps-whatever-it-can",
    "dill-changes-the-deep-pickler",
    "a-state-is-not-looked-through",
    "those-who-wait-at-a-condition-are-kept",
    "a-semaphore-that-is-used-up-stays-so",
)


@dataclass
class Tally:
    """What came of some runs."""

    runs: int = 0
    enough: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.runs += other.runs
        self.enough += other.enough
        self.counts += other.counts
        self.violations += other.violations


@contextmanager
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="coopy-fuzz-", dir=PLACES if PLACES.is_dir() else None) as found:
        yield Path(found)


@contextmanager
def quiet() -> Iterator[None]:
    """Runs make coopy say much, and each word is expected."""
    logger = logging.getLogger("coopy")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def is_killed(seed: int, number: int) -> bool:
    return hasattr(os, "fork") and random.Random(f"{seed} {number} kind").random() < KILLED_SHARE


def run(seed: int, number: int, folder: Path, tally: Tally, says: bool = False) -> None:
    """Makes a run, and adds it to the tally."""
    home = folder / str(number)
    home.mkdir()
    life: Life | None = None
    tally.runs += 1
    try:
        if is_killed(seed, number):
            counts = killed(f"{seed} {number}", home)
        else:
            life = Life(f"{seed} {number}", home)
            counts = life.counts
            life.run()
    except Violation as error:
        tally.violations.append((number, f"{error}"))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        tally.violations.append(
            (number, f"went wrong: {type(error).__name__}: {error} at {where.filename}, line {where.lineno}")
        )
        if says:
            traceback.print_exc()
    else:
        tally.counts += counts
        tally.enough += counts["actions"] >= ENOUGH
    if says and life is not None:
        print(life.text, *life.log, sep="\n")
    shutil.rmtree(home, ignore_errors=True)


def some(seed: int, numbers: list[int], stop: bool) -> Tally:
    tally = Tally()
    with quiet(), place() as folder:
        for number in numbers:
            run(seed, number, folder, tally)
            if stop and tally.violations:
                break
    return tally


def campaign(seed: int, runs: int, seconds: float, processes: int, stop: bool) -> Tally:
    tally, begun = Tally(), time.monotonic()
    chunks = [list(range(first, min(first + CHUNK, runs))) for first in range(0, runs, CHUNK)]
    while chunks:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            running = {}
            try:
                while chunks or running:
                    while chunks and len(running) < processes and not (seconds and time.monotonic() - begun > seconds):
                        numbers = chunks.pop(0)
                        running[pool.submit(some, seed, numbers, stop)] = numbers
                    if not running:
                        return tally
                    future = next(as_completed(running))
                    numbers = running[future]
                    found = future.result()
                    del running[future]
                    for number, text in found.violations:
                        print(f"  --seed {seed} --run {number}: {text[:1000]}", flush=True)
                    tally.add(found)
                    if stop and tally.violations:
                        return tally
                    if tally.runs % 500 < CHUNK:
                        print(
                            f"{tally.runs} runs, {len(tally.violations)} violations, {time.monotonic() - begun:.0f} s",
                            flush=True,
                        )
            except BrokenProcessPool:
                tally.violations.append((numbers[0], "the process ended"))
                print(f"  --seed {seed} --run {numbers[0]} to {numbers[-1]}: the process ended", flush=True)
                if stop:
                    return tally
    return tally


def told(tally: Tally, seconds: float) -> str:
    share = 100 * tally.enough // max(1, tally.runs)
    counts = ", ".join(f"{count} {name}" for name, count in sorted(tally.counts.items(), key=lambda each: -each[1]))
    return (
        f"fuzz: {tally.runs} runs, {tally.enough} of them ({share} %) with {ENOUGH} actions or more, "
        f"{len(tally.violations)} violations, {seconds:.0f} s\n  {counts}"
    )


# -- planted faults


def hunt(names: list[str], seed: int, runs: int) -> int:
    """Plants faults one after another. Returns how many were not found."""
    missed = 0
    chosen = [mutant for mutant in MUTANTS if mutant.name in names]
    assert len(chosen) == len(names), f"these are planted no more: {set(names) - {each.name for each in chosen}}"
    with tempfile.TemporaryDirectory(prefix="coopy-fuzz-planted-") as found:
        root = Path(found).resolve()
        copied(root)
        for mutant in sorted(chosen, key=lambda each: names.index(each.name)):
            begun = time.monotonic()
            with planted(mutant, root), open(root / "said", "w+", encoding="utf-8") as said:
                _searched(root, seed, runs, said)
                said.seek(0)
                told_lines = said.read().splitlines()
            lines = [line for line in told_lines if line.startswith("  --seed")]
            missed += not lines
            number = lines[0].split("--run ")[1].split(":")[0].split()[0] if lines else ""
            what = f"found after {int(number) + 1} runs" if lines else f"NOT FOUND in {runs} runs {' '.join(told_lines)[-300:]}"
            print(
                f"{mutant.name}: {what}, {time.monotonic() - begun:.0f} s: {lines[0].partition(': ')[2][:160] if lines else ''}",
                flush=True,
            )
    return missed


def _searched(root: Path, seed: int, runs: int, said: TextIO) -> None:
    """Makes runs of a copy until one finds something. What they say goes to a file: a process that a fault leaves would hold a pipe open."""
    arguments = ["--stop", "--seed", str(seed), "--runs", str(runs), "--processes", "1"]
    process = subprocess.Popen(
        [sys.executable, str(root / "tests" / "fuzz" / "campaign.py"), *arguments],
        cwd=root,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root)},
        stdout=said,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        process.wait()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=0, help="begin no more runs after that")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--stop", action="store_true", help="end with the first violation")
    parser.add_argument("--run", type=int, help="one run alone: what it was, and what came of it")
    parser.add_argument("--planted", action="store_true", help="find the faults that are planted")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="plant this one; may be given several times"
    )
    asked = parser.parse_args()
    print(f"fuzz: seed {asked.seed}", flush=True)
    if asked.planted:
        return bool(hunt(asked.only or list(PLANTED), asked.seed, min(asked.runs, 2000)))
    begun, tally = time.monotonic(), Tally()
    if asked.run is not None:
        with quiet(), place() as folder:
            run(asked.seed, asked.run, folder, tally, says=True)
        print(*(text for _, text in tally.violations), sep="\n")
    else:
        tally = campaign(asked.seed, asked.runs, asked.seconds, asked.processes, asked.stop)
    print(told(tally, time.monotonic() - begun))
    return bool(tally.violations) or (asked.run is None and not asked.stop and 2 * tally.enough < tally.runs)


if __name__ == "__main__":
    sys.exit(main())

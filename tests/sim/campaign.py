"""Lives of a cluster of three nodes in one process, under a simulated clock and network: what is promised must hold in each.

    python tests/sim/campaign.py [--lives N] [--seed S] [--processes N] [--seconds T] [--stop]
    python tests/sim/campaign.py --seed S --life N [--lines]
    python tests/sim/campaign.py --planted [--only NAME]... [--lives N] [--seed S]

A seed and a number make the same life each time, to the last switch of threads: the digest that a life alone prints says so, and
--lines prints what happened in it. What a life is made of is in `sim.life`, and how it is made the same each time in `sim.world`.

With --planted each fault of PLANTED is put into a copy of coopy, and lives are lived until one finds it.

The exit status is 1 if anything was violated, or a planted fault was not found.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash.mutants import MUTANTS, copied, planted
from sim.life import Life, quiet

PLACES = Path("/dev/shm")
CHUNK = 20
LIFE_S = 100.0
"""A life that takes longer hangs: it ends its process, with a word of where."""
PLANTED = (
    "a-caller-is-answered-before-a-majority-has-the-call",
    "the-table-of-applied-batches-is-forgotten",
    "messages-are-applied-out-of-order",
    "the-place-in-the-line-is-lost-at-a-restart",
    "two-processes-send-as-one-incarnation",
)


@dataclass
class Tally:
    """What came of some lives."""

    lives: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.lives += other.lives
        self.counts += other.counts
        self.violations += other.violations


@contextmanager
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="coopy-sim-", dir=PLACES if PLACES.is_dir() else None) as found:
        yield Path(found)


def live(seed: int, number: int, folder: Path, tally: Tally, keep_lines: bool = False) -> Life:
    """Lives a life, and adds it to the tally."""
    life = Life(f"{seed} {number}", folder / str(number), keep_lines)
    tally.lives += 1
    try:
        life.run()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        life.violations.append(f"went wrong: {type(error).__name__}: {error} at {where.filename}, line {where.lineno}")
    tally.counts += life.counts
    tally.violations += [(number, text) for text in life.violations]
    return life


def some(seed: int, numbers: list[int], stop: bool) -> Tally:
    tally = Tally()
    with quiet(), place() as folder:
        for number in numbers:
            faulthandler.dump_traceback_later(LIFE_S, exit=True)
            live(seed, number, folder, tally)
            faulthandler.cancel_dump_traceback_later()
            if stop and tally.violations:
                break
    return tally


def campaign(seed: int, lives: int, seconds: float, processes: int, stop: bool) -> Tally:
    tally, begun = Tally(), time.monotonic()
    chunks = [list(range(first, min(first + CHUNK, lives))) for first in range(0, lives, CHUNK)]
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
                        print(f"  --seed {seed} --life {number}: {text[:1000]}", flush=True)
                    tally.add(found)
                    if stop and tally.violations:
                        return tally
                    if tally.lives % 500 < CHUNK:
                        passed = time.monotonic() - begun
                        print(f"{tally.lives} lives, {len(tally.violations)} violations, {passed:.0f} s", flush=True)
            except BrokenProcessPool:
                tally.violations.append((numbers[0], "the process ended"))
                print(f"  --seed {seed} --life {numbers[0]} to {numbers[-1]}: the process ended", flush=True)
                if stop:
                    return tally
    return tally


def told(tally: Tally, seconds: float) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(tally.counts.items(), key=lambda each: -each[1]))
    return f"sim: {tally.lives} lives, {len(tally.violations)} violations, {seconds:.0f} s\n  {counts}"


# -- planted faults


def hunt(names: Sequence[str], seed: int, lives: int) -> int:
    """Plants faults one after another. Returns how many were not found."""
    missed = 0
    chosen = [mutant for mutant in MUTANTS if mutant.name in names]
    assert len(chosen) == len(names), f"these are planted no more: {set(names) - {each.name for each in chosen}}"
    with tempfile.TemporaryDirectory(prefix="coopy-sim-planted-") as found:
        root = Path(found).resolve()
        copied(root)
        for mutant in sorted(chosen, key=lambda each: names.index(each.name)):
            begun = time.monotonic()
            with planted(mutant, root):
                done = subprocess.run(
                    [
                        sys.executable,
                        str(root / "tests" / "sim" / "campaign.py"),
                        *("--stop", "--processes", "1", "--seed", str(seed), "--lives", str(lives)),
                    ],
                    cwd=root,
                    env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root)},
                    capture_output=True,
                    text=True,
                    check=False,
                )
            lines = [line for line in done.stdout.splitlines() if line.startswith("  --seed")]
            missed += not lines
            number = lines[0].split("--life ")[1].split(":")[0].split()[0] if lines else ""
            what = f"found after {int(number) + 1} lives" if lines else f"NOT FOUND in {lives} lives {done.stderr[-300:]}"
            why = lines[0].partition(": ")[2][:160] if lines else ""
            print(f"{mutant.name}: {what}, {time.monotonic() - begun:.0f} s: {why}", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=0, help="begin no more lives after that")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--stop", action="store_true", help="end with the first violation")
    parser.add_argument("--life", type=int, help="one life alone: what came of it, and its digest")
    parser.add_argument("--lines", action="store_true", help="with --life: what happened in it")
    parser.add_argument("--planted", action="store_true", help="find the faults that are planted")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="plant this one; may be given several times"
    )
    asked = parser.parse_args()
    print(f"sim: seed {asked.seed}", flush=True)
    if asked.planted:
        return bool(hunt(asked.only or PLANTED, asked.seed, asked.lives))
    begun, tally = time.monotonic(), Tally()
    if asked.life is not None:
        with quiet(), place() as folder:
            life = live(asked.seed, asked.life, folder, tally, asked.lines)
        print(*life.lines, *(text for _, text in tally.violations), f"digest {life.digest}", sep="\n")
    else:
        tally = campaign(asked.seed, asked.lives, asked.seconds, asked.processes, asked.stop)
    print(told(tally, time.monotonic() - begun))
    return bool(tally.violations)


if __name__ == "__main__":
    sys.exit(main())

"""Every system call fails, at every point of every operation, in every way in which it can: what is promised must hold.

    python tests/failing/campaign.py [--operation NAME]... [--call KIND]... [--every N] [--all] [--processes N]
    python tests/failing/campaign.py --case "OPERATION | sync, mapped | pwrite 3 ENOSPC"

A case is an operation, a setting (durability, and whether the journal is written through a map), and a
fault: the n-th call of a kind during the operation fails in a certain way, once or from then on. The
operation is first done with no fault, which counts the calls. After each case `failing.world` looks at all
that was told, at the system as it goes on, at what a kill would leave, at what closing leaves, and at what is
left open; after a tenth of the cases the power is cut, too, at several moments.

The exit status is 1 if anything was violated.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash.power import small_segments
from failing.calls import TOGETHER, Failing, Fault, ways
from failing.operations import OPERATIONS
from failing.world import Hang, Setting, Violation, World, place, told

PATIENCE_S = 30.0
CUT_SHARE = 0.1
ALL_WAYS = 1
"""Up to this call of a kind it fails in all ways; later ones in a fourth of them, in turn."""
PLACES = Path("/dev/shm")


@dataclass(frozen=True)
class Case:
    operation: str
    setting: Setting
    fault: Fault

    def __str__(self) -> str:
        return f"{self.operation} | {self.setting} | {self.fault}"


@dataclass
class Row:
    """What came of the cases of one operation in one setting."""

    cases: Counter[str] = field(default_factory=Counter)
    """By kind of call."""
    violations: list[tuple[Case, str]] = field(default_factory=list)
    not_fired: int = 0
    cuts: int = 0
    seconds: float = 0.0


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Raises `Hang` in the main thread, and again and again, once it has taken too long."""

    def ring(number: int, frame: object) -> None:
        raise Hang(f"nothing happened for {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    faulthandler.dump_traceback_later(12 * seconds, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def counts(failing: Failing, root: Path, operation: str, setting: Setting) -> dict[str, int]:
    """How often the operation makes each call, if none fails."""
    world = World(root / "counted", setting, failing, noted=False)
    world.root.mkdir(parents=True)
    try:
        with patience(PATIENCE_S):
            OPERATIONS[operation].ready(world)
            failing.arm(None)
            OPERATIONS[operation].run(world)
            failing.disarm()
            found = failing.counts()
            world.judge(False, random.Random(0), OPERATIONS[operation].check, OPERATIONS[operation].is_opened)
    finally:
        world.abandon()
        shutil.rmtree(world.root, ignore_errors=True)
    return found


def cases(counted: dict[str, int], operation: str, setting: Setting) -> Iterator[Case]:
    for kind, count in counted.items():
        for number in range(1, count + 1):
            for way in ways(kind) if number <= ALL_WAYS else ways(kind)[number % 4 :: 4]:
                for lasting in (False, True) if kind not in TOGETHER else (True,):
                    yield Case(operation, setting, Fault(kind, number, way, lasting))


def one(failing: Failing, root: Path, case: Case, row: Row, cut: bool) -> None:
    """Runs a case, and notes in the row what came of it."""
    operation = OPERATIONS[case.operation]
    chance = random.Random(str(case))
    world = World(root / "world", case.setting, failing, noted=cut and operation.noted)
    world.root.mkdir(parents=True)
    row.cases[case.fault.kind] += 1
    unraisable: list[str] = []
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda found: unraisable.append(f"{found.err_msg}: {found.exc_value!r}")
    threading.excepthook = lambda found: unraisable.append(f"a thread ended with {found.exc_value!r}")
    try:
        with patience(PATIENCE_S):
            operation.ready(world)
            since = len(world.noted.notes) if world.noted is not None else 0
            failing.arm(case.fault)
            operation.run(world)
            world.judge(case.fault.lasting, chance, operation.check, operation.is_opened)
            row.not_fired += not failing.fired
            if world.noted is not None:
                row.cuts += world.cut_power(chance, since)
            if unraisable:
                raise Violation(f"written to stderr: {unraisable[0]}")
    except (Violation, Hang) as error:
        row.violations.append((case, str(error)))
    except Exception as error:
        row.violations.append((case, f"went wrong: {told(error)} at {place(error)}"))
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        world.abandon()
        shutil.rmtree(world.root, ignore_errors=True)


def chosen(found: list[Case], every: int, wanted: list[str]) -> list[Case]:
    """One in ``every``, always the same ones, of each kind and place some."""
    found = [case for case in found if not wanted or case.fault.kind in wanted]
    return found if every == 1 else [case for case in found if random.Random(f"{case} chosen").random() < 1 / every]


def job(operation: str, setting: Setting, every: int, wanted: list[str], only: Case | None = None) -> Row:
    """All cases of an operation in a setting."""
    row, begun = Row(), time.monotonic()
    logging.getLogger("coopy").setLevel(logging.CRITICAL)
    root = Path(tempfile.mkdtemp(prefix="coopy-failing-", dir=PLACES if PLACES.is_dir() else None))
    try:
        with small_segments(), Failing().installed() as failing:
            found = (
                [only]
                if only
                else chosen(list(cases(counts(failing, root, operation, setting), operation, setting)), every, wanted)
            )
            for case in found:
                one(failing, root, case, row, cut=bool(only) or random.Random(f"{case} cut").random() < CUT_SHARE)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    row.seconds = time.monotonic() - begun
    return row


def jobs(operations: list[str]) -> list[tuple[str, Setting]]:
    return [
        (name, Setting(durability, mapped))
        for name in operations or OPERATIONS
        for durability in OPERATIONS[name].durabilities
        for mapped in OPERATIONS[name].ways
    ]


def campaign(operations: list[str], wanted: list[str], every: int, processes: int) -> dict[tuple[str, Setting], Row]:
    rows: dict[tuple[str, Setting], Row] = {}
    todo, done = jobs(operations), 0
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(job, name, setting, every, wanted): (name, setting) for name, setting in todo}
        for future in as_completed(running):
            name, setting = running[future]
            done += 1
            try:
                row = rows[name, setting] = future.result()
            except Exception as error:
                row = rows[name, setting] = Row()
                row.violations.append((Case(name, setting, Fault("none", 0, "none", False)), f"went wrong: {told(error)}"))
            print(
                f"{done:3} of {len(todo)}  {name}, {setting}: {sum(row.cases.values())} cases, {row.cuts} power cuts, "
                f"{len(row.violations)} violations, {row.seconds:.0f} s",
                flush=True,
            )
    return rows


def table(rows: dict[tuple[str, Setting], Row]) -> str:
    """Operation by call: cases, and violations if there are any."""
    cases: Counter[tuple[str, str]] = Counter()
    violations: Counter[tuple[str, str]] = Counter()
    for (name, _), row in rows.items():
        for kind, count in row.cases.items():
            cases[name, kind] += count
        for case, _ in row.violations:
            violations[name, case.fault.kind] += 1
    kinds = sorted({kind for _, kind in cases}, key=lambda kind: (kind in TOGETHER, kind))
    names = list(dict.fromkeys(name for name, _ in rows))
    lines = [["operation", *kinds, "all"]]
    for name in [*names, "all"]:
        line = [name]
        for kind in [*kinds, "all"]:
            where = [key for key in cases if name in (key[0], "all") and kind in (key[1], "all")]
            count, bad = sum(cases[key] for key in where), sum(violations[key] for key in where)
            line.append(f"{count}{f' ({bad})' if bad else ''}" if count else "")
        lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width) for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def parsed(text: str) -> Case:
    operation, setting, fault = (part.strip() for part in text.split("|"))
    durability, mapped = setting.split(", ")
    kind, number, way = fault.removesuffix(" from then on").split(" ", 2)
    return Case(
        operation, Setting(durability, mapped == "mapped"), Fault(kind, int(number), way, fault.endswith(" from then on"))
    )


def grouped(rows: dict[tuple[str, Setting], Row]) -> Iterator[str]:
    """Violations that say the same of the same operation and call are one line, with the first case."""
    found: dict[tuple[str, str, str], list[Case]] = {}
    for row in rows.values():
        for case, text in row.violations:
            short = text.split(": ")[0] if text.startswith("not ours") else text
            for pattern in (r"\[Errno \d+\] [^.]*", r"/\S*", r"\d+", r"\b(Make room|Close files|See to|To be read).*"):
                short = re.sub(pattern, "", short)
            short = short[:120]
            found.setdefault((case.operation, case.fault.kind, short), []).append(case)
            texts.setdefault((case.operation, case.fault.kind, short), text)
    for key, alike in sorted(found.items(), key=lambda each: -len(each[1])):
        yield f"{len(alike):5} x  {alike[0]}\n          {texts[key]}"


texts: dict[tuple[str, str, str], str] = {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operation", action="append", default=[], choices=list(OPERATIONS), metavar="NAME")
    parser.add_argument("--call", action="append", default=[], metavar="KIND")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="run one case in N")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--case", help="run one case, as a violation names it")
    parser.add_argument("--list", action="store_true", help="the operations")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(OPERATIONS))
        return 0
    if asked.case:
        case = parsed(asked.case)
        row = job(case.operation, case.setting, 1, [], case)
        print("\n".join(f"{case}\n    {text}" for case, text in row.violations) or "no violation")
        return bool(row.violations)
    begun = time.monotonic()
    rows = campaign(asked.operation, asked.call, asked.every, asked.processes)
    print()
    for line in grouped(rows):
        print(line)
    total, bad = sum(sum(row.cases.values()) for row in rows.values()), sum(len(row.violations) for row in rows.values())
    print(f"\n{table(rows)}\n")
    print(
        f"faults: {total} cases, {sum(row.cuts for row in rows.values())} power cuts, {bad} violations, "
        f"{time.monotonic() - begun:.0f} s"
    )
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())

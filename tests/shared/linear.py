"""Histories of processes that share a directory and are killed, against the checker of the cluster: `make shared`.

    python tests/shared/linear.py --runs 200

In each run four processes with three threads each call and read, with `latest()`, as the callers of simulated nodes do; some of them are killed, mostly
the one that writes, and others take their place. What they saw must have an order that explains it, and each deposit must be there once.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from simulation.checker import Operation, Undecided, exactly_once, linearizable  # noqa: E402
from simulation.domain import Bank  # noqa: E402

from coopy import control, init_system  # noqa: E402
from coopy.replication import local  # noqa: E402

PROCESSES, THREADS = 4, 3
REGISTERS, COUNTERS = 3, 2
SECONDS = 1.0
PAUSE_S = 0.01
OPERATIONS = ("add", "get", "read", "write", "compare_and_set")
WEIGHTS = (25, 15, 25, 15, 20)


def opened(path: str, durability: str) -> Any:
    return init_system(Bank, path, shared=True, durability=durability, validation="off")


def forked(function: Callable[[], object]) -> int:
    """Runs a function in a child, which has nothing of the parent's but its modules. Returns its pid."""
    pid = os.fork()
    if not pid:
        _run_and_end(function)
    return pid


def _run_and_end(function: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        function()
        code = 0
    finally:
        os._exit(code)


def work(path: str, durability: str, number: int, seed: str) -> None:
    """Calls until it is killed. Of each operation there is a line before it is asked for, and one once it is answered."""
    bank = opened(path, durability)
    file = os.open(f"{path}.{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(process: int, chance: random.Random) -> None:
        known: dict[str, Any] = {}
        for count in range(1, 1_000_000):
            op, args = chosen(chance, known, process * 1_000_000 + count)
            said = [process, op, args, time.monotonic_ns()]
            os.write(file, f"{json.dumps([count, said])}\n".encode())
            try:
                if op in ("read", "get"):
                    with control(bank).latest():
                        value = getattr(bank, op)(*args)
                else:
                    value = getattr(bank, op)(*args)
            except Exception as error:
                os.write(file, f"{json.dumps([count, process, repr(error)])}\n".encode())
                continue
            os.write(file, f"{json.dumps([count, process, time.monotonic_ns(), value])}\n".encode())
            if op == "read":
                known[args[0]] = value
            time.sleep(chance.uniform(0, PAUSE_S))

    for thread in range(THREADS):
        process = number * THREADS + thread
        threading.Thread(target=run, args=(process, random.Random(f"{seed} {process}"))).start()
    threading.Event().wait()


def chosen(chance: random.Random, known: dict[str, Any], value: int) -> tuple[str, list[Any]]:
    """Returns what is done next. Nobody else ever writes this value."""
    (op,) = chance.choices(OPERATIONS, WEIGHTS)
    if op in ("add", "get"):
        key = f"counter{chance.randrange(COUNTERS)}"
        return op, [key] if op == "get" else [key, chance.randrange(1, 10), str(value)]
    key = f"register{chance.randrange(REGISTERS)}"
    if op == "compare_and_set":
        return op, [key, known.get(key), value]
    return op, [key] if op == "read" else [key, value]


def history(path: str, numbers: int) -> tuple[list[Operation], list[str]]:
    """Returns what was seen, and what was raised that is no loss of a process."""
    found: list[Operation] = []
    raised: list[str] = []
    for number in range(numbers):
        asked: dict[tuple[int, int], list[Any]] = {}
        file = Path(f"{path}.{number}")
        for line in file.read_text().splitlines() if file.exists() else ():
            if not line.endswith("]"):
                continue  # Its process was killed as it wrote.
            count, *rest = json.loads(line)
            if len(rest) == 1:
                process, op, args, invoked_ns = rest[0]
                asked[process, count] = [process, op, tuple(args), invoked_ns, None, None]
            elif len(rest) == 2:
                raised.append(rest[1])
            else:
                asked[rest[0], count][4:] = rest[1:]
        found += [Operation(*each) for each in asked.values()]
    return found, raised


def run(folder: Path, seed: str, seconds: float = SECONDS) -> tuple[int, list[str]]:
    """One run. Returns how many operations were answered, and what is wrong with them."""
    chance, path = random.Random(seed), str(folder / "data")
    durability = chance.choice(["buffered", "sync"])
    living: dict[int, int] = {}
    numbers = 0
    until = math.inf
    while time.monotonic() < until:
        while len(living) < PROCESSES:
            number = numbers
            living[forked(lambda: work(path, durability, number, seed))] = number
            numbers += 1
        if until == math.inf:
            # On a busy machine they take seconds to begin.
            while not any(Path(f"{path}.{each}").exists() for each in range(numbers)):
                time.sleep(0.01)
            until = time.monotonic() + seconds
        time.sleep(chance.uniform(0.05, 0.4))
        writer = local.published(path)
        victim = (
            writer.pid if writer is not None and writer.pid in living and chance.random() < 0.6 else chance.choice([*living])
        )
        _end(living, victim)
    for pid in list(living):
        _end(living, pid)
    ended = forked(lambda: Path(f"{path}.applied").write_text(json.dumps(opened(path, durability).applied())))
    assert os.waitstatus_to_exitcode(os.waitpid(ended, 0)[1]) == 0, f"{path} could not be opened"
    applied = json.loads(Path(f"{path}.applied").read_text())
    seen, raised = history(path, numbers)
    answered = sum(each.response_ns is not None for each in seen)
    return answered, [*linearizable(seen), *exactly_once(seen, applied), *raised]


def _end(living: dict[int, int], pid: int) -> None:
    del living[pid]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--minutes", type=float, default=60.0, help="begin no run after so long")
    given = parser.parse_args()
    until, wrong, undecided, number, answered = time.monotonic() + given.minutes * 60, 0, 0, 0, 0
    for number in range(1, given.runs + 1):
        with tempfile.TemporaryDirectory(prefix="coopy-linear-", ignore_cleanup_errors=True) as folder:
            try:
                count, found = run(Path(folder), f"{given.seed}/{number}")
            except Undecided:
                undecided += 1
                continue
            answered += count
            if found:
                wrong += 1
                print(f"run {given.seed}/{number}:\n" + "\n".join(found), flush=True)
        if time.monotonic() > until:
            break
    print(f"seed {given.seed}: {number} runs, {answered} operations answered; {wrong} wrong, {undecided} undecided", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())

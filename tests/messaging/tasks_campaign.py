"""Tasks whose workers are killed again and again: is every one done, and none twice but where it must be?

    python -m messaging.tasks_campaign --tasks 100000 --seconds-between 1 --writer-every 10      # in tests/; `make tasks` does it

Four programs work for a queue that is a part of a system. Once a second one of them is killed with -9, every tenth time the one that writes; another is started
in its place. Half of the tasks note in a file that they have begun and ended, which is an effect outside of the system; the other half count in
the system, by an action that ends the task as well. Then it is asked:

    lost         tasks without any effect: none may be
    unexplained  tasks that ended twice outside of the system, although nobody was killed between the first end and its being said: none may be
    not once     tasks whose effect in the system did not happen exactly once: none may be
    again after  how long after a kill a task in the middle of which it came was begun by another: the median must be below 100 ms

The process that asks keeps no copy of the state (``copy=False``), so it never writes itself.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from program import environment

from coopy import control, init_system, readonly
from coopy.messaging import TaskQueue, Tasks, current_task
from coopy.messaging.task_records import Options

WORKERS = 4
BATCH = 500
AHEAD = 4000
"""So many tasks are sent ahead of those that are done."""
SLOW, SLOW_S = 5, 0.02
"""One of so many tasks takes so long; the others take no time."""
NOTE = struct.Struct("=cqqd")
BEGUN, ENDED = b"b", b"e"
GIVEN_UP_S = 120.0
AGAIN_S_MAX = 0.1


class Ledger:
    """What tasks have an effect on, and the tasks."""

    def __init__(self) -> None:
        self.tasks = Tasks()
        self.counts: dict[int, int] = {}

    def change_tasks(self, *change: Any) -> Any:
        return self.tasks.change_tasks(*change)

    @readonly
    def see_tasks(self, *question: Any) -> Any:
        return self.tasks.see_tasks(*question)

    def book(self, claim: Any, number: int) -> None:
        if self.tasks.finish(claim):
            self.counts[number] = self.counts.get(number, 0) + 1

    @readonly
    def booked(self) -> dict[int, int]:
        return dict(self.counts)


class Here:
    """What a worker has open."""

    system: Any = None
    notes = -1


def note(kind: bytes, number: int) -> None:
    os.write(Here.notes, NOTE.pack(kind, number, os.getpid(), time.monotonic()))


def outside(number: int) -> None:
    """A task whose effect is outside of the system."""
    note(BEGUN, number)
    if not number % SLOW:
        time.sleep(SLOW_S)
    note(ENDED, number)


def inside(number: int) -> None:
    """A task whose effect is an action of the system."""
    note(BEGUN, number)
    if not number % SLOW:
        time.sleep(SLOW_S)
    Here.system.book(current_task().claim, number)


def opened(path: Path, durability: str, copy: bool = True) -> Any:
    return init_system(
        Ledger,
        path / "ledger",
        shared=True,
        copy=copy,
        durability=durability,
        snapshot_growth=8 << 20,
        keep=2,
        validation="off",
    )


def work(path: Path, durability: str, prefetch: int) -> None:
    """What a worker's program does."""
    Here.notes = os.open(path / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    Here.system = opened(path, durability)
    TaskQueue(system=Here.system).worker(prefetch=prefetch).run()
    control(Here.system).close()


class Campaign:
    """One run, in a folder."""

    def __init__(self, path: Path, asked: argparse.Namespace) -> None:
        self.path = path
        self.asked = asked
        self.chance = random.Random(asked.seed)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.killed: dict[int, float] = {}
        self.writers = 0

    def start(self) -> None:
        program = "from messaging import tasks_campaign as c; from pathlib import Path; import sys; c.work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))"
        found = subprocess.Popen(
            [sys.executable, "-c", program, str(self.path), self.asked.durability, str(self.asked.prefetch)],
            env=environment(PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        )
        self.processes[found.pid] = found

    def kill(self, system: Any) -> None:
        number = len(self.killed) + 1
        pid = self.chance.choice(list(self.processes))
        if not number % self.asked.writer_every:
            pid = control(system).status()["writer"]
            self.writers += 1
        process = self.processes.pop(pid)
        self.killed[pid] = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        process.wait()
        self.start()

    def run(self) -> dict[int, int]:
        """Sends all tasks while workers are killed, until all are over. Returns what was counted in the system."""
        asked, sent = self.asked, 0
        for _ in range(WORKERS):
            self.start()
        while not (self.path / "ledger" / "coopy.json").exists():
            time.sleep(0.01)
        system = opened(self.path, asked.durability, copy=False)
        began = time.monotonic()
        kill_at, ended, progress_at = began + asked.seconds_between, 0, began
        while ended < asked.tasks:
            if sent < asked.tasks and sent - ended < AHEAD:
                numbers = range(sent, min(asked.tasks, sent + BATCH))
                functions = ("messaging.tasks_campaign:outside", "messaging.tasks_campaign:inside")
                options = Options(deliveries=1000, keep=0.0)
                system.change_tasks("put", [(functions[each % 2], ((each,), {}), options) for each in numbers])
                sent += len(numbers)
            now = time.monotonic()
            if now >= kill_at:
                self.kill(system)
                kill_at = time.monotonic() + asked.seconds_between
            found = system.see_tasks("counts").get("done", 0)
            if found > ended:
                ended, progress_at = found, now
            elif now > progress_at + GIVEN_UP_S:
                print(f"nothing has ended for {GIVEN_UP_S:g} s: {system.see_tasks('counts')}")
                break
            time.sleep(0.02)
        self.took = time.monotonic() - began
        self.counts = system.see_tasks("counts")
        booked: dict[int, int] = system.booked()
        control(system).close()
        return booked

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait()

    def told(self, booked: dict[int, int]) -> bool:
        """Says what has come of it. Returns whether all is well."""
        asked = self.asked
        notes = list(NOTE.iter_unpack((self.path / "notes").read_bytes()))
        begun: dict[int, list[tuple[float, int]]] = defaultdict(list)
        ends: dict[int, list[tuple[float, int]]] = defaultdict(list)
        of: dict[int, list[int]] = defaultdict(list)
        """By process: the tasks that have ended in it, in order."""
        for kind, number, pid, moment in notes:
            (begun if kind == BEGUN else ends)[number].append((moment, pid))
            if kind == ENDED:
                of[pid].append(number)
        lost = [each for each in range(0, asked.tasks, 2) if each not in ends]
        twice = {number: found for number, found in ends.items() if len(found) > 1}
        last = {pid: set(numbers[-asked.prefetch :]) for pid, numbers in of.items()}
        unexplained = [
            number
            for number, found in twice.items()
            for _, pid in sorted(found)[:-1]
            if pid not in self.killed or number not in last[pid]
        ]
        not_once = [each for each in range(1, asked.tasks, 2) if booked.get(each) != 1]
        again = sorted(
            next_at - self.killed[pid]
            for number, found in begun.items()
            for (_, pid), (next_at, _) in zip(sorted(found), sorted(found)[1:], strict=False)
            # One that had ended, and of which that was not said, is given with the others of its kind one after the other.
            if pid in self.killed and pid not in {each for _, each in ends.get(number, ())}
        )
        left = {state: self.counts[state] for state in ("waiting", "later", "blocked", "running")}
        print(
            f"{asked.tasks:,} tasks, {asked.durability}, prefetch {asked.prefetch}, in {self.took:.1f} s: {asked.tasks / self.took:,.0f} a second; "
            f"{len(self.killed)} kills, {self.writers} of the one that writes on purpose; seed {asked.seed}"
        )
        median = statistics.median(again) if again else 0.0
        print(
            f"lost {len(lost)}, unexplained {len(unexplained)}, not once {len(not_once)}; twice outside of the system {len(twice)}; dead {self.counts.get('dead', 0)}"
        )
        if again:
            print(
                f"again after: {len(again)} times, median {median * 1000:.1f} ms, 95 of 100 {again[int(len(again) * 0.95)] * 1000:.1f}, longest {again[-1] * 1000:.1f}"
            )
        return not (lost or unexplained or not_once or any(left.values()) or self.counts.get("dead")) and median < AGAIN_S_MAX


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--seconds-between", type=float, default=1.0)
    parser.add_argument("--writer-every", type=int, default=10)
    parser.add_argument("--durability", default="sync")
    parser.add_argument("--prefetch", type=int, default=1)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coopy-tasks-") as folder:
        campaign = Campaign(Path(folder), asked)
        try:
            booked = campaign.run()
        finally:
            campaign.close()
        return int(not campaign.told(booked))


if __name__ == "__main__":
    # Workers find the functions by the name of the module.
    from messaging import tasks_campaign

    sys.exit(tasks_campaign.main())

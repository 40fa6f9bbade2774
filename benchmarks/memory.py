"""How much memory a load, a snapshot and an open system take, in times of the state: for objects, for arrays, and for bytes.

    python -m benchmarks.memory [--megabytes N] [--only KIND] [--dir DIR]

The state is what a process has more once it has opened the directory than before. "load" is the most that it had meanwhile; "child" is the most
that only the child had that wrote the snapshot, and not the process as well: it begins with all that the process has, and a page
is its own once one of the two has written to it. Some fifty times a second another process looks at what the kernel says of them. "a
system" is how much more memory a process takes for each small system that it opens. Linux only.

Arrays are numpy's where numpy is installed; elsewhere a class stands for them that gives pickle its buffer as they do.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import coopy

try:
    import numpy
except ImportError:
    numpy = None

MB = 1_000_000
PER_ARRAY = 8 * MB
_LOOK_S = 0.02


class Vector:
    """A buffer that pickle writes without a copy, as it does arrays."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Vector, (pickle.PickleBuffer(self.data),)


class Item:
    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"item {number}"
        self.price = number * 1.5


class State:
    def __init__(self, held: Any = ()) -> None:
        self.held = held
        self.count = 0

    def touch(self) -> None:
        self.count += 1


def objects(megabytes: int) -> Any:
    return [Item(number) for number in range(megabytes * MB // 350)]


def arrays(megabytes: int) -> Any:
    count = max(megabytes * MB // PER_ARRAY, 1)
    if numpy is not None:
        return [numpy.random.default_rng(number).random(PER_ARRAY // 8) for number in range(count)]
    return [Vector(bytearray(os.urandom(PER_ARRAY))) for _ in range(count)]


def array(megabytes: int) -> Any:
    if numpy is not None:
        return numpy.random.default_rng(1).random(megabytes * MB // 8)
    return Vector(bytearray(os.urandom(megabytes * MB)))


def texts(megabytes: int) -> Any:
    return [os.urandom(MB) for _ in range(megabytes)]


KINDS = {"objects": objects, "arrays": arrays, "one array": array, "bytes": texts}


def private(pid: int) -> int:
    """Bytes that only this process has; 0 if it has ended."""
    return sum(_rollup(pid, ("Private_Clean:", "Private_Dirty:")))


def resident(name: str = "VmRSS") -> int:
    """Bytes that this process has in memory; with "VmHWM" the most it ever had."""
    with open("/proc/self/status", encoding="ascii") as file:
        [found] = [int(line.split()[1]) * 1024 for line in file if line.startswith(name)]
    return found


def children(pid: int) -> list[int]:
    """The children of a process."""
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            found += map(int, file.read().split())
    return found


def _rollup(pid: int, names: tuple[str, ...]) -> list[int]:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            return [int(line.split()[1]) * 1024 for line in file if line.startswith(names)]
    except OSError:
        return []


class Looking:
    """Looks at the children of a process until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self.most = max([self.most, *map(private, children(self._pid))])

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def say(*figures: object) -> None:
    """In the process that is looked at: says something, and waits until it is told to go on."""
    print(*figures, flush=True)
    sys.stdin.readline()


def make(kind: str, megabytes: str, directory: str) -> None:
    """In a process of its own: a directory that holds a state."""
    coopy.init_system(State(KINDS[kind](int(megabytes))), directory, validation="off").close()


def live(directory: str) -> None:
    """In a process of its own: the directory is opened, and two snapshots are taken."""
    bare = resident()
    began = time.perf_counter()
    system = coopy.init_system(State, directory, validation="off")
    took = time.perf_counter() - began
    most = resident("VmHWM")
    wait_for_children()
    say(most - bare, resident() - bare, took)
    for _ in range(2):
        system.touch()
        began = time.perf_counter()
        coopy.control(system).take_snapshot()
        say(time.perf_counter() - began)
    system.close()


def systems(directory: str) -> None:
    """In a process of its own: opens small systems, and says what each has taken."""
    opened = []
    before = 0
    for number in range(41):
        path = os.path.join(directory, str(number))
        opened.append(coopy.init_system(State, path, durability="buffered", validation="off"))
        for _ in range(1000):
            opened[-1].touch()
        if number == 0:
            wait_for_children()
            before = resident()
    wait_for_children()
    say((resident() - before) / 40)
    for each in opened:
        each.close()


def wait_for_children() -> None:
    """Those by which a start checks itself."""
    while children(os.getpid()):
        time.sleep(0.1)
    gc.collect()


class Process:
    """One of those two."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "benchmarks.memory", *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid

    def heard(self) -> list[float]:
        assert self._process.stdout is not None
        return [float(each) for each in self._process.stdout.readline().split()]

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(kind: str, megabytes: int, directory: str) -> None:
    path = os.path.join(directory, kind.replace(" ", "-"))
    Process("make", kind, str(megabytes), path).end()
    [size] = [os.path.getsize(os.path.join(path, name)) for name in os.listdir(path) if name.startswith("snapshot")]
    process = Process("live", path)
    peak, state, load_s = process.heard()
    child, took = 0.0, []
    for _ in range(2):
        looking = Looking(process.pid)
        process.go_on()
        took += process.heard()
        looking.stop()
        child = max(child, looking.most)
    process.end()
    print(
        f"{kind:<10} {state / MB:>8.0f} {size / MB:>8.0f} {peak / state:>8.2f} {load_s:>8.2f} {child / state:>8.2f} {min(took):>8.2f}",
        flush=True,
    )


def main() -> None:
    inside = {"make": make, "live": live, "systems": systems}.get(sys.argv[1] if len(sys.argv) > 1 else "")
    if inside is not None:
        inside(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=320, help="about the size of the state (320)")
    parser.add_argument("--only", default="", help="only the kinds whose name holds this word")
    parser.add_argument("--dir", default=".", help="where to make the data")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix=".bench-data-", dir=os.path.abspath(options.dir))
    print(f"{'':<10} {'state':>8} {'file':>8} {'load':>8} {'':>8} {'child':>8} {'':>8}")
    print(f"{'':<10} {'MB':>8} {'MB':>8} {'x':>8} {'s':>8} {'x':>8} {'s':>8}")
    try:
        for kind in KINDS:
            if options.only in kind:
                measure(kind, options.megabytes, directory)
        if options.only in "a system":
            opening = Process("systems", directory)
            [each] = opening.heard()
            opening.end()
            print(f"{'a system':<10} {each / MB:>8.2f}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()

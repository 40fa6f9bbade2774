"""Structures: coopy.batteries beside diskcache, PySyncObj in memory and redis-server, in one run and in turn.

    python -m benchmarks.batteries [--calls N] [--rounds N] [--dir DIR] [--json FILE] [--check] [--only WORD] [--no-cluster]

First one machine, and one thread. Each measurement is a process of its own, which makes 1,000 calls first; the peers run in a venv of their own
(`.bench-venvs/batteries`, made on the first run). coopy "buffered" survives the end of the process, as diskcache does with its own settings (a
WAL of SQLite with synchronous=NORMAL), "sync" a power cut. PySyncObj is one node without a journal: what it has is in memory alone.
redis-server is asked through a socket of its own, with appendonly and appendfsync=everysec. What is not to be had is left
out, with the reason.

Then a cluster: three processes on this machine, at the node that leads. One caller after the other, and 1,000 at once: tasks of
asyncio with coopy.aio, callbacks of PySyncObj, of which each makes the next call. Each action of coopy is on the disks of two nodes when its caller
is told; PySyncObj is as it comes, without a journal, and has it in the memory of two.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.workload import keep_busy

VENV = os.path.abspath(os.path.join(".bench-venvs", "batteries"))
PACKAGES = ["diskcache==5.6.3", "pysyncobj==0.3.17"]
SET_GOAL, GET_GOAL, INC_GOAL = 5.0, 20.0, 5.0
CALLERS = 1000
WARM = 1000
GOALS = (
    ("Dict set", "diskcache ratio", "diskcache", SET_GOAL),
    ("Dict get", "diskcache ratio", "diskcache", GET_GOAL),
    ("Counter inc", f"cluster ratio, {CALLERS:,} callers", f"PySyncObj on three nodes with {CALLERS:,} callers", INC_GOAL),
)
KEYS = [f"key{number}" for number in range(1000)]
OPERATIONS = ("Dict set", "Dict get", "Queue put", "Queue get", "Counter inc", "PriorityQueue put", "PriorityQueue get")
SYSTEMS = ("coopy buffered", "coopy sync", "diskcache", "PySyncObj", "redis")
SLOW = {"coopy sync": 20, "PySyncObj": 10, "diskcache": 5}
"""Of these fewer calls are made: one in so many."""

Call = Callable[[int], object]


class NotToBeHad(Exception):
    """What is to be measured is not there, and why."""


# -- what is called, each in a process of its own


def of_coopy(durability: str) -> Callable[[str, str, int], Call]:
    """Returns what makes the call of an operation of ours."""

    def make(operation: str, directory: str, count: int) -> Call:
        import coopy
        from coopy.batteries import Counter, Dict, PriorityQueue, Queue

        name, _, verb = operation.partition(" ")
        kinds: dict[str, Any] = {"Dict": Dict, "Queue": Queue, "Counter": Counter, "PriorityQueue": PriorityQueue}
        structure = kinds[name]()
        if verb == "get":
            # Made before it is opened: only the calls are to be measured.
            for number in range(count + WARM):
                if name == "Dict":
                    structure[KEYS[number % 1000]] = number
                elif name == "Queue":
                    structure.put(number)
                else:
                    structure.put((number % 10, number))
        system = coopy.init_system(structure, directory, durability=durability, validation="off", self_check=False)
        return calls_of_coopy(system)[operation]

    return make


def calls_of_coopy(system: Any) -> dict[str, Call]:
    """Returns the call of each operation; those of a system of one structure are to be made alone."""
    return {
        "Dict set": lambda number: system.__setitem__(KEYS[number % 1000], number),
        "Dict get": lambda number: system[KEYS[number % 1000]],
        "Queue put": lambda number: system.put(number),
        "Queue get": lambda number: system.get(),
        "Counter inc": lambda number: system.inc(),
        "PriorityQueue put": lambda number: system.put((number % 10, number)),
        "PriorityQueue get": lambda number: system.get(),
    }


def of_diskcache(operation: str, directory: str, count: int) -> Call:
    """Returns the call of diskcache for an operation: Index for a dict and a counter, Deque for a queue."""
    try:
        import diskcache
    except ImportError as error:
        raise NotToBeHad(f"diskcache is not installed: {error}") from None
    name, _, verb = operation.partition(" ")
    if name == "PriorityQueue":
        raise NotToBeHad("diskcache has no priority queue")
    if name == "Counter":
        cache = diskcache.Cache(directory)
        return lambda number: cache.incr("n")
    if name == "Dict":
        index = diskcache.Index(directory)
        if verb == "get":
            index.update((key, number) for number, key in enumerate(KEYS))
            return lambda number: index[KEYS[number % 1000]]
        return lambda number: index.__setitem__(KEYS[number % 1000], number)
    deque = diskcache.Deque(directory=directory)
    if verb == "get":
        with deque.transact():
            deque.extend(range(count + WARM))
        return lambda number: deque.popleft()
    return lambda number: deque.append(number)


def of_pysyncobj(operation: str, directory: str, count: int) -> Call:
    """Returns the call of PySyncObj's batteries for an operation, with sync=True: one node, in memory."""
    try:
        from pysyncobj import SyncObj, SyncObjConf
        from pysyncobj.batteries import ReplCounter, ReplDict, ReplPriorityQueue, ReplQueue
    except ImportError as error:
        raise NotToBeHad(f"PySyncObj is not installed: {error}") from None
    kinds: dict[str, Any] = {"Dict": ReplDict, "Queue": ReplQueue, "Counter": ReplCounter, "PriorityQueue": ReplPriorityQueue}
    name, _, verb = operation.partition(" ")
    structure = kinds[name]()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    node = SyncObj(f"127.0.0.1:{port}", [], consumers=[structure], conf=SyncObjConf(autoTickPeriod=0.001))
    until = time.monotonic() + 30
    while not node.isReady():
        if time.monotonic() > until:
            raise NotToBeHad("PySyncObj was not ready within 30 s")
        time.sleep(0.05)
    if verb == "get":
        for number in range(count + WARM):
            if name == "Dict":
                if number < 1000:
                    structure.set(KEYS[number], number, sync=True)
            else:
                structure.put(number if name == "Queue" else (number % 10, number), sync=True)
    return calls_of_pysyncobj(structure)[operation]


def calls_of_pysyncobj(structure: Any) -> dict[str, Call]:
    """Returns the call of each operation, as `calls_of_coopy`."""
    return {
        "Dict set": lambda number: structure.set(KEYS[number % 1000], number, sync=True),
        "Dict get": lambda number: structure[KEYS[number % 1000]],
        "Queue put": lambda number: structure.put(number, sync=True),
        "Queue get": lambda number: structure.get(sync=True),
        "Counter inc": lambda number: structure.inc(sync=True),
        "PriorityQueue put": lambda number: structure.put((number % 10, number), sync=True),
        "PriorityQueue get": lambda number: structure.get(sync=True),
    }


def of_redis(operation: str, directory: str, count: int) -> Call:
    """Returns the call of a redis-server for an operation, in its own protocol: no client is faster."""
    if shutil.which("redis-server") is None:
        raise NotToBeHad("redis-server is not on this machine")
    path = os.path.join(directory, "socket")
    settings = [
        "--port",
        "0",
        "--unixsocket",
        path,
        "--dir",
        directory,
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--save",
        "",
    ]
    server = subprocess.Popen(["redis-server", *settings], stdout=subprocess.DEVNULL)
    connection = socket.socket(socket.AF_UNIX)
    until = time.monotonic() + 10
    while connection.connect_ex(path):
        if time.monotonic() > until:
            server.kill()
            raise NotToBeHad("redis-server was not ready within 10 s")
        time.sleep(0.05)

    def ask(*words: object) -> bytes:
        parts = [str(word).encode() for word in words]
        connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return connection.recv(65536)

    name, _, verb = operation.partition(" ")
    if verb == "get":
        for number in range(count + WARM):
            if name == "Dict":
                ask("HSET", "d", KEYS[number % 1000], number)
            elif name == "Queue":
                ask("RPUSH", "q", number)
            else:
                ask("ZADD", "p", number % 10, number)
    calls: dict[str, Call] = {
        "Dict set": lambda number: ask("HSET", "d", KEYS[number % 1000], number),
        "Dict get": lambda number: ask("HGET", "d", KEYS[number % 1000]),
        "Queue put": lambda number: ask("RPUSH", "q", number),
        "Queue get": lambda number: ask("LPOP", "q"),
        "Counter inc": lambda number: ask("INCR", "n"),
        "PriorityQueue put": lambda number: ask("ZADD", "p", number % 10, number),
        "PriorityQueue get": lambda number: ask("ZPOPMIN", "p"),
    }
    ending.append(server.kill)
    return calls[operation]


ending: list[Callable[[], object]] = []
MAKERS: dict[str, Callable[[str, str, int], Call]] = {
    "coopy buffered": of_coopy("buffered"),
    "coopy sync": of_coopy("sync"),
    "diskcache": of_diskcache,
    "PySyncObj": of_pysyncobj,
    "redis": of_redis,
}


def nothing(number: int) -> object:
    """What each call does besides calling a structure."""
    return KEYS[number % 1000]


def measure(system: str, operation: str, directory: str, count: int) -> dict[str, Any]:
    """Returns the seconds that each call took, or why it is not to be measured."""
    try:
        call = MAKERS[system](operation, directory, count)
    except NotToBeHad as why:
        return {"why": str(why)}
    for number in range(WARM):
        call(number)
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    for number in range(count):
        call(number)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    # What the loop itself takes is not the structure's: it is a third of what a read takes.
    began, idle = time.perf_counter(), time.process_time()
    for number in range(count):
        nothing(number)
    seconds, cpu = seconds - (time.perf_counter() - began), cpu - (time.process_time() - idle)
    for end in ending:
        end()
    return {"seconds": seconds / count, "cpu": cpu / count}


# -- a cluster: nodes, each a process of its own, that do what the lines of standard input ask for


class CoopyNode:
    """A node of a cluster of ours that has one structure."""

    def __init__(self, directory: str, node: str, nodes: list[str], structure: str) -> None:
        import coopy
        from coopy import batteries

        self._coopy = coopy
        self._system: Any = coopy.init_system(
            getattr(batteries, structure),
            directory,
            cluster=nodes,
            node=node,
            password="password of nodes",
            validation="off",
            self_check=False,
            progress=lambda done, total: None,
        )

    async def serve(self) -> None:
        import coopy.aio
        from benchmarks.cluster import _answer_lines

        self._tasks: Any = await coopy.aio.open(self._system)
        await _answer_lines(self)
        await coopy.aio.close(self._tasks)

    async def do_status(self) -> dict[str, Any]:
        found = self._coopy.control(self._system).status()
        return {name: found[name] for name in ("state", "leader")}

    async def do_one(self, operation: str, calls: int) -> float:
        """Returns the seconds of a call of one caller after the other."""
        call = calls_of_coopy(self._system)[operation]
        return await asyncio.get_running_loop().run_in_executor(None, in_turn, call, calls)

    async def do_many(self, operation: str, calls: int) -> float:
        """Returns the seconds of a call, of so many tasks at once."""
        share, system = calls // CALLERS, self._tasks
        made: dict[str, Callable[[int], Any]] = {
            "Dict set": lambda number: system.set(KEYS[number % 1000], number),
            "Dict get": lambda number: system.get(KEYS[number % 1000]),
            "Queue put": lambda number: system.put(number),
            "Queue get": lambda number: system.get(),
            "Counter inc": lambda number: system.inc(),
            "PriorityQueue put": lambda number: system.put((number % 10, number)),
            "PriorityQueue get": lambda number: system.get(),
        }
        call = made[operation]

        async def caller() -> None:
            for number in range(share):
                await call(number)

        gc.collect()
        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return (time.perf_counter() - began) / (share * CALLERS)


class PySyncObjNode:
    """A node of PySyncObj that has one structure."""

    def __init__(self, node: str, nodes: list[str], structure: str) -> None:
        from pysyncobj import SyncObj, batteries

        self._structure: Any = getattr(batteries, f"Repl{structure}")()
        self._node: Any = SyncObj(node, [each for each in nodes if each != node], consumers=[self._structure])

    def serve(self) -> None:
        say({"value": None})
        for line in sys.stdin:
            what, *args = json.loads(line)
            try:
                say({"value": getattr(self, f"do_{what}")(*args)})
            except Exception as error:  # Whatever it is, who has asked is told.
                say({"error": f"{type(error).__name__}: {error}"})
        os._exit(0)

    def do_status(self) -> dict[str, Any]:
        leader = self._node.getStatus()["leader"]
        is_ready = self._node.isReady() and leader is not None
        return {"state": "ready" if is_ready else "starting", "leader": str(leader) if leader is not None else None}

    def do_one(self, operation: str, calls: int) -> float:
        return in_turn(calls_of_pysyncobj(self._structure)[operation], calls)

    def do_many(self, operation: str, calls: int) -> float:
        structure = self._structure
        if operation == "Dict get":
            return in_turn(calls_of_pysyncobj(structure)[operation], calls)
        made: dict[str, Callable[[int, Any], object]] = {
            "Dict set": lambda number, done: structure.set(KEYS[number % 1000], number, callback=done),
            "Queue put": lambda number, done: structure.put(number, callback=done),
            "Queue get": lambda number, done: structure.get(callback=done),
            "Counter inc": lambda number, done: structure.inc(callback=done),
            "PriorityQueue put": lambda number, done: structure.put((number % 10, number), callback=done),
            "PriorityQueue get": lambda number, done: structure.get(callback=done),
        }
        call = made[operation]

        def send(number: int, done: Callable[[bool], None]) -> None:
            call(number, lambda result, error: done(error == 0))

        took, refused = keep_busy(CALLERS, calls, send)
        # What was refused was not done: a round with that is no figure.
        return took / calls if not refused else -float(refused)


def in_turn(call: Call, calls: int) -> float:
    """Returns the seconds that a call takes, one after the other."""
    began = time.perf_counter()
    for number in range(calls):
        call(number)
    return (time.perf_counter() - began) / calls


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


IN_CLUSTER = {"Dict": ("set", "get"), "Queue": ("put", "get"), "Counter": ("inc",), "PriorityQueue": ("put", "get")}
ONE_CALLS, MANY_CALLS = {"coopy": 200, "PySyncObj": 20}, {"coopy": 100_000, "PySyncObj": 20_000}


def in_clusters(peers: str, directory: str, rounds: int, only: str) -> Iterator[tuple[str, str, str, list[float]]]:
    """Yields, for each operation, whose it is, how many call, and the seconds of a call in each round."""
    from benchmarks.cluster import Cluster

    for structure, verbs in IN_CLUSTER.items():
        operations = [f"{structure} {verb}" for verb in verbs if only in f"{structure} {verb}"]
        for system in ("coopy", "PySyncObj") if operations else ():
            python = sys.executable if system == "coopy" else peers
            place = tempfile.mkdtemp(dir=directory)
            with Cluster(system, place, structure, program=(python, "-m", "benchmarks.batteries")) as cluster:
                for operation in operations:
                    figures: dict[str, list[float]] = {"one": [], "many": []}
                    for number in range(-1, rounds):
                        for how, calls in (("one", ONE_CALLS[system]), ("many", MANY_CALLS[system])):
                            found = cluster.led.ask(how, operation, calls)
                            figures[how] += [found] if number >= 0 else []  # The first is to warm up.
                    for how, seconds in figures.items():
                        yield operation, system, how, seconds
            shutil.rmtree(place, ignore_errors=True)


def say_clusters(peers: str, directory: str, rounds: int, only: str, figures: dict[str, dict[str, Any]]) -> None:
    """Prints the figures of clusters, and adds them to the others."""
    print(f"\n{'three nodes':24} {'coopy':>12} {'PySyncObj':>12} {'times':>8}")
    ours: dict[tuple[str, str], list[float]] = {}
    for operation, system, how, seconds in in_clusters(peers, directory, rounds, only):
        callers = "one caller" if how == "one" else f"{CALLERS:,} callers"
        if system == "coopy":
            ours[operation, how] = seconds
            continue
        refused = -sum(each for each in seconds if each < 0)
        seconds = [each for each in seconds if each > 0]
        if refused:
            print(f"{operation}, {callers}: PySyncObj refused {refused:,.0f} calls; {len(seconds)} rounds are left")
        if not seconds:
            continue
        mine = ours[operation, how]
        figures.setdefault(operation, {}).update(
            {f"cluster coopy, {callers}": statistics.median(mine), f"cluster PySyncObj, {callers}": statistics.median(seconds)}
        )
        ratio = figures[operation][f"cluster ratio, {callers}"] = statistics.median(seconds) / statistics.median(mine)
        rates = [f"{1 / statistics.median(each):10,.0f}/s" for each in (mine, seconds)]
        print(f"{operation:18} {callers:>13} {rates[0]} {rates[1]} {ratio:8.1f}", flush=True)


# -- the run


def python_of_peers() -> str:
    """Returns the interpreter of the venv with the peers, made on the first call; ours if it can't be made."""
    python = os.path.join(VENV, "bin", "python")
    try:
        if not os.path.exists(python):
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        for package in PACKAGES:
            subprocess.run(
                [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", package],
                check=False,
                stderr=subprocess.DEVNULL,
            )
    except (OSError, subprocess.CalledProcessError):
        return sys.executable
    return python


def in_a_process(python: str, system: str, operation: str, directory: str, count: int) -> dict[str, Any]:
    """Returns what `measure` does, of a process of its own."""
    place = tempfile.mkdtemp(dir=directory)
    command = [python, "-m", "benchmarks.batteries", "--one", system, operation, place, str(count)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
        lines = ran.stdout.splitlines()
        found: dict[str, Any] = (
            json.loads(lines[-1]) if lines else {"why": (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]}
        )
        return found
    except subprocess.TimeoutExpired:
        return {"why": "it was not done within 300 s"}
    finally:
        shutil.rmtree(place, ignore_errors=True)


def shown(seconds: float) -> str:
    return f"{seconds * 1e6:10.2f} µs {1 / seconds:12,.0f}/s"


def ratio_of(ours: list[float], theirs: list[float]) -> float:
    """Returns the median of the ratios, round by round."""
    return statistics.median(each / mine for mine, each in zip(ours, theirs, strict=True))


def main() -> int:
    if sys.argv[1:2] == ["--one"]:
        system, operation, directory, count = sys.argv[2:6]
        print(json.dumps(measure(system, operation, directory, int(count))), flush=True)
        os._exit(0)  # PySyncObj's thread and a server would be waited for.
    if sys.argv[1:2] == ["--node"]:
        kind, directory, node, *nodes, structure = sys.argv[2:]
        if kind == "coopy":
            asyncio.run(CoopyNode(directory, node, nodes, structure).serve())
        else:
            PySyncObjNode(node, nodes, structure).serve()
        return 0
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.batteries", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--json", default="")
    parser.add_argument("--only", default="", help="only the operations whose name holds this word")
    parser.add_argument("--check", action="store_true", help="fail if a goal is not met")
    parser.add_argument("--no-cluster", action="store_true", help="only what runs on one machine")
    options = parser.parse_args()
    peers = python_of_peers()
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="coopy-bench-", dir=options.dir) as directory:
        for operation in [each for each in OPERATIONS if options.only in each]:
            rounds: dict[str, list[float]] = {system: [] for system in SYSTEMS}
            cpus: dict[str, list[float]] = {system: [] for system in SYSTEMS}
            why: dict[str, str] = {}
            for _ in range(options.rounds):
                for system in SYSTEMS:
                    if system in why:
                        continue
                    python = sys.executable if system.startswith("coopy") or system == "redis" else peers
                    found = in_a_process(python, system, operation, directory, max(200, options.calls // SLOW.get(system, 1)))
                    if "why" in found:
                        why[system] = found["why"]
                    else:
                        rounds[system].append(found["seconds"])
                        cpus[system].append(found["cpu"])
            print(
                f"\n{operation:18} {'wall':>9} {'calls':>16} {'of coopy buffered':>14}   {'CPU':>8} {'of coopy buffered':>14}"
            )
            figures[operation] = {}
            for system in SYSTEMS:
                if system in why:
                    print(f"  {system:16} left out: {why[system]}")
                    continue
                median = figures[operation][system] = statistics.median(rounds[system])
                ratio = ratio_of(rounds["coopy buffered"], rounds[system])
                of_cpu = ratio_of(cpus["coopy buffered"], cpus[system])
                figures[operation] |= {
                    f"{system} cpu": statistics.median(cpus[system]),
                    f"{system} ratio": ratio,
                    f"{system} cpu ratio": of_cpu,
                }
                print(
                    f"  {system:16} {shown(median)} {ratio:8.1f} times   {statistics.median(cpus[system]) * 1e6:8.2f} µs {of_cpu:8.1f} times"
                )
        if not options.no_cluster:
            say_clusters(peers, directory, options.rounds, options.only, figures)
    missed = 0
    for operation, what, peer, goal in GOALS:
        times = figures.get(operation, {}).get(what)
        if times is not None:
            missed += times < goal
            print(
                f"\n{operation}: {peer} takes {times:.1f} times as long, goal {goal:.0f}{'' if times >= goal else ', missed'}"
            )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=1)
    return int(bool(missed) and options.check)


if __name__ == "__main__":
    sys.exit(main())

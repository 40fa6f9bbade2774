"""Three nodes on this machine, each action on the disks of two at least: coopy, the raw stream beneath it, and PySyncObj.

    python -m benchmarks.cluster [--rounds N] [--quick] [--only WORD] [--json FILE] [--dir DIR] [--check]

The raw stream is another of the same three servers, kept by all three and led by the same one: what it
acknowledges is as durable. The node that is measured publishes to it itself, with nats-py, in turn with its own calls.
PySyncObj is measured if it is installed (`pip install pysyncobj==0.3.17`); without its journal nothing of it is durable.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import coopy.aio
from benchmarks.__main__ import Row
from benchmarks.workload import NAMES, Bank, Store, keep_busy
from coopy import control
from coopy.network.server import proof
from coopy.network.subjects import NODE

PASSWORD, REPLICA_PASSWORD = "password of nodes", "password of replicas"
RAW = "RAW"
START_S = 120.0
ANSWER_S = 300.0
RAW_BYTES = 100
IN_FLIGHT = 2
"""Batches that a node has on their way."""
PYSYNCOBJ = "0.3.17"
PROGRAM = (sys.executable, "-m", "benchmarks.cluster")


# -- a node: a process of its own


class Node:
    """Does what the lines of standard input ask for; each is answered by a line."""

    def __init__(self, directory: str, node: str, nodes: list[str]) -> None:
        self._open = lambda: coopy.init_system(
            Bank, directory, cluster=nodes, node=node, password=PASSWORD, validation="off", progress=_nothing
        )
        self._node = node

    async def serve(self) -> None:
        import nats

        self._system = self._open()
        self._bank: Any = await coopy.aio.open(self._system)
        # As a node connects, to its own server.
        self._raw = await nats.connect(
            f"nats://{self._node}",
            user=NODE,
            password=PASSWORD,
            pending_size=64 << 20,
            tls=proof.context(NODE, PASSWORD),
            tls_hostname=proof.name(NODE),
        )
        self._stream = self._raw.jetstream(timeout=10)
        await _answer_lines(self)
        await coopy.aio.close(self._bank)

    async def do_status(self) -> dict[str, Any]:
        found = control(self._system).status()
        return {name: found[name] for name in ("state", "leader", "position", "last_applied", "server_pid")}

    async def do_make_raw(self, leader: str) -> None:
        """Makes the raw stream, and has it led by the server of a node."""
        from nats.js.api import StreamConfig

        await self._stream.add_stream(StreamConfig(name=RAW, subjects=["raw"], num_replicas=3, max_bytes=1 << 30))
        for _ in range(100):
            found = await self._stream.stream_info(RAW)
            if found.cluster is not None and found.cluster.leader == leader:
                return
            await self._raw.request(
                f"$JS.API.STREAM.LEADER.STEPDOWN.{RAW}", json.dumps({"placement": {"preferred": leader}}).encode(), timeout=5
            )
            await asyncio.sleep(0.5)
        raise SystemExit(f"the raw stream would not be led by {leader}")

    async def do_one_raw(self, calls: int) -> float:
        """Median latency of one publication after the other, in ms."""
        data = b"x" * RAW_BYTES
        took = []
        for _ in range(calls):
            began = time.perf_counter()
            await self._stream.publish("raw", data)
            took.append(time.perf_counter() - began)
        return statistics.median(took) * 1000

    async def do_one(self, calls: int) -> float:
        """Median latency of one call after the other, in ms."""
        deposit = self._system.deposit

        def run() -> float:
            took = []
            for number in range(calls):
                who = NAMES[number % 100]
                began = time.perf_counter()
                deposit(who, number)
                took.append(time.perf_counter() - began)
            return statistics.median(took) * 1000

        return await asyncio.get_running_loop().run_in_executor(None, run)

    async def do_many(self, callers: int, calls: int) -> dict[str, Any]:
        """Thousands of calls a second of so many tasks, and what they were sent in."""
        share, deposit = calls // callers, self._bank.deposit

        async def caller(who: str) -> None:
            for number in range(share):
                await deposit(who, number)

        return await self._measured(
            share * callers, lambda: asyncio.gather(*(caller(NAMES[number % 100]) for number in range(callers)))
        )

    async def do_futures(self, callers: int, calls: int) -> dict[str, Any]:
        """The same with `control(system).submit`: so many calls are under way at any time."""
        submit = control(self._system).submit

        def send(number: int, done: Callable[[bool], None]) -> None:
            found: Future[Any] = submit("deposit", NAMES[number % 100], number)
            found.add_done_callback(lambda ended: done(ended.exception() is None))

        def run() -> None:
            _, refused = keep_busy(callers, calls, send)
            assert not refused, "a node of ours refuses nothing here"

        loop = asyncio.get_running_loop()
        return await self._measured(calls, lambda: loop.run_in_executor(None, run))

    async def _measured(self, calls: int, work: Callable[[], Any]) -> dict[str, Any]:
        await asyncio.sleep(0.2)
        gc.collect()
        before = (await self._stream.stream_info("COOPY_bank")).state
        began = time.perf_counter()
        await work()
        took = time.perf_counter() - began
        after = (await self._stream.stream_info("COOPY_bank")).state
        batches = max(after.last_seq - before.last_seq, 1)
        return {
            "rate": calls / took / 1000,
            "actions": calls / batches,
            # The first are thrown away when there is no more room.
            "bytes": max((after.bytes - before.bytes) // batches, RAW_BYTES),
        }

    async def do_many_raw(self, messages: int, size: int) -> float:
        """Messages a second, as many on their way as a node has batches."""
        data = b"x" * size
        left = [messages]

        async def sender() -> None:
            while left[0] > 0:
                left[0] -= 1
                await self._stream.publish("raw", data)

        gc.collect()
        began = time.perf_counter()
        await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
        return messages / (time.perf_counter() - began)


class Keeper:
    """A node that keeps a large state."""

    def __init__(self, directory: str, node: str, nodes: list[str], count: str) -> None:
        self._system: Any = coopy.init_system(
            Store(int(count)),
            directory,
            cluster=nodes,
            node=node,
            password=PASSWORD,
            replica_password=REPLICA_PASSWORD,
            validation="off",
            progress=_nothing,
        )

    async def serve(self) -> None:
        await _answer_lines(self)
        control(self._system).close()

    async def do_status(self) -> dict[str, Any]:
        found = control(self._system).status()
        return {name: found[name] for name in ("state", "leader")}

    async def do_sync(self) -> None:
        control(self._system).sync()


class PySyncObjNode:
    """The same bank in PySyncObj, as it comes."""

    def __init__(self, journal: str, node: str, nodes: list[str]) -> None:
        from pysyncobj import SyncObj, SyncObjConf, replicated

        class TheirBank(SyncObj):  # type: ignore[misc]
            def __init__(self) -> None:
                options = {"journalFile": journal} if journal else {}
                super().__init__(node, [each for each in nodes if each != node], SyncObjConf(**options))
                self.accounts: dict[str, int] = {}

            @replicated  # type: ignore[untyped-decorator,unused-ignore]
            def deposit(self, who: str, amount: int) -> int:
                balance = self.accounts.get(who, 0) + amount
                self.accounts[who] = balance
                return balance

        self._bank: Any = TheirBank()

    async def serve(self) -> None:
        await _answer_lines(self)
        self._bank.destroy()

    async def do_status(self) -> dict[str, Any]:
        found = self._bank.getStatus()
        leader = found["leader"]
        ready = self._bank.isReady() and leader is not None
        return {"state": "ready" if ready else "starting", "leader": str(leader) if leader is not None else None}

    async def do_one(self, calls: int) -> float:
        def run() -> float:
            took = []
            for number in range(calls):
                who = NAMES[number % 100]
                began = time.perf_counter()
                self._bank.deposit(who, number, sync=True)
                took.append(time.perf_counter() - began)
            return statistics.median(took) * 1000

        return await asyncio.get_running_loop().run_in_executor(None, run)

    async def do_many(self, callers: int, calls: int) -> dict[str, Any]:
        """So many calls are under way at any time."""

        def send(number: int, done: Callable[[bool], None]) -> None:
            self._bank.deposit(NAMES[number % 100], number, callback=lambda result, error: done(error == 0))

        took, refused = await asyncio.get_running_loop().run_in_executor(None, keep_busy, callers, calls, send)
        return {"rate": calls / took / 1000, "refused": refused}


def _nothing(done: int, total: int) -> None:
    pass


async def _answer_lines(node: Any) -> None:
    loop = asyncio.get_running_loop()
    _say({"value": None})
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what, *args = json.loads(line)
        try:
            _say({"value": await getattr(node, f"do_{what}")(*args)})
        except Exception as error:
            _say({"error": f"{type(error).__name__}: {error}"})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


# -- the nodes as they are seen from here


class Process:
    """A node's process."""

    def __init__(self, kind: str, *arguments: str, program: Sequence[str] = PROGRAM) -> None:
        self.address = arguments[1]
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [*program, "--node", kind, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, what: str, *args: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, *args]) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        timer = threading.Timer(ANSWER_S, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            self._log.seek(0)
            sys.exit(f"node {self.address} ended or gave no answer:\n{self._log.read()[-3000:]}")
        said = json.loads(line)
        if "error" in said:
            sys.exit(f"node {self.address}: {said['error']}")
        return said["value"]

    def close(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()


class Cluster:
    """Nodes that are ready; `led` is the one that leads, `other` one that does not, if there is one."""

    def __init__(
        self, kind: str, directory: str, *more: str, own: bool = True, program: Sequence[str] = PROGRAM, count: int = 3
    ) -> None:
        from examples.cluster_demo import free_ports

        nodes = [f"127.0.0.1:{port}" for port in free_ports(count)]
        paths = [os.path.join(directory, f"{kind}{number}") if own else directory for number in range(count)]
        self.nodes = [
            Process(kind, path, node, *nodes, *more, program=program) for path, node in zip(paths, nodes, strict=True)
        ]

    def __enter__(self) -> Cluster:
        try:
            for node in self.nodes:
                node.answer()
            deadline = time.monotonic() + START_S
            while not self._agree():
                if time.monotonic() > deadline:
                    sys.exit("the nodes don't agree on who leads")
                time.sleep(0.5)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _agree(self) -> bool:
        found = [node.ask("status") for node in self.nodes]
        leaders = {each["leader"] for each in found}
        if len(leaders) != 1 or None in leaders or any(each["state"] != "ready" for each in found):
            return False
        [self.leader] = leaders
        self.led = next(node for node in self.nodes if node.address == self.leader)
        self.other = next((node for node in self.nodes if node.address != self.leader), self.led)
        return True

    def __exit__(self, *_: object) -> None:
        closing = [threading.Thread(target=node.close) for node in self.nodes]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()


# -- the rows


class Told(Row):
    """A row without a goal."""

    def __init__(self, what: str, unit: str, ours: list[float], raw: list[float], *, rate: bool = False) -> None:
        super().__init__(what, unit, ours, raw, 0.0, rate=rate)
        self.holds = True

    def __str__(self) -> str:
        return f"{self.what:<46} {self.ours:>12,.3f} {self.raw:>12,.3f} {self.unit:<5} {self.ratio:>6.2f}"


class Run:
    """The settings of a run."""

    def __init__(self, directory: str, rounds: int, quick: bool) -> None:
        self.directory = directory
        self.rounds = rounds
        self.scale = 20 if quick else 1

    def each_round(self, *measures: Callable[[], float], times: int = 1) -> list[list[float]]:
        """What each came to, so many times in each round; in turn, and not always in the same order."""
        found: list[list[float]] = [[] for _ in measures]
        for number in range(self.rounds * times):
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[Kround {number // times + 1} of {self.rounds}")
            for place in range(len(measures)):
                which = (number + place) % len(measures)
                found[which].append(measures[which]())
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        return found


CALLERS = 1000


def calls(run: Run) -> Iterator[Row]:
    many, one = 200_000 // run.scale, 100
    with Cluster("coopy", run.directory) as cluster:
        cluster.led.ask("make_raw", cluster.leader)
        for node in cluster.led, cluster.other:
            node.ask("many", CALLERS, many // 4)
            node.ask("one", one)
            node.ask("one_raw", one)
        for node, which in ((cluster.led, "at the leader"), (cluster.other, "at another")):
            batches: list[dict[str, Any]] = []

            def ours(node: Process = node, batches: list[dict[str, Any]] = batches) -> float:
                batches.append(node.ask("many", CALLERS, many))
                return float(batches[-1]["rate"])

            def raw(node: Process = node, batches: list[dict[str, Any]] = batches) -> float:
                like = batches[-1] if batches else node.ask("many", CALLERS, many)
                messages = max(int(many / like["actions"]), 10)
                return float(node.ask("many_raw", messages, like["bytes"])) * float(like["actions"]) / 1000

            rates, limits = run.each_round(ours, raw)
            yield Row(f"{CALLERS:,} tasks {which}, to 100,000/s", "k/s", rates, [100.0] * len(rates), 1, rate=True)
            what = f"  to raw batches, {batches[-1]['actions']:.0f} actions in {batches[-1]['bytes'] / 1000:.0f} kB"
            yield Told(what, "k/s", rates, limits, rate=True)
            [futures] = run.each_round(lambda node=node: float(node.ask("futures", CALLERS, many)["rate"]))  # type: ignore[misc]
            yield Told("  with control(system).submit", "k/s", futures, [100.0] * len(futures), rate=True)
            mine, acknowledged = run.each_round(
                lambda node=node: float(node.ask("one", one)),  # type: ignore[misc]
                lambda node=node: float(node.ask("one_raw", one)),  # type: ignore[misc]
                times=4,
            )
            yield Row(f"one caller {which}, to a raw publication", "ms", mine, acknowledged, 1.5)


def replica(run: Run) -> Iterator[Row]:
    count = 1_000_000 // run.scale
    alone = os.path.join(run.directory, "alone")
    control(coopy.init_system(Store(count), alone, validation="off", progress=_nothing)).close()
    number = [0]
    with Cluster("keeper", run.directory, str(count)) as cluster:

        def new() -> float:
            number[0] += 1
            path = os.path.join(run.directory, f"replica{number[0]}")
            took = _in_a_process("replica", path, cluster.led.address)
            shutil.rmtree(path)
            return took

        mine, local = run.each_round(new, lambda: _in_a_process("alone", alone))
        yield Row(f"replica of {count:,} objects, to a restore", "s", mine, local, 3)


def _in_a_process(*arguments: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.cluster", "--open", *arguments], capture_output=True, text=True, env=environment
    )
    if ran.returncode:
        sys.exit(ran.stderr)
    return float(ran.stdout.split()[-1])


def _opened(kind: str, directory: str, master: str = "") -> None:
    """Opens a system and prints how long that took, until it is ready."""
    options: dict[str, Any] = {}
    if kind == "replica":
        import nats  # noqa: F401  What is imported is not what is measured.

        host, _, port = master.rpartition(":")
        options = {"replication": True, "host": host, "port": int(port), "password": REPLICA_PASSWORD}
    began = time.perf_counter()
    system = coopy.init_system(Store, directory, validation="off", progress=_nothing, **options)
    print(time.perf_counter() - began)
    control(system).close()


def pysyncobj(run: Run) -> Iterator[Row]:
    try:
        import pysyncobj  # noqa: F401
    except ImportError:
        print(f"PySyncObj is not installed, and not measured: pip install pysyncobj=={PYSYNCOBJ}")
        return
    many, one = 20_000 // run.scale, 100 // min(run.scale, 5)
    for journal in (False, True):
        how = "with its journal" if journal else "in memory"
        theirs: list[dict[str, float]] = []
        with Cluster("coopy", run.directory) as ours:
            ours.led.ask("many", CALLERS, 10 * many)
            mine = [
                {"rate": ours.led.ask("many", CALLERS, 10 * many)["rate"], "one": ours.led.ask("one", one)}
                for _ in range(run.rounds)
            ]
        shutil.rmtree(run.directory)
        os.mkdir(run.directory)
        with Cluster("pysyncobj", run.directory if journal else "", own=journal) as cluster:
            cluster.led.ask("many", CALLERS, many // 4)
            for _ in range(run.rounds):
                found = cluster.led.ask("many", CALLERS, many)
                theirs.append({"rate": found["rate"], "one": cluster.led.ask("one", one)})
                if found["refused"]:
                    print(f"PySyncObj {how}: {found['refused']} of {many} calls were refused")
        rates, limits = [each["rate"] for each in mine], [each["rate"] for each in theirs]
        yield Told(f"{CALLERS:,} callers, to PySyncObj {how}", "k/s", rates, limits, rate=True)
        yield Told(f"one caller, to PySyncObj {how}", "ms", [e["one"] for e in mine], [e["one"] for e in theirs])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each measurement (5)")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the work, to see that it runs")
    parser.add_argument("--only", default="", help="only the groups whose name holds this word: calls, replica, pysyncobj")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--dir", default=".", help="where to make the data; a real disk, not a memory one")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is not met")
    options = parser.parse_args()
    groups: dict[str, Callable[[Run], Iterator[Row]]] = {"calls": calls, "replica": replica, "pysyncobj": pysyncobj}
    rounds = 2 if options.quick else options.rounds
    rows = []
    print(f"{'':<46} {'coopy':>12} {'raw':>12} {'':<5} {'ratio':>6}  goal")
    for name, group in groups.items():
        if options.only in name:
            directory = tempfile.mkdtemp(prefix=".bench-data-", dir=os.path.abspath(options.dir))
            try:
                for row in group(Run(directory, rounds, options.quick)):
                    rows.append(row)
                    print(row, flush=True)
            finally:
                shutil.rmtree(directory, ignore_errors=True)
    print(f"medians of {rounds} rounds, three nodes on this machine, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    if options.json:
        with open(options.json, "w") as file:
            json.dump([vars(row) for row in rows], file, indent=1)
    return int(options.check and not all(row.holds for row in rows))


def _node(kind: str, directory: str, node: str, *rest: str) -> Coroutine[Any, Any, None]:
    if kind == "coopy":
        return Node(directory, node, list(rest)).serve()
    nodes, more = list(rest[:3]), rest[3:]
    if kind == "keeper":
        return Keeper(directory, node, nodes, *more).serve()
    if directory:
        os.makedirs(directory, exist_ok=True)
    return PySyncObjNode(os.path.join(directory, "journal") if directory else "", node, nodes).serve()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--node"]:
        asyncio.run(_node(*sys.argv[2:]))
    elif sys.argv[1:2] == ["--open"]:
        _opened(*sys.argv[2:])
    else:
        sys.exit(main())

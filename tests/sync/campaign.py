"""Locks for real: fifty clients on three nodes, on one machine and at an elector, under faults; what was promised is measured.

    python tests/sync/campaign.py [--rounds N] [--fault NAME]... [--seed S]

The nodes are processes with servers, in a network of their own, in which links can be cut; beside them run one process that has a system of its own, and
an elector with clients that are processes. In each round a fault strikes, holds, and is put right. All clients tell a record what they hold and when
they were told so (`sync.record`): no lock may have two holders, and none may be had by another before its time. How long the next one waited is
measured, and set against the bounds.

The exit status is 1 if a lock had two holders or ended early, 2 if there can't be such a campaign here. A bound of time that was missed is counted and
shown with the load of the machine, and no failure: nobody knows whose fault it is.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from program import environment
from simulation.cluster import Cluster, Node, NotReady, Process, Unanswered
from simulation.network import why_not
from sync.record import Holding, Record, Resource, S, judge, now_ns, of
from sync.sidecars import Sidecar

from coopy.sync.elector import TICKS_PER_LOCK
from coopy.sync.ticks import TICKS_PER_LEASE

TTL_S = 2.0
TICK_S, ELECTOR_TICK_S = TTL_S / TICKS_PER_LEASE, TTL_S / TICKS_PER_LOCK
THREADS, ALONE_THREADS, ASKING = 12, 8, 6
"""Clients: threads of each node, threads of the process that is alone, and processes that ask the elector."""
STOCKS, OWNS = 6, 2
"""Locks of the cluster, and of the process that is alone."""
RELEASED_S = 0.010
HOUR_S = 3600
PROGRAM = Path(__file__).with_name("campaign_node.py")
CLIENT = Path(__file__).with_name("campaign_client.py")
PATIENCE_S = 60.0
OPEN_END_NS = 1 << 62


class Alone:
    """The process that has a system of its own."""

    name = "alone"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.process: Process | None = None

    def start(self) -> None:
        settings = {"backend": "coopy", "directory": str(self._directory / "alone")}
        self.process = Process([sys.executable, str(PROGRAM)], settings, self._directory / "alone.log")
        self.process.opened.answered.wait(PATIENCE_S)
        assert self.process.opened.answer is not None, (self._directory / "alone.log").read_text()

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.send(signal.SIGKILL)
            self.process.close()
            self.process = None


class Asking:
    """A client that is a process, and asks the elector."""

    def __init__(self, number: int, path: str, uri: str) -> None:
        self.who = f"client{number}"
        self._command = [sys.executable, str(CLIENT), path, self.who, uri, "elector 0", str(TTL_S)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        here = environment()
        tests = str(CLIENT.parents[1])
        env = {**here, "PYTHONPATH": os.pathsep.join((tests, here["PYTHONPATH"]))}
        self.process = subprocess.Popen(self._command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
            self.process = None


class Field:
    """All that runs, and what is measured."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.record = Record()
        self.path = str(directory / "record.socket")
        resource = Resource(self.record, Path(self.path))
        stack.callback(resource.close)
        self.cluster = Cluster(directory, program=PROGRAM)
        stack.callback(self.cluster.close)
        self.alone = Alone(directory)
        stack.callback(self.alone.kill)
        self.elector = Sidecar(directory / "elector", ttl_s=TTL_S)
        stack.callback(self.elector.end)
        self.asking = [Asking(number, self.path, self.elector.uri) for number in range(ASKING)]
        for each in self.asking:
            stack.callback(each.kill)
        self.cut_off: dict[str, list[tuple[int, int]]] = {}
        self.struck: list[tuple[int, int]] = []
        """From when to when something was wrong anywhere."""
        self.took: dict[str, list[float]] = {}
        self.bounds: dict[str, float] = {}

    def start(self) -> None:
        self.elector.start()
        self.alone.start()
        self.cluster.start()
        for node in self.cluster.nodes:
            self.begin(node)
        self.begin_alone()
        self.elector.until_ready()
        for each in self.asking:
            each.start()

    def begin(self, node: Node) -> None:
        node.ask("begin", self.path, name_of(node), THREADS, "stock", STOCKS, TTL_S, timeout_s=PATIENCE_S)

    def begin_alone(self) -> None:
        assert self.alone.process is not None
        self.alone.process.ask("begin", [self.path, "alone", ALONE_THREADS, "own", OWNS, TTL_S], PATIENCE_S)

    def measured(self, what: str, seconds: float, bound_s: float) -> None:
        self.took.setdefault(what, []).append(seconds)
        self.bounds[what] = bound_s

    def could_not(self, process: str, since_ns: int) -> None:
        """A process could do nothing from some moment until now."""
        self.cut_off.setdefault(process, []).append((since_ns, now_ns()))

    def contested(self, may: Callable[[str], bool]) -> list[Holding]:
        """What is held by such processes, while others wait that are in another one; or in the same one, if it is alone."""
        return [
            each
            for each in self.record.held()
            if may(of(each.who)) and any(of(who) != of(each.who) or of(who) == "alone" for who in self.record.waits(each.lock))
        ]

    def choose(self, may: Callable[[str], bool]) -> str | None:
        """Returns a process that holds a lock for which others wait, once there is one; None if there is none for long."""
        until_s = time.monotonic() + PATIENCE_S / 3
        while time.monotonic() < until_s:
            found = self.contested(may)
            if found:
                return of(found[-1].who)
            time.sleep(0.02)
        return None

    def wait_for_next(self, holdings: list[Holding], patience_s: float = PATIENCE_S) -> None:
        until_s = time.monotonic() + patience_s
        while time.monotonic() < until_s and not all(self.record.next(each) for each in holdings):
            time.sleep(0.05)

    def settled(self) -> None:
        """Waits until every process has come to the end of an action since now."""
        since_ns = now_ns()
        until_s = time.monotonic() + 2 * PATIENCE_S
        for node in self.cluster.nodes:
            node.wait_ready()
        names = [*map(name_of, self.cluster.nodes), "alone"]
        while True:
            with self.record.lock:
                late = [
                    each for each in names if not any(first > since_ns for first, _ in self.record.beats.get(each, [])[-3:])
                ]
            if not late:
                return
            if time.monotonic() > until_s:
                raise NotReady(f"{late} served no action")
            time.sleep(0.05)


def name_of(node: Node) -> str:
    return f"node{node.number}"


def node_of(field: Field, process: str) -> Node:
    return field.cluster.nodes[int(process.removeprefix("node"))]


# -- faults: each strikes, holds, measures, and puts right


def _node_killed(field: Field, victim: Node, leads: bool) -> None:
    process = name_of(victim)
    contested = field.contested(lambda each: each == process)
    since_ns = now_ns()
    victim.kill()
    field.record.gone(process)
    # What it held when it ended, as far as it was told.
    contested = [each for each in field.contested(lambda each: each == process) if each in contested]
    field.wait_for_next(contested)
    field.could_not(process, since_ns)
    for each in contested:
        following = field.record.next(each)
        if following is None:
            field.record.wrong.append(f"{each.lock}: nobody had it {PATIENCE_S:g} s after {process} was killed")
        elif leads:
            # The election is over when actions are taken again.
            again_ns = field.record.served_again_ns(since_ns, process)
            field.measured("the leading node killed: until actions are taken again", (again_ns - since_ns) / S, 0.0)
            field.measured(
                "the leading node killed: from then to the next holder", (following.got_ns - again_ns) / S, TTL_S + TICK_S
            )
        else:
            field.measured("a holder killed: to the next holder", (following.got_ns - since_ns) / S, TTL_S + TICK_S)
    victim.start()
    victim.wait_ready()
    field.begin(victim)


def holder_killed(field: Field, chance: random.Random) -> None:
    """kill -9 of a node that holds a lock for which others wait, and does not lead."""
    leader = field.cluster.leader()
    process = field.choose(lambda each: each.startswith("node") and each != name_of(leader))
    if process is not None:
        _node_killed(field, node_of(field, process), False)


def leader_killed(field: Field, chance: random.Random) -> None:
    """kill -9 of the node that leads, with its server, when it holds a lock for which others wait."""
    leader = field.cluster.leader()
    if field.choose(lambda each: each == name_of(leader)) is not None:
        _node_killed(field, leader, True)


def _stopped(field: Field, process: str, stop: Callable[[], object], go_on: Callable[[], object], seconds: float) -> None:
    since_ns = now_ns()
    stop()
    try:
        time.sleep(seconds)
    finally:
        field.could_not(process, since_ns)
        go_on()


def process_stopped(field: Field, chance: random.Random) -> None:
    """SIGSTOP of the process of a node that holds a lock, for longer than it lasts; its server goes on."""
    process = field.choose(lambda each: each.startswith("node"))
    if process is not None:
        found = node_of(field, process).process
        assert found is not None
        send = found.process.send_signal
        _stopped(
            field,
            process,
            lambda: send(signal.SIGSTOP),
            lambda: send(signal.SIGCONT),
            chance.uniform(1.2, 2.5) * TTL_S,
        )


def node_stopped(field: Field, chance: random.Random) -> None:
    """SIGSTOP of a node that holds a lock, with its server, for longer than it lasts."""
    process = field.choose(lambda each: each.startswith("node"))
    if process is not None:
        node = node_of(field, process)
        _stopped(field, process, node.freeze, node.thaw, chance.uniform(1.2, 4) * TTL_S)


def node_cut_off(field: Field, chance: random.Random) -> None:
    """A node that holds a lock is cut off from the others, silently, for longer than it lasts."""
    process = field.choose(lambda each: each.startswith("node"))
    if process is not None:
        network, number = field.cluster.network, node_of(field, process).number
        _stopped(field, process, lambda: network.cut(number), lambda: network.mend(number), chance.uniform(1.2, 5) * TTL_S)


def clock_set(field: Field, chance: random.Random) -> None:
    """The time of day of a node is set by an hour."""
    node = chance.choice(field.cluster.nodes)
    node.ask("clock", chance.choice((-HOUR_S, HOUR_S)), timeout_s=PATIENCE_S)
    time.sleep(1.5 * TTL_S)
    node.ask("clock", 0, timeout_s=PATIENCE_S)


def clock_jumps(field: Field, chance: random.Random) -> None:
    """The clock of a process by which leases are measured jumps by an hour, as after a sleep."""
    node = chance.choice([*field.cluster.nodes, None])
    if node is None:
        assert field.alone.process is not None
        field.alone.process.ask("jump", [HOUR_S], PATIENCE_S)
    else:
        node.ask("jump", HOUR_S, timeout_s=PATIENCE_S)
    time.sleep(1.5 * TTL_S)


def alone_killed(field: Field, chance: random.Random) -> None:
    """kill -9 of the process that is alone, and another is started."""
    field.choose(lambda each: each == "alone")
    since_ns = now_ns()
    field.alone.kill()
    field.record.gone("alone")
    time.sleep(chance.choice((0.0, 1.5 * TTL_S)))
    held = [each for each in field.record.held() if of(each.who) == "alone"]
    field.alone.start()
    opened_ns = now_ns()
    field.begin_alone()
    field.wait_for_next(held)
    field.could_not("alone", since_ns)
    for each in held:
        following = field.record.next(each)
        if following is None:
            field.record.wrong.append(f"{each.lock}: nobody had it {PATIENCE_S:g} s after its process was killed")
        else:
            what = "the process that is alone killed: from when another is open to the next holder"
            field.measured(what, (following.got_ns - max(opened_ns, following.asked_ns)) / S, TTL_S + TICK_S)


def alone_stopped(field: Field, chance: random.Random) -> None:
    """SIGSTOP of the process that is alone, for longer than its locks last."""
    field.choose(lambda each: each == "alone")
    send = field.alone.send
    _stopped(field, "alone", lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT), chance.uniform(1.2, 2.5) * TTL_S)


def client_killed(field: Field, chance: random.Random) -> None:
    """kill -9 of a client that has a lock of the elector."""
    process = field.choose(lambda each: each.startswith("client"))
    if process is None:
        return
    victim = next(each for each in field.asking if each.who == process)
    since_ns = now_ns()
    victim.kill()
    field.record.gone(process)
    contested = field.contested(lambda each: each == process)
    field.wait_for_next(contested)
    field.could_not(process, since_ns)
    for each in contested:
        following = field.record.next(each)
        if following is None:
            field.record.wrong.append(f"{each.lock}: nobody had it {PATIENCE_S:g} s after {process} was killed")
        else:
            what = "a client of the elector killed: to the next holder"
            field.measured(what, (following.got_ns - since_ns) / S, TTL_S + ELECTOR_TICK_S)
    victim.start()


def client_stopped(field: Field, chance: random.Random) -> None:
    """SIGSTOP of a client that has a lock of the elector, for longer than it lasts."""
    process = field.choose(lambda each: each.startswith("client"))
    if process is None:
        return
    found = next(each for each in field.asking if each.who == process).process
    assert found is not None
    send = found.send_signal
    _stopped(field, process, lambda: send(signal.SIGSTOP), lambda: send(signal.SIGCONT), chance.uniform(1.2, 2.5) * TTL_S)


def elector_killed(field: Field, chance: random.Random) -> None:
    """kill -9 of the elector, and another is started."""
    field.choose(lambda each: each.startswith("client"))
    since_ns = now_ns()
    field.elector.kill()
    time.sleep(chance.choice((0.0, 1.5 * TTL_S)))
    field.elector.start()
    field.elector.until_ready()
    for each in field.asking:
        field.could_not(each.who, since_ns)


FAULTS: dict[str, Callable[[Field, random.Random], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        holder_killed,
        leader_killed,
        process_stopped,
        node_stopped,
        node_cut_off,
        clock_set,
        clock_jumps,
        alone_killed,
        alone_stopped,
        client_killed,
        client_stopped,
        elector_killed,
    )
}
LASTS_S = {"stock": TTL_S, "own": TTL_S, "elector": TTL_S / 2}
"""An elector promises a half of the time at least, and its clients stop at two thirds of what was promised."""


# -- what came of it


def releases(field: Field) -> None:
    """Measures how long it took from a release to the next holder, where one waited and nothing was wrong."""
    for lock, holdings in field.record.holdings.items():
        ordered = [holdings[token] for token in sorted(holdings)]
        for one, other in zip(ordered, ordered[1:], strict=False):
            waited = one.released_ns and other.asked_ns and other.asked_ns < one.released_ns
            calm = not any(since <= other.got_ns and one.released_ns <= upto for since, upto in field.struck)
            if waited and calm:
                what = f"{lock.partition(' ')[0]}: from a release to the next holder"
                field.measured(what, (other.got_ns - one.released_ns) / S, RELEASED_S)


def report(field: Field, loads: list[float]) -> str:
    releases(field)
    lines = [", ".join(f"{what} {number}" for what, number in sorted(field.record.counts.items()))]
    for what, took in sorted(field.took.items()):
        bound_s = field.bounds[what]
        missed = sum(each > bound_s for each in took) if bound_s else 0
        against = f"; bound {bound_s:g} s, missed {missed} times" if bound_s else ""
        lines.append(f"{what}: {len(took)} times, median {statistics.median(took):.3f} s, worst {max(took):.3f} s{against}")
    lines.append(f"load of the machine: median {statistics.median(loads):.1f}, most {max(loads):.1f}, {os.cpu_count()} cores")
    return "\n".join(f"  {line}" for line in lines)


def campaign(rounds: int, names: list[str], seed: int) -> int:
    """Runs the rounds. Returns how much was wrong."""
    chance = random.Random(seed)
    loads: list[float] = []
    wrong: list[str] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coopy-locks-")))
        field = Field(directory, stack)
        field.start()
        field.settled()
        began, order = time.monotonic(), list[str]()
        for number in range(1, rounds + 1):
            if not order:
                order = chance.sample(names, len(names))
            name = order.pop()
            since_ns, since_s = now_ns(), time.monotonic()
            field.struck.append((since_ns, OPEN_END_NS))
            try:
                FAULTS[name](field, chance)
                field.settled()
            except (NotReady, Unanswered, AssertionError, OSError) as error:
                field.record.wrong.append(f"round {number}, {name}: {type(error).__name__}: {error}")
                traceback.print_exc()
            time.sleep(1.0)
            field.struck[-1] = since_ns, now_ns()
            time.sleep(chance.uniform(0.5, 2.0))
            with suppress(OSError):
                loads.append(os.getloadavg()[0])
            with field.record.lock:
                wrong = judge(field.record, LASTS_S, field.cut_off)
            took_s = time.monotonic() - since_s
            print(f"round {number}: {name}, {took_s:.1f} s, {len(wrong)} wrong, load {loads[-1]:.1f}", flush=True)
            if field.record.wrong and any("Unanswered" in each or "NotReady" in each for each in field.record.wrong):
                break
        with field.record.lock:
            wrong = judge(field.record, LASTS_S, field.cut_off)
        print(*(f"VIOLATED: {each}" for each in wrong[:50]), sep="\n")
        print(
            f"locks for real: {number} rounds, {time.monotonic() - began:.0f} s, {len(wrong)} violations\n{report(field, loads)}"
        )
    return len(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument(
        "--fault", action="append", default=[], choices=sorted(FAULTS), help="this one; may be given several times"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    asked = parser.parse_args()
    why = why_not()
    if why is not None:
        print(f"no real locks here: {why}")
        return 2
    print(f"locks for real: seed {asked.seed}", flush=True)
    return bool(campaign(asked.rounds, asked.fault or list(FAULTS), asked.seed))


if __name__ == "__main__":
    sys.exit(main())

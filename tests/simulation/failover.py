"""How long a cluster is without service when its leading node is lost, and whether one that is not lost is ever deposed.

    python tests/simulation/failover.py [--kind NAME[=RUNS]]... [--share N] [--seed S] [--without]
    python tests/simulation/failover.py --starved MINUTES

Each run is one of `campaign`, with its callers and its checks: every history linearizable, every deposit there once, all nodes with the
same state. Only what is lost is chosen here, and what is printed: median, 95 % and worst of the time in which no node that was not
struck has served a write, how many elections the nodes have begun, and the load of the machine meanwhile, without which the
figures say little.

``--starved`` takes the leading node's server nine tenths of the processor, in turns of a tenth of a second, for minutes under
load. No election may be begun: a leader that is slow leads.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from simulation import campaign
from simulation.campaign import Run
from simulation.checker import Operation, linearizable
from simulation.cluster import Cluster, NotReady, Unanswered
from simulation.faults import FAULTS, Fault
from simulation.load import Load, longest_silence_s
from simulation.network import send, why_not

from coopy.network.address import parse
from coopy.network.server import certificates

ON_S, OFF_S = 0.01, 0.09
"""A tenth of the processor, as a limit of a control group gives it."""


class Kind(NamedTuple):
    """What is lost, on which cluster."""

    name: str
    runs: int
    fault: Fault
    nodes: int = 3
    tls: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        Kind("killed", 40, FAULTS["leader-killed"]._replace(hold_s=3.0)),
        Kind("stopped", 20, FAULTS["leader-stopped"]._replace(hold_s=6.0)),
        Kind("cut-off", 20, FAULTS["leader-cut-off"]._replace(hold_s=6.0)),
        Kind("five", 10, FAULTS["leader-killed"]._replace(hold_s=3.0), nodes=5),
        Kind("tls", 10, FAULTS["leader-killed"]._replace(hold_s=3.0), tls=True),
    )
}


@dataclass
class Result:
    kind: Kind
    runs: list[Run] = field(default_factory=list)
    kicks: int = 0
    load: list[float] = field(default_factory=list)

    @property
    def violated(self) -> bool:
        return any(run.violations for run in self.runs)

    def row(self) -> tuple[str, ...]:
        pauses = sorted(run.silence_s for run in self.runs)
        return (
            self.kind.name,
            str(len(pauses)),
            f"{sum(len(run.history) for run in self.runs):,}",
            str(sum(len(run.violations) for run in self.runs)),
            f"{statistics.median(pauses):.2f}",
            f"{pauses[math.ceil(0.95 * len(pauses)) - 1]:.2f}",
            f"{pauses[-1]:.2f}",
            str(self.kicks),
            f"{min(self.load):.0f} to {max(self.load):.0f}",
        )


HEADS = ("lost", "runs", "operations", "violations", "pause, s: median", "95 %", "worst", "elections begun", "load")


@contextmanager
def cluster_of(kind: Kind, directory: Path, **options: Any) -> Iterator[Cluster]:
    """A cluster that is ready, and closed at the end."""
    found = Cluster(directory, count=kind.nodes, tls=kind.tls, **options)
    try:
        if kind.tls:
            made = certificates.make(str(directory / "made"), [parse(node.name) for node in found.nodes])
            for node in found.nodes:
                shutil.copytree(made.folders[node.name], node.directory / "tls")
        found.start()
        yield found
    finally:
        found.close()


def kicks(cluster: Cluster) -> dict[tuple[int, int], int]:
    """How many elections each node that answers has begun, by node and process."""
    found = {}
    for node in cluster.nodes:
        try:
            status = node.ask("status", timeout_s=10).value
        except Unanswered:
            continue
        found[node.number, status["incarnation"]] = status["election_kicks"]
    return found


def runs(kind: Kind, count: int, seed: str, directory: Path, **options: Any) -> Result:
    """What is lost, so many times; says on standard error how it goes."""
    result = Result(kind)
    while len(result.runs) < count:
        home = directory / f"{kind.name}-{len(result.runs)}"
        home.mkdir(parents=True)
        asked: list[Operation] = []
        with ExitStack() as stack:
            cluster = stack.enter_context(cluster_of(kind, home, **options))
            while len(result.runs) < count:
                before = kicks(cluster)
                found = campaign.run(cluster, kind.fault, f"{seed}-{kind.name}-{len(result.runs)}", asked)
                begun = sum(number - before.get(process, 0) for process, number in kicks(cluster).items())
                result.runs.append(found)
                result.kicks += begun
                result.load.append(os.getloadavg()[0])
                print(
                    f"{kind.name:<8} {len(result.runs):>3}/{count}  {len(found.history):>6} operations, {found.silence_s:5.2f} s without service, "
                    f"{begun} elections begun, {len(found.violations)} violations, load {result.load[-1]:.0f}",
                    file=sys.stderr,
                    flush=True,
                )
                if found.violations:
                    campaign.keep(directory / f"history-{found.seed}.jsonl", found.history, violations=found.violations)
                    print("\n".join(found.violations[:5]), file=sys.stderr, flush=True)
                    break
        if not result.violated:
            shutil.rmtree(home)
    return result


def starved(minutes: float, seed: str, directory: Path) -> int:
    """A leading server with a tenth of the processor. Returns how many elections were begun and how many things were wrong, together."""
    home = directory / "starved"
    home.mkdir()
    with cluster_of(KINDS["killed"], home) as cluster:
        leader = cluster.leader()
        server: int = leader.ask("status", timeout_s=10).value["server_pid"]
        until, ended, load = time.monotonic() + 60 * minutes, threading.Event(), []

        def starve() -> None:
            while not ended.is_set():
                send([server], signal.SIGSTOP)
                ended.wait(OFF_S)
                send([server], signal.SIGCONT)
                ended.wait(ON_S)

        thread = threading.Thread(target=starve, daemon=True)
        thread.start()
        wrong, operations, longest = [], 0, 0.0
        try:
            # Histories of half a minute: the checker takes them one by one.
            for number in itertools.count():
                if time.monotonic() >= until:
                    break
                calls = Load(cluster, f"{seed}-{number}", f"{seed}-{number}")
                with calls.going_on():
                    time.sleep(min(30.0, max(1.0, until - time.monotonic())))
                history = sorted(calls.history, key=lambda operation: operation.invoke_ns)
                wrong += linearizable(history)
                operations += len(history)
                longest = max(longest, longest_silence_s(history, len(cluster.nodes), []))
                load.append(os.getloadavg()[0])
                begun = sum(kicks(cluster).values())
                print(
                    f"starved  {number:>3}  {operations:>7} operations, longest pause {longest:.2f} s, {begun} elections begun, load {load[-1]:.0f}",
                    file=sys.stderr,
                    flush=True,
                )
        finally:
            ended.set()
            thread.join()
            send([server], signal.SIGCONT)
        begun, leads = sum(kicks(cluster).values()), cluster.leader()
        print(
            f"{minutes:g} minutes with the leading server at a tenth of the processor: {operations:,} operations, {len(wrong)} violations, longest "
            f"pause {longest:.2f} s, {begun} elections begun, load {min(load):.0f} to {max(load):.0f}; {leader} led at first, {leads} at the end"
        )
        return begun + len(wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="failover.py", description="Loses the leading node of a cluster, and says for how long that is felt."
    )
    parser.add_argument("--kind", action="append", metavar="NAME[=RUNS]", help=f"one of {', '.join(KINDS)}; by default all")
    parser.add_argument("--share", type=int, default=1, help="an Nth of the runs of each kind (default: 1, all)")
    parser.add_argument("--seed", default=f"{random.SystemRandom().randrange(1 << 32):x}", help="of callers")
    parser.add_argument("--without", action="store_true", help="with quick_elections=False, to compare")
    parser.add_argument(
        "--starved", type=float, metavar="MINUTES", help="a leading server with a tenth of the processor, and nothing else"
    )
    options = parser.parse_args(arguments)
    reason = why_not()
    if reason is not None:
        print(f"no campaign: {reason}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    directory = Path(tempfile.mkdtemp(prefix="coopy-failover-"))
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    results: list[Result] = []
    failed = 1
    try:
        if options.starved is not None:
            failed = starved(options.starved, options.seed, directory)
        else:
            for given in options.kind or KINDS:
                name, _, number = given.partition("=")
                kind = KINDS[name]
                count = int(number or max(1, kind.runs // options.share))
                results.append(runs(kind, count, options.seed, directory, quick_elections=not options.without))
            failed = sum(result.violated for result in results)
    except NotReady as error:
        print(f"the cluster did not start: {error}", file=sys.stderr)
        failed = 1
    finally:
        if results:
            print(campaign.table([result.row() for result in results], HEADS))
        if not failed:
            shutil.rmtree(directory, ignore_errors=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

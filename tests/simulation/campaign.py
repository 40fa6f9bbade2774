"""Replicated systems under faults: runs each fault many times, and checks every history.

    python tests/simulation/campaign.py [--runs N] [--fault NAME]... [--seed S]

In a run, callers on all nodes use the cluster while a fault strikes, holds, and is put right; they go
on until every node has served a write after that. Then the history must be linearizable, key
by key, every deposit must be there once, or, if its outcome is unknown, at most once, and all nodes
must have the same digest and the same deposits in the same order. A cluster lives through all runs of
a fault, unless one goes wrong: then it is made anew, and the history is kept.

The exit status is 1 if anything was violated, 2 if there can't be such a campaign here. A run is
determined by its seed as far as callers and the choice of victims go; threads, processes and networks
are as they are.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from simulation.checker import Operation, Undecided, exactly_once, linearizable
from simulation.cluster import Cluster, NotReady, Unanswered, running
from simulation.faults import FAULTS, Fault
from simulation.load import Load, keep, longest_silence_s
from simulation.network import why_not

WARM_UP_S = 2.0
SETTLING_S = 1.0
RECOVERY_S = 120.0
AGREEMENT_S = 60.0
ANSWER_S = 30.0


@dataclass
class Run:
    """What came of one fault."""

    fault: str
    seed: str
    victims: list[int] = field(default_factory=list)
    history: list[Operation] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    digests_equal: bool = False
    silence_s: float = 0.0
    path: Path | None = None
    """Where the history is kept, if something was violated."""

    @property
    def acknowledged(self) -> int:
        return sum(each.response_ns is not None for each in self.history)

    @property
    def unknown(self) -> int:
        return len(self.history) - self.acknowledged


def run(
    cluster: Cluster,
    fault: Fault,
    seed: str,
    asked: list[Operation],
    *,
    warm_up_s: float = WARM_UP_S,
    recovery_s: float = RECOVERY_S,
) -> Run:
    """One fault on a cluster under load, and what is wrong with what was seen of it.

    Args:
        seed: of callers and victims, and the name of the run; no other run of the cluster may have it.
        asked: the deposits of earlier runs of the cluster; those of this one are added.
    """
    result = Run(fault.name, seed)
    load = Load(cluster, seed, seed)
    try:
        with load.going_on():
            time.sleep(warm_up_s)
            strike = fault.strike(cluster, random.Random(seed), fault.hold_s)
            victims = next(strike)
            result.victims = [node.number for node in victims]
            next(strike, None)
            _recover(cluster, load, recovery_s)
            time.sleep(SETTLING_S)
    except (NotReady, Unanswered) as error:
        result.violations.append(f"{type(error).__name__}: {error}")
    result.history = sorted(load.history, key=lambda operation: operation.invoke_ns)
    asked += [operation for operation in result.history if operation.op == "add"]
    if result.history:
        result.silence_s = longest_silence_s(result.history, len(cluster.nodes), result.victims)
    try:
        result.violations += linearizable(result.history)
    except Undecided as error:
        result.violations.append(str(error))
    try:
        _compare(cluster, result, asked)
    except (NotReady, Unanswered) as error:
        result.violations.append(f"the nodes could not be compared: {error}")
    return result


def _recover(cluster: Cluster, load: Load, patience_s: float) -> None:
    """Returns when every node has served a write asked for after now.

    Raises:
        NotReady: one has not, in time.
    """
    since = time.monotonic_ns()
    last = time.monotonic() + patience_s
    for node in cluster.nodes:
        node.wait_ready(max(last - time.monotonic(), 0.0))
        while not load.wrote_since(node, since):
            if time.monotonic() > last:
                raise NotReady(
                    f"{node} has served no write {patience_s:g} s after the fault was over; "
                    f"its last words:\n{node.last_words()}"
                )
            time.sleep(0.05)


def _compare(cluster: Cluster, result: Run, asked: Sequence[Operation]) -> None:
    """Digests and deposits of all nodes, at a moment when all are at one index and stay there."""

    def everywhere(do: str, *args: Any) -> list[Any]:
        return [node.ask(do, *args, timeout_s=ANSWER_S).value for node in cluster.nodes]

    def at_rest() -> tuple[list[Any], list[list[str]]] | None:
        before = everywhere("digest")
        if len({index for index, _ in before}) != 1:
            return None
        deposits = everywhere("call", "applied")
        # An operation of unknown outcome may still come in between.
        return (before, deposits) if everywhere("digest") == before else None

    digests, deposits = cluster.ask_until("all nodes at one index", at_rest, AGREEMENT_S)
    result.digests_equal = len({digest for _, digest in digests}) == 1
    if not result.digests_equal:
        result.violations.append(f"digests differ at index {digests[0][0]}: {[digest for _, digest in digests]}")
    for number, applied in enumerate(deposits):
        if applied != deposits[0]:
            result.violations.append(f"node {number} has other deposits than node 0, or in another order")
    result.violations += exactly_once(asked, deposits[0])


def runs(fault: Fault, count: int, seed: str, directory: Path, **options: Any) -> list[Run]:
    """A fault, count times; says on standard error how it goes."""
    results: list[Run] = []
    while len(results) < count:
        home = directory / f"{fault.name}-{len(results)}"
        home.mkdir(parents=True)
        asked: list[Operation] = []
        with ExitStack() as stack:
            cluster = stack.enter_context(running(home, **options))
            while len(results) < count:
                result = run(cluster, fault, f"{seed}-{fault.name}-{len(results)}", asked)
                results.append(result)
                if result.violations:
                    result.path = directory / f"history-{result.seed}.jsonl"
                    about = {"fault": fault.name, "victims": result.victims, "violations": result.violations}
                    keep(result.path, result.history, **about)
                _say(result, len(results), count)
                if result.violations:
                    break
        if not results[-1].violations:
            shutil.rmtree(home)
    return results


def _say(result: Run, number: int, count: int) -> None:
    done = f"{result.fault:<17} {number:>3}/{count}  {len(result.history):>6} operations"
    print(
        f"{done}, {result.silence_s:5.1f} s without service, {len(result.violations)} violations", file=sys.stderr, flush=True
    )
    for violation in result.violations[:5]:
        print(f"    {violation}", file=sys.stderr)
    if result.path is not None:
        print(f"    The history is in {result.path}, the nodes' directories and words beside it.", file=sys.stderr, flush=True)


HEADS = (
    "fault",
    "runs",
    "operations",
    "acknowledged",
    "unknown",
    "violations",
    "no service, s: median",
    "max",
    "digests equal",
)


def row(results: Sequence[Run]) -> tuple[str, ...]:
    """The line of a fault in the table."""
    silences = [result.silence_s for result in results]
    return (
        results[0].fault,
        str(len(results)),
        f"{sum(len(result.history) for result in results):,}",
        f"{sum(result.acknowledged for result in results):,}",
        f"{sum(result.unknown for result in results):,}",
        str(sum(len(result.violations) for result in results)),
        f"{statistics.median(silences):.1f}",
        f"{max(silences):.1f}",
        f"{sum(result.digests_equal for result in results)}/{len(results)}",
    )


def table(rows: Sequence[tuple[str, ...]], heads: tuple[str, ...] = HEADS) -> str:
    """Heads and rows, in columns."""
    widths = [max(len(line[column]) for line in (heads, *rows)) for column in range(len(heads))]
    lines = []
    for name, *figures in (heads, *rows):
        cells = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="campaign.py",
        description="Runs faults on a cluster of three nodes under load, and checks that nothing acknowledged is lost.",
        epilog="faults: " + "; ".join(f"{fault.name}: {fault.what}" for fault in FAULTS.values()),
    )
    parser.add_argument("--runs", type=int, default=20, help="of each fault (default: 20)")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--seed", default=f"{random.SystemRandom().randrange(1 << 32):x}", help="of callers and victims")
    parser.add_argument("--timeout", type=float, default=10.0, help="of the system, in seconds (default: 10)")
    parser.add_argument("--backend", default="coopy", help="the module that opens the system (default: coopy)")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    reason = why_not()
    if reason is not None:
        print(f"no campaign: {reason}", file=sys.stderr)
        return 2
    # What ends the campaign must end its nodes and its network: let the blocks be left in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    directory = Path(tempfile.mkdtemp(prefix="coopy-simulation-"))
    print(f"seed {options.seed}, {options.runs} runs of each fault", file=sys.stderr, flush=True)
    rows = []
    violated = False
    try:
        for name in options.fault or FAULTS:
            results = runs(
                FAULTS[name], options.runs, options.seed, directory, backend=options.backend, timeout_s=options.timeout
            )
            violated |= any(result.violations for result in results)
            rows.append(row(results))
    except NotReady as error:
        print(f"the cluster did not start: {error}", file=sys.stderr)
        return 1
    finally:
        if rows:
            print(table(rows))
        if not violated:
            shutil.rmtree(directory, ignore_errors=True)
    return int(violated)


if __name__ == "__main__":
    sys.exit(main())

"""Locks and elections of fifty clients, on three nodes and on one machine, in simulation: what is promised of them must hold.

    python tests/sim/locks.py [--minutes M] [--seed S]... [--lines | --last SECONDS]
    python tests/sim/locks.py --planted [--only NAME]... [--minutes M] [--seed S]

Each seed makes one life, in which faults come for so many simulated minutes: the same one each time, as its digest says; --lines prints
what happened in it, and --last what happened in its last seconds. What a life is made of, and what must hold, is in `sim.turns`.

With --planted each fault of PLANTED is put into a copy of coopy, and a life is lived until it is found.

The exit status is 1 if anything was violated, or a planted fault was not found.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crash.mutants import Mutant, copied, planted
from sim.campaign import place
from sim.life import quiet
from sim.turns import CLIENTS, Turns

MINUTES = 30.0
PLANTED_MINUTES = 20.0
HANGS_S = 60.0
"""And a minute for each simulated one: a life that takes longer hangs, and ends its process, with a word of where."""
PRESENCE, TICKS, LOCKS = "coopy/sync/presence.py", "coopy/sync/ticks.py", "coopy/sync/locks.py"
CLIENT, ELECTOR = "coopy/compat/metaparticle.py", "coopy/sync/elector.py"
PLANTED = [
    Mutant(name, file, old, new, "")
    for name, file, old, new in (
        ("the-holder-does-not-stop-at-two-thirds", PRESENCE, "HELD_OF, HELD = 3, 2\n", "HELD_OF, HELD = 3, 6\n"),
        (
            "the-holder-counts-from-the-answer",
            PRESENCE,
            "max(session.until_ns, sent_ns + session.ttl_ns",
            "max(session.until_ns, boot.now_ns() + session.ttl_ns",
        ),
        (
            "a-claim-does-not-give-leases-their-full-time",
            TICKS,
            "        if anew:\n",
            "        if not self._leases:\n",
        ),
        ("a-tick-counts-twice", TICKS, "self.now += max(0,", "self.now += 2 * max(0,"),
        (
            "a-tick-of-whomever-counts-from-whatever-beat",
            TICKS,
            "if timekeeper != self.timekeeper or beat != self.beat or not self._leases",
            "if not self._leases",
        ),
        ("a-tick-counts-all-that-was-measured", TICKS, "max(0, min(elapsed_ns, self.interval_ns))", "max(0, elapsed_ns)"),
        (
            "a-lease-is-not-longer-by-a-tick",
            TICKS,
            "self.now + ttl_ns + max(1, ttl_ns // self._per_lease)",
            "self.now + ttl_ns",
        ),
        (
            "the-token-of-a-release-is-not-compared",
            LOCKS,
            "            if held == token:\n                self._drop(owner)",
            "            if held:\n                self._drop(owner)",
        ),
        ("a-resource-takes-any-token", "coopy/sync/fenced.py", "        if token < highest:\n", "        if token < 0:\n"),
        ("a-token-may-come-again", LOCKS, "max(action_index(), self._last_token + 1)", "action_index()"),
        (
            "a-lock-that-ends-goes-to-nobody",
            LOCKS,
            "        for queue in queues:\n            self._give(queue)\n",
            "        for queue in queues:\n",
        ),
        ("a-client-counts-all-that-was-promised", CLIENT, "_HELD_OF_PROMISED = 2 / 3", "_HELD_OF_PROMISED = 4 / 3"),
        (
            "an-elector-frees-a-lock-of-another-token",
            ELECTOR,
            "lock.owner != owner or token not in (None, lock.token)",
            "False",
        ),
    )
]


def live(seed: int, minutes: float, keep_lines: bool = False) -> Turns:
    """Lives a life."""
    with quiet(), place() as folder:
        life = Turns(str(seed), folder / "life", minutes * 60, keep_lines)
        try:
            life.run()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            life.violations.append(f"went wrong: {type(error).__name__}: {error} at {where.filename}, line {where.lineno}")
    return life


def last(lines: list[str], seconds: float) -> list[str]:
    """What was seen in the last seconds; each line begins with its time."""
    since = float(lines[-1].partition(" ")[0]) - seconds if lines else 0.0
    return [each for each in lines if float(each.partition(" ")[0]) >= since]


def told(life: Turns) -> str:
    """What came of a life."""
    faults = sum(number for what, number in life.counts.items() if what.startswith("fault: "))
    lines = [
        f"locks: seed {life.seed}, {life.counts['seconds']} simulated seconds, {CLIENTS} clients, {faults} faults, "
        f"{len(life.violations)} violations, digest {life.digest}",
        "  " + ", ".join(f"{what} {number}" for what, number in sorted(life.counts.items())),
    ]
    for what, took in sorted(life.took.items()):
        lines.append(f"  {what}: {len(took)} times, median {statistics.median(took):.3f} s, worst {max(took):.3f} s")
    return "\n".join(lines)


def hunt(names: Sequence[str], seed: int, minutes: float) -> int:
    """Plants faults one after another. Returns how many were not found."""
    missed = 0
    chosen = [mutant for mutant in PLANTED if not names or mutant.name in names]
    assert chosen, f"none of these is planted: {names}"
    with tempfile.TemporaryDirectory(prefix="coopy-locks-planted-") as found:
        root = Path(found).resolve()
        copied(root)
        for mutant in chosen:
            begun = time.monotonic()
            with planted(mutant, root):
                done = subprocess.run(
                    [
                        sys.executable,
                        str(root / "tests" / "sim" / "locks.py"),
                        *("--seed", str(seed), "--minutes", str(minutes)),
                    ],
                    cwd=root,
                    env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(root)},
                    capture_output=True,
                    text=True,
                    check=False,
                )
            lines = [line for line in done.stdout.splitlines() if line.startswith("VIOLATED: ")]
            missed += not lines
            what = lines[0][:200] if lines else f"NOT FOUND {done.stdout[:100]} {done.stderr[-300:]}"
            print(f"{mutant.name}: {what}, {time.monotonic() - begun:.0f} s", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="for so long faults come in a life, in its own time")
    parser.add_argument("--seed", type=int, action="append", default=[], help="of a life; may be given several times")
    parser.add_argument("--lines", action="store_true", help="what happened in a life")
    parser.add_argument("--last", type=float, metavar="SECONDS", help="what happened in the last simulated seconds of a life")
    parser.add_argument("--planted", action="store_true", help="find the faults that are planted")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="plant this one; may be given several times"
    )
    asked = parser.parse_args()
    seeds: list[int] = asked.seed or [random.SystemRandom().randrange(1 << 32)]
    if asked.planted:
        print(f"locks: seed {seeds[0]}", flush=True)
        return bool(hunt(asked.only, seeds[0], asked.minutes or PLANTED_MINUTES))
    violated = False
    for seed in seeds:
        print(f"locks: seed {seed}", flush=True)
        minutes, begun = asked.minutes or MINUTES, time.monotonic()
        faulthandler.dump_traceback_later(HANGS_S * (1 + minutes), exit=True)
        life = live(seed, minutes, asked.lines or asked.last is not None)
        faulthandler.cancel_dump_traceback_later()
        print(*(life.lines if asked.last is None else last(life.lines, asked.last)), sep="\n")
        print(*(f"VIOLATED: at --seed {seed}: {text[:1000]}" for text in life.violations), sep="\n")
        print(f"{told(life)}\n  {time.monotonic() - begun:.0f} s", flush=True)
        violated = violated or bool(life.violations)
    return violated


if __name__ == "__main__":
    sys.exit(main())

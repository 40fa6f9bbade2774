"""kill -9 at random moments: nothing acknowledged is ever missing, and every reopening works.

A writer runs in a process of its own and says, through a pipe, which calls
returned. It is killed at a random moment: while it opens, after a number of
acknowledgements, or after a while. Then the directory is looked at, without
writing or by opening it, and the next writer goes on in it, so that restarts
stack up on the traces of earlier kills.

COOPY_CRASH_RUNS is the number of kills, COOPY_CRASH_SEED the seed of all that is
random here but the scheduler. With COOPY_CRASH_HARD=1 each writer has 8 threads, small segments, and takes snapshots.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from crash.ledger import Ledger
from crash.writer import LINE
from program import environment

import coopy
from coopy import control, init_system

RUNS = int(os.environ.get("COOPY_CRASH_RUNS", "20"))
HARD = os.environ.get("COOPY_CRASH_HARD") == "1"
SEED = int(os.environ.get("COOPY_CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
RUNS_OF_A_DIRECTORY = 10
SEGMENT_BYTES = 1 << 20
BLOCK_BYTES = 1 << 18
PATIENCE_S = 60
WRITER = Path(__file__).with_name("writer.py")


@dataclass
class Tally:
    kills: int = 0
    kills_while_opening: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    segments: int = 0
    snapshots: int = 0
    directories: int = 0
    acknowledged_by: dict[int, int] = field(default_factory=dict)
    """By writer, its last acknowledged entry in the directory of the moment."""
    found: int = 0
    """Entries that were there when the directory was last looked at."""


@dataclass(frozen=True)
class Run:
    """What one writer is asked to do, and when it is killed."""

    threads: int
    durability: str
    segment_bytes: int
    snapshot_growth: int
    filler_bytes: int
    together: int
    """So many calls has a thread on its way."""
    acks: int | None
    """Kill it after so many acknowledgements, …"""
    delay_s: float
    """… or after so long: from its start, or from its opening."""
    while_opening: bool


def a_run(chance: random.Random, number: int) -> Run:
    rolling = chance.random() < 0.5 or HARD
    moment = chance.choice(("acks", "acks", "delay", "opening"))
    return Run(
        threads=chance.choice((1, 1, 4, 8)) if not HARD else 8,
        durability=("sync", "buffered")[number % 2],
        segment_bytes=SEGMENT_BYTES if rolling else 64 << 20,
        snapshot_growth=chance.choice((0, BLOCK_BYTES)) if not HARD else BLOCK_BYTES,
        filler_bytes=chance.choice((2_000, 20_000)) if rolling else 10,
        together=chance.choice((1, 1, 7, 150)),
        acks=chance.randrange(1, 400) if moment == "acks" else None,
        delay_s=chance.uniform(0.0, 0.4 if moment == "opening" else 0.25),
        while_opening=moment == "opening",
    )


def kill_a_writer(basedir: Path, run: Run, tally: Tally) -> None:
    """Runs a writer, kills it, and enters what it acknowledged."""
    arguments = (
        basedir,
        run.threads,
        run.durability,
        run.segment_bytes,
        run.snapshot_growth,
        run.filler_bytes,
        run.together,
    )
    here = environment()
    writer = subprocess.Popen(
        [sys.executable, str(WRITER), *map(str, arguments)],
        env={**here, "PYTHONPATH": os.pathsep.join((str(WRITER.parents[1]), here["PYTHONPATH"]))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert writer.stdout is not None and writer.stderr is not None
    too_long = threading.Timer(PATIENCE_S, writer.kill)
    too_long.start()
    timer = threading.Timer(run.delay_s, writer.kill)
    if run.while_opening:
        timer.start()
    acks = 0
    opened = False
    # Read to the end of the pipe: what was acknowledged before the kill is in it, and counts.
    while len(line := writer.stdout.read(LINE)) == LINE:
        word, thread, number = line.split()
        if word == b"open":
            opened = True
            assert int(number) == tally.found, "the state that was found is the state that the next writer has"
            if not run.while_opening and run.acks is None:
                timer.start()
            continue
        acks += 1
        tally.acknowledged_by[int(thread)] = int(number)
        if acks == run.acks:
            writer.kill()
    assert not line, "lines are written whole"
    complaint = writer.stderr.read().decode()
    writer.wait()
    too_long.cancel()
    timer.cancel()
    assert writer.returncode == -signal.SIGKILL, f"the writer ended by itself:\n{complaint}"
    tally.kills += 1
    tally.kills_while_opening += not opened
    tally.acknowledged += acks


def look(basedir: Path, run: Run, tally: Tally, *, open_it: bool) -> None:
    """Nothing acknowledged is missing, and beyond it there is only what was on its way."""
    if open_it:
        with init_system(Ledger, basedir) as ledger:
            index = control(ledger).index
            state = control(ledger).replay()
    elif control_files(basedir):
        state = coopy.replay(Ledger, basedir)
        index = len(state.entries)
    else:
        # Killed before there was a system.
        assert not tally.acknowledged_by
        return
    assert state.whole(), "the state is the fold of its actions in order"
    assert index == len(state.entries), "each action is there once"
    in_flight = 0
    for thread, number in tally.acknowledged_by.items():
        kept = state.written.get(thread, 0)
        assert kept >= number, f"entries {kept + 1} to {number} of thread {thread} were acknowledged and are missing"
        assert kept <= number + run.together, "a thread has no more calls on its way"
    for thread, kept in state.written.items():
        in_flight += kept - tally.acknowledged_by.get(thread, 0)
    assert in_flight <= run.threads * run.together
    tally.in_flight += in_flight
    tally.found = len(state.entries)
    tally.acknowledged_by = dict(state.written)


def control_files(basedir: Path) -> bool:
    """Whether the directory holds a system that was begun: its manifest and its first snapshot."""
    return (basedir / "coopy.json").exists() and any(basedir.glob("snapshot_*.dat"))


def run_it_all_again(basedir: Path) -> None:
    """The first snapshot and the whole journal give what the newest snapshot and its rest give."""
    expected = coopy.replay(Ledger, basedir)
    with init_system(Ledger, basedir) as ledger:
        assert control(ledger).replay().entries == expected.entries
    for path in basedir.glob("snapshot_*.dat"):
        if int(path.stem[9:]):
            path.unlink()
    again = coopy.replay(Ledger, basedir)
    assert (again.entries, again.chain, again.draws) == (expected.entries, expected.chain, expected.draws)


@pytest.mark.timeout(30 * RUNS + 60)
def test_what_was_acknowledged_survives_every_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(SEED)
    tally = Tally()
    basedir = tmp_path / "0"
    with capsys.disabled():
        print(f"\ncrash: COOPY_CRASH_SEED={SEED} COOPY_CRASH_RUNS={RUNS}")
    for number in range(RUNS):
        if number and number % RUNS_OF_A_DIRECTORY == 0:
            finish(basedir, tally)
            basedir = tmp_path / str(number)
        run = a_run(chance, number)
        open_it = chance.random() < 0.5
        try:
            kill_a_writer(basedir, run, tally)
            look(basedir, run, tally, open_it=open_it)
        except BaseException as error:
            error.args = (f"seed {SEED}, kill {number}, {run}: {error}",)
            raise
    finish(basedir, tally)
    with capsys.disabled():
        print(
            f"crash: {tally.kills} kills ({tally.kills_while_opening} while opening) "
            f"in {tally.directories} directories, "
            f"{tally.acknowledged} acknowledged calls, 0 missing, {tally.in_flight} in flight kept, "
            f"{tally.segments} segments, {tally.snapshots} snapshots"
        )
    assert tally.kills == RUNS


def finish(basedir: Path, tally: Tally) -> None:
    if control_files(basedir):
        tally.segments += len(list(basedir.glob("transaction_*.log")))
        tally.snapshots += len(list(basedir.glob("snapshot_*.dat")))
        run_it_all_again(basedir)
    tally.directories += 1
    tally.acknowledged_by = {}
    tally.found = 0
    shutil.rmtree(basedir, ignore_errors=True)

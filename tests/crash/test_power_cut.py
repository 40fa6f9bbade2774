"""The power is cut at any moment: it opens again, with all that was acknowledged and nothing out of order.

A life of a system is recorded, call by call, and cut at many of its moments; of what was not yet synced
all is kept, or nothing, or any part of it (see `crash.disk_model`). Some are cut once more while they open.

COOPY_POWER_LIVES lives are run from COOPY_POWER_SEED on, in as many processes as there are processors.
A failure names the life; the same seed and one life repeat it.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash.disk_model import Disk, Recorder, everything, put
from crash.power import Diary, Tally, Violation, campaign
from faults import open_with
from program import environment

from coopy import control
from coopy.disk import dirlock, frame
from coopy.disk.fs import Calls, File
from coopy.ground.record import AMENDMENT_BYTES

LIVES = int(os.environ.get("COOPY_POWER_LIVES", "0"))
FRESH = int(os.environ.get("COOPY_POWER_SEED", random.SystemRandom().randrange(1 << 32)))
FIXED_LIVES = int(os.environ.get("COOPY_POWER_FIXED", "8"))
"""`make crash` and `make mutants` run 20: fewer do not come to each planted fault."""
FRESH_S = 2.0
SHARE = 0.1


@pytest.fixture
def tmp_path(in_memory: Path) -> Path:
    return in_memory


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Every cut end is logged; thousands of them are no news."""
    logger = logging.getLogger("coopy")
    before = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(before)


def told(tally: Tally) -> str:
    return f"{tally.cuts} power cuts in {tally.lives} lives, {tally.second_cuts} cut again while opening, 0 violations"


@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_in_the_lives_that_are_always_run(tmp_path: Path) -> None:
    tally = campaign(tmp_path, 0, FIXED_LIVES, SHARE)
    print(f"\npower: {told(tally)}")
    assert tally.lives == FIXED_LIVES
    assert tally.cuts > 50 * FIXED_LIVES


@pytest.mark.timeout(3600)
def test_nothing_acknowledged_is_lost_in_lives_of_a_fresh_seed(tmp_path: Path) -> None:
    print(f"\npower: COOPY_POWER_SEED={FRESH} COOPY_POWER_LIVES={LIVES}")
    if LIVES:
        run_in_processes(LIVES)
        return
    tally, until = Tally(), time.monotonic() + FRESH_S
    while time.monotonic() < until:
        campaign(tmp_path, FRESH + tally.lives, 1, SHARE, tally=tally)
    print(f"power: {told(tally)}")
    assert tally.cuts


def test_an_amendment_that_is_lost_while_the_action_behind_it_is_there_is_a_torn_end(tmp_path: Path) -> None:
    """Neither was synced, and they may lie in two sectors of which the later one reached the disk first."""
    diary = open_with(Calls(), Diary, tmp_path, durability="buffered")
    diary.add(1, "")
    with pytest.raises(KeyError):
        diary.refuse(2)
    end = control(diary)._system._journal._tail
    diary.add(3, "")
    control(diary)._system.abandon()
    size = frame.OVERHEAD + AMENDMENT_BYTES
    with (tmp_path / "transaction_000000000000001.log").open("r+b") as file:
        file.seek(end - size)
        file.write(bytes(size))
    dirlock.forget_boot(str(tmp_path))
    again = open_with(Calls(), Diary, tmp_path, durability="buffered")
    again.add(4, "")
    assert again.tokens == [1, 4]
    control(again).close()


def run_in_processes(lives: int) -> None:
    """The whole campaign, a part in each process; says how far it is."""
    workers = os.cpu_count() or 1
    parts = [lives // workers + (number < lives % workers) for number in range(workers)]
    here = environment()
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(FRESH + sum(parts[:number])), str(part)],
            env={**here, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parents[1]), here["PYTHONPATH"]))},
        )
        for number, part in enumerate(parts)
    ]
    assert [process.wait() for process in processes] == [0] * workers, "see the violations above"


def test_what_the_record_says_is_what_the_disk_holds(tmp_path: Path) -> None:
    """The recorder makes the real calls: with nothing lost, its model is the directory."""
    chance = random.Random(7)
    for mapped in (False, True):
        root = tmp_path / f"mapped {mapped}"
        calls = Recorder(mapped)
        calls.make_directory(str(root))
        calls.sync_directory(str(tmp_path))
        names = [f"file {number}" for number in range(4)]
        for step in range(150):
            name = str(root / chance.choice(names))
            if not os.path.exists(name):
                file = File(calls, name, write=True, create=True)
                file.allocate(chance.randrange(1, 9) * 512)
            else:
                file = File(calls, name, write=True)
            what = chance.randrange(6)
            if what == 0:
                file.cut(chance.randrange(file.size + 1))
            elif what == 1:
                calls.rename(name, str(root / chance.choice(names)))
            elif what == 2:
                calls.remove(name)
            elif what == 3:
                file.sync()
            elif file.size > 100:
                if mapped:
                    file.map()
                file.write(chance.randrange(file.size - 100), chance.randbytes(100))
            if chance.random() < 0.1:
                calls.sync_directory(str(root))
            file.close()
            if step % 10 == 0:
                compare(calls, root, tmp_path / "copy")
        compare(calls, root, tmp_path / "copy")


def compare(calls: Recorder, root: Path, copy: Path) -> None:
    disk = Disk(str(root))
    for note in calls.notes:
        disk.follow(note)
    found = disk.found(everything)
    assert found is not None
    assert found == {path.name: path.read_bytes() for path in root.iterdir()}
    put(found, copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == found
    shutil.rmtree(copy)


def test_the_model_loses_what_was_not_synced_and_only_that(tmp_path: Path) -> None:
    calls = Recorder(mapped=False)
    root = str(tmp_path / "root")
    calls.make_directory(root)
    file = File(calls, os.path.join(root, "a"), write=True, create=True)
    file.allocate(1024)
    file.write(0, b"first")
    file.sync()
    file.write(0, b"other")
    file.write(600, b"more")
    found = {}
    for name, keep in (("everything", everything), ("nothing", lambda _: 0), ("half", lambda changes: changes // 2)):
        disk = Disk(root)
        for note in calls.notes:
            disk.follow(note)
        assert disk.found(lambda _: 0) is None, "no name was synced"
        calls.sync_directory(str(tmp_path))
        calls.sync_directory(root)
        for note in calls.notes[-2:]:
            disk.follow(note)
        del calls.notes[-2:]
        found[name] = (disk.found(keep) or {})["a"]
    assert found["everything"][:5] == b"other" and found["everything"][600:604] == b"more"
    assert found["nothing"][:5] == b"first" and not any(found["nothing"][5:])
    assert found["half"] == found["nothing"], "one write to each sector: half of it is none"
    file.close()


def main() -> int:
    """One process of the campaign."""
    import tempfile

    logging.getLogger("coopy").setLevel(logging.ERROR)
    seed, lives = map(int, sys.argv[1:])
    tally, told_at = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="coopy-power-") as root:
        try:
            for number in range(lives):
                campaign(Path(root), seed + number, 1, SHARE, tally=tally)
                if time.monotonic() - told_at > 10:
                    told_at = time.monotonic()
                    print(f"power: {tally.lives} of {lives} lives, {tally.cuts} cuts", flush=True)
        except Violation as violation:
            print(f"power: {violation}", flush=True)
            return 1
    print(f"power: {told(tally)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

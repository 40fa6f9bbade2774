"""The operations that are interrupted: how each is prepared, what it does, and what it may leave."""

from __future__ import annotations

import asyncio
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moments.domain import CARRIED, Bank, Interrupter
from moments.oracle import Witness, again, in_another_thread, reopened, state_of

import coopy
import coopy.aio
from coopy import control
from coopy.disk import directory, journal
from coopy.disk.fs import Calls
from coopy.disk.segment import BLOCK
from coopy.errors import SystemClosed

SEGMENT_BYTES = 4 * BLOCK
LARGE = "x" * 30_000
"""An argument that takes a block of the journal alone."""
MEDIUM = "x" * 6_000
"""One that does not fit in beside it."""


@contextmanager
def small_segments() -> Iterator[None]:
    """Segments begin small: a megabyte of zeros would be read, copied and written at each trial for nothing."""
    before = journal.FIRST_BYTES
    journal.FIRST_BYTES = SEGMENT_BYTES
    try:
        yield
    finally:
        journal.FIRST_BYTES = before


class Trial:
    """One run of an operation, in a directory of its own."""

    def __init__(self, directory: Path, options: dict[str, Any], witness: Witness) -> None:
        self.directory = directory
        self.options = options
        self.witness = witness
        self.system: Any = None
        self.threads: list[threading.Thread] = []
        self.closes = False
        """Whether the operation closes the system."""
        self.over = threading.Event()
        """Set when the threads have to come to an end."""
        self.failures: list[BaseException] = []
        """What was raised in them."""
        self.ends: list[Callable[[], None]] = []
        """What is to be called in the end, to have the process as it was."""

    def open(self) -> None:
        self.system = reopened(self.directory, self.options)

    def call(self, name: str, *args: Any) -> None:
        """A call that nobody interrupts."""
        getattr(self.system, name)(*args)
        self.witness.acknowledged.append(args[0])


Step = Callable[[Trial], Any]


@dataclass(frozen=True)
class Operation:
    """What is done with a system; ``run`` is what is interrupted."""

    name: str
    run: Step
    durability: str = "sync"
    template: str = "two"
    """Which directory it begins with; see TEMPLATES."""
    begin: Step = lambda trial: None
    """What is done before the directory is opened."""
    prepare: Step = lambda trial: None
    """What is done before it is interrupted."""
    options: dict[str, Any] = field(default_factory=dict)
    counts: bool = True
    """Whether ``run`` makes a call with the key "op"."""
    withdrawn: bool = False
    """Whether that call leaves no trace if it raises as it means to."""
    opens: bool = False
    """Whether ``run`` opens the directory."""
    closes: bool = False
    more: Step = lambda trial: None
    """What must work afterwards, besides calls and reads."""
    proof: Callable[[Trial], bool] = lambda trial: True
    """Whether a run that nobody interrupts has come to where it is meant to."""
    watched: bool = False
    """Whether another thread reads at each moment of the handling."""
    in_child: bool = False
    repeat: int = 1
    """So often is each moment tried: where threads meet, no two runs are alike."""
    patient: bool = False
    """Whether a thread that was interrupted in nothing may still have to close the directory."""

    @property
    def everything(self) -> dict[str, Any]:
        return {"durability": self.durability, "segment_bytes": SEGMENT_BYTES, "fork": False, **self.options}


# -- directories to begin with


def _two(trial: Trial) -> None:
    """A system with two calls, closed."""
    trial.call("transfer", "one", 1)
    trial.call("transfer", "two", 2)


def _full_block(trial: Trial) -> None:
    """A block of the journal is nearly full."""
    _two(trial)
    trial.system.fill(LARGE)


def _full_segment(trial: Trial) -> None:
    """A segment is nearly full."""
    _two(trial)
    for _ in range(SEGMENT_BYTES // BLOCK):
        trial.system.fill(LARGE)


def _snapshots(trial: Trial) -> None:
    """Three snapshots and three segments."""
    for number in range(3):
        trial.call("transfer", f"{number}", number)
        for _ in range(SEGMENT_BYTES // BLOCK + 1):
            trial.system.fill(LARGE)
        trial.system.take_snapshot()


TEMPLATES: dict[str, Step | None] = {
    "none": None,
    "two": _two,
    "full block": _full_block,
    "full segment": _full_segment,
    "killed": _two,
    "torn": _two,
    "snapshots": _snapshots,
}


def make_template(name: str, folder: Path) -> Witness:
    """Makes the directory, and returns what its callers know."""
    build = TEMPLATES[name]
    trial = Trial(folder, {"durability": "buffered", "segment_bytes": SEGMENT_BYTES, "fork": False}, Witness())
    if build is None:
        return trial.witness
    trial.open()
    build(trial)
    if name in ("killed", "torn"):
        open_one = folder.with_name(folder.name + " open")
        shutil.copytree(folder, open_one)
    trial.witness.look(trial.system.state())
    trial.system.close()
    if name in ("killed", "torn"):
        shutil.rmtree(folder)
        open_one.rename(folder)
    if name == "torn":
        _tear(folder)
    return trial.witness


def _tear(folder: Path) -> None:
    """Writes half a frame behind the last whole one."""
    (segment,) = folder.glob("transaction_*.log")
    data = segment.read_bytes()
    end = len(data.rstrip(b"\0"))
    segment.write_bytes(data[:end] + struct.pack("<BBI", 0x43, 33, 100) + b"torn" * 5 + data[end + 26 :])


# -- operations


def _transfer(trial: Trial) -> None:
    trial.system.transfer("op", 7)


def _carry(trial: Trial) -> None:
    trial.system.carry("op", 7, MEDIUM)


def _raising(name: str) -> Step:
    def run(trial: Trial) -> None:
        try:
            getattr(trial.system, name)("op", 7)
        except ValueError as error:
            assert error.args == ("op",)
        else:
            raise AssertionError("the method raises, and its call did not")

    return run


def _set(trial: Trial) -> None:
    trial.witness.notes.add("op")
    trial.system.note = "op"
    trial.witness.notes = {"op"}


def _read(trial: Trial) -> None:
    trial.witness.look(trial.system.state())


def _read_beside(trial: Trial) -> None:
    """A read while others make calls: not all that is acknowledged meanwhile is there."""
    trial.witness.saw(trial.system.state())


def _read_attribute(trial: Trial) -> None:
    assert trial.system.count == len(trial.witness.acknowledged)


def _glimpse(trial: Trial) -> None:
    trial.system.glimpse()


def _interrupted(trial: Trial) -> None:
    """Interrupts a call in the middle of its method."""
    trial.witness.doubtful.add("early")
    Interrupter.error = KeyboardInterrupt()
    with suppress(KeyboardInterrupt):
        trial.system.trip("early", 3)


def _snapshot(trial: Trial) -> None:
    control(trial.system).take_snapshot()


def _snapshot_again(trial: Trial) -> None:
    in_another_thread(lambda: control(trial.system).take_snapshot())


def _prune(trial: Trial) -> None:
    control(trial.system).prune(keep=1)


def _prune_again(trial: Trial) -> None:
    in_another_thread(lambda: control(trial.system).prune(keep=1))


def _close(trial: Trial) -> None:
    trial.system.close()


def _asyncio(trial: Trial) -> None:
    """Opens the directory in a loop, makes calls beside one another, reads, and closes it."""

    async def main() -> None:
        async with coopy.aio.open(Bank, trial.directory, **trial.options) as bank:
            others = [str(number) for number in range(5)]
            trial.witness.doubtful.update(others)
            await asyncio.gather(*(bank.transfer(key, 1) for key in others), bank.transfer("op", 7))
            trial.witness.acknowledged += others
            trial.witness.look(await bank.state())

    asyncio.run(main())


def _hopeful(trial: Trial) -> None:
    """The effect of a call that counts is carried out."""
    for _ in range(300):
        keys = [entry[0] for entry in trial.system.state()[5]]
        if "op" not in keys or "op" in CARRIED:
            return
        time.sleep(0.001)
    raise AssertionError(f"the effect was not carried out; {control(trial.system).effects} are waiting")


def _unmapped(trial: Trial) -> None:
    """Has the journal written by a system call, as where no map of a file can be trusted."""
    mappable = Calls.mappable
    Calls.mappable = lambda calls, fd: False
    trial.ends.append(lambda: setattr(Calls, "mappable", mappable))


def _adopt(trial: Trial) -> None:
    trial.system.adopt(trial.system)


def _know(trial: Trial) -> None:
    trial.witness.look(trial.system.state())


def _last_call(trial: Trial) -> None:
    trial.call("transfer", "last", 1)
    _know(trial)


def _open(trial: Trial) -> None:
    trial.open()


def _replay(trial: Trial) -> None:
    again(state_of(coopy.replay(Bank, trial.directory)), trial.witness, "replay")


def _replay_control(trial: Trial) -> None:
    again(state_of(control(trial.system).replay()), trial.witness, "replay")


def _crowd(trial: Trial) -> None:
    """Three others make calls until the trial is over, and the disk takes its time, so that they wait for one another."""
    sync = Calls.sync_data

    def slow(calls: Calls, fd: int) -> None:
        time.sleep(0.0002)
        sync(calls, fd)

    Calls.sync_data = slow
    trial.ends.append(lambda: setattr(Calls, "sync_data", sync))
    started = threading.Barrier(4)

    def work(name: str) -> None:
        started.wait()
        try:
            for number in range(200):
                if trial.over.is_set():
                    break
                key = f"{name}.{number}"
                trial.witness.doubtful.add(key)
                trial.system.transfer(key, 1)
                trial.witness.acknowledged.append(key)
        except SystemClosed as error:
            if not trial.closes:
                trial.failures.append(error)
        except BaseException as error:
            trial.failures.append(error)

    for name in "pqr":
        thread = threading.Thread(target=work, args=(name,), name=f"caller {name}", daemon=True)
        trial.threads.append(thread)
        thread.start()
    started.wait()


def _segments(trial: Trial) -> int:
    return len(directory.segments([path.name for path in trial.directory.iterdir()]))


def _has_rolled(trial: Trial) -> bool:
    return _segments(trial) == 2


def _has_grown(trial: Trial) -> bool:
    (path,) = trial.directory.glob("transaction_*.log")
    return _segments(trial) == 1 and path.stat().st_size > SEGMENT_BYTES


def _has_pruned(trial: Trial) -> bool:
    return _segments(trial) == 1 and len(list(trial.directory.glob("snapshot_*.dat"))) == 1


def _has_snapshot(trial: Trial) -> bool:
    return len(list(trial.directory.glob("snapshot_*.dat"))) == 2


def _both(name: str, run: Step, **more: Any) -> list[Operation]:
    return [Operation(f"{name}, {durability}", run, durability=durability, **more) for durability in ("sync", "buffered")]


GROWING = {"segment_bytes": 64 << 20}

OPERATIONS: list[Operation] = [
    *_both("call", _transfer),
    *_both("call in a new block", _carry, template="full block"),
    *_both("call at growth", _carry, template="full segment", options=GROWING, proof=_has_grown),
    *_both("call at roll-over", _carry, template="full segment", proof=_has_rolled),
    Operation("call that draws", lambda trial: trial.system.draw("op")),
    Operation(
        "call that asks for an effect",
        lambda trial: trial.system.promise("op", 7),
        more=_hopeful,
        prepare=lambda trial: CARRIED.clear(),
    ),
    Operation("call in a call", lambda trial: trial.system.through("op", 7), prepare=_adopt),
    *_both("call, written", _transfer, begin=_unmapped),
    *_both("call at growth, written", _carry, template="full segment", options=GROWING, proof=_has_grown, begin=_unmapped),
    *_both("call at roll-over, written", _carry, template="full segment", proof=_has_rolled, begin=_unmapped),
    Operation("call that yields", lambda trial: list(trial.system.each(["op"]))),
    *_both("call that raises", _raising("fail")),
    *_both("call that is refused", _raising("refuse"), withdrawn=True),
    *_both("call that is undone", _raising("undo"), withdrawn=True),
    Operation("call of a transactional method", lambda trial: trial.system.safely("op", 7)),
    *_both("call after an interrupted one", _transfer, prepare=_interrupted),
    *_both("first call after a kill", _transfer, template="killed"),
    *_both("first call at a torn end", _transfer, template="torn"),
    Operation("call that is watched", _transfer, watched=True),
    Operation("call that raises, watched", _raising("fail"), watched=True),
    Operation("call that is undone, watched", _raising("undo"), withdrawn=True, watched=True),
    Operation("call beside others", _transfer, prepare=_crowd, repeat=3),
    Operation("call at roll-over beside others", _carry, template="full segment", prepare=_crowd, repeat=2),
    Operation("read beside others", _read_beside, prepare=_crowd, repeat=10, counts=False),
    Operation("close beside others", _close, prepare=_crowd, repeat=3, counts=False, closes=True),
    *_both("setting an attribute", _set, counts=False),
    *_both("read", _read, counts=False),
    Operation("read of an attribute", _read_attribute, counts=False),
    *_both("read after an interrupted call", _read, prepare=_interrupted, counts=False),
    Operation("unlocked read", _glimpse, counts=False),
    Operation("unlocked read after an interrupted call", _glimpse, prepare=_interrupted, counts=False),
    Operation("snapshot", _snapshot, counts=False, proof=_has_snapshot, more=_snapshot_again),
    Operation(
        "snapshot by a child", _snapshot, counts=False, options={"fork": True}, proof=_has_snapshot, more=_snapshot_again
    ),
    Operation(
        "snapshot, in the child",
        _snapshot,
        counts=False,
        options={"fork": True},
        more=_snapshot_again,
        in_child=True,
    ),
    Operation("prune", _prune, template="snapshots", counts=False, proof=_has_pruned, more=_prune_again),
    *_both("close", _close, counts=False, closes=True, prepare=_last_call),
    Operation("replay of a directory", _replay, counts=False, prepare=_know),
    Operation("replay by its control", _replay_control, counts=False, prepare=_know),
    Operation("opening of a new directory", _open, template="none", counts=False, opens=True),
    *_both("opening", _open, counts=False, opens=True),
    Operation("opening after a kill", _open, template="killed", counts=False, opens=True),
    Operation("opening of a torn end", _open, template="torn", counts=False, opens=True),
    Operation("asyncio", _asyncio, opens=True, patient=True),
    Operation("opening of several segments", _open, template="snapshots", counts=False, opens=True),
    # The last one: the process is another afterwards.
    Operation("call, deterministic", _transfer, options={"deterministic": True}),
]

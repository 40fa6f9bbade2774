"""One moment, or a pair: runs an operation, interrupts it, and looks at everything."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moments.operations import Operation, Trial
from moments.oracle import (
    Broken,
    Process,
    Reader,
    Witness,
    comes_out_as,
    describe,
    in_another_thread,
    is_refusal,
    killed,
    lets_go,
    restarts,
    takes_calls,
)
from moments.tracer import Moment, Tracer

from coopy.errors import DirectoryInUse, SnapshotError

ESCAPED = "escaped"
"""The file that says that a forked child came out of the operation."""
IN_CHILD = "in child"
"""The file that says where a forked child was interrupted."""


@dataclass
class Outcome:
    """What came of a trial."""

    raised: list[Moment]
    came: str = "nothing"
    """What the operation raised."""
    kind: str = ""
    """What was broken, one of `moments.oracle.FATAL`; empty if nothing was."""
    what: str = ""


def run(
    operation: Operation,
    template: tuple[Path, Witness],
    folder: Path,
    tracer: Tracer,
    error: type[BaseException] = KeyboardInterrupt,
    phase: Callable[[str], None] = lambda name: None,
) -> Outcome:
    """Runs an operation once. ``phase`` is told what is done, for whoever finds that it never ends."""
    outcome = Outcome(tracer.raised)
    process = Process()
    phase("preparing")
    directory = folder / "data"
    trial = _begin(operation, template, directory)
    if operation.counts:
        trial.witness.doubtful.add("op")
    reader = None
    if operation.watched:
        reader = Reader(trial.system.state)
        tracer.seen = reader.at_moment
    myself, held = os.getpid(), None
    phase("the operation")
    try:
        tracer.run(lambda: operation.run(trial))
    except BaseException as problem:
        # Kept until all has been looked at: who keeps an exception keeps the frames, and nothing else.
        held = problem
    finally:
        if os.getpid() != myself:
            (folder / ESCAPED).touch()
            os._exit(1)
    if not tracer.raised and held is None and not operation.proof(trial):
        raise AssertionError(f"{operation.name}: has not come to where it is meant to")
    if operation.in_child and (folder / IN_CHILD).exists():
        tracer.raised.append(Moment(*json.loads((folder / IN_CHILD).read_text())))
        (folder / IN_CHILD).unlink()
    if held is not None:
        outcome.came = describe(held)
    try:
        if reader is not None:
            phase("waiting for the reader")
            reader.end()
            for state in reader.states:
                trial.witness.saw(state)
        _check(operation, trial, folder, held, error, tracer.raised, phase)
        held = None
        trial = _nothing(trial)
        phase("looking at the process")
        process.compare()
    except Broken as problem:
        outcome.kind, outcome.what = problem.kind, problem.args[0]
    finally:
        for end in trial.ends:
            end()
    return outcome


def _nothing(trial: Trial) -> Trial:
    """Lets the system go, and with it what only it holds."""
    trial.system = None
    trial.threads.clear()
    return trial


def _begin(operation: Operation, template: tuple[Path, Witness], directory: Path) -> Trial:
    source, known = template
    if directory.exists():
        shutil.rmtree(directory)
    if source.exists():
        shutil.copytree(source, directory)
    witness = Witness()
    witness.acknowledged = list(known.acknowledged)
    witness.known = known.known
    trial = Trial(directory, operation.everything, witness)
    trial.closes = operation.closes
    operation.begin(trial)
    if not operation.opens:
        trial.open()
    operation.prepare(trial)
    return trial


def _check(
    operation: Operation,
    trial: Trial,
    folder: Path,
    held: BaseException | None,
    error: type[BaseException],
    raised: list[Moment],
    phase: Callable[[str], None],
) -> None:
    witness = trial.witness
    if trial.threads:
        phase("waiting for the others")
        trial.over.set()
        for thread in trial.threads:
            thread.join()
        witness.exact = False
        if trial.failures:
            raise Broken("refused", f"another caller: {describe(trial.failures[0])}")
    if (folder / ESCAPED).exists():
        (folder / ESCAPED).unlink()
        raise Broken("child", "the forked child went on with the program")
    if held is None and operation.counts:
        if operation.withdrawn:
            witness.doubtful.discard("op")
        elif "op" not in witness.acknowledged:
            witness.acknowledged.append("op")
    if operation.closes:
        phase("another thread's call")
        _call_of_one_that_is_closed(trial)
        phase("closing again")
        lets_go(trial.system)
    else:
        if trial.system is None:
            _open_again(trial, operation.patient, phase)
        read_first = bool(raised and raised[0].offset // 2 & 1)
        phase("another thread's call")
        in_another_thread(lambda: takes_calls(trial.system, witness, "another thread", read_first))
        phase("the thread's next call")
        takes_calls(trial.system, witness, "the same thread", True)
        phase("what must work afterwards")
        try:
            operation.more(trial)
        except BaseException as problem:
            raise Broken("refused", f"afterwards: {describe(problem)}") from problem
        image = folder / "killed"
        try:
            phase("opening after a kill")
            restarts(killed(trial.directory, image), witness.copy(), trial.options, "after a kill")
        finally:
            shutil.rmtree(image, ignore_errors=True)
        phase("closing")
        lets_go(trial.system)
    phase("opening again")
    restarts(trial.directory, witness, trial.options, "after close()")
    if held is not None and not (operation.in_child and isinstance(held, SnapshotError)):
        comes_out_as(held, error)


def _open_again(trial: Trial, patient: bool, phase: Callable[[str], None]) -> None:
    for left in reversed(range(200 if patient else 1)):
        phase("opening again")
        try:
            return in_another_thread(trial.open)
        except DirectoryInUse as problem:
            if not left:
                raise Broken("lock", f"opening failed and left the lock: {describe(problem)}") from problem
            time.sleep(0.005)
        except BaseException as problem:
            raise Broken("unopenable", f"after an opening that failed: {describe(problem)}") from problem


def _call_of_one_that_is_closed(trial: Trial) -> None:
    """A system that may be closed answers, or says so."""

    def call() -> None:
        key = "while closing"
        trial.witness.doubtful.add(key)
        trial.witness.exact = False
        trial.system.transfer(key, 1)
        trial.witness.acknowledged.append(key)

    def read() -> None:
        trial.witness.look(trial.system.state())

    for function in (call, read):
        try:
            in_another_thread(function)
        except Broken:
            raise
        except BaseException as problem:
            if not is_refusal(problem):
                raise Broken("refused", f"while closing: {describe(problem)}") from problem

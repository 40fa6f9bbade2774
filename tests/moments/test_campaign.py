"""The campaign sees what it is there to see: each test breaks something, and the oracle says what."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from moments import watch
from moments.domain import Bank, Interrupter, not_whole
from moments.oracle import Broken, Process, Witness, again, in_another_thread, killed, lets_go, restarts, takes_calls
from moments.tracer import Moment, Tracer
from program import environment

from coopy import init_system
from coopy.ground.running import current

TESTS = Path(__file__).parents[1]


def interrupted(function: Callable[[], Any], first: int, second: int = 0) -> tuple[list[Moment], BaseException | None]:
    tracer = Tracer(first, second)
    held = None
    try:
        tracer.run(function)
    except BaseException as error:
        held = error
    return tracer.raised, held


def moments_of(function: Callable[[], Any]) -> list[Moment]:
    found: list[Moment] = []
    for _ in range(2):  # The first time is not traced from its first instruction on in some releases of Python.
        tracer = Tracer(keep=True)
        tracer.run(function)
        found = tracer.kept
    return found


def test_each_instruction_is_a_moment_once_and_in_order() -> None:
    bank = Bank()
    planned = moments_of(lambda: bank.fill("x"))
    assert {each.function for each in planned} == {"fill"}
    for number, moment in enumerate(planned, 1):
        raised, held = interrupted(lambda: bank.fill("x"), number)
        assert raised == [moment]
        assert type(held) is KeyboardInterrupt
    raised, held = interrupted(lambda: bank.fill("x"), len(planned) + 1)
    assert (raised, held) == ([], None)


def test_call_boundaries_are_told_from_other_moments() -> None:
    bank = Bank()
    opcodes = [(each.opcode, each.boundary) for each in moments_of(lambda: bank.fill("x"))]
    assert opcodes[0][1], "a function begins there"
    assert any(boundary for opcode, boundary in opcodes if opcode.startswith("CALL"))
    assert any(opcode == "LOAD_FAST" and not boundary for opcode, boundary in opcodes[1:])


def test_a_second_interrupt_meets_the_handling_of_the_first() -> None:
    opcodes = [each.opcode for each in moments_of(Bank().careful)]
    first = opcodes.index("LOAD_ATTR") + 1
    where = []
    for second in range(1, 1000):
        bank = Bank()
        raised, held = interrupted(bank.careful, first, second)
        if len(raised) < 2:
            break
        where.append(raised[1])
        assert type(held) is KeyboardInterrupt
    assert {each.function for each in where} == {"careful", "_tidy"}
    assert len({(each.function, each.offset) for each in where}) == len(where)


def test_no_interrupt_leaves_the_exception_that_was_handled_as_that_of_the_thread() -> None:
    """CPython does, at some moments at which it does not look for signals: then what it refers to would seem to be left behind."""
    opcodes = [each.opcode for each in moments_of(Bank().careful)]
    first, where = opcodes.index("LOAD_ATTR") + 1, []
    before = sys.exc_info()[1]  # Of a test before this one in the same thread, perhaps.
    for second in range(1, 1000):
        raised, _ = interrupted(Bank().careful, first, second)
        if len(raised) < 2:
            break
        where.append(raised[1].opcode)
        assert sys.exc_info()[1] is before
    assert sys.version_info < (3, 11) or {"PUSH_EXC_INFO", "POP_EXCEPT"} <= set(where)


def test_half_a_call_is_seen() -> None:
    bank = Bank()
    Interrupter.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bank.trip("key", 1)
    assert not_whole(bank.state())
    with pytest.raises(Broken, match="^half"):
        Witness().look(bank.state())


def a_state(*keys: str) -> tuple[Any, ...]:
    bank = Bank()
    for key in keys:
        bank.transfer(key, 1)
    return bank.state()


def test_a_lost_call_and_one_that_nobody_made_are_seen() -> None:
    witness = Witness()
    witness.acknowledged = ["a", "b"]
    with pytest.raises(Broken, match="^lost"):
        witness.look(a_state("a"))
    with pytest.raises(Broken, match="^twice"):
        witness.look(a_state("a", "b", "c"))
    with pytest.raises(Broken, match="^twice"):
        witness.look(a_state("a", "b", "b"))
    witness.doubtful.add("c")
    witness.look(a_state("a", "b", "c"))


def test_reads_that_take_something_back_are_seen() -> None:
    witness = Witness()
    witness.doubtful.add("a")
    witness.look(a_state("a"))
    with pytest.raises(Broken, match="^differs"):
        witness.look(a_state())


def test_a_restart_that_gives_another_state_is_seen(tmp_path: Path) -> None:
    witness = Witness()
    system = init_system(Bank, tmp_path / "data")
    takes_calls(system, witness, "somebody", True)
    lets_go(system)
    witness.doubtful.add("more")
    with pytest.raises(Broken, match="^differs: why"):
        again(a_state(*witness.acknowledged), witness, "why")
    restarts(tmp_path / "data", witness, {}, "afterwards")


def test_what_is_renamed_while_a_directory_is_copied_is_not_missed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stays").write_text("x")
    (tmp_path / "data" / "gone").symlink_to(tmp_path / "nowhere")  # It is listed, and is not there when it is copied.
    assert [each.name for each in killed(tmp_path / "data", tmp_path / "copy").iterdir()] == ["stays"]


def test_a_system_that_refuses_calls_is_seen(tmp_path: Path) -> None:
    system = init_system(Bank, tmp_path / "data")
    lets_go(system)
    with pytest.raises(Broken, match="^refused"):
        takes_calls(system, Witness(), "somebody", True)


def sees_what_is_left() -> None:
    """Leaves something behind of each kind. For a process of its own: what others left in this one may go meanwhile."""
    process = Process()
    process.compare()
    fd = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(Broken, match="^leak: files"):
        process.compare()
    os.close(fd)
    gc.disable()
    with pytest.raises(Broken, match="^process: collector"):
        process.compare()
    gc.enable()
    current.machine = object()  # type: ignore[assignment]
    with pytest.raises(Broken, match="^stuck"):
        process.compare()
    process.compare()


def test_what_is_left_in_the_process_is_seen() -> None:
    program = f"from moments.test_campaign import {sees_what_is_left.__name__} as sees; sees()"
    subprocess.run([sys.executable, "-c", program], cwd=TESTS, env=environment(), check=True, timeout=60)


def test_what_another_thread_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_another_thread(lambda: 1 // 0)


def work(task: str, folder: Path, say: watch.Say) -> tuple[Any, bool]:
    say(phase="working")
    if task == "sleeps":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    if task == "naps":
        for _ in range(200):
            time.sleep(0.005)
    if task == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "raises":
        raise ValueError(task)
    return os.getpid(), task != "breaks"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are looked at in /proc")
def test_a_worker_that_hangs_or_dies_ends_its_task_and_no_other(tmp_path: Path) -> None:
    tasks = ["works", "sleeps", "works too", "dies", "raises", "breaks", "goes on"]
    endings = {ending.task: ending for ending in watch.run(tasks, work, tmp_path, 1)}
    assert list(endings) == tasks
    assert endings["sleeps"].hung.startswith("working: all its threads sleep")
    assert endings["dies"].died == "working: the process died, by signal 9"
    assert endings["raises"].died == "raising ValueError('raises'): the process died, with status 1"
    assert all(endings[each].value for each in ("works", "works too", "breaks", "goes on"))
    assert endings["breaks"].value != endings["goes on"].value


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads are looked at in /proc")
def test_a_worker_is_not_taken_to_hang_by_one_look_after_a_while_in_which_nobody_looked(tmp_path: Path) -> None:
    endings = []
    for ending in watch.run(["works", "naps"], work, tmp_path, 2):
        endings.append(ending.hung)
        time.sleep(2 * watch.ASLEEP_S)
    assert endings == ["", ""]

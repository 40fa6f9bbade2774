"""The bar: on a terminal, after two seconds, and never anywhere else."""

from __future__ import annotations

import io
import os
import select
import sys
from pathlib import Path

import pytest
from program import environment, run, write

from coopy.ground.log import DELAY_S, INTERVAL_S, WIDTH, Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_drawn_within_two_seconds() -> None:
    terminal, time = Terminal(), Time()
    bar = Bar("restoring wiki", terminal, time)
    bar(1, 10)
    time.now += DELAY_S - 0.01
    bar(5, 10)
    bar.finish()
    assert terminal.getvalue() == ""


def test_after_two_seconds_the_bar_says_what_is_done_and_how_much_there_is() -> None:
    terminal, time = Terminal(), Time()
    bar = Bar("restoring wiki", terminal, time)
    time.now += DELAY_S
    bar(250_000, 1_000_000)
    full = WIDTH // 4
    drawn = f"\rrestoring wiki [{'#' * full}{'-' * (WIDTH - full)}] 250,000 of 1,000,000 actions"
    assert terminal.getvalue().startswith(drawn)


def test_the_bar_is_drawn_ten_times_a_second_at_most() -> None:
    terminal, time = Terminal(), Time()
    bar = Bar("restoring", terminal, time)
    time.now += DELAY_S
    for done in range(1000):
        bar(done, 1000)
        time.now += 1 / 256
    drawn = terminal.getvalue().count("\r")
    assert 1000 / 256 / INTERVAL_S * 0.9 <= drawn <= 1000 / 256 / INTERVAL_S + 1


def test_finishing_clears_the_line() -> None:
    terminal, time = Terminal(), Time()
    bar = Bar("restoring", terminal, time)
    time.now += DELAY_S
    bar(10, 10)
    bar.finish()
    assert "#" * WIDTH in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_nothing_to_do_is_no_division_by_zero() -> None:
    terminal, time = Terminal(), Time()
    bar = Bar("restoring", terminal, time)
    time.now += DELAY_S
    bar(0, 0)
    assert "0 of 0" in terminal.getvalue()


def test_nothing_is_drawn_in_a_pipe() -> None:
    pipe, time = io.StringIO(), Time()
    bar = Bar("restoring", pipe, time)
    time.now += 100
    bar(5, 10)
    bar.finish()
    assert pipe.getvalue() == ""


def test_a_program_without_a_console_has_no_bar_and_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    time = Time()
    bar = Bar("restoring", clock=time)
    time.now += 100
    bar(5, 10)
    bar.finish()


SLOW = """
    import sys
    import coopy.ground.log
    from coopy import init_system

    class Slow:
        def __init__(self):
            self.steps = 0
        def step(self):
            self.steps += 1

    coopy.ground.log.DELAY_S = 0.0  # As if two seconds had passed.
    with init_system(Slow, "data") as slow:
        print(slow.steps)
        slow.step()
"""


def test_a_restore_in_a_terminal_draws_on_the_standard_error_and_one_in_a_pipe_does_not(tmp_path: Path) -> None:
    import pty
    import subprocess

    script = write(tmp_path / "slow.py", SLOW)
    assert run(script) == "0"
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=slave,
            timeout=60,
            check=True,
        )
        assert done.stdout == b"1\n", "the output of a program is its own"
        assert select.select([master], [], [], 10)[0]
        drawn = os.read(master, 10_000).decode()
    finally:
        os.close(slave)
        os.close(master)
    assert "restoring data [" in drawn
    assert "1 of 1 actions" in drawn
    assert drawn.endswith("\r\x1b[K")
    # `run` gives pipes, and fails if anything but the steps is on the standard output.
    assert run(script) == "2"
    quiet = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment(), capture_output=True, timeout=60, check=True
    )
    assert (quiet.stdout, quiet.stderr) == (b"3\n", b"")


class Gone(Terminal):
    """A terminal whose window was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("kind", [Terminal, Gone])
def test_what_is_waited_for_goes_on_when_the_terminal_goes(kind: type[Terminal]) -> None:
    terminal, time = kind(), Time()
    bar = Bar("restoring", terminal, time)
    time.now += DELAY_S
    if kind is Terminal:
        bar(1, 10)
        terminal.close()
    for _ in range(3):
        time.now += INTERVAL_S
        bar(5, 10)
    bar.finish()

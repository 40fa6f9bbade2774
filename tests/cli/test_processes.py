"""The command line as other programs meet it: processes, pipes, signals and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from program import environment, start, write

pytest.importorskip("click", reason="the extra [cli] is not installed")

DOMAIN = """
    class Log:
        def __init__(self):
            self.words = []

        def add(self, word):
            self.words.append(word)
"""
FILL = """
    import sys
    from words_domain import Log
    from coopy import init_system

    with init_system(Log, "data", durability="buffered") as log:
        for number in range(int(sys.argv[1])):
            log.add(f"word {number}")
"""
HOLD = """
    import os
    from words_domain import Log
    from coopy import init_system

    log = init_system(Log, "data")
    print(os.getpid(), flush=True)
    while line := input():
        log.add(line)
        print(len(log.words), flush=True)
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write(tmp_path / "words_domain.py", DOMAIN)
    return tmp_path


def fill(here: Path, number: int) -> None:
    script = write(here / "fill.py", FILL)
    subprocess.run([sys.executable, str(script), str(number)], cwd=here, env=environment(), check=True, timeout=60)


def begin(here: Path, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "coopy", *arguments],
        cwd=here,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("module", ["coopy", "coopy.cli"])
def test_it_is_a_module_that_can_be_run(here: Path, module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", module, "--version"], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("coopy ")


def test_whoever_has_seen_enough_ends_it_quietly(here: Path) -> None:
    fill(here, 3000)
    process = begin(here, "log", "data")
    assert process.stdout is not None and process.stderr is not None
    assert "add('word 0')" in process.stdout.readline()
    process.stdout.close()
    assert len(process.stderr.read().splitlines()) == 1, "whose directory it is, and no more"
    process.stderr.close()
    assert process.wait(timeout=60) == 0


def test_whoever_has_seen_enough_is_not_told_of_damage_further_on(here: Path) -> None:
    fill(here, 3000)
    segment = next((here / "data").glob("transaction_*"))
    data = bytearray(segment.read_bytes())
    data[150_000] ^= 1
    segment.write_bytes(data)
    process = begin(here, "log", "data")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0


def test_following_another_process_ends_with_ctrl_c(here: Path) -> None:
    writer = start(write(here / "hold.py", HOLD))
    assert writer.stdin is not None and writer.stdout is not None
    writer.stdout.readline()
    process = begin(here, "log", "data", "--follow", "--json")
    assert process.stdout is not None
    try:
        for word in ("one", "two"):
            print(word, file=writer.stdin, flush=True)
            writer.stdout.readline()
            assert json.loads(process.stdout.readline())["args"] == [word]
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
        assert code == 130
        assert len(err.splitlines()) == 1
    finally:
        process.kill()
        writer.kill()
        writer.communicate()


@pytest.mark.parametrize(
    "arguments", [("snapshot", "data"), ("prune", "data", "--keep", "1"), ("repair", "data", "--yes")], ids=lambda each: each[0]
)
def test_a_system_that_another_process_has_open_is_left_alone(here: Path, arguments: tuple[str, ...]) -> None:
    writer = start(write(here / "hold.py", HOLD))
    assert writer.stdin is not None and writer.stdout is not None
    try:
        pid = writer.stdout.readline().strip()
        print("one", file=writer.stdin, flush=True)
        writer.stdout.readline()
        code, out, err = finish(begin(here, *arguments))
        if arguments[0] != "repair":  # In which nothing is damaged.
            assert (code, out) == (1, "")
            assert f"process {pid}" in err
        print("two", file=writer.stdin, flush=True)
        assert writer.stdout.readline() == "2\n"
    finally:
        writer.kill()
        writer.communicate()


def test_without_the_extra_it_says_what_to_install(here: Path) -> None:
    write(here / "click.py", "raise ModuleNotFoundError(\"No module named 'click'\", name='click')")
    code, out, err = finish(begin(here, "--help"))
    assert (code, out) == (2, "")
    assert err == "coopy: the command line needs: pip install 'coopy[cli]'\n"


def test_a_terminal_without_the_letters_is_no_reason_to_stop(here: Path) -> None:
    fill(here, 30)
    code, out, err = finish(begin(here, "show", "data", PYTHONIOENCODING="ascii"))
    assert code == 0, err
    assert "\\u2026 10 more" in out


def test_nothing_that_is_not_needed_is_loaded(here: Path) -> None:
    """A command answers at once: the libraries of the terminal, of tests and of other commands stay out."""
    script = write(
        here / "loaded.py",
        """
        import sys
        from coopy.cli import app
        sys.argv = ["coopy", "log", "data"]
        try:
            app.run()
        except SystemExit:
            print(*sorted(name for name in ("rich", "pydantic", "dill", "asyncio", "coopy.aio", "coopy.legacy", "coopy.tools.verify") if name in sys.modules))
        """,
    )
    fill(here, 1)
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=here, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.splitlines()[-1] == "", ran.stdout
    assert os.path.exists(here / "data")

"""Runs tests in processes abreast, each of which takes a file, runs it, and asks for the next one: `make test` and `make quick`.

    python tests/abreast.py [-n PROCESSES] [--quick] [PATH ...] [-- ARGUMENTS OF PYTEST]

Each process is pytest, with all its hooks, and collects no file before it has it to run. pytest-xdist, which these targets used,
has each process collect all tests and sends three reports of each of them: two milliseconds of processor time a test, and
a second of a thousand tests and process for the collection. What a report of xdist would show at once is shown at the end here.

The files of `slow.LONGEST` are given out first, so that none of them is what the others wait for at the end. A process that has
become large makes way for a new one: each fork takes as long as the tables of its memory, and the collector looks at all that it has.
What failed is written where pytest keeps it, for ``pytest --last-failed`` and tests/again.py.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pytest
from slow import FILES, LONGEST

HERE = Path(__file__).resolve().parent
FAILED = Path(".pytest_cache", "v", "cache", "lastfailed")
# A process of tests begins with 100 MB. Starting another one takes a second, which at this size is less than what forks lose.
LARGE_MB = 400
RSS_IN_A_MB = 1_000_000 if sys.platform == "darwin" else 1_000
LINES_OF_A_DEATH = 60  # What a traceback of faulthandler and the lines before it take.
SHOWN_IN_A_PIPE = 20  # Lines of progress where nothing can be written over.
NUMBERS = ("failed", "error", "passed", "skipped", "xfailed", "xpassed", "deselected", "warnings")


class Process:
    """One process of tests: what it is asked, and where it writes."""

    def __init__(self, arguments: list[str]) -> None:
        self.output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.runs = tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace")
        self.file, self.failed = "", False
        self.line, theirs = Pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "abreast.py"), "--process", str(theirs.fileno()), self.runs.name, *arguments],
            stdout=self.output,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def give(self, file: str) -> None:
        self.file = file
        self.line.send(file)

    def written(self) -> list[str]:
        self.output.seek(0)
        return self.output.read().splitlines()

    def running(self) -> str:
        """Returns the test that was begun last."""
        self.runs.seek(0)
        return self.runs.read()


class Run:
    """All processes of a run, the files that are left, and what came of those that are not."""

    def __init__(self, files: list[str], number: int, arguments: list[str]) -> None:
        self._left, self._all, self._number, self._arguments = files[::-1], len(files), number, arguments
        self._at: dict[Connection, Process] = {}
        self._ended: list[list[str]] = []
        self._numbers: Counter[str] = Counter()
        self._shown = 0
        self.failed: list[str] = []
        self.wrong = False

    def go(self) -> None:
        try:
            while self._left or self._at:
                while self._left and len(self._at) < self._number:
                    begun = Process(self._arguments)
                    self._at[begun.line] = begun
                for line in wait(list(self._at)):
                    assert isinstance(line, Connection)
                    self._hear(self._at[line])
        except KeyboardInterrupt:
            # The processes have heard it, too, and write what failed until then.
            self.wrong = True
            for each in self._at.values():
                each.process.wait()
                self._ended.append(each.written())

    def _hear(self, who: Process) -> None:
        try:
            numbers, failed, goes_on = who.line.recv()
        except (EOFError, OSError):
            self._over(who)
            return
        self._numbers.update(numbers)
        self.failed += failed
        who.failed = who.failed or bool(failed)
        for each in failed:
            print(f"FAILED {each}", flush=True)
        who.file = ""
        if goes_on and self._left:
            who.give(self._left.pop())
        elif goes_on:
            who.line.send(None)
        self._show()

    def _over(self, who: Process) -> None:
        code = who.process.wait()
        del self._at[who.line]
        who.line.close()
        expected = (pytest.ExitCode.TESTS_FAILED,) if who.failed else (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if who.file or code not in expected:
            self.wrong = True
            if not who.file and not who.running():
                # It never began a test: the next would not, either.
                self._left.clear()
            print(f"A PROCESS ENDED WITH {code} in {who.file or 'no file'}: {who.running()}", flush=True)
            self._ended.append(["", *who.written()[-LINES_OF_A_DEATH:]])
        else:
            self._ended.append(who.written())

    def _show(self) -> None:
        at_work = sum(bool(each.file) for each in self._at.values())
        done = self._all - len(self._left) - at_work
        text = f"{done} of {self._all} files, {self.total()}"
        if sys.stdout.isatty():
            print(f"\r{text}", end="\n" if done == self._all else "", flush=True)
        elif done * SHOWN_IN_A_PIPE // self._all > self._shown:
            self._shown = done * SHOWN_IN_A_PIPE // self._all
            print(text, flush=True)

    def details(self) -> Iterator[str]:
        """What pytest wrote of each process, from the first of its headings on."""
        for lines in self._ended:
            for number, line in enumerate(lines):
                if line.startswith("====") or not lines[0]:
                    yield from lines[number:]
                    break

    def total(self) -> str:
        return ", ".join(f"{self._numbers[name]} {name}" for name in NUMBERS if self._numbers[name]) or "no tests"


class Files:
    """The plugin that has pytest take its files one after the other from the process that started it."""

    def __init__(self, line: Connection, runs: int, large_mb: int) -> None:
        self._line, self._runs, self._large_mb = line, runs, large_mb
        self._modules: dict[str, pytest.Collector] = {}
        self._failed: dict[str, None] = {}
        self._told: Counter[str] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        # No module is imported here. All come from one collection, as the fixtures of a conftest.py are known by its directory's node.
        for module in session.perform_collect(genitems=False):
            assert isinstance(module, pytest.Collector)
            self._modules[module.nodeid] = module
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        collected = 0
        self._line.send((Counter(), [], True))
        while (file := self._line.recv()) is not None:
            items = self._tests(session, self._modules.pop(file))
            collected += len(items)
            session.testscollected = collected
            # After the last one nothing stays that belongs to the file, and all that belongs to the session.
            for item, following in zip(items, [*items[1:], session], strict=False):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.shouldfail:
                    raise session.Failed(session.shouldfail)
                if session.shouldstop:
                    raise session.Interrupted(session.shouldstop)
            goes_on = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < self._large_mb * RSS_IN_A_MB
            self._line.send((*self._news(session), goes_on))
            if not goes_on:
                break
        return True

    @staticmethod
    def _tests(session: pytest.Session, module: pytest.Collector) -> list[pytest.Item]:
        """What `Session.perform_collect` does with all modules."""
        sys.dont_write_bytecode = False  # Until the end of this collection: see conftest.py.
        session.items = list(session.genitems(module))
        session.config.hook.pytest_collection_modifyitems(session=session, config=session.config, items=session.items)
        session.config.hook.pytest_collection_finish(session=session)
        return session.items

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        os.ftruncate(self._runs, 0)
        os.pwrite(self._runs, nodeid.encode(), 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._failed[report.nodeid] = None

    def _news(self, session: pytest.Session) -> tuple[Counter[str], list[str]]:
        stats: dict[str, list[Any]] = session.config.pluginmanager.get_plugin("terminalreporter").stats  # type: ignore[union-attr]
        now = Counter({name: len(stats.get(name, ())) for name in NUMBERS})
        numbers, self._told = now - self._told, now
        failed, self._failed = list(self._failed), {}
        return numbers, failed


def in_process(line: int, runs: str, large_mb: int, arguments: list[str]) -> int:
    os.set_inheritable(line, False)
    sys.path.insert(1, os.getcwd())  # As `python -m pytest` has it.
    files = Files(Connection(line), os.open(runs, os.O_WRONLY | os.O_CLOEXEC), large_mb)
    return int(pytest.main(["-p", "no:cacheprovider", "-p", "no:xdist", *arguments], plugins=[files]))


def files_of(paths: list[str], quick: bool) -> list[str]:
    """Returns the files of tests, as pytest names them, in the order in which they are given out."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    found = {}
    for path in map(Path, paths):
        for file in path.rglob("test_*.py") if path.is_dir() else [path]:
            file = file.resolve()
            name = file.relative_to(HERE).as_posix() if file.is_relative_to(HERE) else ""
            if not (quick and name in FILES):
                found[file.relative_to(Path.cwd()).as_posix()] = ranks.get(name, len(ranks))
    return sorted(found, key=lambda file: (found[file], file))


def main(words: list[str]) -> int:
    options = argparse.ArgumentParser(prog="abreast.py")
    options.add_argument("-n", type=int, default=2, help="processes (%(default)s)")
    options.add_argument("--quick", action="store_true", help="without what is slow")
    options.add_argument("--megabytes", type=int, default=LARGE_MB, help="the size at which a process makes way (%(default)s)")
    options.add_argument("paths", nargs="*", default=["tests"])
    own, rest = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    asked = options.parse_args(own)
    began = time.monotonic()
    files = files_of(asked.paths, asked.quick)
    arguments = [*(["-m", "not slow"] if asked.quick else []), *(["--color=yes"] if sys.stdout.isatty() else []), *rest, *files]
    run = Run(files, asked.n, [str(asked.megabytes), *arguments])
    run.go()
    for line in run.details():
        print(line)
    FAILED.parent.mkdir(parents=True, exist_ok=True)
    FAILED.write_text(json.dumps(dict.fromkeys(sorted(run.failed), True), indent=2), encoding="utf-8")
    print(f"{run.total()} in {time.monotonic() - began:.1f}s")
    return 2 if run.wrong else int(bool(run.failed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--process"]:
        sys.exit(in_process(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5:]))
    sys.exit(main(sys.argv[1:]))

"""The domain of these tests, and a program that opens it and does what is said to it, a line of Python at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import program

from coopy import abort_exception, clock, env, init_system, on_commit, readonly, transactional

LIMIT_S = 60.0
"""What a process may take for a line on a busy machine."""


class Own(Exception):
    """One whose arguments are not what it keeps."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


class Odd(Own):
    """One that belongs to its process."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(one, other)
        self.lock = threading.Lock()


def carry_out(path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")


def stands_still(pid: int) -> None:
    """Waits until a child that was told to stop has stopped: its threads may go on for a moment."""
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


class Wiki:
    def __init__(self) -> None:
        self.pages: dict[Any, Any] = {}
        self.calls: list[Any] = []

    def put(self, name: Any, text: Any = None) -> int:
        self.pages[name] = text
        return len(self.pages)

    def add(self, call: Any) -> int:
        self.calls.append(call)
        return len(self.calls)

    def listed(self, call: Any) -> list[Any]:
        self.calls.append(call)
        return self.calls

    def fail(self, what: Any) -> None:
        self.calls.append(what)
        raise KeyError(what)

    def caused(self) -> None:
        try:
            raise LookupError("no such page")
        except LookupError as error:
            new = ValueError("wrong", 7)
            if hasattr(new, "add_note"):
                new.add_note("said of it")
            raise new from error

    def odd(self) -> None:
        raise Odd(1, 2)

    def own(self) -> None:
        raise Own(1, 2)

    @abort_exception
    def aborted(self, what: Any) -> None:
        raise KeyError(what)

    @transactional
    def undone(self, what: Any) -> None:
        self.calls.append(what)
        raise KeyError(what)

    def at(self) -> tuple[float, float]:
        return clock.time(), env.random()

    def unsendable(self) -> Any:
        return threading.Lock()

    def each(self) -> Iterator[Any]:
        yield from self.calls

    def itself(self) -> Wiki:
        return self

    def ask(self, path: str) -> None:
        on_commit(carry_out, path)

    def slow(self, seconds: float, call: Any) -> int:
        time.sleep(seconds)
        return self.add(call)

    def clear(self) -> None:
        self.pages.clear()
        self.calls.clear()

    def __setitem__(self, name: Any, text: Any) -> None:
        self.pages[name] = text

    def __delitem__(self, name: Any) -> None:
        del self.pages[name]

    def __getitem__(self, name: Any) -> Any:
        return self.pages[name]

    def __contains__(self, name: Any) -> bool:
        return name in self.pages

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pages)

    def __len__(self) -> int:
        return len(self.pages)

    @readonly
    def page(self, name: Any) -> Any:
        return self.pages.get(name)

    @readonly
    def count(self) -> int:
        return len(self.calls)

    @readonly
    def all(self) -> list[Any]:
        return list(self.calls)


def opened(path: Path, **options: Any) -> Any:
    return init_system(Wiki, path, shared=True, validation="off", **options)


class Process:
    """A program that has the directory open."""

    def __init__(self, path: Path, **options: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "shared.domain", str(path), repr(options)],
            cwd=Path(__file__).parents[1],
            env=program.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        assert self.answer() == "opened"

    def begin(self, line: str) -> None:
        """Has a line of Python done, with the system as ``wiki``."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """What the line came to that was begun first, waited for."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said, f"the process has ended with {self._process.wait()}"
        return eval(said)

    def do(self, line: str) -> Any:
        self.begin(line)
        return self.answer()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()
        if number == signal.SIGSTOP:
            stands_still(self.pid)

    def wait(self) -> None:
        """Waits until it has ended."""
        self._process.wait(LIMIT_S)

    def end(self) -> None:
        """Has it close its system and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(LIMIT_S) == 0

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for each in (self._process.stdin, self._process.stdout):
            if each is not None:
                each.close()


def main(path: str, options: str) -> None:
    import coopy

    wiki = opened(Path(path), **eval(options))
    print(repr("opened"), flush=True)
    names = {**globals(), "wiki": wiki, "control": coopy.control, "coopy": coopy}
    for line in sys.stdin:
        try:
            said: Any = eval(line, names)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        print(repr(said), flush=True)
    wiki.close()


if __name__ == "__main__":
    from shared import domain  # The class has the same name in every process.

    domain.main(*sys.argv[1:])

"""Runs steps, each in a process of its own that opens the directory, and says how each has ended.

    python mortals.py DIRECTORY STEP STEP ...

A step is a Python expression of ``mortals``, the objects of `Mortal`, and ``others``, those of `Other`. For each it prints a line of JSON: how
the process has ended (0, or what `os.waitstatus_to_exitcode` says), and what the expression has come to, or raised.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import coopy
import coopy.aio
import coopy.determinism.check  # Before the forks, as it takes long.
from coopy import readonly
from coopy.objects import alarm, tell


def end(how: str) -> None:
    """Ends the process, as a crash in C does, somebody's exit, or the kernel if memory is short."""
    if how == "crash":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(3)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """An object of which everything can end the process."""

    def __init__(self, key: str) -> None:
        if key == "unborn":
            end("exit")
        self.done: list[str] = []
        self.pickled_once = False

    def do(self, what: str) -> int:
        self.done.append(what)
        return len(self.done)

    def die(self, how: str) -> None:
        self.done.append(how)
        end(how)

    def die_otherwise(self, how: str) -> None:
        end(how)

    def die_if(self, flag: str) -> None:
        """Ends the process if there is a file: also when it is replayed."""
        self.done.append("trap")
        if Path(flag).exists():
            end("exit")

    def die_soon(self, how: str) -> None:
        self.done.append("soon")
        alarm("die", how, after=0)

    def tell(self, key: str, method: str, *args: Any) -> None:
        self.done.append("told")
        getattr(tell(Mortal, key), method)(*args)

    def die_when_pickled(self, flag: str) -> None:
        self.flag = flag

    def __getstate__(self) -> Any:
        if Path(vars(self).get("flag", "/nowhere/at/all")).exists():
            end("exit")
        return vars(self)

    @readonly
    def look(self) -> list[str]:
        return list(self.done)

    @readonly
    def look_and_die(self, how: str) -> None:
        end(how)


class Other(Mortal):
    """One of another class, in the same directory."""


def step(directory: str, text: str) -> Any:
    if text.startswith("await "):
        return asyncio.run(in_a_loop(directory, text))
    with coopy.objects(Mortal, directory, validation="off") as mortals:
        mortals.catch_up()
        found = eval(text, {"mortals": mortals, "others": mortals.of(Other), "os": os})
        mortals.catch_up()
        return found


async def in_a_loop(directory: str, text: str) -> Any:
    async with coopy.aio.objects(Mortal, directory, validation="off") as mortals:
        return await eval(text.removeprefix("await "), {"mortals": mortals, "gather": asyncio.gather})


def main(directory: str, *steps: str) -> None:
    for text in steps:
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            try:
                said: Any = ["returned", step(directory, text)]
            except Exception as error:
                said = [type(error).__name__, str(error)]
            os.write(write, json.dumps(said, default=repr).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as file:
            told = file.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps([code, *(json.loads(told) if told else ["", ""])]), flush=True)


if __name__ == "__main__":
    from objects import mortals

    mortals.main(*sys.argv[1:])  # By the name that the module has everywhere: classes are found by it.

"""Functions that tests send as tasks: in a module of their own, as child processes and other programs must find them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path

from coopy.messaging import TaskQueue, current_task

PATH = os.environ.get("TASKS_OF_TEST")
queue = TaskQueue(PATH, durability="buffered", **({"copy": os.environ.get("TASKS_COPY") != "no"} if PATH else {}))


def whose() -> int:
    """Returns the process that runs it."""
    return os.getpid()


def crash(path: str) -> None:
    """Ends its process, and counts how often it has."""
    with open(path, "a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    """Ends its process as a library of C might."""
    os._exit(7)


def sleep_deaf(path: str) -> None:
    """Says that it has begun, and hears nothing."""
    Path(path).touch()
    time.sleep(600)


def sleep_well(path: str) -> None:
    """Says that it has begun, and looks whether it is to stop."""
    Path(path).touch()
    while True:
        current_task().check()
        time.sleep(0.01)


def say(steps: int) -> str:
    """Says how far it is."""
    for step in range(steps):
        current_task().progress(step + 1)
    return current_task().key


def say_nothing() -> str:
    """Says how far it is, in what belongs to this process."""
    current_task().progress(threading.Lock())
    return "said"


async def rest(path: str) -> None:
    """Says that it has begun, and waits in an event loop."""
    Path(path).touch()
    await asyncio.sleep(600)


@queue.task(retries=2, backoff=0.0)
def twice(path: str) -> int:
    """Raises the first two times."""
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise ValueError(path)
    return os.path.getsize(path)


@queue.task
def work(path: str, seconds: float) -> int:
    """Notes who runs it, as which delivery, and for how long it lives."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {current_task().delivery}\n")
    time.sleep(seconds)
    return os.getpid()


if __name__ == "__main__":
    from messaging import functions

    functions.queue.worker(**{name: int(value) for name, value in (each.split("=") for each in sys.argv[1:])}).run()
    print("ended in order", flush=True)

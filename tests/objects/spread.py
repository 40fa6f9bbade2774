"""Objects that several processes have, for tests: where their keys are, and an end for one of their processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coopy
from coopy.objects import slots

OPTIONS: dict[str, Any] = {"validation": "off", "durability": "buffered"}
PATIENCE_S = 30.0


def opened(cls: type, path: Path, processes: int | None = 2, **options: Any) -> Any:
    """Opens objects, spread over some processes."""
    return coopy.objects(cls, path, processes=processes, **{**OPTIONS, **options})


def keys_of(shard: int, count: int, of: int = 2, prefix: str = "key ") -> list[str]:
    """Returns some keys that a shard has."""
    found = (f"{prefix}{number}" for number in range(10_000))
    mine = [key for key in found if slots.shard_of(key.encode(), of) == shard]
    return mine[:count]


def pids(objects: Any) -> list[int]:
    """Returns the processes, by shard."""
    return [each["pid"] for each in objects.status()["processes"]]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def until(function: Callable[[], Any]) -> Any:
    """Waits until a function returns something true, and returns it."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := function()):
        assert time.monotonic() < ends, "it has not come to be"
        time.sleep(0.005)
    return found


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

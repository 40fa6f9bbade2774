"""A store in another process, and what a test asks of it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from program import start, write

PATIENCE_S = 60.0
PROGRAM = """
    import json, sys
    from coopy.messaging import KeyValueStore

    with KeyValueStore(**json.loads(sys.argv[1])) as store:
        print("serves", flush=True)
        for line in sys.stdin:
            print(json.dumps(eval(line)), flush=True)
"""


@contextlib.contextmanager
def store_elsewhere(folder: Path, **arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """Runs a store in another process, in a folder, until the end of the block."""
    import json

    process = start(write(folder / "store.py", PROGRAM), json.dumps(arguments))
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "serves\n"
        yield process
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait(PATIENCE_S)
        process.stdout.close()


def ask(process: subprocess.Popen[str], question: str) -> Any:
    """Has the other process evaluate something, and returns what came of it."""
    import json

    assert process.stdin is not None and process.stdout is not None
    print(question, file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())


def until(question: Callable[[], object]) -> bool:
    """Waits until something is true. Returns False if it is not in time."""
    end = time.monotonic() + PATIENCE_S
    while not question():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True

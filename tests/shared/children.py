"""Forked children of a test."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any


def in_a_child(work: Callable[[], Any]) -> Any:
    """What a function returns in a forked child."""
    return begun_in_a_child(work)()


def begun_in_a_child(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begins a function in a forked child; what is returned waits for what it returns."""
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reads)
            os.write(writes, repr(work()).encode())
        except BaseException:
            os.write(writes, repr(traceback.format_exc()).encode())
        os._exit(0)
    os.close(writes)

    def answer() -> Any:
        with os.fdopen(reads, encoding="utf-8") as said:
            text = said.read()
        os.waitpid(pid, 0)
        return eval(text)

    return answer

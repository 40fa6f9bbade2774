"""Runs one function in a forked child: the child has the state as it was, the parent goes on.

Copy on write makes the pause as long as the fork itself. The collector is kept
quiet meanwhile: a full collection would touch, and so copy, every page.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable

from coopy import collector
from coopy.errors import SnapshotError

AVAILABLE = hasattr(os, "fork")
_DONE = b"done"
_MESSAGE_BYTES_MAX = 4096


def start(function: Callable[[], None]) -> Callable[[], None]:
    """Forks; the child runs the function and ends. Returns what waits for it.

    Waiting raises `SnapshotError` if the child did not do it.
    """
    reading, writing = os.pipe()
    free = collector.is_free()
    gc.freeze()
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork beside threads. The child takes no lock that one of them could hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        _thaw(free)
        raise SnapshotError(f"no child could be forked to write the snapshot: {error}. Nothing was saved.") from error
    if pid == 0:
        _be_the_child(function, writing)
    os.close(writing)

    def wait() -> None:
        try:
            try:
                _, status = os.waitpid(pid, 0)
            except ChildProcessError:
                status = 0  # Somebody else has waited for it; what it wrote tells.
            os.set_blocking(reading, False)
            try:
                message = os.read(reading, _MESSAGE_BYTES_MAX)
            except BlockingIOError:
                message = b""
        finally:
            os.close(reading)
            _thaw(free)
        if message != _DONE:
            reason = message.decode("utf-8", "replace") or f"its process ended with status {status}"
            raise SnapshotError(
                f"the snapshot was not written: {reason}. The system goes on; its journal holds every action."
            )

    return wait


def _be_the_child(function: Callable[[], None], writing: int) -> None:
    try:
        gc.disable()
        function()
        os.write(writing, _DONE)
    except BaseException as error:
        os.write(writing, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:_MESSAGE_BYTES_MAX])
    finally:
        os._exit(0)


def _thaw(free: bool) -> None:
    if free:
        gc.unfreeze()

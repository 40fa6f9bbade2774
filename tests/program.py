"""Other programs for tests: a script is written to a file and run by another interpreter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import coopy

ROOT = str(Path(coopy.__file__).resolve().parents[1])
TIMEOUT_S = 60


def environment(**more: str) -> dict[str, str]:
    """This process's environment, in which `coopy` is the one under test."""
    path = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **more}


def write(path: Path, source: str) -> Path:
    """Writes a script; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def run(script: Path, *arguments: object, code: int = 0, **more: str) -> str:
    """Runs a script to its end, checks its exit code, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=script.parent,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, f"{script.name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def start(script: Path, *arguments: object, **more: str) -> subprocess.Popen[str]:
    """Starts a script; its lines can be read as they come."""
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=script.parent,
        env=environment(**more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def free_port(number: int = 1) -> int:
    """A port of this machine that nobody has, and the next ones, each with the one for routes."""
    from coopy.network.address import ROUTE_OFFSET

    while True:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            first: int = found.getsockname()[1]
        if first + number + ROUTE_OFFSET > 65535:
            continue
        wanted = [port + offset for port in range(first, first + number) for offset in (0, ROUTE_OFFSET)]
        if all(map(_is_free, wanted)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

"""The process that replays, beside a system with check=True, every action as it is recorded.

It has another hash seed, another time zone, next to no environment, and addresses of its own; see
`coopy.proof.shadowing` for what it does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


class Shadow:
    """A second process of a directory that is open. Called, it answers as `coopy.proof.checked.Shadow` says."""

    def __init__(self, basedir: str, cls: type, after: int) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "HOME", "PYTHONHOME") or name.startswith(("LD_", "DYLD_"))
        }
        seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
        path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "coopy.proof.shadowing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**kept, "PYTHONPATH": path, "PYTHONHASHSEED": seed, "TZ": "<+14>-14"},
            # Of a group of its own: Ctrl-C is for the program, and the shadow ends when it has closed its input.
            start_new_session=True,
        )
        self._send({"basedir": basedir, "module": cls.__module__, "name": cls.__qualname__, "after": after})

    def __call__(self, index: int, outcome: int, digest: bytes) -> dict[str, bytes] | str | None:
        self._send({"index": index, "outcome": outcome, "digest": digest.hex()})
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return f"ended with code {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        if "problem" in answer:
            return str(answer["problem"])
        members = answer.get("members")
        return None if members is None else {place: bytes.fromhex(text) for place, text in members.items()}

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                continue

    def _send(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended, which is what reading finds.


def possible(cls: type) -> bool:
    """Whether another process can import the class."""
    return cls.__module__ != "__main__" and "<locals>" not in cls.__qualname__

"""Processes that live a step long each, one after the other, in one directory of mortals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from objects.mortals import Mortal
from program import environment

import coopy

HERE = Path(__file__).parent


class Lives:
    """A directory in which process after process lives a step long."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def live(self, *steps: str) -> list[list[Any]]:
        """Lives the steps; returns how each process has ended, and what came of the step."""
        here = environment()
        done = subprocess.run(
            [sys.executable, str(HERE / "mortals.py"), str(self.path), *steps],
            env={**here, "PYTHONPATH": os.pathsep.join((str(HERE.parent), here["PYTHONPATH"]))},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def open(self) -> Any:
        return coopy.objects(Mortal, self.path, validation="off")

"""Processes that live a step long each, one after the other, in one directory of mortals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import warm
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
        done = warm.run(HERE, str(HERE / "mortals.py"), str(self.path), *steps, env=environment())
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def open(self) -> Any:
        return coopy.objects(Mortal, self.path, validation="off")

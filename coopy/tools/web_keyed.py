"""The pages of the inspector for a directory of many objects: which there are, and what one of them is and was.

Keys and deaths are read from the files. What an object is comes from a process of its own, which runs `coopy show` and `coopy log`: this one loads
nothing that is stored.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from coopy.disk import dirlock
from coopy.errors import UsageError
from coopy.tools.keyed import Reading, all_of, place_of

KEYS_MAX = 500
"""So many keys are on a page; of more, a search finds the rest."""
CALLS_MAX = 200  # The newest; `coopy log --key` has all.
ASK_S = 60.0  # An object that is not shown by then is too large to look at.

Given = Mapping[str, str]


class KeyedPage:
    """The pages of one directory."""

    names = {"objects": "Objects"}
    """The pages that every page links to, the first of which is the one to begin with."""
    more = ("object",)
    write = False
    """Calls and branches are for systems."""

    def __init__(self, basedir: str, spec: str | None) -> None:
        self.basedir = basedir
        self._spec = spec
        with all_of(basedir) as readings:
            self.domain = readings[0].manifest.domain

    def close(self) -> None:
        """Ends nothing: no process outlives its answer."""

    def objects(self, given: Given) -> dict[str, Any]:
        """The keys that hold a text, or begin with it if it ends in "*"."""
        text, of = given.get("q", ""), given.get("of") or None
        with all_of(self.basedir, of=of) as readings:
            keys = sorted(
                key
                for reading in readings
                for key in reading.keys(text[:-1] if text.endswith("*") else "")
                if text.endswith("*") or text in key
            )
            dead = {each.key for reading in readings for each in reading.deaths if len(reading.deaths_of(each.key)) > 1}
            classes = sorted({each for reading in readings for each in reading.classes()})
            last = sum(reading.log.last for reading in readings)
        return {
            "text": text,
            "of": of or "",
            "count": len(keys),
            "keys": [{"key": key, "quarantined": key in dead} for key in keys[:KEYS_MAX]],
            "classes": classes,
            "last": last,
            "holder": dirlock.holder(self.basedir),
        }

    def object(self, given: Given) -> dict[str, Any]:
        """One object: its state now or after an action, its calls, and what the process has died of."""
        key, of, at = given.get("key", ""), given.get("of") or None, given.get("at", "")
        if not key:
            raise UsageError("which object is meant? Give its key.")
        if at and not at.isdigit():
            raise UsageError(f"at={at[:40]}: must be the index of an action")
        with Reading(place_of(self.basedir, key), of=of) as reading:
            reading.stored(key)
            deaths = [each._asdict() for each in reading.deaths_of(key)]
        calls = [json.loads(line) for line in self._asked("log", key, of, self._spec).splitlines()]
        shown = json.loads(self._asked("show", key, of, self._spec, "--depth", "20", *(["--at", at] if at else [])))
        return {
            "key": key,
            "of": of or "",
            "index": shown["index"],
            "time": shown["time"],
            "state": shown["state"],
            "text": json.dumps(shown["state"], indent=2, ensure_ascii=False),
            "calls": calls[-CALLS_MAX:],
            "count": len(calls),
            "deaths": deaths,
        }

    def _asked(self, command: str, key: str, of: str | None, spec: str | None, *more: str) -> str:
        """Returns what a command says. Raises `UsageError` with what it says instead."""
        options = [f"--key={key}", "--json", *([f"--of={of}"] if of else []), *([f"--class={spec}"] if spec else [])]
        try:
            ended = subprocess.run(
                [sys.executable, "-m", "coopy", "-q", command, self.basedir, *options, *more],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                capture_output=True,
                text=True,
                timeout=ASK_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UsageError(
                f"{key!r} could not be shown in {ASK_S:g} seconds. Try `coopy {command} {self.basedir} --key`."
            ) from None
        if ended.returncode:
            lines = ended.stderr.strip().splitlines()
            try:
                said = json.loads(lines[-1])["message"]
            except (IndexError, ValueError, KeyError, TypeError):
                said = lines[-1] if lines else f"the process that was asked has ended (exit code {ended.returncode})"
            raise UsageError(str(said))
        return ended.stdout

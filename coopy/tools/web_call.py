"""One call from a form of the inspector, in a process of its own: reads what to call as JSON, and writes what came of it."""

from __future__ import annotations

import json
import os
import sys

from coopy.errors import CoopyError
from coopy.ground import looking
from coopy.tools import calling, tree
from coopy.tools.domain import domain_class, found

TEXT_MAX = 100_000  # Characters of an answer that a page shows.


def main() -> None:
    """Makes the call."""
    job = json.loads(sys.stdin.read())
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # What the method prints is no answer.
    looking.only("`coopy web`")
    try:
        outcome = calling.call(
            job["basedir"], domain_class(found(job["basedir"]), job["class"]), job["method"], job["arguments"]
        )
        if outcome.error is not None:
            said = {"error": f"{type(outcome.error).__qualname__}: {outcome.error}"}
        else:
            said = {"value": tree.shown(outcome.value, TEXT_MAX)}
    except CoopyError as error:
        said = {"error": str(error)}
    os.write(out, json.dumps(said).encode() + b"\n")

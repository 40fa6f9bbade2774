"""The program of `coopy.proof.shadow`: follows a journal, replays each action, and says whether it comes to the same."""

from __future__ import annotations

import json
import os
import random
from typing import Any

from coopy.errors import CoopyError
from coopy.ground import action, fields, looking
from coopy.ground.raised import last_resort
from coopy.past.reading import Reading
from coopy.past.trail import Tail
from coopy.spine.machine import Machine
from coopy.values import digest
from coopy.values.codec import decode_joined

_shaken = random.Random()


def follow() -> None:
    """Reads lines from standard input, one for each action, and answers each on standard output."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a domain prints, or asks for, is not part of the conversation.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(nowhere, fd)
    begun = json.loads(questions.readline())
    looking.only("The second process of check=True")
    machine: Machine | None = None
    problem = ""

    def not_followed(error: Exception) -> None:
        nonlocal problem
        problem = f"could not follow: {type(error).__name__}: {error}"

    # Code of the domain runs here; whatever it raises is said to the other process.
    with last_resort(not_followed):
        cls = fields.named(begun["module"], begun["name"])
        reading = Reading(begun["basedir"], cls)
        machine = reading.machine(begun["after"])
        tail = Tail(begun["basedir"], reading.manifest.system, machine.applied)
    for line in questions:
        asked = json.loads(line)
        answer: dict[str, Any] = {}
        if machine is not None and not problem:
            try:
                _advance(machine, reading, tail, asked["index"], asked["outcome"])
                if digest.digest(machine.domain).hex() != asked["digest"]:
                    answer["members"] = {place: each.hex() for place, each in digest.digests(machine.domain).items()}
            except CoopyError as error:
                problem = f"stopped: {error}"
        if problem:
            answer["problem"] = problem
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _advance(machine: Machine, reading: Reading, tail: Tail, index: int, outcome: int) -> None:
    following = action.header(0, 0, outcome)
    while machine.applied < index:
        pages = tail.news()
        assert pages, "an action is written before it is asked for"
        for _, data in pages:
            headers, names, arguments = decode_joined(data)
            shaken = _shake()
            machine.replay(
                headers,
                names,
                arguments,
                following,
                reading.codec,
                reading.log.where,
                0,
            )
            del shaken


def _shake() -> list[object]:
    """Holes in memory, so that what is made next does not lie in the order in which it is made."""
    made: list[object] = [bytearray(_shaken.randrange(1, 500)) for _ in range(200)] + [{} for _ in range(200)]
    made += [_Shaken() for _ in range(200)]
    _shaken.shuffle(made)
    del made[::2]
    return made


class _Shaken:
    def __init__(self) -> None:
        self.place = 0


if __name__ == "__main__":
    from coopy.proof import shadowing

    shadowing.follow()

"""A domain may hold its own proxy, and call it: live, at replay, and in its past."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coopy
from coopy import control, init_system, readonly


class Own:
    def __init__(self) -> None:
        self.me: Any = None
        self.notes: list[str] = []

    def meet(self, both: list[Any]) -> None:
        self.me = both[0]  # As an argument by itself it would be the object.

    def note(self, text: str) -> None:
        self.notes.append(text)

    def note_twice(self, text: str) -> int:
        self.me.note(text)
        self.me.note(text)
        self.me.last = text
        return int(self.me.count() + len(self.me.notes))

    @readonly
    def count(self) -> int:
        return len(self.notes)


def test_a_domain_that_calls_its_own_proxy_has_a_past_that_records_nothing(tmp_path: Path) -> None:
    own = init_system(Own, tmp_path / "data", validation="off")
    own.meet([own])
    assert own.note_twice("a") == 4
    for past in (control(own).replay(), coopy.replay(Own, tmp_path / "data")):
        assert control(own).index == 2, "looking at the past records nothing"
        assert (past.notes, past.last) == (["a", "a"], "a")
        past.me.note("only here")
        assert past.me.count() == 3 and past.me.notes is past.notes
    assert (control(own).index, own.notes) == (2, ["a", "a"])
    control(own).close()

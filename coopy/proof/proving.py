"""Has a live system say what state it is in, and compares what replay comes to with that.

When it is said: with each snapshot, by the process that writes it; when the system is closed; and, of a small state, at the first
calls after a start or a snapshot and then about once a second. Each is bounded in time, and a state that takes longer is left alone:
docs/design/018-replay-proves-itself.md has the figures.

Does not know where entries are kept, and forks nothing: what is to run in a child are functions here.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from coopy.errors import StateDiverged
from coopy.ground import log
from coopy.ground.raised import or_none
from coopy.ground.storage import Entry, EntryStore
from coopy.past.history import Action
from coopy.spine import agreement
from coopy.spine.agreement import Comparison, Difference, Said
from coopy.spine.machine import Machine

INLINE_S = 0.02
"""Digests that take no longer, together, are compared while a system is opened; others afterwards, in a child."""
CLOSE_S = 0.5  # A digest may take this long when a system is closed: nobody notices it, and a longer one would be noticed.
SNAPSHOT_S = 1.0  # A digest may take this long in the child of a snapshot, which takes longer itself.
LOOK_S = 0.005
"""A digest may take so long: when a system is closed; with a snapshot, in a child; and between two calls."""
INTERVAL_S = 1.0  # States are said this often at most, and more seldom while no snapshot is written.
PART_OF_TIME = 0.005
"""Between two calls a digest is taken at most so often, and so that all take no more than this part of the time."""
SOON = 8
"""At so many calls after a start, or after a snapshot, a digest is taken."""
PATH_S = 10.0  # The path to a difference is searched for this long: it helps, and is not what proves.
NARROWING_S = 2.0
"""Replay to find where a difference began may cost this much more; what takes longer is left to `coopy verify`."""
NARROWING_MAX = 64  # Of a long list every n-th state is compared: a search needs no more.

Apart = Callable[[Callable[[], "bytes | None"]], "bytes | None"]
"""Runs a function where it can do no harm and does not last for ever, and returns what it returns; None if nothing came of it."""

Replay = Callable[[Comparison, int], object]
"""Replays to an index once more, and compares."""


class Divergence(NamedTuple):
    """That replay gives another state than the live system had."""

    after: int
    """Index at which the two were last seen to be the same, or that of the snapshot from which it was replayed."""
    action: int
    """Index at which they differ."""
    calls: tuple[tuple[int, str], ...]
    """Index and method of the first and of the last call of the domain in between; none if there is no action in between."""
    path: str
    found_by: str

    @property
    def what(self) -> str:
        """What has made the difference, as a sentence."""
        if not self.calls:
            return f"the snapshot of action {self.action} brings back another state than the one of which it was taken"
        first, last = ", ".join(map(str, self.calls[0])), ", ".join(map(str, self.calls[-1]))
        if first == last:
            return f"action {first}(), has another effect when it is replayed"
        return f"one of the actions {first}(), to {last}(), has another effect when it is replayed"

    @property
    def method(self) -> str | None:
        """That of the first call in between."""
        return self.calls[0][1] if self.calls else None

    @property
    def text(self) -> str:
        return (
            f"replay gives another state than the live system had, at {self.path}: {self.what}. It depends on something that is not "
            f"recorded (the order of a set, id(), a variable of a module or a class, a file, the environment, the locale), the state was "
            f"changed outside any action, or its code is not what it was"
        )

    def as_dict(self) -> dict[str, Any]:
        """What `Control.status` says of it."""
        return {
            "after": self.after,
            "index": self.action,
            "method": self.method,
            "path": self.path,
            "found_by": self.found_by,
            "text": self.text,
            "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        }


class Proving:
    """What one system says of itself, and what was found."""

    def __init__(self, name: str, entries: EntryStore, refuses: bool, snapshot_s: float, apart: Apart) -> None:
        self._name = name
        self._entries = entries
        self._refuses = refuses
        self._snapshot_s = snapshot_s
        self._apart = apart
        self._is_on = True
        """Whether the state is such that a digest can be taken between two calls."""
        self._soon = SOON
        self._due = 0.0
        self._added = 0
        self._index = -1
        """Index of which it was said last what the state is."""
        self._digest = ""
        self._lost_after = -1
        """Of actions after that index something was said, and they are lost; -1 if there are none."""
        self._took_s = 0.0
        """How long the last digest took."""
        self._last: Said | None = None
        """What was said of the state at the end of the journal, if it is yet to be compared."""

    # -- replay

    def begin(self, start: int, last: int) -> Comparison:
        """What is to be compared while a journal is replayed from its newest snapshot to its end."""
        try:
            entries = self._entries.read()
        except OSError as error:
            log.warn("%s: what the live system said of its state can't be read, and is not compared: %s", self._name, error)
            entries = []
        self._lost_after = last if any(each.action > last for each in entries) else -1
        entries = [each for each in entries if each.action <= last]
        self._said = [found for each in entries if (found := agreement.understood(each.action, each.text)) is not None]
        if self._said:
            self._took_s = self._said[-1].took_s
        # Code of the domain does not run for it in this process, unless it has to be known now.
        said = [each for each in self._said if self._refuses or not each.own]
        there = agreement.chosen(said, start, last, float("inf") if self._refuses else INLINE_S)
        newest = [each for each in self._said if each.digest and each.action == last][-1:]
        self._last = newest[0] if newest and newest[0] not in there else None
        return Comparison(there)

    def conclude(
        self,
        comparison: Comparison,
        start: int,
        replay: Replay,
        actions: Callable[[int], Iterator[Action]],
        where: Callable[[int], str],
    ) -> Divergence | None:
        """What replay was found to give; None if all that was compared is the same. Raises `StateDiverged` if that is to be refused."""
        said, self._said = self._said, []
        found = comparison.difference
        if found is None:
            self._index = comparison.same
            self._digest = next((each.digest for each in reversed(said) if each.action == self._index), "")
            return None
        found = _narrowed(found, said, start, replay)
        divergence = explained(found, start, actions, "opening")
        if self._refuses:
            raise StateDiverged(
                divergence.action,
                divergence.method or "",
                where(divergence.action) if divergence.calls else self._name,
                divergence.after,
                divergence.path,
                divergence.what,
            )
        return divergence

    def uncompared(self) -> Said | None:
        """What was said of the state at the end of the journal and is yet to be compared, as it takes long. Once."""
        found, self._last = self._last, None
        return found

    def forget(self) -> None:
        """Drops what was said: the system goes on with another state."""
        self._index = -1
        self._trying(self._entries.clear)

    # -- what is said

    def look(self, machine: Machine) -> bool:
        """Says what state the machine is in, if it is time. Returns whether the next call is to ask again."""
        if not self._is_on:
            return False
        began = time.monotonic()
        if not self._soon and began < self._due:
            return False
        if machine.applied != self._index:
            # Code of the domain may run when it is pickled: the call that comes is not to fail for it.
            self._is_on = bool(or_none(self._say_plainly, machine))
            took = time.monotonic() - began
            self._soon = max(self._soon - 1, 0) if self._is_on else 0
            self._added += 1
            # The longer it goes on without a snapshot, the more seldom: the file stays small.
            self._due = began + max(INTERVAL_S, took / PART_OF_TIME, INTERVAL_S * self._added / 500)
        return self._soon > 0

    def last_look(self, machine: Machine) -> None:
        """Says what state the machine is in that is closed, if that does not take too long."""
        if self._took_s > CLOSE_S:
            return
        or_none(self._say_at_last, machine)

    def with_snapshot(self, machine: Machine) -> bytes | None:
        """What is said of a state of which a snapshot was written; by the process that has written it."""
        if self._took_s > self._snapshot_s:
            return None
        # If the domain's code raises, the snapshot is written, and nothing is said with it.
        return _encoded(or_none(agreement.say, machine, self._snapshot_s))

    def told_with_snapshot(self, index: int, said: bytes) -> None:
        """Keeps it."""
        self._say(index, said.decode("ascii"))
        self.look_soon()

    def look_soon(self) -> None:
        """Begins anew to look at the state at the calls that come."""
        self._is_on, self._soon, self._added, self._due = True, SOON, 0, 0.0

    def keep_from(self, first: int, last: int) -> None:
        """Drops what was said of states before and after some indexes."""
        self._trying(lambda: self._entries.keep(first, last))

    def _say_plainly(self, machine: Machine) -> bool:
        """Returns whether there is something to compare in what is said."""
        text = agreement.say_plainly(machine, LOOK_S)
        self._say(machine.applied, text)
        return text is not None and '"digest"' in text

    def _say_at_last(self, machine: Machine) -> None:
        text = agreement.say_plainly(machine, CLOSE_S)
        if text is None:
            found = self._apart(lambda: _encoded(agreement.say(machine, CLOSE_S)))
            text = found.decode("ascii") if found else None
        if text is None:
            log.warn(
                "%s: the state cannot be digested, so the next start does not compare it with what it is now that it is closed. "
                "What was recorded is safe. Next time, control(system).state_digest() says what in the state is in the way.",
                self._name,
            )
        self._say(machine.applied, text)

    def _say(self, index: int, text: str | None) -> None:
        if text is not None:
            found = agreement.understood(index, text)
            assert found is not None, "what is said is understood"
            self._took_s = found.took_s
            if self._lost_after >= 0:
                last, self._lost_after = self._lost_after, -1
                self._trying(lambda: self._entries.keep(0, last))
            if not found.digest or (index, found.digest) != (self._index, self._digest):
                self._trying(lambda: self._entries.add(Entry(index, text)))
            self._index, self._digest = index, found.digest

    def _trying(self, function: Callable[[], object]) -> None:
        # It is not needed; calls and closing say what the disk refuses.
        with contextlib.suppress(OSError):
            function()


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode("ascii")


def _narrowed(found: Difference, said: list[Said], start: int, replay: Replay) -> Difference:
    """The same, with as few actions in between as what was said tells."""
    between = [each for each in said if max(found.after, start) < each.action < found.action and each.digest and not each.own]
    between = between[:: max(1, len(between) // NARROWING_MAX)]
    if not between or sum(each.took_s for each in between) > NARROWING_S:
        return found
    comparison = Comparison([*between, *(each for each in said if each.action == found.action)])
    if not or_none(_is_replayed, replay, comparison, found.action):
        return found  # It was replayed once; what it does now is not what is asked.
    again = comparison.difference
    if again is None:
        return found
    return again._replace(after=max(found.after, again.after))


def _is_replayed(replay: Replay, comparison: Comparison, upto: int) -> bool:
    replay(comparison, upto)
    return True


def explained(found: Difference, start: int, actions: Callable[[int], Iterator[Action]], found_by: str) -> Divergence:
    """A difference with the methods that may have made it."""
    after = max(found.after, start)
    calls: list[tuple[int, str]] = []
    own: list[tuple[int, str]] = []
    if found.action > start:
        for each in actions(after):
            name = each.method or "?"
            # The system's own have names that no method can have.
            place = own if name.startswith("<") else calls
            place[1:] = [(each.index, name)]
            if each.index >= found.action:
                break
    return Divergence(after, found.action, tuple(calls or own), found.path, found_by)


def quietly() -> None:
    """In a child: what runs takes time from nobody, is in another time zone, and says nothing: all it says was said once."""
    import logging

    os.nice(19)
    os.environ["TZ"] = "<+14>-14"
    if hasattr(time, "tzset"):
        time.tzset()
    logging.disable(logging.CRITICAL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    sys.stdout = sys.stderr = open(nowhere, "w")

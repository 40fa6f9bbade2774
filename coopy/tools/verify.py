"""Whether a data directory holds what was put there, and whether replay gives what is remembered. It has more than 500
lines because the same looks are taken here and in the processes that it starts.

* Every byte is read: all segments, all snapshots, also those that opening would not look at.
* All actions are replayed from the oldest snapshot on, as they are recorded: each must end as it
  did. Where a later snapshot was taken, its state must be the one that replay gives.
* ``twice``: two more processes replay. They have other hash seeds, time zones, environments and
  working directories. If their states part, the first action after which they differ is found, by
  replaying again and again with fewer actions between two looks.

States are compared by `coopy.values.digest`. The directory may be in use; nothing in it is changed, and
no system is opened.

The two processes are this module, run as a program. Each gets one line, what to replay, and
answers in lines: how far it is, the digest at each stop, and in the end what members its state has.
Each pass has new processes: what a module keeps from one replay must not reach the next.
"""

from __future__ import annotations

import gc
import json
import os
import reprlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any, NamedTuple, NoReturn, Protocol

from coopy import (
    CoopyError,
    DamagedJournal,
    DecodingError,
    EncodingError,
    MissingActions,
    ReplayError,
    StorageError,
    Unreadable,
    UsageError,
)
from coopy.disk import directory
from coopy.disk.fs import Calls
from coopy.disk.snapshots import DiskSnapshots
from coopy.ground import looking, paths
from coopy.ground.raised import last_resort, or_none
from coopy.ground.storage import MemoryLog
from coopy.ground.words import shown
from coopy.past.reading import Reading
from coopy.spine.machine import Machine
from coopy.spine.replay import restore
from coopy.tools import domain
from coopy.tools.contents import WHOLE, Contents, contents
from coopy.values import digest

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how much of it is done and in all (bytes, or actions)."""

LOOKS = 8
"""How often the states are compared in one pass of two processes."""

_TRIES = 3  # Each time a file was pruned while it was read; after this many something else is wrong.
_PLACES_MAX = 5  # People see from a few places what differs; the rest is mostly the same mistake.
_QUESTIONS_MAX = 200  # Each question is a round trip to another process; a path is found with fewer.
_MEMBERS_MAX = 100_000  # A collection of more members is compared as a whole, or looking would take longer than replay.
_WORDS_MAX = 80  # A value takes one line of a terminal.
_ADVICE = (
    "The method depends on something that is not in its arguments, its clock or its env: the order of a set, the "
    "local time zone, the environment, a file. Sort the set, or pass the value as an argument."
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be. ``kind`` is

    * "damage": bytes are not what was written; ``where`` is the file (and the byte)
    * "replay": an action cannot be replayed as it was recorded; ``where`` is where it lies
    * "snapshot": a snapshot is not the state that replay gives, or does not load; ``where`` is the place in the state
    * "process": in another process an action does something else; ``where`` is the place in the state
    * "state": a state cannot be digested, so nothing can be said of it; ``where`` is the place in it

    ``index`` and ``method`` are those of the action, None if it is of none.
    """

    kind: str
    index: int | None
    method: str | None
    where: str
    text: str


@dataclass(slots=True)
class Verified:
    """What was checked (numbers of files, bytes, and actions that were replayed), and what is wrong."""

    basedir: str
    segments: int = 0
    snapshots: int = 0
    bytes: int = 0
    actions: int = 0
    problems: list[Problem] = field(default_factory=list)


def verify(basedir: str | os.PathLike[str], cls: type, *, twice: bool = False, progress: Progress | None = None) -> Verified:
    """Checks a directory of a system of class ``cls``; what is found is in the answer.

    Raises `Unreadable`; `UsageError` if there is no system there, or, with ``twice``, if another process cannot import ``cls``.
    """
    if not isinstance(cls, type):
        raise UsageError(f"verify() takes the domain class, not {shown(cls)}")
    if twice and (cls.__module__ == "__main__" or "<locals>" in cls.__qualname__):
        raise UsageError(
            f"twice=True: other processes are to import {cls.__qualname__}, and it is not at the top of a module. Nothing "
            f"was read. Put the class into a module that can be imported."
        )
    basedir = paths.absolute(basedir)
    for _ in range(_TRIES):
        paths.refuse_missing(basedir)
        with paths.reads(basedir):
            names = set(os.listdir(basedir))
            found = _Verification(basedir, cls, progress or _silent).run(twice)
            # What an open system has pruned while it was read is not missing.
            if not found.problems or not names - set(os.listdir(basedir)):
                break
    return found


def _silent(phase: str, done: int, total: int) -> None:
    pass


class _Verification:
    """One look at a directory."""

    def __init__(self, basedir: str, cls: type, progress: Progress) -> None:
        self._basedir = basedir
        self._cls = cls
        self._progress = progress
        self._found = Verified(basedir)
        self._problems = self._found.problems

    def run(self, twice: bool) -> Verified:
        try:
            held = self._read()
            with Reading(self._basedir, self._cls) as reading:
                whole = [each.index for each in held.snapshots if each.state == WHOLE]
                replayed = self._replay(reading, whole)
                if twice and replayed is not None:
                    self._compare(reading, replayed)
        except Unreadable:
            raise  # Nobody knows whether that is damaged.
        except StorageError as error:
            self._damaged(error)
        return self._found

    def _read(self) -> Contents:
        self._progress("reading", 0, 1)
        held = contents(self._basedir)
        self._found.segments, self._found.snapshots = len(held.segments), len(held.snapshots)
        self._found.bytes = held.size
        for each in held.damages:
            where = each.name if each.offset is None else f"{each.name}, byte {each.offset}"
            self._problems.append(Problem("damage", each.index, None, where, f"{where}: {each.text}"))
        self._progress("reading", held.size, held.size)
        return held

    def _damaged(self, error: StorageError) -> None:
        """Adds what reading has not found; what it has is said better there."""
        if not any(each.kind == "damage" for each in self._problems):
            index = getattr(error, "index", None) or getattr(error, "first", None)
            self._problems.append(Problem("damage", index, None, getattr(error, "path", self._basedir), str(error)))

    # -- replay

    def _replay(self, reading: Reading, whole: list[int]) -> _Replayed | None:
        """Replays from the oldest whole snapshot, and behind what stops it from the next; the last stretch that was."""
        stretch: _Replayed | None = None
        start: int | None = whole[0] if whole else None
        while start is not None:
            stretch = _Replayed(start, start)
            behind = start + 1
            try:
                self._replay_from(reading, stretch, [index for index in whole if index > start])
                behind = stretch.last + 1
            except ReplayError as error:
                self._problems.append(Problem("replay", error.index, error.method, error.where, str(error)))
                behind = error.index
                stretch.last = error.index - 1
            except DecodingError as error:
                self._problems.append(Problem("snapshot", start, None, self._snapshot_name(start), str(error)))
            except DamagedJournal as error:
                self._damaged(error)
                # What comes before the snapshot in its segment may be damaged, too.
                behind = max(behind, error.index)
            except MissingActions as error:
                self._damaged(error)
                behind = max(behind, error.last or behind)
            self._problems += stretch.problems.values()
            self._found.actions += stretch.last - stretch.start
            start = min((index for index in whole if index >= behind), default=None)
        return stretch

    def _replay_from(self, reading: Reading, stretch: _Replayed, later: list[int]) -> None:
        start, last = stretch.start, reading.log.last

        def begin(machine: Machine) -> None:
            # It begins again if the last action turns out to be withdrawn.
            stretch.withdrawn = last if stretch.begun else 0
            stretch.begun = True
            stretch.problems.clear()

        def visit(machine: Machine) -> None:
            problem = self._against_snapshot(reading, machine)
            if problem is not None:
                stretch.problems[machine.applied] = problem

        def done(number: int, total: int) -> None:
            stretch.last = start + number
            self._progress("replaying", number, total)

        machine = restore(
            reading.log,
            _only(reading, start),
            reading.codec,
            reading.manifest.secret,
            deterministic=reading.manifest.deterministic,
            progress=done,
            begin=begin,
            stops=later,
            visit=visit,
        )
        stretch.last = machine.applied
        try:
            stretch.digest = digest.digest(machine.domain)
        except EncodingError as error:
            stretch.problems[machine.applied] = _undigestible(error, machine.applied)

    def _against_snapshot(self, reading: Reading, machine: Machine) -> Problem | None:
        index = machine.applied
        name = self._snapshot_name(index)
        try:
            kept = restore(MemoryLog(), _only(reading, index), reading.codec, reading.manifest.secret, deterministic=False)
            if sorted(kept.effects) != sorted(machine.effects):
                text = f"{name}: it waits for the effects {sorted(kept.effects)}, and replay for {sorted(machine.effects)}"
                return Problem("snapshot", index, None, name, text)
            if digest.digest(kept.domain) == digest.digest(machine.domain):
                return None
            differences = _differences(_Members(kept.domain), _Members(machine.domain))
        except EncodingError as error:
            return _undigestible(error, index)
        except Unreadable:
            raise  # Of what can't be read it is not known whether it is damaged.
        except (DecodingError, StorageError) as error:
            return Problem("snapshot", index, None, name, f"{name}: {error}")
        finally:
            # The collector is off while actions are replayed, and a state may hold itself.
            kept = None  # type: ignore[assignment]
            gc.collect()
        text = (
            f"{name}: it is not the state that replay gives after action {index}: "
            f"{_told(differences, 'in the snapshot', 'by replay')}. Either the code does something else now than it did, or "
            f"a method depends on something that is not recorded (verify twice tells); nothing was changed."
        )
        return Problem("snapshot", index, None, differences[0].place, text)

    def _snapshot_name(self, index: int) -> str:
        return os.path.basename(directory.snapshot_path(self._basedir, index))

    # -- other processes

    def _compare(self, reading: Reading, replayed: _Replayed) -> None:
        with _surroundings() as (bare, strange, same):
            found = self._parted(reading, replayed, bare, strange)
            if found.problem is None and found.digest != replayed.digest and replayed.digest is not None:
                # The two agree, and this process has something else.
                found = self._parted(reading, replayed, bare, same)
                if found.problem is None:
                    text = (
                        "other processes give another state than this one, and agree among themselves. The domain depends on "
                        "what happened in this process before, perhaps on a variable of a module."
                    )
                    found = _Found(Problem("process", replayed.last, None, "", text))
            if found.problem is not None:
                self._problems.append(found.problem)

    def _parted(self, reading: Reading, replayed: _Replayed, one: _Surroundings, other: _Surroundings) -> _Found:
        """The first action after which two processes differ; without one, the digest that both have in the end."""
        same, different = replayed.start - 1, replayed.last + 1
        last: str | None = None
        how: _Failure | None = None
        while different - same > 1:
            stops = _between(same, different)
            phase = "replaying twice" if different > replayed.last else "narrowing down"
            with self._pair(replayed, one, other, stops, phase) as children:
                for stop in stops:
                    answers = [child.next() for child in children]
                    failures = [answer for answer in answers if isinstance(answer, _Failure)]
                    if failures:
                        first = min(failures, key=lambda failure: failure.index)
                        if first.problem is not None:
                            return _Found(first.problem)
                        how, different = first, first.index
                        how.both = len(failures) == 2 and failures[0].index == failures[1].index
                        same = min(same, different - 1)
                        break
                    if answers[0] != answers[1]:
                        how, different = None, stop
                        break
                    same, last = stop, str(answers[0])
                else:
                    if different > replayed.last:
                        return _Found(None, bytes.fromhex(last) if last is not None else None)
                    # None of these differ, so it is the one behind them.
                    assert same == different - 1, "the last stop is the one before what is known to differ"
        if how is not None:
            text = (
                f"{how.text} That was in a process with {how.where}{'' if how.both else f'; one with {how.against} went on'}."
            )
            return _Found(Problem("process", how.index, how.method, "", text))
        with self._pair(replayed, one, other, [different], "comparing") as children:
            answers = [child.next() for child in children]
            if any(isinstance(answer, _Failure) for answer in answers):
                differences = [_Difference("", "one thing in this run", "another in the run before")]
            else:
                differences = _differences(children[0], children[1])
        return _Found(self._of_action(reading, different, replayed.start, differences, one, other))

    def _of_action(
        self, reading: Reading, index: int, start: int, differences: list[_Difference], one: _Surroundings, other: _Surroundings
    ) -> Problem:
        told = _told(differences, f"with {one.text}", f"with {other.text}")
        if index == start:
            text = f"as it is loaded from its snapshot, the state differs from process to process: {told}."
            return Problem("process", index, None, differences[0].place, text)
        recorded = next(reading.actions(index - 1))
        call = recorded.problem
        if recorded.method is not None:
            words = [*map(_shown, recorded.args), *(f"{name}={_shown(value)}" for name, value in recorded.kwargs.items())]
            call = f"{recorded.method}({', '.join(words)})"
        text = f"{call}: after this action two processes differ: {told}. {_ADVICE}"
        return Problem("process", index, recorded.method, differences[0].place, text)

    @contextmanager
    def _pair(
        self, replayed: _Replayed, one: _Surroundings, other: _Surroundings, stops: list[int], phase: str
    ) -> Iterator[list[_Child]]:
        """Two processes that replay up to the last of some stops, at the same time."""
        asked = {
            "basedir": self._basedir,
            "module": self._cls.__module__,
            "name": self._cls.__qualname__,
            "file": getattr(sys.modules.get(self._cls.__module__), "__file__", None),
            "start": replayed.start,
            "stops": stops,
            "withdrawn": replayed.withdrawn,
        }
        done = [0, 0]
        total = 2 * (stops[-1] - replayed.start)

        def progress(number: int, actions: int) -> None:
            done[number] = actions
            self._progress(phase, min(sum(done), total), total)

        children: list[_Child] = []
        try:
            for number, (surroundings, against) in enumerate(((one, other), (other, one))):
                children.append(_Child(asked, surroundings, against, partial(progress, number)))
            yield children
        finally:
            for child in children:
                child.end()


class _Replayed:
    """A stretch of actions that this process has replayed."""

    def __init__(self, start: int, last: int) -> None:
        self.start = start
        self.last = last
        self.digest: bytes | None = None
        self.withdrawn = 0
        """The last action, if it was found to be withdrawn although nothing says so yet."""
        self.begun = False
        self.problems: dict[int, Problem] = {}


class _Found(NamedTuple):
    problem: Problem | None
    digest: bytes | None = None


def _between(same: int, different: int) -> list[int]:
    """Some indexes between two, evenly spaced, the last of them among them."""
    count = min(LOOKS, different - same - 1)
    return [same + (different - 1 - same) * (place + 1) // count for place in range(count)]


def _only(reading: Reading, index: int) -> DiskSnapshots:
    """A store that has but one snapshot."""

    class Only(Calls):
        def names(self, path: str) -> list[str]:
            return [os.path.basename(directory.snapshot_path(path, index))]

    return DiskSnapshots(Only(), reading.basedir, reading.manifest.system)


def _undigestible(error: EncodingError, index: int) -> Problem:
    return Problem("state", index, None, str(error).partition(": ")[0], f"the state after action {index}: {error}")


# -- what differs


class _Difference(NamedTuple):
    place: str
    one: str
    other: str


class _Look(Protocol):
    def look(self, place: Sequence[str]) -> dict[str, list[str]]: ...


class _Members:
    """A state that can be asked what it has in a place."""

    def __init__(self, state: object) -> None:
        self._found: dict[tuple[str, ...], Any] = {(): state}
        self._seen = {id(state)}

    def look(self, place: Sequence[str]) -> dict[str, list[str]]:
        """Digest and words for each member of what is in a place that has been looked at before."""
        rows: dict[str, list[str]] = {}
        for number, (name, value) in enumerate(digest.members(self._found[tuple(place)])):
            if number == _MEMBERS_MAX:
                return {}
            if isinstance(value, (list, dict, set)) or hasattr(value, "__dict__"):
                if id(value) in self._seen:
                    rows[name] = ["", "what was met before"]
                    continue
                self._seen.add(id(value))
            inside = (*place, name)
            self._found[inside] = value
            rows[name] = [digest.digest(value).hex(), _shown(value)]
        return rows


def _differences(one: _Look, other: _Look) -> list[_Difference]:
    """Where two states differ that do, as deep inside as it can be said; the first few places."""
    found: list[_Difference] = []
    round_about: list[_Difference] = []
    queue: list[tuple[tuple[str, ...], str, str]] = [((), "", "")]
    asked = 0
    for place, words, others in queue:
        if len(found) == _PLACES_MAX:
            break
        asked += 1
        inside, outside = (one.look(place), other.look(place)) if asked <= _QUESTIONS_MAX else ({}, {})
        nothing = ["", "nothing"]
        differing = [name for name in {**inside, **outside} if inside.get(name, nothing)[0] != outside.get(name, nothing)[0]]
        if not differing:
            # What leads back to where we came from differs as that does.
            leads_back = any(not row[0] for row in inside.values())
            (round_about if leads_back else found).append(_Difference("".join(place), words, others))
        for name in differing[:_PLACES_MAX]:
            one_words, other_words = inside.get(name, nothing)[1], outside.get(name, nothing)[1]
            if name in inside and name in outside:
                queue.append(((*place, name), one_words, other_words))
            else:
                found.append(_Difference("".join((*place, name)), one_words, other_words))
    return (found or round_about)[:_PLACES_MAX]


def _told(differences: list[_Difference], one: str, other: str) -> str:
    parts = []
    for place, words, others in differences:
        name = place or "the state"
        if words == others:
            parts.append(f"{name} differs in its order, or in what it shares{f' ({words})' if words else ''}")
        elif not parts:
            parts.append(f"{name} is {words} {one} and {others} {other}")
        else:
            parts.append(f"{name}: {words} and {others}")
    return "; ".join(parts)


def _shown(value: object) -> str:
    """A value in a few words."""
    if type(value).__repr__ is object.__repr__:
        return f"a {type(value).__qualname__}"
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = brief.maxlong = _WORDS_MAX
    found = or_none(brief.repr, value)
    if found is None:
        return shown(value, _WORDS_MAX)  # What is inside may raise anything; the whole is shown in another way.
    return found if len(found) <= _WORDS_MAX else found[: _WORDS_MAX - 1] + "…"


# -- the other processes, seen from here


class _Surroundings(NamedTuple):
    """What another process has around it."""

    text: str
    variables: dict[str, str]
    cwd: str


@contextmanager
def _surroundings() -> Iterator[tuple[_Surroundings, _Surroundings, _Surroundings]]:
    """As good as none; others than here in all that can be; and those of this process."""
    path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    # What an interpreter needs to start and to find its libraries is no matter of the domain.
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "PYTHONHOME") or name.startswith(("LD_", "DYLD_"))
    }
    bare = {**kept, "PYTHONPATH": path, "PYTHONHASHSEED": "1", "TZ": "<+14>-14"}
    others = {name: f"{value}-other" for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    elsewhere = tempfile.mkdtemp(prefix="coopy-verify-")
    try:
        strange = {
            **others,
            **kept,
            "HOME": elsewhere,
            "USER": "other",
            "LOGNAME": "other",
            "PYTHONPATH": path,
            "PYTHONHASHSEED": "2",
            "TZ": "<-11>11",
            "COOPY_VERIFY": "other",
        }
        yield (
            _Surroundings("hash seed 1, TZ UTC+14 and a bare environment", bare, os.sep),
            _Surroundings("hash seed 2, TZ UTC-11 and another environment", strange, elsewhere),
            _Surroundings("the surroundings of this one", {**os.environ, "PYTHONPATH": path}, os.getcwd()),
        )
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)


class _Failure:
    """An action that did not end as it was recorded; or, with ``problem``, something that no action explains."""

    def __init__(
        self, index: int, method: str | None, text: str, where: str, against: str, problem: Problem | None = None
    ) -> None:
        self.index = index
        self.method = method
        self.text = text
        self.where = where
        self.against = against
        self.problem = problem
        self.both = False
        """Whether the other process had the same."""


class _Child:
    """A process that replays."""

    def __init__(
        self, asked: dict[str, Any], surroundings: _Surroundings, against: _Surroundings, progress: Callable[[int], None]
    ) -> None:
        self._surroundings = surroundings
        self._against = against
        self._progress = progress
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable] + ["-O"] * sys.flags.optimize + ["-m", "coopy.tools.verify"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=surroundings.cwd,
            env=surroundings.variables,
        )
        self._send(asked)

    def next(self) -> str | _Failure:
        """The digest at the next stop, or what came before it."""
        while True:
            answer = self._receive()
            if "done" in answer:
                self._progress(answer["done"])
            elif "digest" in answer:
                return str(answer["digest"])
            elif "diverged" in answer:
                index, method, text = answer["diverged"]
                return _Failure(index, method, text, self._surroundings.text, self._against.text)
            else:
                kind, index, where, text = answer["problem"]
                text = f"in a process with {self._surroundings.text}: {text}"
                problem = Problem(kind, index, None, where, text)
                return _Failure(index or 0, None, text, self._surroundings.text, self._against.text, problem)

    def look(self, place: Sequence[str]) -> dict[str, list[str]]:
        self._send({"look": list(place)})
        answer = self._receive()
        rows: dict[str, list[str]] = answer.get("members", {})
        return rows

    def end(self) -> None:
        """Ends the process and waits for it."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            assert file is not None
            try:
                file.close()
            except OSError:
                continue  # It could not be told what it does not need any more.

    def _send(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(line).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # It has ended; what it said is read next.

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        text = f"the process ended with code {code}: {said[-1] if said else 'it said nothing'}"
        return {"problem": ["process", None, "", text]}


# -- the other process itself


def answer() -> None:
    """Reads a line that says what to replay, replays it, and answers. The program of the other processes."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a domain prints, or asks for, is not part of the conversation.
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(nowhere, fd)

    def say(**line: Any) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    asked = json.loads(questions.readline())
    looking.only("A second process, for verify twice,")
    cls: type | None = None
    # The domain's module is imported, and may raise anything.
    with last_resort(_not_imported, asked["module"], say):
        cls = domain.again(asked["module"], asked["name"], asked["file"])
    if cls is None:
        return
    start, stops = asked["start"], asked["stops"]
    final: list[Machine] = []
    told = start

    def visit(machine: Machine) -> None:
        say(digest=digest.digest(machine.domain).hex())
        final[:] = [machine]

    def done(number: int, total: int) -> None:
        nonlocal told
        if start + number - told > total // 100:
            told = start + number
            say(done=number)

    try:
        with Reading(asked["basedir"], cls) as reading:
            restore(
                reading.log,
                _only(reading, start),
                reading.codec,
                reading.manifest.secret,
                deterministic=reading.manifest.deterministic,
                until=stops[-1],
                progress=done,
                stops=stops,
                visit=visit,
                withdrawn=asked["withdrawn"],
            )
    except ReplayError as error:
        say(diverged=[error.index, error.method, str(error)])
        return
    except EncodingError as error:
        found = _undigestible(error, stops[-1])
        say(problem=["state", None, found.where, found.text])
        return
    except CoopyError as error:
        say(problem=["damage" if isinstance(error, StorageError) else "snapshot", None, "", str(error)])
        return
    state = _Members(final[0].domain)
    for line in questions:
        try:
            say(members=state.look(json.loads(line)["look"]))
        except EncodingError:
            say(members={})


def _not_imported(error: Exception, module: str, say: Callable[..., None]) -> None:
    text = (
        f"{module} cannot be imported: {type(error).__name__}: {error}. A domain's module must not need more "
        f"than PATH and HOME of its environment"
    )
    say(problem=["process", None, "", text])


def _main() -> NoReturn:
    # By its name, not as the main program: what it raises and compares must be the classes that others import.
    from coopy.tools import verify as named

    named.answer()
    sys.stderr.flush()
    # Without the end of a large state, which takes as long as its making.
    os._exit(0)


if __name__ == "__main__":
    _main()

"""A random life of a system on a recorded disk, the power cut at any of its moments, and what must hold then.

A `Diary` holds the tokens of the actions that count, in order; the whole life's final diary is the
order that all looks back from are compared with. What was found after a cut must be a beginning of it that
holds every token acknowledged as durable, and none that was not yet issued.
"""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import handed
from crash.disk_model import Disk, Note, Recorder, Said, everything, nothing, put, some
from faults import open_with

from coopy import abort_exception, control, transactional
from coopy.disk import journal
from coopy.disk.segment import BLOCK

SEGMENT_BYTES = 3 * BLOCK
PATIENCE_S = 30


class Diary:
    """Every action that counts leaves its token."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def add(self, token: int, filler: str) -> None:
        self.tokens.append(token)

    def add_and_raise(self, token: int) -> None:
        self.tokens.append(token)
        raise KeyError(token)

    @abort_exception
    def refuse(self, token: int) -> None:
        raise KeyError(token)

    @transactional
    def undo(self, token: int) -> None:
        self.tokens.append(-token)
        raise KeyError(token)


class Called(handed.Called):
    domain = Diary


@contextmanager
def small_segments() -> Iterator[None]:
    """Segments of a few blocks, so that a short life rolls over often."""
    before = journal.FIRST_BYTES
    journal.FIRST_BYTES = SEGMENT_BYTES
    try:
        yield
    finally:
        journal.FIRST_BYTES = before


@dataclass(frozen=True)
class Life:
    """What happened, and how it ended."""

    notes: list[Note]
    tokens: list[int]
    durability: str


def live(directory: Path, seed: int, steps: int) -> Life:
    """A system's life: calls of all kinds, by one thread and by several, in batches, snapshots, and openings anew."""
    chance = random.Random(seed)
    durability = chance.choice(("sync", "sync", "buffered"))
    keep = chance.choice((None, 1, 2))
    calls = Recorder(mapped=chance.random() < 0.5)
    tokens = iter(range(1, 1 << 30))
    filler = chance.choice((10, 300, 9_000, 20_000))

    def opened() -> Any:
        return open_with(calls, Diary, directory, durability=durability, keep=keep, segment_bytes=SEGMENT_BYTES)

    def call(kind: str, size: int) -> None:
        token = next(tokens)
        calls.say("issued", token)
        try:
            if kind == "add":
                diary.add(token, "x" * size)
            else:
                getattr(diary, kind)(token)
        except KeyError:
            pass
        if durability == "sync" and kind in ("add", "add_and_raise"):
            calls.say("durable", token)

    def call_together(sizes: list[int]) -> None:
        batch = [Called("add", next(tokens), "x" * size) for size in sizes]
        for each in batch:
            calls.say("issued", each.args[0])
        engine = diary._coopy_engine
        for part in engine.settled(engine.begin_all(batch), batch):
            for each in part:
                assert each.error is None, each.error
                if durability == "sync":
                    calls.say("durable", each.args[0])

    diary = opened()
    for _ in range(steps):
        what = chance.choices(
            ("add", "add_and_raise", "refuse", "undo", "threads", "together", "snapshot", "reopen", "kill", "large"),
            (26, 4, 3, 2, 4, 4, 3, 2, 2, 2),
        )[0]
        if what == "threads":
            plans = [[("add", chance.randrange(filler))] * 3 for _ in range(4)]
            threads = [threading.Thread(target=lambda plan=plan: [call(*each) for each in plan]) for plan in plans]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE_S)
                assert not thread.is_alive(), "a call never returned"
        elif what == "together":
            small = chance.random() < 0.5
            call_together([chance.randrange(30 if small else filler) for _ in range(chance.randrange(2, 90 if small else 8))])
        elif what == "snapshot":
            before = list(diary.tokens)
            control(diary).take_snapshot()
            calls.say("durable", max(before, default=0))
        elif what in ("reopen", "kill"):
            before = list(diary.tokens)
            if what == "reopen":
                control(diary).close()
                calls.say("durable", max(before, default=0))
            else:
                control(diary)._system.abandon()
            diary = opened()
            assert diary.tokens == before, "a process may end at any moment and lose nothing"
        elif what == "large":
            call("add", chance.randrange(BLOCK, 3 * BLOCK))
        else:
            call(what, chance.randrange(filler))
    final = list(diary.tokens)
    control(diary).close()
    calls.say("durable", max(final, default=0))
    return Life(calls.notes, final, durability)


class Violation(AssertionError):
    """The system broke its promise."""


def look_back(life: Life, said: list[Said], directory: Path) -> list[int]:
    """Opens what was found and compares it with the life. Returns the tokens that are there."""
    issued = {note.what for note in said if note.word == "issued"}
    durable = {note.what for note in said if note.word == "durable"}
    diary = open_with(Quick(), Diary, directory, durability=life.durability, segment_bytes=SEGMENT_BYTES)
    found = list(diary.tokens)
    control(diary)._system.abandon()
    order = {token: place for place, token in enumerate(life.tokens)}
    if found != life.tokens[: len(found)]:
        raise Violation(f"found {found[-5:]}, which is no beginning of what happened")
    if not issued.issuperset(found):
        raise Violation("found an action that was not yet called")
    last = max((order[token] for token in durable if token in order), default=-1)
    if len(found) <= last:
        raise Violation(f"{last + 1} actions were durable, {len(found)} are there")
    return found


class Quick(Recorder):
    """Opens what a power cut left; waits for no disk and keeps no notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes = _Nowhere()


class _Nowhere(list[Note]):
    def append(self, note: Note) -> None:
        pass


def cuts(life: Life, root: str, chance: random.Random, share: float) -> Iterator[tuple[int, Disk, Callable[[int], int]]]:
    """Moments of the life, with what the disk keeps: all, nothing, and random parts of what was not synced."""
    disk = Disk(root)
    for place, note in enumerate(life.notes):
        disk.follow(note)
        if isinstance(note, Said):
            continue
        if chance.random() < share:
            yield place, disk, everything
        if chance.random() < share:
            yield place, disk, nothing
        for _ in range(3):
            if chance.random() < share:
                yield place, disk, some(chance, chance.choice((0.1, 0.5, 0.9, 0.98)))


def cut_again(
    files: dict[str, bytes], life: Life, said: list[Said], root: Path, first: list[int], chance: random.Random
) -> None:
    """The power is cut once more, while the system opens: what was found must not change."""
    scratch = root / "again"
    put(files, scratch)
    calls = Recorder(mapped=chance.random() < 0.5)
    disk = Disk(str(scratch), files, calls)
    diary = open_with(calls, Diary, scratch, durability=life.durability, segment_bytes=SEGMENT_BYTES)
    token = max(life.tokens, default=0) + 1
    diary.add(token, "after")
    if life.durability == "sync":
        calls.say("durable", token)
    control(diary)._system.abandon()
    stop = chance.randrange(len(calls.notes)) if calls.notes else 0
    for note in calls.notes[: stop + 1]:
        disk.follow(note)
    for keep in (some(chance, 0.5), nothing):
        found = disk.found(keep)
        assert found is not None
        shutil.rmtree(scratch)
        put(found, scratch)
        again = open_with(Quick(), Diary, scratch, durability=life.durability, segment_bytes=SEGMENT_BYTES)
        tokens = list(again.tokens)
        control(again)._system.abandon()
        if tokens not in (first, [*first, token]):
            raise Violation(f"{len(first)} actions were found, and after a second power cut {len(tokens)}")
        if any(note.what == token for note in disk.said) and tokens == first:
            raise Violation("what was acknowledged after the first power cut is gone after the second")
    shutil.rmtree(scratch)


@dataclass
class Tally:
    lives: int = 0
    cuts: int = 0
    second_cuts: int = 0
    nothing_there: int = 0


def campaign(root: Path, seed: int, lives: int, share: float, steps: int = 30, tally: Tally | None = None) -> Tally:
    """So many lives from seeds that follow ``seed``; a cut at a ``share`` of their moments. Raises `Violation`."""
    tally = Tally() if tally is None else tally
    with small_segments():
        for number in range(seed, seed + lives):
            one_life(root / str(number), number, share, steps, tally)
    return tally


def one_life(root: Path, seed: int, share: float, steps: int, tally: Tally) -> None:
    home = root / "a" / "diary"
    home.parent.mkdir(parents=True)
    life = live(home, seed, steps)
    chance = random.Random(seed)
    tally.lives += 1
    for place, disk, keep in cuts(life, str(home), chance, share):
        found = disk.found(keep)
        tally.cuts += 1
        try:
            if found is None:
                tally.nothing_there += 1
                if any(note.word == "durable" for note in disk.said):
                    raise Violation("the directory itself is gone")
                continue
            after = root / "after"
            put(found, after)
            tokens = look_back(life, list(disk.said), after)
            shutil.rmtree(after)
            if chance.random() < 0.2:
                tally.second_cuts += 1
                cut_again(found, life, list(disk.said), root, tokens, chance)
        except Exception as problem:
            note = life.notes[place]
            raise Violation(
                f"life {seed} ({life.durability}, {steps} steps), cut after note {place} ({type(note).__name__}), "
                f"share {share}: {type(problem).__name__}: {problem}"
            ) from problem
    shutil.rmtree(root)

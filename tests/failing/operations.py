"""What is done while a system call fails: each begins a world, makes it ready, and does one thing."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from failing.calls import ANY, PATH
from failing.world import ACKNOWLEDGED, SEGMENT_BYTES, UNCERTAIN, Ledger, Violation, World, carried_out
from legacy.old_writer import OldDirectory, call

import coopy
from coopy import aio
from coopy.disk import directory
from coopy.disk.segment import BLOCK
from coopy.past import trail
from coopy.past.reading import Reading
from coopy.past.retention import Retention
from coopy.tools import pruning, repair, verify
from coopy.tools.backup import backup
from coopy.tools.contents import contents
from coopy.tools.importing import import_directory
from coopy.tools.rehearse import rehearse

MUCH = 20_000
"""A filler of which one goes into each block."""

WIDE = 1 << 20

UNDOES_NOTHING = (ANY, PATH)
"""Where what was done can't be undone, as nothing works any more."""

NOT_SEEN = "Whether this is still the directory that was opened can't be seen"


@dataclass(frozen=True)
class Operation:
    name: str
    ready: Callable[[World], None]
    """Makes things as they are before."""
    run: Callable[[World], None]
    """Is done while calls fail. Raises `Violation`."""
    check: Callable[[World], None] = lambda world: None
    """Looks at what is special to it, right after it, once nothing fails any more."""
    durabilities: tuple[str, ...] = ("sync", "buffered")
    ways: tuple[bool, ...] = (True, False)
    """Whether the journal is written through a map; once, where that makes no difference."""
    is_opened: bool = True
    """Whether the directory must open as it is right after it."""
    noted: bool = True
    """Whether the power cut can be modelled: not where a child writes, another disk is used, or directories are made
    (for `repair` see tools/test_repair.py)."""


OPERATIONS: dict[str, Operation] = {}


def _ask(world: World) -> None:
    world.ask()


def _operation(name: str, ready: Callable[[World], None], run: Callable[[World], None], **more: object) -> None:
    OPERATIONS[name] = Operation(name, ready, run, **more)  # type: ignore[arg-type]


# -- calls


def _begun(*sizes: int, segment_bytes: int = SEGMENT_BYTES) -> Callable[[World], None]:
    def ready(world: World) -> None:
        world.open(segment_bytes=segment_bytes)
        for size in sizes:
            world.add(size)

    return ready


def _to_the_end(blocks: int, room: int, segment_bytes: int = SEGMENT_BYTES) -> Callable[[World], None]:
    """Fills some blocks, the last of them up to ``room`` bytes."""

    def ready(world: World) -> None:
        world.open(segment_bytes=segment_bytes)
        for _ in range(blocks):
            world.add(MUCH)
        before = _end(world.home)
        world.add(1000)
        after = _end(world.home)
        world.add(blocks * BLOCK - after - room - (after - before) + 1000)
        assert blocks * BLOCK - _end(world.home) == room, "the frame ends where it should"

    return ready


def _end(home: Path) -> int:
    """Where the frames of the only segment end."""
    data = (home / "transaction_000000000000001.log").read_bytes()
    return len(data.rstrip(b"\0"))


_operation("call", _begun(0), lambda world: world.add())
_operation("call, new block", _begun(MUCH), lambda world: world.add(MUCH))
_operation("call, growth", _begun(MUCH, MUCH, MUCH, segment_bytes=WIDE), lambda world: world.add(MUCH))
_operation("call, roll-over", _begun(MUCH, MUCH, MUCH), lambda world: world.add(MUCH))
_operation("large call, roll-over", _begun(MUCH, MUCH), lambda world: world.add(5 * BLOCK))
_operation("large call, growth", _begun(MUCH, segment_bytes=WIDE), lambda world: world.add(5 * BLOCK))
_operation("call that raises", _begun(0), lambda world: world.add(0, "add_and_raise"))
_operation("abort", _begun(0), lambda world: world.add(0, "refuse"))
_operation("abort, growth", _to_the_end(3, 40 + 150), lambda world: world.add(0, "refuse"))
_operation("transactional", _begun(0), lambda world: world.add(0, "undo"))
_operation("transactional, growth", _to_the_end(3, 40 + 150), lambda world: world.add(0, "undo"))
_operation("batch", _begun(0), lambda world: world.add_together(0, 0, 10, 0))
_operation("batch, roll-overs", _begun(MUCH, MUCH), lambda world: world.add_together(*[MUCH] * 5, 10))


def _two_roll_overs(world: World) -> None:
    for _ in range(7):
        world.add(MUCH)


_operation("seven calls, two roll-overs", _begun(0), _two_roll_overs)


# -- snapshots and pruning


def _snapshot(world: World) -> None:
    before = _snapshots(world)
    done = world.does(world.control.take_snapshot, "The system goes on", "Nothing was saved", "open it again")
    world.snapshot_done = done  # type: ignore[attr-defined]
    world.snapshots_before = before  # type: ignore[attr-defined]
    if done and world.noted is not None:
        for token in world.told:
            world.noted.say("durable", token)


def _snapshots(world: World) -> list[str]:
    return [name for name in os.listdir(world.home) if name.startswith("snapshot_") and name.endswith(".dat")]


def _snapshot_checked(world: World) -> None:
    """If it was not taken, none is there; and no half of one either."""
    new = set(_snapshots(world)) - set(world.snapshots_before)  # type: ignore[attr-defined]
    if world.snapshot_done:  # type: ignore[attr-defined]
        if not new:
            raise Violation("the snapshot was taken, and is not there")
    elif (
        new
        and "can't be told" not in world.errors[-1]
        and world.failing.fault is not None
        and world.failing.fault.kind not in UNDOES_NOTHING
    ):
        raise Violation(f"the snapshot was not taken, and is there; {world.errors[-1]}")
    if not world.refuses and not world.does(world.control.take_snapshot):
        raise Violation("no snapshot can be taken any more")


def _begun_forking(world: World) -> None:
    world.open(fork=True)
    for size in (0, MUCH, MUCH):
        world.add(size)


def _begun_keeping_one(world: World) -> None:
    world.open(keep=1)
    for _ in range(5):
        world.add(MUCH)


def _begun_with_snapshots(world: World) -> None:
    world.open()
    for _ in range(2):
        for _ in range(4):
            world.add(MUCH)
        world.control.take_snapshot()
    world.add(0)
    if world.noted is not None:
        for token in list(world.told)[:-1]:
            world.noted.say("durable", token)


def _prune(world: World) -> None:
    world.pruned = world.does(lambda: world.control.prune(keep=1), "All that is to stay is there", "open it again")  # type: ignore[attr-defined]


def _prune_checked(world: World) -> None:
    if not world.refuses:
        if not world.does(lambda: world.control.prune(keep=1)):
            raise Violation("it can't be pruned any more")
        if len(_snapshots(world)) != 1 or len(_segments(world.home)) != 1:
            raise Violation(f"pruned, and there are {_snapshots(world)}, {_segments(world.home)}")


def _segments(home: Path) -> list[int]:
    return directory.segments(os.listdir(home))


_operation("snapshot", _begun(0, MUCH, MUCH), _snapshot, check=_snapshot_checked)
_operation("snapshot, forked", _begun_forking, _snapshot, check=_snapshot_checked, noted=False)
_operation("snapshot, keep=1", _begun_keeping_one, _snapshot, check=_snapshot_checked)
_operation("prune", _begun_with_snapshots, _prune, check=_prune_checked)


# -- opening and closing


def _close(world: World) -> None:
    done = world.does(world.control.close, "is closed", "open it again")
    if not world.control.closed:
        raise Violation("closing has not closed it")
    if done and world.noted is not None:
        for token in world.told:
            world.noted.say("durable", token)
    world.ledger, world.refuses = None, False


def _close_before(world: World) -> None:
    world.control.close()
    world.ledger = None
    if world.noted is not None:
        for token in world.told:
            world.noted.say("durable", token)


def _kill(world: World) -> None:
    world.control._system.abandon()
    world.ledger = None


def _closed(*sizes: int) -> Callable[[World], None]:
    def ready(world: World) -> None:
        _begun(*sizes)(world)
        _close_before(world)

    return ready


def _killed(*sizes: int) -> Callable[[World], None]:
    def ready(world: World) -> None:
        _begun(*sizes)(world)
        _kill(world)

    return ready


def _torn(world: World) -> None:
    """Killed in the midst of an append: the last frame is half there, and nobody was told of it."""
    _begun(0, MUCH)(world)
    before = _end(world.home)
    token = world.token()
    world.issued(token)
    world.ledger.add(token, "x" * 300)
    after = _end(world.home)
    _kill(world)
    path = world.home / "transaction_000000000000001.log"
    fd = world.calls.open(str(path), os.O_RDWR)
    world.calls.pwrite(fd, bytes((after - before) // 2), before + (after - before) // 2)
    world.calls.close(fd)
    world.told[token] = UNCERTAIN


def _begun_behind_a_torn_one(world: World) -> None:
    """Buffered, power cut: the segment before the last has lost its end."""
    _begun(*[MUCH] * 5)(world)
    kept = list(world.told)[:2]
    _kill(world)
    path = world.home / "transaction_000000000000001.log"
    fd = world.calls.open(str(path), os.O_RDWR)
    world.calls.pwrite(fd, bytes(BLOCK), 2 * BLOCK)
    world.calls.sync_data(fd)
    world.calls.close(fd)
    # No frame behind may say that it was synced: those of the second segment were written before the sync.
    world.lost_by_hand.update(token for token in world.told if token not in kept)


def _open(world: World) -> None:
    if world.does(world.open, "not opened", "No system was begun", NOT_SEEN):
        world.add()
        world.add(MUCH)


def _open_checked(world: World) -> None:
    if world.ledger is None:
        # The lock is free, and nothing has changed.
        if not world.does(world.open):
            raise Violation(f"it does not open any more: {world.errors[-1]}")
        world.read()


def _nothing_there(world: World) -> None:
    (world.home.parent).mkdir(exist_ok=True)
    if world.noted is not None:
        world.noted.adopt(str(world.root))


_operation("close", _begun(0, MUCH), _close)
_operation("close, after a roll-over", _begun(*[MUCH] * 4), _close)
_operation("close, no room for its end", _to_the_end(3, 20), _close)
_operation("open, new", _nothing_there, _open, check=_open_checked)
_operation("open, closed before", _closed(0, MUCH, MUCH, MUCH, MUCH), _open, check=_open_checked)
_operation("open, killed before", _killed(0, MUCH, MUCH, MUCH, MUCH), _open, check=_open_checked)
_operation("open, torn end", _torn, _open, check=_open_checked)


# -- looking back, and the tools


def _files(home: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in home.iterdir() if each.is_file()}


def _replay(world: World) -> None:
    before = _files(world.home)
    found: list[int] = []
    if world.does(lambda: found.extend(coopy.replay(Ledger, world.home).tokens), "Nothing was changed"):
        world.compare(found, "replayed")
    if _files(world.home) != before:
        raise Violation("looking has changed a file")


def _past(world: World) -> None:
    found: list[int] = []
    if world.does(lambda: found.extend(world.control.replay().tokens), "Nothing was changed", "nothing has changed"):
        world.compare(found, "the past")


def _backup(world: World) -> None:
    dest = world.root / "copy"
    done = world.does(lambda: backup(str(world.home), str(dest), calls=world.calls), "no copy", "Nothing was copied", NOT_SEEN)
    if done:
        with world.failing.paused():
            world.compare(coopy.replay(Ledger, dest).tokens, "the copy")
    elif dest.exists() and "may not last" not in world.errors[-1] and not world.vanished:
        raise Violation(f"there is a copy after all; {world.errors[-1]}")


def _backup_checked(world: World) -> None:
    dest = world.root / "copy"
    if dest.exists() and world.errors:
        shutil.rmtree(dest)  # As the error says.
    if not dest.exists():
        if not world.does(lambda: backup(str(world.home), str(dest), calls=world.calls)):
            raise Violation(f"no copy can be made any more: {world.errors[-1]}")
        world.compare(coopy.replay(Ledger, dest).tokens, "the second copy")
    left = [path.name for path in world.root.iterdir() if path.name not in ("ledger", "copy")]
    if left:
        raise Violation(f"left lying about: {left}")


def _damaged(world: World) -> None:
    """A frame in the midst of the first of three segments is changed; a snapshot behind it is whole."""
    _begun(*[MUCH] * 4)(world)
    world.control.take_snapshot()
    for _ in range(4):
        world.add(MUCH)
    _close_before(world)
    path = world.home / "transaction_000000000000001.log"
    fd = world.calls.open(str(path), os.O_RDWR)
    world.calls.pwrite(fd, b"!!!", BLOCK + 500)
    world.is_damaged = True
    world.calls.sync_data(fd)
    world.calls.close(fd)


def _repair(world: World) -> None:
    before = sorted(_files(world.home).items())

    def do() -> None:
        plan = repair.plan(str(world.home))
        assert plan is not None
        repair.carry_out(plan, calls=world.calls)

    done = world.does(do, "nothing is lost", NOT_SEEN)
    if (
        not done
        and not world.vanished
        and "Nothing was changed" in world.errors[-1]
        and sorted(_files(world.home).items()) != before
    ):
        if {name for name, _ in before} - {"lock"} != set(_files(world.home)) - {"lock"}:
            raise Violation(f"something was changed; {world.errors[-1]}")


def _repair_checked(world: World) -> None:
    plan = repair.plan(str(world.home))
    if plan is not None:
        if not plan.possible:
            raise Violation(f"it can't be repaired any more: {plan.reason}")
        repair.carry_out(plan, calls=world.calls)
    world.is_damaged = False


def _verify(world: World) -> None:
    before = _files(world.home)
    found: list[str] = []

    def do() -> None:
        found.extend(each.text for each in verify.verify(world.home, Ledger).problems)

    if world.does(do, "Nothing was changed") and found:
        raise Violation(f"called damaged, and it is not: {found[0]}")
    if _files(world.home) != before:
        raise Violation("looking has changed a file")


def _looking(look: Callable[[World], object]) -> Callable[[World], None]:
    """Only looks: changes no file, whatever fails."""

    def run(world: World) -> None:
        before = _files(world.home)
        world.does(lambda: look(world), "Nothing was changed", "Nothing is changed")
        if _files(world.home) != before:
            raise Violation("looking has changed a file")

    return run


def _contents(world: World) -> None:
    found = contents(str(world.home))
    if found.damages:
        raise Violation(f"called damaged, and it is not: {found.damages[0]}")
    if found.last != 9 or len(found.segments) != 3 or len(found.snapshots) != 3:
        raise Violation(f"not what is there: {found}")


def _log(since: trail.Point | None) -> Callable[[World], None]:
    def look(world: World) -> None:
        with Reading(str(world.home), Ledger) as reading:
            found = [each.index for each in trail.actions(reading, since)]
        if found != list(range(1, 10)):
            raise Violation(f"not what is there: {found}")

    return look


def _log_follows(world: World) -> None:
    found: list[int] = []
    with Reading(str(world.home), Ledger) as reading:
        following = trail.follow(reading)
        while (each := next(following)) is not None:
            found.append(each.index)
        with world.failing.paused():
            for _ in range(4):
                world.add(MUCH)
        while (each := next(following)) is not None:
            found.append(each.index)
        following.close()
    if found != list(range(1, 14)):
        raise Violation(f"not what is there: {found}")


def _following(world: World) -> None:
    world.does(lambda: _log_follows(world), "Nothing was changed", "Nothing is changed")


def _rehearse(world: World) -> None:
    if rehearse(str(world.home), Ledger):
        raise Violation("said not to fit, and it does")


def _prune_tried(world: World) -> None:
    found = pruning.prune(str(world.home), Retention(1), dry_run=True)
    if found.snapshots != [0, 4] or len(found.files) != 4:
        raise Violation(f"not what is there: {found}")


def _snapshots_and_closed(world: World) -> None:
    _begun_with_snapshots(world)
    _close_before(world)


def _prune_closed(world: World) -> None:
    world.does(lambda: pruning.prune(str(world.home), Retention(1)), "All that is to stay is there", NOT_SEEN)


def _prune_closed_checked(world: World) -> None:
    if not world.does(lambda: pruning.prune(str(world.home), Retention(1))):
        raise Violation(f"it can't be pruned any more: {world.errors[-1]}")
    if len(_snapshots(world)) != 1 or len(_segments(world.home)) != 1:
        raise Violation(f"pruned, and there are {_snapshots(world)}, {_segments(world.home)}")


def _of_an_old_release(world: World) -> None:
    old = OldDirectory(world.root / "old")
    state = Ledger()
    state.tokens = [world.token(), world.token()]
    old.snapshot(2, state)
    old.log(3, *(call("add", world.token()) for _ in range(3)))


def _import(world: World) -> None:
    if world.does(lambda: import_directory(Ledger, world.root / "old", world.home), "Nothing was imported", "may not last"):
        world.told = dict.fromkeys(range(1, 6), ACKNOWLEDGED)
    elif world.home.exists() and not world.vanished and "may not last" not in world.errors[-1]:
        raise Violation(f"it is there after all; {world.errors[-1]}")


def _import_checked(world: World) -> None:
    if not world.told:
        if world.home.exists():
            shutil.rmtree(world.home)  # As the error says.
        if not world.does(lambda: import_directory(Ledger, world.root / "old", world.home)):
            raise Violation(f"it can't be imported any more: {world.errors[-1]}")
        world.told = dict.fromkeys(range(1, 6), ACKNOWLEDGED)
    left = sorted(path.name for path in world.root.iterdir())
    if left != ["ledger", "old"]:
        raise Violation(f"left lying about: {left}")


LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)
for name, look in (
    ("contents", _contents),
    ("log", _log(None)),
    ("log since a time", _log(LONG_AGO)),
    ("rehearse", _rehearse),
    ("prune, tried", _prune_tried),
):
    _operation(name, _snapshots_and_closed, _looking(look), durabilities=("sync",), noted=False, ways=(True,))
_operation("log, as it comes", _begun_with_snapshots, _following, durabilities=("sync",), noted=False, ways=(True,))
_operation("replay", _closed(0, MUCH, MUCH, MUCH, MUCH), _replay, ways=(True,))
_operation("past", _begun(0, MUCH, MUCH, MUCH, MUCH), _past, ways=(True,))
_operation("backup", _begun(0, MUCH, MUCH, MUCH, MUCH), _backup, check=_backup_checked, ways=(False,))
_operation("repair", _damaged, _repair, check=_repair_checked, is_opened=False, noted=False, ways=(False,))
_operation("verify", _snapshots_and_closed, _verify, durabilities=("sync",), noted=False, ways=(True,))
_operation(
    "prune, closed",
    _snapshots_and_closed,
    _prune_closed,
    check=_prune_closed_checked,
    durabilities=("sync",),
    noted=False,
    ways=(True,),
)
_operation("import", _of_an_old_release, _import, check=_import_checked, durabilities=("sync",), noted=False, ways=(True,))


# -- threads


def _begun_asking(world: World) -> None:
    carried_out.clear()
    _begun(0)(world)


def _effects_checked(world: World) -> None:
    """What was asked for is carried out at the latest when another effect is asked for."""
    if world.refuses:
        return
    world.ask()
    wanted = {token for token in world.asked if world.told[token] == ACKNOWLEDGED}
    until = time.monotonic() + 5
    while not wanted.issubset(carried_out):
        if time.monotonic() > until:
            raise Violation(f"not carried out: {wanted.difference(carried_out)}")
        time.sleep(0.001)


def _open_by_itself(world: World) -> None:
    """As a program does: with snapshots that are taken by a thread."""

    def do() -> None:
        world.ledger = coopy.init_system(
            Ledger, world.home, snapshot_time=3600, durability=world.setting.durability, fork=False, segment_bytes=SEGMENT_BYTES
        )

    if world.does(do, "not opened", "No system was begun", NOT_SEEN):
        world.add()
        world.add(MUCH)


def _asyncio(world: World) -> None:
    """Tasks whose calls are written together, by two threads that take turns."""
    tokens = [world.token() for _ in range(80)]

    async def main() -> list[object]:
        async with aio.open(
            Ledger, world.home, durability=world.setting.durability, fork=False, segment_bytes=SEGMENT_BYTES
        ) as ledger:
            return await asyncio.gather(*(ledger.add(token, "x" * 2000) for token in tokens), return_exceptions=True)

    answers: list[object] = []
    done = world.does(
        lambda: answers.extend(asyncio.run(main())), "Nothing was opened", "not opened", "No system was begun", "open it again"
    )
    for token, answer in zip(tokens, answers, strict=False):
        world.refuses = False
        world.tell(token, world.verdict(answer) if isinstance(answer, BaseException) else ACKNOWLEDGED)
    if not done:
        # What was answered is not known here.
        world.told.update((token, UNCERTAIN) for token in tokens)
    world.refuses = False


def _four_threads(world: World) -> None:
    """Callers that share their syncs."""
    world.in_order = False
    answers: dict[int, BaseException | None] = {}
    tokens = [world.token() for _ in range(16)]

    def work(mine: list[int]) -> None:
        for token in mine:
            world.issued(token)
            try:
                world.ledger.add(token, "x" * 3000)
                answers[token] = None
            except BaseException as error:
                answers[token] = error

    threads = [threading.Thread(target=work, args=(tokens[number::4],), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # None of them knows what another has been told.
    for token, error in sorted(answers.items(), key=lambda each: each[1] is not None):
        world.refuses = False
        world.tell(token, ACKNOWLEDGED if error is None else world.verdict(error))
    world.refuses = UNCERTAIN in world.told.values()


_operation("call with an effect", _begun_asking, _ask, check=_effects_checked)
_operation("calls of four threads", _begun(0), _four_threads)
_operation(
    "open, by a program",
    _nothing_there,
    _open_by_itself,
    check=_open_checked,
    durabilities=("sync",),
    noted=False,
    ways=(True,),
)
_operation("tasks of asyncio", _nothing_there, _asyncio, check=_open_checked, noted=False, ways=(True,))

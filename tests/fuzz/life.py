"""One run of the fuzzer: the life of a system of a random class, and the judge of all that was told and of all that was left.

What must hold: the directory opens, whatever was called and whenever it was killed; its state is that of the calls that count; a call
that something from outside has interrupted does not count once its caller was told so; what can't be kept is refused at the call, or at the snapshot,
and not later. A call of which nobody was told how it ended may count.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from crash.disk_model import Disk, Recorder, nothing, put
from crash.power import small_segments
from failing.campaign import patience
from failing.world import Hang
from faults import open_with
from fuzz import domain, outside, values
from fuzz.domain import Call, Model, Ward

import coopy
from coopy import CoopyError, EncodingError, control, init_system
from coopy.disk import child, directory

SEGMENT_BYTES = 3 * 32 * 1024
PATIENCE_S = 30.0
SAID_INTERRUPTED = "is withdrawn, and the state is as before the call"
SAID_RETURNED = "had returned when this was raised"
SWITCH_S = 0.0005
HUNG_S = (0.3, 0.02, 0.02)
"""What stands in for the limits of `coopy.disk.child` where a child is meant to hang."""
HUNG_PATIENCE_S = 10.0
EVER_S = 15.0
"""A child that writes a snapshot has so long to end after its parent."""


class Violation(Exception):
    """What is promised does not hold."""


class Image(NamedTuple):
    """What a kill would have left, and the states that it may have."""

    folder: Path
    before: Model
    call: Call | None
    """The one that ran."""
    where: str


def deep(depth: int, function: Callable[[], Any]) -> Any:
    return deep(depth - 1, function) if depth > 0 else function()


def room() -> int:
    """Calls that still fit on the stack."""
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    return sys.getrecursionlimit() - depth


class Life:
    def __init__(self, seed: str, folder: Path, say: Callable[..., None] = lambda *_: None, is_killed: bool = False) -> None:
        self.chance = chance = random.Random(seed)
        self.folder = folder
        self.say = say
        self.text = domain.source(chance)
        self.cls = domain.made(self.text)
        self.methods = [name for name in vars(self.cls) if name.startswith("m") and name[1:].isdigit()]
        self.model = Model(self.cls)
        self.counts: Counter[str] = Counter()
        self.log: list[str] = []
        self.images: list[Image] = []
        self.cuts: list[tuple[int, list[str]]] = []
        """What was noted of the disk when the power is cut, and the states that may be found then."""
        self.tokens = 0
        self.number = 0
        self.asked: list[Call] = []
        self.is_killed = is_killed
        kind = chance.choices(("inline", "forked", "power"), (76, 12, 12))[0]
        self.recorder = Recorder(mapped=chance.random() < 0.5) if kind == "power" and not is_killed else None
        self.fork = child.AVAILABLE and (kind == "forked" or (is_killed and chance.random() < 0.5))
        self.keep = chance.choice((None, 1, 1, 2))
        self.durability = chance.choice(("sync", "sync", "buffered"))
        self.home = folder / "home"
        self.calm = chance.random() < 0.3
        """Whether nothing comes from outside."""
        self.odd = chance.random() < 0.6
        """Whether odd values are given."""
        self.live: Any = None

    # -- the life

    def run(self) -> None:
        """Raises `Violation`."""
        with self._surroundings():
            self._open()
            # What records the disk needs a frame more than the disk, after it has written.
            deep_calls = [self._from_deep] if self.recorder is None else []
            operations = [
                *[self._call] * 18,
                *[self._odd_call] * (5 if self.odd else 0),
                *[self._sink] * 2,
                *deep_calls,
                *[self._look] * 2,
                *[self._peek] * (0 if self.calm else 1),
                *[self._snapshot] * 3,
                *[self._image_now] * 2,
                self._reopen,
                self._prune,
                self._drop,
                self._hold,
                self._hold,
            ]
            if not self.is_killed:
                operations += [self._ward]
            if self.fork:
                operations += [self._hung]
            for _ in range(self.chance.randint(32, 65)):
                self.chance.choice(operations)()
                self._judge_images()
                if self.chance.random() < 0.15:
                    self._is_cut([self.model.picture])
            self._look()
            close(self.live)
            self._compare(self._found_in(self.home), "after closing")
            self._cut_power()

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        work = self.folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        cwd, interval, limit = os.getcwd(), sys.getswitchinterval(), sys.getrecursionlimit()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGINT)}
        hook, sys.unraisablehook = sys.unraisablehook, lambda found: None
        thread_hook, threading.excepthook = threading.excepthook, lambda found: None
        values.Noisy.is_heard = True
        os.chdir(work)
        sys.setswitchinterval(SWITCH_S)
        try:
            with patience(PATIENCE_S), small_segments():
                yield
                self._found_in(
                    self.home
                ) if not self.is_killed else None  # What could not be lowered at the end of the stack is lowered by whoever is next.
                if sys.getrecursionlimit() != limit:
                    raise Violation(f"the limit of recursion was {limit} and is {sys.getrecursionlimit()}")
        except Hang as error:
            raise Violation(f"it hangs: {error}") from error
        finally:
            Ward.asks = None
            values.Noisy.is_heard = False
            outside.armed.clear()
            outside.pending.clear()
            while outside.slow:
                outside.slow.pop().end()
            sys.settrace(None)
            sys.setswitchinterval(interval)
            sys.setrecursionlimit(limit)
            os.chdir(cwd)
            sys.unraisablehook, threading.excepthook = hook, thread_hook
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._let_go()
            shutil.rmtree(work, ignore_errors=True)

    def _let_go(self) -> None:
        if self.live is not None:
            with suppress(Exception):
                control(self.live)._system.abandon()
            self.live = None

    def _open(self) -> None:
        try:
            if self.recorder is not None:
                self.live = open_with(
                    self.recorder, self.cls, self.home, durability="sync", keep=self.keep, segment_bytes=SEGMENT_BYTES
                )
            else:
                self.live = self._opened(self.home)
        except (Hang, Violation):
            raise
        except BaseException as error:
            raise Violation(f"it does not open: {told(error)}") from error
        self._hook_journal()

    def _opened(self, home: Path) -> Any:
        return init_system(
            self.cls,
            home,
            validation="off",
            durability=self.durability,
            keep=self.keep,
            fork=self.fork,
            segment_bytes=SEGMENT_BYTES,
        )

    def _hook_journal(self) -> None:
        """At a withdrawal a kill may come before it is written; a thread may be slow to come to wait for the disk."""
        self.is_to_look_before_amendment = False
        journal: Any = control(self.live)._system._journal
        life = self

        class Hooked(type(journal)):  # type: ignore[misc]
            __slots__ = ()

            def amend(self, record: bytes) -> None:
                is_ours = threading.current_thread() is threading.main_thread()
                if is_ours and life.is_to_look_before_amendment and life.call is not None:
                    life.is_to_look_before_amendment = False
                    life._image("before its amendment")
                super().amend(record)

            def wait(self, index: int) -> None:
                for slow in outside.slow:
                    slow.comes_to_wait()
                super().wait(index)

        with suppress(TypeError):
            journal.__class__ = Hooked

    # -- calls

    call: Call | None = None

    def _token(self) -> int:
        self.tokens += 1
        return self.tokens

    def _call(self) -> None:
        name = self.chance.choice(list(values.PLAIN)) if self.chance.random() < 0.5 else None
        if self.chance.random() < 0.03:
            name = self.chance.choice(list(values.MADE_HERE))
        self._make(Call(self.chance.choice((*self.methods, *self.methods, "add")), self._token(), name))

    def _odd_call(self) -> None:
        """A call that is given what may not be kept."""
        names = self.chance.choice((values.BOUND, values.LOCKS, values.ODD))
        self._make(Call(self.chance.choice((*self.methods, "add")), self._token(), self.chance.choice(list(names))))

    def _hold(self) -> None:
        """Has the state hold what may not be kept."""
        if self.odd:
            names = self.chance.choice((values.BOUND, values.LOCKS, values.LOCKS, values.ODD, values.ODD, SCARCE, SCARCE))
            self._make(Call("hold", self._token(), self.chance.choice(list(names))))
            for _ in range(self.chance.choice((0, 1, 2))):
                self._snapshot()
                self._call()

    def _drop(self) -> None:
        if domain.unkept(self.model.domain):
            self._make(Call("drop", self._token()))

    def _sink(self) -> None:
        """Recurses almost to the limit, or a bit further."""
        self._make(Call("sink", self._token(), None, room() - self.chance.randint(5, 60)))

    def _from_deep(self) -> None:
        """A call from near the end of the stack."""
        call, left = Call(self.chance.choice((*self.methods, "add")), self._token()), self.chance.randint(2, 120)
        self._make(call, lambda function: deep(room() - left, function))

    def _arm(self, call: Call) -> outside.Armed | None:
        chance = self.chance
        # What comes in between while another thread syncs what is half done is to come more often.
        if self.calm or chance.random() < (0.2 if outside.slow else 0.55):
            return None
        points = chance.choice((0, 0, 0, 1, 2, 3))
        kind = chance.choices(("outside", "aside", "close", "image", "snapshot"), (12, 2, 1, 3, 1))[0]
        if kind == "aside" and not self.is_killed:
            asked = Call("add", self._token())
            return outside.aside(chance, points, lambda: self._ask(asked))
        if kind == "close" and not self.is_killed:
            return outside.closing(self.live, points, chance.random() < 0.5)
        if kind == "image":
            return outside.Armed("image", lambda: self._image("inside the method"), points)
        if kind == "snapshot":
            return outside.Armed(
                "signal: snapshot", lambda: outside._by_signal(lambda *_: control(self.live).take_snapshot()), points
            )
        return outside.interruption(chance, points)

    def _ask(self, call: Call) -> None:
        getattr(self.live, call.method)(*call.arguments())
        self.asked.append(call)  # Near the end of the stack it may have been refused.

    def _make(self, call: Call, through: Callable[[Callable[[], Any]], Any] = lambda function: function()) -> None:
        """Makes a call, and judges how it ends."""
        before = control(self.live).index
        if self.chance.random() < 0.15 and not self.is_killed:
            self._begin_slow(call)
            before += 1  # Not asked for: whoever learns of it waits for the disk.
        self.call = call
        armed = self._arm(call)
        if armed is not None:
            outside.armed.append(armed)
        if self.chance.random() < 0.1 and not self.is_killed:
            self.is_to_look_before_amendment = True
        arguments = call.arguments()
        method = getattr(self.live, call.method)
        self.log.append(f"{call}{f' armed with {armed.kind} after {armed.points}' if armed else ''}")
        self.say("begin", *call)
        error: BaseException | None = None
        result: Any = None
        try:
            result = through(lambda: method(*arguments))  # noqa: F821 - it is deleted below
        except Hang:
            raise
        except BaseException as problem:
            error = problem
        try:
            # What another thread has asked for may come only now.
            while outside.pending:
                pass
        except BaseException as problem:
            error = error or problem
        sys.settrace(None)
        outside.armed.clear()
        for slow in outside.slow:
            slow.misses_its_point()  # The judge runs the method as well.
        self.is_to_look_before_amendment = False
        del arguments
        self._judge(call, armed, before, result, error)
        self._end_slow()
        del result, error
        self.call = None

    def _begin_slow(self, call: Call) -> None:
        """Begins a call of another thread, which waits for the disk while ``call`` runs, or after."""
        own = Call("add", self._token())
        self.log.append(f"{own} of a thread that is slow")
        self.model.apply(own)
        after = self.model.copy()
        after.apply(call)
        allowed = [self.model.picture, after.picture]
        slow = outside.Slow(
            lambda: self.live.add(*own.arguments()), self.chance.choice((0, 0, 1, 2)), lambda: self._is_cut(allowed)
        )
        outside.slow.append(slow)
        slow.begin()
        self.counts["slow calls"] += 1
        self.counts["actions"] += 1

    def _end_slow(self) -> None:
        while outside.slow:
            slow = outside.slow.pop()
            slow.end()
            if slow.error is not None:
                raise Violation(f"the call of another thread raised {told(slow.error)}")
            self._is_cut([self.model.picture])

    def _judge(self, call: Call, armed: outside.Armed | None, before: int, result: Any, error: BaseException | None) -> None:
        fired = armed.kind if armed is not None and armed.fired else ""
        self.log[-1] += f" -> {told(error) if error is not None else 'returned'}{f', fired {fired}' if fired else ''}"
        self.counts["calls"] += 1
        if fired:
            self.counts[fired.partition(":")[0].partition(",")[0]] += 1
        engine = self.live._coopy_engine
        if engine.lock._is_owned():
            raise Violation(f"after {told(error) if error else 'it returned'} the lock is still held")
        outside.settle()
        if engine.machine.running:
            raise Violation(f"after {told(error) if error else 'it returned'} an action runs")
        asked, self.asked = self.asked, []
        closes = fired.startswith("close")
        if closes and isinstance(error, RecursionError) and not control(self.live).closed:
            # At the end of the stack there was no room for close(), as it has told the handler: the system goes on.
            closes = False
        now = before if closes else control(self.live).index
        if closes and not control(self.live).closed:
            raise Violation("close() in a handler has not closed the system")
        # A call that a finalizer has asked for is recorded as one more.
        is_recorded = now - len(asked) > before
        if closes and armed is not None and armed.in_replay:
            # The call came after that, or not any more.
            is_recorded = self._found_in(self.home) != self.model.picture
        elif closes:
            is_recorded = True
        if not closes and now - len(asked) > before + 1:
            raise Violation(f"one call has recorded {now - len(asked) - before} actions")
        said = " ".join(getattr(error, "__notes__", ())) if error is not None else ""
        counts = self._judged(call, armed, is_recorded, result, error, said)
        self.say("end", counts)
        self.counts["actions"] += is_recorded
        for each in asked:
            self.model.apply(each)
        if SAID_INTERRUPTED in said:
            # Before anything else asks for a sync: what its caller was told of is on the disk.
            self._is_cut([self.model.picture])
        if closes:
            self._compare(self._found_in(self.home), "closed by a handler")
            self._open()
        elif self.chance.random() < 0.4:
            self._look()

    def _judged(
        self, call: Call, armed: outside.Armed | None, is_recorded: bool, result: Any, error: BaseException | None, said: str
    ) -> bool:
        """Whether the call counts; then the model has it."""
        fired = armed.kind if armed is not None and armed.fired else ""
        comes = fired.startswith(("signal", "asked", "Ctrl-C", "traced", "close and"))
        is_short = isinstance(error, RecursionError) or isinstance(getattr(error, "__cause__", None), RecursionError)
        is_unsaid = is_short or (armed is not None and armed.in_replay)
        if error is None:
            if call.name in values.BOUND or call.name in values.LOCKS and call.method != "hold":
                if call.method != "hold":
                    raise Violation(f"{call.name} was taken as an argument")
            ending = self.model.apply(call)
            found = "itself" if result is self.live else values.described(result)
            if not ending.returned or ending.what != found:
                raise Violation(f"the call returned {found}; it should have {ending}")
            return True
        if not is_recorded:
            self.counts["refused"] += 1
            is_odd = call.name is not None and values.as_argument(call.name) != values.FINE
            if not (is_odd or comes or is_unsaid or self._is_of_parts(call)):
                raise Violation(f"a call was refused that should not be: {told(error)}")
            if isinstance(error, EncodingError) and call.name in values.BOUND and "belongs to this process" not in str(error):
                raise Violation(f"the error does not say what is wrong: {error}")
            return False
        if call.name is not None and values.as_argument(call.name) == values.NEVER and call.method != "hold":
            raise Violation(f"{call.name} was recorded as an argument")
        if SAID_INTERRUPTED in said:
            self.counts["withdrawn"] += 1
            if not (comes or isinstance(error, (MemoryError, RecursionError))):
                raise Violation(f"what the method raised by itself was withdrawn: {told(error)}")
            if not comes and not is_short and self.model.copy().apply(call).counts:
                raise Violation(f"the call was withdrawn, and nothing was wrong with it: {told(error)}")
            return False
        if SAID_RETURNED in said:
            return self.model.apply(call).counts
        ending = self.model.copy().apply(call)
        if fired.startswith("asked") and not ending.returned:
            # Run again it has raised by itself, as it always will.
            return self.model.apply(call).counts
        if is_unsaid and (ending.returned or ending.what != type(error).__name__):
            # Nothing is said at the end of the stack, and of what has come while the call was looked at again: it may count.
            self.counts["doubtful"] += 1
            return self._found_out(call)
        if ending.returned or ending.what != type(error).__name__:
            raise Violation(f"the call raised {told(error)}, of which nothing is said; it should have {ending}")
        return self.model.apply(call).counts

    def _is_of_parts(self, call: Call) -> bool:
        """Whether a call may be refused as a copy of parts of the state can't be made, for which pickle alone is asked."""
        names = {name for name, _ in (*self.model.domain.kept, *self.model.domain.held)}
        odd = {*values.MADE_HERE, *values.BOUND, *values.LOCKS, *values.ODD}
        return domain.has_parts(self.text, call.method) and not names.isdisjoint(odd)

    def _found_out(self, call: Call) -> bool:
        found = self._found_in(self.home) if control(self.live).closed else self.live.look()
        if found == self.model.picture:
            return False
        self.model.apply(call)
        return True

    # -- reads, snapshots, ends

    def _look(self) -> None:
        self.log.append("look")
        found = self.live.look()
        if found != self.model.picture:
            raise Violation(f"the live state is {found}, and should be {self.model.picture}")

    def _compare(self, found: str, where: str) -> None:
        if found != self.model.picture:
            raise Violation(f"{where}: the state is {found}, and should be {self.model.picture}")

    def _peek(self) -> None:
        """A read in which something comes in between changes nothing."""
        armed = outside.interruption(self.chance, 0)
        self.log.append(f"peek, armed with {armed.kind}")
        outside.armed.append(armed)
        try:
            self.live.peek(0)
            while outside.pending:
                pass
        except Hang:
            raise
        except BaseException:
            pass
        sys.settrace(None)
        outside.armed.clear()
        self._look()

    def _snapshots(self) -> list[int]:
        return directory.snapshots(os.listdir(self.home))

    def _snapshot(self) -> None:
        before, unkept = self._snapshots(), domain.unkept(self.model.domain)
        self.log.append(f"snapshot of a state with {unkept or 'nothing odd'}")
        self.counts["snapshots"] += 1
        try:
            index = control(self.live).take_snapshot()
        except Hang:
            raise
        except BaseException as error:
            self.log[-1] += f" -> {told(error)}"
            if values.NEVER not in unkept:
                raise Violation(f"a snapshot was refused: {told(error)}") from error
            if not isinstance(error, CoopyError):
                raise Violation(f"a snapshot was refused with an error that is not ours: {told(error)}") from error
            if self._snapshots() != before:
                raise Violation(f"a snapshot that was refused has left {self._snapshots()} of {before}") from error
            self.counts["refused snapshots"] += 1
        else:
            # What lacks memory first has not been looked at to its end.
            if values.NEVER in unkept and values.SCARCE not in unkept and index not in before:
                raise Violation("a snapshot was kept that can't be loaded")
            if index != control(self.live).index:
                raise Violation(f"the snapshot is of action {index}")
            if self.chance.random() < 0.5:
                self._image("after a snapshot")
        if list(self.home.glob("*.tmp")):
            raise Violation("a snapshot has left something half")

    def _hung(self) -> None:
        """A child that waits for ever is given up, and does not outlive its parent."""
        calm, self.calm = self.calm, True
        before = child.STUCK_S, child._LOOK_S, child._BEAT_S
        child.STUCK_S, child._LOOK_S, child._BEAT_S = HUNG_S
        values.Hung.owner = os.getpid()
        try:
            self._make(Call("hold", self._token(), "hung"))
            self.log.append("a child that hangs")
            self.counts["children that hang"] += 1
            self.say("hung")
            with patience(HUNG_PATIENCE_S):
                control(self.live).take_snapshot()
        except CoopyError as error:
            if values.NEVER not in domain.unkept(self.model.domain) and "has done nothing for" not in str(error):
                raise Violation(f"a child that hangs: {told(error)}") from error
        except Hang as error:
            raise Violation("a child that hangs is waited for") from error
        else:
            raise Violation("a child that hangs has written a snapshot")
        finally:
            child.STUCK_S, child._LOOK_S, child._BEAT_S = before
            self.calm = calm
        calm, self.calm = self.calm, True
        self._make(Call("drop", self._token()))
        self.calm = calm
        if list(self.home.glob("*.tmp")):
            raise Violation("a child that hung has left something half")

    def _prune(self) -> None:
        self.log.append("prune")
        control(self.live).prune(keep=1)
        if self.chance.random() < 0.5:
            self._image("after pruning")

    def _reopen(self) -> None:
        self.log.append("reopen")
        self.counts["openings"] += 1
        close(self.live)
        self._compare(self._found_in(self.home), "closed")
        self._open()
        self._look()
        self._locks_are_open(self.live)

    def _locks_are_open(self, live: Any) -> None:
        """What a snapshot has brought back, and no action has touched since, is as if it was new."""
        found = control(live)
        if found.index not in directory.snapshots(os.listdir(found.basedir)):
            return
        held = found._system.engine.machine.domain.held
        if any(values.in_state(name) != values.FINE for name, _ in held if name in values.VALUES) or domain.unkept(
            self.model.domain
        ):
            return
        for name, lock in held:
            if name in values.LOCKS and not values.is_open(lock):
                raise Violation(f"{name} came back from a snapshot and is not open")

    def _ward(self) -> None:
        """A finalizer of the state calls the system; when the state is made anew it has done so already."""
        if self.calm:
            return
        calm, self.calm = self.calm, True
        kept: list[int] = []
        asked: list[Call] = []

        def ask(token: int) -> None:
            if kept:
                asked.append(Call("add", -token))
                self.live.add(-token)

        self._make(Call("guard", self._token()))
        gc.collect()  # The models that the judge has dropped have wards, too.
        Ward.asks = ask
        kept.append(1)
        self.log.append("ward")
        try:
            drop = Call("drop", self._token())
            self.live.drop(drop.token)
            outside.settle()
            self.counts["finalizers"] += 1
            Ward.asks, asks = None, Ward.asks
            self.model.apply(drop)
            for each in dict.fromkeys(asked):
                self.model.apply(each)
            Ward.asks = asks
            with suppress(RecursionError):
                self.live.sink(0, None, 5000)
            found = self.live.look()
            outside.settle()
            Ward.asks = None
            self._compare(found, "with a finalizer that calls")
            self._look()
        finally:
            Ward.asks = None
            self.calm = calm

    # -- kills

    def _image_now(self) -> None:
        self._image("between two calls")

    def _image(self, where: str) -> None:
        """Copies what a kill at this moment would leave."""
        if self.is_killed or any(image.where == where for image in self.images):
            return
        self.number += 1
        to = self.folder / f"image{self.number}"
        shutil.copytree(self.home, to)
        self.images.append(Image(to, self.model.copy(), self.call, where))

    def _judge_images(self) -> None:
        images, self.images = self.images, []
        for image in images:
            self.counts["kills"] += 1
            self.log.append(f"killed {image.where}{f' of {image.call}' if image.call else ''}")
            self._opens(image)
            shutil.rmtree(image.folder)

    def _opens(self, image: Image) -> None:
        allowed = [image.before.picture]
        if image.call is not None:
            image.before.apply(image.call)
            allowed.append(image.before.picture)
        begins = self.chance.random()
        depth = self.chance.choice((0, 0, 300))
        if begins < 0.4:
            found = deep(depth, lambda: self._found_in(image.folder))
            if found not in allowed:
                raise Violation(f"killed {image.where}: the state is {found}, and should be {' or '.join(allowed)}")
            return
        try:
            live = deep(depth, lambda: self._opened(image.folder))
        except Hang:
            raise
        except BaseException as error:
            raise Violation(f"killed {image.where}: it does not open: {told(error)}") from error
        try:
            found = live.look()
            if found not in allowed:
                raise Violation(f"killed {image.where}: the state is {found}, and should be {' or '.join(allowed)}")
            self._locks_are_open(live)
            if begins < 0.8:
                live.add(-1)
                found = live.look()
                if begins < 0.6:
                    close(live)
                else:
                    control(live)._system.abandon()
                again = self._found_in(image.folder)
                if again != found:
                    raise Violation(f"killed {image.where}, and opened again: the state is {again}, and was {found}")
        finally:
            control(live)._system.abandon()

    def _found_in(self, home: Path) -> str:
        try:
            return domain.pictured(coopy.replay(self.cls, home))
        except Hang:
            raise
        except BaseException as error:
            raise Violation(f"it can't be replayed: {told(error)}") from error

    def _is_cut(self, allowed: list[str]) -> None:
        """The power may be cut at this moment. ``allowed`` are the states that may be found then."""
        if self.recorder is not None:
            self.cuts.append((len(self.recorder.notes), allowed))

    def _cut_power(self) -> None:
        """What a power cut leaves has all that was told; a withdrawal, too."""
        if self.recorder is None:
            return
        notes = self.recorder.notes
        disk, at = Disk(str(self.home)), 0
        for place, allowed in self.cuts:
            for note in notes[at:place]:
                disk.follow(note)
            at = place
            files = disk.found(nothing)
            if files is None:
                raise Violation("power cut: the directory is gone")
            after = self.folder / "cut"
            put(files, after)
            found = self._found_in(after)
            shutil.rmtree(after)
            self.counts["power cuts"] += 1
            if found not in allowed:
                raise Violation(f"power cut: the state is {found}, and should be {' or '.join(allowed)}")


LAST = (b'["hung"]', b'["done"]', b'["violation"')
"""Words after which nothing more is waited for."""


def killed(seed: str, folder: Path) -> Counter[str]:
    """A life in a process of its own, which is killed at some moment. Raises `Violation`."""
    chance = random.Random(f"{seed} killed")
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(read)
            _live_and_tell(seed, folder, write)
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    os.set_blocking(read, False)
    at, wait_s = chance.randint(1, 90), chance.random() * 0.003
    heard = b""
    try:
        heard = _heard(read, heard, lambda data: data.count(b"\n") >= at or any(word in data for word in LAST))
        time.sleep(wait_s if b'["hung"]' not in heard else 0.05)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    # The pipe is at its end when the last of its children is gone, too.
    heard = _heard(read, heard, lambda data: False)
    os.close(read)
    return _judged_after_kill(seed, folder, [json.loads(line) for line in heard.split(b"\n") if line.endswith(b"]")])


def _live_and_tell(seed: str, folder: Path, write: int) -> None:
    def say(*what: Any) -> None:
        os.write(write, json.dumps(what).encode("ascii") + b"\n")

    try:
        Life(seed, folder, say, is_killed=True).run()
    except BaseException as error:
        say("violation", told(error))
        raise
    say("done")
    time.sleep(EVER_S)


def _heard(read: int, heard: bytes, is_enough: Callable[[bytes], bool]) -> bytes:
    """What the pipe has, up to enough of it or to its end."""
    until = time.monotonic() + EVER_S + PATIENCE_S
    while not is_enough(heard):
        if not select.select([read], [], [], max(0.0, until - time.monotonic()))[0]:
            raise Violation("a process that was killed has left one that goes on")
        data = os.read(read, 1 << 16)
        if not data:
            break
        heard += data
    return heard


def _judged_after_kill(seed: str, folder: Path, said: list[list[Any]]) -> Counter[str]:
    """Opens what a killed process has left."""
    life = Life(seed, folder, is_killed=True)
    began: Call | None = None
    # The model calls the methods as well, which may open files by relative names.
    with life._surroundings():
        for word, *rest in said:
            if word == "violation":
                raise Violation(f"in a process that was to be killed: {rest[0]}")
            if word == "begin":
                began = Call(*rest)
            elif word == "end" and began is not None:
                if rest[0]:
                    life.model.apply(began)
                life.counts["actions"] += 1
                began = None
        life.counts["calls"] += sum(each[0] == "begin" for each in said)
        life.counts["killed processes"] += 1
        life.log.append(f"killed by SIGKILL in {began}")
        if life.home.exists():
            life._opens(Image(life.home, life.model, began, "by SIGKILL"))
    return life.counts


SCARCE = {name: make for name, make in values.ODD.items() if values.in_state(name) == values.SCARCE}


def close(system: Any) -> None:
    """Whatever the state holds, closing it raises nothing."""
    try:
        control(system).close()
    except Hang:
        raise
    except BaseException as error:
        raise Violation(f"close() raises {told(error)}") from error
    if not control(system).closed:
        raise Violation("close() has returned, and the system is open")


def told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:400]
    except BaseException:
        return type(error).__name__

"""A world in which one thread runs at a time, and time goes on when all wait: the same seed makes the same life.

Threads are real ones, so that what they run is the real code; but each waits for its *baton*, and there is one. It is handed on
where a thread waits: in a sleep, at a lock, a condition, an event, the end of another thread, and now and then where it could go on.
Who is next, and how long each step takes, is drawn from the seed. When nobody can run, the clock jumps to the next who can.

A *host* is a machine: its threads may be stopped for a while, its clock may be wrong, and it may be killed: then each of its
threads ends where it waits, by `Ended`, and whatever it still tries to do raises that again.

Code knows nothing of it: `inside` puts clocks, locks and threads of the world into the modules that are named. What they do
is in real threads, or with the real clock, as soon as the block is left.
"""

from __future__ import annotations

import _thread
import hashlib
import heapq
import random
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

EPOCH_NS = 1_700_000_000_000_000_000
STEP_NS = 1_000
"""A look at the clock takes so long: who does nothing else comes to its end as well."""
WAKE_NS = 300_000
"""Who is woken runs within so long."""
SWITCHES_MAX = 400_000
"""More than any life takes that comes to an end."""
PREEMPTED = 0.03
"""How often a thread that could take a lock lets another run first."""


class Ended(BaseException):
    """The host of this thread is no more."""


class Stuck(Exception):
    """Nobody will ever run again, or they run for ever."""


class Host:
    """A machine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.paused = False
        self.offset_ns = 0
        """By how much its clock is wrong."""
        self.boot_ns = 0
        """What the clock that nobody sets (`coopy.sync.boot`) said on it when the world began."""
        self.threads: list[Thread] = []
        self.held: list[tuple[Thread, int, bool]] = []
        """Who is to run when it is no longer paused."""


class World:
    """The clock, who waits for it, and what was seen."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.now_ns = 0
        self.current: Thread | None = None
        self.switches = 0
        self.preempted = PREEMPTED
        self._events: list[tuple[int, float, int, Any]] = []
        self._number = 0
        self._threads = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self.lines: list[str] | None = None
        """What was seen, if it is to be kept."""
        self._failure: BaseException | None = None
        self._driver: Thread | None = None

    # -- what was seen

    def say(self, what: str) -> None:
        """Something that belongs to the life: two lives of a seed say the same."""
        line = f"{self.now_ns / 1e9:.6f} {what}"
        self._digest.update(line.encode())
        if self.lines is not None:
            self.lines.append(line)

    def note(self, what: str) -> None:
        """Something to be read with what was seen, if that is kept; the digest knows nothing of it."""
        if self.lines is not None:
            self.lines.append(f"{self.now_ns / 1e9:.6f} {what}")

    def digest(self) -> str:
        return self._digest.hexdigest()

    # -- events

    def later(self, delay_s: float, function: Callable[[], object]) -> None:
        """Calls a function after a time, while no thread runs. It must not wait."""
        self._push(self.now_ns + int(delay_s * 1e9), function)

    def _push(self, at_ns: int, what: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (at_ns, self.random.random(), self._number, what))

    def wake(self, thread: Thread) -> None:
        self._push(self.now_ns + self.random.randrange(WAKE_NS), (thread, thread.token, True))

    def block(self, timeout_s: float | None = None) -> bool:
        """Waits to be woken, or for the time to be over. Returns whether it was woken."""
        me = self.current
        assert me is not None, "what is called later must not wait"
        if me.host is not None and me.host.dead:
            raise Ended
        if timeout_s is not None:
            self._push(self.now_ns + max(0, int(timeout_s * 1e9)), (me, me.token, False))
        self._switch(me)
        if me.host is not None and me.host.dead:
            raise Ended
        return me.woken

    def let_others(self, chance: float) -> None:
        """Lets others run, now and then, if there is a thread that could."""
        me = self.current
        if me is None:
            return
        if me.host is not None and me.host.dead:
            raise Ended
        if self.random.random() < chance:
            self.wake(me)
            self.block()

    def _switch(self, me: Thread | None) -> None:
        """Hands the baton on, and waits until it comes back; at once if there is nobody who waits."""
        events = self._events
        self.switches += 1
        while True:
            if not events or self.switches > SWITCHES_MAX:
                self._give_up("nobody can run any more" if not events else f"more than {SWITCHES_MAX} switches")
                target, woken = self._driver, False
            else:
                at_ns, _, _, what = heapq.heappop(events)
                if at_ns > self.now_ns:
                    self.now_ns = at_ns
                if not isinstance(what, tuple):
                    self.current = None
                    what()
                    continue
                target, token, woken = what
                if target.token != token or target.done:
                    continue
                if target.host is not None and target.host.paused:
                    target.host.held.append(what)
                    continue
            assert target is not None
            target.token += 1
            target.woken = woken
            self.current = target
            if self.switches % 16 == 0:
                self._digest.update(b"%d %d" % (self.now_ns, target.number))
            if target is me:
                break
            target.baton.release()
            if me is None:
                return
            me.baton.acquire()
            break
        if self._failure is not None and me is self._driver:
            failure, self._failure = self._failure, None
            raise failure

    def fail(self, why: str) -> None:
        """Has the driver raise `Stuck` where it waits."""
        assert self._driver is not None, "a world has a driver"
        self._failure = Stuck(why)
        self.wake(self._driver)

    def _give_up(self, why: str) -> None:
        self._failure = Stuck(f"{why}; waiting: {', '.join(self.waiting())}")
        self.switches = -SWITCHES_MAX  # So that the driver can put an end to all.

    def waiting(self) -> list[str]:
        return [f"{each.name}" for host in HOSTS for each in host.threads if not each.done]

    # -- hosts

    def kill(self, host: Host) -> None:
        """Ends every thread of a host where it waits. Returns when they have ended."""
        host.dead, host.paused = True, False
        host.held.clear()
        for each in host.threads:
            if not each.done and each.started:
                self._push(self.now_ns, (each, each.token, False))
        for each in host.threads:
            while not each.done and each.started:
                self.block(0.00001)

    def pause(self, host: Host) -> None:
        host.paused = True

    def go_on(self, host: Host) -> None:
        host.paused = False
        held, host.held = host.held, []
        for each in held:
            self._push(self.now_ns, each)

    def thread(self, function: Callable[[], object], name: str, host: Host | None) -> Thread:
        """A thread of a host, started."""
        found = Thread(target=function, name=name)
        found.host = host
        found.start()
        return found


_here = threading.local()
"""``_here.is_ours`` in the threads of a world. Others of this process, that other tests have left, get what is real."""


def _is_ours() -> bool:
    return getattr(_here, "is_ours", False)


HOSTS: list[Host] = []
"""Of the world that there is."""
_WORLD: World | None = None


def world() -> World:
    assert _WORLD is not None, "outside of a world"
    return _WORLD


# -- threads


class Thread:
    """As `threading.Thread`."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return super().__new__(cls) if _is_ours() else threading.Thread(*args, **kwargs)

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        place = world()
        place._threads += 1
        self.number = place._threads
        self.name = name or f"thread {self.number}"
        self.daemon = daemon
        self.host = place.current.host if place.current is not None else None
        self.token = 0
        self.woken = False
        self.started = self.done = False
        self.baton = threading.Lock()
        self.baton.acquire()
        self.failure: BaseException | None = None
        self._joining: list[Thread] = []
        self._call = target, args, kwargs or {}
        self.ident: int | None = None

    def start(self) -> None:
        place = world()
        place.let_others(0)
        self.started = True
        if self.host is not None:
            self.host.threads.append(self)
        threading.Thread(target=self._run, name=self.name, daemon=True).start()
        place.wake(self)

    def _run(self) -> None:
        _here.is_ours = True
        self.baton.acquire()
        place = world()
        self.ident = self.number
        target, args, kwargs = self._call
        try:
            if self.host is None or not self.host.dead:
                assert target is not None
                target(*args, **kwargs)
        except Ended:
            pass
        except BaseException as error:
            self.failure = error
            place.say(f"{self.name} failed: {type(error).__name__}: {error}")
        finally:
            del target, args, kwargs
            del self._call
            self.done = True
            for each in self._joining:
                place.wake(each)
            place._switch(None)

    def is_alive(self) -> bool:
        return self.started and not self.done

    def join(self, timeout: float | None = None) -> None:
        place = world()
        place.let_others(0)
        until_ns = None if timeout is None else place.now_ns + int(timeout * 1e9)
        while not self.done:
            left = None if until_ns is None else (until_ns - place.now_ns) / 1e9
            if left is not None and left <= 0:
                return
            assert place.current is not None
            self._joining.append(place.current)
            place.block(left)


def current_thread() -> Any:
    found = world().current if _is_ours() else None
    return threading.current_thread() if found is None else found


# -- locks


class Lock:
    """As `threading.Lock`."""

    def __new__(cls) -> Any:
        return super().__new__(cls) if _is_ours() else threading.Lock()

    def __init__(self) -> None:
        self._held = False
        self._waiting: list[Thread] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        place = world()
        place.let_others(place.preempted)
        if not self._held:
            self._held = True
            return True
        if not blocking or timeout == 0:
            return False
        until_ns = None if timeout < 0 else place.now_ns + int(timeout * 1e9)
        while self._held:
            if not _wait_in(place, self._waiting, until_ns) and self._held:
                return False
        self._held = True
        return True

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False
        _wake_one(self._waiting)

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class RLock:
    """As `threading.RLock`."""

    def __new__(cls) -> Any:
        return super().__new__(cls) if _is_ours() else threading.RLock()

    def __init__(self) -> None:
        self._owner: Thread | None = None
        self._count = 0
        self._waiting: list[Thread] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        place = world()
        me = place.current
        if me is None:
            return True  # What is called later runs while nobody else does.
        if self._owner is me:
            place.let_others(0)
            self._count += 1
            return True
        place.let_others(place.preempted)
        if self._owner is not None:
            if not blocking or timeout == 0:
                return False
            until_ns = None if timeout < 0 else place.now_ns + int(timeout * 1e9)
            while self._owner is not None:
                if not _wait_in(place, self._waiting, until_ns) and self._owner is not None:
                    return False
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        me = world().current
        if me is None:
            return
        if self._owner is not me:
            if me.host is not None and me.host.dead:
                return  # It was taken away while it waited.
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            _wake_one(self._waiting)

    def _is_owned(self) -> bool:
        return self._owner is not None and self._owner is world().current

    def _recursion_count(self) -> int:
        return self._count if self._is_owned() else 0

    __enter__ = acquire

    def __exit__(self, *error: object) -> None:
        self.release()


class Condition:
    """As `threading.Condition`, over an `RLock`."""

    def __new__(cls, *args: Any) -> Any:
        return super().__new__(cls) if _is_ours() else threading.Condition(*args)

    def __init__(self, lock: RLock | None = None) -> None:
        self._lock = lock or RLock()
        self._waiting: list[Thread] = []
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        place = world()
        lock, me = self._lock, place.current
        assert me is not None and lock._owner is me, "a condition is waited for with its lock held"
        count = lock._count
        lock._owner, lock._count = None, 0
        _wake_one(lock._waiting)
        try:
            return _wait_in(place, self._waiting, None if timeout is None else place.now_ns + max(0, int(timeout * 1e9)))
        finally:
            if me.host is None or not me.host.dead:
                while lock._owner is not None:
                    _wait_in(place, lock._waiting, None)
                lock._owner, lock._count = me, count

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        place = world()
        until_ns = None if timeout is None else place.now_ns + int(timeout * 1e9)
        while not (found := predicate()):
            left = None if until_ns is None else (until_ns - place.now_ns) / 1e9
            if left is not None and left <= 0:
                break
            self.wait(left)
        return found

    def notify(self, n: int = 1) -> None:
        for _ in range(n):
            _wake_one(self._waiting)

    def notify_all(self) -> None:
        while self._waiting:
            _wake_one(self._waiting)


class Event:
    """As `threading.Event`."""

    def __new__(cls) -> Any:
        return super().__new__(cls) if _is_ours() else threading.Event()

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[Thread] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        while self._waiting:
            _wake_one(self._waiting)

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        place = world()
        if not self._set:
            _wait_in(place, self._waiting, None if timeout is None else place.now_ns + max(0, int(timeout * 1e9)))
        return self._set


def _wait_in(place: World, waiting: list[Thread], until_ns: int | None) -> bool:
    """Waits to be woken by who finds this thread in a list. Returns whether it was."""
    me = place.current
    assert me is not None, "what is called later must not wait"
    left_s = None if until_ns is None else (until_ns - place.now_ns) / 1e9
    if left_s is not None and left_s <= 0:
        place.let_others(1.0)
        return False
    waiting.append(me)
    try:
        return place.block(left_s)
    finally:
        if me in waiting:
            waiting.remove(me)


def _wake_one(waiting: list[Thread]) -> None:
    if waiting:
        world().wake(waiting.pop(0))


# -- the clock


def time_ns() -> int:
    if not _is_ours():
        return time.time_ns()
    place = world()
    place.now_ns += STEP_NS
    host = place.current.host if place.current is not None else None
    return EPOCH_NS + place.now_ns + (host.offset_ns if host is not None else 0)


def time_s() -> float:
    return time_ns() / 1e9


def boot_ns() -> int:
    """As `coopy.sync.boot.now_ns`: of each machine its own, and of no other."""
    place = world()
    place.now_ns += STEP_NS
    host = place.current.host if place.current is not None else None
    return place.now_ns + (host.boot_ns if host is not None else 0)


def monotonic() -> float:
    if not _is_ours():
        return time.monotonic()
    place = world()
    place.now_ns += STEP_NS
    return place.now_ns / 1e9


def sleep(seconds: float) -> None:
    if _is_ours():
        world().block(seconds)
    else:
        time.sleep(seconds)


class _Module(types.ModuleType):
    """A module with some of its names answered by the world."""

    def __init__(self, real: types.ModuleType, **ours: Any) -> None:
        super().__init__(real.__name__)
        self._real = real
        vars(self).update(ours)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


TIME = _Module(time, time_ns=time_ns, time=time_s, monotonic=monotonic, sleep=sleep, perf_counter=monotonic)
THREADING = _Module(
    threading,
    Thread=Thread,
    Lock=Lock,
    RLock=RLock,
    Condition=Condition,
    Event=Event,
    current_thread=current_thread,
)
_OURS: dict[int, Any] = {
    id(real): ours
    for real, ours in (
        (time, TIME),
        (threading, THREADING),
        (time.time_ns, time_ns),
        (time.time, time_s),
        (time.monotonic, monotonic),
        (time.sleep, sleep),
        (threading.Thread, Thread),
        (threading.Lock, Lock),
        (_thread.allocate_lock, Lock),
        (threading.RLock, RLock),
        (threading.Condition, Condition),
        (threading.Event, Event),
    )
}


def _put_into(module: types.ModuleType) -> Iterator[Callable[[], None]]:
    """Puts the world's names in the place of the real ones; yields what puts these back."""
    for name, value in list(vars(module).items()):
        if id(value) in _OURS:
            setattr(module, name, _OURS[id(value)])
            yield lambda name=name, value=value: setattr(module, name, value)  # type: ignore[misc]
    for kind in list(vars(module).values()):
        if isinstance(kind, type) and kind.__module__ == module.__name__:
            for name, value in list(vars(kind).items()):
                if isinstance(value, staticmethod) and id(value.__func__) in _OURS:
                    setattr(kind, name, staticmethod(_OURS[id(value.__func__)]))
                    yield lambda kind=kind, name=name, value=value: setattr(kind, name, value)  # type: ignore[misc]
    for function in _functions(module):
        for attribute in ("__defaults__", "__kwdefaults__"):
            before = getattr(function, attribute)
            if not before:
                continue
            if isinstance(before, dict):
                after: Any = {name: _OURS.get(id(value), value) for name, value in before.items()}
            else:
                after = tuple(_OURS.get(id(value), value) for value in before)
            if after != before:
                setattr(function, attribute, after)
                yield lambda f=function, a=attribute, b=before: setattr(f, a, b)  # type: ignore[misc]


def _functions(module: types.ModuleType) -> Iterator[types.FunctionType]:
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, types.FunctionType):
            yield value
        elif isinstance(value, type):
            yield from (each for each in vars(value).values() if isinstance(each, types.FunctionType))


@contextmanager
def inside(seed: str, modules: Sequence[types.ModuleType], keep_lines: bool = False) -> Iterator[World]:
    """A world of its own; the block is its driver, a thread of no host. Hosts of it are ended with it."""
    global _WORLD
    assert _WORLD is None, "one world at a time"
    place = _WORLD = World(seed)
    place.lines = [] if keep_lines else None
    HOSTS.clear()
    undo = [back for module in modules for back in _put_into(module)]
    _here.is_ours = True
    driver = Thread(name="driver")
    driver.started, driver.ident = True, 0
    place._driver = place.current = driver
    try:
        yield place
    finally:
        try:
            place.switches = 0
            place.later = lambda delay_s, function: None  # type: ignore[method-assign]
            for host in HOSTS:
                place.kill(host)
        finally:
            for back in undo:
                back()
            _WORLD = None
            _here.is_ours = False


def host(name: str) -> Host:
    found = Host(name)
    HOSTS.append(found)
    return found


def modules_of(*names: str) -> list[types.ModuleType]:
    import importlib

    return [importlib.import_module(name) for name in names]


assert sys.implementation.name == "cpython", "locks of threads that have ended are given back at once"

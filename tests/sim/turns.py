"""One life of the locks of a cluster of three nodes and of one machine beside it, with fifty clients: what befalls them is drawn from a seed.

The nodes and the machine have the same state: `Locks`, which threads of each use through the handles of `coopy.sync`, and an `Elector`, which
clients that are processes of their own ask, by the lock of `coopy.compat.metaparticle`. Machines, disk, network and faults are those of `sim.life`.

A `Truth` for each system hears of every action when the first machine applies it. What must hold is judged there and then, by the
simulated time:

* each token is larger than all before it, a lock has one holder, and at the moment when a lock is given nobody else holds it by a clock of his own,
  were his process paused at that moment;
* no lease ends by ticks before its length has passed since it was begun, renewed, or given its full time by a claim;
* whoever has just been told that it holds a lock does, when it acts upon the resource; so one that was paused is told of its loss first;
* a lock is had by another in time after its holder was killed, and after it was released;
* in the end every client gets a lock again, and all nodes have the same state.
"""

from __future__ import annotations

import os
import random
from bisect import bisect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sim import life as lives
from sim import world as worlds
from sim.life import Life, Machine
from sim.world import Host

from coopy import CoopyError, action_index, control, readonly
from coopy.compat import metaparticle
from coopy.errors import LockLost, NotHeld, OutcomeUnknown
from coopy.place.directory import DirectoryPlace
from coopy.place.options import Settings
from coopy.sync import Election, Fenced, Lock, Locks, boot, presence
from coopy.sync.claims import HOLDS
from coopy.sync.elector import TICKS_PER_LOCK, Elector
from coopy.sync.elector_system import _Time
from coopy.sync.presence import Presence
from coopy.sync.ticks import TICKS_PER_LEASE, Ticks
from coopy.sync.timekeeper import SILENT_INTERVALS, CountingSystem, Timekeeper
from coopy.system import System

S = 1_000_000_000
HOUR_S = 3600
TTL_S, ELECTOR_TTL_S = 2.0, 3.0
TICK_S, ELECTOR_TICK_S = TTL_S / TICKS_PER_LEASE, ELECTOR_TTL_S / TICKS_PER_LOCK
THREADS, CALLERS = 10, 3
"""Of each node: threads with handles, of which the last one stands for election, and clients of its elector."""
ALONE_THREADS, ALONE_CALLERS = 8, 3
CLUSTER_LOCKS, ALONE_LOCKS, ELECTOR_LOCKS = 5, 2, 2
CLIENTS = 3 * (THREADS + CALLERS) + ALONE_THREADS + ALONE_CALLERS
TRIPS_S = 0.15
"""For the round trips of nine ticks, and of who is told: 9 x 10 ms, as the links are, and as much again."""
ELECTOR_TRIPS_S = 0.5
"""The same for 33 ticks."""
HEARD_LATE_S = 0.05
"""Links that are well take milliseconds. If more is on its way to a node, it may hear only from the election of beats that are old by then, and count two
silent intervals from there: nobody could tell it how old they are."""
RELEASED_S = 0.010
UNKNOWN_NS = 60 * S
"""What had no answer for so long does not come any more."""
SERVED_S = 90.0
MODULES = [
    *lives.MODULES,
    *worlds.modules_of(
        "coopy.compat.metaparticle",
        "coopy.ground.holding",
        "coopy.sync.claims",
        "coopy.sync.election",
        "coopy.sync.lock",
        "coopy.sync.presence",
        "coopy.sync.timekeeper",
    ),
]
LIVES: list[Turns] = []
"""The life that is lived."""


# -- the state


class Domain:
    """Locks and an elector. A `Truth` is told what each action does, when it is applied for the first time."""

    def __init__(self) -> None:
        self.locks = Locks()
        self.elector = Elector()

    def change_locks(self, what: str, *args: Any) -> Any:
        call = lambda: self.locks.change_locks(what, *args)  # noqa: E731
        key = {"acquire": args[2:3], "renew": args[:1]}.get(what, ("claim",))[0]
        return _heard(self.locks.ticks, self.locks.held, _word(what, args), key, call)

    @readonly
    def see_locks(self, what: str, *args: Any) -> Any:
        return self.locks.see_locks(what, *args)

    def take(self, name: str, owner: str, ttl_ns: int) -> Any:
        return self._elector("take", f"{name} {owner}", name, owner, ttl_ns)

    def free(self, name: str, owner: str, token: int | None) -> Any:
        return self._elector("free", "", name, owner, token)

    def tick(self, keeper: str, beat: int, elapsed_ns: int) -> Any:
        return self._elector("tick", "", keeper, beat, elapsed_ns)

    def claim(self, keeper: str, beat: int, anew: bool) -> Any:
        return self._elector("claim", "claim of the elector", keeper, beat, anew)

    def _elector(self, what: str, key: str, *args: Any) -> Any:
        return _heard(self.elector._ticks, self._held, _word(what, args), key, lambda: getattr(self.elector, what)(*args))

    def _held(self) -> dict[str, dict[str, int]]:
        locks = self.elector._locks
        return {name: {locks[name].owner: locks[name].token} for name in self.elector._ticks._leases}

    @readonly
    def is_held(self, name: str) -> bool:
        return self.elector.is_held(name)

    @readonly
    def count(self) -> Any:
        return self.elector.count()


def _word(what: str, args: tuple[Any, ...]) -> str:
    return "handover" if what == "claim" and not args[2] else what


def _heard(ticks: Ticks, held: Callable[[], dict[str, dict[str, int]]], what: str, key: str, call: Callable[[], Any]) -> Any:
    truth, beat = LIVES[-1].truth(), ticks.beat
    if not truth.is_first(action_index()):
        found = call()
    else:
        held_before, leases_before = held(), dict(ticks._leases)
        found = call()
        truth.hears(what, key, ticks, leases_before, held_before, held(), bool(found))
    if ticks.beat != beat or what in ("claim", "handover"):
        _note(ticks, what, bool(found))
    return found


def _note(ticks: Ticks, what: str, is_accepted: bool) -> None:
    """Which machine has just come to which beat: for who reads the lines of a life."""
    world = LIVES[-1].world
    if world.lines is None:
        return
    assert world.current is not None and world.current.host is not None, "actions are applied by threads of machines"
    left = ", ".join(f"{key} {(deadline - ticks.now) / S:.3f}" for key, (_, deadline) in ticks._leases.items())
    world.note(
        f"{world.current.host.name} has beat {ticks.beat} of {ticks._per_lease} by a {what}{'' if is_accepted or what == 'tick' else ' that was refused'}, "
        f"timekeeper {ticks.timekeeper}, left: {left}"
    )


class Lease:
    """What is known of one lease."""

    def __init__(self, ttl_ns: int, since_ns: int) -> None:
        self.ttl_ns = ttl_ns
        self.since_ns = since_ns
        """It must not end earlier than so much after this."""


class Truth:
    """What the log of one system has decided."""

    def __init__(self, life: Turns, name: str) -> None:
        self.life, self.name = life, name
        self.held: dict[str, tuple[str, int]] = {}
        """By lock: its holder and the token."""
        self.given_ns: dict[tuple[str, int], int] = {}
        """By lock and token."""
        self.given_on: set[tuple[str, int]] = set()
        """Those that were given by the release of another."""
        self.acted_ns: list[int] = []
        """When actions were applied first."""
        self.claimed_ns = self.elector_claimed_ns = 0
        self.fenced = Fenced()
        """The resource that the locks guard."""
        self.owner_of: dict[tuple[str, int], str] = {}
        """By lock and token: who has shown it to the resource."""
        self._index = 0
        self._tokens: dict[int, int] = {}
        self._leases: dict[tuple[int, str], Lease] = {}
        self._asked: dict[str, list[int]] = {}
        """What is on its way, or perhaps still is, by what it is about: when it was sent."""

    def is_first(self, index: int) -> bool:
        is_first = index > self._index
        self._index = max(index, self._index)
        return is_first

    @contextmanager
    def asking(self, key: str) -> Iterator[None]:
        """While something is asked that begins a lease: it may not end before its length has passed since then."""
        sent_ns = self.life.world.now_ns
        asked = self._asked.setdefault(key, [])
        asked[:] = [each for each in asked if each > sent_ns - UNKNOWN_NS]
        asked.append(sent_ns)
        try:
            yield
        except CoopyError as error:
            if not isinstance(error, OutcomeUnknown) and sent_ns in asked:
                asked.remove(sent_ns)
            raise
        if sent_ns in asked:
            asked.remove(sent_ns)

    def hears(
        self,
        what: str,
        key: str,
        ticks: Ticks,
        leases: dict[str, tuple[int, int]],
        before: dict[str, dict[str, int]],
        after: dict[str, dict[str, int]],
        is_accepted: bool,
    ) -> None:
        now_ns, kind = self.life.world.now_ns, ticks._per_lease
        since_ns = min((each for each in self._asked.get(key, ()) if each > now_ns - UNKNOWN_NS), default=now_ns)
        for lease, found in ticks._leases.items():
            if found is leases.get(lease) and not (what == "claim" and is_accepted):
                continue
            known = self._leases.get((kind, lease))
            if known is None or lease not in leases:
                self._leases[kind, lease] = known = Lease(found[0], since_ns)
            known.ttl_ns, known.since_ns = found[0], max(known.since_ns, since_ns)
        if what in ("claim", "handover") and is_accepted:
            self.life.count(f"{self.name}: {what}s")
            self.life.world.say(f"{self.name} {what} {kind}")
            if kind == TICKS_PER_LOCK:
                self.elector_claimed_ns = now_ns
            else:
                self.claimed_ns = now_ns
        for lease in [each for each in leases if each not in ticks._leases]:
            ended = self._leases.pop((kind, lease), None)
            if what == "tick" and ended is not None:
                self._ended(lease, ended, kind, now_ns)
        self.acted_ns.append(now_ns)
        self._changed(what, kind, before, after, now_ns)

    def _ended(self, lease: str, ended: Lease, kind: int, now_ns: int) -> None:
        self.life.count(f"{self.name}: leases that ended")
        # A jump of the clock that nobody can set counts as an interval. No machine has such a clock; see docs/design/021.
        jumps = sum(each >= ended.since_ns for each in self.life.boot_jumps)
        short_ns = ended.since_ns + ended.ttl_ns - jumps * (ended.ttl_ns // kind) - now_ns
        if short_ns > 0:
            self.life.wrong(f"{self.name}: the lease {lease} ended {short_ns / S:.6f} s before its time")

    def _changed(
        self, what: str, kind: int, before: dict[str, dict[str, int]], after: dict[str, dict[str, int]], now_ns: int
    ) -> None:
        for name, holders in before.items():
            if after.get(name) != holders:
                self.held.pop(name, None)
        given: list[tuple[int, str, str]] = []
        for name, holders in after.items():
            if len(holders) > 1:
                self.life.wrong(f"{self.name}: {name} has two holders in the state: {holders}")
            given += [(token, name, owner) for owner, token in holders.items() if before.get(name, {}).get(owner) != token]
        for token, name, owner in sorted(given):
            if token <= self._tokens.get(kind, 0):
                self.life.wrong(f"{self.name}: {name} was given with token {token} after token {self._tokens[kind]}")
            self._tokens[kind] = token
            self.held[name] = owner, token
            self.life.world.note(f"{self.name}: {name} was given to {owner} with token {token} by a {what}")
            self.given_ns[name, token] = now_ns
            if what == "release":
                self.given_on.add((name, token))
            self.life.count(f"{self.name}: locks given")
            for who, held in self.life.who_hold(self, name):
                if held != token:
                    self.life.wrong(f"{self.name}: {name} was given with token {token} while {who} holds it with {held}")

    def acts(self, name: str, token: int, who: str) -> None:
        """Somebody who has just been told that he holds a lock acts upon the resource."""
        self.life.count("acts")
        if self.held.get(name, ("", 0))[1] != token:
            self.life.wrong(f"{self.name}: {who} acts with token {token} of {name}, which is {self.held.get(name)}'s")
        if self.owner_of.setdefault((name, token), who) != who:
            self.life.wrong(f"{self.name}: {who} has token {token} of {name}, and so has {self.owner_of[name, token]}")
        try:
            self.fenced.check(name, token)
        except LockLost:
            self.life.wrong(f"{self.name}: {who} was told that it holds {name}, and the resource refuses token {token}")

    def acts_late(self, name: str, token: int, who: str) -> None:
        """Somebody acts who was held up after he was told."""
        is_later = self.fenced.highest(name) > token
        try:
            self.fenced.check(name, token)
        except LockLost:
            self.life.count("late acts that were refused")
            return
        self.life.count("late acts")
        if is_later:
            self.life.wrong(f"{self.name}: the resource took token {token} of {who} after a later one")


# -- machines


class Alone(Machine):
    """The machine that is no node: its system is its own."""

    def __init__(self, life: Life) -> None:
        super().__init__(life, len(lives.NODES), "alone")

    def start(self) -> None:
        self.starts += 1
        self.host = worlds.host(self.name)
        self.host.offset_ns = self.offset_ns
        self.life.world.say(f"{self.name} starts")
        self.life.world.thread(self._open, f"main {self.name}.{self.starts}", self.host)

    def _open(self) -> None:
        settings = Settings.of("init_system", {"keep": 2, "fork": False, "self_check": False, "segment_bytes": 1 << 18})
        place = DirectoryPlace(str(self.directory), Domain, settings, calls=self.disk)
        self.system = System(Domain, place, settings)  # type: ignore[assignment]
        assert self.system is not None
        self.system.start(None)
        self.proxy = self.system.proxy
        self.ready = True
        self.life.world.say(f"{self.name} is open")
        self.life.opened(self)

    def kill(self, keep: Callable[[int], int] | None = None) -> None:
        assert keep is None, "the truth would hear of actions that are gone"
        host, system = self.host, self.system
        if host is None or host.dead:
            return
        self.life.world.say(f"{self.name} is killed")
        self.ready = False
        self.life.world.kill(host)
        self.system = self.proxy = None
        if system is not None and system.place._lock is not None:
            system.place._lock.release()
        self.disk.failing, self.disk.slow_s = {}, 0.0


# -- clients


class Asked(metaparticle.Lock):
    """The lock of a client, whose requests go to the elector of its machine."""

    def __init__(self, caller: Caller, name: str) -> None:
        super().__init__(name, lock_lost_callback=lambda: caller.life.count("told of a loss"))
        self._caller = caller

    def held_by(self, now_ns: int, host: Host | None) -> bool:
        """Whether it is held by the clock of its machine."""
        hold = self._hold
        return hold is not None and host is not None and not hold.why and (now_ns + host.boot_ns) / S < hold.until_s

    def _request(self, method: str, query: dict[str, Any], timeout_s: float, is_asking: bool = False) -> tuple[int, Any]:
        return self._caller.asks(method, self.name, query, timeout_s)


class Caller:
    """A process that asks the elector of its machine."""

    def __init__(self, life: Turns, machine: Machine, number: int) -> None:
        self.life, self.machine = life, machine
        self.name = f"client {number} of {machine.name}"
        self.host: Host | None = None
        self.lock: Asked | None = None
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        self.host = worlds.host(self.name)
        assert self.machine.host is not None
        self.host.boot_ns = self.machine.host.boot_ns
        self.life.world.thread(self._run, f"{self.name}.{self.starts}", self.host)

    def kill(self) -> None:
        if self.host is not None:
            self.life.world.kill(self.host)
        if self.lock is not None:
            self.lock._hold = None
            self.lock = None

    def _run(self) -> None:
        life, place = self.life, self.life.world
        truth, who = life.truth_of(self.machine), f"{self.name}.{self.starts}"
        chance = random.Random(f"{life.seed} {who}")
        while not life.is_over:
            place.block(chance.expovariate(1) * 1.0)
            name = f"elector {chance.randrange(ELECTOR_LOCKS)}"
            self.lock = lock = Asked(self, name)
            life.asked.append(lock)
            try:
                if not lock.acquire():
                    continue
            except OSError:
                continue
            life.served(who.partition(".")[0])
            token = lock.token
            if token is not None:
                life.has(truth, name, token)
            until_ns = place.now_ns + life.how_long_ns(chance, ELECTOR_TTL_S)
            try:
                while place.now_ns < until_ns:
                    if token is None or lock.token != token:
                        life.count("losses met")
                        break
                    truth.acts(name, token, who)
                    if chance.random() < 0.1:
                        place.block(chance.random() * ELECTOR_TTL_S)
                        truth.acts_late(name, token, who)
                    place.block(chance.uniform(0.005, 0.3))
                lock.release()
            except RuntimeError:
                life.count("losses met at the release")

    def asks(self, method: str, name: str, query: dict[str, Any], timeout_s: float) -> tuple[int, Any]:
        """A request, served by a thread of the machine. Raises OSError."""
        place, machine = self.life.world, self.machine
        host = machine.host
        if host is None or host.dead or not machine.ready:
            place.block(0.001)
            raise ConnectionRefusedError(f"nobody listens on {machine.name}")
        if len(host.threads) > 500:
            host.threads[:] = [each for each in host.threads if not each.done]
        answers: list[tuple[int, Any]] = []
        done = worlds.Event()

        def serve() -> None:
            try:
                answers.append(self._served(machine, method, name, query))
            except CoopyError as error:
                answers.append((503, {"message": str(error)}))
            done.set()

        place.thread(serve, f"request of {self.name}", host)
        if not done.wait(timeout_s) or not answers:
            raise TimeoutError(f"{machine.name} did not answer in {timeout_s} s")
        return answers[0]

    def _served(self, machine: Machine, method: str, name: str, query: dict[str, Any]) -> tuple[int, Any]:
        place, proxy, truth = self.life.world, machine.proxy, self.life.truth_of(machine)
        owner = f"{machine.name}/{query['owner']}"
        if method == "DELETE":
            is_free, seen = proxy.free(name, owner, query.get("token"))
            return (404 if seen is None else 200 if is_free else 409), None
        began_ns = place.now_ns
        until_ns = began_ns + query.get("wait", 0) * S
        while True:
            taking_ns = place.now_ns
            with truth.asking(f"{name} {owner}"):
                is_own, seen = proxy.take(name, owner, round(ELECTOR_TTL_S * S))
            if is_own or place.now_ns >= until_ns:
                spec = {"owner": seen.owner, "token": seen.token, "remaining": seen.sure_ns // 1_000_000}
                spec["waited"] = (taking_ns - began_ns) // 1_000_000
                return (200 if is_own else 409), {"spec": spec}
            while proxy.is_held(name) and place.now_ns < until_ns:
                place.block(0.02)


class Turns(Life):
    """A life. ``seconds`` is how long faults come."""

    domain = Domain
    modules = MODULES
    log_max = 1 << 62

    def __init__(self, seed: str, folder: Path, seconds: float, keep_lines: bool = False) -> None:
        super().__init__(seed, folder, keep_lines)
        self.seconds = seconds
        self.truths: dict[str, Truth] = {}
        self.callers: list[Caller] = []
        self.asked: list[Asked] = []
        self.handles: list[Lock] = []
        self.presences: dict[str, tuple[Host, Presence]] = {}
        """By machine: of its process."""
        self.boot_jumps: list[int] = []
        self.elections: list[int] = []
        """When a server began to lead."""
        self.had_ns: dict[tuple[str, str, int], int] = {}
        """By system, lock and token: when its holder was told that it has it."""
        self.released: dict[tuple[str, str], int] = {}
        """By system and lock: when it was released, if all was well."""
        self.took: dict[str, list[float]] = {}
        """What was measured, in seconds."""
        self.is_over = False
        self.disturbed = False
        """Whether the machine that is alone is not as it should be."""
        self._served_ns: dict[str, int] = {}

    # -- what there is

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def measured(self, what: str, seconds: float) -> None:
        self.took.setdefault(what, []).append(seconds)

    def truth(self) -> Truth:
        """Of the machine whose thread runs."""
        current = self.world.current
        assert current is not None and current.host is not None, "actions are applied by threads of machines"
        return self.truths["alone" if current.host.name == "alone" else "cluster"]

    def truth_of(self, machine: Machine) -> Truth:
        return self.truths["alone" if machine is self.alone else "cluster"]

    @property
    def everywhere(self) -> list[Machine]:
        return [*self.machines, self.alone]

    def who_hold(self, truth: Truth, name: str) -> Iterator[tuple[str, int]]:
        """Who holds a lock by its own clock, and with which token, of all processes that live."""
        now_ns = self.world.now_ns
        for machine in self.everywhere:
            host, found = self.presences.get(machine.name, (None, None))
            if host is None or host.dead or found is None or self.truth_of(machine) is not truth:
                continue
            for session in found._sessions.values():
                for claim in session.claims.values():
                    if claim.name == name and claim.state == HOLDS and now_ns + host.boot_ns < session.until_ns:
                        yield machine.name, claim.token
        for caller in self.callers:
            lock, host = caller.lock, caller.host
            if lock is None or lock.name != name or host is None or host.dead or self.truth_of(caller.machine) is not truth:
                continue
            if lock.held_by(now_ns, host):
                assert lock._hold is not None, "it is held"
                yield caller.name, lock._hold.token or 0

    def served(self, who: str) -> None:
        self._served_ns[who] = self.world.now_ns

    def has(self, truth: Truth, name: str, token: int) -> None:
        """A holder was told that it has a lock."""
        now_ns = self.world.now_ns
        self.had_ns[truth.name, name, token] = now_ns
        released_ns = self.released.pop((truth.name, name), None)
        if released_ns is None or (name, token) not in truth.given_on:
            return
        took_s = (now_ns - released_ns) / S
        if truth.name == "alone" and not self.disturbed:
            self.measured("alone: from the release to the next holder", took_s)
            if took_s > RELEASED_S:
                self.wrong(f"alone: {name} was had {took_s:.6f} s after its release")
        elif truth.name == "cluster" and not self.striking:
            self.measured("cluster: from the release to the next holder", took_s)

    def how_long_ns(self, chance: random.Random, ttl_s: float) -> int:
        """For how long a client holds a lock."""
        longest = chance.choices((0.05, ttl_s, 4 * ttl_s), (60, 30, 10))[0]
        return int(chance.random() * longest * S)

    # -- clients that are threads

    def opened(self, machine: Machine) -> None:
        host = machine.host
        assert host is not None
        is_alone = machine is self.alone
        for number in range(ALONE_THREADS if is_alone else THREADS):
            work = self._elected if number == THREADS - 1 else self._takes_turns
            self.world.thread(
                lambda number=number, work=work: work(machine, number), f"{number} of {machine.name}.{machine.starts}", host
            )  # type: ignore[misc]
        keeper = Timekeeper(f"elector {machine.name}.{machine.starts}", _Time(machine.proxy))
        control(machine.proxy).subscribe(lambda first, last: (keeper.hear(), keeper.wake()))
        keeper.start()

    def _handle(self, machine: Machine, lock: Lock) -> None:
        assert machine.host is not None
        self.handles.append(lock)
        self.presences[machine.name] = machine.host, lock._presence

    def _takes_turns(self, machine: Machine, number: int) -> None:
        place, truth = self.world, self.truth_of(machine)
        who = f"{number} of {machine.name}.{machine.starts}"
        chance = random.Random(f"{self.seed} {who}")
        locks = ALONE_LOCKS if machine is self.alone else CLUSTER_LOCKS
        name = f"stock {number % locks}"
        lock = Lock(name, lock_lost_callback=lambda: self.count("told of a loss"), system=machine.proxy, ttl=TTL_S)
        self._handle(machine, lock)
        while not self.is_over:
            place.block(chance.expovariate(1) * 1.5)
            limit_s = -1 if chance.random() < 0.8 else chance.random() * 2 * TTL_S
            try:
                if not lock.acquire(timeout=limit_s):
                    self.count("waited in vain")
                    if limit_s < 0:
                        self.wrong(f"{truth.name}: {who} waited for {name} without a limit, and was told that it has it not")
                    continue
            except LockLost:
                self.count("places lost")
                continue
            except CoopyError as error:
                self.count(f"not acquired: {type(error).__name__}")
                continue
            self.served(who.partition(".")[0] + machine.name)
            try:
                token = lock.token
                self.has(truth, name, token)
                self._uses(truth, lock.check, name, token, who, chance)
                if not (self.disturbed if truth.name == "alone" else self.striking):
                    self.released[truth.name, name] = place.now_ns
                lock.release()
            except (LockLost, NotHeld):
                self.count("losses met")
            except CoopyError as error:
                self.count(f"not released: {type(error).__name__}")

    def _uses(self, truth: Truth, check: Callable[[], object], name: str, token: int, who: str, chance: random.Random) -> None:
        until_ns = self.world.now_ns + self.how_long_ns(chance, TTL_S)
        while self.world.now_ns < until_ns:
            check()
            truth.acts(name, token, who)
            if chance.random() < 0.1:
                self.world.block(chance.random() * TTL_S)
                truth.acts_late(name, token, who)
            self.world.block(chance.uniform(0.005, 0.3))

    def _elected(self, machine: Machine, number: int) -> None:
        truth, who = self.truth_of(machine), f"{number} of {machine.name}.{machine.starts}"
        chance = random.Random(f"{self.seed} {who}")

        def lead(term: Any) -> None:
            self.served(who.partition(".")[0] + machine.name)
            self.has(truth, "lead", term.token)
            self._uses(truth, term.check, "lead", term.token, who, chance)

        while not self.is_over:
            election = Election("lead", lead, lambda: self.count("led no more"), system=machine.proxy, ttl=TTL_S)
            self._handle(machine, election.lock)
            with suppress(CoopyError):
                election.run()
            self.world.block(chance.expovariate(1) * 1.5)

    # -- the life

    def run(self) -> None:
        undo = _patched(self)
        LIVES.append(self)
        switches = worlds.SWITCHES_MAX
        worlds.SWITCHES_MAX = 1 << 62
        try:
            super().run()
        finally:
            worlds.SWITCHES_MAX = switches
            LIVES.pop()
            for back in undo:
                back()
            for lock in self.asked:
                lock._hold = None
            for handle in self.handles:
                handle._forgotten.detach()
            presence._here.clear()

    striking = False
    """Whether something is wrong now, or was a moment ago."""

    def _live(self, chance: random.Random) -> None:
        world = self.world
        self.truths = {name: Truth(self, name) for name in ("cluster", "alone")}
        self.alone = Alone(self)
        elect = self.cluster.elect
        self.cluster.elect = lambda name: (self.elections.append(world.now_ns), world.say(f"elected {name}"), elect(name))[2]  # type: ignore[method-assign]
        for machine in self.everywhere:
            machine.start()
        if not self._wait(lambda: all(machine.ready for machine in self.everywhere), lives.READY_S):
            self.wrong("not all are ready")
            return
        for machine in self.everywhere:
            self.callers += [
                Caller(self, machine, number) for number in range(ALONE_CALLERS if machine is self.alone else CALLERS)
            ]
        for caller in self.callers:
            caller.start()
        world.block(3.0)
        until_ns = world.now_ns + int(self.seconds * S)
        while world.now_ns < until_ns and not self.violations:
            fault = chance.choice(FAULTS)
            name = fault.__name__.strip("_")
            self.counts[f"fault: {name}"] += 1
            world.say(f"fault: {name}")
            self.striking = True
            fault(self, chance)
            if chance.random() < 0.8:
                self._heal(chance)
                self._settled(chance)
        self._heal(chance)
        self._end()

    def _settled(self, chance: random.Random) -> None:
        """Waits until all is well, and a little longer."""
        if not self._wait(lambda: all(each.ready for each in self.everywhere) or self.violations, lives.READY_S):
            self.wrong(f"not ready: {[each.name for each in self.everywhere if not each.ready]}")
        self.world.block(chance.uniform(0.5, 2 * TTL_S))
        self.striking = self.disturbed = False
        self.world.block(chance.uniform(0.0, TTL_S))

    def _heal(self, chance: random.Random) -> None:
        super()._heal(chance)
        alone = self.alone
        alone.offset_ns = 0
        alone.disk.failing, alone.disk.slow_s = {}, 0.0
        if alone.host is None or alone.host.dead:
            alone.start()
        else:
            alone.host.offset_ns = 0
            self.world.go_on(alone.host)
        for caller in self.callers:
            if caller.host is None or caller.host.dead:
                caller.start()
            elif caller.host.paused:
                self.world.go_on(caller.host)

    def _end(self) -> None:
        since_ns = self.world.now_ns

        def late() -> list[str]:
            return [each for each in self._clients() if self._served_ns.get(each, -1) < since_ns]

        if not self._wait(lambda: self.violations or not late(), lives.READY_S + SERVED_S):
            self.wrong(f"these have got no lock since all was well: {late()}")
        self.is_over = True
        for truth in self.truths.values():
            self.counts[f"{truth.name}: actions"] = truth._index
        if not self.violations:
            self._agree()
        self._stopped = True

    def _clients(self) -> list[str]:
        found = [caller.name for caller in self.callers]
        for machine in self.everywhere:
            number = ALONE_THREADS if machine is self.alone else THREADS
            found += [f"{each} of {machine.name}" + machine.name for each in range(number)]
        assert len(found) == CLIENTS
        return found

    def _agree(self) -> None:
        """All nodes come to the same state."""
        from coopy.values.digest import digest

        def states() -> list[tuple[int, str]]:
            engines = [each.system.engine for each in self.machines if each.system is not None]
            return [(each.machine.applied, digest(each.machine.domain).hex()) for each in engines]

        def same_index() -> bool:
            return len({index for index, _ in states()}) == 1

        self._wait(same_index, 30.0)
        found = states()
        if len(set(found)) != 1:
            self.wrong(f"the nodes have different states: {found}")

    def _judge(self) -> None:
        pass


# -- faults: each strikes; `Turns._heal` puts right


def _waiting_for(life: Turns, victim: Machine) -> list[str]:
    """The locks that the process of a node holds, and for which others wait whose processes live."""
    host, found = life.presences.get(victim.name, (None, None))
    other = next((each for each in life.machines if each is not victim and each.ready), None)
    if found is None or host is not victim.host or other is None or other.system is None:
        return []
    queues = other.system.engine.machine.domain.locks._queues

    def lives(owner: str) -> bool:
        return any(not host.dead and owner.startswith(each.id + "/") for host, each in life.presences.values())

    return [
        name
        for name, (owner, _) in life.truths["cluster"].held.items()
        if name in queues
        and owner.startswith(found.id + "/")
        and any(lives(each) and not each.startswith(found.id + "/") for each in queues[name].waiting)
    ]


def _holder_killed(life: Turns, chance: random.Random) -> None:
    """kill -9 of a node that holds a lock for which others wait; mostly of one that does not lead."""
    _calm(life, chance)
    life.striking = True
    life._wait(lambda: any(_waiting_for(life, each) for each in life.machines), 10.0)
    can = [each for each in life.machines if _waiting_for(life, each)]
    if not can:
        return
    victim = chance.choice(can)
    truth, names = life.truths["cluster"], _waiting_for(life, victim)
    presence_id = life.presences[victim.name][1].id
    led = life.cluster.leader == victim.name
    domain = next(each for each in life.machines if each is not victim and each.ready).system.engine.machine.domain  # type: ignore[union-attr]
    counted = domain.locks.ticks.timekeeper == presence_id
    heard_late = life.net.late_s() > HEARD_LATE_S
    victim.kill()
    at_ns = life.world.now_ns

    def had(name: str) -> int:
        """When somebody else was told that he has it."""
        since = [(truth.name, *each) for each, ns in truth.given_ns.items() if ns > at_ns and each[0] == name]
        return min((life.had_ns[each] for each in since if each in life.had_ns), default=0)

    life._wait(lambda: all(map(had, names)), 30.0)
    for name in names:
        elected = [each for each in life.elections if at_ns <= each <= (had(name) or life.world.now_ns)]
        since_ns, what = at_ns, "cluster: from the kill of a holder to the next"
        limit_s = TTL_S + TICK_S + TRIPS_S
        if elected:
            # An election is over when the line takes actions again.
            since_ns = truth.acted_ns[bisect(truth.acted_ns, elected[-1]) :][0]
            what = "cluster: from the first action after an election, after the kill of a holder, to the next"
            life.measured("cluster: from the election to the first action", (since_ns - elected[-1]) / S)
            if heard_late:
                what += ", where beats were heard late"
                limit_s += SILENT_INTERVALS * TICK_S
        elif counted and not led:
            what, limit_s = (
                "cluster: from the kill of a holder that kept the time and did not lead",
                limit_s + SILENT_INTERVALS * TICK_S,
            )
        if not had(name):
            life.wrong(f"cluster: nobody has {name} 30 s after its holder was killed")
            continue
        took_s = (had(name) - since_ns) / S
        life.measured(what, took_s)
        if took_s > limit_s:
            life.wrong(f"{what}: {name} took {took_s:.3f} s, and not {limit_s:.3f} s at most")


def _caller_killed(life: Turns, chance: random.Random) -> None:
    """kill -9 of a client that has a lock of its elector."""
    _calm(life, chance)
    life.striking = True
    holders = [each for each in life.callers if each.lock is not None and each.lock.held_by(life.world.now_ns, each.host)]
    if not holders:
        return
    victim = chance.choice(holders)
    truth, lock = life.truth_of(victim.machine), victim.lock
    assert lock is not None
    name = lock.name
    victim.kill()
    at_ns, claimed_ns = life.world.now_ns, truth.elector_claimed_ns
    if name not in truth.held:
        return
    token = truth.held[name][1]
    freed = life._wait(lambda: truth.held.get(name, ("", 0))[1] != token, 30.0)
    took_s = (life.world.now_ns - at_ns) / S
    if not freed:
        life.wrong(f"{truth.name}: {name} is not free 30 s after its holder was killed")
    elif truth.elector_claimed_ns == claimed_ns:
        life.measured(f"{truth.name}: from the kill of a client of an elector to the free lock", took_s)
        if took_s > ELECTOR_TTL_S + ELECTOR_TICK_S + ELECTOR_TRIPS_S:
            life.wrong(f"{truth.name}: {name} was free {took_s:.3f} s after its holder was killed")


def _caller_paused(life: Turns, chance: random.Random) -> None:
    """SIGSTOP of some clients of electors, for longer than their locks last."""
    for caller in chance.sample(life.callers, 3):
        if caller.host is not None and not caller.host.dead:
            life.world.pause(caller.host)
    life.world.block(chance.uniform(0.5, 2.5) * ELECTOR_TTL_S)


def _alone_killed(life: Turns, chance: random.Random) -> None:
    life.disturbed = True
    life.alone.kill()
    life.world.block(chance.choice((0.0, 0.5, 2 * TTL_S)))


def _alone_paused(life: Turns, chance: random.Random) -> None:
    """SIGSTOP of the process that is alone, for longer than its locks last."""
    life.disturbed = True
    if life.alone.host is not None and not life.alone.host.dead:
        life.world.pause(life.alone.host)
        life.world.block(chance.uniform(0.2, 2.5) * TTL_S)


def _process_paused(life: Turns, chance: random.Random) -> None:
    """SIGSTOP of the process of a node, for longer than its locks last; its server goes on, or stops as well."""
    machine = chance.choice(life.machines)
    if machine.host is None or machine.host.dead:
        return
    with_server = chance.random() < 0.5
    life.world.pause(machine.host)
    if with_server:
        life.cluster.servers[machine.name].up = False
    life.world.block(chance.uniform(0.5, 3.0) * TTL_S)
    if with_server:
        life.cluster.servers[machine.name].up = True
    if machine.host.paused:
        life.world.go_on(machine.host)


def _clock_set(life: Turns, chance: random.Random) -> None:
    """The time of day of a machine is set by an hour, and perhaps it is started again so."""
    machine = chance.choice(life.everywhere)
    machine.offset_ns = chance.choice((-HOUR_S, HOUR_S)) * S
    if machine.host is not None:
        machine.host.offset_ns = machine.offset_ns
    if chance.random() < 0.3:
        life.disturbed = True
        machine.kill()
        machine.start()
    life.world.block(chance.uniform(0.5, 2.0) * TTL_S)


def _clock_jumps(life: Turns, chance: random.Random) -> None:
    """The clock of a machine that counts sleep jumps by an hour, as after a sleep, though no time has passed."""
    machine = chance.choice(life.everywhere)
    life.disturbed = life.disturbed or machine is life.alone
    life.boot_jumps.append(life.world.now_ns)
    for host in [machine.host, *(caller.host for caller in life.callers if caller.machine is machine)]:
        if host is not None:
            host.boot_ns += HOUR_S * S
    life.world.block(chance.uniform(0.1, 1.5) * TTL_S)


def _late(life: Turns, chance: random.Random) -> None:
    """What nodes say to one another takes about as long as a lock lasts, or a third of that."""
    life.net.delay_s = chance.uniform(0.1, 0.6) * TTL_S
    life.world.block(chance.uniform(2.0, 6.0) * TTL_S)


def _alone_slow(life: Turns, chance: random.Random) -> None:
    life.disturbed = True
    life.alone.disk.slow_s = chance.choice((0.05, 0.3, TTL_S))
    life.world.block(chance.uniform(1.0, 3.0) * TTL_S)


def _calm(life: Turns, chance: random.Random) -> None:
    """Nothing befalls them."""
    life._heal(chance)
    life._settled(chance)
    life.world.block(chance.uniform(0.0, 2.0) * TTL_S)


FAULTS: tuple[Callable[[Any, random.Random], None], ...] = (
    _holder_killed,
    _holder_killed,
    _holder_killed,
    _holder_killed,
    _caller_killed,
    _caller_killed,
    _caller_paused,
    _caller_paused,
    _alone_killed,
    _alone_paused,
    _alone_slow,
    _process_paused,
    _process_paused,
    _clock_set,
    _clock_jumps,
    _late,
    _late,
    _calm,
    lives._cut_off,
    lives._cut_off,
    lives._all_apart,
    lives._bridge,
    lives._flapping,
    lives._lossy,
    lives._doubling,
    lives._slow,
    lives._kill,
    lives._power_cut,
    lives._kill_all,
    lives._slow_disk,
    lives._transfer,
    lives._server_gone,
    lives._snapshot,
)


def _patched(life: Turns) -> list[Callable[[], None]]:
    """Puts the world's clock and its lock in the place of what the modules of locks have made, and hears what is sent."""
    undo: list[Callable[[], None]] = []

    def put(where: Any, name: str, what: Any) -> None:
        before = getattr(where, name)
        setattr(where, name, what)
        undo.append(lambda: setattr(where, name, before))

    guard = object.__new__(worlds.Lock)
    guard.__init__()  # type: ignore[misc]
    put(boot, "now_ns", worlds.boot_ns)
    put(os, "getpid", lambda: 1)  # It is part of the names of owners, and so of the size of records.
    put(presence, "_guard", guard)
    put(metaparticle, "POLL_S", 1.0)
    change, claim, claimed = Presence.change, CountingSystem.claim, _Time.claim

    def heard_change(self: Presence, what: str, *args: Any) -> Any:
        if what not in ("acquire", "renew"):
            return change(self, what, *args)
        with life.truth().asking(args[2] if what == "acquire" else args[0]):
            return change(self, what, *args)

    def heard_claim(self: CountingSystem, keeper: str, beat: int, anew: bool) -> object:
        with life.truth().asking("claim"):
            return claim(self, keeper, beat, anew)

    def heard_claimed(self: _Time, keeper: str, beat: int, anew: bool) -> object:
        with life.truth().asking("claim of the elector"):
            return claimed(self, keeper, beat, anew)

    put(Presence, "change", heard_change)
    put(CountingSystem, "claim", heard_claim)
    put(_Time, "claim", heard_claimed)
    return undo

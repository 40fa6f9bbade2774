"""One life of a cluster of three nodes in one process: what befalls it is drawn from a seed, and so is what its callers do.

The nodes are `ReplicatedSystem`s, as they are, each on a directory of its own; under them are a disk that can fail and lose what was
not synced, the servers of `coopy.replication.memory`, and the clock and the threads of `sim.world`. What callers saw is judged by
the checker of the real campaign, `simulation.checker`.
"""

from __future__ import annotations

import errno
import logging
import os
import pkgutil
import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crash.disk_model import Disk, Link, Recorder, SyncFailed, Write, everything, nothing, put, some
from handed import Called
from sim import world as worlds
from sim.world import Ended, Host, Stuck, World
from simulation import domain
from simulation.checker import Operation, Undecided, exactly_once, linearizable

import coopy.replication
from coopy.errors import ClusterError, CoopyError, InterruptedReplay, OutcomeUnknown, Unavailable
from coopy.network.address import parse
from coopy.place.options import Settings
from coopy.replication import memory
from coopy.replication.memory import Links, MemoryCluster
from coopy.replication.node import ReplicatedSystem
from coopy.replication.role import Here, Member

NODES = ("a:1", "b:1", "c:1")
LACKING: set[str] = set()
"""The machines that have no memory for what is `heavy`."""
MODULES = worlds.modules_of(
    "coopy.disk.commit",
    "coopy.disk.journal",
    "coopy.ground.log",
    "coopy.network.limits",
    "coopy.network.room",
    "coopy.past.keeping",
    "coopy.past.retention",
    "coopy.place.directory",
    "coopy.proof.beside",
    "coopy.proof.comparing",
    "coopy.proof.proving",
    *(f"coopy.replication.{each.name}" for each in pkgutil.iter_modules(coopy.replication.__path__)),
    "coopy.spine.delivery",
    "coopy.spine.engine",
    "coopy.spine.tap",
    "coopy.system",
)
TIMEOUT_S = 6.0
FAULTS_S = 14.0
"""So long faults come, each of them for a part of it."""
READY_S = 200.0
"""A node may wait for the others for two minutes, say so, and begin again."""
SERVED_S = 60.0
LOG_MAX = 10_000
"""Ten times as much as a life puts into the log of its servers."""
CALLERS = 2
OPERATIONS = ("add", "get", "read", "write", "compare_and_set", "many", "heavy")
WEIGHTS = (30, 12, 10, 12, 14, 4, 5)
REGISTERS, COUNTERS = 2, 2
SMALL = {
    "KEPT_BYTES": 4_000,
    "LINE_BYTES_MAX": 12_000,
    "FIRST_BYTES": 64 * 1024,
    "DIGESTS_SAID": 40,
    "TICK_S": 0.25,
}
"""As large as a short life needs: what is put aside, forgotten and shipped in weeks is so in seconds."""


class Bank(domain.Bank):
    """The domain of the real campaign, with a method for which a machine may lack memory. No other method sees what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.heavies: list[str] = []

    def heavy(self, token: str) -> int:
        current = worlds.world().current
        if current is not None and current.host is not None and current.host.name in LACKING:
            raise MemoryError(f"no room for {token}")
        self.heavies.append(token)
        return len(self.heavies)


class Net(Links):
    """The links between the machines: slow, lossy, doubled, cut in one direction or both."""

    at_once = False

    def __init__(self, place: World) -> None:
        self._world = place
        self.chance = place.random
        self.cut: set[tuple[str, str]] = set()
        self.delay_s = 0.002
        self.lost = self.doubled = self.late = self.disordered = 0.0
        self._due: dict[tuple[str, str], float] = {}

    def mend(self) -> None:
        self.cut.clear()
        self.delay_s = 0.002
        self.lost = self.doubled = self.late = self.disordered = 0.0

    def late_s(self) -> float:
        """After how many seconds all has come that comes in order: what is sent now waits for what was sent while a link was slow."""
        return max(0.0, max(self._due.values(), default=0.0) - self._world.now_ns / 1e9)

    def reaches(self, one: str, other: str) -> bool:
        return (one, other) not in self.cut

    def copies(self, one: str, other: str) -> list[float]:
        chance = self.chance
        if one == other:
            return [chance.random() * 0.001]
        found = []
        if chance.random() >= self.lost:
            now = self._world.now_ns / 1e9
            due = now + self.delay_s * (0.5 + chance.expovariate(1))
            if chance.random() >= self.disordered:
                due = self._due[one, other] = max(due, self._due.get((one, other), 0.0))
            found.append(due - now)
        if chance.random() < self.doubled:
            found.append(self.delay_s * (1 + 20 * chance.random()))
        if chance.random() < self.late:
            found.append(chance.uniform(1, 20))
        return found

    def later(self, delay_s: float, function: Callable[[], object]) -> None:
        self._world.later(delay_s, function)


class NodeDisk(Recorder):
    """The disk of a machine. ``failing`` names what fails, with which error."""

    def __init__(self, place: World, machine: Machine) -> None:
        super().__init__(mapped=False)
        self._world = place
        self._machine = machine
        self.failing: dict[str, int] = {}
        self.slow_s = 0.0

    def _step(self, what: str) -> None:
        self._world.let_others(0.02)
        if what in self.failing:
            code = self.failing[what]
            raise OSError(code, os.strerror(code))

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self._step("write")
        return super().pwrite(fd, data, offset)

    def allocate(self, fd: int, offset: int, size: int) -> None:
        self._step("write")
        super().allocate(fd, offset, size)

    def add(self, path: str, data: bytes) -> None:
        self._step("write")
        size = os.path.getsize(path) if os.path.exists(path) else -1
        super().add(path, data)
        inode = self.adopt(path)
        if size < 0:
            self.notes.append(Link(((path, inode),)))
        self.notes.append(Write(inode, max(size, 0), bytes(data)))

    def rename(self, old: str, new: str) -> None:
        self._step("rename")
        super().rename(old, new)

    def sync_data(self, fd: int) -> None:
        if self.slow_s:
            self._world.block(self.slow_s)
        if fd not in self._fds:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # Closed meanwhile: the journal was given up.
        try:
            self._step("sync")
        except OSError:
            self.notes.append(SyncFailed(self._fds[fd]))
            raise
        super().sync_data(fd)


def member(name: str) -> Member:
    """The role of one of the nodes."""
    return Member(
        node=parse(name),
        nodes=tuple(map(parse, NODES)),
        where=Here(),
        password="x",
        replica_password=None,
        tls=None,
        timeout_s=TIMEOUT_S,
        advice="",
    )


class Machine:
    """One of the three: its directory, its disk, and the process that runs on it now."""

    def __init__(self, life: Life, number: int, name: str = "") -> None:
        self.life = life
        self.number = number
        self.name = name or NODES[number]
        self.directory = life.folder / str(number)
        self.host: Host | None = None
        self.system: ReplicatedSystem | None = None
        self.proxy: Any = None
        self.ready = False
        self.offset_ns = 0
        self.starts = 0
        self.others: list[Host] = []
        """Machines that take themselves for this one, and were given up for dead."""
        self._new_disk({})

    def _new_disk(self, files: dict[str, bytes]) -> None:
        self.disk = NodeDisk(self.life.world, self)
        self.model = Disk(str(self.directory), files, self.disk)

    def start(self) -> None:
        """Starts the machine, and the node on it; callers call as soon as it is there."""
        life = self.life
        self.starts += 1
        self.host = worlds.host(self.name)
        self.host.offset_ns = self.offset_ns
        life.cluster.start(self.name)
        life.world.say(f"{self.name} starts")
        life.world.thread(self._open, f"main {self.name}.{self.starts}", self.host)

    def _open(self) -> None:
        life = self.life
        while True:
            try:
                self.system = ReplicatedSystem(
                    life.domain,
                    str(self.directory),
                    Settings.of("init_system", {"keep": 2, "fork": False, "self_check": False, "segment_bytes": 1 << 18}),
                    role=member(self.name),
                    servers=life.cluster.of,
                    calls=self.disk,
                )
                self.system.start(None)
                break
            except (CoopyError, OSError) as error:
                life.world.say(f"{self.name} does not open: {type(error).__name__}: {_plain(error)}")
                life.counts["openings that failed"] += 1
                if "remove it and start this node again" in str(error):
                    self._wipe()
                elif self.name in LACKING and isinstance(error, InterruptedReplay):
                    pass
                elif not isinstance(error, (Unavailable, OSError)) and not _is_of_disk(error):
                    life.wrong(f"{self.name} can't be opened: {type(error).__name__}: {error}")
                    return
                life.world.block(1.0)
                life.cluster.start(self.name)
        self.proxy = self.system.proxy
        self.ready = True
        life.world.say(f"{self.name} is open")
        life.opened(self)

    def _wipe(self) -> None:
        self.disk.notes.clear()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._new_disk({})

    def start_a_second(self) -> None:
        """Starts the node on another machine, with a copy of the directory as it is; the first one goes on when it does."""
        assert self.host is not None
        self.others.append(self.host)
        directory = self.life.folder / f"{self.number}-{self.starts}"
        shutil.copytree(self.directory, directory, ignore=shutil.ignore_patterns("lock"))
        self.directory, self.ready = directory, False
        self._new_disk({str(each.relative_to(directory)): each.read_bytes() for each in directory.rglob("*") if each.is_file()})
        self.start()

    def kill_others(self) -> None:
        for host in self.others:
            self.life.world.kill(host)
        self.others.clear()

    def kill(self, keep: Callable[[int], int] | None = None) -> None:
        """Ends the process, and cuts the power, if ``keep`` says what the disk has of what was not synced."""
        self.kill_others()
        host, system = self.host, self.system
        if host is None or host.dead:
            return
        life = self.life
        life.world.say(f"{self.name} is killed")
        self.ready = False
        life.world.kill(host)
        life.cluster.stop(self.name)
        for hung in (life.cluster.lines.pop(self.name, None), life.cluster.rooms.pop(self.name, None)):
            if hung is not None:
                hung.closed = True
        self.system = self.proxy = None
        if system is not None and system.place._lock is not None:
            system.place._lock.release()
        self.disk.failing, self.disk.slow_s = {}, 0.0
        if keep is not None:
            for note in self.disk.notes:
                self.model.follow(note)
            found = self.model.found(keep)
            shutil.rmtree(self.directory, ignore_errors=True)
            if found is not None:
                put(found, self.directory)
            self._new_disk(found or {})

    def wipe(self) -> None:
        """The machine gets an empty disk; its server's is another."""
        self.kill()
        self._wipe()


def _is_of_disk(error: BaseException) -> bool:
    while error is not None:
        if isinstance(error, OSError):
            return True
        error = error.__cause__  # type: ignore[assignment]
    return False


def _plain(error: BaseException) -> str:
    """What an error says, without what is another in each process."""
    return str(error).replace(str(PLACE[-1]) if PLACE else "", "")[:160]


PLACE: list[Path] = []


class Life:
    """A seed's life. `run` lives it; ``violations`` says what was wrong."""

    domain: type = Bank
    modules = MODULES
    """Those that get the clock and the threads of the world."""
    small = SMALL
    log_max = LOG_MAX

    def __init__(self, seed: str, folder: Path, keep_lines: bool = False) -> None:
        self.seed = seed
        self.folder = folder
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.history: list[Operation] = []
        self.digest = ""
        self.lines: list[str] = []
        self._keep_lines = keep_lines
        self._calls = 0
        self._stopped = False
        self._served: dict[int, int] = {}
        self._went_back = False
        """Whether a node may have gone back to a state before: then its own callers may have seen a later one."""

    def wrong(self, what: str) -> None:
        self.world.say(f"WRONG: {what[:200]}")
        self.violations.append(what)

    def run(self) -> None:
        self.folder.mkdir(parents=True)
        PLACE[:] = [self.folder]
        LACKING.clear()
        large = [
            (module, name, getattr(module, name)) for module in self.modules for name in self.small if hasattr(module, name)
        ]
        urandom = os.urandom
        try:
            for module, name, _ in large:
                setattr(module, name, self.small[name])
            with worlds.inside(self.seed, self.modules, self._keep_lines) as self.world:
                chance = self.world.random
                os.urandom = random.Random(f"{self.seed} secrets").randbytes
                self.net = Net(self.world)
                self.cluster = MemoryCluster(NODES, self.net, chance)
                self.cluster.forgets = chance.choice((0.0, 0.5, 1.0))
                self._window(chance)
                self.machines = [Machine(self, number) for number in range(len(NODES))]
                self.world.later(0.0, self._tick)
                try:
                    self._live(chance)
                except Stuck as error:
                    self.violations.append(f"stuck: {error}")
                self.digest = self.world.digest()
                self.lines = self.world.lines or []
                self.counts["switches"] += self.world.switches
                self.counts["seconds"] += self.world.now_ns // 1_000_000_000
        finally:
            os.urandom = urandom
            for module, name, value in large:
                setattr(module, name, value)
            memory.DUPLICATES_S = 120.0
            shutil.rmtree(self.folder, ignore_errors=True)
        self._judge()

    def _window(self, chance: random.Random) -> None:
        # The nodes must not need the memory that servers have of names.
        memory.DUPLICATES_S = chance.choice((120.0, 120.0, 3.0, 0.5))

    def _tick(self) -> None:
        if not self._stopped:
            self.cluster.tick()
            if len(self.cluster.log) > self.log_max:
                self._stopped = True
                self.world.fail(f"the line is flooded: {len(self.cluster.log)} messages and facts")
                return
            self.world.later(0.2, self._tick)

    # -- what befalls it

    def _live(self, chance: random.Random) -> None:
        world = self.world
        for machine in self.machines:
            machine.start()
            world.block(chance.choice((0.0, 0.1, 2.0)))
        if chance.random() < 0.8:
            self._wait(lambda: all(machine.ready for machine in self.machines), READY_S)
        for _ in range(chance.randint(1, 4)):
            fault = chance.choice(FAULTS)
            name = fault.__name__.strip("_")
            self.counts[name] += 1
            world.say(f"fault: {name}")
            fault(self, chance)
            if chance.random() < 0.5:
                world.block(chance.uniform(0.0, FAULTS_S / 4))
            if chance.random() < 0.6:
                self._heal(chance)
                world.block(chance.uniform(0.0, 3.0))
        self._heal(chance)
        self._end()

    def _heal(self, chance: random.Random) -> None:
        """Puts all right: what is cut, what is paused, what is killed, what fails."""
        self.world.say("healed")
        self.net.mend()
        LACKING.clear()
        for machine in self.machines:
            machine.kill_others()
            host = machine.host
            machine.offset_ns = 0
            machine.disk.failing, machine.disk.slow_s = {}, 0.0
            if host is None or host.dead:
                machine.start()
                continue
            host.offset_ns = 0
            if host.paused:
                self.world.go_on(host)
            self.cluster.start(machine.name)

    def _wait(self, what: Callable[[], object], patience_s: float) -> bool:
        until_ns = self.world.now_ns + int(patience_s * 1e9)
        while not what():
            if self.world.now_ns > until_ns:
                return False
            self.world.block(0.1)
        return True

    def _end(self) -> None:
        """All is well again: then every node serves a write, and in the end all have the same."""
        world = self.world
        if not self._wait(lambda: self.violations or all(machine.ready for machine in self.machines), READY_S):
            self.wrong(f"not ready after {READY_S:g} s: {[m.name for m in self.machines if not m.ready]}")
        since_ns = world.now_ns
        if not self.violations and not self._wait(lambda: self._all_served(since_ns) or self.violations, SERVED_S):
            late = [m.name for m in self.machines if self._served.get(m.number, -1) < since_ns]
            self.wrong(f"{late} served no write within {SERVED_S:g} s: {[self._status(m) for m in self.machines]}")
        self._stopped_calls = True
        if not self.violations:
            self._compare()
        self._stopped = True

    def _status(self, machine: Machine) -> str:
        system = machine.system
        if system is None or not hasattr(system, "engine"):
            return f"{machine.name}: none"
        engine = system.engine
        return f"{machine.name}: {system.status()['state']} {engine.position} {engine.failure or engine.outbox.problem or ''}"

    def _all_served(self, since_ns: int) -> bool:
        return all(self._served.get(machine.number, -1) >= since_ns for machine in self.machines)

    def _compare(self) -> None:
        found: dict[int, Any] = {}

        def look(machine: Machine) -> None:
            assert machine.system is not None
            for _ in range(20):
                try:
                    machine.system.sync(TIMEOUT_S)
                    break
                except ClusterError:
                    self.world.block(0.5)
            system = machine.system
            found[machine.number] = system.engine.position, lambda: system

        self._wait(lambda: self._active == 0, 3 * TIMEOUT_S)
        for machine in self.machines:
            self.world.thread(lambda machine=machine: look(machine), f"last look {machine.name}", machine.host)  # type: ignore[misc]
        if not self._wait(lambda: len(found) == len(NODES), 200.0):
            self.wrong("no last look at all nodes")
            return
        # Answers of unknown outcome may still come in.
        self._wait(lambda: len({machine.system.engine.position for machine in self.machines if machine.system}) == 1, 30.0)
        from coopy.values.digest import digest

        states = []
        for machine in self.machines:
            assert machine.system is not None
            engine = machine.system.engine
            if engine.failure is not None:
                self.wrong(f"{machine.name} has stopped: {engine.failure}")
                return
            domain = engine.machine.domain
            states.append((engine.machine.applied, digest(domain).hex(), list(domain.deposits)))
            if len(set(domain.heavies)) != len(domain.heavies):
                self.wrong(f"{machine.name} has a call twice: {domain.heavies}")
        self._replay(self.world.random.choice(self.machines))
        self.world.say(f"states {[each[:2] for each in states]}")
        self.deposits = states[0][2]
        if len({each[:2] for each in states}) != 1:
            self.wrong(f"the nodes have different states: {[each[:2] for each in states]}")
        for number, each in enumerate(states):
            if each[2] != states[0][2]:
                self.wrong(f"{NODES[number]} has other deposits than {NODES[0]}, or in another order")

    def _replay(self, machine: Machine) -> None:
        """Reads a directory again, as it is while the node has it open."""
        from coopy.values.digest import digest

        system = machine.system
        assert system is not None
        live, again = digest(system.engine.machine.domain), digest(system.past(None))
        if live != again:
            self.wrong(f"{machine.name} comes to another state when its directory is read")

    # -- callers

    _active = 0
    _stopped_calls = False
    deposits: list[str] | None = None

    def opened(self, machine: Machine) -> None:
        """Has callers call a node that is open."""
        for number in range(CALLERS):
            self.world.thread(
                lambda number=number: self.calls(machine, number),
                f"caller {number} {machine.name}.{machine.starts}",
                machine.host,
            )  # type: ignore[misc]

    def calls(self, machine: Machine, number: int) -> None:
        """A caller of a node, as long as its process lives."""
        place, proxy, system = self.world, machine.proxy, machine.system
        self._calls += 1
        process, chance = self._calls, random.Random(f"{self.seed} {self._calls}")
        totals: dict[str, int] = {}
        known: dict[str, Any] = {}
        serial = 0
        while not self._stopped_calls:
            place.block(chance.expovariate(1) * 0.4)
            if self._stopped_calls:
                return
            serial += 1
            op = chance.choices(OPERATIONS, WEIGHTS)[0]
            if op == "many":
                self._many(machine, system, process, serial, chance)
                continue
            if op == "heavy":
                self._heavy(proxy, f"{process}/{serial}")
                continue
            if op in ("add", "get"):
                key = f"counter{chance.randrange(COUNTERS)}"
                args: tuple[Any, ...] = (key, chance.randrange(1, 10), f"{process}/{serial}") if op == "add" else (key,)
            else:
                key = f"register{chance.randrange(REGISTERS)}"
                value = process * 1000 + serial
                args = {"read": (key,), "write": (key, value), "compare_and_set": (key, known.get(key), value)}[op]
            local = op in ("get", "read") and chance.random() < 0.5
            invoke_ns = place.now_ns
            self._active += 1
            failure: BaseException | None = None
            result = None
            try:
                if op in ("get", "read") and not local:
                    system.sync(TIMEOUT_S)
                result = getattr(proxy, op)(*args)
            except BaseException as error:
                failure = error
            self._active -= 1
            place.say(f"{process} {op}{args} {type(failure).__name__ if failure is not None else result!r}")
            if failure is not None:
                self._failed(process, op, args, invoke_ns, failure)
                continue
            if op == "read":
                known[args[0]] = result
            if op in ("add", "get"):
                if result is not None and result < totals.get(key, 0) and not self._went_back:
                    self.wrong(f"{machine.name} answered {op}({key!r}) with {result} after {totals[key]}")
                totals[key] = max(totals.get(key, 0), result or 0)
            if not local:
                self._answered(machine, process, op, args, invoke_ns, result)

    def _failed(self, process: int, op: str, args: tuple[Any, ...], invoke_ns: int, failure: BaseException) -> None:
        surely_not = isinstance(failure, (CoopyError, OSError)) and not isinstance(failure, OutcomeUnknown)
        if surely_not:
            self.counts["refused"] += 1
            self._refused(args)
        else:
            self.counts["unknown"] += 1
            self.history.append(Operation(process, op, args, invoke_ns, None))
        if isinstance(failure, Ended) or not isinstance(failure, (CoopyError, OSError)):
            if not isinstance(failure, Ended):
                self.wrong(f"{op}{args} raised {type(failure).__name__}: {failure}")
            raise failure
        self.world.block(0.2)

    _never: list[str]

    def _refused(self, args: tuple[Any, ...]) -> None:
        pass

    def _answered(self, machine: Machine, process: int, op: str, args: tuple[Any, ...], invoke_ns: int, result: Any) -> None:
        self.counts["answered"] += 1
        self.history.append(Operation(process, op, args, invoke_ns, self.world.now_ns, result))
        if op in ("add", "write", "compare_and_set"):
            self._served[machine.number] = max(self._served.get(machine.number, -1), invoke_ns)

    def _heavy(self, proxy: Any, token: str) -> None:
        """A call that some machine may have no memory for: then it is withdrawn everywhere, or counts everywhere."""
        self._active += 1
        try:
            found: Any = proxy.heavy(token)
        except (CoopyError, OSError, MemoryError) as error:
            found = type(error).__name__
        finally:
            self._active -= 1
        self.world.say(f"heavy {token} {found}")

    def _many(self, machine: Machine, system: Any, process: int, serial: int, chance: random.Random) -> None:
        """Calls that are handed over together, as from asyncio."""
        place, engine = self.world, system.engine
        size = chance.choice((2, 5, 20))
        every = [Deposited("add", f"counter{chance.randrange(COUNTERS)}", 1, f"{process}/{serial}/{n}") for n in range(size)]
        invoke_ns = place.now_ns
        self._active += 1
        answered: set[int] = set()
        failure: BaseException | None = None
        try:
            for some_calls in engine.settled(engine.begin_all(every), every):
                for each in some_calls:
                    answered.add(id(each))
                    if each.error is None:
                        self._answered(machine, process, "add", each.args, invoke_ns, each.value)
                    else:
                        self._failed_of_many(process, each, invoke_ns)
        except BaseException as error:
            failure = error
        self._active -= 1
        place.say(f"{process} many {size} {len(answered)}")
        for each in every:
            if id(each) not in answered:
                self.history.append(Operation(process, "add", each.args, invoke_ns, None))
        if failure is not None:
            if not isinstance(failure, (CoopyError, OSError, Ended)):
                self.wrong(f"many raised {type(failure).__name__}: {failure}")
            if not isinstance(failure, (CoopyError, OSError)):
                raise failure
            place.block(0.2)

    def _failed_of_many(self, process: int, call: Any, invoke_ns: int) -> None:
        if isinstance(call.error, OutcomeUnknown):
            self.history.append(Operation(process, "add", call.args, invoke_ns, None))
        elif not isinstance(call.error, (CoopyError, OSError)):
            self.wrong(f"add{call.args} raised {type(call.error).__name__}: {call.error}")

    # -- what was seen

    def _judge(self) -> None:
        self.history.sort(key=lambda each: each.invoke_ns)
        self.counts["operations"] += len(self.history)
        try:
            self.violations += linearizable(self.history)
        except Undecided as error:
            self.counts["undecided"] += 1
            del error
        if self.deposits is not None:
            self.violations += exactly_once(self.history, self.deposits)


class Deposited(Called):
    domain = Bank


# -- faults: each strikes; `Life._heal` puts right


def _cut_off(life: Life, chance: random.Random) -> None:
    """One machine is cut off from the others: mostly the one whose server leads; in one direction, now and then."""
    name = life.cluster.leader if life.cluster.leader is not None and chance.random() < 0.6 else chance.choice(NODES)
    both = chance.random() < 0.7
    for other in NODES:
        if other != name:
            life.net.cut.add((name, other))
            if both:
                life.net.cut.add((other, name))
    life.world.block(chance.uniform(0.5, FAULTS_S))


def _all_apart(life: Life, chance: random.Random) -> None:
    life.net.cut.update((one, other) for one in NODES for other in NODES if one != other)
    life.world.block(chance.uniform(0.5, 8.0))


def _bridge(life: Life, chance: random.Random) -> None:
    """Two machines don't see each other; the third sees both."""
    one, other = chance.sample(NODES, 2)
    life.net.cut.update(((one, other), (other, one)))
    life.world.block(chance.uniform(0.5, FAULTS_S))


def _flapping(life: Life, chance: random.Random) -> None:
    name = chance.choice(NODES)
    for _ in range(chance.randint(2, 8)):
        life.net.cut.update(
            {(name, other) for other in NODES if other != name} | {(other, name) for other in NODES if other != name}
        )
        life.world.block(chance.uniform(0.05, 1.5))
        life.net.cut.clear()
        life.world.block(chance.uniform(0.05, 1.5))


def _lossy(life: Life, chance: random.Random) -> None:
    life.net.lost = chance.choice((0.05, 0.2, 0.4))
    life.world.block(chance.uniform(1.0, FAULTS_S))


def _doubling(life: Life, chance: random.Random) -> None:
    """Messages come twice, late, and in another order."""
    life.net.doubled, life.net.late, life.net.disordered = chance.choice(((0.3, 0.0, 0.0), (0.2, 0.2, 0.3), (0.0, 0.3, 0.5)))
    life.world.block(chance.uniform(1.0, FAULTS_S))


def _slow(life: Life, chance: random.Random) -> None:
    life.net.delay_s = chance.choice((0.05, 0.4, 1.2))
    life.world.block(chance.uniform(1.0, FAULTS_S))


def _pause(life: Life, chance: random.Random) -> None:
    """A machine stops, with its server, and goes on."""
    machine = _one(life, chance)
    if machine.host is not None and not machine.host.dead:
        life.world.pause(machine.host)
        life.cluster.servers[machine.name].up = False
        life.world.block(chance.uniform(0.3, FAULTS_S))
        life.cluster.servers[machine.name].up = True
        life.world.go_on(machine.host)


def _pause_process(life: Life, chance: random.Random) -> None:
    """A node stops, and its server does not."""
    machine = _one(life, chance)
    if machine.host is not None and not machine.host.dead:
        life.world.pause(machine.host)
        life.world.block(chance.uniform(0.3, FAULTS_S))
        life.world.go_on(machine.host)


def _kill(life: Life, chance: random.Random) -> None:
    machine = _one(life, chance)
    machine.kill()
    life.world.block(chance.choice((0.0, 0.5, 5.0)))
    if chance.random() < 0.7:
        machine.start()
        life.world.block(chance.uniform(0.0, 4.0))


def _power_cut(life: Life, chance: random.Random) -> None:
    machine = _one(life, chance)
    machine.kill(_kept(chance))
    life.world.block(chance.choice((0.0, 0.5, 5.0)))
    if chance.random() < 0.7:
        machine.start()
        life.world.block(chance.uniform(0.0, 4.0))


def _power_cut_everywhere(life: Life, chance: random.Random) -> None:
    for machine in life.machines:
        machine.kill(_kept(chance))
    life.world.block(1.0)


def _kill_all(life: Life, chance: random.Random) -> None:
    for machine in life.machines:
        machine.kill()
        if chance.random() < 0.3:
            life.world.block(chance.uniform(0.0, 2.0))
    life.world.block(0.5)


def _wipe(life: Life, chance: random.Random) -> None:
    """A node's directory is lost; it begins with what the others have."""
    if all(machine.ready for machine in life.machines):
        machine = _one(life, chance)
        machine.wipe()
        life.world.block(chance.uniform(0.0, 3.0))
        machine.start()
        life.world.block(chance.uniform(0.0, 5.0))


def _clock(life: Life, chance: random.Random) -> None:
    machine = _one(life, chance)
    machine.offset_ns = int(chance.choice((-3600, -5, -0.1, 0.1, 5, 3600, 86400 * 400)) * 1e9)
    if machine.host is not None:
        machine.host.offset_ns = machine.offset_ns
    if chance.random() < 0.4:
        machine.kill()
        machine.start()
    life.world.block(chance.uniform(0.5, 5.0))


def _disk_full(life: Life, chance: random.Random) -> None:
    machine = _one(life, chance)
    machine.disk.failing = {"write": errno.ENOSPC}
    life.world.block(chance.uniform(0.5, 8.0))


def _sync_fails(life: Life, chance: random.Random) -> None:
    machine = _one(life, chance)
    machine.disk.failing = {"sync": errno.EIO}
    life.world.block(chance.uniform(3.0, 9.0))


def _slow_disk(life: Life, chance: random.Random) -> None:
    _one(life, chance).disk.slow_s = chance.choice((0.05, 1.0, 4.0))
    life.world.block(chance.uniform(2.0, 9.0))


def _lack_of_memory(life: Life, chance: random.Random) -> None:
    """A machine, or two, can't apply some calls: those are withdrawn, and who has applied them goes back."""
    life._went_back = True
    LACKING.update(chance.sample(NODES, chance.choice((1, 1, 2, 3))))
    life.world.block(chance.uniform(0.5, 6.0))


def _two_of_one(life: Life, chance: random.Random) -> None:
    """A node that was given up for dead is started on another machine, and then the first one goes on."""
    machine = _one(life, chance)
    host = machine.host
    if not machine.ready or host is None or host.dead or machine.offset_ns or machine.others:
        return
    life.world.pause(host)
    life.world.block(chance.uniform(0.0, 2.0))
    machine.start_a_second()
    life.world.block(chance.uniform(0.0, 4.0))
    life.world.go_on(host)
    life.world.block(chance.uniform(0.5, 6.0))


def _transfer(life: Life, chance: random.Random) -> None:
    """Another server leads, for no reason."""
    for _ in range(chance.randint(1, 4)):
        can = [name for name in NODES if life.cluster.has_majority(name)]
        if can:
            life.cluster.elect(chance.choice(can))
        life.world.block(chance.uniform(0.1, 2.0))


def _server_gone(life: Life, chance: random.Random) -> None:
    """A node's own server ends; the node lives."""
    machine = _one(life, chance)
    life.cluster.stop(machine.name)
    life.world.block(chance.uniform(0.5, 8.0))


def _snapshot(life: Life, chance: random.Random) -> None:
    for machine in life.machines:
        if machine.ready and machine.host is not None and not machine.host.dead:
            life.world.thread(lambda machine=machine: _take(machine), f"snapshot {machine.name}", machine.host)  # type: ignore[misc]
    life.world.block(chance.uniform(0.0, 1.0))


def _take(machine: Machine) -> None:
    try:
        assert machine.system is not None
        machine.system.take_snapshot()
    except (CoopyError, OSError) as error:
        machine.life.world.say(f"no snapshot: {type(error).__name__}")


def _one(life: Life, chance: random.Random) -> Machine:
    return chance.choice(life.machines)


def _kept(chance: random.Random) -> Callable[[int], int]:
    return chance.choice((everything, nothing, some(chance, 0.5)))


FAULTS = (
    _cut_off,
    _cut_off,
    _all_apart,
    _bridge,
    _flapping,
    _lossy,
    _doubling,
    _doubling,
    _slow,
    _pause,
    _pause_process,
    _kill,
    _kill,
    _power_cut,
    _power_cut,
    _power_cut_everywhere,
    _kill_all,
    _wipe,
    _clock,
    _disk_full,
    _sync_fails,
    _slow_disk,
    _transfer,
    _server_gone,
    _lack_of_memory,
    _two_of_one,
    _snapshot,
)


@contextmanager
def quiet() -> Iterator[None]:
    """Lives make coopy say much, and each word is expected."""
    logger = logging.getLogger("coopy")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)

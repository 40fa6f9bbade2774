"""The one line: opens a system on this machine, or a node of a replicated one."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from coopy import migration
from coopy.disk import child, directory, manifest
from coopy.disk.fs import Calls
from coopy.disk.journal import SEGMENT_BYTES
from coopy.errors import StorageError, UsageError
from coopy.ground import looking, paths
from coopy.ground.words import shown
from coopy.past import retention
from coopy.proof.proving import REFUSE, REPORT
from coopy.spine import methods, proxy
from coopy.spine.replay import Progress
from coopy.system import System, absent, give_up

if TYPE_CHECKING:
    from coopy.network.server.configuration import TLS

T = TypeVar("T")

DURABILITIES = ("sync", "buffered")


@overload
def init_system(
    obj: type[T],
    basedir: str | os.PathLike[str] | None = None,
    snapshot_time: float = 0,
    master: bool = False,
    replication: bool = False,
    port: int = 5466,
    host: str = "127.0.0.1",
    password: str = "copynet",
    *,
    durability: str = "sync",
    validation: str = "warn",
    check: bool = False,
    keep: int | None = None,
    keep_for: float | timedelta | None = None,
    snapshot_growth: int = 0,
    snapshot_replay: float = 0,
    fork: bool | None = None,
    progress: Progress | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    deterministic: bool | None = None,
    create: bool = True,
    wait: float = 0,
    on_divergence: str | Callable[[dict[str, Any]], object] = REPORT,
    self_check: bool = True,
    cluster: Sequence[str] = (),
    node: str | None = None,
    replica_password: str | None = None,
    tls: TLS | bool = False,
    server: str | None = None,
    timeout: float = 30.0,
) -> T: ...


@overload
def init_system(
    obj: T,
    basedir: str | os.PathLike[str] | None = None,
    snapshot_time: float = 0,
    master: bool = False,
    replication: bool = False,
    port: int = 5466,
    host: str = "127.0.0.1",
    password: str = "copynet",
    *,
    durability: str = "sync",
    validation: str = "warn",
    check: bool = False,
    keep: int | None = None,
    keep_for: float | timedelta | None = None,
    snapshot_growth: int = 0,
    snapshot_replay: float = 0,
    fork: bool | None = None,
    progress: Progress | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    deterministic: bool | None = None,
    create: bool = True,
    wait: float = 0,
    on_divergence: str | Callable[[dict[str, Any]], object] = REPORT,
    self_check: bool = True,
    cluster: Sequence[str] = (),
    node: str | None = None,
    replica_password: str | None = None,
    tls: TLS | bool = False,
    server: str | None = None,
    timeout: float = 30.0,
) -> T: ...


def init_system(
    obj: Any,
    basedir: str | os.PathLike[str] | None = None,
    snapshot_time: float = 0,
    master: bool = False,
    replication: bool = False,
    port: int = 5466,
    host: str = "127.0.0.1",
    password: str = "copynet",
    *,
    durability: str = "sync",
    validation: str = "warn",
    check: bool = False,
    keep: int | None = None,
    keep_for: float | timedelta | None = None,
    snapshot_growth: int = 0,
    snapshot_replay: float = 0,
    fork: bool | None = None,
    progress: Progress | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    deterministic: bool | None = None,
    create: bool = True,
    wait: float = 0,
    on_divergence: str | Callable[[dict[str, Any]], object] = REPORT,
    self_check: bool = True,
    cluster: Sequence[str] = (),
    node: str | None = None,
    replica_password: str | None = None,
    tls: TLS | bool = False,
    server: str | None = None,
    timeout: float = 30.0,
) -> Any:
    """Makes an object survive, and returns what to use in its place.

    Args:
        obj: the domain class, or an instance of it. In a directory that has a state already,
            that state is used; otherwise the instance's, or that of a new instance.
        basedir: the data directory, made if it is not there; by default the lower-cased name
            of the class, in the current directory.
        snapshot_time: seconds between snapshots taken by themselves; 0 for none.
        master: this process writes, and others may follow it at ``host`` and ``port``, with ``password``.
        replication: this process follows the master, or the node of a cluster, at ``host`` and ``port``, and runs
            methods marked @readonly only.
        durability: "sync": a call returns when its action is on the disk. "buffered": when the
            operating system has it, which survives the end of the process, not a power cut.
        validation: "warn": refuses what replay surely can't repeat and warns of what it may not, which
            check=True refuses, too; "strict" refuses both; "off".
        check: for development and tests: looks at the state around every call, and replays each
            action in a second process with another hash seed and time zone. Finds changes outside any
            action, reads that write, arguments that are taken for shared, and what replay would not
            repeat; raises a `CheckFailed`. Each call costs two digests of the state.
        keep, keep_for: how many snapshots to keep, and for how long (seconds, or a timedelta) any
            past state is to be there. After a new snapshot, older ones that neither asks for, and the
            journal that only they need, are deleted. Without either, all is kept.
        snapshot_growth: bytes of journal since the newest snapshot after which one is taken by itself; 0 for none.
        snapshot_replay: seconds that the actions since the newest snapshot took, after which one is taken by itself: about
            what the next start replays. 0 for none.
        fork: whether snapshots are written by a forked child while calls go on. None: where the
            system can fork.
        progress: called with the actions done and the actions in all while a state is restored.
            Without it, a bar is drawn on a terminal if that takes longer than two seconds.
        segment_bytes: size at which a new journal file is begun.
        deterministic: True: in an action `datetime.now`, `time`, `random`, `uuid`, `os.urandom` and `secrets` answer
            from the action, so that classes that use them need no change; for good, the directory remembers it.
            None: as the directory says.
        create: False: a directory that holds no system is refused, and nothing is made.
        wait: seconds to wait for a directory that another process has open, and is just leaving; 0 refuses at once.
        on_divergence: what to do when replay gives another state than the live system had (see docs/guides/limits.md). "report": go
            on with the state of replay, log an error, and say so in ``control(p).status()``; a function is called with what is
            said there, too. "refuse" raises `StateDiverged`, and so does check=True.
        self_check: after a snapshot, a child of the lowest priority runs the actions since the one before again, and compares with the
            live state. False: for methods that do something outside the system, which is then done again at a start only.
        cluster: the addresses of three or five equal nodes, of which this one is ``node``: any of them writes, and a
            minority may be away. ``password`` is that of the nodes, ``replica_password`` that of those who follow
            with replication=True; without one nobody may.
        password: of your own, the same for all. The documented one stands for that of this user on this machine, which other
            users can't read, and is refused where an address is not loopback.
        tls: certificates for all connections of a replicated system. True: those in the folder ``tls`` of ``basedir``, as
            `coopy cluster init` makes them; or a `coopy.network.server.configuration.TLS` with paths of your own.
        server: URL of a nats-server of your own, with JetStream; by default each node starts one.
        timeout: seconds that a call of a replicated system waits before it raises `Unavailable`, if it was surely not
            recorded, or `OutcomeUnknown`.

    Raises:
        UsageError, PrevalentError: an argument, or the class, cannot be used.
        OnlyLooking: one of coopy's own commands imports the module that calls this.
        DirectoryInUse: another process, or this one, has the directory open.
        StorageError: what is in the directory cannot be used, and why.
        ReplayError, DecodingError: the stored actions do not fit today's code.
        JournalError: the disk refused.
    """
    looking.refuse("init_system")
    kind: Callable[..., System] = System
    if node is not None and not cluster:
        raise UsageError(f"node={shown(node)}: is for one of a cluster, and there is no cluster=[...]. Nothing was opened.")
    if master or replication or cluster:
        # The extra [cluster] may not be there, and few need it.
        from coopy.replication.node import ReplicatedSystem
        from coopy.replication.role import role

        found = role(
            master=master,
            replication=replication,
            cluster=cluster,
            node=node,
            host=host,
            port=port,
            password=password,
            replica_password=replica_password,
            tls=tls,
            server=server,
            timeout=timeout,
            basedir=paths.absolute(_name_of(obj) if basedir is None else basedir),
        )
        kind = partial(ReplicatedSystem, role=found)
    return open_as(
        kind,
        obj,
        basedir,
        snapshot_time,
        durability=durability,
        validation=validation,
        check=check,
        keep=keep,
        keep_for=keep_for,
        snapshot_growth=snapshot_growth,
        snapshot_replay=snapshot_replay,
        fork=fork,
        progress=progress,
        segment_bytes=segment_bytes,
        deterministic=deterministic,
        create=create,
        wait=wait,
        on_divergence=on_divergence,
        self_check=self_check,
    )


def open_as(
    kind: Callable[..., System],
    obj: Any,
    basedir: str | os.PathLike[str] | None = None,
    snapshot_time: float = 0,
    *,
    durability: str = "sync",
    validation: str = "warn",
    check: bool = False,
    keep: int | None = None,
    keep_for: float | timedelta | None = None,
    snapshot_growth: int = 0,
    snapshot_replay: float = 0,
    fork: bool | None = None,
    progress: Progress | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    deterministic: bool | None = None,
    create: bool = True,
    wait: float = 0,
    on_divergence: str | Callable[[dict[str, Any]], object] = REPORT,
    self_check: bool = True,
) -> Any:
    """Opens a system of that kind, and returns its proxy; see `coopy.init_system`."""
    cls = _class_of(obj)
    if durability not in DURABILITIES:
        raise UsageError(f"durability={shown(durability)}: must be one of {', '.join(map(repr, DURABILITIES))}")
    for name, number, least in (
        ("snapshot_time", snapshot_time, 0),
        ("snapshot_growth", snapshot_growth, 0),
        ("snapshot_replay", snapshot_replay, 0),
        ("segment_bytes", segment_bytes, 1),
        ("wait", wait, 0),
    ):
        if not isinstance(number, (int, float)) or not least <= number < math.inf:
            raise UsageError(f"{name}={shown(number)}: must be a number, at least {least}")
    kept = retention.retention(keep, keep_for)
    if on_divergence not in (REPORT, REFUSE) and not callable(on_divergence):
        raise UsageError(
            f"on_divergence={shown(on_divergence)}: must be {REPORT!r}, {REFUSE!r}, or callable with a dict, that of "
            f'control(system).status()["divergence"]'
        )
    if progress is not None and not callable(progress):
        raise UsageError(f"progress={shown(progress)}: must be callable with the actions done and the actions in all")
    if fork and not child.AVAILABLE:
        raise UsageError("fork=True: this operating system can't fork; use fork=None or fork=False")
    proxy.build(cls)
    migration.of(cls).check()
    basedir = paths.absolute(cls.__name__.lower() if basedir is None else basedir)
    if not create:
        _refuse_absent(basedir)
    deterministic = _is_deterministic(basedir, deterministic)
    # Reading source takes more modules than all the rest: they are loaded by whoever opens a system.
    from coopy.determinism.check import validate

    validate(cls, validation, deterministic, check)
    # An import that is interrupted can leave its module locked for ever, and a child that is forked meanwhile waits for it: what
    # snapshots and closing need is there before the first call.
    from coopy.values.digest import load

    load()
    try:
        try:
            system = kind(
                obj,
                basedir,
                durability=durability,
                check=check,
                kept=kept,
                snapshot_growth=int(snapshot_growth),
                snapshot_replay=min(snapshot_replay, threading.TIMEOUT_MAX),
                fork=child.AVAILABLE if fork is None else fork,
                segment_bytes=int(segment_bytes),
                deterministic=deterministic,
                create=create,
                wait_s=min(wait, threading.TIMEOUT_MAX),
                on_divergence=on_divergence,
                self_check=self_check,
            )
            system.start(progress)
            system.snapshot_by_itself(snapshot_time)
            found = system.proxy
            system.is_opened = True
            return found
        except BaseException:
            give_up(basedir)
            raise
    except BaseException:
        give_up(basedir)
        raise


def _name_of(obj: Any) -> str:
    return (obj if isinstance(obj, type) else type(obj)).__name__.lower()


def init_persistent_system(obj: Any, basedir: str | os.PathLike[str] | None = None) -> Any:
    """As `init_system`, with the documented two arguments."""
    return init_system(obj, basedir)


def _is_deterministic(basedir: str, asked: bool | None) -> bool:
    """Whether actions answer the standard library's clock and chance; sees to it that they can. Raises `UsageError`."""
    try:
        found = manifest.read(Calls(), basedir)
    except (StorageError, OSError):
        found = None  # Opening it says why.
    if found is not None and found.deterministic:
        if asked is False:
            raise UsageError(
                f"deterministic=False: the actions in {basedir} were recorded with deterministic=True, and without it "
                f"replay would give another state. Nothing was opened. Leave it out, or choose another directory."
            )
        asked = True
    if not asked:
        return False
    from coopy.determinism.install import install

    install()
    return True


def _refuse_absent(basedir: str) -> None:
    """Raises `UsageError` where there is no system. Of what looks like a part of one, opening it says what it is."""
    try:
        names = Calls().names(basedir)
    except (FileNotFoundError, NotADirectoryError):
        raise absent(basedir) from None
    except OSError:
        return  # Opening it says why.
    if not directory.snapshots(names) and not directory.segments(names):
        raise absent(basedir)


def _class_of(obj: Any) -> type:
    if methods.is_proxy(obj):
        raise UsageError("init_system() takes a domain class or a plain instance; this is a system already")
    cls = obj if isinstance(obj, type) else type(obj)
    if cls.__module__ == "builtins":
        what = "the class" if isinstance(obj, type) else "an object of"
        raise UsageError(
            f"init_system() takes a domain class or an instance of one, not {what} {cls.__qualname__}. A class of "
            f"your own is needed, so that its methods can be called: class Store({cls.__qualname__}): ..."
        )
    return cls

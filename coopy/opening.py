"""The one line: opens a system on this machine, or a node of a replicated one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from coopy.disk.journal import SEGMENT_BYTES
from coopy.errors import UsageError
from coopy.ground import looking, paths
from coopy.ground.words import shown
from coopy.proof.proving import REPORT
from coopy.spine.replay import Progress
from coopy.system import System, open_as

if TYPE_CHECKING:
    from coopy.network.server.configuration import TLS

T = TypeVar("T")


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
        from coopy.replication.node import ReplicatedSystem, role

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


def _name_of(obj: Any) -> str:
    return (obj if isinstance(obj, type) else type(obj)).__name__.lower()


def init_persistent_system(obj: Any, basedir: str | os.PathLike[str] | None = None) -> Any:
    """As `init_system`, with the documented two arguments."""
    return init_system(obj, basedir)

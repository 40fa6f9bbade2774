"""What can be done with a system besides calling its methods, alike on one machine and on a node.

Asks what is `Controlled`, and knows neither how that keeps its bytes nor how it was opened. It is loaded with the package, and what it
needs of a system when there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from coopy.errors import UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future
    from datetime import datetime, timedelta
    from types import TracebackType

    from coopy.past import history
    from coopy.past.retention import Retention
    from coopy.spine.engine import Engine
    from coopy.spine.tap import Doorbell, Subscription


def control(system: object) -> Control:
    """The controls of a system, whatever its class calls its own methods.

    >>> wiki = init_system(Wiki, "controlled")
    >>> wiki.create_page("Home", "Welcome")
    1
    >>> control(wiki).take_snapshot()
    1
    """
    from coopy.spine import methods, proxy

    if not methods.is_proxy(system) or not hasattr(type(system), "_coopy_control"):
        raise UsageError(f"control() takes what init_system() returned, not {type(system).__qualname__}")
    found = proxy.control_of(system)
    assert isinstance(found, Control), "every proxy is attached to a Control"
    return found


def doorbell_of(system: object) -> Doorbell | None:
    """Returns what rings for those who wait for a system that `coopy.init_system` or `coopy.aio.open` has returned; None for anything else."""
    from coopy.spine import methods

    found: Doorbell | None = getattr(system._coopy_engine, "doorbell", None) if methods.is_proxy(system) else None  # type: ignore[attr-defined]
    return found


if TYPE_CHECKING:

    class Controlled(Protocol):
        """What controls ask of an open system."""

        basedir: str
        on_code_version_changed: Callable[[int, int], object]
        before_closing: list[Callable[[], object]]

        @property
        def engine(self) -> Engine:
            """What takes a call through."""
            ...

        @property
        def proxy(self) -> Any:
            """What `init_system` returned; None if nobody has it any more."""
            ...

        def take_snapshot(self) -> int:
            """Keeps the whole state, and returns its index; see `Control.take_snapshot`."""
            ...

        def prune(self, rule: Retention) -> list[int]:
            """Deletes what need not stay. Returns the indexes of the snapshots that went."""
            ...

        def past(self, until: int | datetime | None, after: int | None = None) -> Any:
            """Returns the domain object as it was; see `Control.replay`."""
            ...

        def recorded(self, first: int, last: int | None) -> Iterator[history.Action]:
            """Yields recorded actions, decoded; see `Control.actions`."""
            ...

        def set_code_version(self, version: int) -> None:
            """Enables a code version; see `Control.set_code_version`."""
            ...

        def status(self) -> dict[str, Any]:
            """Returns how the system is; see `Control.status`."""
            ...

        def tell_of_divergences(self, function: Callable[[dict[str, Any]], object]) -> None:
            """Calls a function with each divergence that is found; see `Control.on_diverged`."""
            ...

        def close(self) -> None:
            """Makes everything durable and lets the directory go."""
            ...


class Cluster(Protocol):
    """What can be done with the nodes of a replicated system, from any of them."""

    def nodes(self) -> list[str]:
        """The addresses of the members. Raises `Unavailable`."""
        ...

    def add(self, node: str) -> list[str]:
        """Lets a node join; it is started afterwards. Returns the members. Raises `UsageError`, `ClusterError`."""
        ...

    def remove(self, node: str) -> list[str]:
        """Takes a node out, whether it runs or not. Returns the members. Raises `UsageError`, `ClusterError`."""
        ...

    def health(self) -> list[dict[str, Any]]:
        """For each stream: its leader, and of each server that keeps it whether it is up to date. Raises `Unavailable`."""
        ...

    def transfer(self, node: str | None = None) -> None:
        """Has another node lead; that one, if one is named. Raises `ClusterError`."""
        ...

    def step_down(self) -> None:
        """Has another node lead; calls wait for less than a second. Raises `ClusterError`."""
        ...


class Control:
    """What can be done with a system besides calling its methods. `control` returns it.

    >>> wiki = init_system(Wiki, "by-its-controls")
    >>> controls = control(wiki)
    >>> wiki.create_page("Home", "Welcome")
    1
    >>> controls.index, controls.durable, controls.take_snapshot()
    (1, 1, 1)
    >>> controls.replay(until=0).pages
    {}

    As a block it closes the system at its end. A type checker, for which a system is an object of its class, knows this, and not that
    the system is one, too::

        wiki = init_system(Wiki, "data")
        with control(wiki):
            wiki.create_page("Home", "Welcome")
    """

    def __init__(self, system: Controlled) -> None:
        self._system = system

    @property
    def system(self) -> Any:
        """What `init_system` returned. None if nobody has it any more."""
        return self._system.proxy

    @property
    def basedir(self) -> str:
        """The data directory, absolute."""
        return self._system.basedir

    def basedir_abspath(self) -> list[str]:
        """The absolute data directories; one."""
        return [self._system.basedir]

    @property
    def index(self) -> int:
        """Index of the last action."""
        return self._system.engine.log.last

    @property
    def durable(self) -> int:
        """Index up to which the actions are known to be on disk."""
        return self._system.engine.log.synced

    @property
    def closed(self) -> bool:
        """Whether the system takes no more calls."""
        return self._system.engine.log.settled < 0

    @property
    def effects(self) -> list[str]:
        """The effects that are waiting to be carried out, by action and number in it; see `coopy.on_commit`."""
        return list(self._system.engine.machine.effects)

    def take_snapshot(self) -> int:
        """Keeps the whole state, so that the next start is short; returns its index.

        Where a child can be forked, calls go on meanwhile. Raises `SnapshotError` or
        `EncodingError`; the system goes on all the same, unless its directory was moved away.
        """
        return self._system.take_snapshot()

    def prune(self, keep: int | None = None, keep_for: float | timedelta | None = None) -> list[int]:
        """Deletes snapshots, and the journal that only they need, as ``keep`` and ``keep_for`` of `init_system` do.

        Returns the indexes of the snapshots that went. Raises `UsageError`, `StorageError`, OSError.
        """
        from coopy.past import retention

        return self._system.prune(retention.retention(keep, keep_for))

    def subscribe(
        self,
        callback: Callable[[int, int], object],
        after: int | None = None,
        ended: Callable[[], object] | None = None,
    ) -> Subscription:
        """Calls ``callback(first, last)`` in this process when actions may be told: when they are as durable as asked for, and on a node of a
        cluster once they are applied here.

        In order and without gaps, from the action after ``after`` on (None: from the next action), in a thread of its own and without the
        lock; what it raises is logged. A slow callback holds up nobody: it is told of more actions the next time. Ends when it
        is closed, or the system is; then ``ended`` is called. Raises `UsageError`, `SystemClosed`.
        """
        return self._system.engine.subscribe(callback, after, ended)

    def actions(self, first: int = 1, last: int | None = None) -> Iterator[history.Action]:
        """Yields the recorded actions from ``first`` to ``last`` (None: the newest), decoded: ``index``, ``time``, ``method``, ``args``, ``kwargs``, ``ended``.

        Raises `MissingActions` if the journal does not reach back so far, `Unreadable` if it can't be read, `SystemClosed`.
        """
        return self._system.recorded(first, last)

    def replay(self, until: int | datetime | None = None, after: int | None = None) -> Any:
        """The plain domain object as it was: after an action, at a time, or (None) now; a copy.

        With ``after``, all actions after that one are run again, though a newer snapshot may hold them: for who hears what they say, see
        `coopy.tell`. Raises `PrunedPast` or `MissingActions` if they are not to be had any more.
        """
        return self._system.past(until, after)

    @property
    def code_version(self) -> int:
        """The code version that is enabled; see `coopy.code_version`."""
        return self._system.engine.machine.code

    @property
    def own_code_version(self) -> int:
        """The highest code version that the class has here."""
        return self._system.engine.machine.own_code

    def set_code_version(self, version: int) -> None:
        """Enables a code version, from the next action on: on this machine, and on all nodes at the same action.

        From the one that is enabled up to that which the class has; there is no way back. Raises `UsageError`, also while a
        member of a cluster does not have it, `JournalError`, `ClusterError`.
        """
        self._system.set_code_version(version)

    def on_code_version_changed(self, function: Callable[[int, int], object]) -> None:
        """Calls a function with the version before and after, once a switch is applied here; not for those before this start.

        It is called outside any action, and must not change the system by other means than its methods.
        """
        self._system.on_code_version_changed = function

    def before_closing(self, function: Callable[[], object]) -> None:
        """Calls a function when the system is about to be closed and still takes calls; once, in the thread that closes it.

        It is not called if the process ends without closing the system. What it raises is logged.
        """
        self._system.before_closing.append(function)

    def on_restored(self, function: Callable[[Any], object]) -> None:
        """Calls a function with the plain domain object: now, and each time that the system goes on with another one, which is restored.

        That is so after an action that was interrupted, and on a node that takes a state of another. It is called with the lock held,
        before anybody sees the object; it must be short, raise nothing, and call nothing of the system.
        """
        engine = self._system.engine

        def begin() -> None:
            engine.renewed = lambda machine: function(machine.domain)
            engine.renewed(engine.machine)

        engine.run(begin)

    # -- of replicated systems; on one machine there is nobody to agree with

    @property
    def cluster(self) -> Cluster:
        """The nodes, and what can be done with them. Raises `UsageError` on one machine."""
        raise self._alone("cluster")

    def sync(self, timeout: float | None = None) -> None:
        """Returns when a read here sees every call that was answered anywhere before.

        ``timeout`` in seconds; by default that of the system. Raises `Unavailable`.
        """

    @contextmanager
    def latest(self, timeout: float | None = None) -> Iterator[Any]:
        """Reads inside see every call that was answered anywhere before. Gives the system itself. Raises `Unavailable`."""
        self.sync(timeout)
        yield self._system.proxy

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Sends a call and does not wait: its result, or what it raises, is the future's.

        Calls that one thread submits are applied in that order. Raises `UsageError` (also on one machine, where calls
        are not sent), `EncodingError`, `Unavailable`.
        """
        raise self._alone("submit")

    def status(self) -> dict[str, Any]:
        """How the system is.

        ``last_applied`` (index of the last action), ``uptime`` (s), ``enabled_code_version``, ``self_code_version``; ``snapshot``, a
        dict: ``index`` of the newest one, ``when`` (ISO 8601), ``bytes``, ``seconds`` that taking it took (None if an earlier process
        has taken it), ``problem`` (why the last one that was tried was not taken, or None); ``divergence``, None or the newest
        that was found of a state that replay gives and the live one: ``after``, ``index``, ``method``, ``path``, ``found_by``, ``text``,
        ``when``; ``self_check``, the last one: ``first``, ``last`` (indexes), ``when``, ``seconds``, ``problem``; or None.
        """
        return self._system.status()

    def on_diverged(self, function: Callable[[dict[str, Any]], object]) -> None:
        """Calls a function with ``status()["divergence"]`` once one is found; at once if one was found by now.

        It may be called in another thread. What it raises is logged.
        """
        self._system.tell_of_divergences(function)

    def state_digest(self) -> tuple[int, str]:
        """Index and digest of the state; equal on all nodes that have come to the same index. Calls wait meanwhile.

        Raises `SystemClosed`, and `EncodingError` with the place of what can't be digested, whatever its code raises.
        """
        # It is a large module, and few need it.
        from coopy.values import digest

        index, found = self._system.engine.examine(digest.digest)
        return index, found.hex()

    def _alone(self, name: str) -> UsageError:
        return UsageError(f"control(system).{name}: {self.basedir} is a system on one machine; replicated ones have it")

    def close(self) -> None:
        """Makes everything durable and lets the directory go. Closing twice is fine."""
        self._system.close()

    def shutdown(self) -> None:
        """The same as `close`."""
        self._system.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        from coopy.spine.proxy import close_after

        close_after(error, self.close)

    def __repr__(self) -> str:
        return f"<control of {self.basedir}, {'closed' if self.closed else f'action {self.index}'}>"

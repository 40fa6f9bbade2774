"""Leading by shard: the processes of a party share out shards among them, and again when one comes or goes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from coopy import ClusterError, LockLost, SystemClosed, UsageError
from coopy.sync.election import PAUSE_S, Election, Term
from coopy.sync.gates import ALL, Semaphore
from coopy.sync.lock import TTL_S


def check_shards(shards: Sequence[str]) -> None:
    """Raises `UsageError` if a shard is named twice."""
    if len(set(shards)) != len(shards):
        raise UsageError(f"shards={list(shards)!r}: each must be there once")


def members_of(owners: Sequence[str]) -> list[str]:
    """Returns the processes of those who hold a permit of the membership."""
    return [owner.rpartition("/")[0] for owner in owners]


def share_of(shards: list[str], members: list[str], member: str) -> list[str]:
    """Returns the shards that fall to a member; none if it is not one."""
    return shards[members.index(member) :: len(members)] if member in members else []


class Party:
    """Shares shards out among all processes that have joined, each to one of them.

    A member stands for the shards that fall to it: in the order in which members came, the first gets the first shard, and so on around. When a
    member comes or goes, each stops the work for what falls to another now, and only then that one leads it: each shard is an `Election`, so
    it has at most one leader, whatever the members think of one another.

    Args:
        name: of the party; the same for all members.
        shards: names, the same and in the same order for all members.
        work: called with the name of a shard and a `Term`, in a thread of its own, for as long as this member leads the shard. It must
            return when ``term.stop`` is set. If it returns by itself, or raises, this member leads it no more until the members change.
        system, ttl: as for `Lock`.

    >>> from coopy import init_system
    >>> from coopy.sync import Locks, Party
    >>> locks = init_system(Locks, "party")
    >>> with Party("indexers", ["a-m", "n-z"], lambda shard, term: term.stop.wait(), system=locks) as party:
    ...     party.wait_until_led(timeout=10), party.members() == [party.here], party.leads()
    (True, True, ['a-m', 'n-z'])
    >>> locks.close()
    """

    def __init__(
        self,
        name: str,
        shards: Sequence[str],
        work: Callable[[str, Term], object],
        *,
        system: Any = None,
        ttl: float = TTL_S,
    ) -> None:
        check_shards(shards)
        self.name = name
        self.shards = list(shards)
        self._work = work
        self._ttl = ttl
        # A member holds one of any number of permits: those who hold are the members, in the order in which they came.
        self._membership = Semaphore(name, ALL, system=system, ttl=ttl)
        self._elections: dict[str, Election] = {}
        self._threads: dict[str, threading.Thread] = {}
        """Those in which this member stands, by shard."""
        self._news = threading.Event()
        self._led = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def here(self) -> str:
        """How this process is called among the members: host, process, and a random number."""
        return self._membership.here

    def members(self) -> list[str]:
        """Returns the members, in the order in which they came."""
        return members_of(self._membership.contenders())

    def leads(self) -> list[str]:
        """Returns the shards that this member leads, by its own clock."""
        found = dict(self._elections)
        return [shard for shard in self.shards if shard in found and found[shard].leads]

    def join(self) -> None:
        """Joins, and begins. Raises what `Semaphore.acquire` raises, and `UsageError` if it has joined already."""
        if self._thread is not None:
            raise UsageError(f"this member of {self.name!r} has joined already")
        self._membership.acquire()
        self._membership.watch(self._news, True)
        self._thread = threading.Thread(target=self._run, name=f"coopy party {self.name}", daemon=True)
        self._thread.start()

    def wait_until_led(self, timeout: float | None = None) -> bool:
        """Waits until this member leads all shards that fall to it now. Returns False if that was not in so many seconds."""
        with self._led:
            return self._led.wait_for(lambda: sorted(self.leads()) == sorted(self._mine()), timeout)

    def close(self) -> None:
        """Stops the work, waits for it, and leaves."""
        self._closed = True
        self._news.set()
        if self._thread is not None:
            self._thread.join()
        self._membership.close()

    def _mine(self) -> list[str]:
        return share_of(self.shards, self.members(), self.here)

    def _run(self) -> None:
        mine: list[str] | None = None
        while True:
            self._news.clear()
            if self._closed:
                break
            try:
                if not self._membership.held:
                    self._join_again()
                found = self._mine()
            except (ClusterError, LockLost):
                self._news.wait(PAUSE_S)
                continue
            except SystemClosed:
                break  # And so is all that was led.
            if found != mine:
                mine = found
                self._share(mine)
            # A loss of the membership is no action.
            self._news.wait(self._ttl / 2)
        self._share([])
        for thread in self._threads.values():
            thread.join()
        self._membership.watch(self._news, False)

    def _join_again(self) -> None:
        with suppress(LockLost, ValueError):
            self._membership.release()
        self._membership.acquire()

    def _share(self, mine: list[str]) -> None:
        """Stops the work for what is another's, and begins that for what is this member's by now."""
        for shard in [each for each in self._elections if each not in mine]:
            self._elections.pop(shard).shutdown()
        for shard in mine:
            if shard not in self._elections or not self._threads[shard].is_alive():
                self._stand(shard)
        with self._led:
            self._led.notify_all()

    def _stand(self, shard: str) -> None:
        def lead(term: Term) -> None:
            with self._led:
                self._led.notify_all()
            self._work(shard, term)

        election = Election(f"{self.name}/{shard}", lead, system=self._membership.system, ttl=self._ttl)

        def run() -> None:
            with suppress(SystemClosed):
                election.run()

        self._elections[shard] = election
        thread = self._threads[shard] = threading.Thread(target=run, name=f"coopy party {self.name}/{shard}", daemon=True)
        thread.start()

    def __enter__(self) -> Party:
        self.join()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Party {self.name!r}: leads {len(self.leads())} of {len(self.shards)} shards>"

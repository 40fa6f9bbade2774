"""Clusters of `SyncObj` in one process, over servers in memory, and a few verbs for them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cluster.in_memory import Together
from network.servers import until

from coopy.compat import pysyncobj_opening
from coopy.compat.pysyncobj import SyncObj, SyncObjConf
from coopy.opening import open_as
from coopy.place.options import Settings
from coopy.replication.node import ReplicatedSystem
from coopy.replication.role import role

T = TypeVar("T", bound=SyncObj)
TRIO = ["n0:4321", "n1:4321", "n2:4321"]


class Cluster:
    """Nodes that are opened over what they have together. ``opens`` is put in the place of `coopy.init_system`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.together = Together()
        self.nodes: list[Any] = []
        self.local = pysyncobj_opening.open_system

    def opens(self, obj: Any, directory: str, **options: Any) -> Any:
        settings = Settings.of("init_system", options)
        if not settings.is_replicated:
            return self.local(obj, directory, **options)
        kind = partial(ReplicatedSystem, role=role(settings, directory), servers=self.together.servers)
        return open_as(kind, obj, directory, settings)

    def node(self, make: Callable[..., T], number: int = 0, of: int = 3, conf: SyncObjConf | None = None, **given: Any) -> T:
        """A node of so many; its state goes with it."""
        addresses = [f"n{each}:4321" for each in range(of)]
        conf = conf or SyncObjConf()
        conf.password = conf.password or "secret"
        self.nodes.append(make(addresses[number], [each for each in addresses if each != addresses[number]], conf, **given))
        return self.nodes[-1]

    def trio(self, make: Callable[..., T], **given: Any) -> list[T]:
        """Three nodes that are ready and know who leads: the first."""
        self.together.leader = TRIO[0]
        conf = given.pop("conf", SyncObjConf)
        found = [self.node(make, number, conf=conf(), **given) for number in range(3)]
        self.agree(*found)
        return found

    def agree(self, *nodes: Any) -> None:
        """Until nodes are ready, and know that the first of three leads."""
        self.together.leader = TRIO[0]
        for each in nodes:
            self.wait_for(each)
        until(lambda: {str(each._getLeader()) for each in nodes} == {TRIO[0]})

    @staticmethod
    def wait_for(node: SyncObj) -> None:
        """Until a node is ready, and knows who leads."""
        ticks = (lambda: None) if node.conf.autoTick else node.doTick
        until(lambda: (ticks(), node.isReady() and node._getLeader() is not None)[1])

    def alone(self, make: Callable[..., T], conf: SyncObjConf | None = None, **given: Any) -> T:
        """A system on this machine alone."""
        self.nodes.append(make("localhost:4321", [], conf, **given))
        return self.nodes[-1]

    def destroy(self, *nodes: Any) -> None:
        for each in nodes or list(self.nodes):
            self.nodes.remove(each)
            each.destroy()
            each._coopy_begun().join()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    monkeypatch.setattr(pysyncobj_opening, "open_system", found.opens)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield found
    found.destroy()


class Told:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self.all: list[tuple[Any, ...]] = []

    def __call__(self, *args: Any) -> None:
        self.all.append(args)

    def only(self) -> tuple[Any, ...]:
        """What it was told, once."""
        until(lambda: self.all)
        (found,) = self.all
        return found


def said_within(seconds: float, what: Callable[[], object]) -> bool:
    """Whether something comes about in so short a time; for what must not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.01)
    return False

"""What a `SyncObj` is opened with: the options of `coopy.init_system` that PySyncObj's options come to, and the directory."""

from __future__ import annotations

import atexit
import hmac
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import coopy
from coopy.compat.pysyncobj_conf import SyncObjConf
from coopy.compat.pysyncobj_domain import domain_class
from coopy.compat.pysyncobj_member import SyncObjConsumer, kept, leave_out_what_can_not_be_kept
from coopy.compat.pysyncobj_running import Running
from coopy.network import address
from coopy.network.server.supervisor import said_at
from coopy.place.options import PASSWORD, Settings
from coopy.replication.role import role

PASSWORD_VARIABLE = "COOPY_PASSWORD"
SUFFIX = ".coopy"
KEEP = 2
"""PySyncObj keeps one dump. A snapshot that turns out to be damaged must not be the only one."""

open_system: Callable[..., Any] = coopy.init_system
"""Opens a system of a domain object, a directory and options, as `coopy.init_system` does."""


@dataclass(frozen=True)
class Given:
    """What the constructor of a `SyncObj` was given."""

    conf: SyncObjConf
    consumers: Sequence[SyncObjConsumer]
    node: Any
    """This node; None for one that only reads."""
    others: Sequence[Any]
    make_node: Callable[[str], Any]

    @property
    def is_alone(self) -> bool:
        """Whether there are no other nodes."""
        return not self.others

    @property
    def address(self) -> str:
        """What this node calls itself, and what the others call it."""
        return "a node that only reads" if self.node is None else address_of(self.node)

    def listens(self) -> bool:
        """Whether this node can be connected to."""
        if self.node is None:
            return True
        at = address.parse(self.address)
        return said_at(at.host, at.port).get("server_name") == str(at)

    def directory(self) -> str | None:
        """Returns where the state is kept; None if it goes with the object."""
        files = [each for each in (self.conf.journalFile, self.conf.fullDumpFile) if each is not None]
        found = [f"{os.fspath(each)}{SUFFIX}" for each in files]
        return next(filter(os.path.isdir, found), found[0]) if found else None

    def options(self) -> dict[str, Any]:
        """Returns the options of `coopy.init_system`."""
        conf = self.conf
        options: dict[str, Any] = {
            "validation": "off",
            # What a method asks for the time or for chance is the same on all nodes.
            "deterministic": True,
            # It would run the methods once more, and what these print or call besides.
            "self_check": False,
            "keep": KEEP,
            "snapshot_time": conf.logCompactionMinTime,
            "fork": None if conf.useFork else False,
        }
        if self.is_alone:
            return options | ({"durability": "buffered"} if self.directory() is None else {})
        password = os.environ.get(PASSWORD_VARIABLE) if conf.password is None else str(conf.password)
        for_replicas = PASSWORD if password is None else hmac.digest(password.encode(), b"coopy replica", "sha256").hex()
        if self.node is None:
            at = address.parse(address_of(self.others[0]))
            return options | {"replication": True, "host": at.host, "port": at.port, "password": for_replicas}
        return options | {
            "cluster": sorted([self.address, *map(address_of, self.others)]),
            "node": self.address,
            "password": PASSWORD if password is None else password,
            "replica_password": for_replicas,
        }


def started(face: Any, given: Given) -> Running:
    """Returns what runs under a `SyncObj`, not begun yet. Raises `coopy.UsageError` for what can't be."""
    members = [face, *given.consumers]
    for number, member in enumerate(members):
        object.__setattr__(member, "_coopy_number", number)
        leave_out_what_can_not_be_kept(member)
    options, kept_in = given.options(), given.directory()
    directory = tempfile.mkdtemp(prefix=f"coopy-{type(face).__name__.lower()}-") if kept_in is None else kept_in
    if kept_in is None:
        atexit.register(shutil.rmtree, directory, True)
    if not given.is_alone:
        role(Settings.of(type(face).__name__, options), directory)  # What can't be is refused here, and not in the background.
    domain = domain_class(members)
    first = domain([kept(member) for member in members])
    return Running(
        lambda: open_system(first, directory, **options),
        domain,
        members,
        given.conf,
        given.address,
        given.is_alone,
        lambda: shutil.rmtree(directory, True) if kept_in is None else None,
    )


def address_of(node: Any) -> str:
    """Returns the address of a node as all nodes write it. Raises `coopy.UsageError`."""
    return str(address.parse(str(node)))

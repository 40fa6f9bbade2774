"""Which node this is, and where the servers are: what the arguments of `init_system` ask for, checked once.

Both are chosen here and nowhere else. A node is a `Master`, a `Member` or a `Replica`; its servers are `Here`, `There` or `Elsewhere`.
Whoever has to know which asks for what follows from it, as `Role.writes` or `Where.starts_one`; nobody asks for the class.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from coopy.errors import UsageError
from coopy.ground.words import shown
from coopy.network.address import PORT_MAX, Address, parse
from coopy.network.membership import NODES_MAX
from coopy.network.server import loopback
from coopy.network.server.configuration import TLS, tls_of
from coopy.network.subjects import NODE, REPLICA
from coopy.place.options import PASSWORD, Settings

# -- where the servers are


@dataclass(frozen=True)
class Where:
    """Where a node's servers are, and as whom it goes to them."""

    starts_one: ClassVar[bool] = False
    """Whether this node starts a server."""
    user: ClassVar[str | None] = NODE
    """As whom it connects; None: as its URL says."""
    asks_leader: ClassVar[bool] = True
    """Whether it may ask a stream's leader itself."""
    names_nodes: ClassVar[bool] = True
    """Whether each server has the name of its node."""

    def urls(self, scheme: str, nodes: Sequence[Address]) -> list[str]:
        """Returns where to connect, the best first; ``nodes``: those that may have a server."""
        return [f"{scheme}://{each}" for each in nodes]


class Here(Where):
    """This node starts a server; so does each other member."""

    starts_one = True


class There(Where):
    """Other nodes have servers, and this one may read from them."""

    user = REPLICA
    asks_leader = False


@dataclass(frozen=True)
class Elsewhere(Where):
    """The servers are the user's own, and no node starts one."""

    url: str
    user = None
    names_nodes = False

    def urls(self, scheme: str, nodes: Sequence[Address]) -> list[str]:
        return [self.url]


# -- which node this is


@dataclass(frozen=True, kw_only=True)
class Role:
    """Which node this is: a `Master`, a `Member` or a `Replica`. What differs between them is asked of it, and of nothing else."""

    node: Address
    nodes: tuple[Address, ...]
    """The members that it was told of; a replica: where it connects."""
    where: Where
    password: str = field(repr=False)
    replica_password: str | None = field(repr=False)
    tls: TLS | None
    timeout_s: float
    advice: str
    """What to do when the others have another password."""
    begins_elections: bool = True
    """Whether it has another leader elected as soon as the one there was is silent, if it joins others and starts a server."""

    word: ClassVar[str]
    """What the role is called in `status`."""
    password_of: ClassVar[str]
    """The user whose password ``password=`` is."""
    writes: ClassVar[bool] = True
    """Whether calls may be made here, and this node counts among those that agree, lead, and deliver effects."""
    joins_others: ClassVar[bool] = False
    """Whether there are other members, which may change while it runs."""

    @property
    def id(self) -> str:
        """The name of this node."""
        return str(self.node)

    def server_passwords(self, made: Callable[[], str]) -> tuple[str, str | None]:
        """Returns the passwords of nodes and of replicas at the server that this node starts; ``made`` returns one made for it."""
        return self.password, self.replica_password


class Master(Role):
    """The one node that writes. Replicas have its password; it has another for itself."""

    word, password_of = "master", REPLICA

    def server_passwords(self, made: Callable[[], str]) -> tuple[str, str | None]:
        return made(), self.password


class Member(Role):
    """One of several equal nodes."""

    word, password_of, joins_others = "node", NODE, True


class Replica(Role):
    """Reads only."""

    word, password_of, writes = "replica", REPLICA, False

    @property
    def id(self) -> str:
        # Its address is that of the node that it connects to.
        return f"{os.uname().nodename}:{os.getpid()}"


def role(settings: Settings, basedir: str) -> Role:
    """Returns what the options of `init_system` ask for. Raises `UsageError`."""
    master, replication, cluster, node = settings.master, settings.replication, settings.cluster, settings.node
    password, replica_password = settings.password, settings.replica_password
    host, port, tls, server, timeout = settings.host, settings.port, settings.tls, settings.server, settings.timeout
    given = [name for name, value in (("master", master), ("replication", replication), ("cluster", bool(cluster))) if value]
    if len(given) != 1:
        raise UsageError(f"{' and '.join(given)}: a node has one role. Nothing was opened. Leave the others out.")
    if not isinstance(password, str) or not password:
        raise UsageError("password: must be text, and not empty")
    if server is not None and server.partition("://")[0] not in ("nats", "tls"):
        raise UsageError("server: must be a URL that begins with nats:// or tls://. Nothing was opened.")
    if not isinstance(timeout, (int, float)) or not 0 < timeout < 1e6:
        raise UsageError(f"timeout={shown(timeout)}: must be seconds, more than 0")
    own, nodes = _member(cluster, node) if cluster else _alone(host, port)
    kind = Master if master else Replica if replication else Member
    where = Elsewhere(server) if server is not None else Here() if kind.writes else There()
    if server is None:
        _refuse_documented(nodes, password=password, replica_password=replica_password)
    certificates = _certificates(tls, basedir, serves=where.starts_one)
    advice = "Give the password= that the other side was opened with."
    if server is None:
        if password == PASSWORD:
            password = loopback.for_user(loopback.find_or_make(), kind.password_of)
            advice = (
                f"No password= was given here, so that of this user (id {os.geteuid()}) was taken, from {loopback.path()}: those who "
                f"are not opened by the same user, with the same HOME and XDG_RUNTIME_DIR, have another. Give a password= of your own to "
                f"all."
            )
        if replica_password == PASSWORD:
            replica_password = loopback.for_user(loopback.find_or_make(), REPLICA)
    return kind(
        node=own,
        nodes=nodes,
        where=where,
        password=password,
        replica_password=replica_password,
        tls=certificates,
        timeout_s=float(timeout),
        advice=advice,
        begins_elections=_whether("quick_elections", settings.quick_elections),
    )


def _whether(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name}={shown(value)}: must be True or False. Nothing was opened.")
    return value


def _member(cluster: Sequence[str], node: str | None) -> tuple[Address, tuple[Address, ...]]:
    """The address of this one of several nodes, and those of all. Raises `UsageError`."""
    if isinstance(cluster, str):
        raise UsageError(f"cluster={shown(cluster)}: must be a list of addresses, as in ['a:5466', 'b:5466', 'c:5466']")
    nodes = tuple(parse(each) for each in cluster)
    if len(set(nodes)) != len(nodes):
        raise UsageError(f"cluster={list(cluster)!r}: names a node twice")
    if len(nodes) > NODES_MAX:
        raise UsageError(f"cluster: {len(nodes)} nodes; {NODES_MAX} are the most")
    if node is None:
        raise UsageError(f"node=: which of {', '.join(map(str, nodes))} this one is must be said")
    own = parse(node)
    if own not in nodes:
        raise UsageError(f"node={shown(node)}: is not among the nodes of the cluster: {', '.join(map(str, nodes))}")
    return own, nodes


def _alone(host: str, port: int) -> tuple[Address, tuple[Address, ...]]:
    """The address of a node that is told of no others. Raises `UsageError`."""
    if not isinstance(port, str) and not (isinstance(port, int) and 1 <= port <= PORT_MAX):
        raise UsageError(f"port={shown(port)}: must be a number from 1 to {PORT_MAX}. Nothing was opened.")
    own = parse(str(Address(host, port)))
    return own, (own,)


def _refuse_documented(nodes: Sequence[Address], **passwords: str | None) -> None:
    """Refuses the password that everybody knows where others than this machine's users can come. Raises `UsageError`."""
    reached = [str(each) for each in nodes if not each.is_loopback]
    for name, password in passwords.items():
        if password == PASSWORD and reached:
            raise UsageError(
                f"{name}: {', '.join(reached)} can be reached from other machines, and "
                f"the documented password is known to everybody. Nothing was opened. Give a {name}= of your own to all nodes."
            )


def _certificates(tls: TLS | bool, basedir: str, serves: bool) -> TLS | None:
    """The files, all there and such that they can be used. Raises `UsageError`."""
    if not tls:
        return None
    if not isinstance(tls, (TLS, bool)):
        raise UsageError(f"tls={shown(tls)}: must be True, or a coopy.network.server.configuration.TLS. Nothing was opened.")
    found = tls_of(os.path.join(basedir, "tls"), serves=serves) if isinstance(tls, bool) else tls
    if serves and not (found.certificate and found.key):
        raise UsageError("tls: a node that others connect to needs a certificate and its key. Nothing was opened.")
    context(found)
    return found


def context(tls: TLS | None) -> ssl.SSLContext | None:
    """Returns what a connection is made with, for certificates that were given. Raises `UsageError`."""
    if tls is None:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.authority)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        files = ", ".join(filter(None, (tls.certificate, tls.key, tls.authority)))
        raise UsageError(f"tls: {files}: {error.strerror or error}. Nothing was opened. All must be PEM files.") from error
    return context

"""Which node this is, and where the others are: what the arguments of `init_system` ask for, checked once."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from typing import NamedTuple

from coopy.errors import UsageError
from coopy.ground.words import shown
from coopy.network.address import PORT_MAX, Address, parse
from coopy.network.membership import NODES_MAX
from coopy.network.server import loopback
from coopy.network.server.configuration import TLS, tls_of
from coopy.network.subjects import NODE, REPLICA

DEFAULT_PASSWORD = "copynet"

MASTER, REPLICATION, CLUSTER = "master", "replica", "node"


class Role(NamedTuple):
    """What a node is, and where the others are."""

    kind: str
    node: Address
    nodes: tuple[Address, ...]
    password: str
    replica_password: str | None
    tls: TLS | None
    server: str | None
    timeout_s: float
    advice: str
    """What to do when the others have another password."""

    @property
    def writes(self) -> bool:
        return self.kind != REPLICATION

    @property
    def word(self) -> str:
        return self.kind

    @property
    def joins_others(self) -> bool:
        return self.kind == CLUSTER

    @property
    def id(self) -> str:
        """The name of this node."""
        if self.kind == REPLICATION:
            return f"{os.uname().nodename}:{os.getpid()}"
        return str(self.node)


def role(
    *,
    master: bool,
    replication: bool,
    cluster: Sequence[str],
    node: str | None,
    host: str,
    port: int,
    password: str,
    replica_password: str | None,
    tls: TLS | bool,
    server: str | None,
    timeout: float,
    basedir: str,
) -> Role:
    """What the arguments of `init_system` ask for. Raises `UsageError`."""
    given = [name for name, value in (("master", master), ("replication", replication), ("cluster", bool(cluster))) if value]
    if len(given) != 1:
        raise UsageError(f"{' and '.join(given)}: a node has one role. Nothing was opened. Leave the others out.")
    if not isinstance(password, str) or not password:
        raise UsageError("password: must be text, and not empty")
    if server is not None and server.partition("://")[0] not in ("nats", "tls"):
        raise UsageError("server: must be a URL that begins with nats:// or tls://. Nothing was opened.")
    if not isinstance(timeout, (int, float)) or not 0 < timeout < 1e6:
        raise UsageError(f"timeout={shown(timeout)}: must be seconds, more than 0")
    if cluster:
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
    else:
        if not isinstance(port, str) and not (isinstance(port, int) and 1 <= port <= PORT_MAX):
            raise UsageError(f"port={shown(port)}: must be a number from 1 to {PORT_MAX}. Nothing was opened.")
        own = parse(str(Address(host, port)))
        nodes = (own,)
    for name, given_password in (("password", password), ("replica_password", replica_password)):
        if given_password == DEFAULT_PASSWORD and server is None and not all(each.is_loopback for each in nodes):
            raise UsageError(
                f"{name}: {', '.join(str(each) for each in nodes if not each.is_loopback)} can be reached from other machines, and "
                f"the documented password is known to everybody. Nothing was opened. Give a {name}= of your own to all nodes."
            )
    kind = MASTER if master else REPLICATION if replication else CLUSTER
    certificates = _certificates(tls, basedir, serves=kind != REPLICATION and server is None)
    advice = "Give the password= that the other side was opened with."
    if server is None:
        if password == DEFAULT_PASSWORD:
            password = loopback.for_user(loopback.find_or_make(), NODE if kind == CLUSTER else REPLICA)
            advice = (
                f"No password= was given here, so that of this user (id {os.geteuid()}) was taken, from {loopback.path()}: those who "
                f"are not opened by the same user, with the same HOME and XDG_RUNTIME_DIR, have another. Give a password= of your own to "
                f"all."
            )
        if replica_password == DEFAULT_PASSWORD:
            replica_password = loopback.for_user(loopback.find_or_make(), REPLICA)
    return Role(kind, own, nodes, password, replica_password, certificates, server, float(timeout), advice)


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

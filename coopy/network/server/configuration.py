"""The configuration of a node's Raft server, as one text.

Nothing is written or started here.

Who may do what. Two accounts keep those who may write apart from those who may not:

    account   user     may
    SYS       system   look at the servers and change who belongs to the cluster
    COOPY     node     everything: the streams are in this account
    REPLICA   replica  what COOPY exports, see `coopy.network.subjects`

A list of permissions inside one account would not be enough. A server sends its answers and what
it delivers under the account's own authority, to whatever subject the asker names: who may only read, in the
account of the streams, could have an answer sent to the subject of a stream, or to the one that deletes it (run, and it
did). An answer that crosses into another account can go nowhere but there.

The subject to which a consumer delivers is the one thing that is not translated at the border. So REPLICA
can't ask for consumers at all: it reads by sequence (DIRECT.GET), and hears what is published to everybody.

All replicas have one password and one account, and can disturb one another.
"""

from __future__ import annotations

import os
import re
import resource
from dataclasses import dataclass, field
from urllib.parse import quote

from coopy.errors import UsageError
from coopy.network.address import Address
from coopy.network.subjects import NODE, REPLICA, SYSTEM, Names

PAYLOAD_BYTES_MAX = 8 << 20
"""The servers' own default is 1 MB; they advise against more than 8. A record must fit, see `coopy.replication.jetstream`."""
CONNECTIONS_MAX = 16384
"""Whoever can reach the port takes one without a password, for as long as `_AUTHENTICATION_S`."""
REPLICA_CONNECTIONS_MAX = 1024
"""A replica has two. So many leave most of `CONNECTIONS_MAX` to the nodes."""
REPLICA_SUBSCRIPTIONS_MAX = 1000
"""Of each connection. A replica needs a handful."""
REPLICA_PAYLOAD_BYTES_MAX = 16384
"""What a replica asks and says is short."""
PASSWORD_LENGTH_MAX = 256
"""Characters. The server reads the first line that a client sends up to 4,096 bytes."""
_AUTHENTICATION_S = 2
"""A password is sent within milliseconds of the connection; whoever sends none is sent away after that."""
_ANSWER_S = 45
"""Longer than a question may wait, see `coopy.network.room`."""
_CLOSED_KEPT = 100
"""The server keeps what it knows of connections that were closed, for people who look: strangers choose how many there are."""


CERTIFICATE, KEY, AUTHORITY = "node.pem", "node.key", "authority.pem"
"""What is in the folder tls/ of a data directory."""


@dataclass(frozen=True)
class TLS:
    """Paths of PEM files: this node's certificate and key, and the authority that signed those of all nodes.

    Who starts no server needs the authority's alone: certificate and key may be "".
    """

    certificate: str
    key: str
    authority: str


def tls_of(directory: str, *, serves: bool = True) -> TLS:
    """The files in a folder as `coopy cluster init` makes it; ``serves``: for who starts a server.

    Raises `UsageError` if one is not there.
    """
    paths = {name: os.path.join(directory, name) for name in (CERTIFICATE, KEY, AUTHORITY)}
    own = serves or os.path.exists(paths[CERTIFICATE])
    for name in (CERTIFICATE, KEY, AUTHORITY) if own else (AUTHORITY,):
        if not os.path.isfile(paths[name]):
            raise UsageError(
                f"tls: {paths[name]} is not there. Nothing was opened. `coopy cluster init` makes {CERTIFICATE}, {KEY} and "
                f"{AUTHORITY} for each node; copy {'those of this one' if own else 'the last of them'} to {directory}."
            )
    return TLS(paths[CERTIFICATE] if own else "", paths[KEY] if own else "", paths[AUTHORITY])


@dataclass(frozen=True, kw_only=True)
class Settings:
    directory: str
    """Everything of the server is in it: configuration, store, lock. 0700, its files 0600."""
    name: str
    """The node's name: its address as text."""
    listen: Address
    peers: tuple[Address, ...] = ()
    """The addresses of all nodes of the cluster, this one's too; empty: alone."""
    node_password: str = field(repr=False)
    replica_password: str | None = field(default=None, repr=False)
    """None: there is no such user."""
    subject: str
    """Prefix of the system's subjects, "coopy.<id>"."""
    tls: TLS | None = None
    replica_tls: TLS | None = None
    """Shown to those who ask for the name in it, in place of ``tls``."""
    store_bytes_max: int = 0
    """0: as much as the server thinks right, three quarters of what is free."""
    keeps: bool = True
    """Whether it keeps streams. One that does not passes messages on, and no publisher waits for somebody who is slow."""


def connections_max() -> int:
    """How many may be connected at once: half of the descriptors that a process may have. The rest is for files and routes."""
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return CONNECTIONS_MAX if descriptors < 0 else max(64, min(CONNECTIONS_MAX, descriptors // 2))


def text(settings: Settings) -> str:
    """The whole configuration file. Raises `UsageError`."""
    for what, password in (("password", settings.node_password), ("replica_password", settings.replica_password)):
        if password is not None:
            _check_password(what, password)
    if settings.replica_password == settings.node_password:
        raise UsageError("a replica's password must be another than that of the nodes: it may only read")
    name = Names.of_subject(settings.subject).stream
    lines = [
        f"server_name: {_quoted(settings.name)}",
        f"listen: {_quoted(str(settings.listen))}",
        "logtime: false",
        f"max_payload: {PAYLOAD_BYTES_MAX}",
        f"max_connections: {connections_max()}",
        f"max_closed_clients: {_CLOSED_KEPT}",
        f"authorization {{ timeout: {_AUTHENTICATION_S} }}",
        *(_jetstream(settings) if settings.keeps else ["no_fast_producer_stall: true"]),
        *_accounts(settings),
        *_tls(settings.tls, "", also=settings.replica_tls),
    ]
    if len(settings.peers) > 1:
        lines += _cluster(settings, name)
    return "\n".join(lines) + "\n"


def _jetstream(settings: Settings) -> list[str]:
    store = os.path.join(os.path.abspath(settings.directory), "store")
    lines = ["jetstream {", f"  store_dir: {_quoted(store)}", "  sync_interval: always"]
    if settings.store_bytes_max:
        lines.append(f"  max_file_store: {settings.store_bytes_max}")
    return [*lines, "}"]


def _accounts(settings: Settings) -> list[str]:
    node = _quoted(settings.node_password)
    lines = [
        "accounts {",
        f"  SYS {{ users: [{{ user: {SYSTEM}, password: {node} }}] }}",
        "  COOPY {",
        *(["    jetstream: enabled"] if settings.keeps else []),
        f"    users: [{{ user: {NODE}, password: {node} }}]",
    ]
    if settings.replica_password is None:
        return [*lines, "  }", "}", "system_account: SYS"]
    names = Names.of_subject(settings.subject)
    exports, heard = names.sent, names.heard
    lines += ["    exports: ["]
    lines += [f"      {{ stream: {_quoted(subject)}, accounts: [REPLICA] }}" for subject in heard]
    # Where an answer is to go is forgotten once it was given; where it is not, or may be of many messages, after a time. The
    # server's own is two minutes, in which one replica has it remember gigabytes.
    lines += [
        f"      {{ service: {_quoted(there)}, accounts: [REPLICA], "
        f'response_type: {"stream" if ".DIRECT." in there else "singleton"}, threshold: "{_ANSWER_S}s" }}'
        for there, _ in exports
    ]
    lines += ["    ]", "  }", "  REPLICA {"]
    lines += [
        "    limits {",
        f"      max_connections: {REPLICA_CONNECTIONS_MAX}",
        f"      max_subscriptions: {REPLICA_SUBSCRIPTIONS_MAX}",
        f"      max_payload: {REPLICA_PAYLOAD_BYTES_MAX}",
        "    }",
    ]
    lines += [
        f"    users: [{{ user: {REPLICA}, password: {_quoted(settings.replica_password)}, permissions: {{",
        f"      subscribe: [{', '.join(map(_quoted, heard))}]",
        f"      publish: [{', '.join(_quoted(here) for _, here in exports)}]",
        "    } }]",
        "    imports: [",
    ]
    lines += [f"      {{ stream: {{ account: COOPY, subject: {_quoted(subject)} }} }}" for subject in heard]
    lines += [
        # With "share" the server says which connection a question came from: nobody else can know, nor forge that.
        f"      {{ service: {{ account: COOPY, subject: {_quoted(there)} }}, to: {_quoted(here)}, share: true }}"
        for there, here in exports
    ]
    return [*lines, "    ]", "  }", "}", "system_account: SYS"]


def _cluster(settings: Settings, name: str) -> list[str]:
    others = [peer for peer in settings.peers if str(peer) != settings.name]
    if len(others) != len(settings.peers) - 1:
        known = ", ".join(map(str, settings.peers))
        raise UsageError(f"node {settings.name!r} must be in the list of nodes once; it has {known}")
    password = quote(settings.node_password, safe="")
    routes = [_quoted(f"nats-route://{NODE}:{password}@{peer.route}") for peer in others]
    return [
        "cluster {",
        f"  name: {_quoted(name)}",
        f"  listen: {_quoted(str(settings.listen.route))}",
        # Each node connects to the addresses it was told; a server can't know by which ones others reach it.
        "  no_advertise: true",
        f"  authorization {{ user: {NODE}, password: {_quoted(settings.node_password)}, timeout: {_AUTHENTICATION_S} }}",
        f"  routes: [{', '.join(routes)}]",
        *_tls(settings.tls, "  ", verify=True),
        "}",
    ]


def _tls(tls: TLS | None, indent: str, verify: bool = False, also: TLS | None = None) -> list[str]:
    if tls is None:
        return []
    lines = [f"{indent}  ca_file: {_path(tls.authority)}"]
    # The first is shown to whoever asks for neither.
    pairs = [f"cert_file: {_path(each.certificate)}, key_file: {_path(each.key)}" for each in (tls, also) if each is not None]
    lines += [f"{indent}  certs: [{', '.join(f'{{ {pair} }}' for pair in pairs)}]"]
    lines += [f"{indent}  verify: true"] if verify else []
    return [f"{indent}tls {{", *lines, f"{indent}  timeout: {_AUTHENTICATION_S}", f"{indent}}}"]


def _check_password(what: str, password: str) -> None:
    if not password or len(password) > PASSWORD_LENGTH_MAX:
        raise UsageError(f"{what}: must have 1 to {PASSWORD_LENGTH_MAX} characters; it has {len(password)}")
    if re.match(r"\$2[abxy]\$", password):
        raise UsageError(f"{what}: must not begin as this one does: the server takes it for a bcrypt hash")
    try:
        password.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what}: has half a character (a lone surrogate) in it") from None


def _path(path: str) -> str:
    return _quoted(os.path.abspath(path))


def _quoted(value: str) -> str:
    """A string for the server's parser, which puts in variables and dates only where there are no quotes."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", escaped) + '"'

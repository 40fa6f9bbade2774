"""Every name on the servers, and who may use it.

    name                                     what
    COOPY_<id>                               the stream that is the line
    KV_COOPY_<id>, $KV.COOPY_<id>.<key>      the bucket of facts, and a fact in it
    OBJ_COOPY_<id>                           the bucket of snapshots
    $O.COOPY_<id>.M.<name>, .C.<object>      what is said of a snapshot, and its chunks
    coopy.<id>.line                          into the line
    coopy.<id>.out                           what stands in the line, published again
    coopy.<id>.out.alive                     what nodes say of themselves
    coopy.<id>.ask.<what>                    questions that nodes answer, and what replicas say of themselves
    coopy.<id>.order.<what>                  what a node does for whoever has the nodes' password; see `ORDERS`
    coopy.<id>.api.<request>                 what a replica calls the requests of JetStream that it may make
    coopy.<id>.leaderless                    in the account SYS: what nodes see of leaders that are silent, asked of one another
    $SYS.REQ.SERVER.<server>.RAFTZ           in the account SYS: what a server says of its Raft groups
    $NRG.V.<group>                           in the account SYS: requests for votes, see `coopy.network.server.votes`

``<id>`` is the system's, after those of its application and before that of its line, if it has such; see `Names`.

Who may use them. A user belongs to an account, and sees no other account's subjects but those that are passed on to it:

    user     account   may
    node     COOPY     everything: the streams are in this account
    replica  REPLICA   hear `Names.heard`, and send to `Names.sent` of a replica
    system   SYS       look at the servers, take one off their list, and begin elections
    none     a user's  everything, on servers that are the user's own
"""

from __future__ import annotations

import re
from typing import NamedTuple

from coopy.errors import UsageError

NODE, REPLICA, SYSTEM = "node", "replica", "system"
"""The users; `coopy.network.server.configuration` says why they are in accounts of their own."""
INBOX, REPLICA_INBOX = "_INBOX", "_INBOX_replica"
"""What the subjects begin with to which answers may be sent: to nodes, and to replicas."""
API = "$JS.API"
"""What the requests of JetStream begin with."""
STREAM_NAMES = f"{API}.STREAM.NAMES"
SERVER_REMOVE = f"{API}.SERVER.REMOVE"
"""Of the user "system": takes a server off the servers' list."""
PREFIX = "coopy"
ALIVE_OF_ALL = f"{PREFIX}.*.out.alive"
"""What the nodes of all systems of these servers say of themselves."""
ORDERS = frozenset({"code"})
"""Questions to which the answer is that something is done: nodes may ask them, and replicas may not."""
ID_LENGTH_MAX = 64
"""Characters. The servers take 255 for the name of a stream; there is a file for each, whose name is longer."""


def direct_get(stream: str, api: str = API) -> str:
    """Returns the subject on which whoever keeps a stream reads it (ADR-31)."""
    return f"{api}.DIRECT.GET.{stream}"


def step_down(stream: str) -> str:
    """Returns the request that has another server lead a stream."""
    return f"{API}.STREAM.LEADER.STEPDOWN.{stream}"


def peer_remove(stream: str) -> str:
    """Returns the request that has another server keep a stream in the place of one."""
    return f"{API}.STREAM.PEER.REMOVE.{stream}"


def groups(server: str) -> str:
    """Returns the request of the user "system" that a server answers with what it knows of its Raft groups."""
    return f"$SYS.REQ.SERVER.{server}.RAFTZ"


class Names(NamedTuple):
    """What the things of one system are called on the servers.

    A server of coopy's own keeps one system, and its class is name enough: ``Names("shop")``. Several that share servers are
    told apart by ``application``; a system of several lines by ``line``. No part may hold a "." or, if there are several, a "_".
    """

    system: str
    application: str = ""
    line_id: str = ""

    @property
    def _parts(self) -> list[str]:
        return [part for part in (self.application, self.system, self.line_id) if part]

    @property
    def id(self) -> str:
        """What tells this system from others of the same servers."""
        return "_".join(self._parts)

    @classmethod
    def of_class(cls, domain: type) -> Names:
        """Returns those of a system of a class."""
        return cls(re.sub(r"[^A-Za-z0-9_-]", "_", domain.__name__.lower())[:ID_LENGTH_MAX])

    @classmethod
    def of_subject(cls, subject: str) -> Names:
        """Returns those of "coopy.<id>". Raises `UsageError`."""
        found = re.fullmatch(rf"{PREFIX}\.([A-Za-z0-9_-]{{1,{ID_LENGTH_MAX}}})", subject)
        if not found:
            raise UsageError(f"subject={subject!r}: must be '{PREFIX}.' and up to {ID_LENGTH_MAX} letters, digits, '_' and '-'")
        return cls(found[1])

    @classmethod
    def of_stream(cls, stream: str) -> Names | None:
        """Returns those of a system by the name of its line; None if it is no line."""
        prefix = cls("").stream
        return cls(stream[len(prefix) :]) if stream.startswith(prefix) and stream != prefix else None

    @classmethod
    def of_alive(cls, subject: str) -> Names:
        """Returns those of a system by a subject that `ALIVE_OF_ALL` covers."""
        return cls(subject.split(".")[1])

    # -- streams

    @property
    def stream(self) -> str:
        """The line."""
        return f"COOPY_{self.id}"

    @property
    def facts(self) -> str:
        """The bucket of facts."""
        return f"KV_{self.stream}"

    @property
    def snapshots(self) -> str:
        """The bucket of snapshots."""
        return f"OBJ_{self.stream}"

    @property
    def streams(self) -> tuple[str, str, str]:
        """All of the system."""
        return self.stream, self.facts, self.snapshots

    @property
    def bucket(self) -> str:
        """What clients of key-value and object buckets call them, without the prefixes."""
        return self.stream

    def fact(self, key: str) -> str:
        """Returns the subject of a fact."""
        return f"$KV.{self.bucket}.{key}"

    @property
    def entries(self) -> str:
        """The subjects of what is said of snapshots."""
        return f"$O.{self.bucket}.M.>"

    def chunks(self, nuid: str) -> str:
        """Returns the subject of the chunks of one snapshot, by the id of its object."""
        return f"$O.{self.bucket}.C.{nuid}"

    # -- subjects

    @property
    def subject(self) -> str:
        """What every subject of the system begins with."""
        return ".".join([PREFIX, *self._parts])

    @property
    def line(self) -> str:
        """Into the line."""
        return f"{self.subject}.line"

    @property
    def out(self) -> str:
        """What stands in the line; and below it, what nodes tell everybody."""
        return f"{self.subject}.out"

    @property
    def alive(self) -> str:
        """What nodes say of themselves."""
        return f"{self.out}.alive"

    def ask(self, what: str) -> str:
        """Returns the subject of a question."""
        return f"{self.subject}.{'order' if what in ORDERS else 'ask'}.{what}"

    @property
    def leaderless(self) -> str:
        """The subject on which nodes ask one another, as the user "system", where they know of no leader that lives."""
        return f"{self.subject}.leaderless"

    @property
    def elected(self) -> str:
        """The subject on which the servers say that another of them leads the stream (docs.nats.io, "JetStream Advisories")."""
        return f"$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.{self.stream}"

    # -- what a replica may

    @property
    def replica_api(self) -> str:
        """What a replica calls `API`: ``connection.jetstream(prefix=...)``."""
        return f"{self.subject}.api"

    def way(self, user: str | None) -> tuple[str, str]:
        """Returns what a user's inboxes begin with, and what it calls `API`."""
        return (REPLICA_INBOX, self.replica_api) if user == REPLICA else (INBOX, API)

    @property
    def heard(self) -> list[str]:
        """What a replica may hear."""
        return [f"{REPLICA_INBOX}.>", self.out, f"{self.out}.>"]

    @property
    def sent(self) -> list[tuple[str, str]]:
        """What a replica may send: the subject in the account of the streams, and what the replica calls it.

        Of the requests of JetStream those that change nothing, and that the streams themselves answer. Those that a server
        answers, as STREAM.INFO, stand in one queue for all who ask. Full, it is emptied: so a replica that asked without end kept
        the nodes from being answered, and the server's memory grew by gigabytes (run, and it did). Taking the next message of a
        consumer changes something.
        """
        reads = [f"{stream}{more}" for stream in self.streams for more in ("", ".>")]
        asked = [(direct_get(each), direct_get(each, self.replica_api)) for each in reads]
        return [*asked, (self.ask(">"),) * 2]

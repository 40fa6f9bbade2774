"""What nats-server's Raft groups say to one another when they vote: a question that changes nothing, and one that begins an election.

Encodes and decodes, and knows of which releases of nats-server that holds. When to ask what is decided in
`coopy.network.server.vigil`; `coopy.network.server.elections` sends it.

Each stream, and the list of all streams, is kept by a Raft group of servers. The members of a group listen to `subject`, a subject of
the system account, which a user of that account may publish to as well. nats-server documents none of this: it was read in
server/raft.go (``processVoteRequest``, ``decodeVoteRequest``, ``voteResponse.encode``) of each release from 2.10.25 to 2.15, and
tests/network/test_votes.py asks each release that it finds.

    request   offset  size  field
                   0     8  term       little-endian, like every number here
                   8     8  log term   of the asker's last entry
                  16     8  log index  of the asker's last entry
                  24     8  candidate  the id of the server that asks

    answer    offset  size  field
                   0     8  term   of the member that answers
                   8     8  member its id
                  16     1  flags  1: it gives its vote; 2, since 2.11.11: its log is empty

A request of term 0 is older than any of a group that has had a leader: each member answers with its term, and nothing changes. Only a
member of term 0 has that term, too: it would give its vote, and wait anew. So a group that has had no leader is not asked. A request of a higher term makes a
leader step down and each member take that term; the asker says that its log is empty, so it gets no vote of a member that has
entries, and such a member, instead of waiting for 4 to 9 s, campaigns itself within 0.1 to 0.8 s. Raft stays as safe as it is: when an
election happens is never what it rests on, and nothing but a term, and for a member without entries a vote, is written.

The candidate of both is a real member, the server of the node that asks. Up to 2.11.10, and in 2.12.0, a leader takes whoever asks for
its vote into the group: a made-up id would count as a member that is away. With these nothing is asked at all (`is_known`).
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from coopy.errors import ClusterError

_REQUEST = struct.Struct("<QQQ8s")
_ANSWER = struct.Struct("<Q8sB")
assert (_REQUEST.size, _ANSWER.size) == (32, 17), "other sizes are dropped by the servers, with a line in their log"
ID_LENGTH = 8
"""Characters of the id of a server in a group."""
KNOWN = {(2, 11): 11, (2, 12): 1, (2, 14): 0, (2, 15): 0}
"""The releases of nats-server of which the source was read and which were asked, with the first patch of each; there is no 2.13."""
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")


class Answer(NamedTuple):
    """What a member answers."""

    term: int
    member: str


def is_known(version: str) -> bool:
    """Returns whether a release of nats-server is one that does what is said here."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return False  # A release candidate or a build of somebody's own may differ.
    major, minor, patch = map(int, found.groups())
    return patch >= KNOWN.get((major, minor), patch + 1)


def subject(group: str) -> str:
    """Returns the subject on which the members of a group are asked."""
    return f"$NRG.V.{group}"


def question(member: str) -> bytes:
    """Returns the request that every member answers, and that changes nothing. ``member``: the id of the asker's own server."""
    return request(0, member)


def request(term: int, member: str) -> bytes:
    """Returns the request that begins an election, if no member has that term yet."""
    assert len(member) == ID_LENGTH, "a server has an id of that length in each of its groups"
    return _REQUEST.pack(term, 0, 0, member.encode())


def answer(data: bytes) -> Answer:
    """Returns what a member has answered. Raises `ClusterError` for anything else."""
    try:
        term, member, _ = _ANSWER.unpack(data)
        return Answer(term, member.decode("ascii"))
    except (struct.error, UnicodeDecodeError) as error:
        raise ClusterError(f"the answer of a server to a request for its vote can't be read: {data[:40]!r}") from error

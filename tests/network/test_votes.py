"""What is said on the vote subject: its bytes, the releases of nats-server of which they are known, and each release that is here.

The release that is installed is always asked. Others are those in the folder that COOPY_NATS_SERVERS names, each in a folder called as
its release (`make nats-servers` brings them).
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coopy import ClusterError
from coopy.network.address import Address
from coopy.network.connection import Connection
from coopy.network.server import binary, votes
from coopy.network.subjects import NODE as NODES
from coopy.network.subjects import SYSTEM

from .servers import NODE, free_port, running, settings, until

SERVERS = os.environ.get("COOPY_NATS_SERVERS")
OTHERS = sorted(Path(SERVERS).glob("*/nats-server")) if SERVERS else []
PROGRAMS = [binary.find(), *map(str, OTHERS)]
ANSWERED_S = 10.0


def test_a_question_and_a_request_have_the_bytes_of_the_table() -> None:
    assert votes.question("AabJfmAf") == bytes(24) + b"AabJfmAf"
    assert votes.request(5, "AabJfmAf") == b"\x05" + bytes(23) + b"AabJfmAf"
    assert votes.subject("S-R3F-x") == "$NRG.V.S-R3F-x"


@pytest.mark.parametrize("flags", range(4))
def test_an_answer_is_read_whatever_its_flags_are(flags: int) -> None:
    assert votes.answer(struct.pack("<Q8sB", 7, b"rMWkgKlz", flags)) == (7, "rMWkgKlz")


@pytest.mark.parametrize("data", [b"", bytes(16), bytes(18), b"\x01" + bytes(7) + b"\xff" * 8 + b"\x00"])
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(ClusterError):
        votes.answer(data)


@pytest.mark.parametrize(
    "version", ["2.11.11", "2.11.17", "2.12.1", "2.12.15", "2.14.0", "2.14.6", "2.15.0", "2.15.1", "v2.15.1"]
)
def test_a_release_that_was_read_and_asked_is_known(version: str) -> None:
    assert votes.is_known(version)


# Up to 2.11.10, and in 2.12.0, a leader takes whoever asks for its vote into the group.
@pytest.mark.parametrize(
    "version",
    [
        "2.10.29",
        "2.11.0",
        "2.11.10",
        "2.12.0",
        "2.13.0",
        "2.16.0",
        "3.0.0",
        "1.15.1",
        "2.15",
        "2.15.0-dev",
        "2.15.0-RC.1",
        "",
        "x",
    ],
)
def test_any_other_release_is_not(version: str) -> None:
    assert not votes.is_known(version)


class Asker:
    """A cluster of three servers of one release with a stream of three copies, and a user of the system account at the first."""

    def __init__(self, node: Connection, system: Connection) -> None:
        self.node, self.system = node, system
        self.server = system.client._server_info["server_id"]
        self.inbox = system.client.new_inbox()
        self.answers: list[votes.Answer] = []
        system.run(system.client.subscribe(self.inbox, cb=self._take))
        until(self._make, 60)
        until(lambda: self.seen()["leader"])

    async def _take(self, message: Any) -> None:
        self.answers.append(votes.answer(message.data))

    def _make(self) -> bool:
        from nats.errors import Error
        from nats.js.api import StreamConfig

        with contextlib.suppress(Error, ClusterError):
            self.node.run(self.node.stream_api.add_stream(StreamConfig(name="X", subjects=["x"], num_replicas=3)), 5)
            self.publish()
            return True
        return False

    def publish(self) -> None:
        self.node.insist(lambda: self.node.stream_api.publish("x", b"", timeout=0.3), ANSWERED_S)

    def leader(self) -> str | None:
        async def ask() -> str | None:
            cluster = (await self.node.stream_api.stream_info("X")).cluster
            return None if cluster is None else cluster.leader

        return self.node.insist(ask, ANSWERED_S)

    def seen(self) -> dict[str, Any]:
        """What the first server says of its part in the stream's group."""

        async def ask() -> dict[str, Any]:
            asked = json.dumps({"account": "COOPY"}).encode()
            said = json.loads((await self.system.client.request(f"$SYS.REQ.SERVER.{self.server}.RAFTZ", asked, timeout=5)).data)
            ((self.group, found),) = said["data"]["COOPY"].items()
            return {"leader": "", **found}

        return self.system.run(ask(), 10)

    def ask(self, data: bytes, count: int) -> list[votes.Answer]:
        """What the members answer to a request, once so many have."""
        self.answers.clear()
        self.system.run(self.system.client.publish(votes.subject(self.group), data, reply=self.inbox), 5)
        until(lambda: len(self.answers) >= count, ANSWERED_S)
        return list(self.answers)


@contextlib.contextmanager
def asker(program: str, directory: Path) -> Iterator[tuple[Asker, dict[str, Any]]]:
    peers = tuple(Address("127.0.0.1", free_port()) for _ in range(3))
    with contextlib.ExitStack() as stack:
        servers = {}
        for peer in peers:
            given = settings(directory / str(peer.port), peer.port, peers=peers)
            servers[str(peer)] = stack.enter_context(running(given, binary=program))
        connections = []
        for user in (NODES, SYSTEM):
            connections.append(Connection([f"nats://{peers[0]}"], user, NODE))
            connections[-1].open(20)
            stack.callback(connections[-1].close)
        yield Asker(*connections), servers


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", [each for each in PROGRAMS if votes.is_known(".".join(map(str, binary.check_version(each))))]
)
def test_a_release_answers_a_question_and_begins_an_election_when_it_is_asked_to(program: str, tmp_path: Path) -> None:
    with asker(program, tmp_path) as (found, _):
        before = found.seen()
        answers = found.ask(votes.question(before["id"]), 3)
        members = {before["id"], *before["peers"]}
        assert {each.member for each in answers} == members and {each.term for each in answers} == {before["term"]}
        # It has changed nothing.
        after = found.seen()
        assert [after[each] for each in ("leader", "term", "pindex")] == [before[each] for each in ("leader", "term", "pindex")]
        assert set(after["peers"]) == set(before["peers"])

        # An old one changes nothing either.
        found.ask(votes.request(before["term"] - 1, before["id"]), 3)
        assert found.seen()["leader"] == before["leader"]

        began = time.monotonic()
        answers = found.ask(votes.request(before["term"] + 1, before["id"]), 3)
        assert {each.member for each in answers} == members and min(each.term for each in answers) > before["term"]
        until(lambda: found.seen()["term"] > before["term"] + 1 and found.seen()["leader"], ANSWERED_S)
        found.publish()
        print(f"{Path(program).parent.name}: served again after {time.monotonic() - began:.2f} s")
        after = found.seen()
        assert set(after["peers"]) | {after["id"]} == members and after["size"] == 3


@pytest.mark.skipif(not OTHERS, reason="COOPY_NATS_SERVERS names no folder with other releases")
def test_a_release_that_is_not_known_is_among_those_that_are_here() -> None:
    """So that what is refused is refused for a reason: see the next test."""
    assert any(not votes.is_known(each.parent.name) for each in OTHERS)


@pytest.mark.parametrize("program", [str(each) for each in OTHERS if each.parent.name in ("2.11.0", "2.12.0")])
def test_an_old_release_takes_a_made_up_asker_into_the_group(program: str, tmp_path: Path) -> None:
    """Why these are not asked at all."""
    with asker(program, tmp_path) as (found, _):
        found.ask(votes.question("nobodyis"), 3)
        until(lambda: "nobodyis" in found.seen()["peers"] or found.seen()["size"] > 3, ANSWERED_S)

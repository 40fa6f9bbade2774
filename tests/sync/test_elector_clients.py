"""The requests of the clients of Metaparticle in six languages, against one sidecar and against three of which one is killed; and both scenarios."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from program import ROOT, environment
from sync.sidecars import KINDS, PATIENCE_S, POLL_S, TTL_S, Client, Sidecar, leading_last, running, three_sidecars

pytest.importorskip("click", reason="the extra [cli] is not installed")
pytest.importorskip("uvicorn", reason="the extra [elector] is not installed")

SLACK_S = 1.5
"""For a machine that does other things as well."""
TAKEOVER_S = TTL_S * 33 / 32 + POLL_S
"""The time to live, one tick, and the time to the next attempt."""


# -- one sidecar


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, starting: object) -> Iterator[Sidecar]:
    found = Sidecar(tmp_path_factory.mktemp("one") / "elector", "--owner", "pod-1")
    found.start()
    found.until_ready()
    yield found
    assert found.terminate() == 0
    assert found.log.read_text().endswith("ended; the locks are as they were\n")


@pytest.fixture(scope="module")
def held(one: Sidecar) -> dict[str, tuple[Client, float]]:
    """Each client holds a lock for longer than its time, then stops; and when another owner could take it."""
    clients = {kind: Client(kind, one, f"held by {kind}".replace(" ", "%20")) for kind in KINDS}
    threads = running(list(clients.values()))
    for each in clients.values():
        assert each.held.wait(PATIENCE_S)
    ends = time.monotonic() + 1.2 * TTL_S
    while time.monotonic() < ends:
        assert one.ask("GET", "/healthz")[0] == 200
        time.sleep(0.1)
    for each in clients.values():
        each.stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    freed: dict[str, float] = {}
    while len(freed) < len(clients):
        for kind in clients.keys() - freed.keys():
            if one.ask("PUT", f"/locks/{clients[kind].name}?owner=another")[0] == 200:
                freed[kind] = time.monotonic()
        time.sleep(0.01)
    return {kind: (client, freed[kind]) for kind, client in clients.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_holds_a_lock_at_one_sidecar_as_long_as_it_sends_heartbeats(
    held: dict[str, tuple[Client, float]], kind: str
) -> None:
    client, freed_s = held[kind]
    said = client.said
    # The acquisition: it was not there, and then it is.
    assert [(each.method, each.status) for each in said[:2]] == [("GET", 404), ("PUT", 200)]
    assert said[0].body == {"message": "Not found."}
    acquired = said[1]
    assert acquired.spec["owner"] == "pod-1" and acquired.body["metadata"]["namespace"] == "default"
    assert (acquired.body["kind"], acquired.body["apiVersion"]) == ("Lock", "metaparticle.io/v1")
    # The heartbeats: all 200, with the same token, and the time is renewed in its second half only.
    beats = said[2:]
    assert {each.status for each in beats} == {200} and {each.spec["token"] for each in beats} == {acquired.spec["token"]}
    methods = [each.method for each in beats]
    assert methods == (["GET", "PUT"] if client.kind.beats_with_get else ["PUT"]) * (
        len(methods) // (1 + client.kind.beats_with_get)
    )
    versions = [each.body["metadata"]["resourceVersion"] for each in beats if each.method == "PUT"]
    assert 1 < len(versions) and acquired.body["metadata"]["resourceVersion"] == versions[0] != versions[-1]
    # The release: no heartbeat more. Nobody else had it before its time was over, and then at once.
    renewals = [each for each, before in zip(said[1:], said, strict=False) if version(each) != version(before)]
    assert TTL_S <= freed_s - renewals[-1].sent_s <= TTL_S * 33 / 32 + SLACK_S


def version(said: object) -> object:
    return said.body.get("metadata", {}).get("resourceVersion")  # type: ignore[attr-defined]


def test_all_clients_of_one_sidecar_are_one_owner(one: Sidecar) -> None:
    first, second = Client("Java", one, "shared"), Client("Go", one, "shared")
    assert [first.ask("PUT"), second.ask("PUT"), first.ask("GET")] == [200, 200, 200]
    for each in (second.said[0], first.said[1]):
        assert (each.body["metadata"], each.spec["token"]) == (first.said[0].body["metadata"], first.said[0].spec["token"])


def test_a_lock_that_was_freed_is_200_for_get_409_for_post_and_200_for_put(one: Sidecar) -> None:
    assert one.ask("PUT", "/locks/freed")[0] == 200 == one.ask("DELETE", "/locks/freed")[0]
    status, lock = one.ask("GET", "/locks/freed")
    assert status == 200 and datetime.fromisoformat(lock["spec"]["expiry"]) <= datetime.now().astimezone()
    assert one.ask("POST", "/locks/freed") == (409, {"message": "Conflict"})
    assert one.ask("PUT", "/locks/freed")[0] == 200


def test_locks_are_on_the_disk_and_a_killed_sidecar_goes_on_with_them(one: Sidecar) -> None:
    taken = one.ask("PUT", "/locks/kept?owner=a")
    one.kill()
    one.start()
    one.until_ready()
    assert one.ask("PUT", "/locks/kept?owner=b")[0] == 409
    again = one.ask("PUT", "/locks/kept?owner=a")
    assert again[0] == 200 and again[1]["spec"]["token"] == taken[1]["spec"]["token"]


# -- three


class Replica:
    """A program of examples/kubernetes, beside a sidecar."""

    def __init__(self, program: str, sidecar: Sidecar, *arguments: str) -> None:
        script = Path(ROOT, "examples", "kubernetes", program)
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(script), *arguments],
            env=environment(ELECTOR=sidecar.uri),
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.process.stdout.close()


class Killed(NamedTuple):
    """What was there when one of three sidecars was killed, with all that asked it."""

    at_s: float
    clients: dict[str, tuple[Client, Client]]
    """By kind: who had the lock there, and who waited for it at another sidecar."""
    locks: list[Replica]
    elections: list[Replica]


@pytest.fixture(scope="module")
def starting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Sidecar]]:
    with three_sidecars(tmp_path_factory.mktemp("three")) as found:
        yield found


@pytest.fixture(scope="module")
def three(starting: list[Sidecar]) -> list[Sidecar]:
    """Three sidecars that keep their locks together, the one last whose node leads."""
    return leading_last(starting)


@pytest.fixture(scope="module")
def killed(three: list[Sidecar]) -> Iterator[Killed]:
    dies, lives, leads = three
    locks, elections = [Replica("lock.py", dies, "600")], [Replica("election.py", dies, "shard")]
    clients = {kind: (Client(kind, dies, f"wanted-{kind}"), Client(kind, lives, f"wanted-{kind}")) for kind in KINDS}
    try:
        threads = running([first for first, _ in clients.values()])
        assert locks[0].says() == "I have the lock!"
        assert [elections[0].says(), elections[0].says()] == ["I stand for election", "I am the master"]
        assert all(first.held.wait(PATIENCE_S) for first, _ in clients.values())
        locks += [Replica("lock.py", lives, "0")]
        elections += [Replica("election.py", each, "shard") for each in (lives, leads)]
        threads += running([second for _, second in clients.values()])
        assert all(second.has_waited.wait(PATIENCE_S) for _, second in clients.values())
        assert [each.says() for each in elections[1:]] == ["I stand for election"] * 2
        for first, _ in clients.values():
            first.stop.set()
        for each in (locks[0], elections[0], dies):
            each.process.kill()  # type: ignore[union-attr]
        dies.kill()
        at_s = time.monotonic()
        for _, second in clients.values():
            assert second.held.wait(PATIENCE_S)
            second.stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
        yield Killed(at_s, clients, locks, elections)
    finally:
        for replica in (*locks, *elections):
            replica.end()


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_gets_the_lock_of_a_killed_sidecar_within_its_time_and_the_next_attempt(killed: Killed, kind: str) -> None:
    first, second = killed.clients[kind]
    taken, waits = first.said[1], second.said
    won = next(each for each in waits if each.method == "PUT" and each.status == 200)
    refused = [each for each in waits if each.status == 409]
    assert refused and {each.method for each in refused} == {"PUT"}
    assert {each.spec["owner"] for each in refused} == {taken.spec["owner"]} != {won.spec["owner"]}
    assert all(datetime.fromisoformat(each.spec["expiry"]) for each in refused)
    assert {each.status for each in waits if each.method == "GET"} == {200}
    assert won.spec["token"] > taken.spec["token"]
    assert won.sent_s - killed.at_s <= TAKEOVER_S + SLACK_S
    last_kept = [each for each in first.said if each.method == "PUT"]
    renewal = next(each for each in last_kept if version(each) == version(last_kept[-1]))
    assert won.sent_s + SLACK_S - renewal.sent_s >= TTL_S, "not before its time"


# -- the scenarios of the README


def test_the_second_of_two_replicas_gets_the_lock_of_the_first_and_frees_it(killed: Killed) -> None:
    second = killed.locks[1]
    assert [second.says(), second.says(), second.says()] == ["I have the lock!", "I have released it.", ""]
    assert second.process.wait(PATIENCE_S) == 0


def test_of_three_replicas_one_is_master_after_the_master_was_killed_and_resigns_when_told(killed: Killed) -> None:
    heard: list[tuple[Replica, str]] = []
    threads = [
        threading.Thread(target=lambda each=each: heard.append((each, each.says())), daemon=True)
        for each in killed.elections[1:]
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while not heard and time.monotonic() < deadline:
        time.sleep(0.02)
    [(master, said)] = heard
    assert said == "I am the master"
    [follower] = set(killed.elections[1:]) - {master}
    follower.process.terminate()
    assert follower.process.wait(PATIENCE_S) == 0
    master.process.terminate()
    assert (master.says(), master.process.wait(PATIENCE_S)) == ("I lost the master", 0)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert heard[1:] == [(follower, "")]


def test_two_sidecars_of_three_end_in_order_at_sigterm(killed: Killed, three: list[Sidecar]) -> None:
    for each in three[1:]:
        assert each.process is not None
        each.process.terminate()
    assert [each.terminate() for each in three[1:]] == [0, 0]

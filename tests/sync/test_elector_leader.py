"""Three sidecars, of which the one is killed whose node leads, with the clients that hold locks there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sync.sidecars import PATIENCE_S, POLL_S, TTL_S, Client, Said, Sidecar, leading_last, running, three_sidecars

pytest.importorskip("click", reason="the extra [cli] is not installed")
pytest.importorskip("uvicorn", reason="the extra [elector] is not installed")

ELECTION_S = 15.0
"""How long a node waits for a majority. The servers elect in 4 to 9 s, and a lease that is given its time again by the new timekeeper has begun by then."""
SLACK_S = 1.5
"""For a machine that does other things as well."""
WITH_GET_AND_WITHOUT = ("Python", "Go", "Rust")


def first_renewal(said: list[Said]) -> Said:
    """Returns the first answer that has the newest version of a lock."""
    newest = said[-1].body["metadata"]["resourceVersion"]
    return next(each for each in said if each.method == "PUT" and each.body["metadata"]["resourceVersion"] == newest)


def one_that_leads(sidecars: list[Sidecar]) -> bool:
    """Whether one of the sidecars leads, and the others know that they do not."""
    answers = [each.ask("GET", "/readyz") for each in sidecars]
    return [status for status, _ in answers] == [200] * len(sidecars) and sum(bool(body["leads"]) for _, body in answers) == 1


def test_the_locks_at_a_killed_sidecar_whose_node_led_are_taken_over_once_after_the_election(tmp_path: Path) -> None:
    with three_sidecars(tmp_path) as sidecars:
        *others, leads = leading_last(sidecars)
        holders = {kind: Client(kind, leads, f"wanted-{kind}") for kind in WITH_GET_AND_WITHOUT}
        threads = running(list(holders.values()))
        assert all(each.held.wait(PATIENCE_S) for each in holders.values())
        waiters = {kind: [Client(kind, each, f"wanted-{kind}") for each in others] for kind in WITH_GET_AND_WITHOUT}
        threads += running([each for both in waiters.values() for each in both])
        assert all(each.has_waited.wait(PATIENCE_S) for both in waiters.values() for each in both)
        for each in holders.values():
            each.stop.set()
        leads.kill()
        killed_s = time.monotonic()
        ends_s = killed_s + ELECTION_S + TTL_S * 33 / 32 + POLL_S + SLACK_S
        while time.monotonic() < ends_s and not all(any(each.held.is_set() for each in both) for both in waiters.values()):
            time.sleep(0.02)
        time.sleep(2 * POLL_S)  # What the others are told then.
        assert one_that_leads(others)
        for both in waiters.values():
            for each in both:
                each.stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    for kind, both in waiters.items():
        taken = holders[kind].said[1]
        [won] = [each for each in both if each.held.is_set()]
        [other] = [each for each in both if each is not won]
        got = next(each for each in won.said if each.method == "PUT" and each.status == 200)
        assert got.sent_s <= ends_s and got.spec["token"] > taken.spec["token"]
        assert got.sent_s + SLACK_S - first_renewal(holders[kind].said).sent_s >= TTL_S, "not before its time"
        for client in both:
            puts = [each for each in client.said if each.method == "PUT"]
            assert {each.status for each in puts} - {503} == ({200, 409} if client is won else {409})
            assert {each.status for each in client.said if each.method == "GET" and each.sent_s > killed_s} <= {200}
            assert all(each.body["message"] for each in puts if each.status == 503)
        assert other.said[-1].spec["owner"] == got.spec["owner"] != taken.spec["owner"]
        print(f"{kind}: taken over {got.sent_s - killed_s:.2f} s after the kill")

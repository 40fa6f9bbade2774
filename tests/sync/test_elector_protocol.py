"""The protocol of an elector, row by row, over a system in memory whose time the tests tick."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from coopy import OutcomeUnknown, SystemClosed, Unavailable
from coopy.sync.elector import Elector, Seen
from coopy.sync.elector_protocol import NAME_LENGTH_MAX, Reply, Request, Sidecar
from coopy.testing import memory_system

S = 1_000_000_000
TTL_S = 32
NOON = datetime(2026, 11, 30, 12, tzinfo=timezone(timedelta(hours=1)))


class Electors:
    """Two sidecars, "mine" and "other", of one elector; and the time of both."""

    def __init__(self) -> None:
        self.now = NOON
        self.state = memory_system(Elector(locks_max=5))
        self.state.claim("me", 0)
        self.sidecars = {owner: Sidecar(self, owner, TTL_S * S, lambda: self.now) for owner in ("mine", "other")}
        self.before_free: list[Callable[[], object]] = []
        self.before_take: list[Callable[[], object]] = []
        self.fails: Exception | None = None

    # What a sidecar asks.

    async def get(self, name: str) -> Any:
        return self._told(self.state.get(name))

    async def take(self, name: str, owner: str, ttl_ns: int) -> Any:
        if self.before_take:
            self.before_take.pop(0)()
        return self._told(self.state.take(name, owner, ttl_ns))

    async def create(self, name: str, owner: str, ttl_ns: int) -> Any:
        return self._told(self.state.create(name, owner, ttl_ns))

    async def free(self, name: str, owner: str, token: int | None) -> Any:
        return self._told(self.state.free(name, owner, token))

    async def until_free(self, name: str, ends: float) -> bool:
        while self.before_free:
            self.before_free.pop(0)()
            if not self.state.is_held(name):
                return True
        return False

    def _told(self, found: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        return found

    # What a test does.

    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        for _ in range(seconds):
            self.state.tick("me", self.state.count().beat, S)

    def ask(self, method: str, target: str, body: bytes = b"", of: str = "mine") -> Reply:
        path, _, query = target.partition("?")
        found = asyncio.run(self.sidecars[of].answer(Request(method, path, query, body)))
        json.dumps(found.body)
        return found

    def status(self, method: str, target: str, body: bytes = b"", of: str = "mine") -> int:
        return self.ask(method, target, body, of).status


@pytest.fixture
def electors() -> Electors:
    return Electors()


def expiry(reply: Reply) -> datetime:
    return datetime.fromisoformat(reply.body["spec"]["expiry"])


def named(name: object) -> bytes:
    return json.dumps({"metadata": {"name": name}}).encode()


# -- the rows of the original


def test_get_of_a_lock_that_never_was(electors: Electors) -> None:
    assert electors.ask("GET", "/locks/x") == Reply(404, {"message": "Not found."})


def test_put_of_a_lock_that_never_was_creates_it(electors: Electors) -> None:
    reply = electors.ask("PUT", "/locks/x", b"of this nothing is read")
    assert reply.status == 200
    assert reply.body == {
        "metadata": {"name": "x", "namespace": "default", "resourceVersion": "2"},
        "kind": "Lock",
        "apiVersion": "metaparticle.io/v1",
        "spec": {
            "owner": "mine",
            "expiry": "2026-11-30T12:00:32.000+01:00",
            "token": 2,
            "ttl": 32000,
            "remaining": 31000,
            "waited": 0,
        },
    }
    assert electors.ask("GET", "/locks/x") == reply
    assert electors.ask("GET", "/locks/x", of="other") == reply


def test_get_of_a_lock_that_has_expired_is_200_all_the_same(electors: Electors) -> None:
    before = electors.ask("PUT", "/locks/x")
    electors.pass_time(40)
    reply = electors.ask("GET", "/locks/x")
    assert (reply.status, expiry(reply)) == (200, expiry(before))


@pytest.mark.parametrize("of", ["mine", "other"])
def test_put_of_a_lock_that_has_expired_takes_it_whoever_had_it(electors: Electors, of: str) -> None:
    electors.ask("PUT", "/locks/x")
    electors.pass_time(33)
    reply = electors.ask("PUT", "/locks/x", of=of)
    assert (reply.status, reply.body["spec"]["owner"]) == (200, of)
    assert expiry(reply) == electors.now + timedelta(seconds=TTL_S)


def test_put_of_the_own_lock_in_its_second_half_renews_it(electors: Electors) -> None:
    electors.ask("PUT", "/locks/x")
    electors.pass_time(20)
    reply = electors.ask("PUT", "/locks/x")
    assert reply.status == 200
    assert timedelta(0) <= expiry(reply) - electors.now - timedelta(seconds=TTL_S) <= timedelta(seconds=1)


def test_put_of_the_own_lock_in_its_first_half_changes_nothing(electors: Electors) -> None:
    before = electors.ask("PUT", "/locks/x")
    electors.pass_time(10)
    reply = electors.ask("PUT", "/locks/x")
    assert reply.status == 200
    assert reply.body["metadata"] == before.body["metadata"] and expiry(reply) == expiry(before)


def test_put_of_another_owner_s_lock_is_409_with_its_holder_and_expiry(electors: Electors) -> None:
    taken = electors.ask("PUT", "/locks/x")
    assert electors.ask("PUT", "/locks/x", of="other") == taken._replace(status=409)


@pytest.mark.parametrize(("target", "body"), [("/locks/x", b""), ("/locks", named("x")), ("/locks/", named("x"))])
def test_post_creates_a_lock_and_refuses_one_that_is_there_even_expired(electors: Electors, target: str, body: bytes) -> None:
    reply = electors.ask("POST", target, body)
    assert (reply.status, reply.body["spec"]["owner"]) == (200, "mine")
    assert electors.ask("POST", target, body) == Reply(409, {"message": "Conflict"})
    electors.pass_time(40)
    assert electors.ask("POST", target, body, of="other") == Reply(409, {"message": "Conflict"})


@pytest.mark.parametrize("path", ["/", "/lock/x", "/locksmith/x", "//locks/x", "/v1/locks/x"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_a_path_that_is_not_below_locks_is_unknown(electors: Electors, path: str, method: str) -> None:
    assert electors.ask(method, path) == Reply(404, {"message": f"Unknown path: {path}"})


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_a_path_of_more_than_three_parts_is_429(electors: Electors, method: str) -> None:
    assert electors.ask(method, "/locks/x/y") == Reply(429, {"message": "Bad path: /locks/x/y"})


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "OPTIONS", "TRACE", "BREW"])
def test_a_method_that_the_original_never_answers_is_405(electors: Electors, method: str) -> None:
    reply = electors.ask(method, "/locks/x")
    assert (reply.status, reply.headers) == (405, (("allow", "GET, PUT, POST, DELETE"),))


@pytest.mark.parametrize(
    ("error", "status"), [(Unavailable("nobody"), 503), (OutcomeUnknown("perhaps"), 503), (SystemClosed("closed"), 500)]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_what_the_storage_says_is_said(electors: Electors, method: str, error: Exception, status: int) -> None:
    electors.fails = error
    assert electors.ask(method, "/locks/x") == Reply(status, {"message": str(error)})


# -- ours


def test_delete_frees_the_own_lock_at_once_and_it_is_there_as_one_that_has_expired(electors: Electors) -> None:
    electors.ask("PUT", "/locks/x")
    reply = electors.ask("DELETE", "/locks/x")
    assert reply.status == 200 and expiry(reply) <= electors.now
    assert electors.status("GET", "/locks/x") == 200 and electors.status("POST", "/locks/x") == 409
    assert electors.status("DELETE", "/locks/x") == 200
    assert electors.ask("PUT", "/locks/x", of="other").body["spec"]["owner"] == "other"


def test_delete_frees_nobody_else_s_lock_and_none_of_a_later_token(electors: Electors) -> None:
    assert electors.ask("DELETE", "/locks/x") == Reply(404, {"message": "Not found."})
    taken = electors.ask("PUT", "/locks/x")
    token = taken.body["spec"]["token"]
    assert electors.ask("DELETE", "/locks/x", of="other") == taken._replace(status=409)
    assert electors.status("DELETE", f"/locks/x?token={token - 1}") == 409
    assert electors.status("DELETE", f"/locks/x?token={token}") == 200


def test_an_owner_of_ones_own_is_kept_apart_and_can_t_be_taken_for_another_elector(electors: Electors) -> None:
    taken = electors.ask("PUT", "/locks/x?owner=worker-1")
    assert taken.body["spec"]["owner"] == "mine/worker-1"
    assert electors.status("PUT", "/locks/x?owner=worker-2") == 409
    assert electors.status("PUT", "/locks/x") == 409
    assert electors.status("PUT", "/locks/x?owner=worker-1", of="other") == 409
    assert electors.status("PUT", "/locks/x?owner=mine/worker-1", of="other") == 400
    assert electors.status("DELETE", "/locks/x?owner=worker-2") == 409
    assert electors.status("DELETE", "/locks/x?owner=worker-1") == 200


def test_a_put_may_wait_until_the_lock_is_free(electors: Electors) -> None:
    electors.ask("PUT", "/locks/x")
    electors.before_free = [lambda: None, lambda: electors.state.free("x", "mine")]
    assert electors.ask("PUT", "/locks/x?wait=5", of="other").body["spec"]["owner"] == "other"


def test_a_put_says_how_long_it_waited_before_it_took_the_lock(electors: Electors, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]

    def passes(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(asyncio.BaseEventLoop, "time", lambda loop: now[0])
    electors.ask("PUT", "/locks/x")
    electors.before_free = [lambda: passes(3), lambda: (passes(1.25), electors.state.free("x", "mine"))]
    electors.before_take = [lambda: passes(0.5), lambda: passes(2)]
    taken = electors.ask("PUT", "/locks/x?wait=5", of="other").body["spec"]
    assert (taken["owner"], taken["waited"]) == ("other", 4750), (
        "what passed while it was taken is no time that is sure to be over"
    )
    assert electors.ask("PUT", "/locks/x", of="other").body["spec"]["waited"] == 0


def test_a_put_that_waits_is_refused_if_another_was_quicker_until_its_time_is_over(electors: Electors) -> None:
    electors.ask("PUT", "/locks/x")
    electors.before_free = [lambda: electors.state.free("x", "mine"), lambda: None]
    electors.before_take = [lambda: None, lambda: electors.state.take("x", "quicker", S)]
    assert electors.ask("PUT", "/locks/x?wait=5", of="other").body["spec"]["owner"] == "quicker"
    assert electors.before_free == [], "it waited on"
    assert electors.status("PUT", "/locks/x?wait=5") == 409


def test_a_put_without_wait_does_not(electors: Electors) -> None:
    electors.ask("PUT", "/locks/x")
    electors.before_free = [lambda: electors.state.free("x", "mine")]
    assert electors.status("PUT", "/locks/x", of="other") == 409
    assert electors.status("PUT", "/locks/x?wait=0", of="other") == 409


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/locks", b""),
        ("POST", "/locks", b"{"),
        ("POST", "/locks", b"[" * 100_000),
        ("POST", "/locks", b'"metadata"'),
        ("POST", "/locks", b'{"metadata": 3}'),
        ("POST", "/locks", named(3)),
        ("POST", "/locks", named("")),
        ("POST", "/locks", named("x/y")),
        ("POST", "/locks", named("x\ny")),
        ("POST", "/locks", b"\xff"),
        ("GET", "/locks", b""),
        ("PUT", f"/locks/{'x' * (NAME_LENGTH_MAX + 1)}", b""),
        ("PUT", "/locks/x\x00", b""),
        ("PUT", "/locks/x?owner=", b""),
        ("PUT", f"/locks/x?owner={'o' * 300}", b""),
        ("PUT", "/locks/x?owner=a%0Ab", b""),
        ("PUT", "/locks/x?wait=-1", b""),
        ("PUT", "/locks/x?wait=26", b""),
        ("PUT", "/locks/x?wait=1.5", b""),
        ("PUT", "/locks/x?wait=", b""),
        ("PUT", "/locks/x?wait=%D9%A3", b""),
        ("DELETE", "/locks/x?token=a", b""),
        ("DELETE", f"/locks/x?token={10**30}", b""),
    ],
)
def test_what_names_no_lock_or_says_something_odd_is_400_and_changes_nothing(
    electors: Electors, method: str, target: str, body: bytes
) -> None:
    reply = electors.ask(method, target, body)
    assert reply.status == 400 and reply.body["message"]
    assert len(electors.state) == 0


def test_the_longest_name_and_one_in_other_letters_are_fine(electors: Electors) -> None:
    for name in ("x" * NAME_LENGTH_MAX, "Schloß 3", "a:b", "..", "a?b"):
        assert electors.ask("PUT", "/locks/x", named(name)).status == 200
        assert electors.ask("POST", "/locks", named(name)).body["metadata"]["name"] == name
        electors.state.free(name, "mine")


def test_more_locks_than_there_may_be_are_507(electors: Electors) -> None:
    for number in range(5):
        assert electors.status("PUT", f"/locks/{number}") == 200
    assert electors.status("PUT", "/locks/more") == 507
    assert electors.status("POST", "/locks/more") == 507
    assert electors.status("PUT", "/locks/4") == 200


# -- the expiry that is shown


def test_the_expiry_that_was_shown_is_shown_again_though_time_is_known_in_ticks_only(electors: Electors) -> None:
    before = electors.ask("PUT", "/locks/x")
    electors.now += timedelta(seconds=0.9)  # No tick yet.
    assert expiry(electors.ask("GET", "/locks/x")) == expiry(before)


def test_another_expiry_is_shown_when_the_clock_was_set_and_nothing_else_depends_on_it(electors: Electors) -> None:
    electors.ask("PUT", "/locks/x")
    electors.now += timedelta(hours=1)
    reply = electors.ask("PUT", "/locks/x", of="other")
    assert (reply.status, expiry(reply)) == (409, electors.now + timedelta(seconds=TTL_S))
    electors.now -= timedelta(hours=2)
    reply = electors.ask("PUT", "/locks/x", of="other")
    assert (reply.status, expiry(reply)) == (409, electors.now + timedelta(seconds=TTL_S))


def test_a_lock_that_is_held_never_shows_an_expiry_that_is_over(electors: Electors) -> None:
    electors.ask("PUT", "/locks/y")
    electors.ask("PUT", "/locks/x")
    electors.pass_time(32)
    reply = electors.ask("PUT", "/locks/x", of="other")
    assert (reply.status, expiry(reply)) == (409, electors.now + timedelta(seconds=1))


def test_what_remains_is_never_more_than_what_is_counted(electors: Electors) -> None:
    electors.ask("PUT", "/locks/x")
    for left in range(TTL_S, 0, -1):
        seen = electors.state.get("x")
        assert isinstance(seen, Seen) and seen.left_ns == left * S
        assert electors.ask("GET", "/locks/x").body["spec"]["remaining"] == (left - 1) * 1000
        electors.pass_time(1)

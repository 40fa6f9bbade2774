"""When an election is begun, and when not: one node's judgement, and all nodes of a cluster in a time and a network that are made up."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from coopy.network.server.elections import LOOKED_S_MAX, WatchedTime
from coopy.network.server.vigil import (
    DOUBT_S,
    FRESH_S,
    GONE_S,
    LEADERLESS_S,
    PROBE_S,
    RANK_S,
    SETTLE_S,
    SETTLE_S_MAX,
    SILENT_S,
    SILENT_S_MAX,
    SLOW,
    SLOW_KEPT_S,
    VOTED_S,
    Group,
    Vigil,
)

STEP_S = 0.02
LINE, FACTS = "S-R3F-line", "S-R3F-facts"


class Node:
    """The node of server A, in time that is made up. C leads whatever is not said to be led by another."""

    def __init__(self, members: str = "ABC", leader: str = "C", last: int = 5, names: tuple[str, ...] = (LINE,)) -> None:
        self.vigil, self.now, self.members, self.begun = Vigil(), 100.0, members, list[tuple[str, int, float]]()
        self.led = dict.fromkeys(names, leader)
        self.terms, self.last = dict.fromkeys(names, 3), last
        self.number = 0
        self.asked: list[Group] = []
        self.see()

    def see(self) -> None:
        names = {each: f"host{each}:5466" for each in self.members if each != "A"}
        self.vigil.seen(
            "COOPY",
            [
                Group(name, "A", leader, self.terms[name], len(self.members), self.last, names)
                for name, leader in self.led.items()
            ],
            self.now,
        )

    def go(
        self, seconds: float, answering: str = "AB", agreeing: str = "", told: Mapping[str, Mapping[str, int]] | None = None
    ) -> None:
        """Time passes; of the members these answer at once, and the nodes of these lack what this one lacks."""
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now = min(self.now + STEP_S, until)
            begun = self.vigil.elections(self.now)
            self.begun += [(group.name, term, self.now) for group, term in begun]
            self.see()
            self.number, self.asked = self.vigil.begin(self.now)
            for group, member in itertools.product(self.asked, answering):
                self.vigil.answered(self.number, group.name, self.terms[group.name], member, self.now)
            for member, view in (told or {}).items():
                self.vigil.told(member, view, self.now)
            view = self.vigil.view(self.now)
            if view:
                for member in agreeing:
                    self.vigil.agreed(self.number, member, view, self.now)

    @property
    def lacking(self) -> set[str]:
        return set(self.vigil.view(self.now))


def test_a_leader_that_answers_is_not_silent_however_long_it_does() -> None:
    node = Node()
    node.go(30, "ABC", "B")
    assert not node.lacking and not node.begun and not node.vigil.is_in_doubt(node.now)


def test_a_leader_that_answers_no_more_is_silent_after_a_while() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(SILENT_S - 2 * STEP_S, "AB")
    assert not node.lacking and node.vigil.is_in_doubt(node.now)
    node.go(4 * STEP_S, "AB")
    assert node.lacking == {LINE}


def test_one_node_alone_begins_nothing() -> None:
    node = Node()
    node.go(20, "AB")
    assert node.lacking == {LINE} and not node.begun


def test_a_majority_begins_an_election_in_the_next_term() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(SILENT_S + 4 * STEP_S, "AB", "B")
    assert [(name, term) for name, term, _ in node.begun] == [(LINE, 4)]


@pytest.mark.parametrize(("agreeing", "begins"), [("", 0), ("B", 0), ("BD", 1), ("BDE", 1)])
def test_of_five_three_must_agree(agreeing: str, begins: int) -> None:
    node = Node("ABCDE")
    node.go(1, "ABCDE")
    node.go(1, "ABDE", agreeing)
    assert len(node.begun) == begins


@pytest.mark.parametrize("answering", ["", "B", "BC", "C"])
def test_a_node_whose_own_server_does_not_answer_finds_nobody_silent(answering: str) -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(20, answering, "B")
    assert not node.lacking and not node.begun


def test_after_its_own_server_was_stopped_a_node_waits_for_the_leader_as_at_first() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(20, "", "B")
    node.go(SILENT_S - 2 * STEP_S, "AB", "B")
    assert not node.lacking and not node.begun


def test_what_another_node_saw_long_ago_is_not_counted() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(FRESH_S + SILENT_S, "AB")
    # It comes now, and was asked for then: its node was stopped after it had said so.
    old = node.number - round(FRESH_S / STEP_S) - 2
    node.vigil.agreed(old, "B", {LINE: 3}, node.now)
    node.go(2 * STEP_S, "AB")
    assert node.lacking and not node.begun


@pytest.mark.parametrize("member", ["D", "", "A", "C"])
def test_only_another_member_is_counted(member: str) -> None:
    """A server that is none, this one's own once more; and the leader's node counts, as it says by that that it does not lead."""
    node = Node()
    node.go(1, "ABC")
    node.go(1, "AB", member)
    assert len(node.begun) == (member == "C")


def test_nothing_listens_at_the_leaders_address() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(4 * STEP_S, "AB", "B")
    assert node.vigil.addresses(node.now) == {"C": "hostC:5466"}
    node.vigil.gone("C")
    node.go(GONE_S, "AB", "B")
    assert len(node.begun) == 1


def test_an_address_is_looked_at_when_a_leader_has_just_become_silent_and_not_for_ever() -> None:
    node = Node()
    node.go(1, "ABC")
    assert node.vigil.addresses(node.now) == {}
    node.go(GONE_S, "AB")
    assert node.vigil.addresses(node.now)
    node.go(GONE_S + DOUBT_S, "AB")
    assert node.vigil.addresses(node.now) == {}


def test_an_address_where_nothing_listened_once_is_no_reason_later() -> None:
    node = Node()
    node.go(1, "ABC")
    node.vigil.gone("C")
    node.go(1, "ABC")
    node.go(SILENT_S - 2 * STEP_S, "AB", "B")
    assert not node.begun


def answered_late(node: Node, late_s: float) -> None:
    """The leader answers the next question so late, and all others at once."""
    number, _ = node.vigil.begin(node.now)
    began = node.now
    while node.now < began + late_s:
        node.now += STEP_S
        node.see()
        node.vigil.answered(number, LINE, 3, "A", node.now)
    node.vigil.answered(number, LINE, 3, "C", node.now)


@pytest.mark.parametrize("late_s", [0.1, 0.2, 0.3])
def test_a_leader_that_is_slow_is_given_more_time(late_s: float) -> None:
    node = Node()
    node.go(1, "ABC")
    answered_late(node, late_s)
    node.go(SILENT_S + SLOW * late_s - 4 * STEP_S, "AB", "B")
    assert not node.begun
    node.go(SLOW * STEP_S + 8 * STEP_S, "AB", "B")
    assert len(node.begun) == 1


def test_how_slow_a_leader_was_is_forgotten_and_bounded() -> None:
    node = Node()
    node.go(1, "ABC")
    answered_late(node, 0.35)
    node.go(SILENT_S_MAX - 4 * STEP_S, "AB")
    assert not node.lacking
    node.go(6 * STEP_S, "AB")
    assert node.lacking
    node.go(SLOW_KEPT_S + 1, "ABC")
    node.go(SILENT_S + 4 * STEP_S, "AB")
    assert node.lacking


def test_how_long_a_leader_was_away_is_not_how_slow_it_is() -> None:
    """The node was cut off from it; all that was asked meanwhile is answered at once."""
    node = Node()
    node.go(1, "ABC")
    before = node.number
    node.go(6, "AB")
    for number in range(before + 1, node.number + 1):
        node.vigil.answered(number, LINE, 3, "C", node.now)
    node.go(1, "ABC")
    node.go(SILENT_S + 4 * STEP_S, "AB", "B")
    assert len(node.begun) == 1


def test_the_leader_itself_a_group_without_entries_and_a_group_of_two_are_left_alone() -> None:
    for node in (Node(leader="A"), Node(last=0), Node("AC")):
        node.go(20, "AB", "BC")
        assert not node.lacking and not node.begun


@pytest.mark.parametrize(("term", "last"), [(0, 0), (0, 5), (3, 0)])
def test_a_group_that_has_had_no_leader_is_not_even_asked(term: int, last: int) -> None:
    """Asked again and again, its members would wait for one for ever."""
    node = Node(leader="", last=last)
    node.terms[LINE] = term
    node.see()
    node.go(20, "ABC", "BC")
    assert node.asked == [] and not node.vigil.is_in_doubt(node.now) and not node.begun
    node.terms[LINE], node.last, node.led[LINE] = 3, 5, "C"
    node.go(1, "ABC")
    assert node.asked


def test_an_entry_that_is_added_is_a_sign_of_life() -> None:
    node = Node()
    node.go(1, "ABC")
    for _ in range(50):
        node.last += 1
        node.go(SILENT_S / 2, "AB", "B")
    assert not node.begun


def test_a_new_leader_is_not_silent_for_what_the_one_before_it_was() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(2, "AB")
    node.led[LINE], node.terms[LINE] = "B", 5
    node.go(SILENT_S - 2 * STEP_S, "A", "C")
    assert not node.lacking
    node.go(1, "A", "")
    assert node.lacking


def test_the_second_of_those_that_agree_waits_and_sees_that_the_term_has_risen() -> None:
    node = Node("ABC", leader="B")
    node.go(1, "ABC")
    # A is the first.
    node.go(SILENT_S + RANK_S / 2, "AC", "C")
    assert len(node.begun) == 1

    class Second(Node):
        def see(self) -> None:
            names = {"0": "host0:5466", "C": "hostC:5466"}
            self.vigil.seen("COOPY", [Group(LINE, "A", self.led[LINE], self.terms[LINE], 3, 5, names)], self.now)

    second = Second()
    second.go(1, "A0C")
    second.go(SILENT_S + RANK_S / 2, "A0", "0")
    assert second.lacking and not second.begun
    second.terms[LINE] = 4  # The first has begun it.
    second.go(SETTLE_S - 4 * STEP_S, "A0", "0")
    assert not second.begun
    second.go(1, "A0", "0")
    assert [term for _, term, _ in second.begun] == [5]


def test_an_election_of_which_nothing_comes_is_begun_again_ever_more_seldom() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(40, "AB", "B")
    times = [at for _, _, at in node.begun]
    assert [term for _, term, _ in node.begun] == list(range(4, 4 + len(times)))
    gaps = [later - before for before, later in itertools.pairwise(times)]
    assert gaps[:6] == pytest.approx([1, 2, 4, 8, 8, 8], abs=2 * STEP_S) and SETTLE_S_MAX == 8


def test_the_next_leader_that_is_lost_is_not_waited_for_longer() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(20, "AB", "B")
    node.led[LINE], node.terms[LINE] = "B", 20
    node.go(10, "ABC")
    before = len(node.begun)
    node.go(SILENT_S + 4 * STEP_S, "AC", "C")
    assert len(node.begun) == before + 1


def test_a_server_that_knows_of_no_leader_has_time_to_hear_one() -> None:
    node = Node(leader="")
    node.go(LEADERLESS_S - STEP_S, "ABC", "BC")
    assert not node.lacking and node.vigil.is_in_doubt(node.now)
    node.go(3 * STEP_S, "ABC", "BC")
    assert len(node.begun) == 1


def test_a_server_that_has_lost_its_leader_hears_the_next_one_at_once() -> None:
    node = Node()
    node.go(1, "ABC")
    node.led[LINE], node.terms[LINE] = "", 5
    node.go(SILENT_S - STEP_S, "ABC")
    assert not node.lacking
    node.go(3 * STEP_S, "ABC")
    assert node.lacking


def test_an_election_with_split_votes_is_begun_again_as_soon_as_that_is_clear() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(SILENT_S + 4 * STEP_S, "AB", "B")
    ((_, term, at),) = node.begun
    node.led[LINE], node.terms[LINE] = "", term
    node.go(0.7, "AB", "B")
    node.terms[LINE] = term + 1  # Both campaign, and vote for themselves.
    node.go(2, "AB", "B")
    assert node.begun[1][1] == term + 2
    assert node.begun[1][2] - at == pytest.approx(0.7 + VOTED_S, abs=5 * STEP_S)


def test_a_leader_that_was_started_again_says_that_it_does_not_lead() -> None:
    node = Node()
    node.go(1, "ABC")
    node.go(4 * STEP_S, "ABC", "C", told={"C": {LINE: 3}})
    assert len(node.begun) == 1


@pytest.mark.parametrize("told", [{"B": {LINE: 3}}, {"C": {LINE: 2}}, {"C": {FACTS: 3}}, {"C": {}}, {"D": {LINE: 9}}])
def test_no_other_word_says_that(told: dict[str, dict[str, int]]) -> None:
    """That of another server, of a reign before this one, of another group."""
    node = Node()
    node.go(1, "ABC")
    node.go(1, "ABC", "B", told=told)
    assert not node.lacking and not node.begun


def test_each_group_of_a_leader_has_its_turn_and_all_are_asked_in_doubt() -> None:
    names = ("a", "b", "c")
    node = Node(names=names)
    asked = []
    for _ in range(6):
        node.go(STEP_S, "ABC")
        asked.append([group.name for group in node.asked])
    assert all(len(each) == 1 for each in asked) and {each[0] for each in asked} == set(names)
    node.go(SILENT_S + 6 * STEP_S, "AB", "B")
    assert {group.name for group in node.asked} == set(names)
    assert {name for name, _, _ in node.begun} == set(names)


def test_two_leaders_are_told_apart() -> None:
    node = Node(names=(LINE, FACTS))
    node.led[FACTS] = "B"
    node.go(1, "ABC")
    node.go(1, "AB", "B")
    assert {name for name, _, _ in node.begun} == {LINE}


def test_what_is_of_no_group_or_round_that_is_known_is_dropped() -> None:
    node = Node()
    node.go(1, "ABC")
    node.vigil.answered(node.number, "another", 99, "B", node.now)
    node.vigil.answered(10**6, LINE, 99, "B", node.now)
    node.vigil.agreed(10**6, "B", {LINE: 99}, node.now)
    node.vigil.seen("COOPY", [], node.now)
    assert not node.lacking and node.vigil.begin(node.now)[1] == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"id": "A"},
        {"id": "A", "term": "x", "size": 3, "pindex": 1, "peers": {}},
        {"id": "A", "term": 1, "size": 3, "pindex": 1, "peers": []},
        {"id": "A", "term": 1, "size": 3, "pindex": 1, "peers": {"B": None}},
    ],
)
def test_what_a_server_says_in_another_way_is_no_group(said: dict[str, Any]) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        Group.of("x", said)


def test_time_in_which_a_node_did_not_look_does_not_count() -> None:
    at = 0.0
    clock = WatchedTime(lambda: at)
    for _ in range(10):
        at += 0.1
        clock.look()
        assert not clock.was_away
    assert clock.now == pytest.approx(1.0)
    at += 3600
    assert clock.look() == pytest.approx(1.0 + LOOKED_S_MAX) and clock.was_away


# -- a whole cluster, in time and a network that are made up


class Made:
    """Nodes and servers of one group. Server 0 leads, and lives; a message takes a few ms, and more where somebody is slow or stopped."""

    def __init__(self, count: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ids = [f"server{number:02}" for number in range(count)]
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.cut: set[tuple[int, int]] = set()
        self.stopped_until = [0.0] * (2 * count)
        """Of each server, and of each node."""
        self.slow_s = [0.0] * count
        self.vigils = [Vigil() for _ in self.ids]
        self.clocks = [WatchedTime(lambda: self.now) for _ in self.ids]
        self.begun_at = [float("-inf")] * count
        self.elections: list[tuple[float, int]] = []
        self.inbox: list[list[Callable[[float], None]]] = [[] for _ in self.ids]

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))

    def send(self, one: int, other: int, what: Callable[[], None]) -> None:
        """From a server to another; each of the two may be stopped or slow."""
        if (min(one, other), max(one, other)) in self.cut:
            return
        delay = (
            self.chance.uniform(0.0002, 0.005)
            + self.slow_s[one] * self.chance.random()
            + self.slow_s[other] * self.chance.random()
        )
        self.at(max(self.now + delay, self.stopped_until[one], self.stopped_until[other]), what)

    def to_node(self, number: int, what: Callable[[float], None]) -> None:
        self.inbox[number].append(what)
        self.at(max(self.now, self.stopped_until[len(self.ids) + number]), lambda: self.turn(number))

    def look(self, number: int) -> None:
        """A node looks now and then, whether anything has come or not."""
        stopped = self.stopped_until[len(self.ids) + number]
        if stopped > self.now:
            self.at(stopped, lambda: self.look(number))
            return
        self.turn(number)
        self.at(
            self.now + (DOUBT_S / 5 if self.vigils[number].is_in_doubt(self.clocks[number].now) else DOUBT_S),
            lambda: self.look(number),
        )

    def turn(self, number: int) -> None:
        """What `Elections._watch` does in one turn."""
        vigil, clock = self.vigils[number], self.clocks[number]
        messages, self.inbox[number] = self.inbox[number], []
        now = clock.look()
        for each in messages:
            each(now)
        if not clock.was_away:
            for _ in vigil.elections(now):
                self.elections.append((self.now, number))
            if now - self.begun_at[number] >= (DOUBT_S if vigil.is_in_doubt(now) else PROBE_S):
                self.begun_at[number] = now
                self.ask_own(number)
                self.ask_all(number, now)

    def ask_own(self, number: int) -> None:
        names = {each: "" for index, each in enumerate(self.ids) if index != number}
        group = Group(LINE, self.ids[number], self.ids[0], 3, len(self.ids), 5, names)
        self.send(number, number, lambda: self.to_node(number, lambda now: self.vigils[number].seen("COOPY", [group], now)))

    def ask_all(self, number: int, now: float) -> None:
        vigil = self.vigils[number]
        round_number, asked = vigil.begin(now)
        for member in range(len(self.ids)) if asked else ():
            self.send(number, member, lambda member=member: self.answer(number, member, round_number))  # type: ignore[misc]
        view = vigil.view(now)
        for other in range(len(self.ids)) if view else ():
            if other != number:
                self.send(number, other, lambda other=other: self.asked(number, other, round_number, view))  # type: ignore[misc]

    def answer(self, number: int, member: int, round_number: int) -> None:
        take = lambda now: self.vigils[number].answered(round_number, LINE, 3, self.ids[member], now)  # noqa: E731
        self.send(member, number, lambda: self.to_node(number, take))

    def asked(self, number: int, other: int, round_number: int, view: Mapping[str, int]) -> None:
        def take(now: float) -> None:
            self.vigils[other].told(self.ids[number], view, now)
            seen = self.vigils[other].view(now)
            agreed = lambda now: self.vigils[number].agreed(round_number, self.ids[other], seen, now)  # noqa: E731
            self.send(other, number, lambda: self.to_node(number, agreed))

        self.to_node(other, take)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.events and self.events[0][0] <= until:
            self.now, _, what = heapq.heappop(self.events)
            what()
        self.now = until

    def begin(self) -> None:
        for number in range(len(self.ids)):
            self.at(self.chance.uniform(0, 0.2), lambda number=number: self.look(number))  # type: ignore[misc]
        self.run(2)


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_a_leader_that_a_majority_can_hear_is_not_deposed_whatever_the_others_suffer(count: int, seed: int) -> None:
    made = Made(count, seed)
    made.begin()
    minority = (count - 1) // 2
    for _ in range(12):
        chance, others = made.chance, list(range(1, count))
        chance.shuffle(others)
        struck = others[:minority]
        kind = chance.randrange(5)
        for each in struck:
            if kind == 0:  # Server and node are stopped, and go on.
                made.stopped_until[each] = made.stopped_until[count + each] = made.now + chance.uniform(0.05, 10)
            elif kind == 1:  # The server alone.
                made.stopped_until[each] = made.now + chance.uniform(0.05, 10)
            elif kind == 2:  # Cut off from the leader alone, or from all.
                cut = [0] if chance.random() < 0.5 else [other for other in range(count) if other != each]
                made.cut.update((min(each, other), max(each, other)) for other in cut)
            elif kind == 3:
                made.slow_s[each] = chance.uniform(0, 2)
        # The node of anybody may be stopped besides, and the leader's server may be slow.
        if kind in (0, 4):
            for each in range(count):
                made.stopped_until[count + each] = made.now + chance.uniform(0, 3)
        made.slow_s[0] = chance.choice([0, 0.05, 0.09])
        made.run(chance.uniform(1, 8))
        made.cut.clear()
        made.slow_s = [0.0] * count
        made.run(chance.uniform(0, 3))
    assert made.elections == []


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("seed", range(2))
def test_a_leader_that_no_majority_can_hear_is_followed_by_another_soon(count: int, seed: int) -> None:
    made = Made(count, seed)
    made.begin()
    made.run(made.chance.uniform(0, 1))
    died = made.now
    made.stopped_until[0] = died + 1000
    made.run(3)
    assert made.elections and made.elections[0][0] - died < SILENT_S + PROBE_S + 0.2
    # The others wait for the first, which begins again after a second as nothing comes of it here.
    assert len({round(at, 1) for at, _ in made.elections}) <= 3 + count

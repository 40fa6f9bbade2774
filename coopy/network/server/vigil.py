"""Decides when an election is begun: once a majority of a group's servers knows of no leader that lives.

Judges; it sends nothing, and every time is an argument. `coopy.network.server.elections` does what it says, and tells it what came.

A node sees through its own server. That server says which groups it is in and who leads them. In rounds, the members of the groups are
asked (`coopy.network.server.votes`); what the leading one answers is its sign of life, and so is each entry that it adds to the log
here. A leader is *silent* if it has answered nothing for some time although this node's own server has answered the same
question: a node, or a server, that was itself stopped or slow has had no answer of its own either, and finds nobody silent. That time is

    GONE_S       where nothing listens any more at the leader's address;
    SILENT_S     otherwise, and longer by `SLOW` times the slowest answer of the last minute, at most SILENT_S_MAX: a server that is
                 slow is not silent. How long one was away that was silent already does not count for that.

A group *lacks* a leader, as a node sees it, if the leader is silent, if the leader itself says that it does not lead (it was started
again), or if its server has known of none for SILENT_S, or for
LEADERLESS_S since it was started. A node alone begins nothing. It asks the others what they see, and counts
those that answer that question, no older word: who was stopped after it had said something is not heard with it. With its
own, a majority of the group's servers must lack a leader. So a leader that any majority can hear is never deposed, whoever is cut off,
stopped or slow; and one that no majority can hear serves nobody.

The first of those that agree begins the election; each other waits RANK_S longer than the one before it, and then sees that the term
has risen. Whoever sees that waits SETTLE_S for what comes of it, and after each election that it has begun itself twice as long as before,
up to SETTLE_S_MAX; it knows its own term, and that of a higher one a member campaigns already. A group of which this server's log is empty, or which has had no leader yet, is left alone, and not even
asked: its members have term 0 as the question has, would vote for the asker and wait anew for a leader, and never come to one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

PROBE_S = 0.2
"""The leading server is asked that often. Each question costs some ten messages of 60 bytes among the servers of a group."""
DOUBT_S = 0.1
"""While a leader is silent, or there is none, all its groups are asked, and the other nodes, that often."""
SILENT_S = 0.4
"""A server on a busy machine mostly answers within a few ms; a leader from which nothing has come for so long serves nobody meanwhile."""
SILENT_S_MAX = 1.5
"""With an election of 0.8 s at most, and what else it takes, that is less than the 4 to 9 s after which servers elect by themselves."""
SLOW = 4.0
"""A server with a tenth of the processor, in turns of 0.1 s, answers within 0.1 to 0.2 s; a machine that swaps may take some times as long as it
just did."""
SLOW_KEPT_S = 60.0
"""What was slow a minute ago may be slow again."""
GONE_S = 0.1
"""The kernel says that nothing listens: what was sent before may still be on its way."""
LEADERLESS_S = 1.5
"""A server that has just been started hears a leader within the second in which leaders give signs of life. One that has lost its
leader hears a new one at once."""
FRESH_S = 0.5
"""What another node sees counts for so long after it was asked; and so does an answer of this node's own server."""
RANK_S = 0.3
"""A request is with all servers long before, and the term that has risen with the other nodes."""
SETTLE_S, SETTLE_S_MAX = 1.0, 8.0
"""Members campaign within 0.1 to 0.8 s after they were asked to. An election that failed is begun again; not without end."""
VOTED_S = 0.5
"""A member that campaigns has its votes within some round trips and syncs, or another has campaigned at the same time."""
VOTERS_MIN = 3
"""Of two servers both must agree, and one is silent."""
_ROUNDS_KEPT = 100
"""Ten seconds in doubt. A later answer says that its member lives, and the next one says it, too."""

View = Mapping[str, int]
"""The groups in which a node knows of no leader that lives, and its server's term in each."""


class Group(NamedTuple):
    """A Raft group as one of its servers sees it. Servers are named by their ids."""

    name: str
    own: str
    """The server that says this."""
    leader: str
    """Empty: it knows of none."""
    term: int
    size: int
    last: int
    """The last entry of its log; 0: it is empty."""
    names: Mapping[str, str]
    """What the other members are called."""

    @classmethod
    def of(cls, name: str, said: Mapping[str, Any]) -> Group:
        """Returns what a server says in answer to RAFTZ. Raises LookupError, TypeError, ValueError."""
        names = {str(each): str(about.get("name") or "") for each, about in said["peers"].items()}
        term, size, last = (int(said[each]) for each in ("term", "size", "pindex"))
        return cls(name, str(said["id"]), str(said.get("leader") or ""), term, size, last, names)


@dataclass
class _Leader:
    """A server that leads some group."""

    answered: int = 0
    """The newest round in which it has answered."""
    silent_since: float | None = None
    """When this node's own server had answered a question that this one has not, and has given no sign since."""
    is_gone: bool = False
    """Whether nothing listens at its address."""
    back: int = 0
    """The round in which it answered again after it had been silent: what was asked up to then says how long it was away."""
    took: deque[tuple[float, float]] = field(default_factory=deque)
    """When it answered, and how long that took: the slowest of the last minute first, and after each the slowest since."""

    def lives(self) -> None:
        self.silent_since, self.is_gone = None, False

    def is_silent(self, now: float) -> bool:
        return self.silent_since is not None and now - self.silent_since >= self.limit_s(now)

    def answers(self, round_number: int, newest: int, took_s: float, now: float) -> None:
        if self.is_silent(now):
            self.back = newest
        self.lives()
        self.answered = max(self.answered, round_number)
        if round_number <= self.back:
            return
        while self.took and self.took[-1][1] <= took_s:
            self.took.pop()
        self.took.append((now, took_s))

    def limit_s(self, now: float) -> float:
        """For how long it has to give no sign before it is silent."""
        if self.is_gone:
            return GONE_S
        while self.took and self.took[0][0] < now - SLOW_KEPT_S:
            self.took.popleft()
        return min(SILENT_S_MAX, SILENT_S + SLOW * (self.took[0][1] if self.took else 0.0))


@dataclass
class _Watched:
    """What is known of a group besides what this node's own server says."""

    term: int = 0
    """The highest that was seen."""
    seen_at: float = float("-inf")
    own_at: float = float("-inf")
    """When this node's own server said how the group is, and when it answered as a member."""
    leaderless_since: float | None = None
    was_led: bool = False
    """Whether this node's own server has known of a leader since it was started."""
    begun: int = 0
    """The term of the last election that this node has begun."""
    disclaimed: tuple[float, str] = (float("-inf"), "")
    """When a server that was taken for its leader has said that it knows of none, and which one."""
    agreed_since: float | None = None
    not_before: float = float("-inf")
    wait_s: float = SETTLE_S


class Vigil:
    """One node's. Times are seconds of one clock, which counts only while the node looks."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._watched: dict[str, _Watched] = {}
        self._leaders: dict[str, _Leader] = {}
        self._accounts: dict[str, set[str]] = {}
        self._round = 0
        self._began: dict[int, float] = {}
        self._agreeing: dict[str, tuple[float, View]] = {}
        """By server: when it was asked, and what its node sees."""

    # -- what is to be done

    def begin(self, now: float) -> tuple[int, list[Group]]:
        """Begins a round. Returns its number, and the groups whose members are to be asked."""
        self._round += 1
        self._began[self._round] = now
        self._began.pop(self._round - _ROUNDS_KEPT, None)
        doubted = self._doubted(now)
        asked = []
        by_leader: dict[str, list[Group]] = {}
        for group in self._groups.values():
            if group.leader != group.own:
                by_leader.setdefault(group.leader, []).append(group)
        for leader, groups in by_leader.items():
            # One group tells as much of a server as all: each gets its turn.
            asked += groups if leader in doubted else [groups[self._round % len(groups)]]
        return self._round, asked

    def is_in_doubt(self, now: float) -> bool:
        """Returns whether a leader may be silent, or there is none."""
        return bool(self._doubted(now))

    def addresses(self, now: float) -> dict[str, str]:
        """Returns the names of servers of which it is to be seen whether anything listens there, by their ids."""
        found = {}
        for group in self._groups.values():
            leader = self._leader(group.leader)
            name = group.names.get(group.leader)
            # Once or twice: where nobody says so by then, the machine is away as well, and each question takes its time.
            if name and leader.silent_since is not None and DOUBT_S / 2 <= now - leader.silent_since < GONE_S + DOUBT_S:
                found[group.leader] = name
        return found

    def view(self, now: float) -> dict[str, int]:
        """Returns the groups in which this node knows of no leader that lives."""
        return {name: group.term for name, group in self._groups.items() if self._lacks(group, now)}

    def elections(self, now: float) -> list[tuple[Group, int]]:
        """Returns the groups in which an election is to be begun now, and the terms; they are taken for begun."""
        found = []
        for name, group in self._groups.items():
            watched = self._watched[name]
            agreeing = self._agreed(group, now) if self._lacks(group, now) else {}
            if len(agreeing) <= group.size // 2:
                watched.agreed_since = None
                continue
            if watched.agreed_since is None:
                watched.agreed_since = now
            rank = sorted(agreeing).index(group.own)
            if now < max(watched.not_before, watched.agreed_since + rank * RANK_S):
                continue
            watched.term = max(watched.term, max(agreeing.values())) + 1
            watched.begun = watched.term
            watched.not_before = now + watched.wait_s
            watched.wait_s = min(2 * watched.wait_s, SETTLE_S_MAX)
            watched.agreed_since = None
            found.append((group, watched.term))
        return found

    def silent_s(self, group: Group, now: float) -> float:
        """Returns for how long the leader of a group has given no sign, or its server has known of none."""
        since = self._leader(group.leader).silent_since if group.leader else self._watched[group.name].leaderless_since
        return 0.0 if since is None else now - since

    # -- what came

    def seen(self, account: str, groups: Sequence[Group], now: float) -> None:
        """Takes note of what this node's own server says of all its groups of one account."""
        found = {each.name: each for each in groups if each.size >= VOTERS_MIN and each.term and each.last}
        for name in self._accounts.get(account, set()) - found.keys():
            del self._groups[name], self._watched[name]
        self._accounts[account] = set(found)
        for name, group in found.items():
            old, self._groups[name] = self._groups.get(name), group
            watched = self._watched.setdefault(name, _Watched(term=group.term))
            watched.seen_at = now
            _rose(watched, group.term, now)
            if not group.leader:
                if watched.leaderless_since is None:
                    watched.leaderless_since = now
                continue
            watched.leaderless_since, watched.was_led = None, True
            if old is None or old.leader != group.leader:
                watched.wait_s = SETTLE_S
            if old is None or old.leader != group.leader or group.last > old.last:
                # It adds to the log; or it has just come to lead, and what was silent before says nothing of this reign.
                self._leader(group.leader).lives()

    def answered(self, round_number: int, name: str, term: int, member: str, now: float) -> None:
        """Takes note of what a member has answered to the question of a round."""
        group, began = self._groups.get(name), self._began.get(round_number)
        if group is None or began is None:
            return
        watched = self._watched[name]
        _rose(watched, term, now)
        if member == group.own:
            watched.own_at = now
            leader = self._leader(group.leader)
            if group.leader and leader.answered < round_number and leader.silent_since is None:
                leader.silent_since = now
        elif member == group.leader:
            self._leader(member).answers(round_number, self._round, now - began, now)
        elif member in self._leaders:
            self._leaders[member].lives()  # How long it was stopped, before another came to lead, is not how slow it is.

    def told(self, member: str, view: View, now: float) -> None:
        """Takes note of what another node, that of a server, sees and tells by itself."""
        for name, term in view.items():
            group = self._groups.get(name)
            if group is not None and group.leader == member and term >= group.term:
                self._watched[name].disclaimed = now, member

    def agreed(self, round_number: int, member: str, view: View, now: float) -> None:
        """Takes note of what another node, that of a server, sees, as it was asked in a round."""
        self.told(member, view, now)
        began = self._began.get(round_number)
        if began is not None:
            self._agreeing[member] = began, view

    def gone(self, leader: str) -> None:
        """Takes note that nothing listens at the address of a server."""
        self._leader(leader).is_gone = True

    # -- how it is judged

    def _leader(self, member: str) -> _Leader:
        return self._leaders.setdefault(member, _Leader())

    def _doubted(self, now: float) -> set[str]:
        """The leaders that may be silent; "" for none."""
        found = set()
        for group in self._groups.values():
            if group.leader == group.own:
                continue
            since = self._leader(group.leader).silent_since
            if not group.leader or self._is_disclaimed(group, now) or (since is not None and now - since >= DOUBT_S / 2):
                found.add(group.leader)
        return found

    def _lacks(self, group: Group, now: float) -> bool:
        watched = self._watched[group.name]
        if group.leader == group.own or now - min(watched.own_at, watched.seen_at) > FRESH_S:
            return False
        if not group.leader:
            limit_s = SILENT_S if watched.was_led else LEADERLESS_S
            return watched.leaderless_since is not None and now - watched.leaderless_since >= limit_s
        return self._leader(group.leader).is_silent(now) or self._is_disclaimed(group, now)

    def _is_disclaimed(self, group: Group, now: float) -> bool:
        at, member = self._watched[group.name].disclaimed
        return member == group.leader and now - at <= FRESH_S

    def _agreed(self, group: Group, now: float) -> dict[str, int]:
        """The servers of a group whose nodes lack a leader, this one's among them, and their terms."""
        found = {group.own: group.term}
        for member, (at, view) in self._agreeing.items():
            if member in group.names and group.name in view and now - at <= FRESH_S:
                found[member] = view[group.name]
        return found


def _rose(watched: _Watched, term: int, now: float) -> None:
    """Takes note of a term. After a higher one it is waited for what comes of the election."""
    if term > watched.term:
        wait_s = VOTED_S if watched.term == watched.begun else SETTLE_S
        watched.term = term
        watched.not_before = max(watched.not_before, now + wait_s)

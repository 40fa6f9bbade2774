"""What is on each page of the inspector, as a dict in the types of JSON: what `.json` shows, and what the template is given.

Nothing here knows HTTP or HTML. The answers come from processes of their own (`coopy.tools.web_states`, `coopy.tools.web_journal`) and from the
files; this process loads nothing that is stored.
"""

from __future__ import annotations

import ast
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from coopy.disk import dirlock
from coopy.errors import CoopyError, UsageError
from coopy.tools import web_disk
from coopy.tools.domain import found
from coopy.tools.web_journal import Records, nanoseconds
from coopy.tools.web_states import States

BLAME_S = 1.0
"""The search for who changed a value stops after so many seconds, and says where it goes on."""
BLAME_MAX = 50  # So many changes are on a page.
KEPT_MAX = 32
"""So many trees are kept: a drag needs the last, a few windows some; one has at most 2,000 lines."""
TIMED = 1000
"""So many actions run again for the slow ones: a few milliseconds, or seconds if they are slow."""
SLOWEST = 15  # What a person looks at.
_NS_OF_MS, _NS_OF_US = 1_000_000, 1_000  # Nanoseconds: what a slider, and a text, can say a time to.
PASSWORD = "COOPY_PASSWORD"

Given = Mapping[str, str]


class Page:
    """The pages of one directory."""

    names = {
        "state": "State",
        "journal": "Journal",
        "rates": "Rates",
        "memory": "Memory",
        "disk": "Disk",
        "cluster": "Cluster",
        "tasks": "Tasks and locks",
    }
    """The pages that every page links to, the first of which is the one to begin with."""
    more = ("action", "value", "diff", "search", "status", "whole")

    def __init__(self, basedir: str, spec: str | None, *, write: bool = False) -> None:
        self.basedir = basedir
        self.spec = spec
        self.write = write
        said = found(basedir)
        self.domain = said.domain
        self.states = States(basedir, spec)
        self.records = Records(basedir, spec)
        self._lock = threading.Lock()
        self._kept: OrderedDict[Any, dict[str, Any]] = OrderedDict()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="coopy web: asks")

    def close(self) -> None:
        """Ends all processes."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.states.close()
        self.records.close()

    # -- where

    def _last(self) -> int:
        """Index of the last action; whoever replays is told if there are new ones."""
        last: int = self.records.ask("moments")["last"]
        newest = max(self.states.lanes, key=lambda lane: lane.base, default=None)
        if newest is not None and last > newest.last:
            newest.news()
        return last

    def _point(self, given: Given, last: int) -> int:
        """The index that is asked for, as ``at`` or as a time, ``when``; that of now if none is."""
        when, at = given.get("when", ""), given.get("at", "")
        if when:
            # Of that microsecond, or millisecond, every action is in.
            first, within = (int(when) * _NS_OF_MS, _NS_OF_MS) if _is_milliseconds(when) else (nanoseconds(when), _NS_OF_US)
            if first is None:
                raise UsageError(f"when={when}: must be a time, as in 2026-01-31T08:15:00")
            index: int = self.records.ask("at_time", instant=first + within - 1)
            return max(index, self.states.oldest)
        if not at or at == "now":
            return last
        return _index("at", at)

    def _number(self, given: Given, name: str, default: int) -> int:
        return _index(name, given[name]) if given.get(name) else default

    def status(self, given: Given) -> dict[str, Any]:
        """How far the replays are, and who has the directory open."""
        moments = self.records.ask("moments")
        self._last()
        return {
            "directory": self.basedir,
            "class": self.domain,
            "holder": dirlock.holder(self.basedir),
            "oldest": self.states.oldest,
            **moments,
            **self.states.status(),
        }

    # -- the state

    def state(self, given: Given) -> dict[str, Any]:
        """The state at a point as a tree, and what differs from that at another."""
        last = self._last()
        at = self._point(given, last)
        if at > last:
            raise UsageError(f"at={at}: the system has actions 1 to {last:,}")
        before = self._number(given, "vs", max(at - 1, self.states.oldest))
        root, start = given.get("root", ""), self._number(given, "from", 0)
        opened = [each for each in given.get("open", "").split("\n") if each]
        about = {"root": root, "start": start, "opened": opened}
        other = self._pool.submit(self._rows_or_none, before, about) if before != at else None
        shown = self._rows(at, about, at < last)
        then = other.result() if other is not None else None
        rows = compared(shown["rows"], then["rows"] if then is not None else None)
        return {
            **shown,
            "rows": rows,
            "vs": before if then is not None or before == at else None,
            "changes": sum(1 for row in rows if row["change"]),
            "opened": opened,
            "oldest": self.states.oldest,
            "last": last,
            "action": self._action_or_none(at),
            "moments": self.records.ask("moments"),
            "steps": steps(root),
        }

    def _rows_or_none(self, at: int, about: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return self._rows(at, about, False)
        except CoopyError:
            return None  # That state is not to be had; this one is shown without a comparison.

    def _rows(self, at: int, about: dict[str, Any], kept: bool) -> dict[str, Any]:
        """The lines of a tree. Whoever drags compares each with the one before, so they are kept for a while; not those of now, which may change."""
        key = (at, *map(str, about.values()))
        with self._lock:
            found_ = self._kept.get(key)
        if found_ is None:
            found_ = self.states.ask("rows", at, at, at=at, **about)
            if kept:
                with self._lock:
                    self._kept[key] = found_
                    while len(self._kept) > KEPT_MAX:
                        self._kept.popitem(last=False)
        return found_

    def _action_or_none(self, index: int) -> dict[str, Any] | None:
        found_ = self.records.ask("rows", before=index + 1, limit=1, internal=True)["rows"] if index else []
        return found_[0] if found_ and found_[0]["index"] == index else None

    def search(self, given: Given) -> dict[str, Any]:
        """Where a text is in the state."""
        last = self._last()
        at = self._point(given, last)
        text, where = given.get("q", ""), given.get("where", "both")
        nothing: dict[str, Any] = {"index": at, "text": "", "found": [], "looked": 0, "complete": True}
        about = {"text": text, "root": given.get("root", ""), "names": where != "values", "values": where != "names"}
        answer = self.states.ask("search", at, at, at=at, **about) if text else nothing
        return {**answer, "where": where, "last": last, "root": given.get("root", "")}

    def value(self, given: Given) -> dict[str, Any]:
        """One value, whole, and who set it."""
        last = self._last()
        at = self._point(given, last)
        path = given.get("path", "")
        if not path:
            raise UsageError("path= is missing: say which part of the state, as in .pages['Home']")
        shown = self._value_or_none(at, path)
        return {**self._blamed(at, self._number(given, "to", at), path), **shown, "at": at, "path": path, "last": last}

    def _value_or_none(self, at: int, path: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self.states.ask("value", at, at, at=at, path=path)
        except UsageError:
            return {"index": at, "kind": "not there", "text": "", "value": None, "time": None}
        return answer

    def _blamed(self, at: int, upto: int, path: str) -> dict[str, Any]:
        """The actions that changed a value, the newest first: looked through from one pause of the replays to the one before."""
        begins = sorted({*self.states.pauses(), *self.states.bases})
        until = time_left(BLAME_S)
        changes: list[dict[str, Any]] = []
        while upto > self.states.oldest and len(changes) < BLAME_MAX and until() > 0:
            begin = max((each for each in begins if each < upto), default=self.states.oldest)
            begin = max(begin, upto - self._stride)
            seen = self.states.ask("blame", begin, upto, first=begin, last=upto, path=path)
            changes += reversed(seen["changes"])
            upto = begin
        for each in changes:
            each["action"] = self._action_or_none(each["index"])
        return {"changes": changes, "searched": upto, "complete": upto <= self.states.oldest, "oldest": self.states.oldest}

    _stride = 20_000
    """So many actions are looked through at a time: some tenths of a second."""

    # -- actions

    def journal(self, given: Given) -> dict[str, Any]:
        """Recorded actions, filtered."""
        about: dict[str, Any] = {name: given.get(name, "") for name in ("method", "outcome", "argument")}
        for name in ("since", "until"):
            text = given.get(name, "")
            instant = nanoseconds(text) if text else None
            if text and instant is None:
                raise UsageError(f"{name}={text}: must be a time, as in 2026-01-31T08:15:00")
            about[name] = instant if instant is None or name == "since" else instant + _NS_OF_US - 1
        for name in ("before", "after"):
            if given.get(name):
                about[name] = _index(name, given[name])
        about["internal"] = given.get("internal") == "1"
        self._last()
        kept = ("method", "outcome", "argument", "since", "until", "internal")
        return {**self.records.ask("rows", **about), "filter": {name: given.get(name, "") for name in kept}}

    def action(self, given: Given) -> dict[str, Any]:
        """One action, and what it changed."""
        index = self._number(given, "index", 0)
        shown = self.records.ask("one", index=index)
        try:
            difference: dict[str, Any] = self.states.ask("diff", index - 1, index, before=index - 1, after=index)
            problem = None
        except CoopyError as error:
            difference, problem = {"differences": [], "complete": True}, str(error)
        return {**shown, "diff": difference["differences"], "complete": difference["complete"], "diff_problem": problem}

    def diff(self, given: Given) -> dict[str, Any]:
        """What is added, removed and changed between two states."""
        last = self._last()
        after = self._number(given, "b", last)
        before = self._number(given, "a", max(after - 1, self.states.oldest))
        if before > after:
            before, after = after, before
        answer: dict[str, Any] = self.states.ask("diff", before, after, before=before, after=after)
        return {**answer, "last": last}

    def rates(self, given: Given) -> dict[str, Any]:
        """How often methods are called, and how long the last of them take when they run again."""
        counted = self.records.ask("rates")
        counted["begins_text"], counted["ends_text"] = _moment(counted["begins"]), _moment(counted["ends"])
        last = counted["done"]
        first = max(last - TIMED, self.states.oldest)
        slow: list[dict[str, Any]] = []
        took: dict[str, list[int]] = {}
        problem = None
        try:
            timed = self.states.ask("timings", first, last, first=first, last=last)
        except CoopyError as error:
            timed, problem = {"us": [], "first": 0}, str(error)
        names = {row["index"]: row for row in self.records.ask("rows", before=last + 1, limit=TIMED, internal=True)["rows"]}
        for index, us in enumerate(timed["us"], timed["first"]):
            if index in names:
                took.setdefault(names[index]["method"] or "", []).append(us)
                slow.append({**names[index], "us": us})
        slow.sort(key=lambda each: -each["us"])
        latency = [
            {"method": name, "calls": len(each), "median": sorted(each)[len(each) // 2], "worst": max(each)}
            for name, each in sorted(took.items())
        ]
        return {**counted, "latency": latency, "slow": slow[:SLOWEST], "timed": len(timed["us"]), "timed_problem": problem}

    # -- the rest

    def disk(self, given: Given) -> dict[str, Any]:
        """What lies on the disk."""
        return web_disk.disk(self.basedir)

    def cluster(self, given: Given) -> dict[str, Any]:
        """The nodes of a replicated system, and who has the directory open."""
        from coopy.tools.processes import processes

        nobody: dict[str, Any] = {"nodes": [], "streams": [], "problems": [], "leader": None, "system": "", "at": ""}
        here = [each.as_dict() for each in processes(self.basedir)]
        try:
            return {**nobody, **_cluster(self.basedir), "processes": here, "problem": None}
        except (CoopyError, OSError, ModuleNotFoundError) as error:
            return {**nobody, "processes": here, "problem": str(error)}

    def tasks(self, given: Given) -> dict[str, Any]:
        """The tasks, locks and other structures in the state."""
        at = self._point(given, self._last())
        answer: dict[str, Any] = self.states.ask("things", at, at, at=at)
        return answer

    def memory(self, given: Given) -> dict[str, Any]:
        """How large the parts of the state are."""
        last = self._last()
        at = self._point(given, last)
        root = given.get("root", "")
        answer: dict[str, Any] = self.states.ask("sizes", at, at, at=at, root=root)
        return {**answer, "last": last, "steps": steps(root), "replays": self.states.status()}

    def whole(self, given: Given) -> dict[str, Any]:
        """The state as JSON, to be kept."""
        at = self._point(given, self._last())
        answer: dict[str, Any] = self.states.ask("whole", at, at, at=at)
        return answer

    def branch(self, at: int, name: str) -> dict[str, Any]:
        """Makes a new system of the state after an action, in a directory beside this one."""
        if not name or name != os.path.basename(name) or name.startswith(".") or "\0" in name:
            raise UsageError(f"{name!r}: must be the name of a new directory, without a path; it is made beside {self.basedir}")
        dest = os.path.join(os.path.dirname(self.basedir), name)
        if os.path.lexists(dest):
            raise UsageError(f"{dest} is there already. Choose another name. Nothing was changed.")
        answer: dict[str, Any] = self.states.ask("branch", at, at, at=at, dest=dest)
        return answer


def _cluster(basedir: str) -> dict[str, Any]:
    """What a running cluster says of itself. Raises `UsageError` if the directory is not that of a node."""
    from coopy.tools.cluster import Door, beside, this_users, visiting

    at, password, certificates = beside(basedir)
    password = os.environ.get(PASSWORD) or password or (this_users(at) if certificates is None else None)
    if not password:
        raise UsageError(f"the password of the nodes is needed to ask {at}: put it into {PASSWORD} before `coopy web` starts")
    with visiting(Door(at, password, certificates)) as visit:
        return {**visit.look().as_dict(), "at": str(at)}


def time_left(seconds: float) -> Any:
    """Returns a function that says how many of so many seconds are left."""
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()


def _is_milliseconds(text: str) -> bool:
    return text.isascii() and text.isdigit() and 8 < len(text) < 16


def _index(name: str, text: str) -> int:
    # A few more digits than any index has, and int() would take minutes for a million.
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UsageError(f"{name}={text[:40]}: must be the index of an action")
    return int(text)


def compared(rows: list[dict[str, Any]], before: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Rows of a tree, each with how it differs from another tree; those that are gone stand where they were."""
    if before is None:
        return [{**row, "change": ""} for row in rows]
    then = {_key(row): row for row in before}
    now = {_key(row) for row in rows}
    found_ = []
    gone = iter(before)
    for row in rows:
        old = then.get(_key(row))
        if old is not None:
            # What stood before it there and is gone.
            for each in gone:
                if _key(each) == _key(row):
                    break
                if _key(each) not in now:
                    found_.append({**each, "change": "removed", "open": False, "opens": False})
        if "more" in row:
            change = ""
        elif old is None:
            change = "added"
        else:
            change = "changed" if old["mark"] != row["mark"] else ""
        found_.append({**row, "change": change, "was": old["text"] if old is not None and change else ""})
    found_ += [
        {**each, "change": "removed", "open": False, "opens": False}
        for each in gone
        if _key(each) not in now and "more" not in each
    ]
    return found_


def _key(row: dict[str, Any]) -> Any:
    return (
        ("more", row["path"]) if "more" in row else (row["path"], row["step"], row["depth"], "" if row["path"] else row["text"])
    )


def steps(path: str) -> list[dict[str, str]]:
    """The way to a part, a step at a time, each with its own path."""
    if not path:
        return []
    try:
        node = ast.parse(f"_{path}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [{"step": path, "path": path}]
    found_: list[dict[str, str]] = []
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        whole = path[: (node.end_col_offset or 1) - 1]
        node = node.value
        start = (getattr(node, "end_col_offset", 1) or 1) - 1
        found_.append({"step": whole[start:], "path": whole})
    return found_[::-1]


def _moment(instant: int | None) -> str:
    if instant is None:
        return ""
    return datetime.fromtimestamp(instant / 1e9).isoformat(" ", "seconds")


def local(text: str | None) -> str:
    """A time in the local time of this machine, as pages show it."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone().replace(tzinfo=None).isoformat(" ", "milliseconds").removesuffix(".000")

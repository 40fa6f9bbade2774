"""`coopy tasks`: the tasks of a queue, and what can be done with them from outside of the program."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any

from coopy import UsageError
from coopy.cli.command import Argument, Option

VERBS = ("counts", "list", "dead", "workers", "schedules", "show", "retry", "cancel", "forget")
_OF_TASKS = ("show", "retry", "cancel", "forget")
_MOST = 20  # A screen has room for them.
_AT_ONCE = 1000  # So many dead letters are asked for together.


def tasks(
    directory: Annotated[str, Argument("DIR", help="The directory of the queue.", complete="dir")],
    verb: Annotated[str, Argument("WHAT", help=f"One of {', '.join(VERBS)}.")] = "counts",
    numbers: Annotated[list[str] | None, Argument("TASK", help="Numbers of tasks; for retry and forget also: dead.")] = None,
    state: Annotated[str, Option("--state", metavar="STATE", help="list: only tasks in this state.")] = "",
    name: Annotated[str, Option("--name", metavar="NAME", help="list: only tasks of this function.")] = "",
    most: Annotated[int, Option("--most", "-n", min=1, metavar="N", help="list, dead: at most so many.")] = _MOST,
    domain: Annotated[
        str | None,
        Option("--class", "-c", metavar="MODULE:CLASS", help="The domain class; by default the one coopy.json names."),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look after the tasks of a queue.

    counts: how many there are in each state. list: tasks, the oldest first. dead: those that have failed for good. workers:
    who works, with which tasks. schedules: what is sent by itself, and when. show: all that is known of a task, with its traceback. retry: runs
    dead or cancelled tasks, or those that wait for a time, now. cancel: has tasks not run, or asks them to stop. forget: removes tasks that are over.

    The directory may be in use, as queues are shared. Arguments and results are not loaded.

    \b
    Examples:
      coopy tasks data
      coopy tasks data list --state waiting
      coopy tasks data show 17
      coopy tasks data retry 17 18
      coopy tasks data retry dead
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.tools import calling
    from coopy.tools.domain import announce, domain_class, found

    if verb not in VERBS:
        raise UsageError(f"{verb!r}: must be one of {', '.join(VERBS)}. Nothing was changed.")
    if (verb in _OF_TASKS) != bool(numbers):
        raise UsageError(
            f"{verb} takes {'numbers of tasks' if verb in _OF_TASKS else 'no numbers of tasks'}. Nothing was changed."
        )
    basedir = paths.absolute(directory, "DIR")
    said = found(basedir) if calling.shares(basedir) else announce(basedir, text.tell)
    cls = domain_class(said, domain)
    if not hasattr(cls, "see_tasks") or not hasattr(cls, "change_tasks"):
        raise UsageError(f"{cls.__qualname__} has no tasks: {basedir} holds another system. Nothing was changed.")
    with calling.opened(basedir, cls) as system:
        answer, lines = _done(system, verb, _numbers(system, verb, numbers or []), state, name, most)
    if as_json:
        text.print_json(answer)
    else:
        print("\n".join(lines) if lines else "none")


def _numbers(system: Any, verb: str, words: list[str]) -> list[int]:
    """Returns the numbers of tasks that words stand for. Raises `UsageError`."""
    if words == ["dead"] and verb in ("retry", "forget"):
        found: list[int] = []
        while True:
            some = system.see_tasks("listed", "dead", _AT_ONCE, "", found[-1] if found else 0)
            found += [each.id for each in some]
            if len(some) < _AT_ONCE:
                return found
    try:
        return [int(word) for word in words]
    except ValueError as error:
        raise UsageError(f"{' '.join(words)}: must be numbers of tasks ({error}). Nothing was changed.") from None


def _done(system: Any, verb: str, numbers: list[int], state: str, name: str, most: int) -> tuple[Any, list[str]]:
    """Does what a verb asks for. Returns what it has come to, and that in lines."""
    from coopy.cli import text

    if verb == "counts":
        counts = system.see_tasks("counts")
        return counts, text.table([(each, f"{number:,}") for each, number in counts.items()], frozenset((1,)))
    if verb in ("list", "dead"):
        some = system.see_tasks("listed", "dead" if verb == "dead" else state, most, name)
        return [_as_json(each) for each in some], [_line(each) for each in some]
    if verb == "workers":
        workers = [{**about, "session": session, "tasks": having} for session, about, having in system.see_tasks("sessions")]
        return workers, [_worker(each) for each in workers]
    if verb == "schedules":
        rows: list[tuple[str, ...]] = [
            (each[0], each[1], each[2] or "UTC", _when(each[3])) for each in system.see_tasks("schedules")
        ]
        return rows, text.table(rows) if rows else []
    if verb == "show":
        seen = [(number, system.see_tasks("look", number)) for number in numbers]
        shown = [line for number, each in seen for line in (_shown(each) if each is not None else [f"{number}  is not there"])]
        return [None if each is None else _as_json(each) for _, each in seen], shown
    if verb == "forget":
        done = system.change_tasks("forget", numbers)
        return done, [f"{text.count(done, 'task')} removed"]
    changed = {number: bool(system.change_tasks(verb, number)) for number in numbers}
    words = {
        "retry": ("runs now", "is not dead, cancelled or waiting for a time"),
        "cancel": ("is cancelled, or asked to stop", "is over, or not there"),
    }
    return changed, [f"{number}  {words[verb][not is_done]}" for number, is_done in changed.items()]


def _as_json(each: Any) -> dict[str, Any]:
    found = {**each._asdict(), "error": list(each.error[:3]) if each.error else None, "progress": repr(each.progress)}
    del found["value"]
    return found


def _line(each: Any) -> str:
    when = {"later": f"at {_when(each.due)}", "running": f"since {_when(each.began)}"}.get(
        each.state, f"sent {_when(each.sent)}"
    )
    why = f"  {each.error[0].rpartition('.')[2]}: {' '.join(each.error[1].split())}" if each.error else ""
    return f"{each.id:>8}  {each.state:9}  {each.name}  {when}{why}"


def _worker(each: dict[str, Any]) -> str:
    lanes = f", lanes {' '.join(each['lanes'])}" if each.get("lanes") else ""
    having = f"  tasks {' '.join(map(str, each['tasks']))}" if each["tasks"] else "  idle"
    return f"{each.get('host')}  {each.get('pid')}  {each.get('number')} {each.get('kind')}{lanes}{having}"


def _shown(each: Any) -> list[str]:
    lines = [
        _line(each),
        f"          deliveries {each.deliveries}, crashes {each.crashes}, exceptions {each.failures}, lane {each.lane}, priority {each.priority}",
    ]
    if each.progress is not None:
        lines.append(f"          progress {each.progress!r}")
    if each.error and each.error[2]:
        lines += [f"          {line}" for line in each.error[2].rstrip().splitlines()]
    return lines


def _when(seconds: float) -> str:
    from coopy.cli import text

    return text.moment(datetime.fromtimestamp(seconds).astimezone(), "seconds")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""What the commands do in a directory of many objects: `coopy keys`, and the others with --key."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

from coopy import UsageError
from coopy.cli.command import Argument, Exit, Option
from coopy.cli.past import Dir, Json

Key = Annotated[str | None, Option("--key", metavar="KEY", help="The object of that key, in a directory of coopy.objects.")]
Of = Annotated[
    str | None,
    Option("--of", metavar="MODULE:CLASS", help="With --key: the class of the object, if it is not the directory's."),
]


def keys(
    directory: Dir,
    prefix: Annotated[str, Argument("PREFIX", help="Only keys that begin so.")] = "",
    of: Of = None,
    as_json: Json = False,
) -> None:
    """List the objects of a directory of coopy.objects.

    One key on a line. The directory may be in use, and nothing is loaded.

    \b
    Example:
      coopy keys data user/
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.tools.keyed import all_of

    with all_of(paths.absolute(directory, "DIR"), of=of) as readings:
        found = sorted(key for each in readings for key in each.keys(prefix))
        classes = sorted({name for each in readings for name in each.classes()})
    if as_json:
        text.print_json({"keys": found, "classes": classes})
        return
    for each in found:
        print(each)
    if classes and of is None:
        text.tell(f"there are objects of other classes: {', '.join(f'--of {each}' for each in classes)}")


def has_objects(basedir: str, key: str | None = None) -> bool:
    """Returns whether a directory holds many objects. Raises `UsageError` if a key is given and it does not."""
    from coopy.ground import paths
    from coopy.tools import keyed

    paths.refuse_missing(basedir)
    found = keyed.has_objects(basedir)
    if key is not None and not found:
        raise UsageError(f"{basedir} holds one system, whose state has no key. Leave out --key.")
    return found


def log(
    basedir: str,
    key: str | None,
    of: str | None,
    since: str | None,
    until: str | None,
    method: str | None,
    spec: str | None,
    as_json: bool,
) -> None:
    """Prints the calls of an object, or of all."""
    import json

    from coopy.cli import text
    from coopy.tools import keyed, tree

    begin = None if since is None else text.point(since, "--since")
    end = None if until is None else text.point(until, "--until")
    with ExitStack() as stack:
        if key is None:
            cls = keyed.class_of(basedir, spec, of, text.tell, needed=False)
            readings = stack.enter_context(keyed.all_of(basedir, cls, of))
            found = keyed.calls_of_all(readings, begin, end)
        else:
            readings = [stack.enter_context(keyed.opened(basedir, key, spec, of, text.tell, needed=False))]
            found = keyed.calls(readings[0], key, begin, end)
        newest = max(each.log.last for each in readings)
        paint, columns, digits = text.Painter(), text.width(), len(str(max(newest, 1)))
        for name, each in found:
            if method not in (None, each.method):
                continue
            if as_json:
                print(json.dumps({**tree.action_as_json(each), "key": name}))
            elif key is None:
                print(f"{text.action_line(each, columns - len(name) - 2, digits, paint)}  {paint('note', name)}")
            else:
                print(text.action_line(each, columns, digits, paint))


def state(basedir: str, key: str | None, of: str | None, then: Any, spec: str | None) -> tuple[Any, dict[str, Any], str]:
    """Returns an object as it was, and what is said of it: as JSON, and in a line."""
    from coopy.cli import text
    from coopy.ground.action import aware_time
    from coopy.tools import keyed

    if key is None:
        raise UsageError(f"{basedir} holds many objects. Say which: --key KEY; `coopy keys {basedir}` lists them.")
    with keyed.opened(basedir, key, spec, of, text.tell) as reading:
        found = reading.state(key, then)
        newest = next(reversed([each for _, each in keyed.calls(reading, key, None, then)]), None)
    if newest is None:
        return found, {"key": key, "index": None, "time": None}, f"{key!r}"
    when = aware_time(newest.header)
    return (
        found,
        {"key": key, "index": newest.index, "time": when.isoformat()},
        f"{key!r}, action {newest.index:,}, {text.moment(when)}",
    )


def verify(basedir: str, spec: str | None, as_json: bool) -> None:
    """Loads every object, and compares each state in the log with what the calls before it make."""
    from coopy.cli import text
    from coopy.tools import keyed

    count, states = 0, 0
    problems: list[keyed.Problem] = []
    classes: set[str] = set()
    with keyed.all_of(basedir, keyed.class_of(basedir, spec, None, text.tell, needed=True)) as readings:
        for reading in readings:
            for _ in reading.after(reading.log.oldest - 1):
                pass  # Every byte is read.
            meter = text.Meter(f"verifying {os.path.basename(reading.basedir)}")
            try:
                found = keyed.problems(reading, meter)
            finally:
                meter.finish()
            count, states, problems = count + found[0], states + found[1], problems + found[2]
            classes |= set(reading.classes())
    if as_json:
        text.print_json({"objects": count, "states": states, "problems": [each._asdict() for each in problems]})
    else:
        paint = text.Painter()
        for each in problems:
            print(f"{each.key!r}{f', action {each.action:,}' if each.action else ''}: {paint('bad', each.text)}")
        print(f"{text.count(count, 'object')}, {text.count(states, 'state')} compared: {text.count(len(problems), 'problem')}")
        if classes:
            print(f"not verified: the objects of {', '.join(sorted(classes))}; give --class with each")
    if problems:
        raise Exit(1)


def mend(
    basedir: str,
    key: str,
    of: str | None,
    spec: str | None,
    what: dict[str, Any],
    as_json: bool,
    agree: Callable[[Any], None],
    say: Callable[[str, Any, dict[str, Any], bool], None],
) -> None:
    """Tells what the process has died of at an object, and does something about it, if a person agrees."""
    from coopy.cli import text
    from coopy.tools import keyed, mending

    if sum(each is not None and each is not False for each in what.values()) > 1:
        raise UsageError("--withdraw, --reinstate and --release: one of them at a time. Nothing was changed.")
    has_objects(basedir, key)
    cls = keyed.class_of(basedir, spec, of, text.tell, needed=False)
    plan = mending.plan(basedir, key, cls=cls, of=of, **what)
    if not plan.does:
        if as_json:
            text.print_json({"plan": plan.as_dict(), "repaired": None})
        else:
            print(plan.text())
        return
    agree(plan)
    aside = mending.carry_out(plan, cls)
    say(f"{key!r} is {plan.done}. What was changed is in {aside}", plan, {"aside": aside}, as_json)

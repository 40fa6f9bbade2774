"""The commands that ask the past and keep it: statistics, when something became true, who set a value, copies, exports, and a prompt."""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import suppress
from typing import Annotated, Any

from coopy import UsageError
from coopy.cli import completing
from coopy.cli.command import Argument, Exit, Option

Dir = Annotated[str, Argument("DIR", help="The data directory, as given to init_system().", complete="dir")]
Json = Annotated[bool, Option("--json", help="Print JSON.")]
Class = Annotated[
    str | None,
    Option("--class", "-c", metavar="MODULE:CLASS", help="The domain class; by default the one coopy.json names."),
]
Since = Annotated[str | None, Option(metavar="POINT", complete=completing.points, help="Begin here: an index or a time.")]
Until = Annotated[
    str | None, Option(metavar="POINT", complete=completing.points, help="End here, this one included: an index or a time.")
]


def stats(directory: Dir, since: Since = None, until: Until = None, domain: Class = None, as_json: Json = False) -> None:
    """Count the recorded calls by method.

    A line for each method: calls, how many of them raised, how many were withdrawn, and when the first and the last were made. Runs
    no method, and the directory may be in use.

    \b
    Example:
      coopy stats data --since 2h
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.tools.domain import reading
    from coopy.tools.statistics import statistics

    begin, end = (None if each is None else text.point(each, name) for each, name in ((since, "--since"), (until, "--until")))
    basedir = paths.absolute(directory, "DIR")
    meter = text.Meter(f"reading {os.path.basename(basedir)}")
    with reading(basedir, domain, text.tell, needed=False) as found:
        try:
            counted = statistics(found, begin, end, meter)
        finally:
            meter.finish()
    if as_json:
        text.print_json([each.as_dict() for each in counted])
        return
    rows: list[tuple[str, ...]] = [("METHOD", "CALLS", "RAISED", "WITHDRAWN", "FIRST", "LAST")]
    for each in counted:
        times = (text.moment(when, "seconds") for when in (each.first, each.last))
        rows.append((each.method, f"{each.calls:,}", f"{each.raised:,}", f"{each.withdrawn:,}", *times))
    print("\n".join(text.table(rows, frozenset({1, 2, 3}))) if counted else "no action")


def bisect(
    directory: Dir,
    expression: Annotated[str, Argument("EXPRESSION", help="Python, in which `state` is the domain object.")],
    since: Since = None,
    until: Until = None,
    domain: Class = None,
    as_json: Json = False,
) -> None:
    """Find the first action after which an expression is true.

    The actions are replayed once, and the expression is evaluated after each; while it raises, it is not true. It must not
    change the state. Exit code 1 if it is never true.

    \b
    Examples:
      coopy bisect data "'Home' in state.pages"
      coopy bisect data "state.balance < 0" --since 2026-01-31
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.past import trail
    from coopy.tools.bisecting import bisect as bisected
    from coopy.tools.domain import reading

    begin, end = (None if each is None else text.point(each, name) for each, name in ((since, "--since"), (until, "--until")))
    basedir = paths.absolute(directory, "DIR")
    meter = text.Meter(f"replaying {os.path.basename(basedir)}")
    with reading(basedir, domain, text.tell) as found:
        oldest = min(found.snapshots.indexes(), default=0)
        first = next((each.index - 1 for each in trail.actions(found, begin)), oldest) if begin is not None else oldest
        last = None if end is None else trail.last_upto(found, end)
        try:
            turn = bisected(found, expression, first, last, meter)
        finally:
            meter.finish()
        each = None if turn.index is None else next(trail.actions(found, turn.index, turn.index), None)
    if as_json:
        from coopy.tools.tree import action_as_json

        action = None if each is None else action_as_json(each)
        text.print_json({"index": turn.index, "was_true_before": turn.was_true_before, "action": action})
    elif turn.index is None:
        print(f"it is true after no action{f'; the last time it was asked it raised {turn.problem}' if turn.problem else ''}")
    elif turn.was_true_before:
        print(f"it is true of the state that the search begins with, after action {turn.index:,}: begin earlier")
    elif each is not None:
        print(text.action_line(each, text.width(), len(str(turn.index)), text.Painter()))
    if turn.index is None:
        raise Exit(1)


def blame(
    directory: Dir,
    path: Annotated[str, Argument("PATH", help="A part of the state, as in .pages['Home'].")],
    at: Annotated[
        str | None, Option(metavar="POINT", complete=completing.points, help="The value then; by default that of now.")
    ] = None,
    most: Annotated[int | None, Option("-n", "--number", min=1, metavar="N", help="Only the newest N changes.")] = None,
    domain: Class = None,
    as_json: Json = False,
) -> None:
    """Find the action that set a value, and all before it.

    The newest comes first: the action, and below it what the value was and what it became. A value that has parts has changed when one of
    them has. The directory may be in use. Exit code 1 if the search could not go back to the oldest state.

    \b
    Examples:
      coopy blame data ".pages['Home'].text"
      coopy blame data .balance --at 2026-01-31 -n 1
    """
    from coopy.cli import describe, text
    from coopy.ground import paths
    from coopy.tools import blaming
    from coopy.tools.domain import reading

    then = None if at is None else text.point(at, "--at")
    basedir = paths.absolute(directory, "DIR")
    meter = text.Meter(f"replaying {os.path.basename(basedir)}")
    with reading(basedir, domain, text.tell) as found:
        try:
            blamed = blaming.blame(found, path, then, most, meter)
        finally:
            meter.finish()
    if as_json:
        text.print_json(describe.blamed_json(blamed))
    else:
        print("\n".join(describe.blamed(blamed, text.Painter())))
    if blamed.problem:
        raise Exit(1)


def restore(
    directory: Annotated[str, Argument("DIR", help="The data directory, or the URL of its backup, as in s3://bucket/wiki.")],
    dest: Annotated[str, Argument("DEST", help="A new directory, or an empty one.")],
    at: Annotated[
        str | None,
        Option(
            metavar="POINT",
            complete=completing.points,
            help="The last action, or the time, that it has. Of a backup all, by default.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a directory as it was.

    DEST is a copy of DIR that ends at POINT, with the past before it; DIR, which may be in use, is only read. DEST is the same
    system at an earlier time: open one of the two as the system that goes on. What an action up to POINT has asked for with
    on_commit(), and was carried out later, is carried out again when DEST is opened. With a URL, what `coopy backup` has put there
    is taken, and its checksums are compared.

    \b
    Examples:
      coopy restore data data-of-yesterday --at 1d
      coopy restore s3://bucket/wiki data
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.tools import domain as domains
    from coopy.tools import objectstore
    from coopy.tools.backup import backup

    until = None if at is None else text.point(at, "--at")
    if objectstore.is_url(directory):
        from coopy.tools.fetching import fetch

        meter = text.Meter(f"fetching {directory}")
        try:
            done = fetch(directory, dest, meter.bytes, until=until)
        finally:
            meter.finish()
    else:
        if until is None:
            raise UsageError("--at is missing: say at which point the copy ends. To copy all of it: coopy backup DIR DEST")
        basedir = paths.absolute(directory, "DIR")
        domains.found(basedir)
        meter = text.Meter(f"copying {os.path.basename(basedir)}")
        try:
            done = backup(basedir, dest, meter.bytes, until=until)
        finally:
            meter.finish()
    if as_json:
        said = {"basedir": done.basedir, "dest": done.dest, "files": done.files, "bytes": done.bytes, "index": done.index}
        text.print_json(said)
    else:
        print(f"{done.dest}: the system after action {done.index:,}, {text.size(done.bytes)}")


def backup(
    directory: Dir,
    dest: Annotated[str, Argument("DEST", help="A new directory, or an empty one; or a URL, as in s3://bucket/wiki.")],
    follow: Annotated[bool, Option("--follow", "-f", help="Go on with what is written, until Ctrl-C; for a URL.")] = False,
    every: Annotated[
        str, Option(metavar="TIME", help="How often --follow looks for news: what is lost with the machine at most.")
    ] = "10s",
    as_json: Json = False,
) -> None:
    """Copy a directory, which may be in use.

    Every action that was acknowledged before is in the copy, and the copy is checked. At a URL of an object store a backup is brought up to
    date: only what is new is sent, and what was pruned here stays there. The store is found by its own variables of the environment:
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL and the like.

    \b
    Examples:
      coopy backup data /backups/data-2026-01-31
      coopy backup data s3://bucket/wiki --follow
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.tools import objectstore
    from coopy.tools.domain import found

    basedir = paths.absolute(directory, "DIR")
    found(basedir)
    pause_s = text.duration(every, "--every").total_seconds()
    if objectstore.is_url(dest):
        _kept_at(basedir, dest, pause_s if follow else None, as_json)
        return
    if follow:
        raise UsageError(
            "--follow goes with the URL of an object store, as in s3://bucket/wiki; a copy in a directory is one of a moment."
        )
    from coopy.tools.backup import backup as copied

    meter = text.Meter(f"copying {os.path.basename(basedir)}")
    try:
        done = copied(basedir, dest, meter.bytes)
    finally:
        meter.finish()
    if as_json:
        text.print_json(
            {"basedir": done.basedir, "dest": done.dest, "files": done.files, "bytes": done.bytes, "index": done.index}
        )
    else:
        print(f"{done.dest}: {text.count(done.files, 'file')}, {text.size(done.bytes)}, up to action {done.index:,}")


def _kept_at(basedir: str, url: str, pause_s: float | None, as_json: bool) -> None:
    """Brings the backup at a URL up to date, again and again if there is a pause in between."""
    from coopy.cli import describe, text
    from coopy.tools.objectstore import OutOfReach
    from coopy.tools.offsite import Offsite, Sent

    kept = Offsite(basedir, url)
    meter = text.Meter(f"sending {os.path.basename(basedir)}")

    def told(sent: Sent | OutOfReach) -> None:
        meter.finish()
        if isinstance(sent, OutOfReach):
            print(f"{sent}. It is tried again.", file=sys.stderr, flush=True)
        elif as_json:
            print(json.dumps(describe.sent_json(sent)), flush=True)
        else:
            print(describe.sent(sent), flush=True)

    try:
        if pause_s is not None:
            kept.follow(pause_s, told, meter.bytes)
        told(kept.update(meter.bytes))
    finally:
        meter.finish()


def export(
    directory: Dir,
    sqlite: Annotated[str | None, Option(metavar="FILE", help="A new SQLite file: actions, and the state.")] = None,
    jsonl: Annotated[str | None, Option(metavar="FILE", help="The actions as JSON, one on a line; - for stdout.")] = None,
    parquet: Annotated[str | None, Option(metavar="FILE", help="A new Parquet file of the actions; needs pyarrow.")] = None,
    since: Since = None,
    until: Until = None,
    domain: Class = None,
) -> None:
    """Write actions and state for other programs.

    In SQLite the actions are the table _actions, each collection of the state is a table of its name with the columns key and value, and
    _state has the other attributes. What has parts is JSON there. Nothing that is there is written over.

    \b
    Examples:
      coopy export data --sqlite wiki.db
      coopy export data --jsonl - --since 1d
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.tools import exporting
    from coopy.tools.domain import reading

    chosen = [(way, path) for way, path in (("sqlite", sqlite), ("jsonl", jsonl), ("parquet", parquet)) if path is not None]
    if len(chosen) != 1:
        raise UsageError("say what to write: one of --sqlite FILE, --jsonl FILE, --parquet FILE")
    [(way, path)] = chosen
    begin, end = (None if each is None else text.point(each, name) for each, name in ((since, "--since"), (until, "--until")))
    basedir = paths.absolute(directory, "DIR")
    meter = text.Meter(f"exporting {os.path.basename(basedir)}")
    with reading(basedir, domain, text.tell, needed=way == "sqlite") as found:
        try:
            written: Any
            if way == "sqlite":
                written = exporting.to_sqlite(found, path, begin, end, meter)
            elif way == "parquet":
                written = exporting.to_parquet(found, path, begin, end, meter)
            elif path == "-":
                written = exporting.to_lines(found, sys.stdout, begin, end)
            else:
                written = exporting.to_new_file(found, path, begin, end, meter)
        finally:
            meter.finish()
    if way == "sqlite":
        print("\n".join([f"{path}:", *(f"  {name}: {text.count(rows, 'row')}" for name, rows in written.items())]))
    elif path != "-":
        print(f"{path}: {text.count(written, 'action')}")


def shell(
    directory: Dir,
    at: Annotated[
        str | None, Option(metavar="POINT", complete=completing.points, help="The state then; by default that of now.")
    ] = None,
    domain: Class = None,
) -> None:
    """Open a prompt with the state.

    `state` is the plain domain object, a copy: what is done with it is not recorded. IPython is taken if it is installed.

    \b
    Example:
      coopy shell data --at 2026-01-31
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.tools.domain import reading

    then = None if at is None else text.point(at, "--at")
    basedir = paths.absolute(directory, "DIR")
    meter = text.Meter(f"replaying {os.path.basename(basedir)}")
    with reading(basedir, domain, text.tell) as found:
        try:
            machine = found.machine(then, meter, meter.loading)
        finally:
            meter.finish()
    names = {"state": machine.domain}
    banner = (
        f"state: {type(machine.domain).__qualname__} of {basedir} after action {machine.applied:,}; a copy, nothing is recorded"
    )
    try:
        start_ipython = importlib.import_module("IPython").start_ipython
    except ImportError:
        import code

        with suppress(ImportError):
            import readline  # noqa: F401  # Lines can be edited and come back.
        code.interact(banner, local=names, exitmsg="")
    else:
        print(banner)
        start_ipython(argv=["--no-banner"], user_ns=names)

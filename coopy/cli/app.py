"""The commands. Each reads its arguments, asks the tool that does the work, and writes what it answers. It has more than
500 lines because each command is a function with its options and its help; there is nothing else in it.

Exit codes: 0 all is well, 1 something was found or refused, 2 wrong use, 130 Ctrl-C.
Results go to stdout; what is said about the work (whose directory is loaded,
progress, errors) goes to stderr. The modules that do the work are imported by the
command that needs them: a command must answer at once.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import click

from coopy import CoopyError, DamagedManifest, UsageError
from coopy.cli import completing, keyed
from coopy.cli.cluster import cluster
from coopy.cli.command import Argument, Command, Exit, Group, Option
from coopy.cli.elector import elector
from coopy.cli.keyed import Key, Of, keys
from coopy.cli.past import Class, Dir, Json, Since, Until, backup, bisect, blame, export, restore, shell, stats
from coopy.cli.serving import call, ps, serve
from coopy.cli.tasks import tasks
from coopy.cli.web import top as watching
from coopy.cli.web import web
from coopy.ground import looking

_IN_ITS_WORDS = (
    (
        re.compile(r"coopy\.replay\(cls, basedir, until=(\d+)\)"),
        r"`coopy show DIR --at \1`; `coopy repair DIR` says what can be done",
    ),
    (re.compile(r"\Auntil=(\S+):"), r"\1 is no point of it:"),
)
"""What an error advises to a program, and what a person at a terminal does in its place."""


def in_its_words(message: str) -> str:
    """Returns what an error says in the words of the command."""
    for of_python, of_the_command in _IN_ITS_WORDS:
        message = of_python.sub(of_the_command, message)
    return message


class _Commands(Group):
    """Turns what a command raises into one paragraph and an exit code."""

    _as_json = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        self._as_json = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except KeyboardInterrupt:
            raise Exit(130) from None
        except BrokenPipeError:
            # Whoever read has seen enough. What is still buffered must not be tried again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(0) from None
        except click.UsageError as error:
            if not self._as_json:
                raise
            self._tell_of(UsageError(error.format_message()), error.format_message())
            raise Exit(2) from None
        except UsageError as error:
            self._tell_of(error, str(error))
            raise Exit(2) from None
        except CoopyError as error:
            self._tell_of(error, str(error))
            raise Exit(1) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            self._tell_of(error, f"{where}{error.strerror or error}")
            raise Exit(1) from None

    def _tell_of(self, error: Exception, message: str) -> None:
        """Writes what went wrong to stderr: as an object with --json, for people without."""
        message = in_its_words(message)
        if self._as_json:
            print(json.dumps({"error": type(error).__name__, "message": message}), file=sys.stderr)
        else:
            _say_error(message)


def run() -> None:
    """Runs the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        # A name that this terminal has no letters for is no reason to stop.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    looking.only(f"`coopy {sys.argv[1]}`" if sys.argv[1:] else "`coopy`")
    app(prog_name="coopy")


def _version(_: object) -> str:
    import coopy

    return f"coopy {coopy.__version__}"


def _completion(shell: str) -> str:
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"--completion {shell!r}: must be bash, zsh or fish")
    return found(app, {}, "coopy", "_COOPY_COMPLETE").source()


def top(
    version: Annotated[bool, Option("--version", answer=_version, help="Print the version.")] = False,
    completion: Annotated[
        str | None,
        Option(
            metavar="SHELL", answer=_completion, help="Print what completes words in bash, zsh or fish, for its start file."
        ),
    ] = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="Print results and errors alone.")] = False,
) -> None:
    """Look into data directories of coopy, check them, and look after them.

    A state and its actions are stored as pickles, and loading a pickle can run any
    code: open only directories you trust. inspect, backup, prune and repair load none.

    A POINT is the index of an action, or a time: 2026-01-31, 2026-01-31T08:15:00,
    08:15 (today), 2h (two hours ago).

    \b
    Example:
      coopy log data --since 2h
    """
    from coopy.cli import text

    text.is_quiet = quiet


def inspect(directory: Dir, as_json: Json = False) -> None:
    """Describe what a directory holds, and who has it open.

    Segments, snapshots, actions, sizes. Loads nothing. Damage is shown, and makes the exit code 1.

    \b
    Example:
      coopy inspect data
    """
    from coopy.cli import describe, text
    from coopy.tools.contents import contents

    basedir = _system(directory, damaged=True)
    found = contents(basedir)
    if as_json:
        text.print_json(found.as_dict())
    else:
        _print(describe.contents(found, text.Painter()))
    if found.damages:
        raise Exit(1)


def log(
    directory: Dir,
    since: Since = None,
    until: Until = None,
    method: Annotated[
        str | None, Option(metavar="NAME", complete=completing.methods, help="Only calls of this method.")
    ] = None,
    follow: Annotated[bool, Option("--follow", "-f", help="Go on with what is written, until Ctrl-C.")] = False,
    key: Key = None,
    of: Of = None,
    everything: Annotated[
        bool,
        Option("--all", help="Also what coopy itself has recorded, as the <batch> of a node and the <version> of a class."),
    ] = False,
    domain: Class = None,
    as_json: Json = False,
) -> None:
    """List the recorded actions.

    One on a line: index, local time, call, and how it ended if it did not return. What coopy records itself has an index, too, and is
    shown with --all. The directory may be in use. With --json, one object on a line, nothing cut. With
    --follow, the newest action is shown before it is known how it ended; if it turns
    out that it raised or was withdrawn, it is shown again.

    \b
    Examples:
      coopy log data --since 2026-01-31T08:00 --method create_page
      coopy log data --follow --json
      coopy log data --key 42
    """
    from coopy.cli import text

    if keyed.has_objects(_absolute(directory), key):
        if follow:
            raise UsageError("--follow is for systems, and the directory holds many objects. Leave it out.")
        keyed.log(_absolute(directory), key, of, since, until, method, domain, as_json)
        return
    from coopy.past import trail
    from coopy.tools.domain import reading

    begin = None if since is None else text.point(since, "--since")
    end = None if until is None else text.point(until, "--until")
    if follow and until is not None:
        raise UsageError("--follow goes on until Ctrl-C; leave out --until")
    with reading(_absolute(directory), domain, _tell, needed=False) as found:
        paint, columns, digits = text.Painter(), text.width(), len(str(max(found.log.last, 1)))
        pruned = found.log.oldest - 1
        if pruned and isinstance(end, int) and end <= pruned:
            _tell(_pruned(pruned))
        for each in trail.follow(found, begin) if follow else trail.actions(found, begin, end):
            if pruned and each is not None:
                # The first that is there, and not the first that was asked for.
                if each.index == pruned + 1 != begin:
                    _tell(_pruned(pruned))
                pruned = 0
            if each is None:
                sys.stdout.flush()
            elif not everything and method is None and each.method is not None and each.method.startswith("<"):
                continue  # No call of anybody's.
            elif method is None or each.method in (method, None):
                print(text.action_json(each) if as_json else text.action_line(each, columns, digits, paint))


def verify(
    directory: Dir,
    twice: Annotated[
        bool, Option("--twice", help="Also replay in two processes that differ in all that must not matter, and compare.")
    ] = False,
    domain: Class = None,
    as_json: Json = False,
) -> None:
    """Read every byte and replay every action.

    The states are compared with every snapshot. With --twice, two more processes replay with another hash seed, time zone and
    environment; where their states part, the first action that made them differ is
    named. Exit code 1 if there are problems.

    \b
    Example:
      coopy verify data --twice
    """
    from coopy.cli import describe, text
    from coopy.tools.verify import verify as verified

    if keyed.has_objects(_absolute(directory)):
        if twice:
            raise UsageError("--twice is for systems, and the directory holds many objects. Leave it out.")
        keyed.verify(_absolute(directory), domain, as_json)
        return
    basedir, cls = _directory_and_class(directory, domain)
    meter = text.Meter(f"verifying {os.path.basename(basedir)}")
    try:
        found = verified(basedir, cls, twice=twice, progress=meter.phase)
    finally:
        meter.finish()
    if as_json:
        text.print_json(describe.verified_json(found))
    else:
        _print(describe.verified(found, text.Painter()))
    if found.problems:
        raise Exit(1)


def show(
    directory: Dir,
    at: Annotated[
        str | None, Option(metavar="POINT", complete=completing.points, help="The state then; by default that of now.")
    ] = None,
    depth: Annotated[int, Option(min=0, metavar="N", help="Levels to draw, in JSON too.")] = 3,
    items: Annotated[int, Option(min=1, metavar="N", help="Items to draw of each container.")] = 20,
    path: Annotated[str, Option(metavar="PATH", help="A part of the state, as in .pages['Home'].")] = "",
    key: Key = None,
    of: Of = None,
    domain: Class = None,
    as_json: Json = False,
) -> None:
    """Draw the state as a tree, as it is or as it was.

    \b
    Examples:
      coopy show data --at 2026-01-31
      coopy show data --at 1200 --path ".pages['Home']" --depth 5
      coopy show data --key 42
    """
    from coopy.cli import text
    from coopy.tools import tree
    from coopy.tools.domain import reading

    then = None if at is None else text.point(at, "--at")
    if keyed.has_objects(_absolute(directory), key):
        domain_object, said, line = keyed.state(_absolute(directory), key, of, then, domain)
    else:
        with reading(_absolute(directory), domain, _tell) as found:
            machine = _restored(found, then)
        domain_object, said, line = machine.domain, _state_of(machine), _state_line(machine)
    part = tree.at(domain_object, path)
    if as_json:
        text.print_json({**said, "path": path, "state": tree.as_json(part, depth)})
        return
    paint = text.Painter()
    print(paint("note", line))
    for line in tree.tree(part, depth, items=items, width=text.width(), paint=paint):
        print(line)


def diff(
    directory: Dir,
    before: Annotated[str, Argument("A", help="The state to begin with: an index or a time.", complete=completing.points)],
    after: Annotated[str, Argument("B", help="The state to compare: an index or a time.", complete=completing.points)],
    key: Key = None,
    of: Of = None,
    domain: Class = None,
    as_json: Json = False,
) -> None:
    """List what differs between two states.

    What is added, removed and changed, each with its place.

    \b
    Examples:
      coopy diff data 1200 1300
      coopy diff data 2026-01-31 2026-02-01
    """
    from coopy.cli import text
    from coopy.tools import tree
    from coopy.tools.domain import reading

    points = text.point(before, "A"), text.point(after, "B")
    if keyed.has_objects(_absolute(directory), key):
        old, new = (keyed.state(_absolute(directory), key, of, then, domain) for then in points)
    else:
        with reading(_absolute(directory), domain, _tell) as found:
            old, new = (
                (machine.domain, _state_of(machine), _state_line(machine))
                for machine in [_restored(found, then) for then in points]
            )
    found_differences = tree.differences(old[0], new[0])
    if as_json:
        said = []
        for each in found_differences:
            values = {
                name: tree.as_json(value)
                for name, value in (("before", each.before), ("after", each.after))
                if value is not tree.MISSING
            }
            said.append({"path": each.path, "kind": each.kind, **values})
        text.print_json({"from": old[1], "to": new[1], "differences": said})
        return
    paint, columns = text.Painter(), text.width()
    print(paint("note", f"{old[2]} → {new[2]}"))
    none = True
    for each in found_differences:
        none = False
        print(_difference_line(each, columns, paint))
    if none:
        print("no difference")


def snapshot(directory: Dir, domain: Class = None, as_json: Json = False) -> None:
    """Keep the state in a snapshot.

    Opens a system that is not open, and closes it: its next start is short. A system that is open is refused: let it call
    take_snapshot() itself.

    \b
    Example:
      coopy snapshot data
    """
    from coopy.cli import text
    from coopy.tools.snapshotting import snapshot as kept

    basedir, cls = _directory_and_class(directory, domain)
    index = kept(basedir, cls)
    name = f"snapshot_{index:015d}.dat"
    taken = os.path.getsize(os.path.join(basedir, name))
    if as_json:
        text.print_json({"index": index, "file": name, "bytes": taken})
    else:
        print(f"{name}: the state after action {index:,}, {text.size(taken)}")


def prune(
    directory: Dir,
    keep: Annotated[int | None, Option(metavar="N", help="The newest N snapshots stay.")] = None,
    keep_for: Annotated[
        str | None, Option(metavar="TIME", help="What shows the states since then stays: 12h, 30d, 8w.")
    ] = None,
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Delete old snapshots and what only they need.

    That is the journal before the oldest snapshot that stays. With both --keep and --keep-for, a snapshot stays if either says so. What stays is
    read first; of a damaged system, and of one that is open, nothing is deleted.

    \b
    Examples:
      coopy prune data --keep-for 30d --dry-run
      coopy prune data --keep 3
    """
    from coopy.cli import text
    from coopy.past import retention
    from coopy.tools import pruning

    if keep is None and keep_for is None:
        raise UsageError("say what is to stay: --keep N, --keep-for TIME, or both. Nothing was deleted.")
    rule = retention.retention(keep, None if keep_for is None else text.duration(keep_for, "--keep-for"))
    basedir = _system(directory)
    gone = pruning.prune(basedir, rule, dry_run=dry_run)
    if as_json:
        text.print_json({**gone._asdict(), "deleted": not dry_run})
        return
    for name in gone.files:
        print(name)
    if gone.files:
        verb = "would be deleted" if dry_run else "deleted"
        print(
            f"{text.count(len(gone.files), 'file')}, {text.size(gone.bytes)}, {verb}; the past begins at action {gone.oldest:,}"
        )
    else:
        print(f"nothing to delete; the past begins at action {gone.oldest:,}")


def repair(
    directory: Dir,
    withdraw: Annotated[
        int | None, Option(metavar="INDEX", help="Leave this action out from now on, as replay can't get past it.")
    ] = None,
    reinstate: Annotated[int | None, Option(metavar="INDEX", help="Take back that this action was withdrawn so.")] = None,
    on_every_node: Annotated[
        bool, Option("--on-every-node", help="All nodes are stopped, and the same is done in the directory of each.")
    ] = False,
    yes: Annotated[bool, Option("--yes", help="Do it without asking.")] = False,
    reclock: Annotated[bool, Option("--reclock", help="Put the clock back, after one was far ahead once.")] = False,
    key: Key = None,
    of: Of = None,
    release: Annotated[bool, Option("--release", help="With --key: have an object called again that is quarantined.")] = False,
    domain: Class = None,
    as_json: Json = False,
) -> None:
    """Make a directory open again that does not.

    Cuts out what is damaged; it is copied aside first. Prints what is damaged, what would be lost and what would be done, and asks. Without
    a terminal to ask at, and without --yes, it only prints. With --reclock it puts the clock back instead, after one that was far ahead. With --withdraw INDEX it does so with one action that replay can't get past: an error that says so
    names the index. Nothing need be damaged then, and the code that recorded the action need not be there. With --key it tells what the
    process has died of at an object of coopy.objects; --release, --withdraw and --reinstate then are about that object.

    \b
    Examples:
      coopy repair data
      coopy repair data --yes --json
      coopy repair data --reclock
      coopy repair data --withdraw 1200
      coopy repair data --key 42 --release
    """
    from coopy.tools import withdrawing

    if key is not None:
        what = {"withdraw": withdraw, "reinstate": reinstate, "release": release}
        keyed.mend(_absolute(directory), key, of, domain, what, as_json, lambda plan: _agree(plan, True, yes, as_json), _say)
        return
    if release:
        raise UsageError("--release is about an object: give --key KEY. Nothing was changed.")
    if reclock:
        if withdraw is not None or reinstate is not None:
            raise UsageError("--reclock goes with neither --withdraw nor --reinstate. Nothing was changed.")
        _reclock(directory, domain, yes, as_json)
        return
    if withdraw is not None and reinstate is not None:
        raise UsageError("--withdraw and --reinstate: one action at a time. Nothing was changed.")
    if on_every_node and withdraw is None and reinstate is None:
        raise UsageError("--on-every-node goes with --withdraw or --reinstate. Nothing was changed.")
    basedir = _directory(directory)
    if withdraw is not None:
        plan = withdrawing.plan(basedir, withdraw, on_every_node=on_every_node)
    elif reinstate is not None:
        plan = withdrawing.plan_back(basedir, reinstate, on_every_node=on_every_node)
    else:
        _repair_damage(basedir, yes, as_json)
        return
    _agree(plan, True, yes, as_json)
    with _metered("copying", basedir) as progress:
        done = withdrawing.carry_out(plan, progress, on_every_node=on_every_node)
    result = {"aside": done.aside, "files": list(done.files)}
    _say(f"action {plan.index:,} is {plan.kind}. What was changed is in {done.aside}", plan, result, as_json)


def _repair_damage(basedir: str, yes: bool, as_json: bool) -> None:
    from coopy.cli import text
    from coopy.tools import repair as repairing

    plan = repairing.plan(basedir)
    if plan is None:
        if as_json:
            text.print_json({"plan": None})
        else:
            print("nothing is damaged")
        return
    _agree(plan, plan.possible, yes, as_json)
    with _metered("repairing", basedir) as progress:
        done = repairing.carry_out(plan, progress)
    result = {"aside": done.aside, "files": list(done.files), "last_index": done.last_index}
    _say(f"repaired: it goes up to action {done.last_index:,}. What was cut is in {done.aside}", plan, result, as_json)


def _agree(plan: Any, possible: bool, yes: bool, as_json: bool) -> None:
    """Prints a plan and asks whether it is to be carried out. Ends the command if not."""
    from coopy.cli import text

    if not as_json:
        print(plan.text())
    if possible and (yes or (not as_json and _confirmed())):
        return
    if as_json:
        text.print_json({"plan": plan.as_dict(), "repaired": None})
    elif possible:
        _say_error("nothing was changed. To carry it out, answer yes at a terminal, or give --yes.")
    raise Exit(1)


def _say(words: str, plan: Any, result: dict[str, Any], as_json: bool) -> None:
    from coopy.cli import text

    if as_json:
        text.print_json({"plan": plan.as_dict(), "repaired": result})
    else:
        print(words)


@contextmanager
def _metered(doing: str, basedir: str) -> Iterator[Callable[[int, int], None]]:
    """A meter of bytes, for as long as something is done with a directory."""
    from coopy.cli import text

    meter = text.Meter(f"{doing} {os.path.basename(basedir)}")
    try:
        yield meter.bytes
    finally:
        meter.finish()


def import_(
    old: Annotated[str, Argument("OLD", help="A directory of coopy 0.4 or 0.7; it is only read.")],
    new: Annotated[str, Argument("NEW", help="The directory to make.")],
    domain: Annotated[str, Option("--class", "-c", metavar="MODULE:CLASS", help="The domain class of today.")],
    as_json: Json = False,
) -> None:
    """Bring in a directory of coopy 0.4 or 0.7.

    NEW is made, and OLD is only read. It begins with the state at the end of OLD.

    \b
    Example:
      coopy import olddata data --class wiki:Wiki
    """
    from coopy.cli import text
    from coopy.disk import older
    from coopy.tools import domain as domains
    from coopy.tools import importing

    old = _directory(old)
    _tell(domains.announcement_of_old(old, older.recognize(old)))
    cls = domains.load(domain)
    meter = text.Meter(f"importing {os.path.basename(old)}")
    try:
        done = importing.import_directory(cls, old, new, progress=meter)
    finally:
        meter.finish()
    if as_json:
        text.print_json(done._asdict())
        return
    print(f"{new}: the state of {text.count(done.actions, 'action')} of coopy {done.version}, from {done.snapshot} on")
    if done.raised:
        print(f"{text.count(done.raised, 'action')} raised, as recorded")
    if done.dropped:
        print(f"{text.size(done.dropped)} at the end of the last log were torn, and left out")


def rehearse(
    directory: Dir,
    spec: Annotated[str, Argument("MODULE:CLASS", help="The class as it is now.")],
    as_json: Json = False,
) -> None:
    """Ask whether the recorded actions fit changed code.

    To be asked before a system is started with it.
    Replays without writing anything. Of each that does not fit it says what to do.
    Exit code 1 if there are any.

    \b
    Example:
      coopy rehearse data wiki:Wiki
    """
    from coopy.cli import describe, text
    from coopy.tools import domain as domains
    from coopy.tools.rehearse import rehearse as rehearsed

    basedir = _absolute(directory)
    domains.announce(basedir, _tell)
    cls = domains.load(spec)
    meter = text.Meter(f"rehearsing {os.path.basename(basedir)}")
    try:
        misfits = rehearsed(basedir, cls, meter)
    finally:
        meter.finish()
    if as_json:
        text.print_json({"misfits": [each.as_dict() for each in misfits]})
    else:
        _print(describe.misfits(misfits, text.Painter()))
    if misfits:
        raise Exit(1)


def check(
    specs: Annotated[list[str], Argument("MODULE:CLASS", help="One domain class, or several.")],
    strict: Annotated[bool, Option("--strict", help="Exit code 1 if there are warnings, too.")] = False,
    deterministic: Annotated[
        bool, Option("--deterministic", help="As for a system that is opened with deterministic=True.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find what replay could not repeat in a class.

    The same check as that of init_system(): it reads the source, for which the class is
    imported, and runs no method. One finding on a line, with its code: CPY1xx are errors,
    the others warnings. A comment # coopy: ignore[CPY201] on that line silences the code
    there. Exit code 1 if there are errors.

    \b
    Examples:
      coopy check wiki:Wiki
      coopy check wiki:Wiki shop:Shop --strict --json
    """
    from coopy.cli import text
    from coopy.determinism import check
    from coopy.tools import domain

    found = check.check([domain.load(spec) for spec in specs], deterministic)
    errors = sum(each.severity == "error" for each in found)
    if as_json:
        text.print_json([text.finding_json(each) for each in found])
    else:
        paint = text.Painter()
        _print([text.finding_line(each, paint) for each in found])
        notes = sum(each.severity == "note" for each in found)
        counts = (("bad", errors, "error"), ("odd", len(found) - errors - notes, "warning"), ("odd", notes, "note"))
        said = ", ".join(paint(colour, text.count(number, kind)) for colour, number, kind in counts if number)
        print(said or paint("good", "nothing found"))
    if errors or (strict and any(each.severity == "warning" for each in found)):
        raise Exit(1)


def stub(
    spec: Annotated[str, Argument("MODULE:CLASS", help="The domain class.")],
    name: Annotated[
        str | None, Option(metavar="NAME", help="The name of the protocol; by default Async and that of the class.")
    ] = None,
) -> None:
    """Print the types of a class in asyncio.

    A module with a typing.Protocol whose methods are those of the class, to be awaited. A
    type checker knows them where it is given: coopy.aio.open(Wiki, "data", protocol=AsyncWiki).

    \b
    Examples:
      coopy stub wiki:Wiki > wiki_async.py
      coopy stub wiki:Wiki --name WikiInAsyncio
    """
    from keyword import iskeyword

    from coopy.tools import domain, protocols

    if name is not None and (not name.isidentifier() or iskeyword(name)):
        raise UsageError(f"--name {name!r}: must be a name that a class can have, for example AsyncWiki")
    print(protocols.protocol_of(domain.load(spec), name), end="")


def _reclock(directory: str, domain: str | None, yes: bool, as_json: bool) -> None:
    from coopy.cli import text
    from coopy.tools import reclock as reclocking

    basedir, cls = _directory_and_class(directory, domain)
    plan = reclocking.plan(basedir, cls)
    if plan is None:
        if as_json:
            text.print_json({"plan": None})
        else:
            print("the last action is not later than this machine's clock")
        return
    said = {"index": plan.index, "before": plan.before.isoformat(), "after": plan.after.isoformat()}
    if not as_json:
        print(
            f"The last action, {plan.index - 1:,}, has the time {text.moment(plan.before, 'seconds')}, and this machine's clock says "
            f"{text.moment(plan.after, 'seconds')}. An action {plan.index:,} would be recorded with the time of the clock, and those "
            f"after it have the clock's times again. What was recorded stays as it is, with its times. Is the clock right?"
        )
    if not (yes or (not as_json and _confirmed())):
        if as_json:
            text.print_json({"plan": said, "reclocked": None})
        else:
            _say_error("nothing was changed. To carry it out, answer yes at a terminal, or give --yes.")
        raise Exit(1)
    done = reclocking.reclock(basedir, cls)
    if as_json:
        text.print_json({"plan": said, "reclocked": done.index})
    else:
        print(f"done: from action {done.index:,} on the clock's times count")


app = _Commands(
    "coopy",
    top,
    {
        "Look": {
            "inspect": inspect,
            "show": show,
            "log": log,
            "diff": diff,
            "stats": stats,
            "blame": blame,
            "bisect": bisect,
            "shell": shell,
            "keys": keys,
            "ps": ps,
            "top": watching,
            "web": web,
        },
        "Check": {"verify": verify, "check": check, "rehearse": rehearse},
        "Keep": {
            "snapshot": snapshot,
            "backup": backup,
            "restore": restore,
            "export": export,
            "prune": prune,
            "repair": repair,
            "import": import_,
        },
        # A negative number is an argument, and no option.
        "Use": {
            "call": Command("call", call, ignore_unknown_options=True),
            "serve": serve,
            "tasks": tasks,
            "stub": stub,
            "cluster": cluster,
            "elector": elector,
        },
    },
)


# -- what the commands share


def _tell(line: str) -> None:
    from coopy.cli import text

    text.tell(line)


def _say_error(message: str) -> None:
    from coopy.cli.text import Painter

    print(f"{Painter(sys.stderr)('bad', 'coopy:')} {message}", file=sys.stderr)


def _print(lines: list[str]) -> None:
    for line in lines:
        print(line)


def _absolute(path: str) -> str:
    from coopy.ground import paths

    return paths.absolute(path, "DIR")


def _directory(path: str) -> str:
    from coopy.ground import paths

    found = paths.absolute(path, "DIR")
    paths.refuse_missing(found)
    return found


def _system(directory: str, damaged: bool = False) -> str:
    """The absolute path of a directory that is a system's; ``damaged``: though its coopy.json may not read."""
    from coopy.tools.domain import found

    basedir = _absolute(directory)
    try:
        found(basedir)
    except DamagedManifest:
        if not damaged:
            raise
    return basedir


def _directory_and_class(directory: str, spec: str | None) -> tuple[str, type]:
    """The absolute path, and the class; says first what is about to be loaded."""
    from coopy.tools import domain

    basedir = _absolute(directory)
    return basedir, domain.domain_class(domain.announce(basedir, _tell), spec)


def _pruned(last: int) -> str:
    return f"The actions up to {last:,} are not there any more: they were pruned."


def _restored(reading: Any, until: Any) -> Any:
    from coopy.cli.text import Meter

    meter = Meter(f"replaying {os.path.basename(reading.basedir)}")
    try:
        return reading.machine(until, meter, meter.loading)
    finally:
        meter.finish()


def _state_of(machine: Any) -> dict[str, Any]:
    from coopy.ground.action import aware_time

    return {"index": machine.applied, "time": aware_time(machine.header).isoformat()}


def _state_line(machine: Any) -> str:
    from coopy.cli.text import moment
    from coopy.ground.action import aware_time

    return f"action {machine.applied:,}, {moment(aware_time(machine.header))}"


def _difference_line(each: Any, columns: int, paint: Callable[[str, str], str]) -> str:
    from coopy.tools.tree import shown

    path = each.path or "the state"
    sign, colour = {"added": ("+", "good"), "removed": ("-", "bad"), "changed": ("~", "odd")}[each.kind]
    room = columns - len(path) - 4
    if each.kind == "changed":
        value = f"{shown(each.before, room // 2 - 2)} → {shown(each.after, room // 2 - 2)}"
    else:
        value = shown(each.after if each.kind == "added" else each.before, room)
    return f"{paint(colour, f'{sign} {path}')}: {value}"


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _confirmed() -> bool:
    if not _at_a_terminal():
        return False
    try:
        return input("Carry this out? Type yes: ").strip().lower() == "yes"
    except EOFError:
        return False

"""`coopy serve`, `coopy call` and `coopy ps`: a system for other processes and other machines, and who has it open."""

from __future__ import annotations

import json
import signal
import sys
from typing import Annotated

from coopy import UsageError
from coopy.cli import completing
from coopy.cli.command import Argument, Exit, Option


def serve(
    spec: Annotated[str, Argument("MODULE:CLASS", help="The domain class.")],
    directory: Annotated[str, Argument("DIR", help="The data directory; made if it is not there.", complete="dir")],
    listen: Annotated[
        list[str],
        Option("--listen", "-l", metavar="URL", help="Where: unix:PATH or tcp://HOST:PORT. May be given again."),
    ],
    key: Annotated[
        str | None,
        Option("--key", metavar="FILE", help="The key for tcp; made if it is not there. By default serve.key in DIR."),
    ] = None,
    tls: Annotated[
        str | None,
        Option("--tls", metavar="FOLDER", help="With the certificate in a folder as `coopy cluster init` makes it."),
    ] = None,
    durability: Annotated[str, Option("--durability", metavar="HOW", help="sync or buffered; see init_system().")] = "sync",
    snapshot_time: Annotated[
        float, Option("--snapshot-time", min=0, metavar="SECONDS", help="Take a snapshot so often; 0 for never.")
    ] = 0,
) -> None:
    """Serve a system to other processes, here and on other machines.

    They use it with coopy.connect(URL, Class, key=FILE). The directory is opened as with shared=True, so that others on this machine may have
    it open as well. Over TCP both sides must have the key: WHOEVER HAS IT MAY RUN CODE AS YOU. At a Unix socket only
    your own processes are let in. An address that other machines can reach needs --tls.

    \b
    Examples:
      coopy serve wiki:Wiki data --listen unix:/run/wiki.sock
      coopy serve wiki:Wiki data --listen tcp://127.0.0.1:7070
      coopy serve wiki:Wiki data --listen tcp://wiki.example.com:7070 --tls certificates/wiki.example.com-7070
    """
    try:
        from coopy.tools import serving
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "websockets":
            raise
        raise UsageError("coopy serve needs: pip install 'coopy[serve]'. Nothing was opened.") from None
    from coopy.tools.domain import load

    options = {"durability": durability, "snapshot_time": snapshot_time}
    number = serving.serve(load(spec), directory, listen, key, tls, options, _tell)
    _tell("ended")
    if number == signal.SIGINT:
        raise Exit(128 + signal.SIGINT)


def call(
    directory: Annotated[str, Argument("DIR", help="The data directory.", complete="dir")],
    method: Annotated[
        str, Argument("METHOD", help="A method of the domain class, or an attribute to be read.", complete=completing.methods)
    ],
    arguments: Annotated[list[str] | None, Argument("ARGUMENT", help="Python literals; NAME=LITERAL for keywords.")] = None,
    domain: Annotated[
        str | None,
        Option("--class", "-c", metavar="MODULE:CLASS", help="The domain class; by default the one coopy.json names."),
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """Call a method, and print what it returns.

    If the directory is open as shared, or served, the process that writes runs the call, and the others see it; if it is not open, it is
    opened for the call. A word that is no literal is taken as text; what begins with a bracket or a quote must be a literal. What
    the method raises is printed, and makes the exit code 1.

    \b
    Examples:
      coopy call data create_page Home "'Welcome to the wiki'"
      coopy call data create_page Home text=Welcome tags="['new']"
      coopy call data page Home --json
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.tools import calling, tree
    from coopy.tools.domain import announce, domain_class, found

    basedir = paths.absolute(directory, "DIR")
    # Where another process writes, nothing is loaded here.
    said = found(basedir) if calling.shares(basedir) else announce(basedir, text.tell)
    outcome = calling.call(basedir, domain_class(said, domain), method, arguments or ())
    if outcome.error is not None:
        raised = type(outcome.error).__qualname__
        _tell(json.dumps({"error": raised, "message": str(outcome.error)}) if as_json else f"{raised}: {outcome.error}")
        raise Exit(1)
    if as_json:
        text.print_json(tree.as_json(outcome.value))
    else:
        print(repr(outcome.value))


def ps(
    directory: Annotated[str, Argument("DIR", help="The data directory.", complete="dir")],
    as_json: Annotated[bool, Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the processes that have a directory open.

    A line for each process: pid, role, the last action that it knows of, memory, since when it runs, and its command. The
    role is "writer" or "follower" in a directory that is shared, "caller" for a process that has no copy of the state, and "holder" in a
    directory that one process has for itself. Exit code 1 if nobody has it open.

    \b
    Example:
      coopy ps data
    """
    from coopy.cli import text
    from coopy.ground import paths
    from coopy.tools.domain import found
    from coopy.tools.processes import processes

    basedir = paths.absolute(directory, "DIR")
    found(basedir)
    there = processes(basedir)
    if as_json:
        text.print_json([each.as_dict() for each in there])
    elif there:
        rows = [("PID", "ROLE", "ACTION", "MEMORY", "SINCE", "COMMAND")]
        for each in there:
            position = "?" if each.position is None else f"{each.position:,}"
            memory = "?" if each.bytes is None else text.size(each.bytes)
            since = "?" if each.since is None else text.moment(each.since, "seconds")
            rows.append((str(each.pid), each.role, position, memory, since, each.command or "?"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            print(line if len(line) <= text.width() else line[: text.width() - 1] + "…")
    else:
        print("nobody has it open")
    if not there:
        raise Exit(1)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

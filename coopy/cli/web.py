"""`coopy web` and `coopy top`: a system in the browser, and on the terminal."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from coopy import UsageError
from coopy.cli.command import Argument, Option

if TYPE_CHECKING:
    from coopy.tools.web_top import Glance

_METHODS = 12  # With the newest calls they fill a screen of 40 lines.
NEEDED = ("jinja2", "starlette", "uvicorn")

Class = Annotated[
    str | None,
    Option("--class", "-c", metavar="MODULE:CLASS", help="The domain class; by default the one coopy.json names."),
]


def web(
    directory: Annotated[str, Argument("DIR", help="The data directory, as given to init_system().", complete="dir")],
    domain: Class = None,
    port: Annotated[int, Option("--port", "-p", min=0, max=65535, metavar="PORT", help="By default one that is free.")] = 0,
    write: Annotated[bool, Option("--write", help="Allow calls from a form, and branches.")] = False,
    trust: Annotated[bool, Option("--trust", help="Load a directory that belongs to another user.")] = False,
) -> None:
    """Show a system in the browser.

    The state as a tree at any point of its past, the journal, what each action changed and who set a value, the disk, rates, memory and the
    cluster. It answers on this machine alone, to whoever has the link that is printed; the link is good for one browser. It reads beside a running
    system, and changes nothing without --write. Ctrl-C ends it.

    \b
    Examples:
      coopy web data
      coopy web data --write --port 8000
    """
    try:
        from coopy.tools import web_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        raise UsageError("coopy web needs: pip install 'coopy[web]'. Nothing was opened.") from None
    from coopy.ground import paths
    from coopy.tools import keyed
    from coopy.tools.domain import announce

    basedir = paths.absolute(directory, "DIR")
    if os.path.isdir(basedir) and os.stat(basedir).st_uid != os.getuid() and not trust:
        raise UsageError(
            f"{basedir}: belongs to another user. A state and its actions are pickles, and loading one can run any code as you. If "
            f"you trust whoever wrote it: --trust. Nothing was loaded."
        )
    if not keyed.has_objects(basedir):
        announce(basedir, _tell)
    elif write:
        raise UsageError("--write is for systems, and the directory holds many objects. Leave it out.")
    web_server.serve(basedir, domain, port, write, _tell)


def top(
    directory: Annotated[str, Argument("DIR", help="The data directory, as given to init_system().", complete="dir")],
    domain: Class = None,
    every: Annotated[float, Option("--every", "-n", min=0.1, metavar="SECONDS", help="Look so often.")] = 1.0,
    once: Annotated[bool, Option("--once", help="Print what there is, and end.")] = False,
) -> None:
    """Watch a system on the terminal.

    How fast it is called, by which methods, the newest calls, and what is on the disk. It reads beside a running system. Ctrl-C ends it.

    \b
    Examples:
      coopy top data
      coopy top data --once
    """
    import time

    try:
        from rich.console import Console
        from rich.live import Live
    except ModuleNotFoundError:
        raise UsageError("coopy top needs: pip install 'coopy[web]'. Nothing was opened.") from None
    from coopy.ground import paths
    from coopy.tools.domain import announce
    from coopy.tools.web_top import Watch

    basedir = paths.absolute(directory, "DIR")
    announce(basedir, _tell)
    watch = Watch(basedir, domain)
    console = Console()
    try:
        if once:
            seen = watch.glance()
            while seen.read < seen.last and seen.problem is None:
                seen = watch.glance()
            console.print(_drawn(basedir, seen))
            return
        with Live(_drawn(basedir, watch.glance()), console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                live.update(_drawn(basedir, watch.glance()), refresh=True)
    finally:
        watch.close()


def _drawn(basedir: str, seen: Glance) -> Any:
    """A glance as rich draws it; what comes from the system is text, and no markup."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from coopy.cli import text

    holder = "not open" if seen.holder is None else f"open in process {seen.holder}"
    snapshot = (
        "no snapshot"
        if seen.snapshot is None
        else f"{text.count(seen.snapshots, 'snapshot')}, the newest of action {seen.snapshot:,}"
    )
    head = Text.assemble((os.path.basename(basedir), "bold"), f"  {holder}\n")
    head.append(
        f"action {seen.last:,}   {seen.rate:,.1f} a second   {text.count(seen.segments, 'segment')}, {snapshot}, {text.size(seen.bytes)}"
    )
    if seen.read < seen.last:
        head.append(f"\n{seen.read:,} read so far", "yellow")
    if seen.problem:
        head.append(f"\n{seen.problem}", "red")
    methods = Table(box=None, pad_edge=False, header_style="bold cyan")
    for name, justify in (("method", "left"), ("calls", "right"), ("a second", "right")):
        methods.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, calls, rate in seen.methods[:_METHODS]:
        methods.add_row(Text(name), f"{calls:,}", f"{rate:,.1f}")
    newest = Table(box=None, pad_edge=False, header_style="bold cyan")
    newest.add_column("action", justify="right")
    newest.add_column("time")
    newest.add_column("call", no_wrap=True, overflow="ellipsis", ratio=1)
    newest.add_column("")
    for row in seen.newest:
        when = text.moment(datetime.fromisoformat(row["time"]))
        outcome = row["outcome"] if row["outcome"] in ("raised", "withdrawn") else ""
        newest.add_row(f"{row['index']:,}", when, Text(row["call"]), Text(outcome, "yellow"))
    return Group(head, "", methods, "", newest)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

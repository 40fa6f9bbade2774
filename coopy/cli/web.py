"""`coopy web` and `coopy top`: a system in the browser, and on the terminal."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from coopy.errors import UsageError

NEEDED = ("jinja2", "starlette", "uvicorn")

Class = Annotated[
    str | None,
    typer.Option("--class", "-c", metavar="MODULE:CLASS", help="The domain class; by default the one coopy.json names."),
]


def web(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="The data directory, as given to init_system().")],
    domain: Class = None,
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65535, metavar="PORT", help="By default one that is free.")
    ] = 0,
    write: Annotated[bool, typer.Option("--write", help="Allow calls from a form, and branches.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Load a directory that belongs to another user.")] = False,
) -> None:
    """Shows a system in the browser.

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
    from coopy.tools.domain import announce

    basedir = paths.absolute(directory, "DIR")
    if os.path.isdir(basedir) and os.stat(basedir).st_uid != os.getuid() and not trust:
        raise UsageError(
            f"{basedir}: belongs to another user. A state and its actions are pickles, and loading one can run any code as you. If "
            f"you trust whoever wrote it: --trust. Nothing was loaded."
        )
    announce(basedir, _tell)
    web_server.serve(basedir, domain, port, write, _tell)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""The page of the command line, made of what each command answers to ``--help``."""

from __future__ import annotations

import os
from typing import Any

_WIDTH = "100"


def page() -> str:
    """Returns the page of all commands, in Markdown. Takes the extra ``[cli]``."""
    os.environ.update(COLUMNS=_WIDTH, NO_COLOR="1")
    from coopy.cli.app import app

    lines = ["# Commands", "", "What each command answers to `--help`. [The guide](../guides/tools.md) shows them at work.", ""]
    for path, said in _helps(app, "coopy", None):
        lines += [f"{'#' * min(len(path.split()) + 1, 4)} {path}", "", "```text", said, "```", ""]
    return "\n".join(lines)


def _helps(command: Any, path: str, parent: Any) -> list[tuple[str, str]]:
    """Returns the help of a command and of those below it, each with the words that call it."""
    context = command.make_context(path.split()[-1], [], parent=parent, resilient_parsing=True)
    found = [(path, command.get_help(context).strip())]
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        below = command.get_command(context, name)
        if below is not None and not below.hidden:
            found += _helps(below, f"{path} {name}", context)
    return found

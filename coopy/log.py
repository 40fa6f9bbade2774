"""What a person should know and no call can tell: the logger "coopy".

`logging` is imported when there is something to say, not with the package.
"""

from __future__ import annotations

WARNING, ERROR = 30, 40
"""As in `logging`."""


def warn(message: str, *values: object) -> None:
    """Something was wrong, was dealt with, and may have a cause worth looking for."""
    say("coopy", WARNING, message, *values)


def error(message: str, *values: object) -> None:
    """Something that was asked for was not done; the system goes on."""
    say("coopy", ERROR, message, *values)


def say(logger: str, level: int, message: str, *values: object) -> None:
    """Says it under the name of a logger, at a level."""
    import logging

    logging.getLogger(logger).log(level, message, *values)

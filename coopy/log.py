"""What a person should know and no call can tell: the logger "coopy".

`logging` is imported when there is something to say, not with the package.
"""

from __future__ import annotations


def warn(message: str, *values: object) -> None:
    """Something was wrong, was dealt with, and may have a cause worth looking for."""
    import logging

    logging.getLogger("coopy").warning(message, *values)


def error(message: str, *values: object) -> None:
    """Something that was asked for was not done; the system goes on."""
    import logging

    logging.getLogger("coopy").error(message, *values)

"""A value in a few words, for messages and for people who look at a state. Never raises, whatever the value is.

A repr may raise, and that of a large int does: Python writes no more than some thousand decimal digits, as that takes long.
Hexadecimal is exact, quick, and a literal as well.
"""

from __future__ import annotations

from collections.abc import Callable

WIDTH = 200  # A value in a message takes two lines of a terminal at most.
BITS_MAX = 14_000
"""An int of more bits than that, 4,215 digits, is in hexadecimal wherever it is written: Python's limit can be changed."""


def number(value: int) -> str:
    """An int, whole: in decimal, or in hexadecimal if it is very large."""
    if value.bit_length() <= BITS_MAX:
        try:
            return int.__repr__(value)
        except ValueError:
            pass  # The limit was set to less.
    return hex(value)


def whole(value: object, write: Callable[[object], str] = repr) -> str:
    """The repr of a value, as ``write`` writes it; of a value that has none, what it is."""
    try:
        return number(value) if type(value) is int else write(value)
    except Exception as error:  # A repr may raise anything, and a message must not.
        return without_repr(value, error)


def shown(value: object, width: int = WIDTH) -> str:
    """The same, cut to ``width`` characters."""
    text = whole(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def without_repr(value: object, error: Exception) -> str:
    """What stands for the repr that has raised."""
    if isinstance(value, int):
        return f"{type(value).__qualname__}({number(value)})"
    return f"<{type(value).__qualname__}, whose repr raises {type(error).__name__}>"

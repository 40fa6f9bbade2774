"""Calls a method of a system: through the process that writes, if the directory is open as shared, or else by opening it.

Who writes loads nothing for it, and neither does this process then: it asks.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from coopy import CoopyError, UsageError, control
from coopy.disk import dirlock
from coopy.opening import in_directory, open_for_tool
from coopy.replication import connecting, local
from coopy.spine.calling import answering

TIMEOUT_S = 30.0
"""A call waits so long for the process that writes, as it does in a program that was given no timeout=."""
_KEYWORD = re.compile(r"([^\W\d]\w*)=(?!=)")
_NO_WORD = re.compile(r"""\s*[\[\](){}'"]|[bBrRuU]['"]|--""")
"""How a word begins that was meant as a literal, or as an option."""


class Outcome:
    """What came of a call: a value, or what the method has raised. A `coopy.spine.calling.Answer`."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None


def call(basedir: str, cls: type, method: str, words: Iterable[str]) -> Outcome:
    """Calls a method with arguments as `arguments` reads them, or reads an attribute. Returns what came of it.

    Raises `UsageError` if the words can't be read, or the class has no such method; `DirectoryInUse` if another process has the directory open and does not share it; and
    what keeps the call from being recorded. Effects that wait are not carried out: they wait for the program whose they are.
    """
    args, kwargs = arguments(words)
    found = Outcome()
    with opened(basedir, cls) as system:
        is_method = callable(getattr(type(system), method, None))
        if (args or kwargs) and not is_method:
            raise UsageError(_no_such(cls, method))
        # What the method raises is a part of the answer.
        with answering(found):
            member = getattr(system, method)
            if is_method:
                member = member(*args, **kwargs)
            found.value = list(member) if isinstance(member, Iterator) else None if member is system else member
        error = found.error
        if isinstance(error, AttributeError) and not is_method and not hasattr(type(system), method):
            raise UsageError(_no_such(cls, method)) from None
        if error is not None and (isinstance(error, CoopyError) or not isinstance(error, Exception)):
            raise error
    return found


def _no_such(cls: type, name: str) -> str:
    has = sorted(each for each in dir(cls) if not each.startswith("_") and callable(getattr(cls, each, None)))
    those = f" It has {', '.join(has)}." if has else ""
    return f"{cls.__qualname__} has no method of the name {name}. Nothing was called.{those}"


@contextmanager
def opened(basedir: str, cls: type) -> Iterator[Any]:
    """Gives a system, by whichever way it is to be had."""
    if shares(basedir):
        system = connecting.beside(cls, basedir, TIMEOUT_S)
    else:
        system = open_for_tool("coopy call", partial(in_directory, is_quiet=True), cls, basedir)
    with control(system):
        yield system


def shares(basedir: str) -> bool:
    """Whether a process has the directory open as shared, and answers there."""
    found = local.published(basedir)
    return found is not None and found.pid == dirlock.holder(basedir)


def arguments(words: Iterable[str]) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments that words stand for: Python literals, with ``name=`` in front of them for keywords.

    A word that is no literal, and does not begin with a bracket, a quote or two dashes, is the text that it is. Raises `UsageError`.

    >>> arguments(["Home", "2", "[1, 2]", "minor=True"])
    (['Home', 2, [1, 2]], {'minor': True})
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for word in words:
        keyword = _KEYWORD.match(word)
        if keyword is None:
            args.append(_value(word))
        elif keyword[1] in kwargs:
            raise UsageError(f"{keyword[1]}= was given twice. Nothing was called.")
        else:
            kwargs[keyword[1]] = _value(word[keyword.end() :])
    return args, kwargs


def _value(word: str) -> Any:
    try:
        return ast.literal_eval(word.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if _NO_WORD.match(word):
            raise UsageError(
                f"{word}: is no literal of Python, and no option. Nothing was called. For a text that begins so, write quotes around it: \"'...'\"."
            ) from None
        return word

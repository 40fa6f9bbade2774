"""Subjects and patterns: which are written rightly, and which pattern hears which subject.

As NATS has them (docs.nats.io, "Subject-Based Messaging"): a subject is words between dots; in a pattern `*` stands for one word, and `>`
at the end for one or more. What begins with `_` or `$` is the bus's own and the servers': a pattern hears it only if it begins so, too.
"""

from __future__ import annotations

import re
from functools import lru_cache

from coopy import UsageError

SUBJECT_BYTES_MAX = 1024
"""A server takes lines of 4,096 bytes, in which two subjects and some numbers stand."""
ANY, REST = "*", ">"
_WORD = r"[^\s.*>\x00-\x1f\x7f]+"
_SUBJECT = re.compile(rf"{_WORD}(?:\.{_WORD})*")
_PATTERN = re.compile(rf"(?:{_WORD}|\*)(?:\.(?:{_WORD}|\*))*(?:\.>)?|>")
_REMEMBERED = 4096
"""A program publishes to some subjects again and again; looking at one anew takes a microsecond or two."""


@lru_cache(maxsize=_REMEMBERED)
def subject(text: str) -> bytes:
    """Returns a subject to publish to, as it goes over the wire. Raises `UsageError`.

    >>> subject("orders.new")
    b'orders.new'
    """
    return _checked(text, _SUBJECT, "subject", "words between dots, without `*`, `>` and spaces, as in 'orders.new'")


@lru_cache(maxsize=_REMEMBERED)
def pattern(text: str) -> bytes:
    """Returns a pattern to subscribe to, as it goes over the wire. Raises `UsageError`.

    >>> pattern("orders.*"), pattern("orders.>")
    (b'orders.*', b'orders.>')
    """
    return _checked(
        text, _PATTERN, "pattern", "words between dots, `*` for any word, `>` at the end for any others, as in 'orders.*'"
    )


def group(text: str) -> bytes:
    """Returns the name of a queue group, as it goes over the wire; none for "". Raises `UsageError`."""
    return _checked(text, _SUBJECT, "group", "one word, as in 'workers'") if text else b""


def _checked(text: str, rule: re.Pattern[str], what: str, must: str) -> bytes:
    if not isinstance(text, str) or not rule.fullmatch(text):
        raise UsageError(f"{what} {text!r}: must be {must}. Nothing was sent.")
    try:
        found = text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} {text!r}: has half a character (a lone surrogate) in it. Nothing was sent.") from None
    if len(found) > SUBJECT_BYTES_MAX:
        raise UsageError(f"{what} {text[:80]!r}…: has {len(found)} bytes; {SUBJECT_BYTES_MAX} are the most. Nothing was sent.")
    return found


@lru_cache(maxsize=_REMEMBERED)
def is_own(text: str) -> bool:
    """Whether a subject is the bus's own or the servers': of questions, answers and what is between the members of a bus."""
    return text.startswith(("_", "$"))


def matches(pattern: str, subject: str) -> bool:
    """Whether a pattern hears a subject.

    >>> matches("orders.*", "orders.new"), matches("orders.*", "orders.new.eu"), matches("orders.>", "orders.new.eu")
    (True, False, True)
    """
    if pattern == subject:
        return True
    if is_own(subject) and not is_own(pattern):
        return False
    wanted, words = pattern.split("."), subject.split(".")
    if wanted[-1] == REST:
        wanted.pop()
        if len(words) <= len(wanted):
            return False
    elif len(words) != len(wanted):
        return False
    return all(each in (ANY, word) for each, word in zip(wanted, words, strict=False))

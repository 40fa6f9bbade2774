"""Random domain classes: the source of a class with methods of all kinds, and the plain object that says what its state must be.

A method leaves its token in the state at each of its steps, so that half an action, one that is missing and one that is done twice show.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
import signal
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from fuzz import outside, values
from fuzz.outside import JobTimeout, Own, Stop
from fuzz.values import described

from coopy import abort_exception, readonly, transactional
from coopy.decorators import ABORT_EXCEPTION, TRANSACTIONAL

MODULE = "fuzz.made"
PARTS = '("tokens", "kept", "held")'

RAISES = (
    "raise ValueError(token)",
    "raise TimeoutError",
    "raise Own(token, 'own')",
    "raise Stop",
    "sys.exit(token)",
    "raise SystemExit",
    "raise KeyboardInterrupt",
    "{}[token]",
    "next(iter(()))",
    "int('x')",
    "assert not token",
    "[][token]",
    "raise MemoryError",
    "raise RecursionError('own')",
    "raise StopIteration",
    "raise JobTimeout",
    "raise JobTimeout('own') from ValueError(token)",
    "None.missing",
    "json.loads('{')",
    "open('/nowhere/x')",
    "raise asyncio.CancelledError",
    "raise GeneratorExit",
    "Own()",
    "len(token)",
    "raise KeyError",
    "raise values.Fussy('job')",
    "b'\\xff'.decode()",
    "token.missing = 1",
    "1 / 0",
    "iter(token)",
    "self.absent(token)",
)
TOO_LARGE = ("[0] * 10**15", "'x' * 10**15", "bytearray(10**15)", "b'x' * 10**15", "list(range(10**15))", "(None,) * 10**15")

HEADS = {
    "plain": "class Domain:\n    def __init__(self):\n        self.tokens, self.kept, self.held = [], [], []\n",
    "with a lock": (
        "class Domain:\n    def __init__(self):\n        self.tokens, self.kept, self.held = [], [], []\n"
        "        self.lock = threading.RLock()\n        self.changed = threading.Condition(self.lock)\n"
    ),
    "slots": (
        "class Domain:\n    __slots__ = ('tokens', 'kept', 'held', '__dict__')\n"
        "    def __init__(self):\n        self.tokens, self.kept, self.held = [], [], []\n"
    ),
    "dict": (
        "class Domain(dict):\n    def __init__(self):\n        self.tokens, self.kept, self.held = [], [], []\n        self['a'] = self.tokens\n"
    ),
    "dataclass": (
        "@dataclasses.dataclass(eq=False)\nclass Domain:\n    tokens: list = dataclasses.field(default_factory=list)\n"
        "    kept: list = dataclasses.field(default_factory=list)\n    held: list = dataclasses.field(default_factory=list)\n"
    ),
    "own state": (
        "class Domain:\n    def __init__(self):\n        self.tokens, self.kept, self.held = [], [], []\n"
        "    def __getstate__(self):\n        return [self.tokens, self.kept, self.held]\n"
        "    def __setstate__(self, state):\n        self.tokens, self.kept, self.held = state\n"
    ),
    "empty": (
        "class Domain:\n    def __init__(self):\n        self.tokens, self.kept, self.held = [], [], []\n"
        "    def __len__(self):\n        return 0\n    def __bool__(self):\n        return False\n"
    ),
}
ALWAYS = '''
    def add(self, token, name=None, value=None):
        self.tokens.append((token, "add"))
        return len(self.tokens)

    def drop(self, token, name=None, value=None):
        self.tokens.append((token, "drop"))
        self.kept.clear()
        self.held.clear()

    def sink(self, token, name, depth):
        if depth:
            return self.sink(token, name, depth - 1)
        self.tokens.append((token, "bottom"))

    def hold(self, token, name, value=None):
        self.tokens.append((token, "hold"))
        self.held.append((name, values.VALUES[name]()))

    def guard(self, token, name, value):
        """For a finalizer that the state has."""
        self.tokens.append((token, "guard"))
        self.held.append(("ward", Ward(token)))

    @readonly
    def look(self):
        return pictured(self)

    @readonly
    def peek(self, token, name=None, value=None):
        fire()
        while pending: pass
        return len(self.tokens)
'''


class Ward:
    """Calls the system when it goes from the state; see `life.Life.ask_of_ward`."""

    asks: Any = None

    def __init__(self, token: int) -> None:
        self.token = token

    def __del__(self) -> None:
        if Ward.asks is not None:
            Ward.asks(self.token)


def fall(depth: int = 0) -> int:
    return fall(depth + 1)


@contextlib.contextmanager
def tidied(domain: Any, token: int) -> Iterator[None]:
    try:
        yield
    finally:
        domain.tokens.append((token, "tidied"))


def pictured(domain: Any) -> str:
    """All of a state, as it is compared."""
    tokens = list(domain.tokens)
    if isinstance(domain, dict) and domain.get("a") is not domain.tokens:
        tokens.append((0, "what was one object is two"))
    return repr((tokens, [(name, described(value)) for name, value in domain.kept], [name for name, _ in domain.held]))


def unkept(domain: Any) -> set[str]:
    """How a snapshot of this state may end; see `values.in_state`."""
    found = {values.in_state(name) for name, _ in (*domain.kept, *domain.held) if name in values.VALUES}
    return found - {values.FINE}


# -- the source


class _Writer:
    """Writes the methods of one class."""

    def __init__(self, chance: random.Random, has_parts: bool) -> None:
        self._chance = chance
        self._has_parts = has_parts
        self._step = 0
        self.done: list[str] = []

    def method(self, name: str) -> str:
        chance = self._chance
        mark = chance.choices(
            ("", "@abort_exception", "@transactional", f"@transactional(parts={PARTS})"), (8, 2, 2, self._has_parts)
        )[0]
        lines = [f"def {name}(self, token, name=None, value=None):"]
        body: list[str] = []
        if mark == "@abort_exception":
            # It raises before it changes anything, as it should.
            body += [f"if token % 3 == {chance.randrange(3)}: {self._raise()}"]
        body += self._block(0, own=mark != "@abort_exception")
        body += [
            chance.choice(
                ["return token", "return len(self.tokens)", "return self", "return [token, None]", "pass", "yield token"]
            )
        ]
        lines += [f"    {line}" for line in body]
        self.done += [name] if mark != "@abort_exception" else []
        return "\n".join(f"    {line}" for line in ([mark] if mark else []) + lines) + "\n"

    def _raise(self) -> str:
        return self._chance.choice(RAISES)

    def _block(self, depth: int, own: bool = True, fires: bool = True) -> list[str]:
        lines: list[str] = []
        for _ in range(self._chance.randint(1, 3 if depth else 4)):
            lines += self._statement(depth, own, fires)
        return lines

    def _statement(self, depth: int, own: bool, fires: bool) -> list[str]:
        chance = self._chance
        kinds = (
            ["note"] * 4
            + ["keep"] * 2
            + (["fire"] * 4 if fires else [])
            + (["raise"] * 2 + ["large", "fall", "hold"] if own else [])
        )
        if depth < 2:
            kinds += ["guarded", "finally", "with", "loop", "caught"] + (["call"] if self.done and own and fires else [])
        kind, when = chance.choice(kinds), f"if token % 5 == {chance.randrange(5)}"
        if kind == "note":
            self._step += 1
            return [f"self.tokens.append((token, {self._step}))"]
        if kind == "keep":
            return ["if name is not None: self.kept.append((name, value))"]
        if kind == "fire":
            return ["fire()", "while pending: pass"]
        if kind == "raise":
            return [f"{when}: {self._raise()}"]
        if kind == "large":
            return [f"{when}: {chance.choice(TOO_LARGE)}"]
        if kind == "fall":
            return [f"{when}: fall()"]
        if kind == "hold":
            names = chance.choice((values.BOUND, values.LOCKS, values.LOCKS, values.ODD))
            name = chance.choice(list(names))
            return [f"if token % 11 == {chance.randrange(11)}: self.held.append(({name!r}, values.VALUES[{name!r}]()))"]
        if kind == "call":
            return [f"{when}: self.{chance.choice(self.done)}(token, name, value)"]
        if kind == "caught":
            what = chance.choice((*TOO_LARGE, "fall()", "{}[token]", "int('x')"))
            return [
                "try:",
                f"    {what}",
                "except (MemoryError, RecursionError, KeyError, ValueError):",
                "    self.tokens.append((token, 'caught'))",
            ]
        inner = [f"    {line}" for line in self._block(depth + 1, own, fires)]
        if kind == "guarded":
            return ["try:", *inner, "except (TimeoutError, JobTimeout) as error:", "    raise ValueError(token) from error"]
        if kind == "finally":
            last = [f"{when}: {{}}['tidy']"] if own and chance.random() < 0.3 else ["self.tokens.append((token, 'finally'))"]
            return ["try:", *inner, "finally:", *(f"    {line}" for line in last)]
        if kind == "with":
            return ["with tidied(self, token):", *inner]
        return [f"for _ in range({chance.randint(1, 3)}):", *inner]


def source(chance: random.Random) -> str:
    """The source of a random domain class."""
    head = chance.choice(list(HEADS))
    # Parts that are put back are copies: what else is in the state must not share them.
    writer = _Writer(chance, has_parts=head != "dict")
    methods = [writer.method(f"m{number}") for number in range(chance.randint(3, 7))]
    return HEADS[head] + ALWAYS + "\n" + "\n".join(methods)


def has_parts(text: str, name: str) -> bool:
    """Whether a method keeps a copy of parts of the state."""
    return f"@transactional(parts={PARTS})\n    def {name}(" in text


def made(text: str) -> type:
    """The class of a source, in a module from which its objects are loaded."""
    module = sys.modules[MODULE] = types.ModuleType(MODULE)
    module.__dict__.update(
        abort_exception=abort_exception,
        transactional=transactional,
        readonly=readonly,
        asyncio=asyncio,
        dataclasses=dataclasses,
        json=json,
        signal=signal,
        sys=sys,
        threading=threading,
        values=values,
        Ward=Ward,
        fall=fall,
        tidied=tidied,
        pictured=pictured,
        fire=outside.fire,
        pending=outside.pending,
        JobTimeout=JobTimeout,
        Own=Own,
        Stop=Stop,
    )
    exec(compile(text, f"<{MODULE}>", "exec", dont_inherit=True), module.__dict__)
    return module.Domain  # type: ignore[no-any-return]


# -- the model


class Call(NamedTuple):
    method: str
    token: int
    name: str | None = None
    """The name of the value that it is given."""
    depth: int | None = None

    def arguments(self) -> tuple[Any, ...]:
        if self.method == "hold":
            return (self.token, self.name)  # It makes the value itself: some can't be passed.
        return (self.token, self.name, self.depth if self.name is None else values.VALUES[self.name]())


class Ending(NamedTuple):
    returned: bool
    what: str
    """What it returned, as it is compared, or the class of what it raised."""
    counts: bool


class Model:
    """A plain object to which the calls that count are made."""

    def __init__(self, cls: type, history: list[Call] | None = None) -> None:
        self.cls = cls
        self.history: list[Call] = []
        self.domain = cls()
        for call in history or ():
            self.apply(call)

    def apply(self, call: Call) -> Ending:
        """Makes a call to which nothing from outside happens. It leaves nothing if it lacks memory or room, or its mark says so."""
        method = getattr(self.domain, call.method)
        outside.armed.clear()
        arguments = call.arguments()
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + 2000)
        try:
            result = method(*arguments)
            if isinstance(result, types.GeneratorType):
                result = iter(list(result))
        except BaseException as error:
            ending = Ending(False, type(error).__name__, not self._is_withdrawn(call, error))
        else:
            ending = Ending(True, described(result) if result is not self.domain else "itself", True)
        finally:
            sys.setrecursionlimit(limit)
        if ending.counts:
            self.history.append(call)
        else:
            self.rebuild()
        return ending

    def _is_withdrawn(self, call: Call, error: BaseException) -> bool:
        function = getattr(self.cls, call.method)
        if isinstance(error, (MemoryError, RecursionError)):
            return True
        return bool(getattr(function, ABORT_EXCEPTION, False) or getattr(function, TRANSACTIONAL, False))

    def rebuild(self) -> None:
        history, self.history = self.history, []
        self.domain = self.cls()
        for call in history:
            self.apply(call)

    def copy(self) -> Model:
        return Model(self.cls, self.history)

    @property
    def picture(self) -> str:
        return pictured(self.domain)

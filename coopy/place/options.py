"""What a system may be opened with: one table, from which come signatures, types, checks, `help()` and the page of the guide. It has more
than 500 lines because the table is one.

A new option is one line of `Settings`, with its type, default, sentence and check, and one line of the TypedDict that type
checkers read; tests/test_options.py holds the two to each other. `Settings.of` checks what was given, and its result goes
whole to whatever opens a system.

What options mean together, for a node of a replicated system, is in coopy/replication/; nothing is opened here.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from coopy.disk import child
from coopy.disk.journal import SEGMENT_BYTES
from coopy.errors import UsageError
from coopy.ground.words import shown

if TYPE_CHECKING:
    from datetime import timedelta

    from coopy.network.server.configuration import TLS

PORT = 5466
"""The documented port of a node."""
PASSWORD = "copynet"
"""The documented password. It stands for that of this user on this machine, and is refused elsewhere."""
REPORT, REFUSE = "report", "refuse"
RECORDED, LIVE, FROZEN, COPY = "recorded", "live", "frozen", "copy"
"""What a caller is given of the state."""
THIS_MACHINE, REPLICATED, DEVELOPMENT = "This machine", "Replicated", "For development"
GROUPS = (THIS_MACHINE, REPLICATED, DEVELOPMENT)
_KEPT_S_MAX = 1e10
"""Three hundred years: an instant so long before now still fits into the 64 bits of nanoseconds that a record has for it."""
_NAMED_MIN = 0.6
"""A name that is not an option is taken for one that is at least so like it, of 1."""
_WIDTH = 116
"""With what `help()` indents a paragraph by, its lines have at most 120 columns."""

Check = Callable[[str, Any], Any]
"""Receives the name and the value of an option, and returns the value to use. Raises `UsageError`."""


class Option:
    """One option: its default, whom it is for, the sentence that says what it does, and its check."""

    name = ""

    def __init__(
        self, group: str, default: Any, words: str, check: Check, is_of_directories: bool, is_positional: bool
    ) -> None:
        self.group = group
        self.default = default
        self.words = words
        self.check = check
        self.is_of_directories = is_of_directories
        """Whether it means nothing without a directory."""
        self.is_positional = is_positional
        """Whether `init_system` takes it by its place, too."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


# -- checks


def _any(name: str, value: Any) -> Any:
    return value


def _one_of(*choices: str) -> Check:
    def check(name: str, value: Any) -> Any:
        if value not in choices:
            raise UsageError(f"{name}={shown(value)}: must be one of {', '.join(map(repr, choices))}")
        return value

    return check


def _number(least: float, most: float = math.inf, turned: type[int] | type[float] | None = None) -> Check:
    """Checks for a number. Returns at most ``most``, of type ``turned`` if one is given."""

    def check(name: str, value: Any) -> Any:
        if not isinstance(value, (int, float)) or not least <= value < math.inf:
            raise UsageError(f"{name}={shown(value)}: must be a number, at least {least}")
        return min(value, most) if turned is None else turned(value)

    return check


def _snapshots(name: str, value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise UsageError(f"{name}={shown(value)}: must be a whole number of snapshots, at least 1, or None for all")
    return value


def _duration(name: str, value: Any) -> Any:
    if value is None:
        return None
    from datetime import timedelta

    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < _KEPT_S_MAX:
        raise UsageError(f"{name}={shown(value)}: must be seconds, at least 0, or a timedelta, or None for ever")
    return seconds


def _forking(name: str, value: Any) -> bool:
    if value and not child.AVAILABLE:
        raise UsageError(f"{name}=True: this operating system can't fork; use {name}=None or {name}=False")
    return child.AVAILABLE if value is None else bool(value)


def _progress(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise UsageError(f"{name}={shown(value)}: must be callable with the actions done and the actions in all")
    return value


def _divergence(name: str, value: Any) -> Any:
    if value not in (REPORT, REFUSE) and not callable(value):
        raise UsageError(
            f"{name}={shown(value)}: must be {REPORT!r}, {REFUSE!r}, or callable with a dict, that of "
            f'control(system).status()["divergence"]'
        )
    return value


# -- the table


def _here(default: Any, words: str, check: Check = _any, *, positional: bool = False) -> Any:
    """An option of any system."""
    return Option(THIS_MACHINE, default, words, check, False, positional)


def _on_disk(default: Any, words: str, check: Check = _any) -> Any:
    """An option of a system that has a directory."""
    return Option(THIS_MACHINE, default, words, check, True, False)


def _of_nodes(default: Any, words: str, *, positional: bool = False) -> Any:
    """An option of a replicated system, which is checked with the others in coopy/replication/."""
    return Option(REPLICATED, default, words, _any, False, positional)


def _developing(default: Any, words: str, check: Check = _any) -> Any:
    """An option for development and tests."""
    return Option(DEVELOPMENT, default, words, check, False, False)


class Settings:
    """What one system is opened with: an attribute for each option, checked. Its class has the table."""

    snapshot_time: float = _here(0, "Seconds between snapshots taken by themselves; 0 for none.", _number(0), positional=True)
    master: bool = _of_nodes(
        False, "This process writes, and others may follow it at `host` and `port`, with `password`.", positional=True
    )
    replication: bool = _of_nodes(
        False,
        "This process follows the master, or the node of a cluster, at `host` and `port`, and runs methods marked @readonly only.",
        positional=True,
    )
    port: int = _of_nodes(PORT, "Where a master listens, and where those who follow it find it.", positional=True)
    host: str = _of_nodes("127.0.0.1", "The name or address of the master's machine.", positional=True)
    password: str = _of_nodes(
        PASSWORD,
        "Of your own, the same for all. The documented one stands for that of this user on this machine, which other users can't "
        "read, and is refused where an address is not loopback.",
        positional=True,
    )
    durability: Literal["sync", "buffered"] = _on_disk(
        "sync",
        '"sync": a call returns when its action is on the disk. "buffered": when the operating system has it, which survives the '
        "end of the process, not a power cut.",
        _one_of("sync", "buffered"),
    )
    keep: int | None = _here(
        None,
        "How many snapshots to keep. After a new snapshot, older ones that neither `keep` nor `keep_for` asks for, and the "
        "journal that only they need, are deleted. Without either, all is kept.",
        _snapshots,
    )
    keep_for: float | timedelta | None = _here(
        None, "For how long (seconds, or a timedelta) any past state must be there; see `keep`.", _duration
    )
    snapshot_growth: int = _on_disk(
        0, "Bytes of journal since the newest snapshot after which one is taken by itself; 0 for none.", _number(0, turned=int)
    )
    snapshot_replay: float = _on_disk(
        0,
        "Seconds that the actions since the newest snapshot took, after which one is taken by itself: about what the next start "
        "replays. 0 for none.",
        _number(0, threading.TIMEOUT_MAX),
    )
    fork: bool | None = _on_disk(
        None,
        "Whether snapshots are written by a forked child while calls go on. None: where the system can fork.",
        _forking,
    )
    progress: Callable[[int, int], object] | None = _here(
        None,
        "Called with the actions done and the actions in all while a state is restored. Without it, a bar is drawn on a "
        "terminal if that takes longer than two seconds.",
        _progress,
    )
    segment_bytes: int = _on_disk(SEGMENT_BYTES, "Size at which a new journal file is begun.", _number(1, turned=int))
    deterministic: bool | None = _here(
        None,
        "True: in an action `datetime.now`, `time`, `random`, `uuid`, `os.urandom` and `secrets` answer from the action, so that "
        "classes that use them need no change; for good, the directory remembers it. None: as the directory says.",
    )
    create: bool = _on_disk(True, "False: a directory that holds no system is refused, and nothing is made.")
    wait: float = _on_disk(
        0,
        "Seconds to wait for a directory that another process has open, and is just leaving; 0 refuses at once.",
        _number(0, threading.TIMEOUT_MAX),
    )
    shared: bool = _on_disk(
        False,
        "True, in each of the processes that open the directory: one of them writes, the others send their calls there and read from a "
        "copy of their own; when it ends, another writes. See docs/guides/many-processes.md.",
    )
    copy: bool = _on_disk(
        True,
        "False, with `shared`: this process keeps no state. Its reads go to the process that writes, and come by value; it never writes "
        "itself.",
    )
    results: Literal["live", "recorded", "frozen", "copy"] = _here(
        LIVE,
        'What a method, or an attribute, gives of the state. "live": the object itself, which is a part of the state: to change it is lost. '
        '"recorded": an attribute, and what a container answers with, gives a part whose changes are actions. '
        '"frozen": a view that refuses to be changed, and says so. "copy": a copy. See docs/guides/passing-objects.md.',
        _one_of(LIVE, RECORDED, FROZEN, COPY),
    )
    on_divergence: Literal["report", "refuse"] | Callable[[dict[str, Any]], object] = _here(
        REPORT,
        'What to do when replay gives another state than the live system had (see docs/guides/limits.md). "report": go on with '
        "the state of replay, log an error, and say so in `control(p).status()`; a function is called with what is said there, "
        'too. "refuse" raises `StateDiverged`, and so does check=True.',
        _divergence,
    )
    self_check: bool = _on_disk(
        True,
        "After a snapshot, a child of the lowest priority runs the actions since the one before again, and compares with the "
        "live state. False: for methods that do something outside the system, which is then done again at a start only.",
    )
    cluster: Sequence[str] = _of_nodes(
        (),
        "The addresses of three or five equal nodes, of which this one is `node`: any of them writes, and a minority may be away. "
        "`password` is that of the nodes, `replica_password` that of those who follow with replication=True.",
    )
    node: str | None = _of_nodes(None, "Which of the nodes of `cluster` this one is.")
    replica_password: str | None = _of_nodes(
        None, "The password of those who follow a cluster with replication=True; without one nobody may."
    )
    tls: TLS | bool = _of_nodes(
        False,
        "Certificates for all connections of a replicated system. True: those in the folder `tls` of `basedir`, as `coopy cluster "
        "init` makes them; or a `coopy.network.server.configuration.TLS` with paths of your own.",
    )
    server: str | None = _of_nodes(None, "URL of a nats-server of your own, with JetStream; by default each node starts one.")
    quick_elections: bool = _of_nodes(
        True,
        "Whether the nodes of a cluster have another leader elected as soon as most of them find the one there was silent: after about a "
        "second. False: when the servers do that by themselves, after 4 to 9 s.",
    )
    timeout: float = _of_nodes(
        30.0,
        "Seconds that a call of a replicated or shared system waits before it raises `Unavailable`, if it was surely not recorded, or "
        "`OutcomeUnknown`.",
    )
    validation: Literal["warn", "strict", "off"] = _developing(
        "warn",
        '"warn": refuses what replay surely can\'t repeat and warns of what it may not, which check=True refuses, too; "strict" '
        'refuses both; "off".',
    )
    check: bool = _developing(
        False,
        "Looks at the state around every call, and replays each action in a second process with another hash seed and time zone. "
        "Finds changes outside any action, reads that write, arguments that are taken for shared, and what replay would not "
        "repeat; raises a `CheckFailed`. Each call costs two digests of the state.",
    )

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    @classmethod
    def of(cls, caller: str, given: Mapping[str, Any], known: Iterable[str] | None = None) -> Settings:
        """Returns what was given, checked, with defaults for the rest.

        ``caller`` is the function that it was given to, ``known`` the options that it has, by default all. Raises `UsageError`
        for a value, `TypeError` for a name.
        """
        names = TABLE if known is None else set(known)
        for name in given:
            if name not in names:
                raise TypeError(f"{caller}() got an unexpected keyword argument {name!r}{_meant(name, names)}")
        found = cls({name: option.check(name, given.get(name, option.default)) for name, option in TABLE.items()})
        if not found.copy and not found.shared:
            raise UsageError(
                "copy=False: is for a process that shares a directory, and there is no shared=True. Nothing was opened."
            )
        if found.node is not None and not found.cluster:
            raise UsageError(
                f"node={shown(found.node)}: is for one of a cluster, and there is no cluster=[...]. Nothing was opened."
            )
        return found

    def but(self, **values: Any) -> Settings:
        """Returns the same with other values, which are not checked."""
        return Settings({**self.__dict__, **values})

    @property
    def is_replicated(self) -> bool:
        """Whether the system has other nodes."""
        return bool(self.master or self.replication or self.cluster)

    def __repr__(self) -> str:
        changed = (name for name, option in TABLE.items() if "password" not in name and getattr(self, name) != option.default)
        return f"Settings({', '.join(f'{name}={shown(getattr(self, name))}' for name in changed)})"


TABLE: dict[str, Option] = {name: value for name, value in vars(Settings).items() if isinstance(value, Option)}
"""Each option by its name, in the order of signatures."""


def checked(name: str, value: Any) -> Any:
    """Returns the value to use for one option. Raises `UsageError`."""
    return TABLE[name].check(name, value)


def _meant(name: str, names: Iterable[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, sorted(names), 1, _NAMED_MIN)
    return f". Did you mean {found[0]!r}?" if found else ""


# -- what a type checker sees


class Always(TypedDict, total=False):
    """Options of every system, that are given by name."""

    keep: int | None
    keep_for: float | timedelta | None
    progress: Callable[[int, int], object] | None
    deterministic: bool | None
    results: Literal["live", "recorded", "frozen", "copy"]
    on_divergence: Literal["report", "refuse"] | Callable[[dict[str, Any]], object]
    validation: Literal["warn", "strict", "off"]
    check: bool


class OfDirectories(TypedDict, total=False):
    """Options of a system that has a directory."""

    durability: Literal["sync", "buffered"]
    snapshot_growth: int
    snapshot_replay: float
    fork: bool | None
    segment_bytes: int
    create: bool
    wait: float
    shared: bool
    copy: bool
    self_check: bool


class OfNodes(TypedDict, total=False):
    """Options of a node of a replicated system, that are given by name."""

    cluster: Sequence[str]
    node: str | None
    replica_password: str | None
    tls: TLS | bool
    server: str | None
    quick_elections: bool
    timeout: float


class Options(Always, OfDirectories, OfNodes, total=False):
    """The options of `coopy.init_system` that are given by name."""


class Positional(TypedDict, total=False):
    """The options of `coopy.init_system` that have a place among its arguments."""

    snapshot_time: float
    master: bool
    replication: bool
    port: int
    host: str
    password: str


class AllOptions(Positional, Options, total=False):
    """The options of `coopy.init_system`, for a type checker: a function that passes them on says so with ``Unpack``.

    >>> def open_wiki(name: str, **options: Unpack[Options]) -> Opening[Untyped[Wiki]]:
    ...     return coopy.aio.open(Wiki, f"wikis/{name}", **options)
    >>> async def main():
    ...     async with open_wiki("ours", durability="buffered") as wiki:
    ...         return await wiki.create_page("Home", "Welcome")
    >>> asyncio.run(main())
    1

    What each does is in docs/guides/options.md.
    """


class InMemory(Always, total=False):
    """The options of `coopy.testing.memory_system`."""

    snapshot_time: float


class InDirectory(InMemory, OfDirectories, total=False):
    """The options of `coopy.testing.open_system`."""


# -- what a person sees


def described(documentation: str | None, names: Iterable[str]) -> str | None:
    """Returns the text of a docstring with a paragraph for each option in the place of its line ``{options}``."""
    if documentation is None:  # Of python -OO.
        return None
    before, _, after = documentation.partition("{options}\n")
    # Python 3.13 and later have taken the indentation from docstrings already.
    indent = before[before.rindex("\n") + 1 :]
    return before + "".join(_paragraph(TABLE[name], indent) for name in names)[len(indent) :] + after


def _paragraph(option: Option, indent: str) -> str:
    lines, line = [], f"{indent}{option.name}:"
    for word in option.words.split():
        if len(line) + len(word) >= _WIDTH:
            lines.append(line)
            line = f"{indent}   "
        line += f" {word}"
    return "\n".join([*lines, line]) + "\n"


def show(function: Any, names: Iterable[str]) -> None:
    """Gives a function that takes ``**options`` the signature and the documentation that have each option."""
    names = tuple(names)
    function.__doc__ = described(function.__doc__, names)
    function.__signature__ = _LaterSignature(function, names)


class _LaterSignature:
    """A signature that is made when somebody looks at it: `inspect` is loaded by few programs, and takes long."""

    def __init__(self, function: FunctionType, names: Sequence[str]) -> None:
        self._function = function
        self._names = names

    def _made(self) -> Any:
        import inspect

        given = self._function
        plain = FunctionType(given.__code__, given.__globals__, given.__name__, given.__defaults__)
        plain.__kwdefaults__, plain.__annotations__ = given.__kwdefaults__, given.__annotations__
        found = inspect.signature(plain)
        parameters = [each for each in found.parameters.values() if each.kind is not each.VAR_KEYWORD]
        for name in self._names:
            if name not in found.parameters:
                default, annotation = TABLE[name].default, Settings.__annotations__[name]
                parameters.append(
                    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
                )
        return found.replace(parameters=parameters)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._made())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._made(), name)

    def __eq__(self, other: object) -> bool:
        return bool(self._made() == other)

    def __hash__(self) -> int:
        return hash(self._made())

    def __str__(self) -> str:
        return str(self._made())

    __repr__ = __str__


def tables() -> Iterator[str]:
    """Yields the lines of the guide's tables, one of each group."""
    for group in GROUPS:
        yield f"## {group}"
        yield ""
        yield "| option | type | default | |"
        yield "| --- | --- | --- | --- |"
        for name, option in TABLE.items():
            if option.group == group:
                kind = Settings.__annotations__[name].replace("|", "\\|")
                default = f"`{option.default!r}`" if name != "segment_bytes" else "64 MiB"
                yield f"| `{name}` | `{kind}` | {default} | {option.words} |"
        yield ""

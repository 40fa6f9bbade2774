"""Upgrades: how what an earlier version of a class recorded becomes what today's code understands.

    upgrades = Migration(version=3)

    @upgrades.action("create", version=1)             # an action that version 1 recorded ...
    def create(name, text):
        return Call("create_page", name, text)        # ... is this one since; None: nothing any more

    @upgrades.state("wiki:Page", version=2)           # an object as version 2 kept it
    def page(attributes):
        return {**attributes, "tags": []}

    upgrades.renamed("wiki:Page", "wiki.pages:Page")  # a class that has another name, or place, now

    @migrated(upgrades)
    class Wiki: ...

A class without a migration has version 1. The version stands in every snapshot, and the first
opening with a higher one is recorded as an action, so that replay knows of each action which version
recorded it. An upgrade leads from its version to the next; what is older passes all in turn.
Upgrades stay for as long as a directory may hold what they upgrade.

Class names are those that were stored: ``module:QualifiedName``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import MemberDescriptorType
from typing import Any, NamedTuple, TypeVar, cast

from coopy.errors import DecodingError, UsageError
from coopy.ground import fields
from coopy.ground.words import shown

__all__ = ["Call", "Migration", "Removed", "migrated"]

MARK = "<version>"
"""Name of the action that says that from here on a higher version records."""

FIRST = 1  # The version of a class that says none.
_ATTRIBUTE = "__coopy_migration__"

Class = TypeVar("Class", bound=type)
Upgrade = TypeVar("Upgrade", bound=Callable[..., Any])


class Call:
    """A call that an old action is now: a method's name and its arguments.

    >>> Call("create_page", "Home", text="Welcome")
    create_page('Home', text='Welcome')
    """

    __slots__ = ("method", "args", "kwargs")

    def __init__(self, method: str, /, *args: Any, **kwargs: Any) -> None:
        self.method = method
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        words = [*map(shown, self.args), *(f"{name}={shown(value)}" for name, value in self.kwargs.items())]
        return f"{self.method}({', '.join(words)})"


class Removed:
    """Stands in for the objects of a class that is not there any more; ``state`` is what was kept of one.

    >>> upgrades = Migration(version=2)
    >>> upgrades.renamed("wiki:Draft", None)  # the class is gone
    >>> @upgrades.state("wiki:Wiki", version=1)
    ... def wiki(attributes):
    ...     drafts = [each.state for each in attributes.pop("drafts")]  # objects of Removed: what each was made of
    ...     return {**attributes, "texts": [each["text"] for each in drafts]}
    """

    state: Any = None

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Key(NamedTuple):
    name: str
    version: int


class Migration:
    """The upgrades of one domain class, which is at ``version``. Raises `UsageError`.

    >>> upgrades = Migration(version=2)
    >>> @upgrades.action("create", version=1)
    ... def create(name, text):
    ...     return Call("create_page", name, text)
    >>> upgrades.upgraded(1, Call("create", "Home", "Welcome"))
    create_page('Home', 'Welcome')

    More in docs/guides/migration.md.
    """

    def __init__(self, version: int) -> None:
        if isinstance(version, bool) or not isinstance(version, int) or not FIRST <= version < 1 << 32:
            raise UsageError(f"version={shown(version)}: must be a whole number, at least {FIRST}")
        self.version = version
        self._actions: dict[_Key, Callable[..., Call | None]] = {}
        self._states: dict[_Key, Callable[[Any], Any]] = {}
        self._renamed: dict[tuple[str, str], tuple[str, str] | None] = {}

    def action(self, method: str, *, version: int) -> Callable[[Upgrade], Upgrade]:
        """Marks what is called with the arguments of each action ``method`` that ``version`` recorded.

        It returns the `Call` that the action is in the next version, or None if it is nothing any more.
        It must depend on its arguments alone.
        """
        return self._register(self._actions, method, version)

    def state(self, name: str, *, version: int) -> Callable[[Upgrade], Upgrade]:
        """Marks what is called with the attributes of each stored object of a class that ``version`` kept.

        ``name`` is the class as it was stored. It gets, and returns, a dict of the attributes of an object; for a class
        that has a ``__setstate__`` of its own what that takes, and for an enum the value of a member.
        """
        _split(name)
        return self._register(self._states, name, version)

    def renamed(self, old: str, new: str | None) -> None:
        """Says what a stored class or function is called today; None if it is gone (see `Removed`)."""
        if _split(old) in self._renamed:
            raise UsageError(f"{old} is renamed twice in one migration")
        self._renamed[_split(old)] = None if new is None else _split(new)

    def upgraded(self, version: int, call: Call) -> Call | None:
        """What an action that ``version`` recorded is today."""
        found: Call | None = call
        for step in range(version, self.version):
            if found is None:
                return None
            upgrade = self._actions.get(_Key(found.method, step))
            if upgrade is None:
                continue
            result = upgrade(*found.args, **found.kwargs)
            if result is not None and not isinstance(result, Call):
                raise UsageError(
                    f"the upgrade of {found.method}() from version {step} returned {shown(result)}; it must return a "
                    f"coopy.migration.Call, or None. Nothing was changed."
                )
            found = result
        return found

    def todays_name(self, module: str, name: str) -> tuple[str, str] | None:
        """Module and name of a stored class today; None if it is gone."""
        seen = set()
        found: tuple[str, str] | None = (module, name)
        while found is not None and found in self._renamed and found not in seen:
            seen.add(found)
            found = self._renamed[found]
        return found

    def upgrades_of(self, module: str, name: str, version: int) -> list[Callable[[Any], Any]]:
        """The upgrades, in order, of a stored class that ``version`` kept."""
        names: list[tuple[str, str]] = [(module, name)]
        while (following := self._renamed.get(names[-1])) is not None and following not in names:
            names.append(following)
        return [
            self._states[key]
            for step in range(version, self.version)
            for key in (_Key(f"{module}:{name}", step) for module, name in names)
            if key in self._states
        ]

    def rewrites(self, version: int) -> bool:
        """Whether an object that ``version`` kept may be another one today."""
        return bool(self._renamed) or any(key.version >= version for key in self._states)

    def check(self) -> None:
        """Raises `UsageError` if an upgrade can never be used, or a new name is none."""
        for key in [*self._actions, *self._states]:
            if not FIRST <= key.version < self.version:
                raise UsageError(
                    f"the upgrade of {key.name} is from version {key.version}, and the migration leads to version "
                    f"{self.version}: upgrades are from versions {FIRST} to {self.version - 1}. Raise the version of the migration, "
                    f"or correct that of the upgrade. Nothing was opened."
                )
        for old, new in self._renamed.items():
            if new is not None and new not in self._renamed and not _is_there(*new):
                raise UsageError(
                    f"the migration says that {':'.join(old)} is {':'.join(new)} now, which is not there. Nothing was opened."
                )
            if self.todays_name(*old) == old:
                raise UsageError(f"the migration renames {':'.join(old)} in a circle. Nothing was opened.")

    def _register(self, known: dict[_Key, Any], name: str, version: int) -> Callable[[Upgrade], Upgrade]:
        def register(upgrade: Upgrade) -> Upgrade:
            key = _Key(name, version)
            if key in known:
                raise UsageError(f"{name} has two upgrades from version {version}")
            known[key] = upgrade
            return upgrade

        return register


def migrated(migration: Migration) -> Callable[[Class], Class]:
    """Gives a domain class its migration.

    >>> upgrades = Migration(version=2)
    >>> @migrated(upgrades)
    ... class Wiki:
    ...     def __init__(self):
    ...         self.pages = {}
    """

    def mark(cls: Class) -> Class:
        setattr(cls, _ATTRIBUTE, migration)
        return cls

    return mark


class Old:
    """What an earlier version kept, on its way to what it is today while one pickle is decoded."""

    def __init__(self, migration: Migration, version: int, layouts: fields.Layouts | None = None) -> None:
        self._migration = migration
        self._version = version
        self._layouts = layouts or {}
        self._active = migration.rewrites(version)
        self._stand_ins: dict[type, Any] = {}
        self._waiting: list[tuple[Any, type]] = []

    def removed(self, module: str, name: str) -> type:
        """What stands in for a class that is gone."""
        return type(name.rpartition(".")[2], (Removed,), {"__module__": module, "__qualname__": name})

    def wrapped(self, module: str, name: str, found: Any) -> Any:
        """What pickle is to make the objects of a stored class of, so that they are upgraded."""
        if not self._active or not isinstance(found, type):
            return found
        if found not in self._stand_ins:
            upgrades = self._migration.upgrades_of(module, name, self._version)
            if (module, name) != (found.__module__, found.__qualname__):
                more = self._migration.upgrades_of(found.__module__, found.__qualname__, self._version)
                upgrades += [each for each in more if each not in upgrades]
            stored = self._layouts.get(f"{module}:{name}")
            self._stand_ins[found] = self._stand_in(found, upgrades, stored) if upgrades else found
        return self._stand_ins[found]

    def finish(self) -> None:
        """Upgrades the objects of which nothing but their class was kept."""
        for made, stand_in in self._waiting:
            if type(made) is stand_in:
                vars(stand_in)["__setstate__"](made, None)

    def forget(self) -> None:
        """Drops the objects that were made: a class is a cycle and stays for a while, and what it holds stays with it."""
        self._waiting.clear()

    def _stand_in(self, cls: Any, upgrades: list[Callable[[Any], Any]], stored: fields.Layout | None) -> Any:
        """What pickle makes objects of: each leaves it for its own class when its state is there."""
        enum = sys.modules.get("enum")
        if enum is not None and issubclass(cls, enum.Enum):
            return lambda value: cls(_upgraded(cls, upgrades, value))
        waiting = self._waiting

        def make(stand_in: Any, /, *args: Any, **kwargs: Any) -> Any:
            if issubclass(cls, tuple) and hasattr(cls, "_fields"):
                state = fields.as_dict(stored or [fields.TUPLE, *cls._fields], args)
                return cls(**_upgraded(cls, upgrades, state))
            made = cls.__new__(cls, *args, **kwargs) if cls.__new__ is not object.__new__ else object.__new__(cls)
            if type(made) is cls:
                object.__setattr__(made, "__class__", stand_in)
                waiting.append((made, stand_in))
            return made

        def begin(made: Any, /, *args: Any, **kwargs: Any) -> None:
            stand_in = type(made)
            object.__setattr__(made, "__class__", cls)
            try:
                cls.__init__(made, *args, **kwargs)
            except TypeError:
                if not isinstance(made, BaseException):
                    raise
                # An exception is made of its old arguments, and then given its attributes.
                made.args = args
            finally:
                object.__setattr__(made, "__class__", stand_in)

        def build(made: Any, state: Any) -> None:
            object.__setattr__(made, "__class__", cls)
            own = _sets_itself(cls)
            _fill(made, cls, own, _upgraded(cls, upgrades, state if own else fields.as_dict(stored, state)))
            now = fields.layout(cls)
            if isinstance(made, BaseException) and isinstance(now, list):
                # Of which it will be made the next time.
                made.args = tuple(getattr(made, name) for name in now[1:])

        return _twin(cls, {"__new__": make, "__init__": begin, "__setstate__": build, "__module__": cls.__module__})


class _Unheard:
    """A base whose subclasses nobody is told of."""

    __slots__ = ()

    def __init_subclass__(cls, **_: Any) -> None:
        pass


def _twin(cls: Any, members: dict[str, Any]) -> type:
    """A class whose objects can become those of ``cls``, which does not learn of it.

    It is no subclass, where objects of a class that is none have the same layout: a subclass would be told to
    ``__init_subclass__`` and the metaclass, which may keep it, and be found by ``__subclasses__``. A class that is built on one of
    Python's own, or whose slots lie in several classes, gets a subclass that is told to neither.
    """
    slots = [vars(base)["__slots__"] for base in cls.__mro__ if vars(base).get("__slots__")]
    under: Any = cls
    while under.__module__.partition(".")[0] not in sys.stdlib_module_names:
        under = under.__base__
    if under.__basicsize__ == object.__basicsize__ and len(slots) < 2:
        own = ("__eq__", "__hash__", "__setitem__", "append", "extend")  # What pickle asks of an object.
        found = {name: vars(base)[name] for base in reversed(cls.__mro__[:-1]) for name in own if name in vars(base)}
        given = {**found, **members, **({"__slots__": slots[0]} if slots else {})}
        twin = cast(type, type.__new__(type(under), cls.__name__, (under,), given))
        try:
            object.__setattr__(object.__new__(twin), "__class__", cls)
            return twin
        except TypeError:
            pass
    return cast(type, type.__new__(type(cls), cls.__name__, (_Unheard, cls), {"__slots__": (), **members}))


def _upgraded(cls: type, upgrades: list[Callable[[Any], Any]], state: Any) -> Any:
    for upgrade in upgrades:
        try:
            state = upgrade({} if state is None else state)
        except Exception as error:
            raise DecodingError(
                f"an upgrade of the states of {cls.__module__}:{cls.__qualname__} raised {type(error).__name__}: {error}. "
                f"Nothing was changed."
            ) from error
    return state


def _sets_itself(cls: Any) -> bool:
    """Whether a class has a __setstate__, other than the one of a dataclass, which takes values by their place."""
    return hasattr(cls, "__setstate__") and getattr(cls.__setstate__, "__module__", "") != "dataclasses"


def _fill(made: Any, cls: Any, sets_itself: bool, state: Any) -> None:
    if sets_itself:
        cls.__setstate__(made, state)
        return
    if not isinstance(state, dict):
        raise DecodingError(
            f"an upgrade of the states of {cls.__module__}:{cls.__qualname__} returned {shown(state)}; it must return a dict "
            f"of the attributes. Nothing was changed."
        )
    for name, value in state.items():
        if isinstance(getattr(cls, name, None), MemberDescriptorType):
            object.__setattr__(made, name, value)
        else:
            vars(made)[name] = value


_NONE = Migration(FIRST)


def of(cls: type) -> Migration:
    """The migration of a domain class; if it has none, one that does nothing."""
    found = getattr(cls, _ATTRIBUTE, None)
    return found if isinstance(found, Migration) else _NONE


def stub_of_action(cls: str, call: Call, version: int, doing: str) -> str:
    """What to write so that an action fits again; ``version`` is today's, ``doing`` what it is to call."""
    names = [f"argument{number + 1}" for number in range(len(call.args))] + list(call.kwargs)
    given = names[: len(call.args)] + [f"{name}={name}" for name in call.kwargs]
    return _stub(
        cls,
        version,
        f"    @upgrades.action({call.method!r}, version={version})\n"
        f"    def {call.method if call.method.isidentifier() else 'upgrade'}({', '.join(names)}):\n"
        f"        return Call({', '.join([doing, *given])})  # or None: it does nothing any more\n",
    )


def stub_of_class(cls: str, module: str, name: str, version: int) -> str:
    """What to write so that a stored class is found again."""
    return _stub(cls, version, f"    upgrades.renamed({f'{module}:{name}'!r}, 'module:NewName')  # or None: it is gone\n")


def stub_of_state(cls: str, name: str, change: fields.Change, today: Any, stored: fields.Layout, version: int) -> str:
    """What to write so that the stored objects of a class become those of today."""
    upgrade = name.rpartition(":")[2].rpartition(".")[2].lower()
    if isinstance(stored, dict):
        now = fields.layout(today)
        values = now if isinstance(now, dict) else {}
        pairs = [
            f"{stored[each]!r}: {values[each]!r}" if each in values else f"{stored[each]!r}: WHAT_IT_IS_NOW"
            for each in change.gone
        ]
        lines = f"    def {upgrade}(value):  # of {', '.join(change.gone)}\n        return {{{', '.join(pairs)}}}.get(value, value)\n"
    else:
        rest = [f"attributes.pop({each!r})  # it is gone" for each in change.gone]
        added = "".join(f", {each!r}: {fields.default_of(today, each)}" for each in change.new)
        body = "".join(f"        {line}\n" for line in [*rest, f"return {{**attributes{added}}}"])
        lines = f"    def {upgrade}(attributes):\n{body}"
    return _stub(cls, version, f"    @upgrades.state({name!r}, version={version})\n{lines}")


def _stub(cls: str, version: int, upgrade: str) -> str:
    return (
        f"\n\n    from coopy.migration import Call, Migration, migrated\n\n"
        f"    upgrades = Migration(version={version + 1})\n\n{upgrade}\n    @migrated(upgrades)\n    class {cls}: ...\n"
    )


def _is_there(module: str, name: str) -> bool:
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return "<locals>" in name
    return True


def _split(name: str) -> tuple[str, str]:
    module, colon, qualname = name.partition(":")
    if not (module and colon and qualname):
        raise UsageError(f"{shown(name)}: a class is named as module:QualifiedName, as 'wiki.pages:Page'")
    return module, qualname

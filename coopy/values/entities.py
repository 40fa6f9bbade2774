"""Objects of a system that may be passed back in: they travel as references and arrive as themselves.

    @entity("pages", key="title")
    class Page: ...

    wiki.link(wiki.pages["A"], wiki.pages["B"])

An argument is recorded, and what is recorded is a copy: without a mark, `link` would get two pages
that are not those of the wiki. An entity belongs to a system if the system finds it: here, if
``domain.pages[page.title] is page``. Then its key is recorded in its place, and live as in every
replay the method gets the object that the state has under that key. An entity that the system does
not find, such as a new page, is copied like any other argument.

Identity is a key in the state and nothing beside it: no registry has to be kept, saved, or freed,
and what replay finds depends on the state alone. docs/design/005-references-by-key.md has the ways
that were not taken.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from coopy.errors import UsageError
from coopy.ground.words import shown

Class = TypeVar("Class", bound=type)
_ATTRIBUTE = "__coopy_entity__"


class Entity(NamedTuple):
    """How the objects of a class are found: ``key_of`` one of them, and the one that ``find(domain, key)`` gives."""

    key_of: Callable[[Any], Any]
    find: Callable[[Any, Any], Any]


class _Known:
    any = False
    marked = 0


known = _Known()
"""``known.any``: whether any class is marked at all; ``known.marked``: how often one was."""


def entity(
    where: str | None = None,
    *,
    key: str | None = None,
    key_of: Callable[[Any], Any] | None = None,
    find: Callable[[Any, Any], Any] | None = None,
) -> Callable[[Class], Class]:
    """Marks a class whose objects, when they belong to a system, are passed to it by reference.

    Args:
        where: the attribute of the domain, a dict or what is indexed like one, that holds the objects;
            dotted if it lies deeper ("store.pages").
        key: the attribute of an object that is its key in there.
        key_of: instead of ``key``, what gives the key of an object. It is recorded: a text, a number, or a tuple
            of such.
        find: instead of ``where``, what gives the object for a domain and a key.

    It is a plain function too: ``entity("pages", key="title")(Page)`` registers a class of another module.
    Raises `UsageError`.

    See docs/guides/passing-objects.md.
    """
    if (where is None) is (find is None) or (key is None) is (key_of is None):
        raise UsageError(
            'entity() takes where its objects are and what their key is: entity("pages", key="title"), or functions for '
            "either: entity(find=lambda wiki, title: wiki.page(title), key_of=lambda page: page.title)"
        )
    found = Entity(key_of or _attribute(key or ""), find or _place(where or ""))

    def mark(cls: Class) -> Class:
        if not isinstance(cls, type):
            raise UsageError(f"entity() marks a class, not {shown(cls)}")
        setattr(cls, _ATTRIBUTE, found)
        known.any = True
        known.marked += 1
        return cls

    return mark


def is_marked(cls: type) -> bool:
    """Whether objects of a class may be passed by reference."""
    return hasattr(cls, _ATTRIBUTE)


def key_in(domain: object, value: object) -> tuple[str, str, Any] | None:
    """Module, class and key of an entity that belongs to a system; None for anything else."""
    cls = type(value)
    how: Entity | None = getattr(cls, _ATTRIBUTE, None)
    if how is None:
        return None
    try:
        key = how.key_of(value)
        found = how.find(domain, key)
        if found is not value and found is not getattr(
            value, "_coopy_value", None
        ):  # A part of the state stands for its object.
            return None
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
    return cls.__module__, cls.__qualname__, key


def found_in(domain: object, cls: type, key: Any) -> object:
    """The entity of a system that has this key. Raises LookupError."""
    how: Entity | None = getattr(cls, _ATTRIBUTE, None)
    if how is None:
        raise LookupError(f"{cls.__qualname__} is not marked as an @entity any more, and {shown(key)} refers to one")
    try:
        return how.find(domain, key)
    except Exception as error:
        raise LookupError(f"the state has no {cls.__qualname__} {shown(key)}: {type(error).__name__}: {error}") from error


class Showing:
    """The domain object of a system while a value is told to another process: notes which entities in the value are the system's.

    It stands for the domain object, and for what has that.
    """

    def __init__(self, domain: object) -> None:
        self._domain = domain
        self.found: list[object] = []

    @property
    def domain(self) -> Showing:
        return self

    def look(self, value: object) -> None:
        """Looks at an object of the value."""
        if key_in(self._domain, value) is not None:
            self.found.append(value)


class Received:
    """Copies of entities of a system that is elsewhere, and how they are referred to. It keeps none of them."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[Any, tuple[str, str, Any]]] = {}

    def note(self, value: Any) -> None:
        """Takes a copy that has come. One whose class allows no weak reference is a copy, and nothing else."""
        cls, held, number = type(value), self._held, id(value)
        how: Entity | None = getattr(cls, _ATTRIBUTE, None)
        if how is not None and cls.__weakrefoffset__:
            held[number] = (
                weakref.ref(value, lambda _: held.pop(number, None)),
                (cls.__module__, cls.__qualname__, how.key_of(value)),
            )

    def key_of(self, value: object) -> tuple[str, str, Any] | None:
        """Returns module, class and key of an entity that has come; None for anything else."""
        found = self._held.get(id(value))
        return found[1] if found is not None and found[0]() is value else None


class Reference:
    """What stands for an entity where an action is only looked at."""

    def __init__(self, cls: str, key: Any) -> None:
        self.cls = cls
        self.key = key

    def __repr__(self) -> str:
        return f"<{self.cls} {shown(self.key)}>"


def _attribute(name: str) -> Callable[[Any], Any]:
    return lambda value: getattr(value, name)


def _place(path: str) -> Callable[[Any, Any], Any]:
    names = path.split(".")

    def find(domain: Any, key: Any) -> Any:
        for name in names:
            domain = getattr(domain, name)
        return domain[key]

    return find

"""The domain object that a `SyncObj` and its consumers are the faces of: their attributes, and a method for each replicated one.

A class of it is made for each `SyncObj`, because the methods are those of the objects that it was given. Its state is a list of dicts,
the attributes of each member. The members of the running program have these dicts for their ``__dict__``; an object of the past, or
one that is being restored, has members of its own, made without their constructors.

A new system begins with code version 0, as PySyncObj's do, whatever versions its methods have.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from coopy.compat.pysyncobj_member import Bodies, action_of, adopt, bodies_of, copied, kept
from coopy.spine import versions

__coopy_inside__ = True  # See `coopy.spine.calling`.
State = dict[str, Any]


class Domain:
    """The base of the domain classes: the attributes of the members."""

    _coopy_first_code_version = 0
    _first: bytes = b""
    """The attributes that each member has after its constructor, pickled: those that are in no stored state were new since."""
    _faces: tuple[Any, ...] = ()
    """The members of the running program."""

    def __init__(self, states: Sequence[State]) -> None:
        self._states = list(states)
        self._members: list[Any] | None = None

    def begin_with(self, number: int, attributes: State) -> None:
        """Gives a member the attributes that its constructor has set when its system was open already, unless it has them."""
        for name, value in attributes.items():
            self._states[number].setdefault(name, value)

    def __getstate__(self) -> list[State]:
        members = self._members or ()
        return [*map(kept, members), *self._states[len(members) :]]

    def __setstate__(self, states: list[State]) -> None:
        first: list[State] = pickle.loads(self._first)
        found = [{**new, **stored} for new, stored in zip(first, states, strict=False)]
        # A consumer that is not among those of today has nobody; what it had is kept for a release that has it again.
        self._states = [*found, *first[len(states) :], *states[len(first) :]]
        self._members = None


def domain_class(members: Sequence[Any]) -> type[Domain]:
    """Returns a domain class for a `SyncObj` and its consumers."""
    face = type(members[0])
    found: dict[str, Any] = {
        "_faces": tuple(members),
        "__module__": face.__module__,
        "__qualname__": face.__qualname__,
    }
    for number, member in enumerate(members):
        for name, bodies in bodies_of(type(member)).items():
            action = action_of(number, name)
            found[action] = _method(action, number, bodies)
        for name, make in getattr(type(member), "_coopy_domain_methods", {}).items():
            found.setdefault(name, make(number))
    made = type(face.__name__, (Domain,), found)
    set_first(made, members)
    return made


def set_first(cls: type[Domain], members: Sequence[Any]) -> None:
    """Takes the attributes that the members have now for those that a member begins with."""
    cls._first = pickle.dumps(list(map(kept, members)))


def late(cls: type[Domain], members: Sequence[Any]) -> list[State]:
    """Returns the attributes that the members have got since `set_first`."""
    first: list[State] = pickle.loads(cls._first)
    return [
        {name: value for name, value in kept(member).items() if name not in had}
        for member, had in zip(members, first, strict=True)
    ]


def _method(action: str, number: int, bodies: Bodies) -> Any:
    """A method of the domain that runs one of the bodies on a member."""
    found: Any = None
    for version, body in sorted(bodies.items()):
        one = _running(action, number, body)
        found = one if version == 0 else versions.dispatching(version, one, found)
    return found


def _running(action: str, number: int, body: Any) -> Any:
    def run(self: Domain, *args: Any, **kwargs: Any) -> Any:
        return body(member_of(self, number), *args, **kwargs)

    run.__name__, run.__qualname__, run.__doc__ = action, f"{body.__qualname__}", body.__doc__
    return run


def member_of(domain: Domain, number: int) -> Any:
    """Returns a member whose attributes are those of a domain."""
    members = domain._members
    return (members if members is not None else _equipped(domain))[number]


def _equipped(domain: Domain) -> list[Any]:
    """Gives a domain that is not the running program's members of its own."""
    made = list(map(copied, domain._faces))
    attach(domain, made)
    return made


def attach(domain: Domain, members: Sequence[Any]) -> None:
    """Makes the state of a domain the attributes of members. Nobody else may change the domain meanwhile."""
    domain._members = list(members)
    for member, state in zip(members, domain._states, strict=False):
        adopt(member, state)
    domain._states = [member.__dict__ for member in members] + domain._states[len(members) :]

"""What an argument becomes: given as it is, copied, or left to pickle; and that the method is given live what replay gives it."""

from __future__ import annotations

import collections
import copyreg
import dataclasses
import enum
import math
import os
import threading
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coopy import control, entity, init_system
from coopy.ground import decimals
from coopy.ground.action import HEADER
from coopy.ground.record import WRAP
from coopy.values import copies
from coopy.values.codec import Codec, decode_joined
from coopy.values.digest import digest


class Shelf:
    def __init__(self) -> None:
        self.held: list[Any] = []

    def put(self, *args: Any, **kwargs: Any) -> None:
        self.held.append((args, kwargs))

    def put_and_change(self, value: Any) -> None:
        value.append(len(self.held))
        self.held.append(value)


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 147


class Mark(enum.Flag):
    ONE = 1
    TWO = 2


@dataclasses.dataclass
class Line:
    name: str
    amount: int


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Slim:
    x: Any


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x

    def __repr__(self) -> str:
        return f"Slotted({_shown(self.x)})"


class Pair(NamedTuple):
    one: Any
    two: Any


Old = collections.namedtuple("Old", "a b")


class East(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, moment: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, moment: datetime | None) -> str:
        return "East"

    def __repr__(self) -> str:
        return "East()"


class Whole(int):
    pass


class Moment(datetime):
    pass


class Shown:
    def __repr__(self) -> str:
        return f"{type(self).__name__}({_shown(vars(self))})"


class Careful(Shown):
    """Says what is kept of it, and counts how often it was loaded."""

    loaded = 0

    def __init__(self, value: Any) -> None:
        self.value = value
        self.cache = "made"

    def __getstate__(self) -> dict[str, Any]:
        return {"value": self.value}

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).loaded += 1
        self.__dict__.update(state)


class Reduced(Shown):
    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Reduced, (self.value,)


class Registered(Shown):
    def __init__(self, value: Any) -> None:
        self.value = value


copyreg.pickle(Registered, lambda each: (Registered, (each.value,)))


class Making:
    def __new__(cls, *args: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, value: Any) -> None:
        self.value = value


class Answering:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@entity("held", key="value")
class Known:
    def __init__(self, value: Any) -> None:
        self.value = value


class Later:
    """Is marked as an entity when its objects were passed already."""

    def __init__(self, value: Any) -> None:
        self.value = value


def named() -> str:
    return "a function"


CODEC = Codec(Shelf)
UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")

SHARED = [
    datetime(2024, 5, 17, 12),
    datetime(2024, 5, 17, 12, tzinfo=UTC),
    datetime(2024, 5, 17, 12, tzinfo=timezone(timedelta(hours=3), "there")),
    datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
    date(2024, 5, 17),
    time(12, 30),
    time(12, 30, tzinfo=UTC),
    timedelta(days=1, microseconds=147),
    timezone(timedelta(hours=1)),
    BERLIN,
    Decimal("12.34"),
    Decimal("-0"),
    Decimal("Infinity"),
    UUID(int=147),
    Fraction(1, 3),
    Colour.RED,
    Size.LARGE,
    Mark.ONE | Mark.TWO,
    range(5, 147, 3),
    complex(1, -0.0),
    frozenset(),
    frozenset([147]),
    (1, Decimal(1), (2, date(2024, 1, 1))),
    (Colour.RED, "text"),
]

COPIED = [
    [1, 2],
    [1.5, Decimal(1), date(2024, 1, 1)],
    {"a": 1, "b": UUID(int=1)},
    {Decimal(1): 2},
    {1: [2]},
    bytearray(b"\x93\x94\x93"),
    {3, 1, 2},
    collections.deque([1, 2], 3),
    collections.OrderedDict(a=1),
    collections.Counter("aab"),
    collections.defaultdict(list, a=[1]),
    ([1], 2),
    Line("one", 147),
    Slotted([1]),
    Point([1]),
    Pair([1], 2),
    Old(1, {}),
    Careful(1),
    Reduced(1),
    Registered(1),
    Making(1),
    Answering(1),
    Known(1),
    ValueError("what"),
]

AS_OTHERS = [
    float("nan"),
    Decimal("NaN"),
    Decimal("sNaN"),
    complex(0, math.nan),
    [math.nan],
    {"a": math.nan},
    (math.nan,),
    frozenset([8, 0]),
    frozenset([0, 8]),
    datetime(2024, 5, 17, tzinfo=East()),
    time(1, tzinfo=East()),
    datetime(2024, 5, 17, tzinfo=ZoneInfo.no_cache("Europe/Berlin")),
    Moment(2024, 5, 17),
    Whole(1),
    Point(1, 2),
    Slim(1),
    Pair(1, 2),
    named,
    Line,
    Path("a/b"),
]
"""Neither are they given as they are: what a copy of them comes to may differ from them in some way."""


def _replayed(data: bytes) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    _, names, arguments = decode_joined(WRAP + bytes(HEADER.size) + data)
    call = (names[0], arguments[0]) if names[0] is not None else CODEC.decode_call(arguments[0])
    return call[0], call[1], call[2] if len(call) > 2 else {}  # type: ignore[return-value, misc]


def _come_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    shelf = Shelf()
    shelf.put(*args, **kwargs)
    return digest(shelf), repr(_shown(args)), repr(_shown(tuple(kwargs.items())))


def _shown(value: Any) -> Any:
    """What can be compared by its text, in the order in which it is."""
    if isinstance(value, (tuple, list, set, frozenset)):
        return type(value).__name__, [_shown(each) for each in value]
    if isinstance(value, dict):
        return type(value).__name__, [(_shown(key), _shown(each)) for key, each in value.items()]
    return type(value).__name__, repr(value) if type(value).__repr__ is not object.__repr__ else vars(value)


@pytest.mark.parametrize("value", SHARED, ids=lambda value: type(value).__name__)
def test_a_value_that_can_not_change_is_not_copied(value: Any) -> None:
    for args, kwargs in (((value,), {}), ((1, value, "text"), {}), ((), {"value": value})):
        data, given_args, given_kwargs = CODEC.encode_call("put", args, kwargs)
        assert all(one is other for one, other in zip(args, given_args, strict=True))
        assert all(given_kwargs[name] is kwargs[name] for name in kwargs)
        assert _come_to(*_replayed(data)[1:]) == _come_to(given_args, given_kwargs) == _come_to(args, kwargs)


@pytest.mark.parametrize("value", COPIED, ids=lambda value: type(value).__name__)
def test_a_value_that_can_change_is_copied(value: Any) -> None:
    for args, kwargs in (((value,), {}), ((1, value, "text"), {}), ((), {"value": value}), ((value,), {"value": value})):
        data, given_args, given_kwargs = CODEC.encode_call("put", args, kwargs)
        both = [*zip(args, given_args, strict=True), *((kwargs[name], given_kwargs[name]) for name in kwargs)]
        assert all(one is not other for one, other in both if one is value)
        assert _come_to(*_replayed(data)[1:])[0] == _come_to(given_args, given_kwargs)[0]


@pytest.mark.parametrize("value", AS_OTHERS, ids=lambda value: type(value).__name__)
def test_what_a_copy_may_be_told_from_is_given_as_replay_gives_it(value: Any) -> None:
    for args, kwargs in (((value,), {}), ((1, value, "text"), {}), ((), {"value": value})):
        data, given_args, given_kwargs = CODEC.encode_call("put", args, kwargs)
        assert _come_to(*_replayed(data)[1:]) == _come_to(given_args, given_kwargs)
        found = [*given_args, *given_kwargs.values()]
        is_found_again = value is named or value is Line
        assert any(each is value for each in found) == is_found_again


def test_two_arguments_that_are_one_list_stay_one() -> None:
    for one in ([1], {"a": 1}, {1}, bytearray(b"a"), Line("a", 1), [[1]]):
        data, args, _ = CODEC.encode_call("put", (one, one), {})
        assert args[0] is args[1] is not one
        _, args, _ = _replayed(data)
        assert args[0] is args[1]
        data, args, kwargs = CODEC.encode_call("put", (one,), {"value": one})
        assert args[0] is kwargs["value"] is not one
        _, args, kwargs = _replayed(data)
        assert args[0] is kwargs["value"]


_texts = st.text(max_size=5) | st.just("\u0113") | st.sampled_from(["Line", "one", "decimal", "Decimal", "h\x93"])
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([147, 403, 0x9394])
    | st.floats()
    | _texts
    | st.binary(max_size=5)
)
_values = st.one_of(
    _scalars,
    st.datetimes(timezones=st.sampled_from([None, UTC, BERLIN])),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.fractions(),
    st.complex_numbers(),
    st.sampled_from([Colour.RED, Colour.GREEN, Size.LARGE, Mark.ONE | Mark.TWO, named, Line, range(3), range(0, -9, -2)]),
)
_hashable = st.integers() | _texts | st.dates() | st.decimals(allow_nan=False)
_anything = st.recursive(
    _values,
    lambda each: st.one_of(
        st.lists(each, max_size=4),
        st.lists(each, max_size=4).map(tuple),
        st.dictionaries(_hashable, each, max_size=4),
        st.sets(_hashable, max_size=4),
        st.frozensets(_hashable, max_size=4),
        st.builds(Line, each, each),
        st.builds(Point, each, each),
        st.builds(Slim, each),
        st.builds(Slotted, each),
        st.builds(Pair, each, each),
        st.builds(Old, each, each),
        st.builds(Careful, each),
        st.builds(Reduced, each),
        st.builds(Registered, each),
        st.builds(collections.deque, st.lists(each, max_size=3)),
        each.map(lambda value: [value, value]),
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(st.lists(_anything, max_size=3), st.dictionaries(st.sampled_from("abc"), _anything, max_size=2)), max_size=3
    )
)
def test_replay_comes_to_the_state_that_was_live(calls: list[tuple[list[Any], dict[str, Any]]]) -> None:
    live, again = Shelf(), Shelf()
    records = []
    for args, kwargs in [*calls, *calls]:  # The same objects are passed twice.
        data, given_args, given_kwargs = CODEC.encode_call("put", tuple(args), kwargs)
        live.put(*given_args, **given_kwargs)
        records.append(WRAP + bytes(HEADER.size) + data)
    if not records:
        return
    _, names, arguments = decode_joined(b"".join(records))
    unnamed = [args for name, args in zip(names, arguments, strict=True) if name is None]
    simple = iter(CODEC.decode_simple(unnamed))
    for name, args in zip(names, arguments, strict=True):
        call = (name, args) if name is not None else next(simple) or CODEC.decode_call(args)
        again.put(*call[1], **(call[2] if len(call) > 2 else {}))
    assert digest(again) == digest(live)
    assert repr(_shown(again.held)) == repr(_shown(live.held))


@pytest.mark.parametrize(
    "value", [Decimal(1), [Decimal(1)], Line("a", Decimal(1)), Pair(1, Decimal(2)), Careful(Decimal(1))], ids=str
)
def test_a_decimal_is_noticed_where_it_is_written_and_where_it_is_read(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for kwargs in ({}, {"value": value}):
        monkeypatch.setattr(decimals.used, "here", False)
        data = CODEC.encode_call("put", (1, value), kwargs)[0]
        assert decimals.used.here
        monkeypatch.setattr(decimals.used, "here", False)
        _replayed(data)
        assert decimals.used.here


@pytest.mark.parametrize("value", [*SHARED, *COPIED, *AS_OTHERS], ids=lambda value: type(value).__name__)
def test_a_system_that_is_opened_again_has_what_it_had(tmp_path: Path, value: Any) -> None:
    if isinstance(value, Known):
        return  # One that the system finds is passed by reference: tests/values/test_entities.py.
    shelf = init_system(Shelf, tmp_path, durability="buffered", validation="off")
    shelf.put(value)
    shelf.put(1, value, name=value)
    shelf.put(value=value)
    state = control(shelf)._system.engine.machine.domain  # type: ignore[attr-defined]
    before = digest(state), repr(_shown(state.held))
    shelf.close()
    shelf = init_system(Shelf, tmp_path, durability="buffered", validation="off")
    state = control(shelf)._system.engine.machine.domain  # type: ignore[attr-defined]
    assert (digest(state), repr(_shown(state.held))) == before
    shelf.close()


def test_each_replayed_call_has_a_list_of_its_own(tmp_path: Path) -> None:
    one = [1]
    with init_system(Shelf, tmp_path, durability="buffered", validation="off") as shelf:
        for _ in range(3):
            shelf.put_and_change(one)
        assert one == [1]
        assert shelf.held == [[1, 0], [1, 1], [1, 2]]
    with init_system(Shelf, tmp_path, durability="buffered", validation="off") as shelf:
        assert shelf.held == [[1, 0], [1, 1], [1, 2]]


def _is_simple(value: Any) -> bool:
    data = CODEC.encode_call("put", (value,), {})[0]
    return data[:1] == b"N" and CODEC._head_of_simple(data[6:]) is not None


def test_objects_whose_classes_leave_it_to_pickle_are_decoded_many_at_a_time() -> None:
    for value in (
        Line("a", 147),
        Slotted(1),
        Point(1),
        Slim([1]),
        Pair(1, 2),
        Old(1, 2),
        Colour.RED,
        [Line("a", 403)] * 3,
        [[]],
    ):
        assert _is_simple(value), value
    for value in (Careful(1), Reduced(1), Registered(1), Making(1), Answering(1), Known(1), named, [Line], ValueError("a")):
        assert not _is_simple(value), value


def test_code_of_a_class_runs_when_the_turn_of_its_call_has_come(tmp_path: Path) -> None:
    with init_system(Shelf, tmp_path, durability="buffered", validation="off") as shelf:
        for number in range(5):
            shelf.put(Careful(number), Line("a", number))
    Careful.loaded = 0
    with init_system(Shelf, tmp_path, durability="buffered", validation="off") as shelf:
        assert [args[0].value for args, _ in shelf.held] == list(range(5))
    assert Careful.loaded == 5


def test_what_belongs_to_the_process_is_refused_in_any_argument() -> None:
    lock, file = threading.Lock(), open(os.devnull)
    try:
        for held in (lock, file, threading.Thread(), iter):
            for value in (held, [held], {"a": held}, Line("a", held), Point(held), Pair(1, held), (Colour.RED, held)):  # type: ignore[arg-type]
                if held is iter:
                    CODEC.encode_call("put", (value,), {})
                    continue
                with pytest.raises(Exception, match="argument"):
                    CODEC.encode_call("put", (value,), {})
    finally:
        file.close()


def test_a_class_that_is_marked_later_is_passed_by_reference_from_then_on() -> None:
    codec, cls = Codec(Shelf), Later
    domain = Shelf()
    domain.held = {1: cls(1)}  # type: ignore[assignment]
    owner = type("Owner", (), {"domain": domain})()
    given = codec.encode_call("put", (domain.held[1],), {}, (), owner)[1][0]
    assert given is not domain.held[1]
    entity("held", key="value")(cls)
    given = codec.encode_call("put", (domain.held[1],), {}, (), owner)[1][0]
    assert given is domain.held[1]


def test_an_argument_that_calls_the_system_while_it_is_encoded_spoils_no_other(tmp_path: Path) -> None:
    with init_system(Shelf, tmp_path, durability="buffered", validation="off") as shelf:
        _calling[:] = [lambda: shelf.put(Line("inside", 1))]
        shelf.put([Line("a", 1), Calling()])
        _calling.clear()
        assert [type(args[0]) for args, _ in shelf.held] == [Line, list]
    with init_system(Shelf, tmp_path, durability="buffered", validation="off") as shelf:
        assert [type(args[0]) for args, _ in shelf.held] == [Line, list]


_calling: list[Callable[[], None]] = []


class Calling:
    def __getstate__(self) -> dict[str, int]:
        if _calling:
            _calling.pop()()
        return {"a": 1}


def test_a_function_that_is_named_beside_a_byte_of_its_opcode_is_noticed() -> None:
    for value in ([Line("a", 147), named], [Line(named, 147)], [b"\x93\x93", Line("named", 1), named]):  # type: ignore[arg-type]
        data = CODEC.encode_call("put", (value,), {})[0]
        assert CODEC._head_of_simple(data[6:]) is None


def test_looks_know_what_the_standard_library_calls_so_and_nothing_else() -> None:
    class UUID:
        pass

    UUID.__module__, UUID.__qualname__ = "uuid", "UUID"
    assert copies.look_at(UUID)(UUID()) == copies.UNKNOWN

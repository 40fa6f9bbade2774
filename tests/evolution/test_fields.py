"""A class whose fields have changed, and an enum whose values have, stop an opening; the upgrade that is printed is the one to write."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import coopy
from coopy import control, init_system
from coopy.errors import ChangedClass, UndecodableAction

Code = Callable[[str], ModuleType]

HEAD = """
import enum, typing
from dataclasses import dataclass, field
import attrs
from coopy import entity
from coopy.migration import Migration, migrated
"""
SHOP = """
%s
class Shop:
    def __init__(self):
        self.orders = []
    def order(self, order):
        self.orders.append(order)
    def make(self, *values):
        self.orders.append(Order(*values))
    def paint(self, *colours):
        self.orders.extend(colours)
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Code]:
    """Gives the module ``shop`` new code, as an edit and a restart do."""
    folder = tmp_path / "code"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(types: str, mark: str = "") -> ModuleType:
        (folder / "shop.py").write_text(HEAD + textwrap.dedent(types) + SHOP % mark)
        sys.modules.pop("shop", None)
        importlib.invalidate_caches()
        return importlib.import_module("shop")

    yield write
    sys.modules.pop("shop", None)


def opened(module: ModuleType, tmp_path: Path) -> Any:
    return init_system(module.Shop, tmp_path / "data", validation="off")


def upgraded(types: str, message: str, **values: str) -> tuple[str, str]:
    """The types with the upgrade that the message has printed, and what marks the class."""
    stub = textwrap.dedent(message[message.index("\n\n") :]).replace("class Shop: ...\n", "").replace("@migrated(upgrades)", "")
    for name, value in values.items():
        stub = stub.replace(name, value)
    assert not re.search("WHAT_[A-Z_]+_(WAS|IS)", stub), stub
    return textwrap.dedent(types) + stub, "@migrated(upgrades)"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "lock"}


def refused(code: Code, tmp_path: Path, types: str) -> str:
    before = bytes_of(tmp_path / "data")
    with pytest.raises((ChangedClass, UndecodableAction)) as caught:
        opened(code(types), tmp_path)
    assert bytes_of(tmp_path / "data") == before
    return str(caught.value)


def written(code: Code, tmp_path: Path, types: str, way: str, *values: str) -> None:
    """A directory with an Order of these values in its snapshot, or as an argument in its journal."""
    module = code(types)
    shop = opened(module, tmp_path)
    given = [eval(value, vars(module)) for value in values]
    if way == "made":
        shop.make(*given)
    else:
        shop.order(module.Order(*given))
    if way != "journal":
        control(shop).take_snapshot()
    control(shop).close()


KINDS = {
    "dataclass": ("@dataclass\nclass Order:\n{}\n", {}),
    "frozen": ("@dataclass(frozen=True)\nclass Order:\n{}\n", {}),
    "slots": ("@dataclass(slots=True)\nclass Order:\n{}\n", {}),
    "frozen slots": ("@dataclass(frozen=True, slots=True)\nclass Order:\n{}\n", {}),
    "child": ("@dataclass\nclass Thing:\n    first: str\n@dataclass\nclass Order(Thing):\n{}\n", {}),
    "child with slots": (
        "@dataclass(slots=True)\nclass Thing:\n    first: str\n@dataclass(slots=True)\nclass Order(Thing):\n{}\n",
        {},
    ),
    "frozen child with slots": (
        "@dataclass(frozen=True, slots=True)\nclass Thing:\n    first: str\n"
        "@dataclass(frozen=True, slots=True)\nclass Order(Thing):\n{}\n",
        {},
    ),
    "attrs": ("@attrs.define\nclass Order:\n{}\n", {}),
    "attrs frozen": ("@attrs.frozen\nclass Order:\n{}\n", {}),
    "attrs without slots": ("@attrs.define(slots=False)\nclass Order:\n{}\n", {}),
    "named tuple": ("class Order(typing.NamedTuple):\n{}\n", {}),
    "list": ("@dataclass\nclass Order(list):\n{}\n", {}),
    "exception": ("@dataclass\nclass Order(Exception):\n{}\n", {}),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
WAYS = ("made", "snapshot", "journal")
each_way = pytest.mark.parametrize("way", WAYS)
# The first kind in each way, and of the others each in one, in turn.
each_kind_in_a_way = pytest.mark.parametrize(
    "kind, way",
    [
        (kind, way)
        for number, kind in enumerate(KINDS)
        for place, way in enumerate(WAYS)
        if number in (0, 1) or number % 3 == place
    ],
)


def of(kind: str, *fields: str) -> str:
    lines = "".join(f"    {field}\n" for field in fields)
    return KINDS[kind][0].format(lines)


def values(kind: str, *given: str) -> tuple[str, ...]:
    return ("'first'", *given) if "child" in kind else given


@each_kind_in_a_way
def test_a_field_that_is_gone_stops_the_opening_and_its_upgrade_is_printed(
    code: Code, tmp_path: Path, kind: str, way: str
) -> None:
    before = of(kind, "article: str", "price: int", "refund: int")
    after = of(kind, "article: str", "refund: int")
    written(code, tmp_path, before, way, *values(kind, "'ink'", "500", "0"))
    message = refused(code, tmp_path, after)
    assert "shop:Order" in message and "without price" in message and "Nothing was changed" in message
    module = code(*upgraded(after, message))
    with opened(module, tmp_path) as shop:
        (order,) = shop.orders
        assert (type(order), order.article, order.refund) == (module.Order, "ink", 0)
        assert not hasattr(order, "price")
        assert order == module.Order(*map(eval, values(kind, "'ink'", "0"))) or kind in ("exception", "list")
        control(shop).take_snapshot()
    with opened(module, tmp_path) as shop:
        assert shop.orders[0].refund == 0


@each_kind_in_a_way
def test_a_field_that_is_new_stops_the_opening_and_its_upgrade_is_printed(
    code: Code, tmp_path: Path, kind: str, way: str
) -> None:
    before = of(kind, "article: str")
    factory = {"attrs": "attrs.field(factory=list)"}.get(kind.partition(" ")[0], "field(default_factory=list)")
    after = of(kind, "article: str", "count: int" if kind == "named tuple" else f"tags: list = {factory}")
    written(code, tmp_path, before, way, *values(kind, "'ink'"))
    message = refused(code, tmp_path, after)
    assert "with tags" in message or "with count" in message
    module = code(*upgraded(after, message, WHAT_COUNT_WAS="1"))
    with opened(module, tmp_path) as shop:
        (order,) = shop.orders
        assert order.article == "ink"
        assert order.count == 1 if kind == "named tuple" else order.tags == []


@each_kind
def test_a_field_with_another_name_is_both(code: Code, tmp_path: Path, kind: str) -> None:
    written(code, tmp_path, of(kind, "article: str", "price: int"), "made", *values(kind, "'ink'", "500"))
    after = of(kind, "article: str", "cents: int")
    message = refused(code, tmp_path, after)
    assert "without price and with cents" in message
    gone = "attributes.pop('price')  # it is gone\n"
    assert gone in message
    module = code(
        *upgraded(after, message.replace("WHAT_CENTS_WAS", "cents").replace("attributes.pop(", "cents = attributes.pop("))
    )
    with opened(module, tmp_path) as shop:
        assert shop.orders[0].cents == 500


@pytest.mark.parametrize("kind", ["frozen slots", "named tuple", "frozen child with slots"])
@each_way
def test_another_order_of_values_that_are_kept_by_place_is_noticed(code: Code, tmp_path: Path, kind: str, way: str) -> None:
    written(code, tmp_path, of(kind, "price: int", "refund: int"), way, *values(kind, "500", "0"))
    after = of(kind, "refund: int", "price: int")
    message = refused(code, tmp_path, after)
    assert "in another order" in message
    with opened(code(*upgraded(after, message)), tmp_path) as shop:
        assert (shop.orders[0].price, shop.orders[0].refund) == (500, 0)


SHAPES = ["dataclass", "slots", "frozen slots"]


@pytest.mark.parametrize("before", SHAPES)
@pytest.mark.parametrize("after", SHAPES)
def test_values_that_were_kept_in_another_way_are_noticed(code: Code, tmp_path: Path, before: str, after: str) -> None:
    fields = ("price: int", "refund: int")
    written(code, tmp_path, of(before, *fields), "made", "500", "0")
    types, mark = of(after, *fields), ""
    if before != after:
        types, mark = upgraded(types, refused(code, tmp_path, types))
    with opened(code(types, mark), tmp_path) as shop:
        assert (shop.orders[0].price, shop.orders[0].refund) == (500, 0)


SILENT = [
    ("dataclass", ["price: int", "refund: int"], ["refund: int", "price: int"]),
    ("slots", ["price: int", "refund: int"], ["refund: int", "price: int"]),
    ("dataclass", ["price: int", "refund: int"], ["price: int", "refund: int", "tag: str = ''"]),
    ("frozen", ["price: int", "refund: int"], ["price: int", "refund: int", "tag: str = ''"]),
    ("named tuple", ["price: int", "refund: int"], ["price: int", "refund: int", "tag: str = ''"]),
    ("frozen slots", ["price: int", "refund: int"], ["price: float", "refund: object"]),
    ("frozen slots", ["price: int", "refund: int"], ["price: int", "refund: int", "@property\n    def net(self): return 1"]),
]


@pytest.mark.parametrize("kind, before, after", SILENT)
@each_way
def test_what_does_no_harm_is_opened(
    code: Code, tmp_path: Path, kind: str, before: list[str], after: list[str], way: str
) -> None:
    written(code, tmp_path, of(kind, *before), way, "500", "0")
    with opened(code(of(kind, *after)), tmp_path) as shop:
        assert (shop.orders[0].price, shop.orders[0].refund, getattr(shop.orders[0], "tag", "")) == (500, 0, "")


PLAIN_SLOTS = """
class Thing:
    __slots__ = ("first",)
class Order(Thing):
    __slots__ = (%s)
    def __init__(self, *values):
        for name, value in zip(("first", *Order.__slots__), values):
            setattr(self, name, value)
"""


@each_way
def test_the_slots_of_plain_classes_are_fields(code: Code, tmp_path: Path, way: str) -> None:
    written(code, tmp_path, PLAIN_SLOTS % "'price', 'refund',", way, "'ink'", "500", "0")
    after = PLAIN_SLOTS % "'refund', 'tags',"
    message = refused(code, tmp_path, after)
    assert "without price and with tags" in message
    with opened(code(*upgraded(after, message, WHAT_TAGS_WAS="[]")), tmp_path) as shop:
        order = shop.orders[0]
        assert (order.first, order.refund, order.tags) == ("ink", 0, [])


def test_a_class_that_keeps_itself_is_not_looked_at(code: Code, tmp_path: Path) -> None:
    own = "@dataclass\nclass Order:\n    price: int\n{}    def __setstate__(self, state): self.__dict__.update(state, new=1)\n"
    written(code, tmp_path, own.format(""), "made", "500")
    with opened(code(own.format("    new: int = field(default_factory=int)\n")), tmp_path) as shop:
        assert shop.orders == [sys.modules["shop"].Order(500, 1)]


def test_a_past_that_today_no_class_fits_is_not_shown(code: Code, tmp_path: Path) -> None:
    written(code, tmp_path, of("frozen slots", "price: int", "refund: int"), "snapshot", "500", "0")
    module = code(of("frozen slots", "refund: int"))
    with pytest.raises(ChangedClass) as caught:
        coopy.replay(module.Shop, tmp_path / "data")
    assert (caught.value.name, caught.value.gone, caught.value.new) == ("shop:Order", ["price"], [])


ENTITY = """
@entity(find=lambda shop, name: next(each for each in shop.orders if each.name == name), key="name")
@dataclass
class Order:
    name: str
{}"""


def test_of_an_entity_in_the_journal_there_is_the_key_alone(code: Code, tmp_path: Path) -> None:
    shop = opened(code(ENTITY.format("")), tmp_path)
    shop.make("ink")
    shop.order(shop.orders[0])
    control(shop).close()
    with opened(code(ENTITY.format("    tags: list = field(default_factory=list)\n")), tmp_path) as shop:
        assert shop.orders[0] is shop.orders[1]
        assert shop.orders[0].tags == []


@pytest.mark.parametrize(
    "answer",
    [
        "raise (AttributeError if name == '__slots__' else RuntimeError)(name)",
        "return 'anything'",
        "return cls",
        "return {name: 1}",
    ],
)
def test_a_class_may_answer_what_it_likes(code: Code, tmp_path: Path, answer: str) -> None:
    types = f"class Meta(type):\n    def __getattr__(cls, name): {answer}\nclass Order(metaclass=Meta):\n    pass\n"
    written(code, tmp_path, types, "made")
    with opened(code(types), tmp_path) as shop:
        assert type(shop.orders[0]) is sys.modules["shop"].Order


# -- enums

COLOURS = "class Colour({}):\n{}\nOrder = Colour\n"


def colours(base: str, *members: str) -> str:
    return COLOURS.format(base, "".join(f"    {member}\n" for member in members))


ENUMS = [
    ("enum.Enum", ["RED = 1", "BLUE = 2"], ["RED = 'r'", "BLUE = 2"]),
    ("enum.Enum", ["RED = 1", "BLUE = 2"], ["RED = 2", "BLUE = 1"]),
    ("enum.Enum", ["RED = 'red'", "BLUE = 'blue'"], ["RED = 'r'", "BLUE = 'b'"]),
    (
        "enum.Enum",
        ["RED = enum.auto()", "BLUE = enum.auto()"],
        ["PINK = enum.auto()", "RED = enum.auto()", "BLUE = enum.auto()"],
    ),
    ("enum.IntEnum", ["RED = 1", "BLUE = 2"], ["BLUE = 1", "RED = 2"]),
    ("str, enum.Enum", ["RED = 'r'", "BLUE = 'b'"], ["RED = 'red'", "BLUE = 'b'"]),
    ("enum.Flag", ["RED = 1", "BLUE = 2"], ["NONE = 1", "RED = 2", "BLUE = 4"]),
]


@pytest.mark.parametrize("base, before, after", ENUMS)
@pytest.mark.parametrize("way", ["snapshot", "journal"])
def test_the_changed_value_of_an_enum_stops_the_opening_and_can_be_upgraded(
    code: Code, tmp_path: Path, base: str, before: list[str], after: list[str], way: str
) -> None:
    module = code(colours(base, *before))
    shop = opened(module, tmp_path)
    shop.paint(module.Colour.RED, module.Colour.BLUE, module.Colour.RED)
    shop.order({module.Colour.BLUE: [module.Colour.RED]})
    if way == "snapshot":
        control(shop).take_snapshot()
    control(shop).close()
    types = colours(base, *after)
    message = refused(code, tmp_path, types)
    assert "shop:Colour" in message and "RED" in message
    module = code(*upgraded(types, message))
    red, blue = module.Colour.RED, module.Colour.BLUE
    with opened(module, tmp_path) as shop:
        assert shop.orders == [red, blue, red, {blue: [red]}]
        assert shop.orders[0] is red


@pytest.mark.parametrize(
    "base, before, after",
    [
        ("enum.Enum", ["RED = 1", "BLUE = 2"], ["BLUE = 2", "RED = 1"]),
        ("enum.Enum", ["RED = 1", "BLUE = 2"], ["RED = 1", "BLUE = 2", "PINK = 3"]),
        ("enum.Flag", ["RED = 1", "BLUE = 2"], ["RED = 1", "BLUE = 2", "BOTH = 3"]),
    ],
)
def test_an_enum_whose_members_have_their_values_is_opened(
    code: Code, tmp_path: Path, base: str, before: list[str], after: list[str]
) -> None:
    module = code(colours(base, *before))
    with opened(module, tmp_path) as shop:
        shop.paint(module.Colour.RED)
        control(shop).take_snapshot()
        shop.paint(module.Colour.BLUE)
    module = code(colours(base, *after))
    with opened(module, tmp_path) as shop:
        assert shop.orders == [module.Colour.RED, module.Colour.BLUE]


def test_a_member_that_is_gone_is_named_and_gets_a_value_by_hand(code: Code, tmp_path: Path) -> None:
    module = code(colours("enum.Enum", "RED = 1", "BLUE = 2"))
    with opened(module, tmp_path) as shop:
        shop.paint(module.Colour.BLUE, module.Colour.RED)
        control(shop).take_snapshot()
    types = colours("enum.Enum", "RED = 1")
    message = refused(code, tmp_path, types)
    assert "BLUE had another value, or is gone" in message and "2: WHAT_IT_IS_NOW" in message
    module = code(*upgraded(types, message, WHAT_IT_IS_NOW="Colour.RED"))
    with opened(module, tmp_path) as shop:
        assert shop.orders == [module.Colour.RED] * 2


# -- what a migration does to the class itself

REGISTRIES = {
    "__init_subclass__": """
class Model:
    known = {}
    def __init_subclass__(cls, **more):
        super().__init_subclass__(**more)
        Model.known[cls.__name__] = cls
    @classmethod
    def all(cls): return list(cls.known.values())
""",
    "metaclass": """
class Meta(type):
    known = {}
    def __new__(meta, name, bases, members):
        made = super().__new__(meta, name, bases, members)
        if bases: Meta.known[name] = made
        return made
    def __init__(cls, name, bases, members):
        super().__init__(name, bases, members)
        if bases: Meta.known[name] = cls
class Model(metaclass=Meta):
    @classmethod
    def all(cls): return list(Meta.known.values())
""",
    "__subclasses__": """
class Model:
    @classmethod
    def all(cls):
        found = cls.__subclasses__()
        return found + [each for one in found for each in one.__subclasses__()]
""",
    "abstract": """
import abc
class Model(abc.ABC):
    @classmethod
    def all(cls): return cls.__subclasses__()
""",
}
BODIES = {
    "plain": "class Order(Model):\n    def __init__(self, title): self.title = title\n",
    "dataclass": "@dataclass\nclass Order(Model):\n    title: str\n",
    "own __new__": (
        "class Order(Model):\n    def __new__(cls, *title): return super().__new__(cls)\n"
        "    def __init__(self, title): self.title = title\n"
    ),
    "no attributes may be set": (
        "class Order(Model):\n    def __init__(self, title): self.__dict__['title'] = title\n"
        "    def __setattr__(self, name, value): raise TypeError(name)\n"
    ),
    "hashable": (
        "class Order(Model):\n    def __init__(self, title): self.title = title\n"
        "    def __eq__(self, other): return self.title == other.title\n    def __hash__(self): return hash(self.title)\n"
    ),
}


@pytest.mark.parametrize("registry", REGISTRIES)
@pytest.mark.parametrize("body", BODIES)
def test_an_upgrade_makes_no_class_that_the_users_own_hear_of(code: Code, tmp_path: Path, registry: str, body: str) -> None:
    types = REGISTRIES[registry] + BODIES[body]
    written(code, tmp_path, types, "snapshot", "'Home'")
    upgrade = (
        "\nupgrades = Migration(version=2)\n@upgrades.state('shop:Order', version=1)\n"
        "def order(attributes): return {**attributes, 'tags': []}\n"
    )
    module = code(types + upgrade, "@migrated(upgrades)")
    with opened(module, tmp_path) as shop:
        assert module.Model.all() == [module.Order]
        (order,) = shop.orders
        assert (type(order), order.title, order.tags) == (module.Order, "Home", [])


def test_a_class_of_the_librarys_is_not_told_of_an_upgrade_either(code: Code, tmp_path: Path) -> None:
    types = REGISTRIES["__init_subclass__"] + "class Order(Model, dict):\n    def __init__(self, title): self.title = title\n"
    written(code, tmp_path, types, "snapshot", "'Home'")
    upgrade = "\nupgrades = Migration(version=2)\n@upgrades.state('shop:Order', version=1)\ndef order(attributes): return attributes\n"
    module = code(types + upgrade, "@migrated(upgrades)")
    with opened(module, tmp_path) as shop:
        assert (module.Model.all(), type(shop.orders[0])) == ([module.Order], module.Order)

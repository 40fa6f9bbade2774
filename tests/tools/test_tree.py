"""States drawn as trees, compared, and said in JSON."""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest

from coopy.clock import clock
from coopy.errors import UsageError
from coopy.tools.tree import MISSING, as_json, at, differences, shown, tree

Point = namedtuple("Point", "x y")


class Colour(Enum):
    RED = 1


class Node:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("left", "__hidden", "unset")

    def __init__(self, left: object, hidden: object) -> None:
        self.left = left
        self.__hidden = hidden


@dataclass
class Page:
    name: str
    text: str = ""


class Basket(list[Any]):
    owner = "nobody"


class Word(str):
    pass


class Day(date):
    pass


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


def chain(length: int, end: object = None) -> Node:
    node = Node(next=end)
    for _ in range(length - 1):
        node = Node(next=node)
    return node


def drawn(value: object, depth: int = 3, **settings: Any) -> list[str]:
    return list(tree(value, depth, **settings))


# -- drawn


def test_a_state_is_drawn_with_types_sizes_and_values() -> None:
    state = Node(
        pages={"Home": Page("Home", "Welcome"), date(2026, 1, 2): Page("Day")},
        tags={"b", "a"},
        points=[Point(1, 2)],
        colour=Colour.RED,
        price=Decimal("1.50"),
        day=Day(2026, 1, 2),
        word=Word("said"),
        _clock=clock,
    )
    assert drawn(state, 4) == [
        "Node",
        "├─ .pages: dict, 2 entries",
        "│  ├─ ['Home']: Page",
        "│  │  ├─ .name: 'Home'",
        "│  │  └─ .text: 'Welcome'",
        "│  └─ [datetime.date(2026, 1, 2)]: Page",
        "│     ├─ .name: 'Day'",
        "│     └─ .text: ''",
        "├─ .tags: {'a', 'b'}",
        "├─ .points: list, 1 item",
        "│  └─ [0]: Point(x=1, y=2)",
        "├─ .colour: <Colour.RED: 1>",
        "├─ .price: Decimal('1.50')",
        "├─ .day: Day(2026, 1, 2)",
        "└─ .word: 'said'",
    ]


def test_what_lies_deeper_than_asked_for_is_counted_only() -> None:
    assert drawn(Node(pages={"a": Node()}), 1) == ["Node", "└─ .pages: dict, 1 entry"]
    assert drawn(Node(pages={"a": Node()}), 0) == ["Node"]
    assert drawn(Node(pages={}, tags=[1]), 1) == ["Node", "├─ .pages: {}", "└─ .tags: [1]"]


def test_a_long_container_is_shortened_and_the_rest_counted() -> None:
    lines = drawn(list(range(10_000)), items=30)
    assert lines[0] == "list, 10,000 items"
    assert lines[30:] == ["├─ [29]: 29", "└─ … 9,970 more"]


def test_one_more_than_asked_for_is_drawn_rather_than_counted() -> None:
    assert drawn([Node()] * 1 + [[1]] * 2, items=2)[-1] == "└─ [2]: [1]"


def test_cycles_and_shared_objects_are_marked_and_not_followed() -> None:
    home = Node(text="x")
    state = Node(first=home, again=[home, home])
    home.up = state
    assert drawn(state, 9) == [
        "Node",
        "├─ .first: Node",
        "│  ├─ .text: 'x'",
        "│  └─ .up: (cycle: the same as the whole)",
        "└─ .again: list, 2 items",
        "   ├─ [0]: (the same as .first)",
        "   └─ [1]: (the same as .first)",
    ]


def test_slots_subclasses_and_hidden_names_are_seen() -> None:
    basket = Basket([1])
    basket.owner = "ann"
    queue = deque([Node()])
    assert drawn(Slotted(basket, queue)) == [
        "Slotted",
        "├─ .left: Basket, 1 item",
        "│  ├─ .owner: 'ann'",
        "│  └─ [0]: 1",
        "└─ ._Slotted__hidden: deque, 1 item",
        "   └─ [0]: Node",
    ]


@pytest.mark.parametrize("value", ["y" * 5000, list(range(5000)), "a\nb" * 900, [["z" * 90] * 9] * 9, 10**300], ids="abcde")
def test_a_line_is_cut_to_the_width(value: object) -> None:
    for line in drawn(Node(value=value), width=60):
        assert len(line) <= 62, line
        assert "\n" not in line


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 100, "'xxxxxxxxxxxxxxxxxxxxxxx'… (100 characters)"),
        ("\n" * 100, "'\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n'… (100 characters)"),
        (b"x" * 1000, "b'xxxxxxxxxxxxxxxxxxxxxxxxx'… (1,000 bytes)"),
        (Page("a", "b"), "Page(name='a', text='b')"),
        (Node(a=1, b=Node(c=[2])), "Node(a=1, b=Node(c=[2]))"),
        ([Broken()], "[<Broken, whose repr raises RuntimeError>]"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,…"),
    ],
    ids=["text", "escapes", "bytes", "dataclass", "object", "broken", "list"],
)
def test_a_value_is_shown_on_one_line(value: object, text: str) -> None:
    assert shown(value, 43) == text


def test_a_very_deep_state_is_drawn_and_compared_without_recursion() -> None:
    deep = chain(20_000)
    assert len(drawn(deep, 50)) == 51
    found = list(differences(deep, chain(20_000, end="end")))
    assert [(each.path, each.after) for each in found] == [(".next" * 20_000, "end")]


def test_paint_is_given_each_part_by_its_kind() -> None:
    lines = drawn(Node(a=1, b=[Node()]), paint=lambda kind, text: f"<{kind} {text}>")
    assert lines == [
        "<type Node>",
        "├─ <name .a>: <value 1>",
        "└─ <name .b>: <type list, 1 item>",
        "   └─ <name [0]>: <type Node>",
    ]


# -- a part of a state


STATE = Node(pages={"Home": ["x", "y"], (1, 2): "pair", date(2026, 1, 2): "day", 3: "three"}, _clock=clock)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".pages['Home'][1]", "y"),
        ("pages['Home'][-1]", "y"),
        (".pages[(1, 2)]", "pair"),
        (".pages[3]", "three"),
        (".pages[datetime.date(2026, 1, 2)]", "day"),
    ],
)
def test_a_path_leads_to_a_part(path: str, found: object) -> None:
    assert at(STATE, path) == found


def test_an_empty_path_is_the_whole() -> None:
    assert at(STATE, "") is STATE


def test_what_a_drawing_calls_a_part_leads_to_it() -> None:
    for key in STATE.pages:
        assert at(STATE, f".pages[{key!r}]") is STATE.pages[key]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (".pages['Home'][7]", r"there is no \[7\] in \.pages\['Home'\], which is a list, 2 items"),
        (".nothing", r"no \.nothing in the state, which is a Node"),
        (".pages[", "must be attributes and items"),
        (".pages.clear()", "must be attributes and items"),
        ("__import__('os').getcwd()", "must be attributes and items"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ended(path: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        at(STATE, path)


def test_looking_for_a_key_adds_none() -> None:
    state: defaultdict[str, list[int]] = defaultdict(list)
    with pytest.raises(UsageError):
        at(state, "['a']")
    assert not state


# -- compared


def compared(before: object, after: object) -> list[tuple[str, str]]:
    return [(each.kind, each.path) for each in differences(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (Node(a=1), Node(a=1), []),
        (Node(a=1), Node(a=2), [("changed", ".a")]),
        (Node(a=1, b=2), Node(b=2, c=3), [("removed", ".a"), ("added", ".c")]),
        (Node(a=1), Node(a=True), [("changed", ".a")]),
        (Node(a=float("nan")), Node(a=float("nan")), []),
        (Node(a=0.0), Node(a=-0.0), [("changed", ".a")]),
        (Node(_clock=clock), Node(), []),
        (Node(), Page("a"), [("changed", "")]),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, [("changed", "['a']['b'][0]")]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        (OrderedDict(a=1), OrderedDict(a=2), [("changed", "['a']")]),
        ({1, 2}, {2, 3}, [("removed", "{…}"), ("added", "{…}")]),
        ({(1, "a")}, {(1, "a")}, []),
        ([1, 2, 3], [1, 3], [("removed", "[1]")]),
        ([1, 3], [1, 2, 3], [("added", "[1]")]),
        ([1, 2, 3], [4, 5, 6], [("changed", "[0]"), ("changed", "[1]"), ("changed", "[2]")]),
        (list(range(100)), list(range(1, 101)), [("removed", "[0]"), ("added", "[99]")]),
        ([2, 2, 1], [3, 3, 3], [("changed", "[0]"), ("changed", "[1]"), ("changed", "[2]")]),
        ((1, (2, 3)), (1, (2, 4)), [("changed", "[1][1]")]),
        (Point(1, 2), Point(1, 3), [("changed", ".y")]),
        (deque([1]), deque([1, 2]), [("added", "[1]")]),
        (Slotted(1, 2), Slotted(1, 3), [("changed", "._Slotted__hidden")]),
        (Basket([1]), Basket([2]), [("changed", "[0]")]),
        (Word("a"), Word("b"), [("changed", "")]),
        (Day(2026, 1, 2), Day(2026, 1, 3), [("changed", "")]),
        (datetime(2026, 1, 1), datetime(2026, 1, 1), []),
        (datetime(2026, 1, 1), datetime(2026, 1, 2), [("changed", "")]),
        (ValueError("a"), ValueError("b"), [("changed", ".args[0]")]),
        (bytearray(b"a"), bytearray(b"b"), [("changed", "")]),
    ],
)
def test_differences_say_what_was_added_removed_and_changed(before: object, after: object, found: list[Any]) -> None:
    assert compared(before, after) == found


def test_an_object_put_into_a_list_moves_the_others_and_changes_none() -> None:
    before = [Page(f"page {number}", "text") for number in range(50)]
    after = [Page(f"page {number}", "text") for number in range(50)]
    after.insert(7, Page("new"))
    del after[30]
    after[40].text = "other"
    assert compared(before, after) == [("added", "[7]"), ("removed", "[29]"), ("changed", "[40].text")]


def test_keys_without_an_equality_are_matched_by_what_they_hold() -> None:
    before = {Node(name="a"): 1, Node(name="b"): 2}
    after = {Node(name="a"): 1, Node(name="b"): 3, Node(name="c"): 4}
    assert [each.kind for each in differences(before, after)] == ["changed", "added"]


def test_a_difference_holds_both_values_and_what_is_missing() -> None:
    (found,) = differences({"a": 1}, {})
    assert (found.before, found.after, found.kind) == (1, MISSING, "removed")


def test_cycles_are_compared_once() -> None:
    before, after = Node(a=1), Node(a=2)
    before.self, after.self = before, after
    assert compared(before, after) == [("changed", ".a")]


def test_what_cannot_be_compared_is_compared_as_it_is_stored() -> None:
    assert compared([Broken()], [Broken()]) == []
    assert compared([iter([1, 2])], [iter([1, 2])]) == []
    assert compared([iter([1, 2])], [iter([1, 3])]) == [("changed", "[0]")]


# -- as JSON


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": (1, None, True)}, {"a": [1, None, True]}),
        ({1: "a"}, {"1": "a"}),
        (Page("a"), {"(type)": "Page", "name": "a", "text": ""}),
        (Point(1, 2), {"(type)": "Point", "x": 1, "y": 2}),
        (float("inf"), "inf"),
        (b"x", "b'x'"),
        ({"b", "a"}, ["a", "b"]),
        (Colour.RED, "<Colour.RED: 1>"),
        (Broken(), "<Broken, whose repr raises RuntimeError>"),
        (Word("a"), "'a'"),
        (Day(2026, 1, 2), "Day(2026, 1, 2)"),
        (Node(), {"(type)": "Node"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_value_can_be_said_in_json(value: object, said: object) -> None:
    assert json.loads(json.dumps(as_json(value), allow_nan=False)) == said


def test_json_ends_at_the_depth_at_cycles_and_before_the_stack_does() -> None:
    home = Node(name="x")
    home.up = home
    assert as_json(home) == {"(type)": "Node", "name": "x", "up": "(Node, a cycle)"}
    assert as_json({"a": {"b": [Node()]}}, 1) == {"a": "(dict, 1 entry)"}
    assert "(Node)" in json.dumps(as_json(chain(5000)))

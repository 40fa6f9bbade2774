"""Calls and states to bytes and back."""

from __future__ import annotations

import enum
import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from program import write
from warm import script as run

import coopy
from coopy import DecodingError, EncodingError, SnapshotError, control, init_system
from coopy.ground import action
from coopy.ground.storage import MemoryWriter
from coopy.values import codec, deep
from coopy.values.codec import INLINE_BYTES_MAX, Codec, decode_joined


class Store:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def keep(self, value: Any, *more: Any, **named: Any) -> None:
        self.kept.append(value)
        self.kept.extend(more)
        self.kept.extend(named.values())

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


CODEC = Codec(Store)
HEADER = b"C" + bytes([action.HEADER.size]) + action.header(1, 0, action.UNKNOWN)

# One object twice in a call is what an inline record must not refer to: these come up again and again.
REPEATED = ["", "h", "a", "hello", "x" * 300, b"", b"h", b"hh", b"\x00" * 300, "keep"]
SCALARS = (
    st.sampled_from(REPEATED)
    | st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 600), 1 << 600)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.characters()
    | st.binary(max_size=40)
    | st.sampled_from([0x68, 0x6868, ord("h") << 8])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
CALLS = st.tuples(
    st.sampled_from(["keep", "h", "a", "x" * 300]),
    st.lists(SCALARS, max_size=12).map(tuple) | st.lists(VALUES, max_size=5).map(tuple),
    st.dictionaries(st.text(max_size=5), VALUES, max_size=3) | st.just({}),
)
Given = tuple[str, tuple[Any, ...], dict[str, Any]]


def stored(*calls: Given) -> list[Given]:
    """The calls as replay decodes them, from one block of joined records."""
    data = b"".join(HEADER + CODEC.encode_call(*call)[0] for call in calls)
    headers, names, arguments = decode_joined(data)
    assert len(headers) == len(names) == len(arguments) == len(calls)
    found = [CODEC.decode_call(args) if name is None else (name, args) for name, args in zip(names, arguments, strict=True)]
    return [(call[0], call[1], call[2] if len(call) > 2 else {}) for call in found]


def is_inline(call: Given) -> bool:
    return decode_joined(HEADER + CODEC.encode_call(*call)[0])[1] == [call[0]]


MANY = tuple(f"{number} of many" for number in range(300))


@settings(deadline=None, max_examples=200)
@given(st.lists(CALLS, min_size=1, max_size=8))
@example([("keep", (*MANY, MANY[299]), {}), ("keep", ("a", "b"), {})])
@example([("keep", ("a", "b"), {}), ("keep", (*MANY, MANY[299]), {})])
@example([("keep", ("x" * 70_000, "y"), {}), ("keep", (b"x" * 59_990,), {}), ("h", ("h",), {})])
@example([("keep", tuple(range(1000)), {}), ("keep", (), {})])
@example([("keep", (0.0, -0.0, float("inf"), True, 1, None, "\ud800"), {})])
def test_any_calls_joined_are_decoded_as_they_were_encoded(calls: list[Given]) -> None:
    assert stored(*calls) == calls
    assert repr(stored(*calls)) == repr(calls), "1 is not True, and 0.0 is not -0.0"


PLAIN = st.lists(st.tuples(st.sampled_from(["keep", "h", "x" * 300]), st.lists(SCALARS, max_size=12).map(tuple)), min_size=1)


@settings(deadline=None, max_examples=200)
@given(PLAIN)
@example([("keep", ("a", "a", b"b", b"b", "keep")), ("keep", ()), ("h", tuple(map(str, range(1000))))])
@example([("keep", (0.0, -0.0, float("inf"), True, 1, None, "\ud800", 1 << 5000))])
@example([("keep", (codec._BETWEEN, 1)), ("keep", (b"C" + codec._BETWEEN_OPCODES, codec._BETWEEN_OPCODES.decode("latin-1")))])
@example([("keep", ("x" * 2000, number)) for number in range(64)])
def test_plain_calls_encoded_together_are_decoded_as_they_were_encoded(calls: list[tuple[str, tuple[Any, ...]]]) -> None:
    encoded = CODEC.encode_plain(*map(list, zip(*calls, strict=True)))
    assert encoded is not None and len(encoded) == len(calls)
    single = [CODEC.encode_call(*call, {})[0] for call in calls]
    headers, names, arguments = decode_joined(
        b"".join(HEADER + data for pair in zip(encoded, single, strict=True) for data in pair)
    )
    found = list(zip(names, arguments, strict=True))
    assert repr(found[::2]) == repr(calls)


@pytest.mark.parametrize(
    "args",
    [([],), ((1, 2),), (True, {}), (CODEC,), ("x" * 70_000, "y"), (b"x" * 200_000,)],
    ids=lambda args: str(type(args[0])),
)
def test_calls_that_are_not_all_plain_and_small_are_not_encoded_together(args: tuple[Any, ...]) -> None:
    assert CODEC.encode_plain(["keep", "keep"], [("a", 1), args]) is None


@settings(deadline=None, max_examples=200)
@given(CALLS)
def test_the_caller_and_replay_see_equal_arguments(call: Given) -> None:
    _, args, kwargs = CODEC.encode_call(*call)
    assert (call[0], args, kwargs) == stored(call)[0]


@pytest.mark.parametrize("count", [1, 250, 252, 253, 254, 255, 256, 257, 300, 70_000])
def test_a_text_that_comes_again_after_any_number_of_others_is_decoded(count: int) -> None:
    texts = tuple(map(str, range(1000, 1000 + count)))
    for again in (texts[0], texts[-1]):
        calls: list[Given] = [("f", ("one", "two"), {}), ("f", (*texts, again), {}), ("f", ("three",), {})]
        assert stored(*calls) == calls


class Colour(enum.Enum):
    RED = 1


def test_plain_scalars_are_stored_inline_and_the_rest_is_not() -> None:
    assert is_inline(("keep", (1, 2.5, "text", b"bytes", None, True), {}))
    assert is_inline(("keep", ("with an h in it", b"h"), {}))
    assert not is_inline(("keep", (Colour.RED,), {}))
    assert not is_inline(("keep", ([[1]],), {}))
    assert not is_inline(("keep", ("x" * INLINE_BYTES_MAX,), {}))


def test_plain_scalars_are_not_copied() -> None:
    values = ("a text", b"some bytes", 10**40, 2.5, ("a", ("tuple", 1)), "x" * 100_000)
    _, args, _ = CODEC.encode_call("keep", values, {})
    assert all(given is passed for given, passed in zip(values, args, strict=True))
    _, _, kwargs = CODEC.encode_call("keep", (), {"name": values[0]})
    assert kwargs["name"] is values[0]


class Box:
    def __init__(self, value: object) -> None:
        self.value = value


@pytest.mark.parametrize(
    "mutable", [[1], {"a": 1}, {1}, bytearray(b"a"), Box(1), (1, [2])], ids=lambda value: type(value).__name__
)
def test_the_domain_gets_a_copy_of_what_can_change(tmp_path: Path, mutable: object) -> None:
    with init_system(Store, tmp_path) as store:
        store.keep(mutable)
        store.keep(1, mutable)
        store.keep(1, named=mutable)
        assert all(kept is not mutable for kept in store.kept)


def test_what_the_caller_does_to_an_argument_afterwards_changes_nothing(tmp_path: Path) -> None:
    page = {"text": "first"}
    with init_system(Store, tmp_path) as store:
        store.keep(page)
        page["text"] = "second"
        assert store.kept == [{"text": "first"}]
        assert coopy.replay(Store, tmp_path).kept == [{"text": "first"}]


def test_one_object_passed_twice_is_one_object_for_the_domain(tmp_path: Path) -> None:
    both = [1]
    with init_system(Store, tmp_path) as store:
        store.keep(both, both)
        assert store.kept[0] is store.kept[1]
    restored = coopy.replay(Store, tmp_path)
    assert restored.kept[0] is restored.kept[1]


# -- what pickle cannot


def closure(step: int) -> Callable[[int], int]:
    def add(number: int) -> int:
        return number + step

    return add


def test_lambdas_closures_and_nested_functions_are_arguments_like_any_other(tmp_path: Path) -> None:
    def nested(number: int) -> int:
        return closure(1)(number)  # A global of this module.

    functions = [lambda number: number + 1, closure(1), nested]
    with init_system(Store, tmp_path) as store:
        for function in functions:
            assert store.call(function, 1) == 2
            store.keep(function)
        store.keep(functions)
    with init_system(Store, tmp_path) as store:
        assert [function(1) for function in store.kept[:3]] == [2, 2, 2]
        store.take_snapshot()
    with init_system(Store, tmp_path) as store:
        assert [function(1) for function in store.kept[3]] == [2, 2, 2]


def test_instances_of_a_local_class_are_arguments_and_state_like_any_other(tmp_path: Path) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

        def twice(self) -> int:
            return 2 * self.x

    with init_system(Store, tmp_path) as store:
        store.keep(Point(4))
        assert store.kept[0].twice() == 8
    with init_system(Store, tmp_path) as store:
        assert store.kept[0].twice() == 8
        store.take_snapshot()
    assert coopy.replay(Store, tmp_path).kept[0].twice() == 8


def local_wiki(greeting: str) -> type[Any]:
    class Wiki:
        def __init__(self) -> None:
            self.pages: list[str] = []

        def write(self, text: str) -> str:
            self.pages.append(text)
            return greeting

    return Wiki


def test_a_domain_class_of_a_function_is_restored_as_the_class_of_today(tmp_path: Path) -> None:
    with init_system(local_wiki("good morning"), tmp_path) as wiki:
        assert wiki.write("a") == "good morning"
        wiki.take_snapshot()
        wiki.write("b")
    today = local_wiki("good evening")
    with init_system(today, tmp_path) as wiki:
        assert wiki.pages == ["a", "b"]
        assert wiki.write("c") == "good evening"
        assert type(control(wiki).replay()) is today


def test_a_system_may_be_an_argument_of_its_own_methods_and_part_of_its_state(tmp_path: Path) -> None:
    with init_system(Store, tmp_path, results="recorded") as store:
        store.keep(store)
        store.keep(1)
        store.keep([store])
        store.take_snapshot()
        assert store.kept[0] is store
    with init_system(Store, tmp_path, results="recorded") as store:
        assert store.kept[0] is store
        assert store.kept[0].kept[1] == 1 and store.kept[2][0] is store


# -- what neither can


def test_an_argument_that_cannot_be_encoded_is_named_and_nothing_has_changed(tmp_path: Path) -> None:
    class Shop:
        def __init__(self) -> None:
            self.sold = 0

        def sell(self, item: str, lock: object = None, *more: object, **named: object) -> None:
            self.sold += 1

    lock = threading.Lock()
    bad = memoryview(b"abc")
    with init_system(Shop, tmp_path) as shop:
        for attempt, label in (
            (lambda: shop.sell("tea", bad), "lock"),
            (lambda: shop.sell(bad, lock), "item"),
            (lambda: shop.sell("tea", None, bad), "#3"),
            (lambda: shop.sell("tea", extra=bad), "extra"),
            (lambda: shop.sell("tea", lock=bad), "lock"),
            (lambda: shop.sell("tea", [{"deep": bad}]), "lock"),
        ):
            with pytest.raises(EncodingError, match="sell") as refused:
                attempt()
            assert refused.value.argument == label
            assert f"'{label}'" in str(refused.value)
            assert isinstance(refused.value, TypeError)
        assert shop.sold == 0
        assert control(shop).index == 0
        shop.sell("tea")
        assert shop.sold == 1


class NotAgain:
    """Can be pickled, but not unpickled: what is kept is not what its __init__ takes."""

    def __init__(self, what: str, why: str) -> None:
        self.said = f"{what}: {why}"

    def __reduce__(self) -> Any:
        return NotAgain, (self.said,)


def test_an_argument_that_could_not_be_decoded_again_is_named_too(tmp_path: Path) -> None:
    with init_system(Store, tmp_path) as store:
        with pytest.raises(EncodingError, match="'value'.*NotAgain") as refused:
            store.keep(NotAgain("a", "b"))
        assert refused.value.argument == "value"
        assert control(store).index == 0
        store.keep(1)
        assert store.kept == [1]


@pytest.mark.parametrize("fork", [None, False])
def test_a_state_that_cannot_be_encoded_is_refused_and_the_system_goes_on(tmp_path: Path, fork: bool | None) -> None:
    class Shop:
        def __init__(self) -> None:
            self.sold = 0

        def sell(self) -> None:
            self.sold += 1
            self.stream = (value for value in "abc")

    with init_system(Shop, tmp_path, fork=fork) as shop:
        shop.sell()
        # A forked child can only tell; it raises nothing in its parent.
        kind = EncodingError if fork is False else SnapshotError
        with pytest.raises(kind, match="state of .*Shop cannot be pickled"):
            shop.take_snapshot()
        shop.sell()
        assert shop.sold == 2
    assert len(list(tmp_path.glob("snapshot_*"))) == 1, "no half of a snapshot is left"
    with init_system(Shop, tmp_path) as shop:
        assert shop.sold == 2


def test_a_tuple_that_is_shared_by_many_is_looked_at_once() -> None:
    value: tuple[Any, ...] = (1,)
    for _ in range(200):
        value = (value, value)
    assert codec.is_plain(value) and not codec.is_plain((value, []))


def test_a_state_that_is_nested_deeper_than_there_is_memory_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "DEPTH_MAX", 20_000)
    state: list[Any] = []
    for _ in range(30_000):
        state = [state]
    with pytest.raises(
        EncodingError, match="state of Store cannot be pickled: there are more than 20000 objects inside one another"
    ):
        Codec(Store).dump_state(state, _Sink())


class _Full(MemoryWriter):
    """A disk that is full; see how often it was asked."""

    asked = 0

    def write(self, data: bytes, /) -> int:
        if len(data) > 1:
            self.asked += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("state", [Store(), lambda: None], ids=["plain", "with byte code"])
def test_a_state_that_finds_no_room_on_the_disk_is_not_said_to_be_at_fault(state: Any) -> None:
    full = _Full()
    with pytest.raises(OSError, match="No space left on device") as raised:
        CODEC.dump_state(state, full)
    assert type(raised.value) is OSError
    assert full.asked <= 2, "it is not tried in another way"


class _TooLarge:
    def __getstate__(self) -> Any:
        raise MemoryError


def test_a_state_for_which_there_is_no_memory_is_not_said_to_be_at_fault() -> None:
    store = Store()
    store.kept = _TooLarge()
    with pytest.raises(EncodingError, match=r"the state of Store could not be pickled: there was not enough memory$"):
        CODEC.dump_state(store, MemoryWriter())


class _Sink:
    def write(self, data: bytes, /) -> None: ...

    def restart(self) -> None: ...


def test_a_class_that_is_not_there_any_more_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with init_system(Store, tmp_path) as store:
        store.keep(Box(1))
    monkeypatch.delattr(f"{__name__}.Box")
    with pytest.raises(DecodingError, match="Box.*Put back"):
        init_system(Store, tmp_path)
    monkeypatch.undo()
    with init_system(Store, tmp_path) as store:
        store.take_snapshot()
    monkeypatch.delattr(f"{__name__}.Box")
    with pytest.raises(DecodingError, match="Box.*Put back"):
        coopy.replay(Store, tmp_path)
    monkeypatch.undo()
    with init_system(Store, tmp_path) as store:
        assert store.kept[0].value == 1


def test_a_renamed_class_is_found_again_under_its_old_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with init_system(Store, tmp_path) as store:
        store.keep(Box(1))
        store.take_snapshot()
    monkeypatch.setattr(f"{__name__}.Box", _Parcel)
    assert type(coopy.replay(Store, tmp_path).kept[0]) is _Parcel


class _Parcel(Box):
    pass


# -- domains of a main file

PLAIN = """
    import sys
    from dataclasses import dataclass, field
    from coopy import init_system

    class Page:
        def __init__(self, text):
            self.text = text

    class Wiki:
        def __init__(self):
            self.pages = []
        def write(self, text):
            self.pages.append(Page(text))
        def keep(self, page):
            self.pages.append(page)
        def snapshot_here(self): pass

    if __name__ == "__main__":
        with init_system(Wiki, sys.argv[1]) as wiki:
            wiki.write("written")
            wiki.keep(Page("passed"))
            if "snapshot" in sys.argv:
                wiki.take_snapshot()
            assert all(type(page) is Page for page in wiki.pages), [type(page) for page in wiki.pages]
            print(len(wiki.pages), *(page.text for page in wiki.pages[:2]))
"""
DATACLASS = """
    import sys
    from dataclasses import dataclass, field
    from coopy import init_system

    @dataclass
    class Page:
        text: str

    @dataclass
    class Wiki:
        pages: list = field(default_factory=list)
        def write(self, text):
            self.pages.append(Page(text))
        def keep(self, page):
            self.pages.append(page)

    if __name__ == "__main__":
        with init_system(Wiki, sys.argv[1]) as wiki:
            wiki.write("written")
            wiki.keep(Page("passed"))
            if "snapshot" in sys.argv:
                wiki.take_snapshot()
            assert all(type(page) is Page for page in wiki.pages), [type(page) for page in wiki.pages]
            assert wiki.pages[:2] == [Page("written"), Page("passed")]
            print(len(wiki.pages), *(page.text for page in wiki.pages[:2]))
"""
LAMBDAS = """
    import sys
    from coopy import init_system

    PREFIX = ""

    def spelled(text):
        return PREFIX + text

    class Page:
        def __init__(self, text, show):
            self.text = text
            self.show = show

    class Wiki:
        def __init__(self):
            self.pages = []
        def write(self, text):
            self.pages.append(Page(text, lambda text: spelled(text)))
        def keep(self, page):
            self.pages.append(page)

    if __name__ == "__main__":
        with init_system(Wiki, sys.argv[1]) as wiki:
            wiki.write("written")
            wiki.keep(Page("passed", lambda text: spelled(text)))
            if "snapshot" in sys.argv:
                wiki.take_snapshot()
            assert all(type(page) is Page for page in wiki.pages), [type(page) for page in wiki.pages]
            print(len(wiki.pages), *(page.show(page.text) for page in wiki.pages[:2]))
"""
ELSEWHERE = """
    import sys
    import coopy
    from wiki import Page, Wiki

    wiki = coopy.replay(Wiki, sys.argv[1])
    assert type(wiki) is Wiki
    assert all(type(page) is Page for page in wiki.pages), [type(page).__module__ for page in wiki.pages]
    show = [page.show(page.text) if hasattr(page, "show") else page.text for page in wiki.pages[:2]]
    print(len(wiki.pages), *show)
"""
WRITTEN_ELSEWHERE = """
    import sys
    from coopy import init_system
    import wiki as module

    with init_system(module.Wiki, sys.argv[1]) as wiki:
        wiki.write("written")
        page = module.Page("passed", lambda text: text) if hasattr(module, "spelled") else module.Page("passed")
        wiki.keep(page)
        if "snapshot" in sys.argv:
            wiki.take_snapshot()
"""

DOMAIN = """
    class Item:
        pass

    class Box:
        def __init__(self):
            self.kept = []
        def keep(self, *values):
            self.kept.append(values)
        def called(self):
            return [value() for values in self.kept for value in values if callable(value)]
"""
PLAYED = """
    import sys
    from coopy import init_system
    from boxes import Box

    PREFIX = "found "

    class Item:
        def __init__(self, name="item"):
            self.name = name

    class Special(Item):
        pass

    def spelled():
        return PREFIX + "it"

    if __name__ == "__main__":
        with init_system(Box, sys.argv[1]) as box:
            if not box.kept:
                box.keep(Item("plain"))
                box.keep(Item("beside a function"), lambda: spelled())
                box.keep(Special, spelled)
            assert [type(values[0]) for values in box.kept[:2]] == [Item, Item], box.kept
            assert box.kept[2][0] is Special and box.kept[2][1] is spelled, box.kept
            if "snapshot" in sys.argv:
                box.take_snapshot()
            print(*[values[0].name for values in box.kept[:2]], box.kept[1][1](), box.called()[-1])
"""

SOURCES = {"plain": PLAIN, "dataclass": DATACLASS, "lambdas": LAMBDAS}
in_every_main_file = pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
with_and_without_a_snapshot = pytest.mark.parametrize("how", ["journal", "snapshot"])


@in_every_main_file
@with_and_without_a_snapshot
def test_a_script_that_defines_its_domain_finds_its_data_when_it_runs_again(tmp_path: Path, source: str, how: str) -> None:
    script = write(tmp_path / "wiki.py", source)
    assert run(script, "data", how) == "2 written passed"
    assert run(script, "data", how) == "4 written passed"
    assert run(script, "data", how) == "6 written passed"


@in_every_main_file
@with_and_without_a_snapshot
def test_what_a_script_wrote_can_be_replayed_by_another_program(tmp_path: Path, source: str, how: str) -> None:
    script = write(tmp_path / "wiki.py", source)
    run(script, "data", how)
    assert run(write(tmp_path / "reader.py", ELSEWHERE), "data") == "2 written passed"


@in_every_main_file
@with_and_without_a_snapshot
def test_a_script_finds_what_another_program_wrote_with_its_classes(tmp_path: Path, source: str, how: str) -> None:
    script = write(tmp_path / "wiki.py", source)
    run(write(tmp_path / "other.py", WRITTEN_ELSEWHERE), "data", how)
    assert run(script, "data", how) == "4 written passed"
    assert run(write(tmp_path / "reader.py", ELSEWHERE), "data") == "4 written passed"


@with_and_without_a_snapshot
def test_what_a_script_defines_itself_beside_a_domain_that_it_imports_is_found_again(tmp_path: Path, how: str) -> None:
    # Both have a class of the same name, and the functions of the script have its globals.
    write(tmp_path / "boxes.py", DOMAIN)
    script = write(tmp_path / "play.py", PLAYED)
    for _ in range(3):
        assert run(script, "data", how) == "plain beside a function found it found it"


def test_the_loading_of_a_large_state_is_told_and_of_a_small_one_is_not() -> None:
    large, small = Store(), Store()
    large.kept = [f"{number:->1000}" for number in range(20_000)]
    for store in (large, small):
        writer = MemoryWriter()
        CODEC.dump_state(store, writer)
        told: list[tuple[int, int]] = []
        loaded = CODEC.load_state(memoryview(writer.value()), None, lambda done, total: told.append((done, total)))
        assert loaded.kept == store.kept
        if store is small:
            assert not told
        else:
            assert told == sorted(told)
            assert told[-1][0] == told[-1][1] > 20_000_000


@pytest.mark.parametrize(
    "headers",
    [[], [None], [3], ["x" * 16], [{}], [[]], [b"", b"x"], [{1: 2}, b"x" * 16], [[1], b"x" * 16]],
    ids=repr,
)
def test_records_whose_headers_are_no_bytes_of_one_size_are_refused(headers: list[Any]) -> None:
    with pytest.raises(DecodingError, match="whole, but today's code cannot decode them"):
        codec.joined_headers(headers, [()] * len(headers))

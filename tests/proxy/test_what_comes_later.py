"""What a method hands out that changes the object when the action is over."""

from __future__ import annotations

import contextlib
import functools
import textwrap
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from alike import alike, domain_of

from coopy import PrevalentError, UsageError, control, init_system, outside, readonly
from coopy.determinism import check
from coopy.testing import memory_system


class Store:
    def __init__(self) -> None:
        self.items: dict[str, Any] = {}

    def put(self, name: str, value: Any) -> None:
        self.items[name] = value


class Batch(Store):
    @contextlib.contextmanager
    def batch(self, name: str) -> Iterator[None]:
        self.items[name] = "open"
        yield
        self.items[name] = "done"


class ByMethods(Store):
    @contextlib.contextmanager
    def batch(self, name: str) -> Iterator[None]:
        try:
            yield
        finally:
            self.put(name, "done")


class GivesItself(Store):
    @contextlib.contextmanager
    def batch(self, name: str) -> Iterator[Any]:
        yield self


class GivesAPart(Store):
    @contextlib.contextmanager
    def batch(self, name: str) -> Iterator[Any]:
        yield self.items


class Asynchronous(Store):
    @contextlib.asynccontextmanager
    async def batch(self, name: str) -> AsyncIterator[None]:
        yield
        self.items[name] = "done"


class _Open:
    def __init__(self, store: Any, name: str) -> None:
        self.store, self.name = store, name

    def __enter__(self) -> None:
        self.store.items[self.name] = "open"

    def __exit__(self, *_: object) -> None:
        self.store.items[self.name] = "done"


class ByHand(Store):
    def batch(self, name: str) -> _Open:
        return _Open(self, name)


class ByHandAndName(Store):
    def batch(self, name: str) -> _Open:
        found = _Open(store=self, name=name)
        return found


class Closing(Store):
    def batch(self, name: str) -> Any:
        return contextlib.closing(self)

    def close(self) -> None:
        self.items["closed"] = True


BLOCKS = [Batch, ByMethods, GivesItself, GivesAPart, Asynchronous, ByHand, ByHandAndName, Closing]


@pytest.mark.parametrize("cls", BLOCKS)
def test_a_block_that_changes_the_object_is_refused_at_opening_and_at_the_call(cls: Any) -> None:
    with pytest.raises(PrevalentError, match="CPY108.*outside"):
        memory_system(cls)
    system = memory_system(cls, validation="off")
    with pytest.raises(UsageError, match=r"batch\(\) of .* opens a block .*@outside"):
        system.batch("n")
    assert control(system).index == 0 and system.items == {}
    assert isinstance(cls().batch("n"), object)


class Outside(Store):
    @outside
    @contextlib.contextmanager
    def batch(self, name: str) -> Iterator[None]:
        self.put(name, "open")
        yield
        self.put(name, "done")


class OutsideWithin(Store):
    @contextlib.contextmanager
    @outside
    def batch(self, name: str) -> Iterator[None]:
        self.put(name, "open")
        yield
        self.put(name, "done")


class OutsideByHand(Store):
    @outside
    def batch(self, name: str) -> Any:
        return _Putting(self, name)


class _Putting(contextlib.AbstractContextManager[None]):
    def __init__(self, store: Any, name: str) -> None:
        self.store, self.name = store, name

    def __enter__(self) -> Any:
        self.store.put(self.name, "open")
        return self

    def __exit__(self, *_: object) -> None:
        self.store.put(self.name, "done")


@pytest.mark.parametrize("cls", [Outside, OutsideWithin, OutsideByHand])
def test_the_steps_of_a_block_that_is_outside_are_recorded(tmp_path: Path, cls: Any) -> None:
    def go(store: Any) -> None:
        with store.batch("n"):
            store.put("m", 1)

    assert alike(tmp_path, cls, go) == 3


class Timed(Store):
    @contextlib.contextmanager
    def measured(self, name: str) -> Iterator[str]:
        made = {"name": name}
        yield made["name"]
        made["done"] = "yes"

    @readonly
    @contextlib.contextmanager
    def looked(self) -> Iterator[Any]:
        yield self.items


def test_a_block_that_changes_nothing_is_a_read() -> None:
    system: Any = memory_system(Timed)
    with system.measured("n") as name, system.looked() as items:
        assert (name, items) == ("n", {})
    assert control(system).index == 0


def test_a_comment_silences_it_at_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "silenced_store.py").write_text(
        textwrap.dedent(
            """
            import contextlib

            class Store:
                def __init__(self):
                    self.items = {}

                @contextlib.contextmanager
                def batch(self):  # coopy: ignore[CPY108]
                    self.items["a"] = 1
                    yield
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    import silenced_store  # type: ignore[import-not-found]

    system: Any = memory_system(silenced_store.Store)
    with pytest.raises(UsageError):
        system.batch()


# -- parts, and callables, that are handed out


class Graph:
    def __init__(self) -> None:
        self.edges: dict[Any, dict[str, Any]] = {}
        self.lists: defaultdict[Any, list[Any]] = defaultdict(list)
        self.names = ["a"]

    def all(self) -> Any:
        return self.edges

    def values(self) -> Any:
        return self.lists.values()

    @property
    def listed(self) -> Any:
        return self.names

    def of(self, key: Any) -> Any:
        return self.lists[key]

    def adder(self) -> Any:
        return self.add

    def add(self, name: str) -> None:
        self.names.append(name)

    def bound(self) -> Any:
        return functools.partial(self.add)

    def closure(self) -> Any:
        def add(name: str) -> None:
            self.names.append(name)

        return add

    def shortly(self) -> Any:
        return lambda name: self.names.append(name)

    def cursor(self) -> Any:
        return Cursor(self)


class Cursor:
    def __init__(self, graph: Any) -> None:
        self.graph = graph


class Copies(Graph):
    def all(self) -> Any:
        return dict(self.edges)

    def values(self) -> Any:
        return [list(each) for each in self.lists.values()]

    @property
    def listed(self) -> Any:
        return self.names[:]

    def of(self, key: Any) -> Any:
        return list(self.lists[key])

    def adder(self) -> Any:
        return self.count()

    @readonly
    def count(self) -> int:
        return len(self.names)

    def bound(self) -> Any:
        return functools.partial(len)

    def closure(self) -> Any:
        return sorted(self.names, key=lambda name: name)

    def shortly(self) -> Any:
        return Cursor(len(self.names))

    def cursor(self) -> Any:
        return self


HANDED_OUT = ["all", "values", "listed", "of", "adder", "bound", "closure", "shortly", "cursor"]


def test_what_is_handed_out_of_the_state_is_told_at_opening() -> None:
    found = {each.method.partition(".")[2] for each in check.findings(Graph) if each.code == "CPY215"}
    assert found == set(HANDED_OUT)
    with pytest.warns(
        match=r"CPY215 Graph.all hands out self.edges, a part of the state: what is changed there is not recorded"
    ):
        memory_system(Graph)


def test_a_copy_is_nothing_to_tell_of() -> None:
    assert [each for each in check.findings(Copies) if each.code == "CPY215"] == []


@pytest.mark.filterwarnings("error")
def test_with_check_the_change_itself_is_told() -> None:
    from coopy import StateChanged

    system: Any = memory_system(Graph, check=True)
    system.all()["a"] = {}
    with pytest.raises(StateChanged, match=r"what all\(\) returned"):
        system.add("b")
    assert domain_of(system).edges == {}


# -- caches of the process


class Remembered:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    @functools.lru_cache  # noqa: B019 - that is what is tested
    def write(self, key: Any) -> int:
        self.calls.append(key)
        return len(self.calls)


class RememberedAll(Remembered):
    @functools.cache  # noqa: B019
    def write(self, key: Any) -> int:  # type: ignore[override]
        self.calls.append(key)
        return len(self.calls)


class RememberedSome(Remembered):
    @functools.lru_cache(maxsize=2)  # noqa: B019
    def write(self, key: Any) -> int:
        return self.note(key)

    def note(self, key: Any) -> int:
        self.calls.append(key)
        return len(self.calls)


@pytest.mark.parametrize("cls", [Remembered, RememberedAll, RememberedSome])
def test_a_cached_method_that_writes_is_refused(cls: Any) -> None:
    with pytest.raises(PrevalentError, match=r"CPY109 .*write changes .*cache"):
        memory_system(cls)


class Pure:
    @functools.lru_cache  # noqa: B019
    def square(self, number: int) -> int:
        """Its documentation."""
        return number * number

    @readonly
    @functools.cache  # noqa: B019
    def cube(self, number: int) -> int:
        return number**3


def test_a_pure_cached_method_works_with_all_that_its_cache_has(tmp_path: Path) -> None:
    system: Any = init_system(Pure, tmp_path)
    assert [system.square(3), system.square(3), system.cube(2)] == [9, 9, 8]
    assert system.square.cache_info().hits >= 1 and system.square.__doc__ == "Its documentation."
    system.square.cache_clear()
    assert system.square.cache_info().currsize == 0 and system.cube.cache_parameters()["maxsize"] is None
    control(system).close()
    with init_system(Pure, tmp_path) as again:
        assert again.square(4) == 16

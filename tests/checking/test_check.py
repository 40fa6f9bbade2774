"""check=True finds what would go wrong one day, names it, and leaves the state as the journal has it."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import coopy
import coopy.aio
from coopy import control, init_system, readonly
from coopy.determinism.rules import DeterminismWarning
from coopy.errors import CheckFailed, NotRepeatable, PrevalentError, SharedArgument, StateChanged, UsageError
from coopy.values.digest import digest

Store: Any = importlib.import_module("checking.checked_domains").Store
Thing: Any = importlib.import_module("checking.checked_domains").Thing


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("COOPY_TEST_USER", "somebody")
    system = init_system(Store, tmp_path / "data", validation="off", check=True)
    yield system
    control(system).close()


def domain(store: Any) -> Any:
    return control(store)._system.engine.machine.domain


def assert_state_is_the_journals(store: Any) -> None:
    assert digest(domain(store)) == digest(control(store).replay())


# -- what is found


def change_a_list(store: Any) -> None:
    store.add(1)
    store.everything().append(2)


def change_an_attribute(store: Any) -> None:
    store.make("a")
    store.things["a"].name = "b"


def change_a_result(store: Any) -> None:
    store.make("a").parts.append(1)


def change_behind_a_later_action(store: Any) -> None:
    thing = store.make("a")
    store.add(1)
    store.add(2)
    thing.name = "b"


@pytest.mark.parametrize(
    ("change", "place", "way"),
    [
        (change_a_list, ".items", r"what everything\(\) returned"),
        (change_an_attribute, ".things", "the attribute things"),
        (change_a_result, ".things", r"what make\(\) returned"),
        (change_behind_a_later_action, ".things", r"what make\(\) returned"),
    ],
)
@pytest.mark.parametrize("step", ["call", "read"])
def test_a_change_outside_any_action_is_found_at_the_next_call(
    store: Any, change: Callable[[Any], None], place: str, way: str, step: str
) -> None:
    change(store)
    index = control(store).index
    with pytest.raises(StateChanged, match=f"outside any action, at {re.escape(place)}, perhaps through .*{way}"):
        store.add(3) if step == "call" else store.first()
    assert control(store).index == index, "nothing was recorded"
    assert_state_is_the_journals(store)
    store.add(4)
    assert domain(store).items[-1] == 4


@pytest.mark.parametrize("method", ["look_and_write", "look_and_write_freely"])
def test_a_read_that_writes_is_found(store: Any, method: str) -> None:
    with pytest.raises(StateChanged, match=rf"{method}\(\) is a read and changed the state, at \.seen"):
        getattr(store, method)()
    assert_state_is_the_journals(store)


def test_a_read_that_writes_and_raises_is_found(store: Any) -> None:
    with pytest.raises(StateChanged, match=r"look_write_and_raise\(\)"):
        store.look_write_and_raise()
    assert_state_is_the_journals(store)


def test_an_abort_exception_method_that_wrote_first_is_found(store: Any) -> None:
    with pytest.raises(
        StateChanged, match=r"write_and_refuse\(\) is marked @abort_exception .* ValueError, at \.items"
    ) as caught:
        store.write_and_refuse(1)
    assert isinstance(caught.value.__cause__, ValueError)
    assert_state_is_the_journals(store)
    assert store.items == []


@pytest.mark.parametrize(("method", "value", "place"), [("transfer_and_log", 1, ".log"), ("log_a_thing", "a", ".things")])
def test_a_change_outside_the_parts_of_a_transaction_is_found(store: Any, method: str, value: Any, place: str) -> None:
    store.make("a")
    with pytest.raises(StateChanged, match=rf"{method}\(\) is marked @transactional\(parts=.*at .*{re.escape(place)}"):
        getattr(store, method)(value)
    assert_state_is_the_journals(store)
    assert (store.log, store.things["a"].parts) == ([], [])


@pytest.mark.parametrize("wrapped", [lambda thing: thing, lambda thing: [thing], lambda thing: {"a": (thing,)}])
def test_an_object_of_the_system_passed_back_in_is_refused(store: Any, wrapped: Callable[[Any], Any]) -> None:
    thing = store.make("a")
    with pytest.raises(
        SharedArgument, match=r"argument 'thing' of attach\(\) (is|holds a Thing that is) an object of the system"
    ):
        store.attach(wrapped(thing), 1)
    with pytest.raises(SharedArgument, match="argument 'things' of connect"):
        store.connect(things=wrapped(thing))
    assert control(store).index == 1


def test_an_entity_passed_back_in_is_as_it_should_be(store: Any) -> None:
    marked = store.mark("m")
    store.attach(marked, 1)
    store.connect(things=[marked])
    store.attach(marked, 2)
    assert store.marked["m"].parts == [1, 2]


def test_an_argument_that_was_kept_and_then_changed_by_the_caller_is_found(store: Any) -> None:
    item = [1]
    store.add(item)
    item.append(2)
    with pytest.raises(SharedArgument, match=r"argument 'item' of add\(\) was changed by the caller after the call"):
        store.add(3)
    store.add(3)
    assert store.items == [[1], 3]


def test_an_argument_that_was_not_kept_may_be_changed(store: Any) -> None:
    words = ["a"]
    store.count_words(words)
    words.append("b")
    assert store.count_words(words) == 2


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("add_all", (["a", "b", "c", "d", "e", "f", "g", "h"],)),
        ("sort_by_address", ()),
        ("add_local_hour", ()),
        ("add_user", ()),
    ],
)
def test_what_another_process_replays_otherwise_is_found(store: Any, method: str, args: Any) -> None:
    store.add(1)
    with pytest.raises(NotRepeatable, match=rf"action 2, {method}\(\), gives another state, at \.items") as caught:
        getattr(store, method)(*args)
    assert (caught.value.index, caught.value.method, caught.value.places) == (2, method, (".items",))


def test_an_outcome_that_another_process_does_not_repeat_is_found(store: Any) -> None:
    with pytest.raises(NotRepeatable, match="stopped: action 1 .*recorded as 'raised', but replay 'returned'"):
        store.fail_by_environment()


# -- what is not


def test_what_is_right_goes_on_as_without(store: Any, tmp_path: Path) -> None:
    assert store.add([1, {"a": {2, 3}}]) == 1
    assert store.a_copy()[0] == [1, {"a": {2, 3}}]
    store.a_copy().append(1)
    for method in ("fail", "never", "refuse"):
        with pytest.raises((KeyError, ValueError)):
            getattr(store, method)(5)
    store.transfer(4)
    with pytest.raises(ValueError):
        store.transfer(100)
    assert store.accounts == {"a": 6, "b": 4} and store.log == [4]
    store.items = [1]
    assert store.first() == 1 and len(store.things) == 0
    control(store).take_snapshot()
    store.add(2)
    control(store).close()
    with init_system(Store, tmp_path / "data", validation="off", check=True) as again:
        again.add(3)
        assert again.items == [1, 2, 3]


def test_a_class_that_no_other_process_can_import_is_checked_in_this_one(tmp_path: Path) -> None:
    class Local(Store):  # type: ignore[misc]
        pass

    store = init_system(Local, tmp_path / "data", validation="off", check=True)
    store.add_user()
    store.everything().append(1)
    with pytest.raises(StateChanged):
        store.add(1)
    control(store).close()


# -- at the end of a block


def of_the_proxy(store: Any) -> None:
    with store:
        store.items.append(1)
        raise LookupError("the user's own")


def of_the_control(store: Any) -> None:
    with control(store):
        store.items.append(1)
        raise LookupError("the user's own")


@pytest.mark.parametrize("use", [of_the_proxy, of_the_control])
def test_what_is_found_at_the_end_of_a_block_is_told_to_what_the_block_raises(use: Callable[[Any], None], store: Any) -> None:
    with pytest.raises(LookupError) as raised:
        use(store)
    (note,) = raised.value.__notes__
    assert "changed outside any action, at .items" in note


def test_what_is_found_at_the_end_of_a_block_is_raised_if_the_block_raises_nothing(store: Any) -> None:
    with pytest.raises(StateChanged), control(store):
        store.items.append(1)


def test_a_coroutine_keeps_its_own_exception_too(tmp_path: Path) -> None:
    async def use() -> None:
        async with coopy.aio.open(Store, tmp_path / "data", validation="off", check=True) as store:
            (await store.everything()).append(1)
            raise LookupError("the user's own")

    with pytest.raises(LookupError) as raised:
        asyncio.run(use())
    assert "items" in raised.value.__notes__[0]


def test_the_second_process_ends_with_the_system(store: Any) -> None:
    process = control(store)._system._shadow._process
    assert process.poll() is None
    control(store).close()
    assert process.poll() is not None


def test_without_check_nothing_of_this_is_looked_for(tmp_path: Path) -> None:
    store = init_system(Store, tmp_path / "data", validation="off")
    change_a_list(store)
    store.look_and_write()
    assert store.items == [1, 2]
    control(store).close()


def test_the_errors_are_of_one_family() -> None:
    assert all(issubclass(each, CheckFailed) for each in (NotRepeatable, SharedArgument, StateChanged))


# -- transactions with parts


def test_a_transaction_with_parts_leaves_no_trace(tmp_path: Path) -> None:
    store = init_system(Store, tmp_path / "data", validation="off")
    store.transfer(3)
    before = digest(domain(store))
    with pytest.raises(ValueError):
        store.transfer(100)
    assert digest(domain(store)) == before == digest(coopy.replay(Store, tmp_path / "data"))
    assert store.accounts == {"a": 7, "b": 3}
    store.transfer(1)
    control(store).close()
    assert coopy.replay(Store, tmp_path / "data").log == [3, 1]


class Odd:
    """Parts that refer to the domain, that come and go, and that share objects."""

    def __init__(self) -> None:
        self.one = [self, [1]]
        self.two = [self.one[1]]

    @coopy.transactional(parts=("one", "two", "new"))
    def change(self) -> None:
        self.one[1].append(2)
        self.new = 1
        del self.two
        raise ValueError


def test_parts_may_refer_to_the_domain_and_to_one_another_and_come_and_go(tmp_path: Path) -> None:
    odd = init_system(Odd, tmp_path / "data", validation="off")
    with pytest.raises(ValueError):
        odd.change()
    found = domain(odd)
    assert found.one[0] is found and found.one[1] is found.two[0] and found.two == [[1]] and not hasattr(found, "new")
    control(odd).close()


@pytest.mark.parametrize("parts", ["accounts", (), [1]])
def test_parts_are_names_of_attributes(parts: Any) -> None:
    with pytest.raises(UsageError, match="must be the names of attributes"):
        coopy.transactional(parts=parts)


# -- what validation says


class Printing:
    def put(self, value: int) -> None:
        print(value)


class Counting:
    made = 0

    def put(self, value: int) -> None:
        Counting.made += value


class Remembering:
    def put(self, value: int) -> None:
        self.value = value

    @readonly
    def double(self) -> int:
        self.doubled = 2 * self.value
        return self.doubled


class Walking:
    def put(self, value: int) -> None:
        self.values = list({str(value), "a"})


@pytest.mark.parametrize("cls, code", [(Printing, "213"), (Counting, "212"), (Remembering, "214"), (Walking, "206")])
def test_what_is_a_warning_elsewhere_is_refused(tmp_path: Path, cls: type, code: str) -> None:
    with pytest.raises(PrevalentError, match=rf"(?s)CPY{code}.*without check=True to be warned only"):
        init_system(cls, tmp_path / "data", check=True)
    assert not (tmp_path / "data").exists()
    with pytest.warns(DeterminismWarning, match=f"CPY{code}"), init_system(cls, tmp_path / "data"):
        pass


def test_a_class_without_source_is_refused_and_validation_can_be_left_out(tmp_path: Path) -> None:
    module: dict[str, Any] = {"__name__": "typed_at_a_prompt"}
    exec("class Wiki:\n    def put(self, value): self.value = value\n", module)
    with pytest.raises(PrevalentError, match="CPY211"):
        init_system(module["Wiki"], tmp_path / "data", check=True)
    with init_system(module["Wiki"], tmp_path / "data", check=True, validation="off"):
        pass

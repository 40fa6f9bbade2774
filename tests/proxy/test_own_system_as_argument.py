"""The own system as an argument is the object itself, as for a plain object: live, restored, replayed, and in other processes."""

from __future__ import annotations

import array
import asyncio
from collections import Counter, OrderedDict, UserDict, UserList, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coopy import EncodingError, aio, control, init_system, transactional
from coopy.testing import assert_replays, crash, memory_system


class Bag:
    def __init__(self) -> None:
        self.items = [1, 2]
        self.friend: Any = None
        self.log: list[Any] = []

    def merge(self, other: Any) -> str:
        if other is self:
            return "itself"
        self.items += other.items
        return "another"

    def who(self, *others: Any, **named: Any) -> list[bool]:
        return [each is self for each in (*others, *named.values())]

    def keep(self, other: Any) -> Any:
        self.friend = other
        return other

    @transactional
    def keep_and_fail(self, other: Any) -> None:
        self.friend = other
        self.items.append(9)
        raise ValueError

    def add(self, item: Any) -> None:
        self.items.append(item)

    def add_to_friend(self, item: Any) -> None:
        self.friend.add(item)


class List(list[Any]):
    pass


class Dict(dict[Any, Any]):
    pass


class Set(set[Any]):
    pass


class Bytearray(bytearray):
    pass


class Array(array.array):  # type: ignore[type-arg]
    def __new__(cls, kind: str = "i", items: Any = (1, 2)) -> Any:
        return super().__new__(cls, kind, items)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("results", ["live", "recorded", "frozen", "copy"])
def test_the_own_system_is_self_in_a_method_now_and_after_each_way_to_start_again(
    tmp_path: Path, check: bool, results: Any
) -> None:
    bag = init_system(Bag, tmp_path, check=check, results=results)
    assert bag.merge(bag) == "itself"
    assert bag.who(bag, 1, x=bag) == [True, False, True]
    assert bag.keep(bag) is bag and bag.friend is bag
    bag.friend.add(3)
    bag.add_to_friend(4)
    assert bag.items == [1, 2, 3, 4] and control(bag).index == 5
    control(bag).take_snapshot()
    bag.keep(bag)
    bag.add_to_friend(5)
    control(bag).close()
    bag = init_system(Bag, tmp_path, check=check, results=results)
    assert bag.items == [1, 2, 3, 4, 5] and bag.friend is bag
    assert_replays(bag)
    control(bag).close()


def _dict(plain: Any) -> Any:
    plain["a"] = 1
    plain.update(plain)
    plain |= plain
    plain["me"] = plain
    return sorted(plain), plain["me"] is plain, repr(plain)


def _list(plain: Any) -> Any:
    plain.extend([1, 2])
    plain.extend(plain)
    plain += plain
    plain[1:2] = plain
    found = list(plain)
    plain.append(plain)
    return found, plain[-1] is plain, plain.count(plain), plain.index(plain), plain in plain, len(plain)


def _set(plain: Any) -> Any:
    plain.update("abc")
    plain |= plain
    plain &= plain
    plain.intersection_update(plain)
    found = set(plain)
    plain ^= plain
    empty = set(plain)
    plain.update("ab")
    plain -= plain
    return found, empty, set(plain)


def _array(plain: Any) -> Any:
    plain += plain
    plain[:] = plain
    plain[1:2] = plain
    plain.extend(plain)
    return list(plain)


def _bytes(plain: Any) -> Any:
    plain += b"ab"
    plain.extend(plain)
    plain[1:2] = plain
    return bytes(plain)


def _deque(plain: Any) -> Any:
    plain.extend([1, 2])
    plain += plain
    plain.extendleft(plain)
    return list(plain)


def _counter(plain: Any) -> Any:
    plain.update("aab")
    plain.update(plain)
    plain += plain
    plain.subtract(plain)
    return sorted(plain.items())


def _user_list(plain: Any) -> Any:
    plain.extend([1, 2])
    plain += plain
    plain[1:2] = plain
    return list(plain)


@pytest.mark.parametrize("results", ["live", "recorded"])
@pytest.mark.parametrize(
    ("cls", "use"),
    [
        (Dict, _dict),
        (OrderedDict, _dict),
        (UserDict, _dict),
        (List, _list),
        (Set, _set),
        (Array, _array),
        (Bytearray, _bytes),
        (deque, _deque),
        (Counter, _counter),
        (UserList, _user_list),
    ],
)
def test_a_container_that_is_given_to_itself_does_what_the_plain_one_does(
    cls: Any, use: Callable[[Any], Any], results: Any
) -> None:
    system = memory_system(cls, results=results, validation="off")
    assert use(system) == use(cls())
    assert_replays(system)


def test_a_part_is_given_the_own_system_as_the_object() -> None:
    bag = memory_system(Bag, results="recorded")
    bag.log.append(bag)
    bag.friend = bag
    assert bag.log[0] is bag and bag.friend is bag and bag.who(bag.friend) == [True]
    bag.log[0].add(3)
    assert bag.items == [1, 2, 3]
    assert_replays(bag)
    bag = crash(bag)
    assert bag.log[0] is bag and bag.items == [1, 2, 3]


def test_what_a_transaction_that_raises_has_kept_of_the_own_system_is_put_back() -> None:
    bag = memory_system(Bag)
    bag.keep(bag)
    with pytest.raises(ValueError):
        bag.keep_and_fail(bag)
    assert bag.friend is bag and bag.items == [1, 2]
    bag.add_to_friend(3)
    assert_replays(bag)


def test_the_past_shows_it_as_the_system_itself() -> None:
    bag = memory_system(Bag)
    bag.keep(bag)
    assert repr([each.args for each in control(bag).actions()]) == "[(<the system itself>,)]"


def test_in_a_loop_it_is_refused_with_nothing_changed(tmp_path: Path) -> None:
    async def use() -> Any:
        async with aio.open(Bag, tmp_path) as bag:
            with pytest.raises(EncodingError, match="Nothing was recorded and nothing has changed"):
                await bag.keep(bag)
            return await bag.friend

    assert asyncio.run(use()) is None

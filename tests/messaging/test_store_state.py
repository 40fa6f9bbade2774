"""The state of a key-value store: keys, order, time, history, several keys at once."""

from __future__ import annotations

import doctest
import importlib
import pickle
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from coopy import UsageError, close_all, control, init_system, replay
from coopy.batteries import Frozen
from coopy.determinism.check import validate
from coopy.messaging.store_order import BLOCK_KEYS, SortedKeys
from coopy.messaging.store_state import ABSENT, DELETED, Keys, MissingKey
from coopy.messaging.store_time import NS, TICK_NS, Ends, nanoseconds, step_ns
from coopy.testing import assert_replays, crash, memory_system

HOUR_NS = 3600 * NS


@pytest.fixture
def keys() -> Any:
    with control(memory_system(Keys(history=4, changes=10), validation="off")) as controls:
        yield controls.system


def tick(keys: Any, seconds: float) -> list[str]:
    """Counts so many seconds, as a timekeeper does that is never late."""
    ended, left_ns = [], round(seconds * NS)
    if keys.count_time().timekeeper != "me":
        keys.claim_time("me", keys.count_time().beat)
    while left_ns > 0 and (count := keys.count_time()).interval_ns:
        step = min(left_ns, count.interval_ns)
        ended += keys.tick("me", count.beat, step)
        left_ns -= step
    return ended


@pytest.mark.parametrize("name", ["store_actions", "store_order", "store_pickledb", "store_state", "store_time", "store"])
def test_the_examples_of_a_module_show_what_happens(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"coopy.messaging.{name}")
    more: dict[str, Any] = {}
    if name in ("store", "store_pickledb"):
        from coopy.messaging.store import KeyValueStore
        from coopy.messaging.store_actions import GetAction, SetAction

        more = {"store": KeyValueStore(), "GetAction": GetAction, "SetAction": SetAction}
    try:
        failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS, extraglobs=more)
    finally:
        for each in more.values():
            getattr(each, "shutdown", lambda: None)()
        close_all()
    assert not failed


def test_strict_validation_finds_nothing_in_the_state_of_a_store() -> None:
    validate(Keys, "strict")


# -- one key


def test_a_value_is_set_read_replaced_and_deleted(keys: Any) -> None:
    assert keys.set("a", 1) is True and keys.get("a") == 1 and keys["a"] == 1 and "a" in keys and keys.exists("a")
    keys["a"] = 2
    assert keys.value("a") == 2 and len(keys) == 1
    del keys["a"]
    assert keys.get("a") is None and keys.get("a", 7) == 7 and not keys.exists("a") and not keys.delete("a")


@pytest.mark.parametrize(
    "ask",
    [lambda keys: keys["b"], lambda keys: keys.value("b"), lambda keys: keys.ttl("b"), lambda keys: keys.__delitem__("b")],
)
def test_a_key_that_is_not_there_is_named(keys: Any, ask: Any) -> None:
    with pytest.raises(MissingKey, match="GOT EXCEPTION ON GET: there is no key 'b'") as raised:
        ask(keys)
    assert raised.value.key == "b" and isinstance(raised.value, KeyError)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), str(again)) == (MissingKey, str(raised.value))


@pytest.mark.parametrize("key", [1, None, b"a", ("a",), True])
def test_a_key_that_is_no_text_is_refused_and_nothing_changes(keys: Any, key: Any) -> None:
    before = control(keys).index
    for change in (
        lambda: keys.set(key, 1),
        lambda: keys.delete(key),
        lambda: keys.touch(key, 1),
        lambda: keys.increment(key),
        lambda: keys.put_if(key, 1, 0),
        lambda: keys.put_if_absent(key, 1),
        lambda: keys.compare_and_set(key, 1, 2),
        lambda: keys.transact({"a": 1, key: 2}),
        lambda: keys.transact({"a": 1}, [key]),
        lambda: keys.transact({"a": 1}, (), {key: 0}),
        lambda: keys.put_many({"a": 1, key: 2}),
    ):
        with pytest.raises(UsageError, match="must be a text"):
            change()
    assert len(keys) == 0 and control(keys).index - before <= 11 and not keys.changes(0)[0]


def test_what_is_read_never_changes_the_store(keys: Any) -> None:
    keys.set("a", {"b": [1]})
    with pytest.raises(Frozen):
        keys.get("a")["b"].append(2)
    value = [1]
    keys.set("c", value)
    value.append(2)
    assert keys.get("c") == [1]


@pytest.mark.parametrize(
    ("old", "is_set"), [(ABSENT, False), (None, False), (2, False), ([1, 2], False), ({"n": 1}, True), ({"n": 1.0}, True)]
)
def test_compare_and_set_asks_for_the_value_before(keys: Any, old: Any, is_set: bool) -> None:
    keys.set("a", {"n": 1})
    assert keys.compare_and_set("a", old, "new") is is_set
    assert keys.get("a") == ("new" if is_set else {"n": 1})


def test_compare_and_set_tells_none_from_nothing(keys: Any) -> None:
    assert not keys.compare_and_set("a", None, 1) and keys.compare_and_set("a", ABSENT, None)
    assert not keys.compare_and_set("a", ABSENT, 1) and keys.compare_and_set("a", None, 1) and keys["a"] == 1


def test_a_revision_is_the_index_of_the_action_and_guards_a_put(keys: Any) -> None:
    first = keys.put("a", 1)
    assert first == control(keys).index == keys.get_version("a").revision == keys.revision()
    assert keys.put_if("a", 2, 0) == 0 and keys.put_if("a", 2, first + 1) == 0 and keys.put_if("b", 2, first) == 0
    second = keys.put_if("a", 2, first)
    assert second > first and keys.get_version("a")[::3] == (second, 2) and keys.put_if("b", 1, 0) > second
    assert keys.put_if_absent("b", 5) is False and keys.put_if_absent("c", 5) is True and keys.get_version("d") is None


def test_a_counter_counts_and_refuses_what_is_no_number(keys: Any) -> None:
    assert [keys.increment("n"), keys.increment("n", 4), keys.increment("n", -1.5)] == [1, 5, 3.5]
    keys.set("t", "text")
    with pytest.raises(TypeError):
        keys.increment("t")
    assert keys["t"] == "text"


# -- order


def test_a_scan_is_sorted_and_goes_on_page_by_page(keys: Any) -> None:
    names = [f"lamp/{number:03}" for number in range(25)]
    for name in random.Random(1).sample(names, len(names)):
        keys.set(name, name)
    keys.set("lamp", 0), keys.set("lamq", 0), keys.set("a", 0)
    found, after = [], None
    while page := keys.scan("lamp/", after, limit=10):
        assert len(page) <= 10
        found += page
        after = page[-1][0]
    assert found == [(name, name) for name in names]
    assert keys.scan_keys("", limit=1) == ["a"] and keys.scan_keys("lamp/", "zzz") == [] and keys.scan_keys("x") == []
    assert keys.scan_keys("lamp/", before="", limit=2) == names[:-3:-1]
    assert keys.scan_keys("lamp/", before=names[3]) == names[2::-1] and keys.scan_keys("", before="", limit=1) == ["lamq"]
    assert keys.count("lamp/") == 25 and keys.count() == 28 and list(keys)[:2] == ["a", "lamp"]
    assert list(keys.to_dict()) == sorted([*names, "lamp", "lamq", "a"])
    assert keys.delete_prefix("lamp/") == 25 and keys.scan_keys() == ["a", "lamp", "lamq"]


@pytest.mark.parametrize("limit", [-1, True, 1.5, "2"])
def test_a_page_of_no_size_is_refused(keys: Any, limit: Any) -> None:
    with pytest.raises(UsageError, match="limit="):
        keys.scan(limit=limit)


def test_keys_in_order_are_what_a_sorted_list_has() -> None:
    chance = random.Random(7)
    order, plain = SortedKeys(), set[str]()
    alphabet = ["a", "b", "\0", "\U0010ffff", "ß", "z"]
    for _ in range(4 * BLOCK_KEYS):
        key = "".join(chance.choices(alphabet, k=chance.randrange(7)))
        if key in plain and chance.random() < 0.5:
            plain.remove(key)
            order.remove(key)
        elif key not in plain:
            plain.add(key)
            order.add(key)
    for prefix in ("", "a", "b\0", "\U0010ffff", "a\U0010ffff", "zz", "no"):
        some = sorted(key for key in plain if key.startswith(prefix))
        assert list(order.beginning(prefix)) == some
        for edge in (*chance.sample(sorted(plain), 5), "", "m", "\U0010ffff" * 9):
            assert list(order.beginning(prefix, after=edge)) == [key for key in some if key > edge]
            assert list(order.beginning(prefix, before=edge)) == [key for key in reversed(some) if key < edge]
    assert len(order) == len(plain)


def test_keys_that_come_in_order_and_keys_that_all_go_leave_nothing_behind() -> None:
    order = SortedKeys()
    names = [f"{number:06}" for number in range(5 * BLOCK_KEYS)]
    for name in names:
        order.add(name)
    assert list(order.beginning("")) == names
    for name in names:
        order.remove(name)
    assert list(order.beginning("")) == [] and order.last("") is None and vars(order) == vars(SortedKeys())


# -- several keys


def test_several_keys_are_changed_by_one_action_or_not_at_all(keys: Any) -> None:
    revision = keys.put_many({"a": 10, "b": 0, "old": 1})
    outcome = keys.transact({"a": 9, "b": 1}, ["old", "never there"], {"a": revision, "c": 0}, {"b": 60})
    assert outcome.done and outcome.revision == control(keys).index == revision + 1
    assert keys.to_dict() == {"a": 9, "b": 1} and keys.ttl("b") is not None and keys.ttl("a") is None
    refused = keys.transact({"a": 8}, (), {"a": revision, "b": outcome.revision, "c": 5})
    assert not refused.done and refused == (0, ("a", "c")) and keys["a"] == 9


@pytest.mark.parametrize(
    "arguments",
    [({"a": 1}, ["a"]), ({"a": 1}, (), {}, {"b": 1}), ({"a": 1}, (), {}, {"a": 0}), ({"a": 1}, (), {}, {"a": float("nan")})],
)
def test_what_contradicts_itself_is_refused_and_nothing_changes(keys: Any, arguments: Any) -> None:
    with pytest.raises(UsageError, match="Nothing has changed"):
        keys.transact(*arguments)
    assert len(keys) == 0


# -- history


def test_a_key_has_its_history_through_deletion_and_coming_back(keys: Any) -> None:
    keys.set("a", 1)
    assert [(each.kind, each.value) for each in keys.history("a")] == [("added", 1)]
    keys.set("a", 2)
    keys.delete("a")
    assert [(each.kind, each.value) for each in keys.history("a")] == [("added", 1), ("set", 2), ("removed", None)]
    keys.set("a", 3)
    assert [(each.kind, each.value) for each in keys.history("a")][1:] == [("set", 2), ("removed", None), ("added", 3)]
    keys.set("a", 4)
    found = keys.history("a")
    assert [(each.kind, each.value) for each in found] == [("set", 2), ("removed", None), ("added", 3), ("set", 4)]
    assert [each.revision for each in found] == [2, 3, 4, 5] and found[0].time <= found[-1].time
    assert found[0].time.utcoffset() == timedelta(0) and keys.history("b") == []


def test_keys_that_come_and_go_do_not_make_a_store_grow() -> None:
    with control(memory_system(Keys, validation="off")) as controls:
        for number in range(DELETED + 50):
            controls.system.set(str(number), number)
            controls.system.delete(str(number))
        state = controls.replay()
        assert len(state._gone) == DELETED and not state._past and not state._items
        assert not controls.system.history("0") and len(controls.system.history(str(DELETED))) == 2


def test_with_a_history_of_one_a_key_has_its_value_alone() -> None:
    keys = Keys(history=1)
    keys.set("a", 1), keys.set("a", 2)
    assert [each.value for each in keys.history("a")] == [2]
    keys.delete("a")
    assert keys.history("a") == [] and not keys._gone and not keys._past


@pytest.mark.parametrize("arguments", [{"history": 0}, {"changes": 0}, {"history": True}, {"changes": 1.5}])
def test_a_store_that_keeps_nothing_is_refused(arguments: Any) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        Keys(**arguments)


# -- changes


def test_changes_are_read_on_from_a_revision(keys: Any) -> None:
    keys.set("a", 1), keys.set("b/1", 2), keys.transact({"b/2": 3}, ["a"])
    found, upto, is_whole = keys.changes(0)
    assert [each[2:] for each in found] == [
        ("added", "a", None, 1),
        ("added", "b/1", None, 2),
        ("removed", "a", 1, None),
        ("added", "b/2", None, 3),
    ]
    assert upto == 3 and is_whole and [each.index for each in found] == [1, 2, 3, 3]
    assert [each.key for each in keys.changes(0, "b/")[0]] == ["b/1", "b/2"]
    assert [each.kind for each in keys.changes(0, key="a")[0]] == ["added", "removed"]
    assert keys.changes(3) == ([], 3, True) and keys.changes(99) == ([], 99, True)
    page, upto, _ = keys.changes(0, limit=3)
    assert len(page) == 4 and upto == 3, "an action is never cut in two"
    assert keys.changes(0, limit=1)[1] == 1


def test_whoever_has_missed_changes_is_told_so(keys: Any) -> None:
    for number in range(12):
        keys.set("a", number)
    found, upto, is_whole = keys.changes(1)
    assert not is_whole and [each.after for each in found] == [*range(2, 12)] and upto == 12
    assert keys.changes(2)[2]


# -- time


def test_a_key_ends_by_counted_time_and_by_nothing_else(keys: Any) -> None:
    keys.set("short", 1, ttl=1), keys.set("long", 2, ttl=60), keys.set("ever", 3)
    assert 1 <= keys.ttl("short") < 1.2 and 60 <= keys.ttl("long") < 61 and keys.ttl("ever") is None
    assert tick(keys, 0.99) == [] and tick(keys, 0.2) == ["short"]
    assert list(keys) == ["ever", "long"] and keys.history("short")[-1].kind == "expired"
    assert tick(keys, 60) == ["long"] and not keys.count_time().interval_ns


def test_a_tick_counts_one_step_however_long_it_claims_to_be(keys: Any) -> None:
    keys.set("a", 1, ttl=8)
    keys.claim_time("me", keys.count_time().beat)
    beat = keys.count_time().beat
    assert keys.tick("me", beat, HOUR_NS) == [] and keys.ttl("a") > 7.8
    assert keys.tick("me", beat, HOUR_NS) == [] and keys.tick("other", beat + 1, HOUR_NS) == [] and keys.ttl("a") > 7.8
    assert not keys.claim_time("other", beat) and keys.claim_time("other", beat + 1)


@pytest.mark.parametrize("change", ["set", "touch", "delete", "put_many", "compare_and_set", "transact"])
def test_a_value_without_an_end_takes_the_end_away(keys: Any, change: str) -> None:
    keys.set("a", 1, ttl=1)
    {
        "set": lambda: keys.set("a", 2),
        "touch": lambda: keys.touch("a", None),
        "delete": lambda: (keys.delete("a"), keys.set("a", 2)),
        "put_many": lambda: keys.put_many({"a": 2}),
        "compare_and_set": lambda: keys.compare_and_set("a", 1, 2),
        "transact": lambda: keys.transact({"a": 2}),
    }[change]()
    assert keys.ttl("a") is None and not keys.count_time().interval_ns and tick(keys, 5) == []


def test_a_key_that_is_set_again_lives_on_and_a_counter_keeps_its_end(keys: Any) -> None:
    keys.set("a", 1, ttl=2), keys.set("n", 1, ttl=2)
    tick(keys, 1.5)
    keys.set("a", 1, ttl=2), keys.increment("n")
    assert tick(keys, 1) == ["n"] and keys.touch("a", 9) and not keys.touch("n", 9) and tick(keys, 5) == []


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), "5", True, 1e11])
def test_a_time_to_live_that_is_none_is_refused(keys: Any, ttl: Any) -> None:
    for change in (lambda: keys.set("a", 1, ttl), lambda: keys.touch("a", ttl), lambda: keys.put_many({"a": 1}, ttl)):
        with pytest.raises(UsageError, match="ttl="):
            change()
    assert len(keys) == 0


def test_no_key_ends_early_whatever_ticks_are_on_their_way() -> None:
    """A timekeeper is never late, so counted time is as near to real time as can be; keys come between two ticks."""
    ended = 0
    for seed in range(30):
        chance = random.Random(seed)
        ends, real, seen = Ends(), 0, 0
        assert ends.claim("me", 0)
        begun: dict[str, tuple[int, int]] = {}
        for number in range(400):
            due = seen + (ends.interval_ns or NS // 10)
            what, beat = chance.random(), ends.beat
            real = chance.randrange(real, due) if real < due and (what < 0.25 or not begun) else max(real, due)
            if what < 0.2 or not begun:
                key, ttl = f"k{chance.randrange(20)}", chance.choice([NS // 50, NS // 10, NS, 7 * NS])
                ends.begin(key, ttl)
                begun[key] = real, ttl
                seen = real if ends.beat != beat else seen  # The first key that ends makes a beat, which is seen at once.
            elif what < 0.23:
                key = chance.choice(sorted(begun))
                ends.end(key)
                del begun[key]
            elif what < 0.25:
                assert ends.claim(f"t{number}", beat)
                seen = real
            else:
                for key in ends.tick(ends.timekeeper, beat, real - seen):
                    start, ttl = begun.pop(key)
                    assert real - start >= ttl, f"seed {seed}: {key} lived {real - start} of {ttl}"
                    ended += 1
                seen = real
        assert len(ends) == len(begun)
    assert ended > 150


def test_a_step_is_an_eighth_at_most_and_never_smaller_for_a_longer_life() -> None:
    lengths = sorted({round(NS * 1.3**power) for power in range(-40, 80)})
    steps = [step_ns(each) for each in lengths]
    assert steps == sorted(steps) and all(8 * step <= each for step, each in zip(steps, lengths, strict=True))
    assert step_ns(HOUR_NS) < HOUR_NS / 60 and step_ns(2 * NS) == TICK_NS and nanoseconds(0.5) == NS // 2


def test_ends_that_say_nothing_any_more_do_not_stay() -> None:
    ends = Ends()
    for number in range(1000):
        ends.begin("a", NS + number)
    assert len(ends._heap) < 50 and len(ends) == 1
    ends.clear()
    assert not ends.count().interval_ns and not len(ends)


# -- the system below


def test_a_store_survives_replays_and_goes_back_in_time(tmp_path: Path) -> None:
    with init_system(Keys, tmp_path / "keys", validation="off") as keys:
        keys.set("a", 1), keys.set("b", {"x": [1]}, ttl=5)
        control(keys).take_snapshot()
        keys.set("a", 2), keys.delete("b")
        digest = control(keys).state_digest()
    with init_system(Keys, tmp_path / "keys", validation="off") as keys:
        assert control(keys).state_digest() == digest and keys.to_dict() == {"a": 2}
        assert [each.value for each in keys.history("a")] == [1, 2]
    assert replay(Keys, tmp_path / "keys", 2).to_dict() == {"a": 1, "b": {"x": [1]}}


def test_random_operations_replay_to_the_same_state() -> None:
    chance = random.Random(3)
    keys = memory_system(Keys(history=3, changes=20), validation="off")
    for _ in range(600):
        name = f"{chance.choice('abc')}/{chance.randrange(12)}"
        chance.choice(
            [
                lambda name=name: keys.set(name, chance.random(), chance.choice([None, 1, 30])),
                lambda name=name: keys.delete(name),
                lambda name=name: keys.compare_and_set(name, ABSENT, {"n": 1}),
                lambda name=name: keys.transact({name: 1}, ["c/0"] if name != "c/0" else []),
                lambda name=name: keys.touch(name, 2),
                lambda: tick(keys, 0.3),
            ]
        )()
    before = control(keys).state_digest()
    assert_replays(keys)
    keys = crash(keys)
    assert control(keys).state_digest() == before
    assert keys.scan_keys() == sorted(keys.to_dict())
    keys.close()


def test_a_watch_of_a_beginning_hears_of_no_other_key(keys: Any) -> None:
    from coopy.messaging.store import Prefix

    with keys.watch(Prefix("b/"), timeout=0) as watch, keys.watch("a", timeout=0) as one:
        keys.set("a", 1), keys.set("b/1", 2), keys.delete("b/1"), keys.set("bb", 3)
        control(keys).sync()
        while watch.last < control(keys).index or one.last < control(keys).index:
            found = [*watch]
            break
    heard = [(each.kind, each.key) for each in keys.watch(Prefix("b/"), after=0, timeout=0)]
    assert heard == [("added", "b/1"), ("removed", "b/1")] and {each.key for each in found} <= {"b/1"}

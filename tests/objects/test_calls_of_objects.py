"""What the calls of one object do, while others are called: on a disk, after a passivation, a close and a crash."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from objects.rooms import Choosy, Counter, Room, crashed, reopened

import coopy
from coopy import CallInsideAction, EncodingError, PrevalentError, SystemClosed, UsageError, cli, control, init_system
from coopy.ground import looking


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[Any]:
    with coopy.objects(Room, tmp_path / "rooms", durability="buffered") as found:
        yield found


@pytest.fixture(params=["active", "passive", "closed", "crashed"])
def later(request: pytest.FixtureRequest) -> Any:
    """The same objects at a later time."""

    def later(objects: Any) -> Any:
        if request.param == "active":
            return objects
        if request.param == "passive":
            objects.passivate()
            assert objects.status()["active"] == 0
            return objects
        return reopened(objects, crash=request.param == "crashed", durability="buffered")

    return later


def test_an_object_is_made_by_its_first_call_and_remembers_the_others(rooms: Any, later: Any) -> None:
    assert rooms["42"].say("ann", "hi") == 1
    assert rooms["7"].say("eve") == 1
    assert rooms["42"].say("bob", text="ho") == 2
    with later(rooms) as found:
        assert found["42"].last() == [("ann", "hi"), ("bob", "ho")]
        assert found["42"].last(1) == found["42"].last(count=1) == [("bob", "ho")]
        assert (found["42"].key, found["42"].name, found["42"].said[0]) == ("42", "room 42", ("ann", "hi"))
        assert found["42"].say("cid") == 3
        assert found["7"].last() == [("eve", "")]


def test_a_key_that_was_never_called_has_no_object_and_reads_are_answered_by_a_new_one(rooms: Any, later: Any) -> None:
    assert rooms["new"].last() == []
    assert rooms["new"].name == "room new"
    assert ("new" in rooms, len(rooms), rooms.keys()) == (False, 0, [])
    with later(rooms) as found:
        assert "new" not in found
        assert found.status()["last"] == 0


def test_the_mapping_knows_which_keys_there_are(rooms: Any, later: Any) -> None:
    for key in ("b/2", "a/1", "ü", "b/1", "b"):
        rooms[key].say("ann")
    with later(rooms) as found:
        assert found.keys() == list(found) == ["a/1", "b", "b/1", "b/2", "ü"]
        assert found.keys("b/") == ["b/1", "b/2"]
        assert (len(found), "ü" in found, "c" in found, 3 in found) == (5, True, False, False)


def test_an_object_that_was_deleted_is_gone_and_may_begin_again(rooms: Any, later: Any) -> None:
    rooms["a"].say("ann")
    token, _ = rooms["a"].draw()
    rooms["b"].say("bob")
    del rooms["a"]
    assert ("a" in rooms, len(rooms), rooms["a"].last()) == (False, 1, [])
    with later(rooms) as found:
        assert (found.keys(), found["a"].last()) == (["b"], [])
        with pytest.raises(KeyError):
            del found["a"]
        assert found["a"].say("cid") == 1
        again, _ = found["a"].draw()
        assert (again != token, len(found)) == (True, 2), "no draw comes twice"
        found.passivate()
        assert found["a"].last() == [("cid", ""), found["a"].last()[1]]


def test_what_a_method_raises_is_an_outcome_and_its_marks_count(rooms: Any, later: Any) -> None:
    rooms["a"].say("ann")
    for name in ("fail", "refuse", "undo", "fail", "undo"):
        with pytest.raises(ValueError, match=name):
            getattr(rooms["a"], name)(name)
    with pytest.raises(ValueError):
        rooms["a"].undo_if("x", fails=True)
    rooms["a"].undo_if("y", fails=False)
    with later(rooms) as found:
        assert found["a"].last() == [("ann", ""), "fail", "fail", "y"]
        assert found["a"].say("bob") == 5


def test_what_the_last_call_raised_is_the_same_after_it(rooms: Any, later: Any) -> None:
    with pytest.raises(ValueError):
        rooms["failed"].fail("x")
    rooms["undone"].say("ann")
    with pytest.raises(ValueError):
        rooms["undone"].undo("y")
    with later(rooms) as found:
        assert (found["failed"].last(), found["undone"].last()) == (["x"], [("ann", "")])
        assert len(found) == 2


def test_a_first_call_that_is_undone_leaves_no_object(rooms: Any, later: Any) -> None:
    for name in ("refuse", "undo"):
        with pytest.raises(ValueError):
            getattr(rooms[name], name)("x")
        assert name not in rooms
    with later(rooms) as found:
        assert (len(found), found["undo"].last()) == (0, [])
        assert found["undo"].say("ann") == 1


def test_an_object_whose_class_refuses_its_key_is_not_made(tmp_path: Path) -> None:
    with coopy.objects(Choosy, tmp_path) as found:
        for _ in range(2):
            with pytest.raises(LookupError, match="bad"):
                found["bad"].call()
        with pytest.raises(ValueError):
            found["good"].first(True)
        born = found["good"].first(False)
        assert (found["good"].call(), found.keys()) == (2, ["good"])
    with coopy.objects(Choosy, tmp_path) as found:
        assert (found["good"].born, found["good"].calls, found.keys()) == (born, 2, ["good"])


def test_draws_and_times_are_the_same_at_replay_and_differ_between_keys(rooms: Any, later: Any) -> None:
    drawn = [rooms[key].draw() for key in ("a", "b", "a", "b")]
    assert len({token for token, _ in drawn}) == 4
    with later(rooms) as found:
        assert [*found["a"].last(), *found["b"].last()] == [drawn[0], drawn[2], drawn[1], drawn[3]]
        assert found["a"].draw()[0] not in {token for token, _ in drawn}


def test_an_object_that_is_made_of_nothing(tmp_path: Path, later: Any) -> None:
    counters = coopy.objects(Counter, tmp_path, durability="buffered")
    assert [counters["a"].add(2), counters["a"].add(3), counters["b"].add(1)] == [2, 5, 1]
    with later(counters) as found:
        assert (found["a"].get(), found["b"].total, found["c"].get()) == (5, 1, 0)


def test_a_handle_is_equal_by_its_key_and_can_be_pickled_and_be_an_argument(rooms: Any, later: Any) -> None:
    one, other = rooms["a"], rooms["b"]
    assert (one == rooms["a"], one != other, len({one, rooms["a"], other})) == (True, True, 2)
    assert (isinstance(one, Room), repr(one)) == (True, "<Room 'a'>")
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    other.keep([one, {"me": other}])
    assert one.itself() == one
    with later(rooms) as found:
        kept = found["b"].last()[0]
        assert (kept[0], kept[1]["me"]) == (found["a"], found["b"])
        kept[0].say("ann")
        assert found["a"].count() == 1


def test_a_handle_of_what_is_not_open_here_says_so(rooms: Any) -> None:
    pickled = pickle.dumps(rooms["a"])
    rooms.close()
    found = pickle.loads(pickled)
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(SystemClosed, match="not open in this process"):
        found.say("ann")


def test_results_that_go_on_later_are_of_the_moment_of_the_call(rooms: Any) -> None:
    rooms["a"].say("ann")
    found = rooms["a"].numbers()
    rooms["a"].say("bob")
    assert list(found) == [0]


@pytest.mark.parametrize(
    "call", [lambda room: room.say(), lambda room: room.say("a", "b", "c"), lambda room: room.say(whom="a")]
)
def test_wrong_arguments_fail_at_the_call_and_record_nothing(rooms: Any, call: Any) -> None:
    with pytest.raises(TypeError):
        call(rooms["a"])
    assert rooms.status()["last"] == 0


def test_an_argument_that_can_t_be_kept_is_refused_and_records_nothing(rooms: Any) -> None:
    with pytest.raises(EncodingError, match="argument 'what' of Room.keep"):
        rooms["a"].keep(open(__file__))
    assert (rooms.status()["last"], "a" in rooms) == (0, False)


@pytest.mark.parametrize("key", ["", "x" * 513, "a\0b", 7, None, b"a", "\ud800"])
def test_what_is_no_key_is_refused(rooms: Any, key: Any) -> None:
    with pytest.raises(UsageError, match="is no key"):
        rooms[key]


def test_a_long_key_is_a_key(rooms: Any, later: Any) -> None:
    rooms["ü" * 256].say("ann")
    with later(rooms) as found:
        assert found.keys() == ["ü" * 256]
        assert found["ü" * 256].count() == 1


class Caller:
    def __init__(self) -> None:
        self.rooms: Any = None

    def ask(self, room: Any) -> int:
        return int(room.count())

    def call(self, room: Any) -> int:
        return int(room.say("x"))


@pytest.mark.parametrize("name", ["ask", "call"])
def test_a_call_of_an_object_inside_an_action_of_another_is_refused_at_once(tmp_path: Path, name: str) -> None:
    with coopy.objects(Caller, tmp_path / "callers") as callers, coopy.objects(Room, tmp_path / "rooms") as rooms:
        with pytest.raises(CallInsideAction, match=r"tell\(Class, key\)"):
            getattr(callers["a"], name)(callers["b"])
        assert len(callers) == 1
        with pytest.raises(CallInsideAction):
            getattr(callers["a"], name)(rooms["b"])
        assert len(rooms) == 0


def test_objects_that_are_closed_take_no_calls_and_may_be_closed_twice(rooms: Any) -> None:
    rooms["a"].say("ann")
    rooms.close()
    rooms.close()
    for call in (
        lambda: rooms["a"].say("bob"),
        lambda: rooms["a"].last(),
        lambda: len(rooms),
        lambda: "a" in rooms,
        rooms.keys,
    ):
        with pytest.raises(SystemClosed):
            call()


def test_a_directory_of_objects_is_no_system_and_the_other_way_round(tmp_path: Path, rooms: Any) -> None:
    rooms["a"].say("ann")
    rooms.close()
    with pytest.raises(UsageError, match=r"Open it with coopy.objects\(Counter"):
        init_system(Counter, tmp_path / "rooms")
    control(init_system(Counter, tmp_path / "one")).close()
    with pytest.raises(UsageError, match=r"Open it with coopy.init_system\(Room"):
        coopy.objects(Room, tmp_path / "one")
    with coopy.objects(Room, tmp_path / "rooms") as found:
        assert found["a"].count() == 1


class Asynchronous:
    async def call(self) -> None:
        pass


class OfTwo:
    def __init__(self, key: str, more: int) -> None:
        pass


@pytest.mark.parametrize("cls", [Asynchronous, OfTwo])
def test_a_class_that_can_t_be_kept_is_refused(tmp_path: Path, cls: type) -> None:
    with pytest.raises(PrevalentError):
        coopy.objects(cls, tmp_path / "data")


@pytest.mark.parametrize(
    "options", [{"memory": 10}, {"memory": "1"}, {"idle": 0}, {"idle": "x"}, {"keep": 3}, {"durability": "none"}, {"shards": 3}]
)
def test_an_option_that_means_nothing_is_refused(tmp_path: Path, options: Any) -> None:
    with pytest.raises(UsageError):
        coopy.objects(Room, tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_a_directory_that_was_refused_can_be_opened_by_others(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        coopy.objects(Room, tmp_path / "data", create=False)
    rooms = coopy.objects(Room, tmp_path / "data")
    rooms["a"].say("ann")
    with pytest.raises(coopy.DirectoryInUse):
        coopy.objects(Room, tmp_path / "data")
    crashed(rooms)
    coopy.objects(Room, tmp_path / "data").close()


def test_an_object_that_is_loaded_again_draws_what_it_drew(rooms: Any) -> None:
    drawn = []
    for _ in range(3):
        rooms.passivate()
        drawn.append(rooms["a"].draw())
        rooms._engine._drop(rooms.stored("a"))  # The one action since its state is run again.
        assert rooms["a"].last() == drawn


@pytest.mark.slow
@pytest.mark.parametrize("command", ["inspect {}", "stats {}", "repair {}", "prune {} --keep 1", "backup {} {}-copy"])
def test_a_command_for_systems_refuses_a_directory_of_objects_and_changes_nothing(
    tmp_path: Path, rooms: Any, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms["a"].say("ann")
    rooms.close()
    before = {path.name: path.read_bytes() for path in (tmp_path / "rooms").iterdir()}
    monkeypatch.setattr(looking, "_tool", "")  # The command says so of its process.
    monkeypatch.setattr(sys, "argv", ["coopy", *command.replace("{}", str(tmp_path / "rooms")).split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code not in (0, None)
    assert "coopy.objects()" in said.err + said.out
    assert {path.name: path.read_bytes() for path in (tmp_path / "rooms").iterdir()} == before


def test_the_past_of_a_system_is_not_looked_for_in_a_directory_of_objects(tmp_path: Path, rooms: Any) -> None:
    rooms["a"].say("ann")
    rooms.close()
    with pytest.raises(UsageError, match=r"many objects, each with a key"):
        coopy.replay(Room, tmp_path / "rooms")


@pytest.mark.parametrize("prefix", ["\ud800", None, 5, b"a"], ids=repr)
def test_a_beginning_of_keys_that_is_none_is_refused(tmp_path: Path, prefix: Any) -> None:
    with coopy.objects(Room, tmp_path) as rooms:
        rooms["a"].say("hi")
        with pytest.raises(UsageError, match="prefix="):
            rooms.keys(prefix)

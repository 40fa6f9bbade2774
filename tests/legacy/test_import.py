"""Data directories of coopy 0.4 and 0.7: what is brought in, and what is refused."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import shutil
import sys
import types
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from legacy.legacy_domain import Lottery, Shop, Wiki
from legacy.old_writer import NOON, OldDirectory, call, contents, old

import coopy
from coopy.disk.fs import Calls
from coopy.errors import (
    CoopyError,
    DecodingError,
    DirectoryInUse,
    ForeignDirectory,
    MissingMethod,
    ReplayError,
    StorageError,
    UnsupportedFormat,
    UsageError,
)
from coopy.tools import importing
from coopy.tools.importing import import_directory
from coopy.tools.legacy import Imported, recognize, restore_legacy

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
DIRECTORIES: dict[str, tuple[type, Imported]] = {
    "coopy-0.4.6": (Wiki, Imported("0.4.6", 1497, 20, 0, "snapshot_000000000000002.dat", 0)),
    "coopy-0.7.0": (Wiki, Imported("0.7.0", 895, 11, 0, "snapshot_000000000000004.dat", 0)),
    "coopy-0.7.0-env": (Lottery, Imported("0.7.0", 52, 3, 0, "snapshot_000000000000007.dat", 0)),
}
each_golden = pytest.mark.parametrize("name", DIRECTORIES)
PICKLED_SHOP = b"\x80\x02clegacy_domain\nShop\nq\x01)\x81q\x02}q\x03U\x04soldq\x04]sb."


def plain(value: Any) -> Any:
    """A value as the expected.json files have it."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if type(value).__name__ == "Page":
        return vars(value)
    return str(value)


def state(domain: Any, name: str) -> Any:
    members = {each: getattr(domain, each) for each in expected(name)}
    return json.loads(json.dumps(members, default=plain))


def expected(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.expected.json").read_text())


def moment(second: int) -> datetime:
    return NOON + timedelta(seconds=second)


def shop(sold: list[Any] | None = None) -> Shop:
    made = Shop()
    made.sold = sold or []
    return made


@pytest.fixture
def v04(tmp_path: Path) -> OldDirectory:
    """A directory of 0.4 with an empty shop."""
    directory = OldDirectory(tmp_path / "old")
    directory.snapshot(2, shop())
    return directory


@pytest.fixture
def v07(v04: OldDirectory) -> OldDirectory:
    return v04.manifest()


def sold(directory: OldDirectory) -> list[Any]:
    return restore_legacy(Shop, directory.path)[0].sold


# -- what old programs wrote


@each_golden
def test_a_golden_directory_is_restored_to_the_state_that_its_program_had(name: str) -> None:
    cls, imported = DIRECTORIES[name]
    domain, found = restore_legacy(cls, GOLDEN / name)
    assert found == imported
    assert state(domain, name) == expected(name)


@each_golden
def test_an_imported_directory_is_a_system_that_goes_on(name: str, tmp_path: Path) -> None:
    cls, imported = DIRECTORIES[name]
    assert import_directory(cls, GOLDEN / name, tmp_path / "new") == imported
    assert sorted(os.listdir(tmp_path)) == ["new"]
    with coopy.init_system(cls, tmp_path / "new", validation="off") as system:
        assert coopy.control(system).index == imported.index
        assert state(system, name) == expected(name)
        if cls is Wiki:
            system.note("after")
        else:
            system.draw(2)
            system.ask_the_clerk()
        after = state(system, name)
    assert after != expected(name)
    with coopy.init_system(cls, tmp_path / "new", validation="off") as system:
        assert state(system, name) == after
    assert state(coopy.replay(cls, tmp_path / "new", until=0), name) == expected(name)


@each_golden
def test_the_old_directory_is_only_read(name: str, tmp_path: Path) -> None:
    copied = tmp_path / name
    shutil.copytree(GOLDEN / name, copied)
    (copied / "coopy.lock").touch()
    before = contents(copied)
    import_directory(DIRECTORIES[name][0], copied, tmp_path / "new")
    assert contents(copied) == before


def test_a_state_restored_has_the_clock_and_the_env_of_this_release() -> None:
    domain, _ = restore_legacy(Lottery, GOLDEN / "coopy-0.7.0-env")
    assert domain._clock is coopy.clock
    assert domain._env is coopy.env


def test_old_clocks_and_envs_kept_in_a_state_work_at_once_and_are_todays_in_the_new_directory(tmp_path: Path) -> None:
    domain, _ = restore_legacy(Lottery, GOLDEN / "coopy-0.7.0-env")
    before = datetime.now()
    domain.ask_the_clerk()
    die, asked_at, _ = domain.drawn[-1]
    assert die in range(1, 7)
    assert asked_at >= before
    import_directory(Lottery, GOLDEN / "coopy-0.7.0-env", tmp_path / "new")
    restored = coopy.replay(Lottery, tmp_path / "new")
    assert restored.clerk.clock is coopy.clock
    assert restored.clerk.env is coopy.env


def test_new_snapshots_do_not_know_the_importer(v04: OldDirectory, tmp_path: Path) -> None:
    v04.snapshot(2, vars_set(shop(), clock=old("coopy.foundation", "RecordClock", results=[NOON])))
    import_directory(Shop, v04.path, tmp_path / "new")
    assert b"coopy.legacy" not in (tmp_path / "new" / "snapshot_000000000000000.dat").read_bytes()


def vars_set(obj: Any, **members: Any) -> Any:
    vars(obj).update(members)
    return obj


@pytest.mark.parametrize("clock", ["RecordClock", "RestoreClock"])
def test_what_old_coopy_put_on_the_domain_is_gone(v04: OldDirectory, clock: str) -> None:
    made = old("coopy.foundation", clock, results=[NOON])
    v04.snapshot(2, vars_set(shop(), _clock=made, _system_data_path="somewhere"))
    domain, _ = restore_legacy(Shop, v04.path)
    assert vars(domain) == {"sold": []}
    assert domain._clock is coopy.clock and domain._env is coopy.env


def test_progress_is_told_of_every_action_and_of_all(v04: OldDirectory) -> None:
    v04.log(3, call("sell_untimed", 1), call("sell_untimed", 2))
    v04.log(4, call("sell_untimed", 3))
    told: list[tuple[int, int]] = []
    restore_legacy(Shop, v04.path, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


# -- where replay begins


def test_calls_behind_a_snapshot_in_the_log_before_it_are_kept(v04: OldDirectory) -> None:
    v04.log(3, call("sell_untimed", "tea"), call("sell_untimed", "milk"))
    v04.snapshot(4, shop(["tea"]))
    v04.log(5, call("sell_untimed", "bread"))
    assert sold(v04) == ["tea", "milk", "bread"]


@pytest.mark.parametrize("pruned", [False, True])
def test_in_0_7_replay_begins_at_the_newest_snapshot_and_needs_nothing_older(
    v07: OldDirectory, pruned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    v07.log(3, call("sell_untimed", "tea"))
    v07.snapshot(4, shop(["the snapshot"]))
    v07.log(5, call("sell_untimed", "bread"))
    if pruned:
        (v07.path / "snapshot_000000000000002.dat").unlink()
        (v07.path / "transaction_000000000000003.log").unlink()
    assert sold(v07) == ["the snapshot", "bread"]
    assert caplog.messages == []


def test_snapshots_alone_are_enough(v04: OldDirectory) -> None:
    v04.snapshot(3, shop(["tea"]))
    domain, imported = restore_legacy(Shop, v04.path)
    assert (domain.sold, imported.snapshot, imported.actions) == (["tea"], "snapshot_000000000000003.dat", 0)


@pytest.mark.parametrize("protocol", [3, 5])
def test_a_program_that_was_started_again_goes_on_in_the_same_log(
    v04: OldDirectory, protocol: int, caplog: pytest.LogCaptureFixture
) -> None:
    baskets = [[f"tea {number}"] for number in range(3)]
    for basket in baskets:
        v04.log(3, call("sell", basket, told=[NOON]), call("sell", basket, told=[NOON]), protocol=protocol)
    assert sold(v04) == [(basket, NOON) for basket in baskets for _ in range(2)]
    assert caplog.messages == []


def test_objects_that_two_calls_shared_are_shared_again(v04: OldDirectory) -> None:
    basket = ["tea"]
    v04.log(3, call("sell_untimed", basket), call("sell_untimed", basket))
    first, second = sold(v04)
    assert first is second


def test_a_start_that_forgot_calls_is_told_of(v04: OldDirectory, caplog: pytest.LogCaptureFixture) -> None:
    v04.log(3, call("sell_untimed", "tea"))
    v04.snapshot(4, shop(["tea"]))
    path = v04.log(3, call("sell_untimed", "milk"))
    offset = path.read_bytes().rindex(b"\x80\x05\x95")
    v04.log(3, call("sell_untimed", "bread"))
    assert sold(v04) == ["tea", "milk", "bread"]
    [said] = caplog.messages
    assert f"{path}, byte {offset}" in said
    assert "started again" in said


@pytest.mark.parametrize("manifest", [False, True])
def test_a_gap_in_the_numbers_is_told_of(v04: OldDirectory, manifest: bool, caplog: pytest.LogCaptureFixture) -> None:
    if manifest:
        v04.manifest()
    v04.log(3, call("sell_untimed", "tea"))
    v04.log(6, call("sell_untimed", "bread"))
    assert sold(v04) == ["tea", "bread"]
    [said] = caplog.messages
    assert "of the files numbered 2 to 6, 2 are not there" in said


def test_calls_that_went_with_a_deleted_log_of_0_4_are_told_of(v04: OldDirectory, caplog: pytest.LogCaptureFixture) -> None:
    (v04.path / "snapshot_000000000000002.dat").unlink()
    v04.snapshot(4, shop(["tea"]))
    v04.log(5, call("sell_untimed", "bread"))
    assert sold(v04) == ["tea", "bread"]
    [said] = caplog.messages
    assert "of the files numbered 2 to 5, 2 are not there. What calls they held behind snapshot_000000000000004" in said


def test_logs_without_the_snapshot_before_them_are_refused(v04: OldDirectory) -> None:
    v04.log(3, call("sell_untimed", "tea"))
    v04.snapshot(4, shop(["tea"]))
    (v04.path / "snapshot_000000000000002.dat").unlink()
    with pytest.raises(StorageError, match="no snapshot before transaction_000000000000003.log"):
        restore_legacy(Shop, v04.path)


# -- what the domain is told


def test_every_question_of_an_old_action_has_its_own_answer(v04: OldDirectory) -> None:
    v04.log(3, call("sell", "tea", told=[moment(1)]), call("sell", "milk", told=[moment(2)]))
    v04.log(4, call("sell_later", "bread", told=[date(2015, 6, 2)]))
    assert sold(v04) == [("tea", moment(1)), ("milk", moment(2)), ("bread", date(2015, 6, 2))]


def test_the_clock_of_this_release_tells_an_old_action_when_it_was_called(v04: OldDirectory) -> None:
    v04.log(3, call("look_at_the_wall"), call("look_at_the_wall", timestamp=moment(1)))
    (first, drawn_first), (second, drawn_second) = sold(v04)
    assert (first, second) == (NOON, moment(1))
    assert drawn_first != drawn_second
    assert sold(v04) == [(first, drawn_first), (second, drawn_second)]


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ([], "no more than 0 values"),
        (["2015"], "was told str"),
        ([("random", 0.5)], "was told random"),
    ],
)
def test_an_action_that_asks_for_more_or_other_than_it_was_told_stops_the_import(
    v04: OldDirectory, told: list[Any], problem: str, swallowed: bool
) -> None:
    method = "sell_later" if swallowed else "sell"
    path = v04.log(3, call("sell_untimed", "tea"), call(method, "milk", told=told))
    with pytest.raises(ReplayError, match=problem) as caught:
        restore_legacy(Shop, v04.path)
    assert (caught.value.index, caught.value.method) == (2, method)
    assert str(path) in caught.value.where


def test_the_first_question_that_was_not_answered_is_the_one_that_is_named(v04: OldDirectory) -> None:
    v04.log(3, call("sell_stubbornly", "tea", told=[0.5]))
    with pytest.raises(ReplayError, match=r"asks for now\(\), and was told float"):
        restore_legacy(Shop, v04.path)


def test_a_choice_among_nothing_raises_as_it_did_without_a_draw(v07: OldDirectory) -> None:
    v07.log(3, call("raffle", [], raised=True), call("raffle", ["tea", "milk"], told=[("choice", 1)], raised=False))
    assert sold(v07) == ["milk"]


def test_a_draw_that_0_7_did_not_have_stops_the_import(v07: OldDirectory) -> None:
    v07.log(3, call("throw", told=[("random", 0.5)]))
    with pytest.raises(ReplayError, match=r"asks for triangular\(\), and was told random"):
        restore_legacy(Shop, v07.path)


def test_an_answer_that_is_not_asked_for_stops_an_import_from_0_7(v07: OldDirectory) -> None:
    v07.log(3, call("sell_untimed", "tea", told=[("now", NOON)], record_version=2))
    with pytest.raises(ReplayError, match=r"does not ask for now\(\)"):
        restore_legacy(Shop, v07.path)


def test_an_answer_that_is_not_asked_for_does_not_stop_an_import_from_0_4(v04: OldDirectory) -> None:
    v04.log(3, call("sell_untimed", "tea", told=[NOON]))
    assert sold(v04) == ["tea"]


def test_the_domain_has_the_real_clock_again_after_an_import_that_stopped(v04: OldDirectory) -> None:
    class SlottedShop:
        """It has no place of its own for the clock, so its class is lent one."""

        __slots__ = ("sold",)

        def __setstate__(self, members: dict[str, Any]) -> None:
            self.sold = members["sold"]

    SlottedShop.__name__ = "Shop"
    SlottedShop.__module__ = "legacy.legacy_domain"
    v04.log(3, call("sell_at_once"))
    with pytest.raises(MissingMethod):
        restore_legacy(SlottedShop, v04.path)
    assert vars(SlottedShop)["_clock"] is coopy.clock


# -- how actions end


def test_an_action_that_raised_raises_again_and_is_counted(v04: OldDirectory) -> None:
    v04.log(3, call("refuse", "tea"), call("refuse", "milk", raised=True), call("sell_untimed", "bread", raised=False))
    domain, imported = restore_legacy(Shop, v04.path)
    assert domain.sold == ["tea", "milk", "bread"]
    assert (imported.actions, imported.raised) == (3, 2)


@pytest.mark.parametrize(
    ("method", "raised", "problem"),
    [
        ("refuse", False, "recorded as returned, and now it raised LookupError: tea"),
        ("sell_untimed", True, "recorded as raised, and now it returned"),
    ],
)
def test_an_action_that_ends_otherwise_than_recorded_stops_the_import(
    v07: OldDirectory, method: str, raised: bool, problem: str
) -> None:
    v07.log(3, call(method, "tea", raised=raised))
    with pytest.raises(ReplayError, match=problem):
        restore_legacy(Shop, v07.path)


def test_running_out_of_memory_is_not_taken_for_an_ending_of_the_action(v04: OldDirectory) -> None:
    v04.log(3, call("exhaust"))
    with pytest.raises(MemoryError):
        restore_legacy(Shop, v04.path)


def test_a_method_that_is_no_longer_there_is_named(v04: OldDirectory) -> None:
    v04.log(3, call("sell_untimed", "tea"), call("give_away", "milk"))
    with pytest.raises(MissingMethod, match=r"action 2 .*give_away\(\), which Shop does not have"):
        restore_legacy(Shop, v04.path)


# -- torn and damaged files


def test_a_torn_last_record_is_dropped_wherever_it_is_cut(v04: OldDirectory, caplog: pytest.LogCaptureFixture) -> None:
    path = v04.log(3, call("sell", "tea", told=[NOON]), call("sell", "milk", told=[NOON]))
    data = path.read_bytes()
    whole = data.rindex(b"\x80\x05\x95")
    for size in range(whole + 1, len(data)):
        path.write_bytes(data[:size])
        caplog.clear()
        domain, imported = restore_legacy(Shop, v04.path)
        assert domain.sold == [("tea", NOON)]
        assert (imported.actions, imported.dropped) == (1, size - whole)
        [said] = caplog.messages
        assert f"{path}: its last record, from byte {whole}, is not whole" in said


@pytest.mark.parametrize("zeros", [1, 4096])
def test_zeros_that_a_power_cut_left_behind_are_dropped(v04: OldDirectory, zeros: int) -> None:
    path = v04.log(3, call("sell_untimed", "tea"))
    with path.open("ab") as file:
        file.write(bytes(zeros))
    domain, imported = restore_legacy(Shop, v04.path)
    assert (domain.sold, imported.dropped) == (["tea"], zeros)


def test_a_torn_record_in_a_log_that_is_not_the_last_is_damage(v04: OldDirectory) -> None:
    v04.log(3, call("sell_untimed", "eggs"))
    path = v04.log(4, call("sell_untimed", "tea"), call("sell_untimed", "milk"))
    path.write_bytes(path.read_bytes()[:-1])
    v04.log(5, call("sell_untimed", "bread"))
    offset = path.read_bytes().rindex(b"\x80\x05\x95")
    with pytest.raises(StorageError, match=f"{re.escape(str(path))}, byte {offset}: action 3 is not whole"):
        restore_legacy(Shop, v04.path)


def test_a_record_that_is_not_whole_and_has_others_behind_it_is_damage(v04: OldDirectory) -> None:
    path = v04.log(3, call("sell_untimed", "tea"))
    torn = path.stat().st_size
    v04.log(3, call("sell_untimed", "milk"))
    data = bytearray(path.read_bytes())
    data[torn - 20 : torn - 1] = b"\xff" * 19
    path.write_bytes(data)
    with pytest.raises(StorageError, match="byte 0: action 1 is not whole, and others come behind it"):
        restore_legacy(Shop, v04.path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data[:-1], "not whole"),
        (lambda data: b"", "not whole"),
        (lambda data: data + b"more", "something behind"),
    ],
)
def test_a_damaged_snapshot_is_refused_and_the_directory_can_be_imported_without_it(
    v07: OldDirectory, change: Any, problem: str
) -> None:
    v07.log(3, call("sell_untimed", "tea"))
    path = v07.snapshot(4, shop(["tea"]))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StorageError, match=f"{re.escape(str(path))}: .*{problem}"):
        restore_legacy(Shop, v07.path)
    path.unlink()
    assert sold(v07) == ["tea"]


@pytest.mark.parametrize(
    "record",
    [
        ["no action"],
        call("sell", "tea", args=None),
        call("sell", "tea", kwargs=None),
        call("sell", "tea", action=1),
        call("sell", "tea", timestamp=None),
        old("coopy.foundation", "Action", action="sell", args=(), kwargs={}),
    ],
)
def test_a_log_that_holds_something_else_is_refused(v04: OldDirectory, record: Any) -> None:
    path = v04.log(3, record)
    with pytest.raises(StorageError, match=f"{re.escape(str(path))}, byte 0: .* is not an action"):
        restore_legacy(Shop, v04.path)


# -- names in the pickles


@pytest.mark.parametrize("where", ["state", "argument"])
def test_a_class_that_is_not_there_is_named_with_its_file(v04: OldDirectory, where: str, tmp_path: Path) -> None:
    ghost = old("gone", "Ghost")
    if where == "state":
        path = v04.snapshot(2, shop([ghost]))
    else:
        path = v04.log(3, call("sell_untimed", "tea"), call("sell_untimed", ghost))
    with pytest.raises(DecodingError, match=f"{re.escape(str(path))} names gone.Ghost"):
        import_directory(Shop, v04.path, tmp_path / "new")
    assert os.listdir(tmp_path) == ["old"]


def test_an_argument_that_todays_code_cannot_load_is_named_with_its_place(v04: OldDirectory) -> None:
    # A date of month 13, all else whole.
    path = v04.log(3, call("sell_untimed", date(2015, 6, 2)))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x07\xdf\x06\x02", b"\x07\xdf\x0d\x02"))
    with pytest.raises(DecodingError, match=f"{re.escape(str(path))}, byte 0: .*TypeError"):
        restore_legacy(Shop, v04.path)


@pytest.mark.parametrize("moved", [["Shop", "Thing"], ["Shop"]])
def test_classes_of_the_domains_old_module_are_looked_up_where_it_is_today_and_then_where_they_were(
    v04: OldDirectory, moved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    then, now = types.ModuleType("then"), types.ModuleType("now")
    for module, names in ((then, ["Shop", "Thing"]), (now, moved)):
        module.__dict__.update({name: type(name, (), {"__module__": module.__name__}) for name in names})
        monkeypatch.setitem(sys.modules, module.__name__, module)
    v04.snapshot(2, vars_set(then.Shop(), thing=then.Thing()))
    domain, _ = restore_legacy(now.Shop, v04.path)
    assert type(domain) is now.Shop
    assert type(domain.thing) is (now.Thing if "Thing" in moved else then.Thing)


def test_a_class_that_only_has_the_name_of_the_domains_is_itself(v04: OldDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    other = types.ModuleType("other")
    other.__dict__["Shop"] = type("Shop", (), {"__module__": "other"})
    monkeypatch.setitem(sys.modules, "other", other)
    v04.snapshot(2, shop([other.Shop()]))
    assert type(sold(v04)[0]) is other.Shop


def test_another_class_is_refused(v04: OldDirectory) -> None:
    with pytest.raises(UsageError, match="holds a Shop, not a Wiki"):
        restore_legacy(Wiki, v04.path)


def test_texts_and_dates_of_python_2_are_read(tmp_path: Path) -> None:
    """The bytes are what cPickle of Python 2.7 writes for these calls."""
    directory = OldDirectory(tmp_path / "old")
    (directory.path / "snapshot_000000000000002.dat").write_bytes(PICKLED_SHOP)
    (directory.path / "transaction_000000000000003.log").write_bytes(
        b"\x80\x02ccoopy.foundation\nAction\nq\x01)\x81q\x02}q\x03(U\ttimestampq\x04cdatetime\ndatetime\nq\x05U\n"
        b"\x07\xdc\x06\x01\x0c\x00\x00\x00\x00\x00\x85Rq\x06U\x04argsq\x07U\x05caf\xc3\xa9q\x08\x85q\tU\x07resultsq\n"
        b"]q\x0bh\x05U\n\x07\xdc\x06\x01\x0c\x00\x00\x00\x00\x01\x85Rq\x0caU\tcaller_idq\rK\x01U\x06kwargsq\x0e}"
        b"U\x06actionq\x0fU\x04sellq\x10ub."
        b"\x80\x02h\x01)\x81q\x11}q\x12(h\x04h\x05U\n\x07\xdc\x06\x01\x0c\x00\x00\x00\x00\x00\x85Rq\x13h\x07X\x04\x00"
        b"\x00\x00th\xc3\xa9q\x14\x85q\x15h\n]q\x16cdatetime\ndate\nq\x17U\x04\x07\xdc\x06\x01\x85Rq\x18ah\rK\x01h\x0e}"
        b"h\x0fU\nsell_laterq\x19ub."
    )
    assert sold(directory) == [("caf\xe9", datetime(2012, 6, 1, 12, 0, 0, 1)), ("th\xe9", date(2012, 6, 1))]


@pytest.mark.parametrize(("declared", "accepted"), [(2, True), (3, False), (None, False)])
def test_a_state_is_taken_only_in_the_version_that_its_class_has(
    v07: OldDirectory, declared: int | None, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    v07.snapshot(4, old("coopy.foundation", "VersionedState", version=2, state=shop(["tea"])))
    if declared is not None:
        monkeypatch.setattr(Shop, "__coopy_version__", declared, raising=False)
    if accepted:
        assert sold(v07) == ["tea"]
    else:
        with pytest.raises(StorageError, match="holds version 2 of Shop"):
            restore_legacy(Shop, v07.path)


# -- what is not a directory of old coopy


@each_golden
def test_a_golden_directory_is_recognized(name: str) -> None:
    assert recognize(GOLDEN / name) == DIRECTORIES[name][1].version


def test_recognizing_unpickles_nothing(v04: OldDirectory) -> None:
    for path in v04.path.iterdir():
        path.write_bytes(b"\x80\x05cbuiltins\nexit\n)R.")
    assert recognize(v04.path) == "0.4.6"


def nothing(path: Path) -> None:
    pass


def a_file(path: Path) -> None:
    path.write_bytes(b"\x80")


def empty(path: Path) -> None:
    path.mkdir()


def somebody_elses(path: Path) -> None:
    path.mkdir()
    (path / "coopy.json").write_text('{"version": 1}')
    (path / "snapshot_1.dat").write_bytes(b"\x80")


def unreadable_manifest(path: Path) -> None:
    path.mkdir()
    (path / "coopy.json").write_text("[")
    (path / "snapshot_000000000000002.dat").write_bytes(PICKLED_SHOP)


def of_this_release(path: Path) -> None:
    with coopy.init_system(Shop, path) as system:
        system.sell("tea")


def of_this_release_without_its_manifest(path: Path) -> None:
    of_this_release(path)
    (path / "coopy.json").unlink()


@pytest.mark.parametrize(
    "make",
    [
        nothing,
        a_file,
        empty,
        somebody_elses,
        unreadable_manifest,
        of_this_release,
        of_this_release_without_its_manifest,
    ],
)
def test_anything_else_is_not_recognized_and_is_refused(make: Any, tmp_path: Path) -> None:
    path = tmp_path / "it"
    make(path)
    assert recognize(path) is None
    with pytest.raises(ForeignDirectory, match="is not a data directory of coopy 0.4 or 0.7"):
        import_directory(Shop, path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("members", "error", "message"),
    [
        ({"format_version": 3}, UnsupportedFormat, "has format 3"),
        ({"serializer": "json"}, StorageError, "serializer 'json'.*coopy.convert"),
    ],
)
def test_a_format_that_is_not_read_is_refused(
    v04: OldDirectory, members: dict[str, Any], error: type[CoopyError], message: str
) -> None:
    v04.manifest(**members)
    with pytest.raises(error, match=message):
        restore_legacy(Shop, v04.path)


@pytest.mark.parametrize(("envelope", "what"), [(b"COOPY-HMAC-1\0", "signed"), (b"COOPY-COMPRESSED-1\0zstd\0", "compressed")])
def test_a_pickle_in_an_envelope_is_refused(v07: OldDirectory, envelope: bytes, what: str) -> None:
    path = v07.path / "snapshot_000000000000002.dat"
    path.write_bytes(envelope + path.read_bytes())
    with pytest.raises(StorageError, match=f"{re.escape(str(path))} is {what}.*coopy.convert"):
        restore_legacy(Shop, v07.path)


def test_a_directory_that_a_program_has_open_is_refused(v07: OldDirectory) -> None:
    v07.log(3, call("sell_untimed", "tea"))
    with (v07.path / "coopy.lock").open("w+") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DirectoryInUse, match="4711"):
            restore_legacy(Shop, v07.path)
    assert sold(v07) == ["tea"]


# -- where it is brought to


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("old", "is not an empty directory"),
        ("full", "is not an empty directory"),
        ("file", "is not an empty directory"),
        ("dangling", "is not an empty directory"),
        ("old/new", "which is only read"),
    ],
)
def test_a_target_that_cannot_be_used_is_refused_and_nothing_is_changed(
    v04: OldDirectory, target: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=message):
        import_directory(Shop, v04.path, tmp_path / target)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_directory_is_filled(v04: OldDirectory, tmp_path: Path) -> None:
    v04.log(3, call("sell_untimed", "tea"))
    (tmp_path / "new").mkdir()
    import_directory(Shop, v04.path, tmp_path / "new")
    assert coopy.replay(Shop, tmp_path / "new").sold == ["tea"]
    assert not (tmp_path / "new.import.tmp").exists()


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize("fault", ["the state cannot be stored", "the disk refuses"])
def test_an_import_that_fails_leaves_nothing(
    v04: OldDirectory, fault: str, existed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "some" / "where"
    if existed:
        new.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    expected_error: type[Exception]
    if fault == "the disk refuses":
        rename = os.rename

        def refuse(source: str, target: str) -> None:
            if target == str(new):
                raise OSError(28, "No space left on device")
            rename(source, target)

        monkeypatch.setattr(os, "rename", refuse)
        expected_error = OSError
    else:
        v04.log(3, call("open_a_window"))
        monkeypatch.setattr(Shop, "open_a_window", open_a_window, raising=False)
        expected_error = coopy.EncodingError
        before = sorted(tmp_path.rglob("*"))
    with pytest.raises(expected_error):
        import_directory(Shop, v04.path, new)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("existed", [False, True])
def test_an_import_whose_name_may_not_last_is_taken_back(
    v04: OldDirectory, existed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "some" / "where"
    if existed:
        new.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(importing, "Calls", Refusing)
    with pytest.raises(coopy.JournalError, match=r"Nothing was imported\.") as refusal:
        import_directory(Shop, v04.path, new)
    assert refusal.value.filename == str(new) and sorted(tmp_path.rglob("*")) == before


def test_an_import_that_can_not_be_taken_back_is_said_to_be_there(
    v04: OldDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def once(source: str, target: str) -> None:
        rename(source, target)
        monkeypatch.setattr(os, "rename", refused)

    monkeypatch.setattr(os, "rename", once)
    monkeypatch.setattr(importing, "Calls", Refusing)
    with pytest.raises(coopy.JournalError, match="what is there may not last. Free the cause, remove it, and import again"):
        import_directory(Shop, v04.path, tmp_path / "new")
    assert coopy.replay(Shop, tmp_path / "new").sold == []


@pytest.mark.parametrize("call", ["mkdir", "posix_fallocate", "fdatasync"])
def test_what_is_refused_where_the_new_one_is_made_is_said_of_the_new_one(
    v04: OldDirectory, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, call):
        pytest.skip(f"no {call} here")
    monkeypatch.setattr(os, call, refused)
    with pytest.raises(coopy.JournalError, match=r"No space left on device\. Nothing was imported\.") as refusal:
        import_directory(Shop, v04.path, tmp_path / "new")
    assert refusal.value.filename == str(tmp_path / "new") and [path.name for path in tmp_path.iterdir()] == ["old"]


class Refusing(Calls):
    """Directories can't be synced."""

    def sync_directory(self, path: str) -> None:
        refused()


def refused(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_import_below_a_root_that_can_not_be_seen_ends(
    v04: OldDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing.paths, "exists", lambda path: False)
    with pytest.raises(coopy.JournalError, match="Nothing was imported"):
        import_directory(Shop, v04.path, tmp_path / "new")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOMEM, errno.EACCES])
def test_an_import_that_fails_removes_nothing_that_it_could_not_see(
    v04: OldDirectory, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "ours" / "deep"
    ours.mkdir(parents=True)
    (tmp_path / "ours" / "kept").write_text("kept")
    (ours / "kept").write_text("kept")
    real = os.lstat

    def refuse(path: Any, **options: Any) -> Any:
        if path == str(ours) and len(os.listdir(ours)) == 1:
            raise OSError(code, os.strerror(code), path)
        return real(path, **options)

    monkeypatch.setattr(os, "lstat", refuse)
    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(coopy.JournalError, match="Nothing was imported"):
        import_directory(Shop, v04.path, ours / "new")
    assert [(path.name, path.read_text()) for path in (ours / "kept", tmp_path / "ours" / "kept")] == [("kept", "kept")] * 2
    assert [path.name for path in ours.iterdir()] == ["kept"]


def test_a_directory_that_can_not_be_seen_is_not_said_to_be_no_old_one(
    v04: OldDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def refuse(path: Any, **options: Any) -> Any:
        if path == str(v04.path):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return real(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(coopy.Unreadable, match="It was not read, and nothing was changed"):
        recognize(v04.path)


def open_a_window(self: Any) -> None:
    self.window = (each for each in "glass")


def test_an_import_that_was_killed_is_begun_anew(v04: OldDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    v04.log(3, call("sell_untimed", "tea"))

    class Killed(BaseException):
        pass

    def kill(source: str, target: str) -> None:
        if target == str(tmp_path / "new"):
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("coopy.tools.importing.shutil.rmtree", lambda *_, **__: None)
        patched.setattr("coopy.tools.importing.os.rename", kill)
        with pytest.raises(Killed):
            import_directory(Shop, v04.path, tmp_path / "new")
    assert not (tmp_path / "new").exists() and (tmp_path / "new.import.tmp").exists()
    import_directory(Shop, v04.path, tmp_path / "new")
    assert coopy.replay(Shop, tmp_path / "new").sold == ["tea"] and not (tmp_path / "new.import.tmp").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"cls": shop()}, "must be the domain class"), ({"progress": 1}, "must be callable")],
)
def test_wrong_arguments_are_named(v04: OldDirectory, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        restore_legacy(**{"cls": Shop, "path": v04.path, **arguments})


@pytest.fixture(autouse=True)
def warnings_are_seen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "coopy")

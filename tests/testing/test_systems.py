"""`memory_system`, `open_system`, `crash`, `failing` and `assert_replays`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testing.diary import Diary, sent

import coopy
from coopy import JournalError, SnapshotError, StateChanged, SystemClosed, UsageError, control, init_system
from coopy.testing import assert_replays, crash, failing, memory_system, open_system

Opener = Callable[..., Any]


@pytest.fixture(params=["memory", "directory"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens a diary of either kind."""
    if request.param == "memory":
        return lambda obj=Diary, **options: memory_system(obj, **options)
    return lambda obj=Diary, **options: open_system(obj, tmp_path / "diary", **options)


@pytest.fixture
def in_directory(tmp_path: Path) -> Iterator[Any]:
    diary = open_system(Diary, tmp_path / "diary")
    yield diary
    control(diary).close()


# -- a system in memory is a system


def test_a_system_in_memory_records_takes_snapshots_looks_back_and_closes() -> None:
    diary = memory_system(Diary)
    assert isinstance(diary, Diary)
    assert (diary.write("one"), diary.write("two")) == (1, 2)
    assert control(diary).take_snapshot() == 2
    diary.write("three")
    controls = control(diary)
    assert (controls.index, controls.durable, controls.closed, controls.effects) == (3, 3, False, [])
    assert controls.replay(1).lines == ["one"]
    assert controls.replay().lines == ["one", "two", "three"]
    assert controls.prune(keep=1) == [0]
    assert repr(controls) == "<control of a Diary in memory, action 3>"
    controls.close()
    assert controls.closed
    with pytest.raises(SystemClosed):
        diary.write("four")


@pytest.mark.parametrize("method", ["refuse", "undo"])
def test_a_withdrawn_call_leaves_no_trace_in_memory_either(method: str) -> None:
    diary = memory_system(Diary)
    with pytest.raises(ValueError):
        getattr(diary, method)("nothing")
    diary.write("one")
    assert diary.lines == crash(diary).lines == ["one"]


def test_nothing_of_a_system_in_memory_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with memory_system(Diary) as diary:
        diary.write("one")
        control(diary).take_snapshot()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_called_memory_has_nothing_to_do_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    init_system(Diary, "memory", deterministic=True).close()
    diary = memory_system(Diary)
    assert not control(diary)._system.engine.deterministic


@pytest.mark.parametrize("use", [lambda controls: controls.basedir, lambda controls: controls.basedir_abspath()])
def test_a_system_in_memory_says_that_it_has_no_directory(use: Callable[[Any], Any]) -> None:
    with pytest.raises(UsageError, match="a system in memory has no directory"):
        use(control(memory_system(Diary)))


@pytest.mark.parametrize(
    "option", ["create", "durability", "fork", "segment_bytes", "snapshot_growth", "snapshot_replay", "wait"]
)
def test_an_option_that_needs_a_directory_is_refused_in_memory(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option}=.*no directory"):
        memory_system(Diary, **{option: 1})


def test_an_instance_becomes_a_system_in_memory_and_is_left_alone() -> None:
    plain = control(memory_system(Diary)).replay()
    plain.lines.append("before")
    diary = memory_system(plain)
    diary.write("after")
    assert (diary.lines, plain.lines) == (["before", "after"], ["before"])
    assert crash(diary).lines == ["before", "after"]


def test_check_looks_at_the_state_in_memory_as_well(opening: Opener) -> None:
    diary = opening(check=True)
    diary.write("one")
    diary.all_lines().append("behind its back")
    with pytest.raises(StateChanged, match="all_lines"):
        diary.write("two")
    control(diary).close()


def test_snapshots_in_memory_are_retained_as_asked() -> None:
    diary = memory_system(Diary, keep=1)
    for line in ("one", "two"):
        diary.write(line)
        control(diary).take_snapshot()
    diary = crash(diary)
    diary.write("three")
    assert diary.lines == ["one", "two", "three"]
    assert_replays(diary)
    assert control(diary)._system._snapshots.indexes() == [2]
    with pytest.raises(coopy.PrunedPast):
        control(diary).replay(1)


# -- chance


def test_a_seed_makes_every_run_draw_the_same(opening: Opener, tmp_path: Path) -> None:
    diary = opening(seed=1)
    drawn = [diary.draw(), diary.draw()]
    control(diary).close()
    assert drawn[0] != drawn[1]
    again, other = memory_system(Diary, seed=1), memory_system(Diary, seed="1")
    assert [again.draw(), again.draw()] == drawn
    assert other.draw() != drawn[0]
    assert memory_system(Diary).draw() != memory_system(Diary).draw()


def test_a_directory_keeps_its_seed(tmp_path: Path) -> None:
    with open_system(Diary, tmp_path, seed=1) as diary:
        drawn = diary.draw()
    assert coopy.replay(Diary, tmp_path).tokens == [drawn]
    with pytest.raises(UsageError, match="another seed"):
        open_system(Diary, tmp_path, seed=2)
    with open_system(Diary, tmp_path) as diary:
        after = diary.draw()
    expected = memory_system(Diary, seed=1)
    assert [expected.draw(), expected.draw()] == [drawn, after]


def test_a_seed_is_a_number_or_a_text() -> None:
    with pytest.raises(UsageError, match="seed=1.5"):
        memory_system(Diary, seed=1.5)  # type: ignore[call-overload]


# -- crashes


def test_a_crash_keeps_every_call_and_the_old_proxy_is_done(opening: Opener) -> None:
    diary = opening()
    diary.write("one")
    control(diary).take_snapshot()
    diary.write("two")
    with pytest.raises(ValueError):
        diary.write_and_raise("three")
    again = crash(diary)
    assert again.lines == ["one", "two", "three"]
    assert control(again).index == 3
    for use in (lambda: diary.write("x"), diary.all_lines, lambda: diary.lines):
        with pytest.raises(SystemClosed):
            use()
    assert again.write("four") == 4
    assert crash(again).lines == ["one", "two", "three", "four"]


def test_a_crash_leaves_the_end_without_an_amendment_and_closing_with_one(tmp_path: Path) -> None:
    ends: list[int] = []
    endings: list[Callable[[Any], object]] = [crash, lambda diary: control(diary).close()]
    for end in endings:
        diary = open_system(Diary, tmp_path / str(len(ends)))
        diary.write("one")
        files = control(diary).basedir
        end(diary)
        ends.append(len((Path(files) / "transaction_000000000000001.log").read_bytes().rstrip(b"\0")))
    assert ends[0] < ends[1]


def test_a_crash_opens_with_the_same_options(tmp_path: Path) -> None:
    diary = open_system(Diary, tmp_path, keep=1, seed=7)
    again = crash(diary)
    again.write("one")
    control(again).take_snapshot()
    assert control(again)._system._snapshots.indexes() == [1]
    assert again.draw() == _second_draw_of_seed_7()
    control(again).close()


def _second_draw_of_seed_7() -> str:
    diary = memory_system(Diary, seed=7)
    diary.write("one")
    return str(diary.draw())


@pytest.mark.parametrize("durability, kept", [("sync", ["one", "two", "three"]), ("buffered", ["one"])])
def test_a_power_cut_keeps_what_was_synced_and_no_more(tmp_path: Path, durability: str, kept: list[str]) -> None:
    with open_system(Diary, tmp_path, durability=durability) as diary:
        diary.write("one")
    diary = open_system(Diary, tmp_path, durability=durability)
    diary.write("two")
    diary.write("three")
    again = crash(diary, power=True)
    assert again.lines == kept
    assert again.write("more") == len(kept) + 1
    again = crash(again)
    assert again.lines == [*kept, "more"], "the operating system has it, and it was opened with the power on"
    assert_replays(again)
    control(again).close()


def test_a_snapshot_survives_the_power_cut_that_takes_the_actions_behind_it(tmp_path: Path) -> None:
    diary = open_system(Diary, tmp_path, durability="buffered")
    diary.write("one")
    control(diary).take_snapshot()
    diary.write("two")
    again = crash(diary, power=True)
    assert again.lines == ["one"]
    control(again).close()


def test_a_power_cut_over_several_segments_takes_what_came_after_the_last_sync(tmp_path: Path) -> None:
    diary = open_system(Diary, tmp_path, segment_bytes=1 << 20)
    for number in range(30):
        diary.write(f"{number}" + "x" * 100_000)
    again = crash(diary, power=True)
    assert len(again.lines) == 30
    assert len(list(tmp_path.glob("transaction_*.log"))) > 1
    control(again).close()


def test_the_first_segment_of_a_system_loses_what_was_not_synced_too(tmp_path: Path) -> None:
    diary = open_system(Diary, tmp_path, durability="buffered")
    diary.write("one")
    again = crash(diary, power=True)
    assert again.lines == []
    control(again).close()


@pytest.mark.parametrize("power", [False, True])
def test_what_cannot_crash_says_so_and_goes_on(in_directory: Any, tmp_path: Path, power: bool) -> None:
    with init_system(Diary, tmp_path / "other") as other:
        with pytest.raises(UsageError, match="opened by init_system"):
            crash(other, power=power)
        other.write("goes on")
    memory = memory_system(Diary)
    if power:
        with pytest.raises(UsageError, match="no disk to lose its power"):
            crash(memory, power=True)
        assert memory.write("goes on") == 1
    control(in_directory).close()
    with pytest.raises(UsageError, match="closed already"):
        crash(in_directory, power=power)
    with pytest.raises(UsageError, match=r"control\(\) takes"):
        crash(Diary)


class Suicidal:
    system: Any = None
    """As others know it."""

    def end(self, how: str) -> None:
        {"crash": crash, "assert_replays": assert_replays}[how](Suicidal.system)


@pytest.mark.parametrize("how", ["crash", "assert_replays"])
def test_nothing_of_it_is_done_inside_an_action(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = memory_system(Suicidal, validation="off")
    monkeypatch.setattr(Suicidal, "system", system)
    with pytest.raises(UsageError, match="inside"):
        system.end(how)
    assert control(system).index == 1 and not control(system).closed


# -- faults


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_append_that_fails_changes_nothing_and_the_next_call_succeeds(opening: Opener, code: int) -> None:
    diary = opening()
    diary.write("one")
    with failing(diary, "append", code):
        with pytest.raises(JournalError, match="nothing has changed") as refusal:
            diary.write("two")
        assert refusal.value.errno == code
        assert (diary.lines, control(diary).index) == (["one"], 1)
    assert diary.write("three") == 2
    assert crash(diary).lines == ["one", "three"]


def test_after_a_sync_that_fails_everything_is_refused_until_it_is_opened_again(opening: Opener) -> None:
    diary = opening()
    diary.write("one")
    with failing(diary, "sync", errno.EIO), pytest.raises(JournalError) as refusal:
        diary.write("two")
    assert refusal.value.errno == errno.EIO
    for use in (lambda: diary.write("x"), diary.all_lines, lambda: diary.lines):
        with pytest.raises(JournalError):
            use()
    assert control(diary).closed
    again = crash(diary)
    assert again.lines == ["one", "two"], "a process that is killed loses nothing"
    again.write("three")
    control(again).close()


def test_a_snapshot_that_fails_is_reported_and_the_system_goes_on(opening: Opener) -> None:
    diary = opening()
    diary.write("one")
    with failing(diary, "snapshot"):
        with pytest.raises(SnapshotError, match="No space left"):
            control(diary).take_snapshot()
        diary.write("two")
    assert control(diary).take_snapshot() == 2
    assert crash(diary).lines == ["one", "two"]


def test_a_fault_of_the_journal_is_none_of_the_snapshots(opening: Opener) -> None:
    diary = opening()
    diary.write("one")
    for what in ("sync", "append"):
        with failing(diary, what):
            assert control(diary).take_snapshot() == 1
    assert diary.write("two") == 2
    control(diary).close()


def test_a_fault_that_there_is_not_and_a_system_that_cannot_have_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'append', 'sync', 'snapshot'"):
        with failing(memory_system(Diary), "everything"):
            pass
    with init_system(Diary, tmp_path) as diary, pytest.raises(UsageError, match="opened by init_system"):
        with failing(diary, "append"):
            pass


# -- replays


def test_a_system_that_replays_passes_whatever_its_calls_did(opening: Opener) -> None:
    diary = opening(seed=1)
    for use in (diary.write_and_raise, diary.refuse, diary.undo):
        with pytest.raises(ValueError):
            use("x")
    diary.draw()
    diary.mark = "set"
    control(diary).take_snapshot()
    diary.write("one")
    assert_replays(diary)
    control(diary).close()
    with pytest.raises(SystemClosed):
        assert_replays(diary)


def test_what_was_changed_outside_any_action_is_named(opening: Opener) -> None:
    diary = opening()
    diary.write("one")
    assert_replays(diary)
    diary.lines.append("behind its back")
    with pytest.raises(AssertionError, match=r"from the first state to action 1 differs at \.lines\."):
        assert_replays(diary)
    control(diary).close()


def test_a_change_that_a_snapshot_has_kept_is_still_found(opening: Opener) -> None:
    diary = opening()
    diary.write("one")
    diary.lines.append("behind its back")
    control(diary).take_snapshot()
    with pytest.raises(AssertionError, match="from the first state"):
        assert_replays(diary)
    control(diary).close()


class Forgetful:
    """Unpickled, it is not what was pickled."""

    def __init__(self) -> None:
        self.calls = 0
        self.restored = 0

    def call(self) -> None:
        self.calls += 1

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, restored=state["calls"])


def test_a_state_that_a_restart_gives_otherwise_is_found_from_the_newest_snapshot() -> None:
    system = memory_system(Forgetful)
    system.call()
    assert_replays(system)
    control(system).take_snapshot()
    with pytest.raises(AssertionError, match="from the snapshot of action 1 to action 1 differs at .restored"):
        assert_replays(system)


def test_it_works_for_a_system_of_init_system(tmp_path: Path) -> None:
    with init_system(Diary, tmp_path) as diary:
        diary.write("one")
        assert_replays(diary)
        diary.lines.append("behind its back")
        with pytest.raises(AssertionError, match="lines"):
            assert_replays(diary)


# -- effects


def test_effects_of_a_system_in_memory_are_carried_out_and_not_again_when_it_replays() -> None:
    sent.clear()
    diary = memory_system(Diary)
    diary.tell("hello")
    control(diary)._system._delivery.finish()
    again = crash(diary)
    assert_replays(again)
    control(again).close()
    assert sent == ["hello"]

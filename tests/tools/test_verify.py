"""`verify` finds damaged bytes, snapshots that replay does not give, and what other processes would do otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handed
import pytest
from tools import verify_domains
from tools.verify_domains import Clean, Environment, Loaded, Locked, Odd, Ordered, Placed, Remembering, Spoiling, Zoned

import coopy
from coopy import UsageError, control, init_system
from coopy.disk.frame import OVERHEAD
from coopy.ground import action
from coopy.ground.record import AMENDMENT_BYTES
from coopy.past.reading import Reading
from coopy.spine.engine import _AfterHead
from coopy.tools import verify as module
from coopy.tools.verify import Problem, verify

TESTS = str(Path(__file__).resolve().parents[1])


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    # Other processes import the domains by the name that they have here.
    monkeypatch.syspath_prepend(TESTS)


def opened(cls: type, basedir: Path) -> Any:
    return init_system(cls, basedir, validation="off", segment_bytes=1 << 20, durability="buffered")


def fill(system: Any, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        system.add(f"word {number}")


class Called(handed.Called):
    domain = Clean


def fill_together(system: Any, count: int, first: int = 0) -> None:
    """One of them raises."""
    calls = [Called("add", f"word {number}") for number in range(first, first + count - 1)]
    calls.insert(count // 2, Called("add", "bad"))
    engine = system._coopy_engine
    engine.settle(engine.begin_all(calls))
    assert [each.outcome for each in calls].count(ValueError) == 1


def snapshot(basedir: Path, index: int) -> Path:
    return basedir / f"snapshot_{index:015d}.dat"


def segments(basedir: Path) -> list[Path]:
    return sorted(basedir.glob("transaction_*.log"))


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Three segments, three snapshots, actions of every outcome; closed."""
    with opened(Clean, tmp_path / "data") as system:
        for part in range(3):
            fill(system, 5, part * 5)
            for refused in (system.refuse, lambda: system.add("bad")):
                with pytest.raises(ValueError):
                    refused()
            system.add("x" * 600_000)
            if part < 2:
                system.take_snapshot()
    return tmp_path / "data"


@pytest.mark.parametrize("twice", [False, True])
def test_a_clean_directory_has_no_problems_and_all_of_it_was_checked(clean: Path, twice: bool) -> None:
    before = {path.name: path.read_bytes() for path in clean.iterdir()}
    found = verify(clean, Clean, twice=twice)
    assert found.problems == []
    assert (found.segments, found.snapshots, found.actions) == (len(segments(clean)), 3, 24)
    assert found.segments > 1
    assert found.bytes == sum(path.stat().st_size for path in clean.iterdir())
    assert {path.name: path.read_bytes() for path in clean.iterdir()} == before


def test_an_open_system_can_be_verified(tmp_path: Path) -> None:
    with opened(Clean, tmp_path) as system:
        fill(system, 10)
        system.take_snapshot()
        fill(system, 10)
        found = verify(tmp_path, Clean, twice=True)
        assert (found.problems, found.actions) == ([], 20)
        system.add("still open")


def test_an_action_whose_outcome_was_never_recorded_is_withdrawn_in_every_process(tmp_path: Path) -> None:
    system = opened(Spoiling, tmp_path)
    fill(system, 3)
    with pytest.raises(ValueError):
        system.refuse()
    control(system)._system.abandon()
    # As if the process had ended between the call and the record that it is withdrawn.
    [path] = segments(tmp_path)
    data = path.read_bytes()
    written = data.rstrip(b"\0")[: -OVERHEAD - AMENDMENT_BYTES]
    path.write_bytes(written.ljust(len(data), b"\0"))
    assert coopy.replay(Spoiling, tmp_path).words == ["word 0", "word 1", "word 2"]
    assert verify(tmp_path, Spoiling, twice=True).problems == []


def test_what_an_open_system_prunes_meanwhile_is_not_missing(tmp_path: Path) -> None:
    pruned: list[int] = []
    with opened(Clean, tmp_path) as system:
        for part in range(3):
            fill(system, 5, 5 * part)
            system.take_snapshot()

        def progress(phase: str, done: int, total: int) -> None:
            if phase == "reading" and done == total and not pruned:
                pruned.extend(control(system).prune(keep=1))

        found = verify(tmp_path, Clean, progress=progress)
    assert pruned == [0, 5, 10]
    assert (found.problems, found.snapshots, found.actions) == ([], 1, 0)


def test_progress_is_told_in_bytes_and_actions(clean: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verify(clean, Clean, twice=True, progress=lambda *each: told.append(each))
    assert list(dict.fromkeys(phase for phase, _, _ in told)) == ["reading", "replaying", "replaying twice"]
    assert ("replaying", 24, 24) in told
    assert all(done <= total for _, done, total in told)


# -- bytes


def damaged(found: module.Verified) -> list[tuple[str, int | None]]:
    assert {each.kind for each in found.problems} <= {"damage"}
    return [(each.where, each.index) for each in found.problems]


@pytest.mark.parametrize("index", [0, 8, 16])
def test_every_snapshot_is_read_also_those_that_opening_would_not(clean: Path, index: int) -> None:
    flip(snapshot(clean, index), -30)
    found = verify(clean, Clean)
    assert damaged(found) == [(snapshot(clean, index).name, index)]
    assert found.actions == (16 if index == 0 else 24), "replayed from the oldest that is whole"


def test_damaged_snapshots_are_all_named(clean: Path) -> None:
    for index in (0, 8, 16):
        flip(snapshot(clean, index), 70)
    assert [index for _, index in damaged(verify(clean, Clean))] == [0, 8, 16]


def test_a_damaged_segment_is_named_and_what_follows_the_next_snapshot_is_replayed(clean: Path) -> None:
    path = segments(clean)[0]
    flip(path, 200)
    found = verify(clean, Clean)
    [(where, index)] = damaged(found)
    assert where.startswith(path.name) and index is not None and 1 <= index <= 3
    assert found.actions == 8, "from the snapshot of action 16 on; that of action 8 is in the same segment"


def test_a_missing_segment_is_named(clean: Path) -> None:
    path = segments(clean)[1]
    path.unlink()
    [problem] = verify(clean, Clean).problems
    assert problem.kind == "damage"
    assert "missing" in problem.text or "not there" in problem.text


def test_a_manifest_that_does_not_read_is_a_problem_and_not_an_exception(clean: Path) -> None:
    flip(clean / "coopy.json", 30)
    [problem] = verify(clean, Clean).problems
    assert (problem.kind, problem.where.partition(",")[0]) == ("damage", "coopy.json")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_where_there_is_no_system_that_is_wrong_use(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "none")
    with pytest.raises(UsageError):
        verify(tmp_path / "none", Clean)


# -- actions that were appended together


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Five times 20 actions that lie in a frame each, and snapshots at 0, 40 and 80; closed."""
    with opened(Clean, tmp_path / "crowd") as system:
        for part in range(5):
            fill_together(system, 20, 20 * part)
            if part in (1, 3):
                system.take_snapshot()
    return tmp_path / "crowd"


def place_of(basedir: Path, index: int) -> int:
    """The offset of an action's frame."""
    with Reading(str(basedir)) as reading:
        return int(reading.log.where(index).rpartition(", byte ")[2])


@pytest.mark.parametrize("twice", [False, True])
def test_actions_that_were_appended_together_are_all_replayed(crowd: Path, twice: bool) -> None:
    assert place_of(crowd, 21) == place_of(crowd, 40) < place_of(crowd, 41)
    found = verify(crowd, Clean, twice=twice)
    assert (found.problems, found.snapshots, found.actions) == ([], 3, 100)


@pytest.mark.parametrize(("index", "first"), [(1, 1), (30, 21), (50, 41), (99, 81)])
def test_a_damaged_frame_of_several_is_named_by_its_place_and_its_first_action(crowd: Path, index: int, first: int) -> None:
    place = place_of(crowd, index)
    flip(segments(crowd)[0], place + 300)
    found = verify(crowd, Clean)
    assert damaged(found) == [(f"{segments(crowd)[0].name}, byte {place}", first)]
    assert f"the whole frame of action {first}" in found.problems[0].text


def test_a_snapshot_inside_of_a_damaged_frame_is_no_second_problem(crowd: Path) -> None:
    with Reading(str(crowd), Clean) as reading:
        machine = reading.machine(50)
        head = action.head(machine.header, machine.outcome, machine.version, machine.besides())
        reading.snapshots.write(50, lambda file: reading.codec.dump_state(machine.domain, _AfterHead(file, head)))
    found = verify(crowd, Clean)
    assert (found.problems, found.snapshots, found.actions) == ([], 4, 100), "it is what replay gives"
    flip(segments(crowd)[0], place_of(crowd, 50) + 300)
    found = verify(crowd, Clean)
    assert [index for _, index in damaged(found)] == [41]


# -- replay and snapshots


def state_of(system: Any) -> Any:
    return control(system)._system.engine.machine.domain


def other_word(domain: Any) -> Callable[[], None]:
    domain.words[2] = "another word"
    return lambda: domain.words.__setitem__(2, "word 2")


def no_word(domain: Any) -> Callable[[], None]:
    word = domain.words.pop()
    return lambda: domain.words.append(word)


def other_order(domain: Any) -> Callable[[], None]:
    del domain.me["self"]
    domain.me.update(also=1, self=domain)
    return lambda: domain.me.pop("also") and None


def not_shared(domain: Any) -> Callable[[], None]:
    words, domain.words = domain.words, domain.words.copy()
    domain.me["words"] = words
    return lambda: None


@pytest.mark.parametrize(
    ("change", "place", "told"),
    [
        (other_word, ".words[2]", "'another word' in the snapshot and 'word 2' by replay"),
        (no_word, ".words[4]", "nothing in the snapshot and 'word 4' by replay"),
        (other_order, ".me['also']", "1 in the snapshot and nothing by replay"),
        (not_shared, ".me['words']", "in the snapshot and nothing by replay"),
    ],
)
def test_a_snapshot_that_replay_does_not_give_is_named_with_the_place(
    tmp_path: Path, change: Callable[[Any], Callable[[], None]], place: str, told: str
) -> None:
    with opened(Clean, tmp_path) as system:
        fill(system, 5)
        put_back = change(state_of(system))
        system.take_snapshot()
        put_back()
        fill(system, 1, 5)
    [problem] = verify(tmp_path, Clean).problems
    assert (problem.kind, problem.index, problem.where) == ("snapshot", 5, place)
    assert told in problem.text
    assert snapshot(tmp_path, 5).name in problem.text


def test_a_snapshot_in_which_only_an_order_differs_is_named_with_the_place(tmp_path: Path) -> None:
    with opened(Clean, tmp_path) as system:
        system.also = 1
        domain = state_of(system)
        system.turn()
        kept = domain.me
        domain.me = dict(reversed(kept.items()))
        system.take_snapshot()
        domain.me = kept
    [problem] = verify(tmp_path, Clean).problems
    assert (problem.kind, problem.index, problem.where) == ("snapshot", 2, ".me")
    assert "order" in problem.text or "in the snapshot" in problem.text


def test_a_snapshot_that_waits_for_an_effect_that_nobody_asked_for_is_a_problem(tmp_path: Path) -> None:
    with opened(Clean, tmp_path) as system:
        fill(system, 2)
        effects = control(system)._system.engine.machine.effects
        effects["1.0"] = b"an effect"
        system.take_snapshot()
        del effects["1.0"]
    [problem] = verify(tmp_path, Clean).problems
    assert (problem.kind, problem.index) == ("snapshot", 2)
    assert "the effects ['1.0']" in problem.text


def test_every_snapshot_is_compared(tmp_path: Path) -> None:
    with opened(Clean, tmp_path) as system:
        for part in range(4):
            fill(system, 5, 5 * part)
            put_back = other_word(state_of(system)) if part % 2 else lambda: None
            system.take_snapshot()
            put_back()
    assert [problem.index for problem in verify(tmp_path, Clean).problems] == [10, 20]


def test_an_action_that_ends_otherwise_is_named_and_replay_goes_on_behind_the_next_snapshot(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Clean.add

    def added(self: Clean, word: str) -> int:
        if word == "word 6":
            raise LookupError(word)
        return add(self, word)

    monkeypatch.setattr(Clean, "add", added)
    found = verify(clean, Clean)
    [problem] = found.problems
    assert (problem.kind, problem.index, problem.method) == ("replay", 10, "add")
    assert "LookupError" in problem.text and problem.where.startswith(str(segments(clean)[0]))
    assert found.actions == 9 + 8


def test_a_method_that_is_gone_is_a_problem(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Clean, "add")
    assert [(each.kind, each.index, each.method) for each in verify(clean, Clean).problems] == [
        ("replay", 1, "add"),
        ("replay", 9, "add"),
        ("replay", 17, "add"),
    ]


def test_a_snapshot_that_does_not_load_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(Locked, tmp_path) as system:
        fill(system, 2)
        system.take_snapshot()
    monkeypatch.delattr(verify_domains, "Odd")
    found = verify(tmp_path, Locked)
    assert [(each.kind, each.index) for each in found.problems] == [("snapshot", 0), ("snapshot", 2)]
    assert "Odd" in found.problems[0].text


def test_a_state_that_cannot_be_digested_is_a_problem_that_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(Locked, tmp_path) as system:
        fill(system, 2)
    monkeypatch.setattr(Odd, "digestible", False)
    [problem] = verify(tmp_path, Locked).problems
    assert (problem.kind, problem.index, problem.where) == ("state", 2, ".odd")
    assert "not today" in problem.text


# -- other processes


def told_of(problems: list[Problem]) -> list[tuple[str, int | None, str | None]]:
    return [(each.kind, each.index, each.method) for each in problems]


def test_a_set_that_is_listed_is_reported_with_its_action_and_the_place(tmp_path: Path) -> None:
    with opened(Ordered, tmp_path) as system:
        fill(system, 40)
        system.list_all("Index", page="Home")
        fill(system, 20, 40)
        system.list_all("Index again")
    [problem] = verify(tmp_path, Ordered, twice=True).problems
    assert told_of([problem]) == [("process", 41, "list_all")]
    assert problem.where.startswith(".pages['Home']['links'][")
    assert "list_all('Index', page='Home')" in problem.text
    assert "hash seed 1" in problem.text and "hash seed 2" in problem.text


@pytest.mark.parametrize("at", [1, 10, 30])
def test_the_environment_is_reported_at_the_first_action_that_reads_it(tmp_path: Path, at: int) -> None:
    with opened(Environment, tmp_path) as system:
        fill(system, at - 1)
        system.look("USER")
        fill(system, 30 - at)
    [problem] = verify(tmp_path, Environment, twice=True).problems
    assert told_of([problem]) == [("process", at, "look")]
    assert problem.where == ".seen_there"
    assert "look('USER')" in problem.text and "'not there'" in problem.text and "'other'" in problem.text


def test_what_is_the_same_in_both_and_other_than_here_is_reported_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "of this process alone")
    with opened(Environment, tmp_path) as system:
        fill(system, 5)
        system.look("LANG")
        fill(system, 5)
    [problem] = verify(tmp_path, Environment, twice=True).problems
    assert told_of([problem]) == [("process", 6, "look")]


def test_an_outcome_that_only_one_process_has_is_reported_at_its_action(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP", "tea")
    with opened(Environment, tmp_path) as system:
        fill(system, 7)
        system.need("SHOP")
        fill(system, 7)
    [problem] = verify(tmp_path, Environment, twice=True).problems
    assert told_of([problem]) == [("process", 8, "need")]
    assert "KeyError" in problem.text and "went on" in problem.text


def test_a_state_that_differs_is_reported_before_an_outcome_that_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", "tea")
    with opened(Environment, tmp_path) as system:
        fill(system, 3)
        system.look("SHOP")
        system.need("SHOP")
        fill(system, 60)
    [problem] = verify(tmp_path, Environment, twice=True).problems
    assert told_of([problem]) == [("process", 4, "look")]
    assert ".seen_there" in problem.text


@pytest.mark.parametrize(("cls", "arguments"), [(Zoned, (0,)), (Placed, ())])
def test_the_local_time_zone_and_the_working_directory_are_reported(
    tmp_path: Path, cls: type, arguments: tuple[Any, ...]
) -> None:
    with opened(cls, tmp_path) as system:
        fill(system, 5)
        system.note(*arguments)
    [problem] = verify(tmp_path, cls, twice=True).problems
    assert (told_of([problem]), problem.where) == ([("process", 6, "note")], ".at")


def test_what_a_module_keeps_from_before_is_reported(tmp_path: Path) -> None:
    with opened(Remembering, tmp_path) as system:
        fill(system, 5)
        system.note()
    [problem] = verify(tmp_path, Remembering, twice=True).problems
    assert problem.kind == "process" and "variable of a module" in problem.text


def test_a_state_that_differs_as_soon_as_it_is_loaded_is_reported_without_an_action(tmp_path: Path) -> None:
    with opened(Loaded, tmp_path) as system:
        fill(system, 3)
    [problem] = verify(tmp_path, Loaded, twice=True).problems
    assert (told_of([problem]), problem.where) == ([("process", 0, None)], ".loaded")


def test_with_something_wrong_further_on_what_comes_before_it_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(Environment, tmp_path) as system:
        fill(system, 3)
        system.look("USER")
        system.need("PATH")
        fill(system, 3)
    monkeypatch.delenv("PATH")
    assert told_of(verify(tmp_path, Environment, twice=True).problems) == [("replay", 5, "need"), ("process", 4, "look")]


@pytest.mark.parametrize("twice", [False, True])
def test_a_class_that_others_cannot_import_is_refused_only_if_they_have_to(tmp_path: Path, twice: bool) -> None:
    class Local(Clean):
        pass

    with opened(Local, tmp_path) as system:
        fill(system, 2)
    if twice:
        with pytest.raises(UsageError, match="module that can be imported"):
            verify(tmp_path, Local, twice=True)
    else:
        assert verify(tmp_path, Local).problems == []


def test_a_module_that_cannot_be_imported_elsewhere_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import os\n\nNEEDED = os.environ['NEEDED']\n\nclass Shop:\n    def sell(self):\n        pass\n"
    (tmp_path / "needing.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NEEDED", "yes")
    needing = __import__("needing")
    with opened(needing.Shop, tmp_path / "data") as system:
        system.sell()
    [problem] = verify(tmp_path / "data", needing.Shop, twice=True).problems
    assert problem.kind == "process" and problem.index is None
    assert "needing cannot be imported: KeyError: 'NEEDED'" in problem.text


def test_processes_and_directories_of_ours_are_gone_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    children: list[Any] = []
    start = module.subprocess.Popen

    def started(*arguments: Any, **settings: Any) -> Any:
        children.append(start(*arguments, **settings))
        return children[-1]

    monkeypatch.setattr(module.subprocess, "Popen", started)
    with opened(Ordered, tmp_path / "data") as system:
        fill(system, 30)
        system.list_all("")
    assert verify(tmp_path / "data", Ordered, twice=True).problems
    assert children and all(child.returncode is not None for child in children)
    assert os.listdir(tmp_path / "temporary") == []

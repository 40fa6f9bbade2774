"""A clock that was years ahead once: a warning, and the way back."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import UsageError, control, init_system, readonly
from coopy.disk import manifest
from coopy.disk.fs import Calls
from coopy.past.reading import Reading
from coopy.past.trail import actions
from coopy.tools import reclock as reclocking
from coopy.tools.backup import backup
from coopy.tools.verify import verify

YEAR_NS = 365 * 86_400 * 1_000_000_000


class Diary:
    def __init__(self) -> None:
        self.entries: list[tuple[str, datetime]] = []

    def write(self, text: str) -> None:
        self.entries.append((text, self._clock.utcnow()))  # type: ignore[attr-defined]

    @readonly
    def texts(self) -> str:
        return "".join(text for text, _ in self.entries)


class Clock:
    """The clock of this machine, which can be set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.time_ns()
        monkeypatch.setattr(time, "time_ns", self.tell)
        monkeypatch.setattr("coopy.spine.engine._time_ns", self.tell)

    def tell(self) -> int:
        self.now += 1_000_000_000
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def opened(directory: Path) -> Any:
    return init_system(Diary, directory, validation="off")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "this machine's clock" in each.getMessage()]


@pytest.fixture
def ahead(tmp_path: Path, clock: Clock) -> Path:
    """A directory with three actions of now, three of nine years later, and a clock that was put right then."""
    with opened(tmp_path / "data") as diary:
        for text in "abc":
            diary.write(text)
        clock.now += 9 * YEAR_NS
        for text in "def":
            diary.write(text)
    clock.now -= 9 * YEAR_NS
    return tmp_path / "data"


# -- told


def test_it_is_told_at_the_opening_and_at_the_first_call_and_then_no_more(
    ahead: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "coopy")
    with opened(ahead) as diary:
        assert len(warnings(caplog)) == 1
        assert "3284 days" in warnings(caplog)[0] or "3285 days" in warnings(caplog)[0]
        assert f"{ahead}:" in warnings(caplog)[0] and "coopy repair DIR --reclock" in warnings(caplog)[0]
        for text in "ghi":
            diary.write(text)
        assert len(warnings(caplog)) == 2
        diary.texts()
    assert len({when for text, when in coopy.replay(Diary, ahead).entries if text in "fghi"}) == 1, "time stands still"


def test_a_clock_that_is_put_right_while_the_system_is_open_is_told_at_the_next_call(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "coopy")
    with opened(tmp_path) as diary:
        clock.now += YEAR_NS
        diary.write("a")
        assert warnings(caplog) == []
        clock.now -= YEAR_NS
        for text in "bc":
            diary.write(text)
        assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("back_s", [0, 1, 60, 250])
def test_a_clock_that_is_set_a_little_is_no_word_worth(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, back_s: int
) -> None:
    caplog.set_level(logging.WARNING, "coopy")
    with opened(tmp_path) as diary:
        diary.write("a")
    clock.now -= back_s * 1_000_000_000
    with opened(tmp_path) as diary:
        diary.write("b")
    assert warnings(caplog) == []


# -- and put back


def test_after_it_actions_have_the_times_of_the_clock_again_and_the_past_keeps_its_own(
    ahead: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    before = coopy.replay(Diary, ahead).entries
    done = reclocking.reclock(str(ahead), Diary)
    assert (done.index, done.before - done.after > timedelta(days=3000)) == (7, True)
    caplog.set_level(logging.WARNING, "coopy")
    for text in "gh":
        with opened(ahead) as diary:
            diary.write(text)
            times = [when for _, when in diary.entries]
            assert abs(times[-1] - datetime.fromtimestamp(clock.now / 1e9, timezone.utc).replace(tzinfo=None)) < timedelta(
                minutes=1
            )
    assert warnings(caplog) == []
    found = coopy.replay(Diary, ahead)
    assert found.entries[:6] == before and found.texts() == "abcdefgh" and times[6] < times[7]
    assert verify(str(ahead), Diary).problems == []


@pytest.mark.parametrize("snapshots", ["none", "before", "ahead", "after", "at each action"])
def test_a_look_by_time_finds_the_state_that_was_then(tmp_path: Path, clock: Clock, snapshots: str) -> None:
    data = tmp_path / "data"
    moments: list[tuple[datetime, str]] = []

    def write(diary: Any, texts: str) -> None:
        for text in texts:
            diary.write(text)
            moments.append((datetime.fromtimestamp(clock.now / 1e9 + 0.5, timezone.utc), diary.texts()))
            if snapshots == "at each action":
                diary.take_snapshot()

    with opened(data) as diary:
        write(diary, "abc")
        if snapshots == "before":
            diary.take_snapshot()
        clock.now += 9 * YEAR_NS
        write(diary, "def")
        if snapshots == "ahead":
            diary.take_snapshot()
    clock.now -= 9 * YEAR_NS
    clock.now += 3600 * 1_000_000_000
    reclocking.reclock(str(data), Diary)
    with opened(data) as diary:
        write(diary, "ghi")
        if snapshots == "after":
            diary.take_snapshot()
        right = [each for each in moments if each[1] not in ("abcd", "abcde", "abcdef")]
        for moment, texts in right:
            assert coopy.replay(Diary, data, moment).texts() == texts
            assert control(diary).replay(moment).texts() == texts
        # Between: before the clock was put back it was the state before the leap. After all: that of now.
        assert coopy.replay(Diary, data, right[2][0] + timedelta(minutes=1)).texts() == "abc"
        assert (
            coopy.replay(Diary, data, datetime.fromtimestamp(clock.now / 1e9, timezone.utc) + timedelta(days=4000)).texts()
            == "abcdefghi"
        )
    with Reading(str(data), Diary) as reading:
        assert [each.index for each in actions(reading, until=right[-2][0])] == list(range(1, 10))


def test_it_may_be_done_again_and_outlasts_a_backup(ahead: Path, clock: Clock, tmp_path: Path) -> None:
    for _ in range(2):
        reclocking.reclock(str(ahead), Diary)
        with opened(ahead) as diary:
            diary.write("g")
            middle = datetime.fromtimestamp(clock.now / 1e9 + 0.5, timezone.utc)
            texts = diary.texts()
            clock.now += YEAR_NS
            diary.write("z")
        clock.now -= YEAR_NS
        clock.now += 3600 * 1_000_000_000
    reclocking.reclock(str(ahead), Diary)
    assert coopy.replay(Diary, ahead, middle).texts() == texts
    backup(str(ahead), str(tmp_path / "copy"))
    assert coopy.replay(Diary, tmp_path / "copy", middle).texts() == texts
    found = manifest.read(Calls(), str(ahead))
    assert found is not None and len(found.reclocked) == 3


def test_what_was_interrupted_before_its_action_is_done_by_the_next_try(ahead: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("coopy.spine.engine.Engine.put_clock_back", fail)
        reclocking.reclock(str(ahead), Diary)
    assert coopy.replay(Diary, ahead).texts() == "abcdef"
    reclocking.reclock(str(ahead), Diary)
    found = manifest.read(Calls(), str(ahead))
    assert found is not None and [index for index, _ in found.reclocked] == [7]


def test_a_clock_that_is_not_behind_is_not_put_back(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path) as diary:
        diary.write("a")
    before = (tmp_path / "coopy.json").read_bytes()
    assert reclocking.plan(str(tmp_path), Diary) is None
    with pytest.raises(UsageError, match="is not later than this machine's clock"):
        reclocking.reclock(str(tmp_path), Diary)
    assert (tmp_path / "coopy.json").read_bytes() == before
    assert coopy.replay(Diary, tmp_path).texts() == "a"


def test_the_command_says_what_it_would_do_and_does_it_when_told(
    ahead: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("click", reason="the extra [cli] is not installed")
    from coopy.cli.app import app

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(["repair", str(ahead), "--reclock", *words], prog_name="coopy")
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    monkeypatch.setattr("coopy.cli.app._directory_and_class", lambda directory, spec: (directory, Diary))
    before = (ahead / "coopy.json").read_bytes()
    code, out, err = run()
    assert (code, "The last action, 6, has the time" in out, "nothing was changed" in err) == (1, True, True)
    assert json.loads(run("--json")[1])["reclocked"] is None
    assert (ahead / "coopy.json").read_bytes() == before
    code, out, _ = run("--yes")
    assert (code, "from action 7 on" in out) == (0, True)
    code, out, _ = run()
    assert (code, "not later" in out) == (0, True)


def test_the_clock_of_a_node_is_not_put_back_here(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden"
    shutil.copytree(golden / "coopy-0.8.0.dev1-node", tmp_path / "node")
    said = json.loads((tmp_path / "node" / "coopy.json").read_text())
    spec = importlib.util.spec_from_file_location(said["domain"].partition(":")[0], golden / "shop.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        cls = getattr(module, said["domain"].partition(":")[2])
        with pytest.raises(UsageError, match="is a node of a replicated system"):
            reclocking.reclock(str(tmp_path / "node"), cls)
    finally:
        del sys.modules[spec.name]
    assert json.loads((tmp_path / "node" / "coopy.json").read_text()) == said

"""One process, several openings: waiting for who leaves, not beginning anew, forks and reloaders, and all that is open."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from program import environment, write

import coopy
import coopy.testing
from coopy import DirectoryInUse, SystemClosed, UsageError, control, init_system
from coopy.disk.dirlock import DirectoryLock
from coopy.ground.paths import absolute
from coopy.place import directory as place_module


class Counter:
    def __init__(self) -> None:
        self.number = 0

    def add(self) -> int:
        self.number += 1
        return self.number


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    coopy.close_all()


HOLDER = """
    import sys
    from coopy.disk.dirlock import DirectoryLock
    lock = DirectoryLock(sys.argv[1])
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has tmp_path/data open, and leaves it when its input ends."""
    init_system(Counter, tmp_path / "data").close()  # type: ignore[attr-defined]
    script = write(tmp_path / "holder.py", HOLDER)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "data")],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def in_a_child(work: Callable[[], str]) -> str:
    """What a function returns in a forked child."""
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writes, work().encode())
        except BaseException:
            os.write(writes, traceback.format_exc().encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, encoding="utf-8") as said:
        text = said.read()
    os.waitpid(pid, 0)
    return text


def refused(open: Callable[[], Any]) -> str:
    with pytest.raises(DirectoryInUse) as refusal:
        open()
    return str(refusal.value)


# -- wait


def test_who_waits_opens_as_soon_as_the_other_process_has_left(
    tmp_path: Path, held: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(seconds: float) -> None:
        assert held.stdin is not None and held.stdout is not None
        held.stdin.close()
        held.stdout.read()  # Until it ends.

    monkeypatch.setattr(place_module.time, "sleep", leave)
    with init_system(Counter, tmp_path / "data", wait=3600) as counter:
        assert counter.add() == 1


def test_who_has_waited_long_enough_is_refused_with_the_pid(
    tmp_path: Path, held: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"process {held.pid}" in refused(lambda: init_system(Counter, tmp_path / "data"))
    slept: list[float] = []
    monkeypatch.setattr(place_module.time, "sleep", slept.append)
    assert f"process {held.pid}" in refused(lambda: init_system(Counter, tmp_path / "data", wait=0.05))
    assert slept


def test_nobody_waits_for_himself(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path):
        said = refused(lambda: init_system(Counter, tmp_path, wait=3600))
        assert f"this process ({os.getpid()})" in said and "coopy.close_all()" in said


@pytest.mark.parametrize("wait", [-1, float("nan"), float("inf"), "1", None])
def test_what_is_no_time_to_wait_is_refused(tmp_path: Path, wait: Any) -> None:
    with pytest.raises(UsageError, match="wait="):
        init_system(Counter, tmp_path / "data", wait=wait)
    assert not (tmp_path / "data").exists()


# -- create=False


@pytest.mark.parametrize("there", ["nothing", "an empty directory", "a directory of others", "a file"])
def test_where_there_is_no_system_none_is_begun_with_create_false(tmp_path: Path, there: str) -> None:
    path = tmp_path / "above" / "data"
    if there == "a file":
        path.parent.mkdir()
        path.touch()
    elif there != "nothing":
        path.mkdir(parents=True)
    if there == "a directory of others":
        (path / "photos").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="there is no system, and create=False. Nothing was made"):
        init_system(Counter, path, create=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_system_that_is_there_is_opened_with_create_false(tmp_path: Path) -> None:
    with init_system(Counter, tmp_path) as counter:
        counter.add()
    with init_system(Counter, tmp_path, create=False) as counter:
        assert counter.add() == 2


def test_what_a_crash_has_left_of_a_beginning_is_no_system_with_create_false(tmp_path: Path) -> None:
    init_system(Counter, tmp_path).close()  # type: ignore[attr-defined]
    next(tmp_path.glob("snapshot_*")).unlink()
    with pytest.raises(UsageError, match="there is no system, and create=False"):
        init_system(Counter, tmp_path, create=False)
    with init_system(Counter, tmp_path) as counter:
        assert counter.add() == 1


def test_a_directory_without_its_manifest_is_called_what_it_is(tmp_path: Path) -> None:
    init_system(Counter, tmp_path).close()  # type: ignore[attr-defined]
    (tmp_path / "coopy.json").unlink()
    with pytest.raises(coopy.ForeignDirectory, match="no coopy.json"):
        init_system(Counter, tmp_path, create=False)


# -- ~ and ""


@pytest.mark.parametrize("path", ["~", "~/data", "~nobody/data", Path("~/data")])
def test_a_tilde_is_refused_with_both_things_that_it_may_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/srv/ann")
    with pytest.raises(UsageError, match="os.path.expanduser") as refusal:
        init_system(Counter, path)
    assert not list(tmp_path.iterdir())
    if str(path) == "~/data":
        assert "'/srv/ann/data'" in str(refusal.value) and "'./~/data'" in str(refusal.value)


def test_a_directory_whose_name_begins_with_a_tilde_is_given_with_its_dot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with init_system(Counter, "./~data") as counter:
        counter.add()
    assert (tmp_path / "~data" / "coopy.json").exists()
    assert absolute(tmp_path / "~data") == str(tmp_path / "~data")


def test_an_empty_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is no path"):
        init_system(Counter, "")
    assert not list(tmp_path.iterdir())


# -- forks, and who started whom


def test_a_forked_child_is_told_of_the_fork_and_of_the_process_that_has_it(tmp_path: Path) -> None:
    counter = init_system(Counter, tmp_path)

    def call() -> str:
        with pytest.raises(SystemClosed) as refusal:
            counter.add()
        return str(refusal.value)

    said = in_a_child(call)
    assert f"is open in process {os.getpid()}, from which this one was forked" in said and "Open it after the fork" in said
    assert "shared=True" in said
    assert counter.add() == 1
    control(counter).close()
    with pytest.raises(SystemClosed, match="is closed. Open it again"):
        counter.add()


def test_a_forked_child_that_opens_it_again_is_told_so_as_well_and_so_is_its_child(tmp_path: Path) -> None:
    counter = init_system(Counter, tmp_path)

    def again() -> str:
        return refused(lambda: init_system(Counter, tmp_path))

    for said in (in_a_child(again), in_a_child(lambda: in_a_child(again))):
        assert f"process {os.getpid()}, from which this one was forked while it was open" in said, said
        assert "Open it after the fork" in said and "gunicorn" in said and "shared=True" in said
    assert counter.add() == 1


def test_who_is_started_by_the_process_that_has_it_is_told_of_reloaders(tmp_path: Path) -> None:
    counter = init_system(Counter, tmp_path / "data")
    script = write(
        tmp_path / "opener.py", "import sys\nfrom coopy.disk.dirlock import DirectoryLock\nDirectoryLock(sys.argv[1])\n"
    )
    ran = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "data")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"process {os.getpid()}, which has started this one" in ran.stderr
    assert "WERKZEUG_RUN_MAIN or RUN_MAIN" in ran.stderr and "shared=True in both" in ran.stderr
    assert counter.add() == 1


def test_a_stranger_is_told_to_wait_or_to_share(tmp_path: Path, held: subprocess.Popen[str]) -> None:
    assert held.pid != os.getppid()
    said = refused(lambda: DirectoryLock(str(tmp_path / "data")))
    assert "give wait= seconds if it is about to end, or open it with shared=True in both" in said


# -- opened() and close_all()


def test_what_is_open_is_listed_until_it_is_closed(tmp_path: Path) -> None:
    assert coopy.opened() == []
    two, one = init_system(Counter, tmp_path / "two"), init_system(Counter, tmp_path / "one")
    one.add()
    assert [each.basedir for each in coopy.opened()] == [str(tmp_path / "one"), str(tmp_path / "two")]
    assert [each.system is system for each, system in zip(coopy.opened(), (one, two), strict=True)] == [True, True]
    assert [each.index for each in coopy.opened()] == [1, 0]
    control(one).close()
    assert [each.basedir for each in coopy.opened()] == [str(tmp_path / "two")]
    coopy.close_all()
    assert coopy.opened() == []
    coopy.close_all()
    with init_system(Counter, tmp_path / "one", create=False) as again:
        assert again.number == 1


def test_a_cell_that_is_run_again_closes_what_the_run_before_has_opened(tmp_path: Path) -> None:
    kept = []
    for number in (1, 2, 3):
        coopy.close_all()
        counter = init_system(Counter, tmp_path)
        kept.append(counter)
        assert counter.add() == number


def test_systems_in_memory_are_among_them(tmp_path: Path) -> None:
    systems = [coopy.testing.memory_system(Counter) for _ in range(2)]
    assert len(coopy.opened()) == 2 and all(repr(each) for each in coopy.opened())
    coopy.close_all()
    with pytest.raises(SystemClosed):
        systems[0].add()


def test_one_that_can_not_be_closed_keeps_no_other_open(tmp_path: Path) -> None:
    one = coopy.testing.open_system(Counter, tmp_path / "one")
    two = coopy.testing.open_system(Counter, tmp_path / "two")
    one.add()
    with coopy.testing.failing(one, "sync"), pytest.raises(coopy.JournalError):
        coopy.close_all()
    assert coopy.opened() == []
    with pytest.raises(SystemClosed):
        two.add()


def test_a_child_has_nothing_open(tmp_path: Path) -> None:
    counter = init_system(Counter, tmp_path)
    assert in_a_child(lambda: repr(coopy.opened())) == "[]"
    assert in_a_child(lambda: coopy.close_all() or "closed nothing") == "closed nothing"  # type: ignore[func-returns-value]
    assert counter.add() == 1


def test_another_thread_closes_them_all(tmp_path: Path) -> None:
    init_system(Counter, tmp_path / "one")
    kept = init_system(Counter, tmp_path / "two")
    thread = threading.Thread(target=coopy.close_all)
    thread.start()
    thread.join()
    with pytest.raises(SystemClosed):
        kept.add()

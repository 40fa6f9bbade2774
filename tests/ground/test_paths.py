"""Whatever path is given, and whatever the operating system refuses there: an error of ours that says where, and what to do."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from legacy.legacy_domain import Wiki
from rights import of_a_user

import coopy
import coopy.aio
from coopy import CoopyError, JournalError, Unreadable, UsageError, control, init_system
from coopy.ground.paths import absolute
from coopy.past.retention import retention
from coopy.testing import Systems, assert_replays, open_system
from coopy.tools import repair
from coopy.tools.backup import backup
from coopy.tools.cluster import beside
from coopy.tools.contents import contents
from coopy.tools.importing import import_directory
from coopy.tools.legacy import recognize
from coopy.tools.pruning import prune
from coopy.tools.rehearse import rehearse
from coopy.tools.verify import verify

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MANIFEST, SEGMENT, SNAPSHOT = "coopy.json", "transaction_000000000000001.log", "snapshot_000000000000001.dat"
Entry = Callable[[Any], object]


class Pile:
    def __init__(self) -> None:
        self.items: list[int] = []

    def put(self, item: int) -> None:
        self.items.append(item)


def opened(path: Any) -> None:
    control(init_system(Pile, path, validation="off")).close()


def opened_deterministic(path: Any) -> None:
    control(init_system(Pile(), path, validation="off", deterministic=False)).close()


def opened_as_a_master(path: Any) -> None:
    init_system(Pile, path, validation="off", master=True, server="nats://127.0.0.1:1", timeout=0.01)


def opened_in_asyncio(path: Any) -> None:
    async def main() -> None:
        await coopy.aio.close(await coopy.aio.open(Pile, path, validation="off"))

    asyncio.run(main())


def opened_in_a_test(path: Any) -> None:
    control(open_system(Pile, path, validation="off")).close()


def opened_in_a_folder_of_tests(path: Any) -> None:
    systems = Systems(Path.cwd())
    systems.open(Pile, path, validation="off")
    systems.close()


def replayed(path: Any) -> None:
    coopy.replay(Pile, path)


def pruned(path: Any) -> None:
    prune(path, retention(1, None))


def refused(entry: Callable[..., object], *arguments: Any) -> Any:
    """The error of ours that a call raises."""
    try:
        entry(*arguments)
    except Exception as error:
        assert isinstance(error, CoopyError), f"an error of Python: {error!r}"
        return error
    raise AssertionError("it was not refused")


OPENING: list[Entry] = [
    opened,
    opened_deterministic,
    opened_as_a_master,
    opened_in_asyncio,
    opened_in_a_test,
    opened_in_a_folder_of_tests,
]
READING: list[Entry] = [
    replayed,
    contents,
    repair.plan,
    pruned,
    lambda path: verify(path, Pile),
    lambda path: rehearse(path, Pile),
    lambda path: backup(path, "copy"),
]
OTHERS: list[Entry] = [
    lambda path: backup("good", path),
    lambda path: import_directory(Wiki, path, "new"),
    lambda path: import_directory(Wiki, GOLDEN / "coopy-0.4.6", path),
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with a system in ``good``; what was made inaccessible in it is accessible after the test."""
    monkeypatch.chdir(tmp_path)
    system(tmp_path / "good")
    yield tmp_path
    for folder, names, _ in os.walk(tmp_path):
        for name in names:
            os.chmod(os.path.join(folder, name), 0o700, follow_symlinks=os.chmod not in os.supports_follow_symlinks)


def system(path: Path) -> Path:
    with init_system(Pile, path, validation="off", fork=False) as pile:
        pile.put(1)
        control(pile).take_snapshot()
        pile.put(2)
    return path


@pytest.mark.parametrize("path", ["", "a\0b", "a\ud800b", 5, b"abc"], ids=repr)
def test_what_is_no_path_is_wrong_use_everywhere(path: Any) -> None:
    for entry in [*OPENING, *READING, *OTHERS, recognize, beside]:
        refusal = refused(entry, path)
        assert isinstance(refusal, UsageError)
        assert re.search("no path|must be the path", str(refusal))
    assert sorted(os.listdir()) == ["good"]


def test_a_relative_path_without_a_current_directory_is_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError, match="the current directory, which is not there any more"):
        absolute("data")
    assert absolute(tmp_path) == str(tmp_path)


def long_name() -> str:
    return "x" * 300


def long_path() -> str:
    return "/".join(["y" * 200] * 30)


def file() -> str:
    Path("file").touch()
    return "file"


def below_a_file() -> str:
    return f"{file()}/data"


def dangling() -> str:
    os.symlink("nowhere", "dangling")
    return "dangling"


def loop() -> str:
    os.symlink("loop", "loop")
    return "loop"


def below_a_loop() -> str:
    return f"{loop()}/data"


def no_rights() -> str:
    os.mkdir("closed", 0)
    return "closed"


def below_no_rights() -> str:
    return f"{no_rights()}/data"


def unlistable() -> str:
    os.chmod(system(Path("unlistable")), 0o300)
    return "unlistable"


def impassable() -> str:
    os.chmod(system(Path("impassable")), 0o600)
    return "impassable"


@pytest.mark.parametrize(
    "make",
    [
        long_name,
        long_path,
        file,
        below_a_file,
        dangling,
        loop,
        below_a_loop,
        no_rights,
        below_no_rights,
        unlistable,
        impassable,
    ],
    ids=lambda make: make.__name__,
)
def test_what_cannot_be_a_data_directory_is_an_error_of_ours_everywhere(make: Callable[[], str]) -> None:
    path = make()
    others = OTHERS if make not in (dangling,) else OTHERS[:2]
    with of_a_user():
        for entry in [*OPENING, *READING, *others]:
            refusal = refused(entry, path)
            assert not isinstance(refusal, (coopy.DamagedManifest, coopy.DamagedJournal)), "nothing is known to be damaged"
            if make in (no_rights, below_no_rights, unlistable, impassable):
                assert "no coopy.json" not in str(refusal), "nobody could see"


@pytest.mark.parametrize("name", [MANIFEST, SEGMENT, SNAPSHOT])
def test_a_file_that_may_not_be_read_is_named_and_is_no_damage(here: Path, name: str) -> None:
    path = here / "good" / name
    before = {each.name: each.read_bytes() for each in (here / "good").iterdir() if each.name != "lock"}
    path.chmod(0)
    with of_a_user():
        for entry in READING:
            refusal = refused(entry, "good")
            assert isinstance(refusal, (Unreadable, JournalError))
            assert (refusal.errno, Path(refusal.filename).name) == (errno.EACCES, name)
            assert "this user may" in str(refusal)
        for entry in (opened, opened_deterministic, opened_in_asyncio, opened_in_a_test):
            refusal = refused(entry, "good")
            assert isinstance(refusal, JournalError) and Path(refusal.filename).name == name
            assert "was not opened, and what was in it still is" in str(refusal)
    path.chmod(0o600)
    assert {each.name: each.read_bytes() for each in (here / "good").iterdir() if each.name != "lock"} == before
    assert coopy.replay(Pile, "good").items == [1, 2]


def test_a_lock_that_may_not_be_written_keeps_who_writes_out_and_nobody_else(here: Path) -> None:
    (here / "good" / "lock").chmod(0)
    with of_a_user():
        for entry in (opened, pruned):
            refusal = refused(entry, "good")
            assert "could not be locked" in str(refusal) and Path(refusal.filename).name == "lock"
        assert coopy.replay(Pile, "good").items == [1, 2]
        assert verify("good", Pile).problems == []


@pytest.mark.parametrize("name", [MANIFEST, SEGMENT, SNAPSHOT, "lock"])
@pytest.mark.parametrize("what", ["directory", "loop", "dangling"])
def test_what_is_no_file_where_one_must_be_is_an_error_of_ours_or_passed_over(here: Path, name: str, what: str) -> None:
    path = here / "good" / name
    path.unlink()
    if what == "directory":
        path.mkdir()
    else:
        path.symlink_to(name if what == "loop" else "nowhere")
    for entry in [*OPENING[:2], *READING]:
        try:
            entry("good")
        except Exception as error:
            assert isinstance(error, CoopyError) and name in str(error), repr(error)


@pytest.mark.parametrize("call", ["open", "names", "size", "pread"])
@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.ENOMEM, errno.ENOENT, errno.ESTALE])
def test_a_call_that_fails_while_a_past_is_read_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    with init_system(Pile, "good", validation="off") as pile:
        monkeypatch.setattr(f"coopy.disk.fs.Calls.{call}", fail)
        looks = [control(pile).replay, lambda: coopy.replay(Pile, "good")]
        for look in looks + ([lambda: contents("good")] if call == "open" else []):
            refusal = refused(look)
            assert isinstance(refusal, Unreadable) and refusal.errno == code
            assert "It was not read, and nothing was changed" in str(refusal)
        monkeypatch.undo()
        assert control(pile).replay().items == [1, 2]


def test_what_a_reader_of_a_pipe_does_is_not_taken_for_the_disk() -> None:
    """The command line ends quietly where whoever reads what it prints has seen enough."""

    def progress(done: int, total: int) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        coopy.replay(Pile, "good", progress=progress)


def test_a_disk_that_refuses_what_a_tool_writes_is_an_error_of_ours(here: Path) -> None:
    (here / "good").chmod(0o500)
    (here / "closed").mkdir(0o500)
    with of_a_user():
        assert "of what was to go some may be gone. Free the cause and prune again" in str(refused(pruned, "good"))
        assert "There is no copy" in str(refused(backup, "good", "closed/copy"))
        assert isinstance(refused(import_directory, Wiki, GOLDEN / "coopy-0.4.6", "closed/new"), JournalError)
        assert coopy.replay(Pile, "good").items == [1, 2]
    assert os.listdir("closed") == []


def test_a_repair_that_the_disk_refuses_is_an_error_of_ours(here: Path) -> None:
    path = here / "good" / SEGMENT
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xff" + data[101:])
    plan = repair.plan("good")
    assert plan is not None and plan.possible
    (here / "good").chmod(0o500)
    with of_a_user():
        assert "The repair is not finished, and nothing is lost" in str(refused(repair.carry_out, plan))
    (here / "good").chmod(0o700)
    repair.carry_out(plan)
    assert repair.plan("good") is None


def test_a_snapshot_that_may_not_be_read_does_not_end_a_test_with_an_error_of_python(here: Path) -> None:
    pile = open_system(Pile, "good", validation="off")
    (here / "good" / SNAPSHOT).chmod(0)
    with of_a_user():
        assert isinstance(refused(assert_replays, pile), Unreadable)
    control(pile).close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take any name")
def test_a_path_of_bytes_that_are_no_text_is_a_path(here: Path) -> None:
    name = os.fsdecode(b"d\xe9p\xf4t")
    system(here / name)
    assert coopy.replay(Pile, name).items == [1, 2]

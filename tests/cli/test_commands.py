"""The commands, called as `coopy` calls them: what they print, what they say in JSON, and how they end."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from coopy import DamagedJournal, control, init_system

pytest.importorskip("click", reason="the extra [cli] is not installed")

LIBRARY = """
from __future__ import annotations

from coopy import abort_exception


class Book:
    def __init__(self, title, at):
        self.title = title
        self.at = at
        self.readers = set()


class Library:
    def __init__(self):
        self.books = {}
        self.lent = []

    def add(self, title, *, pages=0, cover=None):
        self.books[title] = Book(title, self._clock.now())

    def lend(self, title, reader):
        self.books[title].readers.add(reader)
        self.lent.append((title, reader))

    @abort_exception
    def remove(self, title):
        del self.books[title]


class Smaller:
    def __init__(self):
        self.books = {}

    def add(self, title, *, pages=0, cover=None):
        self.books[title] = title
"""
MODULE = "library_of_the_command_line"
SPEC = f"{MODULE}:Library"

Run = tuple[int, str, str]
Coopy = Callable[..., Run]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with the module of the domain in it."""
    (tmp_path / f"{MODULE}.py").write_text(LIBRARY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop(MODULE, None)


@pytest.fixture
def coopy(here: Path, capsys: pytest.CaptureFixture[str]) -> Coopy:
    def run(*arguments: object) -> Run:
        from coopy.cli.app import app

        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([str(each) for each in arguments], prog_name="coopy")
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def library() -> Any:
    importlib.invalidate_caches()
    sys.path.insert(0, os.getcwd())
    return importlib.import_module(MODULE)


@contextmanager
def opened(directory: Path, **settings: Any) -> Iterator[Any]:
    with control(init_system(library().Library, directory, validation="off", **settings)) as controls:
        yield controls._system.proxy


@pytest.fixture
def data(here: Path) -> Path:
    """Six actions, one of which raised and one that was withdrawn, and snapshots before and after the fourth."""
    with opened(here / "data") as system:
        system.add("Emma", pages=474)
        system.add("Ulysses")
        system.lend("Emma", "ann")
        with pytest.raises(KeyError):
            system.lend("Nothing", "bob")
        system.take_snapshot()
        with pytest.raises(KeyError):
            system.remove("Nothing")
        system.remove("Ulysses")
    return here / "data"


def damage(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)


def damaged(directory: Path) -> Path:
    """A directory of three segments, of which the second is damaged: its only action is the third."""
    with opened(directory, segment_bytes=1 << 20) as system:
        system.add("a")
        for letter in "bcd":
            system.add(letter * 900_000)
    damage(sorted(directory.glob("transaction_*"))[1], 500_000)
    return directory


# -- every command

COMMANDS = ["inspect", "log", "verify", "show", "diff", "snapshot", "prune", "repair", "backup", "import", "rehearse"]


@pytest.mark.parametrize("command", [*COMMANDS, "call", "ps", "tasks"])
def test_the_help_of_a_command_shows_an_example_of_it(coopy: Coopy, command: str) -> None:
    code, out, _ = coopy(command, "--help")
    assert code == 0
    assert "Example" in out
    assert f"\n    coopy {command} " in out
    assert "--json" in out


def test_the_help_names_every_command_and_what_opening_a_directory_means(coopy: Coopy) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        _, *said = coopy(*arguments)
        out = "".join(said)
        assert all(f"\n  {command} " in out for command in [*COMMANDS, "call", "ps", "serve", "tasks"])
        assert "open only directories you trust" in " ".join(out.split())
        assert "..." not in out.partition("Look:")[2] != "", "the first sentence of a command fits on a line"


ARGUMENTS = {
    "diff": ("1", "2"),
    "prune": ("--keep", "1"),
    "backup": ("copy",),
    "import": ("new", "-c", SPEC),
    "rehearse": (SPEC,),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_a_place_without_a_system_is_wrong_use_and_stays_as_it_is(coopy: Coopy, here: Path, command: str, place: str) -> None:
    (here / "empty").mkdir()
    code, out, err = coopy(command, place, *ARGUMENTS.get(command, ()))
    assert code in (1, 2)
    assert err.startswith("coopy: ") or err.splitlines()[-1].startswith("coopy: "), err
    assert place in err
    assert "Traceback" not in err
    assert out == ""
    assert not (here / "nowhere").exists()
    assert not any((here / "empty").iterdir())
    assert not (here / "copy").exists()
    assert not (here / "new").exists()


@pytest.mark.parametrize("command", sorted(ARGUMENTS))
def test_a_missing_argument_is_wrong_use(coopy: Coopy, data: Path, command: str) -> None:
    code, out, err = coopy(command, data)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize("command", ["log", "verify", "show", "diff", "snapshot", "rehearse"])
def test_whose_directory_is_loaded_is_said_before_anything_is_loaded(coopy: Coopy, data: Path, command: str) -> None:
    sys.modules.pop(MODULE, None)
    (data.parent / f"{MODULE}.py").write_text("raise SystemError('the module was loaded')")
    code, _, err = coopy(command, data, *ARGUMENTS.get(command, ()))
    line = err.splitlines()[0]
    assert str(data) in line
    assert SPEC in line
    assert "owned by " in line
    assert "last action 6" in line
    if command != "log":
        assert code == 2
        assert "the module was loaded" in err.splitlines()[1]


def test_a_directory_of_somebody_else_is_said_to_be_so(coopy: Coopy, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: owner + 54_321)
    _, _, err = coopy("log", data)
    assert f", not by you (user {owner + 54_321}), last action 6" in err


@pytest.mark.parametrize("command", ["inspect", "backup", "prune", "repair"])
def test_what_only_looks_at_bytes_loads_nothing(coopy: Coopy, data: Path, command: str) -> None:
    sys.modules.pop(MODULE, None)
    (data.parent / f"{MODULE}.py").write_text("raise SystemError('the module was loaded')")
    code, _, err = coopy(command, data, *ARGUMENTS.get(command, ()))
    assert (code, err) == (0, "")


# -- which class


def test_another_class_can_be_named(coopy: Coopy, data: Path) -> None:
    for option in ("--class", "-c"):
        code, out, _ = coopy("show", data, option, SPEC)
        assert code == 0
        assert "Library" in out


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nothing_of_that_name:Library", "cannot be imported"),
        (f"{MODULE}:Nothing", "has no class of the name Nothing"),
        (f"{MODULE}:annotations", "not a class"),
        (MODULE, "module:Class"),
        (":Library", "module:Class"),
    ],
)
@pytest.mark.parametrize("command", ["show", "log"])
def test_a_class_that_cannot_be_found_is_named_with_what_was_wrong(
    coopy: Coopy, data: Path, command: str, spec: str, says: str
) -> None:
    code, out, err = coopy(command, data, "--class", spec)
    assert (code, out) == (2, "")
    assert says in err


def test_what_an_error_advises_is_said_in_the_words_of_the_command(coopy: Coopy, data: Path) -> None:
    code, _, err = coopy("show", data, "--at", "77777")
    assert code == 2 and "until=" not in err and "77777 is no point of it: the system has actions 1 to" in err
    from coopy.cli.app import in_its_words

    for index in (2, 1031):
        told = in_its_words(str(DamagedJournal("data/segment", 100, index, "its checksum does not match")))
        assert f"look at the state before the damage with `coopy show DIR --at {index - 1}`; `coopy repair DIR` says" in told


def test_where_a_module_was_looked_for_is_said(coopy: Coopy, data: Path) -> None:
    for spec in ("nowhere_at_all:Library", "nowhere_at_all.deep:Library"):
        _, _, err = coopy("show", data, "--class", spec)
        assert "No module named 'nowhere_at_all'. It was looked for in" in err and "set PYTHONPATH." in err and ".." not in err


def test_a_directory_that_has_lost_its_manifest_is_told_from_one_of_something_else(coopy: Coopy, data: Path) -> None:
    (data / "coopy.json").unlink()
    for command in ("inspect", "show", "verify"):
        code, _, err = coopy(command, data)
        assert code == 2 and "holds segments or snapshots but no coopy.json" in err


def test_a_module_that_ends_the_program_is_one_that_cannot_be_imported(coopy: Coopy, data: Path) -> None:
    sys.modules.pop(MODULE, None)
    (data.parent / f"{MODULE}.py").write_text("raise SystemExit(0)")
    code, _, err = coopy("show", data)
    assert code == 2
    assert "cannot be imported: SystemExit" in err


def test_a_class_that_moved_is_asked_for_by_the_name_of_the_option(coopy: Coopy, data: Path) -> None:
    sys.modules.pop(MODULE, None)
    (data.parent / f"{MODULE}.py").rename(data.parent / "moved_library.py")
    code, _, err = coopy("show", data)
    assert code == 2
    assert "--class module:Class" in err


def test_the_class_of_a_main_program_is_asked_for_with_its_file(coopy: Coopy, here: Path) -> None:
    cls = library().Library
    cls.__module__ = "__main__"
    init_system(cls, here / "main", validation="off").close()
    code, _, err = coopy("show", here / "main")
    assert code == 2
    assert "--class program.py:Library" in err


# -- inspect


def test_inspect_describes_the_files(coopy: Coopy, data: Path) -> None:
    code, out, err = coopy("inspect", data)
    assert (code, err) == (0, "")
    assert f"{data}: {SPEC}, made " in out
    assert "not open" in out
    assert "actions 1 to 6" in out
    for path in [*data.glob("transaction_*"), *data.glob("snapshot_*")]:
        assert path.name in out
    code, out, _ = coopy("inspect", data, "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["first"], said["last"], said["domain"]) == (1, 6, SPEC)
    with opened(data):
        assert f"open in process {os.getpid()}" in coopy("inspect", data)[1]


def test_inspect_shows_damage_and_says_so_by_its_exit_code(coopy: Coopy, here: Path) -> None:
    code, out, _ = coopy("inspect", damaged(here / "data"))
    assert code == 1
    assert "damaged" in out
    assert "transaction_000000000000003.log, byte" in out


def test_inspect_describes_a_directory_whose_manifest_does_not_read(coopy: Coopy, data: Path) -> None:
    (data / "coopy.json").write_text("?")
    code, out, _ = coopy("inspect", data)
    assert code == 1
    assert "coopy.json" in out


# -- log


def test_log_prints_one_action_on_a_line(coopy: Coopy, data: Path) -> None:
    code, out, err = coopy("log", data)
    lines = [line.split("  ") for line in out.splitlines()]
    assert code == 0
    assert len(err.splitlines()) == 1
    assert [(line[0], *line[2:]) for line in lines] == [
        ("1", "add('Emma', pages=474)"),
        ("2", "add('Ulysses')"),
        ("3", "lend('Emma', 'ann')"),
        ("4", "lend('Nothing', 'bob')", "raised"),
        ("5", "remove('Nothing')", "withdrawn"),
        ("6", "remove('Ulysses')"),
    ]
    for line in lines:
        assert abs(datetime.fromisoformat(line[1]).timestamp() - datetime.now().timestamp()) < 100


def test_log_in_json_is_an_object_on_a_line(coopy: Coopy, data: Path) -> None:
    _, out, _ = coopy("log", data, "--json")
    said = [json.loads(line) for line in out.splitlines()]
    assert [each["index"] for each in said] == [1, 2, 3, 4, 5, 6]
    assert (said[0]["method"], said[0]["args"], said[0]["kwargs"], said[0]["outcome"]) == (
        "add",
        ["Emma"],
        {"pages": 474},
        "returned",
    )
    assert said[3]["outcome"] == "raised"
    assert datetime.fromisoformat(said[0]["time"]).tzinfo is not None


@pytest.mark.parametrize(
    ("options", "indexes"),
    [
        (("--since", "3"), "3456"),
        (("--until", "2"), "12"),
        (("--since", "2", "--until", "4"), "234"),
        (("--since", "99"), ""),
        (("--since", "0", "--until", "0"), ""),
        (("--method", "lend"), "34"),
        (("--method", "nothing"), ""),
        (("--since", "1h"), "123456"),
        (("--until", "1h"), ""),
        (("--since", "2099-01-01"), ""),
        (("--until", "2099-01-01T00:00:00Z"), "123456"),
    ],
)
def test_log_begins_and_ends_where_it_is_told(coopy: Coopy, data: Path, options: tuple[str, ...], indexes: str) -> None:
    code, out, _ = coopy("log", data, *options)
    assert code == 0
    assert "".join(line[0] for line in out.splitlines()) == indexes


def test_log_cuts_a_line_to_the_terminal_and_nothing_in_json(coopy: Coopy, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with opened(here / "data") as system:
        system.add("x" * 500, cover=list(range(1000)))
        system.add("y", cover=library().Book("inner", datetime(2026, 1, 1)))
    _, out, _ = coopy("log", here / "data")
    assert all(len(line) <= 80 for line in out.splitlines()), out
    assert "xxx'… (500 char" in out
    _, out, _ = coopy("log", here / "data", "--json")
    said = [json.loads(line) for line in out.splitlines()]
    assert said[0]["args"] == ["x" * 500]
    assert said[0]["kwargs"]["cover"] == list(range(1000))
    assert said[1]["kwargs"]["cover"] == {
        "(type)": "Book",
        "title": "inner",
        "at": "datetime.datetime(2026, 1, 1, 0, 0)",
        "readers": [],
    }


def test_log_says_in_its_place_why_an_action_cannot_be_decoded(coopy: Coopy, here: Path) -> None:
    with opened(here / "data") as system:
        system.add("a")
        system.add("b", cover=library().Book("inner", 1))
        system.add("c")
    path = here / f"{MODULE}.py"
    path.write_text(LIBRARY.replace("Book", "Tome"))
    sys.modules.pop(MODULE, None)
    code, out, _ = coopy("log", here / "data")
    assert code == 0
    assert [line[0] for line in out.splitlines()] == ["1", "2", "3"]
    assert "Book" in out.splitlines()[1]
    _, out, _ = coopy("log", here / "data", "--json")
    said = json.loads(out.splitlines()[1])
    assert said["method"] is None
    assert "Book" in said["problem"]


def test_log_needs_no_class_to_show_plain_actions(coopy: Coopy, data: Path) -> None:
    (data.parent / f"{MODULE}.py").unlink()
    sys.modules.pop(MODULE, None)
    code, out, _ = coopy("log", data)
    assert code == 0
    assert len(out.splitlines()) == 6


def test_log_prints_what_is_before_damage_and_ends_with_what_is_wrong(coopy: Coopy, here: Path) -> None:
    code, out, err = coopy("log", damaged(here / "data"))
    assert code == 1
    assert "add('a')" in out.splitlines()[0] and len(out.splitlines()) == 2
    assert "coopy: " in err
    assert "transaction_000000000000003.log, byte 64" in err
    assert "Traceback" not in err


def test_following_ends_with_the_keyboard_alone(coopy: Coopy, data: Path) -> None:
    code, _, err = coopy("log", data, "--follow", "--until", "3")
    assert code == 2
    assert "leave out --until" in err


# -- show


def test_show_draws_the_state(coopy: Coopy, data: Path) -> None:
    code, out, _ = coopy("show", data)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("action 6, ")
    assert lines[1:4] == ["Library", "├─ .books: dict, 1 entry", "│  └─ ['Emma']: Book"]
    assert lines[-1] == "   └─ [0]: ('Emma', 'ann')"


@pytest.mark.parametrize(
    ("options", "last"),
    [
        (("--at", "1"), "└─ .lent: []"),
        (("--at", "0", "--path", "books"), "{}"),
        (("--path", ".books['Emma'].title"), "'Emma'"),
        (("--path", "lent", "--depth", "0"), "list, 1 item"),
        (("--at", "2099-01-01", "--path", "lent[0][1]"), "'ann'"),
    ],
)
def test_show_can_be_told_when_where_and_how_deep(coopy: Coopy, data: Path, options: tuple[str, ...], last: str) -> None:
    code, out, err = coopy("show", data, *options)
    assert code == 0, err
    assert out.splitlines()[-1] == last


def test_show_in_json(coopy: Coopy, data: Path) -> None:
    _, out, _ = coopy("show", data, "--at", 3, "--json", "--depth", "9")
    said = json.loads(out)
    assert said["index"] == 3
    assert list(said["state"]["books"]) == ["Emma", "Ulysses"]
    assert said["state"]["books"]["Emma"]["readers"] == ["ann"]


@pytest.mark.parametrize(
    "options",
    [("--at", "7"), ("--at", "yesterday"), ("--at", "25:99"), ("--path", ".nothing"), ("--path", "["), ("--depth", "few")],
)
def test_show_refuses_what_is_not_there(coopy: Coopy, data: Path, options: tuple[str, ...]) -> None:
    code, out, err = coopy("show", data, *options)
    assert (code, out) == (2, "")
    assert options[0] in err or options[1] in err


# -- diff


def test_diff_says_what_was_added_removed_and_changed(coopy: Coopy, data: Path) -> None:
    code, out, _ = coopy("diff", data, 1, 3)
    assert code == 0
    assert "action 1, " in out.splitlines()[0]
    assert "action 3, " in out.splitlines()[0]
    signs = [line.partition(":")[0] for line in out.splitlines()[1:]]
    assert signs == ["+ .books['Emma'].readers{…}", "+ .books['Ulysses']", "+ .lent[0]"]
    code, out, _ = coopy("diff", data, 3, 1)
    assert [line[0] for line in out.splitlines()[1:]] == ["-", "-", "-"]


def test_diff_of_equal_states_says_so(coopy: Coopy, data: Path) -> None:
    code, out, _ = coopy("diff", data, 4, 5)
    assert (code, out.splitlines()[1:]) == (0, ["no difference"])


def test_diff_in_json(coopy: Coopy, data: Path) -> None:
    _, out, _ = coopy("diff", data, 2, 6, "--json")
    said = json.loads(out)
    assert (said["from"]["index"], said["to"]["index"]) == (2, 6)
    (readers, ulysses, lent) = said["differences"]
    assert (readers["kind"], readers["after"]) == ("added", "ann")
    assert (ulysses["path"], ulysses["kind"], ulysses["before"]["title"]) == (".books['Ulysses']", "removed", "Ulysses")
    assert "after" not in ulysses
    assert lent["after"] == ["Emma", "ann"]


# -- snapshot


def test_snapshot_keeps_the_state_of_a_system_that_is_not_open(coopy: Coopy, data: Path) -> None:
    code, out, _ = coopy("snapshot", data)
    assert code == 0
    assert "snapshot_000000000000006.dat" in out
    assert (data / "snapshot_000000000000006.dat").exists()
    code, out, _ = coopy("snapshot", data, "--json")
    assert json.loads(out) == {
        "index": 6,
        "file": "snapshot_000000000000006.dat",
        "bytes": os.path.getsize(data / "snapshot_000000000000006.dat"),
    }


@pytest.mark.parametrize("command", ["snapshot", "prune"])
def test_a_system_that_is_open_is_refused_with_the_holder(coopy: Coopy, data: Path, command: str) -> None:
    with opened(data):
        code, out, err = coopy(command, data, *ARGUMENTS.get(command, ()))
    assert (code, out) == (1, "")
    assert str(os.getpid()) in err
    assert len(list(data.glob("snapshot_*"))) == 2


# -- prune


def test_prune_deletes_what_need_not_stay_and_says_what_went(coopy: Coopy, data: Path) -> None:
    code, out, _ = coopy("prune", data, "--keep", "1", "--dry-run")
    assert code == 0
    assert "snapshot_000000000000000.dat" in out
    assert "would be deleted" in out
    assert len(list(data.glob("snapshot_*"))) == 2
    code, out, _ = coopy("prune", data, "--keep", "1", "--json")
    said = json.loads(out)
    assert (code, said["snapshots"], said["files"], said["oldest"], said["deleted"]) == (
        0,
        [0],
        ["snapshot_000000000000000.dat"],
        4,
        True,
    )
    assert [path.name for path in data.glob("snapshot_*")] == ["snapshot_000000000000004.dat"]
    code, out, _ = coopy("prune", data, "--keep-for", "30d")
    assert (code, out) == (0, "nothing to delete; the past begins at action 4\n")
    with opened(data) as system:
        assert list(system.books) == ["Emma"]


def test_prune_deletes_the_journal_before_the_snapshot_too(coopy: Coopy, here: Path) -> None:
    with opened(here / "data", segment_bytes=1 << 20) as system:
        for letter in "abc":
            system.add(letter * 900_000)
        system.take_snapshot()
    _, out, _ = coopy("prune", here / "data", "--keep", "1", "--dry-run", "--json")
    said = json.loads(out)
    assert said["deleted"] is False
    _, out, _ = coopy("prune", here / "data", "--keep", "1", "--json")
    assert json.loads(out)["files"] == said["files"]
    assert [name.partition("_")[0] for name in said["files"]] == ["snapshot", "transaction", "transaction"]
    assert not [name for name in said["files"] if (here / "data" / name).exists()]
    with opened(here / "data") as system:
        assert len(system.books) == 3


def test_prune_deletes_nothing_of_a_damaged_system(coopy: Coopy, here: Path) -> None:
    directory = damaged(here / "data")
    (directory / "snapshot_000000000000002.dat").write_bytes(snapshot_of(directory, 2))
    before = sorted(path.name for path in directory.iterdir())
    code, out, err = coopy("prune", directory, "--keep", "1")
    assert (code, out) == (1, "")
    assert "transaction_000000000000003.log" in err
    assert sorted(path.name for path in directory.iterdir()) == before


def snapshot_of(directory: Path, index: int) -> bytes:
    """The bytes of a snapshot at an index, made in a copy of the part of the directory that is whole."""
    import shutil

    copied = directory.with_name("copied")
    shutil.copytree(directory, copied)
    for path in sorted(copied.glob("transaction_*"))[1:]:
        path.unlink()
    with opened(copied) as system:
        assert system.take_snapshot() == index
    return (copied / f"snapshot_{index:015d}.dat").read_bytes()


@pytest.mark.parametrize("options", [("--keep", "0"), ("--keep-for", "30"), ("--keep-for", "soon"), ("--keep", "x")])
def test_prune_refuses_what_makes_no_sense(coopy: Coopy, data: Path, options: tuple[str, ...]) -> None:
    code, out, err = coopy("prune", data, *options)
    assert (code, out) == (2, "")
    assert "keep" in err


# -- backup, import


def test_backup_copies_a_system_that_is_open(coopy: Coopy, data: Path) -> None:
    with opened(data) as system:
        system.add("Persuasion")
        code, out, _ = coopy("backup", data, "copy")
        assert code == 0
        assert "up to action 7" in out
    with opened(data.parent / "copy") as copied:
        assert list(copied.books) == ["Emma", "Persuasion"]
    code, out, _ = coopy("backup", data, "another", "--json")
    assert (code, json.loads(out)["index"]) == (0, 7)


def test_backup_writes_over_nothing(coopy: Coopy, data: Path) -> None:
    (data.parent / "copy").mkdir()
    (data.parent / "copy" / "letter.txt").write_text("dear ann")
    code, _, err = coopy("backup", data, "copy")
    assert code in (1, 2)
    assert "copy" in err
    assert os.listdir(data.parent / "copy") == ["letter.txt"]


def old_directory(here: Path) -> Path:
    """What coopy 0.4 left behind: a snapshot, and no action since."""
    import pickle

    domain = library().Library()
    domain.books["Emma"] = library().Book("Emma", datetime(2012, 1, 1))
    (here / "old").mkdir()
    (here / "old" / "snapshot_000000000000002.dat").write_bytes(pickle.dumps(domain, 2))
    return here / "old"


def test_import_brings_in_an_old_directory(coopy: Coopy, here: Path) -> None:
    old = old_directory(here)
    code, out, err = coopy("import", old, "new", "--class", SPEC)
    assert code == 0, err
    assert "of coopy 0.4" in err
    assert "owned by " in err
    assert "0 actions" in out
    with opened(here / "new") as system:
        assert list(system.books) == ["Emma"]
    code, out, _ = coopy("import", old, "newer", "--class", SPEC, "--json")
    assert json.loads(out)["index"] == 0


def test_an_old_directory_is_recognized_and_the_way_in_is_named(coopy: Coopy, here: Path) -> None:
    code, _, err = coopy("show", old_directory(here))
    assert code == 2
    assert f"coopy import {here / 'old'} NEW" in err


# -- verify, rehearse, repair


def test_verify_says_that_all_is_well(coopy: Coopy, data: Path) -> None:
    code, out, err = coopy("verify", data)
    assert code == 0, err
    assert "replayed 6 actions" in out
    assert out.splitlines()[-1] == "no problem"
    code, out, _ = coopy("verify", data, "--json")
    assert (code, json.loads(out)["problems"]) == (0, [])


def test_verify_prints_every_problem(coopy: Coopy, here: Path) -> None:
    code, out, err = coopy("verify", damaged(here / "data"))
    assert code == 1
    assert "transaction_000000000000003.log" in out
    assert "problem" in out.splitlines()[-1]
    code, out, _ = coopy("verify", here / "data", "--json")
    assert code == 1
    assert json.loads(out)["problems"][0]["text"]


def test_rehearse_says_that_every_action_fits(coopy: Coopy, data: Path) -> None:
    assert coopy("rehearse", data, SPEC)[:2] == (0, "every action fits\n")
    code, out, _ = coopy("rehearse", data, SPEC, "--json")
    assert (code, json.loads(out)) == (0, {"misfits": []})


def test_rehearse_prints_what_does_not_fit_a_changed_class(coopy: Coopy, data: Path) -> None:
    path = data.parent / f"{MODULE}.py"
    path.write_text(LIBRARY.replace("def remove", "def discard"))
    sys.modules.pop(MODULE, None)
    code, out, _ = coopy("rehearse", data, SPEC)
    assert code == 1
    assert "action 6" in out
    assert "remove" in out
    code, out, _ = coopy("rehearse", data, SPEC, "--json")
    assert code == 1
    assert json.loads(out)["misfits"][-1]["method"] == "remove"


def test_repair_finds_nothing_to_do_in_a_whole_directory(coopy: Coopy, data: Path) -> None:
    assert coopy("repair", data) == (0, "nothing is damaged\n", "")
    code, out, _ = coopy("repair", data, "--json")
    assert (code, json.loads(out)) == (0, {"plan": None})


def test_repair_without_a_terminal_prints_its_plan_and_does_nothing(coopy: Coopy, here: Path) -> None:
    directory = damaged(here / "data")
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    code, out, err = coopy("repair", directory)
    assert code == 1
    assert "transaction_000000000000003.log" in out
    assert "--yes" in err
    code, out, _ = coopy("repair", directory, "--json")
    said = json.loads(out)
    assert (code, said["repaired"]) == (1, None)
    assert said["plan"]["possible"] is True
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


@pytest.mark.parametrize("options", [("--yes",), ("--yes", "--json")])
def test_repair_with_yes_makes_the_directory_open_again(coopy: Coopy, here: Path, options: tuple[str, ...]) -> None:
    directory = damaged(here / "data")
    code, out, err = coopy("repair", directory, *options)
    assert code == 0, err
    if "--json" in options:
        assert json.loads(out)["repaired"]["last_index"] == 2
    else:
        assert "it goes up to action 2" in out
    with opened(directory) as system:
        assert [title[0] for title in system.books] == ["a", "b"]


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("", 1), ("y", 1), ("no", 1)])
def test_repair_asks_at_a_terminal_for_the_whole_word(
    coopy: Coopy, here: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    directory = damaged(here / "data")
    monkeypatch.setattr("coopy.cli.app._at_a_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt="": answer)
    assert coopy("repair", directory)[0] == code
    assert coopy("inspect", directory)[0] == code


@pytest.mark.parametrize("options", [("--yes",), ("--yes", "--json")])
def test_an_action_is_withdrawn_and_reinstated(coopy: Coopy, data: Path, options: tuple[str, ...]) -> None:
    (data.parent / f"{MODULE}.py").rename(data.parent / "away")
    for option, kind, code in (("--withdraw", "withdrawn", 0), ("--withdraw", "", 2), ("--reinstate", "reinstated", 0)):
        found, out, err = coopy("repair", data, option, 6, *options)
        assert found == code, err
        if code:
            assert "is withdrawn already" in err
        elif "--json" in options:
            said = json.loads(out)
            assert said["plan"]["call"] == "remove('Ulysses')"
            assert said["repaired"]["files"] == ["transaction_000000000000001.log"]
            assert f"/{kind}-" in said["repaired"]["aside"]
        else:
            assert "remove('Ulysses')" in out
            assert out.splitlines()[-1].startswith(f"action 6 is {kind}. ")
    (data.parent / "away").rename(data.parent / f"{MODULE}.py")
    assert coopy("repair", data, "--withdraw", 6, "--yes")[0] == 0
    with opened(data) as system:
        assert sorted(system.books) == ["Emma", "Ulysses"]


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("", 1), ("y", 1), ("no", 1)])
def test_withdrawing_asks_at_a_terminal_for_the_whole_word(
    coopy: Coopy, data: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    monkeypatch.setattr("coopy.cli.app._at_a_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt="": answer)
    assert coopy("repair", data, "--withdraw", 6)[0] == code
    assert ({path.name for path in data.iterdir()} == set(before)) == (code == 1)


def test_withdrawing_without_a_terminal_prints_what_it_would_do_and_does_nothing(coopy: Coopy, data: Path) -> None:
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    code, out, err = coopy("repair", data, "--withdraw", 6)
    assert code == 1
    assert "Action 6 of 6" in out
    assert "--yes" in err
    code, out, _ = coopy("repair", data, "--withdraw", 6, "--json")
    assert (code, json.loads(out)["repaired"]) == (1, None)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--withdraw", 6, "--reinstate", 6), "one action at a time"),
        (("--on-every-node",), "goes with --withdraw"),
        (("--withdraw", "six"), "valid integer"),
        (("--withdraw", 7), "there is no action 7"),
        (("--withdraw", 4), "what action 4 did is in snapshot_000000000000004.dat"),
        (("--reinstate", 6), "was not withdrawn by"),
    ],
)
def test_what_can_not_be_withdrawn_is_wrong_use(coopy: Coopy, data: Path, options: tuple[object, ...], why: str) -> None:
    code, out, err = coopy("repair", data, *options)
    assert (code, out) == (2, "")
    assert why in " ".join(err.split())


def test_an_open_system_is_not_changed_by_withdrawing(coopy: Coopy, data: Path) -> None:
    with opened(data):
        code, _, err = coopy("repair", data, "--withdraw", 6, "--yes")
        assert code == 1
        assert "is open in" in err


# -- values that Python itself refuses to write


def test_numbers_of_thousands_of_digits_are_written_by_every_command(coopy: Coopy, here: Path) -> None:
    huge = 10**5000
    with opened(here / "data") as system:
        system.add(huge, cover={"size": huge, huge: [huge]})
        system.add("Emma")
        with pytest.raises(KeyError):
            system.lend(-huge, huge)
        system.take_snapshot()
        system.lend("Emma", huge)
    commands = [
        ("inspect", "data"),
        ("log", "data"),
        ("show", "data", "--depth", 9),
        ("diff", "data", 0, 4),
        ("verify", "data"),
        ("rehearse", "data", SPEC),
        ("show", "data", "--path", f".books[{hex(huge)}].title"),
    ]
    for command in commands:
        code, out, err = coopy(*command)
        assert (code, "Error" in err, "whose repr raises" in out) == (0, False, False), f"{command}: {out}\n{err}"
        code, out, err = coopy(*command, "--json")
        assert code == 0, f"{command}: {err}"
        for line in out.splitlines() if command[0] == "log" else [out]:
            json.loads(line)
    first = json.loads(coopy("log", "data", "--json")[1].splitlines()[0])
    assert (first["args"], first["kwargs"]["cover"]) == ([hex(huge)], {"'size'": hex(huge), hex(huge): [hex(huge)]})
    _, out, _ = coopy("show", "data", "--json")
    assert json.loads(out)["state"]["lent"] == [["Emma", hex(huge)]]


@pytest.mark.parametrize("command", ["log --since", "log --until", "show --at", "diff 1"])
def test_a_point_of_thousands_of_digits_is_wrong_use(coopy: Coopy, data: Path, command: str) -> None:
    name, *options = command.split()
    code, out, err = coopy(name, data, *options, "9" * 5000)
    assert (code, out) == (2, "") and "must be the index of an action" in err and len(err) < 2000

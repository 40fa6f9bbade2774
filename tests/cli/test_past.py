"""The commands that ask the past: stats, bisect, blame, restore, export, shell; and what --quiet and --json change of all."""

from __future__ import annotations

import builtins
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("click", reason="the extra [cli] is not installed")

import coopy as package
from coopy import control, init_system

BANK = """
from coopy import abort_exception, on_commit

class Bank:
    def __init__(self):
        self.accounts = {}
        self.log = []
        self.name = "bank"
    def pay(self, who, cents, note=None):
        self.accounts[who] = self.accounts.get(who, 0) + cents
        self.log.append((who, cents))
    @abort_exception
    def refuse(self, who):
        self.accounts.clear()
        raise ValueError(who)
    def fail(self):
        raise KeyError("no")
"""
Run = tuple[int, str, str]
Coopy = Callable[..., Run]


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A directory of seven actions: the third raised, the fifth was withdrawn; a snapshot after the second."""
    (tmp_path / "bank_of_the_tests.py").write_text(BANK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("COLUMNS", "200")
    from bank_of_the_tests import Bank  # type: ignore[import-not-found]

    with init_system(Bank, "data") as bank:
        bank.pay("ann", 5)
        bank.pay("bob", 7, note={"for": ["tea"]})
        control(bank).take_snapshot()
        for call in (bank.fail, lambda: bank.pay("ann", -6), lambda: bank.refuse("bob"), lambda: bank.pay("eve", 1)):
            with suppress(KeyError, ValueError):
                call()
        bank.pay("ann", 10)
    yield Bank
    sys.modules.pop("bank_of_the_tests", None)


@pytest.fixture
def coopy(bank: type, capsys: pytest.CaptureFixture[str]) -> Iterator[Coopy]:
    from coopy.cli.app import app

    def run(*words: object) -> Run:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(list(map(str, words)), prog_name="coopy")
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    yield run


def test_calls_are_counted_by_method_with_how_they_ended(coopy: Coopy) -> None:
    code, out, _ = coopy("stats", "data")
    assert code == 0
    assert [line.split()[:4] for line in out.splitlines()] == [
        ["METHOD", "CALLS", "RAISED", "WITHDRAWN"],
        ["pay", "5", "0", "0"],
        ["fail", "1", "1", "0"],
        ["refuse", "1", "0", "1"],
    ]
    assert [(each["method"], each["calls"]) for each in json.loads(coopy("stats", "data", "--since", 6, "--json")[1])] == [
        ("pay", 2)
    ]
    assert coopy("stats", "data", "--since", "yesterday")[0] == 2
    assert coopy("stats", "data", "--since", 8)[:2] == (0, "no action\n")


def test_the_first_action_after_which_something_is_true_is_found_though_it_is_not_later(coopy: Coopy) -> None:
    code, out, _ = coopy("bisect", "data", "state.accounts['ann'] < 0")
    assert code == 0 and out.split()[0] == "4" and "pay('ann', -6)" in out
    assert json.loads(coopy("bisect", "data", "len(state.log) == 1", "--json")[1])["index"] == 1
    assert coopy("bisect", "data", "len(state.log) == 1", "--since", 3)[:2] == (1, "it is true after no action\n")
    assert json.loads(coopy("bisect", "data", "'eve' in state.accounts", "--since", 2, "--until", 6, "--json")[1])["index"] == 6
    assert coopy("bisect", "data", "'eve' in state.accounts", "--until", 5)[0] == 1


def test_a_search_that_begins_where_it_is_true_says_so(coopy: Coopy) -> None:
    code, out, _ = coopy("bisect", "data", "state.name == 'bank'")
    assert code == 0 and "after action 0: begin earlier" in out


def test_an_expression_that_never_is_true_says_what_it_raised(coopy: Coopy) -> None:
    code, out, _ = coopy("bisect", "data", "state.owner")
    assert code == 1 and "AttributeError" in out and "owner" in out
    code, out, _ = coopy("bisect", "data", "stat.owner")
    assert code == 1 and "NameError" in out
    code, _, err = coopy("bisect", "data", "state.name = 3")
    assert code == 2 and "no expression of Python" in err and "`state`" in err


def blamed(coopy: Coopy, *words: object) -> list[tuple[int, str | None, str | None]]:
    code, out, _ = coopy("blame", "data", *words, "--json")
    assert code == 0
    return [(each["index"], each["before"], each["after"]) for each in json.loads(out)["changes"]]


def test_the_actions_that_changed_a_value_are_found_the_newest_first(coopy: Coopy) -> None:
    assert blamed(coopy, ".accounts['ann']") == [(7, "-1", "9"), (4, "5", "-1"), (1, None, "5")]
    assert blamed(coopy, "accounts['bob']") == [(2, None, "7")], "what was withdrawn has changed nothing"
    assert blamed(coopy, ".accounts['ann']", "--at", 4) == [(4, "5", "-1"), (1, None, "5")]
    assert blamed(coopy, ".accounts['ann']", "-n", 1) == [(7, "-1", "9")]
    assert blamed(coopy, ".log[1][0]") == [(2, None, "'bob'")]
    assert [each[0] for each in blamed(coopy, ".accounts")] == [7, 6, 4, 2, 1], "a container changes with its parts"
    code, out, _ = coopy("blame", "data", ".accounts['ann']")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["7", "~", "4", "~", "1", "+"]
    assert "pay('ann', 10)" in out and "-1 → 9" in out


def test_changes_are_the_same_however_many_snapshots_there_are(coopy: Coopy, bank: type) -> None:
    before = blamed(coopy, ".accounts['ann']"), blamed(coopy, ".log")
    with init_system(bank, "data") as system:
        control(system).take_snapshot()
    assert (blamed(coopy, ".accounts['ann']"), blamed(coopy, ".log")) == before


def test_a_search_for_changes_says_how_far_back_it_went(coopy: Coopy, bank: type) -> None:
    code, out, _ = coopy("blame", "data", ".name")
    assert code == 0 and out == "no action has changed it: it is what it was in the state before the first action\n"
    assert "older changes were not asked for; the search ended with action 4" in coopy("blame", "data", ".log", "-n", 2)[1]
    with init_system(bank, "data") as system:
        control(system).take_snapshot()
        system.pay("ann", 1)  # type: ignore[attr-defined]
        control(system).prune(keep=1)
    code, out, _ = coopy("blame", "data", ".accounts['ann']")
    assert code == 0 and out.splitlines()[-1] == "before that it was what it was in the oldest state there is, after action 7"
    assert json.loads(coopy("blame", "data", ".accounts['ann']", "--json")[1])["complete"] is True


def test_changes_of_what_is_gone_are_found(coopy: Coopy, bank: type) -> None:
    Path("bank_of_the_tests.py").write_text(BANK + "    def close_account(self, who):\n        del self.accounts[who]\n")
    sys.modules.pop("bank_of_the_tests")
    from bank_of_the_tests import Bank

    with init_system(Bank, "data") as system:
        system.close_account("ann")
    assert blamed(coopy, ".accounts['ann']", "-n", 2) == [(8, "9", None), (7, "-1", "9")]
    assert coopy("blame", "data", ".accounts['ann']")[1].splitlines()[1] == "   - 9"


@pytest.mark.parametrize(
    "path, said",
    [
        (".owner", "there is no .owner in the state, which is a Bank"),
        (".accounts['zoe']", "there is no ['zoe'] in .accounts"),
        (".log[99]", "there is no [99] in .log"),
        ("1 +", "must be attributes and items"),
        ("len(accounts)", "must be attributes and items"),
        ("", "the path is empty"),
    ],
)
def test_a_path_that_leads_nowhere_is_wrong_use(coopy: Coopy, path: str, said: str) -> None:
    code, out, err = coopy("blame", "data", path)
    assert (code, out) == (2, "") and said in err


def test_changes_are_found_up_to_what_is_damaged_and_the_damage_is_said(coopy: Coopy, bank: type) -> None:
    with init_system(bank, "data") as system:
        control(system).take_snapshot()
        system.pay("ann", 1)  # type: ignore[attr-defined]
    for name in ("snapshot_000000000000002.dat", "snapshot_000000000000000.dat"):
        path = Path("data", name)
        data = bytearray(path.read_bytes())
        data[-1] ^= 0xFF
        path.write_bytes(data)
        if name.endswith("2.dat"):
            assert len(blamed(coopy, ".accounts['ann']")) == 4, "an older snapshot stands in"
    code, out, _ = coopy("blame", "data", ".accounts['ann']")
    assert code == 1 and "pay('ann', 1)" in out and "can't be read" in out.splitlines()[-1]


@pytest.mark.parametrize("at, index", [(2, 2), (3, 3), (4, 4), (5, 4), (6, 6), (7, 7), (0, 0)])
def test_a_directory_is_made_as_it_was_and_goes_on_from_there(coopy: Coopy, bank: type, at: int, index: int) -> None:
    before = package.replay(bank, "data", until=at)
    code, out, err = coopy("restore", "data", "old", "--at", at)
    assert (code, err) == (0, "") and f"after action {index:,}" in out
    with init_system(bank, "old") as old:
        assert (old.accounts, old.log, control(old).index) == (before.accounts, before.log, index)  # type: ignore[attr-defined]
        old.pay("new", 1)  # type: ignore[attr-defined]
    assert package.replay(bank, "old", until=0).log == []  # type: ignore[attr-defined]
    assert [line.split()[0] for line in coopy("inspect", "old")[1].splitlines() if "aside" in line] == []
    with init_system(bank, "data") as whole:
        assert control(whole).index == 7


def test_a_directory_is_made_as_it_was_at_a_time(coopy: Coopy, bank: type) -> None:
    times = [json.loads(line)["time"] for line in coopy("log", "data", "--json")[1].splitlines()]
    assert json.loads(coopy("restore", "data", "old", "--at", times[3], "--json")[1])["index"] == 4
    assert coopy("restore", "data", "older", "--at", "2001-01-01")[0] == 0
    with init_system(bank, "older") as old:
        assert control(old).index == 0


def test_a_directory_that_is_in_use_is_restored_from(coopy: Coopy, bank: type) -> None:
    with init_system(bank, "data") as system:
        system.pay("ann", 1)  # type: ignore[attr-defined]
        assert coopy("restore", "data", "old", "--at", 8)[0] == 0
    with init_system(bank, "old") as old:
        assert control(old).index == 8


def test_what_can_not_be_restored_is_refused_and_leaves_nothing(coopy: Coopy, bank: type, tmp_path: Path) -> None:
    assert "actions 1 to 7" in coopy("restore", "data", "old", "--at", 8)[2]
    with init_system(bank, "data") as system:
        control(system).take_snapshot()
        control(system).prune(keep=1)
    code, _, err = coopy("restore", "data", "old", "--at", 3)
    assert code == 2 and "pruned" in err
    (tmp_path / "old").write_text("mine")
    assert coopy("restore", "data", "old", "--at", 7)[0] == 2
    assert coopy("restore", "nothing", "new", "--at", 7)[0] == 2
    assert sorted(each.name for each in tmp_path.iterdir() if not each.name.startswith("__")) == [
        "bank_of_the_tests.py",
        "data",
        "old",
    ]


def test_actions_and_state_are_written_for_sqlite(coopy: Coopy) -> None:
    code, out, _ = coopy("export", "data", "--sqlite", "bank.db")
    assert code == 0 and "_actions: 7 rows" in out
    base = sqlite3.connect("bank.db")
    assert base.execute("SELECT method, outcome FROM _actions WHERE json_extract(args, '$[0]') = 'bob'").fetchall() == [
        ("pay", "returned"),
        ("refuse", "withdrawn"),
    ]
    assert base.execute("SELECT json_extract(kwargs, '$.note.for[0]') FROM _actions WHERE \"index\" = 2").fetchone() == ("tea",)
    assert base.execute("SELECT key, value FROM accounts ORDER BY value DESC").fetchall() == [
        ("ann", 9),
        ("bob", 7),
        ("eve", 1),
    ]
    assert base.execute("SELECT json_extract(value, '$[1]') FROM log WHERE key = 2").fetchone() == (-6,)
    assert base.execute("SELECT key, value FROM _state").fetchall() == [("name", "bank")]
    base.close()
    code, _, err = coopy("export", "data", "--sqlite", "bank.db")
    assert code == 2 and "is there already" in err


def test_actions_are_written_as_lines_of_json(coopy: Coopy, tmp_path: Path) -> None:
    lines = coopy("export", "data", "--jsonl", "-", "--since", 6)[1].splitlines()
    assert [json.loads(line)["index"] for line in lines] == [6, 7]
    assert coopy("export", "data", "--jsonl", "log.jsonl")[1] == "log.jsonl: 7 actions\n"
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 7
    assert coopy("export", "data", "--jsonl", "log.jsonl")[0] == coopy("export", "data")[0] == 2


def test_actions_are_written_as_parquet(coopy: Coopy) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert coopy("export", "data", "--parquet", "log.parquet")[1] == "log.parquet: 7 actions\n"
    rows = parquet.read_table("log.parquet").to_pylist()
    assert [row["method"] for row in rows][:3] == ["pay", "pay", "fail"] and json.loads(rows[1]["kwargs"]) == {
        "note": {"for": ["tea"]}
    }


def test_parquet_without_its_package_is_refused_with_what_to_do(coopy: Coopy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = coopy("export", "data", "--parquet", "log.parquet")
    assert code == 2 and "pip install pyarrow" in err and not Path("log.parquet").exists()


def test_a_prompt_has_the_state_as_it_was(coopy: Coopy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setattr(builtins, "input", lambda prompt="", lines=iter(["print(state.accounts)"]): next(lines, None) or _end())
    code, out, err = coopy("shell", "data", "--at", 2)
    assert (code, out) == (0, "{'ann': 5, 'bob': 7}\n") and "after action 2" in err


def _end() -> str:
    raise EOFError


def test_what_coopy_records_itself_is_in_the_log_if_it_is_asked_for(coopy: Coopy, bank: type) -> None:
    mark = "    from coopy.migration import Migration, migrated\n"
    code = BANK.replace("class Bank", "@migrated(Migration(version=2))\nclass Bank").replace(
        "\nfrom", "\n" + mark.strip() + "\nfrom", 1
    )
    Path("bank_of_the_tests.py").write_text(code)
    sys.modules.pop("bank_of_the_tests")
    from bank_of_the_tests import Bank

    with init_system(Bank, "data") as system:
        system.pay("ann", 1)
    assert [line.split()[0] for line in coopy("log", "data", "--since", 7)[1].splitlines()] == ["7", "9"]
    assert "<version>(2)" in coopy("log", "data", "--since", 7, "--all")[1]
    assert "<version>(2)" in coopy("log", "data", "--since", 7, "--method", "<version>")[1]
    assert [json.loads(line)["index"] for line in coopy("log", "data", "--since", 7, "--json")[1].splitlines()] == [7, 9]


def test_quiet_leaves_results_and_errors(coopy: Coopy) -> None:
    assert coopy("show", "data")[2].endswith("last action 7\n")
    code, out, err = coopy("-q", "show", "data")
    assert (code, err) == (0, "") and "accounts" in out
    assert "bank.nowhere" in coopy("-q", "show", "data", "--path", "bank.nowhere")[2]


@pytest.mark.parametrize(
    "words, kind, status",
    [
        (("show", "nowhere", "--json"), "UsageError", 2),
        (("show", "data", "--at", "77", "--json"), "UsageError", 2),
        (("log", "data", "--since", "never", "--json"), "UsageError", 2),
        (("stats", "nowhere", "--json"), "UsageError", 2),
    ],
)
def test_errors_are_json_where_results_are(coopy: Coopy, words: tuple[str, ...], kind: str, status: int) -> None:
    code, out, err = coopy("-q", *words)
    said = json.loads(err.splitlines()[-1])
    assert (code, out, said["error"]) == (status, "", kind) and said["message"]


def test_a_stop_at_every_action_of_a_long_journal_costs_each_about_the_same(tmp_path: Path, bank: type) -> None:
    from coopy.past.reading import Reading
    from coopy.tools.bisecting import bisect

    with init_system(bank, tmp_path / "long", durability="buffered") as system:
        for number in range(3000):
            system.pay("ann", number)  # type: ignore[attr-defined]
    with Reading(str(tmp_path / "long"), bank) as reading:
        assert bisect(reading, "len(state.log) == 2999", 0, None).index == 2999


# -- backups in a store of objects


def store(tmp_path: Path) -> str:
    pytest.importorskip("obstore", reason="the extra [s3] is not installed")
    return f"file://{tmp_path}/store"


def test_a_backup_at_a_url_is_brought_up_to_date_and_restored_from(coopy: Coopy, bank: type, tmp_path: Path) -> None:
    url = store(tmp_path)
    code, out, err = coopy("backup", "data", url)
    assert (code, err) == (0, "") and f"{url}: up to action 7, 5 files" in out and "sent" in out
    assert "nothing new" in coopy("backup", "data", url)[1]
    with init_system(bank, "data") as system:
        system.pay("ann", 1)  # type: ignore[attr-defined]
    said = json.loads(coopy("backup", "data", url, "--json")[1])
    assert (said["index"], said["new"], said["another_history"]) == (8, True, False) and said["sent"] < said["bytes"]
    assert coopy("restore", url, "old", "--at", 2)[:2] == (
        0,
        coopy("restore", url, "again", "--at", 2)[1].replace("again", "old"),
    )
    assert json.loads(coopy("restore", url, "all", "--json")[1])["index"] == 8
    for name, accounts in (("old", {"ann": 5, "bob": 7}), ("all", {"ann": 10, "bob": 7, "eve": 1})):
        assert package.replay(bank, name).accounts == accounts  # type: ignore[attr-defined]


def test_a_backup_that_follows_goes_on_until_it_is_ended(
    coopy: Coopy, bank: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coopy.tools import offsite

    paid = iter([1, 0, 2])

    def sleep(_: float) -> None:
        cents = next(paid, None)
        if cents is None:
            raise KeyboardInterrupt
        if cents:
            with init_system(bank, "data") as system:
                system.pay("ann", cents)  # type: ignore[attr-defined]

    monkeypatch.setattr(offsite.time, "sleep", sleep)
    code, out, _ = coopy("backup", "data", store(tmp_path), "--follow", "--every", "1s", "--json")
    assert code == 130 and [json.loads(line)["index"] for line in out.splitlines()] == [7, 8, 9]


@pytest.mark.parametrize(
    "words, status, said",
    [
        (("backup", "data", "copy", "--follow"), 2, "--follow goes with the URL"),
        (("backup", "data", "URL", "--every", "often"), 2, "--every 'often'"),
        (("backup", "nowhere", "URL"), 2, "nowhere"),
        (("backup", "data", "ftp://host/wiki"), 2, "must be the URL of a bucket"),
        (("restore", "data", "copy"), 2, "--at is missing"),
        (("restore", "URL", "copy"), 2, "there is no backup"),
        (("restore", "ftp://host/wiki", "copy"), 2, "must be the URL of a bucket"),
    ],
)
def test_what_is_wrong_about_a_backup_is_said(
    coopy: Coopy, tmp_path: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    url = store(tmp_path)
    code, out, err = coopy(*(url if word == "URL" else word for word in words))
    assert (code, out) == (status, "") and said in err and not Path("copy").exists()


def test_a_point_that_a_backup_does_not_have_is_refused_in_the_words_of_the_command(coopy: Coopy, tmp_path: Path) -> None:
    url = store(tmp_path)
    coopy("backup", "data", url)
    code, _, err = coopy("restore", url, "copy", "--at", 99)
    assert code == 2 and "99 is no point of it: the backup has the actions up to 7" in err
    Path("copy").mkdir()
    Path("copy", "mine").write_text("mine")
    assert coopy("restore", url, "copy")[0] == 2 and Path("copy", "mine").read_text() == "mine"

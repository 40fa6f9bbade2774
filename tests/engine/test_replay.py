"""Replay: what was recorded fits today's code, or it stops before anything is changed and says where."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

import coopy
from coopy import DecodingError, MissingMethod, ReplayDiverged, abort_exception, control, init_system, transactional
from coopy.disk import frame
from coopy.spine import engine as engine_module


class Account:
    """The code as it was when the calls were made. `change` gives it the code of a later day."""

    def __init__(self) -> None:
        self.balance = 0
        self.log: list[Any] = []

    def add(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def take(self, amount: int) -> None:
        if amount > self.balance:
            raise ValueError("not enough")
        self.balance -= amount

    def note(self, *words: Any, **marks: Any) -> None:
        self.log.append((words, marks))

    @abort_exception
    def careless(self, amount: int) -> None:
        self.balance += amount
        raise ValueError(amount)

    @transactional
    def strict(self, amount: int) -> None:
        self.balance += amount
        if amount < 0:
            raise ValueError(amount)


def fails(self: Account, amount: int, **marks: int) -> None:
    raise KeyError(amount)


def passes(self: Account, amount: int) -> None:
    pass


def begun(directory: Path) -> Account:
    account = init_system(Account, directory)
    account.add(10)
    account.add(20)
    return account


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_a_call_that_ended_otherwise_stops_replay_and_names_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    account = begun(tmp_path / "a")
    account.note("between")
    if how == "killed":
        shutil.copytree(tmp_path / "a", tmp_path / "b")
    account.close()
    directory = tmp_path / ("a" if how == "closed" else "b")
    before = {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}
    monkeypatch.setattr(Account, "add", fails)
    with pytest.raises(ReplayDiverged) as stop:
        init_system(Account, directory)
    problem = stop.value
    assert (problem.index, problem.method, problem.recorded, problem.replayed) == (1, "add", "returned", "raised")
    assert problem.where.endswith("transaction_000000000000001.log, byte 64")
    for fact in ("action 1", "byte 64", "add()", "'returned'", "'raised'", "KeyError", "nothing was changed"):
        assert fact in str(problem)
    assert {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"} == before
    monkeypatch.undo()
    assert coopy.replay(Account, directory).balance == 30


def test_the_very_last_call_before_a_clean_close_is_compared_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path).close()  # type: ignore[attr-defined]
    monkeypatch.setattr(Account, "add", lambda self, amount: None if amount == 10 else fails(self, amount))
    with pytest.raises(ReplayDiverged) as stop:
        init_system(Account, tmp_path)
    assert stop.value.index == 2
    assert coopy.replay(Account, tmp_path, until=1).balance == 0, "what lies before can still be looked at"


def test_a_call_that_raised_and_now_returns_stops_replay_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account: Any = begun(tmp_path)
    with pytest.raises(ValueError):
        account.take(1000)
    account.close()
    monkeypatch.setattr(Account, "take", passes)
    with pytest.raises(ReplayDiverged) as stop:
        coopy.replay(Account, tmp_path)
    assert (stop.value.index, stop.value.recorded, stop.value.replayed) == (3, "raised", "returned")


def test_an_opaque_call_that_diverges_is_named_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with init_system(Account, tmp_path) as account:
        account.note(["a list"], mark=True)
    monkeypatch.setattr(Account, "note", fails)
    with pytest.raises(ReplayDiverged) as stop:
        coopy.replay(Account, tmp_path)
    assert (stop.value.index, stop.value.method) == (1, "note")


def test_a_method_that_is_gone_is_named_and_the_state_before_it_can_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with init_system(Account, tmp_path) as account:
        account.add(1)
        account.note("x")
    monkeypatch.delattr(Account, "note")
    with pytest.raises(MissingMethod, match=r"calls note\(\), which Account does not have") as stop:
        init_system(Account, tmp_path)
    assert (stop.value.index, stop.value.method) == (2, "note")
    assert coopy.replay(Account, tmp_path, until=1).balance == 1


class Passing:
    pass


def test_an_argument_of_a_class_that_is_gone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with init_system(Account, tmp_path) as account:
        account.add(1)
        account.note(Passing())
    monkeypatch.delitem(globals(), "Passing")
    with pytest.raises(DecodingError, match="Passing"):
        init_system(Account, tmp_path)
    assert coopy.replay(Account, tmp_path, until=1).balance == 1


@pytest.mark.parametrize("method", ["careless", "strict"])
def test_a_withdrawn_call_stays_withdrawn_when_its_code_no_longer_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    account: Any = begun(tmp_path / "a")
    with pytest.raises(ValueError):
        getattr(account, method)(-5)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    account.close()
    monkeypatch.setattr(Account, method, passes)
    for directory in ("a", "b"):
        assert coopy.replay(Account, tmp_path / directory).balance == 30


@pytest.mark.parametrize("method", ["careless", "strict"])
def test_a_process_that_ends_before_a_withdrawal_is_recorded_withdraws_it_at_replay(tmp_path: Path, method: str) -> None:
    account: Any = begun(tmp_path / "a")
    journal = control(account)._system._journal
    tail = journal._tail
    with pytest.raises(ValueError):
        getattr(account, method)(-5)
    segment = tmp_path / "a" / "transaction_000000000000001.log"
    data = segment.read_bytes()
    first = frame.whole(data, tail)
    assert first is not None
    end = tail + frame.OVERHEAD + first.size
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    account.close()
    (tmp_path / "b" / segment.name).write_bytes(data[:end].ljust(len(data), b"\0"))
    assert coopy.replay(Account, tmp_path / "b").balance == 30
    with init_system(Account, tmp_path / "b") as again:
        assert again.balance == 30
        again.add(1)
    with init_system(Account, tmp_path / "b") as again:
        assert again.balance == 31


def test_stamps_never_go_back_when_the_wall_clock_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [2_000_000_000 * 10**9]
    monkeypatch.setattr(engine_module, "_time_ns", lambda: now[0])
    with init_system(Stamped, tmp_path) as stamped:
        stamped.stamp()
        now[0] -= 3600 * 10**9
        stamped.stamp()
        now[0] += 7200 * 10**9
        stamped.stamp()
        times = list(stamped.times)
    now[0] -= 10**15
    with init_system(Stamped, tmp_path) as stamped:
        assert stamped.times == times == sorted(times)
        stamped.stamp()
        assert stamped.times[-1] >= times[-1]


class Stamped:
    def __init__(self) -> None:
        self.times: list[float] = []

    def stamp(self) -> None:
        self.times.append(self._clock.time())  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", [1, pytest.param(random.randrange(10**6), id="a fresh one")])
def test_live_state_and_restored_state_and_a_plain_object_agree_whatever_happens(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    model = Account()
    account: Any = init_system(Account, tmp_path / "data", durability="buffered", segment_bytes=1 << 20)
    states = [(0, [])]
    for step in range(150):
        what = chance.choice(["add", "add", "take", "note", "big", "strict", "snapshot", "reopen", "killed", "past"])
        amount = chance.randint(-5, 50)
        if what in ("add", "take", "strict"):
            outcomes = []
            for one in (account, model):
                kept = one.balance
                try:
                    outcomes.append(getattr(one, what)(amount))
                except ValueError:
                    outcomes.append("raised")
                    if what == "strict" and one is model:
                        model.balance = kept
            assert outcomes[0] == outcomes[1]
            states.append((model.balance, list(model.log)))
        elif what in ("note", "big"):
            words = ("x" * 300_000,) if what == "big" else (step, [amount], "h")
            account.note(*words, key={"step": step})
            model.note(*words, key={"step": step})
            states.append((model.balance, list(model.log)))
        elif what == "snapshot":
            account.take_snapshot()
        elif what == "reopen":
            account.close()
            account = init_system(Account, tmp_path / "data", durability="buffered", segment_bytes=1 << 20)
        elif what == "killed":
            shutil.copytree(tmp_path / "data", tmp_path / f"copy{step}")
            account.close()
            shutil.rmtree(tmp_path / "data")
            (tmp_path / f"copy{step}").rename(tmp_path / "data")
            account = init_system(Account, tmp_path / "data", durability="buffered", segment_bytes=1 << 20)
        else:
            index = chance.randrange(len(states))
            past = coopy.replay(Account, tmp_path / "data", until=index)
            assert (past.balance, past.log) == states[index], f"step {step}, index {index}"
        assert (account.balance, account.log) == (model.balance, model.log), f"step {step}: {what}"
        assert control(account).index == len(states) - 1
    account.close()

"""Time and chance are those of the action: the same at replay, in any zone and at any time."""

from __future__ import annotations

import os
import pickle
import random
import stat
import subprocess
import sys
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from coopy import clock, control, env, init_system, readonly
from coopy.spine import engine as engine_module

PROGRAM = """
import sys, datetime
import coopy
from coopy import clock, init_system

class Page:
    def __init__(self):
        self.at = clock.now()

class Diary:
    def __init__(self):
        self.began = self._clock.now()
        self.times = []
    def write(self):
        self.times.append((
            self._clock.now(), self._clock.utcnow(), self._clock.today(), self._clock.time(),
            self._clock.monotonic(), self._clock.now(datetime.timezone.utc), Page().at,
        ))

if len(sys.argv) > 2:
    instants = iter(int(each) for each in sys.argv[2:])
    coopy.system.engine_module = None
    sys.modules["coopy.spine.engine"]._time_ns = lambda: next(instants) * 10**9
with init_system(Diary, sys.argv[1]) as diary:
    for _ in sys.argv[2:]:
        diary.write()
    print(repr((diary.began, diary.times)))
""".replace("    coopy.system.engine_module = None\n", "")

# Berlin, 2030: clocks go forward on 31 March and back on 27 October, each at 01:00 UTC.
FORWARD = int(datetime(2030, 3, 31, 1, tzinfo=timezone.utc).timestamp())
BACK = int(datetime(2030, 10, 27, 1, tzinfo=timezone.utc).timestamp())
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"


def said(directory: Path, zone: str, *instants: int) -> str:
    program = directory.parent / "diary.py"
    program.write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, str(program), str(directory), *map(str, instants)],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return ran.stdout


@pytest.mark.parametrize("change", [FORWARD, BACK], ids=["forward", "back"])
def test_times_across_a_change_of_the_clocks_are_the_same_in_every_zone_later(tmp_path: Path, change: int) -> None:
    live = said(tmp_path / "d", BERLIN, change - 1, change + 1, change + 3600)
    namespace: dict[str, Any] = {"datetime": __import__("datetime")}
    _, times = eval(live, namespace)
    hours = [each[0].hour for each in times]
    assert hours == ([1, 3, 4] if change == FORWARD else [2, 2, 3]), "local time as it was there and then"
    assert [each[1].hour for each in times] == [0, 1, 2]
    for zone in ("UTC", BERLIN, "JST-9", "EST5EDT"):
        assert said(tmp_path / "d", zone) == live


def test_a_nested_object_and_the_method_agree_on_the_time(tmp_path: Path) -> None:
    _, times = eval(said(tmp_path / "d", BERLIN, FORWARD), {"datetime": __import__("datetime")})
    now, utc, today, seconds, monotonic, aware, nested = times[0]
    assert nested == now and today == now.date() and seconds == monotonic == FORWARD
    assert aware.replace(tzinfo=None) == utc == datetime(2030, 3, 31, 1)


class Sample:
    def __init__(self) -> None:
        self.drawn: list[Any] = []
        self.token = env.token_hex(4)

    def draw(self) -> None:
        e: Any = self._env  # type: ignore[attr-defined]
        deck = list(range(10))
        e.shuffle(deck)
        self.drawn.append(
            [
                deck,
                e.random(),
                e.randint(1, 6),
                e.randrange(1 << 60),
                e.choice("abc"),
                e.choices("abc", k=3),
                e.sample(range(50), 5),
                e.uniform(1, 2),
                e.triangular(),
                e.gauss(0, 1),
                e.gauss(0, 1),
                e.normalvariate(0, 1),
                e.expovariate(1),
                e.betavariate(1, 2),
                e.gammavariate(1, 2),
                e.lognormvariate(0, 1),
                e.paretovariate(1),
                e.weibullvariate(1, 1),
                e.vonmisesvariate(0, 1),
                e.getrandbits(70),
                e.getrandbits(0),
                e.randbytes(5),
                e.uuid4(),
                e.token_bytes(3),
                e.token_hex(),
                e.token_urlsafe(9),
            ]
        )

    @readonly
    def peek(self) -> int:
        return int(self._env.getrandbits(64))  # type: ignore[attr-defined]


def test_every_draw_is_the_same_at_replay_and_another_in_another_action_or_system(tmp_path: Path) -> None:
    with init_system(Sample, tmp_path / "a") as sample:
        sample.draw()
        sample.draw()
        first, token = list(sample.drawn), sample.token
        assert sample.peek() != sample.peek(), "outside an action chance is the machine's"
    with init_system(Sample, tmp_path / "a") as sample:
        assert (sample.drawn, sample.token) == (first, token)
    with init_system(Sample, tmp_path / "b") as sample:
        sample.draw()
        other = sample.drawn[0]
    differing = [place for place in range(len(other)) if place not in (2, 4, 5, 20)]  # The others are never equal by chance.
    assert all(first[0][place] != first[1][place] for place in differing)
    assert all(first[0][place] != other[place] for place in differing)
    assert first[0][22].version == 4 and isinstance(first[0][22], uuid.UUID)
    assert (len(first[0][23]), len(first[0][24]), len(first[0][25])) == (3, 64, 12)


def test_only_the_owner_may_read_the_secret(tmp_path: Path) -> None:
    init_system(Sample, tmp_path).__exit__()  # type: ignore[attr-defined]
    assert stat.S_IMODE((tmp_path / "coopy.json").stat().st_mode) == 0o600


class Caller:
    other: Any = None

    def __init__(self) -> None:
        self.drawn: list[int] = []

    def draw(self) -> None:
        self.drawn.append(self._env.getrandbits(64))  # type: ignore[attr-defined]
        if self.other is not None:
            self.other.draw()
        self.drawn.append(self._env.getrandbits(64))  # type: ignore[attr-defined]


def test_an_action_that_calls_another_system_goes_on_with_its_own_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with init_system(Sample, tmp_path / "inner") as inner, init_system(Caller, tmp_path / "outer") as outer:
        monkeypatch.setattr(Caller, "other", inner)
        outer.draw()
        drawn, inner_drawn = list(outer.drawn), list(inner.drawn)
        assert drawn[0] != drawn[1]
        monkeypatch.setattr(Caller, "other", None)
    with init_system(Caller, tmp_path / "outer") as outer, init_system(Sample, tmp_path / "inner") as inner:
        assert (outer.drawn, inner.drawn) == (drawn, inner_drawn)


def test_outside_an_action_clock_and_env_answer_from_the_machine() -> None:
    before = datetime.now()
    assert before <= clock.now() <= datetime.now() + timedelta(seconds=1)
    assert clock.now(timezone.utc).tzinfo is timezone.utc
    assert abs((clock.utcnow() - clock.now(timezone.utc).replace(tzinfo=None)).total_seconds()) < 60
    assert clock.today() == datetime.now().date() or clock.now().hour == 0
    assert clock.time() > 1.7e9 and clock.monotonic() <= clock.monotonic()
    assert env.uuid4() != env.uuid4() and 0 <= env.random() < 1
    assert env.choice([1]) == 1 and repr(env) == "<coopy env>" and repr(clock) == "<coopy clock>"


def test_clock_and_env_are_stored_by_name() -> None:
    assert pickle.loads(pickle.dumps((clock, env))) == (clock, env)


def test_the_env_has_no_state_of_its_own() -> None:
    env.seed(1)
    first = env.getrandbits(64)
    env.seed(1)
    assert env.getrandbits(64) != first
    for use in (env.getstate, lambda: env.setstate(random.getstate())):
        with pytest.raises(NotImplementedError, match="no state of its own"):
            use()
    with pytest.raises(ValueError, match="non-negative"):
        env.getrandbits(-1)


def test_a_recorded_instant_is_the_wall_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_time_ns", lambda: 2_000_000_000_123_456_789)
    with init_system(Stamp, tmp_path) as stamp:
        stamp.now()
        assert stamp.at == datetime(2033, 5, 18, 3, 33, 20, 123456, tzinfo=timezone.utc)
        assert control(stamp).index == 1


class Stamp:
    def now(self) -> None:
        self.at = self._clock.now(timezone.utc)  # type: ignore[attr-defined]

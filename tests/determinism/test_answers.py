"""What the standard library answers inside an action, and to whom."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import random
import secrets
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from determinism.standing import INSTANT, OFFSET, Standing, action_of, as_module, inside

from coopy import env
from coopy.determinism import answers, asking, install
from coopy.errors import UsageError

install.install()

UTC = datetime(2023, 11, 14, 22, 13, 20, 123456)
LOCAL = UTC + timedelta(seconds=OFFSET)
ABROAD = timezone(timedelta(hours=-5))


class Stamp(datetime):
    pass


class Day(date):
    pass


TIMES: dict[str, tuple[Callable[[], Any], Any]] = {
    "datetime.now": (lambda: datetime.now(), LOCAL),
    "datetime.now of nothing": (lambda: datetime.now(None), LOCAL),
    "datetime.now in UTC": (lambda: datetime.now(timezone.utc), UTC.replace(tzinfo=timezone.utc)),
    "datetime.now abroad": (lambda: datetime.now(tz=ABROAD).isoformat(), "2023-11-14T17:13:20.123456-05:00"),
    "datetime.today": (lambda: datetime.today(), LOCAL),
    "date.today": (lambda: date.today(), LOCAL.date()),
    "time": (lambda: time.time(), INSTANT / 1e9),
    "time_ns": (lambda: time.time_ns(), INSTANT),
    "monotonic": (lambda: time.monotonic(), INSTANT / 1e9),
    "monotonic_ns": (lambda: time.monotonic_ns(), INSTANT),
    "perf_counter": (lambda: time.perf_counter(), INSTANT / 1e9),
    "perf_counter_ns": (lambda: time.perf_counter_ns(), INSTANT),
    "process_time": (lambda: time.process_time(), INSTANT / 1e9),
    "thread_time_ns": (lambda: time.thread_time_ns(), INSTANT),
    "clock_gettime": (lambda: time.clock_gettime(time.CLOCK_REALTIME), INSTANT / 1e9),
    "clock_gettime_ns": (lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC), INSTANT),
    "localtime": (lambda: tuple(time.localtime())[:8], tuple(LOCAL.timetuple())[:8]),
    "localtime's zone": (lambda: (time.localtime().tm_gmtoff, time.localtime().tm_zone), (OFFSET, "UTC+01:30")),
    "gmtime": (lambda: time.gmtime(), UTC.replace(tzinfo=timezone.utc).utctimetuple()),
    "ctime": (lambda: time.ctime(), "Tue Nov 14 23:43:20 2023"),
    "asctime": (lambda: time.asctime(), "Tue Nov 14 23:43:20 2023"),
    "strftime": (lambda: time.strftime("%Y-%m-%d %H:%M %z"), "2023-11-14 23:43 +0130"),
}


@pytest.mark.parametrize("name", TIMES)
def test_time_is_the_actions(name: str) -> None:
    ask, expected = TIMES[name]
    assert inside(ask) == expected
    assert ask() != expected, "outside an action it is the machine's"


@pytest.mark.parametrize("ask", [lambda: Stamp.now(), lambda: Stamp.today(), lambda: Stamp.now(ABROAD)])
def test_a_subclass_gets_an_object_of_its_own(ask: Callable[[], datetime]) -> None:
    for found in (inside(ask), ask()):
        assert type(found) is Stamp
    assert type(inside(lambda: Day.today())) is Day and inside(lambda: Day.today()) == LOCAL.date()


class Shifted(tzinfo):
    """A time zone that does its own arithmetic."""

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        return timedelta(hours=3)

    def dst(self, _moment: datetime | None) -> timedelta:
        return timedelta(0)

    def fromutc(self, moment: datetime) -> datetime:
        return moment + timedelta(hours=3, microseconds=1)


def test_a_time_zone_is_asked_as_python_asks_it() -> None:
    found = inside(lambda: Stamp.now(Shifted()))
    assert found.replace(tzinfo=None) == UTC + timedelta(hours=3, microseconds=1)


def test_utcnow_is_the_actions_and_its_deprecation_names_who_uses_it() -> None:
    for wrap in (inside, lambda ask: ask()):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = wrap(lambda: Stamp.utcnow())
        assert type(found) is Stamp and (found == UTC) is (wrap is inside)
        assert [each.filename for each in said] == [__file__] * (sys.version_info >= (3, 12))
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert abs((datetime.utcnow() - now).total_seconds()) < 60


@pytest.mark.parametrize(
    "ask",
    [
        lambda: time.localtime(0),
        lambda: time.gmtime(0),
        lambda: time.ctime(86400),
        lambda: time.gmtime(1.5),
        lambda: time.asctime(time.gmtime(0)),
        lambda: time.strftime("%Y", time.gmtime(0)),
        lambda: datetime.fromtimestamp(0, timezone.utc),
    ],
)
def test_what_is_computed_from_an_argument_stays_what_it_is(ask: Callable[[], Any]) -> None:
    assert inside(ask) == ask()


@pytest.mark.parametrize(
    "ask",
    [
        lambda: datetime.now("UTC"),
        lambda: os.urandom(-1),
        lambda: os.getrandom(-1),
        lambda: time.time(1),  # type: ignore
        lambda: random.choice([]),
        lambda: os.urandom("3"),
        lambda: random.SystemRandom().getrandbits(-1),  # type: ignore
        lambda: uuid.uuid4(1),
        lambda: time.localtime("x"),
        lambda: secrets.token_bytes(-1),  # type: ignore
    ],
)
def test_wrong_use_raises_what_it_raises_outside(ask: Callable[[], Any]) -> None:
    with pytest.raises(Exception) as outside:
        ask()
    with pytest.raises(type(outside.value)):
        inside(ask)


# --- who is answered ---------------------------------------------------------------------------------

WHO = [
    ("shop", True),
    ("shop.models", True),
    ("__main__", True),
    (None, True),
    ("tests.shop", True),
    ("logging", False),
    ("logging.handlers", False),
    ("threading", False),
    ("tempfile", False),
    ("subprocess", False),
    ("importlib._bootstrap_external", False),
    ("coopy.spine.engine", False),
    ("coopy", False),
    ("coopyright", True),
]


@pytest.mark.parametrize(("name", "answered"), WHO)
@pytest.mark.parametrize("machine", [Standing, lambda: Standing(deterministic=False)], ids=["deterministic", "not"])
def test_code_of_the_library_and_ours_asks_the_machine(
    name: str | None, answered: bool, machine: Callable[[], Standing]
) -> None:
    given = machine()
    answered = answered and given.deterministic
    year = as_module(name, "datetime.now(utc).year", datetime=datetime, utc=timezone.utc)
    asks = [as_module(name, "time.time_ns()", time=time), year]
    asks.append(as_module(name, "date.today().year", date=date))
    assert [inside(ask, given) in (INSTANT, 2023) for ask in asks] == [answered] * 3
    asks = [
        as_module(name, "os.urandom(8)", os=os),
        as_module(name, "random.random()", random=random),
        as_module(name, "uuid.uuid4()", uuid=uuid),
        as_module(name, "random.Random().random()", random=random),
        as_module(name, "random.SystemRandom().random()", random=random),
        as_module(name, "secrets.token_hex()", secrets=secrets),
    ]
    for ask in asks:
        assert (inside(ask, machine()) == inside(ask, machine())) is answered


def test_a_module_of_the_users_may_be_called_as_one_of_the_library(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queue.py").write_text("import time\ndef now():\n    return time.time_ns()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "queue", raising=False)
    monkeypatch.setattr(asking, "_theirs_by_name", {})
    import queue

    assert inside(queue.now) == INSTANT  # type: ignore[attr-defined]


def test_another_thread_and_an_action_that_is_over_are_outside() -> None:
    found: list[int] = []
    with action_of(Standing()):
        thread = threading.Thread(target=lambda: found.append(time.time_ns()))
        thread.start()
        thread.join(30)
    assert found and found[0] != INSTANT and time.time_ns() != INSTANT


def test_what_the_library_does_in_an_action_goes_on_as_before() -> None:
    import logging

    with action_of(Standing()):
        assert logging.LogRecord("a", 1, "b", 1, "", (), None).created > INSTANT / 1e9 + 1e6
        assert not threading.Event().wait(0.001), "a timeout passes"
        names = {os.path.basename(tempfile.mktemp()) for _ in range(2)}
    with action_of(Standing()):
        names |= {os.path.basename(tempfile.mktemp()) for _ in range(2)}
    assert len(names) == 4


def test_a_package_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_LEFT_OUT", set(asking._LEFT_OUT))
    metrics = as_module("metrics.timers", "time.time_ns()", time=time)
    assert inside(metrics) == INSTANT
    asking.leave_out("metrics")
    assert inside(metrics) != INSTANT
    asking._theirs_by_name.clear()


# --- chance ------------------------------------------------------------------------------------------

CHANCES: dict[str, Callable[[], Any]] = {
    name: as_module("shop", source, os=os, random=random, secrets=secrets, uuid=uuid)
    for name, source in {
        **{f"random.{each}": f"random.{each}()" for each in ("random", "triangular")},
        "random.randint": "random.randint(0, 10**9)",
        "random.randrange": "random.randrange(10**9)",
        "random.uniform": "random.uniform(1, 2)",
        "random.choice": "random.choice(range(10**9))",
        "random.choices": "random.choices(range(10**6), k=3)",
        "random.sample": "random.sample(range(10**6), 3)",
        "random.shuffle": "(deck := list(range(52)), random.shuffle(deck))",
        "random.gauss": "random.gauss(0, 1)",
        "random.normalvariate": "random.normalvariate(0, 1)",
        "random.expovariate": "random.expovariate(1)",
        "random.getrandbits": "random.getrandbits(70)",
        "random.randbytes": "random.randbytes(9)",
        "random.getstate": "random.getstate()",
        "random.seed": "(random.seed(), random.random())",
        "random.Random": "random.Random().random()",
        "random.Random.seed": "(r := random.Random(1), r.seed(), r.random())[2]",
        "random.SystemRandom.random": "random.SystemRandom().random()",
        "random.SystemRandom.choice": "random.SystemRandom().choice(range(10**9))",
        "random.SystemRandom.randbytes": "random.SystemRandom().randbytes(9)",
        "random.SystemRandom.getrandbits": "random.SystemRandom().getrandbits(64)",
        "os.urandom": "os.urandom(9)",
        "os.getrandom": "os.getrandom(9)",
        "secrets.choice": "secrets.choice(range(10**9))",
        "secrets.randbelow": "secrets.randbelow(10**9)",
        "secrets.randbits": "secrets.randbits(64)",
        "secrets.token_bytes": "secrets.token_bytes(9)",
        "secrets.token_hex": "secrets.token_hex()",
        "secrets.token_urlsafe": "secrets.token_urlsafe()",
        "uuid.uuid1": "uuid.uuid1()",
        "uuid.uuid4": "uuid.uuid4()",
    }.items()
}


@pytest.mark.parametrize("name", CHANCES)
def test_chance_is_of_the_action_and_goes_on_inside_it(name: str) -> None:
    draw = CHANCES[name]
    twice = as_module("shop", "(draw(), draw())", draw=draw)
    first = inside(twice, Standing())
    draw()
    assert inside(twice, Standing()) == first, "the same, whatever was drawn outside"
    assert first[0] != first[1] or name == "random.getstate"
    for other in (Standing(applied=7), Standing(secret=b"t" * 32)):
        assert inside(draw, other) != first[0]
    assert draw() != first[0]


def test_each_function_of_random_is_answered() -> None:
    bound = {name for name, value in vars(random).items() if getattr(value, "__self__", None) is random._inst}  # type: ignore
    assert not bound, "these still draw from the generator of the process"


def test_one_machine_goes_from_action_to_action() -> None:
    machine = Standing()
    found = []
    for index in range(3):
        machine.index = index + 1
        with action_of(machine):
            found.append((random.random(), os.urandom(4), random.random()))
    with action_of(Standing(applied=1)):
        assert (random.random(), os.urandom(4), random.random()) == found[1]
    assert len(set(found)) == 3


def test_the_env_draws_what_it_draws_without() -> None:
    alone = inside(lambda: [env.token_hex(), env.random()], Standing(deterministic=False))
    beside = inside(lambda: [random.random(), env.token_hex(), os.urandom(3), env.random()])
    assert beside[1::2] == alone
    assert inside(lambda: secrets.token_hex()) != inside(lambda: env.token_hex())


def test_seeding_in_an_action_is_for_the_action() -> None:
    outside = random.getstate()
    with action_of(Standing()):
        random.seed(42)
        assert [random.random(), random.randint(1, 6)] == [(known := random.Random(42)).random(), known.randint(1, 6)]
        kept = random.getstate()
        following = random.random()
        random.setstate(kept)
        assert random.random() == following
    assert random.getstate() == outside
    with action_of(Standing()):
        first = random.random()
    assert first == inside(lambda: random.random()) != random.Random(42).random()


def test_a_seeded_generator_is_left_alone() -> None:
    assert inside(lambda: random.Random(7).random()) == random.Random(7).random()
    rng = random.Random(7)
    assert [inside(rng.random), rng.random()] == [(same := random.Random(7)).random(), same.random()]


class Dice(random.Random):
    def __init__(self) -> None:
        super().__init__()
        self.sides = 6


def test_a_generator_of_a_class_of_the_users_is_seeded_too() -> None:
    assert inside(lambda: Dice().random()) == inside(lambda: Dice().random()) != Dice().random()


@pytest.mark.parametrize(
    ("make", "version"),
    [(lambda: uuid.uuid1(), 1), (lambda: uuid.uuid4(), 4)]
    + [
        (lambda each=each: each(Standing(), None), version)
        for each, version in ((answers._uuid6, 6), (answers._uuid7, 7), (answers._uuid8, 8))  # type: ignore[misc]
    ],
)
def test_identifiers_are_of_their_version_and_all_different(make: Callable[[], uuid.UUID], version: int) -> None:
    found = inside(lambda: make())
    assert (found.version, found.variant) == (version, uuid.RFC_4122)


def test_identifiers_of_one_action_differ_and_those_with_a_time_ascend() -> None:
    machine = Standing()
    with action_of(machine):
        first = [uuid.uuid1(node=1, clock_seq=2) for _ in range(3)]
    assert [each.time for each in first] == [first[0].time + number for number in range(3)]
    assert [(each.node, each.clock_seq) for each in first] == [(1, 2)] * 3
    assert first[0].time == INSTANT // 100 + 0x01B21DD213814000
    for make in (answers._uuid6, answers._uuid7):
        made = [make(machine, None) for _ in range(4)]  # type: ignore[operator]
        assert sorted(made) == made and len(set(made)) == 4
    assert made[0].int >> 80 == INSTANT // 1_000_000
    assert answers._uuid6(machine, None, 1, 2).int & (1 << 48) - 1 == 1  # type: ignore[arg-type]
    given = answers._uuid8(machine, None, 5, 6, 7).int  # type: ignore[arg-type]
    assert (given >> 80, given >> 64 & 0xFFF, given & (1 << 62) - 1) == (5, 6, 7)


def test_the_place_of_an_identifier_is_nobodys() -> None:
    place = inside(lambda: uuid.uuid1()).node
    assert place >> 40 & 1 and place != uuid.getnode()


# --- what they are to other code ---------------------------------------------------------------------

ALL = [
    time.time,
    time.localtime,
    random.random,
    random.randint,
    random.seed,
    os.urandom,
    uuid.uuid4,
    uuid.uuid1,
    datetime.now,
    date.today,
    secrets.token_hex,
    secrets.randbits,
    random.SystemRandom,
]


@pytest.mark.parametrize("function", ALL[:-2], ids=lambda each: each.__qualname__)
def test_in_a_pickle_they_are_what_they_were(function: Any) -> None:
    data = pickle.dumps(function, 5)
    assert pickle.loads(data) == function and copy.deepcopy(function).__qualname__ == function.__qualname__
    assert b"coopy" not in data, "a program without coopy can read it"
    assert function.__name__ in repr(function) and function.__doc__


class Attributes:
    clock = time.time
    now = datetime.now
    draw = random.random


def test_as_attributes_of_a_class_they_do_not_become_methods() -> None:
    attributes = Attributes()
    assert inside(lambda: (attributes.clock(), attributes.now())) == (INSTANT / 1e9, LOCAL)
    assert 0 <= attributes.draw() < 1


def test_they_say_what_they_take() -> None:
    assert list(inspect.signature(random.randint).parameters) == ["a", "b"]
    assert list(inspect.signature(datetime.now).parameters) == ["tz"]
    assert not inspect.signature(uuid.uuid4).parameters
    assert list(inspect.signature(random.Random.seed).parameters) == ["self", "a", "version"]


def test_datetime_is_the_same_class() -> None:
    import datetime as module

    assert module.datetime is datetime and isinstance(inside(lambda: datetime.now()), datetime)
    assert datetime.__module__ == "datetime" and pickle.loads(pickle.dumps(datetime)) is datetime


def test_replacing_twice_changes_nothing() -> None:
    before = time.time, random.random, vars(datetime)["now"]
    install.install()
    assert (time.time, random.random, vars(datetime)["now"]) == before


class Closed:
    @classmethod
    def now(cls) -> str:
        return "before"


@pytest.mark.parametrize("found", [[], [{}], [()], [{**vars(Closed)}]], ids=["nothing", "another", "no dict", "a copy"])
def test_a_python_whose_classes_cannot_be_reached_is_named(found: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install.gc, "get_referents", lambda *_: found)
    with pytest.raises(UsageError, match=r"deterministic=True: cpython 3\.\d+\.\d+.* Nothing was opened.* self\._clock"):
        install._replace_in_types({Closed: {"now": lambda cls: "after"}})
    assert Closed.now() == "before"

"""What an action asks for is done once, not before its time and in order, whatever comes in between."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from handed import Called
from objects.rooms import Device, Room, Site, crashed

import coopy
from coopy import UsageError, env
from coopy.objects import alarm, cancel_alarm, in_memory, opening, tell
from coopy.objects.engine import Engine

BEGINS = 1_700_000_000


class World:
    """Objects without a thread of their own, and with a clock to set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = float(BEGINS)
        self.open()

    def open(self) -> None:
        directory = opening.opened(Device, self.path, options={"durability": "buffered"})
        self.engine: Engine = directory.engine
        self.engine.clock = lambda: int(self.now * 1e9)
        self.devices: Any = directory.of(Device)
        self.sites: Any = directory.of(Site)

    def reopen(self, how: str) -> None:
        if how == "passive":
            self.devices.passivate()
        elif how != "active":
            (crashed if how == "crashed" else type(self.devices).close)(self.devices)
            if how == "no table":
                (self.path / "keys.dat").unlink()
            self.open()

    def at(self, seconds: float) -> None:
        """Does what is due after so many seconds from the beginning."""
        self.now = BEGINS + seconds
        while not self.engine.do_what_is_due():
            pass


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "devices")


each_later = pytest.mark.parametrize("how", ["active", "passive", "closed", "crashed", "no table"])


@each_later
def test_an_alarm_is_run_once_and_not_before_its_time(world: World, how: str) -> None:
    world.devices["a"].wake_in(10, "ten")
    world.devices["b"].wake_in(5, "five")
    world.at(4.999)
    world.reopen(how)
    world.at(4.999)
    assert (world.devices["a"].seen, world.devices["b"].seen) == ([], [])
    world.at(7)
    assert (world.devices["a"].seen, world.devices["b"].seen) == ([], [("five", BEGINS + 7)])
    world.reopen(how)
    world.at(20)
    world.reopen(how)
    world.at(30)
    assert (world.devices["a"].seen, world.devices["b"].seen) == ([("ten", BEGINS + 20)], [("five", BEGINS + 7)])


@each_later
def test_alarms_have_names_and_can_be_set_anew_and_unset(world: World, how: str) -> None:
    device = world.devices["a"]
    device.wake_in(10, "one", "1")
    device.wake_in(20, "two", name="2")
    device.wake_in(30, "three", "3")
    world.reopen(how)
    device = world.devices["a"]
    device.wake_in(15, "one anew", "1")
    device.sleep("2")
    device.sleep("nothing")
    for seconds in (10, 15, 20, 40):
        world.at(seconds)
        world.reopen(how)
    assert [what for what, _ in world.devices["a"].seen] == ["one anew", "three"]


@each_later
def test_an_alarm_that_sets_itself_anew_goes_on_and_comes_once_after_an_outage(world: World, how: str) -> None:
    world.devices["a"].beat(10.0)
    world.at(10)
    world.at(20)
    world.reopen(how)
    world.at(95)
    world.at(104)
    world.at(105)
    assert [at - BEGINS for at in world.devices["a"].seen] == [0, 10, 20, 95, 105]


@each_later
def test_what_an_action_asks_for_that_raises_is_not_done(world: World, how: str) -> None:
    with pytest.raises(ValueError):
        world.devices["a"].wake_and_fail()
    world.reopen(how)
    world.at(10)
    assert (world.devices["a"].seen, "a" in world.sites) == ([], False)


@each_later
@pytest.mark.parametrize(("name", "seen"), [("fail", ["x"]), ("undo", [])])
def test_an_alarm_whose_method_raises_is_over(world: World, how: str, name: str, seen: list[str]) -> None:
    world.devices["a"].fail_in(name, 5)
    world.devices["a"].wake_in(9, "later")
    world.at(5)
    world.reopen(how)
    assert world.devices["a"].seen == seen
    last = world.devices.status()["last"]
    world.at(6)
    assert world.devices.status()["last"] == last, "it is not tried again and again"
    world.at(9)
    assert world.devices["a"].seen == [*seen, ("later", BEGINS + 9)]


@each_later
def test_what_an_object_is_told_is_done_once_and_in_order(world: World, how: str) -> None:
    world.devices["a"].report("x", "1", "2", "3")
    world.devices["b"].report("x", "4")
    world.reopen(how)
    world.devices["a"].report("x", "5")
    world.devices["c"].report_to_all(["x", "y", "z"], "6")
    world.at(0)
    world.reopen(how)
    world.at(0)
    assert world.sites["x"].reports == [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("a", "5"), ("c", "6")]
    assert (world.sites.keys(), world.sites["z"].reports) == (["x", "y", "z"], [("c", "6")])
    assert world.devices.keys() == ["a", "b", "c"]


@each_later
def test_an_object_can_tell_itself_and_answer_by_telling(world: World, how: str) -> None:
    world.devices["a"].tell_itself("me")
    world.sites["x"].answer("a", "question")
    world.reopen(how)
    world.at(0)
    assert sorted(world.devices["a"].seen) == ["me", "question heard", "telling"]


@each_later
def test_what_raises_when_it_is_told_is_over_and_the_next_is_done(world: World, how: str) -> None:
    for what in ("1", "fail", "2"):
        world.devices["a"].report("x", what)
    world.devices["a"].report("bad", "1")
    world.reopen(how)
    world.at(0)
    assert (world.sites["x"].reports, world.sites.keys()) == ([("a", "1"), ("a", "fail"), ("a", "2")], ["x"])
    last = world.devices.status()["last"]
    world.reopen(how)
    world.at(1)
    assert world.sites["x"].reports[-1] == ("a", "2")
    assert world.devices.status()["last"] >= last


@pytest.mark.parametrize(
    "call", [lambda: alarm("x", after=1), lambda: cancel_alarm("x"), lambda: tell(Site, "a").report("a", "b")]
)
def test_outside_of_an_action_of_an_object_nothing_can_be_asked_for(call: Any) -> None:
    with pytest.raises(UsageError, match="in an action of an object"):
        call()


class Wrong:
    def no_method(self) -> None:
        alarm("nothing", after=1)

    def no_arguments(self) -> None:
        alarm("no_method", 1, after=1)

    def no_time(self) -> None:
        alarm("no_method")

    def two_times(self) -> None:
        alarm("no_method", after=1, at=1.0)

    def never(self) -> None:
        alarm("no_method", after=math.inf)

    def no_number(self) -> None:
        alarm("no_method", after=math.nan)

    def a_text(self) -> None:
        alarm("no_method", at="tomorrow")  # type: ignore[arg-type]

    def the_last_day_there_is(self) -> None:
        alarm("no_method", at=datetime.max)

    def in_a_thousand_years(self) -> None:
        alarm("no_method", after=timedelta(days=365_000))

    def a_name_that_is_none(self) -> None:
        alarm("no_method", after=1, name=5)  # type: ignore[arg-type]

    def no_key(self) -> None:
        tell(Room, "").say("x")

    def none_of_its_methods(self) -> None:
        tell(Room, "a").shout("x")  # type: ignore[attr-defined]

    def none_of_its_arguments(self) -> None:
        tell(Room, "a").say()  # type: ignore[call-arg]


@pytest.mark.parametrize("name", [name for name in vars(Wrong) if not name.startswith("_")])
def test_what_can_t_be_asked_for_is_refused_in_the_action(tmp_path: Path, name: str) -> None:
    with coopy.objects(Wrong, tmp_path) as found, pytest.raises((UsageError, TypeError)):
        getattr(found["a"], name)()


def test_a_thread_does_what_is_due(tmp_path: Path) -> None:
    with coopy.objects(Device, tmp_path, durability="buffered") as devices:
        devices["a"].wake_in(0.05, "soon")
        devices["b"].report("x", "told")
        sites: Any = devices.of(Site)
        for _ in range(2000):
            if devices["a"].seen and sites["x"].reports:
                break
            devices._directory._closing.wait(0.01)
        assert ([what for what, _ in devices["a"].seen], sites["x"].reports) == (["soon"], [("b", "told")])


@pytest.mark.parametrize("seed", range(4))
def test_everything_told_in_a_random_life_is_done_once(tmp_path: Path, seed: int) -> None:
    chance, world = random.Random(seed), World(tmp_path / "devices")
    expected: dict[str, list[tuple[str, str]]] = {"x": [], "y": []}
    woken = 0
    for number in range(80):
        site, device = chance.choice("xy"), world.devices[chance.choice("abc")]
        what = chance.choice(("report", "report", "wake", "fail", "later", "work"))
        if what == "report":
            device.report(site, str(number))
            expected[site].append((device.key, str(number)))
        elif what == "wake":
            device.wake_in(chance.randrange(5), str(number), name=str(number))
            woken += 1
        elif what == "fail":
            with pytest.raises(ValueError):
                device.wake_and_fail()
        elif what == "later":
            world.reopen(chance.choice(("passive", "closed", "crashed", "no table")))
        else:
            world.now += chance.randrange(3)
            world.engine.do_what_is_due(chance.randrange(1, 5))
    world.now += 100
    while not world.engine.do_what_is_due():
        pass
    assert {site: world.sites[site].reports for site in "xy" if expected[site]} == {k: v for k, v in expected.items() if v}
    assert sorted(int(what) for key in world.devices for what, _ in world.devices[key].seen).__len__() == woken


class OfDevice(Called):
    domain = Device


@pytest.mark.parametrize("how", ["passive", "crashed", "no table"])
def test_many_calls_at_once_that_tell_an_object_whose_state_is_written_meanwhile(world: World, how: str) -> None:
    for _ in range(3):
        batch = [OfDevice("report", world.devices.kind, world.devices.stored("a"), "x", "told") for _ in range(150)]
        list(world.engine.settled(world.engine.begin_all(batch), batch))
        assert [call.error for call in batch] == [None] * 150
    world.devices["a"].heard("last")
    world.reopen(how)
    world.at(0)
    assert (world.devices["a"].seen, len(world.sites["x"].reports)) == (["last"], 450)
    assert len(world.devices.history("a")) == 451


class _Drawing:
    def __init__(self) -> None:
        self.drawn: list[str] = []

    def draw(self) -> None:
        self.drawn.append(env.token_hex(4))

    @coopy.readonly
    def all(self) -> list[str]:
        return list(self.drawn)


class _Teller:
    def __init__(self) -> None:
        self.calls = 0

    def tell(self) -> None:
        self.calls += 1
        tell(_Drawing, "a").draw()


def test_what_the_first_action_of_an_object_draws_is_drawn_again_if_it_was_dropped_between_being_told_and_doing() -> None:
    tellers = in_memory(_Teller, seed=1)
    tellers["a"].tell()
    tellers.passivate()
    tellers.catch_up()
    drawn = tellers.of(_Drawing)["a"].all()
    assert len(drawn) == 1
    assert in_memory(_Teller, before=tellers).of(_Drawing)["a"].all() == drawn


def test_objects_of_another_class_are_not_counted_after_a_start_from_the_table(tmp_path: Path) -> None:
    with coopy.objects(Device, tmp_path / "d") as devices:
        devices["a"].report("site", "x")
        devices.catch_up()
        devices["a"].heard("y")
    with coopy.objects(Device, tmp_path / "d") as devices:
        assert len(devices) == len(devices.keys()) == 1

"""Code versions: which body of a method runs, before the switch, after it, at replay, and on several nodes."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.memory_nodes import Node

import coopy
from coopy import (
    MissingMethod,
    PrevalentError,
    ReplayError,
    StateChanged,
    UsageError,
    abort_exception,
    aio,
    code_version,
    control,
    init_system,
    readonly,
    transactional,
    unlocked,
)
from coopy.determinism.check import findings
from coopy.errors import NewerVersion
from coopy.ground.line import MemoryServer
from coopy.migration import Call, Migration, migrated
from coopy.spine import versions

Classes = Callable[..., Any]


class Wiki0:
    """As the nodes have it that are not upgraded yet."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def add(self, word: str) -> str:
        self.words.append(f"{word} by 0")
        return "0"

    def add_two(self, one: str, other: str) -> None:
        self.add(one)
        self.add(other)

    @readonly
    def last(self) -> str:
        return f"0: {self.words[-1]}"

    @readonly
    @unlocked
    def first(self) -> str:
        return f"0: {self.words[0]}"

    @readonly
    def report(self) -> str:
        return f"the last is {self.last()}"

    @property
    def latest(self) -> str:
        return self.last()


class Wiki1(Wiki0):
    def add(self, word: str) -> str:  # type: ignore[override]
        self.words.append(f"{word} by 0")
        return "0"

    @code_version(1)  # type: ignore[no-redef]
    def add(self, word: str, tag: str = "none") -> str:
        self.words.append(f"{word} by 1, {tag}")
        return "1"

    @readonly
    def last(self) -> str:
        return f"0: {self.words[-1]}"

    @code_version(1)  # type: ignore[no-redef]
    @readonly
    def last(self) -> str:
        return f"1: {self.words[-1]}"

    @readonly
    @unlocked
    def first(self) -> str:
        return f"0: {self.words[0]}"

    @readonly
    @unlocked
    @code_version(1)  # type: ignore[no-redef]
    def first(self) -> str:
        return f"1: {self.words[0]}"

    @code_version(1)
    def drop(self) -> None:
        self.words.pop()


class Wiki3(Wiki1):
    def add(self, word: str) -> str:  # type: ignore[override]
        self.words.append(f"{word} by 0")
        return "0"

    @code_version(1)  # type: ignore[no-redef]
    def add(self, word: str, tag: str = "none") -> str:
        self.words.append(f"{word} by 1, {tag}")
        return "1"

    @code_version(3)  # type: ignore[no-redef]
    def add(self, word: str) -> Iterator[str]:
        self.words.append(f"{word} by 3")
        yield from self.words


class Wiki(Wiki0):
    """What the class is called in the directory; `deploy` says which it is."""


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Classes]:
    """Has a class be the code that there is."""
    names: list[tuple[type, str]] = []

    def deployed(cls: type, name: str = "Wiki") -> type:
        names.append((cls, cls.__qualname__))
        cls.__name__ = cls.__qualname__ = name
        monkeypatch.setattr(sys.modules[__name__], name, cls)
        return cls

    yield deployed
    for cls, name in reversed(names):
        cls.__name__ = cls.__qualname__ = name


@pytest.fixture
def begun(tmp_path: Path, deploy: Classes) -> Path:
    """A directory in which the earliest code has added one word."""
    with init_system(deploy(Wiki0), tmp_path / "wiki") as wiki:
        wiki.add("a")
    return tmp_path / "wiki"


def test_outside_a_system_the_newest_body_runs() -> None:
    wiki = Wiki3()
    assert list(wiki.add("a")) == ["a by 3"]
    assert Wiki1().add("b", tag="x") == "1"
    assert coopy.code_version is code_version


def test_a_new_system_begins_with_the_highest_version(tmp_path: Path, deploy: Classes) -> None:
    for _ in range(2):
        with init_system(deploy(Wiki3), tmp_path / "wiki") as wiki:
            assert (control(wiki).code_version, control(wiki).own_code_version) == (3, 3)
            assert list(wiki.add("a"))[-1] == "a by 3"


def test_a_new_system_of_an_instance_begins_with_the_highest_version(tmp_path: Path, deploy: Classes) -> None:
    with init_system(deploy(Wiki1)(), tmp_path / "wiki") as wiki:
        assert control(wiki).code_version == 1


def test_a_class_without_versions_keeps_what_it_kept(begun: Path, deploy: Classes) -> None:
    with init_system(Wiki0, begun) as wiki:
        assert (control(wiki).code_version, control(wiki).own_code_version) == (0, 0)
        assert control(wiki)._system.engine.machine.besides() == b""
        control(wiki).set_code_version(0)
        assert control(wiki).index == 1


def test_upgraded_code_runs_the_earlier_bodies_until_it_is_switched(begun: Path, deploy: Classes) -> None:
    with init_system(deploy(Wiki1), begun) as wiki:
        assert (control(wiki).code_version, control(wiki).own_code_version) == (0, 1)
        assert wiki.add("b") == "0"
        control(wiki).set_code_version(1)
        assert control(wiki).code_version == 1
        assert wiki.add("c") == "1"
        assert wiki.add("d", tag="x") == "1"
        assert wiki.words == ["a by 0", "b by 0", "c by 1, none", "d by 1, x"]


@pytest.mark.parametrize("snapshot", ["none", "before", "after"])
def test_every_action_is_replayed_with_the_body_of_its_day(begun: Path, deploy: Classes, snapshot: str) -> None:
    with init_system(deploy(Wiki3), begun) as wiki:
        wiki.add("b")
        if snapshot == "before":
            control(wiki).take_snapshot()
        control(wiki).set_code_version(1)
        wiki.add("c")
        wiki.add_two("d", "e")
        if snapshot == "after":
            control(wiki).take_snapshot()
        control(wiki).set_code_version(3)
        wiki.add("f")
        words = list(wiki.words)
    assert words == ["a by 0", "b by 0", "c by 1, none", "d by 1, none", "e by 1, none", "f by 3"]
    with init_system(Wiki3, begun) as wiki:
        assert control(wiki).code_version == 3
        assert wiki.words == words
        for until in range(8):
            assert control(wiki).replay(until).words == words[: [0, 1, 2, 2, 3, 5, 5, 6][until]]
    assert coopy.replay(Wiki3, begun).words == words


def test_a_past_state_that_was_handed_out_is_a_plain_object(begun: Path, deploy: Classes) -> None:
    with init_system(deploy(Wiki1), begun) as wiki:
        for plain in (control(wiki).replay(), coopy.replay(Wiki1, begun)):
            assert plain.add("x") == "1"


@pytest.mark.parametrize(("enabled", "words"), [(0, ["x by 0", "y by 0"]), (1, ["x by 1, none", "y by 1, none"])])
def test_what_a_method_calls_is_of_the_same_version(begun: Path, deploy: Classes, enabled: int, words: list[str]) -> None:
    with init_system(deploy(Wiki1), begun) as wiki:
        control(wiki).set_code_version(enabled)
        wiki.add_two("x", "y")
        assert wiki.words[1:] == words


@pytest.mark.parametrize("enabled", [0, 1])
def test_reads_run_what_is_enabled(begun: Path, deploy: Classes, enabled: int) -> None:
    with init_system(deploy(Wiki1), begun) as wiki:
        control(wiki).set_code_version(enabled)
        assert wiki.last() == wiki.first() == wiki.latest == f"{enabled}: a by 0"
        assert wiki.report() == f"the last is {enabled}: a by 0"


def test_two_systems_of_a_class_have_versions_of_their_own(begun: Path, tmp_path: Path, deploy: Classes) -> None:
    with init_system(deploy(Wiki1), begun) as old, init_system(Wiki1, tmp_path / "other") as new:
        assert (old.add("x"), new.add("x")) == ("0", "1")
        assert (old.last()[0], new.last()[0]) == ("0", "1")


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (2, "versions up to 1 here"),
        (0, "version 1 is enabled, and there is no way back"),
        (True, "whole number"),
        ("1", "whole number"),
    ],
)
def test_a_version_that_can_not_be_enabled_is_refused(tmp_path: Path, deploy: Classes, version: Any, why: str) -> None:
    with init_system(deploy(Wiki1), tmp_path / "wiki") as wiki:
        with pytest.raises(UsageError, match=why):
            control(wiki).set_code_version(version)
        assert (control(wiki).index, control(wiki).code_version) == (0, 1)


class Switching:
    def switch(self, version: int) -> None:
        control(SYSTEMS[0]).set_code_version(version)


SYSTEMS: list[Any] = []


def test_a_method_can_not_switch(tmp_path: Path) -> None:
    with init_system(Switching, tmp_path / "one", validation="off") as system:
        SYSTEMS[:] = [system]
        with pytest.raises(UsageError, match="inside a method of the domain; nothing was switched"):
            system.switch(0)


def test_a_switch_is_told_of_once_it_is_made(begun: Path, deploy: Classes) -> None:
    told: list[Any] = []
    with init_system(deploy(Wiki3), begun) as wiki:
        control(wiki).on_code_version_changed(lambda before, after: told.append((before, after, control(wiki).durable)))
        for version in (0, 1, 1, 3):
            control(wiki).set_code_version(version)
    assert told == [(0, 1, 2), (1, 3, 3)]


def kept_in(directory: Path) -> dict[str, bytes]:
    """What a directory holds, but for its lock, which says when it was opened."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}


@pytest.mark.parametrize("snapshot", [False, True])
def test_code_that_lacks_the_version_is_refused_before_anything_is_applied(
    begun: Path, deploy: Classes, snapshot: bool
) -> None:
    with init_system(deploy(Wiki1), begun) as wiki:
        control(wiki).set_code_version(1)
        if snapshot:
            control(wiki).take_snapshot()
    before = kept_in(begun)
    with pytest.raises(NewerVersion, match="version 1 of the methods of Wiki recorded .* this code has version 0") as raised:
        init_system(deploy(Wiki0), begun)
    assert raised.value.index == (3 if snapshot else 2)
    assert kept_in(begun) == before
    with init_system(deploy(Wiki1), begun) as wiki:
        assert wiki.words == ["a by 0"]


def test_a_method_that_is_not_there_yet_is_refused_and_nothing_is_recorded(begun: Path, deploy: Classes) -> None:
    with init_system(deploy(Wiki1), begun) as wiki:
        with pytest.raises(UsageError, match=r"drop\(\) is of code version 1, and 0 is enabled. Nothing was recorded."):
            wiki.drop()
        assert control(wiki).index == 1
        control(wiki).set_code_version(1)
        wiki.drop()
        assert wiki.words == []


def test_a_method_that_is_not_there_yet_is_refused_from_asyncio_too(begun: Path, deploy: Classes) -> None:
    async def use() -> None:
        async with aio.open(deploy(Wiki1), begun) as wiki:
            with pytest.raises(UsageError, match="Nothing was recorded"):
                await wiki.drop()
            assert await wiki.add("b") == "0"
            assert await wiki.last() == "0: b by 0"

    asyncio.run(use())
    with init_system(Wiki1, begun) as wiki:
        assert (control(wiki).index, wiki.words) == (2, ["a by 0", "b by 0"])


class Early(Wiki1):
    def drop_all(self) -> None:
        while self.words:
            self.drop()


def test_in_an_action_a_method_that_is_not_there_yet_is_missing_as_in_the_earlier_code(begun: Path, deploy: Classes) -> None:
    with init_system(deploy(Early), begun) as wiki, pytest.raises(AttributeError, match="code version 1, and 0 is enabled"):
        wiki.drop_all()


@pytest.mark.parametrize(("version", "right", "wrong"), [(0, (), {"tag": "x"}), (1, ("x",), {"label": "x"})])
def test_arguments_that_the_enabled_body_does_not_take_fail_before_anything_is_recorded(
    begun: Path, deploy: Classes, version: int, right: tuple[str, ...], wrong: dict[str, str]
) -> None:
    with init_system(deploy(Wiki1), begun) as wiki:
        control(wiki).set_code_version(version)
        index = control(wiki).index
        with pytest.raises(TypeError):
            wiki.add("b", **wrong)
        assert control(wiki).index == index
        assert wiki.add("b", *right) == str(version)


class Marked0:
    def __init__(self) -> None:
        self.words: list[str] = []
        self.count = 0


class Marked(Marked0):
    def aborts(self) -> None:
        self.words.append("0")
        raise ValueError("0")

    @code_version(1)  # type: ignore[no-redef]
    @abort_exception
    def aborts(self) -> None:
        raise ValueError("1")

    @abort_exception
    def records(self) -> None:
        raise ValueError("0")

    @code_version(1)  # type: ignore[no-redef]
    def records(self) -> None:
        self.words.append("1")
        raise ValueError("1")

    def undoes(self) -> None:
        self.words.append("0")
        raise ValueError("0")

    @transactional
    @code_version(1)  # type: ignore[no-redef]
    def undoes(self) -> None:
        self.words.append("1")
        raise ValueError("1")

    @transactional(parts=("words",))
    def widens(self) -> None:
        self.words.append("0")
        self.count += 1
        raise ValueError("0")

    @code_version(1)  # type: ignore[no-redef]
    @transactional
    def widens(self) -> None:
        self.words.append("1")
        self.count += 1
        raise ValueError("1")

    @transactional(parts=("words",))
    def parts(self) -> None:
        self.words.append("0")
        self.count += 1
        raise ValueError("0")

    @transactional(parts=("count",))
    @code_version(1)  # type: ignore[no-redef]
    def parts(self) -> None:
        self.words.append("1")
        self.count += 1
        raise ValueError("1")


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize(
    ("method", "version", "words", "count", "outcome"),
    [
        ("aborts", 0, ["0"], 0, 2),
        ("aborts", 1, [], 0, 3),
        ("records", 0, [], 0, 3),
        ("records", 1, ["1"], 0, 2),
        ("undoes", 0, ["0"], 0, 2),
        ("undoes", 1, [], 0, 3),
        ("widens", 0, [], 1, 3),
        ("widens", 1, [], 0, 3),
        ("parts", 0, [], 1, 3),
        ("parts", 1, ["1"], 0, 3),
    ],
)
def test_each_body_has_its_own_marks(
    tmp_path: Path, deploy: Classes, method: str, version: int, words: list[str], count: int, outcome: int, batched: bool
) -> None:
    init_system(deploy(Marked0), tmp_path / "marked").close()
    deploy(Marked)

    async def call() -> None:
        async with aio.open(Marked, tmp_path / "marked", validation="off") as system:
            await getattr(system, method)()

    with init_system(Marked, tmp_path / "marked", validation="off") as system:
        control(system).set_code_version(version)
    with pytest.raises(ValueError, match=str(version)):
        if batched:
            asyncio.run(call())
        else:
            with init_system(Marked, tmp_path / "marked", validation="off") as system:
                try:
                    getattr(system, method)()
                finally:
                    assert (system.words, system.count) == (words, count)
                    assert control(system)._system.engine.machine.outcome == outcome
    with init_system(Marked, tmp_path / "marked", validation="off") as system:
        assert control(system)._system.engine.machine.outcome == outcome
        if (method, version) not in {("parts", 0), ("parts", 1), ("widens", 0)}:  # They change more than their parts.
            assert (system.words, system.count) == (words, count)


def test_bodies_of_which_only_some_are_readonly_are_refused(tmp_path: Path) -> None:
    class Mixed:
        def look(self) -> None: ...

        @code_version(1)  # type: ignore[no-redef]
        @readonly
        def look(self) -> None: ...

    with pytest.raises(PrevalentError, match="Mixed.look is not @readonly in version 0, @readonly in version 1") as raised:
        init_system(Mixed, tmp_path / "mixed")
    assert "Nothing was opened" in str(raised.value)
    assert not (tmp_path / "mixed").exists()


def test_an_earlier_body_that_is_async_is_refused(tmp_path: Path) -> None:
    class Waiting:
        async def look(self) -> None: ...

        @code_version(1)  # type: ignore[no-redef]
        def look(self) -> None: ...

    with pytest.raises(PrevalentError, match="async"):
        init_system(Waiting, tmp_path / "waiting")


@pytest.mark.parametrize("kind", [staticmethod, classmethod, property])
def test_only_methods_have_versions(tmp_path: Path, kind: Any) -> None:
    class Odd:
        @kind
        @code_version(1)
        def look(self) -> None: ...

    with pytest.raises(PrevalentError, match=rf"Odd.look is a {kind.__name__} of a function that has code versions"):
        init_system(Odd, tmp_path / "odd")
    with pytest.raises(UsageError, match=f"what stands above it is a {kind.__name__}"):

        class Odder:
            @kind
            def look(self) -> None: ...

            @code_version(1)  # type: ignore[no-redef]
            def look(self) -> None: ...


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, 1 << 31])
def test_a_version_is_a_whole_number_from_one(version: Any) -> None:
    with pytest.raises(UsageError, match="must be a whole number, at least 1"):
        code_version(version)


def test_versions_ascend() -> None:
    with pytest.raises(UsageError, match="code version 2 comes after 2; versions ascend"):

        class Twice:
            @code_version(2)
            def look(self) -> None: ...

            @code_version(2)  # type: ignore[no-redef]
            def look(self) -> None: ...

    with pytest.raises(UsageError, match="one body has two code versions"):

        class Both:
            @code_version(2)
            @code_version(1)
            def look(self) -> None: ...


@pytest.mark.parametrize("what", [len, lambda: None, 3])
def test_a_version_marks_a_method_in_the_body_of_a_class(what: Any) -> None:
    with pytest.raises(UsageError, match="marks a method, in the body of its class"):
        code_version(1)(what)


def shouting(function: Any) -> Any:
    @functools.wraps(function)
    def shout(self: Any, word: str) -> Any:
        return function(self, word.upper())

    return shout


class Shouting(Wiki0):
    @shouting
    @code_version(1)
    def add(self, word: str) -> str:
        self.words.append(f"{word} by 1")
        return "1"


def test_a_decorator_above_a_version_goes_on_working(tmp_path: Path, deploy: Classes) -> None:
    with init_system(deploy(Shouting), tmp_path / "wiki") as wiki:
        assert control(wiki).code_version == 1
        wiki.add("a")
        assert wiki.words == ["A by 1"]


class Secretive(Wiki0):
    def __name(self, word: str) -> str:
        return f"{word} 0"

    @code_version(1)  # type: ignore[no-redef]
    def __name(self, word: str) -> str:
        return f"{word} 1"

    def add(self, word: str) -> str:
        self.words.append(self.__name(word))
        return ""


def test_a_private_method_has_versions_too(begun: Path, deploy: Classes) -> None:
    with init_system(deploy(Secretive), begun) as wiki:
        wiki.add("b")
        control(wiki).set_code_version(1)
        wiki.add("b")
        assert wiki.words == ["a 0", "b 0", "b 1"]


class Loud(Wiki1):
    def add(self, word: str) -> str:  # type: ignore[override]
        return super().add(word.upper())


def test_an_overridden_method_has_the_versions_of_what_it_calls_above_it(begun: Path, deploy: Classes) -> None:
    with init_system(deploy(Loud), begun) as wiki:
        assert control(wiki).own_code_version == 1
        assert wiki.add("b") == "0"
        control(wiki).set_code_version(1)
        assert wiki.add("c") == "1"
        assert wiki.words[1:] == ["B by 0", "C by 1, none"]


class Shortened(Wiki0):
    @code_version(1)
    def add(self, word: str) -> str:
        self.words.append(f"{word} by 1")
        return "1"


def test_a_body_that_a_recorded_action_needs_and_that_is_gone_is_named(begun: Path, deploy: Classes) -> None:
    with pytest.raises(MissingMethod, match=r"action 1 .* calls add\(\), which Wiki in code version 0 does not have"):
        init_system(deploy(Shortened), begun)


class Copying(Wiki1):
    def copy(self) -> str:
        plain = Copying()
        return plain.add("x")


def test_an_object_that_is_not_the_systems_own_has_no_version_in_an_action(begun: Path, deploy: Classes) -> None:
    with init_system(deploy(Copying), begun) as wiki, pytest.raises(UsageError, match="not the system's own"):
        wiki.copy()


@pytest.mark.parametrize("upto", [1, 2, 3, 4])
def test_old_actions_are_upgraded_and_run_with_the_body_of_their_day(begun: Path, deploy: Classes, upto: int) -> None:
    with init_system(deploy(Wiki1), begun) as wiki:
        wiki.add("b")
        control(wiki).set_code_version(1)
        wiki.add("c")
    upgrades = Migration(version=2)

    @upgrades.action("add", version=1)
    def add(word: str, *rest: str) -> Call:
        return Call("add", word.upper(), *rest)

    @migrated(upgrades)
    class Migrated(Wiki1):
        pass

    expected = ["A by 0", "B by 0", "C by 1, none"][: {1: 1, 2: 2, 3: 2, 4: 3}[upto]]
    with init_system(deploy(Migrated), begun, validation="off") as wiki:
        assert control(wiki).code_version == 1
        assert control(wiki).replay(upto).words == expected


class Timely:
    def now(self) -> None:
        import datetime

        self.at = datetime.datetime.now()

    @code_version(1)  # type: ignore[no-redef]
    def now(self) -> None:
        import time

        self.at = time.time()

    @code_version(2)  # type: ignore[no-redef]
    def now(self) -> None:
        import uuid

        self.at = uuid.uuid4()


def test_every_body_is_read_for_what_replay_can_not_repeat() -> None:
    assert len([each for each in findings(Timely) if each.severity == "error"]) == 3


class Checked(Wiki1):
    pass


CHECKED = Checked


def test_checking_goes_on_over_a_switch(tmp_path: Path, deploy: Classes) -> None:
    init_system(deploy(Wiki0, "Checked"), tmp_path / "wiki").close()
    # The other process imports the class by this name.
    with init_system(deploy(CHECKED, "Checked"), tmp_path / "wiki", check=True) as wiki:
        assert control(wiki)._system._shadow is not None
        wiki.add("b")
        control(wiki).set_code_version(1)
        wiki.add("c")
        assert wiki.report() == "the last is 1: c by 1, none"


class Sloppy(Marked0):
    @abort_exception
    def fail(self) -> None:
        self.words.append("0")
        raise ValueError("0")

    @code_version(1)  # type: ignore[no-redef]
    def fail(self) -> None:
        self.words.append("1")
        raise ValueError("1")


@pytest.mark.parametrize(("version", "raised"), [(0, StateChanged), (1, ValueError)])
def test_checking_goes_by_the_marks_of_the_body_that_is_enabled(
    tmp_path: Path, deploy: Classes, version: int, raised: type[Exception]
) -> None:
    init_system(deploy(Marked0), tmp_path / "marked").close()
    with init_system(deploy(Sloppy), tmp_path / "marked", validation="off") as system:
        control(system).set_code_version(version)
    with init_system(Sloppy, tmp_path / "marked", validation="off", check=True) as system:
        control(system)._system.engine.shadow = None  # It imports another class by this name.
        with pytest.raises(raised):
            system.fail()


def test_bodies_are_listed_newest_first() -> None:
    assert [version for version, _ in versions.bodies(Wiki3.add)] == [3, 1, 0]
    assert [version for version, _ in versions.bodies(Wiki1.drop)] == [1]
    assert versions.bodies(Wiki0.add) == []
    assert versions.body(Wiki3.add, 2) is versions.bodies(Wiki3.add)[1].function


@pytest.mark.parametrize(
    ("announced", "told"),
    [
        ({"b:1": 0}, "b:1 has versions up to 0"),
        ({"a:1": 1, "b:1": None}, "b:1 has not said which it has"),
        ({"b:1": None, "a:1": 0}, "a:1 has versions up to 0; b:1 has not said which it has"),
    ],
)
def test_a_switch_waits_for_every_member(announced: dict[str, int | None], told: str) -> None:
    with pytest.raises(UsageError, match=rf"set_code_version\(1\): {told}. Nothing was switched"):
        versions.refuse_if_behind(1, announced)
    versions.refuse_if_behind(0, {name: code or 0 for name, code in announced.items()})


# -- several nodes


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer()


def upgraded(node: Node, server: MemoryServer, cls: type) -> Node:
    node.line.close()
    return node.copy(server.ends(1)[0], cls=cls)


def switch(node: Node, version: int) -> None:
    machine = node.engine.machine
    node.engine.record(versions.CODE, (version,), machine.methods[versions.CODE])


def test_nodes_are_upgraded_one_by_one_and_switched_at_once(server: MemoryServer, deploy: Classes) -> None:
    nodes = [Node(line, name, cls=deploy(Wiki0)) for line, name in zip(server.ends(2), "ab", strict=True)]
    nodes[0].bank.add("a")
    for place, node in enumerate(nodes):
        nodes[place] = upgraded(node, server, deploy(Wiki1))
        assert nodes[place].bank.add("b") == "0"
    nodes[1].engine.sync()
    switch(nodes[0], 1)
    nodes[1].engine.sync()
    switch(nodes[0], 0)  # Another has asked for it before, and came too late.
    assert nodes[1].bank.add("c", tag="x") == "1"
    nodes[0].engine.sync()
    assert nodes[0].bank.words == nodes[1].bank.words == ["a by 0", "b by 0", "b by 0", "c by 1, x"]
    assert nodes[0].records == nodes[1].records
    for node in nodes:
        again = upgraded(node, server, Wiki1)
        assert (again.engine.machine.code, again.bank.words) == (1, node.bank.words)
        again.line.close()


def test_a_node_takes_the_marks_of_the_body_that_is_enabled(server: MemoryServer, deploy: Classes) -> None:
    node = Node(server.ends(1)[0], cls=deploy(Marked0))
    node = upgraded(node, server, deploy(Marked))
    for version, words in ((0, ["0"]), (1, ["0"])):
        switch(node, version)
        with pytest.raises(ValueError, match=str(version)):
            node.bank.undoes()
        assert node.bank.words == words
    node.line.close()


def test_a_node_that_was_not_upgraded_stops_before_the_switch(server: MemoryServer, deploy: Classes) -> None:
    old, new = (Node(line, name, cls=deploy(Wiki0)) for line, name in zip(server.ends(2), "ab", strict=True))
    old.bank.add("a")
    new.engine.sync()
    new = upgraded(new, server, deploy(Wiki1))
    switch(new, 1)
    assert old.ended.wait(10)
    assert isinstance(old.engine.failure, NewerVersion)
    assert isinstance(old.engine.failure, ReplayError)
    assert old.engine.machine.applied < new.engine.machine.applied
    assert old.engine.machine.code == 0
    for each in (old, new):
        each.line.close()


def test_a_node_does_not_send_what_the_others_do_not_have_yet(server: MemoryServer, deploy: Classes) -> None:
    node = upgraded(Node(server.ends(1)[0], cls=deploy(Wiki0)), server, deploy(Wiki1))
    before = node.line.last()
    with pytest.raises(UsageError, match="Nothing was recorded"):
        node.encode("drop")
    assert node.line.last() == before
    node.line.close()


class Upgraded:
    def __init__(self) -> None:
        self.words: list[str] = []

    def add(self, word: str) -> str:
        return "0"

    @code_version(1)
    def add(self, word: str) -> str:  # type: ignore[no-redef]
        return "1"


class UpgradedLater(Upgraded):
    _coopy_first_code_version = 0


def test_a_class_may_say_with_which_version_a_new_system_of_it_begins(tmp_path: Path) -> None:
    with control(init_system(Upgraded, tmp_path / "any", validation="off")) as found:
        assert (found.code_version, found.system.add("a")) == (1, "1")
    with control(init_system(UpgradedLater, tmp_path / "this", validation="off")) as found:
        assert (found.code_version, found.system.add("a")) == (0, "0")
        found.set_code_version(1)
        assert found.system.add("b") == "1"
    with control(init_system(UpgradedLater, tmp_path / "this", validation="off")) as found:
        assert (found.code_version, found.system.add("c")) == (1, "1")

"""Systems whose calls are sent: a test opens one as any other, and another one of this process, which it does not see, writes.

As a plugin of pytest it has suites that know nothing of it run over them: `make suites-shared`.

    PYTHONPATH=tests python -m pytest -p shared.apart --apart follower tests/batteries

Programs that a test starts open systems of their own, as ever.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import coopy
from coopy import control, testing
from coopy.aio import opening
from coopy.replication import keys
from coopy.replication.gate import Gate

open_directory, open_memory = coopy.init_system, testing.memory_system
crash, assert_replays = testing.crash, testing.assert_replays
NEEDS = {"replication", "master", "port", "host", "password", "shared", "copy", "check", "clock", "seed", "wait"}
"""Options of what is no system of one process in a directory, or looks after one; and of a second process that waits."""
OF_WHO_WRITES = {"snapshot_time", "snapshot_growth", "snapshot_interval", "keep", "create", "deterministic", "digests"}


class Gates:
    """One loop that serves all directories that are connected to."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="gates", daemon=True).start()
        self._folder = tempfile.mkdtemp(prefix="coopy-")
        self._numbers = itertools.count()

    def open(self, writer: Any, cls: type) -> tuple[str, Callable[[], object]]:
        """Serves a system. Returns where, and what ends it."""
        place = control(writer)._system.place  # type: ignore[attr-defined]
        gate = Gate(place.name, place.manifest.system, cls.__qualname__, b"", None)
        where = keys.parse(f"unix:{self._folder}/{next(self._numbers)}")
        self._run(gate.open(where))
        return str(where), lambda: self._run(gate.close())

    def _run(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(60)


gates = functools.cache(Gates)


def follower(writer: Any, cls: type, path: str, options: dict[str, Any]) -> tuple[Any, Callable[[], object]]:
    given = {name: value for name, value in options.items() if name not in OF_WHO_WRITES}
    return open_directory(cls, path, shared=True, **{**given, "validation": "off"}), lambda: None


def reader(writer: Any, cls: type, path: str, options: dict[str, Any]) -> tuple[Any, Callable[[], object]]:
    return follower(writer, cls, path, {**options, "copy": False})


def connected(writer: Any, cls: type, path: str, options: dict[str, Any]) -> tuple[Any, Callable[[], object]]:
    where, close = gates().open(writer, cls)
    found = coopy.connect(where, cls)
    here, there = control(found)._system, control(writer)._system
    # What a test looks at in the directory it finds there.
    here.past, here.recorded = there.past, there.recorded  # type: ignore[method-assign, assignment]
    return found, close


HOW: dict[str, Callable[..., tuple[Any, Callable[[], object]]]] = {
    "follower": follower,
    "reader": reader,
    "connected": connected,
}
opened = 0
"""How many systems were opened so."""


def open_apart(how: str, obj: Any, path: str, **options: Any) -> Any:
    """Opens a system whose calls are sent. Closing it closes both."""
    global opened
    cls = obj if isinstance(obj, type) else type(obj)
    writer = open_directory(obj, path, shared=True, **options)
    try:
        found, end = HOW[how](writer, cls, path, options)
    except BaseException:
        control(writer).close()
        raise
    system: Any = control(found)._system
    close = system.close

    def close_both() -> None:
        close()
        end()
        control(writer).close()

    system.close = close_both
    system.writer = writer
    system.again = functools.partial(open_apart, how, obj, path, **options)
    opened += 1
    return found


def domain_where_it_is(found: Any) -> Any:
    """The domain object of a system: that of the copy, or else of the process that writes."""
    system: Any = control(found)._system
    if getattr(system, "role", "") == "follower":
        system.look()
        return found._coopy_engine.machine.domain
    return getattr(system, "writer", found)._coopy_engine.machine.domain


def assert_replays_apart(found: Any) -> None:
    """As `coopy.testing.assert_replays`, in the process that writes."""
    system: Any = control(found)._system
    assert_replays(getattr(system, "writer", found))


def crash_apart(found: Any, *, power: bool = False) -> Any:
    """As `coopy.testing.crash`, of a system that was opened so: it is closed, which keeps no more than what was recorded, and opened again."""
    system: Any = control(found)._system
    if power or not hasattr(system, "again"):
        return crash(found, power=power)
    system.close()
    return system.again()


# -- the plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--apart", choices=list(HOW), required=True, help="how the systems of the tests are opened")


def pytest_configure(config: pytest.Config) -> None:
    how, folder = config.getoption("apart"), tempfile.mkdtemp(prefix="coopy-apart-", dir=testing_folder())
    numbers = itertools.count()

    @functools.wraps(open_directory)
    def init_system(obj: Any, basedir: Any = None, **options: Any) -> Any:
        if basedir is None or NEEDS & set(options):
            return open_directory(obj, basedir, **options)
        return open_apart(how, obj, os.fspath(basedir), **options)

    @functools.wraps(open_memory)
    def memory_system(obj: Any, **options: Any) -> Any:
        if NEEDS & set(options):
            return open_memory(obj, **options)
        return open_apart(how, obj, f"{folder}/{next(numbers)}", **{"durability": "buffered", **options})

    coopy.init_system = opening.init_system = init_system
    testing.memory_system = memory_system
    testing.crash, testing.assert_replays = crash_apart, assert_replays_apart
    import alike  # It takes what was put in place above.

    alike.domain_of = domain_where_it_is
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def testing_folder() -> str | None:
    """Returns a folder in memory, if there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


TWO = "the system that writes is open in this process, too"
BY_VALUE = "what is raised arrives without its frames"
LATER = "a call is answered before the copy follows, or by another process"
ELSEWHERE = "it needs the state or the journal, which are elsewhere"
LOOKS = "it looks at what is inside the engine of one process"
COPIED = "what a call returns comes from another process, and is a copy"
OF_NO_DIRECTORY = "what is changed outside any action is a copy, which goes with its process, and is in no directory"
BY_COPY = "where the state is elsewhere, what an attribute or a lookup gives is a copy, also with results='recorded'"
CLASS = "it is about the class of what is here, or about a value that can't be sent"
_PARTS = [
    *(
        f"test_parts.py::test_{each}"
        for each in (
            "what_is_done_with_a_part_is_recorded",
            "looking_at_a_part",
            "in_place_operators",
            "a_part_that_is_nowhere",
            "a_part_that_has_moved",
            "what_a_mapping_answers",
            "what_is_made_when_it_is_missing",
            "what_a_sequence_answers",
            "a_part_that_is_made_for_each_reading",
            "what_can_be_called_and_looked_into",
            "fields_of_a_dataclass",
            "a_system_is_compared_with_the_object",
            "a_part_has_the_slots",
        )
    ),
    "test_children_made_by_reading.py",
    "test_own_system_as_argument.py::test_a_part_is_given_the_own_system",
    "test_as_the_object.py::test_the_own_system_is_given_beside",
    "test_results.py::test_what_is_done_with_an_attribute",
    "test_what_stays.py::test_two_systems_share_nothing",
    "test_what_stays.py::test_a_clock_of_the_first_state",
    "test_what_stays.py::test_a_child_that_is_made_by_reading",
    "test_what_stays.py::test_what_is_equal_to_itself_alone",
]
_CLASSES = [
    "test_what_stays.py::test_code_in_c_does_not_look",
    "test_what_stays.py::test_the_class_of_a_part",
    "test_results.py::test_what_can_not_be_copied",
    "test_what_comes_later.py::test_a_block_that_changes_nothing_is_a_read",
    "test_attributes_that_write.py::test_what_is_read_looks_like_the_callable",
]
NOT_HELD: list[tuple[str, str, str, str]] = [
    # How; what the test is called, in part; what it says, in part; and why that can't hold.
    ("", "test_calls.py::test_an_exception_of_the_domain_is_raised", "endswith", BY_VALUE),
    ("", "test_calls.py::test_the_loop_goes_on_while_an_action", "", LATER),
    ("", "test_calls.py::test_a_read_that_has_nothing_to_wait_for", "", LATER),
    ("", "test_calls.py::test_an_unlocked_read_runs_beside_an_action", "", LATER),
    ("", "test_calls.py::test_generators_and_the_domain_itself", "", ELSEWHERE),
    (
        "",
        "test_endings.py::test_a_directory_that_is_open_is_refused",
        "DID NOT RAISE DirectoryInUse",
        "several may have it open",
    ),
    ("", "test_endings.py::test_a_call_that_is_cancelled_while_another", "", "what was sent is recorded, whoever waits"),
    ("", "test_waiting.py", "tap", LOOKS),
    ("", "test_exits_and_equality.py::test_one_that_is_suppressed", "", LATER),
    ("", "test_noticed_changes.py::test_by_default_the_next_start_tells", "state", OF_NO_DIRECTORY),
    ("", "test_results.py::test_inside_of_an_action_what", "state_of", LOOKS),
    ("", "test_results.py::test_the_default_gives_the_object", "", COPIED),
    ("", "test_results.py::test_what_is_done_with_an_attribute", "system.returned() is", COPIED),
    ("", "test_watch.py::test_what_is_withdrawn_before_a_loop", "", LOOKS),
    ("", "test_watch.py::test_a_system_that_is_dropped", "", TWO),
    ("", "test_lock.py::test_the_system_is_the_one_that_is_open", "systems with locks are open", TWO),
    ("", "", "edit() is for a process that has the state", "an edit by value is refused"),
    ("", "", "edit() over", "an edit by value is refused"),
    ("reader", "", "is told of no action", ELSEWHERE),
    ("reader", "test_others.py", "", ELSEWHERE),
    ("", "test_members.py::test_a_dict_has_every_member", "'list' and 'set'", "the views of a dict come as lists"),
    ("connected", "", "this is a connection, which has neither", ELSEWHERE),
    ("connected", "test_results.py", "", "connect() has no results=: what it gives is a copy"),
    *[(how, name, "", BY_COPY) for how in ("reader", "connected") for name in _PARTS],
    *[(how, name, "", CLASS) for how in ("reader", "connected") for name in _CLASSES],
    ("connected", "test_uses.py::test_with_closes_at_the_end", "unix:", "the directory is elsewhere"),
    ("connected", "test_waiting.py", "", ELSEWHERE),
]
counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
"""By file, how many tests there were of which outcome."""
_running = 0


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _running
    _running = opened
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    report: Any = (yield).get_result()  # type: ignore[func-returns-value]
    if report.failed:
        how = item.config.getoption("apart")
        for of, name, said, why in NOT_HELD:
            if of in ("", how) and name in item.nodeid and said in str(report.longrepr):
                report.outcome, report.wasxfail = "skipped", why
                break
    if report.when == "call" or report.outcome != "passed":
        outcome = getattr(report, "wasxfail", report.outcome) if opened > _running or report.failed else "opens none"
        counts[item.nodeid.partition("::")[0]][outcome] += 1


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    write, whys = terminalreporter.write_line, collections.Counter[str]()
    write(f"| over {config.getoption('apart')} | run | passed | failed | can't hold | open no system so |")
    write("| --- | --: | --: | --: | --: | --: |")
    for file, found in sorted(counts.items()):
        none = found.pop("opens none", 0)
        passed, failed, rest = found.pop("passed", 0), found.pop("failed", 0), sum(found.values())
        whys.update(found)
        write(f"| {file} | {passed + failed + rest} | {passed} | {failed} | {rest} | {none} |")
    for why, number in whys.most_common():
        write(f"{number} can't hold: {why}")

"""What a program holds passes the tests of the type in `threading` that it is named after: CPython's own, imported from the interpreter.

Where the interpreter does not ship its ``test`` package (Debian's), they are skipped. ``NOT_PASSED`` says which can't pass, and why; one that
passes all the same is an error, so that the list stays true.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from cpython import SHORTER_BARRIER, outcomes

from coopy import control
from coopy.sync import Barrier, Condition, Event, Lock, Locks, RLock, Semaphore
from coopy.testing import memory_system

INTERNAL = "it calls what only threading uses of its own locks, after a fork"
REPR = "it is the repr() of the type in threading"
NOT_PASSED: dict[str, dict[str, str]] = {
    "LockTests": {"test_at_fork_reinit": INTERNAL},
    "RLockTests": {
        "test_release_save_unacquired": "it calls what only threading.Condition uses",
        "test_recursion_count": "it calls what only threading's own tests use",
        "test__is_owned": "it calls what only threading.Condition uses",
    },
    "SemaphoreTests": {
        "test_repr": REPR,
        "test_release_unacquired": "a permit belongs to who holds it, so what nobody holds can't be given back",
    },
    "BoundedSemaphoreTests": {"test_repr": REPR},
    "BarrierTests": {
        "test_repr": REPR,
        "test_action": "the last to come lets the others go in the same action, so nothing can be done before they go",
    },
    "EventTests": {"test_repr": REPR, "test_at_fork_reinit": INTERNAL, "test_reset_internal_locks": INTERNAL},
}


@pytest.fixture
def locks() -> Iterator[Any]:
    system = memory_system(Locks)
    # While one is open, the threads of this process in the system go on, and the tests, which count threads, see no change.
    keeps = Lock("keeps", system=system)
    yield system
    keeps.close()
    control(system).close()


CASES = [
    ("LockTests", "locktype", Lock),
    ("RLockTests", "locktype", RLock),
    ("SemaphoreTests", "semtype", Semaphore),
    ("BoundedSemaphoreTests", "semtype", Semaphore),
    ("EventTests", "eventtype", Event),
    ("ConditionTests", "condtype", Condition),
    ("BarrierTests", "barriertype", Barrier),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "given", "kind"), CASES, ids=[case[0] for case in CASES])
def test_a_handle_passes_the_tests_of_the_type_it_is_named_after(name: str, given: str, kind: Any, locks: Any) -> None:
    numbers = itertools.count()

    def make(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("timeout") == SHORTER_BARRIER.get("defaultTimeout"):
            kwargs.pop("timeout", None)  # Which is no limit on a busy machine.
        return kind(f"{name} {next(numbers)}", *args, system=locks, **kwargs)

    said = outcomes("test.lock_tests", name, {given: staticmethod(make), **SHORTER_BARRIER})
    assert len(said) >= 5
    for test, text in said.items():
        if test in NOT_PASSED.get(name, {}):
            assert text, f"{test} passes: take it out of NOT_PASSED"
        else:
            assert not text, f"{test}: {text}"

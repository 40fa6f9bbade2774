"""What is done when something is raised, whatever it is."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from typing import Any, NoReturn

import pytest

from coopy.errors import DecodingError
from coopy.ground.raised import Kinds, as_awaited, attempted, last_resort, on_failure, or_none, telling, told_as

ANYTHING = [ValueError("why"), MemoryError(), KeyboardInterrupt(), SystemExit(3), GeneratorExit()]


def names(error: BaseException) -> str:
    return type(error).__name__


def fail(error: BaseException) -> NoReturn:
    raise error


@pytest.mark.parametrize("error", ANYTHING, ids=names)
def test_what_was_begun_is_undone_whatever_is_raised_and_that_goes_on(error: BaseException) -> None:
    undone: list[tuple[object, ...]] = []
    with pytest.raises(type(error)) as found, on_failure(lambda *args: undone.append(args), "a", 2):
        raise error
    assert found.value is error and undone == [("a", 2)]
    assert error.__cause__ is None and error.__context__ is None


def test_nothing_is_undone_after_a_block_that_came_to_its_end_or_was_left() -> None:
    def leave() -> str:
        for _ in range(2):
            with on_failure(fail, AssertionError()):
                continue
        with on_failure(fail, AssertionError()):
            return "left"

    assert leave() == "left"


def test_what_undoing_raises_has_what_it_was_to_undo_as_its_context() -> None:
    first = ValueError("first")
    with pytest.raises(OSError, match="second") as found, on_failure(fail, OSError("second")):
        raise first
    assert found.value.__context__ is first


def test_an_exception_that_is_undone_has_no_frame_more_than_its_own() -> None:
    with pytest.raises(ValueError, match="why") as found, on_failure(len, ""):
        raise ValueError("why")
    assert [each.frame.code.name for each in found.traceback] == [sys._getframe().f_code.co_name]


def test_an_error_of_ours_comes_in_place_of_others_and_from_it() -> None:
    cause = ZeroDivisionError("by what")
    with (
        pytest.raises(DecodingError, match="a.log: by what") as found,
        told_as(lambda error, at: DecodingError(f"{at}: {error}"), "a.log"),
    ):
        raise cause
    assert found.value.__cause__ is cause


@pytest.mark.parametrize(
    ("error", "of"),
    [
        (KeyboardInterrupt(), Exception),
        (SystemExit(1), Exception),
        (ValueError(), OSError),
        (SystemExit(1), (Exception, KeyboardInterrupt)),
    ],
    ids=lambda each: getattr(each, "__name__", type(each).__name__),
)
def test_what_is_not_to_be_told_otherwise_goes_on(error: BaseException, of: Kinds) -> None:
    with pytest.raises(type(error)) as found, told_as(lambda _: AssertionError(), of=of):
        raise error
    assert found.value is error


def test_an_exception_that_is_to_be_told_as_itself_goes_on_without_being_its_own_cause() -> None:
    with pytest.raises(DecodingError) as found, told_as(lambda error: error):
        raise DecodingError("said already")
    assert found.value.__cause__ is None and found.value.__context__ is None


def test_what_the_making_of_an_error_raises_comes_in_its_place() -> None:
    with pytest.raises(LookupError, match="no words"), told_as(lambda error: fail(LookupError("no words"))):
        raise ValueError


def test_an_error_that_was_told_and_forgotten_leaves_nothing_to_the_collector() -> None:
    class Thing:
        pass

    def tell() -> weakref.ref[Thing]:
        thing = Thing()
        try:
            with told_as(lambda error: DecodingError("no")):
                raise ValueError(thing)
        except DecodingError:
            pass
        return weakref.ref(thing)

    gc.disable()
    try:
        assert tell()() is None
    finally:
        gc.enable()


def test_somebody_is_told_of_an_exception_and_what_is_after_the_block_goes_on() -> None:
    told: list[object] = []
    error = ValueError("why")
    with last_resort(lambda *args: told.extend(args), "of what"):
        raise error
    assert told == [error, "of what"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()], ids=names)
def test_what_stops_a_program_is_no_matter_of_a_last_resort(error: BaseException) -> None:
    with pytest.raises(type(error)), last_resort(lambda error: pytest.fail("nobody is told")):
        raise error


def test_nobody_is_told_of_a_block_that_came_to_its_end() -> None:
    with last_resort(lambda error: pytest.fail("nobody is told")):
        pass


def test_what_is_asked_gives_its_answer_or_none() -> None:
    assert or_none(int, "ff", base=16) == 255
    assert or_none(int, "no number") is None
    assert or_none(fail, RecursionError()) is None


def test_what_is_attempted_gives_its_answer_or_what_it_raises() -> None:
    assert attempted(int, "ff", base=16) == (255, None)
    error = RecursionError()
    assert attempted(fail, error) == (None, error)


@pytest.mark.parametrize("ask", [attempted, or_none])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=names)
def test_what_stops_a_program_is_no_answer(ask: Any, error: BaseException) -> None:
    with pytest.raises(type(error)):
        ask(fail, error)


@pytest.mark.parametrize("error", ANYTHING, ids=names)
def test_somebody_is_told_of_whatever_is_raised_and_that_goes_on(error: BaseException) -> None:
    told: list[tuple[object, ...]] = []
    with pytest.raises(type(error)) as found, telling(lambda *args: told.append(args), "a", 2):
        raise error
    assert found.value is error and told == [(error, "a", 2)]
    assert error.__cause__ is None and error.__context__ is None


def test_nobody_is_told_of_what_was_not_raised() -> None:
    with telling(fail):
        pass


def test_the_last_resort_of_a_thread_is_told_of_whatever_is_raised() -> None:
    told: list[object] = []
    for error in ANYTHING:
        with last_resort(told.append, of=BaseException):
            raise error
    assert told == ANYTHING


def test_what_can_not_be_raised_where_one_awaits_is_raised_as_a_coroutine_does() -> None:
    async def ask(error: BaseException) -> None:
        await asyncio.wait_for(asyncio.to_thread(as_awaited, fail, error), 10)

    with pytest.raises(RuntimeError) as found:
        asyncio.run(ask(StopIteration(4)))
    assert isinstance(found.value.__cause__, StopIteration)
    with pytest.raises(KeyError):
        asyncio.run(ask(KeyError(4)))
    assert as_awaited(divmod, 7, 2) == (3, 1)

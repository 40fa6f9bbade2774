"""What coopy raises is an exception as any other: it can be copied and sent to another process, whatever it was made of."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import re
from typing import Any

import pytest

import coopy
from coopy import errors
from coopy.errors import CoopyError, DecodingError, copy_of

VALUES: dict[str, Any] = {
    "str": "text",
    "int": 7,
    "int | None": 7,
    "str | None": "text",
    "Exception": ValueError("inner"),
    "DecodingError": DecodingError("inner", "method"),
}


def classes(cls: type[CoopyError] = CoopyError) -> list[type[CoopyError]]:
    return [cls, *(each for below in cls.__subclasses__() if below.__module__ == errors.__name__ for each in classes(below))]


def made(cls: type[CoopyError]) -> CoopyError:
    if "__init__" not in {name for base in cls.__mro__ if base.__module__ == errors.__name__ for name in vars(base)}:
        return cls("text")
    parameters = list(inspect.signature(cls).parameters.values())
    return cls(*(VALUES.get(str(each.annotation), ("a",)) for each in parameters))


def said(error: BaseException) -> Any:
    inner = {name: repr(value) for name, value in vars(error).items()}
    return type(error), str(error), error.args, inner, getattr(error, "errno", None), getattr(error, "filename", None)


@pytest.mark.parametrize("cls", dict.fromkeys(classes()), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    "again", [copy.copy, copy_of, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "copy_of", "pickle"]
)
def test_an_error_is_the_same_after_it_was_copied_or_sent(cls: type[CoopyError], again: Any) -> None:
    error = made(cls)
    found = again(error)
    assert found is not error
    assert said(found) == said(error)


def test_a_copy_knows_the_cause_and_not_who_was_told_before() -> None:
    error = CoopyError("text")
    error.__cause__ = KeyError("x")
    with pytest.raises(CoopyError):
        raise error
    found = copy_of(error)
    assert found.__cause__ is error.__cause__
    assert found.__traceback__ is None and error.__traceback__ is not None


def test_what_the_operating_system_has_refused_begins_with_the_place() -> None:
    for cls in (errors.JournalError, errors.Unreadable):
        for error in (
            cls(2, "No such file or directory. Nothing was changed.", "/proc/x"),
            copy.copy(cls(2, "No such file or directory. Nothing was changed.", "/proc/x")),
        ):
            assert str(error) == "/proc/x: No such file or directory. Nothing was changed."
            assert (error.errno, error.filename) == (2, "/proc/x")


def test_the_name_of_a_class_is_not_the_class() -> None:
    with pytest.raises(errors.UsageError, match="give the class, not 'Todo'"):
        coopy.init_system("Todo", "data")


@pytest.mark.parametrize(("value", "base"), [({}, "(dict)"), ([], "(list)"), (3, ""), (None, ""), (True, ""), (dict, "(dict)")])
def test_the_class_that_is_advised_is_one_that_can_be_written(value: object, base: str) -> None:
    with pytest.raises(errors.UsageError, match=rf"class Store{re.escape(base)}: \.\.\."):
        coopy.init_system(value, "data")
    exec(f"class Store{base}: ...")


def test_of_a_place_where_nothing_can_be_made_it_is_said_that_nothing_was() -> None:
    if not os.path.isdir("/proc/self"):
        pytest.skip("there is no /proc")
    with pytest.raises(errors.CoopyError) as refused:
        coopy.init_system(Counter, "/proc/coopy-is-not-there")
    assert "what was in it still is" not in str(refused.value)
    assert str(refused.value).startswith("/proc/coopy-is-not-there: ") and "Nothing was opened or changed." in str(
        refused.value
    )


class Counter:
    pass

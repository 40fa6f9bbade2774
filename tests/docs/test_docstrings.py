"""What the docstrings of the front door, coopy.testing and coopy.metrics show is what happens. Other rooms have tests like this of their own."""

from __future__ import annotations

import doctest
import os
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aio.wiki import Wiki

import coopy.metrics
import coopy.testing

GIVEN: dict[str, Any] = {"Wiki": Wiki, "coopy": coopy, "datetime": datetime, "os": os}
GIVEN |= {name: getattr(module, name) for module in (coopy.testing, coopy) for name in module.__all__}
NOT_HERE = {
    "connect": "takes a system that is served: tests/aio/test_doctests.py runs that of asyncio",
    "Systems": "is a test",
    "objects": "says how a room is used that is not shown",
    "Objects": "the same",
}
"""Of these the examples are not whole."""


def examples(name: str, thing: Any) -> list[doctest.DocTest]:
    """The examples in the docstring of a function, or of a class and its members."""
    if not isinstance(thing, type) and not callable(thing):
        return []
    found = doctest.DocTestFinder(exclude_empty=True).find(thing, name, globs=dict(GIVEN))
    return [each for each in found if each.examples]


SHOWN = [
    (f"{module.__name__}.{name}", each)
    for module in (coopy, coopy.testing)
    for name in module.__all__
    if name not in NOT_HERE
    for each in examples(name, getattr(module, name))
]


def test_there_are_examples_in_both() -> None:
    names = [name for name, _ in SHOWN]
    assert {"coopy.control", "coopy.replay", "coopy.opened", "coopy.testing.crash", "coopy.testing.failing"} <= {*names}


@pytest.mark.parametrize(("name", "example"), SHOWN, ids=[f"{name}-{example.name}" for name, example in SHOWN])
def test_an_example_shows_what_happens(
    name: str, example: doctest.DocTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A class of an example has no source.
        try:
            runner.run(example, clear_globs=False)
        finally:
            coopy.close_all()
    assert runner.tries and not runner.failures


def test_every_public_name_of_testing_has_an_example() -> None:
    assert [name for name in coopy.testing.__all__ if ">>> " not in (getattr(coopy.testing, name).__doc__ or "")] == []


NEEDS = {
    "register": "prometheus_client",
    "Collector": "prometheus_client",
    "health": "fastapi",
    "trace": "opentelemetry",
    "drop_replayed": "structlog",
    "sentry_event": "sentry_sdk",
}
"""The package that an example of coopy.metrics is about."""


@pytest.mark.parametrize("name", [name for name in coopy.metrics.__all__ if examples(name, getattr(coopy.metrics, name))])
def test_an_example_of_metrics_shows_what_happens(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    given: dict[str, Any] = {"coopy": coopy}
    if name in NEEDS:
        given[NEEDS[name]] = package = pytest.importorskip(NEEDS[name])
        if name == "drop_replayed":
            request.addfinalizer(package.reset_defaults)
        if name == "health":
            given |= {"app": package.FastAPI(), "Response": package.Response}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    with coopy.init_system(Wiki, tmp_path) as given["wiki"]:
        for page in ("Home", "News", "Help"):
            given["wiki"].create_page(page)
        for each in examples(name, getattr(coopy.metrics, name)):
            each.globs.update(vars(coopy.metrics), **given)
            runner.run(each)
    assert runner.tries and not runner.failures

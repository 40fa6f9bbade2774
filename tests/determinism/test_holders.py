"""Functions that other modules took hold of before they were replaced."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from determinism import holders
from program import run, write

TESTS = Path(__file__).resolve().parents[1]
PROGRAM = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from determinism import holders       # first of all: as a program that was there before

import functools, importlib.util, json, logging, timeit
from time import time as mine
from coopy.determinism import install

class Odd:
    # As the proxies of some libraries: asked for its class, it raises.
    @property
    def __class__(self):
        raise RuntimeError("out of context")

odd = Odd()
spec = importlib.util.find_spec("determinism.loaded_quietly")
spec.loader = importlib.util.LazyLoader(spec.loader)
lazy = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lazy)
kept = logging.Formatter.converter, timeit.default_timer      # not looked into: it can't be changed
install.install()
from determinism.standing import Standing, inside

answered = {{name: repr(inside(ask)) == repr(inside(ask)) != repr(inside(ask, Standing(7, instant=10**18)))
             for name, ask in holders.ASKED.items()}}
answered["a name of the program"] = inside(mine) == inside(mine)
answered["outside"] = repr(holders.ASKED["a name"]()) != repr(inside(holders.now)) and mine() > 1.7e9
answered["the library keeps its own"] = kept == (logging.Formatter.converter, timeit.default_timer)
answered["nothing is left"] = not [
    name for name, value in vars(holders).items() if type(value).__name__ == "builtin_function_or_method"]
answered["a module that loads itself late does not yet"] = "_LazyModule" in type(lazy).__name__
print(json.dumps(answered))
"""


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    import json

    found: dict[str, bool] = json.loads(run(write(tmp_path_factory.mktemp("holders") / "program.py", PROGRAM)))
    return found


@pytest.mark.parametrize(
    "name",
    [
        *holders.ASKED,
        "a name of the program",
        "outside",
        "the library keeps its own",
        "nothing is left",
        "a module that loads itself late does not yet",
    ],
)
def test_who_took_hold_before_is_answered_too(name: str, answered: dict[str, bool]) -> None:
    assert answered[name]


def test_the_program_took_hold_of_all() -> None:
    assert holders.attrs is None or "fields of attrs" in holders.ASKED
    assert "coopy" not in (TESTS / "determinism" / "holders.py").read_text().partition('"""\n')[2], sys.path

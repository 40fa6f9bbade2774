"""Names on the servers: they come from one module, tell systems apart, and say what a replica may use."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from architecture import trees

from coopy.errors import UsageError
from coopy.network import subjects
from coopy.network.server import configuration
from coopy.network.subjects import Names

PACKAGE = Path(subjects.__file__).parents[1]
A_NAME = re.compile(r"\$JS|\$KV|\$O\.|KV_|OBJ_|COOPY_$|DIRECT\.GET|STREAM\.|_INBOX|\.ask\b|\.out\b|^coopy\.\*")


def strings(path: Path) -> list[str]:
    """The text of a module that is neither a docstring nor what stands under a constant."""
    said = {id(each.value) for each in trees.nodes_of(path) if isinstance(each, ast.Expr)}
    return [
        each.value
        for each in trees.nodes_of(path)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in said
    ]


def test_no_other_module_makes_names() -> None:
    there = [(path, each) for path in sorted(PACKAGE.rglob("*.py")) for each in strings(path) if A_NAME.search(each)]
    trees.let_go()
    assert {path for path, _ in there} >= {Path(subjects.__file__)}
    assert [found for found in there if found[0] != Path(subjects.__file__)] == []


@pytest.mark.parametrize(
    ("names", "stream", "subject"),
    [
        (Names("shop"), "COOPY_shop", "coopy.shop"),
        (Names("shop", "acme"), "COOPY_acme_shop", "coopy.acme.shop"),
        (Names("shop", "acme", "7"), "COOPY_acme_shop_7", "coopy.acme.shop.7"),
        (Names("shop", line_id="7"), "COOPY_shop_7", "coopy.shop.7"),
    ],
    ids=str,
)
def test_a_system_of_an_application_and_of_several_lines_has_names_of_its_own(names: Names, stream: str, subject: str) -> None:
    assert (names.stream, names.subject, names.line) == (stream, subject, f"{subject}.line")
    assert names.streams == (stream, f"KV_{stream}", f"OBJ_{stream}")
    assert all(each.startswith(("$JS.API.DIRECT.GET.", subject)) for each, _ in names.sent)


@pytest.mark.parametrize("name", ["a", "Shop-2", "x" * 64])
def test_a_system_is_known_by_each_of_its_names(name: str) -> None:
    names = Names(name)
    assert Names.of_subject(names.subject) == Names.of_stream(names.stream) == Names.of_alive(names.alive) == names
    assert Names.of_stream(names.facts) is Names.of_stream("COOPY_") is None


@pytest.mark.parametrize("subject", ["coopy", "coopy.", "coopy.a.b", "coopy.é", "other.a", "coopy." + "x" * 65, "coopy.a\n"])
def test_what_is_no_subject_of_a_system_is_refused(subject: str) -> None:
    with pytest.raises(UsageError):
        Names.of_subject(subject)


def test_the_name_of_a_class_makes_one_that_the_servers_take() -> None:
    for name in ("Shop", "Größe", "_", "X" * 100):
        names = Names.of_class(type(name, (), {}))
        assert Names.of_subject(names.subject) == names


def test_a_replica_is_let_do_what_its_names_say_and_nothing_else() -> None:
    given = configuration.__doc__ or ""
    assert "coopy.network.subjects" in given
    names = Names("shop")
    assert [here for _, here in names.sent] == [
        *[f"coopy.shop.api.DIRECT.GET.{stream}{more}" for stream in names.streams for more in ("", ".>")],
        "coopy.shop.ask.>",
    ]
    assert names.heard == ["_INBOX_replica.>", "coopy.shop.out", "coopy.shop.out.>"]


def test_what_has_a_node_do_something_is_none_of_the_questions_that_a_replica_may_ask() -> None:
    names = Names("shop")
    assert {names.ask(what) for what in subjects.ORDERS} == {"coopy.shop.order.code"}
    assert names.ask("line") == "coopy.shop.ask.line"
    assert not any(".order" in each for pair in names.sent for each in pair)

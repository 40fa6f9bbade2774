"""What the objects of a domain do, and not its own class, is told as well."""

from __future__ import annotations

import importlib
import linecache
from pathlib import Path
from typing import Any

import pytest
from determinism import shop, shop_items

from coopy.determinism.check import findings
from coopy.determinism.glance import Glance


def _told(cls: type) -> set[tuple[str, str]]:
    """Code and mark of each finding; with a glance the same are found."""
    found = findings(cls)
    assert {str(each) for each in findings(cls, Glance(cls))} == {str(each) for each in found if each.severity != "note"}
    return {(each.code, linecache.getline(each.file, each.line).rpartition("# ")[2].strip()) for each in found}


def test_what_the_objects_of_a_domain_do_is_told() -> None:
    assert _told(shop.Shop) == {
        ("CPY101", "pay"),
        ("CPY101", "age"),
        ("CPY102", "less"),
        ("CPY102", "of an enum"),
        ("CPY101", "descriptor"),
        ("CPY101", "with"),
        ("CPY101", "metaclass"),
        ("CPY103", "key of basket"),
        ("CPY102", "registered"),
        ("CPY102", "table"),
        ("CPY101", "stamps"),
        ("CPY212", "closure"),
        ("CPY212", "default of a helper"),
        ("CPY102", "by name"),
        ("CPY101", "by name"),
        ("CPY216", "opens"),
    }


def test_the_method_that_uses_it_is_named() -> None:
    said = {each.message for each in findings(shop.Shop)}
    assert "Shop.pay calls datetime.now() in helper Order.pay()" in said
    assert "Shop.put calls uuid.uuid4() in helper Basket._key(), called by Basket.put()" in said


def test_what_no_action_uses_is_not_told() -> None:
    assert _told(shop.Harmless) == {("CPY102", "less")}


def test_what_an_argument_does_is_told_if_one_class_of_the_module_has_that_name() -> None:
    assert _told(shop.Street) == {("CPY101", "neighbour")}


def test_a_default_that_all_calls_share_is_state_outside_the_system() -> None:
    assert _told(shop.Defaults) == {
        ("CPY212", "kept default"),
        ("CPY212", "changed default"),
        ("CPY212", "noted default"),
        ("CPY212", "put default"),
    }
    (kept,) = [each for each in findings(shop.Defaults) if "__init__" in each.method]
    assert kept.message == "Defaults.__init__ changes items, a default that all calls share"
    assert kept.instead == "None for the default, and a new one in the body"


@pytest.mark.parametrize("mark", ["fromkeys", "longest", "both", "apart"])
def test_the_order_of_a_set_is_seen_in_other_ways_than_by_a_loop(mark: str) -> None:
    assert ("CPY206", mark) in _told(shop.Orders)


def test_a_class_whose_methods_are_changed_by_setattr_is_state_outside_the_system() -> None:
    class Counter:
        def count(self) -> Any:
            setattr(shop.Unused, "count", getattr(shop.Unused, "count", 0) + 1)  # noqa: B010 - one of the ways
            type.__setattr__(shop_items.Basket, "count", 1)

    assert [each.code for each in findings(Counter)] == ["CPY212", "CPY212"]


LIBRARY = """
import datetime, warnings
class Model:
    def copy(self, memo):
        warnings.warn("old")
        memo[id(self)] = self
        type(self).__complete__ = True
    def stamp(self):
        type(self).count = 1
        self.at = datetime.datetime.now()
"""


def test_what_a_base_of_others_says_and_keeps_of_its_classes_is_its_own_affair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "models_of_others.py").write_text(LIBRARY)
    (tmp_path / "page_of_model.py").write_text("import models_of_others\nclass Page(models_of_others.Model): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    monkeypatch.syspath_prepend(str(tmp_path))
    page = importlib.import_module("page_of_model").Page
    assert sorted(each.code for each in findings(page)) == ["CPY101", "CPY212"]
    assert sorted(each.code for each in findings(page.__base__)) == ["CPY101", "CPY207", "CPY212", "CPY212", "CPY213"]

"""The pytest plugin: what its fixture gives, what it finds in the end, and what it costs who does not use it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from program import environment

ROOT = Path(__file__).resolve().parents[2]
pytest_plugins = ["pytester"]

DOMAIN = """
from coopy import readonly

class Wiki:
    def __init__(self):
        self.pages = []
        self.token = self._env.token_hex(8)

    def create_page(self, name):
        self.pages.append((name, self._clock.now().year))

    @readonly
    def all_pages(self):
        return self.pages
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a domain. The plugin is loaded by name, whether or not it is installed as one."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p coopy.testing.plugin -p no:cacheprovider")
    monkeypatch.syspath_prepend(pytester.path)
    pytester.makepyfile(wiki=DOMAIN)
    return pytester


def outcome(project: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    project.makepyfile(test_wiki=test)
    result = project.runpytest_inprocess(*arguments)
    sys.modules.pop("wiki", None)
    sys.modules.pop("test_wiki", None)
    return result


def test_the_fixture_opens_moves_crashes_and_fails(project: pytest.Pytester) -> None:
    result = outcome(
        project,
        """
        import datetime, pytest
        from wiki import Wiki
        from coopy import JournalError, control

        @pytest.mark.parametrize("kind", ["open", "memory"])
        def test_it(coopy, kind, tmp_path):
            coopy.clock.set(datetime.datetime(2030, 1, 1))
            wiki = getattr(coopy, kind)(Wiki)
            wiki.create_page("Home")
            wiki = coopy.crash(wiki)
            with coopy.failing(wiki, "append"), pytest.raises(JournalError):
                wiki.create_page("Lost")
            coopy.clock.move(datetime.timedelta(days=366))
            wiki.create_page("News")
            coopy.assert_replays(wiki)
            assert wiki.pages == [("Home", 2030), ("News", 2031)]
            assert (tmp_path / "wiki" / "coopy.json").exists() == (kind == "open")

        def test_closed_and_opened_again(coopy):
            with coopy.open(Wiki) as wiki:
                wiki.create_page("Home")
            with coopy.open(Wiki, durability="buffered") as wiki:
                assert len(wiki.pages) == 1
            other = coopy.open(Wiki, "other")
            assert other.pages == []
            assert coopy.crash(other, power=True).pages == []

        def test_every_test_has_its_own(coopy, tmp_path):
            assert not list(tmp_path.iterdir())
            assert coopy.clock.now().year < 2030
    """,
    )
    result.assert_outcomes(passed=4)


def test_a_test_that_uses_the_module_has_the_fixture_by_another_name(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import coopy, pytest

        class Wiki:
            def __init__(self):
                self.pages = []

        def test_it(coopy_systems):
            assert coopy.control(coopy_systems.open(Wiki)).index == 0

        @pytest.mark.parametrize("name", ["control", "replay", "UsageError"])
        def test_the_other_name_is_told(coopy, name):
            with pytest.raises(AttributeError, match="that name is the fixture, not the module: use the fixture `coopy_systems`"):
                getattr(coopy, name)
            with pytest.raises(AttributeError, match="has no attribute 'nothing'$"):
                coopy.nothing
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=4)


def test_every_run_draws_the_same_and_each_system_something_else(project: pytest.Pytester) -> None:
    test = """
        from wiki import Wiki

        def test_it(coopy):
            systems = [coopy.open(Wiki), coopy.open(Wiki, "other"), coopy.memory(Wiki), coopy.memory(Wiki)]
            tokens = {system.token for system in systems}
            assert len(tokens) == 4
            print("\\ndrawn:", sorted(tokens))
    """
    printed = [[line for line in outcome(project, test, "-s").outlines if line.startswith("drawn:")] for _ in range(2)]
    assert printed[0] == printed[1] and printed[0]


def test_a_directory_that_was_there_keeps_its_seed(project: pytest.Pytester) -> None:
    outcome(
        project,
        """
        import coopy as package
        from wiki import Wiki

        def test_it(coopy, tmp_path):
            package.init_system(Wiki, tmp_path / "wiki").close()
            wiki = coopy.open(Wiki)
            wiki.create_page("Home")
    """,
    ).assert_outcomes(passed=1)


@pytest.mark.parametrize("switched, errors", [("True", 1), ("False", 0)])
def test_what_does_not_replay_is_found_in_the_end_unless_switched_off(
    project: pytest.Pytester, switched: str, errors: int
) -> None:
    result = outcome(
        project,
        f"""
        from wiki import Wiki

        def test_it(coopy):
            coopy.replays = {switched}
            first, wiki = coopy.open(Wiki), coopy.memory(Wiki)
            wiki.create_page("Home")
            wiki.all_pages().append("behind its back")

        def test_all_were_closed_all_the_same(coopy, tmp_path_factory):
            coopy.open(Wiki, tmp_path_factory.getbasetemp() / "test_it0" / "wiki").create_page("Home")
    """,
    )
    result.assert_outcomes(passed=2, errors=errors)
    if errors:
        result.stdout.fnmatch_lines(["*AssertionError: Wiki does not come to its state again*at .pages*"])


@pytest.mark.parametrize("arguments, ini, failed", [((), "", 0), (("--coopy-check",), "", 1), ((), "coopy_check = true", 1)])
def test_check_is_switched_on_for_all_by_an_option(
    project: pytest.Pytester, arguments: tuple[str, ...], ini: str, failed: int
) -> None:
    project.makeini(f"[pytest]\n{ini}\n")
    result = outcome(
        project,
        """
        from wiki import Wiki

        def test_it(coopy):
            coopy.replays = False
            wiki = coopy.memory(Wiki)
            wiki.all_pages().append("behind its back")
            wiki.create_page("Home")

        def test_it_can_be_left_out(coopy):
            coopy.replays = False
            wiki = coopy.memory(Wiki, check=False)
            wiki.all_pages().append("behind its back")
            wiki.create_page("Home")
    """,
        *arguments,
    )
    result.assert_outcomes(passed=2 - failed, failed=failed)
    if failed:
        result.stdout.fnmatch_lines(["*StateChanged*all_pages*"])


def test_systems_that_failed_are_closed_as_well(project: pytest.Pytester) -> None:
    result = outcome(
        project,
        """
        import pytest
        from wiki import Wiki
        from coopy import JournalError

        def test_it(coopy):
            failed, other = coopy.open(Wiki), coopy.open(Wiki, "other")
            with coopy.failing(failed, "sync"), pytest.raises(JournalError):
                failed.create_page("Home")

        def test_that(coopy, tmp_path_factory):
            for name in ("wiki", "other"):
                coopy.open(Wiki, tmp_path_factory.getbasetemp() / "test_it0" / name)
    """,
    )
    result.assert_outcomes(passed=2)


def test_who_does_not_use_the_fixture_loads_neither_the_tools_for_tests_nor_anything_of_the_standard_library(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_plain.py").write_text(
        "import sys\ndef test_it():\n    assert 'coopy.testing.systems' not in sys.modules\n"
        "    assert 'coopy.testing.plugin' in sys.modules\n    print('loaded:', *sorted(sys.modules))\n"
    )
    loaded = []
    for plugin in ("coopy.testing.plugin", "no:coopy.testing.plugin"):
        if plugin.startswith("no:"):
            (tmp_path / "test_plain.py").write_text("import sys\ndef test_it():\n    print('loaded:', *sorted(sys.modules))\n")
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-p", plugin],
            cwd=tmp_path,
            env=environment(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        line = next(line for line in ran.stdout.splitlines() if line.startswith("loaded:"))
        loaded.append(set(line.split()[1:]))
    more = {name for name in loaded[0] - loaded[1] if name.partition(".")[0] != "coopy"}
    assert more <= {"pickle", "_pickle", "_compat_pickle", "mmap", "array"}, more


def test_the_example_of_the_guide_passes(project: pytest.Pytester) -> None:
    guide = (ROOT / "docs" / "guides" / "testing.md").read_text()
    domain = re.search(r"^class Wiki:\n.*?(?=^class )", guide, re.S | re.M)
    test = re.search(r"^```\n(import .*?)^```", guide, re.S | re.M)
    assert domain is not None and test is not None
    project.makepyfile(wiki=domain[0])
    outcome(project, test[1]).assert_outcomes(passed=2)


def test_the_package_registers_the_plugin() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    place = lines.index("[project.entry-points.pytest11]")
    assert lines[place + 1] == 'coopy = "coopy.testing.plugin"'
    assert (ROOT / "coopy" / "testing" / "plugin.py").exists()

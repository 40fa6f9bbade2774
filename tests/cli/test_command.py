"""What a function takes is what its command takes; what help says; what a tab makes of a word."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from coopy import init_system

REASON = "the extra [cli] is not installed"
CliRunner = pytest.importorskip("click.testing", reason=REASON).CliRunner
ShellComplete = pytest.importorskip("click.shell_completion", reason=REASON).ShellComplete
command = pytest.importorskip("coopy.cli.command", reason=REASON)

Coopy = Callable[[str], tuple[int, str, str]]
taken: list[tuple[object, ...]] = []


def takes(
    name: Annotated[str, command.Argument("NAME", help="A name.")],
    rest: Annotated[list[str] | None, command.Argument("WORD", help="Words.")] = None,
    often: Annotated[int, command.Option(min=1, max=9, metavar="N", help="So often.")] = 2,
    share: Annotated[float | None, command.Option("--share", "-s", min=0.5, help="A share.")] = None,
    also: Annotated[list[str] | None, command.Option("--also", help="More.")] = None,
    is_dry: Annotated[bool, command.Option("--dry", help="Only look.")] = False,
    secret: Annotated[str, command.Option(help="A word.")] = "",
    sign: Annotated[str | None, command.Option(answer=lambda sign: f"born under {sign}", help="A sign.")] = None,
) -> None:
    """Take what there is to take.

    And more.
    """
    taken.append((name, rest, often, share, also, is_dry, secret, sign))


def ran(*words: str) -> tuple[int, str]:
    taken.clear()
    done = CliRunner().invoke(command.Command("takes", takes), [*words])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("a", ("a", [], 2, None, [], False, "", None)),
        ("a b c --often 9 -s 0.5", ("a", ["b", "c"], 9, 0.5, [], False, "", None)),
        ("--dry --also x a --also y", ("a", [], 2, None, ["x", "y"], True, "", None)),
        ("a --secret s", ("a", [], 2, None, [], False, "s", None)),
    ],
)
def test_a_word_becomes_what_its_parameter_is_of(line: str, got: tuple[object, ...]) -> None:
    assert ran(*line.split()) == (0, "")
    assert taken == [got]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "Missing argument 'NAME'"),
        ("a --often many", "'many' is not a valid integer"),
        ("a --often 10", "10 is not in the range 1<=x<=9"),
        ("a -s 0.4", "0.4 is not in the range x>=0.5"),
        ("a --wet", "No such option"),
    ],
)
def test_what_no_parameter_takes_is_wrong_use(line: str, says: str) -> None:
    code, out = ran(*line.split())
    assert code == 2 and says in out and not taken


def test_an_option_that_answers_ends_the_command_before_anything_else_is_looked_at() -> None:
    assert ran("--sign", "libra", "--often", "many") == (0, "born under libra\n")
    assert not taken


def test_the_help_has_the_docstring_the_arguments_and_the_options() -> None:
    code, out = ran("--help")
    assert code == 0
    assert "Usage: takes [OPTIONS] NAME [WORD]..." in out
    assert "Take what there is to take." in out and "And more." in out
    assert "\nArguments:\n  NAME       A name.\n  [WORD]...  Words.\n" in out
    assert out.count("A name.") == 1, "also where click itself lists the arguments"
    assert "--often N" in out and "[default: 2; 1<=x<=9]" in out
    assert "--secret TEXT" in out and "default: ;" not in out and "[default: ]" not in out


def test_a_parameter_is_told_from_the_none_that_some_pythons_put_around_it() -> None:
    found = inspect.signature(takes).parameters["share"]
    plain = command._parameter(found, typing.get_type_hints(takes, include_extras=True)["share"])
    wrapped = command._parameter(found, Annotated[float | None, command.Option("--share", help="A share.")] | None)
    assert (wrapped.name, wrapped.type.name, wrapped.default) == (plain.name, "float", None)


def test_a_parameter_that_says_nothing_of_itself_is_a_mistake_of_ours() -> None:
    def silent(name: str) -> None: ...

    with pytest.raises(TypeError, match="name is neither an Argument nor an Option"):
        command.Command("silent", silent)


# -- the commands of coopy


def commands(group: Any, path: str = "") -> list[tuple[str, Any]]:
    found = []
    nowhere: Any = None
    for name in group.list_commands(nowhere):
        each = group.get_command(nowhere, name)
        found.append((f"{path}{name}", each))
        if hasattr(each, "list_commands"):
            found += commands(each, f"{path}{name} ")
    return found


def test_the_help_of_each_command_begins_with_what_it_is_told_to_do() -> None:
    from coopy.cli.app import app

    for name, each in commands(app):
        first = each.help.split()[0]
        assert first.istitle() and not first.endswith("s") and first not in ("What", "Who", "Whether", "The", "How"), name


def test_help_is_asked_for_in_two_ways(coopy: Coopy) -> None:
    assert coopy("help show") == coopy("show --help")
    assert coopy("help cluster add") == coopy("cluster add --help")
    assert coopy("help") == coopy("--help")
    assert "Usage: coopy show [OPTIONS] DIR\n" in coopy("help show")[1]


def test_a_command_that_is_misspelt_is_told_which_was_meant(coopy: Coopy) -> None:
    assert coopy("shwo data")[2].endswith("Error: No such command 'shwo'. Did you mean 'show'?\n")
    assert coopy("cluster ad a")[2].endswith("Error: No such command 'ad'. Did you mean 'add'?\n")
    assert coopy("frobnicate")[2].endswith("Error: No such command 'frobnicate'.\n")


def test_wrong_use_is_json_where_results_are(coopy: Coopy) -> None:
    code, out, err = coopy("show --json")
    assert (code, out) == (2, "")
    assert json.loads(err) == {"error": "UsageError", "message": "Missing argument 'DIR'."}


def test_top_without_its_package_says_what_to_install(coopy: Coopy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    code, _, err = coopy("top data --once")
    assert code == 2 and err == "coopy: coopy top needs: pip install 'coopy[web]'. Nothing was opened.\n"


# -- what a tab makes of a word


def completed(line: str, word: str = "") -> list[str]:
    from coopy.cli.app import app

    return [each.value for each in ShellComplete(app, {}, "coopy", "_COOPY_COMPLETE").get_completions(line.split(), word)]


def test_a_tab_completes_commands_options_and_directories(coopy: Coopy) -> None:
    from coopy.cli.app import app

    assert completed("", "sh") == ["show", "shell"]
    assert completed("cluster", "st") == ["status", "step-down"]
    assert "--at" in completed("show data", "--")
    [found] = ShellComplete(app, {}, "coopy", "_COOPY_COMPLETE").get_completions(["show"], "da")
    assert found.type == "dir"


def test_a_tab_completes_points_and_methods_without_loading_anything(coopy: Coopy, tmp_path: Path) -> None:
    import shops_of_the_tests as shops  # type: ignore[import-not-found]

    with init_system(shops.Shop, "data") as shop:
        shop.sell(shops.Words(a=1))  # One that is stored as a whole.
    (tmp_path / "shops_of_the_tests.py").write_text("raise SystemExit('it was loaded')")
    del sys.modules["shops_of_the_tests"]
    assert completed("show data --at") == ["4", "0", "1h", "1d", "1w"]
    assert completed("diff data") == completed("diff data 0") == ["4", "0", "1h", "1d", "1w"]
    assert completed("log data --method") == completed("call data") == ["sell"]
    assert completed("call data", "b") == []


@pytest.mark.parametrize("line", ["show nowhere --at", "show --at", "show shops_of_the_tests.py --at"])
def test_a_tab_where_there_is_no_system_says_what_holds_of_all(coopy: Coopy, line: str) -> None:
    assert completed(line) == ["1h", "1d", "1w"]
    assert completed("log nowhere --method") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_what_it_needs_for_that(coopy: Coopy, shell: str) -> None:
    code, out, _ = coopy(f"--completion {shell}")
    assert code == 0 and "_COOPY_COMPLETE=" in out


def test_another_shell_is_not_known(coopy: Coopy) -> None:
    code, _, err = coopy("--completion ksh")
    assert code == 2 and "--completion 'ksh': must be bash, zsh or fish" in err


def test_the_script_for_bash_parses(coopy: Coopy, tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(coopy("--completion bash")[1])
    subprocess.run(["bash", "-n", "completion"], cwd=tmp_path, check=True, timeout=60)

"""Commands of functions, on click: what a function takes is what its command takes.

A parameter is ``Annotated`` with an `Argument` or an `Option`; its type says how a word is read, its default whether it may be left out.
The docstring is the help. What a command does is none of this module's business, and how it ends is that of the group.

A function becomes a command when that is asked for: of thirty, one process runs one. typer does the same with more, and brings
pydantic and rich with it, 25 MB of which no command needs a byte.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import click
from click.exceptions import Exit
from click.shell_completion import CompletionItem

__all__ = ["Argument", "Command", "Completion", "Exit", "Group", "Option"]

Function = Callable[..., None]
Completion = Callable[[Mapping[str, Any], str], Iterable[str]]
"""Called with the parameters that are known so far and the beginning of a word. Returns words that it may become.

In its place ``"dir"`` or ``"file"`` has the shell find directories or files.
"""
_EMPTY = inspect.Parameter.empty


class Argument:
    """Says of a parameter that it is a word of its own: ``Annotated[str, Argument("DIR", "The data directory.")]``."""

    def __init__(self, metavar: str, help: str, complete: Completion | str | None = None) -> None:
        self.metavar = metavar
        self.help = help
        self.complete = complete


class Option:
    """Says of a parameter that it is an option; without names it has that of the parameter. ``min`` and ``max`` are bounds of a number.

    ``answer`` is called with what was given, before any other parameter is looked at; what it returns is printed, and the command ends.
    """

    def __init__(
        self,
        *names: str,
        help: str,
        metavar: str | None = None,
        min: float | None = None,
        max: float | None = None,
        answer: Callable[[Any], str] | None = None,
        complete: Completion | str | None = None,
    ) -> None:
        self.names = names
        self.help = help
        self.metavar = metavar
        self.min = min
        self.max = max
        self.answer = answer
        self.complete = complete


class _Word(click.Argument):
    """An argument that help speaks of: those of older releases of click have none."""

    def __init__(self, said: Argument, **settings: Any) -> None:
        super().__init__(**settings)
        self.said = said.help


class Command(click.Command):
    """A function as a command. Its help lists the arguments, too."""

    def __init__(self, name: str, function: Function, **settings: Any) -> None:
        """``settings`` are those of a context of click."""
        hints = get_type_hints(function, include_extras=True)
        parameters = [_parameter(each, hints[each.name]) for each in inspect.signature(function).parameters.values()]
        super().__init__(name, callback=_calling(function, parameters), params=parameters, help=inspect.getdoc(function))
        self.context_settings = settings

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        words = [(each.metavar or "", each.said) for each in self.params if isinstance(each, _Word)]
        if words:
            with formatter.section("Arguments"):
                formatter.write_dl(words)
        super().format_options(ctx, formatter)


class Group(click.Group):
    """Functions as commands, in sections: ``{"Look": {"show": show}}``. ``coopy help show`` is ``coopy show --help``."""

    def __init__(self, name: str, about: Function, sections: Mapping[str, Mapping[str, Function | click.Command]]) -> None:
        of_all = Command(name, about)
        super().__init__(name, callback=of_all.callback, params=of_all.params, help=of_all.help, no_args_is_help=True)
        self.context_settings = {"help_option_names": ["-h", "--help"]}
        self._sections = sections
        self._functions = {called: each for those in sections.values() for called, each in those.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of the commands, in the order of the help."""
        return list(self._functions)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a command, which is made when it is first asked for; None if there is none of that name."""
        if cmd_name not in self.commands and cmd_name in self._functions:
            found = self._functions[cmd_name]
            self.commands[cmd_name] = found if isinstance(found, click.Command) else Command(cmd_name, found)
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and says which command may have been meant."""
        if not ctx.resilient_parsing and args[0] not in self._functions and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self._functions)
            ctx.fail(f"No such command {args[0]!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does; ``help`` is no command but asks for the help of one."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        room = formatter.width - 6 - max(map(len, self._functions))
        for section, those in self._sections.items():
            rows = [
                (name, command.get_short_help_str(room))
                for name in those
                if (command := self.get_command(ctx, name)) is not None
            ]
            with formatter.section(section):
                formatter.write_dl(rows, col_max=max(map(len, self._functions)) + 4)


def _calling(function: Function, parameters: list[click.Parameter]) -> Function:
    """What click calls: as the function, with a list where it has a tuple."""
    lists = {each.name for each in parameters if each.multiple or each.nargs == -1}

    def call(**given: Any) -> None:
        function(**{name: list(value) if name in lists else value for name, value in given.items()})

    return call


def _parameter(found: inspect.Parameter, hint: Any) -> click.Parameter:
    hint = _without_none(hint)  # Which Python 3.10 puts around it where the default is None.
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{found.name} is neither an Argument nor an Option")
    kind, said = get_args(hint)
    kind = _without_none(kind)
    is_list = get_origin(kind) is list
    kind = get_args(kind)[0] if is_list else kind
    required = found.default is _EMPTY
    settings: dict[str, Any] = {"required": required, "shell_complete": _completing(said.complete)}
    if not required and not is_list:
        settings["default"] = found.default
    if isinstance(said, Argument):
        shown = f"{said.metavar}..." if is_list else said.metavar
        settings["metavar"] = shown if required else f"[{said.metavar}]{'...' if is_list else ''}"
        return _Word(said, param_decls=[found.name], type=kind, nargs=-1 if is_list else 1, **settings)
    names = said.names or (f"--{found.name.replace('_', '-')}",)
    if said.answer is not None:
        settings |= {"callback": _answering(said.answer), "is_eager": True, "expose_value": False}
    if kind is bool:
        return click.Option([*names, found.name], is_flag=True, help=said.help, **settings)
    bounds = {"min": said.min, "max": said.max}
    if kind in (int, float) and bounds != {"min": None, "max": None}:
        kind = (click.IntRange if kind is int else click.FloatRange)(**bounds)
    shows = found.default not in (_EMPTY, None, "")
    return click.Option(
        [*names, found.name], type=kind, multiple=is_list, help=said.help, metavar=said.metavar, show_default=shows, **settings
    )


def _answering(answer: Callable[[Any], str]) -> Any:
    def end(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value and not ctx.resilient_parsing:
            print(answer(value))
            raise Exit

    return end


def _without_none(hint: Any) -> Any:
    """Returns the type of what may be left out, without the None that stands for that."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    return next(each for each in get_args(hint) if each is not type(None))


def _completing(words: Completion | str | None) -> Any:
    if words is None:
        return None

    def complete(ctx: click.Context, _: click.Parameter, beginning: str) -> list[CompletionItem]:
        if isinstance(words, str):
            return [CompletionItem(beginning, type=words)]
        # Of a line that ends with the name of an option click reads none of the words.
        names = (each.name for each in ctx.command.params if isinstance(each, _Word))
        known = {**ctx.params, **{str(name): word for name, word in zip(names, ctx.args, strict=False)}}
        return [CompletionItem(word) for word in words(known, beginning) if word.startswith(beginning)]

    return complete

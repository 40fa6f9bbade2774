"""Whose directory it is, and the class that it was made for.

What is stored are pickles, and a pickle can run anything when it is loaded. So
before anything is loaded a person is told what is about to be, and from whom:
`announcement` is that line, and `reading` loads nothing before it was told.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from datetime import datetime
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType
from typing import Any

from coopy import ForeignDirectory, OnlyLooking, StorageError, Unreadable, UsageError
from coopy.disk import directory, manifest, older
from coopy.disk.fs import Calls
from coopy.disk.manifest import Manifest
from coopy.ground import paths
from coopy.ground.program import module_of_program
from coopy.ground.raised import on_failure, told_as
from coopy.past.reading import Reading

OPTION = "--class module:Class"


def found(basedir: str) -> Manifest:
    """What coopy.json says. Raises `UsageError` where there is no system, or a `StorageError`."""
    paths.refuse_missing(basedir)
    with paths.reads(basedir):
        said = manifest.read(Calls(), basedir)
    if said is not None:
        return said
    try:
        older.refuse(basedir)
    except ForeignDirectory as error:
        raise UsageError(str(error)) from None
    names = Calls().names(basedir)
    if directory.segments(names) or directory.snapshots(names):
        raise UsageError(
            f"{basedir} holds segments or snapshots but no coopy.json: the file is lost, or something else wrote them. Nothing was "
            f"changed. Put coopy.json back from a backup."
        )
    raise UsageError(f"{basedir}: there is no coopy.json, so no system. Give the directory that init_system() was given.")


def announcement(basedir: str, said: Manifest, last: int | None) -> str:
    """One line: path, domain, when it was made, who owns it, and its last action."""
    actions = "its end does not read" if last is None else f"last action {last:,}"
    return f"{basedir}: {said.domain or 'a class that is not named'}, made {_local(said.created)}, {_owner(basedir)}, {actions}"


def _local(created: str | None) -> str:
    """When a directory was made, in the time of whoever reads it, as all commands say times."""
    try:
        return datetime.fromisoformat(created or "").astimezone().replace(tzinfo=None).isoformat(" ", "seconds")
    except ValueError:
        return "nobody knows when"


def announcement_of_old(basedir: str, version: str | None) -> str:
    """The same of a directory that an older release wrote, which names no class."""
    return f"{basedir}: {'not a directory of coopy' if version is None else f'of coopy {version}'}, {_owner(basedir)}"


def announce(basedir: str, tell: Callable[[str], None]) -> Manifest:
    """Tells what is about to be loaded, by whoever opens the directory next. Raises as `found` does."""
    said = found(basedir)
    try:
        with Reading(basedir) as reading:
            last: int | None = reading.log.last
    except Unreadable:
        raise
    except StorageError:
        last = None
    tell(announcement(basedir, said, last))
    return said


def reading(basedir: str, spec: str | None, tell: Callable[[str], None], *, needed: bool = True) -> Reading:
    """The directory opened to be read, for its class; ``tell`` is called before anything is loaded.

    Where the class is not ``needed``, and not named by ``spec``, it may be one that cannot be imported: what is
    stored is then decoded by the names it was stored under. Raises `UsageError` or a `StorageError`.
    """
    said = announce(basedir, tell)
    try:
        found = Reading(basedir, domain_class(said, spec))
    except UsageError:
        # One that can't be imported since it opens a system, as well.
        if needed or spec is not None:
            raise
        return Reading(basedir)
    if not needed and spec is not None:
        # Who needs it loads a state, which says so as well.
        with on_failure(found.close):
            found.refuse_other_class()
    return found


def domain_class(said: Manifest, spec: str | None) -> type:
    """The class named by ``spec``, or else by coopy.json. Raises `UsageError`."""
    if spec is not None:
        return load(spec)
    if not said.domain:
        raise UsageError(f"coopy.json does not name the domain class. Name it: {OPTION}")
    name = said.domain.partition(":")[2]
    if said.domain.startswith("__main__:"):
        if not said.program:
            raise UsageError(
                f"the system was made by a program whose own file defined {name}, and coopy.json does not say which file: a "
                f"prompt or a notebook has none. Name a file that defines it: --class program.py:{name}"
            )
        if not os.path.isfile(said.program):
            raise UsageError(
                f"the system was made by {said.program}, which defined {name} and is not there any more. Say where it is: "
                f"--class program.py:{name}, or {OPTION}"
            )
        return load(f"{said.program}:{name}")
    try:
        return load(said.domain)
    except OnlyLooking:
        raise
    except UsageError as error:
        raise UsageError(f"{error} coopy.json names it; if it has moved, say where it is: {OPTION}") from error


def load(spec: str) -> type:
    """The class that ``module:Class`` or ``file.py:Class`` names; modules of the current directory come first.

    Raises `UsageError`; `OnlyLooking` where the module opens a system when it is imported.
    """
    module, _, name = spec.rpartition(":")
    if not module or not name:
        raise UsageError(f"{spec!r}: a class is named as module:Class, for example wiki:Wiki, or as file.py:Class.")
    _comes_first(os.getcwd())
    is_file = module.endswith(".py") or os.sep in module
    if is_file:
        _refuse_file(module)
    # The module's own code runs: it may raise anything, and a script may end itself.
    with told_as(_not_imported, spec, module, of=(Exception, SystemExit)):
        value: object = _imported_file(module) if is_file else importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, type):
        what = "has no class" if value is None else f"has a {type(value).__qualname__}, not a class,"
        raise UsageError(f"{spec}: the module {module} {what} of the name {name}.")
    if value.__module__ == "builtins":
        raise UsageError(f"{spec}: no state is of the class {value.__qualname__} itself. Name the class of the domain.")
    return value


def again(module: str, name: str, path: str | None) -> type:
    """In another process: the class that ``module`` has there under a name, or else the file that the module is from."""
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if path is None or error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        found = _imported_file(path)  # The file of a program may have a name that no module has.
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, type), "what was given is a class"
    return found


def _not_imported(error: BaseException, spec: str, module: str) -> UsageError:
    """Returns what is said of a module that can't be imported. Raises the `OnlyLooking` that the error is, or came from."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OnlyLooking):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        raise cause
    said = f"{spec}: the module {module} cannot be imported: {type(error).__name__}: {error}".rstrip(".")
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
        said += f". It was looked for in {os.getcwd()} and in PYTHONPATH: run this where the module is, or set PYTHONPATH"
    return UsageError(f"{said}.")


def _refuse_file(path: str) -> None:
    if not os.path.isfile(path):
        raise UsageError(f"{path}: there is no such file.")
    found = sys.modules.get(module_of_program(path))
    if found is not None and os.path.realpath(getattr(found, "__file__", None) or "") != os.path.realpath(path):
        raise UsageError(f"{path}: another module of that name is in use here. Rename the file, or name a module: {OPTION}")


def _imported_file(path: str) -> ModuleType:
    """The file of a program as a module of its name, which is what its classes are called in what is stored."""
    path, name = os.path.abspath(path), module_of_program(path)
    found = sys.modules.get(name)
    if found is not None:
        return found
    _comes_first(os.path.dirname(path))
    loader = SourceFileLoader(name, path)
    spec = spec_from_loader(name, loader)
    assert spec is not None, "a loader is given"
    found = sys.modules[name] = module_from_spec(spec)
    with on_failure(sys.modules.pop, name, None):
        loader.exec_module(found)
    return found


def _comes_first(folder: str) -> None:
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def _owner(basedir: str) -> str:
    uid = os.stat(basedir).st_uid
    return f"owned by {_user(uid)}" + ("" if uid == os.getuid() else f", not by you ({_user(os.getuid())})")


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"

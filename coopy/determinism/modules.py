"""Whose code a module is: told by its name and its file, without reading it."""

from __future__ import annotations

import os
import sys


def package_of(module_name: object) -> str:
    """The first part of a dotted name; empty for anything else."""
    return module_name.partition(".")[0] if isinstance(module_name, str) else ""


def is_of_stdlib(module_name: object) -> bool:
    """Whether a module is Python's own. A module of the user's may have the name of one of these."""
    package = package_of(module_name)
    if package not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(package), "__file__", None)
    return file is None or file.startswith(os.path.dirname(os.__file__))


def read_classes(cls: type) -> list[type]:
    """The class and its bases, without those of the standard library."""
    return [owner for owner in cls.__mro__ if not is_of_stdlib(owner.__module__)]


_INSTALLED = frozenset({"site-packages", "dist-packages"})


def is_installed(file: str) -> bool:
    """Whether a file is one of a package that was installed."""
    return not _INSTALLED.isdisjoint(file.split(os.sep))


class Home:
    """The modules whose code is read: those of a class and its bases, of its package, and all that are not installed."""

    def __init__(self, cls: type) -> None:
        self._packages = {package_of(cls.__module__)} - {"__main__"}
        self._known: dict[object, bool] = {owner.__module__: True for owner in read_classes(cls)}

    def __contains__(self, module_name: object) -> bool:
        found = self._known.get(module_name)
        if found is None:
            found = self._known[module_name] = self._is_own(module_name)
        return found

    def _is_own(self, module_name: object) -> bool:
        package = package_of(module_name)
        if not package or is_of_stdlib(module_name):
            return False
        if package in self._packages:
            return True
        file = getattr(sys.modules.get(str(module_name)), "__file__", None)
        return package != "coopy" and file is not None and not is_installed(file)

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

"""The file of a program, which is `__main__` while it runs, and a module of another name where it is imported."""

from __future__ import annotations

import os
import sys

MAIN = ("__main__", "__mp_main__")
"""What the main file of a program is called; the second one in a process that multiprocessing has spawned."""


def module_of_program(path: str) -> str:
    """The name that the file of a program has as a module."""
    # With a dot in it, it would be that of a module in a package.
    return os.path.splitext(os.path.basename(path))[0].replace(".", "_")


def imported_name(module: str) -> str:
    """Returns the name by which others import a module: that of a program that runs is not `__main__` to them.

    >>> imported_name("json")
    'json'
    """
    if module not in MAIN:
        return module
    main = sys.modules.get(module)
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None and spec.name not in MAIN:
        return str(spec.name)
    return module_of_program(path) if path else MAIN[0]

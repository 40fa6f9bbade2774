"""Names of a package whose modules are loaded when one of them is first asked for (PEP 562), so that importing the package is quick."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def module_of(modules: Mapping[str, str]) -> dict[str, str]:
    """Returns the module of each name; ``modules`` has, by module, its names with blanks between them."""
    return {name: module for module, names in modules.items() for name in names.split()}


def loading(package: dict[str, Any], modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns the ``__getattr__`` of a package: it loads the module of a name, and the package has the name from then on.

    Args:
        package: the ``globals()`` of the package.
        modules: as `module_of` returns them, below the package.

    >>> __getattr__ = loading(globals(), _MODULE_OF)
    """

    def __getattr__(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        found = package[name] = getattr(import_module(f"{package['__name__']}.{modules[name]}"), name)
        return found

    return __getattr__

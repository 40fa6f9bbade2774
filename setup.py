"""The description that an index shows; everything else is in pyproject.toml.

It is README.md, whose links lead to files of the repository, and would be dead on the page of an index. Where pyproject.toml says the
project's address (``Source`` in ``[project.urls]``), they lead there; as long as it does not, a link to a file is its text alone.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
_LINK = re.compile(r"\[([^\]]+)\]\((?![a-z]+:)([^)]+)\)")


def address(pyproject: str) -> str | None:
    """Returns the address of the sources that pyproject.toml names; None if it names none."""
    found = re.search(r'^\[project\.urls\]\n(?:(?!\[).*\n)*?Source = "([^"]+)"', pyproject, re.M)
    return found[1].rstrip("/") if found else None


def description(readme: str, source: str | None) -> str:
    """Returns a README as an index shows it: no link leads to a file that is not there."""
    return _LINK.sub(rf"[\1]({source}/blob/main/\2)" if source else r"\1", readme)


if __name__ == "__main__":
    setup(
        long_description=description(
            (HERE / "README.md").read_text(encoding="utf-8"), address((HERE / "pyproject.toml").read_text(encoding="utf-8"))
        ),
        long_description_content_type="text/markdown",
    )

"""Other people's tests, run on systems in the place of plain objects: how far a system is like the object itself.

    python tests/transparency/campaign.py [ROW]... [--contracts] [--prepare] [--show]
    python tests/transparency/campaign.py --record [ROW]...

Rows are types of CPython, whose contract tests are taken from the interpreter's ``test`` package, and packages of PyPI, whose
source distributions are fetched into a virtual environment of their own, .venv-transparency. Each test runs on the plain class first, and
counts only if it passes there; then with every object that it makes opened by `coopy.testing.memory_system`, which is compared with a
replay afterwards. A failure is *silent* if an assertion of the test does not hold, or the replay comes to another state, and *loud* if an
exception says so. `expected.toml` says of each that stays whether it is *inherent*, as no proxy could pass it, and why.

The exit status is 1 if a row is worse than `expected.toml` says. With --record, that file gets what was found, under the reason
"new", which is for a person to replace.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from transparency import contracts, packages
from transparency.opened import Outcome

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXPECTED = Path(__file__).resolve().parent / "expected.toml"
KINDS = ("silent", "loud", "inherent")
MADE_WITH = (3, 11)
"""The Python whose tests were counted; others have more of them, or fewer."""


@dataclass
class Row:
    """The tests of one type or package, and what `expected.toml` says of them."""

    name: str
    run: int = 0
    """So many tests there were."""
    left: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The tests that fail: of which kind that is, and the name of the reason."""

    def kind(self, test: str, found: Outcome) -> str:
        """Of which kind a test is: what it was found to be, unless it is known to be inherent."""
        known = self.left.get(test)
        return "inherent" if found.how in ("silent", "loud") and known is not None and known[0] == "inherent" else found.how

    def worse(self, found: dict[str, Outcome]) -> Iterator[str]:
        """Says what is worse than expected."""
        for test, each in found.items():
            kind, known = self.kind(test, each), self.left.get(test)
            if kind not in KINDS or (known is not None and (known[0] == kind or kind == "loud")):
                continue
            yield f"{self.name}: {test} is {kind}, expected was {known[0] if known else 'that it passes'}: {each.text}"
        if sys.version_info[:2] == MADE_WITH and len(found) < self.run:
            yield f"{self.name}: {len(found)} tests were run, expected were {self.run}"


def expected() -> tuple[dict[str, Row], dict[str, str]]:
    """Returns the rows, and the reasons by their names."""
    said = tomllib.loads(EXPECTED.read_text())
    rows = {}
    for name, row in said.get("rows", {}).items():
        left = {test: (kind, reason) for kind in KINDS for reason, tests in row.get(kind, {}).items() for test in tests}
        rows[name] = Row(name, row["run"], left)
    return rows, said.get("reasons", {})


def record(rows: Iterable[Row], reasons: dict[str, str]) -> None:
    """Writes `expected.toml`."""
    lines = [
        "# Written by `campaign.py --record`; the reasons, and which test has which, are written by hand.",
        "",
        "[reasons]",
    ]
    lines += [f'{name} = """{text}"""' if "\n" in text else f'{name} = "{text}"' for name, text in sorted(reasons.items())]
    for row in rows:
        lines += ["", f'[rows."{row.name}"]', f"run = {row.run}"]
        for kind in KINDS:
            by_reason: dict[str, list[str]] = {}
            for test, (its, reason) in sorted(row.left.items()):
                if its == kind:
                    by_reason.setdefault(reason, []).append(test)
            for reason, tests in sorted(by_reason.items()):
                lines.append(f'{kind}."{reason}" = [')
                lines += [f'    "{test}",' for test in tests]
                lines.append("]")
    EXPECTED.write_text("\n".join(lines) + "\n")


def found_by(name: str) -> dict[str, Outcome]:
    """Runs the tests of a row. Raises ImportError where the interpreter does not ship its tests."""
    found: dict[str, Outcome] = {}
    for case in contracts.cases():
        if case.row == name:
            found |= contracts.outcomes(case)
    for package in packages.PACKAGES:
        if package.name == name:
            found |= packages.outcomes(package)
    return found


def line(row: Row, found: dict[str, Outcome]) -> tuple[int, ...]:
    """Returns the figures of a row: run, pass, silent, loud, inherent."""
    kinds = Counter(row.kind(test, each) for test, each in found.items())
    return (len(found), kinds["pass"] + kinds["skip"], *(kinds[kind] for kind in KINDS))


def share(figures: Iterable[int]) -> str:
    """Returns what of that which is not inherent passes."""
    run, passed, _, _, inherent = figures
    return f"{100 * passed / (run - inherent):.1f} %" if run > inherent else "-"


def main() -> int:
    parser = argparse.ArgumentParser(description="Other people's tests, run on systems in the place of plain objects.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="types and packages; by default all")
    parser.add_argument("--contracts", action="store_true", help="only those of CPython's types")
    parser.add_argument("--prepare", action="store_true", help="fetch the packages and install them, and run nothing")
    parser.add_argument("--show", action="store_true", help="show each test that does not pass")
    parser.add_argument("--record", action="store_true", help="write what is found to expected.toml")
    given = parser.parse_args()
    of_types = list(dict.fromkeys(case.row for case in contracts.cases()))
    names = given.rows or of_types + ([] if given.contracts else [package.name for package in packages.PACKAGES])
    absent: dict[str, str] = {}
    if set(names) - set(of_types) or given.prepare:
        absent = packages.prepare()
    if given.prepare:
        return 0
    rows, reasons = expected() if EXPECTED.exists() else ({}, {})
    worse: list[str] = []
    total = [0] * 5
    print(
        f"{'':20}" + "".join(f"{title:>10}" for title in ("run", "pass", "silent", "loud", "inherent")) + "  of what can pass"
    )
    for name in names:
        if name in absent:
            worse.append(f"{name}: not run, as its tests can't be had: {absent[name]}")
            continue
        row = rows.setdefault(name, Row(name))
        try:
            found = found_by(name)
        except ImportError as error:
            # Debian and Ubuntu ship the tests as a package of their own.
            worse.append(f"{name}: not run: {error}. On Debian, install libpython3.{sys.version_info[1]}-testsuite")
            continue
        figures = line(row, found)
        total = [one + other for one, other in zip(total, figures, strict=True)]
        print(f"{name:20}" + "".join(f"{figure:10}" for figure in figures) + f"  {share(figures)}", flush=True)
        worse += row.worse(found)
        for test, each in found.items():
            if given.show and row.kind(test, each) in ("silent", "loud"):
                print(f"    {each.how:7} {test}: {each.text}")
        better = [test for test in row.left if test in found and found[test].how == "pass"]
        if better:
            print(f"    {len(better)} pass by now, and can be taken from expected.toml: {', '.join(better[:5])}")
        if given.record:
            row.run = len(found)
            left = {test: (row.kind(test, each), row.left.get(test, ("", "new"))[1]) for test, each in found.items()}
            row.left = {test: known for test, known in left.items() if known[0] in KINDS}
            record(rows.values(), reasons | ({} if "new" in reasons else {"new": "not looked at yet"}))
    print(f"{'':20}" + "".join(f"{figure:10}" for figure in total) + f"  {share(total)}")
    if given.record:
        return 0
    for each in worse:
        print(f"WORSE  {each}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())

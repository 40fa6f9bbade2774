"""The packages whose own tests are run: what people keep as the state of a program. Nothing of them is kept in this repository."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from transparency.opened import Outcome

HOME = Path(__file__).resolve().parents[2]
PLACE = HOME / ".venv-transparency"
LIMIT_S = 900


@dataclass
class Package:
    """A package of PyPI: its release, its classes by the module that tests take them from, and its tests."""

    name: str
    version: str
    classes: tuple[str, ...]
    tests: tuple[str, ...]
    """Files and folders of the source distribution."""
    needs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Options of pytest that leave tests out, such as those that need a network or hours."""
    archive: str = ""
    """Where the source is, tests and all, of a package whose source distribution has none."""

    @property
    def source(self) -> Path:
        return PLACE / "source" / f"{self.name}-{self.version}".replace("python-", "python_")


PACKAGES = (
    Package(
        "networkx",
        "3.6.1",
        ("networkx:Graph DiGraph MultiGraph MultiDiGraph",),
        tuple(
            f"networkx/classes/tests/test_{name}.py"
            for name in "graph digraph multigraph multidigraph graph_historical digraph_historical".split()
        ),
    ),
    Package("chess", "1.11.2", ("chess:Board",), ("test.py",), left_out=("-k", "BoardTestCase or SquareSet or LegalMove")),
    Package("cachetools", "8.0.2", ("cachetools:Cache FIFOCache LFUCache LRUCache RRCache TTLCache TLRUCache",), ("tests",)),
    Package("portion", "2.6.3", ("portion:IntervalDict",), ("tests/test_dict.py",)),
    Package("ordered-set", "4.1.0", ("ordered_set:OrderedSet",), ("test",)),
    Package(
        "sortedcontainers",
        "2.4.0",
        ("sortedcontainers:SortedList SortedKeyList SortedDict SortedSet",),
        ("tests",),
        left_out=("-k", "not stress"),
        archive="https://github.com/grantjenks/python-sortedcontainers/archive/refs/tags/v2.4.0.tar.gz",
    ),
    Package(
        "intervaltree",
        "3.2.1",
        ("intervaltree.intervaltree:IntervalTree", "intervaltree:IntervalTree"),
        ("test/intervaltree_methods",),
    ),
    Package("addict", "2.4.0", ("addict:Dict",), ("test_addict.py",)),
    Package("munch", "4.0.0", ("munch:Munch DefaultMunch AutoMunch",), ("tests",), ("PyYAML",)),
    Package("python-box", "8.0.0", ("box:Box BoxList ConfigBox",), ("test",), ("ruamel.yaml", "toml", "msgpack")),
    Package(
        "boltons",
        "26.2.0",
        (
            "boltons.dictutils:OrderedMultiDict OMD OneToOne ManyToMany",
            "boltons.setutils:IndexedSet",
            "boltons.listutils:BarrelList",
            "boltons.cacheutils:LRU LRI",
            "boltons.queueutils:SortedPriorityQueue HeapPriorityQueue",
        ),
        tuple(f"tests/test_{name}utils.py" for name in "dict set list cache queue".split()),
    ),
    Package(
        "transitions",
        "0.9.3",
        ("transitions:Machine",),
        ("tests/test_core.py", "tests/test_states.py", "tests/test_enum.py"),
        ("dill",),
    ),
)


def prepare() -> dict[str, str]:
    """Fetches the source distributions, and installs the packages beside coopy in a virtual environment of their own.

    Returns of each package whose tests can't be had why not.
    """
    python = PLACE / "bin" / "python"
    needs = sorted({each for package in PACKAGES for each in package.needs})
    wanted = [f"{package.name}=={package.version}" for package in PACKAGES]
    said = PLACE / "installed.txt"
    if said.exists() and said.read_text().split() == wanted:
        return {}
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "install", "dill", "pytest", "hypothesis", "setuptools", *needs, *wanted], check=True)
    (PLACE / "source").mkdir(exist_ok=True)
    absent: dict[str, str] = {}
    for package in PACKAGES:
        if not package.source.exists():
            with tempfile.TemporaryDirectory() as folder:
                if package.archive:
                    try:
                        urllib.request.urlretrieve(package.archive, Path(folder) / "source.tar.gz")
                    except OSError as error:
                        absent[package.name] = f"{package.archive}: {error}"
                        continue
                else:
                    subprocess.run(
                        [
                            *pip,
                            "download",
                            "--no-deps",
                            "--no-binary",
                            ":all:",
                            "-d",
                            folder,
                            f"{package.name}=={package.version}",
                        ],
                        check=True,
                    )
                with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
                    top = archive.getnames()[0].partition("/")[0]
                    archive.extractall(PLACE / "source")
                (PLACE / "source" / top).rename(package.source)
    if not absent:
        said.write_text("\n".join(wanted))
    return absent


def outcomes(package: Package) -> dict[str, Outcome]:
    """Returns what became of the tests of a package, without those that fail, or are skipped, on the plain classes as well."""
    plain, with_systems = _run(package, False), _run(package, True)
    missing = Outcome("loud", "the test was not collected, or the run has ended before it")
    return {name: with_systems.get(name, missing) for name, each in plain.items() if each.how == "pass"}


def _run(package: Package, opens: bool) -> dict[str, Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        given = {
            "classes": package.classes,
            "opens": opens,
            "roots": [str(package.source / each) for each in package.tests],
            "result": str(result),
        }
        command = [str(PLACE / "bin" / "python"), "-m", "pytest", "-q", "-p", "transparency.plugin", "-p", "no:cacheprovider"]
        command += ["--rootdir", str(package.source)]
        command += ["-o", "addopts=", "-o", "filterwarnings=ignore", *package.left_out, *package.tests]
        said = subprocess.run(
            command,
            cwd=package.source,
            env={
                **os.environ,
                "PYTHONPATH": f"{HOME}{os.pathsep}{HOME / 'tests'}",
                "PYTHONHASHSEED": "1",
                "COOPY_TRANSPARENCY": json.dumps(given),
            },
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        if not result.exists():
            raise RuntimeError(f"the tests of {package.name} did not run:\n{said.stdout[-2000:]}{said.stderr[-2000:]}")
        return {name: Outcome(**each) for name, each in json.loads(result.read_text()).items()}

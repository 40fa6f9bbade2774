"""Two peers on the buffered workload: sqlite3 from the standard library, coopy 0.7.0 in a venv of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable

from benchmarks.workload import NAMES

VENVS = ".bench-venvs"

_COOPY_070 = """
import gc, sys, time
from coopy.base import init_persistent_system

class Bank:
    def __init__(self):
        self.accounts = {}
    def deposit(self, who, amount):
        balance = self.accounts.get(who, 0) + amount
        self.accounts[who] = balance
        return balance

if __name__ == "__main__":
    names = ["account%02d" % number for number in range(100)]
    bank = init_persistent_system(Bank(), sys.argv[1])
    count = int(sys.argv[2])
    for number in range(1000):
        bank.deposit(names[number % 100], number)
    gc.collect()
    began = time.perf_counter()
    for number in range(count):
        bank.deposit(names[number % 100], number)
    print(time.perf_counter() - began)
"""


def sqlite(path: str, count: int) -> Callable[[], None]:
    """One autocommitted update a call, WAL, synchronous=OFF."""

    def run() -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE IF NOT EXISTS bank (who TEXT PRIMARY KEY, amount INTEGER)")
        statement = "INSERT INTO bank VALUES (?, ?) ON CONFLICT (who) DO UPDATE SET amount = amount + excluded.amount"
        for number in range(count):
            connection.execute(statement, (NAMES[number % 100], number))
        connection.close()

    return run


def coopy_070_python() -> str:
    """The interpreter of a venv that holds coopy 0.7.0; made on the first call."""
    venv = os.path.abspath(os.path.join(VENVS, "coopy-0.7.0"))
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "coopy==0.7.0"], check=True)
    return python


def coopy_070(directory: str, count: int) -> float:
    """Seconds for so many buffered deposits, in a process of their own."""
    program = os.path.join(os.path.dirname(directory), "coopy_070.py")
    with open(program, "w") as file:
        file.write(_COOPY_070)
    ran = subprocess.run(
        [coopy_070_python(), program, directory, str(count)],
        check=True,
        capture_output=True,
        text=True,
        cwd=os.path.dirname(directory),
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    return float(ran.stdout.split()[-1])

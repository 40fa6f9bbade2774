"""What marks and options promise holds from asyncio as well."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from aio.running import going

import coopy.aio
from coopy.errors import SharedArgument, StateChanged
from coopy.spine.engine import Engine

domains: Any = importlib.import_module("checking.checked_domains")


def test_a_transaction_with_parts_does_not_rebuild_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with coopy.aio.open(domains.Store, tmp_path / "data", validation="off") as store:
            monkeypatch.setattr(Engine, "_rebuild", None)
            await store.transfer(4)
            with pytest.raises(ValueError):
                await store.transfer(100)
            assert await store.accounts == {"a": 6, "b": 4}

    going(main)


def test_a_checked_system_looks_at_calls_and_at_reads(tmp_path: Path) -> None:
    async def main() -> None:
        async with coopy.aio.open(domains.Store, tmp_path / "data", validation="off", check=True) as store:
            thing = await store.make("a")
            with pytest.raises(SharedArgument):
                await store.attach(thing, 1)
            with pytest.raises(StateChanged):
                await store.look_and_write()
            with pytest.raises(StateChanged):
                await store.look_and_write_freely()
            assert await store.seen == 0

    going(main)

"""A moment of the campaign of web servers; `make shared-web` runs all its forms for a minute each, and measures them."""

from __future__ import annotations

from pathlib import Path

import pytest

for needed in ("fastapi", "gunicorn", "uvicorn"):
    pytest.importorskip(needed, reason=f"{needed} is not installed")

from shared.web import FORMS, Run  # noqa: E402


def test_workers_that_are_killed_lose_nothing_that_was_acknowledged_and_apply_nothing_twice(tmp_path: Path) -> None:
    found = Run(FORMS["fastapi, preloaded, opened by workers"], tmp_path, seconds=1, callers=4, every_s=0.2).run()
    assert found.violations == []
    assert found.acknowledged and found.writers_killed

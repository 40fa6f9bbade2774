"""Imported inside an action: it reads a file while it is loaded."""

from pathlib import Path

TEXT = Path(__file__).read_text()

from __future__ import annotations

from coopy.cli import main

main()

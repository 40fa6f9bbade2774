"""How Sphinx builds the site. `build.py` beside it lays out the pages first, and makes those of the reference."""

from __future__ import annotations

project = "coopy"
author = copyright = "The coopy authors"
extensions = ["myst_parser"]
root_doc = "index"
source_suffix = {".md": "markdown"}
# Each heading is a target, with the anchor that it has on a forge, so a link to one works in both, and one that leads nowhere is a warning.
myst_heading_anchors = 4
nitpicky = True
html_theme = "furo"
html_title = "coopy"
# Signatures and console blocks of the guides are not always whole programs: what can't be coloured stays plain.
suppress_warnings = ["misc.highlighting_failure"]

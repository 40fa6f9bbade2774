"""Writes a page through the socket of the service, and reads it: python client.py [SOCKET]"""

from __future__ import annotations

import sys

from wiki import Wiki

import coopy

with coopy.control(coopy.connect(f"unix:{sys.argv[1] if len(sys.argv) > 1 else '/run/wiki/wiki.sock'}", Wiki)) as control:
    wiki = control.system
    print(wiki.write("Home", "Welcome"), "pages;", wiki.page("Home"))

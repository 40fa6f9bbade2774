"""Keeps what methods log from being logged again by every start.

    logger = logging.getLogger("wiki")
    logger.addFilter(LiveOnly())

A filter of a logger is asked for what is logged by that logger itself, one of a handler for all that the handler gets.
"""

from __future__ import annotations

import logging

from coopy.moment import replaying


class LiveOnly(logging.Filter):
    """Lets a record through unless the method that logs it is being replayed."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not replaying() and super().filter(record)

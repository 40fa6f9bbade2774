from __future__ import annotations

from messaging.bus_media import first, member, on_server

__all__ = ["first", "member", "on_server"]

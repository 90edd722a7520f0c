"""The socket options that libpq's ``keepalives`` and ``tcp_user_timeout`` ask for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPTIONS = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}


def set_keepalive(connection: Any, wanted: Mapping[str, int]) -> None:
    """Sets the wanted options on the connection's socket, as far as the system has them."""
    raw: socket.socket | None = connection._transport.get_extra_info("socket")  # noqa: SLF001
    if not wanted or raw is None or raw.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    with raw.dup() as same:  # not every event loop lets one set options of a transport's socket
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, wanted.get("keepalives", 1))
        for name, option in _OPTIONS.items():
            if wanted.get(name, 0) > 0 and hasattr(socket, option):
                same.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), wanted[name])

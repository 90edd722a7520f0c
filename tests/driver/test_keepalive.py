from __future__ import annotations

import socket
from typing import Any

import pytest

from hephaestus_pg.driver import connector

pytestmark = pytest.mark.quick


async def test_keepalive_options_are_set_on_the_socket(dsn: str) -> None:
    query = (
        "keepalives=1&keepalives_idle=31&keepalives_interval=7&keepalives_count=4"
        "&tcp_user_timeout=9000"
    )
    connection: Any = await connector.connect(f"{dsn}?{query}")
    try:
        raw = connection._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for option, value in (
            ("TCP_KEEPIDLE", 31),
            ("TCP_KEEPINTVL", 7),
            ("TCP_KEEPCNT", 4),
            ("TCP_USER_TIMEOUT", 9000),
        ):
            if hasattr(socket, option):
                found = raw.getsockopt(socket.IPPROTO_TCP, getattr(socket, option))
                assert found == value
    finally:
        await connection.close()

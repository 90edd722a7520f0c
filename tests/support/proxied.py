"""Connections through a proxy, and the tasks in which a pool closes them."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest


def through(dsn: str, *ports: int) -> str:
    parts = urlsplit(dsn)
    user = parts.netloc.rpartition("@")[0]
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return parts._replace(netloc=f"{user}@{hosts}").geturl()


def port_here(dsn: str) -> int:
    """The port of the server, for a proxy; skips the test where it is on another machine."""
    parts = urlsplit(dsn)
    if parts.hostname not in {"127.0.0.1", "localhost"}:
        pytest.skip("the proxy leads to a server on this machine only")
    return parts.port or 5432


def closing() -> set[asyncio.Task[object]]:
    """The tasks in which a pool closes connections."""
    return {task for task in asyncio.all_tasks() if "Connection.close" in repr(task.get_coro())}

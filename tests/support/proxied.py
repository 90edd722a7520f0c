"""Connections through a proxy, and the tasks in which a pool closes them."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit


def through(dsn: str, *ports: int) -> str:
    parts = urlsplit(dsn)
    user = parts.netloc.rpartition("@")[0]
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return parts._replace(netloc=f"{user}@{hosts}").geturl()


def closing() -> set[asyncio.Task[object]]:
    """The tasks in which a pool closes connections."""
    return {task for task in asyncio.all_tasks() if "Connection.close" in repr(task.get_coro())}

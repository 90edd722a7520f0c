"""Instances that tests store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hephaestus_pg import (
    Instance,
)

SOON = datetime.now(UTC) + timedelta(days=1)


def order(id: str = "orderid::1", **fields: Any) -> Instance:
    return replace(Instance.new("Order", {"order_id": 1}, id=id), **fields)

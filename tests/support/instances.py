"""Instances that tests store."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hephaestus_pg import (
    Instance,
)

SOON = datetime.now(UTC) + timedelta(days=1)


def order(id: str = "orderid::1", **fields: Any) -> Instance:
    return replace(Instance.new("Order", {"order_id": 1}, id=id), **fields)


def shown(value: object) -> str:
    """A test's name, the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))

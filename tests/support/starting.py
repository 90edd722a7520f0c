"""The type of the fixture ``start``."""

from __future__ import annotations

from collections.abc import Callable

from hephaestus_pg import AsyncStorage
from hephaestus_pg.execution.starting import Starting

Start = Callable[..., Starting[AsyncStorage]]
"""Takes what ``AsyncStorage.start`` does; see the fixture."""

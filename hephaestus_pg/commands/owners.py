"""The owners of instances, by the server's clock; and an instance's columns as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hephaestus_pg.cli.moments import span
from hephaestus_pg.cli.storages import server_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from hephaestus_pg.runners.settings import RunnerInfo
    from hephaestus_pg.storage import AsyncStorage
    from hephaestus_pg.values.summary import Summary


@dataclass(frozen=True, slots=True)
class Owners:
    """The runners that live at a moment of the server's."""

    now: datetime
    living: Mapping[UUID, RunnerInfo]

    @classmethod
    async def of(cls, storage: AsyncStorage) -> Owners:
        """Asks the server for them."""
        now = await server_time(storage)
        return cls(now, {each.token: each for each in await storage.runners()})

    def name(self, token: UUID | None) -> str | None:
        """The name of a runner that lives; ``None`` if it is dead, or if there is none."""
        return None if token is None or token not in self.living else self.living[token].name

    def short(self, token: UUID | None) -> str:
        """The name as a cell of a table has it: nothing for nobody, ``dead`` for a dead one."""
        return "" if token is None else self.name(token) or f"dead ({str(token)[:8]})"

    def long(self, token: UUID | None) -> str:
        """The name with the token, and what is left of the lease."""
        if token is None:
            return "nobody"
        if token not in self.living:
            return f"a runner that is dead ({token})"
        left = span(self.living[token].expires_at - self.now)
        return f"{self.living[token].name} ({token}), lease {left} left"


def plain(summary: Summary, owners: Owners) -> dict[str, Any]:
    """Makes an object of the columns of an instance; moments are texts of ISO 8601."""
    found = asdict(summary)
    for name in ("due_at", "inserted_at", "updated_at"):
        found[name] = found[name] and found[name].isoformat()
    token = summary.runner
    found["runner"] = None if token is None else str(token)
    return {**found, "runner_name": owners.name(token)}

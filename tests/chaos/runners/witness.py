"""The witness: a table of its own, in which a trigger writes down each version of each row."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos.schedule import SCHEMA

if TYPE_CHECKING:
    import asyncpg

CREATE = f"""
CREATE TABLE {SCHEMA}.witness (
    number bigserial PRIMARY KEY,
    id text NOT NULL,
    revision bigint NOT NULL,
    owner uuid,
    is_write boolean NOT NULL,
    step integer,
    token bigint,
    writer uuid
);

CREATE FUNCTION {SCHEMA}.witness() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb = NEW.state -> 'runtime_metadata';
BEGIN
    INSERT INTO {SCHEMA}.witness (id, revision, owner, is_write, step, token, writer)
    VALUES (
        NEW.id,
        NEW.revision,
        NEW.runner,
        TG_OP = 'UPDATE' AND NEW.state IS DISTINCT FROM OLD.state,
        (said ->> 'step')::integer,
        (said ->> 'token')::bigint,
        (said ->> 'writer')::uuid
    );
    RETURN NULL;
END
$$;

CREATE TRIGGER witness AFTER INSERT OR UPDATE ON {SCHEMA}.workflow_instances
FOR EACH ROW EXECUTE FUNCTION {SCHEMA}.witness();
"""

# The number of a version is drawn under the row's lock, so that those of an id are in order.
VERSIONS = f"""
SELECT id, revision, owner::text, is_write, step, token, writer::text
FROM {SCHEMA}.witness ORDER BY id, number
"""


class Version(NamedTuple):
    """What one write, claim or give-back left in a row.

    ``step``, ``token`` and ``writer`` are what the last write of the state said of itself: the
    fencing token of its claim, and the runner's own.
    """

    revision: int
    owner: str | None
    is_write: bool = False
    step: int | None = None
    token: int | None = None
    writer: str | None = None

    @property
    def said(self) -> tuple[int | None, int | None, str | None]:
        """Its step, the fencing token, and the runner that wrote it."""
        return self.step, self.token, self.writer


async def versions(connection: asyncpg.Connection[Any]) -> dict[str, list[Version]]:
    """All versions that there have been, in order, by id."""
    found: dict[str, list[Version]] = defaultdict(list)
    async with connection.transaction():
        async for id, *rest in connection.cursor(VERSIONS, prefetch=5000):
            found[id].append(Version(*rest))
    return found

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import BigInteger, Integer, String, select, update
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.contenders import POOL, Contender
from hephaestus_pg import (
    Names,
    Serializer,
    migrations,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus_pg import Instance


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "workflow_instances"

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    workflow: Mapped[str] = mapped_column(String(255))
    status: Mapped[str] = mapped_column(String(255))
    workflow_version: Mapped[int] = mapped_column(Integer)
    state: Mapped[dict[str, Any]] = mapped_column(JSONB)
    inserted_at: Mapped[datetime] = mapped_column(TIMESTAMP(precision=0))
    updated_at: Mapped[datetime] = mapped_column(TIMESTAMP(precision=0))
    revision: Mapped[int] = mapped_column(BigInteger)


def _upsert(rows: Any) -> Any:
    given = insert(Row).values(rows)
    replaced = {
        name: given.excluded[name] for name in ("workflow", "status", "state", "updated_at")
    }
    return given.on_conflict_do_update(
        index_elements=["id"], set_={**replaced, "revision": Row.revision + 1}
    ).returning(Row.revision)


class SqlAlchemy(Contender):
    async def start(self, dsn: str) -> None:
        await migrations.up(dsn)
        self._engine = create_async_engine(
            dsn.replace("postgresql:", "postgresql+asyncpg:"),
            pool_size=POOL,
            max_overflow=0,
            pool_timeout=300,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
        )
        self._session = async_sessionmaker(self._engine, expire_on_commit=False)

    async def close(self) -> None:
        await self._engine.dispose()

    def value(self, instance: Instance) -> dict[str, Any]:
        names = ("id", "workflow", "status", "workflow_version", "state")
        return dict(zip(names, Serializer(Names()).to_db(instance), strict=True))

    async def put(self, value: dict[str, Any]) -> int:
        async with self._session.begin() as session:
            await session.execute(_upsert({**value, **_moments(), "revision": 1}))
        return 1

    async def get(self, id: str) -> int:
        async with self._session() as session:
            assert await session.get(Row, id)
        return 1

    async def update(self, value: dict[str, Any]) -> int:
        id = value["id"]
        statement = (
            update(Row)
            .where(Row.id == id, Row.revision == self.revisions[id])
            .values(
                workflow=value["workflow"],
                status=value["status"],
                state=value["state"],
                updated_at=_moments()["updated_at"],
                revision=Row.revision + 1,
            )
            .returning(Row.revision)
            .execution_options(synchronize_session=False)
        )
        async with self._session.begin() as session:
            self.revisions[id] = (await session.execute(statement)).scalar_one()
        return 1

    async def query(self, workflow: str) -> int:
        async with self._session() as session:
            found = await session.scalars(select(Row).where(Row.workflow == workflow))
            return len(found.all())

    async def stream(self) -> int:
        async with self._session() as session:
            found = await session.stream_scalars(select(Row).where(Row.status == "waiting"))
            return len([None async for _ in found])

    async def put_many(self, values: Sequence[dict[str, Any]]) -> int:
        moments = _moments()
        async with self._session.begin() as session:
            await session.execute(_upsert([{**each, **moments, "revision": 1} for each in values]))
        return len(values)


def _moments() -> dict[str, datetime]:
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    return {"inserted_at": now, "updated_at": now}

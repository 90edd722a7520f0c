"""The statements of a schema, each a value that says how it may be run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from hephaestus_pg import _sql
from hephaestus_pg.errors import SchemaOutdatedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus_pg.errors import RejectedError

Kind = Literal["read", "idempotent", "non_idempotent"]
"""The effect of running it twice: an idempotent write leaves what running it once leaves."""

Shape = Literal["row", "rows", "row_per_call"]
"""The shape of a result: at most one row, any number of rows, or at most one row for each call."""


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """One statement of ``sql/queries``, set to a schema."""

    name: str
    text: str
    """The same object for each call: asyncpg finds a prepared statement by it."""
    kind: Kind
    result: Shape = "rows"
    many: Statement | None = None
    """Runs many calls at once; its parameters are theirs as arrays. ``None``: it is not batched."""
    asking: Statement | None = None
    """The same, which also asks what other processes listen to; ``None``: nothing to tell them."""

    @property
    def is_batch(self) -> bool:
        """Its parameters are those of several calls, any of which may make it fail."""
        return self.result == "row_per_call"


class BySearchIndex(NamedTuple):
    """A statement that filters, for each index over states that a schema may have."""

    full: Statement
    """By the index over whole states, or without any."""
    initial: Statement
    """By the index over initial contexts."""


@dataclass(frozen=True, slots=True, eq=False)
class Statements:
    """The statements of one schema, by name."""

    get: Statement
    put: Statement
    insert: Statement
    update: Statement
    delete: Statement
    get_many: Statement
    put_many: Statement
    delete_many: Statement
    prune: Statement
    count: BySearchIndex
    query: BySearchIndex
    pages: Mapping[str, BySearchIndex]
    """A page of a query, by what it is ordered by."""
    index_profile: Statement
    terminate_backend: Statement
    get_locked: Statement
    register: Statement
    beat: Statement
    claim: Statement
    claim_one: Statement
    give_back: Statement
    fail: Statement
    """Gives back after a failed attempt."""
    take_over: Statement
    """Frees what dead runners own."""
    owned: Statement
    end_runner: Statement
    release: Statement
    runners: Statement
    notify: Statement
    changed: Statement
    never_idle: Statement
    summaries: Mapping[str, BySearchIndex]
    """A page of rows without their states, by what it is ordered by."""
    count_by: Mapping[str, BySearchIndex]
    """The number of rows, by the column that tells them apart."""
    counted_some: Statement
    counted_sample: Statement
    backlog: Statement
    owned_counts: Statement
    stuck: Statement


@lru_cache(maxsize=1000)
def statements_of(schema: str, *variants: str) -> Statements:
    """The statements set to ``schema``: each time the same ones.

    Of the ``variants``, ``citus`` is for a table that Citus has, ``distributed`` for one of several
    shards.

    Raises:
        InvalidValueError: No schema can have that name.
    """

    def text(name: str, *own: str) -> str:
        return _sql.statement(name, schema, *own, *variants)

    def one(name: str, kind: Kind = "read", result: Shape = "rows", *own: str) -> Statement:
        statement = Statement(name, text(name, *own), kind, result)
        asking = replace(statement, text=text(name, "asking", *own))
        if "citus" in variants or asking.text == statement.text:
            return statement
        return replace(statement, asking=asking)

    def batched(name: str, kind: Kind) -> Statement:
        many = one(f"{name}_many", kind, "row_per_call", "batched")
        return replace(one(name, kind, "row"), many=many)

    def by_index(name: str, *own: str) -> BySearchIndex:
        return BySearchIndex(
            one(name, "read", "rows", *own),
            Statement(name, text(name, *own, "initial"), "read", "rows"),
        )

    def pages(*own: str) -> dict[str, BySearchIndex]:
        columns = ("id", "inserted_at", "updated_at")
        return {column: by_index(f"page_by_{column}", *own) for column in columns} | {
            f"-{column}": by_index(f"page_by_{column}_descending", *own) for column in columns
        }

    return Statements(
        get=batched("get", "read"),
        put=batched("put", "idempotent"),
        insert=batched("insert", "non_idempotent"),
        update=batched("update", "non_idempotent"),
        delete=batched("delete", "non_idempotent"),
        get_many=one("get_many"),
        put_many=one("put_many", "idempotent"),
        delete_many=one("delete_many", "non_idempotent"),
        prune=one("prune", "idempotent", "row"),
        count=by_index("count"),
        query=by_index("query"),
        pages=pages(),
        index_profile=one("index_profile", result="row"),
        terminate_backend=one("terminate_backend", result="row"),
        get_locked=one("get_locked", "read", "row"),
        register=one("register", "non_idempotent", "row"),
        beat=one("beat", "idempotent", "row"),
        claim=Statement("claim", text("claim", "batched"), "non_idempotent"),
        claim_one=batched("claim_one", "non_idempotent"),
        give_back=batched("give_back", "non_idempotent"),
        fail=batched("fail", "non_idempotent"),
        take_over=one("take_over", "idempotent", "row"),
        owned=one("owned"),
        end_runner=one("end_runner", "idempotent", "row"),
        release=one("release", "non_idempotent", "row"),
        runners=one("runners"),
        notify=one("notify", "idempotent", "row"),
        changed=one("changed"),
        never_idle=one("never_idle", "idempotent", "row"),
        summaries=pages("summary"),
        count_by={
            column: by_index("count_by", column)
            for column in ("status", "workflow", "workflow_version", "runner")
        },
        counted_some=one("counted_some"),
        counted_sample=one("counted_sample"),
        backlog=one("backlog"),
        owned_counts=one("owned_counts"),
        stuck=one("stuck", "read", "rows", "summary"),
    )


def outdated(error: RejectedError, schema: str) -> SchemaOutdatedError:
    """The error to raise where a statement met no table or column that it needs."""
    return SchemaOutdatedError(
        schema, found=None, needed=_sql.latest_version(), missing=error.missing
    )

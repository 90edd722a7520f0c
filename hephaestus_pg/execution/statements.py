"""The statements of a schema, each a value that says how it may be run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from hephaestus_pg import _sql
from hephaestus_pg.errors import SchemaOutdatedError

if TYPE_CHECKING:
    from collections.abc import Callable

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


class Searches(dict[tuple[str, str], Statement]):
    """The statements of ``sql/queries/search``, by name and driver, made when first needed.

    Each driver has a variant of ``fragments/driver.sql``, or of ``contained.sql`` beside it.
    """

    def __init__(self, text: Callable[[str, str], str]) -> None:
        self._text = text

    def __missing__(self, key: tuple[str, str]) -> Statement:
        made = self[key] = Statement(key[0], self._text(*key), "read")
        return made


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
    searches: Searches
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
        searches=Searches(text),
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
    )


def outdated(error: RejectedError, schema: str) -> SchemaOutdatedError:
    """The error to raise where a statement met no table or column that it needs."""
    return SchemaOutdatedError(
        schema, found=None, needed=_sql.latest_version(), missing=error.missing
    )

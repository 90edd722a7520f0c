"""The statements of a schema, each a value that says how it may be run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from hephaestus_pg import _sql
from hephaestus_pg.errors import SchemaOutdatedError
from hephaestus_pg.execution.multi_row import MAX_ROWS, MultiRow

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
    multi_row: MultiRow | None = None
    """Does the same for few rows; ``None``: their number makes no difference."""

    @property
    def is_batch(self) -> bool:
        """Its parameters are those of several calls, any of which may make it fail."""
        return self.result == "row_per_call"

    def with_arguments(self, arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
        """The text to send for these arguments, and its own."""
        if self.multi_row is None or len(arguments[0]) > MAX_ROWS:
            return self.text, arguments
        # Locked in the order in which the other statements lock.
        rows = sorted(zip(*arguments, strict=True), key=lambda row: row[0].encode())
        return self.multi_row.text(len(rows)), self.multi_row.arguments(rows)


class Searches(dict[tuple[str, ...], Statement]):
    """The statements that filter, by name, driver and further variants, made when first needed.

    Each driver has a variant of ``fragments/driver.sql``, or of ``contained.sql`` beside it.
    """

    def __init__(self, text: Callable[..., str]) -> None:
        self._text = text

    def __missing__(self, key: tuple[str, ...]) -> Statement:
        made = self[key] = Statement(key[0], self._text(*key), "read")
        return made


Made = TypeVar("Made")


class Lazy(Generic[Made]):
    """A field that is made when it is first read, from its name."""

    def __init__(self, make: Callable[[Statements, str], Made]) -> None:
        self._make = make

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    def __get__(self, statements: Statements, _: type) -> Made:
        made = statements.__dict__[self._name] = self._make(statements, self._name)
        return made


def _one(kind: Kind = "read", result: Shape = "rows") -> Lazy[Statement]:
    return Lazy(lambda statements, name: statements.one(name, kind, result))


def _batched(kind: Kind) -> Lazy[Statement]:
    def make(statements: Statements, name: str) -> Statement:
        return statements.batched(name, kind)

    return Lazy(make)


class Statements:
    """The statements of one schema, by name.

    Each is made when it is first needed: all of them take 120 KiB, and most tenants rest.
    """

    def __init__(self, schema: str, variants: tuple[str, ...]) -> None:
        self._schema = _sql.checked_schema(schema)
        self._variants = variants

    get = _batched("read")
    put = Lazy(lambda statements, name: statements.upserting(name, "idempotent"))
    insert = Lazy(lambda statements, _: statements.inserting("never"))
    insert_over_finished = Lazy(
        lambda statements, _: (
            statements.inserting("always") if statements.of_citus else statements.insert
        )
    )
    """Where a finished row makes way."""
    update = _batched("non_idempotent")
    delete = _batched("non_idempotent")
    get_many = _one()
    put_many = Lazy(
        lambda statements, name: statements.by_values(
            statements.one(name, "idempotent", "rows"), "put"
        )
    )
    delete_many = _one("non_idempotent")
    prune = _one("idempotent", "row")
    searches = Lazy(lambda statements, _: Searches(statements.text))
    index_profile = _one(result="row")
    shards = _one()
    terminate_backend = _one(result="row")
    get_locked = _one(result="row")
    register = _one("non_idempotent", "row")
    beat = _one("idempotent", "row")
    claim = Lazy(
        lambda statements, name: Statement(name, statements.text(name, "batched"), "non_idempotent")
    )
    claim_one = _batched("non_idempotent")
    give_back = _batched("non_idempotent")
    fail = _batched("non_idempotent")
    """Gives back after a failed attempt."""
    take_over = _one("idempotent", "row")
    """Frees what dead runners own."""
    end_dead = _one("idempotent", "row")
    """Ends dead runners before that, where the table lies in several shards."""
    owned = _one()
    free_owned = _one("idempotent")
    """Gives back what a runner owns, but for what somebody has locked."""
    end_runner = _one("idempotent", "row")
    release = _one("non_idempotent", "row")
    runners = _one()
    notify = _one("idempotent", "row")
    who_listens = _one(result="row")
    changed = _one()
    never_idle = _one("idempotent", "row")
    counted_some = _one()
    counted_sample = _one()
    backlog = _one()
    owned_counts = _one()
    stuck = Lazy(lambda statements, name: statements.one(name, "read", "rows", "summary"))

    def text(self, name: str, *own: str) -> str:
        """The text of ``sql/queries``, in the variants of the table and its own."""
        return _sql.statement(name, self._schema, *self._variants, *own)

    @property
    def of_citus(self) -> bool:
        """Citus has the table."""
        return "citus" in self._variants

    @property
    def is_distributed(self) -> bool:
        """The table lies in several shards."""
        return "distributed" in self._variants

    def inserting(self, gives_way: str) -> Statement:
        """The statement that inserts; that of Citus says whether finished rows give way."""
        return self.upserting("insert", "non_idempotent", gives_way)

    def upserting(self, name: str, kind: Kind, *of_citus: str) -> Statement:
        """A statement with its sibling for many calls, which may insert rows."""
        own = of_citus if self.of_citus else ()
        many = self.one(f"{name}_many", kind, "row_per_call", "batched", *own)
        return replace(self.one(name, kind, "row"), many=self.by_values(many, name, *own))

    def by_values(self, many: Statement, single: str, *own: str) -> Statement:
        """``many``, which for Citus has texts for few rows too, made of the ``single`` one's."""
        if not self.of_citus:
            return many
        return replace(many, multi_row=MultiRow(self.text(single, *own)))

    def batched(self, name: str, kind: Kind, *own: str) -> Statement:
        """A statement with its sibling for many calls."""
        many = self.one(f"{name}_many", kind, "row_per_call", "batched", *own)
        return replace(self.one(name, kind, "row"), many=many)

    def one(self, name: str, kind: Kind, result: Shape, *own: str) -> Statement:
        """A statement, with its sibling that asks who listens, if it has one."""
        statement = Statement(name, self.text(name, *own), kind, result)
        asking = replace(statement, text=self.text(name, "asking", *own))
        if self.of_citus or asking.text == statement.text:
            return statement
        return replace(statement, asking=asking)


@lru_cache(maxsize=1000)
def statements_of(schema: str, *variants: str) -> Statements:
    """The statements set to ``schema``: each time the same ones.

    Of the ``variants``, ``citus`` is for a table that Citus has, ``distributed`` for one of several
    shards.

    Raises:
        InvalidValueError: No schema can have that name.
    """
    return Statements(schema, variants)


def outdated(error: RejectedError, schema: str) -> SchemaOutdatedError:
    """The error to raise where a statement met no table or column that it needs."""
    return SchemaOutdatedError(
        schema, found=None, needed=_sql.latest_version(), missing=error.missing
    )

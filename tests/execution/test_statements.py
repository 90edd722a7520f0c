"""Each statement of a schema says how it may be run."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import InvalidValueError
from hephaestus_pg.execution.statements import BySearchIndex, Statement, Statements, statements_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

pytestmark = pytest.mark.quick

OWN = statements_of("tenant_a")

# By field: the kind, the result's shape, and that of the batched sibling where there is one.
EXPECTED = {
    "get": ("read", "row", "row_per_call"),
    "put": ("idempotent", "row", "row_per_call"),
    "insert": ("non_idempotent", "row", "row_per_call"),
    "update": ("non_idempotent", "row", "row_per_call"),
    "delete": ("non_idempotent", "row", "row_per_call"),
    "get_many": ("read", "rows", None),
    "put_many": ("idempotent", "rows", None),
    "delete_many": ("non_idempotent", "rows", None),
    "prune": ("idempotent", "row", None),
    "count": ("read", "rows", None),
    "query": ("read", "rows", None),
    "pages": ("read", "rows", None),
    "index_profile": ("read", "row", None),
    "terminate_backend": ("read", "row", None),
    "get_locked": ("read", "row", None),
    "register": ("non_idempotent", "row", None),
    "beat": ("idempotent", "row", None),
    "claim": ("non_idempotent", "rows", None),
    "claim_one": ("non_idempotent", "row", "row_per_call"),
    "give_back": ("non_idempotent", "row", "row_per_call"),
    "fail": ("non_idempotent", "row", "row_per_call"),
    "take_over": ("idempotent", "row", None),
    "owned": ("read", "rows", None),
    "end_runner": ("idempotent", "row", None),
    "release": ("non_idempotent", "row", None),
    "runners": ("read", "rows", None),
    "notify": ("idempotent", "row", None),
    "changed": ("read", "rows", None),
    "never_idle": ("idempotent", "row", None),
    "summaries": ("read", "rows", None),
    "count_by": ("read", "rows", None),
    "counted_some": ("read", "rows", None),
    "counted_sample": ("read", "rows", None),
    "backlog": ("read", "rows", None),
    "owned_counts": ("read", "rows", None),
    "stuck": ("read", "rows", None),
}


def each(field: Statement | BySearchIndex | Mapping[str, BySearchIndex]) -> Iterator[Statement]:
    """The statements in a field of :class:`Statements`."""
    if isinstance(field, Statement):
        yield field
    elif isinstance(field, BySearchIndex):
        yield from field
    else:
        for pair in field.values():
            yield from pair


def test_the_table_names_every_statement() -> None:
    assert [field.name for field in fields(Statements)] == [*EXPECTED]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_statement_says_what_running_it_twice_does_and_what_comes_back(name: str) -> None:
    kind, result, batched = EXPECTED[name]
    for statement in each(getattr(OWN, name)):
        assert (statement.kind, statement.result) == (kind, result)
        assert not statement.is_batch
        assert (statement.many and statement.many.result) == batched


@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name][2]])
def test_the_batched_sibling_may_be_repeated_as_the_single_one(name: str) -> None:
    single: Statement = getattr(OWN, name)
    many = single.many
    assert many is not None
    assert (many.name, many.kind, many.is_batch) == (f"{name}_many", single.kind, True)
    assert many.many is None


def test_each_text_is_the_same_object_each_time() -> None:
    """By it the driver finds what it has prepared."""
    assert statements_of("tenant_a") is OWN
    texts = [each_one.text for name in EXPECTED for each_one in each(getattr(OWN, name))]
    again = statements_of("tenant_a")
    assert all(
        one is other
        for one, other in zip(
            texts,
            [each_one.text for name in EXPECTED for each_one in each(getattr(again, name))],
            strict=True,
        )
    )


def test_each_schema_has_statements_of_its_own() -> None:
    other = statements_of("tenant_b")
    for name in EXPECTED:
        for ours, theirs in zip(each(getattr(OWN, name)), each(getattr(other, name)), strict=True):
            assert "tenant_b" not in ours.text
            assert ours.name == theirs.name
            if "tenant_a" in ours.text:
                assert ours.text.replace("tenant_a", "tenant_b") == theirs.text
    assert "tenant_a" in OWN.get.text


def different(this: Statements, that: Statements) -> set[str]:
    return {
        name
        for name in EXPECTED
        for ours, theirs in zip(each(getattr(this, name)), each(getattr(that, name)), strict=True)
        if ours.text != theirs.text
    }


def test_what_others_may_wait_for_can_ask_who_does() -> None:
    asking = {
        name
        for name in EXPECTED
        for each_of in each(getattr(OWN, name))
        if each_of.asking is not None
    }
    assert asking == {"put", "insert", "update", "put_many"}
    assert OWN.put.many is not None
    assert OWN.put.many.asking is not None
    assert OWN.put.asking is not None
    assert "workflow_runners" in OWN.put.asking.text
    assert "workflow_runners" not in OWN.put.text


def test_a_table_of_citus_is_written_by_statements_that_never_ask() -> None:
    of_citus = statements_of("tenant_a", "citus")
    assert different(OWN, of_citus) == set()
    assert of_citus.put.asking is None


def test_a_table_in_several_shards_is_claimed_from_by_statements_of_its_own() -> None:
    of_citus = statements_of("tenant_a", "citus")
    distributed = statements_of("tenant_a", "citus", "distributed")
    assert different(of_citus, distributed) == {"claim", "take_over"}
    assert "LATERAL" not in distributed.claim.text + distributed.take_over.text


def test_what_no_schema_can_be_named_has_no_statements() -> None:
    with pytest.raises(InvalidValueError, match="^schema is "):
        statements_of('a"; DROP')

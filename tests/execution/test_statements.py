"""Each statement of a schema says how it may be run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import InvalidValueError
from hephaestus_pg.execution.statements import (
    Lazy,
    Searches,
    Statement,
    Statements,
    statements_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.quick

OWN = statements_of("tenant_a")

# By field: the kind, the result's shape, and that of the batched sibling where there is one.
EXPECTED = {
    "get": ("read", "row", "row_per_call"),
    "put": ("idempotent", "row", "row_per_call"),
    "insert": ("non_idempotent", "row", "row_per_call"),
    "insert_over_finished": ("non_idempotent", "row", "row_per_call"),
    "update": ("non_idempotent", "row", "row_per_call"),
    "delete": ("non_idempotent", "row", "row_per_call"),
    "get_many": ("read", "rows", None),
    "put_many": ("idempotent", "rows", None),
    "delete_many": ("non_idempotent", "rows", None),
    "prune": ("idempotent", "row", None),
    "searches": ("read", "rows", None),
    "index_profile": ("read", "row", None),
    "shards": ("read", "rows", None),
    "terminate_backend": ("read", "row", None),
    "get_locked": ("read", "row", None),
    "register": ("non_idempotent", "row", None),
    "beat": ("idempotent", "row", None),
    "claim": ("non_idempotent", "rows", None),
    "claim_one": ("non_idempotent", "row", "row_per_call"),
    "give_back": ("non_idempotent", "row", "row_per_call"),
    "fail": ("non_idempotent", "row", "row_per_call"),
    "take_over": ("idempotent", "row", None),
    "end_dead": ("idempotent", "row", None),
    "owned": ("read", "rows", None),
    "free_owned": ("idempotent", "rows", None),
    "end_runner": ("idempotent", "row", None),
    "release": ("non_idempotent", "row", None),
    "runners": ("read", "rows", None),
    "notify": ("idempotent", "row", None),
    "who_listens": ("read", "row", None),
    "changed": ("read", "rows", None),
    "never_idle": ("idempotent", "row", None),
    "counted_some": ("read", "rows", None),
    "counted_sample": ("read", "rows", None),
    "backlog": ("read", "rows", None),
    "owned_counts": ("read", "rows", None),
    "stuck": ("read", "rows", None),
}


SEARCHES = ("query", "count", "page_by_id", "page_by_inserted_at", "page_by_updated_at")


def each(field: Statement | Searches) -> Iterator[Statement]:
    """The statements in a field of :class:`Statements`, of the searches some."""
    if isinstance(field, Statement):
        yield field
    else:
        yield from (field[name, driver] for name in SEARCHES for driver in ("none", "initial"))


def test_the_table_names_every_statement() -> None:
    fields = [name for name, field in vars(Statements).items() if isinstance(field, Lazy)]
    assert fields == [*EXPECTED]


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
    assert (many.name, many.kind, many.is_batch) == (f"{single.name}_many", single.kind, True)
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


def test_a_search_that_nobody_makes_takes_no_memory() -> None:
    searches = statements_of("tenant_of_none").searches
    assert searches == {}
    by_status = searches["query", "status"]
    assert searches == {("query", "status"): by_status}
    assert searches["query", "status"] is by_status
    assert "status = $2::text\n" in by_status.text
    assert by_status.name == "query"


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
    assert asking == {"put", "insert", "insert_over_finished", "update", "put_many"}
    assert OWN.put.many is not None
    assert OWN.put.many.asking is not None
    assert OWN.put.asking is not None
    assert "workflow_runners" in OWN.put.asking.text
    assert "workflow_runners" not in OWN.put.text


def test_a_table_of_citus_is_written_by_statements_that_never_ask() -> None:
    of_citus = statements_of("tenant_a", "citus")
    assert different(OWN, of_citus) == {"counted_sample", "delete_many"}
    assert of_citus.put.asking is None


def test_a_batch_on_a_table_of_citus_says_which_shard_it_needs_and_sets_nothing() -> None:
    of_citus = statements_of("tenant_a", "citus")
    for name in (name for name in EXPECTED if EXPECTED[name][2]):
        many = getattr(of_citus, name).many
        assert "set_config" not in many.text
        named = re.findall(r"\bid = ANY \(\$1::text\[\]\)", many.text)
        assert named or name in {"put", "insert", "insert_over_finished"}
    for many in (of_citus.update.many, of_citus.delete.many):
        assert many is not None
        assert many.text.count("held.id = ANY ($1::text[])") == 2


def test_calls_that_may_replace_and_that_may_not_are_statements_apart_for_citus_alone() -> None:
    of_citus = statements_of("tenant_a", "citus")
    assert OWN.insert is OWN.insert_over_finished
    for may_replace, way in ((of_citus.insert, "false"), (of_citus.insert_over_finished, "true")):
        assert may_replace.name == "insert"
        many = may_replace.many
        assert many is not None
        assert many.multi_row is not None
        assert f"held.status IN ('completed', 'failed')\n    AND {way}\n" in many.text
        assert f"held.status IN ('completed', 'failed') AND {way}\n" in many.multi_row.text(2)
        assert "$6::text::boolean" in may_replace.text


def test_a_table_in_several_shards_has_statements_of_its_own() -> None:
    of_citus = statements_of("tenant_a", "citus")
    distributed = statements_of("tenant_a", "distributed", "citus")
    of_its_own = different(of_citus, distributed)
    assert of_its_own == {
        "claim",
        "take_over",
        "delete_many",
        "prune",
        "counted_some",
        "backlog",
        "stuck",
    }
    for name in of_its_own:
        text = getattr(distributed, name).text
        assert "LATERAL" not in text
        assert "RECURSIVE" not in text
        assert "SKIP LOCKED" not in text


def test_what_no_schema_can_be_named_has_no_statements() -> None:
    with pytest.raises(InvalidValueError, match="^schema is "):
        statements_of('a"; DROP')

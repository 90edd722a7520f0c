"""The filters of the list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from hephaestus_pg import InvalidValueError
from hephaestus_pg.web.filters import arguments, fields

pytestmark = pytest.mark.quick


def test_fields_that_are_empty_are_not_given() -> None:
    assert fields([("workflow", ""), ("status", ""), ("id", "1")]) == {"id": "1"}


def test_of_a_field_given_twice_the_last_counts_but_each_status() -> None:
    query = [("id", "1"), ("id", "2"), ("status", "failed"), ("status", "pending")]
    assert fields(query) == {"id": "2", "status": ["failed", "pending"]}


def test_without_a_field_it_is_all_newest_first() -> None:
    assert arguments({}) == {"order_by": "-inserted_at"}


def test_texts_become_what_a_query_takes() -> None:
    token = UUID(int=7)
    given: dict[str, str | list[str]] = {"runner": str(token), "status": ["failed"]}
    assert arguments({**given, "workflow_version": "3", "order_by": "inserted_at"}) == {
        "runner": token,
        "workflow_version": 3,
        "status_in": ["failed"],
        "order_by": "inserted_at",
    }
    assert arguments({"runner": "none"})["runner"] is None


@pytest.mark.parametrize(
    ("text", "moment"),
    (
        ("2026-01-31T12:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
    ),
)
def test_a_moment_without_a_zone_is_in_utc(text: str, moment: datetime) -> None:
    assert arguments({"due_before": text})["due_before"] - moment == timedelta()


def test_a_moment_may_be_an_age() -> None:
    moment = arguments({"updated_after": "2h"})["updated_after"]
    assert timedelta(hours=2) <= datetime.now(UTC) - moment < timedelta(hours=2, minutes=5)


def test_what_was_written_by_a_moment_was_inserted_before_whatever_the_clocks() -> None:
    bound = datetime(2026, 1, 31, 13, tzinfo=UTC)
    assert arguments({"updated_before": "2026-01-31T12:00"})["inserted_before"] == bound
    both = {"updated_before": "2026-01-31T12:00", "inserted_before": "2026-01-30"}
    assert arguments(both)["inserted_before"] == datetime(2026, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("order", ("-updated_at", "id", ""))
def test_an_order_that_would_read_every_row_is_refused(order: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        arguments({"order_by": order})
    assert caught.value.field == "order_by"


@pytest.mark.parametrize("field", ("workflow_version", "runner", "due_before", "updated_after"))
def test_a_text_that_is_none_of_its_kind_is_refused(field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        arguments({field: "x"})
    assert (caught.value.field, caught.value.value) == (field, "x")


@pytest.mark.parametrize("field", ("limit", "timeout", "contains", "allow_scan", "stauts"))
def test_what_is_no_field_of_the_list_is_refused(field: str) -> None:
    with pytest.raises(InvalidValueError, match=f"field is '{field}': the fields are id, status"):
        arguments({field: "1"})

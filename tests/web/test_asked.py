"""What a request asks of the list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from hephaestus_pg import InvalidValueError
from hephaestus_pg.web.asked import asked, texts

pytestmark = pytest.mark.quick


def test_fields_that_are_empty_are_not_given() -> None:
    assert texts([("workflow", ""), ("status", ""), ("id", "1")]) == {"id": "1"}


def test_of_a_field_given_twice_the_last_counts_but_each_status() -> None:
    query = [("id", "1"), ("id", "2"), ("status", "failed"), ("status", "pending")]
    assert texts(query) == {"id": "2", "status": ["failed", "pending"]}


def test_without_a_field_it_is_all_newest_first() -> None:
    assert asked({}) == {"order_by": "-inserted_at"}


def test_texts_become_what_a_query_takes() -> None:
    token = UUID(int=7)
    given: dict[str, str | list[str]] = {"runner": str(token), "status": ["failed"]}
    assert asked({**given, "workflow_version": "3", "order_by": "-id"}) == {
        "runner": token,
        "workflow_version": 3,
        "status_in": ["failed"],
        "order_by": "-id",
    }
    assert asked({"runner": "none"})["runner"] is None


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
    assert asked({"due_before": text})["due_before"] - moment == timedelta()


@pytest.mark.parametrize("order", ("-updated_at", "workflow", ""))
def test_an_order_that_would_read_every_row_is_refused(order: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        asked({"order_by": order})
    assert caught.value.field == "order_by"


@pytest.mark.parametrize("field", ("workflow_version", "runner", "due_before", "updated_after"))
def test_a_text_that_is_none_of_its_kind_is_refused(field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        asked({field: "x"})
    assert (caught.value.field, caught.value.value) == (field, "x")


@pytest.mark.parametrize("field", ("limit", "timeout", "contains", "allow_scan", "stauts"))
def test_what_is_no_field_of_the_list_is_refused(field: str) -> None:
    with pytest.raises(InvalidValueError, match=f"field is '{field}': the fields are id, status"):
        asked({field: "1"})

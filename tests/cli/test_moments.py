from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta, timezone

import pytest

from hephaestus_pg.cli.moments import age, between, exact, moment, since, span

pytestmark = pytest.mark.quick

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    (
        ("90m", timedelta(minutes=90)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        ("8w", timedelta(weeks=8)),
        ("0s", timedelta(0)),
    ),
)
def test_an_age_is_counted_back_from_now(text: str, expected: timedelta) -> None:
    assert age(text) == expected
    before = datetime.now(UTC) - expected
    assert before <= moment(text) <= datetime.now(UTC) - expected


@pytest.mark.parametrize(
    ("text", "expected"),
    (
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00", NOON),
        ("2026-01-31T12:00Z", NOON),
        ("2026-01-31 12:00+02:00", NOON - timedelta(hours=2)),
    ),
)
def test_a_moment_without_a_zone_is_in_utc(text: str, expected: datetime) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize("text", ("", "d", "30", "-1d", "1.5d", "30 d", "9999999999w", "soon"))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="neither an age"):
        moment(text)
    with pytest.raises(argparse.ArgumentTypeError, match="no age"):
        age(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    (
        (-5, "0s"),
        (0.9, "0s"),
        (119, "119s"),
        (120, "2m"),
        (7199, "119m"),
        (7200, "2h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (86_400 * 400, "400d"),
    ),
)
def test_a_span_is_shown_in_the_largest_unit_of_which_there_are_two(
    seconds: float, shown: str
) -> None:
    assert span(timedelta(seconds=seconds)) == shown
    assert since(NOON, NOON + timedelta(seconds=seconds)) == shown


def test_what_is_not_known_is_not_shown() -> None:
    assert since(None, NOON) == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    (
        (0, "0ms"),
        (0.12, "120ms"),
        (-0.5, "-500ms"),
        (3.44, "3.4s"),
        (300, "5m"),
        (-3.44, "-3.4s"),
        (-300, "-5m"),
    ),
)
def test_between_two_events_there_may_be_little(seconds: float, shown: str) -> None:
    assert between(timedelta(seconds=seconds)) == shown


def test_a_moment_is_shown_in_utc_with_what_it_has_of_a_second() -> None:
    east = timezone(timedelta(hours=2))
    assert exact(NOON.astimezone(east)) == "2026-01-31 12:00:00"
    assert exact(NOON.replace(microsecond=120_900)) == "2026-01-31 12:00:00.120"
    assert exact(NOON.replace(year=1)) == "0001-01-31 12:00:00"

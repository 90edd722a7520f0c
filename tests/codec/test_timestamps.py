import pickle
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from hephaestus_pg import (
    ExecutionEntry,
    Instance,
    Names,
    Serializer,
)
from hephaestus_pg.codec.timestamps import format_due, parse_due
from tests.support.rows import from_state

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    "text",
    (
        "2026-04-06T12:00:00Z",
        "2026-04-06T12:00:00.5Z",
        "2026-04-06T12:00:00.500Z",
        "2026-04-06T12:00:00.500000Z",
        "2026-04-06T12:00:00.000000Z",
        "2026-04-06T12:00:00.123456789Z",
        "2026-04-06T14:00:00+02:00",
    ),
)
def test_a_timestamp_keeps_its_own_text(text: str) -> None:
    entry = {"step_ref": "S", "event": "e", "timestamp": text, "context_updates": {}}
    instance = from_state({"execution_history": [entry]})

    moment = instance.execution_history[0].timestamp
    assert moment == datetime.fromisoformat(text)
    assert Serializer(Names()).to_db(instance)[-1]["execution_history"] == [entry]
    # What is made from it is another moment, with no text to keep.
    later = replace(instance.execution_history[0], timestamp=moment + timedelta(seconds=1))
    written = Serializer(Names()).to_db(replace(instance, execution_history=(later,)))[-1]
    assert datetime.fromisoformat(written["execution_history"][0]["timestamp"]) == later.timestamp
    assert pickle.loads(pickle.dumps(later)) == later


def test_a_timestamp_is_written_in_utc_with_a_z() -> None:
    east = timezone(timedelta(hours=2))
    entry = ExecutionEntry("S", "e", datetime(2026, 4, 6, 14, 0, 0, 5, east), {})

    state = Serializer(Names()).to_db(Instance("x", "W", execution_history=(entry,)))[-1]

    assert state["execution_history"][0]["timestamp"] == "2026-04-06T12:00:00.000005Z"


def test_an_hour_that_a_zone_has_twice_is_written_as_the_one_it_is() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    twice = [datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1, 0)]
    history = tuple(ExecutionEntry("S", "e", moment) for moment in twice)

    state = Serializer(Names()).to_db(Instance("x", "W", execution_history=history))[-1]

    assert [entry["timestamp"] for entry in state["execution_history"]] == [
        "2026-10-25T00:30:00Z",
        "2026-10-25T01:30:00Z",
        "2026-10-25T00:30:00Z",
    ]


@pytest.mark.parametrize(
    ("seconds", "moment"),
    (
        ("0.000000", datetime(1970, 1, 1, tzinfo=UTC)),
        ("-0.000001", datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("253402300799.999999", datetime.max.replace(tzinfo=UTC)),
        ("-62135596800.000000", datetime.min.replace(tzinfo=UTC)),
        ("Infinity", None),
    ),
)
def test_when_an_instance_is_due_is_read_to_the_microsecond(
    seconds: str, moment: datetime | None
) -> None:
    assert parse_due(seconds) == moment


@pytest.mark.parametrize("seconds", ("-Infinity", "253402300800.000000", "-62135596800.000001"))
def test_a_due_moment_that_python_does_not_know_is_an_error(seconds: str) -> None:
    with pytest.raises(ValueError, match="its due_at is not in the years 1 to 9999"):
        parse_due(seconds)


def test_when_an_instance_is_due_is_written_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert format_due(datetime(1, 4, 6, 14, 0, 0, 5, east)) == "0001-04-06 12:00:00.000005+00:00"

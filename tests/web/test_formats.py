"""How the page writes values."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from hephaestus_pg.web import formats

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("number", "text"),
    ((992, "992 bytes"), (10_239, "10,239 bytes"), (10_240, "10 KiB"), (16 * 2**20, "16 MiB")),
)
def test_a_size_has_a_unit_that_keeps_it_short(number: int, text: str) -> None:
    assert formats.size(number) == text


def test_a_columns_moment_that_python_does_not_know_stays_text() -> None:
    assert formats.column_moment(None) is None
    assert formats.column_moment("0") == datetime(1970, 1, 1, tzinfo=UTC)
    assert formats.column_moment("Infinity") == "Infinity"


def test_json_is_on_several_lines_and_as_it_was_written() -> None:
    assert formats.json_text({"a": ["ü", 1.5, None]}) == (
        '{\n  "a": [\n    "ü",\n    1.5,\n    null\n  ]\n}'
    )


def nested(depth: int, value: object) -> object:
    for _ in range(depth):
        value = [value]
    return value


def test_json_that_is_nested_deeply_is_cut_before_it_grows() -> None:
    text = formats.json_text(nested(3000, [0] * 60_000))
    assert text.startswith("[\n  [\n    [")
    assert text.endswith("\n… cut here")
    assert len(text) == formats.MOST_CHARACTERS + len("\n… cut here")


def test_a_number_of_thousands_of_digits_is_shown() -> None:
    assert formats.json_text({"n": 10**5000}) == f'{{"n":1{"0" * 5000}}}'
    deep = nested(300, 10**5000)
    assert formats.json_text(deep) == "It is nested too deeply for this page."


def test_a_long_text_is_cut_and_says_so() -> None:
    text = formats.cut("x" * (formats.MOST_CHARACTERS + 5))
    assert text == "x" * formats.MOST_CHARACTERS + "\n… cut here"
    assert formats.cut("short") == "short"


def test_addresses_hold_any_text() -> None:
    text = "a&b=c#/..%2f?+ ü"
    assert parse_qs(urlsplit(formats.shown(text)).query) == {"id": [text]}
    address = formats.listed(workflow=text, status=["failed", "pending"])
    assert parse_qs(urlsplit(address).query) == {
        "workflow": [text],
        "status": ["failed", "pending"],
    }
    assert formats.listed() == "instances"

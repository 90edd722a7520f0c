import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given

from hephaestus_pg import SerializationError
from hephaestus_pg.codec import exact_json
from hephaestus_pg.codec.plain import MAX_DEPTH
from tests.support.strategies import maps, nasty_values, same


def nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


@given(maps)
def test_json_comes_back_equal_and_of_the_same_types(value: dict[str, Any]) -> None:
    text, stored, _ = exact_json.dumps(value)

    assert same(stored, value)
    assert same(exact_json.loads(text.decode()), value)


@given(nasty_values)
def test_any_value_is_stored_as_json_or_refused_with_a_path(value: Any) -> None:
    refused = ""
    try:
        text, stored, _ = exact_json.dumps({"value": value})
    except SerializationError as error:
        refused = error.path
    if refused:
        assert refused.startswith("value")
    else:
        assert same(json.loads(text), stored)
        assert b"\\u0000" not in text.replace(b"\\\\", b"")


def test_nesting_is_limited_to_what_can_be_written() -> None:
    text, stored, _ = exact_json.dumps(nested(MAX_DEPTH))
    assert stored == nested(MAX_DEPTH)
    assert exact_json.loads(text.decode()) == stored

    with pytest.raises(SerializationError, match="more than 254 levels"):
        exact_json.dumps(nested(MAX_DEPTH + 1))


def test_deeper_nesting_of_another_writer_is_read_up_to_the_parsers_limit() -> None:
    for leaf in ("1", "1" * 20):
        text = f'{{"a": {"[" * 400}{leaf}{"]" * 400}}}'
        read = exact_json.loads(text)
        with pytest.raises(SerializationError, match=r"^a\[0\].* more than 254 levels"):
            exact_json.dumps(read)
        with pytest.raises(ValueError, match="depth|nested"):
            exact_json.loads(f"{'[' * 200_000}{leaf}{']' * 200_000}")


def test_brackets_in_texts_are_no_nesting() -> None:
    value: Any = {"a": ['[{"' * 300, '\\"' + "{" * 300, "\\"], "b[[" + '"' * 3: {"c": []}}

    assert exact_json.loads(exact_json.dumps(value)[0].decode()) == value


def test_wide_states_are_not_deep_ones() -> None:
    value: Any = {"history": [{"at": {"x": []}} for _ in range(1000)]}

    assert exact_json.dumps(value)[1] == value


@pytest.mark.parametrize("digits", (19, 20, 21))
@pytest.mark.parametrize("offset", range(8))
def test_a_long_number_is_found_wherever_it_stands(offset: int, digits: int) -> None:
    number = 10**digits - 1  # of which orjson makes a float from 20 digits on
    assert exact_json.loads(f'["{"x" * offset}", {number}, {{"a": -{number}}}]') == [
        "x" * offset,
        number,
        {"a": -number},
    ]


@pytest.mark.parametrize("digits", (19, 20, 4000, 5000, 131_072))
def test_integers_of_any_size_are_exact(digits: int) -> None:
    number = 1 - 10**digits
    text, stored, _ = exact_json.dumps({"a": number})

    assert stored["a"] == number
    assert exact_json.loads(text.decode())["a"] == number


def test_a_number_beyond_a_float_is_refused_when_read() -> None:
    with pytest.raises(ValueError, match="beyond a float"):
        exact_json.loads(f"[1{'0' * 400}.5]")


@pytest.mark.xfail(strict=True, reason="seen in orjson 3.13; exact_json.dumps lets it see no enum")
def test_orjson_survives_an_enum_without_a_value() -> None:
    script = """
import enum, orjson
class Raising(enum.Enum):
    RED = "red"
    value = property(lambda self: {}["x"])
try:
    orjson.dumps(Raising.RED)
except Exception:
    pass
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)

from __future__ import annotations

import json
from typing import Any

import pytest

from hephaestus_pg.cli.json_lines import json_text, readable

pytestmark = pytest.mark.quick

VALUES: tuple[Any, ...] = (
    {"text": 'é\N{SMILING FACE WITH SUNGLASSES}\x1b\x7f\x9b\u202e\u2028\n"\\', "n": None},
    {"large": 10**5000, "float": 1e25, "small": 5e-324, "zero": -0.0},
    {"deep": [[{"a": [True, False]}]]},
)


@pytest.mark.parametrize("value", VALUES, ids=("texts", "numbers", "depth"))
def test_a_value_is_one_line_of_printable_ascii_and_comes_back_as_it_was(value: Any) -> None:
    text = json_text(value)
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text, parse_int=_integer) == value


def _integer(text: str) -> int:
    return 10**5000 if len(text) == 5001 else int(text)


def test_for_a_person_letters_stay_as_they_are() -> None:
    assert readable({"é": "\x1b\x9b"}) == r'{"é":"\u001b\x9b"}'

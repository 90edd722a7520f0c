from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Network
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from hephaestus_pg import SerializationError
from hephaestus_pg.codec import exact_json

pytestmark = pytest.mark.quick


@dataclass
class Address:
    street: str
    lines: tuple[str, ...]


class Later:
    def __await__(self) -> Any:
        raise AssertionError("it was awaited")


STANDARD: list[tuple[Any, str | None]] = [
    (b"ab", "base64.b64encode(value).decode()"),
    (bytearray(b"ab"), "base64.b64encode(value).decode()"),
    (timedelta(seconds=1), "value.total_seconds()"),
    (1j, "[value.real, value.imag]"),
    (PurePosixPath("a"), "str(value)"),
    (Fraction(1, 3), "str(value)"),
    (IPv4Address("127.0.0.1"), "str(value)"),
    (IPv6Network("::/8"), "str(value)"),
    (ValueError("no"), "repr(value)"),
    (Address, "its name, as a text"),
    (iter([1]), "list(value)"),
    (range(3), "list(value)"),
    (deque([1]), "list(value)"),
    ({"a": 1}.values(), "list(value)"),
    (Later(), "what it gives: await it first"),
    (..., None),
    (print, None),
    (SimpleNamespace(a=1), None),
]


# A value of a library's, made of its module.
LIBRARIES: dict[str, tuple[Callable[[Any], Any], str | None]] = {
    "pydantic": (lambda it: it.create_model("M")(), 'value.model_dump(mode="json")'),
    "attrs": (lambda it: it.make_class("A", [])(), "attrs.asdict(value)"),
    "msgspec": (lambda it: it.defstruct("S", [])(), "msgspec.to_builtins(value)"),
    "numpy": (lambda it: it.int64(1), "value.tolist()"),
    "numpy array": (lambda it: it.array([1]), "value.tolist()"),
    "pandas": (lambda it: it.DataFrame(), "value.to_dict()"),
    "pandas NaT": (lambda it: it.NaT, None),
}


def assert_refused_with_advice(value: Any, instead: str | None) -> None:
    advice = f"store {instead}" if instead else "turn it into text, numbers, lists or maps"
    with pytest.raises(SerializationError) as caught:
        exact_json.dumps({"a": {"b": ["fine", value]}})
    assert caught.value.path == "a.b[1]"
    assert caught.value.reason == f"a {type(value).__qualname__} cannot be stored; {advice}"


@pytest.mark.parametrize(
    ("value", "instead"), STANDARD, ids=[type(value).__name__ for value, _ in STANDARD]
)
def test_a_value_without_a_place_in_json_is_refused_with_what_to_store(
    value: Any, instead: str | None
) -> None:
    assert_refused_with_advice(value, instead)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_value_of_a_library_is_refused_with_what_to_store(library: str) -> None:
    make, instead = LIBRARIES[library]
    assert_refused_with_advice(make(pytest.importorskip(library.split(maxsplit=1)[0])), instead)

import json
import math
import subprocess
import sys
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Network
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from hephaestus_pg import SerializationError
from hephaestus_pg.codec import exact_json
from tests.support.strategies import maps, nasty_values


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Name(StrEnum):
    FIRST = "first"


@dataclass
class Address:
    street: str
    lines: tuple[str, ...]


class Point(NamedTuple):
    x: int
    y: int


def nested(levels: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down: 1 is not 1.0 and not True."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


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


@pytest.mark.parametrize(
    ("value", "stored"),
    (
        (datetime(2026, 4, 6, 12, tzinfo=UTC), "2026-04-06T12:00:00+00:00"),
        (date(2026, 4, 6), "2026-04-06"),
        (time(12, 30), "12:30:00"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        (Name.FIRST, "first"),
        ({3, 1, 10}, [1, 3, 10]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({"a", 1}, [1, "a"]),
        ((1, (2,)), [1, [2]]),
        (Point(1, 2), [1, 2]),
        (Address("Main", ("a", "b")), {"street": "Main", "lines": ["a", "b"]}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (UserDict({Name.FIRST: 1}), {"first": 1}),
        (-0.0, 0.0),
    ),
)
def test_values_that_json_does_not_have_are_stored_as_their_text_or_list(
    value: Any, stored: Any
) -> None:
    text, read, _ = exact_json.dumps({"value": [value]})

    assert read == {"value": [stored]}
    assert type(read["value"][0]) is type(stored)
    assert exact_json.loads(text.decode()) == read


def refuse(*_: object, **__: object) -> Any:
    raise RuntimeError("no")


def raising(base: type, *names: str) -> Any:
    """A subclass of ``base`` that raises whenever one of those methods is called."""
    return type("Raising", (base,), dict.fromkeys(names, refuse))


class Unbound:
    """A proxy of nothing, as a web framework's ``request`` is outside of a request."""

    __class__ = property(refuse)


class UnequalEnum(Enum):
    RED = "red"

    __hash__ = Enum.__hash__
    __eq__ = refuse


class Holding(Enum):
    # Its ``value`` itself must not raise: orjson ends the process then.
    HOSTILE = raising(Decimal, "__str__")(1)


@dataclass
class Account:
    balance: int


Account.balance = property(refuse)  # type: ignore[assignment]

cyclic: dict[str, Any] = {}
cyclic["inner"] = [cyclic]


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    (
        (math.nan, "a.b[1]", "no nan"),
        (math.inf, "a.b[1]", "no inf"),
        (-math.inf, "a.b[1]", "no -inf"),
        ("a\0b", "a.b[1]", r"U\+0000"),
        ("\ud800", "a.b[1]", "lone surrogate"),
        ({"x y": {"z": math.nan}}, "a.b[1]['x y'].z", "no nan"),
        ({"k\0": 1}, r"a.b[1]['k\x00']", r"U\+0000"),
        ({"\ud800": 1}, r"a.b[1]['\ud800']", "lone surrogate"),
        ({1: 2}, "a.b[1]", "key that is a int"),
        ({None: 2}, "a.b[1]", "key that is a NoneType"),
        ({(1,): 2}, "a.b[1]", "key that is a tuple"),
        (object(), "a.b[1]", "a object cannot be stored"),
        (Address, "a.b[1]", "a type cannot be stored"),
        (cyclic, "a.b[1].inner[0]", "contains itself"),
        ({Color.RED: 2}, "a.b[1]", "key that is a Color"),
        (10**131_072 + 1, "a.b[1]", "more than 131,072 digits"),
    ),
    ids=lambda given: None if isinstance(given, str) else type(given).__name__,
)
def test_what_cannot_be_stored_exactly_is_refused_with_its_path(
    value: Any, path: str, reason: str
) -> None:
    with pytest.raises(SerializationError, match=reason) as caught:
        exact_json.dumps({"a": {"b": ["fine", value]}})
    assert caught.value.path == path


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


@pytest.mark.parametrize("root", ("state", "contains"))
def test_what_is_wrong_with_the_whole_is_said_of_it_by_name(root: str) -> None:
    whole: Any = {1: 2}
    with pytest.raises(SerializationError, match=f"^{root}: it has a key") as caught:
        exact_json.dumps(whole, root)
    assert caught.value.path == root


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "stored"),
    (
        (defaultdict(list, a=[(1,)]), {"a": [[1]]}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (ChainMap({"a": 1}, {"a": 2, "b": 3}), {"a": 1, "b": 3}),
        ({Name.FIRST: {Name.FIRST: 1}}, {"first": {"first": 1}}),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0), "2026-10-25T02:30:00+02:00"),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), "2026-10-25T02:30:00+01:00"),
        (datetime(2026, 10, 25, 2, 30), "2026-10-25T02:30:00"),  # noqa: DTZ001
        (time(2, 30, tzinfo=UTC), "02:30:00+00:00"),
        (2**70 + 0.0, float(2**70)),
    ),
)
def test_values_of_the_standard_librarys_kinds_are_stored(value: Any, stored: Any) -> None:
    text, read, _ = exact_json.dumps({"value": value})

    assert same(read, {"value": stored})
    assert same(exact_json.loads(text.decode()), read)


def test_values_of_libraries_that_are_texts_or_numbers_are_stored() -> None:
    numpy = pytest.importorskip("numpy")
    assert exact_json.dumps({"a": [numpy.float64(1.5), numpy.str_("x")]})[1] == {"a": [1.5, "x"]}

    pandas = pytest.importorskip("pandas")
    moment = pandas.Timestamp("2026-04-06T12:00:00.123456789Z")
    assert exact_json.dumps({"a": moment})[1] == {"a": "2026-04-06T12:00:00.123456789+00:00"}


# Made when they are needed: whoever looks at one, as pytest does, has it raise.
RAISING: dict[str, Callable[[], Any]] = {
    "class": Unbound,
    "value of an enum": lambda: Holding.HOSTILE,
    "datetime": lambda: raising(datetime, "isoformat")(2026, 1, 1),
    "date": lambda: raising(date, "isoformat")(2026, 1, 1),
    "time": lambda: raising(time, "isoformat")(12),
    "decimal": lambda: raising(Decimal, "__str__")(1),
    "uuid": lambda: raising(UUID, "__str__")(int=1),
    "items of a dict": lambda: raising(dict, "items")(a=1),
    "what is no item": type("Misshapen", (dict,), {"items": lambda _: [{}]}),
    "keys of a mapping": lambda: raising(UserDict, "__iter__")(a=1),
    "value of a mapping": lambda: raising(UserDict, "__getitem__")(a=1),
    "class of a key": lambda: {Unbound(): 1},
    "items of a list": lambda: raising(list, "__iter__")([1]),
    "length of a list": lambda: raising(list, "__len__")([1]),
    "items of a tuple": lambda: raising(tuple, "__iter__")([1]),
    "items of a set": lambda: raising(set, "__iter__")([1]),
    "order in a set": lambda: {raising(date, "__lt__")(2026, 1, day) for day in (1, 2)},
    "text in a set": lambda: {"a", raising(Decimal, "__str__")(1)},
    "field of a dataclass": lambda: Account.__new__(Account),
}


@pytest.mark.parametrize("asked", RAISING)
def test_a_value_that_raises_when_it_is_asked_is_refused_with_its_path(asked: str) -> None:
    with pytest.raises(SerializationError, match=r"^a\.b\[1\]: reading it raised") as caught:
        exact_json.dumps({"a": {"b": ["fine", RAISING[asked]()]}})
    assert caught.value.path == "a.b[1]"
    assert isinstance(caught.value.__cause__, (RuntimeError, ValueError))


ASKED = (
    "__str__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__int__",
    "__index__",
    "__float__",
    "__len__",
)


@pytest.mark.parametrize("given", ("text", 3, 2**70, 1.5, 1e25), ids=str)
def test_texts_and_numbers_have_no_say_in_what_is_stored_for_them(given: Any) -> None:
    hostile = raising(type(given), *ASKED)(given)

    text, stored, _ = exact_json.dumps({"a": hostile})

    assert same(stored, {"a": given})
    assert same(exact_json.loads(text.decode()), stored)


def test_a_value_that_cannot_be_compared_is_stored() -> None:
    assert exact_json.dumps({"a": UnequalEnum.RED})[:2] == (b'{"a":"red"}', {"a": "red"})


def test_what_is_too_deep_for_the_stack_that_is_left_is_refused_or_stored() -> None:
    value: Any = 2**70
    for _ in range(200):
        value = (value,)
    refused = 0

    def at(depth: int) -> None:
        nonlocal refused
        if depth:
            return at(depth - 1)
        try:
            text = exact_json.dumps({"a": value})[0].decode()
        except SerializationError as error:
            refused += error.path.startswith("a[0][0]")
        else:
            with suppress(ValueError):
                exact_json.loads(text)

    for depth in range(0, sys.getrecursionlimit() - 250, 25):
        at(depth)
    assert refused


def test_two_keys_that_are_the_same_text_are_refused() -> None:
    class Key(str):
        __slots__ = ()

        def __hash__(self) -> int:
            return id(self)

        def __eq__(self, other: object) -> bool:
            return self is other

    with pytest.raises(SerializationError, match="two keys are the same") as caught:
        exact_json.dumps({"a": {Key("b"): 1, Key("b"): 2}})
    assert caught.value.path == "a.b"


def test_a_value_may_stand_in_several_places() -> None:
    shared = {"x": [math.pi]}

    assert exact_json.dumps({"a": shared, "b": [shared, (shared,)]})[1]["b"] == [shared, [shared]]


def test_nesting_is_limited_alike_for_writing_and_reading() -> None:
    text, stored, _ = exact_json.dumps(nested(exact_json.MAX_DEPTH))
    assert stored == nested(exact_json.MAX_DEPTH)
    assert exact_json.loads(text.decode()) == stored

    with pytest.raises(SerializationError, match="more than 254 levels"):
        exact_json.dumps(nested(exact_json.MAX_DEPTH + 1))
    with pytest.raises(ValueError, match="more than 254 levels"):
        exact_json.loads(json.dumps(nested(exact_json.MAX_DEPTH + 1)))
    with pytest.raises(ValueError, match="more than 254 levels"):
        exact_json.loads("[" * 5000 + "]" * 5000)


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


def test_a_set_of_values_without_an_order_is_stored_in_a_steady_one() -> None:
    assert exact_json.dumps({"a": {Color.RED, 1, "x"}})[1] == {"a": ["red", 1, "x"]}


def test_an_iterator_is_refused_rather_than_used_up() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(SerializationError, match="generator cannot be stored"):
        exact_json.dumps({"a": numbers()})


@pytest.mark.parametrize("text", ("", "[[", "}]", '"', '"[', "\\", '\\"{', "[]{}"))
def test_depth_is_that_of_maps_and_lists_whatever_texts_hold(text: str) -> None:
    value: Any = [text, text, [], {}]
    for level in range(exact_json.MAX_DEPTH - 2):
        value = {text: [], "in": value} if level % 2 else [text, value, {"": text}]
    assert exact_json.loads(json.dumps(value)) == value
    with pytest.raises(ValueError, match="more than 254 levels"):
        exact_json.loads(json.dumps([text, value]))


class Raising(Enum):
    RED = "red"

    @property
    def value(self) -> Any:
        raise LookupError


class Endless(Enum):
    RED = "red"

    @property
    def value(self) -> Any:
        return self


@pytest.mark.parametrize("broken", (Raising.RED, Endless.RED))
def test_an_enum_without_a_value_is_refused_with_its_path(broken: Enum) -> None:
    with pytest.raises(SerializationError, match=r"^a\.b\[0\]: reading it raised"):
        exact_json.dumps({"a": {"b": [broken]}})


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

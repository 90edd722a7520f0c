import math
import sys
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from hephaestus_pg import SerializationError
from hephaestus_pg.codec import exact_json
from tests.support.strategies import same

pytestmark = pytest.mark.quick


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


class Form(dict[str, list[Any]]):
    """As Django's, Flask's and Starlette's are of a query or a form: items() shows the last."""

    def getlist(self, key: str) -> list[Any]:
        return dict.__getitem__(self, key)

    def items(self) -> Any:
        return [(key, values[-1]) for key, values in dict.items(self)]


class Parameters(dict[str, list[Any]]):
    """As Sanic's are: items() shows all."""

    getlist = dict.__getitem__


def test_a_form_whose_items_do_not_show_all_values_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"^form\.tags: it has 2 values") as caught:
        exact_json.dumps({"form": Form(name=["a"], tags=["x", "y"])})
    assert "getlist(key)" in str(caught.value)
    assert exact_json.dumps(Form(name=["a"], tags=["x"]))[1] == {"name": "a", "tags": "x"}
    assert exact_json.dumps(Parameters(tags=["x", "y"]))[1] == {"tags": ["x", "y"]}

    starlette = pytest.importorskip("starlette.datastructures")
    with pytest.raises(SerializationError, match=r"^query\.tags: it has 2 values"):
        exact_json.dumps({"query": starlette.QueryParams("tags=x&tags=y")})
    assert exact_json.dumps({"query": starlette.QueryParams("a=1")})[1] == {"query": {"a": "1"}}


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


class Shade(str, Enum):  # noqa: UP042 - whose str() is Shade.DARK
    DARK = "dark"


class Degrees(int):
    def __str__(self) -> str:
        return f"{int(self)}°"


class Ratio(float):
    def __repr__(self) -> str:
        return f"{float(self):%}"


@pytest.mark.parametrize(
    ("given", "stored"),
    (
        (Shade.DARK, "dark"),
        ({Shade.DARK: Shade.DARK}, {"dark": "dark"}),
        (Degrees(3), 3),
        (Degrees(2**70), 2**70),
        (Ratio(1.5), 1.5),
        (Ratio(1e25), 1e25),
    ),
    ids=repr,
)
def test_texts_and_numbers_that_print_otherwise_are_stored_as_what_they_are(
    given: Any, stored: Any
) -> None:
    text, read, _ = exact_json.dumps({"a": given})

    assert same(read, {"a": stored})
    assert same(exact_json.loads(text.decode()), read)


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


def test_a_set_of_values_without_an_order_is_stored_in_a_steady_one() -> None:
    assert exact_json.dumps({"a": {Color.RED, 1, "x"}})[1] == {"a": ["red", 1, "x"]}


def test_an_iterator_is_refused_rather_than_used_up() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(SerializationError, match="generator cannot be stored"):
        exact_json.dumps({"a": numbers()})


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

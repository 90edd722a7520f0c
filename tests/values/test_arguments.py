"""Arguments that a slip makes something else of: each is refused, and told what to write."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from hephaestus_pg import (
    AsyncStorage,
    Instance,
    InvalidTypeError,
    InvalidValueError,
    Status,
)
from tests.support.instances import shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

NOW = datetime.now(UTC)
ORDER = Instance.new("Order", {"amount": 99}, id="1")
UNIQUE = UUID("0192f0c1-2345-7abc-8def-0123456789ab")


async def several() -> AsyncIterator[Any]:
    yield "1"


class Many:
    """Iterable by ``async for`` alone, as a database cursor."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return several()


@pytest.fixture
async def filled(storage: AsyncStorage) -> AsyncStorage:
    await storage.put_many([replace(ORDER, id=id) for id in ("1", "2", "12")])
    return storage


NOT_MANY: tuple[Any, ...] = (
    "12",
    b"12",
    bytearray(b"12"),
    memoryview(b"12"),
    12,
    None,
    ORDER,
    UNIQUE,
    several,
    Many(),
)


@pytest.mark.parametrize("given", NOT_MANY, ids=shown)
@pytest.mark.parametrize("verb", ("get_many", "delete_many", "put_many", "status_in"))
async def test_what_is_not_many_is_refused(filled: AsyncStorage, verb: str, given: Any) -> None:
    if verb == "status_in" and given is None:
        pytest.skip("no filter is None")
    field = {"put_many": "instances", "status_in": "status_in"}.get(verb, "ids")
    with pytest.raises(InvalidTypeError, match=rf"^{field} is .*: give a list of"):
        if verb == "status_in":
            await filled.query(status_in=given)
        else:
            await getattr(filled, verb)(given)
    assert await filled.count() == 3


async def test_a_mapping_will_do_by_its_ids_alone(filled: AsyncStorage) -> None:
    found = await filled.get_many(["1", "2"])
    assert await filled.get_many(found) == found
    with pytest.raises(InvalidTypeError, match=r"^instances is .*its values\(\)"):
        await filled.put_many(found)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="^status_in is "):
        await filled.query(status_in={Status.PENDING: True})
    assert await filled.delete_many(found) == {"1", "2"}


@pytest.mark.parametrize("verb", ("get_many", "delete_many", "put_many"))
async def test_an_async_generator_is_told_how_it_is_collected(
    filled: AsyncStorage, verb: str
) -> None:
    with pytest.raises(InvalidTypeError, match="async for each in"):
        await getattr(filled, verb)(several())
    assert await filled.count() == 3


async def test_statuses_as_one_text_are_refused(filled: AsyncStorage) -> None:
    for given in ("pending", Status.PENDING):
        with pytest.raises(InvalidTypeError, match="even of a single one"):
            await filled.query(status_in=given)  # type: ignore[arg-type]
    for many in (["pending"], ("pending",), {Status.PENDING}, Status.ACTIVE, iter(["pending"])):
        assert await filled.count(status_in=many) == 3  # type: ignore[arg-type]


async def test_whatever_can_be_iterated_will_do(filled: AsyncStorage) -> None:
    for ids in (["1", "2"], ("1", "2"), {"1", "2"}, {"1": 0, "2": 0}.keys(), iter(["1", "2"])):
        assert (await filled.get_many(ids)).keys() == {"1", "2"}


@pytest.mark.parametrize(
    ("id", "advice"),
    (
        (7, r"give a str .*, such as '7'"),
        (UNIQUE, rf"such as '{UNIQUE}'"),
        (b"1", r"such as b'1'.decode\(\)"),
        (ORDER, "its id, '1'"),
        (None, "give a str"),
        (["1"], "give a str"),
    ),
    ids=shown,
)
async def test_an_id_that_is_no_text_says_what_to_write(
    filled: AsyncStorage, id: Any, advice: str
) -> None:
    for call in (
        lambda: filled.get(id),
        lambda: filled.delete(id),
        lambda: filled.get_many([id]),
        lambda: filled.delete_many(["1", id]),
        lambda: filled.query(id=[] if id is None else id),
    ):
        with pytest.raises(InvalidTypeError, match=f"^id is .*{advice}"):
            await call()
    with pytest.raises(InvalidTypeError, match="^id is "):
        Instance.new("Order", {}, id=id)
    assert await filled.count() == 3


@pytest.mark.parametrize("flag", ("no", "", 0, 1, None, [], "true"))
async def test_a_flag_that_is_no_bool_is_refused(filled: AsyncStorage, flag: Any) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "replace_finished": lambda: filled.insert(ORDER, replace_finished=flag),
        "dry_run": lambda: filled.prune(finished_before=NOW, dry_run=flag),
        "allow_scan": lambda: filled.query(contains={"context": {}}, allow_scan=flag),
    }
    for name, call in calls.items():
        with pytest.raises(InvalidTypeError, match=f"^{name} is "):
            await call()
    with pytest.raises(InvalidValueError, match="^on_error is "):
        await filled.query(on_error=flag)
    if flag is not None:
        for call in (
            lambda: filled.query(limit=flag if flag != 1 else True),
            lambda: filled.get("1", timeout=flag if flag != 1 else True),
        ):
            with pytest.raises(InvalidValueError):
                await call()
    assert await filled.count() == 3


async def test_progress_that_would_have_to_be_awaited_is_refused(filled: AsyncStorage) -> None:
    async def report(number: int) -> None:
        del number

    with pytest.raises(InvalidTypeError, match="^progress is .*not async"):
        await filled.prune(finished_before=NOW, progress=report)

"""What a runner is given is checked, and what others see of it is what it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import Instance, InvalidTypeError, InvalidValueError
from hephaestus_pg.runners.settings import Settings, backoff, delays_text

if TYPE_CHECKING:
    import asyncpg

    from hephaestus_pg import AsyncStorage

pytestmark = pytest.mark.quick

# Names that somebody's list of names, joined by anything, would tear apart.
ODD = ['a "quoted" one', "back\\slash", "comma, brace {} and null", "new\nline", "NULL", "Ünïcode"]


def checked(**options: Any) -> Settings:
    given: dict[str, Any] = {
        "workflows": ["Order"],
        "name": "worker-7",
        "lease": 30,
        "max_attempts": 5,
        "retry_after": backoff,
        "max_stall": 300,
    }
    return Settings.checked(str, **(given | options))


@pytest.mark.parametrize(
    ("options", "said"),
    (
        ({"workflows": []}, "workflows"),
        ({"workflows": "Order"}, "workflows"),
        ({"workflows": [7]}, "workflows is 7"),
        ({"lease": 0.9}, "lease is 0.9: give from 1"),
        ({"lease": "30"}, "lease"),
        ({"lease": True}, "lease"),
        ({"lease": float("nan")}, "lease"),
        ({"lease": 10**9}, "lease is 1000000000: give from 1"),
        ({"name": ""}, "name"),
        ({"name": "a\0"}, "name is .* cannot store U\\+0000"),
        ({"name": "a\ud800"}, "name is .* surrogate"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"retry_after": 2}, "retry_after"),
        ({"retry_after": lambda n: -1.0}, "retry_after is -1"),
        ({"retry_after": lambda n: None}, "retry_after is None"),
        ({"max_stall": 0}, "max_stall"),
    ),
)
async def test_a_wrong_setting_is_named(
    storage: AsyncStorage, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidValueError, match=said):
        storage.runner(**{"workflows": ["Order"], **options})


def test_a_setting_of_a_wrong_type_is_an_error_of_types() -> None:
    for options in ({"lease": "30"}, {"name": 7}, {"retry_after": 2}, {"workflows": "Order"}):
        with pytest.raises(InvalidTypeError):
            checked(**options)


def test_a_workflow_that_is_named_twice_counts_once() -> None:
    assert checked(workflows=["Refund", "Order", "Refund"]).workflows == ("Order", "Refund")


def test_there_is_a_delay_after_each_attempt_but_the_last() -> None:
    assert checked().delays == (2.0, 4.0, 8.0, 16.0)
    assert checked(max_attempts=3, retry_after=lambda n: n * 10).delays == (10.0, 20.0)
    assert checked(max_attempts=1).delays == ()


def test_the_backoff_doubles_up_to_five_minutes() -> None:
    assert [backoff(n) for n in (1, 2, 3, 8, 9, 1000)] == [2, 4, 8, 256, 300, 300]


async def test_delays_are_read_by_the_server_as_what_they_were(
    pool: asyncpg.Pool[asyncpg.Record],
) -> None:
    for delays in ([2.0, 0.1, 1e-7, 86_400.0], [0.0], []):
        read = "SELECT string_to_array($1, ',')::double precision[]"
        assert await pool.fetchval(read, delays_text(delays)) == delays


async def test_what_has_an_odd_name_is_claimed_by_its_id(storage: AsyncStorage) -> None:
    await storage.put_many([Instance(f"x::{each}", name) for each, name in enumerate(ODD)])
    await storage.put(Instance("x::other", "comma"))
    async with storage.runner(workflows=ODD) as runner:
        assert await runner.claim("x::other") is None
        for each, name in enumerate(ODD):
            claim = await runner.claim(f"x::{each}")
            assert claim is not None
            async with claim as held:
                assert held.workflow == name


async def test_a_runner_is_told_of_as_it_was_started(storage: AsyncStorage) -> None:
    async with storage.runner(workflows=ODD, name="the\nfirst", lease=60) as runner:
        [info] = await storage.runners()
    assert (info.token, info.name, info.owned) == (runner.token, "the\nfirst", 0)
    assert info.workflows == tuple(sorted(ODD))
    assert info.started_at < info.expires_at

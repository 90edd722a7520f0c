from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.instances import order

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage
    from tests.commands.conftest import Do
    from tests.support.commands import Run
    from tests.support.databases import Owner

pytestmark = pytest.mark.quick


def while_two_live(do: Do, *runs: Any) -> list[Any]:
    async def living(storage: AsyncStorage) -> Any:
        async with (
            storage.runner(workflows=["Refund", "Order"], name="worker-7", lease=60) as first,
            storage.runner(workflows=["\x1b[2J\u202e"], name="\x1b]0;x\x07\x9b\r\n", lease=60),
        ):
            await first.insert(order("order::1"))
            return [first.token, *[await asyncio.to_thread(*run) for run in runs]]

    found: list[Any] = do(living)
    return found


def test_runners_are_shown_with_their_leases_and_what_they_own(
    run: Run, do: Do, migrated: str
) -> None:
    token, (code, out, err), (_, lines, _) = while_two_live(
        do, (run, "runners"), (run, "runners", "--json")
    )
    assert (code, err) == (0, "")
    head, first, second = out.splitlines()
    assert re.split("  +", head) == ["name", "token", "workflows", "since", "lease left", "owned"]
    assert re.fullmatch(
        rf"worker-7 +{token}  Order, Refund +\d+s +[56]\ds +1", first.replace("  O", "  O")
    )
    assert second.startswith(r"\x1b]0;x\x07\x9b\r\n  ")
    assert r"  \x1b[2J\u202e  " in second
    one, other = map(json.loads, lines.splitlines())
    assert [*one] == [
        *("schema", "token", "name", "workflows", "started_at", "expires_at", "owned"),
        "lease_left",
    ]
    assert (one["token"], one["workflows"]) == (str(token), ["Order", "Refund"])
    assert other["name"] == "\x1b]0;x\x07\x9b\r\n"
    assert lines.isascii()
    assert "\x1b" not in lines


def test_where_none_lives_it_says_no(run: Run) -> None:
    assert run("runners") == (1, "", "no runner lives\n")
    assert run("runners", "--json") == (1, "", "no runner lives\n")


def test_a_runner_with_an_odd_moment_hides_nothing(run: Run, owner: Owner, migrated: str) -> None:
    owner.execute(
        f"INSERT INTO {migrated}.workflow_runners VALUES (gen_random_uuid(), 'by hand',"
        " '{Order}', '-infinity', 'infinity')"
    )
    code, out, err = run("runners", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["name"] == "by hand"
    assert (found["started_at"][:4], found["expires_at"][:4]) == ("0001", "9999")
    assert run("runners")[0] == 0
    assert run("list") == (1, "", "no instance matches\n")

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import AsyncStorage, Instance, Status
from tests.support.instances import order

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.commands.conftest import Change, Do
    from tests.support.commands import Run
    from tests.support.databases import Owner

pytestmark = pytest.mark.quick

LONG_ID = f"order::{'0123456789' * 24}"


@pytest.fixture
def filled(do: Do, change: Change) -> None:
    """Six orders, each inserted a minute before the next, the first of them failed."""

    async def fill(storage: AsyncStorage) -> None:
        statuses = [Status.FAILED, *[Status.PENDING] * 5]
        await storage.put_many(
            order(f"order::{number}", status=status, current_step="charge")
            for number, status in enumerate(statuses)
        )

    do(fill)
    change(
        "inserted_at = timezone('UTC', now()) "
        "- (10 - split_part(id, '::', 2)::integer) * interval '1 minute', "
        "updated_at = timezone('UTC', now()) - interval '190 minutes'"
    )


def ids(out: str) -> list[str]:
    return re.findall(r"order::\d+", out)


@pytest.mark.usefixtures("filled")
def test_it_lists_the_newest_first(run: Run) -> None:
    code, out, err = run("list")
    assert (code, err) == (0, "")
    head, first, *_ = out.splitlines()
    assert head.split() == ["id", "workflow", "status", "step", "updated", "owner"]
    assert first.split() == ["order::5", "Order", "pending", "charge", "3h"]
    assert ids(out) == [f"order::{number}" for number in (5, 4, 3, 2, 1, 0)]


@pytest.mark.usefixtures("filled")
def test_where_there_is_more_the_cursor_leads_to_it(run: Run) -> None:
    code, out, err = run("list", "--limit", "4")
    assert (code, ids(out)) == (0, [f"order::{number}" for number in (5, 4, 3, 2)])
    more = re.fullmatch(r"more with --after (\S+)\n", err)
    assert more
    code, out, err = run("list", "--limit", "4", "--after", more[1])
    assert (code, ids(out), err) == (0, ["order::1", "order::0"], "")
    for all_of_them in ("0", str(2**63 - 1)):
        assert len(ids(run("list", "--limit", all_of_them)[1])) == 6


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("form", (["--order-by", "-id"], ["--order-by=-id"]))
def test_an_order_from_the_end_is_no_flag(run: Run, form: list[str]) -> None:
    assert ids(run("list", *form, "--limit", "1")[1]) == ["order::5"]
    assert ids(run("list", "--order-by", "id", "--limit", "1")[1]) == ["order::0"]


def some_filters(storage_token: str) -> dict[str, tuple[list[str], int]]:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    return {
        "--id": (["--id", "order::3"], 1),
        "--status": (["--status", "failed", "--status", "waiting"], 1),
        "--workflow": (["--workflow", "Refund"], 0),
        "--workflow-version": (["--workflow-version", "2"], 0),
        "--workflow-family": (["--workflow-family", "Ord"], 6),
        "--contains": (["--contains", '{"context": {"initial": {"order_id": 1}}}'], 6),
        "--allow-scan": (["--contains", '{"context": {}}', "--allow-scan"], 6),
        "--inserted-before": (["--inserted-before", "450s"], 3),
        "--inserted-after": (["--inserted-after", "450s"], 3),
        "--updated-before": (["--updated-before", "1h"], 6),
        "--updated-after": (["--updated-after", "1h"], 0),
        "--due-before": (["--due-before", later], 0),
        "--runner none": (["--runner", "none"], 6),
        "--runner": (["--runner", storage_token], 0),
    }


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", some_filters("0" * 32))
def test_filters_are_those_of_query(run: Run, name: str) -> None:
    arguments, found = some_filters("0" * 32)[name]
    code, out, err = run("list", *arguments)
    assert len(ids(out)) == found
    assert (code, err) == ((0, "") if found else (1, "no instance matches\n"))


def test_a_filter_of_query_that_is_new_has_its_flag(run: Run) -> None:
    from hephaestus_pg import Filters

    said = run("list", "--help")[1]
    wanted = {name.replace("_", "-") for name in Filters.__annotations__} - {"status-in"}
    assert [name for name in wanted if f"--{name} " not in said and f"--{name}\n" not in said] == []


@pytest.mark.usefixtures("filled")
def test_json_is_an_object_a_line_with_the_same_keys(run: Run, migrated: str) -> None:
    code, out, err = run("list", "--json", "--limit", "2")
    assert code == 0
    assert err.startswith("more with --after ")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["id"] for row in rows] == ["order::5", "order::4"]
    assert [*rows[0]] == [
        "schema",
        "id",
        "workflow",
        "workflow_version",
        "status",
        "current_step",
        "state_bytes",
        "revision",
        "runner",
        "attempts",
        "due_at",
        "inserted_at",
        "updated_at",
        "runner_name",
        "cursor",
    ]
    assert rows[0]["schema"] == migrated
    again = run("list", "--json", "--limit", "1", "--after", rows[0]["cursor"])[1]
    assert json.loads(again) == rows[1]


def test_an_owner_is_shown_by_name_and_a_dead_one_as_dead(run: Run, do: Do, change: Change) -> None:
    async def own(storage: AsyncStorage) -> tuple[tuple[int, str, str], str]:
        import asyncio

        async with storage.runner(workflows=["Order"], name="worker-7") as runner:
            await runner.insert(order("order::1"))
            return await asyncio.to_thread(run, "list"), str(runner.token)

    (code, out, _), token = do(own)
    assert code == 0
    assert out.splitlines()[1].endswith("  worker-7")
    change(f"runner = '{token}'")
    assert run("list")[1].splitlines()[1].endswith(f"  dead ({token[:8]})")
    [row] = map(json.loads, run("list", "--json", "--runner", token)[1].splitlines())
    assert (row["runner"], row["runner_name"]) == (token, None)


def test_a_terminal_gets_lines_that_fit_and_a_pipe_whole_texts(
    run: Run, do: Do, terminal: Callable[[int], None]
) -> None:
    instance = Instance.new("Elixir.MyApp.Workflows.Payment.V2", {}, id=LONG_ID)
    do(lambda storage: storage.put(replace(instance, current_step="Elixir.MyApp.Steps.Charge")))
    assert LONG_ID in run("list")[1]
    for columns in (60, 80, 120):
        terminal(columns)
        lines = re.sub(r"\x1b\[\d+m", "", run("list")[1]).splitlines()
        assert max(map(len, lines)) <= columns
        assert re.match(r"order\S*…\S* ", lines[1])


@pytest.mark.usefixtures("filled")
def test_colours_are_for_terminals_that_want_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, terminal: Callable[[int], None]
) -> None:
    assert "\x1b" not in run("list")[1]
    terminal(80)
    assert "\x1b[31mfailed\x1b[0m" in run("list")[1]
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert "\x1b" not in run("list")[1]


@pytest.mark.usefixtures("filled")
def test_a_row_with_an_odd_moment_hides_no_other(run: Run, change: Change) -> None:
    odd = "inserted_at = '20000-01-01', updated_at = '-infinity', due_at = '20000-01-01'"
    change(odd, "order::3")
    code, out, err = run("list", "--limit", "1")
    assert (code, ids(out), err) == (0, ["order::3"], "more with another --limit\n")
    rows = [json.loads(line) for line in run("list", "--json")[1].splitlines()]
    assert (len(rows), rows[0]["inserted_at"], rows[0]["cursor"]) == (6, None, None)


@pytest.mark.usefixtures("filled")
def test_numbers_below_zero_are_shown_as_they_are(run: Run, change: Change) -> None:
    change("attempts = -3, workflow_version = -5", "order::3")
    row = json.loads(run("list", "--id", "order::3", "--json")[1])
    assert (row["attempts"], row["workflow_version"]) == (-3, -5)


def test_an_empty_table_is_no_table(run: Run) -> None:
    assert run("list") == (1, "", "no instance matches\n")
    assert run("list", "--json") == (1, "", "no instance matches\n")


@pytest.mark.parametrize(
    "arguments",
    (
        ("--status", "done"),
        ("--contains", "{"),
        ("--contains", "[]"),
        ("--contains", '{"context": {}}'),
        ("--runner", "worker-7"),
        ("--after", "nowhere"),
        ("--after", "nowhere", "--all-schemas"),
        ("--inserted-before", "soon"),
        ("--limit", "-1"),
        ("--watch", "0"),
        ("--timeout", "never"),
        ("--id", ""),
        ("--order-by", "size"),
    ),
)
def test_what_is_wrong_is_one_line(run: Run, arguments: tuple[str, ...]) -> None:
    code, out, err = run("list", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_memory_is_flat_however_many_there_are(
    run: Run, owner: Owner, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more rows wait to be printed than are measured."""
    from hephaestus_pg.cli.tables import ROWS_MEASURED, Table

    owner.execute(
        f"INSERT INTO {migrated}.workflow_instances (id, workflow, inserted_at, updated_at) "
        "SELECT 'x::' || n, 'Order', now(), now() FROM generate_series(1, 1200) AS n"
    )
    most = 0
    add = Table.add

    def counted(table: Table, *texts: str, **given: Any) -> None:
        nonlocal most
        add(table, *texts, **given)
        most = max(most, len(table._waiting))

    monkeypatch.setattr(Table, "add", counted)
    code, out, _ = run("list", "--limit", "0")
    assert (code, out.count("\n")) == (0, 1201)
    assert most < ROWS_MEASURED

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

from hephaestus_pg import (
    AsyncStorage,
    Context,
    Instance,
    Status,
)
from hephaestus_pg.__main__ import main
from hephaestus_pg.cli.terminal import progress, show_table
from hephaestus_pg.demo import command
from hephaestus_pg.demo.checks import STEPS, Check, Work, checks
from hephaestus_pg.demo.runner import (
    REFERENCES,
    Charge,
    Collect,
    Notify,
    Order,
    Pack,
    Reserve,
    Run,
    ready,
    with_step_completed,
)
from tests.support.catalog import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

WORK = [
    Work("order::1", step, runner=1, receipt=f"receipt of {step}", revision=1 + number)
    for number, step in enumerate(sorted(STEPS), start=1)
]
ORDER = Instance(
    "order::1",
    "demo.Order",
    status=Status.COMPLETED,
    context=Context({}, {work.step: {"receipt": work.receipt, "runner": 1} for work in WORK}),
)


def broken(found: list[Check]) -> list[str]:
    return [promise for promise, against in found if against]


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hephaestus_pg", "demo", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


async def demo_schemas(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'hephaestus_demo_%'"
        )
    finally:
        await connection.close()
    return [row["nspname"] for row in rows]


@pytest.mark.parametrize("runners", (1, 2))
def test_orders_survive_three_kills(database: str, runners: int) -> None:
    sizes = ("--instances", "40", "--runners", str(runners), "--seed", "1")
    done = run_demo("--dsn", database, *sizes)
    assert done.stderr == ""
    assert done.returncode == 0
    lines = dict(line.split("  ", 1) for line in done.stdout.splitlines() if "  " in line.strip())
    table = {label.strip(): value.strip() for label, value in lines.items()}
    assert done.stdout.count("killed after") == 3
    assert table["completed"] == "40"
    assert table["kills"] == "3"
    assert int(table["writes"]) >= 40 * (1 + len(STEPS))
    assert table["updates refused, another was first"].isdigit()  # how many is chance
    assert table["every instance completed"] == "yes"
    assert table["no acknowledged step lost"] == "yes"
    assert table["no step acknowledged twice"] == "yes"
    assert table["no acknowledged step run again"] == "yes"


@pytest.fixture
async def runs(dsn: str, migrated: str) -> AsyncIterator[list[Run]]:
    """Two runners' runs of one order."""
    async with (
        asyncpg.create_pool(dsn, min_size=1, server_settings={"search_path": migrated}) as pool,
        AsyncStorage.start(
            pool=pool, name=migrated, schema=migrated, references=REFERENCES
        ) as storage,
    ):
        await pool.execute(command._TABLES)
        order = await storage.insert(Instance.new(Order, {}, id="order::1"))
        yield [Run(storage, pool, runner, order) for runner in (1, 2)]


async def test_of_two_runners_that_do_a_step_at_once_one_records_it(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    await asyncio.gather(*(run._take(Reserve) for run in runs))
    [refused, acknowledged] = sorted(
        (json.loads(line) for line in capsys.readouterr().out.splitlines()), key=len
    )
    assert refused == ["refused"]
    order = runs[0]._order
    assert order == runs[1]._order
    assert order.completed_steps == {Reserve}
    result = order.context.steps["Reserve"]
    assert acknowledged == ["acknowledged", "order::1", "Reserve", *result.values(), order.revision]
    assert await runs[0]._pool.fetchval("SELECT count(*) FROM demo_ledger") == 2


async def test_a_step_that_another_runner_did_while_this_one_waited_is_left_alone(
    runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    slow, fast = runs
    await fast.update(Collect, lambda order: with_step_completed(order, Collect, {}))
    await fast._pool.execute("INSERT INTO demo_events VALUES ('order::1')")
    await slow._take(Collect)
    assert slow._order.status is Status.RUNNING
    assert capsys.readouterr().out == '["refused"]\n'
    assert await slow._pool.fetchval("SELECT count(*) FROM demo_ledger") == 0


async def test_a_death_that_is_due_already_comes_at_once(
    pool: asyncpg.Pool[asyncpg.Record],
    storage: AsyncStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it is where the runner before was heard of when it had done nearly all."""
    runner = tmp_path / "runner"
    runner.write_text("#!/bin/sh\nexec sleep 100\n")
    runner.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(runner))
    shop = command._Demo("", pool, storage, random.Random(1))
    shop._deaths.extend((0, 0, 1))
    async with asyncio.timeout(PATIENCE):
        assert await shop._dies(1)
        assert await shop._dies(2)
    assert list(shop._deaths) == [1]


async def test_a_given_server_is_left_as_it_was(database: str) -> None:
    assert run_demo("--dsn", database, "--instances", "2", "--kills", "0").returncode == 0
    assert await demo_schemas(database) == []


def test_without_a_server_it_starts_its_own() -> None:
    done = run_demo("--instances", "3", "--kills", "1")
    assert done.stderr == ""
    assert done.returncode == 0
    assert "starting a PostgreSQL of our own" in done.stdout


async def test_an_interrupted_demo_takes_its_runner_and_schema_with_it(database: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hephaestus_pg", "demo", "--dsn", database),
        *("--instances", "500", "--kills", "40"),  # for long enough
        # A shell's background jobs, such as these tests may be, have it ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        for text in (b"runner 1 killed", b" running"):
            while text not in (line := await process.stdout.readline()):
                assert line
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 130
    assert said == b"interrupted\n"
    assert await demo_schemas(database) == []


def test_a_runner_that_fails_is_an_error(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    assert command.main(["--dsn", database, "--instances", "1"]) == 2
    assert capsys.readouterr().err == "error: runner 1 ended with exit code 1\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    (
        (["--instances", "0"], "0 is below 1"),
        (["--kills", "many"], "invalid number value: 'many'"),
        (["--dsn", "postgresql://someone:secret@127.0.0.1:1/x"], "no connection to PostgreSQL"),
    ),
    ids=("too few", "not a number", "no server"),
)
def test_what_is_wrong_is_one_line_on_stderr(arguments: list[str], said: str) -> None:
    done = run_demo(*arguments)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert said in line
    assert "secret" not in line


def test_kept_promises_pass() -> None:
    assert broken(checks([ORDER], WORK, WORK)) == []


def test_an_order_that_is_not_complete_breaks_a_promise() -> None:
    running = replace(ORDER, status=Status.RUNNING)
    assert broken(checks([running], WORK, WORK)) == ["every instance completed"]
    steps = {"Reserve": ORDER.context.steps["Reserve"]}
    short = replace(ORDER, context=Context({}, steps))
    assert "every instance completed" in broken(checks([short], WORK, []))


def test_an_acknowledged_step_with_another_result_is_lost() -> None:
    forged = ORDER.context.put_step_result("Charge", {"receipt": "another", "runner": 2})
    found = checks([replace(ORDER, context=forged)], WORK, WORK)
    assert broken(found) == ["no acknowledged step lost"]
    assert "Charge of order::1 by runner 1" in found[1].against


def test_a_loss_seen_at_a_kill_counts_though_it_was_made_good() -> None:
    assert broken(checks([ORDER], WORK, WORK, [WORK[0]])) == ["no acknowledged step lost"]


def test_one_who_read_the_order_after_the_step_was_recorded_must_not_run_it_again() -> None:
    again = WORK[0]._replace(runner=2, receipt="another")
    assert broken(checks([ORDER], [*WORK, again], WORK)) == ["no acknowledged step run again"]


def test_one_who_acknowledged_the_step_must_not_run_it_again_whatever_it_read() -> None:
    again = WORK[0]._replace(receipt="another", revision=1)
    assert broken(checks([ORDER], [*WORK, again], WORK)) == ["no acknowledged step run again"]


def test_several_may_run_a_step_at_once_but_only_one_may_acknowledge_it() -> None:
    at_once = WORK[0]._replace(runner=2, receipt="another", revision=1)
    assert broken(checks([ORDER], [at_once, *WORK], WORK)) == []
    found = checks([ORDER], [at_once, *WORK], [*WORK, at_once])
    assert broken(found) == ["no acknowledged step lost", "no step acknowledged twice"]


def test_work_that_a_kill_cut_off_may_be_run_again() -> None:
    cut_off = WORK[0]._replace(runner=0, receipt="cut off", revision=1)
    assert broken(checks([ORDER], [cut_off, *WORK], WORK)) == []


def test_the_runner_takes_steps_in_their_order() -> None:
    assert ready(frozenset()) == {Reserve}
    assert ready(frozenset({Reserve})) == {Charge, Pack}
    assert ready(frozenset({Reserve, Charge})) == {Pack}
    assert ready(frozenset({Reserve, Charge, Pack})) == {Collect}
    assert ready(frozenset(Order.steps)) == frozenset()


def test_a_completed_step_is_all_in_the_instance() -> None:
    order = Instance.new(Order, {}, id="order::1")
    order = with_step_completed(order, Reserve, {"receipt": "1"})
    assert order.status is Status.RUNNING
    assert order.active_steps == {Charge, Pack}
    assert order.context.steps == {"Reserve": {"receipt": "1"}}
    for step in (Charge, Pack, Collect, Notify):
        order = with_step_completed(order, step, {})
    assert order.status is Status.COMPLETED
    assert order.active_steps == frozenset()
    assert [entry.step_ref for entry in order.execution_history] == list(Order.steps)


def test_the_runner_has_the_steps_that_the_checks_ask_for() -> None:
    assert {REFERENCES.to_name(step) for step in Order.steps} == {f"demo.{step}" for step in STEPS}


def test_elsewhere_a_line_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2) as view:
        for done in (0, 2, 2):
            view.show(done, "ok")
    assert capsys.readouterr().out.split("\n") == [
        "     0 of 2 steps; ok",
        "     2 of 2 steps; ok",
        "",
    ]


def test_a_terminal_gets_a_bar_and_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hephaestus_pg.cli.terminal._has_rich", lambda: True)
    with progress(5) as view:
        view.show(5, "all completed")
        view.say("runner 1 killed")
    show_table("1 order", [("kills", "1"), ("nothing lost", "yes"), ("and else", "no: 1")])
    printed = capsys.readouterr().out
    for said in ("5/5", "all completed", "runner 1 killed", "1 order", "nothing lost", "no: 1"):
        assert said in printed


def test_the_command_names_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "{demo,migrate,prune}" in capsys.readouterr().out


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["dance"])
    assert caught.value.code == 2
    assert "invalid choice: 'dance'" in capsys.readouterr().err


def test_migrate_is_handed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "sql"]) == 0
    assert "CREATE TABLE" in capsys.readouterr().out


def test_answers_name_a_few_of_what_speaks_against_a_promise() -> None:
    assert command._answer([]) == "yes"
    assert command._answer(["a", "b", "c", "d"]) == "no: 4, such as a; b; c"

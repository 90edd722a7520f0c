"""Makes the pictures of the page that the guide shows: ``python -m tests.web.pictures``.

They show two days of a small shop, in a server of this program's own.
"""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from hephaestus_pg import (
    AsyncStorage,
    Context,
    ExecutionEntry,
    Instance,
    Names,
    Status,
    migrations,
)
from hephaestus_pg.embedded import EmbeddedServer
from tests.web.browser import Browser, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER = Path(__file__).parents[2] / "benchmarks" / "results" / "web"
STEPS = ("shop.Reserve", "shop.Charge", "shop.Pack", "shop.Ship")
RETIMED = """
UPDATE workflow_instances
SET inserted_at = moments.inserted_at, updated_at = moments.updated_at
FROM unnest($1::text[], $2::timestamp[], $3::timestamp[]) AS moments (own, inserted_at, updated_at)
WHERE id = own
"""


def order(number: int, began: datetime, done: int, **fields: Any) -> Instance:
    """An order of which so many steps are done, each within minutes."""
    history, moment = [], began
    for step in STEPS[: done + 1]:
        for event in ("started", "completed") if step in STEPS[:done] else ("started",):
            updates = {"receipt": f"r-{number}"} if event == "completed" else None
            history.append(ExecutionEntry(step, event, moment, updates))
            moment += timedelta(seconds=random.randint(20, 400))
    current = STEPS[done] if done < len(STEPS) else None
    return replace(
        Instance.new("shop.Order", {}, id=f"order::{number}"),
        status=Status.COMPLETED if current is None else Status.RUNNING,
        current_step=current,
        active_steps=frozenset(STEPS[done : done + 1]),
        completed_steps=frozenset(STEPS[:done]),
        context=Context({"number": number}, {"charge": {"receipt": f"r-{number}", "fee": 0.3}}),
        step_configs={step: {"retries": 3} for step in STEPS},
        execution_history=tuple(history),
        **fields,
    )


def shop(now: datetime) -> list[Instance]:
    random.seed(18)
    hours = [h for h in range(30) for _ in range(20 + 3 * abs(15 - h) + random.randint(0, 20))]
    orders = [
        order(1000 + n, now - timedelta(hours=30 - h, minutes=random.randint(0, 59)), len(STEPS))
        for n, h in enumerate(hours)
    ]
    refunds = [
        replace(each, id=f"refund::{n}", workflow="shop.Refund", status=Status.FAILED)
        for n, each in enumerate(orders[::40])
    ]
    late = order(41, now - timedelta(hours=2), 1)
    return [*orders, *refunds, late, order(42, now - timedelta(minutes=12), 2)]


async def draw(dsn: str, folder: Path) -> None:
    await migrations.up(dsn, schema="public")
    now = datetime.now(UTC)
    async with AsyncStorage.start(dsn, references=Names()) as storage:
        stored = await storage.put_many(shop(now))
        moments = [
            [each.execution_history[place].timestamp.replace(tzinfo=None) for each in stored]
            for place in (0, -1)
        ]
        async with asyncpg.create_pool(dsn, min_size=1) as pool:
            await pool.execute(RETIMED, [each.id for each in stored], *moments)
            await pool.execute("VACUUM ANALYZE workflow_instances")
        async with (
            storage.runner(workflows=["shop.Order"], name="worker-1:4711") as runner,
            storage.runner(workflows=["shop.Order", "shop.Refund"], name="worker-2:4711"),
            serving(storage) as address,
        ):
            await runner.claim("order::42")
            with closing(Browser()) as browser:
                for name, path, size, scheme in (
                    ("overview", "", (900, 900), "light"),
                    ("instance", "instance?id=order::42", (640, 1000), "dark"),
                    ("phone", "instances?status=failed", (360, 720), "light"),
                ):
                    shape = {"width": size[0], "height": size[1]}
                    await browser.visit(
                        address + path,
                        partial(picture, folder / f"{name}.png"),
                        viewport=shape,
                        color_scheme=scheme,
                    )


def picture(file: Path, page: Page) -> None:
    for summary in page.get_by_text("Results of its steps").all():
        summary.click()
    page.screenshot(path=file)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with EmbeddedServer() as server:
        asyncio.run(draw(server.dsn, folder))

"""The service that the guide shows, in two processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from hephaestus_pg import migrations
from tests.support.catalog import WAIT_SECONDS
from tests.system.test_readme import GUIDE, blocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

MOST_LINES = 80

pytestmark = pytest.mark.skipif(not GUIDE.exists(), reason="there is no guide beside these tests")


def program() -> str:
    [found] = [block for block in blocks(GUIDE, "python") if "FastAPI(" in block]
    return found


class Service:
    """A process of it."""

    def __init__(self, folder: Path, dsn: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        arguments = ("service:app", "--port", self._port, "--log-level", "error")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", *arguments],
            cwd=folder,
            env=os.environ | {"HEPHAESTUS_PG_DSN": dsn},
        )
        comes(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None
        try:
            self.call("GET", "/acme/orders?status=failed")
        except OSError:
            return False
        return True

    def call(self, method: str, path: str) -> tuple[int, Any]:
        request = Request(f"http://127.0.0.1:{self._port}{path}", method=method)
        try:
            with urlopen(request, timeout=WAIT_SECONDS) as answer:
                return answer.status, json.load(answer)
        except HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)


def comes(there: Callable[[], object]) -> None:
    end = monotonic() + WAIT_SECONDS
    while not there():
        assert monotonic() < end
        sleep(0.02)


@pytest.fixture
async def services(database: str, tmp_path: Path) -> AsyncIterator[list[Service]]:
    pytest.importorskip("fastapi", reason="the group test is not installed")
    for tenant in ("acme", "globex"):
        await migrations.up(database, schema=tenant)
    (tmp_path / "service.py").write_text(program(), encoding="utf-8")
    with ExitStack() as stack:
        started = []
        for _ in range(2):
            started.append(Service(tmp_path, database))
            stack.callback(started[-1].process.wait)
            stack.callback(started[-1].process.kill)
        yield started


def test_it_is_short() -> None:
    assert len(program().splitlines()) < MOST_LINES


def test_an_order_is_placed_run_and_shown_by_any_of_its_processes(services: list[Service]) -> None:
    one, other = services
    status, order = one.call("POST", "/acme/orders?amount=5&wait=30")
    assert (status, order["status"], order["done"]) == (201, "completed", ["charge", "ship"])
    assert other.call("GET", f"/acme/orders/{order['id']}") == (200, order)
    status, page = other.call("GET", "/acme/orders?status=completed")
    assert (status, page["orders"]) == (200, [order])
    _, rest = other.call("GET", f"/acme/orders?status=completed&after={page['after']}")
    assert rest == {"orders": [], "after": None}


def test_one_that_takes_longer_than_the_caller_waits_is_accepted(services: list[Service]) -> None:
    status, order = services[0].call("POST", "/acme/orders?amount=5&wait=0.001")
    assert (status, order["done"]) == (202, [])


def test_tenants_see_nothing_of_each_other(services: list[Service]) -> None:
    one, _ = services
    _, order = one.call("POST", "/globex/orders?amount=5")
    assert one.call("GET", f"/acme/orders/{order['id']}")[0] == 404
    assert one.call("GET", f"/globex/orders/{order['id']}")[0] == 200
    assert one.call("GET", "/nobody/orders/x")[0] == 404


def test_what_is_wrong_is_the_callers_fault(services: list[Service]) -> None:
    wrong = {
        "?status=done": "status is 'done'",
        "?status=failed&after=nonsense": "after is 'nonsense'",
        "/%00": "id is ",
    }
    for path, said in wrong.items():
        status, answer = services[0].call("GET", f"/acme/orders{path}")
        assert status == 422
        assert said in answer["detail"]


def test_one_that_is_told_to_end_hands_over_what_it_runs(services: list[Service]) -> None:
    one, other = services
    ids = [one.call("POST", "/acme/orders?amount=5")[1]["id"] for _ in range(30)]
    one.process.send_signal(signal.SIGTERM)
    one.process.wait(WAIT_SECONDS)

    def done() -> bool:
        shown = [other.call("GET", f"/acme/orders/{id}")[1] for id in ids]
        return all(order["status"] == "completed" for order in shown)

    comes(done)

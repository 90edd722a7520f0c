"""Calls that share statements each keep their result, error, cancellation and context."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg.batching import batcher as batching_module
from hephaestus_pg.batching.batcher import Batcher
from tests.support.answering import STATEMENTS, Server, called, later, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus_pg.execution.statements import Statement

pytestmark = pytest.mark.quick


class TestSharing:
    async def test_a_call_on_an_idle_storage_goes_out_at_once_by_itself(
        self, server: Server
    ) -> None:
        [task] = called(Batcher(server.run), "get", "a")
        await settle()
        assert server.sent == [("get", ["a"])]
        server.answer()
        assert await task == {"id": "a"}

    async def test_calls_made_meanwhile_go_out_as_one_statement(self, server: Server) -> None:
        batcher = Batcher(server.run, num_workers=1)
        first = called(batcher, "get", "a")
        rest = called(batcher, "get", *"bcd", "none")
        await settle()
        assert server.sent == [("get", ["a"])]

        server.answer()
        await settle()
        assert server.sent[1:] == [("get_many", ["b", "c", "d", "none"])]
        server.answer()

        assert await asyncio.gather(*first, *rest) == [*({"id": id} for id in "abcd"), None]

    async def test_a_statement_holds_calls_of_one_kind_the_oldest_first(
        self, server: Server
    ) -> None:
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "get", "a") + called(batcher, "put", "b", "c")
        tasks += called(batcher, "get", "d", "e") + called(batcher, "put", "f")
        await server.answer_all()

        assert server.sent == [
            ("get", ["a"]),
            ("put_many", ["b", "c", "f"]),
            ("get_many", ["d", "e"]),
        ]
        await asyncio.gather(*tasks)

    async def test_calls_are_shared_among_free_workers(self, server: Server) -> None:
        batcher = Batcher(server.run, num_workers=3)
        tasks = called(batcher, "get", *(f"{n}" for n in range(61)))
        await settle()

        assert [len(ids) for _, ids in server.sent] == [1, 21, 21]
        await server.answer_all()
        assert len(await asyncio.gather(*tasks)) == 61

    async def test_of_many_writes_a_share_waits_and_goes_out_before_others_are_answered(
        self, server: Server
    ) -> None:
        answered = 0
        answered_when_sent: list[int] = []

        async def run(*given: Any) -> Any:
            answered_when_sent.append(answered)
            return await server.run(*given)

        batcher = Batcher(run, num_workers=1)

        async def put(id: str) -> None:
            nonlocal answered
            await batcher.row(later(), STATEMENTS.put, id)
            answered += 1

        tasks = [asyncio.create_task(put(f"{n}")) for n in range(61)]
        await server.answer_all()
        await asyncio.gather(*tasks)

        assert [len(ids) for _, ids in server.sent] == [1, 30, 30]
        assert answered_when_sent == [0, 1, 1]

    async def test_a_few_that_wait_go_with_what_those_who_are_answered_ask_next(
        self, server: Server
    ) -> None:
        batcher = Batcher(server.run, num_workers=1)

        async def put_and_get(id: str) -> None:
            await batcher.row(later(), STATEMENTS.put, id)
            await batcher.row(later(), STATEMENTS.get, id)

        tasks = [asyncio.create_task(put_and_get(f"{n}")) for n in range(10)]
        tasks += called(batcher, "get", *"abcde")
        await server.answer_all()
        await asyncio.gather(*tasks)

        assert [len(ids) for _, ids in server.sent] == [1, 9, 15]

    async def test_nothing_is_left_behind(self, server: Server) -> None:
        batcher = Batcher(server.run)
        tasks = called(batcher, "get", *"abcabcabc")
        await server.answer_all()
        await asyncio.gather(*tasks)

        assert batcher.ids_held == 0
        assert batcher.statements_under_way == 0
        assert (batcher.statements_under_way, batcher.calls_inside) == (0, 0)


class TestSlowStatements:
    async def test_a_statement_that_takes_long_keeps_no_worker_from_others(
        self, server: Server
    ) -> None:
        batcher = Batcher(server.run, num_workers=2, slow_after=0.01)
        stuck = called(batcher, "put", "a") + called(batcher, "delete", "b")
        others = called(batcher, "get", "c")
        await settle()
        assert server.sent[:2] == [("put", ["a"]), ("delete", ["b"])]

        while len(server.sent) < 3:
            await asyncio.sleep(0.001)
        assert server.sent[2:] == [("get", ["c"])]
        server.waiting.pop().set_result(None)
        assert await others[0] == {"id": "c"}
        await server.answer_all()
        await asyncio.gather(*stuck)
        assert (batcher.statements_under_way, batcher.calls_inside) == (0, 0)

    async def test_workers_are_limited_all_the_same(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(batching_module, "MAX_WORKERS", 3)
        batcher = Batcher(server.run, num_workers=1, slow_after=0)
        tasks = called(batcher, "get", "a", "a1")
        for name in ("b", "c", "d", "e"):
            await settle()
            tasks += called(batcher, f"get_{name}", name)
        await asyncio.sleep(0.01)
        await settle()

        assert [ids for _, ids in server.sent] == [["a"], ["a1"], ["b"], ["c"]]
        await server.answer_all()
        assert len(await asyncio.gather(*tasks)) == 6
        assert (batcher.statements_under_way, batcher.calls_inside) == (0, 0)

    async def test_a_worker_whose_place_others_have_takes_nothing_more(
        self, server: Server, elapse: Callable[[float], None]
    ) -> None:
        batcher = Batcher(server.run, num_workers=1, slow_after=10)
        tasks = []
        for id in "abc":
            elapse(15)
            tasks += called(batcher, "get", id)
            await settle()
        tasks += called(batcher, "get", "d")
        await settle()
        server.waiting[1].set_result(None)
        await settle()
        assert [ids for _, ids in server.sent] == [["a"], ["b"], ["c"]]

        await server.answer_all()
        assert len(await asyncio.gather(*tasks)) == 4


class TestCancellation:
    async def test_cancelled_while_it_waits_it_is_not_sent(self, server: Server) -> None:
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "put", "a", "b", "c", "c", "d")
        await settle()
        for task in (tasks[1], tasks[2]):
            task.cancel()
        await server.answer_all()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [(statement, sorted(ids)) for statement, ids in server.sent] == [
            ("put", ["a"]),
            ("put_many", ["c", "d"]),
        ]
        assert [type(answer) for answer in answers].count(asyncio.CancelledError) == 2
        assert batcher.ids_held == 0

    async def test_cancelled_on_its_way_nobody_else_notices(self, server: Server) -> None:
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "put", "a", "b", "c", "d")
        await settle()
        server.answer()
        await settle()
        tasks[2].cancel()
        await settle()
        later = called(batcher, "get", "c")  # still behind the put that is under way
        await settle()
        assert server.sent == [("put", ["a"]), ("put_many", ["b", "c", "d"])]
        await server.answer_all()

        assert list(await asyncio.gather(tasks[0], tasks[1], tasks[3])) == [
            {"id": id} for id in "abd"
        ]
        assert await later[0] == {"id": "c"}
        assert tasks[2].cancelled()

    async def test_a_lone_call_that_is_cancelled_frees_its_id(self, server: Server) -> None:
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "put", "a", "a")
        await settle()
        tasks[0].cancel()
        await server.answer_all()

        assert await tasks[1] == {"id": "a"}
        assert batcher.ids_held == 0


async def test_a_callers_context_is_not_the_others(server: Server) -> None:
    caller: ContextVar[str] = ContextVar("caller", default="nobody")
    seen: list[str] = []

    async def run(deadline: float, statement: Statement, *arguments: Any) -> Any:
        seen.append(caller.get())
        return await server.run(deadline, statement, *arguments)

    batcher = Batcher(run, num_workers=1)

    async def call(name: str) -> str:
        caller.set(name)
        await batcher.row(later(), STATEMENTS.get, name)
        return caller.get()

    tasks = [asyncio.create_task(call(name)) for name in "abc"]
    await server.answer_all()

    assert await asyncio.gather(*tasks) == list("abc")
    assert seen == ["a", "nobody"]  # alone in its own, together in none

"""A statement that calls share fails only those who would fail alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import ConflictError, OperationTimeoutError, UnavailableError
from hephaestus_pg.batching.batcher import Batcher
from tests.support.answering import Server, call, called, later, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus_pg.execution.statements import Statement

pytestmark = pytest.mark.quick


class TestFailure:
    async def test_one_bad_row_fails_alone(self, server: Server) -> None:
        server.poison = {"bad"}
        batcher = Batcher(server.run, num_workers=1)
        ids = ["first", *(f"{n}" for n in range(9)), "bad", *(f"{n}" for n in range(10, 20))]
        tasks = called(batcher, "put", *ids)
        await server.answer_all()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        failed = [id for id, got in zip(ids, answers, strict=True) if isinstance(got, Exception)]
        assert failed == ["bad"]
        assert len(server.sent) < len(ids)  # by halves, not one by one

    async def test_an_error_of_the_whole_reaches_each_caller_as_its_own(
        self, server: Server
    ) -> None:
        cause = ConnectionResetError()
        server.error = UnavailableError("gone", applied="no", retryable=True)
        server.error.__cause__ = cause
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "put", *"abcd")
        await server.answer_all()
        errors = await asyncio.gather(*tasks, return_exceptions=True)

        assert [str(error) for error in errors] == ["gone"] * 4
        assert len({id(error) for error in errors}) == 4
        assert all(isinstance(error, UnavailableError) for error in errors)
        assert {getattr(error, "__cause__", None) for error in errors} == {cause}
        assert batcher.ids_held == 0

    async def test_what_may_have_been_applied_is_not_sent_by_halves(self, server: Server) -> None:
        server.error = ConflictError("who knows", applied="unknown", retryable=True)
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "update", *"abcd")
        await server.answer_all()
        errors = await asyncio.gather(*tasks, return_exceptions=True)

        assert [ids for _, ids in server.sent] == [["a"], ["b", "c", "d"]]
        assert [getattr(error, "applied", None) for error in errors] == ["unknown"] * 4

    async def test_halves_for_which_too_little_time_is_left_are_not_sent(
        self, server: Server, elapse: Callable[[float], None]
    ) -> None:
        server.error = OperationTimeoutError("too slow", applied="no", retryable=True)
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "update", *"abcd")  # with a minute each
        await settle()
        server.answer()
        await settle()
        elapse(40)
        await server.answer_all()
        errors = await asyncio.gather(*tasks, return_exceptions=True)

        assert [ids for _, ids in server.sent] == [["a"], ["b", "c", "d"]]
        assert [str(error) for error in errors] == ["too slow"] * 4


async def test_a_statement_has_the_time_of_the_call_that_has_most(server: Server) -> None:
    given: list[float] = []

    async def run(deadline: float, statement: Statement, *arguments: Any) -> Any:
        given.append(deadline)
        return await server.run(deadline, statement, *arguments)

    batcher = Batcher(run, num_workers=1)
    first = later()
    deadlines = (first, first + 10, first + 30, first + 20)
    tasks = [
        call(batcher, "put", id, deadline=deadline)
        for id, deadline in zip("abcd", deadlines, strict=True)
    ]
    await server.answer_all()
    await asyncio.gather(*tasks)
    assert given == [first, first + 30]

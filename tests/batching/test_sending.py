"""A statement that calls share fails only those who would fail alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg import (
    UnavailableError,
)
from hephaestus_pg.batching.batcher import Batcher
from tests.support.answering import Server, called

if TYPE_CHECKING:
    import asyncpg

    Pool = asyncpg.Pool[asyncpg.Record]

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

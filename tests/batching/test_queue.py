"""The queue: requests go out together by statement, and by their turns for each id."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg.batching import queue as queue_module
from hephaestus_pg.batching.admission import Admission, Limit
from hephaestus_pg.batching.batcher import Batcher
from hephaestus_pg.batching.queue import MIN_BATCH, MIN_PREFETCH, Request, RequestQueue
from tests.support.answering import STATEMENTS, Server, call, called, later, settle

if TYPE_CHECKING:
    from hephaestus_pg.execution.statements import Statement

pytestmark = pytest.mark.quick


class TestOrder:
    async def test_calls_for_one_id_are_sent_one_after_another(self, server: Server) -> None:
        batcher = Batcher(server.run, num_workers=3)
        tasks = called(batcher, "put", "a", "a") + called(batcher, "get", "a")
        tasks += called(batcher, "delete", "a") + called(batcher, "put", "b")
        seen = []
        for _ in range(5):
            await settle()
            seen.append([ids for _, ids in server.sent])
            server.answer()

        assert seen[0] == [["a"], ["b"]]
        assert [statement for statement, ids in server.sent if "a" in ids] == [
            "put",
            "put",
            "get",
            "delete",
        ]
        await asyncio.gather(*tasks)

    async def test_an_id_is_never_twice_in_one_statement(self, server: Server) -> None:
        batcher = Batcher(server.run, num_workers=2)
        tasks = called(batcher, "put", *(id for _ in range(5) for id in "abcdefgh"))
        await server.answer_all()
        await asyncio.gather(*tasks)

        assert all(len(set(ids)) == len(ids) for _, ids in server.sent)
        assert Counter(id for _, ids in server.sent for id in ids) == dict.fromkeys("abcdefgh", 5)

    async def test_a_statement_is_limited_in_rows_and_bytes(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(queue_module, "MAX_ROWS", 10)
        monkeypatch.setattr(queue_module, "MAX_CHARS", 100)
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "get", *(f"{n}" for n in range(25)))
        for n in range(6):
            tasks.append(call(batcher, "put", f"p{n}", "x" * 40))
        await server.answer_all()

        assert [len(ids) for _, ids in server.sent] == [1, 10, 3, 10, 3, 4]
        await asyncio.gather(*tasks)


class Queue:
    """A queue for so many workers, and what it admits."""

    def __init__(self, num_workers: int = 1) -> None:
        self.admission = Admission(Limit(1000))
        self.queue = RequestQueue(num_workers, self.admission)

    def add(self, *ids: str, statement: Statement = STATEMENTS.put) -> list[Request]:
        loop = asyncio.get_running_loop()
        added = [Request(loop.create_future(), later(), statement, (id,)) for id in ids]
        for request in added:
            self.admission.inside += 1
            self.queue.add(request)
        return added

    def next_ids(self) -> list[str]:
        return [request.id for request in self.queue.next_batch()]


class TestTurns:
    async def test_a_later_request_for_an_id_waits_until_the_earlier_has_ended(self) -> None:
        given = Queue()
        first, second, other = given.add("a", "a", "b")

        assert given.next_ids() == ["a", "b"]
        assert not given.queue.has_ready
        given.queue.end([first, other])
        assert given.next_ids() == ["a"]
        given.queue.end([second])
        assert (given.queue.held_ids, given.admission.inside) == (0, 0)

    async def test_a_request_that_ends_twice_counts_once(self) -> None:
        given = Queue()
        requests = given.add("a", "b")
        given.queue.next_batch()
        given.queue.end(requests)
        given.queue.end(requests)
        assert given.admission.inside == 0

    async def test_a_request_that_was_given_up_is_left_out_and_lets_the_next_one_go(self) -> None:
        given = Queue()
        gone, *_ = given.add("a", "a", "b")
        gone.answer.cancel()
        assert sorted(given.next_ids()) == ["a", "b"]
        assert given.admission.inside == 2

    async def test_a_call_that_was_never_queued_holds_its_id_too(self) -> None:
        given = Queue()
        given.admission.inside += 1
        given.queue.hold("a")
        given.add("a")
        assert not given.queue.has_ready
        given.queue.release("a")
        assert given.next_ids() == ["a"]

    async def test_the_statement_that_has_waited_longest_is_next(self) -> None:
        given = Queue()
        given.add("a", "b")
        given.add("c", statement=STATEMENTS.get)
        given.add("d")
        assert [given.next_ids(), given.next_ids()] == [["a", "b", "d"], ["c"]]


class TestSizes:
    @pytest.mark.parametrize(
        ("requests", "workers", "statement", "size"),
        (
            (MIN_BATCH, 2, STATEMENTS.put, MIN_BATCH),  # too few to divide
            (30, 2, STATEMENTS.put, 15),  # a part for each worker
            (60, 2, STATEMENTS.put, 20),  # and one to prefetch
            (60, 2, STATEMENTS.get, 30),  # of reads none is prefetched
            (1000, 1, STATEMENTS.put, 256),
        ),
    )
    async def test_a_batch_is_a_workers_part(
        self, requests: int, workers: int, statement: Statement, size: int
    ) -> None:
        given = Queue(workers)
        given.add(*(f"{n}" for n in range(requests)), statement=statement)
        assert len(given.queue.next_batch()) == size

    async def test_only_what_is_worth_a_statement_is_prefetched(self) -> None:
        given = Queue()
        given.add(*(f"{n}" for n in range(MIN_PREFETCH - 1)))
        assert not given.queue.has_prefetch
        given.add("one more")
        assert given.queue.has_prefetch

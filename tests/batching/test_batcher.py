"""What sharing statements must not change, first with a server of the test's own, then for real."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import (
    AsyncStorage,
    ConflictError,
    Context,
    Instance,
    InstanceExistsError,
    OperationTimeoutError,
    RejectedError,
    StaleInstanceError,
    Status,
    StorageClosedError,
    UnavailableError,
)
from hephaestus_pg.batching import batcher as batching_module
from hephaestus_pg.batching import queue as calls_module
from hephaestus_pg.batching.batcher import Batcher
from hephaestus_pg.execution.statements import Statement, statements_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg

    from tests.support.faults import Faults
    from tests.support.starting import Start

    Pool = asyncpg.Pool[asyncpg.Record]

Rows = list[dict[str, Any]]

STATEMENTS = statements_of("public")


class Server:
    """Answers statements when it is told to, and keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.poison: set[str] = set()
        self.error: Exception | None = None

    async def run(self, deadline: float, statement: Statement, *arguments: Any) -> Any:
        del deadline
        ids = arguments[0] if statement.is_batch else [arguments[0]]
        self.sent.append((statement.name, ids))
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        await turn
        if self.error is not None:
            raise self.error
        if self.poison & set(ids):
            raise RejectedError("refused", applied="no", retryable=False)
        return [{"id": id} for id in ids if not id.startswith("none")]

    def answer(self) -> None:
        """Answer the oldest statement that waits."""
        turn = self.waiting.popleft()
        if not turn.done():
            turn.set_result(None)

    async def answer_all(self) -> None:
        while True:
            await settle()
            if not self.waiting:
                return
            self.answer()


def later() -> float:
    """A deadline that does not matter."""
    return asyncio.get_running_loop().time() + 60


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def call(
    batcher: Batcher, statement: str, *arguments: Any, deadline: float | None = None
) -> asyncio.Task[Any]:
    async def caller() -> Any:
        return await batcher.row(
            later() if deadline is None else deadline, named(statement), *arguments
        )

    return asyncio.create_task(caller())


def named(statement: str) -> Statement:
    given: Statement | None = getattr(STATEMENTS, statement, None)
    return given or replace(STATEMENTS.get, name=statement)


def called(batcher: Batcher, statement: str, *ids: str) -> list[asyncio.Task[Any]]:
    return [call(batcher, statement, id) for id in ids]


@pytest.fixture
def server() -> Server:
    return Server()


class TestGathering:
    async def test_a_call_on_an_idle_storage_goes_out_at_once_by_itself(
        self, server: Server
    ) -> None:
        [task] = called(Batcher(server.run), "get", "a")
        await settle()
        assert server.sent == [("get", ["a"])]
        server.answer()
        assert await task == {"id": "a"}

    async def test_what_gathers_meanwhile_goes_out_as_one_statement(self, server: Server) -> None:
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

    async def test_a_statement_is_limited_in_rows_and_bytes(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calls_module, "MAX_ROWS", 10)
        monkeypatch.setattr(calls_module, "MAX_BYTES", 100)
        batcher = Batcher(server.run, num_workers=1)
        tasks = called(batcher, "get", *(f"{n}" for n in range(25)))
        for n in range(6):
            tasks.append(call(batcher, "put", f"p{n}", "x" * 40))
        await server.answer_all()

        assert [len(ids) for _, ids in server.sent] == [1, 10, 3, 10, 3, 4]
        await asyncio.gather(*tasks)

    async def test_nothing_is_left_behind(self, server: Server) -> None:
        batcher = Batcher(server.run)
        tasks = called(batcher, "get", *"abcabcabc")
        await server.answer_all()
        await asyncio.gather(*tasks)

        assert batcher.ids_held == 0
        assert batcher.statements_under_way == 0
        assert (batcher.statements_under_way, batcher.calls_inside) == (0, 0)


class TestPatience:
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


class TestBackPressure:
    async def test_past_the_bound_callers_wait_their_turn_in_order(self, server: Server) -> None:
        batcher = Batcher(server.run, num_workers=1, max_waiting=3)
        tasks = called(batcher, "put", *"abcdefgh")
        await settle()
        assert batcher.calls_inside == 3
        assert batcher.calls_outside == 5
        tasks[5].cancel()
        await server.answer_all()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [id for _, ids in server.sent for id in ids] == list("abcdegh")
        assert isinstance(answers[5], asyncio.CancelledError)
        assert (batcher.calls_inside, batcher.calls_outside) == (0, 0)

    async def test_a_place_given_to_a_cancelled_caller_goes_on_to_the_next(
        self, server: Server
    ) -> None:
        batcher = Batcher(server.run, num_workers=1, max_waiting=1)
        tasks = called(batcher, "put", *"abcd")
        await settle()
        server.answer()
        await settle()
        outside = batcher.calls_outside
        server.answer()
        while batcher.calls_outside == outside:  # until b is answered, and c is given its place
            await asyncio.sleep(0)
        tasks[2].cancel()
        await server.answer_all()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [id for _, ids in server.sent for id in ids] == list("abd")
        assert isinstance(answers[2], asyncio.CancelledError)
        assert (batcher.calls_inside, batcher.calls_outside) == (0, 0)


async def test_each_call_has_a_deadline_of_its_own(server: Server) -> None:
    batcher = Batcher(server.run, num_workers=1, slow_after=60)
    now = asyncio.get_running_loop().time()
    first, sent, *waiting = (
        call(batcher, "put", id, deadline=now + seconds)
        for id, seconds in (("a", 60), ("b", 60), ("c", 60), ("d", 0.1), ("e", 0.2))
    )
    ended: list[asyncio.Task[Any]] = []
    for task in waiting:
        task.add_done_callback(ended.append)
    await settle()
    server.answer()  # the rest go out as one statement
    await settle()

    with pytest.raises(OperationTimeoutError, match="under way"):
        await waiting[1]
    with pytest.raises(OperationTimeoutError, match="under way"):
        await waiting[2]
    assert ended == waiting[1:]
    assert not sent.done()
    late = call(batcher, "put", "f", deadline=now + 0.3)
    with pytest.raises(OperationTimeoutError, match="before") as caught:
        await late
    assert caught.value.applied == "no"
    await server.answer_all()
    assert [row and row["id"] for row in await asyncio.gather(first, sent, waiting[0])] == [*"abc"]
    batcher.stop_timer()


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


def order(id: str, **fields: Any) -> Instance:
    return Instance(id, "Order", **fields)


class TestForReal:
    async def test_calls_for_one_id_take_effect_in_order(self, storage: AsyncStorage) -> None:
        calls: list[Any] = []
        for n in range(40):
            for id in ("a", "b"):
                calls += [storage.put(order(id, context=Context({"n": n}))), storage.get(id)]
        results = await asyncio.gather(*calls)

        for at, id in enumerate(("a", "b")):
            puts, gets = results[2 * at :: 4], results[2 * at + 1 :: 4]
            first = puts[0].revision
            assert [put.revision for put in puts] == list(range(first, first + 40))
            assert [got.context.initial["n"] for got in gets] == list(range(40))
            assert {got.id for got in gets} == {id}

    @pytest.mark.parametrize("callers", (1, 64, 1000))
    async def test_every_verb_answers_each_caller_for_itself(
        self, storage: AsyncStorage, callers: int
    ) -> None:
        async def live(n: int) -> None:
            id = f"x::{n}"
            inserted = await storage.insert(order(id, context=Context({"n": n})))
            with pytest.raises(InstanceExistsError) as exists:
                await storage.insert(order(id))
            assert exists.value.id == id
            updated = await storage.update(replace(inserted, status=Status.RUNNING))
            with pytest.raises(StaleInstanceError) as stale:
                await storage.update(inserted)
            assert stale.value.id == id
            assert (stale.value.expected, stale.value.found) == (
                inserted.revision,
                updated.revision,
            )
            done = await storage.put(replace(updated, status=Status.COMPLETED))
            assert await storage.get(id) == done
            again = await storage.insert(order(id), replace_finished=True)
            first = inserted.revision or 0
            revisions = [each.revision for each in (updated, done, again)]
            assert revisions == [first + 1, first + 2, first + 3]
            with pytest.raises(StaleInstanceError):
                await storage.delete(id, revision=done.revision)
            assert await storage.delete(id, revision=again.revision) is True
            assert await storage.delete(id) is False
            assert await storage.get(id) is None

        await asyncio.gather(*map(live, range(callers)))
        assert await storage.count() == 0

    async def test_a_row_that_the_server_refuses_fails_alone(
        self, storage: AsyncStorage, pool: Pool
    ) -> None:
        await pool.execute(
            f"ALTER TABLE {storage.schema}.workflow_instances"
            ' ADD CHECK (NOT state @> \'{"runtime_metadata": {"poison": true}}\')'
        )
        instances = [order(f"x::{n:02}") for n in range(50)]
        instances[30] = replace(instances[30], runtime_metadata={"poison": True})

        results = await asyncio.gather(*map(storage.put, instances), return_exceptions=True)

        assert [n for n, got in enumerate(results) if isinstance(got, Exception)] == [30]
        assert isinstance(results[30], RejectedError)
        assert await storage.count() == 49

    async def test_locked_rows_hold_up_no_other_row(self, storage: AsyncStorage) -> None:
        first = {id: (await storage.insert(order(id))).revision or 0 for id in "abc"}
        async with storage.transaction() as transaction:
            await transaction.put_many([order("a"), order("b")])
            waiting = [asyncio.create_task(storage.put(order("a")))]
            await asyncio.sleep(0)
            waiting.append(asyncio.create_task(storage.put(order("b"))))
            await asyncio.sleep(0)
            # Both wait for this very transaction.
            found = await storage.get("c")
            assert found is not None
            assert not any(task.done() for task in waiting)
        assert [(await task).revision for task in waiting] == [first["a"] + 2, first["b"] + 2]

    @pytest.mark.parametrize("verb", ("put", "insert", "update", "delete"))
    async def test_a_locked_row_holds_up_no_neighbour_in_its_statement(
        self, storage: AsyncStorage, verb: str
    ) -> None:
        held = await asyncio.gather(*(storage.put(order(f"x::{n:02}")) for n in range(30)))
        calls: dict[str, Callable[[Instance], Awaitable[object]]] = {
            "put": storage.put,
            "insert": storage.insert,
            "update": storage.update,
            "delete": lambda instance: storage.delete(instance.id),
        }
        async with storage.transaction() as transaction:
            await transaction.connection.execute(
                f"SELECT FROM {storage.schema}.workflow_instances WHERE id = 'x::17' FOR UPDATE"
            )
            first = asyncio.ensure_future(storage.get("x::00"))
            await asyncio.sleep(0)  # it is under way: the others gather
            tasks = [asyncio.ensure_future(calls[verb](instance)) for instance in held]
            await asyncio.wait([*tasks[:17], *tasks[18:]])
            assert not tasks[17].done()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        failed = {type(result) for result in results if isinstance(result, Exception)}
        assert failed == ({InstanceExistsError} if verb == "insert" else set())

    async def test_what_may_happen_twice_is_tried_again_together_too(
        self, storage: AsyncStorage, faults: Faults
    ) -> None:
        changed = ConflictError("the schema changed", applied="unknown", retryable=True)
        faults.fail("put_many", changed)
        puts = await asyncio.gather(*(storage.put(order(f"x::{n}")) for n in range(9)))

        assert faults.tried == ["put", "put_many", "put_many"]
        assert await storage.get_many(put.id for put in puts) == {put.id: put for put in puts}

    async def test_what_is_stored_is_what_was_passed_at_the_call(
        self, storage: AsyncStorage
    ) -> None:
        context = {"n": 1}
        puts = [asyncio.ensure_future(storage.put(order(f"x::{n}"))) for n in range(20)]
        last = asyncio.ensure_future(storage.put(Instance.new("W", context, id="last")))
        await asyncio.sleep(0)
        context["n"] = 2
        await asyncio.gather(*puts, last)

        read = await storage.get("last")
        assert read is not None
        assert read.context.initial == {"n": 1}

    async def test_closing_drains(self, start: Start) -> None:
        storage = await start()
        puts = [asyncio.ensure_future(storage.put(order(f"x::{n}"))) for n in range(300)]
        await asyncio.sleep(0)
        await storage.close()

        assert all(put.done() for put in puts)
        assert {(await put).id for put in puts} == {f"x::{n}" for n in range(300)}
        with pytest.raises(StorageClosedError):
            await storage.put(order("late"))

    async def test_cancels_at_random_leave_no_wrong_answer(self, storage: AsyncStorage) -> None:
        import random

        moments = random.Random(20261122)
        answered = 0

        async def call(n: int) -> None:
            nonlocal answered
            id = f"x::{n % 50}"
            got = await storage.put(order(id)) if n % 2 else await storage.get(id)
            assert got is None or got.id == id
            answered += 1

        for _ in range(30):
            tasks = [asyncio.create_task(call(n)) for n in range(100)]
            for task in moments.sample(tasks, 50):
                await asyncio.sleep(moments.choice((0, 0, 0.0005)))
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert answered >= 30 * 50
        stats = await storage.stats()
        assert stats.is_idle
        assert max(stats.batch_sizes) > 1
        assert await storage.count() <= 50

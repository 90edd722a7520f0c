from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands.conftest import EXHAUSTED
from tests.support.instances import order

if TYPE_CHECKING:
    from hephaestus_pg import AsyncStorage, Instance
    from tests.commands.conftest import Change, Do
    from tests.support.commands import Run

pytestmark = pytest.mark.quick


@pytest.fixture
def exhausted(do: Do, change: Change) -> str:
    do(lambda storage: storage.put(order("order::1")))
    change(EXHAUSTED)
    return "order::1"


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answers to the questions to come, on a terminal."""
    answers: list[str] = []

    def asked(question: str) -> str:
        print(question)
        if not answers:
            raise EOFError
        return answers.pop()

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", asked)
    return answers


def claimable(do: Do, id: str) -> bool:
    async def claim(storage: AsyncStorage) -> bool:
        async with storage.runner(workflows=["Order"]) as runner:
            return await runner.claim(id) is not None

    return bool(do(claim))


def test_it_says_what_will_happen_and_asks(
    run: Run, do: Do, exhausted: str, answer: list[str]
) -> None:
    answer[:] = ["y"]
    code, out, err = run("release", exhausted)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "order::1: nobody owns it, after 5 failed attempts, which would be forgotten",
        "release them? [y/N] ",
        "order::1: released",
    ]
    assert claimable(do, exhausted)


@pytest.mark.parametrize("given", (["n"], [""], []), ids=("no", "nothing", "end of input"))
def test_another_answer_is_a_no(
    run: Run, do: Do, exhausted: str, answer: list[str], given: list[str]
) -> None:
    answer[:] = given
    code, out, err = run("release", exhausted)
    assert (code, err) == (1, "")
    assert out.endswith("nothing is released\n")
    assert not claimable(do, exhausted)


def test_an_owner_that_lives_is_named_and_loses_it(run: Run, do: Do) -> None:
    async def own(storage: AsyncStorage) -> Any:
        async with storage.runner(workflows=["Order"], name="worker\x1b7", lease=60) as runner:
            claim = await runner.insert(order("order::1"))
            done = await asyncio.to_thread(run, "release", "order::1", "--yes")
            stored = await storage.get("order::1")
            return claim.token, done, stored, runner.token

    token, (code, out, err), stored, runner = do(own)
    held: Instance = stored
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert re.fullmatch(
        rf"order::1: owned by worker\\x1b7 \({runner}\), lease [56]\ds left, which would lose it",
        first,
    )
    assert second == "order::1: released"
    assert held.runner is None
    assert held.revision is not None
    assert held.revision > token


def test_a_dead_owner_is_called_so(run: Run, do: Do, change: Change) -> None:
    do(lambda storage: storage.put(order("order::1")))
    change("runner = '0191e0a4-5b0c-7d3e-8f00-000000000001'")
    code, out, _ = run("release", "order::1", "--yes")
    assert code == 0
    assert out.startswith("order::1: owned by a runner that is dead (")
    assert out.endswith("), and by nobody then\norder::1: released\n")


def test_what_cannot_be_released_is_said_on_stderr(run: Run, do: Do, exhausted: str) -> None:
    do(lambda storage: storage.put(order("order\n::2")))
    code, out, err = run("release", "order\n::2", exhausted, "order::3", "--yes")
    assert (code, out.count("\n")) == (0, 2)
    assert err == (
        "order\\n::2: nobody owns it, and no attempt has failed\nthere is no instance order::3\n"
    )
    code, out, err = run("release", exhausted, "order::3", "--yes")
    assert (code, out, err.count("\n")) == (1, "", 2)


def test_json_is_an_object_for_each(run: Run, exhausted: str, migrated: str) -> None:
    code, out, err = run("release", exhausted, "--yes", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"schema": migrated, "id": exhausted, "released": True}


def test_one_that_was_released_meanwhile_is_no_success(
    run: Run, do: Do, exhausted: str, answer: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def confirmed(question: str) -> bool:
        do(lambda storage: storage.release(exhausted))
        return True

    monkeypatch.setattr("hephaestus_pg.cli.options.confirmed", confirmed)
    code, out, _ = run("release", exhausted)
    assert (code, out.splitlines()[-1]) == (1, "order::1: nobody owns it by now")


def test_one_that_another_runner_claimed_meanwhile_is_left_to_it(
    run: Run, do: Do, change: Change, answer: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    do(lambda storage: storage.put(order("order::1")))
    change("runner = '0191e0a4-5b0c-7d3e-8f00-000000000001'")
    heir = "0191e0a4-5b0c-7d3e-8f00-000000000002"

    def confirmed(question: str) -> bool:
        change(f"runner = '{heir}'")
        return True

    monkeypatch.setattr("hephaestus_pg.cli.options.confirmed", confirmed)
    code, out, _ = run("release", "order::1")
    assert (code, out.splitlines()[-1]) == (1, "order::1: another runner owns it by now")
    assert str(do(lambda storage: storage.get("order::1")).runner) == heir


def test_without_a_terminal_it_does_not_guess_the_answer(run: Run, exhausted: str) -> None:
    for flags in ((), ("--json",)):
        code, out, err = run("release", exhausted, *flags)
        assert (code, out) == (2, "")
        assert err.startswith("error: there is no terminal to ask on; give --yes")

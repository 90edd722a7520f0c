from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from hephaestus_pg import Instance, Status
from hephaestus_pg.watch.news import MAX_BYTES, MAX_IDS, News, parse

pytestmark = pytest.mark.quick

DUE = datetime(2030, 1, 1, tzinfo=UTC)


def of(*instances: Instance) -> News:
    news = News.none()
    for instance in instances:
        news.add(instance)
    return news


def fields(news: News | None) -> object:
    return news and (news.ids, news.has_work, news.has_timer)


@pytest.mark.parametrize(
    ("instance", "has_work", "has_timer"),
    (
        (Instance("a", "Order"), True, False),
        (Instance("a", "Order", status=Status.RUNNING, due_at=DUE), True, True),
        (Instance("a", "Order", status=Status.RUNNING, runner=uuid4()), False, False),
        (Instance("a", "Order", status=Status.WAITING, due_at=DUE), True, True),
        (Instance("a", "Order", status=Status.WAITING), False, False),
        (Instance("a", "Order", status=Status.COMPLETED), False, False),
    ),
)
def test_work_is_what_a_runner_may_claim(
    instance: Instance, has_work: bool, has_timer: bool
) -> None:
    assert fields(of(instance)) == ({"a"}, has_work, has_timer)


def test_it_comes_back_from_its_payload() -> None:
    news = of(Instance('"\n…', "Order"), Instance("b", "Order", due_at=DUE))
    assert fields(parse(news.payload("me"), sender="you")) == fields(news)


def test_ones_own_is_passed_over() -> None:
    assert parse(of(Instance("a", "Order")).payload("me"), sender="me") is None


@pytest.mark.parametrize("payload", ("", "x", "[]", '{"from": "you", "ids": 7}', "{}"))
def test_what_is_none_of_ours_is_news_of_anything(payload: str) -> None:
    assert fields(parse(payload, sender="me")) == fields(News.anything())


def test_a_payload_is_never_too_long() -> None:
    news = of(*(Instance(f"{number}{'…' * 200}", "Order") for number in range(100)))
    payload = news.payload("me")
    assert len(payload.encode()) <= MAX_BYTES
    assert fields(parse(payload, sender="you")) == (None, True, False)


def test_of_many_ids_nobody_knows_which() -> None:
    assert of(*(Instance(str(n), "Order") for n in range(MAX_IDS + 1))).ids is None


def test_two_become_one() -> None:
    news = of(Instance("a", "Order", status=Status.FAILED))
    news.merge(of(Instance("b", "Order", due_at=DUE)))
    assert fields(news) == ({"a", "b"}, True, True)
    news.merge(News.anything())
    assert news.ids is None


def test_nothing_is_no_news() -> None:
    assert not News.none()
    assert News.anything()

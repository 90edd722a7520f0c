"""Looks at a page, and builds what it has to show."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from hephaestus_pg import Context, ExecutionEntry, Instance
from tests.support.instances import order
from tests.web.html import Html

if TYPE_CHECKING:
    import httpx

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</title></pre><svg/onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "a&b=c;d?e#f/../%2e%00+ g",
    "\u202egnp.exe\u2066 \x1b[2J\r\n",
)
MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def full(text: str, **fields: Any) -> Instance:
    """An instance that has the text wherever there may be one."""
    entry = ExecutionEntry(text, text, MOMENT, {text: text}, {text: [text]})
    return replace(
        order(text),
        workflow=text,
        current_step=text,
        context=Context({text: {text: text}}, {text: {text: text}}),
        step_configs={text: {text: text}},
        active_steps=frozenset({text}),
        completed_steps=frozenset({f"{text} done"}),
        runtime_metadata={text: text},
        execution_history=(entry,),
        unknown_state={text: text},
        **fields,
    )


async def page(client: httpx.AsyncClient, address: str, status: int = 200) -> Html:
    answer = await client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    html = Html(answer.text)
    assert html.open == []
    assert html.active == []
    return html


def shown(id: str) -> str:
    return f"/instance?{urlencode({'id': id})}"

"""The page in a real browser: Debian's chromium."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus_pg import Status
from tests.support.instances import order
from tests.web.browser import Browser, serving
from tests.web.looking import HOSTILE, full, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import asyncpg
    from playwright.sync_api import Page, Route

    from hephaestus_pg import AsyncStorage

    Pool = asyncpg.Pool[asyncpg.Record]

pytestmark = pytest.mark.once

pytest.importorskip("jinja2", reason="the group test is not installed")

WIDTHS = (360, 480)  # a phone's, and 60 columns
PREFIX = "/ops/workflows"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        browser = Browser()
    except RuntimeError as error:
        pytest.skip(str(error))
    yield browser
    browser.close()


@pytest.fixture
async def address(storage: AsyncStorage) -> AsyncIterator[str]:
    """The page's address, under a prefix; it stores an instance of each hostile text."""
    await storage.put_many([full(text, status=Status.RUNNING) for text in HOSTILE])
    async with serving(storage, PREFIX) as address:
        yield address


async def test_hostile_texts_are_inert_on_any_width(browser: Browser, address: str) -> None:
    def look(page: Page) -> None:
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            for path in ("", "instances?status=running", *(shown(text)[1:] for text in HOSTILE)):
                page.goto(address + path)
                page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
                assert page.evaluate("document.documentElement.scrollWidth") <= width, path
                assert page.locator("script").count() == 1
                assert page.locator("main img, main script").count() == 0
        assert page.locator("h1").inner_text().split() == HOSTILE[-1].split()

    await browser.visit(address, look)


async def test_the_policy_stops_a_script_that_got_in(browser: Browser, address: str) -> None:
    def look(page: Page) -> Any:
        page.evaluate("""
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            document.body.setAttribute("style", "display: none");
        """)
        return page.evaluate("[window.ran, getComputedStyle(document.body).display]")

    result = await browser.visit(address, look, expected="Content Security Policy")
    assert result == [None, "block"]


async def test_all_can_be_reached_by_keyboard_in_the_order_seen(
    browser: Browser, address: str
) -> None:
    focused = "document.activeElement.id || document.activeElement.innerText"

    def look(page: Page) -> None:
        reached = []
        for _ in range(8):
            page.keyboard.press("Tab")
            reached.append(page.evaluate(focused))
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(outline) == "solid"
        assert reached[:6] == [
            "Skip to the content", "Overview", "Instances", "find", "Show", "live",
        ]  # fmt: skip
        assert reached[6] == "counts"  # which may be wider than the screen
        page.locator("#find").fill(HOSTILE[0])
        page.keyboard.press("Enter")
        page.wait_for_url("**/instance?id=*")
        assert page.locator("h1").inner_text() == HOSTILE[0]
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.locator("main :focus").count() == 1

    await browser.visit(address, look)


async def test_each_table_and_field_has_a_name(browser: Browser, address: str) -> None:
    def look(page: Page) -> None:
        for path in ("", "instances", shown(HOSTILE[0])[1:]):
            page.goto(address + path)
            assert page.locator("html").get_attribute("lang") == "en"
            assert page.locator("h1").count() == 1
            assert page.locator("table:not(:has(caption))").count() == 0
            assert page.locator("th:not([scope])").count() == 0
            unnamed = (
                "[...document.querySelectorAll('input, select')].filter(e => !e.labels.length)"
            )
            assert page.evaluate(f"{unnamed}.length") == 0
            assert page.locator("[role=status][aria-live=polite]").count() == 1

    await browser.visit(address, look)


async def test_it_is_dark_where_the_reader_wants_it(browser: Browser, address: str) -> None:
    def ground(page: Page) -> Any:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert await browser.visit(address, ground, color_scheme="light") == "rgb(255, 255, 255)"
    assert await browser.visit(address, ground, color_scheme="dark") == "rgb(28, 25, 23)"


async def test_a_write_is_seen_without_a_reload(
    browser: Browser, address: str, storage: AsyncStorage
) -> None:
    loop = asyncio.get_running_loop()

    def write(status: Status) -> int | None:
        work = storage.put(order("orderid::live", status=status))
        return asyncio.run_coroutine_threadsafe(work, loop).result().revision

    def look(page: Page) -> None:
        write(Status.PENDING)
        page.goto(address + shown("orderid::live")[1:])
        page.evaluate("window.isTheSame = true")
        page.locator("#state summary").first.click()
        revision = write(Status.COMPLETED)
        page.locator("#summary .completed").wait_for()
        assert page.locator("#summary").inner_text() == f"completed revision {revision}"
        assert page.locator("#state details").first.get_attribute("open") is not None
        assert page.evaluate("window.isTheSame")
        # Who reads on with the keyboard stays where he is, unless it is gone.
        page.locator("#columns a").focus()
        write(Status.FAILED)
        page.locator("#summary .failed").wait_for()
        assert page.locator("#columns a:focus").count() == 1
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Go live").wait_for()

    await browser.visit(address, look)


async def test_parts_that_come_and_go_are_seen_without_a_reload(
    browser: Browser, address: str, storage: AsyncStorage, pool: Pool
) -> None:
    loop = asyncio.get_running_loop()
    table = f"{storage.schema}.workflow_instances"

    def execute(statement: str) -> None:
        asyncio.run_coroutine_threadsafe(pool.execute(statement), loop).result()

    def look(page: Page) -> None:
        page.goto(address)
        page.evaluate("window.isTheSame = true")
        execute(
            f"INSERT INTO {table} (id, workflow, inserted_at, updated_at) "
            "VALUES ('orderid::old', 'Order', '2026-01-01', '2026-01-01')"
        )
        page.locator("#stuck").get_by_text("orderid::old").wait_for()
        order = "[...document.querySelectorAll('[data-live]')].map(e => e.id)"
        assert page.evaluate(order) == ["summary", "counts", "stuck", "runners", "hours"]
        execute(f"DELETE FROM {table} WHERE id = 'orderid::old'")
        page.locator("#stuck").wait_for(state="detached")
        assert page.evaluate("window.isTheSame")

    await browser.visit(address, look)


async def test_an_instance_that_is_deleted_is_said_to_be(
    browser: Browser, address: str, storage: AsyncStorage
) -> None:
    loop = asyncio.get_running_loop()

    def look(page: Page) -> str:
        page.goto(address + shown(HOSTILE[0])[1:])
        asyncio.run_coroutine_threadsafe(storage.delete(HOSTILE[0]), loop).result()
        page.locator("#note", has_text="no such row").wait_for()
        return page.locator("#note").inner_text()

    note = await browser.visit(address, look, expected="404 (Not Found)")
    said = re.escape(f"UTC: {HOSTILE[0]}: no such row")
    assert re.fullmatch(rf"Not refreshed since \d\d:\d\d:\d\d {said}", note)


async def test_a_list_that_was_refused_is_not_asked_for_again(
    browser: Browser, address: str
) -> None:
    wrong = f"{address}instances?workflow_version=x"

    def look(page: Page) -> None:
        page.clock.install()
        page.goto(wrong)
        page.locator("#error").wait_for()
        page.clock.run_for(60_000)
        assert page.locator("#note").inner_text() == ""
        assert page.locator("#live").is_hidden()

    await browser.visit(address, look, expected="400 (Bad Request)")


async def test_an_answer_that_does_not_come_is_given_up(browser: Browser, address: str) -> None:
    held: list[Route] = []

    def look(page: Page) -> None:
        # The browser's own timer of a minute, which no clock of a test moves.
        page.add_init_script("""
            const timeout = AbortSignal.timeout.bind(AbortSignal);
            AbortSignal.timeout = (ms) => timeout(ms / 1000);
        """)
        page.goto(address)
        page.route("**/*", lambda route: held.append(route))  # noqa: PLW0108 - it takes no builtin
        page.locator("#note", has_text="Not refreshed since").wait_for()
        page.unroute("**/*")

    await browser.visit(address, look)
    assert held


async def test_after_a_long_outage_it_is_soon_asked_again(browser: Browser, address: str) -> None:
    held: list[Route] = []

    def look(page: Page) -> None:
        page.clock.install()
        page.goto(address)
        page.route("**/*", lambda route: held.append(route))  # noqa: PLW0108 - it takes no builtin
        with page.expect_request("**/*"):
            page.clock.run_for(3_000)
        page.clock.run_for(50_000)  # no answer all that time
        held[0].fulfill(status=503, body="")
        page.locator("#note", has_text="Not refreshed since").wait_for()
        page.unroute("**/*")
        with page.expect_response("**/*"):
            page.clock.run_for(30_000)
        page.locator("#note:empty").wait_for(state="attached")

    await browser.visit(address, look, expected="503")


async def test_who_wants_no_motion_is_shown_a_write_when_asked(
    browser: Browser, address: str, storage: AsyncStorage
) -> None:
    loop = asyncio.get_running_loop()

    def look(page: Page) -> None:
        button = page.get_by_role("button", name="Go live")
        button.wait_for()
        asyncio.run_coroutine_threadsafe(storage.put(order()), loop).result()
        assert "Order" not in page.locator("#counts").inner_text()
        button.click()
        page.locator("#counts").get_by_text("Order", exact=True).wait_for()

    await browser.visit(address, look, reduced_motion="reduce")


async def test_a_page_whose_server_went_away_says_so(
    browser: Browser, storage: AsyncStorage
) -> None:
    left = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look(page: Page) -> str:
        loop.call_soon_threadsafe(left.set)
        page.locator("#note", has_text="Not refreshed since").wait_for()
        return page.locator("h1").inner_text()

    async with serving(storage) as address:
        visit = asyncio.create_task(browser.visit(address, look, expected="ERR_CONNECTION_REFUSED"))
        await left.wait()
    assert await visit == "Overview"


async def test_without_scripts_it_is_the_same_page(browser: Browser, address: str) -> None:
    def look(page: Page) -> None:
        assert page.locator("#live").is_hidden()
        page.get_by_role("link", name="Instances").click()
        page.locator("summary").first.click()
        page.get_by_label("Version").fill("1")
        page.get_by_role("button", name="Filter").click()
        assert page.locator("#rows tbody tr").count() == len(HOSTILE)

    await browser.visit(address, look, java_script_enabled=False)

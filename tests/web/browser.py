"""Debian's chromium, headless, driven by Playwright in a thread; and the page on a port."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from hephaestus_pg import web
from tests.support.lag import happens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from playwright.sync_api import Page

    from hephaestus_pg import AsyncStorage

Result = TypeVar("Result")

CHROMIUM = shutil.which("chromium")


class Browser:
    """A browser in a thread of its own, where alone it may be used; what it did that it must not.

    Raises:
        RuntimeError: It cannot be had.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        try:
            self._thread.submit(self._start).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def _start(self) -> None:
        if CHROMIUM is None:
            raise RuntimeError("there is no chromium; run: apt-get install chromium")
        try:
            from playwright.sync_api import sync_playwright
        except ModuleNotFoundError:
            raise RuntimeError("the group test is not installed") from None
        self._playwright = sync_playwright().start()
        # As root it runs without a sandbox only; it sees nothing but pages of the tests.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._browser = self._playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)

    def close(self) -> None:
        def close() -> None:
            self._browser.close()
            self._playwright.stop()

        self._thread.submit(close).result()
        self._thread.shutdown()

    async def visit(
        self,
        address: str,
        look: Callable[[Page], Result],
        *,
        expected: str | None = None,
        **context: Any,
    ) -> Result:
        """Opens a page, and gives what ``look`` does; a complaint of the browser is a failure.

        But for one, or several, in which the ``expected`` text is.
        """

        def visit() -> Result:
            with self._browser.new_context(**context) as opened:
                page = opened.new_page()
                complaints: list[str] = []
                page.on("console", lambda message: complaints.append(message.text))
                page.on("pageerror", lambda error: complaints.append(str(error)))
                page.on("dialog", lambda dialog: complaints.append(dialog.message))
                requests: list[str] = []
                page.on("request", lambda request: requests.append(request.url))
                page.goto(address)
                result = look(page)
                if expected is None:
                    assert complaints == []
                else:
                    assert complaints
                    assert [each for each in complaints if expected not in each] == []
                origin = "/".join(address.split("/")[:3])
                assert [each for each in requests if not each.startswith(f"{origin}/")] == []
                return result

        return await asyncio.get_running_loop().run_in_executor(self._thread, visit)


@asynccontextmanager
async def serving(storage: AsyncStorage, prefix: str = "") -> AsyncIterator[str]:
    """The address of the page of ``storage``, served under a prefix while the block runs."""
    uvicorn = pytest.importorskip("uvicorn", reason="the group test is not installed")
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = Starlette(routes=[Mount(prefix, web.app(storage))])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        task = asyncio.create_task(server.serve([listening]))
        try:
            await happens(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}{prefix}/"
        finally:
            server.should_exit = True
            await task

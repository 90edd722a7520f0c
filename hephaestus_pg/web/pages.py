"""The pages: what each reads, and how it is sent.

All pages have their addresses at the top, and link to each other by relative ones: those are right
under any prefix, whichever proxy or application has put it there.
"""

from __future__ import annotations

from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from hephaestus_pg.cli.moments import exact
from hephaestus_pg.cli.storages import server_time
from hephaestus_pg.errors import (
    HephaestusError,
    InvalidTypeError,
    InvalidValueError,
    OperationTimeoutError,
)
from hephaestus_pg.storage import AsyncStorage
from hephaestus_pg.values.instance import Status
from hephaestus_pg.web import filters, formats, steps
from hephaestus_pg.web.hours import chart
from hephaestus_pg.web.reading import Reading

if TYPE_CHECKING:
    from starlette.requests import Request

    from hephaestus_pg.inspect.findings import InstanceCount, Stats

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""The headers of every response."""

ROWS = 50
"""Rows of a page of the list."""

LIST_SECONDS = 5.0
"""Seconds after which a list is given up, since no index serves its filters together.

The storage's own timeout counts where it is shorter.
"""

MOST_WORKFLOWS = 100
"""Workflows whose instances the overview counts."""

MOST_STUCK = 20
"""Instances that the overview lists as stuck."""

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Pages:
    """The pages of a storage, or of the one that has that name."""

    def __init__(self, storage: AsyncStorage | str) -> None:
        if not isinstance(storage, (AsyncStorage, str)):
            raise InvalidTypeError("storage", storage, "give a started storage, or its name")
        self._storage = storage
        self._templates = Environment(
            loader=PackageLoader("hephaestus_pg.web"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=StrictUndefined,
        )
        self._templates.filters |= {
            "cut": formats.cut,
            "duration": formats.duration,
            "json_text": formats.json_text,
            "moment": exact,
            "size": formats.size,
        }
        self._templates.globals |= {
            "listed": formats.listed,
            "shown": formats.shown,
            "statuses": [*Status],
        }
        static = files("hephaestus_pg.web") / "static"
        self._static = {each.name: each.read_bytes() for each in static.iterdir()}

    def app(self) -> Starlette:
        """The application."""
        routes = [
            Route("/", self._overview),
            Route("/instances", self._instances),
            Route("/instance", self._instance),
            Route("/static/{name}", self._file),
        ]
        handlers: Any = {HephaestusError: self._failed, HTTPException: _refused, 500: _broken}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False
        return app

    async def _overview(self, _: Request) -> Response:
        storage, reading = self._opened()
        stats, hours = await reading.stats(), await reading.hours()
        counts = _by_workflow(stats)
        workflows = dict(islice(counts.items(), MOST_WORKFLOWS))
        return self._page(
            "overview.html",
            storage,
            now=await server_time(storage),
            stats=stats,
            workflows=workflows,
            more=len(counts) - len(workflows),
            stuck=await reading.stuck(limit=MOST_STUCK),
            most_stuck=MOST_STUCK,
            runners=await storage.runners(),
            hours=hours,
            charts={
                name: chart([each.written.get(name, {}) for each in hours]) for name in workflows
            },
            inserted=chart([{"inserted": each.inserted} for each in hours]),
            written=chart([each.by_status() for each in hours]),
        )

    async def _instances(self, request: Request) -> Response:
        storage, reading = self._opened()
        given = filters.fields(request.query_params.multi_items())
        first = {name: text for name, text in given.items() if name != "after"}
        found, following, status = [], None, 200
        error: InvalidValueError | str | None = None
        try:
            wanted = filters.arguments(given)
            seconds = reading.at_most(LIST_SECONDS)
            found = [
                each async for each in reading.summaries(limit=ROWS + 1, timeout=seconds, **wanted)
            ]
            if len(found) > ROWS:
                after = reading.cursor(found[ROWS - 1], order_by=wanted["order_by"])
                following = {**first, "after": after}
        except InvalidValueError as wrong:
            error, status = wrong, 400
        except OperationTimeoutError as late:
            error, status = f"{late}. Give a filter that leaves fewer.", 503
        return self._page(
            "instances.html",
            storage,
            status=status,
            given=given,
            first=first,
            orders=filters.ORDERS,
            rows=found[:ROWS],
            following=following,
            error=error,
        )

    async def _instance(self, request: Request) -> Response:
        storage, reading = self._opened()
        id = request.query_params.get("id", "")
        found = await reading.found(id)
        if found is None:
            return self._page(
                "error.html", storage, status=404, title="Not found", message=f"{id}: no such row"
            )
        now, instance = await server_time(storage), found.instance
        return self._page(
            "instance.html",
            storage,
            found=found,
            row=found.columns,
            instance=instance,
            moments={
                name: formats.column_moment(found.columns[name])
                for name in ("due_at", "inserted_at", "updated_at")
            },
            owners={str(each.token): each.name for each in await storage.runners()},
            steps=[] if instance is None else steps.steps(instance, now),
            history=[] if instance is None else steps.waits(instance),
        )

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._static:
            raise HTTPException(404)
        return Response(self._static[name], 200, HEADERS, _TYPES[name.rpartition(".")[2]])

    async def _failed(self, _: Request, error: Exception) -> Response:
        status = 400 if isinstance(error, InvalidValueError) else 503
        storage = self._storage if isinstance(self._storage, AsyncStorage) else None
        return self._page(
            "error.html", storage, status=status, title=type(error).__name__, message=str(error)
        )

    def _opened(self) -> tuple[AsyncStorage, Reading]:
        given = self._storage
        storage = AsyncStorage.named(given) if isinstance(given, str) else given
        return storage, Reading(storage)

    def _page(
        self, template: str, storage: AsyncStorage | None, *, status: int = 200, **shown: Any
    ) -> Response:
        content = self._templates.get_template(template).render(
            here=template.partition(".")[0],
            schema=storage.schema if storage else self._storage,
            **shown,
        )
        return Response(content, status, HEADERS, "text/html")


def _by_workflow(stats: Stats) -> dict[str, dict[str, InstanceCount]]:
    counts: dict[str, dict[str, InstanceCount]] = {name: {} for name in stats.claimable_since}
    for each in stats.instances:
        counts.setdefault(each.workflow, {})[each.status] = each
    return dict(sorted(counts.items()))


async def _refused(_: Request, error: HTTPException) -> Response:
    headers = {**HEADERS, **(error.headers or {})}
    return Response(f"{error.status_code} {error.detail}", error.status_code, headers, "text/plain")


async def _broken(_: Request, __: Exception) -> Response:
    return Response("500 Internal Server Error", 500, HEADERS, "text/plain")

"""A page that shows what is stored, as an ASGI application: :func:`app`.

It only reads, a bounded amount for each request, and knows workflows and steps by their names. Who
may see it is up to the application that mounts it. It needs the extra ``web``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from hephaestus_pg.storage import AsyncStorage


def app(storage: AsyncStorage | str) -> Starlette:
    """Makes the page of a storage, or of the one that is started under that name by then.

    Mount it under any path, behind your own authentication: it has none. It belongs to the event
    loop of the storage.

    Raises:
        ImportError: The extra ``web`` is not installed.
    """
    try:
        from hephaestus_pg.web.pages import Pages  # noqa: PLC0415 - the extra is optional
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is not installed, which the page needs; run: "
            "pip install 'hephaestus_pg[web]'"
        ) from error
    return Pages(storage).app()

"""``python -m hephaestus_pg web``: serves the page, on this machine alone unless told otherwise.

::

    python -m hephaestus_pg web --dsn postgresql://… --schema orders
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import sys
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from hephaestus_pg.cli import options
from hephaestus_pg.cli.storages import connected, started
from hephaestus_pg.errors import HephaestusError
from hephaestus_pg.web import app

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS = 5.0
"""Seconds after which a page says that the server does not answer, as its list does."""

_NAME = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*|\[[\da-fA-F:.]+\]")
_OPEN = (
    "warning: whoever reaches {} reads every instance: the page has no authentication; to add it, "
    "mount hephaestus_pg.web.app(storage) in an application of yours\n"
    "it answers to {}; give each other name or address by --name"
)


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m hephaestus_pg web") -> int:
    """Runs the command until it is interrupted, and gives its exit code."""
    parser = options.Parser(
        prog=prog,
        description="Serve a page that shows what is stored, and changes nothing.",
        parents=[options.dsn_flag(), options.schema_flag(), options.pgbouncer_flag()],
    )
    parser.add_argument(
        "--host",
        type=ip_address,
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to listen on; default: %(default)s, which only this machine reaches",
    )
    parser.add_argument(
        "--port", type=_port, default=8765, metavar="P", help="0: any; default: %(default)s"
    )
    parser.add_argument(
        "--name",
        type=_name,
        action="append",
        default=[],
        metavar="N",
        help="another name or address in the URLs by which browsers reach it, or *.NAME for all "
        "below it; repeatable",
    )
    arguments = parser.parse_args(argv)
    if not all(map(find_spec, ("jinja2", "starlette", "uvicorn"))):
        parser.error("the page is not installed; run: pip install 'hephaestus_pg[web]'")
    with options.warnings_shown():
        return options.exit_code(lambda: asyncio.run(_serve(arguments)))


async def _serve(arguments: argparse.Namespace) -> int:
    # The extra is optional.
    from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: PLC0415
    from uvicorn import Config, Server  # noqa: PLC0415

    settings: dict[str, Any] = {}
    if not arguments.pgbouncer:  # which refuses settings
        settings["server_settings"] = {"default_transaction_read_only": "on"}
    async with (
        connected(
            arguments.dsn,
            timeout=_SECONDS,
            pgbouncer=arguments.pgbouncer,
            max_size=4,
            **settings,
        ) as pool,
        started(pool, arguments.schema, timeout=_SECONDS) as storage,
    ):
        with _listening(arguments.host, arguments.port) as listening:
            address = arguments.host
            host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
            url = f"http://{host}:{listening.getsockname()[1]}/"
            # A site that a browser visits may let its own name lead here, and read the page as its
            # own (DNS rebinding): so no other name is answered to.
            names = [*dict.fromkeys([host, "127.0.0.1", "localhost", *arguments.name])]
            if not address.is_loopback:
                print(_OPEN.format(url, ", ".join(names)), file=sys.stderr)
            print(f"schema {storage.schema}: {url} (Ctrl-C ends it)", flush=True)
            # Of an address of version 6 older releases of starlette see what is before its first
            # colon.
            names.append(host.partition(":")[0])
            page = TrustedHostMiddleware(app(storage), names, www_redirect=False)
            config = Config(page, log_level="warning", lifespan="off", server_header=False)
            await Server(config).serve([listening])
    return 0


def _listening(address: IPv4Address | IPv6Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    try:
        return socket.create_server((str(address), port), family=family)
    except OSError as error:
        advice = "give another --host, or another --port, 0 for any"
        raise HephaestusError(f"{error.strerror}; {advice}") from error


def _port(text: str) -> int:
    if not 0 <= int(text) <= 65_535:  # noqa: PLR2004 - two bytes
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name, such as ops.example")
    return text

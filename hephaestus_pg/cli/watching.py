"""A look that is taken again and again: redrawn on a terminal, block after block in a pipe."""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from hephaestus_pg.cli.options import one_line
from hephaestus_pg.cli.terminal import can_redraw, shortened, width_of
from hephaestus_pg.errors import HephaestusError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_COLOUR = re.compile(r"\x1b\[\d+m")


async def watch(
    look: Callable[[], Awaitable[object]], *, every: float, title: str | None
) -> NoReturn:
    """Takes a look each ``every`` seconds, until it is interrupted.

    Without a title it is for a program, which gets what is found and nothing else. A look that
    fails is shown, and the next one is taken: a server may be restarting.
    """
    while True:
        head = f"{title}, every {every:g}s: {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        if title is None:
            await _shown(look)
        elif can_redraw():
            frame = _Frame()
            with redirect_stdout(frame):
                print(head)
                await _shown(look)
            _draw(frame.getvalue())
        else:
            print(head)
            await _shown(look)
            print()
        sys.stdout.flush()
        await asyncio.sleep(every)


async def _shown(look: Callable[[], Awaitable[object]]) -> None:
    try:
        await look()
    except HephaestusError as error:
        remark(f"error: {one_line(error)}")


def remark(text: str) -> None:
    """Prints a line about what was shown to stderr; in a frame it is drawn below that."""
    if isinstance(sys.stdout, _Frame):
        print(text)
    else:
        sys.stdout.flush()
        print(text, file=sys.stderr)


class _Frame(io.StringIO):
    """Takes what is printed as if it were the terminal that it will be drawn on."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return sys.__stdout__.encoding if sys.__stdout__ else "utf-8"

    def isatty(self) -> bool:
        return True


def _fitted(line: str, columns: int) -> str:
    """Returns the line as it is, or one that is too long, and would take a second, shortened."""
    plain = _COLOUR.sub("", line)
    return line if width_of(plain) <= columns else shortened(plain, columns)


def _draw(text: str) -> None:
    """Draws over what was there, without a flicker, as far as the screen has lines."""
    size = shutil.get_terminal_size()
    most = size.lines - 1
    lines = [_fitted(each, size.columns) for each in text.splitlines()]
    if len(lines) > most:
        lines = [*lines[: most - 1], f"({len(lines) - most + 1} more lines)"]
    drawn = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
    sys.stdout.write(f"{_HOME}{drawn}{_CLEAR_BELOW}")

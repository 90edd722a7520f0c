from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

import pytest

from hephaestus_pg.cli.watching import remark, watch
from hephaestus_pg.errors import HephaestusError
from tests.support.commands import set_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.quick


class EnoughError(Exception):
    pass


def looks(*each: Callable[[], None], title: str | None = "schema s") -> None:
    """Watches so many looks, one after the other."""
    rest = list(each)

    async def look() -> None:
        if not rest:
            raise EnoughError
        rest.pop(0)()

    with pytest.raises(EnoughError):
        asyncio.run(watch(look, every=0.001, title=title))


def fail() -> NoReturn:
    raise HephaestusError("no answer from postgresql://u:secret@h/d\x1b")


def test_into_a_pipe_each_look_is_a_block(capsys: pytest.CaptureFixture[str]) -> None:
    looks(lambda: print("one"), lambda: print("two"))
    first, second, _ = capsys.readouterr().out.split("\n\n")
    assert first.startswith("schema s, every 0.001s: 2")
    assert [first.splitlines()[1], second.splitlines()[1]] == ["one", "two"]


def test_a_look_that_fails_is_shown_and_the_next_is_taken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    looks(fail, lambda: print("two"))
    out, err = capsys.readouterr()
    assert err == "error: no answer from postgresql://u:***@h/d\\x1b\n"
    assert "\ntwo\n" in out


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the output a terminal of six lines."""
    return lambda: set_terminal(monkeypatch, 80, lines=6)


def test_a_terminal_is_drawn_over_without_being_cleared(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[], None]
) -> None:
    terminal()
    looks(lambda: print("one"), lambda: remark("nothing"), fail)
    out, err = capsys.readouterr()
    assert err == ""
    frames = out.split("\x1b[H")[1:]
    assert len(frames) == 3
    assert [frame.splitlines()[1] for frame in frames] == [
        "one\x1b[K",
        "nothing\x1b[K",
        "error: no answer from postgresql://u:***@h/d\\x1b\x1b[K",
    ]
    assert all(frame.endswith("\x1b[K\n\x1b[J") for frame in frames)
    assert "\x1b[2J" not in out


def test_a_line_that_is_too_long_for_the_screen_is_shortened(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[], None]
) -> None:
    terminal()
    for line in ("x" * 200, f"\x1b[1m{'x' * 200}\x1b[0m"):
        looks(lambda line=line: print(line))  # type: ignore[misc]
        assert capsys.readouterr().out.splitlines()[1] == f"{'x' * 40}…{'x' * 39}\x1b[K"
    fits = f"\x1b[31m{'x' * 80}\x1b[0m"
    looks(lambda: print(fits))
    assert capsys.readouterr().out.splitlines()[1] == f"{fits}\x1b[K"


def test_a_program_gets_what_is_found_and_nothing_else(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[], None]
) -> None:
    terminal()
    looks(lambda: print("one"), lambda: print("two"), title=None)
    assert capsys.readouterr().out == "one\ntwo\n"


def test_what_the_screen_has_no_lines_for_is_counted(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[], None]
) -> None:
    terminal()
    looks(lambda: print(*range(10), sep="\n"))
    lines = capsys.readouterr().out.replace("\x1b[K", "").splitlines()
    assert lines[1:] == ["0", "1", "2", "(7 more lines)", "\x1b[J"]


def test_a_remark_comes_behind_what_was_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print("one")
    remark("two")
    assert capsys.readouterr() == ("one\n", "two\n")

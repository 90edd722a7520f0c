from __future__ import annotations

import re

import pytest

from hephaestus_pg.cli import terminal
from hephaestus_pg.cli.terminal import (
    can_redraw,
    printable,
    progress,
    screen_columns,
    shortened,
    show_table,
    show_text,
    wants_colours,
    width_of,
)

pytestmark = pytest.mark.quick

ROWS = [("kills", "1"), ("nothing lost", "yes"), ("and else", "no: 1, such as this and that")]


def test_elsewhere_a_line_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2) as view:
        for done in (0, 2, 2):
            view.show(done, "ok")
    assert capsys.readouterr().out.split("\n") == [
        "     0 of 2 steps; ok",
        "     2 of 2 steps; ok",
        "",
    ]


def test_a_line_without_a_remark_ends_with_the_count(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(2) as view:
        view.show(0, "")
    assert capsys.readouterr().out == "     0 of 2 steps\n"


def test_a_terminal_gets_a_bar_and_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hephaestus_pg.cli.terminal._has_rich", lambda: True)
    with progress(5) as view:
        view.show(5, "all completed")
        view.say("runner 1 killed")
    show_table("1 order", [("kills", "1"), ("nothing lost", "yes"), ("and else", "no: 1")])
    printed = capsys.readouterr().out
    for said in ("5/5", "all completed", "runner 1 killed", "1 order", "nothing lost", "no: 1"):
        assert said in printed


@pytest.mark.parametrize(
    ("columns", "lines"),
    (
        (
            "80",
            ["kills         1", "nothing lost  yes", "and else      no: 1, such as this and that"],
        ),
        (
            "40",
            [
                "kills         1",
                "nothing lost  yes",
                "and else      no: 1, such as this and",
                "              that",
            ],
        ),
        (
            "20",
            [
                *("kills", "  1", "nothing lost", "  yes", "and else"),
                *("  no: 1, such as", "  this and that"),
            ],
        ),
    ),
)
def test_a_plain_table_fits_its_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: str,
    lines: list[str],
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    show_table("1 order", ROWS)
    assert capsys.readouterr().out.splitlines() == ["", "1 order", "-------", *lines]


def test_a_paragraph_is_wrapped_but_not_within_a_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    show_text("give --finished-before or nothing", indent="  ")
    assert capsys.readouterr().out == "  give\n  --finished-before\n  or nothing\n"


@pytest.mark.parametrize("term", ("dumb", "DUMB", "unknown", "", None))
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], term: str | None
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    if term is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", term)
    with progress(1) as view:
        view.show(1, "ok")
    show_table("1 order", ROWS)
    shown = capsys.readouterr().out
    assert shown.startswith("     1 of 1 steps; ok\n")
    assert shown.isascii()
    assert "\x1b" not in shown


def test_colours_are_left_out_where_they_are_not_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "_has_rich", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = []
    for name in ("OTHER", "NO_COLOR"):
        monkeypatch.setenv(name, "1")
        show_table("1 order", ROWS)
        shown.append(re.findall(r"\x1b\[[0-9;]*3[12]m", capsys.readouterr().out))
    coloured, plain = shown
    assert coloured
    assert plain == []


@pytest.mark.parametrize(
    ("text", "shown"),
    (
        ("order::1 é 注文 \N{SMILING FACE WITH SUNGLASSES}",) * 2,
        ("\x00\x07\x1b[2J\x7f", r"\x00\x07\x1b[2J\x7f"),
        ("\x80\x9b31m\x9d", r"\x80\x9b31m\x9d"),
        ("a\r\nb\tc\x85\u2028\u2029", r"a\r\nb\tc\x85\u2028\u2029"),
        (
            "\u200e\u200f\u061c\u202a\u202e\u2066\u2069",
            r"\u200e\u200f\u061c\u202a\u202e\u2066\u2069",
        ),
        ("\ufeff\u200b\u2060\xad\xa0", r"\ufeff\u200b\u2060\xad\xa0"),
        ("\U000e0041", r"\U000e0041"),
    ),
    ids=("letters", "C0", "C1", "line ends", "direction", "invisible", "tags"),
)
def test_stored_text_cannot_steer_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_every_character_that_is_shown_is_printable() -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    assert printable(everything).isprintable()


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    (
        ("order::1", 8, "order::1"),
        ("order::1", 7, "ord…::1"),
        ("order::1", 2, "o…"),
        ("order::1", 1, "…"),
        ("order::1", 0, ""),
        ("注文注文", 8, "注文注文"),
        ("注文注文", 6, "注…文"),
        ("e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"),
    ),
)
def test_of_a_long_text_the_middle_is_left_out(text: str, width: int, shown: str) -> None:
    assert shortened(text, width) == shown
    assert width_of(shown) <= width


@pytest.mark.parametrize(
    ("is_terminal", "term", "no_color", "expected"),
    (
        (True, "xterm", "", (True, True)),
        (True, "xterm", "1", (True, False)),
        (True, "dumb", "", (False, False)),
        (False, "xterm", "", (False, False)),
    ),
)
def test_a_terminal_is_drawn_and_coloured_where_it_can_be_and_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
    is_terminal: bool,
    term: str,
    no_color: str,
    expected: tuple[bool, bool],
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.delenv("COLUMNS", raising=False)
    assert (can_redraw(), wants_colours()) == expected
    assert (screen_columns() is not None) is is_terminal

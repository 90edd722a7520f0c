from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from hephaestus_pg.cli.tables import ROWS_MEASURED, Table
from tests.support.commands import set_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.quick


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def wide(columns: int) -> None:
        set_terminal(monkeypatch, columns)
        monkeypatch.setenv("NO_COLOR", "1")

    return wide


def test_columns_are_as_wide_as_their_texts_and_numbers_stand_to_the_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Table("id", "owned", "state", numbers={"owned"}) as table:
        table.add("order::1", "7", "")
        table.add("x", "1,000", "failed")
    assert capsys.readouterr().out.splitlines() == [
        "id        owned  state",
        "order::1      7",
        "x         1,000  failed",
    ]


def test_the_widest_of_the_long_columns_are_shortened_until_a_line_fits(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]
) -> None:
    terminal(30)
    with Table("id", "step", "state", long={"id", "step"}) as table:
        table.add("a" * 20 + "z" * 20, "charge", "completed")
        table.add("b", "ship", "failed")
    assert capsys.readouterr().out.splitlines() == [
        "id           step    state",
        "aaaaa…zzzzz  charge  completed",
        "b            ship    failed",
    ]


def test_where_nothing_fits_texts_keep_a_few_columns(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]
) -> None:
    terminal(5)
    with Table("id", "state", long={"id"}) as table:
        table.add("a" * 20, "completed")
    assert capsys.readouterr().out.splitlines()[1] == "aaa…aa  completed"


def test_wide_letters_and_accents_keep_the_columns_in_line(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]
) -> None:
    with Table("id", "n") as table:
        table.add("注文", "1")
        table.add("cafe\u0301", "2")
    assert capsys.readouterr().out.splitlines() == ["id    n", "注文  1", "cafe\u0301  2"]
    terminal(12)
    with Table("id", "n", long={"id"}) as table:
        table.add("注文注文注文注文", "1")
    assert capsys.readouterr().out.splitlines()[1] == "注文…注文  1"


def test_control_characters_are_escaped_in_rows_and_below_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Table("id") as table:
        table.add("\x1b[2J\n\u202e\x9b", below=["  + \x1b[2J\r"])
    assert capsys.readouterr().out == "id\n\\x1b[2J\\n\\u202e\\x9b\n  + \\x1b[2J\\r\n"


def test_lines_below_a_row_fit_the_terminal_too(
    capsys: pytest.CaptureFixture[str], terminal: Callable[[int], None]
) -> None:
    terminal(20)
    with Table("id") as table:
        table.add("x", below=["  + " + "y" * 40])
    assert len(capsys.readouterr().out.splitlines()[-1]) == 20


def test_states_and_changes_are_coloured_where_colours_are_wanted(
    capsys: pytest.CaptureFixture[str],
    terminal: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal(80)
    monkeypatch.delenv("NO_COLOR")
    with Table("id", "status", states={"status"}) as table:
        table.add("failed", "failed", below=["  + x", "  ~ y", "  other"])
    assert capsys.readouterr().out.splitlines() == [
        "\x1b[1mid\x1b[0m      \x1b[1mstatus\x1b[0m",
        "failed  \x1b[31mfailed\x1b[0m",
        "\x1b[32m  + x\x1b[0m",
        "\x1b[33m  ~ y\x1b[0m",
        "  other",
    ]


def test_after_so_many_rows_a_row_is_printed_as_it_comes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Table("id", "n") as table:
        for number in range(ROWS_MEASURED):
            assert capsys.readouterr().out == ""
            table.add("x", str(number))
        assert capsys.readouterr().out.count("\n") == ROWS_MEASURED + 1
        table.add("much longer", "1")
        assert capsys.readouterr().out == "much longer  1\n"


def test_without_a_row_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with Table("id"):
        pass
    assert capsys.readouterr().out == ""


def test_an_error_does_not_cost_the_rows_before_it_but_a_closed_output_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for error, printed in ((ValueError, "id\nx\n"), (BrokenPipeError, "")):
        with pytest.raises(error), Table("id") as table:
            table.add("x")
            raise error
        assert capsys.readouterr().out == printed


def test_nobody_knows_how_many_columns_a_pipe_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    with Table("id", long={"id"}) as table:
        table.add("x" * 300)
    assert re.search("x{300}", capsys.readouterr().out)

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from hephaestus_pg.__main__ import main
from hephaestus_pg.cli import options
from hephaestus_pg.commands import arguments

if TYPE_CHECKING:
    import argparse

    from tests.support.commands import Run

pytestmark = pytest.mark.quick

COMMANDS = ("list", "show", "stats", "stuck", "runners", "release")


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = options.Parser()
    arguments.add_filters(parser)
    return parser


def test_only_the_filters_that_are_given_are_given_on(parser: argparse.ArgumentParser) -> None:
    token = UUID(int=7)
    for given, expected in (
        ([], {}),
        (["--runner", "none"], {"runner": None}),
        (["--runner", str(token)], {"runner": token}),
        (["--status", "failed"], {"status_in": ["failed"]}),
        (["--allow-scan"], {"allow_scan": True}),
        (["--workflow-version", "2"], {"workflow_version": 2}),
        (
            ["--contains", '{"n": 123456789012345678901}'],
            {"contains": {"n": 123456789012345678901}},
        ),
    ):
        assert arguments.filters(parser.parse_args(given)) == expected


def test_another_status_is_refused_with_those_that_there_are(run: Run) -> None:
    code, _, err = run("list", "--status", "odd")
    assert code == 2
    assert "choose from 'pending', 'running'" in err or "choose from pending, running" in err


@pytest.mark.parametrize("command", ("show", "release"))
def test_an_id_that_no_instance_can_have_is_refused(run: Run, command: str) -> None:
    """A script whose variable is not set gives an empty one."""
    code, out, err = run(command, "")
    assert (code, out) == (2, "")
    assert "argument ID: id is '': give 1 to 255 characters" in err


def test_an_order_from_the_end_is_joined_to_its_flag_and_nothing_else_is() -> None:
    assert arguments.joined(["--order-by", "-id", "--order-by", "--json", "-id"]) == [
        *("--order-by=-id", "--order-by", "--json", "-id")
    ]


@pytest.mark.parametrize("command", (*COMMANDS, "prune"))
def test_a_help_says_what_it_is_for_with_an_example_and_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert f"for example:\n  hephaestus-pg {command}" in said
    assert "\nexit code:\n  0  " in said
    assert "\n  2  an error\n" in said
    assert max(map(len, said.splitlines())) <= 80


DSNS = (
    "postgresql://user:secret@127.0.0.1:1/none",
    "postgresql://127.0.0.1:1/none?user=user&password=secret",
    "postgresql://user:secret@[bad/none",
    "mysql://user:secret@host/none",
)


def arguments_of(command: str) -> list[str]:
    return [command, *{"show": ["x"], "release": ["x", "--yes"]}.get(command, [])]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_error_is_one_line_without_a_password(run: Run, command: str) -> None:
    for dsn in DSNS:
        code, out, err = run(*arguments_of(command), "--dsn", dsn)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "secret" not in err


def test_a_schema_without_a_table_may_be_a_wrong_name(run: Run) -> None:
    missing = "there is no table workflow_instances in schema 'nowhere'"
    for command in COMMANDS:
        code, out, err = run(*arguments_of(command), "--schema", "nowhere", where=None)
        assert (code, out) == (2, "")
        assert err == f"error: {missing}; look at --schema and --dsn\n"


def test_a_schema_whose_name_cannot_be_one_is_refused(run: Run) -> None:
    code, out, err = run("list", "--schema", 'a"b\x1b', where=None)
    assert (code, out) == (2, "")
    assert err.startswith("error: schema is ")
    assert "\x1b" not in err

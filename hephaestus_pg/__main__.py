"""``python -m hephaestus_pg`` and ``hephaestus-pg``: every command behind one name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hephaestus_pg import (
    migrate,
    prune,
)
from hephaestus_pg.cli import options
from hephaestus_pg.commands import listing, release, runners, show, stats, stuck
from hephaestus_pg.demo import command as demo
from hephaestus_pg.web import command as web

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = {
    "list": (listing.main, "list instances, the newest first"),
    "show": (show.main, "show an instance, its owner and its history"),
    "stats": (stats.main, "count instances by workflow and status"),
    "stuck": (stuck.main, "list what does not go on, and why"),
    "runners": (runners.main, "list the runners that live, and what they own"),
    "release": (release.main, "take instances from their owners"),
    "web": (web.main, "serve a page that shows what is stored"),
    "prune": (prune.main, "delete instances that finished long ago"),
    "migrate": (migrate.main, "bring a schema to a version"),
    "demo": (demo.main, "kill and freeze runners, and check that nothing was lost"),
}


def main(argv: Sequence[str] | None = None, *, prog: str = "hephaestus-pg") -> int:
    """Runs the command named first with the arguments after it, and gives its exit code.

    Without a command it prints the help.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = options.Parser(prog=prog, description="Durable workflow state on PostgreSQL.")
    options.add_version_flag(parser)
    commands = parser.add_subparsers(
        title="commands", dest="command", description="COMMAND --help tells more of each."
    )
    for name, (_, help_) in _COMMANDS.items():
        commands.add_parser(name, help=help_, add_help=False)
    command = parser.parse_args(argv[:1]).command
    if command is None:
        parser.print_help()
        parser.exit()
    run, _ = _COMMANDS[command]
    return run(argv[1:], prog=f"{prog} {command}")


if __name__ == "__main__":
    sys.exit(main(prog="python -m hephaestus_pg"))

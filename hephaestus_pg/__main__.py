"""``python -m hephaestus_pg`` and ``hephaestus-pg``: every command behind one name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hephaestus_pg import (
    migrate,
    prune,
)
from hephaestus_pg.cli import options
from hephaestus_pg.demo import command as demo
from hephaestus_pg.web import command as web

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = {
    "demo": demo.main,
    "migrate": migrate.main,
    "prune": prune.main,
    "web": web.main,
}
_HELP = {
    "demo": "run workflows, kill their runner again and again, and check that nothing was lost",
    "migrate": "bring a schema to a version; the same as python -m hephaestus_pg.migrate",
    "prune": "delete instances that finished long ago",
    "web": "serve a page that shows what is stored",
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
    for name, help_ in _HELP.items():
        commands.add_parser(name, help=help_, add_help=False)
    command = parser.parse_args(argv[:1]).command
    if command is None:
        parser.print_help()
        parser.exit()
    return _COMMANDS[command](argv[1:], prog=f"{prog} {command}")


if __name__ == "__main__":
    sys.exit(main(prog="python -m hephaestus_pg"))

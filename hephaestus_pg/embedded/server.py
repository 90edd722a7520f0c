"""The server's process: started, stopped, killed, and never outliving this one."""

from __future__ import annotations

import atexit
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from weakref import WeakSet

from hephaestus_pg.embedded.cluster import Cluster
from hephaestus_pg.embedded.programs import Programs, packaged_binaries, unprivileged_account
from hephaestus_pg.errors import EmbeddedServerError, InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST = "127.0.0.1"
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_START_SECONDS = 60.0
_PORTS_TRIED = 5


class EmbeddedServer:
    """A PostgreSQL server on 127.0.0.1 that lives no longer than this process.

    It ends with the ``with`` block, at exit, and even when this process is killed by SIGKILL; a
    process that is forked from this one may use it, and does not end it.
    Everybody on this machine may connect as the superuser ``postgres``: nothing for production.

    Args:
        settings: Server settings, such as ``{"fsync": "off"}``, but for ``port``.
        binaries: The folder with ``initdb`` and ``postgres``; ``None``: those of the extra
            ``embedded``.
        data: The data folder, made if it is missing, and kept; ``None``: a temporary one.

    Raises:
        InvalidValueError: The settings name a port.
    """

    def __init__(
        self,
        *,
        settings: Mapping[str, str] | None = None,
        binaries: str | os.PathLike[str] | None = None,
        data: str | os.PathLike[str] | None = None,
    ) -> None:
        self._settings = dict(settings or {})
        if "port" in map(str.lower, self._settings):
            advice = "leave out 'port': the server takes a free one, which .port and .dsn have"
            raise InvalidValueError("settings", self._settings, advice)
        self._given_binaries = Path(binaries) if binaries is not None else None
        self._given_data = Path(data).absolute() if data is not None else None
        self._cluster: Cluster | None = None
        self._programs: Programs | None = None
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def binaries(self) -> Path:
        """The folder with ``postgres``, ``initdb`` and, if they were packed, ``psql`` and more."""
        if self._programs is not None:
            return self._programs.folder
        return self._given_binaries or packaged_binaries()

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
        """The DSN with which the superuser connects."""
        return f"postgresql://postgres@{_HOST}:{self._port}/postgres"

    def start(self) -> None:
        """Starts the server and returns once it accepts connections; harmless if it runs.

        Raises:
            EmbeddedServerError: There are no binaries, or the server did not come up.
        """
        if self._postmaster is not None:
            return
        try:
            cluster, programs = self._set_up()
            for _ in range(_PORTS_TRIED):
                if self._launch(cluster, programs):
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
        """Shuts the server down, in PostgreSQL's sense of ``mode``; its data stays for a restart.

        Raises:
            EmbeddedServerError: It still runs after ``timeout`` seconds.
        """
        if self._postmaster is not None:
            self._postmaster.send_signal(_SIGNALS[mode])
            self._await_end(timeout)

    def kill(self, *, timeout: float = 30) -> None:
        """Ends the postmaster with SIGKILL and waits until its children have noticed and gone.

        Raises:
            EmbeddedServerError: A child is still busy after ``timeout`` seconds.
        """
        if self._postmaster is not None:
            self._postmaster.kill()
            self._await_end(timeout)

    def restart(self) -> None:
        """Stops the server, unless it is stopped already, and starts it again on the same data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Ends the server and removes what it made, but not a data folder that was given."""
        atexit.unregister(self.close)
        if self._cluster is None:
            return
        try:
            self.stop("fast" if self._given_data else "immediate")
        finally:
            self._cluster.remove()
            self._cluster = self._programs = self._postmaster = None

    def _disown(self) -> None:
        """Leaves the server to the parent of this process, which is a fork of it."""
        if self._postmaster is not None:
            self._postmaster.poll()  # no child of this process, so it counts as ended
        if self._cluster is not None:
            self._cluster.disown()
        self._cluster = self._programs = self._postmaster = None

    def _set_up(self) -> tuple[Cluster, Programs]:
        """Makes the cluster, unless it is there from an earlier start."""
        if self._cluster is not None and self._programs is not None:
            return self._cluster, self._programs
        self._cluster = Cluster(self._given_data)
        _servers.add(self)
        atexit.register(self.close)
        account = unprivileged_account()
        self._cluster.give_to(account)
        self._programs = Programs.found(self._given_binaries, self._cluster.home, account)
        self._cluster.initialize(self._programs)
        self._port = _free_port()
        return self._cluster, self._programs

    def _launch(self, cluster: Cluster, programs: Programs) -> bool:
        """Starts the postmaster and waits until it is ready; ``False`` if the port is taken."""
        postmaster = self._spawn(cluster, programs)
        deadline = time.monotonic() + _START_SECONDS
        while postmaster.poll() is None:
            if cluster.is_ready(postmaster.pid):
                return True
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedServerError(
                    f"PostgreSQL was not ready within {_START_SECONDS:.0f} s", cluster.log_end()
                )
            time.sleep(0.01)
        self._await_end(timeout=1)
        if "could not bind" in cluster.log_end():
            return False
        raise EmbeddedServerError("PostgreSQL did not start", cluster.log_end())

    def _spawn(self, cluster: Cluster, programs: Programs) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": _HOST,
            "port": str(self._port),
            "unix_socket_directories": "",
            "lc_messages": "C",
            # In the data folder, where nothing outlives a server that was killed.
            "dynamic_shared_memory_type": "mmap",
            **self._settings,
        }
        cluster.mark_log()
        self._lifeline, held_by_server = os.pipe()
        with cluster.log.open("ab") as log:
            self._postmaster = subprocess.Popen(
                [
                    programs.folder / "postgres",
                    *("-D", cluster.data),
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[held_by_server],
                # Ctrl-C is for this process, which then shuts the server down in its own order.
                start_new_session=True,
                **programs.process_options(),
            )
        os.close(held_by_server)
        cluster.note_postmaster(self._postmaster.pid)
        return self._postmaster

    def _await_end(self, timeout: float) -> None:
        """Waits for the postmaster and then, on the pipe they all inherited, for its children."""
        assert self._postmaster is not None
        assert self._cluster is not None
        ended = select.poll()
        ended.register(self._lifeline, select.POLLIN)
        if not ended.poll(timeout * 1000):
            raise EmbeddedServerError(
                f"PostgreSQL still runs after {timeout:g} s", self._cluster.log_end()
            )
        self._postmaster.wait()
        os.close(self._lifeline)
        self._cluster.forget_postmaster(self._postmaster.pid)
        self._postmaster = None


_servers: WeakSet[EmbeddedServer] = WeakSet()


def _forked() -> None:
    for server in _servers:
        server._disown()  # noqa: SLF001 - of this class


os.register_at_fork(after_in_child=_forked)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port

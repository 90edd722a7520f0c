"""A TCP proxy that breaks, slows and silences what goes through it."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HOST = "127.0.0.1"
_NO_LINGER = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on a port of its own and passes everything on to ``target()``, a port too.

    Ends with the block, and every connection with it.
    """

    def __init__(self, target: Callable[[], int]) -> None:
        self._target = target
        self._paths: dict[_Path, asyncio.Task[None]] = {}
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._lost = False
        self.latency = 0.0
        """Seconds by which every chunk is held up."""
        self.sent = 0
        """Chunks that went to the server."""
        self.keeps_back = b""
        """The words at which a connection is reset, once, before the server hears them."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = list(self._paths.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def paths(self) -> list[_Path]:
        """The connections that are open, the oldest first."""
        return list(self._paths)

    def drop(self, paths: Iterable[_Path]) -> None:
        """Reset the connections, on both sides."""
        for path in paths:
            path.reset()

    def half_close(self, paths: Iterable[_Path]) -> None:
        """Tell the clients that no more comes, while they may still send."""
        for path in paths:
            path.half_close()

    def stall(self) -> None:
        """Hold everything back; :meth:`heal` lets it go on its way."""
        self._flowing.clear()

    def lose(self) -> None:
        """Swallow everything, of connections to come too, and never say so to the client.

        After :meth:`heal` new connections work; those of before stay silent until the client gives
        them up. The server sees them reset by then, as by its keepalive.
        """
        self._lost = True
        for path in self._paths:
            path.lost = True

    def heal_new(self) -> None:
        """Let new connections work, while those that are lost stay so, on both sides."""
        self._lost = False

    def heal(self) -> None:
        """Let things flow again."""
        self.latency = 0.0
        self._lost = False
        self._flowing.set()
        for path in self._paths:
            if path.lost:
                path.reset_server()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        path = _Path(reader, writer, lost=self._lost)
        self._paths[path] = task
        try:
            await self._pass_on(path)
        except (OSError, asyncio.CancelledError):
            pass  # how a broken path ends, and the proxy itself
        finally:
            del self._paths[path]
            path.reset()

    async def _pass_on(self, path: _Path) -> None:
        if path.lost:
            while await path.client_reader.read(2**16):
                pass
            return
        reader, path.server = await asyncio.open_connection(HOST, self._target())
        to_server = asyncio.create_task(self._pump(path, path.client_reader, path.server))
        to_client = asyncio.create_task(self._pump(path, reader, path.client))
        both = {to_server, to_client}
        try:
            # A half-closed or lost path lasts until its client has enough of it.
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if path.half_closed or path.lost:
                await asyncio.wait([to_server])
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _pump(
        self, path: _Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(2**16):
            await self._flowing.wait()
            if self.keeps_back and self.keeps_back in data:
                self.keeps_back = b""
                path.reset()
            if self.latency:
                await asyncio.sleep(self.latency)
            if not path.lost and not (path.half_closed and writer is path.client):
                writer.write(data)
                self.sent += writer is path.server
                await writer.drain()


class _Path:
    """One connection of a client's, and ours to the server."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, lost: bool
    ) -> None:
        self.client_reader = reader
        self.client = writer
        self.server: asyncio.StreamWriter | None = None
        self.lost = lost
        self.half_closed = False

    def reset(self) -> None:
        _reset(self.client)
        self.reset_server()

    def reset_server(self) -> None:
        if self.server is not None:
            _reset(self.server)

    def half_close(self) -> None:
        if not self.half_closed and not self.client.transport.is_closing():
            self.half_closed = True
            self.client.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        writer.transport.abort()

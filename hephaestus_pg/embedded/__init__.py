"""A small PostgreSQL server of our own: for the demo, for tests, and for breaking on purpose.

::

    with EmbeddedServer() as server:
        await migrations.up(server.dsn)
        storage = await AsyncStorage.start(server.dsn)

The binaries come from the extra ``hephaestus_pg[embedded]``, or from any folder that holds
``initdb`` and ``postgres``. Linux and macOS.
"""

from hephaestus_pg.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]

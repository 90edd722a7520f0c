"""The way to the server: connections, the pool, its hooks, and the driver's errors.

The only place that knows asyncpg's errors: others see those of this package, which carry the
server's code as ``sqlstate``. It knows no table and no statement.
"""

"""The way to the server: connections, the pool, its hooks, and the driver's errors.

The only place that knows asyncpg's classes and errors. It knows no table and no statement.
"""

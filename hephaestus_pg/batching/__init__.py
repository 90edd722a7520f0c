"""Concurrent calls into one statement.

Queues, workers, admission and deadlines. It is given what runs a statement, and knows neither
the pool nor SQL.
"""

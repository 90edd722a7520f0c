"""Runs workflows, kills and freezes their runners, and shows that nothing is lost.

It stores as a program of your own would; only its own pool is opened through the package's
connector, so that every DSN works.
"""

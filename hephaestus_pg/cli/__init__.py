"""The parts that commands share: flags, exit codes, progress, and tables for a terminal.

It knows no command and no database.
"""

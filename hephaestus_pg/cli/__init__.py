"""The parts that commands share: flags, exit codes, storages, tables and progress for a terminal.

It knows no command.
"""

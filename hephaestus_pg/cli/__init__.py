"""What the commands share: options, messages, and a terminal's colours.

It knows no command.
"""

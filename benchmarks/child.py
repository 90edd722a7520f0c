"""A process that is asked: commands and answers go as lines of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Self


class Child:
    """Runs a module with these arguments in a process of its own until the block ends."""

    def __init__(self, name: str, module: str, *arguments: str) -> None:
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input is for it to end too

    def tell(self, command: str, *arguments: Any) -> None:
        """Give a command; its answer is still to be read."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """The answer to the oldest command that has none yet."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a process of {self._name} ended")
        return json.loads(line)

    def ask(self, command: str, *arguments: Any) -> Any:
        """Give a command and wait for its answer."""
        self.tell(command, *arguments)
        return self.answer()

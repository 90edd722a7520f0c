"""Draining: claims end where otherwise they would wait."""

from __future__ import annotations

from hephaestus_pg.errors import LifecycleError


class Draining:
    """A drain of a runner that is under way, which hands out ``limit`` claims at the most."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self.handed_out = 0
        """Claims so far."""
        self.is_over_limit = False
        """There was one more to hand out."""

    def takes_one(self) -> bool:
        """Counts one more claim; ``False`` if there may be none."""
        if self.handed_out == self._limit:
            self.is_over_limit = True
            return False
        self.handed_out += 1
        return True

    def error(self) -> LifecycleError:
        """Makes the error of a drain that would not end."""
        return LifecycleError(
            self._name,
            f"the drain has handed out {self._limit:,} claims, and there is more to do: something "
            "makes work as fast as it is done; where so much is meant, give a higher limit=",
        )

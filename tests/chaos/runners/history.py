"""What took effect and what was acknowledged, checked against what runners promise.

- A row has one version under each revision, and no revision is left out.
- A claim is a version with another owner than before; its revision is the fencing token. A write
  names the claim that it was made under, and that is the last one before it: the write of a zombie,
  whose instance another runner has claimed, or nobody owns, is refused.
- Each step is written once. An acknowledged write took effect under its revision, and one that was
  refused never did.
- In the end each instance is completed, nobody owns it, no attempt is counted against it, and the
  runners that died have been buried.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.chaos.runners.witness import Version

STEPS = 5


class Write(NamedTuple):
    """An update, as its caller was told of it: one that was refused has the revision it was for."""

    id: str
    revision: int
    token: int
    writer: str
    step: int

    @property
    def said(self) -> tuple[int, int, str]:
        """As :attr:`Version.said`, once it has taken effect."""
        return self.step, self.token, self.writer


class Row(NamedTuple):
    """What is left of an instance in the end."""

    id: str
    status: str
    steps: int
    owner: str | None
    attempts: int


class _Claim(NamedTuple):
    owner: str
    token: int


class History:
    """Takes acknowledgements as they come, the rest at the end; ``violations`` is what broke."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.errors: Counter[str] = Counter()
        """The errors that callers got, by name."""
        self.refused: list[Write] = []
        """Updates that were refused, for their revision or without a way to the server."""
        self.claims = self.writes = 0
        self.owners = 0
        """The most that one instance had."""
        self._inserted: set[str] = set()
        self._acknowledged: dict[tuple[str, int], Write] = {}

    @property
    def acknowledged(self) -> int:
        """The number of acknowledged updates."""
        return len(self._acknowledged)

    def inserted(self, id: str) -> None:
        """Note that an insert was acknowledged."""
        self._inserted.add(id)

    def wrote(self, write: Write) -> None:
        """Note that an update was acknowledged."""
        before = self._acknowledged.setdefault((write.id, write.revision), write)
        if before is not write:
            self._broken(f"two writes were acknowledged under one revision: {before}, {write}")

    def was_refused(self, write: Write) -> None:
        """Note that an update is known to have had no effect."""
        self.refused.append(write)

    def finish(
        self,
        versions: Mapping[str, Iterable[Version]],
        rows: Iterable[Row],
        runners: Iterable[str] = (),
    ) -> None:
        """Check what took effect, what is left, and the ``runners`` that the table still names."""
        written: dict[tuple[str, int], Version] = {}
        for id, each in versions.items():
            self._follow(id, each, written)
        for key, write in self._acknowledged.items():
            version = written.get(key)
            if version is None or version.said != write.said:
                self._broken(f"acknowledged, and it has not taken effect: {write}, {version}")
        effects = {(id, version.said) for (id, _), version in written.items()}
        for write in self.refused:
            if (write.id, write.said) in effects:
                self._broken(f"refused, and yet it has taken effect: {write}")
        missing = {*self._inserted, *versions}
        for row in rows:
            missing.discard(row.id)
            self._check_end(row)
        for id in sorted(missing):
            self._broken(f"{id} was inserted, and is gone")
        for runner in runners:
            self._broken(f"the runner {runner} has ended, and is still named")

    def _broken(self, what: str) -> None:
        self.violations.append(what)

    def _check_end(self, row: Row) -> None:
        if row[1:] != ("completed", STEPS, None, 0):
            self._broken(f"not as it has to be in the end: {row}")

    def _follow(
        self, id: str, versions: Iterable[Version], written: dict[tuple[str, int], Version]
    ) -> None:
        """Follow one instance from its insert, and take its writes down in ``written``."""
        revision: int | None = None
        claim: _Claim | None = None
        steps, claims = 0, 0
        for version in versions:
            if revision is not None and version.revision != revision + 1:
                self._broken(f"{id}: after revision {revision} came {version}")
            revision = version.revision
            if version.is_write:
                self._compare(id, version, claim)
                if version.step != steps + 1:
                    self._broken(f"{id}: after step {steps} came {version}")
                steps = version.step or 0
                written[id, revision] = version
                self.writes += 1
            if version.owner is None:
                claim = None
            elif claim is None or version.owner != claim.owner:
                claim = _Claim(version.owner, revision)
                claims += 1
        self.claims += claims
        self.owners = max(self.owners, claims)

    def _compare(self, id: str, version: Version, claim: _Claim | None) -> None:
        """A write is its owner's, under the claim that holds."""
        if claim is None or (version.writer, version.token) != claim:
            self._broken(f"{id}: a write of a lost claim was accepted: {version}, not of {claim}")

"""What a check of the log found."""

from collections import Counter
from dataclasses import dataclass, field

from server.store.log import Loss

_LISTED = 20


@dataclass
class LogCheck:
    """What was found. ``problems`` is empty when everything fits. ``losses``: what the operator accepted as lost.

    ``erased``: entries whose records their holders had erased. ``to_overwrite``: sealed bytes of those, still on disk.
    """

    entries: int = 0
    records: int = 0
    erased: int = 0
    to_overwrite: int = 0
    tiles: int = 0
    anchors: int = 0
    orphaned_segments: int = 0
    losses: list[Loss] = field(default_factory=list)
    _listed: dict[str, list[str]] = field(default_factory=dict)
    _noted: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, line: str) -> None:
        """Keep a finding: the first ones of a ``kind`` as they are, of the others their number."""
        self._noted[kind] += 1
        if self._noted[kind] <= _LISTED:
            self._listed.setdefault(kind, []).append(line)

    @property
    def problems(self) -> list[str]:
        """A line for each finding, and for each kind one that says how many are not listed."""
        lines = []
        for kind, listed in self._listed.items():
            lines += listed
            if (more := self._noted[kind] - len(listed)) > 0:
                lines.append(f"{kind}: {more} more, {self._noted[kind]} in all")
        return lines
